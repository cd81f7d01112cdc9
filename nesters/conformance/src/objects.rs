//! What all object types have in common: being created, named and destroyed.

use alloc::vec::Vec;

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, MappingState, NativeState, OBJECT_SIZE, ObjectType, RegionState, Rights, Run, Status};
use protocols::exception::Misuse;
use protocols::libc::system_call;
use protocols::libnest::objects::destroy;
use protocols::libnest::{Mapping, Reference, Region, Space, SpaceKind, objects};
use protocols::virtual_cpu::register::{R8, R9, RAX, RDI, RSI};

use crate::code;
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{Answer, CODE, DATA, DATA_SIZE, HOLE, Native};
use crate::team::{MUTEX, Team, name};

/// The tests.
pub const TESTS: &[Test] = &[
    ("objects::create_and_destroy", create_and_destroy),
    ("objects::one_place_one_object", one_place_one_object),
    ("objects::places_are_aligned", places_are_aligned),
    ("objects::memory_without_rights", memory_without_rights),
    ("objects::wrong_type", wrong_type),
    ("objects::no_object", no_object),
    ("objects::unknown_calls", unknown_calls),
    ("objects::named_by_any_address", named_by_any_address),
    ("objects::names_follow_objects", names_follow_objects),
    ("objects::names_follow_memory", names_follow_memory),
    ("objects::references", references),
    ("objects::change_needs_write", change_needs_write),
    ("objects::moved", moved),
    ("objects::moving_is_checked", moving_is_checked),
    ("objects::links_of_a_mapping", links_of_a_mapping),
    ("objects::links_of_a_region", links_of_a_region),
    ("objects::links_of_ports_and_spaces", links_of_ports_and_spaces),
    ("objects::links_of_a_thread", links_of_a_thread),
    ("objects::asking_is_checked", asking_is_checked),
    ("objects::zero_leaves_state_as_it_is", zero_leaves_state_as_it_is),
    ("objects::own_address_follows", own_address_follows),
];

/// Create and destroy calls of each type.
const TYPES: [(ObjectType, Call, Call); 9] = [
    (ObjectType::Mutex, Call::MutexCreate, Call::MutexDestroy),
    (ObjectType::Cond, Call::CondCreate, Call::CondDestroy),
    (ObjectType::Mapping, Call::MappingCreate, Call::MappingDestroy),
    (ObjectType::Region, Call::RegionCreate, Call::RegionDestroy),
    (ObjectType::Port, Call::PortCreate, Call::PortDestroy),
    (ObjectType::Portset, Call::PortsetCreate, Call::PortsetDestroy),
    (ObjectType::Space, Call::SpaceCreate, Call::SpaceDestroy),
    (ObjectType::Thread, Call::ThreadCreate, Call::ThreadDestroy),
    (ObjectType::Reference, Call::ReferenceCreate, Call::ReferenceDestroy),
];

/// Arguments that create an object at `address`: the Space, native, gets eight frames.
fn at(address: u64) -> [u64; 3] {
    [address, 0, 8]
}

fn create_and_destroy(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.call(bench, Call::ThreadSelf, &[])?;
    let before = child.space.state()?.used;
    for round in 0..20 {
        for (index, (kind, create, _)) in TYPES.iter().enumerate() {
            let address = DATA + index as u64 * OBJECT_SIZE;
            require!(child.status(bench, *create, &at(address))?, Status::Ok as u64);
            let found = child.region.search(PAGE_SIZE + index as u64 * OBJECT_SIZE)?;
            require!(found, Some((PAGE_SIZE + index as u64 * OBJECT_SIZE, *kind)));
        }
        for (index, (_, _, destroy)) in TYPES.iter().enumerate() {
            require!(child.status(bench, *destroy, &[DATA + index as u64 * OBJECT_SIZE])?, Status::Ok as u64);
        }
        if round > 0 {
            require!(child.region.search(0)?, None);
        }
    }
    require!(child.space.state()?.used, before);
    Ok(())
}

fn one_place_one_object(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    for (_, create, destroy) in TYPES {
        require!(child.status(bench, create, &at(DATA))?, Status::Ok as u64);
        for (_, other, _) in TYPES {
            require!(child.call(bench, other, &at(DATA))?, Answer::misuse(Misuse::ObjectExists));
        }
        require!(child.status(bench, destroy, &[DATA])?, Status::Ok as u64);
    }
    Ok(())
}

