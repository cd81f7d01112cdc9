//! Reliable connections: half-duplex, reversible, exactly-once streams of bytes and References between a client and a server thread.
//! Programs use [`libnest::connection`](crate::libnest::connection) and [`libnest::Server`](crate::libnest::Server).
//!
//! Ends and roles, steps, parameters, restart and alerts are the same for all calls: they are explained [there](crate::api::transfer). A call is a
//! row of steps, in the order of its name. Functions that take a [`Transfer`] are `unsafe`: the kernel writes where it points.
#![allow(unsafe_code)]

use core::arch::asm;

use zerocopy::try_transmute;

use super::{Message, Received, Result, raw};
use crate::api::{Call, ConnectionState, MessageKind, SERVED, Side, Status, Transfer};
#[cfg(doc)]
use crate::{api::ReferenceRights, exception::Misuse};

/// The status of a call that has done something whatever it is.
fn status(number: u64) -> Status {
    try_transmute!(number).unwrap_or(Status::Unsupported)
}

/// What the pages of calls that move data have in common.
macro_rules! moves {
    ($call:ident, $summary:literal, $arguments:literal, $results:literal, $misuse:literal, $effects:literal) => {
        concat!(
            $summary, "\n\n",
            "# Arguments\n\n| register | argument | rights |\n|---|---|---|\n| `rax` | [`", stringify!($call), "`](Call::", stringify!($call), ") | |\n",
            $arguments,
            "| `rsi` | the [`Transfer`], a multiple of 64; its tables, Buffers and References | read, write; as used |\n\n\
             # Results\n\n", $results,
            "* [`Alerted`](Status::Alerted): the peer alerted the caller, or was destroyed; `rdx` is the call that remained\n\n\
             What was moved before is done whatever the result: the [`Transfer`] says what is left.\n\n\
             # Misuse\n\n\
             [`NotAligned`](Misuse::NotAligned): the Transfer, a table, a Reference; [`NoRight`](Misuse::NoRight): device memory, or a Reference that \
             is sent lacks [`COPY`](ReferenceRights::COPY); [`NoObject`](Misuse::NoObject), [`WrongType`](Misuse::WrongType): of a Reference",
            $misuse,
            ". Misuse ends the connection.\n\n# Effects\n\n", $effects, "\n\n\
             # Restart\n\n\
             Waits. RAX becomes the call that remains after each step, so that a thread which is stopped goes on where it stood. Memory \
             that is missing is a fault of the thread whose memory it is. After 64 KiB the call lets others run and is made again.\n\n\
             # Cost\n\nLinear in the bytes and References that move, and in the Buffers passed over.\n\n"
        )
    };
}

macro_rules! transfers {
    ($($call:ident, $name:ident, $example:literal, $summary:literal, $results:literal, $misuse:literal, $effects:literal;)*) => {$(
        #[doc = moves!($call, $summary, "", $results, $misuse, $effects)]
        /// # Safety
        ///
        /// `transfer` points to tables that are exclusively the caller's, at Buffers to receive in that are as well, and at Buffers to send
        /// that exist.
        ///
        #[doc = example!($example)]
        #[inline]
        pub unsafe fn $name(transfer: &mut Transfer) -> Status {
            let parameters = core::ptr::from_mut(transfer) as u64;
            // SAFETY: the call writes to `transfer` and to where that points: the caller's promise.
            status(unsafe { raw(Call::$call as u64, [0, parameters, 0, 0, 0]) }.status)
        }
    )*};
}

