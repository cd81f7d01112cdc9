//! The kernel, its root Space, and children that make random calls.

use crate::account::Account;
use crate::arch::physical;
use crate::arch::simulated::{self, MACHINE, cpu};
use crate::arch::{apic, entry};
use crate::arena::Id;
use crate::dispatch::Source;
use crate::fault::{ChargedTables, PAGE_FAULT};
use crate::kernel::Kernel;
use crate::lifecycle;
use crate::memory::frames::FramePool;
use crate::memory::hierarchy::Space;
use crate::memory::page_table::PageTable;
use crate::space::Contents;
use crate::thread::Thread;
use ::fuzz::generator::{Control, Loop, NUMBERS, table};
use ::fuzz::layout::{
    ALIAS, AREA, BUFFERS, CONTROL, FIRST_OBJECTS, GIVEN, KEPT, OBJECTS, READ_ONLY, SIZE, STATES, THREAD_STATE, given,
    place,
};
use ::fuzz::random::Random;
use core::cell::RefCell;
use protocols::address::{HostPhysical, PAGE_SIZE};
use protocols::api::{Call, MappingState, NativeState, OBJECT_SIZE, RegionState, Rights, Status};
use protocols::virtual_cpu::register::{R8, R10, R15, RAX, RDI, RDX, RSI};
use protocols::virtual_cpu::{Groups, VirtualCpuState, exit_reason};
use zerocopy::{IntoBytes, TryFromBytes};

/// Ticks in a second.
const FREQUENCY: u64 = 100_000_000;
const MEMORY: u64 = 64 << 20;
const POOL: u64 = 2 << 20;
const POOL_FRAMES: usize = 4096;
/// Physical memory of the root Space, and where it appears.
const ROOT_MEMORY: u64 = 32 << 20;
const ROOT: u64 = 0x10_0000_0000;
/// Where SYSCALL instructions are.
const CODE: u64 = 0x40_0000;
/// Objects of the root's, and what it has calls read.
const OWN_OBJECTS: u64 = ROOT;
const OWN_STATES: u64 = ROOT + 4 * PAGE_SIZE;
/// Memory of the children.
const CHILDREN: u64 = ROOT + (1 << 20);
const CHILD_SIZE: u64 = 1 << 20;
/// The children: kinds of their Spaces.
const KINDS: [u64; 3] = [0, 1, 0];
const THREADS: u64 = 3;

/// Who makes calls: threads by their number, and all guests.
struct Callers {
    control: Control,
    loops: Vec<Loop>,
    guest: Loop,
    random: Random,
    machine_states: u64,
    calls: u64,
    succeeded: u64,
}

std::thread_local! {
    static CALLERS: RefCell<Option<Callers>> = const { RefCell::new(None) };
}

fn callers<T>(work: impl FnOnce(&mut Callers) -> T) -> T {
    CALLERS.with(|callers| work(callers.borrow_mut().as_mut().expect("the world has callers")))
}

/// The physical address behind an address of the root's.
fn physical_of(address: u64) -> u64 {
    address - ROOT + ROOT_MEMORY
}

/// A native thread's state at its beginning: with handlers for its exceptions and interrupts, which go on as it does.
fn native_state() -> NativeState {
    let mut state = NativeState { rip: CODE + 2, ..NativeState::default() };
    state.exceptions.enabled = 1;
    (state.exceptions.handler, state.exceptions.interrupt_handler) = (CODE + 2, CODE + 2);
    state
}

/// Physical address of the page of states of a child.
fn states_of(child: u64) -> u64 {
    physical_of(CHILDREN + child * CHILD_SIZE + (STATES - CONTROL))
}

