//! Mappings.

#[cfg(doc)]
use super::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// State of a Mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MappingState {
    /// Where in the Region it begins; a multiple of the page size.
    pub offset: u64,
    /// Where in the Space it appears; a multiple of the page size.
    pub start: u64,
    /// Length in bytes; a multiple of the page size.
    pub size: u64,
    /// [`Rights`] wanted. What counts is the AND of the whole chain.
    pub rights: u64,
}

const _: () = assert!(size_of::<MappingState>() == 32);
