//! Regions that remember which of their pages were written.

use alloc::vec::Vec;

use protocols::address::{LARGE_PAGE_SIZE, PAGE_SIZE};
use protocols::api::{Call, DirtyRange, MutexState, OBJECT_SIZE, Rights, SpaceKind, Status};
use protocols::exception::{MachineReply, Misuse};
use protocols::libc::system_call::{self, ipc_reply};
use protocols::libnest::server::{machine, retry};
use protocols::libnest::{Event, Mapping, Memory, Region, Space};
use protocols::virtual_cpu::Groups;
use protocols::virtual_cpu::register::{R8, R10, RAX, RCX, RDI, RDX, RSI};

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Exported, Failure, Test, Verdict, fail, require};
use crate::hostile::Random;
use crate::native::{Answer, CODE, DATA, HOLE, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("tracking::writes_of_a_native_child", writes_of_a_native_child),
    ("tracking::writes_of_a_machine", writes_of_a_machine),
    ("tracking::writes_of_a_machine_that_runs_on", writes_of_a_machine_that_runs_on),
    ("tracking::writes_of_a_grandchild", writes_of_a_grandchild),
    ("tracking::writes_of_a_machine_below_a_child", writes_of_a_machine_below_a_child),
    ("tracking::writes_of_the_kernel", writes_of_the_kernel),
    ("tracking::writes_of_the_kernel_for_others", writes_of_the_kernel_for_others),
    ("tracking::two_names_of_a_page", two_names_of_a_page),
    ("tracking::on_and_off", on_and_off),
    ("tracking::large_pages", large_pages),
    ("tracking::rights_that_change", rights_that_change),
    ("tracking::nothing_is_lost", nothing_is_lost),
    ("tracking::little_room", little_room),
    ("tracking::parts_of_a_region", parts_of_a_region),
    ("tracking::many_stretches", many_stretches),
    ("tracking::buffer_with_a_fault", buffer_with_a_fault),
    ("tracking::is_state", is_state),
    ("tracking::is_paid_for", is_paid_for),
    ("tracking::what_cannot_be_tracked", what_cannot_be_tracked),
    ("tracking::arguments_are_checked", arguments_are_checked),
    ("tracking::more_derived_than_is_followed", more_derived_than_is_followed),
    ("tracking::random_writes", random_writes),
];

const PAGE: u64 = PAGE_SIZE;
/// Behind the end of any Region.
const END: u64 = !(PAGE - 1);

/// The numbers of the pages of a Region that were written since they were reported last.
fn written(region: &Region) -> Result<Vec<u64>, Failure> {
    let mut pages = Vec::new();
    region.take_dirty(0, END, |DirtyRange { offset, size }| {
        pages.extend(offset / PAGE..(offset + size) / PAGE);
    })?;
    Ok(pages)
}

/// The number of the page of a child's memory that it sees at an address of its data.
fn page(address: u64) -> u64 {
    1 + (address - DATA) / PAGE
}

fn write(child: &mut Native, bench: &mut Bench, address: u64) -> Verdict {
    match child.run(bench, code::write(), &[(RDI, address), (RSI, address)])? {
        Answer::Done(_) => Ok(()),
        answer => fail!("writing {address:#x}: {answer:x?}"),
    }
}

fn read(child: &mut Native, bench: &mut Bench, address: u64) -> Verdict {
    match child.run(bench, code::read(), &[(RDI, address)])? {
        Answer::Done(_) => Ok(()),
        answer => fail!("reading {address:#x}: {answer:x?}"),
    }
}

fn writes_of_a_native_child(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    write(&mut child, bench, DATA)?;
    child.region.track(true)?;
    // Neither what was before, nor reading and executing, nor what we write ourselves.
    require!(written(&child.region)?, []);
    read(&mut child, bench, DATA)?;
    child.write(DATA + 4 * PAGE, 1)?;
    require!(written(&child.region)?, []);
    write(&mut child, bench, DATA + 0x10)?;
    write(&mut child, bench, DATA + 0x18)?;
    write(&mut child, bench, DATA + 5 * PAGE)?;
    require!(written(&child.region)?, [page(DATA), page(DATA + 5 * PAGE)]);
    // Reported is forgotten.
    require!(written(&child.region)?, []);
    read(&mut child, bench, DATA)?;
    require!(written(&child.region)?, []);
    write(&mut child, bench, DATA + 0x10)?;
    require!(written(&child.region)?, [page(DATA)]);
    // Also to one that never stops.
    child.begin(code::count(), &[(RDI, DATA + PAGE)])?;
    for _ in 0..3 {
        let count = child.read(DATA + PAGE)?;
        bench.run_until(|| Ok(child.read(DATA + PAGE)? > count))?;
        require!(written(&child.region)?, [page(DATA + PAGE)]);
    }
    Ok(child.thread.stop()?)
}

