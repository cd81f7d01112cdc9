//! Native threads: their state, their exceptions, their time.

use protocols::api::{Call, NativeState, OBJECT_SIZE, Run, Status};
use protocols::exception::{MISUSE, Misuse};
use protocols::libc::system_call;
use protocols::libnest::server::{resume, stop};
use protocols::libnest::{Event, Reference, Space, SpaceKind, Thread, objects};
use protocols::virtual_cpu::register::{R8, RAX, RCX, RDI, RDX, RSI};

use crate::code;
use crate::harness::{Bench, Test, Verdict, fail, require};
use crate::native::{ALLOWANCE, Answer, CODE, DATA, HOLE, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("thread::exceptions", exceptions),
    ("thread::privileged_instructions", privileged_instructions),
    ("thread::page_faults", page_faults),
    ("thread::misuse_says_which_call", misuse_says_which_call),
    ("thread::keeper_changes_registers", keeper_changes_registers),
    ("thread::keeper_stops_it", keeper_stops_it),
    ("thread::keeper_replies_nonsense", keeper_replies_nonsense),
    ("thread::keeper_never_replies", keeper_never_replies),
    ("thread::without_a_keeper", without_a_keeper),
    ("thread::in_a_space_that_is_gone", in_a_space_that_is_gone),
    ("thread::state_survives", state_survives),
    ("thread::impossible_states", impossible_states),
    ("thread::spinning_threads_are_preempted", spinning_threads_are_preempted),
    ("thread::fs_base", fs_base),
    ("thread::own_object", own_object),
    ("thread::calls_on_itself", calls_on_itself),
    ("thread::calls_keep_registers", calls_keep_registers),
];

fn exceptions(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    require!(child.run(bench, code::divide(), &[])?, Answer::Exception(0, 0));
    require!(child.run(bench, code::breakpoint(), &[])?, Answer::Exception(3, 0));
    require!(matches!(child.run(bench, code::halt(), &[])?, Answer::Exception(13, _)), true);
    // A non-canonical address is no page fault.
    let answer = child.run(bench, code::read(), &[(RDI, 1 << 63)])?;
    require!(matches!(answer, Answer::Exception(13, _)), true);
    Ok(())
}

fn privileged_instructions(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let routines = [
        ("hlt", code::halt()),
        ("in", code::port_in()),
        ("cli", code::interrupts_off()),
        ("rdmsr", code::read_msr()),
        ("mov cr3", code::read_control()),
    ];
    for (name, routine) in routines {
        match child.run(bench, routine, &[])? {
            Answer::Exception(13, _) => {}
            answer => fail!("{name}: {answer:?}"),
        }
    }
    // The monitor does not listen to ring 3.
    let Answer::Done(state) = child.run(bench, code::vmcall(), &[])? else { fail!("vmcall") };
    require!((state.rip - CODE, state.gpr[RAX]), (7, 10));
    Ok(())
}

fn page_faults(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    for address in [0, HOLE, 0x7fff_ffff_f000, DATA + crate::native::DATA_SIZE, 0xffff_8000_0000_0000, u64::MAX - 7] {
        let page = |answer| match answer {
            Answer::Exception(14, at) => at == address,
            _ => false,
        };
        require!((address, page(child.run(bench, code::read(), &[(RDI, address)])?)), (address, true));
        require!((address, page(child.run(bench, code::write(), &[(RDI, address)])?)), (address, true));
        require!((address, page(child.run(bench, code::jump(), &[(RDI, address)])?)), (address, true));
    }
    require!(child.run(bench, code::write(), &[(RDI, CODE)])?, Answer::Exception(14, CODE));
    require!(child.run(bench, code::jump(), &[(RDI, DATA)])?, Answer::Exception(14, DATA));
    Ok(())
}

fn misuse_says_which_call(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.begin(code::system_call(), &[(RAX, Call::PortDestroy as u64), (RDI, DATA)])?;
    let Event::Exception { exception, .. } = bench.receive() else { fail!("no exception") };
    require!((exception.vector, exception.error), (MISUSE, Misuse::NoObject as u64));
    require!(exception.address, Call::PortDestroy as u64);
    require!((CODE..CODE + 3).contains(&exception.rip), true);
    Ok(())
}

