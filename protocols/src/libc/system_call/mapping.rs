//! Mappings import part of a [Region](super::region) into a [Space](super::space). All that a Space shows comes through them.
//! Programs use [`libnest::Mapping`](crate::libnest::Mapping).
//!
//! What an access may do is the AND of the rights of every Mapping and Region on the way down to memory, and of the Reference by which each
//! Mapping names its Region.
#![allow(unsafe_code)]

use super::{Result, address, address_mut, done, raw};
use crate::api::{Call, MappingState, Rights, Status};
#[cfg(doc)]
use crate::{
    api::{COPIED_WORDS, ReferenceRights},
    exception::Misuse,
};

create!(
    MappingCreate,
    mapping_create(mapping),
    "mapping_create",
    "Mapping",
    "It shows nothing, nowhere, until [`mapping_set_state`] says more."
);

destroy!(
    MappingDestroy,
    mapping_destroy(mapping),
    "mapping_destroy",
    "Mapping",
    "What came through it is no longer accessible, at once: an access is an exception.",
    "Linear in what was derived from it: the pages and Mappings of all Spaces that showed it. Where that is more than can be counted, \
     the tables of those Spaces are emptied as a whole. Where many pages were copied that are far apart, others run in between, who find \
     the Mapping in no Space any more."
);

relocate!(MappingMove, mapping_move(mapping), "mapping_move", "Mapping", "What it shows stays accessible.");

refer!(
    MappingReference,
    mapping_reference(mapping),
    "mapping_reference",
    "Mapping",
    "No call takes it yet: it shares nothing by itself."
);

/// Says what a Mapping shows, where, and of which Region in which Space.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`MappingGetState`](Call::MappingGetState) | |
/// | `rdi` | the Mapping | read |
/// | `rsi` | where its [`MappingState`] goes; 0: it is not asked for | write |
/// | `rdx` | a Reference to be pointed at its Region; 0: that is not asked for | write |
/// | `r10` | a Reference to be pointed at the Space in which it appears; 0: that is not asked for | write |
/// | `r8` | a Reference to be pointed at its shadow Region; 0: that is not asked for | write |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
///
#[doc = misuse!("")]
/// # Effects
///
/// Each Reference links as the one did by which the Mapping was [set](mapping_set_state): with its rights, badge and grant. It links to
/// nothing where the Mapping does, or where that link is void.
///
#[doc = never_waits!()]
/// # Cost
///
/// Constant.
///
#[doc = example!("mapping_get_state")]
#[inline]
pub fn mapping_get_state(mapping: u64, region: u64, space: u64) -> Result<MappingState> {
    let mut state = MappingState::default();
    // SAFETY: the call writes one MappingState to `state`, which is exclusively ours.
    unsafe { raw(Call::MappingGetState as u64, [mapping, address_mut(&mut state), region, space, 0]) }.ok()?;
    Ok(state)
}

/// [`mapping_get_state`] for the shadow Region alone, at which the Reference is pointed.
#[inline]
pub fn mapping_get_shadow(mapping: u64, shadow: u64) -> Result<()> {
    done(Call::MappingGetState, [mapping, 0, 0, 0, shadow])
}

/// Sets what a Mapping shows, where, and of which Region in which Space.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`MappingSetState`](Call::MappingSetState) | |
/// | `rdi` | the Mapping | write |
/// | `rsi` | its [`MappingState`]; 0: as it is | read |
/// | `rdx` | a Reference to the Region, with any rights; 0: as it is | read |
/// | `r10` | a Reference to the Space in which it appears, right [`MAP`](ReferenceRights::MAP); 0: as it is | read |
/// | `r8` | a Reference to the shadow Region, with any rights; 0: as it is | read |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`Overlap`](Status::Overlap): another Mapping of the Space appears there
/// * [`Circular`](Status::Circular): the Space would show part of itself, directly or not
/// * [`NoMemory`](Status::NoMemory): the kernel has no memory left, or who pays for the Mapping cannot pay 512 bytes for a shadow
/// * [`InvalidDestination`](Status::InvalidDestination): a Reference is void
///
/// But for `Ok`, nothing was changed.
///
#[doc = misuse!(
    ": also if offset, start or size is not a multiple of the page size, if a Reference links to another type or lacks the right; \
     [`NullReference`](Misuse::NullReference); [`BadArgument`](Misuse::BadArgument): an end lies above 2^48, or above the \
     [end](crate::native_thread::USER_END) of what a native Space can show, or there are no such rights"
)]
/// # Effects
///
/// What came through it before is no longer accessible, at once, but where the same comes through it still; what comes through it now is found as
/// it is accessed. With a size of 0 nothing does. The Mapping has at most the
/// [memory rights](ReferenceRights::memory) of the Reference to its Region, for as long as it shows that Region; it shows nothing any
/// more once that Reference's grant is revoked.
///
/// With a shadow Region it is [copy-on-write](MappingState#copy-on-write) from now on, and no page counts as copied. If that is the Region which it
/// shows itself, it is copy-on-write no more. Where `r8` is 0 the pages that count as copied go on to, so far as it still shows their offsets.
///
#[doc = never_waits!()]
/// # Cost
///
/// As [`mapping_destroy`] for what it showed before; for what it shows now logarithmic in the Mappings of the Space and, where Spaces
/// show parts of each other in a new order, linear in those above. Also linear in the stretches of 16 MiB in which pages do not count as copied
/// any more.
///
/// # Safety
///
/// The Space of the Mapping must not be the caller's own, or nothing in it may depend on what the Mapping covers.
///
#[doc = example!("mapping_set_state")]
#[inline]
pub unsafe fn mapping_set_state(mapping: u64, state: &MappingState, region: u64, space: u64) -> Result<()> {
    // SAFETY: `state` is only read; the rest is the caller's promise.
    unsafe { raw(Call::MappingSetState as u64, [mapping, address(state), region, space, 0]) }.ok().map(|_| ())
}

