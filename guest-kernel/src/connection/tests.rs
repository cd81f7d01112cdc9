//! The state machine against what the API promises: each transition, all reachable states, and streams under random scheduling.

use super::*;
use Operation::*;
use Side::{Client, Server};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use proptest::prelude::*;

/// A thread at its end of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct End {
    call: Option<Operation>,
    /// How its last call ended.
    status: Option<Status>,
    /// Bytes that its parameters say are to be sent.
    left: VecDeque<u8>,
    references: usize,
    room: usize,
    reference_room: usize,
    received: Vec<u8>,
    references_received: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    sender: Side,
    connected: bool,
    ends: [End; 2],
    /// How many more bytes move before the transfer is interrupted.
    work: usize,
}

impl Model {
    /// A connection that has just come about.
    fn new() -> Self {
        Self { sender: Client, connected: true, ends: Default::default(), work: usize::MAX }
    }

    fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// Whether an end may make a call in its role.
    fn may(&self, side: Side, operation: Operation) -> bool {
        operation.step().as_sender().is_none_or(|sends| sends == (self.sender == side))
    }

    /// An end makes a call with what its parameters say already.
    fn call(&mut self, side: Side, operation: Operation) {
        assert!(self.may(side, operation) && self.end(side).call.is_none());
        self.end(side).status = None;
        self.end(side).call = Some(operation);
        match operation.step() {
            Step::Disconnect => {
                self.disconnect(side);
                self.finish(side, Status::Ok);
            }
            step if !self.connected => self.finish(side, step.disconnected()),
            _ => advance(self),
        }
    }

    /// [`call`](Self::call) with bytes to send and room for others.
    fn begin(&mut self, side: Side, operation: Operation, send: &[u8], room: usize) {
        self.end(side).left = send.iter().copied().collect();
        self.end(side).room = room;
        self.call(side, operation);
    }

    /// Takes an end out of its call, as stopping its thread does, and gives the call that it will make again.
    fn interrupt(&mut self, side: Side) -> Option<Operation> {
        self.end(side).call.take()
    }

    fn disconnect(&mut self, side: Side) {
        self.connected = false;
        if let Some(call) = self.end(side.other()).call {
            self.finish(side.other(), call.step().disconnected());
        }
    }

    fn waits(&self, side: Side) -> Option<Operation> {
        self.ends[side as usize].call
    }

    fn status(&self, side: Side) -> Option<Status> {
        self.ends[side as usize].status
    }
}

impl Connection for Model {
    fn sender(&self) -> Side {
        self.sender
    }

    fn operation(&self, end: Side) -> Option<Operation> {
        self.waits(end)
    }

    fn is_nothing_sent(&mut self) -> bool {
        let sender = self.sender;
        self.end(sender).left.is_empty() && self.end(sender).references == 0
    }

    fn transfer(&mut self) -> Moved {
        let sender = self.sender;
        let mut from = core::mem::take(self.end(sender));
        let to = &mut self.ends[sender.other() as usize];
        let mut work = self.work;
        let moved = loop {
            if from.left.is_empty() {
                break if from.references == 0 {
                    Moved::Everything
                } else if to.reference_room == 0 {
                    Moved::Full(Status::MoreReferences)
                } else {
                    from.references -= 1;
                    to.reference_room -= 1;
                    to.references_received += 1;
                    continue;
                };
            }
            if to.room == 0 {
                break Moved::Full(Status::MoreData);
            }
            if work == 0 {
                break Moved::Interrupted;
            }
            to.received.extend(from.left.pop_front());
            to.room -= 1;
            work -= 1;
        };
        *self.end(sender) = from;
        moved
    }

    fn reverse(&mut self) {
        self.sender = self.sender.other();
    }

    fn proceed(&mut self, end: Side, rest: Operation) {
        self.end(end).call = Some(rest);
    }

    fn finish(&mut self, end: Side, status: Status) {
        self.end(end).call = None;
        self.end(end).status = Some(status);
    }

    fn leave(&mut self, end: Side) {
        self.proceed(end, WaitReceive);
        self.disconnect(end);
    }
}

const ALL: [Operation; 13] = [
    ConnectSend,
    ConnectSendOverReceive,
    Send,
    SendOverReceive,
    OverReceive,
    Receive,
    AckSend,
    AckSendOverReceive,
    Disconnect,
    Alert,
    WaitReceive,
    SendWaitReceive,
    AckSendWaitReceive,
];

/// Those that a thread can be in while it is connected.
const CONNECTED: [Operation; 8] =
    [Send, SendOverReceive, OverReceive, Receive, AckSend, AckSendOverReceive, SendWaitReceive, AckSendWaitReceive];

