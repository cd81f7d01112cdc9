//! Reliable connections: the calls, their results, and what they carry.

use alloc::vec::Vec;

use protocols::address::PAGE_SIZE;
use protocols::api::{
    Buffer, Call, MessageKind, NativeState, OBJECT_SIZE, ObjectType, Rights, Side, Status, Table, Transfer,
};
use protocols::exception::Misuse;
use protocols::libc::system_call::{self, connection};
use protocols::libnest::{Event, Exchange, Port, Reference, Thread};
use protocols::policy::Controls;
use protocols::virtual_cpu::register::{R15, RAX, RDI, RDX, RSI};

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Failure, Test, Verdict, require};
use crate::native::{Answer, CODE};
use crate::pair::{ALIAS, BULK, IN, NAME, OUT, PARAMETERS, Pair, REFERENCES, What};
use Side::{Client, Server};

/// The tests.
pub const TESTS: &[Test] = &[
    ("connection::call_and_reply", call_and_reply),
    ("connection::each_step_by_itself", each_step_by_itself),
    ("connection::sends_that_are_not_wanted", sends_that_are_not_wanted),
    ("connection::disconnecting", disconnecting),
    ("connection::without_a_connection", without_a_connection),
    ("connection::wrong_role", wrong_role),
    ("connection::port_gone", port_gone),
    ("connection::lengths", lengths),
    ("connection::odd_pieces", odd_pieces),
    ("connection::references_travel", references_travel),
    ("connection::alerts", alerts),
    ("connection::other_messages", other_messages),
    ("connection::many_servers", many_servers),
    ("connection::child_serves", child_serves),
    ("connection::server_in_a_register_call", server_in_a_register_call),
    ("connection::from_a_machine", from_a_machine),
];

const fn code_of(status: Status) -> u64 {
    status as u64
}

/// Bytes that are different everywhere.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251 + 3) as u8).collect()
}

fn call_and_reply(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    let (request, reply) = (pattern(3000), pattern(2500));
    pair.write(Client, OUT, &request)?;
    pair.write(Server, OUT, &reply)?;
    let client = What { send: &[(OUT, 3000)], receive: &[(IN, 4000)], ..What::default() };
    let server = What { send: &[(OUT, 2500)], receive: &[(IN, 3000)], ..What::default() };
    pair.begin(Server, Call::ServerWaitReceive, server)?;
    pair.both_wait(bench)?;
    for round in 0..3 {
        pair.write(Server, IN, &[0; 3000])?;
        pair.write(Client, IN, &[0; 3000])?;
        pair.begin(Client, Call::ClientConnectSendOverReceive, client)?;
        let ended = pair.end(bench)?;
        let state = ended.state()?;
        require!((round, ended.side, state.gpr[RAX]), (round, Server, code_of(Status::Ok)));
        require!((state.gpr[RDI], state.gpr[R15]), (ALIAS, MessageKind::Connection as u64));
        require!(pair.read(Server, IN, 3000)? == request, true);
        // The client is about to receive: what its registers say is the rest of its call.
        let client_state = pair.child(Client).thread.native_state()?;
        require!(client_state.gpr[RAX], Call::ClientOverReceive as u64);
        require!(client_state.gpr[RSI], PARAMETERS);
        pair.child(Client).thread.go()?;
        pair.begin(Server, Call::ServerAckSendWaitReceive, server)?;
        require!(pair.status(bench, Client)?, code_of(Status::ReceiveDisconnected));
        require!(pair.read(Client, IN, 2500)? == reply, true);
        require!(pair.first(Client, pair.transfer(Client)?.receive)?.length, 1500);
        require!(pair.child(Server).thread.native_state()?.gpr[RAX], Call::ServerWaitReceive as u64);
        pair.set(Server, server)?;
        pair.child(Server).thread.go()?;
    }
    Ok(pair.child(Server).thread.stop()?)
}

