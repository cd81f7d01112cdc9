//! A processor, memory and a monitor for tests on the host, in place of [`super`]'s modules of the same names: so that the
//! whole kernel runs there, one for each test thread. Ring 3 and guests are the tests'.

use core::cell::{Cell, RefCell};
use protocols::address::PAGE_SIZE;
use std::collections::{BTreeMap, BTreeSet};

/// What the simulation consists of.
#[derive(Default)]
pub struct Machine {
    /// The time stamp counter.
    pub time: Cell<u64>,
    /// When the timer fires; 0 for never.
    pub deadline: Cell<u64>,
    /// CR3.
    pub page_table: Cell<u64>,
    /// CR2.
    pub fault_address: Cell<u64>,
    /// How often the kernel has waited, or run a guest, since it last let ring 3 run.
    pub turns: Cell<u64>,
    memory: Cell<usize>,
    monitor: RefCell<monitor::Machines>,
    guest: Cell<Option<monitor::Guest>>,
}

std::thread_local! {
    /// That of this test thread.
    pub static MACHINE: Machine = Machine::default();
}

/// Where the memory begins in the address space of the test.
pub fn memory() -> usize {
    MACHINE.with(|machine| machine.memory.get())
}

/// Turns the machine on, with so much memory. `guest` says what guests do.
pub fn turn_on(size: u64, guest: monitor::Guest) {
    let memory = std::vec![[0u64; 512]; (size / PAGE_SIZE) as usize].leak();
    super::physical::set_end(size);
    MACHINE.with(|machine| {
        machine.memory.set(memory.as_ptr().addr());
        machine.time.set(1_000_000);
        machine.deadline.set(0);
        machine.guest.set(Some(guest));
        machine.monitor.take();
    });
}

/// Most turns until ring 3 runs again: the test's supervisor wakes up before.
const MOST_TURNS: u64 = 20_000;

fn count_turn() {
    MACHINE.with(|machine| {
        machine.turns.set(machine.turns.get() + 1);
        assert!(machine.turns.get() < MOST_TURNS, "nobody in ring 3 ever runs again");
    });
}

/// A page of the machine's memory.
pub fn page(address: u64) -> &'static mut [u64; 512] {
    // SAFETY: the memory is leaked, and the test passes addresses inside it, of pages that it looks at while the kernel does not run.
    unsafe { &mut *((memory() + address as usize) as *mut [u64; 512]) }
}

/// The processor.
pub mod cpu {
    use super::MACHINE;

    /// The time stamp counter.
    pub fn time() -> u64 {
        MACHINE.with(|machine| machine.time.get())
    }
    /// No register matters.
    pub fn read_msr(_: u32) -> u64 {
        0
    }
    /// No register matters.
    pub fn write_msr(_: u32, _: u64) {}
    /// Sets the timer.
    pub fn set_timer_deadline(deadline: u64) {
        MACHINE.with(|machine| machine.deadline.set(deadline));
    }
    /// CR2.
    pub fn fault_address() -> u64 {
        MACHINE.with(|machine| machine.fault_address.get())
    }
    /// Sets CR3.
    pub fn load_page_table(root: u64) {
        MACHINE.with(|machine| machine.page_table.set(root));
    }
    /// CR3.
    pub fn page_table() -> u64 {
        MACHINE.with(|machine| machine.page_table.get())
    }
    /// Nothing is cached.
    pub fn flush_address(_: u64) {}
    /// Nothing is cached.
    pub fn flush_user() {}
    /// They are as they should be.
    pub fn set_control_registers() {}
    /// Whether the timer has fired, which it does once.
    pub fn timer_fires() -> bool {
        MACHINE.with(|machine| {
            let fires = machine.deadline.get() != 0 && machine.deadline.get() <= machine.time.get();
            if fires {
                machine.deadline.set(0);
            }
            fires
        })
    }
    /// Takes the timer's interrupt.
    pub fn take_interrupts() {
        if timer_fires() {
            super::super::entry::pend(super::super::apic::TIMER);
        }
    }
    /// Goes on to the timer's interrupt.
    pub fn wait_for_interrupt() {
        super::count_turn();
        MACHINE.with(|machine| {
            assert_ne!(machine.deadline.get(), 0, "the kernel waits for ever");
            machine.time.set(machine.time.get().max(machine.deadline.get()));
        });
        take_interrupts();
    }
    /// Ends the test.
    pub fn wait_for_ever() {
        panic!("the kernel has stopped");
    }
    /// No base matters.
    pub fn set_gs_base(_: u64) {}
    /// No base matters.
    pub fn set_fs_base(_: u64) {}
}

/// Debug registers, of which there are none.
pub mod debug {
    use protocols::native_thread::Debug;

