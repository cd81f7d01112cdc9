//! References in messages.

use protocols::address::PAGE_SIZE;
use protocols::api::{
    Call, OBJECT_SIZE, ObjectType, ReferenceRights, Rights, Sensitivity, Side, Status, WITH_REFERENCE,
};
use protocols::exception::{MachineReply, Misuse};
use protocols::libc::system_call;
use protocols::libnest::server::{machine, retry};
use protocols::libnest::{Event, Mapping, Port, Portset, Reference, Region};
use protocols::policy::Controls;
use protocols::virtual_cpu::register::{R15, RAX, RBP, RBX, RDI, RSI};

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{Answer, DATA, HOLE, Native};
use crate::pair::{Ended, Pair, REFERENCES, What};
use crate::references::{begin_call_of, give, require_end};

/// The tests.
pub const TESTS: &[Test] = &[
    ("reference_messages::both_ways", both_ways),
    ("reference_messages::received_by_a_waiting_server", received_by_a_waiting_server),
    ("reference_messages::replied_to_clients_on_donated_time", replied_to_clients_on_donated_time),
    ("reference_messages::nobody_takes_it", nobody_takes_it),
    ("reference_messages::gone_on_the_way", gone_on_the_way),
    ("reference_messages::mistakes_are_the_callers", mistakes_are_the_callers),
    ("reference_messages::faults_are_the_callers", faults_are_the_callers),
    ("reference_messages::rights_and_grants_travel", rights_and_grants_travel),
    ("reference_messages::not_left_over", not_left_over),
    ("reference_messages::results", results),
    ("reference_messages::from_a_machine", from_a_machine),
    ("reference_messages::notice_by_a_transfer", notice_by_a_transfer),
    ("reference_messages::connections_need_the_right_too", connections_need_the_right_too),
];

/// Where a child has a Reference to call, one to send, one to take.
const SERVER: u64 = DATA;
const SENT: u64 = DATA + OBJECT_SIZE;
const TAKING: u64 = DATA + 2 * OBJECT_SIZE;

/// A child with all three, of which the one to send links to a Portset; that and the Port to call.
fn client(bench: &mut Bench) -> Result<(Native, (Portset, Port)), Failure> {
    let child = Native::new(bench)?;
    let (port, portset) = (bench.port()?, Portset::new()?);
    give(&child, port.reference(), SERVER)?;
    give(&child, portset.reference(), SENT)?;
    system_call::reference_create(child.own_address(TAKING))?;
    Ok((child, (portset, port)))
}

fn begin(child: &mut Native, sent: u64, taking: u64) -> Result<(), Failure> {
    let call = Call::IpcCallWithReference as u64;
    let registers = [(RAX, call), (RDI, SERVER), (RSI, 5), (RBX, sent), (RBP, taking), (R15, 99)];
    child.begin(code::system_call(), &registers)
}

/// How the child's call has ended: status, R15, first word.
fn ended(child: &mut Native, event: Event) -> Result<[u64; 3], Failure> {
    match child.answer(event)? {
        Answer::Done(state) => Ok([state.gpr[RAX], state.gpr[R15], state.gpr[RSI]]),
        answer => fail!("{answer:?}"),
    }
}

fn linked(child: &Native, address: u64) -> Result<Option<ObjectType>, Failure> {
    Ok(system_call::reference_check(child.own_address(address))?)
}

/// Receives a call with its Reference, a bench having refused what came before.
fn receive(bench: &mut Bench, taking: &Reference) -> Result<bool, Failure> {
    let deadline = bench.deadline();
    match bench.server().receive_reference(deadline, taking) {
        (Event::Call { words, .. }, came) if words[0] == 5 => Ok(came),
        (event, _) => fail!("{event:x?}"),
    }
}

