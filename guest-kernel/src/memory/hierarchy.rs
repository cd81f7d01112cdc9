//! Relative address spaces: Mappings import pieces of Regions, Regions export pieces of Spaces.
//!
//! [`translate`] walks the whole chain at once, from a Space down to physical memory. [`Derived`] finds everything
//! that was derived from a piece of a Space, so that it can be dropped when any link shrinks. Both are pure: the tables that
//! the hardware reads are a cache of the first, emptied by the second.
//!
//! A Mapping can be copy-on-write ([`shadow`](super::shadow)): page by page it shows either its Region or another. A write that makes a
//! page change from one to the other ends a walk with [`Fault::Copy`].
//!
//! No Space shows, directly or indirectly, part of itself: each has a rank above those of all that it shows parts of, which
//! [`order`] keeps. So every walk ends. What is derived from one piece can be more than anybody can count (a Space that shows
//! a page twice, shown twice by the next, and so on), so a walk gives up where it meets too much; then whole Spaces are
//! emptied, each once ([`visit_derived`]).
//!
//! Invariants: the Mappings of a Space do not overlap; sizes and ends do not wrap; what a Space shows has at most the rights of
//! every Mapping and Region on the chain; a Region is in its Space's list, a Mapping in its Region's.

use crate::arena::{Arena, Id};
use crate::list::{List, Member, Place};
use crate::memory::address_map::AddressMap;
use crate::memory::dirty::{Tracked, Tracking};
use crate::memory::shadow::Shadow;
use crate::references::{Access, Capability, Grant, Paid, Reference};
use crate::space::Contents;
use crate::thread::Thread;
use alloc::boxed::Box;
use core::cell::Cell;
use protocols::address::{HostPhysical, PAGE_SIZE};
use protocols::api::Rights;

/// Highest end of any address range: what the tables of both kinds of Space can hold.
pub const MEMORY_END: u64 = 1 << 48;

/// A Space.
pub struct Space {
    /// Its Mappings, by start address.
    pub mappings: AddressMap<Id<Mapping>>,
    /// Regions that export pieces of it.
    pub regions: List<Region>,
    /// Threads in it.
    pub threads: List<Thread>,
    /// Above those of all Spaces that it shows parts of.
    pub rank: u64,
    /// For walks over Spaces.
    pub visit: Visit,
    /// The next of the Spaces that are to be emptied.
    pub next_emptied: Option<Id<Space>>,
    /// Who hears of exceptions in it.
    pub keeper: Reference,
    /// How many ticks its threads wait for a keeper's reply; 0 for as many as the kernel thinks fit.
    pub patience: u64,
    /// The tables that cache it, and its kind.
    pub contents: Contents,
    /// Kernel memory: allowance, use.
    pub account: crate::account::Account,
    /// Counts how often part of it was taken away.
    pub epoch: u64,
    /// Where accesses to it came to memory that is missing.
    pub approach: Cell<Option<Approach>>,
    /// What was translated before.
    pub windows: super::window::Windows,
    /// Places of objects found before.
    pub names: crate::names::NameCache,
    /// The grants that it pays for.
    pub grants: List<Grant, Paid>,
    /// The tracked Regions whose bitmaps it pays for.
    pub tracked: List<Region, Tracked>,
    /// Its threads may use I/O ports.
    pub ports: bool,
    /// Its page tables may know of tracked pages that were written.
    pub notes_writes: bool,
}

/// A Region.
#[derive(Debug, Default)]
pub struct Region {
    /// The Space that it exports a piece of.
    pub space: Option<Id<Space>>,
    /// By what it was linked to that Space; `None`: by itself, to the Space that it was set in.
    pub space_link: Option<Capability>,
    /// First address exported.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// Most rights of anything derived from it.
    pub rights: Rights,
    /// Who supplies memory where it has none.
    pub keeper: Reference,
    /// How many References link to it and are not void.
    pub references: u64,
    /// Mappings of it.
    pub mappings: List<Mapping>,
    /// Its place among the Regions of its Space.
    pub place: Place<Region>,
    /// Which of its pages were written, if anybody wants to know.
    pub tracking: Option<Box<Tracking>>,
    /// Its place among the tracked Regions that its bitmap's payer pays for.
    pub payer_place: Place<Region>,
}

