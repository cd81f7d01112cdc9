//! Receiving and answering messages: the main loop of a nester.
//!
//! ```no_run
//! # use protocols::exception::{MachineExit, MachineReply};
//! # use protocols::libnest::server::{Event, Server, machine};
//! # fn serve(server: &mut Server, handle: impl Fn(MachineExit) -> MachineReply, deadline: Option<u64>) {
//! let mut event = server.receive(None);
//! loop {
//!     let reply = match event {
//!         Event::MachineExit { exit, .. } => machine(handle(exit)),
//!         _ => [0; 8],
//!     };
//!     event = server.reply_and_receive(&reply, deadline);
//! }
//! # }
//! ```

use zerocopy::transmute;

use super::connection::{left, piece, room, single};
use super::objects::{Mapping, Port, Portset, Reference};
use crate::api::{MessageKind, Rights, Status, Transfer};
use crate::exception::{
    MachineExit, MachineReply, MemoryFault, MemoryReply, NativeException, exception_reply, memory_reply,
};
use crate::libc::system_call::connection as call;
use crate::libc::system_call::{self, Message, Received, Result};

/// What was received. `alias` is the badge of the Reference that it came through, or else the alias of the Port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call; the client waits for the reply.
    Call {
        /// Of the Port.
        alias: u64,
        /// The message.
        words: Message,
    },
    /// Notification bits; the reply is dropped.
    Notification {
        /// Of the Port.
        alias: u64,
        /// The bits.
        bits: u64,
    },
    /// A memory fault in a Region that the program keeps; reply with [`map`], [`protect`], [`retry`] or
    /// [`fail`].
    MemoryFault {
        /// Of the Port.
        alias: u64,
        /// The fault.
        fault: MemoryFault,
    },
    /// An exception in a native Space that the program keeps; reply with [`resume`] or [`stop`].
    Exception {
        /// Of the Port.
        alias: u64,
        /// The exception.
        exception: NativeException,
    },
    /// An exit of a virtual CPU in a machine Space that the program keeps; reply with a [`MachineReply`].
    MachineExit {
        /// Of the Port.
        alias: u64,
        /// The exit.
        exit: MachineExit,
    },
    /// A device interrupt; a level-triggered line stays masked until the reply.
    Interrupt {
        /// Of the Port.
        alias: u64,
        /// The line.
        line: u64,
    },
    /// A client has connected, for a message of any length: see [`receive_long`](Server::receive_long). It is disconnected when the
    /// server waits again.
    Connection {
        /// Of the Port.
        alias: u64,
        /// Bytes received.
        length: usize,
        /// What is to be known of the rest: `Ok` if that was the whole message, and the client waits for the reply; `ReceiveDisconnected` if it
        /// does not; `MoreData` if there is more than fits, as where nothing was received.
        status: Status,
    },
    /// The last Reference to a Port is gone, and no new one was made since; the reply is dropped.
    NoReferences {
        /// Of the Port.
        alias: u64,
    },
    /// A thread could run whose [scheduler](crate::scheduling) the program is; the reply is dropped.
    Wakeup {
        /// Of the Port.
        alias: u64,
        /// The thread's word.
        value: u64,
    },
    /// The last reply was a [`map`] to where another Mapping appears already, and has not been sent: the thread still waits for one.
    Overlap,
    /// The deadline has passed; the reply is dropped.
    TimedOut,
}

impl Event {
    #[inline(always)]
    pub(super) fn decode(received: Result<Received>) -> Self {
        let Received { alias, kind, words, .. } = match received {
            Ok(received) => received,
            Err(Status::Overlap) => return Self::Overlap,
            Err(_) => return Self::TimedOut,
        };
        match kind {
            MessageKind::Call => Self::Call { alias, words },
            MessageKind::Notification => Self::Notification { alias, bits: words[0] },
            MessageKind::MemoryFault => Self::MemoryFault { alias, fault: transmute!(words) },
            MessageKind::Exception => Self::Exception { alias, exception: transmute!(words) },
            MessageKind::MachineExit => Self::MachineExit { alias, exit: transmute!(words) },
            MessageKind::Interrupt => Self::Interrupt { alias, line: words[0] },
            MessageKind::Connection => Self::Connection { alias, length: 0, status: Status::MoreData },
            MessageKind::NoReferences => Self::NoReferences { alias },
            MessageKind::Wakeup => Self::Wakeup { alias, value: words[0] },
        }
    }
}