fn writes_of_a_machine(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_write(), &[(RDI, guest::DATA), (RSI, 1)])?;
    let start = guest.state()?;
    let write_at = |guest: &mut Guest, bench: &mut Bench, address: u64| -> Verdict {
        let mut state = start;
        state.gpr[RDI] = address;
        guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
        let exit = guest.reply(bench, MachineReply::default())?;
        require!(guest::port(&exit), Some(guest::END_PORT));
        Ok(())
    };
    guest.start(bench)?;
    guest.region.track(true)?;
    require!(written(&guest.region)?, []);
    let of = |address: u64| address / PAGE;
    // The processor may write to its own tables, descriptors and page tables, as well.
    let data = |guest: &Guest| -> Result<Vec<u64>, Failure> {
        let mut pages = written(&guest.region)?;
        pages.retain(|&page| page >= of(guest::DATA));
        Ok(pages)
    };
    write_at(&mut guest, bench, guest::DATA + 0x10)?;
    require!(data(&guest)?, [of(guest::DATA)]);
    require!(data(&guest)?, []);
    write_at(&mut guest, bench, guest::DATA + 0x10)?;
    write_at(&mut guest, bench, guest::SIZE - 8)?;
    require!(data(&guest)?, [of(guest::DATA), of(guest::SIZE - 8)]);
    require!(data(&guest)?, []);
    Ok(())
}

/// More pages than a log of the processor's has room for, again and again.
fn writes_of_a_machine_that_runs_on(bench: &mut Bench) -> Verdict {
    const PAGES: u64 = 1200;
    let memory = Memory::allocate(PAGES * PAGE).ok_or(Failure("no memory".into()))?;
    let region = Region::new(&memory, 0, memory.size(), Rights::all())?;
    let registers = [(RDI, guest::HOLE), (RCX, PAGES), (RSI, PAGE)];
    let mut guest = Guest::new(bench, code::guest_sweep(), &registers)?;
    let _mapping = Mapping::new(&region, 0, &guest.space, guest::HOLE, memory.size(), Rights::all())?;
    region.track(true)?;
    let start = guest.state()?;
    guest.start(bench)?;
    require!(written(&region)?, (0..PAGES).collect::<Vec<_>>());
    for step in [1, 2, 7] {
        let mut state = start;
        (state.gpr[RSI], state.gpr[RCX]) = (step * PAGE, PAGES.div_ceil(step));
        guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
        guest.reply(bench, MachineReply::default())?;
        require!(written(&region)?, (0..PAGES).step_by(step as usize).collect::<Vec<_>>());
        require!(written(&region)?, []);
    }
    // Of those that were reported, some are written again while it runs on.
    region.take_dirty(0, PAGES * PAGE, |_| {})?;
    let mut state = start;
    (state.gpr[RSI], state.gpr[RCX]) = (0, u64::MAX);
    guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
    let soon = bench.microseconds(300);
    require!(bench.reply_until(&machine(MachineReply::default()), soon), Event::TimedOut);
    for _ in 0..3 {
        require!(written(&region)?, [0]);
        let soon = bench.microseconds(300);
        require!(bench.receive_until(soon), Event::TimedOut);
        guest.cpu.stop()?;
        require!(written(&region)?, [0]);
        require!(written(&region)?, []);
        guest.cpu.go()?;
        let soon = bench.microseconds(300);
        require!(bench.receive_until(soon), Event::TimedOut);
    }
    Ok(guest.cpu.stop()?)
}

fn writes_of_a_grandchild(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut grandchild = Native::new(bench)?;
    let inner = Region::of_space(&child.space, DATA + PAGE, 4 * PAGE, Rights::all())?;
    let _mapping = Mapping::new(&inner, PAGE, &grandchild.space, HOLE, 3 * PAGE, Rights::all())?;
    child.region.track(true)?;
    write(&mut grandchild, bench, HOLE + PAGE)?;
    require!(written(&child.region)?, [page(DATA + 3 * PAGE)]);
    // Both levels, each in its own time.
    inner.track(true)?;
    write(&mut grandchild, bench, HOLE)?;
    require!(written(&inner)?, [1]);
    write(&mut grandchild, bench, HOLE + 2 * PAGE)?;
    require!(written(&inner)?, [3]);
    require!(written(&child.region)?, [page(DATA + 2 * PAGE), page(DATA + 4 * PAGE)]);
    write(&mut grandchild, bench, HOLE)?;
    require!(written(&child.region)?, [page(DATA + 2 * PAGE)]);
    require!(written(&inner)?, [1]);
    // The child's own writes are none through its Region.
    write(&mut child, bench, DATA + PAGE)?;
    require!(written(&child.region)?, [page(DATA + PAGE)]);
    require!(written(&inner)?, []);
    inner.track(false)?;
    write(&mut grandchild, bench, HOLE)?;
    require!(written(&child.region)?, [page(DATA + 2 * PAGE)]);
    Ok(())
}

fn writes_of_a_machine_below_a_child(bench: &mut Bench) -> Verdict {
    let child = Native::new(bench)?;
    let registers = [(RDI, guest::HOLE), (RCX, 3), (RSI, 2 * PAGE)];
    let mut guest = Guest::new(bench, code::guest_sweep(), &registers)?;
    let inner = Region::of_space(&child.space, DATA + PAGE, 5 * PAGE, Rights::all())?;
    let _mapping = Mapping::new(&inner, 0, &guest.space, guest::HOLE, 5 * PAGE, Rights::all())?;
    child.region.track(true)?;
    inner.track(true)?;
    let start = guest.state()?;
    guest.start(bench)?;
    require!(written(&inner)?, [0, 2, 4]);
    require!(written(&child.region)?, [page(DATA + PAGE), page(DATA + 3 * PAGE), page(DATA + 5 * PAGE)]);
    let mut state = start;
    state.gpr[RCX] = 1;
    guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
    guest.reply(bench, MachineReply::default())?;
    require!(written(&child.region)?, [page(DATA + PAGE)]);
    require!(written(&inner)?, [0]);
    Ok(())
}

