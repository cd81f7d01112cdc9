//! Quotas of kernel memory and objects: that they limit whole subtrees, change, and return.

use core::ops::Range;

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, NativeState, OBJECT_SIZE, Quotas, Rights, Run, SpaceKind, SpaceState, Status};
use protocols::exception::Misuse;
use protocols::libc::system_call as call;
use protocols::libnest::server::stop;
use protocols::libnest::{Event, Reference, Space, objects};
use protocols::virtual_cpu::register::{RAX, RDI};

use crate::code;
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{Answer, CODE, DATA, DATA_SIZE, Native};
use crate::space::resources;

/// The tests.
pub const TESTS: &[Test] = &[
    ("quota::objects_limit", objects_limit),
    ("quota::objects_limit_descendants", objects_limit_descendants),
    ("quota::objects_destroyed_by_others", objects_destroyed_by_others),
    ("quota::objects_that_were_moved", objects_that_were_moved),
    ("quota::more_and_less", more_and_less),
    ("quota::all_or_nothing", all_or_nothing),
    ("quota::only_from_above", only_from_above),
    ("quota::what_outlives_its_space", what_outlives_its_space),
    ("quota::children_that_outlive_their_parent", children_that_outlive_their_parent),
];

const OK: u64 = Status::Ok as u64;
const NO_OBJECTS: u64 = Status::NoObjects as u64;
const UNCHANGED: u64 = Quotas::UNCHANGED;

/// Quotas with so many objects and as they are else.
fn objects(objects: u64) -> Quotas {
    Quotas { frames: UNCHANGED, objects, cpu: UNCHANGED }
}

/// A child that may have `more` objects than it has.
fn limited(bench: &mut Bench, more: u64) -> Result<(Native, SpaceState), Failure> {
    let mut child = Native::new(bench)?;
    child.call(bench, Call::ThreadSelf, &[])?;
    let used = resources(&child)?.objects_used;
    child.space.set_quotas(objects(used + more))?;
    let state = resources(&child)?;
    require!((state.objects, state.objects_used), (used + more, used));
    Ok((child, state))
}

/// Where the child's object of this number is.
pub fn place(number: u64) -> u64 {
    DATA + number * OBJECT_SIZE
}

fn objects_limit(bench: &mut Bench) -> Verdict {
    let (mut child, before) = limited(bench, 2)?;
    let creations = [
        Call::MutexCreate,
        Call::CondCreate,
        Call::MappingCreate,
        Call::RegionCreate,
        Call::PortCreate,
        Call::PortsetCreate,
        Call::SpaceCreate,
        Call::ThreadCreate,
        Call::ReferenceCreate,
    ];
    require!(child.status(bench, Call::PortCreate, &[place(0)])?, OK);
    require!(child.status(bench, Call::ThreadCreate, &[place(1)])?, OK);
    for call in creations {
        require!(child.status(bench, call, &[place(2), 0, 8])?, NO_OBJECTS);
    }
    // Another does not notice.
    let mut other = Native::new(bench)?;
    require!(other.status(bench, Call::PortCreate, &[place(0)])?, OK);
    require!(child.status(bench, Call::PortDestroy, &[place(0)])?, OK);
    require!(child.status(bench, Call::ReferenceCreate, &[place(2)])?, OK);
    require!(child.status(bench, Call::ReferenceCreate, &[place(3)])?, NO_OBJECTS);
    require!(child.status(bench, Call::ReferenceDestroy, &[place(2)])?, OK);
    require!(child.status(bench, Call::ThreadDestroy, &[place(1)])?, OK);
    require!(resources(&child)?, before);
    Ok(())
}