/// Changes the rights that a Mapping wants, and nothing else of it.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`MappingProtect`](Call::MappingProtect) | |
/// | `rdi` | the Mapping | write |
/// | `rsi` | the [`Rights`] | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
///
#[doc = misuse!("; [`BadArgument`](Misuse::BadArgument): there are no such rights")]
/// # Effects
///
/// Rights that it does not pass on any more end at once, wherever anybody has derived memory through it. Those that it passes on now are found
/// as the memory is accessed; it still has at most the [memory rights](ReferenceRights::memory) of the Reference to its Region. A keeper gives
/// rights back with its [reply](crate::exception::memory_reply::PROTECT) to the fault that their want has caused.
///
#[doc = never_waits!()]
/// # Cost
///
/// As [`mapping_destroy`] where rights are lost, else constant.
///
/// # Safety
///
/// As for [`mapping_set_state`].
///
#[doc = example!("mapping_protect")]
#[inline]
pub unsafe fn mapping_protect(mapping: u64, rights: Rights) -> Result<()> {
    done(Call::MappingProtect, [mapping, rights.bits(), 0, 0, 0])
}

/// [`mapping_set_state`] with a shadow Region.
///
/// # Safety
///
/// As that of [`mapping_set_state`]; and there must be no Rust references to the shadow's memory.
#[inline]
pub unsafe fn mapping_set_state_with_shadow(
    mapping: u64,
    state: &MappingState,
    region: u64,
    space: u64,
    shadow: u64,
) -> Result<()> {
    // SAFETY: `state` is only read; the rest is the caller's promise.
    unsafe { raw(Call::MappingSetState as u64, [mapping, address(state), region, space, shadow]) }.ok().map(|_| ())
}

/// Says which pages of a [copy-on-write](MappingState#copy-on-write) Mapping were copied.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`MappingGetCopied`](Call::MappingGetCopied) | |
/// | `rdi` | the Mapping | read |
/// | `rsi` | from which offset in its Regions on it looks for a page that was copied: a multiple of the page size | |
/// | `rdx` | where the words go | write |
/// | `r10` | how many, at most [`COPIED_WORDS`] | |
///
/// # Results
///
/// * [`Ok`](Status::Ok). `rsi` returns the offset of the first page that was copied at or after the one given. The bits of the words, from the
///   lowest of the first on, say of the pages from there on in order whether they were: 1 for each that was.
/// * [`NotFound`](Status::NotFound): there is none. No words are written.
/// * [`Refused`](Status::Refused): the Mapping is not copy-on-write.
///
#[doc = misuse!(
    ": `NotAligned` also if the offset is not a multiple of the page size; [`BadArgument`](Misuse::BadArgument): the offset is 2^48 or \
     higher, or there are too many words"
)]
/// # Effects
///
/// None. If the words lie in a page which that very Mapping shows and has not copied, it is copied before, and they say so.
///
#[doc = never_waits!()]
/// # Cost
///
/// Linear in the words.
///
#[doc = example!("mapping_get_copied")]
#[inline]
pub fn mapping_get_copied(mapping: u64, offset: u64, words: &mut [u64]) -> Result<Option<u64>> {
    let buffer = words.as_mut_ptr().addr() as u64;
    // SAFETY: the call writes `words`, which are exclusively ours.
    let returned = unsafe { raw(Call::MappingGetCopied as u64, [mapping, offset, buffer, words.len() as u64, 0]) };
    match returned.ok() {
        Ok(returned) => Ok(Some(returned.rsi)),
        Err(Status::NotFound) => Ok(None),
        Err(status) => Err(status),
    }
}

/// Sets which pages of a [copy-on-write](MappingState#copy-on-write) Mapping count as copied.
///
/// # Arguments
///
/// | register | argument | rights |
/// |---|---|---|
/// | `rax` | [`MappingSetCopied`](Call::MappingSetCopied) | |
/// | `rdi` | the Mapping | write |
/// | `rsi` | the offset in its Regions of the first page: a multiple of the page size | |
/// | `rdx` | where the words are, as [`mapping_get_copied`] writes them | read |
/// | `r10` | how many, at most [`COPIED_WORDS`] | |
///
/// # Results
///
/// * [`Ok`](Status::Ok)
/// * [`NoMemory`](Status::NoMemory): the kernel has no memory left, or who pays for the Mapping cannot pay for that; nothing was changed
/// * [`Refused`](Status::Refused): the Mapping is not copy-on-write
///
#[doc = misuse!(
    ": `NotAligned` also if the offset is not a multiple of the page size; [`BadArgument`](Misuse::BadArgument): the offset is 2^48 or \
     higher, there are too many words, or a bit is set for a page that the Mapping does not show"
)]
/// # Effects
///
/// The pages whose bits are set count as copied, those whose bits are not do not, all others stay as they are. No memory changes. What was
/// derived from these pages is no longer accessible, at once; what comes through them now is found as it is accessed.
///
#[doc = never_waits!()]
/// # Cost
///
/// Linear in the words; and as [`mapping_destroy`] for what was derived from their pages.
///
/// # Safety
///
/// As that of [`mapping_set_state`].
///
#[doc = example!("mapping_set_copied")]
#[inline]
pub unsafe fn mapping_set_copied(mapping: u64, offset: u64, words: &[u64]) -> Result<()> {
    let buffer = words.as_ptr().addr() as u64;
    // SAFETY: `words` are only read; the rest is the caller's promise.
    unsafe { raw(Call::MappingSetCopied as u64, [mapping, offset, buffer, words.len() as u64, 0]) }.ok().map(|_| ())
}
