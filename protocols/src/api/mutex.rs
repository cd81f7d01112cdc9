//! Mutexes.

#[cfg(doc)]
use super::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// State of a Mutex: who owns it.
///
/// [`mutex_get_state`](crate::libc::system_call::mutex_get_state) reads it, [`mutex_set_state`](crate::libc::system_call::mutex_set_state)
/// sets it.
///
#[doc = example!("mutex_state")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MutexState {
    /// The address by which the owner [knows itself](crate::libc::system_call::thread_self); 0 if the Mutex is free. The
    /// [lock word](crate::lock_word) without the waiters' bit.
    ///
    /// *Checked*: a multiple of [`OBJECT_SIZE`], else `BadArgument`. Not that there is such a thread.
    pub owner: u64,
}

const _: () = assert!(size_of::<MutexState>() == 8);