/// A Mapping.
#[derive(Debug, Default)]
pub struct Mapping {
    /// The Region that it shows.
    pub region: Option<Id<Region>>,
    /// The Space that it appears in.
    pub space: Option<Id<Space>>,
    /// By what it was linked to that Space.
    pub space_link: Option<Capability>,
    /// Where in the Region it begins.
    pub offset: u64,
    /// Where in the Space it appears.
    pub start: u64,
    /// Length in bytes; with none it is in no Space's list.
    pub size: u64,
    /// Rights that it passes on: those wanted, as far as how it came to its Region allows.
    pub rights: Rights,
    /// Its place among the Mappings of its Region.
    pub place: Place<Mapping>,
    /// Something was translated through it since it was set.
    pub used: Cell<bool>,
    /// How it came to its Region.
    pub access: Access,
    /// It is copy-on-write.
    pub shadow: Option<Box<Shadow>>,
}

impl Member for Region {
    fn place(&mut self) -> &mut Place<Self> {
        &mut self.place
    }
    fn place_ref(&self) -> &Place<Self> {
        &self.place
    }
}

impl Member for Mapping {
    fn place(&mut self) -> &mut Place<Self> {
        &mut self.place
    }
    fn place_ref(&self) -> &Place<Self> {
        &self.place
    }
}

/// A Space's part in a walk over Spaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visit {
    /// The last walk that has met it.
    walk: u64,
    /// The next Space that the walk is to go to.
    next: Option<Id<Space>>,
}

/// What an address of a Space means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address.
    pub physical: HostPhysical,
    /// The rights of the whole chain.
    pub rights: Rights,
    /// How many bytes before it are translated alike and contiguously.
    pub before: u64,
    /// How many bytes from it on are.
    pub after: u64,
    /// A Region of the chain is tracked.
    pub tracked: bool,
    /// Whether that is device memory, if it is known; all of the stretch then is, or is not.
    pub device: Option<bool>,
}

/// Why an address has no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No Mapping shows it, or none with the rights wanted: the thread's own mistake.
    Unmapped,
    /// A Region has no memory at an offset, or does not give the rights wanted: its keeper's business.
    Region(Id<Region>, u64),
    /// The same for a Region that a page is to be copied from, and that is to be read for that.
    Source(Id<Region>, u64),
    /// A copy-on-write Mapping shows its source there, at an offset, which is to be copied before it is written to.
    Copy(Id<Mapping>, u64),
}

/// The three arenas that make up the hierarchy, borrowed.
pub struct Hierarchy<'a> {
    /// Spaces.
    pub spaces: &'a Arena<Space>,
    /// Regions.
    pub regions: &'a Arena<Region>,
    /// Mappings.
    pub mappings: &'a Arena<Mapping>,
}

/// Where accesses to a stretch of a Space came to a Region that has no memory for them: all links up to there. Whoever faults
/// nearby next, or repeats the access, need not follow them again.
///
/// It counts for as long as no part of the Space has been taken away since, but where that was because of the last Space, which the
/// links lead to and do not lead through.
#[derive(Clone, Copy, Debug)]
pub struct Approach {
    /// The stretch: its first address, and one past the last.
    start: u64,
    end: u64,
    /// The epoch of the Space in which it counts.
    epoch: u64,
    /// The rights of all links.
    rights: Rights,
    /// A Region of them is tracked.
    tracked: bool,
    /// The Region, and what offset of it the first address is.
    region: Id<Region>,
    offset: u64,
    /// The Space that it exports, and what address of that the first one is.
    space: Id<Space>,
    address: u64,
}

/// What an [`Approach`] says of an address: where memory is missing.
#[derive(Clone, Copy, Debug)]
pub struct Missing {
    /// The Region that has none, and the offset in it.
    pub region: Id<Region>,
    /// See `region`.
    pub offset: u64,
    /// The Space that the Region exports, and the address in it.
    pub space: Id<Space>,
    /// See `space`.
    pub address: u64,
    /// The rights of all links up to there.
    pub rights: Rights,
    /// A Region of them is tracked.
    pub tracked: bool,
    /// How many bytes before it are shown alike.
    pub before: u64,
    /// How many bytes from it on are.
    pub after: u64,
}

impl Approach {
    /// Part of what the Space that it is of shows is taken away, because something in `cause` is: what was known in `epoch` is so in
    /// the next one where the links to `cause` are known.
    #[inline]
    pub fn outlives(&mut self, epoch: u64, cause: Id<Space>) {
        if self.epoch == epoch && self.space == cause {
            self.epoch += 1;
        }
    }

