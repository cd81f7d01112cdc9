//! Mutexes exclude threads from each other. While nobody has to wait they are locked and unlocked without the kernel, by the
//! [lock word](crate::lock_word): the first eight bytes of the object's memory. Programs use [`libnest::Mutex`](crate::libnest::Mutex).
//!
//! A Mutex is owned by a thread, which it names by the address by which the thread [knows itself](super::thread_self). Threads that
//! wait get it in the order in which they came.
#![allow(unsafe_code)]

use super::{Result, address, address_mut, done, raw};
use crate::api::{Call, MutexState};
#[cfg(doc)]
use crate::{api::Status, exception::Misuse};

#[doc = create!(@page MutexCreate, "Mutex", "It is free: its lock word becomes 0.")]
/// # Safety
///
/// Rust code must not rely on the first eight bytes at the address, but as an atomic word.
///
#[doc = example!("mutex_create")]
#[inline]
pub unsafe fn mutex_create(mutex: u64) -> Result<()> {
    done(Call::MutexCreate, [mutex, 0, 0, 0, 0])
}

destroy!(
    MutexDestroy,
    mutex_destroy(mutex),
    "mutex_destroy",
    "Mutex",
    "Whether it was locked or not. Threads that wait for it end their call with `Destroyed`. The lock word stays, but for the waiters' \
     bit, so that an owner that unlocks it without the kernel need not know.",
    "Linear in the threads that wait for it.",
    "After each 64 of them it lets others run and is made again: they may find a Mutex for which fewer wait."
);

#[doc = relocate!(@page MutexMove, "Mutex", "Its lock word moves with it; threads that wait for it go on waiting.")]
/// # Safety
///
/// As for [`mutex_create`], at the new address; nobody must use the Mutex meanwhile.
///
#[doc = example!("mutex_move")]
#[inline]
pub unsafe fn mutex_move(mutex: u64, new: u64) -> Result<()> {
    done(Call::MutexMove, [mutex, new, 0, 0, 0])
}

refer!(
    MutexReference,
    mutex_reference(mutex),
    "mutex_reference",
    "Mutex",
    "No call takes it yet: it shares nothing by itself."
);

/// Says who owns a Mutex.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`MutexGetState`](Call::MutexGetState) | |
/// | `rdi` | the Mutex | read |
/// | `rsi` | where its [`MutexState`] goes; 0: it is not asked for | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok): the state is written
///
/// # Misuse
///
/// [`NotAligned`](Misuse::NotAligned), [`NoRight`](Misuse::NoRight), [`NoObject`](Misuse::NoObject),
/// [`WrongType`](Misuse::WrongType).
///
/// # Effects
///
/// None on the Mutex. Who waits for it is not its state, but that of the threads that wait.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("mutex_get_state")]
#[inline]
pub fn mutex_get_state(mutex: u64) -> Result<MutexState> {
    let mut state = MutexState::default();
    // SAFETY: the call writes one MutexState to `state`, which is exclusively ours.
    unsafe { raw(Call::MutexGetState as u64, [mutex, address_mut(&mut state), 0, 0, 0]) }.ok()?;
    Ok(state)
}

/// Gives a Mutex to an owner, or to nobody: from outside, as when it is restored.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`MutexSetState`](Call::MutexSetState) | |
/// | `rdi` | the Mutex | write |
/// | `rsi` | its [`MutexState`]; 0: it stays as it is | read |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
///
/// # Misuse
///
/// [`NotAligned`](Misuse::NotAligned), [`NoRight`](Misuse::NoRight), [`NoObject`](Misuse::NoObject),
/// [`WrongType`](Misuse::WrongType); [`BadArgument`](Misuse::BadArgument): the owner is not a multiple of
/// [`OBJECT_SIZE`](crate::api::OBJECT_SIZE).
///
/// # Effects
///
/// The lock word names the owner, who need not exist. An owner of 0 unlocks it: the first that waits gets it.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant, but for threads that lost their address while they waited: linear in those at the head of the queue.
///
#[doc = example!("mutex_set_state")]
#[inline]
pub fn mutex_set_state(mutex: u64, state: &MutexState) -> Result<()> {
    done(Call::MutexSetState, [mutex, address(state), 0, 0, 0])
}

/// Locks a Mutex, if need be after all who wait for it already. A `deadline` of 0 waits for ever.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`MutexLock`](Call::MutexLock) | |
/// | `rdi` | the Mutex | write |
/// | `rsi` | the time stamp counter value until which to wait; 0: for ever | |
/// | `rdx` | what RAX returns once the thread has the Mutex. 0 ([`Ok`](Status::Ok)) for all but the kernel, which makes a thread that sleeps in [`cond_wait`](super::cond_wait) one that is about to make this call | |
///
/// # Results
///
/// * `rdx`: the thread owns the Mutex
/// * [`TimedOut`](Status::TimedOut): the deadline passed. A Mutex that is free is locked however late it is
/// * [`Destroyed`](Status::Destroyed): the Mutex was destroyed while the thread waited
///
/// # Misuse
///
/// [`NotAligned`](Misuse::NotAligned), [`NoRight`](Misuse::NoRight), [`NoObject`](Misuse::NoObject),
/// [`WrongType`](Misuse::WrongType); [`AlreadyOwner`](Misuse::AlreadyOwner); [`NoSelf`](Misuse::NoSelf): the thread has no address of
/// its own.
///
/// # Effects
///
/// The owner part of the [lock word](crate::lock_word) is the thread's own address. The word is believed whatever it holds: who can
/// write it can lock others out, and no more.
///
/// # Restart
///
/// Waits. A thread that is stopped while it waits loses its turn, and makes the call again when it goes on.
/// While it waits it [donates](crate::scheduling) its CPU time to the owner, if the lock word names a Thread that the caller's Space shows at
/// this address with the right to read, and that knows itself by it.
///
/// # Cost
///
/// Constant; a wait with a deadline is put among the other deadlines in logarithmic time.
///
#[doc = example!("mutex_lock")]
#[inline]
pub fn mutex_lock(mutex: u64, deadline: u64) -> Result<()> {
    done(Call::MutexLock, [mutex, deadline, 0, 0, 0])
}

/// Locks a Mutex if it is free.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`MutexTrylock`](Call::MutexTrylock) | |
/// | `rdi` | the Mutex | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok): the thread owns the Mutex
/// * [`Held`](Status::Held): another thread owns it
///
/// # Misuse
///
/// As [`mutex_lock`].
///
/// # Effects
///
/// As [`mutex_lock`].
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("mutex_trylock")]
#[inline]
pub fn mutex_trylock(mutex: u64) -> Result<()> {
    done(Call::MutexTrylock, [mutex, 0, 0, 0, 0])
}

/// Unlocks a Mutex that the calling thread owns.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`MutexUnlock`](Call::MutexUnlock) | |
/// | `rdi` | the Mutex | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
///
/// # Misuse
///
/// [`NotAligned`](Misuse::NotAligned), [`NoRight`](Misuse::NoRight), [`NoObject`](Misuse::NoObject),
/// [`WrongType`](Misuse::WrongType); [`NotOwner`](Misuse::NotOwner): the lock word does not name the calling thread;
/// [`NoSelf`](Misuse::NoSelf).
///
/// # Effects
///
/// The first thread that waits owns the Mutex at once; without one it is free.
///
#[doc = never_waits!()]
/// # Cost
///
/// As [`mutex_set_state`].
///
#[doc = example!("mutex_unlock")]
#[inline]
pub fn mutex_unlock(mutex: u64) -> Result<()> {
    done(Call::MutexUnlock, [mutex, 0, 0, 0, 0])
}
