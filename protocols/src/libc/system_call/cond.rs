//! Conds are where threads that hold a [Mutex](super::mutex) sleep until others signal. Programs use
//! [`libnest::Condition`](crate::libnest::Condition).
//!
//! A Cond remembers nothing: a signal while nobody sleeps is lost. So a thread looks, with the Mutex locked, whether what it waits for
//! has come, and sleeps only if not.

use super::{Result, done};
use crate::api::Call;
#[cfg(doc)]
use crate::{api::Status, exception::Misuse};

create!(CondCreate, cond_create(cond), "cond_create", "Cond", "Nobody sleeps in it.");

destroy!(
    CondDestroy,
    cond_destroy(cond),
    "cond_destroy",
    "Cond",
    "Threads asleep in it lock their Mutexes again, then end their call with `Destroyed`.",
    "Linear in the threads asleep in it.",
    "After each 64 of them it lets others run and is made again: they may find some awake already."
);

relocate!(CondMove, cond_move(cond), "cond_move", "Cond", "Threads asleep in it sleep on.");

refer!(
    CondReference,
    cond_reference(cond),
    "cond_reference",
    "Cond",
    "No call takes it yet: it shares nothing by itself."
);

/// Checks that there is a Cond: it has no state of its own. Who sleeps in it is the state of those threads.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`CondGetState`](Call::CondGetState) | |
/// | `rdi` | the Cond | read |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
///
#[doc = misuse!("")]
/// # Effects
///
/// None.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("cond_get_state")]
#[inline]
pub fn cond_get_state(cond: u64) -> Result<()> {
    done(Call::CondGetState, [cond, 0, 0, 0, 0])
}

/// Checks that there is a Cond, and that the caller may change it: it has no state of its own to be set.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`CondSetState`](Call::CondSetState) | |
/// | `rdi` | the Cond | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
///
#[doc = misuse!("")]
/// # Effects
///
/// None.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("cond_set_state")]
#[inline]
pub fn cond_set_state(cond: u64) -> Result<()> {
    done(Call::CondSetState, [cond, 0, 0, 0, 0])
}

/// Unlocks a Mutex and sleeps, in one, until somebody signals; locks the Mutex again before it returns. A `deadline` of 0 sleeps for
/// ever.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`CondWait`](Call::CondWait) | |
/// | `rdi` | the Cond | write |
/// | `rsi` | the Mutex, which the caller owns | write |
/// | `rdx` | the time stamp counter value until which to sleep; 0: for ever | |
///
/// # Results
///
/// * [`Ok`](Status::Ok): signalled, or for no reason; the Mutex is locked. Look again at what the thread waits for
/// * [`TimedOut`](Status::TimedOut): the deadline passed; the Mutex is locked
/// * [`Destroyed`](Status::Destroyed): the Cond was destroyed, and the Mutex is locked; or the Mutex was destroyed
///
/// RDI, RSI and RDX are undefined afterwards.
///
#[doc = misuse!("; [`NotOwner`](Misuse::NotOwner): of the Mutex; [`NoSelf`](Misuse::NoSelf): the thread has no address of its own")]
/// # Effects
///
/// The Mutex goes to the first that waits for it. If the deadline has passed already, nothing happens: the call returns `TimedOut`
/// without unlocking.
///
/// # Restart
///
/// Waits. From the moment that the Mutex is unlocked, the thread's registers are those of a thread about to call
/// [`mutex_lock`](super::mutex_lock) without a deadline and, in RDX, with the result that this call has so far. So a thread that is
/// stopped while it sleeps locks the Mutex and returns when it goes on.
///
/// # Cost
///
/// As [`mutex_unlock`](super::mutex_unlock); a deadline is put among the others in logarithmic time.
///
#[doc = example!("cond_wait")]
#[inline]
pub fn cond_wait(cond: u64, mutex: u64, deadline: u64) -> Result<()> {
    done(Call::CondWait, [cond, mutex, deadline, 0, 0])
}

/// Wakes the thread that has slept longest in a Cond.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`CondSignal`](Call::CondSignal) | |
/// | `rdi` | the Cond | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok): also if nobody slept
///
#[doc = misuse!("")]
/// # Effects
///
/// The thread returns from [`cond_wait`] when it has its Mutex: at once if that is free, else in its turn. Nothing is remembered if nobody
/// sleeps.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("cond_signal")]
#[inline]
pub fn cond_signal(cond: u64) -> Result<()> {
    done(Call::CondSignal, [cond, 0, 0, 0, 0])
}

/// Wakes all threads asleep in a Cond.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`CondBroadcast`](Call::CondBroadcast) | |
/// | `rdi` | the Cond | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok): also if nobody slept
///
#[doc = misuse!("")]
/// # Effects
///
/// As [`cond_signal`], for each of them: the first gets the Mutex, the others wait for it.
///
#[doc = never_waits!("After each 64 of them it lets others run and is made again: who falls asleep meanwhile may be woken too.")]
/// # Cost
///
/// Linear in the threads asleep in it.
///
#[doc = example!("cond_broadcast")]
#[inline]
pub fn cond_broadcast(cond: u64) -> Result<()> {
    done(Call::CondBroadcast, [cond, 0, 0, 0, 0])
}
