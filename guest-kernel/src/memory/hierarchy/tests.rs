//! Tests of the hierarchy against simple models.

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
        let piece = Piece { space: mapping.space.unwrap(), start: mapping.start, end: mapping.start + mapping.size };
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
