//! Copy-on-write in the hierarchy, against a naive model: memory as numbers, writes by recursion.

use super::tests::World;
use super::*;
use crate::account::Payer;
use crate::memory::page_set::PageSet;
use crate::memory::places::Places;
use crate::memory::shadow::{Page, Shadow, copy_target, next_on_the_way};
use crate::objects::Objects;
use alloc::{vec, vec::Vec};
use proptest::prelude::*;
use protocols::address::PAGE_SIZE;
use std::collections::{BTreeSet, HashMap};

/// Spaces, of which the first is physical memory.
const SPACES: usize = 5;
/// Pages of each Space and of physical memory.
const PAGES: u64 = 16;

/// Part of a Space: which, from which page on.
#[derive(Clone, Copy, Debug)]
struct Part {
    space: usize,
    start: u64,
    rights: Rights,
}

/// A Mapping as the model knows it: pages of one part or, once they were copied, of another.
#[derive(Clone, Debug)]
struct Link {
    space: usize,
    start: u64,
    size: u64,
    offset: u64,
    rights: Rights,
    source: Part,
    shadow: Option<(Part, BTreeSet<u64>)>,
}

/// Every Region has so many pages.
const REGION: u64 = 10;

#[derive(Debug)]
struct Model {
    links: Vec<Link>,
    memory: Vec<u64>,
}

impl Model {
    /// Which link shows a page of a Space, and the offset of the page in its Regions.
    fn link(&self, space: usize, page: u64) -> Option<(usize, u64)> {
        let index = self
            .links
            .iter()
            .position(|link| link.space == space && (link.start..link.start + link.size).contains(&page))?;
        let link = &self.links[index];
        Some((index, link.offset + page - link.start))
    }

    /// The page of physical memory that a page of a Space shows to an access, and with which rights.
    fn translate(&self, space: usize, page: u64, want: Rights) -> Option<(u64, Rights)> {
        if space == 0 {
            return Some((page, Rights::all()));
        }
        let (index, offset) = self.link(space, page)?;
        let link = &self.links[index];
        let (part, limit) = match &link.shadow {
            Some((shadow, copied)) if copied.contains(&offset) => (shadow, Rights::all()),
            Some(_) => (&link.source, Rights::READ | Rights::EXECUTE),
            None => (&link.source, Rights::all()),
        };
        if offset >= REGION || !(link.rights & part.rights & limit).contains(want) {
            return None;
        }
        let (physical, rights) = self.translate(part.space, part.start + offset, want)?;
        Some((physical, rights & link.rights & part.rights & limit))
    }

    /// Writes to a page, to all of it or to part. Whether that is possible.
    fn write(&mut self, space: usize, page: u64, value: u64, whole: bool) -> bool {
        if space == 0 {
            self.memory[page as usize] = value;
            return true;
        }
        let Some((index, offset)) = self.link(space, page) else { return false };
        let link = self.links[index].clone();
        let part = match &link.shadow {
            Some((shadow, _)) => shadow,
            None => &link.source,
        };
        let copies = link.shadow.as_ref().is_some_and(|(_, copied)| !copied.contains(&offset));
        if offset >= REGION || !(link.rights & part.rights).contains(Rights::WRITE) {
            return false;
        }
        if copies {
            if !link.rights.contains(Rights::READ) {
                return false;
            }
            let source = &link.source;
            let readable = source.rights.contains(Rights::READ)
                && self.translate(source.space, source.start + offset, Rights::READ).is_some();
            if !whole && !readable {
                return false;
            }
        }
        // Should it be copied: the copy and what is written then are one to the model.
        let written = self.write(part.space, part.start + offset, value, whole || copies);
        if written && let Some((_, copied)) = &mut self.links[index].shadow {
            copied.insert(offset);
        }
        written
    }
}

struct Both {
    world: World,
    model: Model,
    spaces: Vec<Id<Space>>,
    mappings: Vec<Id<Mapping>>,
    payer: Id<Payer>,
    /// What tables hold: what a page of a Space was found to mean.
    cache: HashMap<(usize, u64), (u64, Rights)>,
    memory: Vec<u64>,
}

