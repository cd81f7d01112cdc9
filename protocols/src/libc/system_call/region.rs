//! Regions export part of a [Space](super::space), for [Mappings](super::mapping) to import. Programs use
//! [`libnest::Region`](crate::libnest::Region).
//!
//! A Region has a **keeper**, if it is given one: a Port at which a [`MemoryFault`](crate::exception::MemoryFault) arrives whenever somebody wants memory
//! that the Region's own Space does not have. And it is where a parent finds the objects in the memory that it has lent.
#![allow(unsafe_code)]

use super::{Result, address, address_mut, done, object_type, on_objects, raw};
use crate::api::{Call, DirtyRange, ObjectType, RegionState, Rights, Status};
#[cfg(doc)]
use crate::{
    api::{OBJECT_SIZE, ReferenceRights},
    exception::Misuse,
};

create!(
    RegionCreate,
    region_create(region),
    "region_create",
    "Region",
    "It exports nothing until [`region_set_state`] says more."
);

destroy!(
    RegionDestroy,
    region_destroy(region),
    "region_destroy",
    "Region",
    "What came through Mappings of it is no longer accessible, at once. The Mappings remain, and show nothing.",
    "As [`mapping_destroy`](super::mapping_destroy), for each Mapping of it."
);

relocate!(RegionMove, region_move(region), "region_move", "Region", "Mappings of it stay as they are.");

refer!(
    RegionReference,
    region_reference(region),
    "region_reference",
    "Region",
    "Whoever has it can map the Region ([`mapping_set_state`](super::mapping_set_state))."
);

/// Says what a Region exports, of which Space, and who keeps it.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`RegionGetState`](Call::RegionGetState) | |
/// | `rdi` | the Region | read |
/// | `rsi` | where its [`RegionState`] goes; 0: it is not asked for | write |
/// | `rdx` | a Reference to be pointed at the Space that it exports; 0: that is not asked for | write |
/// | `r10` | a Reference to be pointed at its keeper Port; 0: that is not asked for | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rdx` returns 1 if the Region is [tracked](crate::api::tracking), 0 if not; `r8` how many References link to it
///
#[doc = misuse!("")]
/// # Effects
///
/// Each Reference links as the one did by which the Region was [set](region_set_state), or to nothing. The Space of a Region that was set
/// without a Reference to one is linked with the rights [`EXPORT`](ReferenceRights::EXPORT) and [`COPY`](ReferenceRights::COPY).
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("region_get_state")]
#[inline]
pub fn region_get_state(region: u64, space: u64, keeper: u64) -> Result<RegionState> {
    let mut state = RegionState::default();
    // SAFETY: the call writes one RegionState to `state`, which is exclusively ours.
    unsafe { raw(Call::RegionGetState as u64, [region, address_mut(&mut state), space, keeper, 0]) }.ok()?;
    Ok(state)
}

/// Sets what a Region exports, of which Space, and who keeps it.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`RegionSetState`](Call::RegionSetState) | |
/// | `rdi` | the Region | write |
/// | `rsi` | its [`RegionState`]; 0: as it is, which must have been set before | read |
/// | `rdx` | a Reference to the Space that it exports, right [`EXPORT`](ReferenceRights::EXPORT); 0: as it is, at first the caller's own | read |
/// | `r10` | a Reference to its keeper Port, right [`CALL`](ReferenceRights::CALL); 0: as it is, at first none | read |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`Circular`](Status::Circular): a Space that has Mappings of it would show part of itself
/// * [`InvalidDestination`](Status::InvalidDestination): a Reference is void
/// * [`Refused`](Status::Refused): the Region is [tracked](crate::api::tracking), and would export something else
///
/// But for `Ok`, nothing was changed.
///
#[doc = misuse!(
    ": also if start or size is not a multiple of the page size, if a Reference links to another type or lacks the right; \
     [`NullReference`](Misuse::NullReference); [`BadArgument`](Misuse::BadArgument): the size is 0, the end lies above 2^48, or there are no \
     such rights"
)]
/// # Effects
///
/// What Mappings of it showed before is no longer accessible, at once; what they show now is found as it is accessed. A keeper is none any
/// more once the grant of its Reference is revoked.
///
#[doc = never_waits!()]
/// # Cost
///
/// As [`region_destroy`] for what it exported before, and linear in the Mappings of it.
///
/// # Safety
///
/// Memory that the Region exports with the right to write must be memory of which Rust holds no references.
///
#[doc = example!("region_set_state")]
#[inline]
pub unsafe fn region_set_state(region: u64, state: &RegionState, space: u64, keeper: u64) -> Result<()> {
    // SAFETY: `state` is only read; the rest is the caller's promise.
    unsafe { raw(Call::RegionSetState as u64, [region, address(state), space, keeper, 0]) }.ok().map(|_| ())
}

