//! The state machine of reliable connections: which steps a call consists of, and what happens where two ends meet.
//!
//! Pure: the whole state of a connection is who its sender is ([`Half`], one for each end) and the calls in the registers of its two threads.
//! [`advance`] drives both ends as far as they go, whichever of them runs; [`crate::calls`] does for it what touches threads and
//! memory. The semantics are those of [`protocols::api::Transfer`].
//!
//! Where both ends are in calls, something happens: so an end waits for nothing but a peer that is not in a call on the connection.

use crate::arena::Id;
use crate::thread::Thread;
use protocols::api::{Call, Side, Status};

/// One end of a connection, as the thread at that end knows it. The peer's is the mirror image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half {
    /// The thread at the other end.
    pub peer: Id<Thread>,
    /// This end is the sender.
    pub sends: bool,
}

/// A thread's ends: one as a client, one as a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    halves: [Option<Half>; 2],
    alerted: [bool; 2],
}

impl Ends {
    /// That on a side.
    #[inline]
    pub fn get(&self, side: Side) -> Option<Half> {
        self.halves[side as usize]
    }

    /// Begins a connection.
    pub fn begin(&mut self, side: Side, half: Half) {
        self.halves[side as usize] = Some(half);
        self.alerted[side as usize] = false;
    }

    /// Ends a connection.
    #[inline]
    pub fn end(&mut self, side: Side) -> Option<Half> {
        self.halves[side as usize].take()
    }

    /// Makes the sender the receiver, or the other way round.
    pub fn reverse(&mut self, side: Side) {
        if let Some(half) = &mut self.halves[side as usize] {
            half.sends = !half.sends;
        }
    }

    /// Names another thread as the peer: the one that the peer's end has moved to.
    pub fn set_peer(&mut self, side: Side, peer: Id<Thread>) {
        if let Some(half) = &mut self.halves[side as usize] {
            half.peer = peer;
        }
    }

    /// Notes an alert.
    pub fn alert(&mut self, side: Side) {
        self.alerted[side as usize] = true;
    }

    /// Whether an alert is noted.
    pub fn alerted(&self, side: Side) -> bool {
        self.alerted[side as usize]
    }

    /// Whether there was an alert, which is known from now on.
    #[inline]
    pub fn take_alert(&mut self, side: Side) -> bool {
        core::mem::take(&mut self.alerted[side as usize])
    }
}

/// The calls on a connection, by the low digit of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// Connect, send.
    ConnectSend = 0x0,
    /// Connect, send, over, receive.
    ConnectSendOverReceive = 0x1,
    /// Send.
    Send = 0x2,
    /// Send, over, receive.
    SendOverReceive = 0x3,
    /// Over, receive.
    OverReceive = 0x4,
    /// Receive.
    Receive = 0x5,
    /// Ack, send.
    AckSend = 0x6,
    /// Ack, send, over, receive.
    AckSendOverReceive = 0x7,
    /// Disconnect.
    Disconnect = 0x8,
    /// Alert.
    Alert = 0x9,
    /// Wait, receive.
    WaitReceive = 0xa,
    /// Send, wait, receive.
    SendWaitReceive = 0xb,
    /// Ack, send, wait, receive.
    AckSendWaitReceive = 0xc,
}

/// What a call does first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Finds a server.
    Connect,
    /// Sends what there is.
    Send,
    /// Offers to become the receiver.
    Over,
    /// Receives.
    Receive,
    /// Becomes the sender.
    Acknowledge,
    /// Waits for a client.
    Wait,
    /// Ends the connection.
    Disconnect,
    /// Alerts the peer.
    Alert,
}

/// What happens where a sender and a receiver are both in calls on their connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Bytes and References move, until the sender has none left (its step is done) or the receiver has no room (its call ends).
    Transfer,
    /// The receiver does not want the rest: the sender's step is done.
    Discard,
    /// The receiver has seen all of the message: its call ends.
    Seen,
    /// The roles change: the steps of both are done.
    Reverse,
}

const FIRST: u64 = Call::ClientConnectSend as u64;
const OPERATIONS: u64 = 16;

impl Operation {
    /// The operation and side of a call number.
    pub fn of(number: u64) -> Option<(Self, Side)> {
        let (side, digit) = match number.checked_sub(FIRST)? {
            digit @ 0..OPERATIONS => (Side::Client, digit),
            digit @ OPERATIONS..32 => (Side::Server, digit - OPERATIONS),
            _ => return None,
        };
        let operation = match (digit, side) {
            (0x0, Side::Client) => Self::ConnectSend,
            (0x1, Side::Client) => Self::ConnectSendOverReceive,
            (0x2, _) => Self::Send,
            (0x3, _) => Self::SendOverReceive,
            (0x4, _) => Self::OverReceive,
            (0x5, _) => Self::Receive,
            (0x6, _) => Self::AckSend,
            (0x7, _) => Self::AckSendOverReceive,
            (0x8, _) => Self::Disconnect,
            (0x9, _) => Self::Alert,
            (0xa, Side::Server) => Self::WaitReceive,
            (0xb, Side::Server) => Self::SendWaitReceive,
            (0xc, Side::Server) => Self::AckSendWaitReceive,
            _ => return None,
        };
        Some((operation, side))
    }

