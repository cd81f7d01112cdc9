//! Calls on reliable [connections](crate::api::Transfer).
//!
//! Those that take a [`Transfer`] are `unsafe`: the kernel writes where it points.
//! [`libnest::connection`](crate::libnest::connection) makes them from slices.
#![allow(unsafe_code)]

use core::arch::asm;

use zerocopy::try_transmute;

use super::{Message, Received, Result, raw};
use crate::api::{Call, ConnectionState, MessageKind, Side, Status, Transfer};

/// The status of a call that has done something whatever it is.
fn status(number: u64) -> Status {
    try_transmute!(number).unwrap_or(Status::Unsupported)
}

macro_rules! transfers {
    ($($name:ident = $call:ident;)*) => {$(
        #[doc = concat!("[`Call::", stringify!($call), "`].")]
        ///
        /// # Safety
        /// `transfer` points to tables that are exclusively the caller's, at Buffers to receive in that are as well, and at Buffers to send
        /// that exist.
        #[inline]
        pub unsafe fn $name(transfer: &mut Transfer) -> Status {
            let parameters = core::ptr::from_mut(transfer) as u64;
            // SAFETY: the call writes to `transfer` and to where that points: the caller's promise.
            status(unsafe { raw(Call::$call as u64, [0, parameters, 0, 0, 0]) }.status)
        }
    )*};
}

transfers! {
    client_send = ClientSend;
    client_send_over_receive = ClientSendOverReceive;
    client_over_receive = ClientOverReceive;
    client_receive = ClientReceive;
    client_ack_send = ClientAckSend;
    client_ack_send_over_receive = ClientAckSendOverReceive;
    server_send = ServerSend;
    server_send_over_receive = ServerSendOverReceive;
    server_over_receive = ServerOverReceive;
    server_receive = ServerReceive;
    server_ack_send = ServerAckSend;
    server_ack_send_over_receive = ServerAckSendOverReceive;
}

macro_rules! connects {
    ($($name:ident = $call:ident;)*) => {$(
        #[doc = concat!("[`Call::", stringify!($call), "`].")]
        ///
        /// # Safety
        /// As [`client_send`].
        #[inline]
        pub unsafe fn $name(reference: u64, transfer: &mut Transfer) -> Status {
            let parameters = core::ptr::from_mut(transfer) as u64;
            // SAFETY: the call writes to `transfer` and to where that points: the caller's promise.
            status(unsafe { raw(Call::$call as u64, [reference, parameters, 0, 0, 0]) }.status)
        }
    )*};
}

connects! {
    client_connect_send = ClientConnectSend;
    client_connect_send_over_receive = ClientConnectSendOverReceive;
}

macro_rules! waits {
    ($($name:ident = $call:ident;)*) => {$(
        #[doc = concat!("[`Call::", stringify!($call), "`]; a `deadline` of 0 waits for ever. In a message of kind `Connection` the status is that of its *receive*.")]
        ///
        /// # Safety
        /// As [`client_send`].
        #[inline]
        pub unsafe fn $name(portset: u64, deadline: u64, transfer: &mut Transfer) -> Result<(Received, Status)> {
            // SAFETY: the caller's promise.
            unsafe { wait(Call::$call, portset, deadline, transfer) }
        }
    )*};
}

waits! {
    server_wait_receive = ServerWaitReceive;
    server_send_wait_receive = ServerSendWaitReceive;
    server_ack_send_wait_receive = ServerAckSendWaitReceive;
}

/// # Safety
/// As [`client_send`].
#[inline]
unsafe fn wait(call: Call, portset: u64, deadline: u64, transfer: &mut Transfer) -> Result<(Received, Status)> {
    let mut returned = call as u64;
    let (alias, kind): (u64, u64);
    let mut words: Message = [0; 8];
    let [w0, w1, w2, w3, w4, w5, w6, w7] = &mut words;
    // SAFETY: the call changes RAX, RCX, R11, RDI, R15 and the eight words, and the memory that the caller promises it.
    unsafe {
        asm!(
            "syscall",
            inout("rax") returned,
            inout("rdi") portset => alias,
            inout("rsi") core::ptr::from_mut(transfer) as u64 => *w0,
            out("rdx") *w1,
            out("r10") *w2,
            out("r8") *w3,
            out("r9") *w4,
            out("r12") *w5,
            out("r13") *w6,
            out("r14") *w7,
            inout("r15") deadline => kind,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    let ended = status(returned);
    match ended {
        Status::Ok | Status::MoreData | Status::MoreReferences | Status::ReceiveDisconnected => {
            let kind = try_transmute!(kind).unwrap_or(MessageKind::Notification);
            Ok((Received { alias, kind, with_reference: false, words }, ended))
        }
        _ => Err(ended),
    }
}

/// Makes a call that only works on objects.
fn on_threads(call: Call, arguments: [u64; 5]) -> Result<()> {
    // SAFETY: the callers below pass calls that write no memory.
    match status(unsafe { raw(call as u64, arguments) }.status) {
        Status::Ok => Ok(()),
        status => Err(status),
    }
}

/// [`Call::ClientDisconnect`] or [`Call::ServerDisconnect`].
#[inline]
pub fn disconnect(side: Side) -> Result<()> {
    let call = if side == Side::Client { Call::ClientDisconnect } else { Call::ServerDisconnect };
    on_threads(call, [0; 5])
}

/// [`Call::ClientAlert`] or [`Call::ServerAlert`].
#[inline]
pub fn alert(side: Side) -> Result<()> {
    on_threads(if side == Side::Client { Call::ClientAlert } else { Call::ServerAlert }, [0; 5])
}

/// [`Call::ThreadGetConnection`]; a `reference` of 0 is none.
pub fn thread_get_connection(thread: u64, side: Side, reference: u64) -> Result<ConnectionState> {
    let mut state = ConnectionState::default();
    let place = core::ptr::from_mut(&mut state) as u64;
    // SAFETY: the call writes one ConnectionState to `state`.
    let returned = unsafe { raw(Call::ThreadGetConnection as u64, [thread, side as u64, place, reference, 0]) };
    match status(returned.status) {
        Status::Ok | Status::NotFound => Ok(state),
        status => Err(status),
    }
}

/// [`Call::ThreadMoveConnection`].
pub fn thread_move_connection(from: u64, to: u64, side: Side) -> Result<()> {
    on_threads(Call::ThreadMoveConnection, [from, to, side as u64, 0, 0])
}

/// [`Call::ThreadConnect`].
pub fn thread_connect(client: u64, server: u64, sender: Side, alerted: [bool; 2]) -> Result<()> {
    let alerted = u64::from(alerted[0]) | u64::from(alerted[1]) << 1;
    on_threads(Call::ThreadConnect, [client, server, sender as u64, alerted, 0])
}