/// What a guest does: a call, mostly.
fn guest(state: &mut VirtualCpuState) {
    callers(|callers| {
        let word = callers.random.word();
        state.exit.instruction_length = 3;
        state.exit.reason = match word & 63 {
            0 => exit_reason::IO,
            1 => exit_reason::HLT,
            2 => exit_reason::CPUID,
            3 => exit_reason::EXCEPTION_OR_NMI,
            4 => exit_reason::TRIPLE_FAULT,
            5 => exit_reason::WRMSR,
            6..10 => exit_reason::EPT_VIOLATION,
            _ => exit_reason::VMCALL,
        };
        state.exit.qualification = 1 << (word >> 8 & 1);
        state.exit.guest_physical = [OBJECTS, KEPT, ALIAS, 0][word as usize >> 10 & 3] + (word >> 16 & 0xffff);
        if state.exit.reason == exit_reason::VMCALL {
            callers.calls += 1;
            callers.guest.choose(&callers.control, simulated::page(callers.machine_states));
            state.gpr = callers.guest.registers;
        }
    });
}

/// How much there is of everything.
#[derive(Debug, PartialEq, Eq)]
pub struct Totals {
    frames: usize,
    used: (u64, u64),
    objects: [usize; 10],
    machines: usize,
}

/// A kernel and what lives on it.
pub struct World {
    /// The kernel.
    pub kernel: Kernel,
    root: Id<Space>,
    supervisor: Id<Thread>,
    random: Random,
    next_object: u64,
    statuses: [u64; 64],
}

impl World {
    /// The kernel with its root Space and one thread there, the supervisor, which runs.
    pub fn new() -> Self {
        simulated::turn_on(MEMORY, guest);
        cpu::load_page_table(PAGE_SIZE);
        let frames = FramePool::new(HostPhysical::new(POOL), POOL_FRAMES);
        let mut kernel = Kernel::new(frames, vec![(0, MEMORY)], HostPhysical::new(PAGE_SIZE), FREQUENCY).unwrap();
        kernel.can_log = false;
        let allowance = kernel.frames.free_count() as u64 * PAGE_SIZE;
        let physical_space = kernel.objects.spaces.insert(Space::new(Contents::Physical, Account::new(0, None)));
        kernel.physical = Some(physical_space);
        let mut account = kernel.objects.open_first_account(allowance, allowance / lifecycle::LEAST_COST);
        let mut memory = ChargedTables { frames: &mut kernel.frames, account: &mut account };
        let table = PageTable::new(&mut memory, kernel.kernel_table).unwrap();
        let root = kernel.objects.spaces.insert(Space::new(Contents::Native(table), account));
        kernel.objects.settle_in(root);
        kernel.show(physical_space, root, ROOT_MEMORY, ROOT, MEMORY - ROOT_MEMORY, Rights::all());
        let mut thread = Thread::new((root, 0), Source::Root);
        thread.stopped = false;
        let supervisor = kernel.objects.threads.insert(thread);
        kernel.enter_space(supervisor, root);
        kernel.make_ready(supervisor);
        kernel.next_native();
        let mut world = Self { kernel, root, supervisor, random: Random::new(0), next_object: 0, statuses: [0; 64] };
        // What the supervisor itself needs, tables of its memory, it takes now.
        for page in 0..(MEMORY - ROOT_MEMORY) / PAGE_SIZE {
            let _ = world.kernel.resolve(root, ROOT + page * PAGE_SIZE, Rights::READ);
        }
        world.begin(0);
        world.end();
        world
    }

    /// How much there is of everything.
    pub fn totals(&self) -> Totals {
        let objects = &self.kernel.objects;
        let account = &objects.spaces.get(self.root).unwrap().account;
        Totals {
            frames: self.kernel.frames.free_count(),
            used: account.frames(),
            objects: [
                objects.mutexes.len(),
                objects.conditions.len(),
                objects.spaces.len(),
                objects.regions.len(),
                objects.mappings.len(),
                objects.ports.len(),
                objects.portsets.len(),
                objects.threads.len(),
                objects.references.len(),
                objects.grants.len(),
            ],
            machines: simulated::monitor::count(),
        }
    }

    /// Prints how calls have ended.
    pub fn report(&self) {
        let (calls, succeeded) = callers(|callers| (callers.calls, callers.succeeded));
        std::println!(
            "{calls} calls, of which {succeeded} of native threads succeeded; by status: {:?}",
            self.statuses
        );
    }

