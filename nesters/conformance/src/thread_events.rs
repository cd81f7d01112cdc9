//! What happens to native threads: their own handlers, interrupts, redirected system calls, being stopped while they wait.

use alloc::boxed::Box;
use protocols::api::{Call, NativeState, ObjectType, Run, Status};
use protocols::exception::{MISUSE, Misuse};
use protocols::libc::system_call;
use protocols::libnest::server::resume;
use protocols::libnest::{Event, Port, Portset, Reference, Thread};
use protocols::native_thread::{Debug, Exceptions, Pending, Redirection, Waited};
use protocols::virtual_cpu::Groups;
use protocols::virtual_cpu::register::{R8, R9, R10, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP};

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{Answer, CODE, DATA, DATA_SIZE, HOLE, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("thread_events::own_handler", own_handler),
    ("thread_events::exception_in_a_handler", exception_in_a_handler),
    ("thread_events::handler_set_from_outside", handler_set_from_outside),
    ("thread_events::faults_that_no_keeper_resolves", faults_that_no_keeper_resolves),
    ("thread_events::misuse_in_a_handler", misuse_in_a_handler),
    ("thread_events::interrupt_while_waiting_for_a_message", interrupt_while_waiting_for_a_message),
    ("thread_events::interrupt_while_waiting_for_a_server", interrupt_while_waiting_for_a_server),
    ("thread_events::interrupt_while_waiting_for_a_reply", interrupt_while_waiting_for_a_reply),
    ("thread_events::interrupt_while_running", interrupt_while_running),
    ("thread_events::interrupt_deferred", interrupt_deferred),
    ("thread_events::interrupt_of_itself", interrupt_of_itself),
    ("thread_events::interrupts_replace_each_other", interrupts_replace_each_other),
    ("thread_events::handlers_are_checked", handlers_are_checked),
    ("thread_events::redirected_system_calls", redirected_system_calls),
    ("thread_events::redirected_from_outside", redirected_from_outside),
    ("thread_events::redirection_is_ones_own", redirection_is_ones_own),
    ("thread_events::stopped_while_receiving", stopped_while_receiving),
    ("thread_events::stopped_while_calling", stopped_while_calling),
    ("thread_events::stopped_while_its_keeper_is_silent", stopped_while_its_keeper_is_silent),
    ("thread_events::stopped_while_its_keeper_does_not_receive", stopped_while_its_keeper_does_not_receive),
    ("thread_events::stopped_in_a_region_fault", stopped_in_a_region_fault),
    ("thread_events::stopped_at_an_exit", stopped_at_an_exit),
    ("thread_events::stopped_in_halt", stopped_in_halt),
    ("thread_events::stays_stopped", stays_stopped),
];

/// Where children note things.
const NOTES: u64 = DATA + 0x2000;

fn done(answer: Answer) -> Result<NativeState, Failure> {
    match answer {
        Answer::Done(state) => Ok(state),
        answer => fail!("{answer:x?}"),
    }
}

fn own_handler(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let state = done(child.run(bench, code::handle_exceptions(), &[(R14, NOTES)])?)?;
    // Vector, error, address; flags without trap and direction; the earlier RAX.
    require!([child.read(NOTES)?, child.read(NOTES + 8)?, child.read(NOTES + 16)?], [0, 0, 0]);
    require!(child.read(NOTES + 24)? & 0x500, 0);
    require!(child.read(NOTES + 32)?, 7);
    // It went on with what the handler had set; RDX and the direction flag came back.
    require!((state.gpr[R12], state.gpr[R15], state.gpr[R13] & 0x400), (0x77, 0, 0x400));
    require!((state.exceptions.enabled, state.exceptions.saved.rax), (0, 0x77));
    Ok(())
}