/// What calls store, for the thread that makes them.
fn writes_of_the_kernel(bench: &mut Bench) -> Verdict {
    const FAR: u64 = DATA + 3 * PAGE;
    let ok = Status::Ok as u64;
    let [mutex, port, thread] = [DATA, DATA + OBJECT_SIZE, DATA + 2 * OBJECT_SIZE];
    let mut child = Native::new(bench)?;
    child.region.track(true)?;
    for (call, place) in [(Call::MutexCreate, mutex), (Call::PortCreate, port), (Call::ThreadCreate, thread)] {
        require!(child.status(bench, call, &[place])?, ok);
        require!(written(&child.region)?, [page(place)]);
    }
    for round in 0..3 {
        // The state goes to one page and is about an object on another.
        require!(child.status(bench, Call::MutexGetState, &[mutex, FAR])?, ok);
        require!((round, written(&child.region)?), (round, alloc::vec![page(FAR)]));
        let general = Groups::GENERAL.bits();
        require!(child.status(bench, Call::ThreadGetState, &[thread, FAR, general])?, ok);
        require!((round, written(&child.region)?), (round, alloc::vec![page(FAR)]));
        // What it knows of the object already does not keep it from noticing.
        system_call::mutex_set_state(child.own_address(mutex), &MutexState { owner: 0 })?;
        system_call::thread_set_self(child.thread.address(), DATA + 0x400)?;
        require!(child.status(bench, Call::MutexTrylock, &[mutex])?, ok);
        require!((round, written(&child.region)?), (round, alloc::vec![page(mutex)]));
    }
    require!(child.status(bench, Call::PortMove, &[port, FAR])?, ok);
    require!(written(&child.region)?, [page(port), page(FAR)]);
    require!(child.status(bench, Call::PortDestroy, &[FAR])?, ok);
    require!(written(&child.region)?, [page(FAR)]);
    Ok(())
}

/// What is stored in one thread's memory because of another.
fn writes_of_the_kernel_for_others(bench: &mut Bench) -> Verdict {
    use crate::pair::{IN, OUT, PARAMETERS, Pair, What};
    use protocols::api::Side::{Client, Server};
    let mut pair = Pair::new(bench)?;
    pair.connect(bench)?;
    for side in [Client, Server] {
        pair.child(side).region.track(true)?;
    }
    for _ in 0..2 {
        pair.begin(Server, Call::ServerReceive, What { receive: &[(IN, 100)], ..What::default() })?;
        pair.both_wait(bench)?;
        written(&pair.child(Server).region)?;
        let what = What { send: &[(OUT, 100)], ..What::default() };
        require!(pair.call(bench, Client, Call::ClientSend, what)?, Status::Ok as u64);
        require!(written(&pair.child(Server).region)?, [page(PARAMETERS), page(IN)]);
        require!(written(&pair.child(Client).region)?, [page(PARAMETERS)]);
        pair.child(Server).thread.stop()?;
    }
    // The lock word of a Mutex changes when a thread does not wait for it any more, and when it gets it after a sleep.
    const OWN: u64 = DATA + 2 * PAGE;
    let [mutex, cond] = [DATA, DATA + PAGE];
    let mut child = Native::new(bench)?;
    let ok = Status::Ok as u64;
    require!(child.status(bench, Call::MutexCreate, &[mutex])?, ok);
    require!(child.status(bench, Call::CondCreate, &[cond])?, ok);
    system_call::thread_set_self(child.thread.address(), OWN)?;
    let hold = |child: &Native, owner| system_call::mutex_set_state(child.own_address(mutex), &MutexState { owner });
    child.region.track(true)?;
    hold(&child, DATA)?;
    child.begin(code::system_call(), &[(RAX, Call::MutexLock as u64), (RDI, mutex), (RSI, 0), (RDX, 0)])?;
    let soon = bench.microseconds(500);
    require!(bench.receive_until(soon), Event::TimedOut);
    require!(written(&child.region)?, [page(mutex)]);
    child.thread.stop()?;
    require!(written(&child.region)?, [page(mutex)]);
    hold(&child, OWN)?;
    child.begin(code::system_call(), &[(RAX, Call::CondWait as u64), (RDI, cond), (RSI, mutex), (RDX, 0)])?;
    let soon = bench.microseconds(500);
    require!(bench.receive_until(soon), Event::TimedOut);
    written(&child.region)?;
    system_call::cond_signal(child.own_address(cond))?;
    require!(written(&child.region)?, [page(mutex)]);
    let event = bench.receive();
    require!(matches!(child.answer(event)?, Answer::Done(state) if state.gpr[RAX] == ok), true);
    Ok(())
}