    /// What is known of an access that wants `want`, in an epoch of the Space.
    #[inline(always)]
    pub fn reach(&self, address: u64, want: Rights, epoch: u64) -> Option<Missing> {
        let before = address.wrapping_sub(self.start);
        (before < self.end - self.start && self.epoch == epoch && self.rights.contains(want)).then(|| Missing {
            region: self.region,
            offset: self.offset + before,
            space: self.space,
            address: self.address + before,
            rights: self.rights,
            tracked: self.tracked,
            before,
            after: self.end - address,
        })
    }
}

impl Translation {
    /// Before the first link.
    const START: Self = Self {
        physical: HostPhysical::new(0),
        rights: Rights::all(),
        before: u64::MAX,
        after: u64::MAX,
        tracked: false,
        device: None,
    };
}

/// Finds what `address` of `space` means to an access that wants `want`.
pub fn translate(
    hierarchy: &Hierarchy<'_>,
    space: Id<Space>,
    address: u64,
    want: Rights,
) -> Result<Translation, Fault> {
    let (mut found, mut fault) = (Translation::START, Fault::Unmapped);
    let first = hierarchy.spaces.get(space).ok_or(fault)?;
    let (mut here, mut at) = (first, address);
    if let Some(missing) = first.approach.get().and_then(|approach| approach.reach(address, want, first.epoch))
        && let Some(space) = hierarchy.spaces.get(missing.space)
    {
        (found.rights, found.before, found.after) = (missing.rights, missing.before, missing.after);
        found.tracked = missing.tracked;
        fault = Fault::Region(missing.region, missing.offset);
        (here, at) = (space, missing.address);
    }
    follow(hierarchy, (here, at), want, (found, fault), |found, (region, offset), at| {
        let Some(space) = hierarchy.regions.get(region).and_then(|region| region.space) else { return };
        first.approach.set(Some(Approach {
            start: address - found.before,
            end: address + found.after,
            epoch: first.epoch,
            rights: found.rights,
            tracked: found.tracked,
            region,
            offset: offset - found.before,
            space,
            address: at - found.before,
        }));
    })
}

/// Finds what an offset of a Region means to an access that wants `want`. Its rights are not limited to the Region's.
pub fn translate_in(
    hierarchy: &Hierarchy<'_>,
    id: Id<Region>,
    offset: u64,
    want: Rights,
) -> Result<Translation, Fault> {
    let fault = Fault::Region(id, offset);
    let region = hierarchy.regions.get(id).ok_or(Fault::Unmapped)?;
    if offset >= region.size || !region.rights.contains(want) {
        return Err(fault);
    }
    let found = Translation { tracked: region.tracking.is_some(), ..Translation::START };
    let space = region.space.and_then(|space| hierarchy.spaces.get(space)).ok_or(fault)?;
    follow(hierarchy, (space, region.start + offset), want, (found, fault), |_, _, _| {})
}