fn exception_in_a_handler(bench: &mut Bench) -> Verdict {
    // It is disabled there: the keeper hears of the second one.
    let mut child = Native::new(bench)?;
    let answer = child.run(bench, code::handle_badly(), &[])?;
    require!(matches!(answer, Answer::Exception(13, _)), true);
    let state = child.thread.native_state()?;
    require!((state.gpr[R12], state.exceptions.enabled), (3, 0));
    require!(state.exceptions.pending.vector, Pending::VALID | 13);
    Ok(())
}

/// The state of a child with handlers, exceptions enabled.
fn with_handlers(handler: u64, interrupt_handler: u64) -> Box<NativeState> {
    let mut state = Box::new(NativeState { rip: CODE, ..NativeState::default() });
    state.gpr[RSP] = DATA + DATA_SIZE;
    state.exceptions = Exceptions { enabled: 1, handler, interrupt_handler, ..Exceptions::default() };
    state
}

const EVENTS: Groups = NativeState::REGISTERS.union(Groups::EVENT);

fn handler_set_from_outside(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.memory.write_bytes(0, code::divide())?;
    child.memory.write_bytes(0x100, code::halt())?;
    let mut state = with_handlers(CODE + 0x100, 0);
    (state.gpr[RAX], state.gpr[RDX]) = (0x1234, 5);
    child.thread.set_native_groups(&state, EVENTS, Run::Go)?;
    let event = bench.receive();
    require!(matches!(child.answer(event)?, Answer::Exception(13, _)), true);
    let after = child.thread.native_state()?;
    require!((after.rip, after.gpr[RAX], after.exceptions.saved.rax), (CODE + 0x100, 0, 0x1234));
    require!(after.exceptions.saved.rip, CODE + 4);
    Ok(())
}

fn faults_that_no_keeper_resolves(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.memory.write_bytes(0, code::read())?;
    child.memory.write_bytes(0x100, code::halt())?;
    let mut state = with_handlers(CODE + 0x100, 0);
    state.gpr[RDI] = HOLE;
    child.thread.set_native_groups(&state, EVENTS, Run::Go)?;
    let event = bench.receive();
    child.answer(event)?;
    let after = child.thread.native_state()?;
    require!((after.gpr[RAX], after.gpr[RCX], after.gpr[RDX]), (14, 4, HOLE));
    require!(after.exceptions.saved.rip, CODE);
    Ok(())
}

fn misuse_in_a_handler(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.memory.write_bytes(0, code::system_call())?;
    child.memory.write_bytes(0x100, code::halt())?;
    let mut state = with_handlers(CODE + 0x100, 0);
    (state.gpr[RAX], state.gpr[RDI]) = (Call::PortDestroy as u64, DATA);
    child.thread.set_native_groups(&state, EVENTS, Run::Go)?;
    let event = bench.receive();
    child.answer(event)?;
    let after = child.thread.native_state()?;
    let got = (after.gpr[RAX], after.gpr[RCX], after.gpr[RDX]);
    require!(got, (MISUSE, Misuse::NoObject as u64, Call::PortDestroy as u64));
    require!((after.exceptions.saved.rax, after.exceptions.saved.rip), (Call::PortDestroy as u64, CODE + 2));
    Ok(())
}

/// Lets others run for a while; nothing must be heard.
fn pause(bench: &mut Bench) -> Verdict {
    let soon = bench.microseconds(1000);
    match bench.receive_until(soon) {
        Event::TimedOut => Ok(()),
        event => fail!("{event:x?}"),
    }
}

/// The registers of a child that waits in `call` on the object at DATA, with an interrupt handler.
fn waiting(call: Call) -> [(usize, u64); 3] {
    [(RBX, DATA), (RBP, call as u64), (R14, NOTES)]
}

/// Posts an interrupt to a waiting child: its handler is called and it waits again.
fn interrupt_waiting(bench: &mut Bench, child: &Native) -> Verdict {
    for round in 1..=3u64 {
        require!(child.thread.interrupt(0x30 + round as u8)?, 0);
        bench.run_until(|| Ok(child.read(NOTES)? == round))?;
        require!(child.read(NOTES + 8)?, 0x30 + round);
        pause(bench)?;
    }
    Ok(())
}