transfers! {
    ClientSend, client_send, "client_send",
        "*Send*: sends bytes and References as a client, who is the sender.",
        "* [`Ok`](Status::Ok): everything was received\n* [`SendDisconnected`](Status::SendDisconnected): the connection ended before everything was received, or there is none\n",
        "; [`NotSender`](Misuse::NotSender): the caller is the receiver",
        "The receiver has them in its Buffers. A *send* of nothing does not wait.";
    ClientSendOverReceive, client_send_over_receive, "client_send_over_receive",
        "*Send*, *over*, *receive*: sends the rest of a message as a client, then receives the reply.",
        "* [`Ok`](Status::Ok): the sender has sent all and waits for the reply\n* [`SendDisconnected`](Status::SendDisconnected): the connection ended before everything was received, or there is none\n* [`OverDisconnected`](Status::OverDisconnected): the connection ended before the roles changed, or there is none\n* [`ReceiveDisconnected`](Status::ReceiveDisconnected): the connection ended, after what was received, or there is none\n* [`MoreData`](Status::MoreData), [`MoreReferences`](Status::MoreReferences): there is no room for the rest; receive again\n",
        "; [`NotSender`](Misuse::NotSender): the caller is the receiver",
        "The roles change between the two; the caller is the receiver then.";
    ClientOverReceive, client_over_receive, "client_over_receive",
        "*Over*, *receive*: ends a message as a client, then receives the reply.",
        "* [`Ok`](Status::Ok): the sender has sent all and waits for the reply\n* [`OverDisconnected`](Status::OverDisconnected): the connection ended before the roles changed, or there is none\n* [`ReceiveDisconnected`](Status::ReceiveDisconnected): the connection ended, after what was received, or there is none\n* [`MoreData`](Status::MoreData), [`MoreReferences`](Status::MoreReferences): there is no room for the rest; receive again\n",
        "; [`NotSender`](Misuse::NotSender): the caller is the receiver",
        "The roles change; the caller is the receiver then.";
    ClientReceive, client_receive, "client_receive",
        "*Receive*: receives bytes and References as a client, who is the receiver.",
        "* [`Ok`](Status::Ok): the sender has sent all and waits for the reply\n* [`ReceiveDisconnected`](Status::ReceiveDisconnected): the connection ended, after what was received, or there is none\n* [`MoreData`](Status::MoreData), [`MoreReferences`](Status::MoreReferences): there is no room for the rest; receive again\n",
        "; [`NotReceiver`](Misuse::NotReceiver): the caller is the sender",
        "They are in its Buffers and References. It looks for room only when something is there.";
    ClientAckSend, client_ack_send, "client_ack_send",
        "*Ack*, *send*: becomes the sender as a client, then sends.",
        "* [`Ok`](Status::Ok): everything was received\n* [`AckDisconnected`](Status::AckDisconnected): the connection ended before the caller became its sender, or there is none\n* [`SendDisconnected`](Status::SendDisconnected): the connection ended before everything was received, or there is none\n",
        "; [`NotReceiver`](Misuse::NotReceiver): the caller is the sender",
        "The roles change when the peer offers it. What the peer sends before is discarded.";
    ClientAckSendOverReceive, client_ack_send_over_receive, "client_ack_send_over_receive",
        "*Ack*, *send*, *over*, *receive*: replies as a client, then receives the next message.",
        "* [`Ok`](Status::Ok): the sender has sent all and waits for the reply\n* [`AckDisconnected`](Status::AckDisconnected): the connection ended before the caller became its sender, or there is none\n* [`SendDisconnected`](Status::SendDisconnected): the connection ended before everything was received, or there is none\n* [`OverDisconnected`](Status::OverDisconnected): the connection ended before the roles changed, or there is none\n* [`ReceiveDisconnected`](Status::ReceiveDisconnected): the connection ended, after what was received, or there is none\n* [`MoreData`](Status::MoreData), [`MoreReferences`](Status::MoreReferences): there is no room for the rest; receive again\n",
        "; [`NotReceiver`](Misuse::NotReceiver): the caller is the sender",
        "The roles change twice; the caller is the receiver again then. What the peer sends before it offers the first change is discarded.";
    ServerSend, server_send, "server_send",
        "*Send*: sends bytes and References as a server, who is the sender.",
        "* [`Ok`](Status::Ok): everything was received\n* [`SendDisconnected`](Status::SendDisconnected): the connection ended before everything was received, or there is none\n",
        "; [`NotSender`](Misuse::NotSender): the caller is the receiver",
        "The receiver has them in its Buffers. A *send* of nothing does not wait.";
    ServerSendOverReceive, server_send_over_receive, "server_send_over_receive",
        "*Send*, *over*, *receive*: sends the rest of a message as a server, then receives the reply.",
        "* [`Ok`](Status::Ok): the sender has sent all and waits for the reply\n* [`SendDisconnected`](Status::SendDisconnected): the connection ended before everything was received, or there is none\n* [`OverDisconnected`](Status::OverDisconnected): the connection ended before the roles changed, or there is none\n* [`ReceiveDisconnected`](Status::ReceiveDisconnected): the connection ended, after what was received, or there is none\n* [`MoreData`](Status::MoreData), [`MoreReferences`](Status::MoreReferences): there is no room for the rest; receive again\n",
        "; [`NotSender`](Misuse::NotSender): the caller is the receiver",
        "The roles change between the two; the caller is the receiver then.";
    ServerOverReceive, server_over_receive, "server_over_receive",
        "*Over*, *receive*: ends a message as a server, then receives the reply.",
        "* [`Ok`](Status::Ok): the sender has sent all and waits for the reply\n* [`OverDisconnected`](Status::OverDisconnected): the connection ended before the roles changed, or there is none\n* [`ReceiveDisconnected`](Status::ReceiveDisconnected): the connection ended, after what was received, or there is none\n* [`MoreData`](Status::MoreData), [`MoreReferences`](Status::MoreReferences): there is no room for the rest; receive again\n",
        "; [`NotSender`](Misuse::NotSender): the caller is the receiver",
        "The roles change; the caller is the receiver then.";
    ServerReceive, server_receive, "server_receive",
        "*Receive*: receives bytes and References as a server, who is the receiver.",
        "* [`Ok`](Status::Ok): the sender has sent all and waits for the reply\n* [`ReceiveDisconnected`](Status::ReceiveDisconnected): the connection ended, after what was received, or there is none\n* [`MoreData`](Status::MoreData), [`MoreReferences`](Status::MoreReferences): there is no room for the rest; receive again\n",
        "; [`NotReceiver`](Misuse::NotReceiver): the caller is the sender",
        "They are in its Buffers and References. It looks for room only when something is there.";
    ServerAckSend, server_ack_send, "server_ack_send",
        "*Ack*, *send*: becomes the sender as a server, then sends.",
        "* [`Ok`](Status::Ok): everything was received\n* [`AckDisconnected`](Status::AckDisconnected): the connection ended before the caller became its sender, or there is none\n* [`SendDisconnected`](Status::SendDisconnected): the connection ended before everything was received, or there is none\n",
        "; [`NotReceiver`](Misuse::NotReceiver): the caller is the sender",
        "The roles change when the peer offers it. What the peer sends before is discarded.";
    ServerAckSendOverReceive, server_ack_send_over_receive, "server_ack_send_over_receive",
        "*Ack*, *send*, *over*, *receive*: replies as a server, then receives the next message.",
        "* [`Ok`](Status::Ok): the sender has sent all and waits for the reply\n* [`AckDisconnected`](Status::AckDisconnected): the connection ended before the caller became its sender, or there is none\n* [`SendDisconnected`](Status::SendDisconnected): the connection ended before everything was received, or there is none\n* [`OverDisconnected`](Status::OverDisconnected): the connection ended before the roles changed, or there is none\n* [`ReceiveDisconnected`](Status::ReceiveDisconnected): the connection ended, after what was received, or there is none\n* [`MoreData`](Status::MoreData), [`MoreReferences`](Status::MoreReferences): there is no room for the rest; receive again\n",
        "; [`NotReceiver`](Misuse::NotReceiver): the caller is the sender",
        "The roles change twice; the caller is the receiver again then. What the peer sends before it offers the first change is discarded.";
}

