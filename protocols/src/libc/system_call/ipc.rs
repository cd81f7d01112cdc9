//! Short messages: eight words in registers, and a Reference. A client calls a [Port](super::port) and waits for the reply; a server waits at a
//! [Portset](super::portset). The kernel calls keepers in the same way. Programs use [`libnest::Reference`](crate::libnest::Reference) and
//! [`libnest::Server`](crate::libnest::Server).
//!
//! A message is handed over when both sides are there, and never twice in between: nothing is buffered but the bits of
//! [`ipc_send`]. Messages of any length, delivered exactly once, go through [connections](super::connection).
#![allow(unsafe_code)]

use core::arch::asm;

use zerocopy::try_transmute;

use super::{Message, Result, check, done};
use crate::api::{Call, MessageKind, WITH_REFERENCE};
#[cfg(doc)]
use crate::{
    api::{ReferenceRights, Status},
    exception::Misuse,
};

/// A message as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The badge of the Reference that it came through, or else the alias of the Port.
    pub alias: u64,
    /// What it is.
    pub kind: MessageKind,
    /// Whether a Reference came with it.
    pub with_reference: bool,
    /// The eight words.
    pub words: Message,
}

/// Calls a Port: sends eight words, which the reply replaces.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`IpcCall`](Call::IpcCall) | |
/// | `rdi` | a Reference to the Port, right [`CALL`](ReferenceRights::CALL) | read |
/// | `rsi`, `rdx`, `r10`, `r8`, `r9`, `r12`, `r13`, `r14` | the eight words | |
///
/// # Results
///
/// * [`Ok`](Status::Ok): the words are those of the reply
/// * [`InvalidDestination`](Status::InvalidDestination): the Reference is void, the Port was destroyed before a server received the call, or the
///   server is gone that worked on it: it received again without a reply, or was destroyed. The words are as they were
///
#[doc = misuse!(": also if the Reference links to another type or lacks the right; [`NullReference`](Misuse::NullReference)")]
/// # Effects
///
/// A server that waits at the Port's Portset gets the CPU at once, and the caller's time with it; else the call waits in its turn. The server
/// hears the Reference's badge, or else the Port's alias.
///
/// # Restart
///
/// Waits. A thread that is stopped meanwhile is about to make the call again, so that the server may receive it more than once: such
/// calls should be idempotent. [Connections](super::connection) deliver exactly once.
///
/// # Cost
///
/// Constant.
///
#[doc = example!("ipc_call")]
#[inline]
pub fn ipc_call(reference: u64, message: &mut Message) -> Result<()> {
    let mut status = Call::IpcCall as u64;
    let [mut w0, mut w1, mut w2, mut w3, mut w4, mut w5, mut w6, mut w7] = *message;
    // SAFETY: the call changes RAX, RCX, R11 and the eight words only, and no memory.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            in("rdi") reference,
            inout("rsi") w0,
            inout("rdx") w1,
            inout("r10") w2,
            inout("r8") w3,
            inout("r9") w4,
            inout("r12") w5,
            inout("r13") w6,
            inout("r14") w7,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    *message = [w0, w1, w2, w3, w4, w5, w6, w7];
    check(status)
}

/// Sends bits to a Port, one way.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`IpcSend`](Call::IpcSend) | |
/// | `rdi` | a Reference to the Port, right [`SEND`](ReferenceRights::SEND) | read |
/// | `rsi` | the bits | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`InvalidDestination`](Status::InvalidDestination): the Reference is void
///
#[doc = misuse!(": also if the Reference links to another type or lacks the right; [`NullReference`](Misuse::NullReference)")]
/// # Effects
///
/// The bits are set in the notification word of the Port, with those that no server has received yet. A server receives all of them as one
/// [`Notification`](MessageKind::Notification), with the Port's alias: they may come from several senders. Without a bit nothing is sent.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("ipc_send")]
#[inline]
pub fn ipc_send(reference: u64, bits: u64) -> Result<()> {
    done(Call::IpcSend, [reference, bits, 0, 0, 0])
}