/// Gives a child a Reference at DATA to a Port.
fn connect(child: &Native, port: &Port) -> Verdict {
    let own = child.own_address(DATA);
    system_call::reference_create(own)?;
    Ok(system_call::port_reference(port.address(), own)?)
}

fn interrupt_while_waiting_for_a_message(bench: &mut Bench) -> Verdict {
    for call in [Call::IpcWaitReceive, Call::IpcReplyWaitReceive] {
        let mut child = Native::new(bench)?;
        let port = child.serves()?;
        child.begin(code::wait_with_handler(), &waiting(call))?;
        pause(bench)?;
        interrupt_waiting(bench, &child)?;
        port.send(0x66)?;
        let event = bench.receive();
        let state = done(child.answer(event)?)?;
        require!((state.gpr[R12], state.gpr[R13]), (Status::Ok as u64, 0x66));
    }
    Ok(())
}

fn interrupt_while_waiting_for_a_server(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let elsewhere = Portset::new()?;
    let port = Port::new(&elsewhere, 3)?;
    connect(&child, &port)?;
    child.begin(code::wait_with_handler(), &waiting(Call::IpcCall))?;
    pause(bench)?;
    interrupt_waiting(bench, &child)?;
    let here = bench.server().portset().reference().address();
    system_call::port_set_state(port.address(), 4, here)?;
    let Event::Call { words, .. } = bench.receive() else { fail!("no call") };
    require!(words[0], 0x5151);
    let event = bench.reply(&[9; 8]);
    let state = done(child.answer(event)?)?;
    require!((state.gpr[R12], state.gpr[R13], child.read(NOTES)?), (Status::Ok as u64, 9, 3));
    Ok(())
}

fn interrupt_while_waiting_for_a_reply(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    connect(&child, &port)?;
    child.begin(code::wait_with_handler(), &waiting(Call::IpcCall))?;
    require!(matches!(bench.receive(), Event::Call { .. }), true);
    // It makes its call again, and whoever worked on the first one has no client any more.
    require!(child.thread.interrupt(0x31)?, 0);
    require!(system_call::ipc_reply(&[1; 8]), Err(Status::Disconnected));
    let Event::Call { words, .. } = bench.receive() else { fail!("no second call") };
    require!((words[0], child.read(NOTES)?), (0x5151, 1));
    let event = bench.reply(&[2; 8]);
    require!(done(child.answer(event)?)?.gpr[R13], 2);
    Ok(())
}

fn interrupt_while_running(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.memory.write_bytes(0, code::count())?;
    child.memory.write_bytes(0x100, code::halt())?;
    let mut state = with_handlers(0, CODE + 0x100);
    state.gpr[RDI] = DATA;
    child.thread.set_native_groups(&state, EVENTS, Run::Go)?;
    bench.run_until(|| Ok(child.read(DATA)? > 0))?;
    require!(child.thread.interrupt(0x55)?, 0);
    let event = bench.receive();
    require!(matches!(child.answer(event)?, Answer::Exception(13, _)), true);
    let after = child.thread.native_state()?;
    require!((after.gpr[RAX], after.exceptions.posted), (0x55, 0));
    require!((CODE..CODE + 8).contains(&after.exceptions.saved.rip), true);
    Ok(())
}

fn interrupt_deferred(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    require!(child.run(bench, code::enable_late(), &[(R14, NOTES)])?, Answer::Exception(3, 0));
    // While it waits for its keeper, and while exceptions are disabled.
    require!((child.thread.interrupt(0x41)?, child.thread.interrupt(0x42)?), (0, 0x41));
    require!(child.thread.native_state()?.exceptions.posted, 0x142);
    let event = bench.reply(&resume());
    let state = done(child.answer(event)?)?;
    require!((state.gpr[R12], state.gpr[R13], child.read(NOTES + 8)?), (0, 1, 0x42));
    require!((state.gpr[R15], state.exceptions.posted), (0, 0));
    Ok(())
}