/// Each Region knows of what was written through it, by whatever Mapping.
fn two_names_of_a_page(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let memory = Memory::allocate(2 * PAGE).ok_or(Failure("no memory".into()))?;
    let first = Region::new(&memory, 0, 2 * PAGE, Rights::all())?;
    let second = Region::new(&memory, PAGE, PAGE, Rights::all())?;
    let rights = Rights::READ | Rights::WRITE;
    let _first = Mapping::new(&first, 0, &child.space, HOLE, 2 * PAGE, rights)?;
    let _again = Mapping::new(&first, PAGE, &child.space, HOLE + 4 * PAGE, PAGE, rights)?;
    let _second = Mapping::new(&second, 0, &child.space, HOLE + 8 * PAGE, PAGE, rights)?;
    first.track(true)?;
    second.track(true)?;
    for _ in 0..2 {
        for (address, in_first, in_second) in [
            (HOLE, Some(0), None),
            (HOLE + PAGE, Some(1), None),
            (HOLE + 4 * PAGE, Some(1), None),
            (HOLE + 8 * PAGE, None, Some(0)),
        ] {
            write(&mut child, bench, address)?;
            require!(written(&first)?, in_first.into_iter().collect::<Vec<_>>());
            require!(written(&second)?, in_second.into_iter().collect::<Vec<_>>());
        }
    }
    Ok(())
}

fn on_and_off(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let refused = |result: Result<(), Status>| result.err() == Some(Status::Refused);
    require!(refused(child.region.take_dirty(0, PAGE, |_| {})), true);
    require!(refused(child.region.set_dirty(0, PAGE)), true);
    require!(child.region.is_tracked()?, false);
    child.region.track(false)?;
    for _ in 0..3 {
        child.region.track(true)?;
        require!(child.region.is_tracked()?, true);
        write(&mut child, bench, DATA)?;
        // It is on already: nothing is forgotten.
        child.region.track(true)?;
        require!(written(&child.region)?, [page(DATA)]);
        write(&mut child, bench, DATA + PAGE)?;
        child.region.track(false)?;
        require!(child.region.is_tracked()?, false);
        require!(refused(child.region.take_dirty(0, PAGE, |_| {})), true);
        write(&mut child, bench, DATA)?;
    }
    child.region.track(true)?;
    require!(written(&child.region)?, []);
    Ok(())
}

/// What was in a large page is told apart by pages.
fn large_pages(bench: &mut Bench) -> Verdict {
    const PLACE: u64 = 1 << 30;
    let mut child = Native::new(bench)?;
    let memory = Memory::allocate(2 * LARGE_PAGE_SIZE).ok_or(Failure("no memory".into()))?;
    let region = Region::new(&memory, 0, memory.size(), Rights::all())?;
    let _mapping = Mapping::new(&region, 0, &child.space, PLACE, memory.size(), Rights::all())?;
    let before = child.space.state()?.used;
    for offset in [0, LARGE_PAGE_SIZE] {
        write(&mut child, bench, PLACE + offset)?;
    }
    let tables = child.space.state()?.used - before;
    region.track(true)?;
    for number in [3, 512, 700] {
        read(&mut child, bench, PLACE + (number ^ 1) * PAGE)?;
        write(&mut child, bench, PLACE + number * PAGE + 8)?;
    }
    require!(written(&region)?, [3, 512, 700]);
    write(&mut child, bench, PLACE + 3 * PAGE)?;
    require!(written(&region)?, [3]);
    region.track(false)?;
    for offset in [0, LARGE_PAGE_SIZE] {
        write(&mut child, bench, PLACE + offset)?;
    }
    // They are large again.
    require!(child.space.state()?.used - before, tables);
    Ok(())
}

fn rights_that_change(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let region = Region::new(&child.memory, PAGE, PAGE, Rights::READ)?;
    let _mapping = Mapping::new(&region, 0, &child.space, HOLE, PAGE, Rights::all())?;
    region.track(true)?;
    let cannot = Answer::Exception(14, HOLE);
    require!(child.run(bench, code::write(), &[(RDI, HOLE), (RSI, 1)])?, cannot);
    read(&mut child, bench, HOLE)?;
    require!(written(&region)?, []);
    region.protect(Rights::all())?;
    write(&mut child, bench, HOLE)?;
    child.write(DATA, 0x0b0f)?; // UD2
    require!(matches!(child.run(bench, code::jump(), &[(RDI, HOLE)])?, Answer::Done(_)), true);
    region.protect(Rights::READ)?;
    require!(written(&region)?, [0]);
    require!(child.run(bench, code::write(), &[(RDI, HOLE), (RSI, 1)])?, cannot);
    require!(written(&region)?, []);
    region.protect(Rights::READ | Rights::WRITE)?;
    require!(written(&region)?, []);
    write(&mut child, bench, HOLE)?;
    require!(written(&region)?, [0]);
    // Executing takes another entry in the place of that by which it was written.
    child.write(DATA, 0)?;
    write(&mut child, bench, HOLE + 8)?;
    child.write(DATA, 0x0b0f)?; // UD2
    region.protect(Rights::all())?;
    require!(matches!(child.run(bench, code::jump(), &[(RDI, HOLE)])?, Answer::Done(_)), true);
    require!(written(&region)?, [0]);
    require!(written(&region)?, []);
    Ok(())
}

