//! The state of native threads: vector and debug registers, bases, and that all of it is exported and taken back.

use alloc::boxed::Box;
use protocols::api::{Call, NativeState, OBJECT_SIZE, Run, Status};
use protocols::libnest::server::resume;
use protocols::libnest::{Event, Thread};
use protocols::native_thread::{Debug, Exceptions, Pending, Redirection, Saved};
use protocols::virtual_cpu::Groups;
use protocols::virtual_cpu::register::{RAX, RCX, RDI, RDX, RSI, RSP};

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Test, Verdict, fail, require};
use crate::native::{Answer, CODE, DATA, DATA_SIZE, HOLE, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("native_state::vector_registers", vector_registers),
    ("native_state::vector_registers_are_kept_apart", vector_registers_are_kept_apart),
    ("native_state::vector_registers_cost_memory", vector_registers_cost_memory),
    ("native_state::vector_registers_of_a_machine", vector_registers_of_a_machine),
    ("native_state::all_of_it_survives", all_of_it_survives),
    ("native_state::groups", groups),
    ("native_state::extended_nonsense", extended_nonsense),
    ("native_state::gs_base", gs_base),
    ("native_state::selectors_do_not_leak", selectors_do_not_leak),
    ("native_state::no_32_bit_code", no_32_bit_code),
    ("native_state::single_step", single_step),
    ("native_state::breakpoint_on_execution", breakpoint_on_execution),
    ("native_state::breakpoint_on_write", breakpoint_on_write),
    ("native_state::breakpoint_met_by_the_kernel", breakpoint_met_by_the_kernel),
    ("native_state::breakpoints_are_ones_own", breakpoints_are_ones_own),
    ("native_state::breakpoint_behind_a_system_call", breakpoint_behind_a_system_call),
    ("native_state::impossible", impossible),
    ("native_state::across_pages", across_pages),
];

const XMM0: usize = 160;
const XMM3: usize = XMM0 + 3 * 16;
const MXCSR: usize = 24;
const HEADER: usize = 512;

/// A state of a child about to run its code.
fn fresh() -> Box<NativeState> {
    let mut state = Box::new(NativeState { rip: CODE, ..NativeState::default() });
    state.gpr[RSP] = DATA + DATA_SIZE;
    state
}

/// All of the state of a child's thread.
fn whole(child: &Native) -> Result<Box<NativeState>, Status> {
    let mut state = Box::new(NativeState::default());
    child.thread.get_native_state(&mut state, NativeState::GROUPS)?;
    Ok(state)
}

/// Sets groups of a child, lets it run, and waits for what comes.
fn run(
    bench: &mut Bench,
    child: &mut Native,
    code: &[u8],
    state: &NativeState,
    groups: Groups,
) -> Result<Event, crate::harness::Failure> {
    child.memory.write_bytes(0, code)?;
    child.thread.set_native_groups(state, groups | NativeState::REGISTERS, Run::Go)?;
    Ok(bench.receive())
}

fn vector_registers(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    require!(matches!(child.run(bench, code::vectors(), &[(RDI, 0x1234_5678)])?, Answer::Done(_)), true);
    let state = whole(&child)?;
    require!(state.extended[XMM0..XMM0 + 8], 0x1234_5678u64.to_le_bytes());
    Ok(())
}

fn vector_registers_are_kept_apart(bench: &mut Bench) -> Verdict {
    let mut children = [Native::new(bench)?, Native::new(bench)?, Native::new(bench)?];
    for (child, value) in children.iter_mut().zip([0x1111, 0x2222, 0x3333]) {
        child.begin(code::keep_vectors(), &[(RDI, value), (RSI, DATA)])?;
    }
    // Each must have gone on after the others had their turn.
    let mut least = 1;
    for _ in 0..4 {
        bench.run_until(|| {
            let mut all = true;
            for child in &children {
                all &= child.read(DATA)? > least;
            }
            Ok(all)
        })?;
        for child in &children {
            least = least.max(child.read(DATA)?);
        }
    }
    for (child, value) in children.iter().zip([0x1111u64, 0x2222, 0x3333]) {
        require!(whole(child)?.extended[XMM0..XMM0 + 8], value.to_le_bytes());
    }
    Ok(())
}