fn each_step_by_itself(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    pair.connect(bench)?;
    let bytes = pattern(100);
    for (sender, receiver) in [(Client, Server), (Server, Client), (Client, Server)] {
        pair.write(sender, OUT, &bytes)?;
        let [send, over, ..] = calls(sender);
        let [.., receive, ack_send, ack_over] = calls(receiver);
        let room = |at, length| [(IN + at, length)];
        // One send, two receives.
        pair.begin(sender, send, What { send: &[(OUT, 60)], ..What::default() })?;
        let status = pair.call(bench, receiver, receive, What { receive: &room(0, 50), ..What::default() })?;
        require!(status, code_of(Status::MoreData));
        pair.begin(receiver, receive, What { receive: &room(50, 50), ..What::default() })?;
        require!(pair.status(bench, sender)?, code_of(Status::Ok));
        // A send that fills the room exactly; a send of nothing.
        require!(pair.call(bench, sender, send, What { send: &[(OUT + 60, 40)], ..What::default() })?, 0);
        require!(pair.call(bench, sender, send, What::default())?, code_of(Status::Ok));
        pair.both_wait(bench)?;
        // The end of the message.
        pair.begin(sender, over, What { receive: &[(IN, 100)], ..What::default() })?;
        require!(pair.status(bench, receiver)?, code_of(Status::Ok));
        require!(pair.read(receiver, IN, 100)? == bytes, true);
        // The other way, and back with all steps in one call; then again, so that the other one is the sender.
        pair.write(receiver, OUT, b"reply")?;
        require!(pair.call(bench, receiver, ack_send, What { send: &[(OUT, 5)], ..What::default() })?, 0);
        require!(pair.read(sender, IN, 5)?, b"reply");
        let what = What { send: &[(OUT, 3)], receive: &[(IN, 100)], ..What::default() };
        let [.., ack_over_back] = calls(sender);
        let [_, _, send_over_back, ..] = calls(receiver);
        pair.begin(receiver, send_over_back, what)?;
        require!(pair.status(bench, sender)?, code_of(Status::Ok));
        require!(pair.read(sender, IN, 8)?, b"replyrep");
        pair.begin(sender, ack_over_back, what)?;
        require!(pair.status(bench, receiver)?, code_of(Status::Ok));
        pair.begin(receiver, ack_over, what)?;
        require!(pair.status(bench, sender)?, code_of(Status::Ok));
        // Both are heard out; the receiver waits in over, from which stopping takes it.
        pair.child(receiver).thread.stop()?;
        let state = connection::thread_get_connection(pair.child(receiver).thread.address(), receiver, 0)?;
        require!((state.connected, state.sends), (1, 1));
    }
    Ok(())
}

/// Send, over and receive, send over and receive, receive, ack and send, all of them.
const fn calls(side: Side) -> [Call; 6] {
    match side {
        Client => [
            Call::ClientSend,
            Call::ClientOverReceive,
            Call::ClientSendOverReceive,
            Call::ClientReceive,
            Call::ClientAckSend,
            Call::ClientAckSendOverReceive,
        ],
        Server => [
            Call::ServerSend,
            Call::ServerOverReceive,
            Call::ServerSendOverReceive,
            Call::ServerReceive,
            Call::ServerAckSend,
            Call::ServerAckSendOverReceive,
        ],
    }
}

fn sends_that_are_not_wanted(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    pair.connect(bench)?;
    pair.write(Server, OUT, b"stop")?;
    let what = What { send: &[(OUT, 100)], receive: &[(IN, 100)], ..What::default() };
    pair.begin(Client, Call::ClientSend, what)?;
    pair.both_wait(bench)?;
    pair.begin(Server, Call::ServerAckSend, What { send: &[(OUT, 4)], ..What::default() })?;
    require!(pair.status(bench, Client)?, code_of(Status::Ok));
    require!(pair.call(bench, Client, Call::ClientSend, what)?, code_of(Status::Ok));
    pair.begin(Client, Call::ClientSendOverReceive, what)?;
    require!(pair.status(bench, Server)?, code_of(Status::Ok));
    require!(pair.read(Client, IN, 4)?, b"stop");
    Ok(pair.child(Client).thread.stop()?)
}