fn both_ways(bench: &mut Bench) -> Verdict {
    let (mut child, _objects) = client(bench)?;
    let port = bench.port()?;
    let (taking, back) = (Reference::new()?, port.reference().duplicate()?);
    begin(&mut child, SENT, TAKING)?;
    require!(receive(bench, &taking)?, true);
    require!(taking.check()?, Some(ObjectType::Portset));
    // The next message is the child's exception, with which nothing comes.
    let deadline = bench.deadline();
    let server = bench.server();
    let (event, came) = server.reply_and_receive_reference(&[6; 8], Some(&back), deadline, &taking);
    require!(came, false);
    require!(ended(&mut child, event)?, [0, WITH_REFERENCE, 6]);
    require!(linked(&child, TAKING)?, Some(ObjectType::Port));
    require!(linked(&child, SENT)?, Some(ObjectType::Portset));
    Ok(())
}

fn received_by_a_waiting_server(bench: &mut Bench) -> Verdict {
    let (mut child, _objects) = client(bench)?;
    let mut other = Native::new(bench)?;
    // A second child waits first; then the first calls it.
    let (portset, port) = (other.own_address(DATA), other.own_address(DATA + OBJECT_SIZE));
    system_call::portset_create(portset)?;
    system_call::port_create(port)?;
    let reference = Reference::new()?;
    system_call::portset_reference(portset, reference.address())?;
    system_call::port_set_state(port, 5, reference.address())?;
    system_call::port_reference(port, child.own_address(SERVER))?;
    system_call::reference_create(other.own_address(TAKING))?;
    let call = Call::IpcWaitReceiveWithReference as u64;
    other.begin(code::system_call(), &[(RAX, call), (RDI, DATA), (RBP, TAKING)])?;
    let soon = bench.microseconds(300);
    require!(bench.receive_until(soon), Event::TimedOut);
    begin(&mut child, SENT, 0)?;
    let event = bench.receive();
    require!(ended(&mut other, event)?, [0, WITH_REFERENCE, 5]);
    require!(linked(&other, TAKING)?, Some(ObjectType::Portset));
    Ok(())
}

/// A server that has time of its own does not hand the CPU over with its reply, but the Reference.
fn replied_to_clients_on_donated_time(bench: &mut Bench) -> Verdict {
    let (mut child, _objects) = client(bench)?;
    let port = bench.port()?;
    let (taking, back) = (Reference::new()?, port.reference().duplicate()?);
    child.thread.set_scheduler(None, 0)?;
    let run = |child: &Native| system_call::thread_schedule(child.thread.address(), 0, Sensitivity::Block, 0);
    begin(&mut child, SENT, TAKING)?;
    run(&child);
    require!(receive(bench, &taking)?, true);
    system_call::ipc_reply_with_reference(&[6; 8], back.address())?;
    run(&child);
    let event = bench.receive();
    require!(ended(&mut child, event)?, [0, WITH_REFERENCE, 6]);
    require!(linked(&child, TAKING)?, Some(ObjectType::Port));
    Ok(())
}

fn nobody_takes_it(bench: &mut Bench) -> Verdict {
    let (mut child, _objects) = client(bench)?;
    // Neither a plain receive nor one with 0; neither a plain reply nor one to a plain call.
    begin(&mut child, SENT, TAKING)?;
    require!(matches!(bench.receive(), Event::Call { .. }), true);
    let event = bench.reply(&[6; 8]);
    require!(ended(&mut child, event)?, [0, 0, 6]);
    begin(&mut child, SENT, TAKING)?;
    let deadline = bench.deadline().unwrap_or(1);
    let portset = bench.server().portset().address();
    require!(system_call::ipc_wait_receive_with_reference(portset, deadline, 0)?.with_reference, false);
    system_call::ipc_reply_with_reference(&[6; 8], 0)?;
    let event = bench.receive();
    require!(ended(&mut child, event)?, [0, 0, 6]);
    require!(linked(&child, TAKING)?, None);
    let taking = Reference::new()?;
    for (sent, taken) in [(0, 0), (0, TAKING)] {
        begin(&mut child, sent, taken)?;
        require!(receive(bench, &taking)?, false);
        let event = bench.reply(&[6; 8]);
        require!(ended(&mut child, event)?, [0, 0, 6]);
    }
    child
        .begin(code::system_call(), &[(RAX, Call::IpcCall as u64), (RDI, SERVER), (RSI, 5), (RBX, SENT), (R15, 99)])?;
    require!(receive(bench, &taking)?, false);
    require!(taking.check()?, None);
    system_call::ipc_reply_with_reference(&[6; 8], reference_to_a_portset(bench)?.address())?;
    let event = bench.receive();
    require!(ended(&mut child, event)?, [0, 99, 6]);
    require!(linked(&child, TAKING)?, None);
    Ok(())
}

