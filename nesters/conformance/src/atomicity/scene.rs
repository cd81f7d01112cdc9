//! The threads of a scenario and what they share: set up anew for each run.

use alloc::boxed::Box;
use alloc::vec::Vec;

use protocols::address::PAGE_SIZE;
use protocols::api::{MappingState, NativeState, Rights, Run, Sensitivity, Side, SpaceKind, Status};
use protocols::libc::system_call::{self, Scheduled, connection};
use protocols::libc::time;
use protocols::libnest::{Event, Mapping, Memory, Port, Reference, Region, Space, Thread, micro_guest, objects};
use protocols::policy::Controls;
use protocols::virtual_cpu::register::{RAX, RSP};
use protocols::virtual_cpu::{Groups, VirtualCpuState};

use super::plan::{self, CODE, DATA, END, IN, KEPT, OUT, Plan, RETURNED, STRIDE, STRUCTURES};
use crate::code;
use crate::harness::{Bench, Exported, Failure, Verdict, fail};

/// The way into the kernel that the victim takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `SYSCALL`.
    Native,
    /// `VMCALL`.
    Machine,
}

/// Whether and where a run is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The turn of the run, counting all threads' turns in which something happened.
    pub turn: u64,
    /// After how many ticks of it.
    pub ticks: u64,
    /// The thread whose turn was cut short goes on with it; else others come first.
    pub in_order: bool,
}

/// What became of a disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// The run was over before.
    Beyond,
    /// The turn had ended before; there the victim was recreated.
    AtTheEnd,
    /// In its middle.
    Within {
        /// For how many ticks the thread had run.
        ran: u64,
        /// The victim's RIP, RAX and RSP then.
        at: [u64; 3],
    },
}

impl Landed {
    /// Ticks by which stops at the same place may differ: how long the kernel works on a call depends on what it has done before.
    const TOLERANCE: u64 = 128;

    /// Whether another stop, in a run that began alike, was no further on.
    pub fn comes_to(self, other: Self) -> bool {
        match (self, other) {
            (Self::Within { ran, at }, Self::Within { ran: other, at: there }) => {
                other <= ran + if at == there { Self::TOLERANCE } else { 0 }
            }
            _ => self == other,
        }
    }
}

/// Frames of kernel memory for each Space.
const ALLOWANCE: u64 = 96;
/// Ticks after which a turn that does not end has gone wrong.
const ENDLESS: u64 = 20_000_000;
/// Ticks by which what comes at a deadline may be late.
const SLACK: u64 = 1000;
/// Turns after which a run that does not end has gone wrong.
const MOST_TURNS: u64 = 64;

/// The exported state of a thread.
pub enum State {
    /// Of a native thread.
    Native(Box<NativeState>),
    /// Of a virtual CPU.
    Machine(Box<VirtualCpuState>),
}

/// A scene.
pub struct Scene<'a> {
    plan: &'a Plan,
    victim: Option<Thread>,
    _mappings: [Mapping; 3],
    region: Region,
    memory: Memory,
    objects: Exported,
    /// The Space of all native threads.
    pub native: Space,
    /// The Space of the victim, if that is a virtual CPU.
    machine: Option<Space>,
    /// The keeper of both.
    pub keeper: Port,
    link: Reference,
    /// Ticks of donated time that each thread is known to have had.
    used: [u64; plan::MOST_THREADS as usize],
    /// When the deadline of the run is, and whether it is still to be waited for.
    deadline: u64,
    sleeps: bool,
}