fn disconnecting(bench: &mut Bench) -> Verdict {
    let what = What { send: &[(OUT, 10)], receive: &[(IN, 10)], ..What::default() };
    let cases = [
        (Client, Call::ClientSend, Call::ServerDisconnect, Status::SendDisconnected),
        (Client, Call::ClientSendOverReceive, Call::ServerDisconnect, Status::SendDisconnected),
        (Client, Call::ClientOverReceive, Call::ServerDisconnect, Status::OverDisconnected),
        (Server, Call::ServerReceive, Call::ClientDisconnect, Status::ReceiveDisconnected),
        (Server, Call::ServerAckSend, Call::ClientDisconnect, Status::AckDisconnected),
        (Server, Call::ServerAckSendWaitReceive, Call::ClientDisconnect, Status::AckDisconnected),
    ];
    let mut pair = Pair::new(bench)?;
    for (waiting, call, disconnect, status) in cases {
        for waits_first in [true, false] {
            pair.connect(bench)?;
            if waits_first {
                pair.begin(waiting, call, what)?;
                pair.both_wait(bench)?;
                pair.begin(waiting.other(), disconnect, What::default())?;
                let mut ended = [pair.end(bench)?, pair.end(bench)?];
                ended.sort_by_key(|ended| ended.side != waiting);
                require!(ended[0].state()?.gpr[RAX], code_of(status));
                require!(ended[1].state()?.gpr[RAX], code_of(Status::Ok));
            } else {
                require!(pair.call(bench, waiting.other(), disconnect, What::default())?, code_of(Status::Ok));
                require!(pair.call(bench, waiting, call, what)?, code_of(status));
            }
        }
    }
    // Connecting again ends the connection before.
    pair.connect(bench)?;
    pair.begin(Server, Call::ServerReceive, what)?;
    pair.both_wait(bench)?;
    pair.begin(Client, Call::ClientConnectSend, what)?;
    require!(pair.status(bench, Server)?, code_of(Status::ReceiveDisconnected));
    pair.both_wait(bench)?;
    pair.begin(Server, Call::ServerWaitReceive, what)?;
    require!(pair.status(bench, Client)?, code_of(Status::Ok));
    // So does waiting for another client.
    pair.begin(Client, Call::ClientSend, what)?;
    pair.begin(Server, Call::ServerWaitReceive, what)?;
    require!(pair.status(bench, Client)?, code_of(Status::SendDisconnected));
    Ok(pair.child(Server).thread.stop()?)
}

fn without_a_connection(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    let none = Status::Disconnected;
    for side in [Client, Server] {
        let [send, over, send_over, receive, ack_send, ack_over] = calls(side);
        let (disconnect, alert) = match side {
            Client => (Call::ClientDisconnect, Call::ClientAlert),
            Server => (Call::ServerDisconnect, Call::ServerAlert),
        };
        let expected = [
            (send, Status::SendDisconnected),
            (over, Status::OverDisconnected),
            (send_over, Status::SendDisconnected),
            (receive, Status::ReceiveDisconnected),
            (ack_send, Status::AckDisconnected),
            (ack_over, Status::AckDisconnected),
            (disconnect, none),
            (alert, none),
        ];
        for (call, status) in expected {
            require!((call, pair.call(bench, side, call, What::default())?), (call, code_of(status)));
        }
    }
    let wait = Call::ServerSendWaitReceive;
    require!(pair.call(bench, Server, wait, What::default())?, code_of(Status::SendDisconnected));
    // A wait with a deadline.
    let registers = [(RAX, Call::ServerWaitReceive as u64), (RDI, NAME), (RSI, PARAMETERS), (R15, 1)];
    pair.child(Server).begin(code::system_call(), &registers)?;
    require!(pair.status(bench, Server)?, code_of(Status::TimedOut));
    Ok(())
}