    /// Loads nothing.
    pub fn load(_: &Debug) {}
    /// Disarms nothing.
    pub fn disarm() {}
    /// A single step.
    pub fn take_conditions() -> u64 {
        Debug::SINGLE_STEP
    }
}

/// Extended registers, which hold nothing.
pub mod extended {
    use super::super::physical::Frame;
    use protocols::virtual_cpu::VirtualCpuState;
    use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

    /// An XSAVE area.
    #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct Area {
        /// Its bytes.
        pub bytes: [u8; 1024],
    }
    /// There are some.
    pub fn initialize() -> bool {
        true
    }
    /// All are.
    pub fn is_possible(_: u64) -> bool {
        true
    }
    /// x87, SSE and AVX.
    pub fn components() -> u64 {
        7
    }
    /// Closes nothing.
    pub fn close() {}
    /// Opens nothing.
    pub fn open() {}
    /// Saves nothing.
    pub fn save_native(_: &mut Frame<Area>) {}
    /// Loads nothing.
    pub fn load_native(_: &Frame<Area>) {}
    /// Saves nothing.
    pub fn save(_: &mut Frame<Area>, _: &mut VirtualCpuState) {}
    /// Loads nothing.
    pub fn load(_: &Frame<Area>, _: &VirtualCpuState) {}
    /// Any is good.
    pub fn sanitize(_: &mut Area) {}
}

/// Copies that never go the short way.
pub mod user_copy {
    use core::mem::MaybeUninit;

    /// No copy faults.
    pub fn after_fault(_: u64) -> Option<u64> {
        None
    }
    /// The memory is not there now.
    pub fn write<T>(_: u64, _: &T) -> bool {
        false
    }
    /// The memory is not there now.
    pub fn read<T>(_: u64, _: &mut MaybeUninit<T>) -> Option<&T> {
        None
    }
    /// The memory is not there now.
    pub fn read_at_once<T>(_: u64, _: &mut T) -> bool {
        false
    }
}

/// The monitor: machines that are sets of frames and of accessible pages.
pub mod monitor {
    use super::{BTreeMap, BTreeSet, MACHINE, PAGE_SIZE};
    use protocols::address::HostPhysical;
    use protocols::machine::{End, EptEntry, Status, VIRTUAL_CPU_FRAMES};
    use protocols::virtual_cpu::{VirtualCpuState, exit_reason};
    use zerocopy::IntoBytes;

    /// What a guest does until its next exit, which it writes to the state of its virtual CPU.
    pub type Guest = fn(&mut VirtualCpuState);

    /// All machines.
    #[derive(Default)]
    pub struct Machines {
        machines: BTreeMap<u64, Machine>,
        virtual_cpus: BTreeMap<u64, (u64, u64)>,
        last: u64,
    }

    #[derive(Default)]
    struct Machine {
        frames: Vec<u64>,
        taken: usize,
        tables: BTreeSet<u64>,
        pages: BTreeMap<u64, (u64, u16)>,
    }

    fn with<T>(work: impl FnOnce(&mut Machines) -> T) -> T {
        MACHINE.with(|machine| work(&mut machine.monitor.borrow_mut()))
    }

    fn word(list: HostPhysical, index: usize) -> u64 {
        super::page(list.get())[index]
    }

    /// What is accessible in a machine: guest page, host page, rights.
    pub fn pages(machine: u64) -> Vec<(u64, u64, u16)> {
        with(|all| {
            let machine = all.machines.get(&machine);
            machine
                .into_iter()
                .flat_map(|machine| &machine.pages)
                .map(|(&at, &(to, rights))| (at, to, rights))
                .collect()
        })
    }

    /// How many machines there are.
    pub fn count() -> usize {
        with(|all| all.machines.len())
    }

