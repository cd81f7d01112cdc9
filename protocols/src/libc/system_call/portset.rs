//! Calls on Portsets.

use super::{Result, done};
use crate::api::Call;

/// [`Call::PortsetCreate`].
#[inline]
pub fn portset_create(portset: u64) -> Result<()> {
    done(Call::PortsetCreate, [portset, 0, 0, 0, 0])
}

/// [`Call::PortsetDestroy`].
#[inline]
pub fn portset_destroy(portset: u64) -> Result<()> {
    done(Call::PortsetDestroy, [portset, 0, 0, 0, 0])
}

/// [`Call::PortsetMove`].
#[inline]
pub fn portset_move(portset: u64, new: u64) -> Result<()> {
    done(Call::PortsetMove, [portset, new, 0, 0, 0])
}

/// [`Call::PortsetReference`].
#[inline]
pub fn portset_reference(portset: u64, reference: u64) -> Result<()> {
    done(Call::PortsetReference, [portset, reference, 0, 0, 0])
}
