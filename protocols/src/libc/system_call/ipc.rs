//! Short messages.
#![allow(unsafe_code)]

use core::arch::asm;

use zerocopy::try_transmute;

use super::{Message, Result, check, done};
use crate::api::{Call, MessageKind, WITH_REFERENCE};

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

/// [`Call::IpcCall`]: sends `message` to the Port of the Reference and waits for the reply, which replaces it.
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

/// [`Call::IpcSend`].
#[inline]
pub fn ipc_send(reference: u64, bits: u64) -> Result<()> {
    done(Call::IpcSend, [reference, bits, 0, 0, 0])
}

/// [`Call::IpcReply`].
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

/// [`Call::IpcWaitReceive`]; a `deadline` of 0 waits for ever.
#[inline]
pub fn ipc_wait_receive(portset: u64, deadline: u64) -> Result<Received> {
    receive(Call::IpcWaitReceive, portset, deadline, &[0; 8])
}

/// [`Call::IpcReplyWaitReceive`]; a `deadline` of 0 waits for ever.
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

/// [`Call::IpcCallWithReference`]: sends Reference `sent` along, takes one to `taking`; 0 is none. Returns whether one came.
#[inline]
pub fn ipc_call_with_reference(reference: u64, message: &mut Message, sent: u64, taking: u64) -> Result<bool> {
    let (_, r15, words) = exchange(Call::IpcCallWithReference, reference, 0, message, [sent, taking])?;
    *message = words;
    Ok(r15 & WITH_REFERENCE != 0)
}

/// [`Call::IpcReplyWithReference`]: sends Reference `sent`; 0 is none.
#[inline]
pub fn ipc_reply_with_reference(message: &Message, sent: u64) -> Result<()> {
    exchange(Call::IpcReplyWithReference, 0, 0, message, [sent, 0]).map(|_| ())
}

/// [`Call::IpcWaitReceiveWithReference`]; a `taking` of 0 takes no Reference.
#[inline]
pub fn ipc_wait_receive_with_reference(portset: u64, deadline: u64, taking: u64) -> Result<Received> {
    exchange(Call::IpcWaitReceiveWithReference, portset, deadline, &[0; 8], [0, taking]).and_then(received)
}

/// [`Call::IpcReplyWaitReceiveWithReference`]: sends Reference `sent` with the reply, takes one to `taking`; 0 is none.
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
