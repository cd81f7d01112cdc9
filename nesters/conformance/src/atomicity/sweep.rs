//! Disturbing a scenario everywhere, and comparing what comes out.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use protocols::api::ObjectType;
use protocols::libc::system_call::{self, connection};
use protocols::libnest::{Reference, Status};
use protocols::virtual_cpu::ExitRecord;
use zerocopy::IntoBytes;

use super::plan::{self, DATA, Plan, REGISTERS, RETURNED, STRIDE};
use super::scene::{Door, Landed, Point, Scene, State};
use crate::harness::{Bench, Failure, Sweep, Verdict, fail};

/// At how many places at least a victim must have been stopped: before its call, in or behind it.
const FEWEST_STOPS: usize = 3;

/// Ticks in which no call is made.
const A_FEW_INSTRUCTIONS: u64 = 32;

/// What a run has left behind.
struct Outcome {
    pages: Vec<u64>,
    objects: Vec<(u64, ObjectType, Vec<u64>)>,
    state: Vec<u8>,
}

/// Disturbs a scenario wherever a stop can land, and fails where that makes a difference.
pub fn sweep(bench: &mut Bench, door: Door, plan: &Plan) -> Verdict {
    let mut scene = Scene::new(bench, door, plan)?;
    let Landed::Beyond = scene.run(bench, None)? else { fail!("nothing was to be disturbed") };
    let undisturbed = Outcome::of(&scene)?;
    let mut sweep = Sweeper { bench, plan, scene, undisturbed, hints: [None; 2], stops: Vec::new() };
    for turn in 0.. {
        if !sweep.turn(turn)? {
            break;
        }
    }
    match sweep.stops.len() {
        0..FEWEST_STOPS => fail!("it was stopped at {:x?} only", sweep.stops),
        _ => Ok(()),
    }
}

struct Sweeper<'a, 'b> {
    bench: &'a mut Bench,
    plan: &'b Plan,
    scene: Scene<'b>,
    undisturbed: Outcome,
    /// The last tick at which a turn was over before it began; what a thread had run when it was stopped, less the last tick at which the
    /// stop came then.
    hints: [Option<i64>; 2],
    /// RIP, RAX and RSP of the victim, wherever it was stopped.
    stops: Vec<[u64; 3]>,
}

impl Sweeper<'_, '_> {
    /// Disturbs one turn everywhere. False if the run has no such turn.
    fn turn(&mut self, turn: u64) -> Result<bool, Failure> {
        let (mut ticks, mut landed) = (0, self.at(turn, 0)?);
        if landed == Landed::Beyond {
            return Ok(false);
        }
        let mut before = None;
        loop {
            let ran = if let Landed::Within { ran, .. } = landed { Some(ran) } else { None };
            // Between two instructions it makes no difference to others whether they come first.
            let ran_on = ran.zip(before).is_some_and(|(ran, before)| ran <= before + A_FEW_INSTRUCTIONS);
            if ran.is_none() || !self.plan.ordered && !ran_on {
                self.disturb(turn, ticks, false)?;
            }
            let Some(ran) = ran else { return Ok(true) };
            before = Some(ran);
            (ticks, landed) = match self.bench.sweep() {
                Sweep::Distinct => self.next(turn, ticks, landed, ran)?,
                Sweep::Every => (ticks + 1, self.at(turn, ticks + 1)?),
                Sweep::Coarse(step) => (ticks + step, self.at(turn, ticks + step)?),
            };
        }
    }

    /// The first tick from which on a stop does not land any more where it landed after `ticks`, and where it lands then. The later it comes, the later it
    /// lands, so that there is nothing between two ticks at which it lands at the same point.
    fn next(&mut self, turn: u64, ticks: u64, here: Landed, ran: u64) -> Result<(u64, Landed), Failure> {
        let hint = &self.hints[usize::from(ran > 0)];
        let guess = hint.map_or(0, |hint| if ran > 0 { ran as i64 - hint } else { hint });
        let (mut last, mut beyond) = (ticks, None);
        if let Some(guess) = u64::try_from(guess).ok().filter(|&guess| guess > ticks) {
            match self.at(turn, guess)? {
                landed if here.comes_to(landed) => last = guess,
                landed => beyond = Some((guess, landed)),
            }
        }
        let mut step = 1;
        let mut next = loop {
            let probe = last + step;
            if let Some(found) = beyond.filter(|&(tick, _)| tick <= probe) {
                break found;
            }
            match self.at(turn, probe)? {
                landed if here.comes_to(landed) => last = probe,
                landed => break (probe, landed),
            }
            step *= 2;
        };
        while next.0 - last > 1 {
            let middle = last + (next.0 - last) / 2;
            match self.at(turn, middle)? {
                landed if here.comes_to(landed) => last = middle,
                landed => next = (middle, landed),
            }
        }
        self.hints[usize::from(ran > 0)] = Some(if ran > 0 { ran as i64 - last as i64 } else { last as i64 });
        Ok(next)
    }

    fn at(&mut self, turn: u64, ticks: u64) -> Result<Landed, Failure> {
        self.disturb(turn, ticks, true)
    }