fn places_are_aligned(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    for (_, create, destroy) in TYPES {
        for offset in [1, 8, 32, 63] {
            require!(child.call(bench, create, &at(DATA + offset))?, Answer::misuse(Misuse::NotAligned));
            require!(child.call(bench, destroy, &[DATA + offset])?, Answer::misuse(Misuse::NotAligned));
        }
    }
    Ok(())
}

fn memory_without_rights(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    // The same data once more, without the right to create objects.
    let rights = Rights::READ | Rights::WRITE;
    let _plain = Mapping::new(&child.region, PAGE_SIZE, &child.space, HOLE, PAGE_SIZE, rights)?;
    for (_, create, destroy) in TYPES {
        for address in [0, HOLE + PAGE_SIZE, !63, 0xffff_8000_0000_0000, 1 << 63] {
            require!(child.call(bench, create, &at(address))?, Answer::misuse(Misuse::NoRight));
            require!(child.call(bench, destroy, &[address])?, Answer::misuse(Misuse::NoRight));
        }
        for address in [CODE, HOLE] {
            match child.call(bench, create, &at(address))? {
                Answer::Misused(_) | Answer::Exception(14, _) => {}
                answer => fail!("{create:?} at {address:#x}: {answer:?}"),
            }
        }
    }
    require!(child.region.search(0)?, None);
    Ok(())
}

fn wrong_type(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    for (kind, create, own) in TYPES {
        require!(child.status(bench, create, &at(DATA))?, Status::Ok as u64);
        for (other, _, destroy) in TYPES {
            if other != kind {
                require!(child.call(bench, destroy, &[DATA])?, Answer::misuse(Misuse::WrongType));
            }
        }
        require!(child.status(bench, own, &[DATA])?, Status::Ok as u64);
    }
    Ok(())
}

fn no_object(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let calls = TYPES.iter().map(|&(_, _, destroy)| destroy);
    let others = [Call::ReferenceCheck, Call::IpcCall, Call::IpcSend, Call::RegionSearch, Call::PortSetState];
    for call in calls.chain(others) {
        require!(child.call(bench, call, &[DATA + 0x1000])?, Answer::misuse(Misuse::NoObject));
    }
    Ok(())
}

fn unknown_calls(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    for number in [
        0,
        1,
        0xf,
        0x19,
        0x29,
        0x37,
        0x3f,
        0x56,
        0x66,
        0x78,
        0x8e,
        0x93,
        0x9f,
        0xa5,
        0xff,
        0x100,
        0x1_0000_0030,
        u64::MAX,
    ] {
        require!(child.call_number(bench, number, &[DATA])?, Answer::misuse(Misuse::UnknownCall));
    }
    Ok(())
}

fn named_by_any_address(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let _again = Mapping::new(&child.region, PAGE_SIZE, &child.space, HOLE, PAGE_SIZE, Rights::all())?;
    require!(child.status(bench, Call::PortCreate, &[DATA])?, Status::Ok as u64);
    require!(child.status(bench, Call::ReferenceCreate, &[HOLE + OBJECT_SIZE])?, Status::Ok as u64);
    require!(child.status(bench, Call::PortReference, &[HOLE, DATA + OBJECT_SIZE])?, Status::Ok as u64);
    require!(child.call(bench, Call::PortCreate, &[HOLE])?, Answer::misuse(Misuse::ObjectExists));
    require!(child.status(bench, Call::PortDestroy, &[HOLE])?, Status::Ok as u64);
    require!(child.call(bench, Call::PortDestroy, &[DATA])?, Answer::misuse(Misuse::NoObject));
    Ok(())
}

