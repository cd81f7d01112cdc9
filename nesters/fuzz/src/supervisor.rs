//! The supervisor: rounds of fuzzing, the replies to what the children do, and the checks.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, Quotas, Rights, SpaceKind};
use protocols::exception::{MachineExit, MachineReply, NativeException};
use protocols::libc::console::Console;
use protocols::libc::time;
use protocols::libnest::server::{fail, machine, resume, retry, stop};
use protocols::libnest::{Event, Memory, Message, Region, Server, Space, Status};
use protocols::parent::Outcome;
use protocols::startup::Startup;
use protocols::virtual_cpu::exit_reason as reason;
use zerocopy::{IntoBytes, TryFromBytes};

use crate::child::{Child, Failure, Ground, alias};
use crate::entry;
use crate::generator::{NUMBERS, TABLE, table};
use crate::random::Random;
use crate::victim::Victim;

/// Calls in a round.
const CALLS_PER_ROUND: u64 = 100_000;
/// Looks at the children in a second.
const LOOKS_PER_SECOND: u64 = 2000;
/// A round ends after so many looks, whatever was made of them.
const MOST_LOOKS: u64 = 4000;
/// Beats of the victim in a second.
const BEATS_PER_SECOND: u64 = 500;
/// A beat may be so many periods late, no more.
const MOST_PERIODS: u64 = 125;
/// Frames that a Space needs at least.
const LEAST_FRAMES: u64 = 1;
/// Fewer ticks than any call takes.
const FASTEST_CALL: u64 = 20;
/// Pages of the supervisor's that only it may change.
const CANARIES: u64 = 16;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    calls: u64,
    seed: u64,
    round: u64,
}

impl Request {
    fn read(arguments: &str, seed: u64) -> Option<Self> {
        let mut request = Self { calls: 1_000_000, seed, round: 0 };
        for word in arguments.split_whitespace() {
            let (name, value) = word.split_once('=')?;
            let value = value.parse().ok()?;
            match name {
                "calls" => request.calls = value,
                "seed" => request.seed = value,
                "round" => request.round = value,
                _ => return None,
            }
        }
        Some(request)
    }
}

/// Runs the fuzzer as the arguments say.
pub fn run(startup: &'static Startup) -> Outcome {
    let mut console = Console::new(startup.parent);
    let Some(request) = Request::read(startup.arguments(), time::now()) else {
        print(&mut console, format_args!("fuzz: arguments are calls=N seed=N round=N\r\n"));
        return Outcome::Failed;
    };
    let (mut calls, mut round) = (0, request.round);
    let result = Supervisor::new(startup).map_err(unexpected).and_then(|mut supervisor| {
        while calls < request.calls {
            let seed = request.seed;
            print(
                &mut console,
                format_args!("fuzz: {calls} of {} calls; round={round} seed={seed}\r\n", request.calls),
            );
            calls += supervisor.round(&mut Random::new(seed ^ round << 40), request.calls - calls)?;
            round += 1;
        }
        for (door, name) in ["SYSCALL", "VMCALL"].into_iter().enumerate() {
            print(&mut console, format_args!("fuzz: no success through {name}:{}\r\n", supervisor.never(door)));
        }
        Ok(supervisor.summary())
    });
    match result {
        Ok(summary) => {
            let rounds = round - request.round;
            print(&mut console, format_args!("fuzz: passed: {calls} calls in {rounds} rounds; {summary}\r\n"));
            Outcome::Done
        }
        Err(why) => {
            print(
                &mut console,
                format_args!("fuzz: FAILED: {why}; again with seed={} round={round}\r\n", request.seed),
            );
            Outcome::Failed
        }
    }
}

fn print(console: &mut Console, text: fmt::Arguments<'_>) {
    // Writing to the console cannot fail.
    let _ = console.write_fmt(text);
    console.flush();
}

fn unexpected(failure: Failure) -> String {
    format!("unexpected: {failure:?}")
}

/// The supervisor and what outlives rounds.
struct Supervisor {
    server: Server,
    text: Region,
    grounds: [Ground; 2],
    canary: Memory,
    victim: Victim,
    table: [u16; TABLE],
    frequency: u64,
    /// Most frames of kernel memory, and most objects, that a child can be given: what is left of the supervisor's own.
    left: [u64; 2],
    exceptions: u64,
    exits: u64,
    faults: u64,
    /// How often each call has succeeded, by child.
    succeeded: [[u64; NUMBERS]; 2],
}

