//! The fuzzing children: a native process and a machine, alike but for the door that they call through.

use alloc::vec::Vec;
use core::mem::offset_of;

use protocols::address::PAGE_SIZE;
use protocols::api::{NativeState, OBJECT_SIZE, ObjectType, ReferenceRights, Rights, SpaceKind};
use protocols::libc::{system_call as call, time};
use protocols::libnest::memory::OutOfRange;
use protocols::libnest::micro_guest::{self, handler};
use protocols::libnest::objects::{create_mutex_in, run_thread, set_native_thread};
use protocols::libnest::{Mapping, Memory, Port, Region, Run, Server, Space, Status, Thread};
use protocols::policy::{Controls, MsrEntry};
use protocols::virtual_cpu::register::RSP;
use protocols::virtual_cpu::{Groups, VirtualCpuState};
use zerocopy::IntoBytes;

use crate::entry;
use crate::generator::{Control, NUMBERS, TABLE};
use crate::layout::{
    ALIAS, AREA, BUFFERS, CONTROL, FIRST_OBJECTS, GIVEN, KEPT, OBJECTS, READ_ONLY, SIZE, STACK_COUNT, STACK_SIZE,
    STACKS, THREAD_STATE, given, place,
};
use crate::random::Random;

/// Frames of kernel memory that a child may use.
const ALLOWANCE: u64 = 160;
/// Threads of a child whose objects its parent has, so that it can have them go on whatever happens.
const THREADS: u64 = 3;
/// Memory of a machine's from address 0 on: tables, descriptors, handlers.
const LOW: u64 = micro_guest::DATA;

/// Aliases of Ports that children's messages arrive through: each plus the child's kind.
pub mod alias {
    /// Exceptions and exits.
    pub const EXCEPTIONS: u64 = 0;
    /// Faults in memory that the parent supplies.
    pub const FAULTS: u64 = 2;
    /// Calls of its own.
    pub const CALLS: u64 = 4;
    /// The victim's.
    pub const VICTIM: u64 = 6;
}

/// Why a child cannot be made, or handled: a defect of the kernel or of the fuzzer.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// The kernel has answered a call that cannot fail.
    Status(Status),
    /// The fuzzer reaches outside its memory.
    Range,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<OutOfRange> for Failure {
    fn from(_: OutOfRange) -> Self {
        Self::Range
    }
}

/// The memory of a child, kept from round to round, so that rounds differ in nothing.
#[derive(Debug)]
pub struct Ground {
    /// From [`CONTROL`] on, and what is shown at [`KEPT`].
    memory: Memory,
    /// From 0 on, in machines.
    low: Memory,
}

impl Ground {
    /// Memory for one child.
    pub fn new() -> Option<Self> {
        Some(Self { memory: Memory::allocate(SIZE + AREA)?, low: Memory::allocate(LOW)? })
    }
}

/// A child. What it is made of goes in the order of the fields: its threads first, so that nothing is lost while it can act.
#[derive(Debug)]
pub struct Child {
    kind: SpaceKind,
    threads: Vec<Thread>,
    /// What is shown at [`KEPT`] now.
    supply: Option<Mapping>,
    mappings: Vec<Mapping>,
    space: Space,
    /// Exports what is shown at [`KEPT`]; asks for it where nothing is shown.
    kept: Region,
    store: Space,
    /// All of its memory.
    region: Region,
    /// What is shown from 0 on in a machine.
    _low: Option<Region>,
    /// Where exceptions arrive, faults in [`KEPT`], and what it calls its parent with.
    ports: [Port; 3],
    memory: Memory,
    /// Calls of each stack, when they were last looked at.
    seen: [u64; STACK_COUNT as usize],
    /// Calls in all.
    pub calls: u64,
}