fn objects_limit_descendants(bench: &mut Bench) -> Verdict {
    let (mut child, before) = limited(bench, 10)?;
    require!(child.status(bench, Call::SpaceCreate, &[place(0), 0, 8, 10])?, NO_OBJECTS);
    require!(child.status(bench, Call::SpaceCreate, &[place(0), 0, 8, UNCHANGED])?, NO_OBJECTS);
    require!(resources(&child)?, before);
    require!(child.status(bench, Call::SpaceCreate, &[place(0), 0, 8, 9])?, OK);
    require!(resources(&child)?.objects_used, before.objects_used + 10);
    require!(child.status(bench, Call::PortCreate, &[place(1)])?, NO_OBJECTS);
    require!(child.status(bench, Call::SpaceDestroy, &[place(0)])?, OK);
    require!(resources(&child)?, before);
    Ok(())
}

fn objects_destroyed_by_others(bench: &mut Bench) -> Verdict {
    let (mut child, before) = limited(bench, 20)?;
    for number in 0..20 {
        require!(child.status(bench, Call::MutexCreate, &[place(number)])?, OK);
    }
    require!(child.status(bench, Call::MutexCreate, &[place(20)])?, NO_OBJECTS);
    require!(child.region.destroy_objects()?, 20);
    require!(resources(&child)?, before);
    require!(child.status(bench, Call::MutexCreate, &[place(20)])?, OK);
    Ok(())
}

fn objects_that_were_moved(bench: &mut Bench) -> Verdict {
    let (mut child, before) = limited(bench, 1)?;
    require!(child.status(bench, Call::PortCreate, &[place(0)])?, OK);
    let full = resources(&child)?;
    require!(child.status(bench, Call::PortMove, &[place(0), place(7)])?, OK);
    // Whoever moves it does not pay.
    call::port_move(child.own_address(place(7)), child.own_address(place(3)))?;
    require!(resources(&child)?, full);
    require!(child.status(bench, Call::PortDestroy, &[place(3)])?, OK);
    require!(resources(&child)?, before);
    Ok(())
}

fn more_and_less(bench: &mut Bench) -> Verdict {
    let (mut child, before) = limited(bench, 0)?;
    require!(child.status(bench, Call::PortCreate, &[place(0)])?, NO_OBJECTS);
    child.space.set_quotas(objects(before.objects + 2))?;
    require!(child.status(bench, Call::PortCreate, &[place(0)])?, OK);
    // Less than it uses is refused, what it uses is not.
    require!(child.space.set_quotas(objects(before.objects)).err(), Some(Status::Refused));
    child.space.set_quotas(objects(before.objects + 1))?;
    require!(child.status(bench, Call::PortCreate, &[place(1)])?, NO_OBJECTS);
    // The same for kernel memory.
    let state = resources(&child)?;
    let frames = |frames| Quotas { frames, objects: UNCHANGED, cpu: UNCHANGED };
    require!(child.space.set_quotas(frames(state.used - 1)).err(), Some(Status::Refused));
    child.space.set_quotas(frames(state.used + 1))?;
    require!(child.status(bench, Call::SpaceCreate, &[DATA + 0x400, 0, 8])?, NO_OBJECTS);
    child.space.set_quotas(objects(before.objects + 2))?;
    require!(child.status(bench, Call::SpaceCreate, &[DATA + 0x400, 0, 8])?, Status::NoMemory as u64);
    child.space.set_quotas(frames(state.used + 12))?;
    require!(child.status(bench, Call::SpaceCreate, &[DATA + 0x400, 0, 8])?, OK);
    // What was passed on is in use.
    require!(child.space.set_quotas(frames(state.used + 7)).err(), Some(Status::Refused));
    require!(child.status(bench, Call::SpaceDestroy, &[DATA + 0x400])?, OK);
    child.space.set_quotas(frames(state.allowance))?;
    Ok(())
}