fn wrong_role(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    pair.connect(bench)?;
    let [.., receive, ack_send, ack_over] = calls(Client);
    let [send, over, send_over, ..] = calls(Server);
    let wrong = [receive, ack_send, ack_over].map(|call| (Client, call, Misuse::NotReceiver));
    let wrong_too = [send, over, send_over, Call::ServerSendWaitReceive].map(|call| (Server, call, Misuse::NotSender));
    for (side, call, misuse) in wrong.into_iter().chain(wrong_too) {
        pair.begin(side, call, What::default())?;
        require!((call, pair.end(bench)?.answer), (call, Answer::misuse(misuse)));
    }
    for number in [0xbau64, 0xbb, 0xbc, 0xc0, 0xc1, 0xcd, 0xcf] {
        pair.child(Client).begin(code::system_call(), &[(RAX, number)])?;
        require!((number, pair.end(bench)?.answer), (number, Answer::misuse(Misuse::UnknownCall)));
    }
    // The connection is as it was.
    pair.begin(Client, Call::ClientSend, What { send: &[(OUT, 1)], ..What::default() })?;
    let receive = What { receive: &[(IN, 1)], ..What::default() };
    pair.begin(Server, Call::ServerReceive, receive)?;
    require!(pair.status(bench, Client)?, code_of(Status::Ok));
    Ok(pair.child(Server).thread.stop()?)
}

fn port_gone(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    pair.begin(Client, Call::ClientConnectSendOverReceive, What::default())?;
    pair.both_wait(bench)?;
    pair.destroy_port()?;
    require!(pair.status(bench, Client)?, code_of(Status::ConnectInvalid));
    require!(pair.call(bench, Client, Call::ClientConnectSend, What::default())?, code_of(Status::ConnectInvalid));
    // A Reference to nothing is a mistake.
    system_call::reference_destroy(pair.child(Client).own_address(NAME))?;
    system_call::reference_create(pair.child(Client).own_address(NAME))?;
    pair.begin(Client, Call::ClientConnectSend, What::default())?;
    require!(pair.end(bench)?.answer, Answer::misuse(Misuse::NullReference));
    Ok(())
}

fn lengths(bench: &mut Bench) -> Verdict {
    const LARGEST: usize = 1 << 20;
    let mut pair = Pair::new(bench)?;
    let all = Rights::READ | Rights::WRITE;
    let bytes = pattern(LARGEST);
    pair.bulk(Client, 2 << 20, Rights::all(), all)?.2.write_bytes(5, &bytes)?;
    pair.bulk(Server, 2 << 20, Rights::all(), all)?;
    for length in [0, 1, 8, 4096, 3 * 4096, LARGEST] {
        let at = BULK + 1027;
        pair.begin(Server, Call::ServerWaitReceive, What { receive: &[(at, length as u64)], ..What::default() })?;
        let what = What { send: &[(BULK + 5, length as u64)], ..What::default() };
        require!((length, pair.call(bench, Client, Call::ClientConnectSend, what)?), (length, 0));
        pair.begin(Client, Call::ClientDisconnect, What::default())?;
        let mut ended = [pair.end(bench)?, pair.end(bench)?];
        ended.sort_by_key(|ended| ended.side != Server);
        require!((length, ended[0].state()?.gpr[RAX]), (length, code_of(Status::ReceiveDisconnected)));
        let mut received = alloc::vec![0; length + 2];
        pair.memory(1).read_bytes(1026, &mut received)?;
        require!((length, received[1..=length] == bytes[..length]), (length, true));
        require!((length, received[0], received[length + 1]), (length, 0, 0));
        pair.memory(1).clear(1027, length as u64)?;
    }
    Ok(())
}