fn reference_to_a_portset(bench: &mut Bench) -> Result<Reference, Failure> {
    Ok(bench.server().portset().reference().duplicate()?)
}

/// Lets the child make its call to a server that does not receive yet.
fn queue(bench: &mut Bench, child: &mut Native) -> Verdict {
    begin(child, SENT, TAKING)?;
    let other = Portset::new()?;
    let soon = bench.microseconds(300);
    require!(system_call::ipc_wait_receive(other.address(), soon.unwrap_or(1)).err(), Some(Status::TimedOut));
    Ok(())
}

fn gone_on_the_way(bench: &mut Bench) -> Verdict {
    let (mut child, (portset, _port)) = client(bench)?;
    let taking = Reference::new()?;
    // Changed before it is received: what it links to then is what comes.
    queue(bench, &mut child)?;
    let port = bench.port()?;
    system_call::port_reference(port.address(), child.own_address(SENT))?;
    require!(receive(bench, &taking)?, true);
    require!(taking.check()?, Some(ObjectType::Port));
    // The one that takes is destroyed before the reply, and another made in its place.
    system_call::reference_destroy(child.own_address(TAKING))?;
    system_call::reference_create(child.own_address(TAKING))?;
    system_call::ipc_reply_with_reference(&[6; 8], taking.address())?;
    let event = bench.receive();
    require!(ended(&mut child, event)?, [0, 0, 6]);
    require!(linked(&child, TAKING)?, None);
    // Destroyed; void; copied no more.
    for case in 0..3 {
        give_again(&child, &portset)?;
        queue(bench, &mut child)?;
        let own = child.own_address(SENT);
        match case {
            0 => system_call::reference_destroy(own)?,
            1 => {
                let grant = portset.reference().grant()?;
                system_call::reference_copy(grant.granting().address(), own)?;
            }
            _ => system_call::reference_restrict(own, own, ReferenceRights::SERVE, 0)?,
        }
        require!(receive(bench, &taking)?, false);
        require!(taking.check()?, Some(ObjectType::Port));
        let event = bench.reply(&[6; 8]);
        require!(ended(&mut child, event)?, [0, 0, 6]);
    }
    Ok(())
}

/// Has the child's Reference to send link to the Portset once more.
fn give_again(child: &Native, portset: &Portset) -> Verdict {
    let own = child.own_address(SENT);
    // It may have been destroyed, or not.
    if child.region.search(PAGE_SIZE + OBJECT_SIZE)? != Some((PAGE_SIZE + OBJECT_SIZE, ObjectType::Reference)) {
        system_call::reference_create(own)?;
    }
    Ok(system_call::portset_reference(portset.address(), own)?)
}

