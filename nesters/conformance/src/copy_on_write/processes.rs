//! Processes that share pages until they write to them.

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Exported, Failure, Verdict, fail, require};
use crate::native::{Answer, DATA, DATA_SIZE, HOLE, Native};
use alloc::vec::Vec;
use protocols::address::{LARGE_PAGE_SIZE, PAGE_SIZE};
use protocols::api::{Rights, SpaceKind, Status};
use protocols::libnest::{Mapping, Memory, Region, Space};
use protocols::virtual_cpu::register::RDI;

use super::{ALL, PAGES, Two, copied, memory, read, write};

pub fn first_write_copies(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let two = Two::new(PAGES)?;
    two.source.write(PAGE_SIZE + 0xff8, &0x1122_3344u64)?;
    let mapping = two.show(&child.space, HOLE)?;
    require!(copied(&mapping)?, None);
    // Reading copies nothing, writing the one page, whatever was read before.
    for page in [0, 1] {
        require!(read(&mut child, bench, HOLE + page * PAGE_SIZE)?, 100 + page);
    }
    require!(two.words(1)?, [101, 0]);
    for page in [1, 2] {
        require!(write(&mut child, bench, HOLE + page * PAGE_SIZE + 8, 7)?, true);
        require!(two.words(page)?, [100 + page, 100 + page]);
        require!(two.source.read::<u64>(page * PAGE_SIZE + 8)?, 0);
        require!(two.shadow.read::<u64>(page * PAGE_SIZE + 8)?, 7);
        require!(read(&mut child, bench, HOLE + page * PAGE_SIZE + 8)?, 7);
    }
    require!(two.shadow.read::<u64>(PAGE_SIZE + 0xff8)?, 0x1122_3344);
    require!(copied(&mapping)?, Some((1, 0b11)));
    // The copy is written to from then on; other pages show what the source says now.
    require!(write(&mut child, bench, HOLE + PAGE_SIZE, 8)?, true);
    require!(two.words(1)?, [101, 8]);
    two.source.write(3 * PAGE_SIZE, &55u64)?;
    two.source.write(PAGE_SIZE, &56u64)?;
    two.shadow.write(2 * PAGE_SIZE, &57u64)?;
    for (page, value) in [(0, 100), (1, 8), (2, 57), (3, 55)] {
        require!(read(&mut child, bench, HOLE + page * PAGE_SIZE)?, value);
    }
    require!(two.words(3)?, [55, 0]);
    // Across the boundary of two pages.
    require!(write(&mut child, bench, HOLE + PAGE_SIZE - 4, u64::MAX)?, true);
    require!(copied(&mapping)?, Some((0, 0b111)));
    require!(two.shadow.read::<u32>(PAGE_SIZE - 4)?, u32::MAX);
    Ok(())
}

/// A child whose data are copy-on-write: frozen, with a shadow of its own.
pub fn freeze(child: &mut Native, frozen: &Region) -> Result<(Memory, Exported), Failure> {
    let shadow = memory(1 + DATA_SIZE / PAGE_SIZE)?;
    let region = Exported::new(&shadow)?;
    child.mappings[1].set_shadow([frozen, &region], &child.space)?;
    Ok((shadow, region))
}

pub fn forked_processes(bench: &mut Bench) -> Verdict {
    let (mut parent, mut child) = (Native::new(bench)?, Native::new(bench)?);
    for page in 0..DATA_SIZE / PAGE_SIZE {
        require!(write(&mut parent, bench, DATA + page * PAGE_SIZE, page)?, true);
    }
    // Both show what the parent has written; its code stays its own, which the tests change.
    let frozen = Region::new(&parent.memory, 0, parent.memory.size(), Rights::READ)?;
    let of_parent = freeze(&mut parent, &frozen)?;
    let of_child = freeze(&mut child, &frozen)?;
    for page in 0..DATA_SIZE / PAGE_SIZE {
        let address = DATA + page * PAGE_SIZE;
        require!(read(&mut child, bench, address)?, page);
        if page % 2 == 0 {
            require!(write(&mut child, bench, address, 50 + page)?, true);
        }
        if page % 3 == 0 {
            require!(write(&mut parent, bench, address, 70 + page)?, true);
        }
    }
    for page in 0..DATA_SIZE / PAGE_SIZE {
        let address = DATA + page * PAGE_SIZE;
        require!(parent.read(address)?, page);
        require!(read(&mut child, bench, address)?, if page % 2 == 0 { 50 + page } else { page });
        require!(read(&mut parent, bench, address)?, if page % 3 == 0 { 70 + page } else { page });
    }
    require!(copied(&child.mappings[1])?, Some((1, 0b101_0101)));
    require!(copied(&parent.mappings[1])?, Some((1, 0b100_1001)));
    parent.thread.stop()?;
    child.thread.stop()?;
    drop((of_parent, of_child));
    Ok(())
}