/// What a name was found to mean is forgotten with the object, whoever destroys it, and only with that.
fn names_follow_objects(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let (place, link, other) = (DATA, DATA + OBJECT_SIZE, DATA + 2 * OBJECT_SIZE);
    for address in [link, other] {
        require!(child.status(bench, Call::ReferenceCreate, &[address])?, Status::Ok as u64);
    }
    require!(child.status(bench, Call::PortCreate, &[place])?, Status::Ok as u64);
    require!(child.status(bench, Call::PortReference, &[place, link])?, Status::Ok as u64);
    require!(child.status(bench, Call::ReferenceDestroy, &[other])?, Status::Ok as u64);
    require!(child.status(bench, Call::PortReference, &[place, link])?, Status::Ok as u64);
    destroy(ObjectType::Port, child.own_address(place))?;
    require!(child.call(bench, Call::PortReference, &[place, link])?, Answer::misuse(Misuse::NoObject));
    require!(child.status(bench, Call::PortsetCreate, &[place])?, Status::Ok as u64);
    require!(child.call(bench, Call::PortReference, &[place, link])?, Answer::misuse(Misuse::WrongType));
    require!(child.status(bench, Call::PortsetReference, &[place, link])?, Status::Ok as u64);
    Ok(())
}

/// A name means what its memory shows now.
fn names_follow_memory(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let (first, second, link) = (DATA, DATA + PAGE_SIZE, DATA + 2 * PAGE_SIZE);
    require!(child.status(bench, Call::PortCreate, &[first])?, Status::Ok as u64);
    require!(child.status(bench, Call::PortsetCreate, &[second])?, Status::Ok as u64);
    require!(child.status(bench, Call::ReferenceCreate, &[link])?, Status::Ok as u64);
    let window = Region::new(&child.memory, PAGE_SIZE, 2 * PAGE_SIZE, Rights::all())?;
    let mut shown = Mapping::new(&window, 0, &child.space, HOLE, PAGE_SIZE, Rights::all())?;
    for _ in 0..2 {
        require!(child.status(bench, Call::PortReference, &[HOLE, link])?, Status::Ok as u64);
        // Another part of the Region.
        shown.set(&window, PAGE_SIZE, &child.space, HOLE, PAGE_SIZE, Rights::all())?;
        require!(child.call(bench, Call::PortReference, &[HOLE, link])?, Answer::misuse(Misuse::WrongType));
        require!(child.status(bench, Call::PortsetReference, &[HOLE, link])?, Status::Ok as u64);
        // A Region that is taken back, and given again.
        window.protect(Rights::empty())?;
        match child.call(bench, Call::PortsetReference, &[HOLE, link])? {
            Answer::Misused(_) | Answer::Exception(14, HOLE) => {}
            answer => fail!("{answer:?}"),
        }
        window.protect(Rights::READ)?;
        require!(child.status(bench, Call::PortsetReference, &[HOLE, link])?, Status::Ok as u64);
        match child.call(bench, Call::PortsetDestroy, &[HOLE])? {
            Answer::Misused(_) | Answer::Exception(14, HOLE) => {}
            answer => fail!("{answer:?}"),
        }
        window.protect(Rights::all())?;
        shown.set(&window, 0, &child.space, HOLE, PAGE_SIZE, Rights::all())?;
    }
    Ok(())
}

fn references(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let (first, second, third) = (DATA, DATA + OBJECT_SIZE, DATA + 2 * OBJECT_SIZE);
    let check = |child: &mut Native, bench: &mut Bench, reference| match child.call(
        bench,
        Call::ReferenceCheck,
        &[reference],
    )? {
        Answer::Done(state) => Ok(state.gpr[RSI]),
        answer => fail!("{answer:?}"),
    };
    for reference in [first, second] {
        require!(child.status(bench, Call::ReferenceCreate, &[reference])?, Status::Ok as u64);
        require!(check(&mut child, bench, reference)?, 0);
    }
    let links: Vec<_> = [
        (Call::MutexReference, 0),
        (Call::CondReference, 1),
        (Call::MappingReference, 2),
        (Call::RegionReference, 3),
        (Call::PortReference, 4),
        (Call::PortsetReference, 5),
        (Call::SpaceReference, 6),
        (Call::ThreadReference, 7),
    ]
    .into_iter()
    .map(|(refer, index)| (TYPES[index], refer))
    .collect();
    for ((kind, create, destroy), refer) in links {
        require!(child.status(bench, create, &at(third))?, Status::Ok as u64);
        require!(child.status(bench, refer, &[third, first])?, Status::Ok as u64);
        require!(child.status(bench, Call::ReferenceCopy, &[first, second])?, Status::Ok as u64);
        require!(check(&mut child, bench, second)?, kind as u64);
        require!(child.status(bench, destroy, &[third])?, Status::Ok as u64);
        require!(check(&mut child, bench, second)?, 0);
        // Another object at the same place is another object.
        require!(child.status(bench, create, &at(third))?, Status::Ok as u64);
        require!(check(&mut child, bench, second)?, 0);
        require!(child.status(bench, destroy, &[third])?, Status::Ok as u64);
    }
    require!(child.call(bench, Call::PortReference, &[first, second])?, Answer::misuse(Misuse::WrongType));
    Ok(())
}

