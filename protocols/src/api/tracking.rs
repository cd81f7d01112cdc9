//! Tracking which pages of a Region are written, for incremental checkpoints and migration.
//!
//! A Region that is tracked ([`Call::RegionTrack`](super::Call::RegionTrack)) remembers which of its pages were written through anything
//! derived from it: by threads and virtual CPUs of any Space at any depth, and by the kernel on their behalf (what calls
//! store, messages, objects made and destroyed, lock words). [`Call::RegionGetDirty`](super::Call::RegionGetDirty) reports those pages and
//! forgets them in one: what is written later, however early after, is reported by the next call. So a checkpointer copies
//! everything once, with tracking on, and then, again and again, what was reported; it stops the child only for the last round.
//!
//! * Nothing is lost: what was written is remembered whatever becomes of the Spaces, Mappings and References by which it was.
//! * It may report more: a page that was about to be written and was not, or that was written with what it held before.
//! * Regions are tracked independently of each other, also where one is derived from another.
//! * What the owner of the exported Space writes itself through its own memory is not reported, nor that other memory appears in the Region
//!   because a Mapping below it changes, nor what devices write by themselves (DMA).
//! * Objects are no memory: that an object's state changed is not reported, that it was created, moved or destroyed is.
//!
//! What it costs: one bit for each page, charged to the Space of whoever turned tracking on; while it is on, pages of the Region are not
//! mapped as large ones, whose tables are charged to the Spaces that show them. Writes of native threads cost nothing: a report looks through the
//! page tables, but only where they were used since the last. Writes of machines cost little where the processor logs them (page-modification
//! logging), for which each virtual CPU takes a frame; else, or if its Space has none, the first write to a page after each report takes a fault that the
//! kernel serves. Memory that nobody tracks costs nothing.
//!
//! A virtual CPU that logs treats accesses to its guest's page tables as writes, as the processor does: they are reported, and a guest
//! cannot have page tables in memory that it may only read.
//!
//! Tracking is state: [`Call::RegionGetState`](super::Call::RegionGetState) says whether a Region is tracked, and
//! [`Call::RegionSetDirty`](super::Call::RegionSetDirty) makes a new one remember what an old one did.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Pages of a Region that were written, next to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirtyRange {
    /// Offset of the first in the Region; a multiple of the page size.
    pub offset: u64,
    /// Length in bytes; a multiple of the page size.
    pub size: u64,
}

const _: () = assert!(size_of::<DirtyRange>() == 16);