/// The grandchild is forked from a child that has written to some pages: what it shows then is moved, with its shadow, into a
/// Space in which nothing runs, and both go on from there.
pub fn three_generations(bench: &mut Bench) -> Verdict {
    let mut children = [Native::new(bench)?, Native::new(bench)?, Native::new(bench)?];
    let [parent, child, grandchild] = &mut children;
    let two = Two::new(PAGES)?;
    let size = PAGES * PAGE_SIZE;
    let of_parent = Region::new(&memory(PAGES)?, 0, size, ALL)?;
    let _parent = Mapping::copy_on_write([&two.regions[0], &of_parent], 0, &parent.space, HOLE, size, ALL)?;
    let mut first = two.show(&child.space, HOLE)?;
    require!(write(child, bench, HOLE + PAGE_SIZE, 1)?, true);
    let frozen = Space::new(SpaceKind::Native, 8)?;
    first.move_to(&two.regions[0], &frozen, HOLE)?;
    require!(copied(&first)?, Some((1, 1)));
    let middle = Region::of_space(&frozen, HOLE, size, Rights::READ)?;
    let shadows = [memory(PAGES)?, memory(PAGES)?];
    let mut mappings = Vec::new();
    for (process, shadow) in [&*child, &*grandchild].into_iter().zip(&shadows) {
        let region = Region::new(shadow, 0, size, ALL)?;
        let mapping = Mapping::copy_on_write([&middle, &region], 0, &process.space, HOLE, size, ALL)?;
        mappings.push((mapping, region));
    }
    for process in [&mut *child, &mut *grandchild] {
        require!(read(process, bench, HOLE)?, 100);
        require!(read(process, bench, HOLE + PAGE_SIZE)?, 1);
    }
    require!(write(parent, bench, HOLE, 10)?, true);
    require!(write(child, bench, HOLE + 2 * PAGE_SIZE, 12)?, true);
    require!(write(child, bench, HOLE + PAGE_SIZE, 11)?, true);
    require!(write(grandchild, bench, HOLE + PAGE_SIZE, 21)?, true);
    require!(write(grandchild, bench, HOLE, 20)?, true);
    for (process, values) in [(0, [10, 101, 102, 103]), (1, [100, 11, 12, 103]), (2, [20, 21, 102, 103])] {
        for (address, value) in (HOLE..).step_by(PAGE_SIZE as usize).zip(values) {
            require!(read(&mut children[process], bench, address)?, value);
        }
    }
    // What was frozen is as it was.
    require!((two.words(0)?, two.words(1)?), ([100, 0], [101, 1]));
    require!(copied(&first)?, Some((1, 1)));
    require!(copied(&mappings[0].0)?, Some((1, 0b11)));
    require!(copied(&mappings[1].0)?, Some((0, 0b11)));
    Ok(())
}

/// A page that is written to changes for all who see it through further Mappings, at once; whoever writes.
pub fn seen_by_others(bench: &mut Bench) -> Verdict {
    let (mut child, mut other) = (Native::new(bench)?, Native::new(bench)?);
    let size = PAGES * PAGE_SIZE;
    let two = Two::new(PAGES)?;
    let mapping = two.show(&child.space, HOLE)?;
    let shown = Region::of_space(&child.space, HOLE, size, ALL)?;
    let _other = Mapping::new(&shown, 0, &other.space, HOLE, size, ALL)?;
    let guest = Guest::new(bench, code::guest_read(), &[(RDI, guest::HOLE)])?;
    let _guest = Mapping::new(&shown, 0, &guest.space, guest::HOLE, size, ALL)?;
    for process in [&mut child, &mut other] {
        require!(read(process, bench, HOLE)?, 100);
        require!(read(process, bench, HOLE + PAGE_SIZE)?, 101);
    }
    require!(write(&mut child, bench, HOLE, 1)?, true);
    require!(write(&mut other, bench, HOLE + PAGE_SIZE, 2)?, true);
    require!(two.words(0)?, [100, 1]);
    require!(two.words(1)?, [101, 2]);
    for process in [&mut child, &mut other] {
        require!(read(process, bench, HOLE)?, 1);
        require!(read(process, bench, HOLE + PAGE_SIZE)?, 2);
    }
    require!(copied(&mapping)?, Some((0, 0b11)));
    guest.cpu.go()?;
    let event = bench.receive();
    require!(guest.exit(event)?.rax, 1);
    Ok(())
}