fn change_needs_write(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let page = DATA + PAGE_SIZE;
    let _readable = Mapping::new(&child.region, 2 * PAGE_SIZE, &child.space, HOLE, PAGE_SIZE, Rights::READ)?;
    require!(child.status(bench, Call::PortCreate, &[page])?, Status::Ok as u64);
    require!(child.status(bench, Call::ReferenceCreate, &[DATA])?, Status::Ok as u64);
    require!(child.status(bench, Call::PortReference, &[HOLE, DATA])?, Status::Ok as u64);
    for (call, arguments) in [(Call::PortSetState, [HOLE, 7, 0]), (Call::PortDestroy, [HOLE, 0, 0])] {
        match child.call(bench, call, &arguments)? {
            Answer::Misused(_) | Answer::Exception(14, HOLE) => {}
            answer => fail!("{call:?}: {answer:?}"),
        }
    }
    require!(child.status(bench, Call::PortDestroy, &[page])?, Status::Ok as u64);
    Ok(())
}

/// Move calls of each type, in the order of [`TYPES`].
const MOVES: [Call; 9] = [
    Call::MutexMove,
    Call::CondMove,
    Call::MappingMove,
    Call::RegionMove,
    Call::PortMove,
    Call::PortsetMove,
    Call::SpaceMove,
    Call::ThreadMove,
    Call::ReferenceMove,
];

/// Reference calls of the types that have one, in the order of [`TYPES`].
const REFERENCES: [Call; 8] = [
    Call::MutexReference,
    Call::CondReference,
    Call::MappingReference,
    Call::RegionReference,
    Call::PortReference,
    Call::PortsetReference,
    Call::SpaceReference,
    Call::ThreadReference,
];

fn moved(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let (old, new, reference) = (DATA, DATA + 3 * OBJECT_SIZE, DATA + 7 * OBJECT_SIZE);
    require!(child.status(bench, Call::ReferenceCreate, &[reference])?, Status::Ok as u64);
    let used = child.space.state()?.used;
    for (index, (kind, create, destroy)) in TYPES.into_iter().enumerate() {
        require!(child.status(bench, create, &at(old))?, Status::Ok as u64);
        // Named, so that its name is remembered; and linked to.
        let refer = REFERENCES.get(index).copied();
        if let Some(refer) = refer {
            require!(child.status(bench, refer, &[old, reference])?, Status::Ok as u64);
        }
        require!(child.status(bench, MOVES[index], &[old, new])?, Status::Ok as u64);
        let found = PAGE_SIZE + (new - DATA);
        require!(child.region.search(PAGE_SIZE)?, Some((found, kind)));
        require!(child.call(bench, destroy, &[old])?, Answer::misuse(Misuse::NoObject));
        if let Some(refer) = refer {
            require!(child.call(bench, refer, &[old, reference])?, Answer::misuse(Misuse::NoObject));
            let Answer::Done(state) = child.call(bench, Call::ReferenceCheck, &[reference])? else { fail!("{kind:?}") };
            require!(state.gpr[RSI], kind as u64);
            require!(child.status(bench, refer, &[new, reference])?, Status::Ok as u64);
        }
        // Its old place is free.
        require!(child.status(bench, Call::PortCreate, &[old])?, Status::Ok as u64);
        require!(child.status(bench, Call::PortDestroy, &[old])?, Status::Ok as u64);
        require!(child.status(bench, destroy, &[new])?, Status::Ok as u64);
    }
    require!(child.space.state()?.used, used);
    Ok(())
}