macro_rules! connects {
    ($($call:ident, $name:ident, $example:literal, $summary:literal, $results:literal, $effects:literal;)*) => {$(
        #[doc = moves!(
            $call,
            $summary,
            "| `rdi` | a Reference to the Port, right [`CALL`](ReferenceRights::CALL) | read |\n",
            $results,
            "; [`NullReference`](Misuse::NullReference)",
            $effects
        )]
        /// # Safety
        ///
        /// As [`client_send`].
        ///
        #[doc = example!($example)]
        #[inline]
        pub unsafe fn $name(reference: u64, transfer: &mut Transfer) -> Status {
            let parameters = core::ptr::from_mut(transfer) as u64;
            // SAFETY: the call writes to `transfer` and to where that points: the caller's promise.
            status(unsafe { raw(Call::$call as u64, [reference, parameters, 0, 0, 0]) }.status)
        }
    )*};
}

connects! {
    ClientConnectSend, client_connect_send, "client_connect_send",
        "*Connect*, *send*: connects to a Port and sends the beginning of a message.",
        "* [`Ok`](Status::Ok): everything was received\n* [`ConnectInvalid`](Status::ConnectInvalid): the Reference is void, or the Port was destroyed before a server accepted\n* [`SendDisconnected`](Status::SendDisconnected): the connection ended before everything was received, or there is none\n",
        "The caller's present connection as a client ends first. The caller is the sender. The server hears the badge of the Reference, or else the Port's alias.";
    ClientConnectSendOverReceive, client_connect_send_over_receive, "client_connect_send_over_receive",
        "*Connect*, *send*, *over*, *receive*: a whole remote procedure call.",
        "* [`Ok`](Status::Ok): the server has sent its reply and waits for more\n* [`ConnectInvalid`](Status::ConnectInvalid): the Reference is void, or the Port was destroyed before a server accepted\n* [`SendDisconnected`](Status::SendDisconnected): the connection ended before everything was received, or there is none\n* [`OverDisconnected`](Status::OverDisconnected): the connection ended before the roles changed, or there is none\n* [`ReceiveDisconnected`](Status::ReceiveDisconnected): the connection ended, after what was received, or there is none\n* [`MoreData`](Status::MoreData), [`MoreReferences`](Status::MoreReferences): there is no room for the rest; receive again\n",
        "The caller's present connection as a client ends first. The caller is the sender. The server hears the badge of the Reference, or else the Port's alias.";
}