fn interrupt_of_itself(bench: &mut Bench) -> Verdict {
    let child = Native::new(bench)?;
    let own = child.own_address(DATA);
    system_call::thread_create(own)?;
    let mut state = NativeState { rip: CODE, ..NativeState::default() };
    (state.gpr[RBX], state.gpr[R14], state.gpr[RSP]) = (DATA, NOTES, DATA + DATA_SIZE);
    child.memory.write_bytes(0, code::interrupt_itself())?;
    protocols::libnest::objects::set_native_thread(own, &state, child.space.reference(), Run::Go)?;
    let Event::Exception { exception, .. } = bench.receive() else { fail!("no end") };
    require!((exception.vector, child.read(NOTES)?, child.read(NOTES + 8)?), (6, 1, 0x44));
    let after = protocols::libnest::objects::native_thread(own)?;
    require!((after.gpr[R12], after.gpr[R13]), (Status::Ok as u64, 0));
    Ok(())
}

fn interrupts_replace_each_other(bench: &mut Bench) -> Verdict {
    let child = Native::new(bench)?;
    require!(child.thread.interrupt(0x20)?, 0);
    require!(child.thread.interrupt(0x21)?, 0x20);
    require!(child.thread.interrupt(0)?, 0x21);
    require!(child.thread.interrupt(0)?, 0);
    Ok(())
}

fn handlers_are_checked(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    for address in [1 << 47, u64::MAX, 0xffff_8000_0000_0000] {
        for arguments in [[address, 0], [0, address]] {
            require!(child.status(bench, Call::ThreadSetHandlers, &arguments)?, Status::Refused as u64);
        }
        require!(child.status(bench, Call::ThreadSetSaved, &[0, 0, 0, address])?, Status::Refused as u64);
        for arguments in [[address, 0, 1], [0, address, 1], [0, 0, address]] {
            require!(child.status(bench, Call::ThreadRedirect, &arguments)?, Status::Refused as u64);
        }
    }
    require!(child.call(bench, Call::ThreadSetExceptions, &[2])?, Answer::misuse(Misuse::BadArgument));
    let state = done(child.call(bench, Call::ThreadSetSaved, &[1, 2, 3, 4, u64::MAX])?)?;
    require!((state.exceptions.saved.rip, state.exceptions.saved.rflags & 0x2_7000), (4, 0));
    // Nobody returns to where the kernel is.
    let state = done(child.call(bench, Call::ThreadGetSaved, &[])?)?;
    require!([RDI, RSI, RDX, R10].map(|register| state.gpr[register]), [1, 2, 3, 4]);
    require!(child.call(bench, Call::ThreadReturnFromException, &[])?, Answer::Exception(14, 4));
    // A machine has none of this.
    for call in 0x88..=0x8d {
        let mut guest = Guest::new(bench, code::guest_call(), &[(RAX, call)])?;
        guest.allow(protocols::policy::Controls::VMCALL, 0)?;
        let exit = guest.start(bench)?;
        require!(exit.reason as u32, protocols::virtual_cpu::exit_reason::VMCALL);
    }
    Ok(())
}

fn redirected_system_calls(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let state = done(child.run(bench, code::redirected_write(), &[(R14, NOTES)])?)?;
    // Linux's number, the address behind the instruction, flags, stack and arguments.
    require!((child.read(NOTES)?, child.read(NOTES + 8)?), (1, state.gpr[R13]));
    require!(child.read(NOTES + 16)? & 1, 1);
    require!((child.read(NOTES + 24)?, child.read(NOTES + 32)?), (state.gpr[R15], 6));
    // The kernel's own call, from inside the range, after it.
    require!(state.gpr[R12], Status::Ok as u64);
    require!((state.gpr[R10], state.gpr[R8], state.gpr[R9], state.gpr[RSI]), (4, 5, 6, 2));
    Ok(())
}