/// What was written is known after all is gone by which it was.
fn nothing_is_lost(bench: &mut Bench) -> Verdict {
    let memory = Memory::allocate(6 * PAGE).ok_or(Failure("no memory".into()))?;
    let region = Region::new(&memory, 0, memory.size(), Rights::all())?;
    region.track(true)?;
    let rights = Rights::READ | Rights::WRITE;
    // A Mapping, destroyed or set to something else.
    let mut child = Native::new(bench)?;
    let mut mapping = Mapping::new(&region, 0, &child.space, HOLE, PAGE, rights)?;
    write(&mut child, bench, HOLE)?;
    mapping.set(&region, PAGE, &child.space, HOLE, PAGE, rights)?;
    write(&mut child, bench, HOLE)?;
    drop(mapping);
    require!(written(&region)?, [0, 1]);
    // A Region between, and a grant.
    let middle = Space::new(SpaceKind::Native, 8)?;
    let lower = Mapping::new(&region, 2 * PAGE, &middle, HOLE, 2 * PAGE, rights)?;
    let inner = Region::of_space(&middle, HOLE, 2 * PAGE, Rights::all())?;
    let grant = inner.reference().grant()?;
    let upper = Mapping::through(&grant.reference()?, 0, &child.space, HOLE, 2 * PAGE, rights)?;
    write(&mut child, bench, HOLE)?;
    drop(grant);
    require!(child.run(bench, code::write(), &[(RDI, HOLE), (RSI, 1)])?, Answer::Exception(14, HOLE));
    drop(upper);
    let upper = Mapping::new(&inner, 0, &child.space, HOLE, 2 * PAGE, rights)?;
    write(&mut child, bench, HOLE + PAGE)?;
    drop((inner, lower));
    require!(written(&region)?, [2, 3]);
    drop((upper, middle));
    // Spaces of both kinds, and a virtual CPU.
    let mapping = Mapping::new(&region, 4 * PAGE, &child.space, HOLE, PAGE, rights)?;
    write(&mut child, bench, HOLE)?;
    drop(child);
    drop(mapping);
    let registers = [(RDI, guest::HOLE), (RCX, 1), (RSI, 0)];
    let mut guest = Guest::new(bench, code::guest_sweep(), &registers)?;
    let mapping = Mapping::new(&region, 5 * PAGE, &guest.space, guest::HOLE, PAGE, rights)?;
    guest.start(bench)?;
    drop(guest);
    drop(mapping);
    require!(written(&region)?, [4, 5]);
    // The Space that is exported itself.
    let mut child = Native::new(bench)?;
    let middle = Space::new(SpaceKind::Native, 8)?;
    let lower = Mapping::new(&region, 0, &middle, HOLE, PAGE, rights)?;
    let inner = Region::of_space(&middle, HOLE, PAGE, Rights::all())?;
    let _upper = Mapping::new(&inner, 0, &child.space, HOLE, PAGE, rights)?;
    inner.track(true)?;
    write(&mut child, bench, HOLE)?;
    drop((middle, lower));
    for expected in [&[0][..], &[]] {
        require!(written(&inner)?, expected);
        require!(written(&region)?, expected);
    }
    Ok(())
}

fn little_room(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.region.track(true)?;
    for number in [0, 2, 3, 5] {
        write(&mut child, bench, DATA + number * PAGE)?;
    }
    let (region, end) = (child.region.address(), child.region.size());
    // No room: where the first is.
    require!(system_call::region_get_dirty(region, 0, end, &mut [])?, (&[][..], PAGE));
    let mut one = [DirtyRange::default()];
    for (range, next) in [((1, 1), 3), ((3, 2), 6)] {
        let (found, to) = system_call::region_get_dirty(region, 0, end, &mut one)?;
        require!(found, [DirtyRange { offset: range.0 * PAGE, size: range.1 * PAGE }]);
        require!(to, next * PAGE);
    }
    require!(written(&child.region)?, [6]);
    require!(system_call::region_get_dirty(region, 0, end, &mut one)?, (&[][..], end));
    require!(system_call::region_get_dirty(region, 0, END, &mut one)?.1, end);
    Ok(())
}

fn parts_of_a_region(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.region.track(true)?;
    for number in 0..6 {
        write(&mut child, bench, DATA + number * PAGE)?;
    }
    let mut found = Vec::new();
    child.region.take_dirty(3 * PAGE, 5 * PAGE, |range| found.push((range.offset / PAGE, range.size / PAGE)))?;
    require!(found, [(3, 2)]);
    // Backwards, and behind the end: nothing.
    child.region.take_dirty(3 * PAGE, PAGE, |range| found.push((range.offset, range.size)))?;
    child.region.take_dirty(1 << 40, 1 << 41, |range| found.push((range.offset, range.size)))?;
    require!(found.len(), 1);
    require!(written(&child.region)?, [1, 2, 5, 6]);
    Ok(())
}

/// More than one entry of the kernel reports.
fn many_stretches(bench: &mut Bench) -> Verdict {
    const PAGES: u64 = 5000;
    let child = Native::new(bench)?;
    // Nobody needs memory to be there.
    let region = Region::of_space(&child.space, 1 << 40, PAGES * PAGE, Rights::all())?;
    region.track(true)?;
    for number in (0..PAGES).step_by(3) {
        region.set_dirty(number * PAGE, (number + 1) * PAGE)?;
    }
    require!(written(&region)?, (0..PAGES).step_by(3).collect::<Vec<_>>());
    require!(written(&region)?, []);
    region.set_dirty(PAGE, END)?;
    require!(written(&region)?, (1..PAGES).collect::<Vec<_>>());
    Ok(())
}

/// A Region of a child's own, over two pages of its own Space, and where its state is.
fn own_region(child: &mut Native, bench: &mut Bench, size: u64) -> Result<u64, Failure> {
    const REGION: u64 = DATA + 6 * PAGE;
    const STATE: u64 = REGION + 0x100;
    for (address, word) in (STATE..).step_by(8).zip([DATA, size, Rights::all().bits()]) {
        child.write(address, word)?;
    }
    require!(child.status(bench, Call::RegionCreate, &[REGION])?, Status::Ok as u64);
    if size > 0 {
        require!(child.status(bench, Call::RegionSetState, &[REGION, STATE])?, Status::Ok as u64);
    }
    Ok(REGION)
}