/// Copies of copies, to a depth: a write copies once, to its own shadow, and changes nothing below.
pub fn nested(bench: &mut Bench) -> Verdict {
    const DEPTH: usize = 20;
    let mut child = Native::new(bench)?;
    let size = PAGES * PAGE_SIZE;
    let two = Two::new(PAGES)?;
    let mut below = Vec::from([Region::new(&two.source, 0, size, Rights::READ)?]);
    let (mut mappings, mut shadows, mut spaces) = (Vec::new(), Vec::new(), Vec::new());
    for depth in 0..DEPTH {
        let shadow = memory(PAGES)?;
        let region = Region::new(&shadow, 0, size, ALL)?;
        let space = Space::new(SpaceKind::Native, 8)?;
        let mut mapping = Mapping::copy_on_write([&below[depth], &region], 0, &space, HOLE, size, ALL)?;
        if depth == DEPTH / 2 {
            // One of them has a copy already.
            shadow.write(2 * PAGE_SIZE, &77u64)?;
            mapping.set_copied(2 * PAGE_SIZE, &[1])?;
        }
        below.push(Region::of_space(&space, HOLE, size, ALL)?);
        mappings.push((mapping, region));
        shadows.push(shadow);
        spaces.push(space);
    }
    let _top = Mapping::new(&below[DEPTH], 0, &child.space, HOLE, size, ALL)?;
    for (page, value) in [(0, 100), (1, 101), (2, 77), (3, 103)] {
        require!(read(&mut child, bench, HOLE + page * PAGE_SIZE)?, value);
    }
    require!(write(&mut child, bench, HOLE, 1)?, true);
    require!(write(&mut child, bench, HOLE + 2 * PAGE_SIZE + 8, 2)?, true);
    require!(read(&mut child, bench, HOLE)?, 1);
    require!(read(&mut child, bench, HOLE + 2 * PAGE_SIZE)?, 77);
    for (depth, (mapping, _)) in mappings.iter().enumerate() {
        let expected = if depth == DEPTH - 1 {
            Some((0, 0b101))
        } else if depth == DEPTH / 2 {
            Some((2, 1))
        } else {
            None
        };
        require!((depth, copied(mapping)?), (depth, expected));
    }
    require!(two.words(0)?, [100, 0]);
    require!(shadows[DEPTH - 1].read::<u64>(2 * PAGE_SIZE + 8)?, 2);
    // From the top, so that no Space goes that others still show.
    while let Some(mapping) = mappings.pop() {
        drop((mapping, spaces.pop(), below.pop()));
    }
    Ok(())
}

/// The shadow is seen through a copy-on-write Mapping in its turn: the page is copied once, and counts for both.
pub fn shadow_in_a_copy(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let size = PAGES * PAGE_SIZE;
    let (two, last) = (Two::new(PAGES)?, Two::new(PAGES)?);
    last.source.write(8, &888u64)?;
    let space = Space::new(SpaceKind::Native, 8)?;
    let lower = last.show(&space, HOLE)?;
    let shadow = Region::of_space(&space, HOLE, size, ALL - Rights::EXECUTE)?;
    let upper = Mapping::copy_on_write([&two.regions[0], &shadow], 0, &child.space, HOLE, size, ALL)?;
    require!(write(&mut child, bench, HOLE + PAGE_SIZE + 16, 5)?, true);
    require!((copied(&upper)?, copied(&lower)?), (Some((1, 1)), Some((1, 1))));
    require!(last.words(1)?, [101, 101]);
    require!(last.shadow.read::<[u64; 3]>(PAGE_SIZE)?, [101, 0, 5]);
    require!(two.words(1)?, [101, 0]);
    // The rights of the whole chain count from the first moment on.
    two.source.write(2 * PAGE_SIZE, &0x0b0f_u64)?; // UD2
    let code = HOLE + 2 * PAGE_SIZE;
    require!(matches!(child.run(bench, code::jump(), &[(RDI, code)])?, Answer::Done(_)), true);
    require!(write(&mut child, bench, code + 16, 5)?, true);
    require!(child.run(bench, code::jump(), &[(RDI, code)])?, Answer::Exception(14, code));
    // What the lower one has copied by itself is overwritten.
    last.shadow.write(0, &[9u64, 9, 9])?;
    let mut lower = lower;
    lower.set_copied(0, &[0b111])?;
    require!(write(&mut child, bench, HOLE + 16, 6)?, true);
    require!(last.shadow.read::<[u64; 3]>(0)?, [100, 0, 6]);
    require!((copied(&upper)?, copied(&lower)?), (Some((0, 0b111)), Some((0, 0b111))));
    Ok(())
}

