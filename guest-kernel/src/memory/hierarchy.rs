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
mod tests {
    use super::*;
    use crate::account::Account;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    const PAGE: u64 = 4096;

    pub struct World {
        pub spaces: Arena<Space>,
        pub regions: Arena<Region>,
        pub mappings: Arena<Mapping>,
        walks: u64,
    }

    impl World {
        pub fn change(&mut self) -> HierarchyMut<'_> {
            HierarchyMut {
                spaces: &mut self.spaces,
                regions: &mut self.regions,
                mappings: &mut self.mappings,
                walks: &mut self.walks,
            }
        }
        /// `piece` and all that is derived from it.
        pub fn withdrawn(&self, piece: Piece) -> Result<Vec<Piece>, TooMuch> {
            let mut walk = Derived::of_piece(&self.view(), piece);
            let mut pieces = vec![piece];
            while let Some(piece) = walk.next(&self.view())? {
                pieces.push(piece);
            }
            Ok(pieces)
        }
        #[allow(unsafe_code)]
        pub fn new() -> Self {
            // SAFETY: identifiers of one world are not used with another.
            unsafe { Self { spaces: Arena::new(), regions: Arena::new(), mappings: Arena::new(), walks: 0 } }
        }
        pub fn view(&self) -> Hierarchy<'_> {
            Hierarchy { spaces: &self.spaces, regions: &self.regions, mappings: &self.mappings }
        }
        pub fn space(&mut self, physical: bool) -> Id<Space> {
            let contents = if physical { Contents::Physical } else { Contents::Unbuilt };
            self.spaces.insert(Space::new(contents, Account::new(u64::MAX, None)))
        }
        pub fn region(&mut self, space: Id<Space>, start: u64, size: u64, rights: Rights) -> Id<Region> {
            let id = self.regions.insert(Region { space: Some(space), start, size, rights, ..Region::default() });
            link_region(&mut self.spaces, &mut self.regions, id);
            id
        }
        pub fn map(
            &mut self,
            region: Id<Region>,
            space: Id<Space>,
            offset: u64,
            start: u64,
            size: u64,
            rights: Rights,
        ) -> bool {
            let id = self.mappings.insert(Mapping {
                region: Some(region),
                space: Some(space),
                offset,
                start,
                size,
                rights,
                ..Mapping::default()
            });
            let view = Hierarchy { spaces: &self.spaces, regions: &self.regions, mappings: &self.mappings };
            if overlaps(&view, self.spaces.get(space).unwrap(), start, size, id) {
                self.mappings.remove(id);
                return false;
            }
            self.spaces.get_mut(space).unwrap().mappings.insert(start, id);
            link_mapping(&mut self.regions, &mut self.mappings, id);
            true
        }
    }

    proptest! {
        /// A chain of spaces: each shows a window of the one below with its own rights.
        #[test]
        fn rights_are_the_and_of_the_chain(windows in prop::collection::vec((0u64..8, 0u64..8, 1u64..32, 0u64..16, 0u64..16), 1..40), probe in 0u64..64) {
            let mut world = World::new();
            let bottom = world.space(true);
            let mut spaces = vec![bottom];
            for &(start, offset, size, region_rights, mapping_rights) in &windows {
                let below = *spaces.last().unwrap();
                let region = world.region(below, start * PAGE, 64 * PAGE, Rights::from_bits_truncate(region_rights | 1));
                let space = world.space(false);
                assert!(world.map(region, space, offset * PAGE, 3 * PAGE, size * PAGE, Rights::from_bits_truncate(mapping_rights | 1)));
                spaces.push(space);
            }
            let mut expected = Some((probe * PAGE, Rights::all()));
            for &(start, offset, size, region_rights, mapping_rights) in windows.iter().rev() {
                expected = expected.and_then(|(address, rights)| {
                    let inside = address.checked_sub(3 * PAGE).filter(|&inside| inside < size * PAGE)?;
                    let offset = offset * PAGE + inside;
                    (offset < 64 * PAGE).then_some((start * PAGE + offset,
                        rights & Rights::from_bits_truncate(region_rights | 1) & Rights::from_bits_truncate(mapping_rights | 1)))
                });
            }
            let found = translate(&world.view(), *spaces.last().unwrap(), probe * PAGE, Rights::READ).ok();
            prop_assert_eq!(found.map(|found| (found.physical.get(), found.rights)), expected);
            if let Some(found) = found {
                // The window that the walk reports really is contiguous.
                let last = *spaces.last().unwrap();
                let (first, end) = (probe * PAGE - found.before, probe * PAGE + found.after);
                for address in [first, end - PAGE] {
                    let other = translate(&world.view(), last, address, Rights::READ).unwrap();
                    prop_assert_eq!(other.physical.get().wrapping_sub(found.physical.get()), address.wrapping_sub(probe * PAGE));
                }
            }
        }

        /// Whatever can be reached from a piece is among the pieces withdrawn with it.
        #[test]
        fn withdrawing_reaches_all_that_is_derived(links in prop::collection::vec((0usize..6, 0usize..6, 0u64..16, 0u64..16, 1u64..8), 1..30), start in 0u64..24, size in 1u64..8) {
            let mut world = World::new();
            let bottom = world.space(true);
            let mut spaces = vec![bottom];
            spaces.extend((0..6).map(|_| world.space(false)));
            for (from, to, offset, at, size) in links {
                let (from, to) = if from <= to { (from, to + 1) } else { (to, from) };
                let region = world.region(spaces[from], offset * PAGE, 8 * PAGE, Rights::READ);
                world.map(region, spaces[to], 0, at * PAGE, size * PAGE, Rights::READ);
            }
            let dropped = world.withdrawn(Piece { space: bottom, start: start * PAGE, end: (start + size) * PAGE }).unwrap();
            for &space in &spaces[1..] {
                for page in 0..32 {
                    if let Ok(found) = translate(&world.view(), space, page * PAGE, Rights::READ) {
                        let physical = found.physical.get() / PAGE;
                        let reached = (start..start + size).contains(&physical);
                        let covered = dropped.iter().any(|piece| piece.space == space && (piece.start..piece.end).contains(&(page * PAGE)));
                        prop_assert_eq!(reached, covered, "space {:?} page {}", space, page);
                    }
                }
            }
        }
    }

    proptest! {
        /// What is derived through a Region from one of its pages is what shows that page through the Region.
        #[test]
        fn derived_through_a_region_is_what_shows_it(links in prop::collection::vec((0usize..5, 0usize..5, 0u64..8, 0u64..16, 1u64..6), 1..25), which in any::<prop::sample::Index>(), page in 0u64..8) {
            let mut world = World::new();
            let bottom = world.space(true);
            let mut spaces = vec![bottom];
            spaces.extend((0..5).map(|_| world.space(false)));
            let mut regions = Vec::new();
            for (from, to, offset, at, size) in links {
                let (from, to) = if from <= to { (from, to + 1) } else { (to, from) };
                let region = world.region(spaces[from], offset * PAGE, 8 * PAGE, Rights::READ);
                world.map(region, spaces[to], 0, at * PAGE, size * PAGE, Rights::READ);
                regions.push(region);
            }
            let region = *which.get(&regions);
            let Region { space, start, .. } = *world.regions.get(region).unwrap();
            let start = start + page * PAGE;
            let mut walk = Derived::of_region(&world.view(), region, Piece { space: space.unwrap(), start, end: start + PAGE });
            let mut derived = Vec::new();
            while let Some(piece) = walk.next(&world.view()).unwrap() {
                derived.push((piece.space, piece.start));
                prop_assert_eq!(piece.end, piece.start + PAGE);
            }
            prop_assert_eq!(walk.count(), derived.len());
            for &space in &spaces[1..] {
                for address in (0..32).map(|page| page * PAGE) {
                    let mut shows = false;
                    let end = visit_below(&mut world.change(), space, address + 5, address + 3 * PAGE, |id, _, offsets| {
                        shows |= (id, offsets.start) == (region, page * PAGE + 5);
                    });
                    prop_assert!((address + 6..=address + 3 * PAGE).contains(&end));
                    // A stretch is met as its pages are, one by one.
                    let (mut together, mut apart) = (Vec::new(), Vec::new());
                    let number = |id| regions.iter().position(|&region| region == id);
                    let note = |met: &mut Vec<_>, id, offsets: core::ops::Range<u64>| {
                        met.extend((offsets.start / PAGE..offsets.end.div_ceil(PAGE)).map(|page| (number(id), page)));
                    };
                    let mut at = address;
                    while at < address + 3 * PAGE {
                        at = visit_below(&mut world.change(), space, at, address + 3 * PAGE, |id, _, offsets| note(&mut together, id, offsets));
                    }
                    for at in (address..address + 3 * PAGE).step_by(PAGE as usize) {
                        visit_below(&mut world.change(), space, at, at + PAGE, |id, _, offsets| note(&mut apart, id, offsets));
                    }
                    for pieces in [&mut together, &mut apart] {
                        pieces.sort();
                        pieces.dedup();
                    }
                    prop_assert_eq!(together, apart);
                    prop_assert_eq!(shows, derived.contains(&(space, address)), "space {:?} at {:#x}", space, address);
                }
            }
        }
    }

    proptest! {
        /// Ranks allow exactly the links that make no Space show part of itself.
        #[test]
        fn no_space_shows_itself(links in prop::collection::vec((0usize..7, 0usize..7), 1..60)) {
            let mut world = World::new();
            let spaces: Vec<_> = (0..7).map(|_| world.space(false)).collect();
            let mut model: Vec<(usize, usize)> = Vec::new();
            let mut next = 0;
            for (lower, upper) in links {
                let mut reached = vec![upper];
                let mut index = 0;
                while index < reached.len() {
                    let from = reached[index];
                    reached.extend(model.iter().filter(|link| link.0 == from).map(|link| link.1).filter(|to| !reached.contains(to)).collect::<Vec<_>>());
                    index += 1;
                }
                let allowed = !reached.contains(&lower);
                prop_assert_eq!(order(&mut world.change(), spaces[lower], spaces[upper]).is_ok(), allowed);
                if allowed {
                    let region = world.region(spaces[lower], 0, PAGE, Rights::READ);
                    next += 1;
                    world.map(region, spaces[upper], 0, next * PAGE, PAGE, Rights::READ);
                    model.push((lower, upper));
                }
                for &(lower, upper) in &model {
                    let rank = |space: usize| world.spaces.get(spaces[space]).unwrap().rank;
                    prop_assert!(rank(lower) < rank(upper));
                }
            }
        }
    }

    impl World {
        /// Takes a piece away, and what is derived from it, as the kernel does.
        fn withdraw(&mut self, piece: Piece) {
            for (number, derived) in self.withdrawn(piece).unwrap().into_iter().enumerate() {
                let space = self.spaces.get_mut(derived.space).unwrap();
                if let Some(approach) = space.approach.get_mut().as_mut().filter(|_| number != 0) {
                    approach.outlives(space.epoch, piece.space);
                }
                space.epoch += 1;
            }
        }
        fn withdraw_mapping(&mut self, id: Id<Mapping>) {
            let mapping = self.mappings.get(id).unwrap();
            let piece =
                Piece { space: mapping.space.unwrap(), start: mapping.start, end: mapping.start + mapping.size };
            if mapping.used.replace(false) {
                self.withdraw(piece);
            }
        }
        /// What an address means, found by all links.
        fn translate_anew(&self, space: Id<Space>, address: u64, want: Rights) -> Result<Translation, Fault> {
            let known = self.spaces.get(space).unwrap().approach.replace(None);
            let found = translate(&self.view(), space, address, want);
            self.spaces.get(space).unwrap().approach.set(known);
            found
        }
    }

    proptest! {
        /// Where the way to missing memory is known, an address means what it means anyway, whatever has changed since.
        #[test]
        fn known_ways_to_missing_memory_are_right(
            links in prop::collection::vec((0usize..5, 1usize..6, 0u64..8, 0u64..8, 1u64..8), 0..6),
            steps in prop::collection::vec((0u8..8, 0usize..12, 0u64..6, 0u64..4, 0u64..4), 1..200),
        ) {
            let mut world = World::new();
            let mut spaces = vec![world.space(true)];
            spaces.extend((1..6).map(|_| world.space(false)));
            // Each shows half of the one before, and pieces of others.
            for pair in spaces.windows(2) {
                let region = world.region(pair[0], 0, 8 * PAGE, Rights::all());
                assert!(world.map(region, pair[1], 0, 0, 4 * PAGE, Rights::all()));
            }
            for (from, to, offset, at, size) in links {
                let (from, to) = if from < to { (from, to) } else { (to - 1, from + 1) };
                let region = world.region(spaces[from], offset * PAGE, 8 * PAGE, Rights::all());
                world.map(region, spaces[to], 0, at * PAGE, size * PAGE, Rights::all());
            }
            let (mappings, regions): (Vec<_>, Vec<_>) = (world.mappings.ids().collect(), world.regions.ids().collect());
            for (what, which, page, size, rights) in steps {
                let rights = Rights::from_bits_truncate(rights);
                match what {
                    0 if !mappings.is_empty() => {
                        let id = mappings[which % mappings.len()];
                        let mapping = world.mappings.get_mut(id).unwrap();
                        let before = core::mem::replace(&mut mapping.rights, rights);
                        if !rights.contains(before) {
                            world.withdraw_mapping(id);
                        }
                    }
                    1 if !mappings.is_empty() => {
                        let id = mappings[which % mappings.len()];
                        let space = world.mappings.get(id).unwrap().space.unwrap();
                        let (start, size) = (page * PAGE, (size + 1) * PAGE);
                        if !overlaps(&world.view(), world.spaces.get(space).unwrap(), start, size, id) {
                            world.withdraw_mapping(id);
                            let mapping = world.mappings.get_mut(id).unwrap();
                            let old = core::mem::replace(&mut mapping.start, start);
                            mapping.size = size;
                            let places = &mut world.spaces.get_mut(space).unwrap().mappings;
                            places.remove_if(old, |_| true);
                            places.insert(start, id);
                        }
                    }
                    2 => {
                        let id = regions[which % regions.len()];
                        world.regions.get_mut(id).unwrap().rights = rights;
                        let shown: Vec<_> = mappings.iter().copied().filter(|&mapping| world.mappings.get(mapping).unwrap().region == Some(id)).collect();
                        for mapping in shown {
                            if let Some(piece) = super::shown(&world.view(), mapping, 0, MEMORY_END) {
                                world.withdraw(piece);
                            }
                        }
                    }
                    _ => {
                        let space = spaces[1 + which % 5];
                        let expected = world.translate_anew(space, page * PAGE, rights);
                        let found = translate(&world.view(), space, page * PAGE, rights);
                        prop_assert_eq!(found.map(|found| found.physical), expected.map(|found| found.physical));
                        if let (Ok(found), Ok(expected)) = (found, expected) {
                            // What has been relaxed since need not be known: who wants it follows all links.
                            prop_assert!(found.rights.contains(rights) && expected.rights.contains(found.rights));
                            prop_assert!(found.before <= expected.before && found.after <= expected.after);
                        }
                    }
                }
            }
        }
    }

    /// Each Space shows all of the one before twice: what is derived from a page doubles with each.
    #[test]
    fn too_much_is_noticed_and_visited_once() {
        let mut world = World::new();
        let mut spaces = vec![world.space(true)];
        for depth in 0..20 {
            let size = PAGE << depth;
            let below = *spaces.last().unwrap();
            let space = world.space(false);
            order(&mut world.change(), below, space).unwrap();
            for copy in 0..2 {
                let region = world.region(below, 0, size, Rights::READ);
                world.map(region, space, 0, copy * size, size, Rights::READ);
            }
            spaces.push(space);
        }
        let piece = Piece { space: spaces[0], start: 0, end: PAGE };
        assert_eq!(world.withdrawn(piece), Err(TooMuch));
        let mut met = Vec::new();
        visit_derived(&mut world.change(), spaces[0], |_, space| met.push(space));
        assert_eq!(met.len(), 21);
        assert!(spaces.iter().all(|space| met.contains(space)));
    }

    #[test]
    fn chains_that_are_too_deep_are_noticed() {
        let mut world = World::new();
        let mut below = world.space(true);
        let first = below;
        for depth in 1..=DEEPEST + 1 {
            let space = world.space(false);
            let region = world.region(below, 0, PAGE, Rights::READ);
            world.map(region, space, 0, 0, PAGE, Rights::READ);
            below = space;
            let found = world.withdrawn(Piece { space: first, start: 0, end: PAGE });
            assert_eq!(found.map(|pieces| pieces.len()).ok(), (depth < DEEPEST).then_some(depth + 1));
        }
    }
}
