//! CPU time is passed on from thread to thread: schedulers are ordinary threads. What a donation is, and what a scheduler hears, is
//! said in [`scheduling`](crate::scheduling). Programs use [`libnest::schedule`](crate::libnest::schedule).
#![allow(unsafe_code)]

use core::arch::asm;

use zerocopy::try_transmute;

use super::{Received, Result, check, done, on_objects};
use crate::api::{Call, MessageKind, Sensitivity, Status};
use crate::scheduling::TimeSource;
#[cfg(doc)]
use crate::{api::ReferenceRights, exception::Misuse};

/// How [`thread_schedule`] ended.
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

/// Donates the CPU to a thread, and waits meanwhile.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ThreadSchedule`](Call::ThreadSchedule) | |
/// | `rdi` | the Thread, not the caller; 0: nobody, the caller gives its own time [back](thread_yield) | read |
/// | `rsi` | the time stamp counter value until which the donation lasts; 0: no limit | |
/// | `rdx` | what else ends it: a [`Sensitivity`] | |
/// | `r10` | a Portset, at which a message ends it; 0: none | read |
///
/// # Results
///
/// * [`Ok`](Status::Ok): a message, in the registers that [`ipc_wait_receive`](super::ipc_wait_receive) names; or the caller's time was given
///   back
///
/// These return in `rsi` the [word](thread_set_scheduler) of the thread that had the time last, and in `rdx` for how many ticks it has had donated
/// time in all:
///
/// * [`TimedOut`](Status::TimedOut): the time is over
/// * [`Blocked`](Status::Blocked): it cannot run, nor anybody whom it waits for; only with [`Sensitivity::Block`]
/// * [`Yielded`](Status::Yielded): it gave the rest back
/// * [`NotFound`](Status::NotFound): it was destroyed
/// * [`Disconnected`](Status::Disconnected): somebody else donates to it now
/// * [`InvalidDestination`](Status::InvalidDestination): the Portset was destroyed
///
/// These are without effect, and return nothing:
///
/// * [`Circular`](Status::Circular): the target waits for the caller, directly or not, or for more than 128 threads one after the other
/// * [`Refused`](Status::Refused): another thread donates with the Portset at present
///
#[doc = misuse!("; [`CurrentThread`](Misuse::CurrentThread): the target is the caller; [`BadArgument`](Misuse::BadArgument): no such sensitivity")]
/// # Effects
///
/// If there is a message already, it is received and nothing is donated. A client of the caller's that has not been replied to is disconnected
/// where a Portset is given. If the time that the caller itself runs on ends before, the target loses the CPU as well, and has it back when
/// the caller would.
///
/// # Restart
///
/// Waits. The target goes on without the donation when the caller is stopped; the call is made again when it goes on.
///
/// # Cost
///
/// Linear in the threads that wait for each other, of which there are 128 at most; the deadline is put among the others in logarithmic time.
///
#[doc = example!("thread_schedule")]
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

/// [`thread_schedule`] of no thread: gives the caller's own time back, to its donor, or to the others that have time from the root.
#[inline]
pub fn thread_yield() {
    on_objects(Call::ThreadSchedule, [0; 5]);
}

/// Has a thread scheduled by whoever serves a Port, or by whoever donates time.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ThreadSetScheduler`](Call::ThreadSetScheduler) | |
/// | `rdi` | the Thread; the caller too | write |
/// | `rsi` | a Reference to its scheduler's Port, right [`CALL`](ReferenceRights::CALL); 0: none | read |
/// | `rdx` | the word by which the scheduler knows it | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`InvalidDestination`](Status::InvalidDestination): the Reference is void; nothing was changed
///
#[doc = misuse!(": also if the Reference links to another type or lacks the right; [`NullReference`](Misuse::NullReference)")]
/// # Effects
///
/// Whenever the thread could run and nobody donates to it, the Port has a [`Wakeup`](MessageKind::Wakeup) message with the word. Without a
/// scheduler it runs on donated time only, as it does when the Port is destroyed or the grant of the Reference revoked (if it has asked before,
/// that is still received). Either way it has no time from the root any more, nor can it ever have again.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("thread_set_scheduler")]
#[inline]
pub fn thread_set_scheduler(thread: u64, scheduler: u64, value: u64) -> Result<()> {
    done(Call::ThreadSetScheduler, [thread, scheduler, value, 0, 0])
}

/// Says where a thread has its time from, by which word its scheduler knows it, and for how many ticks it has had donated time.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ThreadGetScheduler`](Call::ThreadGetScheduler) | |
/// | `rdi` | the Thread; the caller too | read |
/// | `rsi` | a Reference to be pointed at its scheduler's Port; 0: that is not asked for | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rdi` is its [`TimeSource`], `rsi` the word, `rdx` for how many ticks of the time stamp counter it has had donated
///   time in all
///
#[doc = misuse!("")]
/// # Effects
///
/// The Reference links as the one did by which the scheduler was [set](thread_set_scheduler), or to nothing.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("thread_get_scheduler")]
#[inline]
pub fn thread_get_scheduler(thread: u64, scheduler: u64) -> Result<(TimeSource, u64, u64)> {
    let returned = on_objects(Call::ThreadGetScheduler, [thread, scheduler, 0, 0, 0]).ok()?;
    let source = returned.rdi;
    Ok((try_transmute!(source).unwrap_or(TimeSource::Donated), returned.rsi, returned.rdx))
}
