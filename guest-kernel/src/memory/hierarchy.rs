//! Relative address spaces: Mappings import pieces of Regions, Regions export pieces of Spaces.
//!
//! [`translate`] walks the whole chain at once, from a Space down to physical memory. [`withdraw`] finds everything
//! that was derived from a piece of a Space, so that it can be dropped when any link shrinks. Both are pure: the tables that
//! the hardware reads are a cache of the first, emptied by the second.
//!
//! Invariants: the Mappings of a Space do not overlap; sizes and ends do not wrap; what a Space shows has at most the rights of
//! every Mapping and Region on the chain.

use crate::arena::{Arena, Id};
use crate::objects::Port;
use crate::space::Contents;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use protocols::address::HostPhysical;
use protocols::api::Rights;

/// A Space.
pub struct Space {
    /// Its Mappings, by start address.
    pub mappings: BTreeMap<u64, Id<Mapping>>,
    /// Regions that export pieces of it.
    pub regions: Vec<Id<Region>>,
    /// Who hears of exceptions in it.
    pub keeper: Option<Id<Port>>,
    /// How many ticks its threads wait for a keeper's reply; 0 for as many as the kernel thinks fit.
    pub patience: u64,
    /// The tables that cache it, and its kind.
    pub contents: Contents,
    /// Kernel memory: allowance, use.
    pub account: crate::account::Account,
    /// Counts how often part of it was taken away.
    pub epoch: u64,
    /// Places of objects found before.
    pub names: crate::names::NameCache,
    /// Its threads may use I/O ports.
    pub ports: bool,
}

/// A Region.
#[derive(Debug, Default)]
pub struct Region {
    /// The Space that it exports a piece of.
    pub space: Option<Id<Space>>,
    /// First address exported.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// Most rights of anything derived from it.
    pub rights: Rights,
    /// Who supplies memory where it has none.
    pub keeper: Option<Id<Port>>,
    /// Mappings of it.
    pub mappings: Vec<Id<Mapping>>,
}

/// A Mapping.
#[derive(Debug, Default)]
pub struct Mapping {
    /// The Region that it shows.
    pub region: Option<Id<Region>>,
    /// The Space that it appears in.
    pub space: Option<Id<Space>>,
    /// Where in the Region it begins.
    pub offset: u64,
    /// Where in the Space it appears.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// Rights wanted.
    pub rights: Rights,
    /// Its position among its Region's Mappings.
    pub position: usize,
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
}

/// Why an address has no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No Mapping shows it, or none with the rights wanted: the thread's own mistake.
    Unmapped,
    /// A Region has no memory there, or does not give the rights wanted: its keeper's business.
    Region(Id<Region>, u64),
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

/// Finds what `address` of `space` means to an access that wants `want`.
pub fn translate(
    hierarchy: &Hierarchy<'_>,
    space: Id<Space>,
    address: u64,
    want: Rights,
) -> Result<Translation, Fault> {
    let mut space = space;
    let mut address = address;
    let mut found =
        Translation { physical: HostPhysical::new(0), rights: Rights::all(), before: u64::MAX, after: u64::MAX };
    let mut fault = Fault::Unmapped;
    loop {
        let here = hierarchy.spaces.get(space).ok_or(fault)?;
        if matches!(here.contents, Contents::Physical) {
            found.physical = HostPhysical::new(address);
            return Ok(found);
        }
        let (_, &id) = here.mappings.range(..=address).next_back().ok_or(fault)?;
        let mapping = hierarchy.mappings.get(id).ok_or(fault)?;
        let inside = address - mapping.start;
        if inside >= mapping.size || !mapping.rights.contains(want) {
            return Err(fault);
        }
        found.rights &= mapping.rights;
        found.before = found.before.min(inside);
        found.after = found.after.min(mapping.size - inside);
        let id = mapping.region.ok_or(fault)?;
        let region = hierarchy.regions.get(id).ok_or(fault)?;
        let offset = mapping.offset + inside;
        fault = Fault::Region(id, offset);
        if offset >= region.size || !region.rights.contains(want) {
            return Err(fault);
        }
        found.rights &= region.rights;
        found.before = found.before.min(offset);
        found.after = found.after.min(region.size - offset);
        address = region.start + offset;
        space = region.space.ok_or(fault)?;
    }
}