fn all_or_nothing(bench: &mut Bench) -> Verdict {
    let (mut child, _) = limited(bench, 5)?;
    require!(child.status(bench, Call::PortCreate, &[place(0)])?, OK);
    let before = resources(&child)?;
    for (quotas, status) in [
        (Quotas { frames: before.allowance + 1, objects: 0, cpu: 1 }, Status::Refused),
        (Quotas { frames: u64::MAX - 1, objects: before.objects + 1, cpu: 1 }, Status::NoMemory),
        (Quotas { frames: before.allowance + 1, objects: u64::MAX - 1, cpu: 1 }, Status::NoObjects),
    ] {
        require!(child.space.set_quotas(quotas).err(), Some(status));
        require!(resources(&child)?, before);
    }
    let same = Quotas { frames: UNCHANGED, objects: UNCHANGED, cpu: UNCHANGED };
    child.space.set_quotas(same)?;
    require!(resources(&child)?, before);
    Ok(())
}

fn only_from_above(bench: &mut Bench) -> Verdict {
    let (mut child, _) = limited(bench, 20)?;
    // A child that sees the object of a Space that others have created, its own or not, cannot help itself.
    let own = child.own_address(place(0));
    call::space_create(own, SpaceKind::Native, 8.into())?;
    let answer = child.call(bench, Call::SpaceSetQuotas, &[place(0), 9, UNCHANGED, UNCHANGED])?;
    require!(answer, Answer::misuse(Misuse::NoRight));
    call::space_set_quotas(own, Quotas { frames: 9, objects: UNCHANGED, cpu: 0 })?;
    // One of its own it can change, as long as the share is one.
    require!(child.status(bench, Call::SpaceCreate, &[place(1), 0, 8, 2])?, OK);
    require!(child.status(bench, Call::SpaceSetQuotas, &[place(1), 9, 3, Quotas::WHOLE_CPU])?, OK);
    let answer = child.call(bench, Call::SpaceSetQuotas, &[place(1), 9, 3, Quotas::WHOLE_CPU + 1])?;
    require!(answer, Answer::misuse(Misuse::BadArgument));
    let answer = child.call(bench, Call::SpaceCreate, &[place(2), 0, 8, 2, Quotas::WHOLE_CPU + 1])?;
    require!(answer, Answer::misuse(Misuse::BadArgument));
    require!(child.call(bench, Call::SpaceSetQuotas, &[place(5), 9, 3, 0])?, Answer::misuse(Misuse::NoObject));
    // So can whoever is above both.
    let grandchild = child.own_address(place(1));
    call::space_set_quotas(grandchild, Quotas { frames: 8, objects: 2, cpu: 0 })?;
    let state = call::space_get_state(grandchild)?;
    require!((state.allowance, state.objects, state.cpu), (8, 2, 0));
    Ok(())
}

/// Where the child keeps what it needs to show its memory in a grandchild, and the thread that runs there.
const TOOLS: u64 = 100;

/// A thread that runs in the grandchild at `place(0)`, which sees what the child sees.
pub struct Grandchild {
    thread: u64,
    space: Reference,
}

impl Grandchild {
    /// Shows the child's memory in the grandchild.
    pub fn new(bench: &mut Bench, child: &mut Native) -> Result<Self, Failure> {
        let own = |child: &Native, number| child.own_address(place(TOOLS + number));
        let grandchild = child.own_address(place(0));
        let space = Reference::new()?;
        call::space_reference(grandchild, space.address())?;
        call::space_set_keeper(grandchild, child.port.reference().address())?;
        for (number, from) in [(0, child.region.reference().address()), (1, space.address())] {
            call::reference_create(own(child, number))?;
            call::reference_copy(from, own(child, number))?;
        }
        for (number, offset, start, size) in [(2, 0, CODE, PAGE_SIZE), (3, PAGE_SIZE, DATA, DATA_SIZE)] {
            let mapping = place(TOOLS + number);
            for (word, value) in [offset, start, size, Rights::all().bits()].into_iter().enumerate() {
                child.write(DATA + 0x4000 + word as u64 * 8, value)?;
            }
            require!(child.status(bench, Call::MappingCreate, &[mapping])?, OK);
            let arguments = [mapping, DATA + 0x4000, place(TOOLS), place(TOOLS + 1)];
            require!(child.status(bench, Call::MappingSetState, &arguments)?, OK);
        }
        let thread = own(child, 4);
        call::thread_create(thread)?;
        Ok(Self { thread, space })
    }

