//! Mutexes.

#[cfg(doc)]
use super::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// State of a Mutex.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MutexState {
    /// The address by which the owner knows its own Thread object, a multiple of [`OBJECT_SIZE`]; 0 if the Mutex is
    /// free. The [lock word](crate::lock_word) without the waiters' bit.
    pub owner: u64,
}

const _: () = assert!(size_of::<MutexState>() == 8);