impl Both {
    fn new(spaces: usize) -> Self {
        let mut world = World::new();
        let payer = Objects::new(Places::on_host(1)).open_first_account(0, 0).payer().unwrap();
        let spaces = (0..spaces).map(|index| world.space(index == 0)).collect();
        let memory: Vec<u64> = (0..PAGES + REGION).collect();
        let model = Model { links: Vec::new(), memory: memory.clone() };
        Self { world, model, spaces, mappings: Vec::new(), payer, cache: HashMap::new(), memory }
    }

    fn region(&mut self, part: Part) -> Id<Region> {
        self.world.region(self.spaces[part.space], part.start * PAGE_SIZE, REGION * PAGE_SIZE, part.rights)
    }

    fn add(&mut self, link: Link) {
        let region = self.region(link.source);
        let space = self.spaces[link.space];
        let (offset, start, size) = (link.offset * PAGE_SIZE, link.start * PAGE_SIZE, link.size * PAGE_SIZE);
        if !self.world.map(region, space, offset, start, size, link.rights) {
            return;
        }
        let (_, id) = self.world.spaces.get(space).unwrap().mappings.at_or_before(start).unwrap();
        if let Some((part, copied)) = &link.shadow {
            let region = Some(self.region(*part));
            let rights = link.rights;
            let shadow = Mapping { region, space: Some(space), offset, start, size, rights, ..Mapping::default() };
            let mapping = self.world.mappings.insert(shadow);
            link_mapping(&mut self.world.regions, &mut self.world.mappings, mapping);
            let mut set = PageSet::default();
            for &page in copied {
                assert!(set.grow(page, &mut |_| true));
                assert!(set.insert(page));
            }
            let shadow = Shadow { mapping, copied: set, payer: self.payer };
            self.world.mappings.get_mut(id).unwrap().shadow = Some(Box::new(shadow));
        }
        self.mappings.push(id);
        self.model.links.push(link);
    }

    fn withdraw(&mut self, piece: Piece) {
        for piece in self.world.withdrawn(piece).unwrap() {
            let spaces = &self.spaces;
            self.cache.retain(|&(space, page), _| {
                spaces[space] != piece.space || !(piece.start..piece.end).contains(&(page * PAGE_SIZE))
            });
        }
    }

    /// What the kernel does when a page is to be copied.
    fn copy(&mut self, first: Page) -> bool {
        let view = self.world.view();
        let Ok((to, last)) = copy_target(&view, first) else { return false };
        let source = view.mappings.get(first.0).unwrap().region.unwrap();
        let Ok(from) = translate_in(&view, source, first.1, Rights::READ) else { return false };
        self.memory[(to.physical.get() / PAGE_SIZE) as usize] = self.memory[(from.physical.get() / PAGE_SIZE) as usize];
        let mut way = vec![first];
        while let Some(next) = next_on_the_way(&self.world.view(), way[way.len() - 1], last) {
            way.push(next);
        }
        assert_eq!(way.last(), Some(&last));
        for (id, offset) in way {
            let shadow = self.world.mappings.get_mut(id).unwrap().shadow.as_mut().unwrap();
            assert!(shadow.copied.grow(offset / PAGE_SIZE, &mut |_| true));
            assert!(shadow.copied.insert(offset / PAGE_SIZE));
        }
        let piece = shown(&self.world.view(), last.0, last.1, last.1 + PAGE_SIZE).unwrap();
        self.withdraw(piece);
        true
    }

    fn write(&mut self, space: usize, page: u64, value: u64) -> bool {
        let id = self.spaces[space];
        let mut found = translate(&self.world.view(), id, page * PAGE_SIZE, Rights::WRITE);
        if let Err(Fault::Copy(mapping, offset)) = found {
            if !self.copy((mapping, offset)) {
                return false;
            }
            found = translate(&self.world.view(), id, page * PAGE_SIZE, Rights::WRITE);
        }
        match found {
            Ok(found) => {
                self.memory[(found.physical.get() / PAGE_SIZE) as usize] = value;
                true
            }
            Err(fault) => {
                assert!(!matches!(fault, Fault::Copy(..)), "one copy suffices");
                false
            }
        }
    }