fn mistakes_are_the_callers(bench: &mut Bench) -> Verdict {
    let (mut child, (portset, _port)) = client(bench)?;
    require!(child.status(bench, Call::PortsetCreate, &[DATA + 0x800])?, 0);
    let private = DATA + 0x840;
    system_call::reference_create(child.own_address(private))?;
    let own = portset.reference().duplicate()?;
    system_call::reference_restrict(own.address(), child.own_address(private), ReferenceRights::SERVE, 0)?;
    let wrong = [
        (SENT + 1, 0, Misuse::NotAligned),
        (HOLE, 0, Misuse::NoRight),
        (DATA + 0x1000, 0, Misuse::NoObject),
        (DATA + 0x800, 0, Misuse::WrongType),
        (TAKING, 0, Misuse::NullReference),
        (private, 0, Misuse::NoRight),
        (0, SENT + 1, Misuse::NotAligned),
        (0, HOLE, Misuse::NoRight),
        (0, DATA + 0x1000, Misuse::NoObject),
        (0, DATA + 0x800, Misuse::WrongType),
    ];
    for (sent, taking, misuse) in wrong {
        let calls = [
            (Call::IpcCallWithReference, SERVER, true, true),
            (Call::IpcReplyWaitReceiveWithReference, DATA + 0x800, true, true),
            (Call::IpcWaitReceiveWithReference, DATA + 0x800, false, true),
            (Call::IpcReplyWithReference, 0, true, false),
        ];
        for (call, name, sends, takes) in calls {
            if sent != 0 && !sends || taking != 0 && !takes {
                continue;
            }
            let registers = [(RAX, call as u64), (RDI, name), (RBX, sent), (RBP, taking), (R15, 1)];
            require!(child.run(bench, code::system_call(), &registers)?, Answer::misuse(misuse));
        }
    }
    let registers = [(RAX, Call::IpcCallWithReference as u64), (RDI, TAKING), (RBX, 0), (RBP, 0)];
    require!(child.run(bench, code::system_call(), &registers)?, Answer::misuse(Misuse::NullReference));
    Ok(())
}

fn faults_are_the_callers(bench: &mut Bench) -> Verdict {
    // The child's Reference to send lies where a keeper has yet to supply memory; then the one that takes does.
    let (mut child, (portset, _port)) = client(bench)?;
    let keeper = bench.port()?;
    let region = Region::new(&child.memory, 2 * PAGE_SIZE, PAGE_SIZE, Rights::empty())?;
    region.set_keeper(&keeper)?;
    let _mapping = Mapping::new(&region, 0, &child.space, HOLE, PAGE_SIZE, Rights::all())?;
    let there = child.own_address(DATA + PAGE_SIZE);
    system_call::reference_create(there)?;
    system_call::portset_reference(portset.address(), there)?;
    let taking = Reference::new()?;
    for (sent, taken) in [(HOLE, 0), (0, HOLE)] {
        region.protect(Rights::empty())?;
        begin(&mut child, sent, taken)?;
        let Event::MemoryFault { fault, .. } = bench.receive() else { fail!("no memory fault") };
        require!((fault.offset, fault.address), (0, HOLE));
        region.protect(Rights::all())?;
        let deadline = bench.deadline();
        let server = bench.server();
        let (event, came) = server.reply_and_receive_reference(&retry(), None, deadline, &taking);
        require!(matches!(event, Event::Call { .. }), true);
        require!(came, sent != 0);
        let sent_back = reference_to_a_portset(bench)?;
        system_call::ipc_reply_with_reference(&[6; 8], sent_back.address())?;
        let event = bench.receive();
        require!(ended(&mut child, event)?, [0, if taken != 0 { WITH_REFERENCE } else { 0 }, 6]);
    }
    require!(system_call::reference_check(there)?, Some(ObjectType::Portset));
    Ok(())
}

fn rights_and_grants_travel(bench: &mut Bench) -> Verdict {
    let (mut child, _objects) = client(bench)?;
    let port = bench.port()?;
    let grant = port.reference().grant()?;
    let few = ReferenceRights::COPY | ReferenceRights::CALL;
    system_call::reference_restrict(grant.granting().address(), child.own_address(SENT), few, 8)?;
    let taking = Reference::new()?;
    begin(&mut child, SENT, TAKING)?;
    require!(receive(bench, &taking)?, true);
    require!(taking.rights()?, few);
    // The right to revoke stays where it is.
    system_call::ipc_reply_with_reference(&[6; 8], grant.granting().address())?;
    let event = bench.receive();
    require!(ended(&mut child, event)?, [0, WITH_REFERENCE, 6]);
    let rights = system_call::reference_rights(child.own_address(TAKING))?;
    require!(rights, ReferenceRights::all() - ReferenceRights::REVOKE);
    drop(grant);
    require!((taking.check()?, linked(&child, TAKING)?), (None, None));
    Ok(())
}

