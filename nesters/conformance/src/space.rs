//! Spaces: allowances, and their return.

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, OBJECT_SIZE, Rights, SpaceKind, SpaceState, Status};
use protocols::exception::Misuse;
use protocols::libc::time;
use protocols::libnest::server::resume;
use protocols::libnest::{Event, Mapping, Space};
use protocols::virtual_cpu::register::{RAX, RDI};

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{ALLOWANCE, Answer, DATA, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("space::state", state),
    ("space::allowance_limits_objects", allowance_limits_objects),
    ("space::allowance_limits_descendants", allowance_limits_descendants),
    ("space::allowance_limits_tables", allowance_limits_tables),
    ("space::allowance_of_a_machine", allowance_of_a_machine),
    ("space::everything_returns", everything_returns),
    ("space::destroy_stops_threads", destroy_stops_threads),
    ("space::patience_with_keepers", patience_with_keepers),
    ("space::arguments_are_checked", arguments_are_checked),
];

/// What a child's Space may use and uses, but for time, which passes.
pub fn resources(child: &Native) -> Result<SpaceState, Failure> {
    Ok(SpaceState { time: 0, time_below: 0, ..child.space.state()? })
}

fn state(bench: &mut Bench) -> Verdict {
    let child = Native::new(bench)?;
    let state = child.space.state()?;
    require!((state.kind, state.allowance), (SpaceKind::Native as u64, ALLOWANCE));
    if state.used == 0 || state.used > 16 {
        fail!("an idle child uses {} frames", state.used);
    }
    let guest = Guest::new(bench, code::guest_undefined(), &[])?;
    require!(guest.space.state()?.kind, SpaceKind::Machine as u64);
    Ok(())
}

fn allowance_limits_objects(bench: &mut Bench) -> Verdict {
    // The child's own page tables and as much again.
    let mut child = Native::new(bench)?;
    child.call(bench, Call::ThreadSelf, &[])?;
    let before = resources(&child)?;
    // Threads are the largest objects: what is left does not suffice for as many as there are places.
    let mut made = 0;
    let places = crate::native::DATA_SIZE / OBJECT_SIZE;
    loop {
        if made == places {
            fail!("{places} threads cost less than {ALLOWANCE} frames");
        }
        match child.status(bench, Call::ThreadCreate, &[DATA + made * OBJECT_SIZE])? {
            status if status == Status::Ok as u64 => made += 1,
            status if status == Status::NoMemory as u64 => break,
            status => fail!("status {status}"),
        }
    }
    let full = child.space.state()?;
    if made == 0 || full.used > full.allowance {
        fail!("{made} threads made, {} of {} frames used", full.used, full.allowance);
    }
    for index in 0..made {
        require!(child.status(bench, Call::ThreadDestroy, &[DATA + index * OBJECT_SIZE])?, Status::Ok as u64);
    }
    require!(resources(&child)?, before);
    Ok(())
}

fn allowance_limits_descendants(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.call(bench, Call::ThreadSelf, &[])?;
    let before = resources(&child)?;
    let left = before.allowance - before.used;
    for too_much in [left + 1, before.allowance, 1 << 40, u64::MAX] {
        let status = child.status(bench, Call::SpaceCreate, &[DATA, 0, too_much])?;
        require!(status, Status::NoMemory as u64);
    }
    require!(child.status(bench, Call::SpaceCreate, &[DATA, 0, left / 2])?, Status::Ok as u64);
    let used = child.space.state()?.used;
    if used < before.used + left / 2 {
        fail!("a descendant's allowance of {} frames left {used} used, {} before", left / 2, before.used);
    }
    require!(child.status(bench, Call::SpaceCreate, &[DATA + 64, 0, left])?, Status::NoMemory as u64);
    require!(child.status(bench, Call::SpaceDestroy, &[DATA])?, Status::Ok as u64);
    require!(resources(&child)?, before);
    Ok(())
}

fn allowance_limits_tables(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    // Each page lies under tables of its own.
    let mut mappings = alloc::vec::Vec::new();
    for index in 0..ALLOWANCE {
        let address = (index + 1) << 39;
        mappings.push(Mapping::new(&child.region, PAGE_SIZE, &child.space, address, PAGE_SIZE, Rights::READ)?);
        match child.run(bench, code::read(), &[(RDI, address)])? {
            Answer::Done(_) => {}
            // What cannot be mapped is as if it were not there.
            Answer::Exception(14, at) if at == address && index > 4 => {
                let state = child.space.state()?;
                require!(state.used <= state.allowance, true);
                mappings.clear();
                require!(matches!(child.run(bench, code::read(), &[(RDI, DATA)])?, Answer::Done(_)), true);
                return Ok(());
            }
            answer => fail!("{answer:?} at {address:#x}"),
        }
    }
    fail!("{ALLOWANCE} frames map {ALLOWANCE} pages far from each other")
}