impl Supervisor {
    fn new(startup: &Startup) -> Result<Self, Failure> {
        let server = Server::new()?;
        let text = Region::read_only(entry::text())?;
        let ground = || Ground::new().ok_or(Failure::Range);
        let grounds = [ground()?, ground()?];
        let canary = Memory::allocate(CANARIES * PAGE_SIZE).ok_or(Failure::Range)?;
        for position in 0..CANARIES * PAGE_SIZE / 8 {
            canary.write(position * 8, &!position)?;
        }
        let frequency = startup.tsc_frequency.max(1);
        let victim = Victim::start(&server, alias::VICTIM, &text, frequency / BEATS_PER_SECOND)?;
        let table = table(|number| Call::try_read_from_bytes(number.as_bytes()).is_ok());
        let (exceptions, exits, faults) = (0, 0, 0);
        let mut supervisor = Self {
            server,
            text,
            grounds,
            canary,
            victim,
            table,
            frequency,
            left: [0; 2],
            exceptions,
            exits,
            faults,
            succeeded: [[0; NUMBERS]; 2],
        };
        // What the supervisor itself uses, it uses now.
        for child in supervisor.children(&mut Random::new(0))? {
            child.end(&mut Random::new(0))?;
        }
        supervisor.left = supervisor.left()?;
        Ok(supervisor)
    }

    /// What a child can be given: tells, to the frame and the object, what the supervisor has left.
    fn left(&self) -> Result<[u64; 2], Failure> {
        let frames = self.most(|frames| Quotas { frames, objects: 0, cpu: 0 })?;
        Ok([frames, self.most(|objects| Quotas { frames: LEAST_FRAMES, objects, cpu: 0 })?])
    }

    fn most(&self, quotas: impl Fn(u64) -> Quotas) -> Result<u64, Failure> {
        let (mut possible, mut impossible) = (0, 1 << 20);
        while impossible - possible > 1 {
            let middle = (possible + impossible) / 2;
            if self.is_possible(quotas(middle))? { possible = middle } else { impossible = middle }
        }
        Ok(possible)
    }

    fn is_possible(&self, quotas: Quotas) -> Result<bool, Failure> {
        match Space::new(SpaceKind::Native, quotas) {
            Ok(_) => Ok(true),
            Err(Status::NoMemory | Status::NoObjects) => Ok(false),
            Err(status) => Err(status.into()),
        }
    }

    fn children(&self, random: &mut Random) -> Result<[Child; 2], Failure> {
        let child = |kind, ground, random: &mut Random| {
            let child = Child::new(kind, ground, &self.server, &self.text, &self.table, random)?;
            child.furnish()?;
            Ok::<_, Failure>(child)
        };
        let children =
            [child(SpaceKind::Native, &self.grounds[0], random)?, child(SpaceKind::Machine, &self.grounds[1], random)?];
        children[0].meet(&children[1])?;
        children[1].meet(&children[0])?;
        Ok(children)
    }

    /// A round. Returns how many calls were made, or what is wrong.
    fn round(&mut self, random: &mut Random, most: u64) -> Result<u64, String> {
        let mut children = self.children(random).map_err(unexpected)?;
        for child in &children {
            child.start(random).map_err(unexpected)?;
        }
        let calls = self.keep(&mut children, random, most.min(CALLS_PER_ROUND))?;
        for (child, totals) in children.into_iter().zip(&mut self.succeeded) {
            for (total, count) in totals.iter_mut().zip(child.succeeded().map_err(unexpected)?) {
                *total += u64::from(count);
            }
            let (used, allowance) = child.use_of_memory().map_err(unexpected)?;
            if used > allowance {
                return Err(format!("a child uses {used} of {allowance} frames"));
            }
            child.end(random).map_err(unexpected)?;
        }
        self.check()?;
        Ok(calls)
    }

    /// Keeps the children until they have made so many calls.
    fn keep(&mut self, children: &mut [Child; 2], random: &mut Random, calls: u64) -> Result<u64, String> {
        let step = self.frequency / LOOKS_PER_SECOND;
        let (mut made, mut reply) = (0, [0; 8]);
        let mut looked = time::now();
        for _ in 0..MOST_LOOKS {
            let next = looked + step;
            while time::now() < next {
                let event = self.server.reply_and_receive(&reply, Some(next));
                reply = self.answer(children, random, event)?;
            }
            let now = time::now();
            let most = (now - core::mem::replace(&mut looked, now)) / FASTEST_CALL;
            for child in &mut *children {
                made += child.look(most).map_err(unexpected)?;
                if random.one_in(4) {
                    child.disturb(random).map_err(unexpected)?;
                }
            }
            if made >= calls {
                break;
            }
        }
        Ok(made)
    }