#[test]
fn numbers_are_those_of_the_api() {
    assert_eq!(Operation::of(Call::ClientConnectSend as u64), Some((ConnectSend, Client)));
    assert_eq!(Operation::of(Call::ClientAlert as u64), Some((Alert, Client)));
    assert_eq!(Operation::of(Call::ServerSend as u64), Some((Send, Server)));
    assert_eq!(Operation::of(Call::ServerAckSendWaitReceive as u64), Some((AckSendWaitReceive, Server)));
    for (call, side) in [(Call::ThreadConnect as u64, Client), (0xc0, Server), (0xc1, Server), (0xba, Client)] {
        assert_eq!(Operation::of(call), None, "{call:#x} {side:?}");
    }
    assert_eq!(
        (Operation::of(0), Operation::of(0xaf), Operation::of(0xd0), Operation::of(u64::MAX)),
        (None, None, None, None)
    );
    for operation in ALL {
        for side in [Client, Server] {
            if let Some((back, of)) = Operation::of(operation.number(side)) {
                assert_eq!((back, of), (operation, side));
            }
        }
    }
}

#[test]
fn what_remains_of_a_call_is_its_name_without_the_first_step() {
    use Step::*;
    let steps = |operation: Operation| {
        let mut steps = Vec::new();
        let mut next = Some(operation);
        while let Some(operation) = next {
            steps.push(operation.step());
            next = operation.rest();
        }
        steps
    };
    assert_eq!(steps(ConnectSendOverReceive), [Connect, Send, Over, Receive]);
    assert_eq!(steps(ConnectSend), [Connect, Send]);
    assert_eq!(steps(SendOverReceive), [Send, Over, Receive]);
    assert_eq!(steps(OverReceive), [Over, Receive]);
    assert_eq!(steps(AckSend), [Acknowledge, Send]);
    assert_eq!(steps(AckSendOverReceive), [Acknowledge, Send, Over, Receive]);
    assert_eq!(steps(SendWaitReceive), [Send, Wait, Receive]);
    assert_eq!(steps(AckSendWaitReceive), [Acknowledge, Send, Wait, Receive]);
    assert_eq!(steps(Operation::Disconnect), [Step::Disconnect]);
}

#[test]
fn a_sender_waits_for_its_receiver_and_streams_to_it() {
    let mut model = Model::new();
    model.begin(Client, Send, b"abc", 0);
    assert_eq!(model.waits(Client), Some(Send));
    model.begin(Server, Receive, b"", 2);
    assert_eq!((model.status(Server), model.waits(Client)), (Some(Status::MoreData), Some(Send)));
    model.begin(Server, Receive, b"", 2);
    assert_eq!((model.status(Client), model.waits(Server)), (Some(Status::Ok), Some(Receive)));
    model.begin(Client, Send, b"d", 0);
    assert_eq!((model.status(Client), model.waits(Server)), (Some(Status::Ok), Some(Receive)));
    assert_eq!(model.end(Server).received, b"abcd");
    // Full, with nothing more to come: that is no MoreData.
    model.begin(Client, SendOverReceive, b"", 5);
    assert_eq!((model.status(Server), model.waits(Client)), (Some(Status::Ok), Some(OverReceive)));
}

#[test]
fn sending_nothing_does_not_wait() {
    let mut model = Model::new();
    model.begin(Client, Send, b"", 0);
    assert_eq!(model.status(Client), Some(Status::Ok));
    model.begin(Client, SendOverReceive, b"", 0);
    assert_eq!(model.waits(Client), Some(OverReceive));
}

#[test]
fn references_come_after_bytes() {
    let mut model = Model::new();
    model.end(Client).references = 2;
    model.begin(Client, Send, b"a", 0);
    model.begin(Server, Receive, b"", 0);
    assert_eq!(model.status(Server), Some(Status::MoreData));
    model.end(Server).reference_room = 1;
    model.begin(Server, Receive, b"", 1);
    assert_eq!(model.status(Server), Some(Status::MoreReferences));
    model.end(Server).reference_room = 5;
    model.begin(Server, Receive, b"", 0);
    assert_eq!((model.status(Client), model.end(Server).references_received), (Some(Status::Ok), 2));
}

#[test]
fn roles_change_when_over_meets_ack() {
    for receiver_first in [false, true] {
        let mut model = Model::new();
        if receiver_first {
            model.begin(Server, AckSend, b"xy", 0);
            assert_eq!(model.waits(Server), Some(AckSend));
        }
        model.begin(Client, OverReceive, b"", 5);
        if !receiver_first {
            assert_eq!(model.waits(Client), Some(OverReceive));
            model.begin(Server, AckSend, b"xy", 0);
        }
        assert_eq!(
            (model.sender, model.status(Server), model.waits(Client)),
            (Server, Some(Status::Ok), Some(Receive))
        );
        assert_eq!(model.end(Client).received, b"xy");
    }
}