fn vector_registers_cost_memory(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.run(bench, code::breakpoint(), &[])?;
    let before = child.space.state()?.used;
    // To be recreated with the initial ones is not to use them.
    child.thread.set_native_groups(&fresh(), Groups::EXTENDED, Run::Unchanged)?;
    require!(child.space.state()?.used, before);
    child.run(bench, code::vectors(), &[])?;
    require!(child.space.state()?.used, before + 1);
    child.run(bench, code::vectors(), &[])?;
    require!(child.space.state()?.used, before + 1);
    // Whoever cannot pay learns of it, and nobody else.
    let spent = child.space.state()?;
    let greedy = child.status(bench, Call::SpaceCreate, &[DATA, 0, spent.allowance - spent.used - 1])?;
    require!(greedy, Status::Ok as u64);
    let mut place = DATA + 0x1000;
    while child.status(bench, Call::ReferenceCreate, &[place])? == Status::Ok as u64 {
        place += OBJECT_SIZE;
    }
    let mut state = fresh();
    let other = Thread::native(&child.space, &state)?;
    state.extended[XMM0] = 1;
    require!(other.set_native_groups(&state, Groups::EXTENDED, Run::Unchanged), Err(Status::NoMemory));
    child.memory.write_bytes(0, code::vectors())?;
    other.set_native_state(&state, Run::Go)?;
    let Event::Exception { exception, .. } = bench.receive() else { fail!("no exception") };
    require!((exception.vector, exception.error), (7, Status::NoMemory as u64));
    // What a thread has is given back with it.
    let before = child.space.state()?.used;
    let unused = Thread::native(&child.space, &state)?;
    drop(core::mem::replace(&mut child.thread, unused));
    require!(child.space.state()?.used, before - 1);
    Ok(())
}

fn vector_registers_of_a_machine(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_vectors(), &[(RDI, 0x5151)])?;
    let mut state = guest.state()?;
    state.cr4 |= 0x600;
    guest.set_state(&state, Groups::CONTROL)?;
    let exit = guest.start(bench)?;
    require!(guest::port(&exit), Some(guest::END_PORT));
    // Meanwhile a native thread uses the same registers, and the guest's do not show.
    let mut child = Native::new(bench)?;
    child.memory.write_bytes(0, code::read_vectors())?;
    let mut native = fresh();
    native.gpr[RDI] = DATA;
    child.thread.set_native_state(&native, Run::Go)?;
    let event = bench.abandon_until(None);
    let Answer::Done(after) = child.answer(event)? else { fail!("{event:x?}") };
    require!((after.gpr[RAX], after.gpr[RCX]), (0, 0x1f80));
    drop(child);
    guest.cpu.go()?;
    let event = bench.receive();
    // Given up, it makes its exit again, and then reads what it had.
    guest.exit(event)?;
    let exit = guest.skip(bench)?;
    require!(exit.rax, 0x5151);
    Ok(())
}

/// A state in which everything has a value of its own.
fn peculiar() -> Box<NativeState> {
    let mut state = fresh();
    for (index, register) in state.gpr.iter_mut().enumerate() {
        *register = 0x0101_0101_0101_0101 * (index as u64 + 1);
    }
    state.rflags = 0x202 | 0xcd5 | 1 << 18;
    (state.fs_base, state.gs_base) = (0x7000_0000_1000, 0x7000_0000_2000);
    state.exceptions = Exceptions {
        enabled: 0,
        posted: 0x133,
        handler: CODE + 0x800,
        interrupt_handler: CODE + 0x900,
        saved: Saved { rax: 1, rcx: 2, rdx: 3, rip: 0x4444, rflags: 0x202 },
        pending: Pending::default(),
    };
    state.debug = Debug { dr: [DATA, DATA + 8, HOLE, HOLE + 8], dr6: Debug::DR6 | 0x4002, dr7: 0x9_0402 };
    state.redirection = Redirection { start: CODE, length: 0x100, handler: CODE + 0xa00 };
    state.extended[MXCSR..MXCSR + 4].copy_from_slice(&0x3f80u32.to_le_bytes());
    state.extended[XMM3..XMM3 + 16].copy_from_slice(&[0x5a; 16]);
    // The upper half of YMM3.
    state.extended[576 + 48..576 + 64].copy_from_slice(&[0xa5; 16]);
    state.extended[HEADER] = 7;
    state
}

/// Fails unless two states are the same but for what is said about getting them.
fn same(one: &NativeState, other: &NativeState) -> Verdict {
    require!(one.gpr, other.gpr);
    require!((one.rip, one.rflags), (other.rip, other.rflags));
    require!((one.fs_base, one.gs_base), (other.fs_base, other.gs_base));
    require!(one.exceptions, other.exceptions);
    require!(one.debug, other.debug);
    require!(one.redirection, other.redirection);
    if one.extended != other.extended {
        fail!("the extended registers differ");
    }
    Ok(())
}

