//! References are capabilities: each links to an object, or to nothing, and holds what the link is good for. Programs use
//! [`libnest::Reference`](crate::libnest::Reference) and [`libnest::Grant`](crate::libnest::Grant). What rights, badges and grants are is said
//! [here](crate::api#references).

use super::{Result, done, object_type, on_objects};
use crate::api::{Call, ObjectType, ReferenceRights};
#[cfg(doc)]
use crate::{
    api::{MAX_GRANT_DEPTH, Status},
    exception::Misuse,
};

create!(ReferenceCreate, reference_create(reference), "reference_create", "Reference", "It links to nothing.");

destroy!(
    ReferenceDestroy,
    reference_destroy(reference),
    "reference_destroy",
    "Reference",
    "Its target is not affected, but for a Port that it was the last to link to: its server may be \
     [told](crate::api::MessageKind::NoReferences).",
    "Constant."
);

relocate!(ReferenceMove, reference_move(reference), "reference_move", "Reference", "");

/// Makes a Reference link as another does.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ReferenceCopy`](Call::ReferenceCopy) | |
/// | `rdi` | the original, right [`COPY`](ReferenceRights::COPY) unless it links to nothing | read |
/// | `rsi` | the copy | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok): also if the original is void; then so is the copy
///
#[doc = misuse!(": also if the original does not have the right")]
/// # Effects
///
/// The copy links to the same object with the same rights but [`REVOKE`](ReferenceRights::REVOKE), badge and grant; or to nothing. What it linked to
/// before, it links to no more. Both may be the same.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("reference_copy")]
#[inline]
pub fn reference_copy(from: u64, to: u64) -> Result<()> {
    done(Call::ReferenceCopy, [from, to, 0, 0, 0])
}

/// Says what a Reference links to.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ReferenceCheck`](Call::ReferenceCheck) | |
/// | `rdi` | the Reference | read |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rsi` is the [`ObjectType`] of its target, 0 if it links to nothing or is void; `rdx` its
///   [`ReferenceRights`], 0 if it links to nothing
///
#[doc = misuse!("")]
/// # Effects
///
/// None. The badge is its server's business.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("reference_check")]
#[inline]
pub fn reference_check(reference: u64) -> Result<Option<ObjectType>> {
    on_objects(Call::ReferenceCheck, [reference, 0, 0, 0, 0]).ok().map(|returned| object_type(returned.rsi))
}

/// [`reference_check`] of the rights.
#[inline]
pub fn reference_rights(reference: u64) -> Result<ReferenceRights> {
    let returned = on_objects(Call::ReferenceCheck, [reference, 0, 0, 0, 0]).ok()?;
    Ok(ReferenceRights::from_bits_truncate(returned.rdx))
}

/// Copies a Reference with fewer rights, or with a badge; a `badge` of 0 leaves the badge as it is.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ReferenceRestrict`](Call::ReferenceRestrict) | |
/// | `rdi` | the original, right [`COPY`](ReferenceRights::COPY) and, to set a badge, [`BADGE`](ReferenceRights::BADGE) | read |
/// | `rsi` | the copy | write |
/// | `rdx` | the [`ReferenceRights`] that the copy keeps of the original's | |
/// | `r10` | its badge; 0: that of the original, if it has one | |
///
/// # Results
///
/// * [`Ok`](Status::Ok): also if the original is void; then so is the copy
///
#[doc = misuse!(
    ": also if a badge is set on a link to anything but a Port; `NoRight` also if the original lacks a right; \
     [`NullReference`](Misuse::NullReference); [`BadArgument`](Misuse::BadArgument): there are no such rights"
)]
/// # Effects
///
/// As [`reference_copy`], with those rights at most. A copy with a badge of its own has lost [`BADGE`](ReferenceRights::BADGE): a badge is
/// set once. Both may be the same Reference.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("reference_restrict")]
#[inline]
pub fn reference_restrict(from: u64, to: u64, rights: ReferenceRights, badge: u64) -> Result<()> {
    done(Call::ReferenceRestrict, [from, to, rights.bits(), badge, 0])
}

/// Copies a Reference through a new grant, which can be revoked.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ReferenceGrant`](Call::ReferenceGrant) | |
/// | `rdi` | the original, rights [`COPY`](ReferenceRights::COPY) and [`GRANT`](ReferenceRights::GRANT) | read |
/// | `rsi` | the copy, which alone can revoke the grant | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`NoMemory`](Status::NoMemory): the allowance of the caller's Space does not suffice, or the kernel has no memory left
/// * [`InvalidDestination`](Status::InvalidDestination): the original is void
/// * [`Refused`](Status::Refused): the original's grant is being revoked, or derived from a grant that was derived from a grant, and so on,
///   [`MAX_GRANT_DEPTH`] times
///
/// But for `Ok`, nothing was changed.
///
#[doc = misuse!(": also if the original lacks a right; [`NullReference`](Misuse::NullReference)")]
/// # Effects
///
/// The grant is derived from that of the original, if that has one, and charged to the caller's Space. The copy has the right
/// [`REVOKE`](ReferenceRights::REVOKE), which copies of it do not get. A grant ends when it is revoked, when the caller's Space is destroyed, or when
/// nothing was made through it any more.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("reference_grant")]
#[inline]
pub fn reference_grant(from: u64, to: u64) -> Result<()> {
    done(Call::ReferenceGrant, [from, to, 0, 0, 0])
}

/// Ends the grant through which a Reference links, and all that were derived from it.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`ReferenceRevoke`](Call::ReferenceRevoke) | |
/// | `rdi` | the Reference, right [`REVOKE`](ReferenceRights::REVOKE) | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok): also if the grant has ended already
///
#[doc = misuse!(": also if the Reference lacks the right; [`NullReference`](Misuse::NullReference)")]
/// # Effects
///
/// All References through those grants are void when the call returns, wherever they are; `rdi` links to nothing. Mappings of a
/// Region made through them show nothing any more, keepers are none any more. Calls sent before go on to their replies.
///
/// # Restart
///
/// Never waits. After 256 grants it lets others run and is made again, so that it may be found half done.
///
/// # Cost
///
/// Linear in the derived grants and, as [`mapping_destroy`](super::mapping_destroy), in the Mappings made through them; independent of the
/// number of copies.
///
#[doc = example!("reference_revoke")]
#[inline]
pub fn reference_revoke(reference: u64) -> Result<()> {
    done(Call::ReferenceRevoke, [reference, 0, 0, 0, 0])
}
