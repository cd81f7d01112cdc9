//! Mappings: what appears where, with which rights.

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, MappingState, OBJECT_SIZE, Rights, SpaceKind, Status};
use protocols::exception::Misuse;
use protocols::libc::system_call;
use protocols::libnest::{Mapping, Memory, Region, Space};
use protocols::virtual_cpu::register::{RAX, RDI, RSI};
use zerocopy::IntoBytes;

use crate::code;
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{Answer, DATA, HOLE, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("mapping::shares_memory", shares_memory),
    ("mapping::rights_are_the_and_of_the_chain", rights_are_the_and_of_the_chain),
    ("mapping::overlap", overlap),
    ("mapping::destroy_takes_effect_at_once", destroy_takes_effect_at_once),
    ("mapping::arguments_are_checked", arguments_are_checked),
    ("mapping::large_pages", large_pages),
    ("mapping::large_mapping_with_a_hole", large_mapping_with_a_hole),
    ("mapping::set_again", set_again),
    ("mapping::ends_of_spaces", ends_of_spaces),
    ("mapping::no_space_shows_itself", no_space_shows_itself),
];

/// Reads a word as the child; `None` on a page fault at that address.
fn read(child: &mut Native, bench: &mut Bench, address: u64) -> Result<Option<u64>, Failure> {
    match child.run(bench, code::read(), &[(RDI, address)])? {
        Answer::Done(state) => Ok(Some(state.gpr[RAX])),
        Answer::Exception(14, at) if at == address => Ok(None),
        answer => fail!("reading {address:#x}: {answer:?}"),
    }
}

/// Whether the child can write a word.
fn write(child: &mut Native, bench: &mut Bench, address: u64, value: u64) -> Result<bool, Failure> {
    match child.run(bench, code::write(), &[(RDI, address), (RSI, value)])? {
        Answer::Done(_) => Ok(true),
        Answer::Exception(14, at) if at == address => Ok(false),
        answer => fail!("writing {address:#x}: {answer:?}"),
    }
}

fn shares_memory(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.write(DATA + 0x123 * 8, 0x1122_3344_5566_7788)?;
    require!(read(&mut child, bench, DATA + 0x123 * 8)?, Some(0x1122_3344_5566_7788));
    require!(write(&mut child, bench, DATA + 0x2000, 77)?, true);
    require!(child.read(DATA + 0x2000)?, 77);
    require!(read(&mut child, bench, HOLE)?, None);
    // Across the boundary of two pages.
    child.write(DATA + 0xffc, 0x0102_0304_0506_0708)?;
    require!(read(&mut child, bench, DATA + 0xffc)?, Some(0x0102_0304_0506_0708));
    Ok(())
}

fn rights_are_the_and_of_the_chain(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let (read_write, read_execute) = (Rights::READ | Rights::WRITE, Rights::READ | Rights::EXECUTE);
    for (of_region, of_mapping) in [
        (Rights::all(), Rights::READ),
        (Rights::READ, Rights::all()),
        (read_write, read_execute),
        (read_execute, read_write),
        (Rights::all(), read_write),
        (Rights::all(), Rights::all()),
    ] {
        let region = Region::new(&child.memory, PAGE_SIZE, PAGE_SIZE, of_region)?;
        let mapping = Mapping::new(&region, 0, &child.space, HOLE, PAGE_SIZE, of_mapping)?;
        let both = of_region & of_mapping;
        child.write(DATA, 0x0b0f)?; // UD2
        require!(read(&mut child, bench, HOLE)?, Some(0x0b0f));
        require!(write(&mut child, bench, HOLE + 8, 1)?, both.contains(Rights::WRITE));
        let executed = matches!(child.run(bench, code::jump(), &[(RDI, HOLE)])?, Answer::Done(_));
        require!(executed, both.contains(Rights::EXECUTE));
        drop(mapping);
        require!(read(&mut child, bench, HOLE)?, None);
    }
    Ok(())
}

fn overlap(bench: &mut Bench) -> Verdict {
    let child = Native::new(bench)?;
    let place = |start, size| Mapping::new(&child.region, 0, &child.space, start, size, Rights::READ).map(drop).err();
    let page = PAGE_SIZE;
    for (start, size) in [(DATA, page), (DATA - page, 2 * page), (DATA + 7 * page, page), (DATA + 7 * page, 2 * page)] {
        require!(place(start, size), Some(Status::Overlap));
    }
    require!(place(DATA - page, page), None);
    require!(place(DATA + 8 * page, page), None);
    Ok(())
}

fn destroy_takes_effect_at_once(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mapping = Mapping::new(&child.region, PAGE_SIZE, &child.space, HOLE, PAGE_SIZE, Rights::all())?;
    require!(write(&mut child, bench, HOLE, 5)?, true);
    drop(mapping);
    require!(write(&mut child, bench, HOLE, 6)?, false);
    require!(child.read(DATA)?, 5);
    Ok(())
}