fn odd_pieces(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    let bytes = pattern(9000);
    pair.write(Client, OUT, &bytes)?;
    // In the order of the message: pieces of odd lengths, some empty, gathered and scattered over pages.
    let cuts = [(0u64, 1u64), (1, 0), (1, 4094), (4095, 3), (4098, 2000), (6098, 0), (6098, 2902)];
    let send = cuts.map(|(from, length)| (OUT + from, length));
    let receive = [(IN + 4000, 0), (IN + 4097, 4099), (IN, 17), (IN + 20, 0), (IN + 20, 3000), (IN + 8200, 2900)];
    pair.begin(Server, Call::ServerWaitReceive, What { receive: &receive, ..What::default() })?;
    pair.begin(Client, Call::ClientConnectSendOverReceive, What { send: &send, ..What::default() })?;
    require!(pair.status(bench, Server)?, code_of(Status::Ok));
    let mut received = Vec::new();
    for (address, length) in receive {
        received.extend(pair.read(Server, address, length as usize)?);
    }
    require!(received[..9000] == bytes, true);
    let left = pair.transfer(Server)?.receive;
    require!((left.count, pair.first(Server, left)?.length), (1, 4099 + 17 + 3000 + 2900 - 9000));
    require!(pair.transfer(Client)?.send.count, 0);
    Ok(pair.child(Client).thread.stop()?)
}

fn references_travel(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    let port = bench.port()?;
    let places: Vec<u64> = (0..4).map(|index| REFERENCES + index * OBJECT_SIZE).collect();
    for side in [Client, Server] {
        for &place in &places {
            system_call::reference_create(pair.child(side).own_address(place))?;
        }
    }
    system_call::port_reference(port.address(), pair.child(Client).own_address(places[0]))?;
    let own = pair.child(Client).own_address(places[2]);
    system_call::space_reference(pair.child(Client).space.address(), own)?;
    let send = What { send: &[(OUT, 3)], send_references: &places[..3], ..What::default() };
    let receive = What { receive: &[(IN, 10)], receive_references: &places[..1], ..What::default() };
    pair.begin(Server, Call::ServerWaitReceive, receive)?;
    pair.begin(Client, Call::ClientConnectSendOverReceive, send)?;
    require!(pair.status(bench, Server)?, code_of(Status::MoreReferences));
    // The bytes are through, and one Reference.
    let received =
        |pair: &mut Pair, index: usize| system_call::reference_check(pair.child(Server).own_address(places[index]));
    require!(received(&mut pair, 0)?, Some(ObjectType::Port));
    require!(pair.first(Server, pair.transfer(Server)?.receive)?.length, 7);
    let receive = What { receive_references: &places[2..], ..What::default() };
    require!(pair.call(bench, Server, Call::ServerReceive, receive)?, code_of(Status::Ok));
    require!(received(&mut pair, 2)?, None);
    require!(received(&mut pair, 3)?, Some(ObjectType::Space));
    require!(pair.transfer(Server)?.receive_references.count, 0);
    // What was received works.
    let call = [(RAX, Call::IpcSend as u64), (RDI, places[0]), (RSI, 6)];
    pair.child(Server).begin(code::system_call(), &call)?;
    require!(matches!(bench.receive(), Event::Notification { bits: 6, .. }), true);
    require!(pair.status(bench, Server)?, 0);
    Ok(pair.child(Client).thread.stop()?)
}