fn all_of_it_survives(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let state = peculiar();
    child.thread.set_native_groups(&state, NativeState::GROUPS, Run::Unchanged)?;
    same(&*whole(&child)?, &state)?;
    // It runs, and is then destroyed and made again from what was exported.
    let event = run(bench, &mut child, code::breakpoint(), &state, NativeState::GROUPS)?;
    child.answer(event)?;
    let mut exported = whole(&child)?;
    require!((exported.rip, exported.exceptions.pending.vector), (CODE + 1, Pending::VALID | 3));
    exported.exceptions.pending = Pending::default();
    same(&exported, &NativeState { rip: CODE + 1, ..*state })?;
    let again = Thread::native(&child.space, &NativeState::default())?;
    drop(core::mem::replace(&mut child.thread, again));
    child.thread.set_native_groups(&exported, NativeState::GROUPS, Run::Unchanged)?;
    same(&*whole(&child)?, &exported)?;
    exported.rip = CODE;
    exported.gpr[RDI] = DATA + 0x80;
    let event = run(bench, &mut child, code::read_vectors(), &exported, NativeState::GROUPS)?;
    let Answer::Done(after) = child.answer(event)? else { fail!("{event:x?}") };
    require!((after.gpr[RAX], after.gpr[RCX]), (0x5a5a_5a5a_5a5a_5a5a, 0x3f80));
    Ok(())
}

fn groups(bench: &mut Bench) -> Verdict {
    let child = Native::new(bench)?;
    let state = peculiar();
    for group in [Groups::GENERAL, Groups::INSTRUCTION, Groups::SEGMENTS, Groups::EVENT, Groups::DEBUG, Groups::SYSCALL]
    {
        let thread = Thread::native(&child.space, &NativeState::default())?;
        thread.set_native_groups(&state, group, Run::Unchanged)?;
        let mut after = NativeState::default();
        thread.get_native_state(&mut after, NativeState::GROUPS)?;
        let has = |groups: Groups| groups.contains(group);
        require!(after.gpr[RAX] == state.gpr[RAX], has(Groups::GENERAL));
        require!(after.gpr[RSP] == state.gpr[RSP], has(Groups::INSTRUCTION));
        require!(after.rip == state.rip, has(Groups::INSTRUCTION));
        require!(after.gs_base == state.gs_base, has(Groups::SEGMENTS));
        require!(after.exceptions == state.exceptions, has(Groups::EVENT));
        require!(after.debug == state.debug, has(Groups::DEBUG));
        require!(after.redirection == state.redirection, has(Groups::SYSCALL));
        // What was not asked for is not written.
        let mut little = NativeState { extended: [0x77; 1024], ..NativeState::default() };
        little.redirection.length = 5;
        thread.get_native_state(&mut little, Groups::GENERAL | Groups::DEBUG)?;
        require!((little.redirection.length, little.extended[0], little.version), (5, 0x77, 1));
    }
    let nothing = child.thread.set_native_groups(&state, Groups::CONTROL, Run::Unchanged);
    require!(nothing, Err(Status::Refused));
    Ok(())
}

fn extended_nonsense(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut state = fresh();
    state.gpr[RDI] = DATA;
    state.extended = [0xff; 1024];
    let event = run(bench, &mut child, code::read_vectors(), &state, NativeState::GROUPS)?;
    let Answer::Done(after) = child.answer(event)? else { fail!("{event:x?}") };
    // Reserved bits of MXCSR are gone, the registers are what was given.
    require!((after.gpr[RAX], after.gpr[RCX]), (u64::MAX, 0xffff));
    let exported = whole(&child)?;
    require!(exported.extended[HEADER] & !7, 0);
    require!(exported.extended[HEADER + 1..HEADER + 64], [0; 63]);
    Ok(())
}

fn gs_base(bench: &mut Bench) -> Verdict {
    let mut children = [Native::new(bench)?, Native::new(bench)?];
    for (child, offset) in children.iter_mut().zip([0, 0x800]) {
        child.write(DATA + offset, 1000 + offset)?;
        let state = NativeState { gs_base: DATA + offset, ..*fresh() };
        let event = run(bench, child, code::read_gs(), &state, Groups::SEGMENTS)?;
        let Answer::Done(state) = child.answer(event)? else { fail!("{event:x?}") };
        require!(state.gpr[RAX], 1000 + offset);
    }
    // Who has none does not get another's.
    let mut plain = Native::new(bench)?;
    require!(plain.run(bench, code::read_gs(), &[])?, Answer::Exception(14, 0));
    Ok(())
}