    /// Lets it run what stands in the child's code.
    pub fn begin(&self, registers: &[(usize, u64)]) -> Verdict {
        let mut state = NativeState { rip: CODE, rflags: 2, ..NativeState::default() };
        for &(register, value) in registers {
            state.gpr[register] = value;
        }
        Ok(objects::set_native_thread(self.thread, &state, &self.space, Run::Go)?)
    }

    /// Takes all away that the child was given for it but the Space itself.
    fn leave(self, bench: &mut Bench, child: &mut Native) -> Verdict {
        call::thread_destroy(self.thread)?;
        for number in 2..4 {
            require!(child.status(bench, Call::MappingDestroy, &[place(TOOLS + number)])?, OK);
        }
        Ok(())
    }
}

/// Has a thread in the grandchild at `place(0)` create Ports at `places`, for which its own Space pays.
fn create_in_grandchild(bench: &mut Bench, child: &mut Native, places: Range<u64>) -> Verdict {
    let grandchild = Grandchild::new(bench, child)?;
    child.memory.write_bytes(0, code::system_call())?;
    for number in places {
        grandchild.begin(&[(RAX, Call::PortCreate as u64), (RDI, place(number))])?;
        let event = bench.receive();
        let Event::Exception { exception, .. } = event else { fail!("got {event:x?} instead of an exception") };
        require!((exception.vector, exception.address), (6, 0));
        require!(objects::native_thread(grandchild.thread)?.gpr[RAX], OK);
        call::ipc_reply(&stop())?;
    }
    grandchild.leave(bench, child)
}

fn what_outlives_its_space(bench: &mut Bench) -> Verdict {
    let (mut child, before) = limited(bench, 20)?;
    require!(child.status(bench, Call::SpaceCreate, &[place(0), 0, 16, 5])?, OK);
    create_in_grandchild(bench, &mut child, 1..4)?;
    require!(child.status(bench, Call::SpaceDestroy, &[place(0)])?, OK);
    // Its Ports are still there, and paid for by the child.
    require!(resources(&child)?.objects_used, before.objects_used + 3);
    require!(child.status(bench, Call::SpaceCreate, &[place(0), 0, 8, 17])?, NO_OBJECTS);
    for number in 1..4 {
        require!(child.status(bench, Call::PortDestroy, &[place(number)])?, OK);
    }
    require!(resources(&child)?, before);
    Ok(())
}

fn children_that_outlive_their_parent(bench: &mut Bench) -> Verdict {
    let mut middle = Native::new(bench)?;
    let frames = middle.space.state()?.allowance;
    // A grandchild with half of what its parent has, which ends first: the grandchild has it still.
    require!(middle.status(bench, Call::SpaceCreate, &[place(0), 0, frames / 2, 5])?, OK);
    let grandchild = middle.own_address(place(0));
    middle.space = Space::new(SpaceKind::Native, 4)?;
    let state = call::space_get_state(grandchild)?;
    require!((state.allowance, state.objects), (frames / 2, 5));
    // Nobody is left to give it more; less returns to whom all came from.
    let more = Quotas { frames: frames / 2 + 1, objects: UNCHANGED, cpu: UNCHANGED };
    require!(call::space_set_quotas(grandchild, more).err(), Some(Status::NoMemory));
    let less = Quotas { frames: frames / 2 - 1, objects: 4, cpu: UNCHANGED };
    call::space_set_quotas(grandchild, less)?;
    require!(middle.region.destroy_objects()?, 1);
    Ok(())
}