/// Goes from an address of a Space down to memory; `found` and `fault` say what the links up to there have, and what is wrong if there
/// is nothing. If links that are not copy-on-write lead to missing memory, `learn` is told of the Region, the offset, and the address in its Space.
#[inline(always)]
fn follow<'a>(
    hierarchy: &Hierarchy<'a>,
    (mut here, mut at): (&'a Space, u64),
    want: Rights,
    (mut found, mut fault): (Translation, Fault),
    learn: impl FnOnce(&Translation, (Id<Region>, u64), u64),
) -> Result<Translation, Fault> {
    // What these links are was known before.
    let mut is_known = true;
    // Which of its Regions a copy-on-write Mapping shows depends on the access.
    let mut depends = false;
    loop {
        if matches!(here.contents, Contents::Physical) {
            found.physical = HostPhysical::new(at);
            return Ok(found);
        }
        if fault != Fault::Unmapped
            && let Some(window) = here.windows.find(at, want, here.epoch)
        {
            found.physical = window.physical(at);
            found.rights &= window.rights;
            found.before = found.before.min(at - window.start);
            found.after = found.after.min(window.end - at);
            found.device = Some(window.device);
            return Ok(found);
        }
        let mut shown = None;
        if let Some((_, id)) = here.mappings.at_or_before(at)
            && let Some(mapping) = hierarchy.mappings.get(id).filter(|mapping| at - mapping.start < mapping.size)
        {
            shown = Some(mapping);
            if let Some(shadow) = &mapping.shadow {
                depends = true;
                let offset = mapping.offset + (at - mapping.start);
                let chosen = shadow.choose(hierarchy, (id, mapping), offset, want);
                let chosen = chosen.map_err(|because| because.unwrap_or(fault))?;
                found.rights &= chosen.rights;
                found.before = found.before.min(chosen.before);
                found.after = found.after.min(chosen.after);
                shown = Some(chosen.mapping);
            }
        }
        let Some(mapping) = shown.filter(|mapping| mapping.rights.contains(want)) else {
            if let Fault::Region(region, offset) = fault
                && !is_known
                && !depends
            {
                learn(&found, (region, offset), at);
            }
            return Err(fault);
        };
        mapping.used.set(true);
        let inside = at - mapping.start;
        let id = mapping.region.ok_or(fault)?;
        let region = hierarchy.regions.get(id).ok_or(fault)?;
        let offset = mapping.offset + inside;
        fault = Fault::Region(id, offset);
        if offset >= region.size || !region.rights.contains(want) {
            return Err(fault);
        }
        found.rights &= mapping.rights & region.rights;
        found.tracked |= region.tracking.is_some();
        found.before = found.before.min(inside).min(offset);
        found.after = found.after.min(mapping.size - inside).min(region.size - offset);
        at = region.start + offset;
        here = region.space.and_then(|space| hierarchy.spaces.get(space)).ok_or(fault)?;
        is_known = false;
    }
}

/// Calls `meet` for every Region through which `space` shows what is from `start` to `end`, or from `start` on as far as all of it is shown alike, with
/// the offsets in it. Returns where that ends.
pub fn visit_below(
    hierarchy: &mut HierarchyMut<'_>,
    space: Id<Space>,
    start: u64,
    end: u64,
    mut meet: impl FnMut(Id<Region>, &mut Region, core::ops::Range<u64>),
) -> u64 {
    let (mut space, mut address, mut length) = (Some(space), start, end - start);
    // Where nothing is shown, what comes behind the page can be shown all the same.
    let page = length.min(PAGE_SIZE - start % PAGE_SIZE);
    while let Some(here) = space.and_then(|space| hierarchy.spaces.get(space)) {
        if matches!(here.contents, Contents::Physical) {
            return start + length;
        }
        let mapping = here.mappings.at_or_before(address).and_then(|(_, id)| hierarchy.mappings.get(id));
        let Some(mapping) = mapping.filter(|mapping| address - mapping.start < mapping.size) else { break };
        let inside = address - mapping.start;
        let offset = mapping.offset + inside;
        length = length.min(mapping.size - inside);
        let mut shown = Some(mapping);
        if let Some(shadow) = &mapping.shadow {
            let run = shadow.copied.run(offset / PAGE_SIZE);
            length = length.min(run.pages.end.saturating_mul(PAGE_SIZE) - offset);
            shown = if run.contained { hierarchy.mappings.get(shadow.mapping) } else { shown };
        }
        let Some(id) = shown.and_then(|mapping| mapping.region) else { break };
        let Some(region) = hierarchy.regions.get_mut(id) else { break };
        if offset >= region.size {
            break;
        }
        length = length.min(region.size - offset);
        meet(id, region, offset..offset + length);
        (space, address) = (region.space, region.start + offset);
    }
    start + page
}

/// Adds a Mapping to those of its Region.
pub fn link_mapping(regions: &mut Arena<Region>, mappings: &mut Arena<Mapping>, id: Id<Mapping>) {
    let region = mappings.get(id).and_then(|mapping| mapping.region);
    if let Some(region) = region.and_then(|region| regions.get_mut(region)) {
        region.mappings.add(mappings, id);
    }
}

/// Takes a Mapping out of those of its Region.
pub fn unlink_mapping(regions: &mut Arena<Region>, mappings: &mut Arena<Mapping>, id: Id<Mapping>) {
    let region = mappings.get(id).and_then(|mapping| mapping.region);
    if let Some(region) = region.and_then(|region| regions.get_mut(region)) {
        region.mappings.remove(mappings, id);
    }
}

/// Adds a Region to those of its Space.
pub fn link_region(spaces: &mut Arena<Space>, regions: &mut Arena<Region>, id: Id<Region>) {
    let space = regions.get(id).and_then(|region| region.space);
    if let Some(space) = space.and_then(|space| spaces.get_mut(space)) {
        space.regions.add(regions, id);
    }
}