    /// The version.
    pub fn version() -> Result<u64, Status> {
        Ok(protocols::machine::VERSION)
    }
    /// Runs a guest.
    pub fn run(virtual_cpu: u64) -> Result<(), Status> {
        super::count_turn();
        let (_, state) = with(|all| all.virtual_cpus.get(&virtual_cpu).copied()).ok_or(Status::NoObject)?;
        // SAFETY: the kernel has given this page to the monitor, and looks at it again when this returns.
        let state = unsafe { &mut *((super::memory() as u64 + state) as *mut VirtualCpuState) };
        (state.dirty, state.event.information, state.advance) = (0, 0, 0);
        let (late, guest) = MACHINE.with(|machine| {
            machine.time.set(machine.time.get() + 300);
            let deadline = machine.deadline.get();
            (deadline != 0 && deadline <= machine.time.get(), machine.guest.get())
        });
        match guest {
            Some(guest) if !late => guest(state),
            _ => state.exit.reason = exit_reason::EXTERNAL_INTERRUPT,
        }
        Ok(())
    }
    /// A new machine.
    pub fn create_machine(list: HostPhysical, count: usize) -> Result<u64, Status> {
        let frames = (0..count).map(|index| word(list, index)).collect();
        with(|all| {
            all.last += 1;
            all.machines.insert(all.last, Machine { frames, taken: count, ..Machine::default() });
            Ok(all.last)
        })
    }
    /// More frames.
    pub fn donate(machine: u64, list: HostPhysical, count: usize) -> Result<(), Status> {
        with(|all| {
            let machine = all.machines.get_mut(&machine).ok_or(Status::NoObject)?;
            machine.frames.extend((0..count).map(|index| word(list, index)));
            Ok(())
        })
    }
    /// A step of destroying.
    pub fn destroy_machine(id: u64, list: HostPhysical, room: usize) -> Result<u64, Status> {
        with(|all| {
            all.virtual_cpus.retain(|_, (machine, _)| *machine != id);
            let machine = all.machines.get_mut(&id).ok_or(Status::NoObject)?;
            let count = machine.frames.len().min(room);
            for (index, frame) in machine.frames.drain(..count).enumerate() {
                super::page(list.get())[index] = frame;
            }
            if count == 0 {
                all.machines.remove(&id);
            }
            Ok(count as u64)
        })
    }
    /// A new virtual CPU.
    pub fn create_virtual_cpu(id: u64, state: HostPhysical) -> Result<u64, Status> {
        with(|all| {
            let machine = all.machines.get_mut(&id).ok_or(Status::NoObject)?;
            if machine.frames.len() - machine.taken < VIRTUAL_CPU_FRAMES {
                return Err(Status::NoFrames);
            }
            machine.taken += VIRTUAL_CPU_FRAMES;
            all.last += 1;
            all.virtual_cpus.insert(all.last, (id, state.get()));
            Ok(all.last)
        })
    }
    /// No such virtual CPU any more.
    pub fn destroy_virtual_cpu(id: u64) -> Result<(), Status> {
        with(|all| {
            let (machine, _) = all.virtual_cpus.remove(&id).ok_or(Status::NoObject)?;
            all.machines.get_mut(&machine).ok_or(Status::NoObject)?.taken -= VIRTUAL_CPU_FRAMES;
            Ok(())
        })
    }
    /// They are current.
    pub fn read_state(_: u64, _: u64) -> Result<(), Status> {
        Ok(())
    }
    /// Frames left.
    pub fn donated_frames(machine: u64) -> Result<u64, Status> {
        with(|all| {
            let machine = all.machines.get(&machine).ok_or(Status::NoObject)?;
            Ok((machine.frames.len() - machine.taken) as u64)
        })
    }
    /// Changes what is accessible.
    pub fn update_ept(id: u64, list: HostPhysical, count: usize) -> Result<(), Status> {
        const TABLE: u64 = 1 << 21;
        with(|all| {
            let machine = all.machines.get_mut(&id).ok_or(Status::NoObject)?;
            for index in 0..count {
                let mut entry = EptEntry::default();
                let words = entry.as_mut_bytes();
                for (part, position) in words.chunks_exact_mut(8).zip(3 * index..) {
                    part.copy_from_slice(&word(list, position).to_le_bytes());
                }
                let end = entry.guest + u64::from(entry.frames) * PAGE_SIZE;
                if entry.rights == 0 {
                    machine.pages.retain(|&at, _| at < entry.guest || at >= end);
                    continue;
                }
                for page in 0..u64::from(entry.frames) {
                    let at = entry.guest + page * PAGE_SIZE;
                    if !machine.tables.contains(&(at / TABLE)) {
                        if machine.frames.len() == machine.taken {
                            return Err(Status::NoFrames);
                        }
                        machine.taken += 1;
                        machine.tables.insert(at / TABLE);
                    }
                    machine.pages.insert(at, (entry.host + page * PAGE_SIZE, entry.rights));
                }
            }
            Ok(())
        })
    }
    /// Every policy is good.
    pub fn set_policy(_: u64, _: u64, _: HostPhysical, _: usize) -> Result<(), Status> {
        Ok(())
    }
    /// This processor logs nothing.
    pub fn log_writes(_: u64, _: HostPhysical) -> Result<u64, Status> {
        Err(Status::UnknownCall)
    }
    /// Nobody reads it.
    pub fn write_console(_: HostPhysical, _: usize) {}
    /// Ends the test.
    pub fn end(_: End) -> ! {
        panic!("the kernel ends the system");
    }
}