fn keeper_changes_registers(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    require!(child.run(bench, code::read(), &[(RDI, HOLE)])?, Answer::Exception(14, HOLE));
    let mut state = child.thread.native_state()?;
    require!((state.rip, state.gpr[RDI]), (CODE, HOLE));
    child.write(DATA, 31)?;
    state.gpr[RDI] = DATA;
    state.gpr[R8] = 0x8888;
    child.thread.set_native_state(&state, Run::Unchanged)?;
    let event = bench.reply(&resume());
    let Answer::Done(state) = child.answer(event)? else { fail!("it did not go on") };
    require!((state.gpr[RAX], state.gpr[R8], state.rip), (31, 0x8888, CODE + 3));
    Ok(())
}

/// No thread runs in a Space that does not exist any more; nor does the kernel look for one there.
fn in_a_space_that_is_gone(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let space = Space::new(SpaceKind::Native, ALLOWANCE)?;
    let gone = space.reference().duplicate()?;
    drop(space);
    let state = child.thread.native_state()?;
    let set = objects::set_native_thread(child.thread.address(), &state, &gone, Run::Go);
    // Lets it run, if it can.
    let soon = bench.microseconds(500);
    require!((set, bench.receive_until(soon)), (Err(Status::InvalidDestination), Event::TimedOut));
    require!(child.run(bench, code::divide(), &[])?, Answer::Exception(0, 0));
    Ok(())
}

/// Sets a thread that is named by an address in the test's own memory, and lets it run.
fn set_thread(thread: u64, state: &NativeState, space: &Reference) -> Verdict {
    Ok(objects::set_native_thread(thread, state, space, Run::Go)?)
}

/// Fails unless nothing is heard of the child for a while.
fn silence(bench: &mut Bench) -> Verdict {
    let soon = bench.microseconds(1500);
    match bench.receive_until(soon) {
        Event::TimedOut => Ok(()),
        event => fail!("{event:x?}"),
    }
}

fn keeper_stops_it(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.run(bench, code::divide(), &[])?;
    let soon = bench.microseconds(1500);
    require!(bench.reply_until(&stop(), soon), Event::TimedOut);
    require!(child.thread.native_state()?.stopped, 1);
    Ok(())
}

fn keeper_replies_nonsense(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.run(bench, code::divide(), &[])?;
    let soon = bench.microseconds(1500);
    require!(bench.reply_until(&[0x1234_5678; 8], soon), Event::TimedOut);
    require!(child.thread.native_state()?.stopped, 1);
    Ok(())
}

fn keeper_never_replies(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut other = Native::new(bench)?;
    child.run(bench, code::divide(), &[])?;
    let soon = bench.microseconds(500);
    require!(bench.abandon_until(soon), Event::TimedOut);
    // It stops, others go on.
    require!(other.run(bench, code::breakpoint(), &[])?, Answer::Exception(3, 0));
    require!(child.thread.native_state()?.stopped, 1);
    Ok(())
}

fn without_a_keeper(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let unused = bench.port()?;
    drop(core::mem::replace(&mut child.port, unused));
    child.begin(code::divide(), &[])?;
    silence(bench)?;
    require!(child.thread.native_state()?.stopped, 1);
    Ok(())
}

fn state_survives(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut state = NativeState { rip: CODE, rflags: 0x202 | 0xcd5, fs_base: 0x7fff_1234_5678, ..Default::default() };
    for (index, register) in state.gpr.iter_mut().enumerate() {
        *register = 0x1111_1111_1111_1111 * index as u64;
    }
    child.memory.write_bytes(0, code::breakpoint())?;
    child.thread.set_native_state(&state, Run::Go)?;
    let event = bench.receive();
    child.answer(event)?;
    let after = child.thread.native_state()?;
    require!(after.gpr, state.gpr);
    require!(after.rflags & 0xcd5, state.rflags & 0xcd5);
    require!(after.fs_base, state.fs_base);
    Ok(())
}

fn impossible_states(bench: &mut Bench) -> Verdict {
    let child = Native::new(bench)?;
    let good = NativeState { rip: CODE, rflags: 2, ..Default::default() };
    for (name, bad) in
        [("rip", NativeState { rip: 1 << 63, ..good }), ("fs_base", NativeState { fs_base: 1 << 62, ..good })]
    {
        match child.thread.set_native_state(&bad, Run::Unchanged) {
            Err(Status::Refused) => {}
            result => fail!("{name}: {result:?}"),
        }
    }
    // Flags that a thread cannot have are refused or do not take effect: I/O privilege, interrupts off, VM, NT.
    for rflags in [0x3002, 2, 0x2_0002, 0x4002, u64::MAX] {
        match child.thread.set_native_state(&NativeState { rflags, ..good }, Run::Unchanged) {
            Ok(()) => {
                let now = child.thread.native_state()?.rflags;
                if now & 0x2_7000 != 0 {
                    fail!("a thread has the flags {now:#x}");
                }
            }
            Err(Status::Refused) => {}
            Err(status) => fail!("{status:?}"),
        }
    }
    Ok(())
}