fn alerts(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    pair.connect(bench)?;
    let what = What { receive: &[(IN, 10)], ..What::default() };
    // In a wait.
    pair.begin(Server, Call::ServerReceive, what)?;
    pair.both_wait(bench)?;
    pair.begin(Client, Call::ClientAlert, What::default())?;
    let mut ended = [pair.end(bench)?, pair.end(bench)?];
    ended.sort_by_key(|ended| ended.side != Server);
    let state = ended[0].state()?;
    require!((state.gpr[RAX], state.gpr[RDX]), (code_of(Status::Alerted), Call::ServerReceive as u64));
    require!(ended[1].state()?.gpr[RAX], code_of(Status::Ok));
    // Before one: once, however often the peer alerts.
    for _ in 0..2 {
        require!(pair.call(bench, Server, Call::ServerAlert, What::default())?, code_of(Status::Ok));
    }
    let exported = connection::thread_get_connection(pair.child(Client).thread.address(), Client, 0)?;
    require!((exported.connected, exported.sends, exported.alerted), (1, 1, 1));
    let send = What { send: &[(OUT, 1)], ..What::default() };
    require!(pair.call(bench, Client, Call::ClientSendOverReceive, send)?, code_of(Status::Alerted));
    pair.begin(Client, Call::ClientSendOverReceive, send)?;
    pair.both_wait(bench)?;
    require!(pair.call(bench, Server, Call::ServerReceive, what)?, code_of(Status::Ok));
    Ok(pair.child(Client).thread.stop()?)
}

fn other_messages(bench: &mut Bench) -> Verdict {
    // A server that waits for clients with long messages hears the others as well.
    let mut pair = Pair::new(bench)?;
    let reference = Reference::new()?;
    system_call::reference_copy(pair.child(Client).own_address(NAME), reference.address())?;
    pair.begin(Server, Call::ServerWaitReceive, What::default())?;
    pair.both_wait(bench)?;
    reference.send(5)?;
    let ended = pair.end(bench)?.state()?;
    require!((ended.gpr[RAX], ended.gpr[RDI], ended.gpr[RSI]), (0, ALIAS, 5));
    require!(ended.gpr[R15], MessageKind::Notification as u64);
    pair.begin(Server, Call::ServerWaitReceive, What::default())?;
    pair.child(Client).begin(code::system_call(), &[(RAX, Call::IpcCall as u64), (RDI, NAME), (RSI, 11), (RDX, 12)])?;
    let ended = pair.end(bench)?.state()?;
    require!((ended.gpr[RAX], ended.gpr[RDI], ended.gpr[RSI], ended.gpr[RDX]), (0, ALIAS, 11, 12));
    require!(ended.gpr[R15], MessageKind::Call as u64);
    // Waiting again disconnects that client.
    pair.begin(Server, Call::ServerWaitReceive, What::default())?;
    require!(pair.status(bench, Client)?, code_of(Status::InvalidDestination));
    Ok(pair.child(Server).thread.stop()?)
}

/// One more thread of a child, which makes a call with parameters of its own: page `index` of the child's, whose byte at offset 0x800 is sent, or
/// received in.
fn another(pair: &mut Pair, side: Side, call: Call, index: u64) -> Result<Thread, Failure> {
    let page = OUT + index * PAGE_SIZE;
    let table = Table { address: page + 0x100, count: 1 };
    pair.put(side, table.address, &Buffer { address: page + 0x800, length: 1 })?;
    let transfer = match side {
        Client => Transfer { send: table, ..Default::default() },
        Server => Transfer { receive: table, ..Default::default() },
    };
    pair.put(side, page, &transfer)?;
    let mut state = NativeState { rip: CODE, rflags: 2, ..Default::default() };
    (state.gpr[RAX], state.gpr[RDI], state.gpr[RSI]) = (call as u64, NAME, page);
    let thread = Thread::native(&pair.child(side).space, &state)?;
    thread.go()?;
    Ok(thread)
}