impl<'a> Scene<'a> {
    /// The scene of a plan, empty.
    pub fn new(bench: &mut Bench, door: Door, plan: &'a Plan) -> Result<Self, Failure> {
        let keeper = bench.port()?;
        let memory = Memory::allocate(END).ok_or(Failure("no memory".into()))?;
        micro_guest::prepare(&memory, code::script())?;
        memory.write_bytes(CODE + PAGE_SIZE, code::guest_script())?;
        let region = Region::new(&memory, 0, END, Rights::all())?;
        let objects = Exported::part(&memory, DATA, PAGE_SIZE)?;
        let native = Space::new(SpaceKind::Native, ALLOWANCE)?;
        native.set_keeper(&keeper)?;
        let machine = match door {
            Door::Native => None,
            Door::Machine => {
                let space = Space::new(SpaceKind::Machine, ALLOWANCE)?;
                space.set_keeper(&keeper)?;
                space.set_controls(&Controls { flags: Controls::VMCALL, xcr0_allowed: 3, ..Controls::default() })?;
                Some(space)
            }
        };
        let data = Rights::READ | Rights::WRITE | Rights::CREATE_OBJECT;
        let mappings = [
            Mapping::new(&region, CODE, &native, CODE, PAGE_SIZE, Rights::READ | Rights::EXECUTE)?,
            Mapping::new(&region, DATA, &native, DATA, END - DATA, data)?,
            Mapping::new(
                &region,
                0,
                machine.as_ref().unwrap_or(&native),
                if machine.is_some() { 0 } else { 1 << 30 },
                END,
                Rights::all(),
            )?,
        ];
        let link = Reference::new()?;
        Ok(Self {
            plan,
            victim: None,
            _mappings: mappings,
            region,
            memory,
            objects,
            native,
            machine,
            keeper,
            link,
            used: [0; plan::MOST_THREADS as usize],
            deadline: 0,
            sleeps: false,
        })
    }

    /// The address in the test's own Space of what the threads see at `address`.
    pub fn own(&self, address: u64) -> u64 {
        self.memory.address() + address
    }

    /// Their memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The Space of the victim.
    pub fn home(&self) -> &Space {
        self.machine.as_ref().unwrap_or(&self.native)
    }

    /// The objects.
    pub fn objects(&self) -> &Region {
        &self.objects
    }

    /// Creates Region `region` of the pages from [`OUT`] on, with the rights that it begins with, whose keeper is the Port that Reference `keeper`
    /// links to (0: none), and Mapping `mapping`, which shows them in `space` at [`KEPT`].
    pub fn keep(&self, region: u64, rights: Rights, keeper: u64, mapping: u64, space: &Space) -> Verdict {
        let port = Reference::new()?;
        if keeper != 0 {
            system_call::reference_copy(self.own(keeper), port.address())?;
        }
        let port = Some(&port).filter(|_| keeper != 0);
        objects::create_region_in(&self.memory, region, [OUT, END - OUT], rights, port)?;
        system_call::region_reference(self.own(region), self.link.address())?;
        let rights = (Rights::READ | Rights::WRITE).bits();
        let state = MappingState { offset: 0, start: KEPT, size: END - OUT, rights };
        Ok(objects::create_mapping_in(&self.memory, mapping, &state, &self.link, space)?)
    }

    /// Sets everything up for a run.
    fn reset(&mut self) -> Verdict {
        self.victim = None;
        self.objects.destroy_objects()?;
        self.memory.clear(DATA, if self.plan.moves { END } else { OUT } - DATA)?;
        if self.plan.cold {
            self.region.protect(Rights::empty())?;
            self.region.protect(Rights::all())?;
        }
        self.sleeps = false;
        (self.plan.setup)(self, self.plan.call)?;
        for number in 0..self.plan.threads() {
            self.used[number as usize] = 0;
            for (place, step) in (plan::script(number)..).step_by(STRIDE as usize).zip(self.plan.steps(number)) {
                let registers = step.registers();
                if let Some(register) = step.deadline {
                    (self.deadline, self.sleeps) = (registers[register], true);
                }
                self.memory.write(place, &registers)?;
            }
        }
        for number in 1..self.plan.threads() {
            let thread = self.own(plan::thread(number));
            system_call::thread_create(thread)?;
            system_call::thread_set_scheduler(thread, 0, number)?;
            objects::set_native_thread(thread, &native_state(number), self.native.reference(), Run::Unchanged)?;
            system_call::thread_set_self(thread, plan::thread(number))?;
            objects::run_thread(thread, Run::Go)?;
        }
        let state = match self.machine {
            None => State::Native(Box::new(peculiar(native_state(0)))),
            Some(_) => State::Machine(Box::new(machine_state())),
        };
        let victim = self.create(&state, plan::thread(0), 0)?;
        victim.go()?;
        self.victim = Some(victim);
        Ok(())
    }