    /// A place for an object of the supervisor's.
    fn own_place(&mut self) -> u64 {
        self.next_object += 1;
        OWN_OBJECTS + (self.next_object - 1) * OBJECT_SIZE
    }

    /// A call of the supervisor's, whose turn is waited for.
    fn call(&mut self, call: Call, arguments: [u64; 6]) -> u64 {
        while self.kernel.current != Some(self.supervisor) {
            self.step();
        }
        let registers = &mut self.kernel.objects.threads.get_mut(self.supervisor).unwrap().registers;
        registers.gpr[RAX] = call as u64;
        for (register, argument) in [RDI, RSI, RDX, R10, R8, 9].into_iter().zip(arguments) {
            registers.gpr[register] = argument;
        }
        // It may lose the CPU to somebody whom the call wakes, and a long call is made again.
        loop {
            self.enter(self.supervisor);
            while self.kernel.current != Some(self.supervisor) {
                self.step();
            }
            let registers = &self.kernel.objects.threads.get(self.supervisor).unwrap().registers;
            if registers.rip != CODE {
                return registers.gpr[RAX];
            }
        }
    }

    fn must(&mut self, call: Call, arguments: [u64; 6]) {
        let status = self.call(call, arguments);
        assert_eq!(status, Status::Ok as u64, "{call:?} {arguments:x?}");
    }

    /// A Reference of the supervisor's to an object of its own.
    fn reference(&mut self, call: Call, object: u64) -> u64 {
        let reference = self.own_place();
        self.must(Call::ReferenceCreate, [reference, 0, 0, 0, 0, 0]);
        self.must(call, [object, reference, 0, 0, 0, 0]);
        reference
    }

    /// Has a call read this at [`OWN_STATES`].
    fn state(&self, bytes: &[u8]) -> u64 {
        assert!(physical::write(HostPhysical::new(physical_of(OWN_STATES)), bytes));
        OWN_STATES
    }

    fn map(&mut self, region: u64, space: u64, [offset, start, size, rights]: [u64; 4]) {
        let mapping = self.own_place();
        self.must(Call::MappingCreate, [mapping, 0, 0, 0, 0, 0]);
        let state = self.state(MappingState { offset, start, size, rights }.as_bytes());
        self.must(Call::MappingSetState, [mapping, state, region, space, 0, 0]);
    }

    /// Makes the children of a round.
    pub fn begin(&mut self, seed: u64) {
        self.random = Random::new(seed);
        let random = &mut self.random;
        let exists = |number: u64| Call::try_read_from_bytes(number.as_bytes()).is_ok();
        let control = Control { door: 0, next_stack: 0, now: 0, odd: 1, calls: table(exists), succeeded: [0; NUMBERS] };
        let loops = (0..512).map(|_| Loop::new(random.word())).collect();
        let (guest, random) = (Loop::new(random.word()), Random::new(random.word()));
        let machine_states = states_of(1);
        let (calls, succeeded) = CALLERS
            .with(|callers| callers.borrow().as_ref().map_or((0, 0), |callers| (callers.calls, callers.succeeded)));
        let new = Callers { control, loops, guest, random, machine_states, calls, succeeded };
        CALLERS.with(|callers| *callers.borrow_mut() = Some(new));
        self.next_object = 0;
        let portset = self.own_place();
        self.must(Call::PortsetCreate, [portset, 0, 0, 0, 0, 0]);
        let portset = self.reference(Call::PortsetReference, portset);
        let port = self.own_place();
        self.must(Call::PortCreate, [port, 0, 0, 0, 0, 0]);
        self.must(Call::PortSetState, [port, 9, portset, 0, 0, 0]);
        let port = self.reference(Call::PortReference, port);
        for child in 0..KINDS.len() as u64 {
            self.child(child, port);
        }
    }