impl Child {
    /// A child on `ground`, stopped, with everything that it does following from `random`. `table` says what it calls.
    pub fn new(
        kind: SpaceKind,
        ground: &Ground,
        server: &Server,
        text: &Region,
        table: &[u16; TABLE],
        random: &mut Random,
    ) -> Result<Self, Failure> {
        let (memory, is_machine) = (ground.memory.clone(), kind == SpaceKind::Machine);
        memory.clear(0, memory.size())?;
        let door = u64::from(is_machine);
        memory.write(0, &[door, THREADS, 0, 1 << (3 + random.below(8))])?;
        memory.write_bytes(offset_of!(Control, calls) as u64, table.as_bytes())?;
        for stack in 0..STACK_COUNT {
            memory.write(STACKS - CONTROL + stack * STACK_SIZE, &random.word())?;
        }
        let port = |first| server.port(first + door);
        let ports = [port(alias::EXCEPTIONS)?, port(alias::FAULTS)?, port(alias::CALLS)?];
        let region = Region::new(&memory, 0, memory.size(), Rights::all())?;
        let store = Space::new(SpaceKind::Native, 8)?;
        let kept = Region::of_space(&store, 0, AREA, Rights::all())?;
        kept.set_keeper(&ports[1])?;
        let space = Space::new(kind, ALLOWANCE)?;
        space.set_keeper(&ports[0])?;
        let (read, all) = (Rights::READ, Rights::all());
        let objects = Rights::READ | Rights::WRITE | Rights::CREATE_OBJECT;
        let text_start = protocols::startup::PROGRAM_ADDRESS;
        let shown = [
            (text, 0, text_start, text.size(), Rights::READ | Rights::EXECUTE),
            (&region, 0, CONTROL, OBJECTS - CONTROL, Rights::READ | Rights::WRITE),
            (&region, OBJECTS - CONTROL, OBJECTS, AREA, objects),
            (&region, OBJECTS - CONTROL, ALIAS, AREA, all),
            (&region, BUFFERS - CONTROL, READ_ONLY, AREA, read),
            (&kept, 0, KEPT, AREA, all),
        ];
        let show = |(region, offset, start, size, rights)| Mapping::new(region, offset, &space, start, size, rights);
        let mut mappings = shown.into_iter().map(show).collect::<Result<Vec<_>, _>>()?;
        let mut low_region = None;
        if is_machine {
            let low = &ground.low;
            micro_guest::prepare(low, &[])?;
            for vector in 0..=255 {
                // mov eax, entry; jmp rax
                let target = (entry::address() as u32).to_le_bytes();
                let code = [&[0xb8], &target[..], &[0xff, 0xe0]].concat();
                low.write_bytes(handler(vector), &code)?;
            }
            let low = Region::new(low, 0, LOW, Rights::READ | Rights::WRITE | Rights::EXECUTE)?;
            mappings.push(Mapping::new(&low, 0, &space, 0, LOW, all)?);
            low_region = Some(low);
            allow(&space, random)?;
        }
        let seen = [0; STACK_COUNT as usize];
        let (threads, supply) = (Vec::new(), None);
        let mut child = Self {
            kind,
            threads,
            supply,
            mappings,
            space,
            kept,
            store,
            region,
            _low: low_region,
            ports,
            memory,
            seen,
            calls: 0,
        };
        for number in 0..THREADS {
            let thread = child.thread(number)?;
            child.threads.push(thread);
        }
        child.write_thread_state()?;
        Ok(child)
    }

    /// Makes the objects that the child starts with.
    pub fn furnish(&self) -> Result<(), Failure> {
        for (kind, &count) in FIRST_OBJECTS.iter().enumerate() {
            for number in 0..count {
                self.create_object(kind as u64, number)?;
            }
        }
        let reference = |number| self.object(ObjectType::Reference, number);
        call::reference_copy(self.space.reference().address(), reference(given::SPACE))?;
        call::reference_copy(self.region.reference().address(), reference(given::MEMORY))?;
        call::reference_copy(self.kept.reference().address(), reference(given::KEPT))?;
        // With a badge, so that the child can choose none.
        let parent = self.ports[2].reference().address();
        call::reference_restrict(
            parent,
            reference(given::PARENT),
            ReferenceRights::all(),
            alias::CALLS + self.kind as u64,
        )?;
        call::portset_reference(self.object(ObjectType::Portset, 0), reference(given::PORTSET))?;
        call::port_set_state(self.object(ObjectType::Port, 0), 7, reference(given::PORTSET))?;
        call::port_reference(self.object(ObjectType::Port, 0), reference(given::PORT))?;
        Ok(call::thread_reference(self.object(ObjectType::Thread, 0), reference(given::THREAD))?)
    }

    /// Gives the child a way to another, and all that it is given where it cannot lose it.
    pub fn meet(&self, other: &Self) -> Result<(), Failure> {
        let reference = |number| self.object(ObjectType::Reference, number);
        call::reference_copy(other.object(ObjectType::Reference, given::PORT), reference(given::OTHER))?;
        for number in 0..given::COUNT {
            let lasting = self.own(BUFFERS + GIVEN) + number * OBJECT_SIZE;
            call::reference_create(lasting)?;
            call::reference_copy(reference(number), lasting)?;
        }
        Ok(())
    }