fn selectors_do_not_leak(bench: &mut Bench) -> Verdict {
    // One thread makes the bases zero, others have theirs: the same value, so that nobody can tell them apart by it.
    let mut children = [Native::new(bench)?, Native::new(bench)?];
    let codes = [code::load_selectors(), code::watch_fs()];
    for (child, code) in children.iter_mut().zip(codes) {
        child.write(DATA + 0x100, 0x7171)?;
        child.memory.write_bytes(0, code)?;
        let mut state = NativeState { fs_base: DATA + 0x100, ..*fresh() };
        (state.gpr[RDI], state.gpr[RSI]) = (DATA, 0x7171);
        child.thread.set_native_state(&state, Run::Go)?;
    }
    let mut least = 1;
    for _ in 0..4 {
        bench.run_until(|| Ok(children[0].read(DATA)? > least && children[1].read(DATA)? > least))?;
        least = children[0].read(DATA)?.max(children[1].read(DATA)?);
    }
    Ok(())
}

fn no_32_bit_code(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    require!(matches!(child.run(bench, code::far_return(), &[])?, Answer::Exception(13, _)), true);
    Ok(())
}

fn single_step(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let state = NativeState { rflags: 0x302, ..*fresh() };
    let mut event = run(bench, &mut child, code::steps(), &state, Groups::empty())?;
    for step in 1..=3 {
        let Event::Exception { exception, .. } = event else { fail!("step {step}: {event:x?}") };
        require!((exception.vector, exception.rip, exception.address), (1, CODE + step, Debug::DR6 | 0x4000));
        require!(child.thread.native_state()?.debug.dr6, Debug::DR6 | 0x4000);
        event = bench.reply(&resume());
    }
    require!(matches!(child.answer(event)?, Answer::Done(_)), true);
    Ok(())
}

fn breakpoint_on_execution(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let mut state = fresh();
    state.debug = Debug { dr: [CODE + 1, CODE + 2, 0, 0], dr7: 0x405, ..Debug::default() };
    let mut event = run(bench, &mut child, code::steps(), &state, Groups::DEBUG)?;
    for index in 0..2 {
        let Event::Exception { exception, .. } = event else { fail!("breakpoint {index}: {event:x?}") };
        require!((exception.vector, exception.rip), (1, CODE + 1 + index));
        require!(exception.address, Debug::DR6 | 1 << index);
        // The reply alone takes it over its breakpoint.
        event = bench.reply(&resume());
    }
    require!(matches!(child.answer(event)?, Answer::Done(_)), true);
    Ok(())
}

/// The state of a child that writes to its data, with a breakpoint on that.
fn watched() -> Box<NativeState> {
    let mut state = fresh();
    (state.gpr[RDI], state.gpr[RSI]) = (DATA + 0x40, 77);
    state.debug = Debug { dr: [0, 0, 0, DATA + 0x40], dr7: 0x9000_0440, ..Debug::default() };
    state
}

fn breakpoint_on_write(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let event = run(bench, &mut child, code::write(), &watched(), Groups::DEBUG)?;
    let Event::Exception { exception, .. } = event else { fail!("{event:x?}") };
    require!((exception.vector, exception.rip, exception.address), (1, CODE + 3, Debug::DR6 | 8));
    require!(child.read(DATA + 0x40)?, 77);
    let event = bench.reply(&resume());
    require!(matches!(child.answer(event)?, Answer::Done(_)), true);
    // A read is none.
    let mut child = Native::new(bench)?;
    let event = run(bench, &mut child, code::read(), &watched(), Groups::DEBUG)?;
    require!(matches!(child.answer(event)?, Answer::Done(_)), true);
    Ok(())
}

fn breakpoint_met_by_the_kernel(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    // The kernel writes a thread's state over the watched word, on behalf of the child.
    let own = child.own_address(DATA);
    protocols::libc::system_call::thread_create(own)?;
    let mut state = watched();
    (state.gpr[RAX], state.gpr[RDI], state.gpr[RSI]) = (Call::ThreadGetState as u64, DATA, DATA + 0x40);
    (state.gpr[RDX], state.gpr[10]) = (Groups::GENERAL.bits(), 0);
    let event = run(bench, &mut child, code::system_call(), &state, Groups::DEBUG)?;
    let Answer::Done(after) = child.answer(event)? else { fail!("{event:x?}") };
    require!(after.gpr[RAX], Status::Ok as u64);
    Ok(())
}

