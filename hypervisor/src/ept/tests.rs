//! The builder against a simple model: one cell for each frame.

use std::collections::BTreeMap;

use super::*;
use proptest::prelude::*;

/// Tables in a map, and a count for every host frame.
struct Memory {
    tables: BTreeMap<u64, Box<[u64; 512]>>,
    next: u64,
    left: usize,
    counts: BTreeMap<u64, i64>,
    forbidden: u64,
}

impl Memory {
    fn new(left: usize) -> Self {
        let tables = BTreeMap::from([(0x1000, Box::new([0; 512]))]);
        Self { tables, next: 0x2000, left, counts: BTreeMap::new(), forbidden: u64::MAX }
    }
}

impl Tables for Memory {
    fn allocate(&mut self) -> Option<HostPhysical> {
        self.left = self.left.checked_sub(1)?;
        self.next += 0x1000;
        self.tables.insert(self.next, Box::new([0; 512]));
        Some(HostPhysical::new(self.next))
    }
    fn free(&mut self, table: HostPhysical) {
        self.left += 1;
        self.tables.remove(&table.get()).expect("freed once");
    }
    fn read(&self, table: HostPhysical, index: usize) -> u64 {
        self.tables[&table.get()][index]
    }
    fn write(&mut self, table: HostPhysical, index: usize, entry: u64) {
        self.tables.get_mut(&table.get()).expect("a table")[index] = entry;
    }
    fn share(&mut self, host: HostPhysical, frames: u64) -> Result<u64, Status> {
        let first = host.get() / PAGE_SIZE;
        if (first..first + frames).contains(&self.forbidden) {
            return Err(Status::FrameInUse);
        }
        for frame in first..first + frames {
            *self.counts.entry(frame).or_default() += 1;
        }
        Ok(WRITE_BACK)
    }
    fn release(&mut self, host: HostPhysical, frames: u64) {
        let first = host.get() / PAGE_SIZE;
        for frame in first..first + frames {
            let count = self.counts.get_mut(&frame).expect("was shared");
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&frame);
            }
        }
    }
}

const ROOT: HostPhysical = HostPhysical::new(0x1000);

fn ept() -> Ept {
    Ept::new(ROOT, true)
}

fn translate(memory: &Memory, guest: GuestPhysical) -> Option<(HostPhysical, u16)> {
    ept().translate(|table, index| memory.read(table, index), guest)
}

fn gpa(address: u64) -> GuestPhysical {
    GuestPhysical::new(address)
}

fn hpa(address: u64) -> HostPhysical {
    HostPhysical::new(address)
}

#[test]
fn large_pages_are_used_and_split() {
    let mut memory = Memory::new(100);
    let ept = ept();
    assert_eq!(ept.map(&mut memory, gpa(0), hpa(0), 2 << 30, 7), Ok(false));
    assert_eq!(memory.tables.len(), 2, "a root and one table of 1 GiB leaves");
    assert_eq!(ept.unmap(&mut memory, gpa(0x1000), 0x1000), Ok(true));
    assert_eq!(memory.tables.len(), 4, "split twice");
    assert_eq!(translate(&memory, gpa(0x1000)), None);
    assert_eq!(translate(&memory, gpa(0x2345)), Some((hpa(0x2345), 7)));
    assert_eq!(translate(&memory, gpa(0x4000_1234)), Some((hpa(0x4000_1234), 7)));
    assert_eq!(memory.counts.len(), (2 << 18) - 1);
    assert_eq!(ept.map(&mut memory, gpa(0), hpa(0), 2 << 30, 5), Ok(true));
    assert_eq!(memory.tables.len(), 2, "large again");
    assert!(memory.counts.values().all(|&count| count == 1));
}

#[test]
fn leaves_are_small_where_that_is_asked_for() {
    let mut memory = Memory::new(100);
    assert_eq!(ept().with_leaves(true).map(&mut memory, gpa(0), hpa(0), 4 << 20, 15), Ok(false));
    assert_eq!(memory.tables.len(), 5, "two tables of 4 KiB leaves");
    assert_eq!(translate(&memory, gpa(0x1000)), Some((hpa(0x1000), 7)));
    // What a processor has noted in a leaf goes when the leaf is written again.
    let leaf_of =
        |memory: &Memory| memory.tables.iter().find(|(_, table)| table[1] & 0xf000 == 0x1000).map(|(&at, _)| at);
    let table = leaf_of(&memory).expect("a table with a leaf for the page");
    memory.tables.get_mut(&table).expect("a table")[1] |= 3 << 8;
    assert_eq!(ept().with_leaves(true).map(&mut memory, gpa(0x1000), hpa(0x1000), 0x1000, 7), Ok(true));
    assert_eq!(memory.tables[&table][1] >> 8 & 3, 0);
}

