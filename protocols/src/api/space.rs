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

/// State of a Space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SpaceState {
    /// [`SpaceKind`].
    pub kind: u64,
    /// Kernel memory that the Space may use, in frames of 4 KiB.
    pub allowance: u64,
    /// Kernel memory that it uses or has passed on, in frames.
    pub used: u64,
}

const _: () = assert!(size_of::<SpaceState>() == 24);