fn many_servers(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    for side in [Client, Server] {
        // The code that all threads of a child run.
        pair.child(side).begin(code::system_call(), &[(RAX, Call::ThreadSelf as u64)])?;
        pair.end(bench)?;
    }
    let received = |pair: &Pair, index: u64| pair.read(Server, OUT + index * PAGE_SIZE + 0x800, 1);
    let wait = Call::ServerWaitReceive;
    let servers: Vec<_> = (0..3).map(|index| another(&mut pair, Server, wait, index)).collect::<Result<_, _>>()?;
    pair.both_wait(bench)?;
    // Each client is heard by another server, while the others stay connected.
    let mut clients = Vec::new();
    for index in 0..4 {
        let byte = b'a' + index as u8;
        pair.write(Client, OUT + index * PAGE_SIZE + 0x800, &[byte])?;
        clients.push(another(&mut pair, Client, Call::ClientConnectSendOverReceive, index)?);
        if index < 3 {
            require!(matches!(bench.receive(), Event::Exception { .. }), true);
            require!(received(&pair, index)?, [byte]);
        } else {
            pair.both_wait(bench)?;
        }
    }
    // The fourth is served when there is another server.
    require!(servers[1].native_state()?.gpr[RAX], code_of(Status::Ok));
    let again = another(&mut pair, Server, wait, 1)?;
    require!(matches!(bench.receive(), Event::Exception { .. }), true);
    require!(received(&pair, 1)?, b"d");
    drop(again);
    // The server that had it is gone.
    require!(matches!(bench.receive(), Event::Exception { .. }), true);
    require!(clients[3].native_state()?.gpr[RAX], code_of(Status::Alerted));
    for thread in servers.iter().chain(&clients) {
        thread.stop()?;
    }
    Ok(())
}

/// A Reference of the test's to the server's Port.
fn reference_to_port(pair: &mut Pair) -> Result<Reference, Failure> {
    let reference = Reference::new()?;
    system_call::reference_copy(pair.child(Client).own_address(NAME), reference.address())?;
    Ok(reference)
}

fn child_serves(bench: &mut Bench) -> Verdict {
    // The child replies to each message with what it has received, in the room of 5000 bytes that it has.
    let mut pair = Pair::new(bench)?;
    let reference = reference_to_port(&mut pair)?;
    pair.set(Server, What { send: &[(IN, 5000)], receive: &[(IN, 5000)], ..What::default() })?;
    let template = pair.read(Server, PARAMETERS, 0x400)?;
    pair.write(Server, OUT, &template)?;
    pair.child(Server).begin(code::serve_long_for_ever(), &[(RDI, NAME), (RSI, PARAMETERS), (RDX, OUT)])?;
    for length in [0usize, 1, 4095, 5000] {
        let (request, mut reply) = (pattern(length), [0; 6000]);
        require!(reference.transact(&request, &mut reply), Ok(5000));
        require!((length, reply[..length] == request), (length, true));
    }
    require!(reference.transact(b"x", &mut [0; 4999]), Err(Status::MoreData));
    // A client of which it does not hear everything is served as well: what is too much is discarded.
    let request = pattern(20_000);
    let mut reply = [0; 5000];
    require!(reference.transact(&request, &mut reply), Ok(5000));
    require!(reply == request[..5000], true);
    // In pieces, with a Reference that nobody wants discarded too.
    let (mut first, mut second) = ([0; 3], [0; 6000]);
    let mut exchange = Exchange::new()
        .send(b"pie")
        .send(b"")
        .send(b"ces")
        .send_reference(&reference)
        .receive(&mut first)
        .receive(&mut second);
    require!(reference.connect_send_over_receive(&mut exchange), Status::ReceiveDisconnected);
    require!(exchange.received(), 5000);
    require!((&first, &second[..3]), (b"pie", &b"ces"[..]));
    Ok(pair.child(Server).thread.stop()?)
}