fn arguments_are_checked(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let (mapping, reference, state) = (DATA, DATA + OBJECT_SIZE, DATA + 0x1000);
    require!(child.status(bench, Call::MappingCreate, &[mapping])?, Status::Ok as u64);
    require!(child.status(bench, Call::ReferenceCreate, &[reference])?, Status::Ok as u64);
    let good = MappingState { offset: 0, start: HOLE, size: PAGE_SIZE, rights: 1 };
    let mut set = |value: MappingState, region: u64, space: u64| {
        for (index, word) in value.as_bytes().chunks_exact(8).enumerate() {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            child.write(state + index as u64 * 8, word)?;
        }
        child.call(bench, Call::MappingSetState, &[mapping, state, region, space])
    };
    let misuse = Answer::misuse;
    require!(set(MappingState { start: 1, ..good }, 0, 0)?, misuse(Misuse::NotAligned));
    require!(set(MappingState { offset: 0x800, ..good }, 0, 0)?, misuse(Misuse::NotAligned));
    require!(set(MappingState { size: 4095, ..good }, 0, 0)?, misuse(Misuse::NotAligned));
    require!(set(MappingState { start: 1 << 49, size: 0, ..good }, 0, 0)?, misuse(Misuse::BadArgument));
    require!(set(MappingState { start: !4095, size: 8192, ..good }, 0, 0)?, misuse(Misuse::BadArgument));
    require!(set(MappingState { offset: !4095, size: 8192, ..good }, 0, 0)?, misuse(Misuse::BadArgument));
    require!(set(MappingState { rights: 16, ..good }, 0, 0)?, misuse(Misuse::BadArgument));
    require!(set(good, reference, 0)?, misuse(Misuse::NullReference));
    require!(set(good, 0, reference)?, misuse(Misuse::NullReference));
    require!(set(good, mapping, 0)?, misuse(Misuse::WrongType));
    require!(set(good, reference + 8, 0)?, misuse(Misuse::NotAligned));
    // The state itself is read as the caller would.
    require!(child.call(bench, Call::MappingSetState, &[mapping, HOLE, 0, 0])?, Answer::Exception(14, HOLE));
    // No native Space reaches into the kernel.
    let own = child.own_address(reference);
    system_call::space_reference(child.space.address(), own)?;
    let (start, size, rights) = (1 << 47, PAGE_SIZE, 1);
    for (index, word) in [0, start, size, rights].into_iter().enumerate() {
        child.write(state + index as u64 * 8, word)?;
    }
    let answer = child.call(bench, Call::MappingSetState, &[mapping, state, 0, reference])?;
    require!(answer, Answer::misuse(Misuse::BadArgument));
    Ok(())
}

fn large_pages(bench: &mut Bench) -> Verdict {
    const LARGE: u64 = 2 << 20;
    let mut child = Native::new(bench)?;
    child.run(bench, code::read(), &[(RDI, DATA)])?;
    let memory = Memory::allocate(2 * LARGE).ok_or(Failure("no memory".into()))?;
    let region = Region::new(&memory, 0, 2 * LARGE, Rights::all())?;
    let _mapping = Mapping::new(&region, 0, &child.space, 1 << 30, 2 * LARGE, Rights::READ)?;
    let before = child.space.state()?.used;
    for offset in (0..2 * LARGE).step_by(0x1_1000) {
        memory.write(offset, &offset)?;
        require!(read(&mut child, bench, (1 << 30) + offset)?, Some(offset));
    }
    let tables = child.space.state()?.used - before;
    if tables > 2 {
        fail!("mapping 4 MiB in large pages took {tables} frames of tables");
    }
    // Shifted by a page it cannot be in large pages, and must be right all the same.
    let _shifted = Mapping::new(&region, PAGE_SIZE, &child.space, 2 << 30, LARGE, Rights::READ)?;
    require!(read(&mut child, bench, 2 << 30)?, Some(memory.read(PAGE_SIZE)?));
    require!(read(&mut child, bench, (2 << 30) + 0x1_0000)?, Some(0x1_1000));
    Ok(())
}

fn large_mapping_with_a_hole(bench: &mut Bench) -> Verdict {
    const LARGE: u64 = 2 << 20;
    let mut child = Native::new(bench)?;
    let memory = Memory::allocate(LARGE).ok_or(Failure("no memory".into()))?;
    let whole = Region::new(&memory, 0, LARGE, Rights::all())?;
    let mapping = Mapping::new(&whole, 0, &child.space, 1 << 30, LARGE, Rights::all())?;
    require!(read(&mut child, bench, 1 << 30)?, Some(0));
    drop(mapping);
    let below = Mapping::new(&whole, 0, &child.space, 1 << 30, PAGE_SIZE, Rights::all())?;
    require!(read(&mut child, bench, 1 << 30)?, Some(0));
    require!(read(&mut child, bench, (1 << 30) + PAGE_SIZE)?, None);
    drop(below);
    Ok(())
}