/// Takes a Region out of those of its Space.
pub fn unlink_region(spaces: &mut Arena<Space>, regions: &mut Arena<Region>, id: Id<Region>) {
    let space = regions.get(id).and_then(|region| region.space);
    if let Some(space) = space.and_then(|space| spaces.get_mut(space)) {
        space.regions.remove(regions, id);
    }
}

/// A piece of a Space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The Space.
    pub space: Id<Space>,
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
}

/// The deepest chain below a piece that a walk goes through.
const DEEPEST: usize = 128;
/// The most pieces that a walk goes through.
pub const MOST_PIECES: usize = 4096;

/// Where a walk stands below one piece: at which Mapping of which Region of its Space.
#[derive(Clone, Copy)]
struct Step {
    piece: Piece,
    region: Option<Id<Region>>,
    mapping: Option<Id<Mapping>>,
    /// Whether it goes on to the Space's next Region.
    all_regions: bool,
}

impl Step {
    /// At the first Mapping of the first Region that may show some of a piece.
    fn below(hierarchy: &Hierarchy<'_>, piece: Piece) -> Self {
        let region = hierarchy.spaces.get(piece.space).and_then(|space| space.regions.first());
        let mapping = region.and_then(|region| first_mapping(hierarchy, region));
        Self { piece, region, mapping, all_regions: true }
    }
}

/// A walk over a piece and every piece of any Space that is derived from it.
pub struct Derived {
    steps: heapless::Vec<Step, DEEPEST>,
    count: usize,
}

/// There is more than a walk goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch;

impl Derived {
    /// The walk below a piece. The piece itself does not come.
    #[inline(always)]
    pub fn of_piece(hierarchy: &Hierarchy<'_>, piece: Piece) -> Self {
        Self::from(Step::below(hierarchy, piece))
    }

    /// The walk over what is derived from a piece of its Space through one Region.
    #[inline(always)]
    pub fn of_region(hierarchy: &Hierarchy<'_>, region: Id<Region>, piece: Piece) -> Self {
        let mapping = first_mapping(hierarchy, region);
        Self::from(Step { piece, region: Some(region), mapping, all_regions: false })
    }

    #[inline(always)]
    fn from(step: Step) -> Self {
        // The steps are many words: they are made in place.
        let mut walk = Self { steps: heapless::Vec::new(), count: 0 };
        // There is room for one.
        let _ = walk.steps.push(step);
        walk
    }

    /// How many pieces came so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The next piece; an error if there are too many, of which some have not come then.
    pub fn next(&mut self, hierarchy: &Hierarchy<'_>) -> Result<Option<Piece>, TooMuch> {
        while let Some(step) = self.steps.last_mut() {
            let Some(region_id) = step.region else {
                self.steps.pop();
                continue;
            };
            let Some(mapping_id) = step.mapping else {
                step.region = List::<Region>::after(hierarchy.regions, region_id).filter(|_| step.all_regions);
                step.mapping = step.region.and_then(|region| first_mapping(hierarchy, region));
                continue;
            };
            step.mapping = List::<Mapping>::after(hierarchy.mappings, mapping_id);
            let piece = step.piece;
            let Some(region) = hierarchy.regions.get(region_id) else { continue };
            let (start, end) = (piece.start.max(region.start), piece.end.min(region.start + region.size));
            if start >= end {
                // No Mapping of this Region can show any of it.
                step.mapping = None;
                continue;
            }
            let Some(shown) = shown(hierarchy, mapping_id, start - region.start, end - region.start) else { continue };
            self.count += 1;
            if self.count > MOST_PIECES || self.steps.push(Step::below(hierarchy, shown)).is_err() {
                return Err(TooMuch);
            }
            return Ok(Some(shown));
        }
        Ok(None)
    }
}

fn first_mapping(hierarchy: &Hierarchy<'_>, region: Id<Region>) -> Option<Id<Mapping>> {
    hierarchy.regions.get(region)?.mappings.first()
}

/// The piece of a Space that shows offsets `start` to `end` of the Region of a Mapping through that Mapping.
pub fn shown(hierarchy: &Hierarchy<'_>, mapping: Id<Mapping>, start: u64, end: u64) -> Option<Piece> {
    let mapping = hierarchy.mappings.get(mapping)?;
    let space = mapping.space?;
    let (start, end) = (start.max(mapping.offset), end.min(mapping.offset + mapping.size));
    let shift = |offset: u64| mapping.start + (offset - mapping.offset);
    (start < end).then(|| Piece { space, start: shift(start), end: shift(end) })
}