/// A call that meets a fault in its buffer forgets nothing before it can report it.
fn buffer_with_a_fault(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let region = own_region(&mut child, bench, 4 * PAGE)?;
    require!(child.status(bench, Call::RegionTrack, &[region, 1])?, Status::Ok as u64);
    for number in [0, 2] {
        let arguments = [region, number * PAGE, (number + 1) * PAGE];
        require!(child.status(bench, Call::RegionSetDirty, &arguments)?, Status::Ok as u64);
    }
    let registers = |buffer, end| {
        [(RAX, Call::RegionGetDirty as u64), (RDI, region), (RSI, 0), (RDX, buffer), (R10, end), (R8, 4 * PAGE)]
    };
    // There is no memory at all.
    let answer = child.run(bench, code::system_call(), &registers(HOLE, HOLE + PAGE))?;
    require!(answer, Answer::Exception(14, HOLE));
    // The second range is where a keeper supplies memory.
    let keeper = bench.port()?;
    let memory = Memory::allocate(2 * PAGE).ok_or(Failure("no memory".into()))?;
    let whole = Region::new(&memory, 0, PAGE, Rights::all())?;
    let kept = Region::new(&memory, PAGE, PAGE, Rights::empty())?;
    kept.set_keeper(&keeper)?;
    let rights = Rights::READ | Rights::WRITE;
    let _first = Mapping::new(&whole, 0, &child.space, HOLE, PAGE, rights)?;
    let _second = Mapping::new(&kept, 0, &child.space, HOLE + PAGE, PAGE, rights)?;
    let (buffer, end) = (HOLE + PAGE - 16, HOLE + 2 * PAGE);
    child.begin(code::system_call(), &registers(buffer, end))?;
    let Event::MemoryFault { fault, .. } = bench.receive() else { fail!("no memory fault") };
    require!(fault.address, HOLE + PAGE);
    // How far it came stands in its registers.
    child.thread.stop()?;
    let state = child.thread.native_state()?;
    require!((state.gpr[RSI], state.gpr[RDX]), (2 * PAGE, HOLE + PAGE));
    kept.protect(Rights::all())?;
    child.thread.go()?;
    let event = bench.reply(&retry());
    let Answer::Done(state) = child.answer(event)? else { fail!("the call does not go on") };
    require!((state.gpr[RAX], state.gpr[RSI], state.gpr[RDX]), (0, 4 * PAGE, buffer + 32));
    require!(memory.read::<[u64; 4]>(PAGE - 16)?, [0, PAGE, 2 * PAGE, PAGE]);
    Ok(())
}

fn is_state(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let region = own_region(&mut child, bench, 4 * PAGE)?;
    let (moved, state) = (region + OBJECT_SIZE, region + 0x100);
    let ok = Status::Ok as u64;
    let tracked = |child: &mut Native, bench: &mut Bench, region| -> Result<u64, Failure> {
        match child.call(bench, Call::RegionGetState, &[region])? {
            Answer::Done(registers) => Ok(registers.gpr[RDX]),
            answer => fail!("{answer:?}"),
        }
    };
    require!(tracked(&mut child, bench, region)?, 0);
    require!(child.status(bench, Call::RegionTrack, &[region, 1])?, ok);
    require!(tracked(&mut child, bench, region)?, 1);
    require!(child.status(bench, Call::RegionSetDirty, &[region, PAGE, 2 * PAGE])?, ok);
    // It goes where the Region goes.
    require!(child.status(bench, Call::RegionMove, &[region, moved])?, ok);
    require!(tracked(&mut child, bench, moved)?, 1);
    // Rights may change, what it exports may not.
    child.write(state + 16, Rights::READ.bits())?;
    require!(child.status(bench, Call::RegionSetState, &[moved, state])?, ok);
    for (word, value) in [(0, DATA + PAGE), (8, 3 * PAGE)] {
        let before = child.read(state + word)?;
        child.write(state + word, value)?;
        require!(child.status(bench, Call::RegionSetState, &[moved, state])?, Status::Refused as u64);
        child.write(state + word, before)?;
    }
    // A new one that takes its place reports what the old one would have.
    let get = [moved, 0, state + 0x40, state + 0x80, 4 * PAGE];
    require!(child.status(bench, Call::RegionGetDirty, &get)?, ok);
    let found = [child.read(state + 0x40)?, child.read(state + 0x48)?];
    require!(found, [PAGE, PAGE]);
    require!(child.status(bench, Call::RegionDestroy, &[moved])?, ok);
    let region = own_region(&mut child, bench, 4 * PAGE)?;
    require!(child.status(bench, Call::RegionTrack, &[region, 1])?, ok);
    require!(child.status(bench, Call::RegionSetDirty, &[region, found[0], found[0] + found[1]])?, ok);
    child.write(state + 0x40, 0)?;
    require!(child.status(bench, Call::RegionGetDirty, &[region, 0, state + 0x40, state + 0x80, 4 * PAGE])?, ok);
    require!([child.read(state + 0x40)?, child.read(state + 0x48)?], found);
    Ok(())
}

