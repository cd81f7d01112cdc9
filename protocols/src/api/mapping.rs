//! Mappings.

#[cfg(doc)]
use super::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// State of a Mapping: which part of its Region it shows, and where.
///
/// [`mapping_get_state`](crate::libc::system_call::mapping_get_state) reads it, [`mapping_set_state`](crate::libc::system_call::mapping_set_state) sets it. Its links,
/// to a Region and a Space, are References beside it.
///
#[doc = example!("mapping_state")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MappingState {
    /// Where in the Region it begins, in bytes.
    ///
    /// *Checked*: a multiple of the page size; `offset + size` is at most 2^48. What lies behind the Region's end shows nothing.
    pub offset: u64,
    /// The address in the Space at which it appears.
    ///
    /// *Checked*: a multiple of the page size; `start + size` is at most 2^48, and in a native Space at most the
    /// [end of user addresses](crate::native_thread::USER_END).
    pub start: u64,
    /// Length in bytes.
    ///
    /// *Checked*: a multiple of the page size. With 0 it shows nothing, and is in no other Mapping's way; so it is at first.
    pub size: u64,
    /// [`Rights`] wanted. What counts is the AND of the whole chain.
    ///
    /// *Checked*: there are such rights.
    pub rights: u64,
}

const _: () = assert!(size_of::<MappingState>() == 32);
