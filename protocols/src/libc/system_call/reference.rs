//! Calls on References.

use super::{Result, done, object_type, on_objects};
use crate::api::{Call, ObjectType, ReferenceRights};

/// [`Call::ReferenceCreate`].
#[inline]
pub fn reference_create(reference: u64) -> Result<()> {
    done(Call::ReferenceCreate, [reference, 0, 0, 0, 0])
}

/// [`Call::ReferenceDestroy`].
#[inline]
pub fn reference_destroy(reference: u64) -> Result<()> {
    done(Call::ReferenceDestroy, [reference, 0, 0, 0, 0])
}

/// [`Call::ReferenceMove`].
#[inline]
pub fn reference_move(reference: u64, new: u64) -> Result<()> {
    done(Call::ReferenceMove, [reference, new, 0, 0, 0])
}

/// [`Call::ReferenceCopy`]: from the first to the second.
#[inline]
pub fn reference_copy(from: u64, to: u64) -> Result<()> {
    done(Call::ReferenceCopy, [from, to, 0, 0, 0])
}

/// [`Call::ReferenceCheck`]: what the Reference links to.
#[inline]
pub fn reference_check(reference: u64) -> Result<Option<ObjectType>> {
    on_objects(Call::ReferenceCheck, [reference, 0, 0, 0, 0]).ok().map(|returned| object_type(returned.rsi))
}

/// [`Call::ReferenceCheck`]: the rights of the Reference.
#[inline]
pub fn reference_rights(reference: u64) -> Result<ReferenceRights> {
    let returned = on_objects(Call::ReferenceCheck, [reference, 0, 0, 0, 0]).ok()?;
    Ok(ReferenceRights::from_bits_truncate(returned.rdx))
}

/// [`Call::ReferenceRestrict`]: from the first to the second; a `badge` of 0 leaves the badge as it is.
#[inline]
pub fn reference_restrict(from: u64, to: u64, rights: ReferenceRights, badge: u64) -> Result<()> {
    done(Call::ReferenceRestrict, [from, to, rights.bits(), badge, 0])
}

/// [`Call::ReferenceGrant`]: from the first to the second.
#[inline]
pub fn reference_grant(from: u64, to: u64) -> Result<()> {
    done(Call::ReferenceGrant, [from, to, 0, 0, 0])
}

/// [`Call::ReferenceRevoke`].
#[inline]
pub fn reference_revoke(reference: u64) -> Result<()> {
    done(Call::ReferenceRevoke, [reference, 0, 0, 0, 0])
}