/// A Portset and the loop that serves it.
#[derive(Debug)]
pub struct Server {
    portset: Portset,
}

impl Server {
    /// A server without Ports.
    pub fn new() -> Result<Self> {
        Ok(Self { portset: Portset::new()? })
    }

    /// Its Portset.
    pub fn portset(&self) -> &Portset {
        &self.portset
    }

    /// A new Port that it serves.
    pub fn port(&self, alias: u64) -> Result<Port> {
        Port::new(&self.portset, alias)
    }

    /// Waits for the next message, until the time stamp counter reaches `deadline`. A client that has not been replied to is
    /// disconnected.
    #[inline(always)]
    pub fn receive(&mut self, deadline: Option<u64>) -> Event {
        Event::decode(system_call::ipc_wait_receive(self.portset.address(), until(deadline)))
    }

    /// Replies to what was received last, if it still waits, then [receives](Self::receive).
    #[inline(always)]
    pub fn reply_and_receive(&mut self, reply: &Message, deadline: Option<u64>) -> Event {
        Event::decode(system_call::ipc_reply_wait_receive(self.portset.address(), until(deadline), reply))
    }

    /// [`receive`](Self::receive), with the message of a client that connects in `buffer`.
    pub fn receive_long(&mut self, buffer: &mut [u8], deadline: Option<u64>) -> Event {
        self.long(None, buffer, deadline)
    }

    /// Replies to the client that is connected, then [receives](Self::receive_long). What it has not been heard out about is lost, and
    /// so is the reply if it does not wait for it.
    pub fn reply_long_and_receive(&mut self, reply: &[u8], buffer: &mut [u8], deadline: Option<u64>) -> Event {
        self.long(Some(reply), buffer, deadline)
    }

    #[allow(unsafe_code)]
    fn long(&mut self, reply: Option<&[u8]>, buffer: &mut [u8], deadline: Option<u64>) -> Event {
        let (mut send, mut receive) = (piece(reply.unwrap_or_default()), room(buffer));
        let mut transfer = Transfer { send: single(&mut send), receive: single(&mut receive), ..Transfer::default() };
        let (portset, deadline) = (self.portset.address(), until(deadline));
        // SAFETY: the Buffers are our own, and say where the two slices are.
        let answered = reply.map(|_| unsafe { call::server_ack_send_wait_receive(portset, deadline, &mut transfer) });
        let received = match answered {
            Some(Ok(received)) => Ok(received),
            Some(Err(Status::TimedOut)) => Err(Status::TimedOut),
            // The client is gone, or there is none: on to the next. SAFETY: as above.
            Some(Err(_)) | None => unsafe { call::server_wait_receive(portset, deadline, &mut transfer) },
        };
        match received {
            Ok((Received { alias, kind: MessageKind::Connection, .. }, status)) => {
                Event::Connection { alias, length: buffer.len() - left(&transfer, &receive), status }
            }
            received => Event::decode(received.map(|(received, _)| received)),
        }
    }
}

/// With References: they are taken to, and sent from, objects of the caller's.
impl Server {
    /// [`receive`](Self::receive) that has `taking` link as the Reference that comes with the message. Returns whether one came.
    pub fn receive_reference(&mut self, deadline: Option<u64>, taking: &Reference) -> (Event, bool) {
        let received =
            system_call::ipc_wait_receive_with_reference(self.portset.address(), until(deadline), taking.address());
        (Event::decode(received), received.is_ok_and(|received| received.with_reference))
    }