    /// The reply to what was received.
    fn answer(&mut self, children: &mut [Child; 2], random: &mut Random, event: Event) -> Result<Message, String> {
        Ok(match event {
            Event::Call { alias: alias::VICTIM, words } => {
                self.victim.beat(&words).ok_or_else(|| format!("the victim says {words:x?}"))?
            }
            Event::Exception { alias: alias::VICTIM, exception } => {
                return Err(format!("the victim has an exception: {exception:x?}"));
            }
            Event::Exception { exception, .. } => {
                self.exceptions += 1;
                exception_reply(exception, random)
            }
            Event::MachineExit { exit, .. } => {
                self.exits += 1;
                exit_reply(exit, random)
            }
            Event::MemoryFault { alias, .. } => {
                self.faults += 1;
                let number = (alias - alias::FAULTS) as usize & 1;
                if random.one_in(2) {
                    children[number].give_supply().map_err(unexpected)?;
                    retry()
                } else {
                    fail()
                }
            }
            Event::TimedOut => [0; 8],
            _ => [(); 8].map(|()| random.word()),
        })
    }

    /// What must be as it was when the children are gone.
    fn check(&mut self) -> Result<(), String> {
        for position in 0..CANARIES * PAGE_SIZE / 8 {
            if self.canary.read::<u64>(position * 8) != Ok(!position) {
                return Err(format!("the supervisor's memory has changed at {:#x}", position * 8));
            }
        }
        let left = self.left().map_err(unexpected)?;
        if left != self.left {
            return Err(format!("{left:?} frames and objects are left of {:?}", self.left));
        }
        let (longest, period) = (self.victim.longest, self.frequency / BEATS_PER_SECOND);
        if longest.max(time::now() - self.victim.last()) > MOST_PERIODS * period {
            return Err(format!("the victim was {longest} ticks late; its period is {period}"));
        }
        Ok(())
    }

    /// The calls that have never succeeded through a door.
    fn never(&self, door: usize) -> String {
        let mut text = String::new();
        for (number, _) in self.succeeded[door].iter().enumerate().filter(|&(_, &count)| count == 0) {
            if let Ok(call) = Call::try_read_from_bytes((number as u64).as_bytes()) {
                text += &format!(" {call:?}");
            }
        }
        text
    }

    fn summary(&self) -> String {
        let Self { exceptions, exits, faults, victim, frequency, .. } = self;
        let late = victim.longest * 1000 / frequency;
        let beats = victim.beats();
        format!("{exceptions} exceptions, {exits} exits, {faults} faults; {beats} beats, {late} ms apart at most")
    }
}

fn exception_reply(_: NativeException, random: &mut Random) -> Message {
    match random.below(32) {
        0 => [(); 8].map(|()| random.word()),
        1..16 => resume(),
        _ => stop(),
    }
}

fn exit_reply(exit: MachineExit, random: &mut Random) -> Message {
    let mut reply = MachineReply { actions: MachineReply::ADVANCE, ..MachineReply::default() };
    let code = exit.reason as u32;
    match code {
        reason::VMCALL if !random.one_in(16) => {}
        reason::EXCEPTION_OR_NMI | reason::EPT_VIOLATION => {
            // A general protection fault, with an error code.
            (reply.actions, reply.event) = (MachineReply::INJECT, 0x8000_0b0d);
        }
        reason::TRIPLE_FAULT => reply.actions = MachineReply::STOP,
        _ if code & reason::ENTRY_FAILURE != 0 => reply.actions = MachineReply::STOP,
        _ => {
            let word = random.word();
            reply.actions |= word & MachineReply::ALL;
            if !random.one_in(8) {
                reply.actions &= !(MachineReply::STOP | MachineReply::HALT | MachineReply::INJECT);
            }
            (reply.rax, reply.rdx, reply.post) = (word >> 8, word >> 16, word >> 24 & 0xff);
            // Mostly an exception, an interrupt or nothing.
            let kind = [0x8000_0300, 0x8000_0b00, 0x8000_0000, 0, 0x8000_0700][random.below(5) as usize];
            reply.event = kind | word >> 32 & 31;
        }
    }
    machine(reply)
}

const _: () = assert!(Rights::all().bits() == 15);

#[cfg(test)]
mod tests {
    use super::Request;

    #[test]
    fn arguments_are_names_and_numbers() {
        let request = |arguments| Request::read(arguments, 9);
        assert_eq!(request(""), Some(Request { calls: 1_000_000, seed: 9, round: 0 }));
        assert_eq!(request("calls=5 round=3  seed=2"), Some(Request { calls: 5, seed: 2, round: 3 }));
        assert_eq!((request("calls"), request("calls=x"), request("call=5")), (None, None, None));
    }
}