fn moving_is_checked(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let rights = Rights::READ | Rights::WRITE;
    let _plain = Mapping::new(&child.region, PAGE_SIZE, &child.space, HOLE, PAGE_SIZE, rights)?;
    let (old, other) = (DATA, DATA + OBJECT_SIZE);
    require!(child.status(bench, Call::PortCreate, &[other])?, Status::Ok as u64);
    for (index, (_, create, destroy)) in TYPES.into_iter().enumerate() {
        let call = MOVES[index];
        require!(child.call(bench, call, &[old, old + 128])?, Answer::misuse(Misuse::NoObject));
        require!(child.status(bench, create, &at(old))?, Status::Ok as u64);
        for (from, to, why) in [
            (old, other, Misuse::ObjectExists),
            (old, old, Misuse::ObjectExists),
            (old, old + 129, Misuse::NotAligned),
            (old + 1, old + 128, Misuse::NotAligned),
            (old, 0, Misuse::NoRight),
            (0, old, Misuse::NoRight),
        ] {
            require!(child.call(bench, call, &[from, to])?, Answer::misuse(why));
        }
        for (from, to) in [(old, HOLE + 128), (HOLE, old + 128), (old, CODE)] {
            match child.call(bench, call, &[from, to])? {
                Answer::Misused(_) | Answer::Exception(14, _) => {}
                answer => fail!("{call:?} from {from:#x} to {to:#x}: {answer:?}"),
            }
        }
        let wrong = MOVES[(index + 1) % MOVES.len()];
        require!(child.call(bench, wrong, &[old, old + 128])?, Answer::misuse(Misuse::WrongType));
        require!(child.status(bench, destroy, &[old])?, Status::Ok as u64);
    }
    Ok(())
}

/// What a Reference links to.
fn link(reference: &Reference) -> Result<Option<ObjectType>, Failure> {
    Ok(reference.check()?)
}

fn links_of_a_mapping(bench: &mut Bench) -> Verdict {
    let child = Native::new(bench)?;
    let (region, space) = (Reference::new()?, Reference::new()?);
    let mapping = child.mappings[1].address();
    let state = system_call::mapping_get_state(mapping, region.address(), space.address())?;
    let rights = (Rights::READ | Rights::WRITE | Rights::CREATE_OBJECT).bits();
    require!(state, MappingState { offset: PAGE_SIZE, start: DATA, size: DATA_SIZE, rights });
    require!((link(&region)?, link(&space)?), (Some(ObjectType::Region), Some(ObjectType::Space)));
    // They are the child's: they go with it.
    drop(child);
    require!((link(&region)?, link(&space)?), (None, None));
    // Nothing is linked to, and what the References linked to is forgotten.
    let other = Native::new(bench)?;
    let empty = other.own_address(DATA);
    system_call::mapping_create(empty)?;
    system_call::space_reference(other.space.address(), space.address())?;
    let state = system_call::mapping_get_state(empty, region.address(), space.address())?;
    require!(state, MappingState::default());
    require!((link(&region)?, link(&space)?), (None, None));
    let reference = Reference::new()?;
    system_call::mapping_reference(empty, reference.address())?;
    require!(link(&reference)?, Some(ObjectType::Mapping));
    Ok(())
}

fn links_of_a_region(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let (space, keeper) = (Reference::new()?, Reference::new()?);
    let get = |region: u64| system_call::region_get_state(region, space.address(), keeper.address());
    let state = get(child.region.address())?;
    require!((state.size, state.rights), (PAGE_SIZE + DATA_SIZE, Rights::all().bits()));
    require!((link(&space)?, link(&keeper)?), (Some(ObjectType::Space), None));
    child.region.set_keeper(&child.port)?;
    get(child.region.address())?;
    require!(link(&keeper)?, Some(ObjectType::Port));
    // The Space that a Region of the child's exports is the child's, which the child can do to its own.
    require!(child.status(bench, Call::RegionCreate, &[DATA])?, Status::Ok as u64);
    for (index, word) in [DATA, PAGE_SIZE, 1].into_iter().enumerate() {
        child.write(DATA + 0x1000 + index as u64 * 8, word)?;
    }
    require!(child.status(bench, Call::RegionSetState, &[DATA, DATA + 0x1000])?, Status::Ok as u64);
    let state = get(child.own_address(DATA))?;
    require!(state, RegionState { start: DATA, size: PAGE_SIZE, rights: 1 });
    require!((link(&space)?, link(&keeper)?), (Some(ObjectType::Space), None));
    Ok(())
}