    /// Runs the scenario disturbed, and fails if anything differs.
    fn disturb(&mut self, turn: u64, ticks: u64, in_order: bool) -> Result<Landed, Failure> {
        let fails = |why: String| {
            let others = if in_order { "" } else { ", others going first" };
            Failure(format!("disturbed in turn {turn} after {ticks} ticks{others}: {why}"))
        };
        let point = Point { turn, ticks, in_order };
        let landed = self.scene.run(self.bench, Some(point)).map_err(|Failure(why)| fails(why))?;
        if landed != Landed::Beyond {
            self.bench.count_point();
            if let Landed::Within { at, .. } = landed
                && !self.stops.contains(&at)
            {
                self.stops.push(at);
            }
            if let Some(difference) = self.undisturbed.difference(&Outcome::of(&self.scene)?) {
                return Err(fails(difference));
            }
        }
        Ok(landed)
    }
}

impl Outcome {
    fn of(scene: &Scene<'_>) -> Result<Self, Failure> {
        let mut objects = Vec::new();
        let mut offset = 0;
        while let Some((found, kind)) = scene.objects().search(offset)? {
            let address = DATA + found;
            objects.push((address, kind, object(kind, scene.own(address))?));
            offset = found + protocols::api::OBJECT_SIZE;
        }
        let state = match scene.state()? {
            State::Native(mut state) => {
                (state.rip, state.gpr) = (0, state.gpr.map(|_| 0));
                state.as_bytes().to_vec()
            }
            State::Machine(mut state) => {
                (state.rip, state.exit, state.advance) = (0, ExitRecord::default(), 0);
                state.gpr = state.gpr.map(|_| 0);
                state.as_bytes().to_vec()
            }
        };
        Ok(Self { pages: scene.pages()?, objects, state })
    }

    /// Says where another differs.
    fn difference(&self, other: &Self) -> Option<String> {
        if self.pages != other.pages {
            let index = self.pages.iter().zip(&other.pages).position(|(one, other)| one != other).unwrap_or(0);
            let (is, was) = (other.pages[index], self.pages[index]);
            return Some(format!("{} is {is:#x}, not {was:#x}", place(index as u64 * 8)));
        }
        if self.objects != other.objects {
            let differing = other.objects.iter().find(|object| !self.objects.contains(object));
            let missing = self.objects.iter().find(|object| !other.objects.contains(object));
            return Some(format!("there is the object {differing:x?}, not {missing:x?}"));
        }
        let at = self.state.iter().zip(&other.state).position(|(one, other)| one != other)?;
        Some(format!("byte {at} of the victim's state is {:#x}, not {:#x}", other.state[at], self.state[at]))
    }
}

/// What stands at an offset of the pages of a run.
fn place(offset: u64) -> String {
    let (thread, within) = (offset / 4096, (offset % 4096).wrapping_sub(16));
    if thread >= plan::MOST_THREADS || within >= 4096 - 16 {
        return format!("the word at {:#x}", plan::script(0) - 16 + offset);
    }
    let (step, word) = (within / STRIDE, within % STRIDE);
    match word.checked_sub(RETURNED).and_then(|word| REGISTERS.get(word as usize / 8)) {
        Some(register) => format!("{register} after call {step} of thread {thread}"),
        None => format!("a word before call {step} of thread {thread}"),
    }
}

/// What an object's state says.
fn object(kind: ObjectType, own: u64) -> Result<Vec<u64>, Failure> {
    let link = Reference::new()?;
    let to = |reference: &Reference| -> Result<u64, Status> {
        Ok(reference.check()?.map_or(0, |kind| kind as u64) | reference.rights()?.bits() << 8)
    };
    Ok(match kind {
        ObjectType::Mutex => alloc::vec![system_call::mutex_get_state(own)?.owner],
        ObjectType::Cond | ObjectType::Portset => Vec::new(),
        ObjectType::Mapping => {
            let state = system_call::mapping_get_state(own, link.address(), 0)?;
            alloc::vec![state.offset, state.start, state.size, state.rights, to(&link)?]
        }
        ObjectType::Region => {
            let state = system_call::region_get_state(own, 0, link.address())?;
            let tracked = system_call::region_is_tracked(own)? as u64;
            alloc::vec![state.start, state.size, state.rights, tracked, to(&link)?]
        }
        ObjectType::Port => alloc::vec![system_call::port_get_state(own, link.address())?, to(&link)?],
        ObjectType::Space => {
            let state = system_call::space_get_state(own)?;
            let patience = system_call::space_get_keeper(own, link.address())?;
            alloc::vec![state.kind, state.allowance, state.used, patience, to(&link)?]
        }
        ObjectType::Thread => {
            let (source, word, _) = system_call::thread_get_scheduler(own, link.address())?;
            let mut state = alloc::vec![source as u64, word, to(&link)?];
            for side in [protocols::api::Side::Client, protocols::api::Side::Server] {
                let end = connection::thread_get_connection(own, side, 0)?;
                state.extend([end.connected, end.sends, end.alerted]);
            }
            state
        }
        ObjectType::Reference => alloc::vec![to_own(own)?],
    })
}

fn to_own(own: u64) -> Result<u64, Status> {
    let kind = system_call::reference_check(own)?.map_or(0, |kind| kind as u64);
    Ok(kind | system_call::reference_rights(own)?.bits() << 8)
}