/// The state of a child whose system calls all go to `handler`.
fn redirected(handler: u64) -> Box<NativeState> {
    let mut state = Box::new(NativeState { rip: CODE, ..NativeState::default() });
    state.redirection = Redirection { start: 0, length: 0, handler };
    state
}

fn redirected_from_outside(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.memory.write_bytes(0, code::fake_call())?;
    let groups = NativeState::REGISTERS | Groups::SYSCALL;
    child.thread.set_native_groups(&redirected(CODE + 16), groups, Run::Go)?;
    let event = bench.receive();
    let state = done(child.answer(event)?)?;
    require!((state.gpr[RAX], state.rip), (4242, CODE + 7));
    require!((state.redirection.length, state.redirection.handler), (0, CODE + 16));
    // A handler that is not there is a fault of the thread's.
    let mut other = Native::new(bench)?;
    other.memory.write_bytes(0, code::fake_call())?;
    other.thread.set_native_groups(&redirected(HOLE), groups, Run::Go)?;
    let event = bench.receive();
    require!(other.answer(event)?, Answer::Exception(14, HOLE));
    require!(other.thread.native_state()?.gpr[RCX], CODE + 7);
    Ok(())
}

fn redirection_is_ones_own(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    child.memory.write_bytes(0, code::fake_call())?;
    let groups = NativeState::REGISTERS | Groups::SYSCALL;
    for _ in 0..3 {
        child.thread.set_native_groups(&redirected(CODE + 16), groups, Run::Go)?;
        let event = bench.receive();
        require!(done(child.answer(event)?)?.gpr[RAX], 4242);
        // We ourselves, another child and a machine make calls between.
        let mut other = Native::new(bench)?;
        require!(other.status(bench, Call::ThreadSelf, &[])?, Status::Ok as u64);
        let mut guest = Guest::new(bench, code::guest_undefined(), &[])?;
        let mut state = guest.state()?;
        state.lstar = 0xffff_8000_0000_0000;
        guest.set_state(&state, Groups::SYSCALL)?;
        require!(guest::vector(&guest.start(bench)?), Some(6));
        child.thread.stop()?;
    }
    Ok(())
}

/// What a stopped thread waited for, and where that links to.
fn waited(thread: &Thread) -> Result<(u64, Option<ObjectType>, Box<NativeState>), Failure> {
    let reference = Reference::new()?;
    let mut state = Box::new(NativeState::default());
    thread.get_waiting_state(&mut state, NativeState::GROUPS, &reference)?;
    Ok((state.waited, reference.check()?, state))
}

/// Destroys a child's thread and makes another one of its state, which goes on.
fn recreate(child: &mut Native, state: &NativeState) -> Verdict {
    let fresh = Thread::native(&child.space, &NativeState::default())?;
    drop(core::mem::replace(&mut child.thread, fresh));
    Ok(child.thread.set_native_groups(state, NativeState::GROUPS, Run::Go)?)
}

fn stopped_while_receiving(bench: &mut Bench) -> Verdict {
    for (call, remains) in [
        (Call::IpcWaitReceive, Call::IpcWaitReceive),
        (Call::IpcReplyWaitReceive, Call::IpcWaitReceive),
        (Call::IpcWaitReceiveWithReference, Call::IpcWaitReceiveWithReference),
        (Call::IpcReplyWaitReceiveWithReference, Call::IpcWaitReceiveWithReference),
    ] {
        let mut child = Native::new(bench)?;
        let port = child.serves()?;
        child.begin(code::system_call(), &[(RAX, call as u64), (RDI, DATA)])?;
        pause(bench)?;
        let (what, link, state) = waited(&child.thread)?;
        require!((what, link), (Waited::Message as u64, Some(ObjectType::Portset)));
        require!((state.rip, state.gpr[RAX], state.gpr[RDI]), (CODE, remains as u64, DATA));
        // What is sent meanwhile is not lost.
        port.send(0x17)?;
        pause(bench)?;
        recreate(&mut child, &state)?;
        let event = bench.receive();
        let after = done(child.answer(event)?)?;
        require!((after.gpr[RAX], after.gpr[RSI]), (Status::Ok as u64, 0x17));
    }
    Ok(())
}

