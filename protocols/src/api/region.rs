//! Regions.

#[cfg(doc)]
use super::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// State of a Region: which part of its Space it exports.
///
/// [`region_get_state`](crate::libc::system_call::region_get_state) reads it, [`region_set_state`](crate::libc::system_call::region_set_state) sets it,
/// [`region_protect`](crate::libc::system_call::region_protect) sets the rights alone. Its links, to a Space and a keeper, are References beside it.
///
#[doc = example!("region_state")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionState {
    /// First address that it exports.
    ///
    /// *Checked*: a multiple of the page size; `start + size` is at most 2^48. What the Space does not show there is missing memory: its keeper is
    /// asked for it.
    pub start: u64,
    /// Length in bytes.
    ///
    /// *Checked*: a multiple of the page size, and not 0. Of a Region that was never set it is 0.
    pub size: u64,
    /// Most [`Rights`] that anything derived from it has.
    ///
    /// *Checked*: there are such rights.
    pub rights: u64,
}

const _: () = assert!(size_of::<RegionState>() == 24);