/// Adds a Mapping to those of its Region.
pub fn link_mapping(regions: &mut Arena<Region>, mappings: &mut Arena<Mapping>, id: Id<Mapping>) {
    let Some(mapping) = mappings.get_mut(id) else { return };
    let Some(region) = mapping.region.and_then(|region| regions.get_mut(region)) else { return };
    mapping.position = region.mappings.len();
    region.mappings.push(id);
}

/// Takes a Mapping out of those of its Region, at a cost that does not depend on their number.
pub fn unlink_mapping(regions: &mut Arena<Region>, mappings: &mut Arena<Mapping>, id: Id<Mapping>) {
    let Some(mapping) = mappings.get(id) else { return };
    let position = mapping.position;
    let Some(region) = mapping.region.and_then(|region| regions.get_mut(region)) else { return };
    if region.mappings.get(position) != Some(&id) {
        return;
    }
    region.mappings.swap_remove(position);
    if let Some(moved) = region.mappings.get(position).and_then(|&moved| mappings.get_mut(moved)) {
        moved.position = position;
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

/// Calls `drop_piece` for `piece` and for every piece of any Space that is derived from it.
pub fn withdraw(hierarchy: &Hierarchy<'_>, piece: Piece, mut drop_piece: impl FnMut(Piece)) {
    let mut work = Vec::new();
    work.push(piece);
    while let Some(piece) = work.pop() {
        if piece.start >= piece.end {
            continue;
        }
        drop_piece(piece);
        let Some(space) = hierarchy.spaces.get(piece.space) else { continue };
        for &id in &space.regions {
            if let Some(region) = hierarchy.regions.get(id) {
                let (start, end) = (piece.start.max(region.start), piece.end.min(region.start + region.size));
                if start < end {
                    derived(hierarchy, region, start - region.start, end - region.start, &mut work);
                }
            }
        }
    }
}

/// The pieces of Spaces that show offsets `start` to `end` of `region`.
pub fn derived(hierarchy: &Hierarchy<'_>, region: &Region, start: u64, end: u64, pieces: &mut Vec<Piece>) {
    for &id in &region.mappings {
        let Some(mapping) = hierarchy.mappings.get(id) else { continue };
        let Some(space) = mapping.space else { continue };
        let (start, end) = (start.max(mapping.offset), end.min(mapping.offset + mapping.size));
        if start < end {
            let shift = |offset: u64| mapping.start + (offset - mapping.offset);
            pieces.push(Piece { space, start: shift(start), end: shift(end) });
        }
    }
}

/// Whether `size` bytes from `start` on overlap a Mapping of `space` other than `except`.
pub fn overlaps(hierarchy: &Hierarchy<'_>, space: &Space, start: u64, size: u64, except: Id<Mapping>) -> bool {
    let before = space.mappings.range(..start).next_back();
    let within = space.mappings.range(start..start + size);
    before.into_iter().chain(within).any(|(_, &id)| {
        id != except
            && hierarchy
                .mappings
                .get(id)
                .is_some_and(|other| other.start < start + size && start < other.start + other.size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Account;
    use proptest::prelude::*;

    const PAGE: u64 = 4096;

    struct World {
        spaces: Arena<Space>,
        regions: Arena<Region>,
        mappings: Arena<Mapping>,
    }

    impl World {
        #[allow(unsafe_code)]
        fn new() -> Self {
            // SAFETY: identifiers of one world are not used with another.
            unsafe { Self { spaces: Arena::new(), regions: Arena::new(), mappings: Arena::new() } }
        }
        fn view(&self) -> Hierarchy<'_> {
            Hierarchy { spaces: &self.spaces, regions: &self.regions, mappings: &self.mappings }
        }
        fn space(&mut self, physical: bool) -> Id<Space> {
            let contents = if physical { Contents::Physical } else { Contents::Unbuilt };
            self.spaces.insert(Space::new(contents, Account::new(u64::MAX, None)))
        }
        fn region(&mut self, space: Id<Space>, start: u64, size: u64, rights: Rights) -> Id<Region> {
            let id = self.regions.insert(Region { space: Some(space), start, size, rights, ..Region::default() });
            self.spaces.get_mut(space).unwrap().regions.push(id);
            id
        }
        fn map(
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
                position: 0,
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
            let mut dropped = Vec::new();
            withdraw(&world.view(), Piece { space: bottom, start: start * PAGE, end: (start + size) * PAGE }, |piece| dropped.push(piece));
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
}