fn breakpoints_are_ones_own(bench: &mut Bench) -> Verdict {
    let mut watching = Native::new(bench)?;
    let event = run(bench, &mut watching, code::write(), &watched(), Groups::DEBUG)?;
    require!(matches!(watching.answer(event)?, Answer::Exception(1, _)), true);
    // The same address, the same code, another thread; then a machine.
    let mut other = Native::new(bench)?;
    let answer = other.run(bench, code::write(), &[(RDI, DATA + 0x40), (RSI, 7)])?;
    require!(matches!(answer, Answer::Done(_)), true);
    let mut guest = Guest::new(bench, code::guest_write(), &[(RDI, guest::DATA), (RSI, 7)])?;
    let mut state = guest.state()?;
    state.dr = [0xffff_8000_0000_0000; 4];
    guest.set_state(&state, Groups::DEBUG)?;
    let exit = guest.start(bench)?;
    require!(guest::port(&exit), Some(guest::END_PORT));
    // And the first still has it.
    let mut state = watched();
    state.gpr[RSI] = 78;
    let event = run(bench, &mut watching, code::write(), &state, Groups::DEBUG)?;
    require!(matches!(watching.answer(event)?, Answer::Exception(1, _)), true);
    require!(guest.state()?.dr, [0xffff_8000_0000_0000; 4]);
    Ok(())
}

fn breakpoint_behind_a_system_call(bench: &mut Bench) -> Verdict {
    // MOV SS delays the breakpoint on what it reads past the next instruction: SYSCALL.
    let mut child = Native::new(bench)?;
    child.write(DATA + 0x40, 0x2b)?;
    let mut state = watched();
    state.debug.dr7 = 0xf000_0440;
    state.gpr[RAX] = Call::ThreadSelf as u64;
    let event = run(bench, &mut child, code::load_stack_segment(), &state, Groups::DEBUG)?;
    // Whether it is told depends on the processor; the kernel lives.
    match child.answer(event)? {
        Answer::Done(_) | Answer::Exception(1, _) => Ok(()),
        answer => fail!("{answer:?}"),
    }
}

fn impossible(bench: &mut Bench) -> Verdict {
    let child = Native::new(bench)?;
    let change = |groups: Groups, change: fn(&mut NativeState)| {
        let mut state = peculiar();
        change(&mut state);
        child.thread.set_native_groups(&state, groups, Run::Unchanged)
    };
    for (name, result) in [
        ("rip", change(Groups::INSTRUCTION, |state| state.rip = 1 << 47)),
        ("version", change(Groups::INSTRUCTION, |state| state.version = 99)),
        ("gs_base", change(Groups::SEGMENTS, |state| state.gs_base = 1 << 63)),
        ("dr", change(Groups::DEBUG, |state| state.debug.dr[0] = 0xffff_8000_0000_0000)),
        ("general detection", change(Groups::DEBUG, |state| state.debug.dr7 |= 1 << 13)),
        ("I/O", change(Groups::DEBUG, |state| state.debug.dr7 |= 2 << 20)),
        ("upper half", change(Groups::DEBUG, |state| state.debug.dr7 |= 1 << 32)),
        ("handler", change(Groups::EVENT, |state| state.exceptions.handler = u64::MAX)),
        ("saved rip", change(Groups::EVENT, |state| state.exceptions.saved.rip = 1 << 47)),
        ("posted", change(Groups::EVENT, |state| state.exceptions.posted = 3)),
        ("range", change(Groups::SYSCALL, |state| state.redirection.length = u64::MAX)),
        ("redirected to", change(Groups::SYSCALL, |state| state.redirection.handler = 1 << 47)),
    ] {
        require!((name, result), (name, Err(Status::Refused)));
    }
    // Nothing was changed.
    same(&*whole(&child)?, &NativeState { rip: CODE, ..*fresh() })
}

fn across_pages(bench: &mut Bench) -> Verdict {
    // The state lies across two pages, the second of which is not there at first.
    let mut child = Native::new(bench)?;
    let own = child.own_address(DATA);
    protocols::libc::system_call::thread_create(own)?;
    let end = DATA + DATA_SIZE;
    let arguments = [DATA, end - 64, Groups::GENERAL.bits(), 0];
    for call in [Call::ThreadGetState, Call::ThreadSetState] {
        require!(child.call(bench, call, &arguments)?, Answer::Exception(14, end));
    }
    require!(child.status(bench, Call::ThreadGetState, &[DATA, DATA + 0x1000 - 64, 0])?, Status::Ok as u64);
    require!(child.read(DATA + 0x1000 - 64 + 22 * 8)?, 1);
    Ok(())
}