/// Replies to the client whose message the caller received last.
///
/// # Arguments
///
/// No rights.
///
/// | register | argument |
/// |---|---|
/// | `rax` | [`IpcReply`](Call::IpcReply) |
/// | `rsi`, `rdx`, `r10`, `r8`, `r9`, `r12`, `r13`, `r14` | the eight words |
///
/// # Results
///
/// * [`Ok`](Status::Ok): the client goes on, or the interrupt line is unmasked
/// * [`Disconnected`](Status::Disconnected): nobody waits for a reply
/// * [`Overlap`](Status::Overlap): the reply [maps](crate::exception::memory_reply::MAP) to where another Mapping appears; nothing was replied
///
/// # Misuse
///
/// None, but what a reply that [supplies memory](crate::exception::memory_reply) does; nothing was replied then.
///
/// # Effects
///
/// The client has the words, and the server none to reply to. What a keeper's words mean is said in [`exception`](crate::exception). Where
/// nobody waits for a reply, the caller's connection as a server ends.
///
/// # Restart
///
/// Never waits.
///
/// # Cost
///
/// Constant.
///
#[doc = example!("ipc_reply")]
#[inline]
pub fn ipc_reply(message: &Message) -> Result<()> {
    let mut status = Call::IpcReply as u64;
    // SAFETY: the call changes RAX, RCX and R11 only, and no memory.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            in("rsi") message[0],
            in("rdx") message[1],
            in("r10") message[2],
            in("r8") message[3],
            in("r9") message[4],
            in("r12") message[5],
            in("r13") message[6],
            in("r14") message[7],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    check(status)
}

/// Waits for a message at a Portset; a `deadline` of 0 waits for ever.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`IpcWaitReceive`](Call::IpcWaitReceive) | |
/// | `rdi` | the Portset | read |
/// | `r15` | the time stamp counter value until which to wait; 0: for ever | |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rdi` is the badge of the Reference that the message came through, or else the alias of the Port, `r15` the
///   [`MessageKind`], and the eight words are the message
/// * [`TimedOut`](Status::TimedOut): the deadline passed, and there was no message
/// * [`InvalidDestination`](Status::InvalidDestination): the Portset was destroyed while the thread waited
///
#[doc = misuse!("")]
/// # Effects
///
/// A client that has not been replied to is disconnected: its call ends with `InvalidDestination`, and a thread whose keeper the caller is
/// stops. So is the caller's connection as a server. A masked interrupt line is unmasked.
///
/// # Restart
///
/// Waits. A thread that is stopped meanwhile is about to make the call again.
///
/// # Cost
///
/// Linear in Ports of the Portset that had messages when they were moved or destroyed; else constant. A deadline is put among the others in
/// logarithmic time.
///
#[doc = example!("ipc_wait_receive")]
#[inline]
pub fn ipc_wait_receive(portset: u64, deadline: u64) -> Result<Received> {
    receive(Call::IpcWaitReceive, portset, deadline, &[0; 8])
}

/// Replies to the client whose message the caller received last, then waits for the next: the main loop of a server. A `deadline` of 0 waits
/// for ever.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`IpcReplyWaitReceive`](Call::IpcReplyWaitReceive) | |
/// | `rdi` | the Portset | read |
/// | `rsi`, `rdx`, `r10`, `r8`, `r9`, `r12`, `r13`, `r14` | the eight words of the reply | |
/// | `r15` | the time stamp counter value until which to wait; 0: for ever | |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rdi` is the badge of the Reference that the message came through, or else the alias of the Port, `r15` the
///   [`MessageKind`], and the eight words are the message
/// * [`TimedOut`](Status::TimedOut): the deadline passed, and there was no message
/// * [`InvalidDestination`](Status::InvalidDestination): the Portset was destroyed while the thread waited
/// * [`Overlap`](Status::Overlap): the reply [maps](crate::exception::memory_reply::MAP) to where another Mapping appears; nothing was replied
///
/// Nothing says whether there was somebody to reply to.
///
#[doc = misuse!("; what a reply that [supplies memory](crate::exception::memory_reply) does. Nothing was replied then")]
/// # Effects
///
/// Those of [`ipc_reply`], then those of [`ipc_wait_receive`]. A client gets the CPU at once, where there is no message.
///
/// # Restart
///
/// Waits. A thread that is stopped meanwhile has replied, and is about to call [`ipc_wait_receive`].
///
/// # Cost
///
/// As [`ipc_wait_receive`].
///
#[doc = example!("ipc_reply_wait_receive")]
#[inline]
pub fn ipc_reply_wait_receive(portset: u64, deadline: u64, reply: &Message) -> Result<Received> {
    receive(Call::IpcReplyWaitReceive, portset, deadline, reply)
}