    /// A stopped thread as it was exported.
    fn create(&self, state: &State, own: u64, word: u64) -> Result<Thread, Failure> {
        let thread = match state {
            State::Native(state) => {
                let thread = Thread::native(&self.native, state)?;
                thread.set_native_groups(state, NativeState::GROUPS, Run::Unchanged)?;
                thread
            }
            State::Machine(state) => Thread::virtual_cpu(self.home(), state, Groups::all())?,
        };
        thread.set_scheduler(None, word)?;
        system_call::thread_set_self(thread.address(), own)?;
        Ok(thread)
    }

    /// Stops the victim and exports what its groups of state say.
    fn export(&self, victim: &Thread) -> Result<State, Failure> {
        Ok(match self.machine {
            None => {
                let mut state = Box::new(NativeState::default());
                victim.get_native_state(&mut state, NativeState::GROUPS)?;
                State::Native(state)
            }
            Some(_) => {
                let mut state = Box::new(VirtualCpuState::zeroed());
                victim.get_state(&mut state, Groups::all())?;
                State::Machine(state)
            }
        })
    }

    /// Stops, exports, destroys and recreates the victim. Returns RIP, RAX and RSP as they were exported.
    fn recreate(&mut self) -> Result<[u64; 3], Failure> {
        let Some(victim) = self.victim.take() else { fail!("there is no victim") };
        let state = self.export(&victim)?;
        let own = system_call::thread_get_links(victim.address(), 0)?;
        let (_, word, _) = system_call::thread_get_scheduler(victim.address(), 0)?;
        let recreated = self.create(&state, own, word)?;
        for side in [Side::Client, Side::Server] {
            match connection::thread_move_connection(victim.address(), recreated.address(), side) {
                Ok(()) | Err(Status::NotFound) => {}
                Err(status) => return Err(status.into()),
            }
        }
        match connection::thread_move_served(victim.address(), recreated.address()) {
            Ok(()) | Err(Status::NotFound) => {}
            Err(status) => return Err(status.into()),
        }
        drop(victim);
        recreated.go()?;
        self.used[0] = 0;
        self.victim = Some(recreated);
        Ok(match state {
            State::Native(state) => [state.rip, state.gpr[RAX], state.gpr[RSP]],
            State::Machine(state) => [state.rip, state.gpr[RAX], state.gpr[RSP]],
        })
    }

    /// The address of a thread's object.
    fn thread(&self, number: u64) -> u64 {
        match (number, &self.victim) {
            (0, Some(victim)) => victim.address(),
            _ => self.own(plan::thread(number)),
        }
    }

    /// Whether a thread has come to the end of its script.
    fn is_done(&self, number: u64) -> Result<bool, Failure> {
        let end = plan::script(number) + STRIDE * self.plan.steps(number).len() as u64;
        Ok(self.memory.read::<u64>(end + RETURNED)? == 1)
    }

    /// Lets a thread run until it waits or gives its time back, or for so many ticks. Returns how many it has run, and whether it was cut
    /// short.
    fn turn(&mut self, number: u64, ticks: u64) -> Result<(u64, bool), Failure> {
        let deadline = time::now() + ticks;
        let scheduled = system_call::thread_schedule(self.thread(number), deadline, Sensitivity::Block, 0);
        let Scheduled::Ended { status, used, .. } = scheduled else { fail!("a message without a Portset") };
        let ran = used - core::mem::replace(&mut self.used[number as usize], used);
        match status {
            Status::TimedOut => Ok((ran, true)),
            Status::Blocked | Status::Yielded => Ok((ran, false)),
            status => fail!("a donation to thread {number} ended with {status:?}"),
        }
    }

    /// Runs everything to its end, disturbed at a point or not. Fails if the victim does not come to its end.
    pub fn run(&mut self, bench: &mut Bench, point: Option<Point>) -> Result<Landed, Failure> {
        self.reset()?;
        let mut landed = Landed::Beyond;
        let mut turns = 0;
        while turns < MOST_TURNS {
            let mut idle = true;
            for position in 0..self.plan.threads() {
                let number = if self.plan.partners_first { (position + 1) % self.plan.threads() } else { position };
                if self.is_done(number)? {
                    continue;
                }
                let here = point.filter(|point| point.turn == turns && landed == Landed::Beyond);
                let (ran, cut) = self.turn(number, here.map_or(ENDLESS, |point| point.ticks))?;
                let here = here.filter(|_| ran > 0 || cut);
                if let Some(point) = here {
                    let at = self.recreate()?;
                    landed = if cut { Landed::Within { ran, at } } else { Landed::AtTheEnd };
                    let in_order = point.in_order || self.plan.ordered;
                    let next = if in_order { number } else { 0 };
                    if cut && (in_order || number != 0) && !self.is_done(next)? {
                        self.turn(next, ENDLESS)?;
                    }
                } else if cut {
                    fail!("thread {number} runs for ever");
                }
                if ran > 0 || here.is_some() {
                    turns += 1;
                    idle = false;
                }
            }
            if idle && core::mem::take(&mut self.sleeps) {
                self.sleep(bench)?;
            } else if idle {
                break;
            }
        }
        if !self.is_done(0)? {
            let soon = bench.microseconds(50);
            match bench.receive_until(soon) {
                Event::TimedOut => fail!("the victim is stuck"),
                event => fail!("the victim does not come to its end: {event:x?}"),
            }
        }
        Ok(landed)
    }