    /// Lets the child run.
    pub fn start(&self, random: &mut Random) -> Result<(), Failure> {
        if self.kind == SpaceKind::Native {
            for number in 0..3 {
                let state = native_state(THREADS + random.below(STACK_COUNT - THREADS));
                let thread = self.object(ObjectType::Thread, number);
                set_native_thread(thread, &state, self.space.reference(), Run::Unchanged)?;
                call::thread_set_self(thread, place(ObjectType::Thread as u64, number))?;
                run_thread(thread, Run::Go)?;
            }
        }
        for (thread, number) in self.threads.iter().zip(8..) {
            // So that it can own Mutexes. It has no object there, or another.
            call::thread_set_self(thread.address(), place(ObjectType::Thread as u64, number))?;
            thread.go()?;
        }
        Ok(())
    }

    /// The address in the program's own Space of one of the child's objects.
    fn object(&self, kind: ObjectType, number: u64) -> u64 {
        self.own(place(kind as u64, number))
    }

    /// The address in the program's own Space of what the child sees at `address`.
    fn own(&self, address: u64) -> u64 {
        self.memory.address() + (address - CONTROL)
    }

    fn create_object(&self, kind: u64, number: u64) -> Result<(), Failure> {
        let address = self.own(place(kind, number));
        match kind {
            1 => create_mutex_in(&self.memory, address - self.memory.address())?,
            2 => call::cond_create(address)?,
            3 => call::mapping_create(address)?,
            4 => call::region_create(address)?,
            5 => call::port_create(address)?,
            6 => call::portset_create(address)?,
            8 => call::thread_create(address)?,
            _ => call::reference_create(address)?,
        }
        Ok(())
    }

    fn thread(&self, number: u64) -> Result<Thread, Failure> {
        Ok(match self.kind {
            SpaceKind::Native => Thread::native(&self.space, &native_state(number))?,
            SpaceKind::Machine => Thread::virtual_cpu(&self.space, &cpu_state(number), Groups::VMCS | Groups::GENERAL)?,
        })
    }

    /// Sets a thread of the child's to its beginning.
    fn restart(&self, number: u64, thread: &Thread) -> Result<(), Failure> {
        match self.kind {
            SpaceKind::Native => {
                const GROUPS: Groups =
                    NativeState::REGISTERS.union(Groups::EVENT).union(Groups::SYSCALL).union(Groups::DEBUG);
                thread.set_native_groups(&native_state(number), GROUPS, Run::Go)?;
            }
            SpaceKind::Machine => {
                let groups = Groups::VMCS | Groups::GENERAL | Groups::EVENT;
                thread.set_state(&cpu_state(number), groups, Run::Go)?;
            }
        }
        Ok(())
    }

    /// Writes the state that the child sets threads to, which calls overwrite.
    pub fn write_thread_state(&self) -> Result<(), Failure> {
        let offset = THREAD_STATE - CONTROL;
        let stack = self.calls % STACK_COUNT;
        match self.kind {
            SpaceKind::Native => self.memory.write(offset, &native_state(stack))?,
            SpaceKind::Machine => self.memory.write(offset, &cpu_state(stack))?,
        }
        Ok(())
    }

    /// Counts the calls made since it was last looked at, at most `most` on each stack, and sets threads that have made none to their
    /// beginning. Returns how many calls that were.
    pub fn look(&mut self, most: u64) -> Result<u64, Failure> {
        let mut more = 0;
        self.memory.write(offset_of!(Control, now) as u64, &time::now())?;
        for stack in 0..STACK_COUNT {
            let count = self.memory.read::<u64>(STACKS - CONTROL + stack * STACK_SIZE + 8)?;
            let made = count.wrapping_sub(core::mem::replace(&mut self.seen[stack as usize], count));
            // The child can write what it likes there.
            more += if made <= most { made } else { 0 };
            if let Some(thread) = self.threads.get(stack as usize).filter(|_| made == 0) {
                self.restart(stack, thread)?;
            }
        }
        self.calls += more;
        Ok(more)
    }

    /// Does something to the child that a parent may do to it at any time.
    pub fn disturb(&mut self, random: &mut Random) -> Result<(), Failure> {
        let number = random.below(THREADS);
        let thread = &self.threads[number as usize];
        match random.below(10) {
            0 => thread.stop()?,
            1 => thread.go()?,
            2 => {
                thread.interrupt((random.below(240) + 16) as u8)?;
            }
            3 => self.restart(number, thread)?,
            4 => {
                self.region.protect(Rights::from_bits_truncate(random.word()))?;
                self.region.protect(Rights::all())?;
            }
            5 => self.supply = None,
            6 => self.change_state(random)?,
            7 => self.write_thread_state()?,
            8 => {
                let rights = Rights::from_bits_truncate(random.word() | 1);
                let offset = random.below(8) * PAGE_SIZE;
                self.mappings[3].set(&self.region, OBJECTS - CONTROL + offset, &self.space, ALIAS, AREA / 2, rights)?;
            }
            _ => {
                self.space.set_patience(random.below(1 << 22) + 1)?;
            }
        }
        Ok(())
    }