fn allowance_of_a_machine(_: &mut Bench) -> Verdict {
    for allowance in [0, 1, 4] {
        require!(Space::new(SpaceKind::Machine, allowance).err(), Some(Status::NoMemory));
    }
    require!(Space::new(SpaceKind::Native, 0).err(), Some(Status::NoMemory));
    Ok(())
}

fn everything_returns(bench: &mut Bench) -> Verdict {
    // A child makes a machine and a native grandchild, again and again; its use must not grow.
    let mut child = Native::new(bench)?;
    child.call(bench, Call::ThreadSelf, &[])?;
    let mut before = None;
    for _ in 0..30 {
        require!(child.status(bench, Call::SpaceCreate, &[DATA, 1, 24])?, Status::Ok as u64);
        require!(child.status(bench, Call::SpaceCreate, &[DATA + 64, 0, 8])?, Status::Ok as u64);
        require!(child.status(bench, Call::SpaceDestroy, &[DATA])?, Status::Ok as u64);
        require!(child.status(bench, Call::SpaceDestroy, &[DATA + 64])?, Status::Ok as u64);
        let now = resources(&child)?;
        require!(*before.get_or_insert(now), now);
    }
    // Guests that have run return what the kernel and the monitor took for them: there is room for ever more of them.
    for round in 0..40 {
        let mut guest = Guest::new(bench, code::guest_flood(), &[(protocols::virtual_cpu::register::RCX, 3)])?;
        let exit = guest.start(bench)?;
        if guest::port(&exit) != Some(guest::END_PORT) {
            fail!("round {round}: {exit:x?}");
        }
    }
    Ok(())
}

fn destroy_stops_threads(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.begin(code::count(), &[(RDI, DATA)])?;
    bench.run_until(|| Ok(child.read(DATA)? > 0))?;
    child.space = Space::new(SpaceKind::Native, 8)?;
    let counted = child.read(DATA)?;
    let soon = bench.microseconds(3000);
    require!(bench.receive_until(soon), Event::TimedOut);
    require!(child.read(DATA)?, counted);
    Ok(())
}

fn arguments_are_checked(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    for kind in [2, 3, u64::MAX] {
        require!(child.call(bench, Call::SpaceCreate, &[DATA, kind, 8])?, Answer::misuse(Misuse::BadArgument));
    }
    require!(child.status(bench, Call::SpaceCreate, &[DATA, 0, 8])?, Status::Ok as u64);
    // A native Space has no policy.
    require!(child.call(bench, Call::SpaceSetPolicy, &[DATA, 1, DATA, 1])?, Answer::misuse(Misuse::WrongType));
    require!(child.call(bench, Call::SpaceGetState, &[DATA, 0x10])?, Answer::Exception(14, 0x10));
    let Answer::Done(state) = child.call(bench, Call::SpaceGetState, &[DATA, DATA + 0x100])? else { fail!("no state") };
    require!(state.gpr[RAX], Status::Ok as u64);
    require!(child.read(DATA + 0x108)?, 8);
    Ok(())
}

/// A thread waits no longer for a keeper that does not reply than its Space says; a reply that comes too late is for nobody.
fn patience_with_keepers(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let Some(patience) = bench.microseconds(100_000) else { fail!("no time") };
    child.space.set_patience(patience - time::now())?;
    child.begin(code::divide(), &[])?;
    let Event::Exception { .. } = bench.receive() else { fail!("no exception") };
    require!(child.thread.native_state()?.stopped, 0);
    let deadline = bench.deadline();
    while child.thread.native_state()?.stopped == 0 {
        if deadline.is_some_and(|deadline| time::now() > deadline) {
            fail!("it waits for ever");
        }
    }
    let soon = bench.microseconds(1000);
    require!(bench.reply_until(&resume(), soon), Event::TimedOut);
    require!(child.thread.native_state()?.stopped, 1);
    // It can go on all the same.
    child.begin(code::divide(), &[])?;
    require!(matches!(bench.receive(), Event::Exception { .. }), true);
    Ok(())
}
