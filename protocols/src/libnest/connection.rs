//! Messages of any length, with References: both sides of reliable [connections](crate::api::Transfer).
//!
//! ```no_run
//! # use protocols::libnest::{Reference, Result};
//! # fn ask(reference: &Reference) -> Result<()> {
//! let mut reply = [0; 4096];
//! let length = reference.transact(b"a request of any length", &mut reply)?;
//! # Ok(())
//! # }
//! ```
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::marker::PhantomData;

use super::objects::Reference;
use crate::api::{Buffer, Side, Status, Table, Transfer};
use crate::libc::system_call::Result;
use crate::libc::system_call::connection as call;

/// What a thread sends and receives on a connection, gathered from any number of pieces and scattered to others. It keeps count: where a call
/// does not do everything, the next one does the rest.
#[derive(Debug, Default)]
pub struct Exchange<'a> {
    transfer: Transfer,
    send: Vec<Buffer>,
    send_references: Vec<u64>,
    receive: Vec<Buffer>,
    receive_references: Vec<u64>,
    /// All room, in bytes.
    room: usize,
    is_begun: bool,
    /// The pieces are borrowed: those to receive in exclusively.
    pieces: PhantomData<(&'a [u8], &'a mut [u8], &'a Reference)>,
}

impl<'a> Exchange<'a> {
    /// Nothing to send, and no room.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends `bytes` after what there is already.
    pub fn send(mut self, bytes: &'a [u8]) -> Self {
        self.send.push(piece(bytes));
        self
    }

    /// Receives in `bytes` after what there is already.
    pub fn receive(mut self, bytes: &'a mut [u8]) -> Self {
        self.room += bytes.len();
        self.receive.push(room(bytes));
        self
    }

    /// Sends what `reference` links to.
    pub fn send_reference(mut self, reference: &'a Reference) -> Self {
        self.send_references.push(reference.address());
        self
    }

    /// Lets `reference` link to what is received.
    pub fn receive_reference(mut self, reference: &'a Reference) -> Self {
        self.receive_references.push(reference.address());
        self
    }

    /// The parameters of the next call.
    fn parameters(&mut self) -> &mut Transfer {
        if !core::mem::replace(&mut self.is_begun, true) {
            self.transfer = Transfer {
                send: table(&mut self.send),
                send_references: table(&mut self.send_references),
                receive: table(&mut self.receive),
                receive_references: table(&mut self.receive_references),
            };
        }
        &mut self.transfer
    }

    /// Bytes received so far.
    pub fn received(&self) -> usize {
        if !self.is_begun {
            return 0;
        }
        // Buffers that the kernel has passed over are full.
        let passed = self.receive.len().saturating_sub(self.transfer.receive.count as usize);
        self.room - self.receive[passed..].iter().map(|buffer| buffer.length as usize).sum::<usize>()
    }

    /// References received so far.
    pub fn references_received(&self) -> usize {
        if self.is_begun { self.receive_references.len() - self.transfer.receive_references.count as usize } else { 0 }
    }
}

macro_rules! calls {
    ($($name:ident, $call:literal;)*) => {
        impl Exchange<'_> {$(
            #[doc = concat!("[`Call::", $call, "`](crate::api::Call::", $call, ").")]
            pub fn $name(&mut self) -> Status {
                // SAFETY: the tables are this value's, and the pieces are borrowed, for what they are used.
                unsafe { call::$name(self.parameters()) }
            }
        )*}
    };
}

calls! {
    client_send, "ClientSend";
    client_send_over_receive, "ClientSendOverReceive";
    client_over_receive, "ClientOverReceive";
    client_receive, "ClientReceive";
    client_ack_send, "ClientAckSend";
    client_ack_send_over_receive, "ClientAckSendOverReceive";
    server_send, "ServerSend";
    server_send_over_receive, "ServerSendOverReceive";
    server_over_receive, "ServerOverReceive";
    server_receive, "ServerReceive";
    server_ack_send, "ServerAckSend";
    server_ack_send_over_receive, "ServerAckSendOverReceive";
}

impl Reference {
    /// [`Call::ClientConnectSend`](crate::api::Call::ClientConnectSend) to the Port that it links to.
    pub fn connect_send(&self, exchange: &mut Exchange<'_>) -> Status {
        // SAFETY: as for the calls of an Exchange.
        unsafe { call::client_connect_send(self.address(), exchange.parameters()) }
    }

    /// [`Call::ClientConnectSendOverReceive`](crate::api::Call::ClientConnectSendOverReceive) to the Port that it links to.
    pub fn connect_send_over_receive(&self, exchange: &mut Exchange<'_>) -> Status {
        // SAFETY: as for the calls of an Exchange.
        unsafe { call::client_connect_send_over_receive(self.address(), exchange.parameters()) }
    }

    /// Sends `request` to the Port that it links to and receives the reply, whose length it returns. `MoreData`: the reply does
    /// not fit; as much as fits is in `reply`.
    #[inline]
    pub fn transact(&self, request: &[u8], reply: &mut [u8]) -> Result<usize> {
        let (mut send, mut receive) = (piece(request), room(reply));
        let mut transfer = Transfer { send: single(&mut send), receive: single(&mut receive), ..Transfer::default() };
        // SAFETY: the Buffers are our own, and say where the two slices are.
        match unsafe { call::client_connect_send_over_receive(self.address(), &mut transfer) } {
            Status::ReceiveDisconnected => {}
            // The server has more to say than this reply, or could: it is not heard.
            status => {
                let _ = call::disconnect(Side::Client);
                if status != Status::Ok {
                    return Err(status);
                }
            }
        }
        Ok(reply.len() - left(&transfer, &receive))
    }
}

/// Bytes of room that a transfer with one Buffer has left.
pub(super) fn left(transfer: &Transfer, receive: &Buffer) -> usize {
    if transfer.receive.count == 0 { 0 } else { receive.length as usize }
}

/// The Buffer of bytes to send.
pub(super) fn piece(bytes: &[u8]) -> Buffer {
    Buffer { address: bytes.as_ptr() as u64, length: bytes.len() as u64 }
}

/// The Buffer of bytes to receive in.
pub(super) fn room(bytes: &mut [u8]) -> Buffer {
    Buffer { address: bytes.as_mut_ptr() as u64, length: bytes.len() as u64 }
}

/// The table of one Buffer.
pub(super) fn single(buffer: &mut Buffer) -> Table {
    Table { address: core::ptr::from_mut(buffer) as u64, count: 1 }
}

/// The table of entries, which the kernel changes.
fn table<T>(entries: &mut [T]) -> Table {
    Table { address: entries.as_mut_ptr() as u64, count: entries.len() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_is_what_is_no_longer_room() {
        let (mut first, mut second) = ([0; 10], [0; 20]);
        let mut exchange = Exchange::new().receive(&mut first).receive(&mut second);
        assert_eq!(exchange.received(), 0);
        let table = exchange.parameters().receive;
        assert_eq!((table.count, exchange.received()), (2, 0));
        // As the kernel does: the first Buffer is passed over as it is, the second advanced.
        exchange.parameters().receive = Table { address: table.address + 16, count: 1 };
        exchange.receive[1].length = 13;
        assert_eq!(exchange.received(), 17);
        exchange.parameters().receive.count = 0;
        assert_eq!((exchange.received(), exchange.references_received()), (30, 0));
    }
}
