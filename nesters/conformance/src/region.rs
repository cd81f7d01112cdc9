//! Regions: limiting, keeping and searching what is exported.

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, OBJECT_SIZE, ObjectType, Rights, Status};
use protocols::libc::system_call;
use protocols::libnest::server::{fail as no_memory, retry};
use protocols::libnest::{Event, Mapping, Memory, Region, Run};
use protocols::virtual_cpu::register::{RAX, RCX, RDI, RDX, RSI};

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{Answer, DATA, HOLE, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("region::protect_stops_a_native_child", protect_stops_a_native_child),
    ("region::protect_stops_a_machine", protect_stops_a_machine),
    ("region::keeper_supplies_memory", keeper_supplies_memory),
    ("region::keeper_of_a_machine", keeper_of_a_machine),
    ("region::keeper_has_none", keeper_has_none),
    ("region::keeper_fault_in_a_call", keeper_fault_in_a_call),
    ("region::destroy_takes_effect_at_once", destroy_takes_effect_at_once),
    ("region::search_finds_all_objects", search_finds_all_objects),
    ("region::searching_hinders_nobody", searching_hinders_nobody),
    ("region::memory_is_zero", memory_is_zero),
];

fn protect_stops_a_native_child(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let region = Region::new(&child.memory, PAGE_SIZE, PAGE_SIZE, Rights::all())?;
    let _mapping = Mapping::new(&region, 0, &child.space, HOLE, PAGE_SIZE, Rights::READ | Rights::WRITE)?;
    child.begin(code::count(), &[(RDI, HOLE)])?;
    bench.run_until(|| Ok(child.read(DATA)? > 0))?;
    region.protect(Rights::READ)?;
    let count = child.read(DATA)?;
    let event = bench.receive();
    require!(child.answer(event)?, Answer::Exception(14, HOLE));
    require!(child.read(DATA)?, count);
    region.protect(Rights::all())?;
    require!(matches!(child.run(bench, code::write(), &[(RDI, HOLE), (RSI, 1)])?, Answer::Done(_)), true);
    Ok(())
}

fn protect_stops_a_machine(bench: &mut Bench) -> Verdict {
    let guest = Guest::new(bench, code::guest_count(), &[(RDI, guest::DATA)])?;
    guest.cpu.go()?;
    bench.run_until(|| Ok(guest.memory.read::<u64>(guest::DATA)? > 0))?;
    guest.region.protect(Rights::READ | Rights::EXECUTE)?;
    let count = guest.memory.read::<u64>(guest::DATA)?;
    let event = bench.receive();
    let exit = guest.exit(event)?;
    require!((exit.reason as u32, exit.guest_physical), (48, guest::DATA));
    require!(guest.memory.read::<u64>(guest::DATA)?, count);
    guest.region.protect(Rights::all())?;
    // Without skipping, the write is made again, now with success.
    let soon = bench.microseconds(3000);
    let reply = protocols::libnest::server::machine(Default::default());
    require!(bench.reply_until(&reply, soon), Event::TimedOut);
    bench.run_until(|| Ok(guest.memory.read::<u64>(guest::DATA)? > count))?;
    Ok(guest.cpu.stop()?)
}

fn keeper_supplies_memory(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let keeper = bench.port()?;
    let alias = bench.last_alias();
    let region = Region::new(&child.memory, PAGE_SIZE, 2 * PAGE_SIZE, Rights::empty())?;
    region.set_keeper(&keeper)?;
    let _mapping = Mapping::new(&region, 0, &child.space, HOLE, 2 * PAGE_SIZE, Rights::READ | Rights::WRITE)?;
    child.begin(code::write(), &[(RDI, HOLE + 0x1238), (RSI, 42)])?;
    let Event::MemoryFault { alias: at, fault } = bench.receive() else { fail!("no memory fault") };
    require!(at, alias);
    require!((fault.offset, fault.address), (0x1238, HOLE + 0x1238));
    require!(Rights::from_bits_truncate(fault.access).contains(Rights::WRITE), true);
    region.protect(Rights::all())?;
    let event = bench.reply(&retry());
    require!(matches!(child.answer(event)?, Answer::Done(_)), true);
    require!(child.read(DATA + 0x1238)?, 42);
    Ok(())
}