#[inline(always)]
fn receive(call: Call, portset: u64, deadline: u64, reply: &Message) -> Result<Received> {
    let mut status = call as u64;
    let (alias, kind): (u64, u64);
    let [mut w0, mut w1, mut w2, mut w3, mut w4, mut w5, mut w6, mut w7] = *reply;
    // SAFETY: the call changes RAX, RCX, R11, RDI, R15 and the eight words only, and no memory.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            inout("rdi") portset => alias,
            inout("rsi") w0,
            inout("rdx") w1,
            inout("r10") w2,
            inout("r8") w3,
            inout("r9") w4,
            inout("r12") w5,
            inout("r13") w6,
            inout("r14") w7,
            inout("r15") deadline => kind,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    check(status)?;
    let kind = try_transmute!(kind).unwrap_or(MessageKind::Notification);
    Ok(Received { alias, kind, with_reference: false, words: [w0, w1, w2, w3, w4, w5, w6, w7] })
}

/// [`ipc_call`] with References: sends one along, takes one with the reply. Returns whether one came.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`IpcCallWithReference`](Call::IpcCallWithReference) | |
/// | `rdi` | a Reference to the Port, right [`CALL`](ReferenceRights::CALL) | read |
/// | `rsi`, `rdx`, `r10`, `r8`, `r9`, `r12`, `r13`, `r14` | the eight words | |
/// | `rbx` | the Reference that is sent, right [`COPY`](ReferenceRights::COPY); 0: none | read |
/// | `rbp` | the Reference that is to link as the one that comes with the reply; 0: none is taken | write |
///
/// # Results
///
/// Those of [`ipc_call`]; `r15` returns [`WITH_REFERENCE`] if a Reference came, else 0.
///
#[doc = misuse!(": also if a Reference lacks a right; [`NullReference`](Misuse::NullReference): also of what is sent")]
/// # Effects
///
/// Both addresses are checked before anything is sent. What is sent is a [copy](super::reference_copy) of what `rbx` links to when the
/// message is received: nothing, if it was destroyed or is void then, or if the receiver takes none.
///
/// # Restart
///
/// As [`ipc_call`].
///
/// # Cost
///
/// Constant.
///
#[doc = example!("ipc_call_with_reference")]
#[inline]
pub fn ipc_call_with_reference(reference: u64, message: &mut Message, sent: u64, taking: u64) -> Result<bool> {
    let (_, r15, words) = exchange(Call::IpcCallWithReference, reference, 0, message, [sent, taking])?;
    *message = words;
    Ok(r15 & WITH_REFERENCE != 0)
}

/// [`ipc_reply`] with a Reference.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`IpcReplyWithReference`](Call::IpcReplyWithReference) | |
/// | `rsi`, `rdx`, `r10`, `r8`, `r9`, `r12`, `r13`, `r14` | the eight words | |
/// | `rbx` | the Reference that is sent, right [`COPY`](ReferenceRights::COPY); 0: none | read |
///
/// # Results
///
/// Those of [`ipc_reply`].
///
#[doc = misuse!(": also if the Reference lacks the right; [`NullReference`](Misuse::NullReference). Nothing was replied then")]
/// # Effects
///
/// Those of [`ipc_reply`]. The client's Reference is a [copy](super::reference_copy), if its call takes one.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("ipc_reply_with_reference")]
#[inline]
pub fn ipc_reply_with_reference(message: &Message, sent: u64) -> Result<()> {
    exchange(Call::IpcReplyWithReference, 0, 0, message, [sent, 0]).map(|_| ())
}

/// [`ipc_wait_receive`] with a Reference; a `taking` of 0 takes none.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`IpcWaitReceiveWithReference`](Call::IpcWaitReceiveWithReference) | |
/// | `rdi` | the Portset | read |
/// | `r15` | the time stamp counter value until which to wait; 0: for ever | |
/// | `rbp` | the Reference that is to link as the one that comes with the message; 0: none is taken | write |
///
/// # Results
///
/// Those of [`ipc_wait_receive`]; `r15` returns the [`MessageKind`] and, if a Reference came, [`WITH_REFERENCE`].
///
#[doc = misuse!("")]
/// # Effects
///
/// Those of [`ipc_wait_receive`].
///
/// # Restart
///
/// As [`ipc_wait_receive`].
///
/// # Cost
///
/// As [`ipc_wait_receive`].
///
#[doc = example!("ipc_wait_receive_with_reference")]
#[inline]
pub fn ipc_wait_receive_with_reference(portset: u64, deadline: u64, taking: u64) -> Result<Received> {
    exchange(Call::IpcWaitReceiveWithReference, portset, deadline, &[0; 8], [0, taking]).and_then(received)
}