macro_rules! waits {
    ($($call:ident, $name:ident, $example:literal, $summary:literal, $results:literal, $misuse:literal, $effects:literal;)*) => {$(
        #[doc = moves!(
            $call,
            $summary,
            "| `rdi` | the Portset | read |\n| `r15` | the time stamp counter value until which to wait; 0: for ever | |\n",
            $results,
            $misuse,
            $effects
        )]
        /// # Safety
        ///
        /// As [`client_send`].
        ///
        #[doc = example!($example)]
        #[inline]
        pub unsafe fn $name(portset: u64, deadline: u64, transfer: &mut Transfer) -> Result<(Received, Status)> {
            // SAFETY: the caller's promise.
            unsafe { wait(Call::$call, portset, deadline, transfer) }
        }
    )*};
}

waits! {
    ServerWaitReceive, server_wait_receive, "server_wait_receive",
        "*Wait*, *receive*: waits for a client and receives its message. A `deadline` of 0 waits for ever. In a message of kind \
         `Connection` the status is that of its *receive*.",
        "* [`Ok`](Status::Ok): a message: `rdi` is the badge or alias, `r15` the [`MessageKind`], the eight words as [`ipc_wait_receive`](super::ipc_wait_receive) says; of a [`Connection`](MessageKind::Connection), the client has sent all and waits for the reply\n* [`ReceiveDisconnected`](Status::ReceiveDisconnected), [`MoreData`](Status::MoreData), [`MoreReferences`](Status::MoreReferences): a connection, with that result of its *receive*\n* [`TimedOut`](Status::TimedOut): the deadline passed\n* [`InvalidDestination`](Status::InvalidDestination): the Portset was destroyed while the thread waited\n",
        "",
        "The caller's connection as a server ends, and a client that has not been replied to is disconnected. A client that connects is the sender, and received from; any other message ends the call as it ends [`ipc_wait_receive`](super::ipc_wait_receive).";
    ServerSendWaitReceive, server_send_wait_receive, "server_send_wait_receive",
        "*Send*, *wait*, *receive*: sends the rest of a reply, then waits for the next client, as [`server_wait_receive`].",
        "* [`Ok`](Status::Ok): a message: `rdi` is the badge or alias, `r15` the [`MessageKind`], the eight words as [`ipc_wait_receive`](super::ipc_wait_receive) says; of a [`Connection`](MessageKind::Connection), the client has sent all and waits for the reply\n* [`ReceiveDisconnected`](Status::ReceiveDisconnected), [`MoreData`](Status::MoreData), [`MoreReferences`](Status::MoreReferences): a connection, with that result of its *receive*\n* [`TimedOut`](Status::TimedOut): the deadline passed\n* [`InvalidDestination`](Status::InvalidDestination): the Portset was destroyed while the thread waited\n* [`SendDisconnected`](Status::SendDisconnected): the connection ended before everything was received, or there is none\n",
        "; [`NotSender`](Misuse::NotSender): the caller is the receiver",
        "The caller's connection as a server ends, and a client that has not been replied to is disconnected. A client that connects is the sender, and received from; any other message ends the call as it ends [`ipc_wait_receive`](super::ipc_wait_receive).";
    ServerAckSendWaitReceive, server_ack_send_wait_receive, "server_ack_send_wait_receive",
        "*Ack*, *send*, *wait*, *receive*: replies, then waits for the next client, as [`server_wait_receive`]: the main loop of a server of long \
         messages.",
        "* [`Ok`](Status::Ok): a message: `rdi` is the badge or alias, `r15` the [`MessageKind`], the eight words as [`ipc_wait_receive`](super::ipc_wait_receive) says; of a [`Connection`](MessageKind::Connection), the client has sent all and waits for the reply\n* [`ReceiveDisconnected`](Status::ReceiveDisconnected), [`MoreData`](Status::MoreData), [`MoreReferences`](Status::MoreReferences): a connection, with that result of its *receive*\n* [`TimedOut`](Status::TimedOut): the deadline passed\n* [`InvalidDestination`](Status::InvalidDestination): the Portset was destroyed while the thread waited\n* [`AckDisconnected`](Status::AckDisconnected): the connection ended before the caller became its sender, or there is none\n* [`SendDisconnected`](Status::SendDisconnected): the connection ended before everything was received, or there is none\n",
        "; [`NotReceiver`](Misuse::NotReceiver): the caller is the sender",
        "The caller's connection as a server ends, and a client that has not been replied to is disconnected. A client that connects is the sender, and received from; any other message ends the call as it ends [`ipc_wait_receive`](super::ipc_wait_receive).";
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

/// Ends the caller's connection as a client, whatever the peer does.
///
/// # Arguments
///
/// No rights.
///
/// | register | argument |
/// |---|---|
/// | `rax` | [`ClientDisconnect`](Call::ClientDisconnect) |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`Disconnected`](Status::Disconnected): there is no connection
///
/// # Misuse
///
/// None.
///
/// # Effects
///
/// The peer's present or next step ends with the `...Disconnected` of that step.
///
/// # Restart
///
/// Never waits.
///
/// # Cost
///
/// Constant.
///
#[doc = example!("client_disconnect")]
#[inline]
pub fn client_disconnect() -> Result<()> {
    on_threads(Call::ClientDisconnect, [0; 5])
}

/// Alerts the peer of the caller's connection as a client.
///
/// # Arguments
///
/// No rights.
///
/// | register | argument |
/// |---|---|
/// | `rax` | [`ClientAlert`](Call::ClientAlert) |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`Disconnected`](Status::Disconnected): there is no connection
///
/// # Misuse
///
/// None.
///
/// # Effects
///
/// The peer's present call on the connection ends with [`Alerted`](Status::Alerted) at once, or else its next one does; RDX is then the call that remained.
///
/// # Restart
///
/// Never waits.
///
/// # Cost
///
/// Constant.
///
#[doc = example!("client_alert")]
#[inline]
pub fn client_alert() -> Result<()> {
    on_threads(Call::ClientAlert, [0; 5])
}

/// Ends the caller's connection as a server, whatever the peer does.
///
/// # Arguments
///
/// No rights.
///
/// | register | argument |
/// |---|---|
/// | `rax` | [`ServerDisconnect`](Call::ServerDisconnect) |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`Disconnected`](Status::Disconnected): there is no connection
///
/// # Misuse
///
/// None.
///
/// # Effects
///
/// The peer's present or next step ends with the `...Disconnected` of that step.
///
/// # Restart
///
/// Never waits.
///
/// # Cost
///
/// Constant.
///
#[doc = example!("server_disconnect")]
#[inline]
pub fn server_disconnect() -> Result<()> {
    on_threads(Call::ServerDisconnect, [0; 5])
}

/// Alerts the peer of the caller's connection as a server.
///
/// # Arguments
///
/// No rights.
///
/// | register | argument |
/// |---|---|
/// | `rax` | [`ServerAlert`](Call::ServerAlert) |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`Disconnected`](Status::Disconnected): there is no connection
///
/// # Misuse
///
/// None.
///
/// # Effects
///
/// The peer's present call on the connection ends with [`Alerted`](Status::Alerted) at once, or else its next one does; RDX is then the call that remained.
///
/// # Restart
///
/// Never waits.
///
/// # Cost
///
/// Constant.
///
#[doc = example!("server_alert")]
#[inline]
pub fn server_alert() -> Result<()> {
    on_threads(Call::ServerAlert, [0; 5])
}

/// [`client_disconnect`] or [`server_disconnect`].
#[inline]
pub fn disconnect(side: Side) -> Result<()> {
    if side == Side::Client { client_disconnect() } else { server_disconnect() }
}

/// [`client_alert`] or [`server_alert`].
#[inline]
pub fn alert(side: Side) -> Result<()> {
    if side == Side::Client { client_alert() } else { server_alert() }
}

/// Says what a thread's end of a connection is. A `reference` of 0 is none.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ThreadGetConnection`](Call::ThreadGetConnection) | |
/// | `rdi` | the Thread; the caller too | read |
/// | `rsi` | which of its connections: the [`Side`] that it is on, or [`SERVED`]: what it has received and not replied to | |
/// | `rdx` | where the [`ConnectionState`] goes | write |
/// | `r10` | a Reference to be pointed at its peer, or who waits for its reply, a Thread (to nothing: it serves an interrupt); 0: that is not asked for | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`NotFound`](Status::NotFound): there is no connection, or nothing to be replied to; the state is written
///
#[doc = misuse!("; [`BadArgument`](Misuse::BadArgument): there is no such side")]
/// # Effects
///
/// None on the connection. Stop the thread first, so that what it says stays true.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("thread_get_connection")]
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

/// [`thread_get_connection`] of [`SERVED`]: whether there is something that the thread has not replied to.
pub fn thread_get_served(thread: u64, client: u64) -> Result<bool> {
    let mut state = ConnectionState::default();
    let place = core::ptr::from_mut(&mut state) as u64;
    // SAFETY: the call writes one ConnectionState to `state`.
    let returned = unsafe { raw(Call::ThreadGetConnection as u64, [thread, SERVED, place, client, 0]) };
    match status(returned.status) {
        Status::Ok | Status::NotFound => Ok(state.connected != 0),
        status => Err(status),
    }
}

/// Moves a thread's end of a connection to another thread, with its role and alert; or what a server has not replied to.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ThreadMoveConnection`](Call::ThreadMoveConnection) | |
/// | `rdi` | the Thread that has it | write |
/// | `rsi` | the Thread that gets it | write |
/// | `rdx` | which of its connections: the [`Side`] that it is on, or [`SERVED`]: what it has received and not replied to | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`NotFound`](Status::NotFound): `rdi` has no such connection, or nothing to be replied to
/// * [`Refused`](Status::Refused): `rsi` has one already, is its peer, waits for the reply itself, or is the same thread
///
#[doc = misuse!("; [`BadArgument`](Misuse::BadArgument): there is no such side")]
/// # Effects
///
/// The peer does not notice. A call that `rdi` makes on it is interrupted, and made again from where it stood. So a stopped thread keeps its
/// connection while it is destroyed and recreated, or one thread takes part in several. Nor does who waits for the reply of a server notice that
/// another thread is to reply.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("thread_move_connection")]
pub fn thread_move_connection(from: u64, to: u64, side: Side) -> Result<()> {
    on_threads(Call::ThreadMoveConnection, [from, to, side as u64, 0, 0])
}

/// [`thread_move_connection`] of [`SERVED`].
pub fn thread_move_served(from: u64, to: u64) -> Result<()> {
    on_threads(Call::ThreadMoveConnection, [from, to, SERVED, 0, 0])
}

/// Makes a connection between two threads: how one with both ends is restored.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ThreadConnect`](Call::ThreadConnect) | |
/// | `rdi` | the client, a Thread | write |
/// | `rsi` | the server, a Thread | write |
/// | `rdx` | the [`Side`] of the sender | |
/// | `r10` | bit 0: the client has been alerted; bit 1: the server has | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`Refused`](Status::Refused): one of them has a connection on that side, or they are the same thread
///
#[doc = misuse!("; [`BadArgument`](Misuse::BadArgument): there is no such side, or another bit is set")]
/// # Effects
///
/// They are connected as if the client had connected itself.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("thread_connect")]
pub fn thread_connect(client: u64, server: u64, sender: Side, alerted: [bool; 2]) -> Result<()> {
    let alerted = u64::from(alerted[0]) | u64::from(alerted[1]) << 1;
    on_threads(Call::ThreadConnect, [client, server, sender as u64, alerted, 0])
}

/// Makes a call that only works on objects.
fn on_threads(call: Call, arguments: [u64; 5]) -> Result<()> {
    // SAFETY: the callers below pass calls that write no memory.
    match status(unsafe { raw(call as u64, arguments) }.status) {
        Status::Ok => Ok(()),
        status => Err(status),
    }
}