fn keeper_of_a_machine(bench: &mut Bench) -> Verdict {
    let guest = Guest::new(bench, code::guest_read(), &[(RDI, guest::HOLE + 0x10)])?;
    let keeper = bench.port()?;
    let memory = Memory::allocate(PAGE_SIZE).ok_or(Failure("no memory".into()))?;
    memory.write(0x10, &0xfeed_u64)?;
    let region = Region::new(&memory, 0, PAGE_SIZE, Rights::empty())?;
    region.set_keeper(&keeper)?;
    let _mapping = Mapping::new(&region, 0, &guest.space, guest::HOLE, PAGE_SIZE, Rights::READ)?;
    guest.cpu.go()?;
    let Event::MemoryFault { fault, .. } = bench.receive() else { fail!("no memory fault") };
    // Large pages and prefetching may make the processor touch no other byte: the fault is where the guest reads.
    require!((fault.offset, fault.address), (0x10, guest::HOLE + 0x10));
    region.protect(Rights::READ)?;
    let event = bench.reply(&retry());
    let exit = guest.exit(event)?;
    require!((guest::port(&exit), exit.rax), (Some(guest::END_PORT), 0xfeed));
    Ok(())
}

fn keeper_has_none(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let keeper = bench.port()?;
    let region = Region::new(&child.memory, PAGE_SIZE, PAGE_SIZE, Rights::empty())?;
    region.set_keeper(&keeper)?;
    let _mapping = Mapping::new(&region, 0, &child.space, HOLE, PAGE_SIZE, Rights::READ)?;
    child.begin(code::read(), &[(RDI, HOLE)])?;
    require!(matches!(bench.receive(), Event::MemoryFault { .. }), true);
    let event = bench.reply(&no_memory());
    require!(child.answer(event)?, Answer::Exception(14, HOLE));
    // A machine's keeper sees the exit.
    let guest = Guest::new(bench, code::guest_read(), &[(RDI, guest::HOLE), (RCX, 0)])?;
    let _mapping = Mapping::new(&region, 0, &guest.space, guest::HOLE, PAGE_SIZE, Rights::READ)?;
    guest.cpu.go()?;
    require!(matches!(bench.receive(), Event::MemoryFault { .. }), true);
    let event = bench.reply(&no_memory());
    let exit = guest.exit(event)?;
    require!((exit.reason as u32, exit.guest_physical), (48, guest::HOLE));
    Ok(())
}

fn keeper_fault_in_a_call(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let keeper = bench.port()?;
    let region = Region::new(&child.memory, 2 * PAGE_SIZE, PAGE_SIZE, Rights::empty())?;
    region.set_keeper(&keeper)?;
    let _mapping = Mapping::new(&region, 0, &child.space, HOLE, PAGE_SIZE, Rights::all())?;
    // The call needs the memory in which its object is to be; made again, it finds it.
    child.begin(code::system_call(), &[(RAX, Call::PortCreate as u64), (RDI, HOLE)])?;
    let Event::MemoryFault { fault, .. } = bench.receive() else { fail!("no memory fault") };
    require!(fault.offset, 0);
    region.protect(Rights::all())?;
    let event = bench.reply(&retry());
    let Answer::Done(state) = child.answer(event)? else { fail!("the call did not end") };
    require!(state.gpr[RAX], Status::Ok as u64);
    require!(region.search(0)?, Some((0, ObjectType::Port)));
    Ok(())
}

fn destroy_takes_effect_at_once(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let region = Region::new(&child.memory, PAGE_SIZE, PAGE_SIZE, Rights::all())?;
    let _mapping = Mapping::new(&region, 0, &child.space, HOLE, PAGE_SIZE, Rights::READ)?;
    require!(matches!(child.run(bench, code::read(), &[(RDI, HOLE)])?, Answer::Done(_)), true);
    drop(region);
    require!(child.run(bench, code::read(), &[(RDI, HOLE)])?, Answer::Exception(14, HOLE));
    Ok(())
}

