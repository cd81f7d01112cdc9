//! Spaces.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Kinds of Space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum SpaceKind {
    /// Threads run in ring 3; the kernel builds page tables.
    Native = 0,
    /// Threads are virtual CPUs; the kernel builds EPTs.
    Machine = 1,
}

/// State of a Space: what it is, and the kernel memory that it may use.
///
/// [`space_get_state`](crate::libc::system_call::space_get_state) reads it. No call sets it: kind and allowance are given to
/// [`space_create`](crate::libc::system_call::space_create), what it uses is counted. Its keeper is a Reference beside it.
///
#[doc = example!("space_state")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SpaceState {
    /// [`SpaceKind`].
    pub kind: u64,
    /// Kernel memory that the Space may use, in frames of 4 KiB. Never more than its creator's Space has passed on to it.
    pub allowance: u64,
    /// Kernel memory that it uses for its own tables and objects, or has passed on to other Spaces, in frames of 4 KiB, rounded up.
    pub used: u64,
}

const _: () = assert!(size_of::<SpaceState>() == 24);