    /// [`reply_and_receive`](Self::reply_and_receive) that sends a Reference with the reply, if there is one, and has `taking` link as
    /// the one that comes with the message. Returns whether one came.
    pub fn reply_and_receive_reference(
        &mut self,
        reply: &Message,
        sent: Option<&Reference>,
        deadline: Option<u64>,
        taking: &Reference,
    ) -> (Event, bool) {
        let received = system_call::ipc_reply_wait_receive_with_reference(
            self.portset.address(),
            until(deadline),
            reply,
            sent.map_or(0, Reference::address),
            taking.address(),
        );
        (Event::decode(received), received.is_ok_and(|received| received.with_reference))
    }
}

/// The API's form of a deadline: 0 is none.
#[inline(always)]
pub(super) fn until(deadline: Option<u64>) -> u64 {
    deadline.map_or(0, |deadline| deadline.max(1))
}

/// Reply to a memory fault: the memory is there now.
pub const fn retry() -> Message {
    [memory_reply::RETRY, 0, 0, 0, 0, 0, 0, 0]
}

/// Reply to a memory fault: `mapping`, of the Region and in the Space that it has, shows `size` bytes from `offset` of the Region on
/// at `start`, with `rights`; try again. One entry of the kernel does what [`Mapping::set`] and [`retry`] do in two.
#[inline(always)]
pub fn map(mapping: &mut Mapping, offset: u64, start: u64, size: u64, rights: Rights) -> Message {
    let (action, mapping, rights) = (memory_reply::MAP, mapping.address(), rights.bits());
    transmute!(MemoryReply { action, mapping, offset, start, size, rights, reserved: [0; 2] })
}

/// Reply to a memory fault: `mapping` has `rights`, as by [`Mapping::protect`]; try again.
#[inline(always)]
pub fn protect(mapping: &mut Mapping, rights: Rights) -> Message {
    let (action, mapping, rights) = (memory_reply::PROTECT, mapping.address(), rights.bits());
    transmute!(MemoryReply { action, mapping, rights, ..MemoryReply::default() })
}

/// Reply to a memory fault: there is no memory; the thread gets the exception.
pub const fn fail() -> Message {
    [memory_reply::FAIL, 0, 0, 0, 0, 0, 0, 0]
}

/// Reply to an exception: the thread goes on with the registers that it has now.
pub const fn resume() -> Message {
    [exception_reply::RESUME, 0, 0, 0, 0, 0, 0, 0]
}

/// Reply to an exception: the thread stops.
pub const fn stop() -> Message {
    [exception_reply::STOP, 0, 0, 0, 0, 0, 0, 0]
}

/// Reply to a VM exit.
#[inline(always)]
pub fn machine(reply: MachineReply) -> Message {
    transmute!(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Status;

    #[test]
    fn messages_become_what_they_are() {
        let words = [1, 2, 3, 4, 5, 6, 7, 8];
        let event = |kind| Event::decode(Ok(Received { alias: 9, kind, with_reference: false, words }));
        assert_eq!(event(MessageKind::Call), Event::Call { alias: 9, words });
        assert_eq!(event(MessageKind::Notification), Event::Notification { alias: 9, bits: 1 });
        let Event::MachineExit { exit, .. } = event(MessageKind::MachineExit) else { panic!() };
        assert_eq!((exit.reason, exit.guest_physical, exit.rax, exit.rbx), (1, 3, 4, 8));
        let Event::Exception { exception, .. } = event(MessageKind::Exception) else { panic!() };
        assert_eq!((exception.vector, exception.rip), (1, 3));
        assert_eq!(Event::decode(Err(Status::TimedOut)), Event::TimedOut);
        assert_eq!(Event::decode(Err(Status::Overlap)), Event::Overlap);
    }

    #[test]
    fn no_deadline_and_deadline_zero_differ() {
        assert_eq!((until(None), until(Some(0)), until(Some(7))), (0, 1, 7));
    }
}
