//! Regions.

#[cfg(doc)]
use super::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// State of a Region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionState {
    /// First address that it exports; a multiple of the page size.
    pub start: u64,
    /// Length in bytes; a multiple of the page size.
    pub size: u64,
    /// Most [`Rights`] that anything derived from it has.
    pub rights: u64,
}

const _: () = assert!(size_of::<RegionState>() == 24);