fn links_of_ports_and_spaces(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let reference = Reference::new()?;
    require!(system_call::port_get_state(child.port.address(), reference.address())?, child.alias);
    require!(link(&reference)?, Some(ObjectType::Portset));
    require!(system_call::space_get_keeper(child.space.address(), reference.address())?, 0);
    require!(link(&reference)?, Some(ObjectType::Port));
    system_call::space_set_patience(child.space.address(), 1 << 40)?;
    require!(system_call::space_get_keeper(child.space.address(), 0)?, 1 << 40);
    let own = child.own_address(DATA);
    system_call::port_create(own)?;
    require!(system_call::port_get_state(own, reference.address())?, 0);
    require!(link(&reference)?, None);
    let lonely = Space::new(SpaceKind::Native, 8)?;
    system_call::space_get_keeper(lonely.address(), reference.address())?;
    require!(link(&reference)?, None);
    // Portsets have nothing to tell.
    require!(child.status(bench, Call::PortsetCreate, &[DATA + 64])?, Status::Ok as u64);
    for call in [Call::PortsetGetState, Call::PortsetSetState] {
        require!(child.status(bench, call, &[DATA + 64])?, Status::Ok as u64);
        require!(child.call(bench, call, &[DATA])?, Answer::misuse(Misuse::WrongType));
    }
    Ok(())
}

fn links_of_a_thread(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let reference = Reference::new()?;
    let get = |thread: u64| system_call::thread_get_links(thread, reference.address());
    // The child does not see its first thread's object; we do, but it does not run in our Space.
    require!(get(child.thread.address())?, 0);
    require!(link(&reference)?, Some(ObjectType::Space));
    require!(child.status(bench, Call::ThreadCreate, &[DATA])?, Status::Ok as u64);
    require!(get(child.own_address(DATA))?, 0);
    require!(link(&reference)?, None);
    let state = NativeState { rip: CODE, rflags: 2, ..NativeState::default() };
    objects::set_native_thread(child.own_address(DATA), &state, child.space.reference(), Run::Unchanged)?;
    require!(get(child.own_address(DATA))?, DATA);
    require!(link(&reference)?, Some(ObjectType::Space));
    Ok(())
}

fn asking_is_checked(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let (object, reference) = (DATA, DATA + OBJECT_SIZE);
    let calls = [
        (3, Call::RegionGetState, [DATA + 0x1000, 0, 0]),
        (2, Call::MappingGetState, [DATA + 0x1000, 0, 0]),
        (4, Call::PortGetState, [0, 0, 0]),
        (6, Call::SpaceGetState, [DATA + 0x1000, 0, 0]),
        (7, Call::ThreadGetState, [DATA + 0x1000, 0, 0]),
        (0, Call::MutexGetState, [DATA + 0x1000, 0, 0]),
    ];
    require!(child.status(bench, Call::ReferenceCreate, &[reference])?, Status::Ok as u64);
    for (index, call, [state, second, third]) in calls {
        let (kind, create, destroy) = TYPES[index];
        require!(child.status(bench, create, &at(object))?, Status::Ok as u64);
        require!(child.status(bench, call, &[object, state, second, third])?, Status::Ok as u64);
        require!(child.status(bench, call, &[object, 0, 0, 0])?, Status::Ok as u64);
        require!(child.call(bench, call, &[reference, 0, 0, 0])?, Answer::misuse(Misuse::WrongType));
        if state != 0 {
            require!(child.call(bench, call, &[object, HOLE, 0, 0])?, Answer::Exception(14, HOLE));
        }
        // The last argument that is a Reference.
        let (with, wrong): ([u64; 4], [u64; 4]) = match kind {
            ObjectType::Mutex => continue,
            ObjectType::Port | ObjectType::Space => ([object, 0, reference, 0], [object, 0, object, 0]),
            _ => ([object, 0, 0, reference], [object, 0, 0, object]),
        };
        require!(child.status(bench, call, &with)?, Status::Ok as u64);
        require!(child.call(bench, call, &wrong)?, Answer::misuse(Misuse::WrongType));
        require!(child.status(bench, destroy, &[object])?, Status::Ok as u64);
    }
    Ok(())
}