    /// Reads every page of every Space, through what tables hold and through the hierarchy.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        prop_assert_eq!(&self.memory, &self.model.memory);
        for (space, &id) in self.spaces.iter().enumerate().skip(1) {
            for page in 0..PAGES {
                let found = translate(&self.world.view(), id, page * PAGE_SIZE, Rights::READ);
                let short = found.map(|found| (found.physical.get() / PAGE_SIZE, found.rights)).ok();
                prop_assert_eq!(
                    short,
                    self.model.translate(space, page, Rights::READ),
                    "space {} page {}",
                    space,
                    page
                );
                let cached = self.cache.get(&(space, page)).copied();
                prop_assert!(cached.is_none() || cached == short, "a table holds {:?}, not {:?}", cached, short);
                let Ok(found) = found else { continue };
                // The pages around are really alike.
                let first = page - (found.before / PAGE_SIZE).min(page);
                for other in first..(page + found.after / PAGE_SIZE).min(PAGES) {
                    let alike = translate(&self.world.view(), id, other * PAGE_SIZE, Rights::READ).unwrap();
                    prop_assert_eq!(alike.physical.get() / PAGE_SIZE + page, found.physical.get() / PAGE_SIZE + other);
                    prop_assert_eq!(alike.rights, found.rights);
                    self.cache.insert((space, other), (alike.physical.get() / PAGE_SIZE, alike.rights));
                }
            }
        }
        Ok(())
    }
}

fn rights() -> impl Strategy<Value = Rights> {
    prop_oneof![30 => Just(Rights::all()), 1 => (0u64..16).prop_map(Rights::from_bits_truncate)]
}

fn part(below: usize) -> impl Strategy<Value = Part> {
    (0..below, 0u64..PAGES - REGION, rights()).prop_map(|(space, start, rights)| Part { space, start, rights })
}

fn link() -> impl Strategy<Value = Link> {
    (1usize..SPACES).prop_flat_map(|space| {
        let copied = prop::collection::btree_set(0u64..REGION, 0..3);
        let shadow = prop::option::weighted(0.7, (part(space), copied));
        (Just(space), 0u64..PAGES - 4, 2u64..REGION, 0u64..3, rights(), part(space), shadow).prop_map(
            |(space, start, size, offset, rights, source, shadow)| {
                let shown = offset..offset + size;
                let shadow = shadow
                    .map(|(part, copied)| (part, copied.into_iter().filter(|page| shown.contains(page)).collect()));
                Link { space, start, size, offset, rights, source, shadow }
            },
        )
    })
}

proptest! {
    /// Whatever is written where: every Space shows what the model says, no table holds anything else, and what cannot be
    /// written changes nothing.
    #[test]
    fn writes_go_where_the_model_says(
        links in prop::collection::vec(link(), 1..14),
        writes in prop::collection::vec((1usize..SPACES, 0u64..PAGES), 1..25),
    ) {
        let mut both = Both::new(SPACES);
        for link in links {
            both.add(link);
        }
        both.compare()?;
        for (number, (space, page)) in writes.into_iter().enumerate() {
            let value = 1000 + number as u64;
            let before = (both.memory.clone(), both.model.links.clone());
            let possible = both.model.write(space, page, value, false);
            let written = both.write(space, page, value);
            prop_assert_eq!(written, possible);
            if !possible {
                prop_assert_eq!(&both.memory, &before.0);
            }
            for (link, &id) in both.model.links.iter().zip(&both.mappings) {
                let Some((_, copied)) = &link.shadow else { continue };
                let set = &both.world.mappings.get(id).unwrap().shadow.as_ref().unwrap().copied;
                let found: BTreeSet<u64> = (0..16).filter(|&page| set.run(page).contained).collect();
                prop_assert_eq!(&found, copied);
            }
            both.compare()?;
        }
    }
}
