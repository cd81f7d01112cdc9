//! Ports, Portsets and IPC.

use protocols::api::{Call, Status};
use protocols::exception::Misuse;
use protocols::libc::{system_call, time};
use protocols::libnest::{Event, Port, Portset, Run};
use protocols::virtual_cpu::register::{R8, R9, R10, R12, R13, R14, RAX, RDI, RDX, RSI};

use crate::code;
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{Answer, DATA, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("port::call_and_reply_carry_eight_words", call_and_reply_carry_eight_words),
    ("port::child_serves", child_serves),
    ("port::alias", alias),
    ("port::destroyed_before_and_during_a_call", destroyed_before_and_during_a_call),
    ("port::server_gives_a_client_up", server_gives_a_client_up),
    ("port::no_client_to_reply_to", no_client_to_reply_to),
    ("port::notifications_merge", notifications_merge),
    ("port::no_bits_are_no_notification", no_bits_are_no_notification),
    ("port::deadlines", deadlines),
    ("port::clients_take_turns", clients_take_turns),
    ("port::moves_between_portsets", moves_between_portsets),
    ("port::references_are_checked", references_are_checked),
    ("port::stopped_clients_disappear", stopped_clients_disappear),
];

/// Where a child has a Reference that [`connect`] made.
const REFERENCE: u64 = DATA;

/// Gives a child a Reference to a Port.
fn connect(child: &Native, port: &Port) -> Result<(), Failure> {
    let own = child.own_address(REFERENCE);
    system_call::reference_create(own)?;
    Ok(system_call::port_reference(port.address(), own)?)
}

const WORDS: [usize; 8] = [RSI, RDX, R10, R8, R9, R12, R13, R14];

/// Has a child call its [`REFERENCE`] with `words`.
fn begin_call(child: &mut Native, words: [u64; 8]) -> Result<(), Failure> {
    let mut registers = [(RAX, Call::IpcCall as u64); 10];
    registers[1] = (RDI, REFERENCE);
    for ((slot, register), word) in registers[2..].iter_mut().zip(WORDS).zip(words) {
        *slot = (register, word);
    }
    child.begin(code::system_call(), &registers)
}

/// The status of the call that a child has made.
fn ended(child: &mut Native, event: Event) -> Result<u64, Failure> {
    match child.answer(event)? {
        Answer::Done(state) => Ok(state.gpr[RAX]),
        answer => fail!("{answer:?}"),
    }
}

fn call_and_reply_carry_eight_words(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    connect(&child, &port)?;
    let request = [1, 2, 3, u64::MAX, 5, 6, 7, 1 << 63];
    begin_call(&mut child, request)?;
    let Event::Call { words, .. } = bench.receive() else { fail!("no call") };
    require!(words, request);
    let reply = [8, 7, 6, 5, 4, u64::MAX, 2, 1];
    let event = bench.reply(&reply);
    let Answer::Done(state) = child.answer(event)? else { fail!("the call did not end") };
    require!(state.gpr[RAX], Status::Ok as u64);
    require!(WORDS.map(|register| state.gpr[register]), reply);
    Ok(())
}

fn child_serves(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let reference = child.serves()?;
    child.begin(code::serve_for_ever(), &[(RDI, DATA)])?;
    let mut words = [0, 11, 12, 13, 14, 15, 16, 17];
    for round in 1..=100 {
        reference.call(&mut words)?;
        require!(words, [round, 11, 12, 13, 14, 15, 16, 17]);
    }
    child.thread.stop()?;
    Ok(())
}

fn alias(bench: &mut Bench) -> Verdict {
    let port = bench.port()?;
    let reference = port.reference();
    for alias in [0, 7, u64::MAX] {
        system_call::port_set_state(port.address(), alias, 0)?;
        reference.send(1)?;
        require!(bench.receive(), Event::Notification { alias, bits: 1 });
    }
    Ok(())
}

fn destroyed_before_and_during_a_call(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    let reference = port.reference().duplicate()?;
    connect(&child, &port)?;
    begin_call(&mut child, [1; 8])?;
    // The child waits for a server, which we are not while we do this.
    let soon = bench.microseconds(500);
    let other = Portset::new()?;
    require!(system_call::ipc_wait_receive(other.address(), soon.unwrap_or(1)).err(), Some(Status::TimedOut));
    drop(port);
    let event = bench.receive();
    require!(ended(&mut child, event)?, Status::InvalidDestination as u64);
    require!(reference.send(1), Err(Status::InvalidDestination));
    require!(reference.call(&mut [0; 8]), Err(Status::InvalidDestination));
    require!(reference.check()?, None);
    Ok(())
}

fn server_gives_a_client_up(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    connect(&child, &port)?;
    begin_call(&mut child, [1; 8])?;
    require!(matches!(bench.receive(), Event::Call { .. }), true);
    let deadline = bench.deadline();
    let event = bench.abandon_until(deadline);
    require!(ended(&mut child, event)?, Status::InvalidDestination as u64);
    Ok(())
}

fn no_client_to_reply_to(bench: &mut Bench) -> Verdict {
    let soon = bench.microseconds(10);
    require!(bench.receive_until(soon), Event::TimedOut);
    require!(system_call::ipc_reply(&[0; 8]), Err(Status::Disconnected));
    // A client that was destroyed while we worked for it.
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    connect(&child, &port)?;
    begin_call(&mut child, [1; 8])?;
    require!(matches!(bench.receive(), Event::Call { .. }), true);
    drop(child);
    require!(system_call::ipc_reply(&[0; 8]), Err(Status::Disconnected));
    Ok(())
}

