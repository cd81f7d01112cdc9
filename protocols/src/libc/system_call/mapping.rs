//! Calls on Mappings.
#![allow(unsafe_code)]

use super::{Result, address, address_mut, done, raw};
use crate::api::{Call, MappingState};

/// [`Call::MappingCreate`].
#[inline]
pub fn mapping_create(mapping: u64) -> Result<()> {
    done(Call::MappingCreate, [mapping, 0, 0, 0, 0])
}

/// [`Call::MappingDestroy`]. What came through it must no longer be in use: an access afterwards is an exception.
#[inline]
pub fn mapping_destroy(mapping: u64) -> Result<()> {
    done(Call::MappingDestroy, [mapping, 0, 0, 0, 0])
}

/// [`Call::MappingMove`].
#[inline]
pub fn mapping_move(mapping: u64, new: u64) -> Result<()> {
    done(Call::MappingMove, [mapping, new, 0, 0, 0])
}

/// [`Call::MappingReference`].
#[inline]
pub fn mapping_reference(mapping: u64, reference: u64) -> Result<()> {
    done(Call::MappingReference, [mapping, reference, 0, 0, 0])
}

/// [`Call::MappingGetState`]; References of 0 are not asked for.
#[inline]
pub fn mapping_get_state(mapping: u64, region: u64, space: u64) -> Result<MappingState> {
    let mut state = MappingState::default();
    // SAFETY: the call writes one MappingState to `state`, which is exclusively ours.
    unsafe { raw(Call::MappingGetState as u64, [mapping, address_mut(&mut state), region, space, 0]) }.ok()?;
    Ok(state)
}

/// [`Call::MappingSetState`].
///
/// # Safety
/// The Space of the Mapping must not be the caller's own, or nothing in it may depend on what the Mapping covers.
#[inline]
pub unsafe fn mapping_set_state(mapping: u64, state: &MappingState, region: u64, space: u64) -> Result<()> {
    // SAFETY: `state` is only read; the rest is the caller's promise.
    unsafe { raw(Call::MappingSetState as u64, [mapping, address(state), region, space, 0]) }.ok().map(|_| ())
}