fn spinning_threads_are_preempted(bench: &mut Bench) -> Verdict {
    let mut children = [Native::new(bench)?, Native::new(bench)?, Native::new(bench)?];
    for child in &mut children {
        child.begin(code::count(), &[(RDI, DATA)])?;
    }
    // Emulators may count the time of a short loop in large steps: that all get on is what can be asked.
    bench.run_until(|| {
        let mut all = true;
        for child in &children {
            all &= child.read(DATA)? > 0;
        }
        Ok(all)
    })
}

fn fs_base(bench: &mut Bench) -> Verdict {
    let mut children = [Native::new(bench)?, Native::new(bench)?];
    for (child, offset) in children.iter_mut().zip([0, 0x800]) {
        child.write(DATA + offset, 1000 + offset)?;
        child.memory.write_bytes(0, code::read_fs())?;
        let state = NativeState { rip: CODE, rflags: 2, fs_base: DATA + offset, ..Default::default() };
        child.thread.set_native_state(&state, Run::Go)?;
        let event = bench.receive();
        let Answer::Done(state) = child.answer(event)? else { fail!("{event:x?}") };
        require!(state.gpr[RAX], 1000 + offset);
    }
    Ok(())
}

fn own_object(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    // Its thread is an object in our memory, which it does not see.
    let Answer::Done(state) = child.call(bench, Call::ThreadSelf, &[7])? else { fail!("no answer") };
    require!((state.gpr[RAX], state.gpr[RDI]), (Status::Ok as u64, 0));
    // A thread of its own whose object it does see can do to itself only what is safe.
    let own = child.own_address(DATA + OBJECT_SIZE);
    system_call::thread_create(own)?;
    require!(child.call(bench, Call::ThreadInterrupt, &[DATA + OBJECT_SIZE, 15])?, Answer::misuse(Misuse::BadArgument));
    require!(
        child.call(bench, Call::ThreadSetState, &[DATA + OBJECT_SIZE, 0, 0, 0, 3])?,
        Answer::misuse(Misuse::BadArgument)
    );
    require!(child.status(bench, Call::ThreadDestroy, &[DATA + OBJECT_SIZE])?, Status::Ok as u64);
    Ok(())
}

fn calls_on_itself(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    // A second thread of the child's, whose object lies in the child's own memory.
    let own = child.own_address(DATA);
    system_call::thread_create(own)?;
    child.memory.write_bytes(0, code::system_call())?;
    for (call, arguments) in [
        (Call::ThreadDestroy, [DATA, 0, 0]),
        (Call::ThreadGetState, [DATA, DATA + 0x1000, 0]),
        (Call::ThreadSetState, [DATA, 0, 0]),
    ] {
        let mut state = NativeState { rip: CODE, rflags: 2, ..Default::default() };
        state.gpr[RAX] = call as u64;
        [state.gpr[RDI], state.gpr[RSI], state.gpr[RDX]] = arguments;
        set_thread(own, &state, child.space.reference())?;
        let event = bench.receive();
        require!(child.answer(event)?, Answer::misuse(Misuse::CurrentThread));
        // The thread is told to stop, so that it can be set again.
        require!(bench.receive_until(Some(1)), Event::TimedOut);
    }
    Ok(())
}

fn calls_keep_registers(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut state = NativeState { rip: CODE, rflags: 2, ..Default::default() };
    for (index, register) in state.gpr.iter_mut().enumerate() {
        *register = 0x0101_0101_0101_0101 * (index as u64 + 1);
    }
    state.gpr[RAX] = Call::PortCreate as u64;
    state.gpr[RDI] = DATA;
    child.memory.write_bytes(0, code::system_call())?;
    child.thread.set_native_state(&state, Run::Go)?;
    let event = bench.receive();
    let Answer::Done(after) = child.answer(event)? else { fail!("{event:x?}") };
    const R11: usize = 11;
    for (register, (before, after)) in state.gpr.iter().zip(after.gpr).enumerate() {
        if ![RAX, RCX, R11].contains(&register) {
            require!((register, after), (register, *before));
        }
    }
    require!(after.gpr[RAX], Status::Ok as u64);
    // RDX is no result of this call.
    require!(after.gpr[RDX], state.gpr[RDX]);
    let again = Thread::native(&child.space, &after)?;
    drop(again);
    Ok(())
}
