//! Reliable connections: half-duplex, reversible, exactly-once streams of bytes and References between two threads.
//!
//! # Ends and roles
//!
//! A connection joins a **client** and a **server** thread. A thread has at most one connection as a client and one as a server; the
//! calls `0xb0..` act on the first, the calls `0xc0..` with the same low digit on the second. Of the two ends one
//! is the **sender**, the other the **receiver**: the client at first. A call that wants the other role is misuse
//! ([`NotSender`](crate::exception::Misuse::NotSender), [`NotReceiver`](crate::exception::Misuse::NotReceiver)).
//!
//! Every call is one of these steps, or some of them in a row, in the order of its name:
//!
//! | step | who | what it waits for | what ends it |
//! |---|---|---|---|
//! | *connect* | client | a thread that receives from the Port | there is a connection; `ConnectInvalid` |
//! | *send* | sender | the receiver, until it has taken everything | `Ok`; `SendDisconnected` |
//! | *over* | sender | the receiver's *ack*: the roles change then | the next step; `OverDisconnected` |
//! | *receive* | receiver | bytes and References | `Ok`: the sender has sent all and waits in *over*; `MoreData`, `MoreReferences`: there is no room for the rest; `ReceiveDisconnected` |
//! | *ack* | receiver | the sender's *over*: the roles change then. What the sender sends meanwhile is discarded | the next step; `AckDisconnected` |
//! | *wait* | server | a message through the Portset; its connection as a server ends first | there is a message, in a connection the next step; `TimedOut` |
//!
//! So a receiver that gets `Ok` has the whole message, and a sender whose *send* ended has been heard out or cut short. A *send* of
//! nothing (both counts 0) does not wait. *receive* looks for room only when something is there, so that a message which fills
//! it exactly ends with `Ok`.
//!
//! An end that disconnects, connects anew or waits for other clients ends the connection; its peer's present or next step ends with the
//! `...Disconnected` of that step. So do all steps of a thread that has no connection.
//!
//! # Parameters
//!
//! RSI is the address of a [`Transfer`] (alignment 64) in memory that the caller can write. As data move, the kernel advances
//! the counts, the addresses of tables and the first [`Buffer`] of each table **in place**: they say what is left to do. It passes over empty Buffers.
//! Bytes go before References; a receiver that has room for neither hears `MoreData`.
//!
//! # Restart
//!
//! After each step the call number in RAX becomes that of the call that remains, so that a thread which is stopped, exported or
//! meets a fault is always about to make a call: `ack_send_wait_receive` is `send_wait_receive` once the roles have changed,
//! then `wait_receive`, then `receive`. Long transfers are interrupted by the kernel in the same way.
//!
//! Memory that is missing is a fault of the thread whose memory it is, also when the other thread is the running one: its keeper is asked,
//! it repeats its call afterwards, and the other one waits. Misuse in a thread's parameters is an exception of that thread and ends the connection.
//!
//! # Alerts
//!
//! An alert marks the peer's end. Its present call on the connection, or the next one, ends with `Alerted` at once; RDX is then the call that
//! remained. When a thread is destroyed, or its Space, its peers are alerted and disconnected.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a call on a connection sends and receives. What the calls do with it is said in the
/// [module](self).
///
/// Calls read it and advance it in place; no call sets it otherwise. It lies at a multiple of 64.
///
#[doc = example!("transfer")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Transfer {
    /// Bytes to send: a table of [`Buffer`]s.
    pub send: Table,
    /// References to send: a table of their addresses. Copies of them go; right `COPY`.
    pub send_references: Table,
    /// Room for bytes: a table of [`Buffer`]s.
    pub receive: Table,
    /// References to be pointed at what those received link to: a table of their addresses.
    pub receive_references: Table,
}

/// A table in the caller's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Table {
    /// Address of the first entry, a multiple of an entry's size.
    pub address: u64,
    /// Number of entries.
    pub count: u64,
}

/// A stretch of the caller's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(16))]
pub struct Buffer {
    /// First address.
    pub address: u64,
    /// Length in bytes.
    pub length: u64,
}

/// Which end of its connection a thread is meant as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, zerocopy::TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Side {
    /// The one that connected.
    Client = 0,
    /// The one that was waiting.
    Server = 1,
}

impl Side {
    /// That of the peer.
    #[inline]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// In place of a [`Side`], in the calls that look at the ends of threads and move them: whom a server that has received a message works for,
/// and has not replied to yet. That is the thread that waits for the reply to its call, exception or exit, or the masked line of an interrupt.
pub const SERVED: u64 = 2;

/// State of a thread's end of a connection.
///
/// [`thread_get_connection`](crate::libc::system_call::connection::thread_get_connection) reads it,
/// [`thread_connect`](crate::libc::system_call::connection::thread_connect) sets it for both ends,
/// [`thread_move_connection`](crate::libc::system_call::connection::thread_move_connection) moves it to another thread. The peer is a Reference
/// beside it; what the thread was doing on the connection stands in its registers, and in the [`Transfer`] in its memory.
///
#[doc = example!("connection_state")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConnectionState {
    /// 1 if there is a connection, else 0; then `sends` is 0 as well.
    pub connected: u64,
    /// 1 if the thread is the sender, 0 if it is the receiver. Of the peer it is the other way round.
    pub sends: u64,
    /// 1 if it has been alerted and does not know yet.
    pub alerted: u64,
}

const _: () = assert!(size_of::<Transfer>() == 64);
const _: () = assert!(size_of::<Buffer>() == 16);
const _: () = assert!(size_of::<ConnectionState>() == 24);