fn set_again(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let other = Space::new(SpaceKind::Native, 8)?;
    let memory = Memory::allocate(2 * PAGE_SIZE).ok_or(Failure("no memory".into()))?;
    let region = Region::new(&memory, 0, 2 * PAGE_SIZE, Rights::all())?;
    memory.write(PAGE_SIZE, &9u64)?;
    let mut mapping = Mapping::new(&region, 0, &child.space, HOLE, PAGE_SIZE, Rights::READ)?;
    require!(read(&mut child, bench, HOLE)?, Some(0));
    mapping.set(&region, PAGE_SIZE, &child.space, HOLE, PAGE_SIZE, Rights::READ)?;
    require!(read(&mut child, bench, HOLE)?, Some(9));
    mapping.set(&region, PAGE_SIZE, &other, HOLE, PAGE_SIZE, Rights::READ)?;
    require!(read(&mut child, bench, HOLE)?, None);
    Ok(())
}

/// A Space that would show part of itself, directly or through another, is refused: nothing could follow such a chain to its
/// end.
fn no_space_shows_itself(bench: &mut Bench) -> Verdict {
    const REGION_STATE: u64 = DATA + 0x1000;
    const MAPPING_STATE: u64 = DATA + 0x1100;
    let place = |index| DATA + index * OBJECT_SIZE;
    let [own, other, region, of_region, mapping, other_space, second, of_second, back] =
        core::array::from_fn(|index| place(index as u64));
    let mut child = Native::new(bench)?;
    system_call::reference_create(child.own_address(own))?;
    system_call::space_reference(child.space.address(), child.own_address(own))?;
    let write = |child: &Native, address, state: &[u64]| -> Verdict {
        for (word, &value) in state.iter().enumerate() {
            child.write(address + 8 * word as u64, value)?;
        }
        Ok(())
    };
    write(&child, REGION_STATE, &[DATA, PAGE_SIZE, Rights::READ.bits()])?;
    write(&child, MAPPING_STATE, &[0, HOLE, PAGE_SIZE, Rights::READ.bits()])?;
    let ok = Status::Ok as u64;
    for (call, arguments) in [
        (Call::RegionCreate, [region, 0, 0]),
        (Call::RegionSetState, [region, REGION_STATE, 0]),
        (Call::ReferenceCreate, [of_region, 0, 0]),
        (Call::RegionReference, [region, of_region, 0]),
        (Call::MappingCreate, [mapping, 0, 0]),
        (Call::MappingCreate, [back, 0, 0]),
        (Call::SpaceCreate, [other_space, SpaceKind::Native as u64, 8]),
        (Call::ReferenceCreate, [other, 0, 0]),
        (Call::SpaceReference, [other_space, other, 0]),
        (Call::RegionCreate, [second, 0, 0]),
        (Call::ReferenceCreate, [of_second, 0, 0]),
        (Call::RegionReference, [second, of_second, 0]),
    ] {
        require!(child.status(bench, call, &arguments)?, ok);
    }
    let circular = Status::Circular as u64;
    require!(child.status(bench, Call::MappingSetState, &[mapping, MAPPING_STATE, of_region, own])?, circular);
    // Through another Space, by the Mapping or by the Region that would close the circle.
    require!(child.status(bench, Call::MappingSetState, &[mapping, MAPPING_STATE, of_region, other])?, ok);
    write(&child, REGION_STATE, &[HOLE, PAGE_SIZE, Rights::READ.bits()])?;
    require!(child.status(bench, Call::RegionSetState, &[second, REGION_STATE, other])?, ok);
    require!(child.status(bench, Call::MappingSetState, &[back, MAPPING_STATE, of_second, own])?, circular);
    require!(child.status(bench, Call::RegionSetState, &[region, REGION_STATE, other])?, circular);
    require!(read(&mut child, bench, HOLE)?, None);
    Ok(())
}

/// What the tables of a machine cannot hold is refused, and what they just can is not.
fn ends_of_spaces(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let machine = Space::new(SpaceKind::Machine, 16)?;
    let (mapping, region, space, state) = (DATA, DATA + OBJECT_SIZE, DATA + 2 * OBJECT_SIZE, DATA + 0x1000);
    for reference in [region, space] {
        require!(child.status(bench, Call::ReferenceCreate, &[reference])?, Status::Ok as u64);
    }
    system_call::region_reference(child.region.address(), child.own_address(region))?;
    system_call::space_reference(machine.address(), child.own_address(space))?;
    const END: u64 = 1 << 48;
    for (start, size) in [(END, PAGE_SIZE), (END - PAGE_SIZE, 2 * PAGE_SIZE), (1 << 51, PAGE_SIZE)] {
        require!(child.status(bench, Call::MappingCreate, &[mapping])?, Status::Ok as u64);
        let mut set = |start, size| {
            for (address, word) in (state..).step_by(8).zip([0, start, size, 1]) {
                child.write(address, word)?;
            }
            child.call(bench, Call::MappingSetState, &[mapping, state, region, space])
        };
        require!(set(start, size)?, Answer::misuse(Misuse::BadArgument));
        require!(matches!(set(END - PAGE_SIZE, PAGE_SIZE)?, Answer::Done(state) if state.gpr[RAX] == 0), true);
        require!(child.status(bench, Call::MappingDestroy, &[mapping])?, Status::Ok as u64);
    }
    Ok(())
}