fn not_left_over(bench: &mut Bench) -> Verdict {
    // A server that took a Reference once takes none in a plain receive; a client sends none in a plain call.
    let (mut child, _objects) = client(bench)?;
    let taking = Reference::new()?;
    for _ in 0..2 {
        begin(&mut child, SENT, TAKING)?;
        require!(receive(bench, &taking)?, true);
        system_call::ipc_reply_with_reference(&[6; 8], taking.address())?;
        let event = bench.receive();
        require!(ended(&mut child, event)?, [0, WITH_REFERENCE, 6]);
    }
    let port = bench.port()?;
    system_call::port_reference(port.address(), taking.address())?;
    begin(&mut child, SENT, TAKING)?;
    require!(matches!(bench.receive(), Event::Call { .. }), true);
    let event = bench.reply(&[6; 8]);
    require!(ended(&mut child, event)?, [0, 0, 6]);
    require!(taking.check()?, Some(ObjectType::Port));
    child.begin(
        code::system_call(),
        &[(RAX, Call::IpcCall as u64), (RDI, SERVER), (RSI, 5), (RBX, SENT), (RBP, TAKING)],
    )?;
    require!(receive(bench, &taking)?, false);
    let event = bench.reply(&[6; 8]);
    require!(ended(&mut child, event)?, [0, 0, 6]);
    Ok(())
}

fn results(bench: &mut Bench) -> Verdict {
    let (mut child, _objects) = client(bench)?;
    let taking = Reference::new()?;
    let portset = Portset::new()?;
    let address = portset.address();
    let late = system_call::ipc_wait_receive_with_reference(address, 1, taking.address()).err();
    require!(late, Some(Status::TimedOut));
    let late = system_call::ipc_reply_wait_receive_with_reference(address, 1, &[0; 8], 0, taking.address()).err();
    require!(late, Some(Status::TimedOut));
    require!(system_call::ipc_reply_with_reference(&[0; 8], 0), Err(Status::Disconnected));
    let gone = bench.port()?.reference().duplicate()?;
    require!(
        gone.call_with(&mut [0; 8], Some(&reference_to_a_portset(bench)?), Some(&taking)),
        Err(Status::InvalidDestination)
    );
    // The server gives the client up.
    begin(&mut child, SENT, TAKING)?;
    require!(receive(bench, &taking)?, true);
    let deadline = bench.deadline();
    let event = bench.abandon_until(deadline);
    require!(ended(&mut child, event)?, [Status::InvalidDestination as u64, 0, 5]);
    // A handle's own call.
    let mut server = Native::new(bench)?;
    let reference = server.serves()?;
    server.begin(code::serve_for_ever(), &[(RDI, DATA)])?;
    for round in 1..20 {
        let mut words = [round; 8];
        require!(reference.call_with(&mut words, Some(&taking), Some(&taking))?, false);
        require!(words, [round + 1, round, round, round, round, round, round, round]);
    }
    Ok(server.thread.stop()?)
}