    fn child(&mut self, number: u64, port: u64) {
        let memory = CHILDREN + number * CHILD_SIZE;
        let kind = KINDS[number as usize];
        for page in 0..(SIZE + AREA) / PAGE_SIZE {
            simulated::page(physical_of(memory) + page * PAGE_SIZE).fill(0);
        }
        let own = |address: u64| memory + (address - CONTROL);
        let rights = Rights::all().bits();
        let region = self.own_place();
        self.must(Call::RegionCreate, [region, 0, 0, 0, 0, 0]);
        let state = self.state(RegionState { start: memory, size: SIZE + AREA, rights }.as_bytes());
        self.must(Call::RegionSetState, [region, state, 0, 0, 0, 0]);
        let region = self.reference(Call::RegionReference, region);
        let store = self.own_place();
        self.must(Call::SpaceCreate, [store, 0, 8, 0, 0, 0]);
        let store = self.reference(Call::SpaceReference, store);
        let kept = self.own_place();
        self.must(Call::RegionCreate, [kept, 0, 0, 0, 0, 0]);
        let state = self.state(RegionState { start: 0, size: AREA, rights }.as_bytes());
        self.must(Call::RegionSetState, [kept, state, store, port, 0, 0]);
        let kept = self.reference(Call::RegionReference, kept);
        let space = self.own_place();
        self.must(Call::SpaceCreate, [space, kind, 160, 1000, 0, 0]);
        self.must(Call::SpaceSetState, [space, port, 0, 0, 0, 0]);
        let space = self.reference(Call::SpaceReference, space);
        let objects = (Rights::all() - Rights::EXECUTE).bits();
        for shown in [
            (region, [0, CONTROL, OBJECTS - CONTROL, 3]),
            (region, [OBJECTS - CONTROL, OBJECTS, AREA, objects]),
            (region, [OBJECTS - CONTROL, ALIAS, AREA, rights]),
            (region, [BUFFERS - CONTROL, READ_ONLY, AREA, 1]),
            (kept, [0, KEPT, AREA, rights]),
        ] {
            self.map(shown.0, space, shown.1);
        }
        if number == 0 {
            self.map(region, store, [SIZE, 0, AREA, rights]);
        }
        for (kind, &count) in FIRST_OBJECTS.iter().enumerate() {
            for number in 0..count {
                let create = Call::try_read_from_bytes((kind as u64 * 16).as_bytes()).unwrap();
                self.must(create, [own(place(kind as u64, number)), 0, 0, 0, 0, 0]);
            }
        }
        let (set, port_of_child) = (own(place(6, 0)), own(place(5, 0)));
        let bank = |number| own(place(9, number));
        for (number, from) in [
            (given::SPACE, space),
            (given::MEMORY, region),
            (given::KEPT, kept),
            (given::PARENT, port),
            (given::OTHER, port),
        ] {
            self.must(Call::ReferenceCopy, [from, bank(number), 0, 0, 0, 0]);
        }
        self.must(Call::PortsetReference, [set, bank(given::PORTSET), 0, 0, 0, 0]);
        self.must(Call::PortSetState, [port_of_child, 7, bank(given::PORTSET), 0, 0, 0]);
        self.must(Call::PortReference, [port_of_child, bank(given::PORT), 0, 0, 0, 0]);
        self.must(Call::ThreadReference, [own(place(8, 0)), bank(given::THREAD), 0, 0, 0, 0]);
        for number in 0..given::COUNT {
            let lasting = own(BUFFERS + GIVEN) + number * OBJECT_SIZE;
            self.must(Call::ReferenceCreate, [lasting, 0, 0, 0, 0, 0]);
            self.must(Call::ReferenceCopy, [bank(number), lasting, 0, 0, 0, 0]);
        }
        let native = native_state();
        let template = own(THREAD_STATE);
        assert!(physical::write(HostPhysical::new(physical_of(template)), native.as_bytes()));
        for thread in 0..THREADS {
            let own_thread = self.own_place();
            self.must(Call::ThreadCreate, [own_thread, 0, 0, 0, 0, 0]);
            for thread_object in [own_thread, own(place(8, thread))] {
                let groups = if kind == 0 { NativeState::REGISTERS | Groups::EVENT } else { Groups::GENERAL };
                let state = match kind {
                    0 => self.state(native.as_bytes()),
                    _ => self.state(VirtualCpuState::zeroed().as_bytes()),
                };
                let arguments = [thread_object, state, groups.bits(), space, 1, place(8, thread)];
                self.must(Call::ThreadSetState, arguments);
            }
        }
    }

