//! Calls on Mutexes.
#![allow(unsafe_code)]

use super::{Result, address, address_mut, done, raw};
use crate::api::{Call, MutexState};

/// [`Call::MutexCreate`].
///
/// # Safety
/// Rust code must not rely on the first eight bytes at the address, but as an atomic word.
#[inline]
pub unsafe fn mutex_create(mutex: u64) -> Result<()> {
    done(Call::MutexCreate, [mutex, 0, 0, 0, 0])
}

/// [`Call::MutexDestroy`].
#[inline]
pub fn mutex_destroy(mutex: u64) -> Result<()> {
    done(Call::MutexDestroy, [mutex, 0, 0, 0, 0])
}

/// [`Call::MutexMove`].
///
/// # Safety
/// As for [`mutex_create`], at the new address; nobody must use the Mutex meanwhile.
#[inline]
pub unsafe fn mutex_move(mutex: u64, new: u64) -> Result<()> {
    done(Call::MutexMove, [mutex, new, 0, 0, 0])
}

/// [`Call::MutexReference`].
#[inline]
pub fn mutex_reference(mutex: u64, reference: u64) -> Result<()> {
    done(Call::MutexReference, [mutex, reference, 0, 0, 0])
}

/// [`Call::MutexGetState`].
#[inline]
pub fn mutex_get_state(mutex: u64) -> Result<MutexState> {
    let mut state = MutexState::default();
    // SAFETY: the call writes one MutexState to `state`, which is exclusively ours.
    unsafe { raw(Call::MutexGetState as u64, [mutex, address_mut(&mut state), 0, 0, 0]) }.ok()?;
    Ok(state)
}

/// [`Call::MutexSetState`].
#[inline]
pub fn mutex_set_state(mutex: u64, state: &MutexState) -> Result<()> {
    done(Call::MutexSetState, [mutex, address(state), 0, 0, 0])
}

/// [`Call::MutexLock`]; a `deadline` of 0 waits for ever.
#[inline]
pub fn mutex_lock(mutex: u64, deadline: u64) -> Result<()> {
    done(Call::MutexLock, [mutex, deadline, 0, 0, 0])
}

/// [`Call::MutexTrylock`].
#[inline]
pub fn mutex_trylock(mutex: u64) -> Result<()> {
    done(Call::MutexTrylock, [mutex, 0, 0, 0, 0])
}

/// [`Call::MutexUnlock`].
#[inline]
pub fn mutex_unlock(mutex: u64) -> Result<()> {
    done(Call::MutexUnlock, [mutex, 0, 0, 0, 0])
}