/// Limits everything that is derived from a Region, at once; relaxes the limit too.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`RegionProtect`](Call::RegionProtect) | |
/// | `rdi` | the Region | write |
/// | `rsi` | the [`Rights`] that it exports from now on | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
///
#[doc = misuse!("; [`BadArgument`](Misuse::BadArgument): there are no such rights")]
/// # Effects
///
/// The `rights` of its [`RegionState`] are these. Rights that were taken away are gone in all Spaces when the call returns.
///
#[doc = never_waits!()]
/// # Cost
///
/// As [`region_destroy`], if a right is taken away; else constant.
///
#[doc = example!("region_protect")]
#[inline]
pub fn region_protect(region: u64, rights: Rights) -> Result<()> {
    done(Call::RegionProtect, [region, rights.bits(), 0, 0, 0])
}

/// Finds the first object in the memory that a Region exports, at or after an offset. `None` if there is none.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`RegionSearch`](Call::RegionSearch) | |
/// | `rdi` | the Region | read |
/// | `rsi` | the offset in it from which on to look | |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rsi` is the object's offset, `rdx` its [`ObjectType`]. Look on at `rsi` + [`OBJECT_SIZE`]
/// * [`NotFound`](Status::NotFound): there is none
///
#[doc = misuse!("")]
/// # Effects
///
/// None. It finds the objects of everybody who can create some in that memory, whatever rights the Region exports.
///
/// # Restart
///
/// Never waits. After 256 steps (a page without memory, or a stretch with memory but no object) it lets others run and is made again; RSI
/// says meanwhile from where on.
///
/// # Cost
///
/// Linear in the pages without memory and the stretches of memory up to the object; others run in between. A stretch is searched in
/// constant time.
///
#[doc = example!("region_search")]
#[inline]
pub fn region_search(region: u64, offset: u64) -> Result<Option<(u64, ObjectType)>> {
    match on_objects(Call::RegionSearch, [region, offset, 0, 0, 0]).ok() {
        Ok(returned) => Ok(object_type(returned.rdx).map(|kind| (returned.rsi, kind))),
        Err(Status::NotFound) => Ok(None),
        Err(status) => Err(status),
    }
}

/// [`region_get_state`], of which only whether the Region is [tracked](crate::api::tracking) is asked for.
#[inline]
pub fn region_is_tracked(region: u64) -> Result<bool> {
    on_objects(Call::RegionGetState, [region, 0, 0, 0, 0]).ok().map(|returned| returned.rdx != 0)
}