fn stopped_while_calling(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    connect(&child, &port)?;
    child.begin(code::system_call(), &[(RAX, Call::IpcCall as u64), (RDI, DATA), (RSI, 0x99)])?;
    require!(matches!(bench.receive(), Event::Call { .. }), true);
    let (what, link, state) = waited(&child.thread)?;
    require!((what, link, state.rip), (Waited::Reply as u64, Some(ObjectType::Thread), CODE));
    require!(system_call::ipc_reply(&[1; 8]), Err(Status::Disconnected));
    recreate(&mut child, &state)?;
    let Event::Call { words, .. } = bench.receive() else { fail!("no call") };
    require!(words[0], 0x99);
    let event = bench.reply(&[3; 8]);
    require!(done(child.answer(event)?)?.gpr[RSI], 3);
    // Before anybody has received it.
    let elsewhere = Portset::new()?;
    let here = elsewhere.reference().address();
    system_call::port_set_state(port.address(), 4, here)?;
    let mut other = Native::new(bench)?;
    connect(&other, &port)?;
    other.begin(code::system_call(), &[(RAX, Call::IpcCall as u64), (RDI, DATA)])?;
    pause(bench)?;
    let (what, link, _) = waited(&other.thread)?;
    require!((what, link), (Waited::Server as u64, Some(ObjectType::Port)));
    require!(system_call::ipc_wait_receive(elsewhere.address(), 1).err(), Some(Status::TimedOut));
    Ok(())
}

/// Code that ends in an exception, registers for it, and what its message says: vector, address, and RIP.
type Exceptional = (&'static [u8], &'static [(usize, u64)], (u64, u64, u64));

fn stopped_while_its_keeper_is_silent(bench: &mut Bench) -> Verdict {
    let exceptional: [Exceptional; 4] = [
        (code::divide(), &[], (0, 0, CODE + 4)),
        (code::breakpoint(), &[], (3, 0, CODE + 1)),
        (code::read(), &[(RDI, HOLE)], (14, HOLE, CODE)),
        (code::system_call(), &[(RAX, 0xff)], (MISUSE, 0xff, CODE + 2)),
    ];
    for (code, registers, expected) in exceptional {
        // The keeper is a thread of a child that receives and then does nothing.
        let mut keeper = Native::new(bench)?;
        let port = keeper.serves()?;
        let mut child = Native::new(bench)?;
        system_call::space_set_keeper(child.space.address(), port.address())?;
        keeper.begin(code::receive_and_spin(), &[(RDI, DATA), (RSI, NOTES)])?;
        child.begin(code, registers)?;
        bench.run_until(|| Ok(keeper.read(NOTES)? > 0))?;
        let (what, link, state) = waited(&child.thread)?;
        require!((what, link), (Waited::Keeper as u64, None));
        require!(state.exceptions.pending.vector, Pending::VALID | expected.0);
        // It goes on elsewhere, with a keeper that answers, and raises the same.
        child.space.set_keeper(&child.port)?;
        recreate(&mut child, &state)?;
        let Event::Exception { exception, .. } = bench.receive() else { fail!("no exception") };
        require!((exception.vector, exception.address, exception.rip), expected);
        keeper.thread.stop()?;
    }
    Ok(())
}

