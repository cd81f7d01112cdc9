//! Calls that pass CPU time on.
#![allow(unsafe_code)]

use core::arch::asm;

use zerocopy::try_transmute;

use super::{Received, Result, check, done, on_objects};
use crate::api::{Call, MessageKind, Sensitivity, Status};
use crate::scheduling::TimeSource;

/// How [`Call::ThreadSchedule`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduled {
    /// A message was received.
    Message(Received),
    /// The donation ended, or there was none.
    Ended {
        /// Why.
        status: Status,
        /// The word of the thread that had the time last.
        value: u64,
        /// For how many ticks that has had donated time in all.
        used: u64,
    },
}

/// [`Call::ThreadSchedule`]: donates to `thread` until `deadline` (0: no limit), until what `sensitivity` says, and until there is a message at
/// `portset` (0: none).
#[inline]
pub fn thread_schedule(thread: u64, deadline: u64, sensitivity: Sensitivity, portset: u64) -> Scheduled {
    let mut status = Call::ThreadSchedule as u64;
    let (alias, kind): (u64, u64);
    let (mut w0, mut w1, mut w2) = (deadline, sensitivity as u64, portset);
    let (w3, w4, w5, w6, w7): (u64, u64, u64, u64, u64);
    // SAFETY: the call changes RAX, RCX, R11, RDI, R15 and the eight words only, and no memory; what the thread does on the time it could do on
    // its own.
    unsafe {
        asm!(
            "syscall",
            inout("rax") status,
            inout("rdi") thread => alias,
            inout("rsi") w0,
            inout("rdx") w1,
            inout("r10") w2,
            lateout("r8") w3,
            lateout("r9") w4,
            lateout("r12") w5,
            lateout("r13") w6,
            lateout("r14") w7,
            lateout("r15") kind,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    match check(status) {
        Ok(()) => {
            let kind = try_transmute!(kind).unwrap_or(MessageKind::Notification);
            Scheduled::Message(Received { alias, kind, with_reference: false, words: [w0, w1, w2, w3, w4, w5, w6, w7] })
        }
        Err(status) => Scheduled::Ended { status, value: w0, used: w1 },
    }
}

/// [`Call::ThreadSchedule`] of no thread: gives the caller's own time back.
#[inline]
pub fn thread_yield() {
    on_objects(Call::ThreadSchedule, [0; 5]);
}

/// [`Call::ThreadSetScheduler`]; with 0 for `scheduler` the thread has donated time only.
#[inline]
pub fn thread_set_scheduler(thread: u64, scheduler: u64, value: u64) -> Result<()> {
    done(Call::ThreadSetScheduler, [thread, scheduler, value, 0, 0])
}

/// [`Call::ThreadGetScheduler`]: where the thread has its time from, the word by which its scheduler knows it, and for how many ticks it has
/// had donated time. Points Reference `scheduler` (0: none) at the Port.
#[inline]
pub fn thread_get_scheduler(thread: u64, scheduler: u64) -> Result<(TimeSource, u64, u64)> {
    let returned = on_objects(Call::ThreadGetScheduler, [thread, scheduler, 0, 0, 0]).ok()?;
    let source = returned.rdi;
    Ok((try_transmute!(source).unwrap_or(TimeSource::Donated), returned.rsi, returned.rdx))
}