    /// The thread that runs does something.
    pub fn step(&mut self) {
        let Some(id) = self.kernel.current else {
            self.kernel.next_native();
            return;
        };
        MACHINE.with(|machine| {
            machine.turns.set(0);
            machine.time.set(machine.time.get() + 100 + self.random.below(400));
        });
        if cpu::timer_fires() {
            return self.interrupt(id, u64::from(apic::TIMER), 0);
        }
        if id == self.supervisor {
            return self.supervise();
        }
        let Some(thread) = self.kernel.objects.threads.get_mut(id) else { panic!("{id:?} runs and is not there") };
        let repeats = thread.registers.rip == CODE;
        let word = self.random.word();
        match word & 127 {
            0 => return self.interrupt(id, word >> 8 & 31, 0),
            1..6 => {
                let address =
                    [OBJECTS, KEPT, ALIAS, READ_ONLY, word >> 40][(word >> 8) as usize % 5] + (word >> 16 & 0xffff);
                MACHINE.with(|machine| machine.fault_address.set(address));
                return self.interrupt(id, PAGE_FAULT, 4 | word >> 32 & 2);
            }
            _ => {}
        }
        let exceptions = thread.native.exceptions;
        if !repeats && exceptions.enabled == 0 && word >> 8 & 1 == 0 {
            // As handlers of exceptions do before they go on.
            thread.registers.gpr[RAX] = Call::ThreadSetExceptions as u64;
            thread.registers.gpr[RDI] = 1;
        } else if !repeats {
            let space = thread.space;
            callers(|callers| {
                callers.calls += 1;
                callers.control.now = cpu::time();
                // Two native children: which is the thread's does not matter, but for variety.
                let child = if space.is_some_and(|space| space.number() % 2 == 0) { 0 } else { 2 };
                let own = &mut callers.loops[id.number() % 512];
                own.choose(&callers.control, simulated::page(states_of(child)));
                thread.registers.gpr = own.registers;
            });
        }
        self.enter(id);
        if let Some(thread) = self.kernel.objects.threads.get(id)
            && thread.registers.rip == CODE + 2
        {
            let status = thread.gpr()[RAX];
            self.statuses[status.min(63) as usize] += 1;
            if status == 0 {
                callers(|callers| {
                    callers.succeeded += 1;
                    callers.loops[id.number() % 512].succeeded(&mut callers.control);
                });
            }
        }
    }

    /// The supervisor waits for a message, and replies something to the last.
    fn supervise(&mut self) {
        if self.kernel.objects.threads.get(self.supervisor).is_some_and(|thread| thread.registers.rip == CODE) {
            return self.enter(self.supervisor);
        }
        let (time, random) = (cpu::time(), &mut self.random);
        let supervisor = self.kernel.objects.threads.get_mut(self.supervisor).unwrap();
        let (serves_fault, registers) = (supervisor.serves_fault, &mut supervisor.registers);
        for word in &mut registers.gpr {
            *word = random.below(4);
        }
        if random.one_in(4) {
            registers.gpr[RSI] = random.word();
        }
        if serves_fault {
            // To supply memory it would have to name a Mapping: misuse stops it for ever.
            registers.gpr[RSI] = random.below(2);
        }
        registers.gpr[RAX] = Call::IpcReplyWaitReceive as u64;
        registers.gpr[RDI] = OWN_OBJECTS;
        registers.gpr[R15] = time + 20_000;
        self.enter(self.supervisor);
        // Whoever has stopped goes on now and then.
        if self.random.one_in(8) && self.kernel.current == Some(self.supervisor) {
            let threads: Vec<_> = self.kernel.objects.threads.ids().collect();
            let thread = threads[self.random.below(threads.len() as u64) as usize];
            if thread != self.supervisor {
                self.restart(thread);
            }
        }
    }

