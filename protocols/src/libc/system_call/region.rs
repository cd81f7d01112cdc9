//! Calls on Regions.
#![allow(unsafe_code)]

use super::{Result, address, address_mut, done, object_type, on_objects, raw};
use crate::api::{Call, ObjectType, RegionState, Rights, Status};

/// [`Call::RegionCreate`].
#[inline]
pub fn region_create(region: u64) -> Result<()> {
    done(Call::RegionCreate, [region, 0, 0, 0, 0])
}

/// [`Call::RegionDestroy`].
#[inline]
pub fn region_destroy(region: u64) -> Result<()> {
    done(Call::RegionDestroy, [region, 0, 0, 0, 0])
}

/// [`Call::RegionMove`].
#[inline]
pub fn region_move(region: u64, new: u64) -> Result<()> {
    done(Call::RegionMove, [region, new, 0, 0, 0])
}

/// [`Call::RegionReference`].
#[inline]
pub fn region_reference(region: u64, reference: u64) -> Result<()> {
    done(Call::RegionReference, [region, reference, 0, 0, 0])
}

/// [`Call::RegionGetState`]; References of 0 are not asked for.
#[inline]
pub fn region_get_state(region: u64, space: u64, keeper: u64) -> Result<RegionState> {
    let mut state = RegionState::default();
    // SAFETY: the call writes one RegionState to `state`, which is exclusively ours.
    unsafe { raw(Call::RegionGetState as u64, [region, address_mut(&mut state), space, keeper, 0]) }.ok()?;
    Ok(state)
}

/// [`Call::RegionSetState`].
///
/// # Safety
/// Memory that the Region exports with the right to write must be memory of which Rust holds no references.
#[inline]
pub unsafe fn region_set_state(region: u64, state: &RegionState, space: u64, keeper: u64) -> Result<()> {
    // SAFETY: `state` is only read; the rest is the caller's promise.
    unsafe { raw(Call::RegionSetState as u64, [region, address(state), space, keeper, 0]) }.ok().map(|_| ())
}

/// [`Call::RegionProtect`].
#[inline]
pub fn region_protect(region: u64, rights: Rights) -> Result<()> {
    done(Call::RegionProtect, [region, rights.bits(), 0, 0, 0])
}

/// [`Call::RegionSearch`]: offset and type of the first object at or after `offset`, `None` if there is none.
#[inline]
pub fn region_search(region: u64, offset: u64) -> Result<Option<(u64, ObjectType)>> {
    match on_objects(Call::RegionSearch, [region, offset, 0, 0, 0]).ok() {
        Ok(returned) => Ok(object_type(returned.rdx).map(|kind| (returned.rsi, kind))),
        Err(Status::NotFound) => Ok(None),
        Err(status) => Err(status),
    }
}