#[test]
fn what_is_sent_to_one_who_wants_to_speak_is_discarded() {
    for sender_first in [false, true] {
        let mut model = Model::new();
        if sender_first {
            model.begin(Client, Send, b"abc", 0);
        }
        model.begin(Server, AckSend, b"x", 0);
        if !sender_first {
            model.begin(Client, Send, b"abc", 0);
        }
        assert_eq!((model.status(Client), model.waits(Server)), (Some(Status::Ok), Some(AckSend)));
        assert_eq!(model.end(Server).received, b"");
    }
}

#[test]
fn seen_again_is_seen() {
    let mut model = Model::new();
    model.begin(Client, SendOverReceive, b"a", 1);
    for _ in 0..3 {
        model.begin(Server, Receive, b"", 1);
        assert_eq!((model.status(Server), model.waits(Client)), (Some(Status::Ok), Some(OverReceive)));
    }
}

#[test]
fn disconnecting_ends_the_peers_step_with_its_own_status() {
    let cases = [
        (Receive, true, Status::ReceiveDisconnected),
        (AckSend, true, Status::AckDisconnected),
        (OverReceive, false, Status::OverDisconnected),
        (Send, false, Status::SendDisconnected),
    ];
    for (call, by_client, status) in cases {
        // The client is the sender; whoever disconnects, the other one waits in `call`, or calls afterwards.
        let (leaving, waiting) = if by_client { (Client, Server) } else { (Server, Client) };
        for waits_first in [true, false] {
            let mut model = Model::new();
            if waits_first {
                model.begin(waiting, call, b"a", 1);
            }
            model.begin(leaving, Disconnect, b"", 0);
            if !waits_first {
                model.begin(waiting, call, b"a", 1);
            }
            assert_eq!(model.status(waiting), Some(status));
        }
    }
}

#[test]
fn a_server_replies_and_waits_for_the_next() {
    let mut model = Model::new();
    model.begin(Server, Receive, b"", 8);
    model.begin(Client, SendOverReceive, b"request", 8);
    assert_eq!(model.status(Server), Some(Status::Ok));
    model.begin(Server, AckSendWaitReceive, b"reply", 8);
    assert_eq!((model.status(Client), model.waits(Server)), (Some(Status::ReceiveDisconnected), Some(WaitReceive)));
    assert!(!model.connected);
    assert_eq!(model.end(Client).received, b"reply");
}

#[test]
fn only_one_role_meets_the_other() {
    use Step::*;
    for sender in [Connect, Send, Over, Receive, Acknowledge, Wait, Disconnect, Alert] {
        for receiver in [Connect, Send, Over, Receive, Acknowledge, Wait, Disconnect, Alert] {
            let roles = (sender.as_sender(), receiver.as_sender()) == (Some(true), Some(false));
            assert_eq!(meet(sender, receiver).is_some(), roles, "{sender:?} {receiver:?}");
        }
    }
}

/// A state as far as it decides what can happen.
type Key = (bool, bool, [(Option<u8>, usize, usize, usize, usize); 2]);

fn key(model: &Model) -> Key {
    let end =
        |end: &End| (end.call.map(|call| call as u8), end.left.len(), end.references, end.room, end.reference_room);
    (model.sender == Client, model.connected, [end(&model.ends[0]), end(&model.ends[1])])
}

/// All states that two threads reach which make any calls with any parameters (up to two bytes, one Reference): both never wait in calls on
/// their connection, and every call of a connected thread can be ended by the other one without disconnecting.
#[test]
fn two_ends_never_wait_for_each_other() {
    let mut seen = BTreeSet::new();
    let mut work = Vec::new();
    work.push(Model::new());
    let mut waiting = 0;
    while let Some(model) = work.pop() {
        if !seen.insert(key(&model)) {
            continue;
        }
        let both = model.waits(Client).is_some() && model.waits(Server).is_some();
        assert!(!both || !model.connected, "{model:?}");
        if !model.connected {
            continue;
        }
        let mut released = [false; 2];
        for side in [Client, Server] {
            if model.waits(side).is_some() {
                waiting += 1;
                continue;
            }
            for operation in CONNECTED {
                let is_servers = matches!(operation, SendWaitReceive | AckSendWaitReceive);
                if !model.may(side, operation) || is_servers && side == Client {
                    continue;
                }
                for (bytes, references, room, reference_room) in
                    (0..24).map(|case: usize| (case % 3, case / 3 % 2, case / 6 % 2 * 2, case / 12))
                {
                    let mut next = model.clone();
                    next.end(side).references = references;
                    next.end(side).reference_room = reference_room;
                    next.begin(side, operation, &[7; 2][..bytes], room);
                    // What has been received does not decide what happens.
                    for end in &mut next.ends {
                        end.received.clear();
                        end.references_received = 0;
                    }
                    released[side.other() as usize] |= next.waits(side.other()) != model.waits(side.other());
                    work.push(next);
                }
            }
        }
        for side in [Client, Server] {
            assert!(model.waits(side).is_none() || released[side as usize], "nothing releases {side:?} of {model:?}");
        }
    }
    assert!(seen.len() > 500 && waiting > 200, "{} states, {waiting} of them waiting", seen.len());
}