/// Has a Region [remember](crate::api::tracking) which of its pages are written from now on, or not any more.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`RegionTrack`](Call::RegionTrack) | |
/// | `rdi` | the Region | write |
/// | `rsi` | 1: it remembers; 0: it does not | |
///
/// # Results
///
/// * [`Ok`](Status::Ok): also if it is so already, and then nothing changes
/// * [`NoMemory`](Status::NoMemory): for the bitmap, for which the caller's Space pays: a frame for each 128 MiB of the Region, rounded up
/// * [`Refused`](Status::Refused): the Region exports nothing yet, or more than 64 GiB
///
#[doc = misuse!("; [`BadArgument`](Misuse::BadArgument): `rsi` is something else")]
/// # Effects
///
/// At first no page counts as written. All that is derived from the Region is found again as it is accessed, in small pages while it is tracked.
/// Tracking ends with the Region, and with the Space that pays for it.
///
#[doc = never_waits!()]
/// # Cost
///
/// As [`region_destroy`], and linear in the frames of the bitmap.
///
#[doc = example!("region_track")]
#[inline]
pub fn region_track(region: u64, on: bool) -> Result<()> {
    done(Call::RegionTrack, [region, u64::from(on), 0, 0, 0])
}

/// Reports which pages of a Region were written, and [forgets](crate::api::tracking) them. Returns the ranges for which there was
/// room in `ranges`, and the offset up to which those are all.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`RegionGetDirty`](Call::RegionGetDirty) | |
/// | `rdi` | the Region | write |
/// | `rsi` | the offset in it from which on to look | |
/// | `rdx` | where [`DirtyRange`]s go | write |
/// | `r10` | the address behind the last byte for them | |
/// | `r8` | the offset up to which to look; the Region's size if it is larger | |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rsi` is the offset up to which all pages are reported: the end, or the first page for which there was no room. `rdx` is
///   the address behind the last range. Ranges come in the order of their offsets; two may touch each other
/// * [`Refused`](Status::Refused): the Region is not tracked
///
#[doc = misuse!(": also if an offset is not a multiple of the page size")]
/// # Effects
///
/// What is reported is forgotten, and nothing else.
///
/// # Restart
///
/// Never waits. After some thousand pages or Mappings it lets others run and is made again; RSI and RDX say meanwhile how far it came. So they do when
/// there is no memory for the next range, whose pages are not forgotten then.
///
/// # Cost
///
/// Linear in the pages reported; in the Mappings that show each stretch of them; in the page tables of Spaces that show part of the Region, where the processor
/// has used them since the last report, and in the Mappings for each 32 MiB; in each 128 MiB of the Region. Others run in between.
///
#[doc = example!("region_get_dirty")]
#[inline]
pub fn region_get_dirty(region: u64, offset: u64, end: u64, ranges: &mut [DirtyRange]) -> Result<(&[DirtyRange], u64)> {
    let start = ranges.as_mut_ptr().expose_provenance() as u64;
    let room = size_of_val(ranges) as u64;
    // SAFETY: the call writes DirtyRanges to `ranges`, which is exclusively ours.
    let returned = unsafe { raw(Call::RegionGetDirty as u64, [region, offset, start, start + room, end]) }.ok()?;
    let count = returned.rdx.wrapping_sub(start) as usize / size_of::<DirtyRange>();
    Ok((ranges.get(..count).unwrap_or_default(), returned.rsi))
}

/// Has a Region [remember](crate::api::tracking) that pages were written: for a Region that takes the place of another.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`RegionSetDirty`](Call::RegionSetDirty) | |
/// | `rdi` | the Region | write |
/// | `rsi` | the offset in it of the first page | |
/// | `rdx` | the offset behind the last; the Region's size if it is larger | |
///
/// # Results
///
/// * [`Ok`](Status::Ok): `rsi` is the offset behind the last
/// * [`Refused`](Status::Refused): the Region is not tracked
///
#[doc = misuse!(": also if an offset is not a multiple of the page size")]
/// # Effects
///
/// The pages are reported as if they had been written now.
///
/// # Restart
///
/// Never waits. After 4 GiB it lets others run and is made again; RSI says meanwhile from where on.
///
/// # Cost
///
/// Linear in the pages: 64 at a time.
///
#[doc = example!("region_set_dirty")]
#[inline]
pub fn region_set_dirty(region: u64, offset: u64, end: u64) -> Result<()> {
    done(Call::RegionSetDirty, [region, offset, end, 0, 0])
}