/// By the Space of whoever turned it on; it ends with that.
fn is_paid_for(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let ok = Status::Ok as u64;
    let region = own_region(&mut child, bench, (128 << 20) + PAGE)?;
    let before = child.space.state()?.used;
    for _ in 0..3 {
        require!(child.status(bench, Call::RegionTrack, &[region, 1])?, ok);
        require!(child.space.state()?.used, before + 2);
        require!(child.status(bench, Call::RegionTrack, &[region, 0])?, ok);
        require!(child.space.state()?.used, before);
    }
    require!(child.status(bench, Call::RegionTrack, &[region, 1])?, ok);
    require!(child.status(bench, Call::RegionDestroy, &[region])?, ok);
    require!(child.space.state()?.used < before + 1, true);
    // A Region of ours that two Spaces can change, of which one pays.
    let page = Memory::allocate(PAGE).ok_or(Failure("no memory".into()))?;
    let shown = Exported::new(&page)?;
    let mut payer = Native::new(bench)?;
    let mapping = Mapping::new(&shown, 0, &payer.space, HOLE, PAGE, Rights::all())?;
    system_call::region_create(page.address())?;
    let exported = Memory::allocate(PAGE).ok_or(Failure("no memory".into()))?;
    set_region(&page, &exported)?;
    require!(payer.status(bench, Call::RegionTrack, &[HOLE, 1])?, ok);
    require!(system_call::region_is_tracked(page.address())?, true);
    drop(payer);
    drop(mapping);
    require!(system_call::region_is_tracked(page.address())?, false);
    system_call::region_track(page.address(), true)?;
    require!(system_call::region_is_tracked(page.address())?, true);
    Ok(())
}

/// Has the Region at the begin of `page` export `exported`.
#[expect(unsafe_code)]
fn set_region(page: &Memory, exported: &Memory) -> Verdict {
    let state =
        protocols::api::RegionState { start: exported.address(), size: exported.size(), rights: Rights::all().bits() };
    // SAFETY: there are no Rust references to memory of a `Memory`.
    Ok(unsafe { system_call::region_set_state(page.address(), &state, 0, 0) }?)
}

fn what_cannot_be_tracked(bench: &mut Bench) -> Verdict {
    const LARGEST: u64 = 64 << 30;
    for (size, status) in [(0, Status::Refused), (LARGEST + PAGE, Status::Refused), (LARGEST, Status::NoMemory)] {
        let mut child = Native::new(bench)?;
        let region = own_region(&mut child, bench, size)?;
        let before = child.space.state()?.used;
        require!(child.status(bench, Call::RegionTrack, &[region, 1])?, status as u64);
        require!(child.space.state()?.used, before);
        require!(child.status(bench, Call::RegionTrack, &[region, 0])?, Status::Ok as u64);
    }
    Ok(())
}

fn arguments_are_checked(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let region = own_region(&mut child, bench, 4 * PAGE)?;
    require!(child.status(bench, Call::RegionTrack, &[region, 1])?, Status::Ok as u64);
    let buffer = DATA + 5 * PAGE;
    let misuse = Answer::misuse;
    for on in [2, u64::MAX] {
        require!(child.call(bench, Call::RegionTrack, &[region, on])?, misuse(Misuse::BadArgument));
    }
    for (offset, end) in [(1, PAGE), (0, PAGE + 8), (u64::MAX, u64::MAX)] {
        let get = [region, offset, buffer, buffer + 16, end];
        require!(child.call(bench, Call::RegionGetDirty, &get)?, misuse(Misuse::NotAligned));
        let set = [region, offset, end];
        require!(child.call(bench, Call::RegionSetDirty, &set)?, misuse(Misuse::NotAligned));
    }
    // Buffers that end before they begin, and where no memory can be.
    require!(child.status(bench, Call::RegionSetDirty, &[region, 0, PAGE])?, Status::Ok as u64);
    for (from, to) in [(buffer, buffer - 1), (buffer, 0), (u64::MAX, u64::MAX)] {
        require!(child.status(bench, Call::RegionGetDirty, &[region, 0, from, to, PAGE])?, Status::Ok as u64);
    }
    for from in [u64::MAX - 100, 1 << 63, 1 << 47, CODE] {
        let answer = child.call(bench, Call::RegionGetDirty, &[region, 0, from, u64::MAX, PAGE])?;
        require!(matches!(answer, Answer::Exception(14, _) | Answer::Misused(_)), true);
    }
    require!(child.status(bench, Call::RegionGetDirty, &[region, 0, buffer, buffer + 16, PAGE])?, 0);
    require!([child.read(buffer)?, child.read(buffer + 8)?], [0, PAGE]);
    // Other things than Regions, and Regions that may only be looked at.
    require!(child.status(bench, Call::PortCreate, &[DATA])?, Status::Ok as u64);
    let shown = Region::new(&child.memory, PAGE + 6 * PAGE, PAGE, Rights::READ)?;
    let _mapping = Mapping::new(&shown, 0, &child.space, HOLE, PAGE, Rights::READ)?;
    for call in [Call::RegionTrack, Call::RegionGetDirty, Call::RegionSetDirty] {
        for (object, why) in [
            (DATA, Misuse::WrongType),
            (DATA + OBJECT_SIZE, Misuse::NoObject),
            (DATA + 1, Misuse::NotAligned),
            (HOLE, Misuse::NoRight),
        ] {
            require!((call, child.call(bench, call, &[object])?), (call, misuse(why)));
        }
    }
    require!(child.status(bench, Call::RegionGetState, &[HOLE])?, Status::Ok as u64);
    Ok(())
}