/// Has client and server exchange messages in turns, each message in several sends. `schedule` says who acts, whether it is only
/// interrupted, and how many bytes a transfer moves at most. Returns what each has received.
fn converse(messages: &[Vec<Vec<u8>>], rooms: &[usize], schedule: &[(bool, bool, usize)]) -> [Vec<u8>; 2] {
    let mut model = Model::new();
    // By side: the message that it says or hears, the part of it that comes next, whether it is in the middle of hearing, and an interrupted call.
    let (mut turns, mut parts, mut hears, mut again) = ([0; 2], [0; 2], [false; 2], [None; 2]);
    let mut rooms = rooms.iter().copied().cycle();
    // After the schedule everybody acts in turn.
    let rest = (0..5_000).map(|step: usize| (step.is_multiple_of(2), false, usize::MAX));
    for (is_client, interrupt, work) in schedule.iter().copied().chain(rest) {
        let side = if is_client { Client } else { Server };
        let me = side as usize;
        model.work = work;
        if interrupt {
            again[me] = again[me].or_else(|| model.interrupt(side));
            continue;
        }
        if let Some(call) = again[me].take() {
            model.call(side, call);
            continue;
        }
        if model.waits(side).is_some() {
            // A transfer that took long goes on.
            advance(&mut model);
            continue;
        }
        let Some(message) = messages.get(turns[me]) else { continue };
        if turns[me] % 2 != me {
            let status = model.end(side).status.take();
            if hears[me] && status == Some(Status::Ok) {
                (turns[me], hears[me]) = (turns[me] + 1, false);
            } else {
                hears[me] = true;
                model.begin(side, Receive, b"", rooms.next().unwrap());
            }
            continue;
        }
        let part = parts[me];
        parts[me] += 1;
        let is_last = part + 1 == message.len();
        let operation = match (model.sender == side, is_last) {
            (true, false) => Send,
            (true, true) => SendOverReceive,
            (false, false) => AckSend,
            (false, true) => AckSendOverReceive,
        };
        if is_last {
            (turns[me], parts[me], hears[me]) = (turns[me] + 1, 0, true);
        }
        model.begin(side, operation, &message[part], rooms.next().unwrap());
    }
    assert_eq!(turns, [messages.len(); 2], "the conversation does not end: {model:?}");
    model.ends.map(|end| end.received)
}

fn messages() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 1..4), 1..6)
}

proptest! {
    /// Against the simplest model, two strings: whoever acts when, however calls are interrupted, however small buffers are, each side
    /// gets what the other one has said, in order, once.
    #[test]
    fn nothing_is_lost_doubled_or_reordered(
        messages in messages(),
        mut rooms in prop::collection::vec(0usize..5, 1..6),
        schedule in prop::collection::vec((any::<bool>(), prop::bool::weighted(0.3), 1usize..4), 0..200),
    ) {
        rooms.push(3);
        let said = |first: usize| -> Vec<u8> { messages.iter().skip(first).step_by(2).flatten().flatten().copied().collect() };
        let [client, server] = converse(&messages, &rooms, &schedule);
        prop_assert_eq!(server, said(0));
        prop_assert_eq!(client, said(1));
    }

    /// A receiver that interrupts its sender has heard a beginning of what that said.
    #[test]
    fn what_is_discarded_is_an_end(message in prop::collection::vec(any::<u8>(), 0..20), room in 0usize..25, early in any::<bool>()) {
        let mut model = Model::new();
        if early {
            model.begin(Client, SendOverReceive, &message, 9);
        }
        model.begin(Server, Receive, b"", room);
        if !early {
            model.begin(Client, SendOverReceive, &message, 9);
        }
        let heard = message.len().min(room);
        prop_assert_eq!(&model.end(Server).received[..], &message[..heard]);
        let expected = if heard < message.len() { Status::MoreData } else { Status::Ok };
        prop_assert_eq!(model.status(Server), Some(expected));
        model.begin(Server, AckSend, b"stop", 0);
        prop_assert_eq!(&model.end(Client).received[..], b"stop");
        prop_assert_eq!(&model.end(Server).received[..], &message[..heard]);
    }
}