fn search_finds_all_objects(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let calls = [Call::PortCreate, Call::ReferenceCreate, Call::PortsetCreate, Call::MappingCreate, Call::ThreadCreate];
    let kinds = [ObjectType::Port, ObjectType::Reference, ObjectType::Portset, ObjectType::Mapping, ObjectType::Thread];
    let offsets = [0, 0x40, 0xfc0, 0x1000, 0x7fc0];
    for (call, offset) in calls.iter().zip(offsets) {
        require!(child.status(bench, *call, &[DATA + offset])?, Status::Ok as u64);
    }
    let mut next = 0;
    for (kind, offset) in kinds.iter().zip(offsets) {
        let found = child.region.search(next)?;
        require!(found, Some((PAGE_SIZE + offset, *kind)));
        next = PAGE_SIZE + offset + OBJECT_SIZE;
    }
    require!(child.region.search(next)?, None);
    require!(child.region.search(u64::MAX - 63)?, None);
    // The parent destroys what it finds, through its own mapping of the memory.
    for (kind, offset) in kinds.iter().zip(offsets) {
        protocols::libnest::objects::destroy(*kind, child.own_address(DATA + offset))?;
    }
    require!(child.region.search(0)?, None);
    Ok(child.thread.set_native_state(&Default::default(), Run::Stop)?)
}

/// Where there is nothing, a search goes on to the next Mapping; where a Mapping shows no memory, it takes long, and others
/// run meanwhile.
fn searching_hinders_nobody(bench: &mut Bench) -> Verdict {
    const FAR: u64 = 1 << 46;
    let [own, region, of_region, state] = [DATA, DATA + 0x40, DATA + 0x80, DATA + 0x1000];
    let mut child = Native::new(bench)?;
    system_call::reference_create(child.own_address(own))?;
    system_call::space_reference(child.space.address(), child.own_address(own))?;
    for (word, value) in [0, 2 * FAR, Rights::all().bits()].into_iter().enumerate() {
        child.write(state + 8 * word as u64, value)?;
    }
    for (call, arguments) in [
        (Call::RegionCreate, [region, 0]),
        (Call::RegionSetState, [region, state]),
        (Call::ReferenceCreate, [of_region, 0]),
    ] {
        require!(child.status(bench, call, &arguments)?, Status::Ok as u64);
    }
    require!(child.status(bench, Call::RegionSearch, &[region, DATA + 0x2000])?, Status::NotFound as u64);
    let far = Mapping::new(&child.region, PAGE_SIZE, &child.space, FAR, PAGE_SIZE, Rights::all())?;
    let Answer::Done(found) = child.call(bench, Call::RegionSearch, &[region, DATA + 0x2000])? else {
        fail!("no result")
    };
    require!((found.gpr[RSI], found.gpr[RDX]), (FAR, ObjectType::Reference as u64));
    drop(far);
    let _empty = Mapping::new(&child.region, child.region.size(), &child.space, FAR, FAR / 2, Rights::all())?;
    child.thread.stop()?;
    child.begin(code::system_call(), &[(RAX, Call::RegionSearch as u64), (RDI, region), (RSI, FAR)])?;
    let soon = bench.microseconds(1000);
    require!(bench.receive_until(soon), Event::TimedOut);
    Ok(child.thread.stop()?)
}

/// Memory for Regions is zero, also when it was used before.
fn memory_is_zero(_: &mut Bench) -> Verdict {
    const SIZE: u64 = 2 << 20;
    for _ in 0..2 {
        let memory = Memory::allocate(SIZE).ok_or(Failure("no memory".into()))?;
        for offset in (0..SIZE).step_by(8) {
            require!(memory.read::<u64>(offset)?, 0);
            memory.write(offset, &u64::MAX)?;
        }
    }
    Ok(())
}