    /// Changes the state of a thread at random.
    fn change_state(&self, random: &mut Random) -> Result<(), Failure> {
        let thread = &self.threads[random.below(THREADS) as usize];
        let groups = Groups::from_bits_truncate(random.word());
        match self.kind {
            SpaceKind::Native => {
                let mut state = NativeState::default();
                thread.get_native_state(&mut state, NativeState::GROUPS)?;
                scramble(state.as_mut_bytes(), random);
                refused_or_done(thread.set_native_groups(&state, groups & NativeState::GROUPS, Run::Go))
            }
            SpaceKind::Machine => {
                let mut state = VirtualCpuState::zeroed();
                thread.get_state(&mut state, Groups::all())?;
                scramble(state.as_mut_bytes(), random);
                refused_or_done(thread.set_state(&state, groups, Run::Go))
            }
        }
    }

    /// Shows memory where the child has asked for it.
    pub fn give_supply(&mut self) -> Result<(), Failure> {
        self.supply = None;
        self.supply = Some(Mapping::new(&self.region, SIZE, &self.store, 0, AREA, Rights::all())?);
        Ok(())
    }

    /// How often each call has succeeded, as the child says.
    pub fn succeeded(&self) -> Result<[u32; NUMBERS], Failure> {
        Ok(self.memory.read(offset_of!(Control, succeeded) as u64)?)
    }

    /// Frames that the child uses, and may use.
    pub fn use_of_memory(&self) -> Result<(u64, u64), Failure> {
        let state = self.space.state()?;
        Ok((state.used, state.allowance))
    }

    /// Ends it, in an order that depends on `random`. Nothing of it remains.
    pub fn end(self, random: &mut Random) -> Result<(), Failure> {
        let Self { threads, supply, mappings, space, kept, store, region, ports, .. } = self;
        region.protect(Rights::empty())?;
        match random.below(4) {
            0 => {
                region.destroy_objects()?;
            }
            1 => {
                drop(space);
                region.destroy_objects()?;
            }
            2 => {
                drop((mappings, supply));
                drop(threads);
                region.destroy_objects()?;
            }
            _ => {
                drop((kept, store));
                drop(ports);
                region.destroy_objects()?;
            }
        }
        Ok(())
    }
}

/// A state that is not possible is refused; any other answer is a defect.
fn refused_or_done(result: Result<(), Status>) -> Result<(), Failure> {
    match result {
        // There may be no memory for extended registers.
        Ok(()) | Err(Status::Refused | Status::NoMemory) => Ok(()),
        Err(status) => Err(status.into()),
    }
}

/// Overwrites a few words.
fn scramble(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..random.below(6) {
        let at = random.below(bytes.len() as u64 / 8) as usize * 8;
        let value = match random.below(3) {
            0 => random.word(),
            1 => 1 << random.below(64),
            _ => entry::address(),
        };
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

/// Sets a machine's policy at random.
fn allow(space: &Space, random: &mut Random) -> Result<(), Failure> {
    let flags = random.word() as u32 & Controls::ALL | Controls::VMCALL;
    let exception_bitmap = if random.one_in(2) { 0 } else { random.word() as u32 };
    space.set_controls(&Controls { exception_bitmap, flags, xcr0_allowed: 7, cr4_allowed: 0x4_06ff })?;
    if random.one_in(2) {
        let direct = |msr| MsrEntry { msr, mode: MsrEntry::DIRECT, value: 0 };
        space.set_msrs(&protocols::policy::DIRECT_MSRS.map(direct))?;
    }
    Ok(())
}

fn stack_end(stack: u64) -> u64 {
    STACKS + (stack + 1) * STACK_SIZE - 16
}

fn native_state(stack: u64) -> NativeState {
    let mut state = NativeState { rip: entry::address(), ..NativeState::default() };
    state.gpr[RSP] = stack_end(stack);
    state.exceptions.enabled = 1;
    state.exceptions.handler = entry::address();
    state.exceptions.interrupt_handler = entry::address();
    state
}

fn cpu_state(stack: u64) -> VirtualCpuState {
    let mut state = micro_guest::state();
    state.rip = entry::address();
    state.gpr[RSP] = stack_end(stack);
    state
}

const _: () = assert!(SIZE.is_multiple_of(PAGE_SIZE));