/// Reads go through large pages where nothing was copied; a copy in the middle of one is seen, and so are its neighbours.
pub fn large_pages(bench: &mut Bench) -> Verdict {
    const AT: u64 = 1 << 30;
    let mut child = Native::new(bench)?;
    require!(read(&mut child, bench, DATA)?, 0);
    let pages = 2 * LARGE_PAGE_SIZE / PAGE_SIZE;
    let two = Two::new(pages)?;
    let mapping = two.show(&child.space, AT)?;
    let before = child.space.state()?.used;
    for page in (0..pages).step_by(17) {
        require!(read(&mut child, bench, AT + page * PAGE_SIZE)?, 100 + page);
    }
    if child.space.state()?.used - before > 2 {
        fail!("reading in large pages took {} frames", child.space.state()?.used - before);
    }
    for (number, page) in [5, 511, 512, 700].into_iter().enumerate() {
        require!(write(&mut child, bench, AT + page * PAGE_SIZE + 8, 1)?, true);
        for other in [page - 1, page, page + 1, 300, 1000] {
            require!(read(&mut child, bench, AT + other * PAGE_SIZE)?, 100 + other);
        }
        require!(two.shadow.read::<[u64; 2]>(page * PAGE_SIZE)?, [100 + page, 1]);
        let mut words = [0; 16];
        require!(mapping.copied(0, &mut words)?, Some(5 * PAGE_SIZE));
        require!(words.iter().map(|word| word.count_ones()).sum::<u32>() as usize, number + 1);
    }
    // All of a large page copied is a large page again.
    let mut mapping = mapping;
    mapping.set_copied(0, &[u64::MAX; 8])?;
    require!(read(&mut child, bench, AT + 5 * PAGE_SIZE)?, 105);
    require!(read(&mut child, bench, AT + 6 * PAGE_SIZE)?, 0);
    require!(write(&mut child, bench, AT + 6 * PAGE_SIZE, 3)?, true);
    require!(two.words(6)?, [106, 3]);
    Ok(())
}

/// A Space shows itself neither through a source nor through a shadow.
pub fn circular(bench: &mut Bench) -> Verdict {
    let child = Native::new(bench)?;
    let other = Space::new(SpaceKind::Native, 8)?;
    let size = PAGES * PAGE_SIZE;
    let two = Two::new(PAGES)?;
    let own = Region::of_space(&child.space, DATA, size, ALL)?;
    let show =
        |regions: [&Region; 2], space| Mapping::copy_on_write(regions, 0, space, HOLE, size, ALL).map(drop).err();
    require!(show([&own, &two.regions[1]], &child.space), Some(Status::Circular));
    require!(show([&two.regions[0], &own], &child.space), Some(Status::Circular));
    // Through another Space.
    let first = Mapping::copy_on_write([&two.regions[0], &own], 0, &other, HOLE, size, ALL)?;
    let back = Region::of_space(&other, HOLE, size, ALL)?;
    for regions in [[&back, &two.regions[1]], [&two.regions[0], &back]] {
        require!(show(regions, &child.space), Some(Status::Circular));
    }
    drop(first);
    // Ranks stay as they are: what was refused may be refused for as long as the Spaces exist, or not.
    let _ = show([&two.regions[0], &back], &child.space);
    Ok(())
}

/// Source and shadow that are the same memory, or overlap: each page is what was copied there last.
pub fn same_memory(bench: &mut Bench) -> Verdict {
    let mut child = Native::new(bench)?;
    let two = Two::new(PAGES)?;
    let same = Region::new(&two.source, 0, 2 * PAGE_SIZE, ALL)?;
    let mapping = Mapping::copy_on_write([&two.regions[0], &same], 0, &child.space, HOLE, 2 * PAGE_SIZE, ALL)?;
    require!(write(&mut child, bench, HOLE + 8, 1)?, true);
    require!(two.source.read::<[u64; 2]>(0)?, [100, 1]);
    drop(mapping);
    let shifted = Region::new(&two.source, PAGE_SIZE, 2 * PAGE_SIZE, ALL)?;
    let _mapping = Mapping::copy_on_write([&two.regions[0], &shifted], 0, &child.space, HOLE, 2 * PAGE_SIZE, ALL)?;
    require!(write(&mut child, bench, HOLE + 8, 2)?, true);
    require!(two.source.read::<[u64; 2]>(PAGE_SIZE)?, [100, 2]);
    // The second page showed what is the copy of the first.
    require!(read(&mut child, bench, HOLE + PAGE_SIZE)?, 100);
    require!(write(&mut child, bench, HOLE + PAGE_SIZE + 8, 3)?, true);
    require!(two.source.read::<[u64; 2]>(2 * PAGE_SIZE)?, [100, 3]);
    Ok(())
}