    /// Lets one of the supervisor's own threads go on from its beginning.
    fn restart(&mut self, _: Id<Thread>) {
        let count = KINDS.len() as u64 * THREADS;
        let which = self.random.below(count);
        let objects = &self.kernel.objects;
        // They are among the supervisor's objects, in the order in which they were made.
        let own = (0..self.next_object).map(|number| OWN_OBJECTS + number * OBJECT_SIZE).filter(|&address| {
            matches!(objects.at(HostPhysical::new(physical_of(address))), Some(crate::objects::Object::Thread(_)))
        });
        let Some(thread) = { own }.nth(which as usize) else { return };
        if which / THREADS == 1 {
            self.call(Call::ThreadSetState, [thread, 0, 0, 0, 1, 0]);
            return;
        }
        let state = self.state(native_state().as_bytes());
        let groups = NativeState::REGISTERS | Groups::EVENT | Groups::SYSCALL;
        self.call(Call::ThreadSetState, [thread, state, groups.bits(), 0, 1, 0]);
    }

    /// An exception or interrupt of the running thread.
    fn interrupt(&mut self, id: Id<Thread>, vector: u64, error: u64) {
        if id == self.supervisor && vector < 32 {
            return;
        }
        let Some(thread) = self.kernel.objects.threads.get_mut(id) else { return };
        (thread.registers.vector, thread.registers.error) = (vector, error);
        entry::returns(|| {
            self.kernel.interrupted();
        });
    }

    /// A system call of the running thread, as the entry handles it.
    fn enter(&mut self, id: Id<Thread>) {
        let kernel = &mut self.kernel;
        let Some(thread) = kernel.objects.threads.get_mut(id) else { return };
        let registers = &mut thread.registers;
        registers.rip = CODE + 2;
        registers.vector = entry::SYSTEM_CALL;
        if registers.gpr[RAX] == Call::ThreadSelf as u64 {
            registers.gpr[RDI] = registers.self_address;
            registers.gpr[RAX] = Status::Ok as u64;
        } else {
            entry::returns(|| {
                if kernel.fast_path().is_some() {
                    return;
                }
                let number = kernel.number_of_call();
                let is = |call: Call| number == Some(call as u64);
                let short = match () {
                    () if is(Call::ThreadSchedule) => kernel.fast_schedule(),
                    () if is(Call::ThreadGetState) => kernel.fast_get_state(),
                    () if is(Call::ThreadSetState) => kernel.fast_set_state(),
                    () if is(Call::IpcSend) => kernel.fast_send(),
                    () => None,
                };
                if short.is_none() {
                    kernel.system_call();
                }
            });
        }
    }

    /// Destroys all that the children have, and are.
    pub fn end(&mut self) {
        // Nobody can make new objects meanwhile.
        for number in 0..self.next_object {
            let address = OWN_OBJECTS + number * OBJECT_SIZE;
            if let Some(crate::objects::Object::Region(_)) =
                self.kernel.objects.at(HostPhysical::new(physical_of(address)))
            {
                self.must(Call::RegionProtect, [address, 0, 0, 0, 0, 0]);
            }
        }
        let children = CHILDREN..CHILDREN + KINDS.len() as u64 * CHILD_SIZE;
        let own = OWN_OBJECTS..OWN_OBJECTS + self.next_object * OBJECT_SIZE;
        let forwards = self.random.one_in(2);
        for range in if forwards { [children, own] } else { [own, children] } {
            for address in range.step_by(OBJECT_SIZE as usize) {
                if let Some(object) = self.kernel.objects.at(HostPhysical::new(physical_of(address))) {
                    let number = object.kind() as u64 * 16 + 1;
                    self.must(Call::try_read_from_bytes(number.as_bytes()).unwrap(), [address, 0, 0, 0, 0, 0]);
                }
            }
        }
    }
}