#[test]
fn without_frames_nothing_is_lost_and_the_operation_goes_on() {
    let mut memory = Memory::new(1);
    let ept = ept();
    assert_eq!(ept.map(&mut memory, gpa(0x1000), hpa(0x5000), 0x3000, 7), Err(Status::NoFrames));
    memory.left = 2;
    assert_eq!(ept.map(&mut memory, gpa(0x1000), hpa(0x5000), 0x3000, 7), Ok(false));
    assert_eq!(translate(&memory, gpa(0x3fff)), Some((hpa(0x7fff), 7)));
}

#[test]
fn refused_frames_are_not_mapped() {
    let mut memory = Memory::new(10);
    memory.forbidden = 0x300;
    let ept = ept();
    assert_eq!(ept.map(&mut memory, gpa(0), hpa(0x20_0000), 0x20_0000, 7), Err(Status::FrameInUse));
    assert_eq!(translate(&memory, gpa(0x10_0000)), None);
    assert!(memory.counts.is_empty());
}

#[test]
fn unmapping_nothing_is_quick_and_harmless() {
    let mut memory = Memory::new(0);
    assert_eq!(ept().unmap(&mut memory, gpa(0), GUEST_LIMIT), Ok(false));
}

#[test]
fn page_tables_get_as_many_tables_as_they_need() {
    use crate::boot::tables::tables_needed;
    use protocols::address::LARGE_PAGE_SIZE;
    for (start, length) in [(0xffff_8000_0000_0000, 8 << 30), (0, 5 << 30), (0xffff_ffff_8000_0000, 0x3000)] {
        let page = if length % LARGE_PAGE_SIZE == 0 { LARGE_PAGE_SIZE } else { PAGE_SIZE };
        let mut memory = Memory::new(tables_needed(length, page) as usize);
        let tree = Ept::new(ROOT, false);
        assert_eq!(tree.map(&mut memory, gpa(start), hpa(0x4000_0000), length, 3), Ok(false));
        assert_eq!(tree.map(&mut memory, gpa(start), hpa(0x4000_0000), length, 3), Ok(true));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Map { guest: u64, host: u64, frames: u64, rights: u16, small: bool },
    Unmap { guest: u64, frames: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    // Addresses near 2 MiB boundaries, so that pages of both sizes meet.
    let place = || prop_oneof![0u64..1100, (0u64..3).prop_map(|n| n * 512)];
    let length = || prop_oneof![1u64..20, Just(512), Just(1024)];
    prop_oneof![
        (place(), place(), length(), 1u16..8, any::<bool>())
            .prop_map(|(guest, host, frames, rights, small)| Step::Map { guest, host, frames, rights, small }),
        (place(), length()).prop_map(|(guest, frames)| Step::Unmap { guest, frames }),
    ]
}

proptest! {
    #[test]
    fn the_tree_translates_as_the_model(steps in prop::collection::vec(step(), 1..24)) {
        let mut memory = Memory::new(1000);
        let ept = ept();
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Map { guest, host, frames, rights, small } => {
                    ept.with_leaves(small).map(&mut memory, gpa(guest * PAGE_SIZE), hpa(host * PAGE_SIZE), frames * PAGE_SIZE, rights).unwrap();
                    model.extend((0..frames).map(|frame| (guest + frame, (host + frame, rights))));
                }
                Step::Unmap { guest, frames } => {
                    ept.unmap(&mut memory, gpa(guest * PAGE_SIZE), frames * PAGE_SIZE).unwrap();
                    model.retain(|frame, _| !(guest..guest + frames).contains(frame));
                }
            }
        }
        for frame in 0..2200 {
            let found = translate(&memory, gpa(frame * PAGE_SIZE));
            prop_assert_eq!(found, model.get(&frame).map(|&(host, rights)| (hpa(host * PAGE_SIZE), rights)));
        }
        let mut counts = BTreeMap::new();
        for &(host, _) in model.values() {
            *counts.entry(host).or_insert(0i64) += 1;
        }
        prop_assert_eq!(&memory.counts, &counts, "every leaf is counted once");
        let mut rounds = 0;
        while !ept.prune(&mut memory, &mut 1) {
            rounds += 1;
            prop_assert!(rounds < 10_000);
        }
        prop_assert_eq!(memory.tables.len(), 1, "only the root is left");
        prop_assert!(memory.counts.is_empty());
    }
}