/// [`ipc_reply_wait_receive`] with References: sends one with the reply, takes one with the next message; 0 is none.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`IpcReplyWaitReceiveWithReference`](Call::IpcReplyWaitReceiveWithReference) | |
/// | `rdi` | the Portset | read |
/// | `rsi`, `rdx`, `r10`, `r8`, `r9`, `r12`, `r13`, `r14` | the eight words of the reply | |
/// | `r15` | the time stamp counter value until which to wait; 0: for ever | |
/// | `rbx` | the Reference that is sent, right [`COPY`](ReferenceRights::COPY); 0: none | read |
/// | `rbp` | the Reference that is to link as the one that comes with the next message; 0: none is taken | write |
///
/// # Results
///
/// Those of [`ipc_reply_wait_receive`]; `r15` returns the [`MessageKind`] and, if a Reference came, [`WITH_REFERENCE`].
///
#[doc = misuse!(": also if a Reference lacks a right; [`NullReference`](Misuse::NullReference): of what is sent. Nothing was replied then")]
/// # Effects
///
/// Those of [`ipc_reply_with_reference`], then those of [`ipc_wait_receive_with_reference`].
///
/// # Restart
///
/// Waits. A thread that is stopped meanwhile has replied, and is about to call [`ipc_wait_receive_with_reference`].
///
/// # Cost
///
/// As [`ipc_wait_receive`].
///
#[doc = example!("ipc_reply_wait_receive_with_reference")]
#[inline]
pub fn ipc_reply_wait_receive_with_reference(
    portset: u64,
    deadline: u64,
    reply: &Message,
    sent: u64,
    taking: u64,
) -> Result<Received> {
    exchange(Call::IpcReplyWaitReceiveWithReference, portset, deadline, reply, [sent, taking]).and_then(received)
}

fn received((alias, r15, words): (u64, u64, Message)) -> Result<Received> {
    let kind = try_transmute!(r15 & !WITH_REFERENCE).unwrap_or(MessageKind::Notification);
    Ok(Received { alias, kind, with_reference: r15 & WITH_REFERENCE != 0, words })
}

/// A call that sends and takes a Reference. Returns RDI, R15 and the words.
fn exchange(
    call: Call,
    rdi: u64,
    r15: u64,
    message: &Message,
    [sent, taking]: [u64; 2],
) -> Result<(u64, u64, Message)> {
    let mut registers = [call as u64, rdi, r15, sent, taking];
    let mut words = *message;
    // SAFETY: the call changes RAX, RCX, R11, RDI, R15 and the eight words only, and no memory. RBX and RBP, which the
    // compiler keeps for itself, are restored. `registers` and `words` are exclusively ours, and R11 and RCX hold their
    // addresses: they are on the stack meanwhile.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "push r11",
            "push rcx",
            "mov rax, [r11]",
            "mov rdi, [r11 + 8]",
            "mov r15, [r11 + 16]",
            "mov rbx, [r11 + 24]",
            "mov rbp, [r11 + 32]",
            "mov rsi, [rcx]",
            "mov rdx, [rcx + 8]",
            "mov r10, [rcx + 16]",
            "mov r8, [rcx + 24]",
            "mov r9, [rcx + 32]",
            "mov r12, [rcx + 40]",
            "mov r13, [rcx + 48]",
            "mov r14, [rcx + 56]",
            "syscall",
            "pop rcx",
            "mov [rcx], rsi",
            "mov [rcx + 8], rdx",
            "mov [rcx + 16], r10",
            "mov [rcx + 24], r8",
            "mov [rcx + 32], r9",
            "mov [rcx + 40], r12",
            "mov [rcx + 48], r13",
            "mov [rcx + 56], r14",
            "pop r11",
            "mov [r11], rax",
            "mov [r11 + 8], rdi",
            "mov [r11 + 16], r15",
            "pop rbp",
            "pop rbx",
            inout("r11") registers.as_mut_ptr() => _,
            inout("rcx") words.as_mut_ptr() => _,
            out("rax") _, out("rdi") _, out("rsi") _, out("rdx") _, out("r8") _, out("r9") _, out("r10") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
    check(registers[0])?;
    Ok((registers[1], registers[2], words))
}