fn from_a_machine(bench: &mut Bench) -> Verdict {
    let guest = Guest::new(bench, code::guest_call(), &[])?;
    guest.allow(Controls::VMCALL, 0)?;
    let port = bench.port()?;
    let [server, sent, taking] = [0, 1, 2].map(|index| guest::DATA + index * OBJECT_SIZE);
    let own = |address: u64| guest.memory.address() + address;
    for reference in [server, sent, taking] {
        system_call::reference_create(own(reference))?;
    }
    system_call::port_reference(port.address(), own(server))?;
    let portset = Portset::new()?;
    system_call::portset_reference(portset.address(), own(sent))?;
    let taking_own = own(taking);
    let call = Call::IpcCallWithReference as u64;
    begin_call_of(&guest, &[(RAX, call), (RDI, server), (RSI, 5), (RBX, sent), (RBP, taking), (R15, 99)])?;
    guest.cpu.go()?;
    let here = Reference::new()?;
    require!(receive(bench, &here)?, true);
    require!(here.check()?, Some(ObjectType::Portset));
    let back = port.reference().duplicate()?;
    system_call::ipc_reply_with_reference(&[6; 8], back.address())?;
    let event = bench.receive();
    require_end(&guest.exit(event)?)?;
    let state = guest.state()?;
    require!((state.gpr[RAX], state.gpr[R15], state.gpr[RSI]), (0, WITH_REFERENCE, 6));
    require!(system_call::reference_check(taking_own)?, Some(ObjectType::Port));
    // Mistakes exit to the keeper.
    begin_call_of(&guest, &[(RAX, call), (RDI, server), (RBX, sent + 1), (RBP, 0)])?;
    let reply = MachineReply::default();
    let event = bench.reply(&machine(reply));
    let exit = guest.exit(event)?;
    require!(exit.reason as u32, protocols::virtual_cpu::exit_reason::VMCALL);
    guest.cpu.stop()?;
    Ok(())
}

fn notice_by_a_transfer(bench: &mut Bench) -> Verdict {
    // What is received takes the place of the last Reference to a watched Port.
    let (mut child, _objects) = client(bench)?;
    let (port, alias) = bench.watched_port()?;
    let taking = port.reference()?;
    begin(&mut child, SENT, 0)?;
    require!(receive(bench, &taking)?, true);
    let event = bench.reply(&[6; 8]);
    // Notice and exception come in either order.
    let (first, second) = match event {
        Event::NoReferences { .. } => (event, bench.receive()),
        event => (bench.receive(), event),
    };
    require!(first, Event::NoReferences { alias });
    require!(ended(&mut child, second)?, [0, 0, 6]);
    Ok(())
}

fn connections_need_the_right_too(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    let portset = Portset::new()?;
    let places = [REFERENCES];
    for side in [Side::Client, Side::Server] {
        system_call::reference_create(pair.child(side).own_address(REFERENCES))?;
    }
    let own = pair.child(Side::Client).own_address(REFERENCES);
    let receive = What { receive_references: &places, ..What::default() };
    let send = What { send_references: &places, ..What::default() };
    // A copy has what rights there are.
    let few = ReferenceRights::SERVE | ReferenceRights::COPY;
    system_call::reference_restrict(portset.reference().address(), own, few, 0)?;
    pair.begin(Side::Server, Call::ServerWaitReceive, receive)?;
    pair.begin(Side::Client, Call::ClientConnectSend, send)?;
    pair.end(bench)?;
    let received = pair.child(Side::Server).own_address(REFERENCES);
    require!(system_call::reference_rights(received)?, few);
    // Without the right it is the sender's mistake.
    let mut pair = Pair::new(bench)?;
    for side in [Side::Client, Side::Server] {
        system_call::reference_create(pair.child(side).own_address(REFERENCES))?;
    }
    let own = pair.child(Side::Client).own_address(REFERENCES);
    system_call::reference_restrict(portset.reference().address(), own, ReferenceRights::SERVE, 0)?;
    pair.begin(Side::Server, Call::ServerWaitReceive, receive)?;
    pair.begin(Side::Client, Call::ClientConnectSend, send)?;
    let ended = [pair.end(bench)?, pair.end(bench)?];
    let mistake = Ended { side: Side::Client, answer: Answer::misuse(Misuse::NoRight) };
    require!(ended.contains(&mistake), true);
    let received = pair.child(Side::Server).own_address(REFERENCES);
    require!(system_call::reference_check(received)?, None);
    Ok(())
}