/// The three arenas that make up the hierarchy, borrowed for changes, and the number of walks over Spaces so far.
pub struct HierarchyMut<'a> {
    /// Spaces.
    pub spaces: &'a mut Arena<Space>,
    /// Regions.
    pub regions: &'a mut Arena<Region>,
    /// Mappings.
    pub mappings: &'a mut Arena<Mapping>,
    /// Walks over Spaces so far.
    pub walks: &'a mut u64,
}

/// Calls `meet` for `first` and for every Space that shows part of it, directly or indirectly, once each.
pub fn visit_derived(
    hierarchy: &mut HierarchyMut<'_>,
    first: Id<Space>,
    mut meet: impl FnMut(&mut HierarchyMut<'_>, Id<Space>),
) {
    *hierarchy.walks += 1;
    let walk = *hierarchy.walks;
    if let Some(space) = hierarchy.spaces.get_mut(first) {
        space.visit = Visit { walk, next: None };
    }
    let mut stack = Some(first);
    while let Some(id) = stack {
        stack = hierarchy.spaces.get(id).and_then(|space| space.visit.next);
        let mut region = hierarchy.spaces.get(id).and_then(|space| space.regions.first());
        while let Some(region_id) = region {
            region = List::<Region>::after(hierarchy.regions, region_id);
            let mut mapping = hierarchy.regions.get(region_id).and_then(|region| region.mappings.first());
            while let Some(mapping_id) = mapping {
                mapping = List::<Mapping>::after(hierarchy.mappings, mapping_id);
                let space = hierarchy.mappings.get(mapping_id).and_then(|mapping| mapping.space);
                let Some((id, space)) = space.and_then(|id| Some((id, hierarchy.spaces.get_mut(id)?))) else {
                    continue;
                };
                if space.visit.walk != walk {
                    space.visit = Visit { walk, next: stack };
                    stack = Some(id);
                }
            }
        }
        meet(hierarchy, id);
    }
}

/// Lists `first` and every Space that shows part of it, directly or indirectly, through [`Space::next_emptied`]. Returns
/// the first of the list.
pub fn list_derived(hierarchy: &mut HierarchyMut<'_>, first: Id<Space>) -> Option<Id<Space>> {
    let mut list = None;
    visit_derived(hierarchy, first, |hierarchy, id| {
        if let Some(space) = hierarchy.spaces.get_mut(id) {
            space.next_emptied = list.replace(id);
        }
    });
    list
}

/// A Space would show part of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circular;

/// Makes sure that `upper` can show parts of `lower`: ranks it above.
pub fn order(hierarchy: &mut HierarchyMut<'_>, lower: Id<Space>, upper: Id<Space>) -> Result<(), Circular> {
    let rank = |spaces: &Arena<Space>, id| spaces.get(id).map_or(0, |space| space.rank);
    let (below, above) = (rank(hierarchy.spaces, lower), rank(hierarchy.spaces, upper));
    if lower == upper {
        return Err(Circular);
    }
    if below < above {
        return Ok(());
    }
    let mut circular = false;
    visit_derived(hierarchy, upper, |_, space| circular |= space == lower);
    if circular {
        return Err(Circular);
    }
    let rise = below - above + 1;
    visit_derived(hierarchy, upper, |hierarchy, space| {
        if let Some(space) = hierarchy.spaces.get_mut(space) {
            space.rank += rise;
        }
    });
    Ok(())
}

/// Whether `size` bytes from `start` on overlap a Mapping of `space` other than `except`.
pub fn overlaps(hierarchy: &Hierarchy<'_>, space: &Space, start: u64, size: u64, except: Id<Mapping>) -> bool {
    let covers = |id| {
        hierarchy.mappings.get(id).is_some_and(|other| other.start < start + size && start < other.start + other.size)
    };
    if size == 0 {
        return false;
    }
    // Mappings do not overlap each other: beside `except`, the one before the end and the one before that will tell.
    let mut end = start + size - 1;
    while let Some((first, id)) = space.mappings.at_or_before(end) {
        if id != except {
            return covers(id);
        }
        match first.checked_sub(1) {
            Some(before) => end = before,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod copying_tests;

#[cfg(test)]
mod tests;