    /// Its call number on a side.
    pub fn number(self, side: Side) -> u64 {
        FIRST + side as u64 * OPERATIONS + self as u64
    }

    /// Its first step.
    #[inline]
    pub fn step(self) -> Step {
        match self {
            Self::ConnectSend | Self::ConnectSendOverReceive => Step::Connect,
            Self::Send | Self::SendOverReceive | Self::SendWaitReceive => Step::Send,
            Self::OverReceive => Step::Over,
            Self::Receive => Step::Receive,
            Self::AckSend | Self::AckSendOverReceive | Self::AckSendWaitReceive => Step::Acknowledge,
            Self::Disconnect => Step::Disconnect,
            Self::Alert => Step::Alert,
            Self::WaitReceive => Step::Wait,
        }
    }

    /// What remains when the first step is done: itself a call.
    #[inline]
    pub fn rest(self) -> Option<Self> {
        match self {
            Self::ConnectSend | Self::AckSend => Some(Self::Send),
            Self::ConnectSendOverReceive | Self::AckSendOverReceive => Some(Self::SendOverReceive),
            Self::SendOverReceive => Some(Self::OverReceive),
            Self::OverReceive | Self::WaitReceive => Some(Self::Receive),
            Self::AckSendWaitReceive => Some(Self::SendWaitReceive),
            Self::SendWaitReceive => Some(Self::WaitReceive),
            Self::Send | Self::Receive | Self::Disconnect | Self::Alert => None,
        }
    }
}

impl Step {
    /// Whether only the sender may do it, or only the receiver. `None`: either.
    #[inline]
    pub fn as_sender(self) -> Option<bool> {
        match self {
            Self::Send | Self::Over => Some(true),
            Self::Receive | Self::Acknowledge => Some(false),
            Self::Connect | Self::Wait | Self::Disconnect | Self::Alert => None,
        }
    }

    /// How it ends where there is no connection.
    pub fn disconnected(self) -> Status {
        match self {
            Self::Connect => Status::ConnectInvalid,
            Self::Send => Status::SendDisconnected,
            Self::Over => Status::OverDisconnected,
            Self::Receive => Status::ReceiveDisconnected,
            Self::Acknowledge => Status::AckDisconnected,
            Self::Wait | Self::Disconnect | Self::Alert => Status::Disconnected,
        }
    }
}

/// What happens where a sender in one step meets a receiver in another. `None` if one of the steps is not of that role.
#[inline]
pub fn meet(sender: Step, receiver: Step) -> Option<Meeting> {
    match (sender, receiver) {
        (Step::Send, Step::Receive) => Some(Meeting::Transfer),
        (Step::Send, Step::Acknowledge) => Some(Meeting::Discard),
        (Step::Over, Step::Receive) => Some(Meeting::Seen),
        (Step::Over, Step::Acknowledge) => Some(Meeting::Reverse),
        _ => None,
    }
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The sender has nothing left.
    Everything,
    /// The receiver has no room: its call ends with this status.
    Full(Status),
    /// One of the ends is not in its call any more, or not for now: it faulted, or the transfer takes long.
    Interrupted,
}

/// A connection and its two threads.
pub trait Connection {
    /// The end that sends.
    fn sender(&self) -> Side;
    /// The call that an end is in.
    fn operation(&self, end: Side) -> Option<Operation>;
    /// Whether the sender has nothing to send.
    fn is_nothing_sent(&mut self) -> bool;
    /// Moves what the sender has to where the receiver has room.
    fn transfer(&mut self) -> Moved;
    /// Changes the roles.
    fn reverse(&mut self);
    /// An end is in another call from now on.
    fn proceed(&mut self, end: Side, rest: Operation);
    /// Ends an end's call.
    fn finish(&mut self, end: Side, status: Status);
    /// An end, the server, ends the connection, to wait for the next client.
    fn leave(&mut self, end: Side);
}

/// Lets the ends of a connection do what they can.
pub fn advance(connection: &mut impl Connection) {
    loop {
        let sender = connection.sender();
        let receiver = sender.other();
        let (sending, receiving) = (connection.operation(sender), connection.operation(receiver));
        let Some(sending) = sending.map(Operation::step) else { return };
        let Some(receiving) = receiving.map(Operation::step) else {
            if sending != Step::Send || !connection.is_nothing_sent() {
                return;
            }
            complete(connection, sender);
            continue;
        };
        match meet(sending, receiving) {
            Some(Meeting::Transfer) => match connection.transfer() {
                Moved::Everything => complete(connection, sender),
                Moved::Full(status) => connection.finish(receiver, status),
                Moved::Interrupted => return,
            },
            Some(Meeting::Discard) => complete(connection, sender),
            Some(Meeting::Seen) => connection.finish(receiver, Status::Ok),
            Some(Meeting::Reverse) => {
                connection.reverse();
                complete(connection, sender);
                complete(connection, receiver);
            }
            None => return,
        }
    }
}

/// An end has done the first step of its call.
fn complete(connection: &mut impl Connection, end: Side) {
    match connection.operation(end).map(Operation::rest) {
        Some(Some(Operation::WaitReceive)) => connection.leave(end),
        Some(Some(rest)) => connection.proceed(end, rest),
        Some(None) => connection.finish(end, Status::Ok),
        None => {}
    }
}

#[cfg(test)]
mod tests;