fn server_in_a_register_call(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    let port: Port = bench.port()?;
    let alias = bench.last_alias();
    system_call::port_reference(port.address(), pair.child(Client).own_address(NAME))?;
    let bytes = pattern(50);
    pair.write(Client, OUT, &bytes)?;
    let what = What { send: &[(OUT, 50)], receive: &[(IN, 50)], ..What::default() };
    pair.begin(Client, Call::ClientConnectSendOverReceive, what)?;
    require!(bench.receive(), Event::Connection { alias, length: 0, status: Status::MoreData });
    let mut heard = [0; 20];
    let mut exchange = Exchange::new().receive(&mut heard);
    require!((exchange.server_receive(), exchange.received()), (Status::MoreData, 20));
    require!(heard[..] == bytes[..20], true);
    let mut rest = [0; 40];
    let mut exchange = Exchange::new().receive(&mut rest);
    require!((exchange.server_receive(), exchange.received()), (Status::Ok, 30));
    require!(Exchange::new().send(b"answer").server_ack_send(), Status::Ok);
    require!(connection::disconnect(Server), Ok(()));
    require!(connection::disconnect(Server), Err(Status::Disconnected));
    require!(pair.status(bench, Client)?, code_of(Status::ReceiveDisconnected));
    require!(pair.read(Client, IN, 6)?, b"answer");
    // A server that only knows register calls gives the client up when it waits again.
    pair.begin(Client, Call::ClientConnectSendOverReceive, what)?;
    require!(matches!(bench.receive(), Event::Connection { .. }), true);
    require!(pair.status(bench, Client)?, code_of(Status::SendDisconnected));
    // As a server of long messages.
    pair.begin(Client, Call::ClientConnectSendOverReceive, what)?;
    let mut buffer = [0; 60];
    let deadline = bench.deadline();
    let event = bench.server().receive_long(&mut buffer, deadline);
    require!(event, Event::Connection { alias, length: 50, status: Status::Ok });
    require!(buffer[..50] == bytes, true);
    let event = bench.server().reply_long_and_receive(b"yes", &mut buffer, deadline);
    let ended = pair.ended(event)?;
    require!(ended.state()?.gpr[RAX], code_of(Status::ReceiveDisconnected));
    require!(pair.read(Client, IN, 3)?, b"yes");
    Ok(())
}

fn from_a_machine(bench: &mut Bench) -> Verdict {
    let mut pair = Pair::new(bench)?;
    let reference = reference_to_port(&mut pair)?;
    let transfer = guest::DATA + 0x100;
    let registers = [(RAX, Call::ClientConnectSendOverReceive as u64), (RDI, guest::DATA), (RSI, transfer)];
    let guest = Guest::new(bench, code::guest_call(), &registers)?;
    guest.allow(Controls::VMCALL, 0)?;
    let name = guest.memory.address() + guest::DATA;
    system_call::reference_create(name)?;
    system_call::reference_copy(reference.address(), name)?;
    let table = |address| Table { address, count: 1 };
    let parameters = Transfer { send: table(transfer + 0x80), receive: table(transfer + 0x90), ..Default::default() };
    guest.memory.write(transfer, &parameters)?;
    let buffer = |address, length| Buffer { address, length };
    guest.memory.write(transfer + 0x80, &buffer(guest::DATA + 0x1001, 5000))?;
    guest.memory.write(transfer + 0x90, &buffer(guest::DATA + 0x3000, 5000))?;
    let bytes = pattern(5000);
    guest.memory.write_bytes(guest::DATA + 0x1001, &bytes)?;
    let server = What { send: &[(IN, 4999)], receive: &[(IN, 6000)], ..What::default() };
    pair.begin(Server, Call::ServerWaitReceive, server)?;
    guest.cpu.go()?;
    require!(pair.status(bench, Server)?, code_of(Status::Ok));
    pair.begin(Server, Call::ServerAckSendWaitReceive, server)?;
    let event = bench.receive();
    let exit = guest.exit(event)?;
    require!((guest::port(&exit), exit.rax), (Some(guest::END_PORT), code_of(Status::ReceiveDisconnected)));
    let mut received = alloc::vec![0; 4999];
    guest.memory.read_bytes(guest::DATA + 0x3000, &mut received)?;
    require!(received == bytes[..4999], true);
    Ok(pair.child(Server).thread.stop()?)
}