fn stopped_while_its_keeper_does_not_receive(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let elsewhere = Portset::new()?;
    let keeper = Port::new(&elsewhere, 8)?;
    child.space.set_keeper(&keeper)?;
    child.begin(code::breakpoint(), &[])?;
    pause(bench)?;
    let (what, link, state) = waited(&child.thread)?;
    require!((what, link), (Waited::Keeper as u64, None));
    require!(state.exceptions.pending.vector, Pending::VALID | 3);
    require!(system_call::ipc_wait_receive(elsewhere.address(), 1).err(), Some(Status::TimedOut));
    // A debugger drops the exception.
    child.space.set_keeper(&child.port)?;
    let mut state = state;
    state.exceptions.pending = Pending::default();
    recreate(&mut child, &state)?;
    let event = bench.receive();
    require!(matches!(child.answer(event)?, Answer::Done(_)), true);
    Ok(())
}

fn stopped_in_a_region_fault(bench: &mut Bench) -> Verdict {
    use protocols::libnest::{Mapping, Memory, Region, Rights};
    let mut child = Native::new(bench)?;
    // A Region without rights: its keeper hears of every access.
    let memory = Memory::allocate(0x1000).ok_or(Failure("no memory".into()))?;
    let region = Region::new(&memory, 0, 0x1000, Rights::READ)?;
    let silent = Portset::new()?;
    let keeper = Port::new(&silent, 1)?;
    region.set_keeper(&keeper)?;
    region.protect(Rights::empty())?;
    let _mapping = Mapping::new(&region, 0, &child.space, HOLE, 0x1000, Rights::READ)?;
    child.begin(code::read(), &[(RDI, HOLE)])?;
    pause(bench)?;
    let (what, link, state) = waited(&child.thread)?;
    require!((what, link), (Waited::Keeper as u64, None));
    require!((state.rip, state.exceptions.pending.vector), (CODE, 0));
    memory.write(0, &0x4321u64)?;
    region.protect(Rights::READ)?;
    recreate(&mut child, &state)?;
    let event = bench.receive();
    require!(done(child.answer(event)?)?.gpr[RAX], 0x4321);
    Ok(())
}

fn stopped_at_an_exit(bench: &mut Bench) -> Verdict {
    // Its keeper does not receive; the virtual CPU makes its exit again.
    let mut guest = Guest::new(bench, code::guest_port(), &[(RAX, 5)])?;
    let elsewhere = Portset::new()?;
    let keeper = Port::new(&elsewhere, 8)?;
    guest.space.set_keeper(&keeper)?;
    guest.cpu.go()?;
    pause(bench)?;
    let state = guest.state()?;
    require!(state.rip, guest::CODE);
    require!(system_call::ipc_wait_receive(elsewhere.address(), 1).err(), Some(Status::TimedOut));
    guest.space.set_keeper(&guest.port)?;
    let exit = guest.start(bench)?;
    require!(guest::port(&exit), Some(0x60));
    Ok(())
}

fn stopped_in_halt(bench: &mut Bench) -> Verdict {
    let guest = Guest::new(bench, code::guest_wait(), &[])?;
    guest.cpu.go()?;
    pause(bench)?;
    let state = guest.state()?;
    require!((state.activity, state.rip), (1, guest::CODE + 2));
    // Set again, it is still halted, and an interrupt wakes it.
    guest.cpu.set_state(&state, Groups::VMCS | Groups::GENERAL | Groups::EVENT, Run::Go)?;
    pause(bench)?;
    guest.cpu.interrupt(0x40)?;
    let event = bench.receive();
    let exit = guest.exit(event)?;
    require!(guest::vector(&exit), Some(0x40));
    Ok(())
}

fn stays_stopped(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = child.serves()?;
    child.begin(code::system_call(), &[(RAX, Call::IpcWaitReceive as u64), (RDI, DATA)])?;
    pause(bench)?;
    require!(child.thread.native_state()?.stopped, 1);
    port.send(1)?;
    require!(child.thread.interrupt(0x40)?, 0);
    child.thread.set_native_state(&child.thread.native_state()?, Run::Unchanged)?;
    pause(bench)?;
    require!(child.thread.native_state()?.debug, Debug::default());
    child.thread.go()?;
    let event = bench.receive();
    require!(done(child.answer(event)?)?.gpr[RSI], 1);
    Ok(())
}
