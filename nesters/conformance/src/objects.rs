//! What all object types have in common: being created, named and destroyed.

use alloc::vec::Vec;

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, OBJECT_SIZE, ObjectType, Rights, Status};
use protocols::exception::Misuse;
use protocols::libnest::objects::destroy;
use protocols::libnest::{Mapping, Region};
use protocols::virtual_cpu::register::RSI;

use crate::harness::{Bench, Test, Verdict, fail, require};
use crate::native::{Answer, CODE, DATA, HOLE, Native};

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
];

/// Create and destroy calls of each type.
const TYPES: [(ObjectType, Call, Call); 7] = [
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
    for number in [0, 1, 0x2f, 0x32, 0x3f, 0x77, 0x88, 0x9f, 0xa5, 0xff, 0x100, 0x1_0000_0030, u64::MAX] {
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
        (Call::RegionReference, 1),
        (Call::PortReference, 2),
        (Call::PortsetReference, 3),
        (Call::SpaceReference, 4),
        (Call::ThreadReference, 5),
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
