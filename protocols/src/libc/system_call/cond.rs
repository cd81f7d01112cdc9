//! Calls on Conds.

use super::{Result, done};
use crate::api::Call;

/// [`Call::CondCreate`].
#[inline]
pub fn cond_create(cond: u64) -> Result<()> {
    done(Call::CondCreate, [cond, 0, 0, 0, 0])
}

/// [`Call::CondDestroy`].
#[inline]
pub fn cond_destroy(cond: u64) -> Result<()> {
    done(Call::CondDestroy, [cond, 0, 0, 0, 0])
}

/// [`Call::CondMove`].
#[inline]
pub fn cond_move(cond: u64, new: u64) -> Result<()> {
    done(Call::CondMove, [cond, new, 0, 0, 0])
}

/// [`Call::CondReference`].
#[inline]
pub fn cond_reference(cond: u64, reference: u64) -> Result<()> {
    done(Call::CondReference, [cond, reference, 0, 0, 0])
}

/// [`Call::CondWait`]; a `deadline` of 0 sleeps for ever.
#[inline]
pub fn cond_wait(cond: u64, mutex: u64, deadline: u64) -> Result<()> {
    done(Call::CondWait, [cond, mutex, deadline, 0, 0])
}

/// [`Call::CondSignal`].
#[inline]
pub fn cond_signal(cond: u64) -> Result<()> {
    done(Call::CondSignal, [cond, 0, 0, 0, 0])
}

/// [`Call::CondBroadcast`].
#[inline]
pub fn cond_broadcast(cond: u64) -> Result<()> {
    done(Call::CondBroadcast, [cond, 0, 0, 0, 0])
}