fn zero_leaves_state_as_it_is(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let [mapping, region, empty] = [DATA, DATA + OBJECT_SIZE, DATA + 2 * OBJECT_SIZE];
    // A Region that was never set has to be; a Mapping shows nothing then.
    require!(child.status(bench, Call::MappingCreate, &[mapping])?, Status::Ok as u64);
    require!(child.status(bench, Call::RegionCreate, &[region])?, Status::Ok as u64);
    require!(child.status(bench, Call::MappingSetState, &[mapping])?, Status::Ok as u64);
    require!(child.call(bench, Call::RegionSetState, &[region])?, Answer::misuse(Misuse::BadArgument));
    for (index, word) in [0, HOLE, PAGE_SIZE, 1].into_iter().enumerate() {
        child.write(DATA + 0x1000 + index as u64 * 8, word)?;
    }
    require!(child.status(bench, Call::MappingSetState, &[mapping, DATA + 0x1000])?, Status::Ok as u64);
    require!(child.status(bench, Call::RegionSetState, &[region, DATA + 0x1008])?, Status::Ok as u64);
    // Links alone: the memory of the Region, which is a page of the hole, appears nowhere yet, then at the hole.
    require!(child.status(bench, Call::ReferenceCreate, &[empty])?, Status::Ok as u64);
    system_call::region_reference(child.region.address(), child.own_address(empty))?;
    require!(child.status(bench, Call::MappingSetState, &[mapping, 0, empty])?, Status::Ok as u64);
    system_call::space_reference(child.space.address(), child.own_address(empty))?;
    require!(child.status(bench, Call::MappingSetState, &[mapping, 0, 0, empty])?, Status::Ok as u64);
    let state = system_call::mapping_get_state(child.own_address(mapping), 0, 0)?;
    require!(state, MappingState { offset: 0, start: HOLE, size: PAGE_SIZE, rights: 1 });
    let Answer::Done(read) = child.run(bench, code::read(), &[(RDI, HOLE)])? else { fail!("the hole is not filled") };
    require!(read.gpr[RAX] & 0xffff, 0x8b48);
    // The keeper of a Region alone.
    system_call::port_reference(child.port.address(), child.own_address(empty))?;
    require!(child.status(bench, Call::RegionSetState, &[region, 0, 0, empty])?, Status::Ok as u64);
    let state = system_call::region_get_state(child.own_address(region), 0, 0)?;
    require!(state, RegionState { start: HOLE, size: PAGE_SIZE, rights: 1 });
    Ok(())
}

fn own_address_follows(bench: &mut Bench) -> Verdict {
    let team = Team::new(bench, 2)?;
    let (old, new) = (name(0), DATA + 0x800);
    // The thread asks for itself, is moved by another of its Space, and asks again.
    for (from, to) in [(old, new), (new, old)] {
        team.begin_at(0, team.child.own_address(from), Call::ThreadSelf, [0, 0, 0])?;
        team.ends(bench, 0, Status::Ok)?;
        require!(team.value(0)?, from);
        team.call(bench, 1, Call::ThreadMove, [from, to, 0], Status::Ok)?;
    }
    // It can move itself.
    team.call(bench, 0, Call::ThreadMove, [old, new, 0], Status::Ok)?;
    require!(system_call::thread_get_links(team.child.own_address(new), 0)?, new);
    // Moved by us, it does not know where it is until it is told.
    let moved = team.child.own_address(old);
    system_call::thread_move(team.child.own_address(new), moved)?;
    require!(system_call::thread_get_links(moved, 0)?, 0);
    system_call::thread_set_self(moved, old)?;
    require!(system_call::thread_get_links(moved, 0)?, old);
    team.call(bench, 0, Call::MutexLock, [MUTEX, 0, 0], Status::Ok)?;
    require!(team.word()?, old);
    // Misuse from outside would end us: the child does it.
    let mut team = team;
    let thread = name(0);
    for (run, own, why) in [(0, 1, Misuse::NotAligned), (3, 0, Misuse::BadArgument)] {
        team.begin_with(1, Call::ThreadSetState, [thread, 0, 0], &[(R8, run), (R9, own)])?;
        require!(team.exception(bench, Call::ThreadSetState)?, Answer::misuse(why));
    }
    team.call(bench, 1, Call::ThreadCreate, [DATA + 0x900, 0, 0], Status::Ok)?;
    team.begin_with(1, Call::ThreadSetState, [DATA + 0x900, 0, 0], &[(R8, 0), (R9, 64)])?;
    require!(team.exception(bench, Call::ThreadSetState)?, Answer::misuse(Misuse::BadArgument));
    Ok(())
}