    /// Lets the deadline pass.
    fn sleep(&mut self, bench: &mut Bench) -> Verdict {
        match bench.receive_until(Some(self.deadline + SLACK)) {
            Event::TimedOut => Ok(()),
            event => fail!("{event:x?}"),
        }
    }

    /// The victim's state after a run.
    pub fn state(&self) -> Result<State, Failure> {
        match &self.victim {
            Some(victim) => self.export(victim),
            None => fail!("there is no victim"),
        }
    }

    /// What a run has left in memory: the script of each thread, structures, and bytes that were moved.
    pub fn pages(&self) -> Result<Vec<u64>, Failure> {
        let start = plan::script(0) - 16;
        let end = if self.plan.moves { END } else { STRUCTURES + PAGE_SIZE };
        let mut words = alloc::vec![0u64; ((end - start) / 8) as usize];
        self.memory.read_bytes(start, zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice()))?;
        for number in 0..self.plan.threads() {
            for (position, step) in (0..).zip(self.plan.steps(number)) {
                let call = ((plan::script(number) - start + position * STRIDE) / 8) as usize;
                let native = number > 0 || self.machine.is_none();
                for register in 0..16 {
                    let undefined = native && (register == 1 || register == plan::R11);
                    if undefined || step.ignored & 1 << register != 0 {
                        words[call + RETURNED as usize / 8 + register] = 0;
                    }
                    if step.deadline == Some(register) {
                        words[call + register] = 0;
                    }
                }
                // What the flags were pushed to.
                words[call - 1] = 0;
            }
            let end = plan::script(number) - start + self.plan.steps(number).len() as u64 * STRIDE;
            words[end as usize / 8 - 1] = 0;
        }
        Ok(words)
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        self.victim = None;
    }
}

fn native_state(number: u64) -> NativeState {
    let mut state = NativeState { rip: CODE, rflags: 2, ..NativeState::default() };
    state.gpr[RSP] = plan::script(number);
    state
}

/// The same with something to be lost in every group.
fn peculiar(mut state: NativeState) -> NativeState {
    (state.fs_base, state.gs_base) = (0x1234_5000, 0x5432_1000);
    state.debug.dr = [0x11, 0x22, 0x33, 0x44];
    (state.exceptions.handler, state.exceptions.interrupt_handler) = (CODE + 0x800, CODE + 0x900);
    (state.exceptions.saved.rcx, state.exceptions.saved.rip) = (0x77, CODE + 0x700);
    state.redirection = protocols::native_thread::Redirection { start: 0, length: 1 << 40, handler: CODE + 0xa00 };
    state.extended[160..176].copy_from_slice(&[0x5a; 16]);
    state
}

fn machine_state() -> VirtualCpuState {
    let mut state = micro_guest::state();
    state.rip = CODE + PAGE_SIZE;
    // With interrupts off at its entry, an emulator may not see that one is pending.
    state.rflags |= 1 << 9;
    state.gpr[RSP] = plan::script(0);
    state.cr2 = 0x1234_5678;
    state.dr = [1, 2, 3, 4];
    (state.sysenter_cs, state.sysenter_esp, state.sysenter_eip) = (8, 0x1000, 0x2000);
    (state.star, state.lstar, state.kernel_gs_base) = (0x0013_0008_0000_0000, 0xffff_8000_0000_1000, 0x3000);
    state.extended[160..176].copy_from_slice(&[0x5a; 16]);
    state
}

const _: () = assert!(IN + 2 * PAGE_SIZE == END);