/// A page that appears more often than a walk follows.
fn more_derived_than_is_followed(bench: &mut Bench) -> Verdict {
    const LEVELS: usize = 13;
    let memory = Memory::allocate(PAGE).ok_or(Failure("no memory".into()))?;
    let lowest = Region::new(&memory, 0, PAGE, Rights::all())?;
    lowest.track(true)?;
    let mut child = Native::new(bench)?;
    let (mut spaces, mut regions, mut mappings) = (Vec::new(), Vec::new(), Vec::new());
    for level in 0..LEVELS {
        let below: &Region = regions.last().unwrap_or(&lowest);
        let (space, size) = (Space::new(SpaceKind::Native, 8)?, PAGE << level);
        for copy in 0..2 {
            mappings.push(Mapping::new(below, 0, &space, HOLE + copy * size, size, Rights::all())?);
        }
        regions.push(Region::of_space(&space, HOLE, 2 * size, Rights::all())?);
        spaces.push(space);
    }
    let top: &Region = regions.last().unwrap_or(&lowest);
    let _mapping = Mapping::new(top, 77 * PAGE, &child.space, HOLE, PAGE, Rights::READ | Rights::WRITE)?;
    for _ in 0..2 {
        write(&mut child, bench, HOLE)?;
        require!(written(&lowest)?, [0]);
        require!(written(&lowest)?, []);
    }
    drop((mappings, regions));
    Ok(())
}

fn random_writes(bench: &mut Bench) -> Verdict {
    let seed = bench.seed();
    crate::hostile::named(random_writes_with(bench, seed), seed)
}

/// A child, a grandchild and a machine write, and what two Regions report is what a model says.
fn random_writes_with(bench: &mut Bench, seed: u64) -> Verdict {
    const PAGES: u64 = 8;
    let mut random = Random::new(seed);
    let memory = Memory::allocate(PAGES * PAGE).ok_or(Failure("no memory".into()))?;
    let outer = Region::new(&memory, 0, memory.size(), Rights::all())?;
    let rights = Rights::READ | Rights::WRITE;
    let (mut child, mut grandchild) = (Native::new(bench)?, Native::new(bench)?);
    let mut mapping = Mapping::new(&outer, 0, &child.space, HOLE, PAGES * PAGE, rights)?;
    let inner = Region::of_space(&child.space, HOLE + 2 * PAGE, 4 * PAGE, Rights::all())?;
    let mut in_grandchild = Mapping::new(&inner, 0, &grandchild.space, HOLE, 4 * PAGE, rights)?;
    let registers = [(RDI, guest::HOLE), (RCX, 1), (RSI, 0)];
    let guest = Guest::new(bench, code::guest_sweep(), &registers)?;
    let in_guest = Mapping::new(&inner, 0, &guest.space, guest::HOLE, 4 * PAGE, rights)?;
    let start = guest.state()?;
    outer.track(true)?;
    inner.track(true)?;
    // Bit by bit, what was written through each.
    let (mut in_outer, mut in_inner) = (0u64, 0u64);
    for step in 0..150 {
        let number = random.word() % PAGES;
        let below = number % 4;
        match random.word() % 8 {
            0 | 1 => {
                write(&mut child, bench, HOLE + number * PAGE)?;
                in_outer |= 1 << number;
            }
            2 => {
                write(&mut grandchild, bench, HOLE + below * PAGE)?;
                (in_outer, in_inner) = (in_outer | 4 << below, in_inner | 1 << below);
            }
            3 => {
                let mut state = start;
                state.gpr[RDI] = guest::HOLE + below * PAGE;
                guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
                guest.cpu.go()?;
                let event = bench.receive();
                require!(guest::port(&guest.exit(event)?), Some(guest::END_PORT));
                ipc_reply(&machine(MachineReply { actions: MachineReply::STOP, ..MachineReply::default() }))?;
                (in_outer, in_inner) = (in_outer | 4 << below, in_inner | 1 << below);
            }
            4 => {
                read(&mut child, bench, HOLE + number * PAGE)?;
                read(&mut grandchild, bench, HOLE + below * PAGE)?;
            }
            5 => mapping.set(&outer, 0, &child.space, HOLE, PAGES * PAGE, rights)?,
            6 => in_grandchild.set(&inner, 0, &grandchild.space, HOLE, 4 * PAGE, rights)?,
            _ => {
                let (region, set) =
                    if random.word() & 1 == 0 { (&outer, &mut in_outer) } else { (&inner, &mut in_inner) };
                let last = number + 1 + random.word() % PAGES;
                let mut found = 0u64;
                region.take_dirty(number * PAGE, last * PAGE, |range| {
                    (0..range.size / PAGE).for_each(|page| found |= 1 << (range.offset / PAGE + page));
                })?;
                let asked = (1 << last) - (1 << number);
                require!((step, found), (step, *set & asked));
                *set &= !asked;
            }
        }
    }
    require!(written(&outer)?.iter().fold(0, |set, page| set | 1 << page), in_outer);
    require!(written(&inner)?.iter().fold(0, |set, page| set | 1 << page), in_inner);
    drop(in_guest);
    Ok(())
}