fn notifications_merge(bench: &mut Bench) -> Verdict {
    let port = bench.port()?;
    let alias = bench.last_alias();
    let reference = port.reference();
    for bits in [1, 4, 1 << 63, 4] {
        reference.send(bits)?;
    }
    require!(bench.receive(), Event::Notification { alias, bits: 5 | 1 << 63 });
    let soon = bench.microseconds(100);
    require!(bench.receive_until(soon), Event::TimedOut);
    Ok(())
}

fn no_bits_are_no_notification(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let port = bench.port()?;
    let alias = bench.last_alias();
    connect(&child, &port)?;
    // The bench waits for a message meanwhile. The kernel knows the Reference from the second call on.
    for _ in 0..3 {
        require!(child.status(bench, Call::IpcSend, &[REFERENCE, 0])?, 0);
    }
    port.reference().send(0)?;
    let soon = bench.microseconds(100);
    require!(bench.receive_until(soon), Event::TimedOut);
    port.reference().send(1)?;
    require!(bench.receive(), Event::Notification { alias, bits: 1 });
    Ok(())
}

fn deadlines(bench: &mut Bench) -> Verdict {
    let before = time::now();
    require!(bench.receive_until(Some(1)), Event::TimedOut);
    let wait = bench.microseconds(2000);
    require!(bench.receive_until(wait), Event::TimedOut);
    let after = time::now();
    let deadline = wait.unwrap_or(0);
    if after < deadline || after - before > 100 * (deadline - before) {
        fail!("a wait for {} ticks took {}", deadline - before, after - before);
    }
    // A message that is there already is received however late it is.
    let port = bench.port()?;
    port.reference().send(2)?;
    require!(matches!(bench.receive_until(Some(1)), Event::Notification { bits: 2, .. }), true);
    Ok(())
}

fn clients_take_turns(bench: &mut Bench) -> Verdict {
    let (mut flooding, mut modest) = (Native::new(bench)?, Native::new(bench)?);
    let (first, second) = (bench.port()?, bench.port()?);
    let alias = bench.last_alias();
    connect(&flooding, &first)?;
    connect(&modest, &second)?;
    flooding.begin(code::call_for_ever(), &[(RDI, REFERENCE)])?;
    modest.begin(code::call_for_ever(), &[(RDI, REFERENCE)])?;
    let (mut of_first, mut of_second) = (0u32, 0u32);
    let end = bench.microseconds(100_000);
    let mut event = bench.receive();
    while end.is_some_and(|end| time::now() < end) {
        match event {
            Event::Call { alias: from, .. } if from == alias => of_second += 1,
            Event::Call { .. } => of_first += 1,
            event => fail!("got {event:x?}"),
        }
        event = bench.reply(&[0; 8]);
    }
    if of_first * 3 < of_second || of_second * 3 < of_first {
        fail!("two clients got {of_first} and {of_second} calls served");
    }
    flooding.thread.stop()?;
    Ok(modest.thread.stop()?)
}

fn moves_between_portsets(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let portset = Portset::new()?;
    let port = Port::new(&portset, 3)?;
    connect(&child, &port)?;
    begin_call(&mut child, [9; 8])?;
    let soon = bench.microseconds(1000);
    require!(bench.receive_until(soon), Event::TimedOut);
    let here = bench.server().portset().reference().address();
    system_call::port_set_state(port.address(), 4, here)?;
    require!(bench.receive(), Event::Call { alias: 4, words: [9; 8] });
    let event = bench.reply(&[0; 8]);
    require!(ended(&mut child, event)?, Status::Ok as u64);
    Ok(())
}

fn references_are_checked(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    require!(child.status(bench, Call::ReferenceCreate, &[DATA])?, Status::Ok as u64);
    require!(child.status(bench, Call::PortsetCreate, &[DATA + 64])?, Status::Ok as u64);
    for call in [Call::IpcCall, Call::IpcSend] {
        require!(child.call(bench, call, &[DATA])?, Answer::misuse(Misuse::NullReference));
        require!(child.call(bench, call, &[DATA + 64])?, Answer::misuse(Misuse::WrongType));
    }
    require!(child.status(bench, Call::PortsetReference, &[DATA + 64, DATA])?, Status::Ok as u64);
    for call in [Call::IpcCall, Call::IpcSend] {
        require!(child.call(bench, call, &[DATA])?, Answer::misuse(Misuse::WrongType));
    }
    for call in [Call::IpcWaitReceive, Call::IpcReplyWaitReceive] {
        require!(child.call(bench, call, &[DATA])?, Answer::misuse(Misuse::WrongType));
    }
    Ok(())
}

fn stopped_clients_disappear(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let portset = Portset::new()?;
    let port = Port::new(&portset, 3)?;
    connect(&child, &port)?;
    begin_call(&mut child, [9; 8])?;
    let soon = bench.microseconds(1000);
    require!(bench.receive_until(soon), Event::TimedOut);
    // The exported state is that of a thread about to make the call.
    let state = child.thread.native_state()?;
    require!(state.gpr[RAX], Call::IpcCall as u64);
    require!(state.gpr[RDI], REFERENCE);
    require!(WORDS.map(|register| state.gpr[register]), [9; 8]);
    drop(child.thread);
    require!(system_call::ipc_wait_receive(portset.address(), 1).err(), Some(Status::TimedOut));
    // Recreated from its state, it makes the call.
    child.thread = protocols::libnest::Thread::native(&child.space, &state)?;
    child.thread.go()?;
    let deadline = bench.deadline().unwrap_or(1);
    let received = system_call::ipc_wait_receive(portset.address(), deadline)?;
    require!((received.alias, received.words), (3, [9; 8]));
    child.thread.set_native_state(&state, Run::Stop)?;
    Ok(())
}
