//! Page tables of native Spaces (Intel SDM vol. 3A, 4.5): a cache of what the Mappings say.
//!
//! They also say which pages the processor has written: who wants to know asks before entries go
//! ([`tracking`](crate::tracking)). Since all else in them can be derived again, removing part of a large page drops all of it: nothing is ever split.

use protocols::address::{HUGE_PAGE_SIZE, HostPhysical, LARGE_PAGE_SIZE, PAGE_SIZE};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

// The first address beyond those of native Spaces. The last page of the lower half is left out so that no instruction
// pointer that `SYSCALL` saves is ever non-canonical.
pub use protocols::native_thread::USER_END;

/// Access to the frames that hold tables.
pub trait TableMemory {
    /// Reads entry `index` of the table in `frame`.
    fn read(&self, frame: HostPhysical, index: usize) -> u64;
    /// Writes it.
    fn write(&mut self, frame: HostPhysical, index: usize, entry: u64);
    /// A zeroed frame for another table.
    fn allocate(&mut self) -> Option<HostPhysical>;
    /// Takes a table's frame back.
    fn free(&mut self, frame: HostPhysical);
}

/// A page to install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it appears; a multiple of `size`.
    pub address: u64,
    /// What it shows; a multiple of `size`.
    pub physical: HostPhysical,
    /// 4 KiB or 2 MiB.
    pub size: u64,
    /// Whether it can be written.
    pub writable: bool,
    /// Whether it can be executed.
    pub executable: bool,
    /// Whether it is a device's.
    pub device: bool,
}

impl Page {
    /// Its entry in the table, but for what tells large pages.
    #[inline(always)]
    fn entry(&self) -> u64 {
        let mut entry = self.physical.get() | PRESENT | USER;
        entry |= if self.writable { WRITABLE } else { 0 };
        entry |= if self.executable { 0 } else { NO_EXECUTE };
        entry | if self.device { CACHE_DISABLE | WRITE_THROUGH } else { 0 }
    }
}

/// There is no memory for another table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize & 511
}

/// The four-level page tables of one native Space.
#[derive(Debug)]
pub struct PageTable {
    root: HostPhysical,
    /// The lowest table that was used last, and the number of the 2 MiB that it is for.
    recent: Option<(u64, HostPhysical)>,
    /// No page has ever been installed.
    is_new: bool,
}

impl PageTable {
    /// Tables whose upper half, the kernel's, is that of the table `kernel`.
    pub fn new(memory: &mut impl TableMemory, kernel: HostPhysical) -> Result<Self, NoMemory> {
        let root = memory.allocate().ok_or(NoMemory)?;
        for index in 256..512 {
            let entry = memory.read(kernel, index);
            memory.write(root, index, entry);
        }
        Ok(Self { root, recent: None, is_new: true })
    }

    /// The frame of the root table.
    pub fn root(&self) -> HostPhysical {
        self.root
    }

    /// Installs a page in place of what is there.
    #[inline(always)]
    pub fn map(&mut self, memory: &mut impl TableMemory, page: Page) -> Result<(), NoMemory> {
        match self.recent {
            Some((block, table)) if page.size == PAGE_SIZE && block == page.address / LARGE_PAGE_SIZE => {
                memory.write(table, index(page.address, 0), page.entry());
                Ok(())
            }
            _ => self.map_anywhere(memory, page),
        }
    }

    #[inline(never)]
    fn map_anywhere(&mut self, memory: &mut impl TableMemory, page: Page) -> Result<(), NoMemory> {
        self.is_new = false;
        // What is freed is not used again.
        self.recent = None;
        let table = Self::table_below(memory, self.root, page.address, 3)?;
        let table = Self::table_below(memory, table, page.address, 2)?;
        if page.size == LARGE_PAGE_SIZE {
            Self::map_large(memory, table, page);
            return Ok(());
        }
        let table = Self::table_below(memory, table, page.address, 1)?;
        self.recent = Some((page.address / LARGE_PAGE_SIZE, table));
        memory.write(table, index(page.address, 0), page.entry());
        Ok(())
    }

    fn map_large(memory: &mut impl TableMemory, table: HostPhysical, page: Page) {
        let slot = index(page.address, 1);
        let old = memory.read(table, slot);
        if old & (PRESENT | LARGE) == PRESENT {
            memory.free(HostPhysical::new(old & ADDRESS));
        }
        memory.write(table, slot, page.entry() | LARGE);
    }

    /// The table below the entry of `table`, at `level`, for `address`.
    #[inline(always)]
    fn table_below(
        memory: &mut impl TableMemory,
        table: HostPhysical,
        address: u64,
        level: u32,
    ) -> Result<HostPhysical, NoMemory> {
        let slot = index(address, level);
        match memory.read(table, slot) {
            entry if entry & (PRESENT | LARGE) == PRESENT => Ok(HostPhysical::new(entry & ADDRESS)),
            _ => Self::add_table(memory, table, slot),
        }
    }

    #[cold]
    #[inline(never)]
    fn add_table(memory: &mut impl TableMemory, table: HostPhysical, slot: usize) -> Result<HostPhysical, NoMemory> {
        let next = memory.allocate().ok_or(NoMemory)?;
        memory.write(table, slot, next.get() | PRESENT | WRITABLE | USER);
        Ok(next)
    }

    /// Removes every page that touches `start` to `end`; reports whether there was any.
    #[inline]
    pub fn unmap(&mut self, memory: &mut impl TableMemory, start: u64, end: u64) -> bool {
        if self.is_new {
            return false;
        }
        if let Some((block, table)) = self.recent
            && block == start / LARGE_PAGE_SIZE
            && end == start + PAGE_SIZE
        {
            let slot = index(start, 0);
            let removed = memory.read(table, slot) & PRESENT != 0;
            memory.write(table, slot, 0);
            return removed;
        }
        if start < USER_END && end.wrapping_sub(start) == PAGE_SIZE {
            return self.unmap_page(memory, start);
        }
        Self::unmap_in(memory, self.root, 3, start, end.min(USER_END))
    }

    /// Removes the page at an address.
    fn unmap_page(&mut self, memory: &mut impl TableMemory, address: u64) -> bool {
        let mut table = self.root;
        for level in (0..=3).rev() {
            let slot = index(address, level);
            let entry = memory.read(table, slot);
            if entry & PRESENT == 0 {
                return false;
            }
            if level == 0 || entry & LARGE != 0 {
                memory.write(table, slot, 0);
                return true;
            }
            table = HostPhysical::new(entry & ADDRESS);
        }
        false
    }

    fn unmap_in(memory: &mut impl TableMemory, table: HostPhysical, level: u32, start: u64, end: u64) -> bool {
        let step = PAGE_SIZE << (9 * level);
        let mut removed = false;
        let mut address = start;
        while address < end {
            let slot = index(address, level);
            let entry = memory.read(table, slot);
            let next = (address & !(step - 1)).saturating_add(step);
            if entry & PRESENT != 0 {
                if level == 0 || entry & LARGE != 0 {
                    memory.write(table, slot, 0);
                    removed = true;
                } else {
                    let below = HostPhysical::new(entry & ADDRESS);
                    removed |= Self::unmap_in(memory, below, level - 1, address, end.min(next));
                }
            }
            address = next;
        }
        removed
    }

    /// Writes to `found` the address of every page that touches `start` to `end` and was written since it was found last or
    /// installed. Returns how many those are; whether any entry changed: then cached translations have to go; and where to go on, if there was no room for
    /// more. Tables that the processor has not used since all of them was looked at are passed over.
    pub fn take_written(
        &mut self,
        memory: &mut impl TableMemory,
        start: u64,
        end: u64,
        found: &mut [u64],
    ) -> (usize, bool, Option<u64>) {
        let mut search = Search { found, count: 0, changed: false, stopped: None };
        search.look(memory, self.root, 3, start, end.min(USER_END));
        (search.count, search.changed, search.stopped)
    }

    /// Whether the page at `address` was written since it was found last or installed.
    pub fn is_written(&self, memory: &impl TableMemory, address: u64) -> bool {
        self.entry(memory, address).is_some_and(|(entry, _)| entry & DIRTY != 0)
    }

    /// What `address` is mapped to, with whether it can be written.
    #[inline]
    pub fn lookup(&self, memory: &impl TableMemory, address: u64) -> Option<(HostPhysical, bool)> {
        let (entry, size) = self.entry(memory, address)?;
        let base = entry & ADDRESS & !(size - 1);
        Some((HostPhysical::new(base | address & (size - 1)), entry & WRITABLE != 0))
    }

    /// The entry of the page at `address`, and the page's size.
    #[inline]
    fn entry(&self, memory: &impl TableMemory, address: u64) -> Option<(u64, u64)> {
        let mut table = self.root;
        for level in (0..=3).rev() {
            let entry = memory.read(table, index(address, level));
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 || entry & LARGE != 0 {
                return Some((entry, PAGE_SIZE << (9 * level)));
            }
            table = HostPhysical::new(entry & ADDRESS);
        }
        None
    }

    /// Gives all frames of the lower half back.
    pub fn destroy(self, memory: &mut impl TableMemory) {
        for slot in 0..256 {
            let entry = memory.read(self.root, slot);
            if entry & PRESENT != 0 {
                Self::free_below(memory, HostPhysical::new(entry & ADDRESS), 2);
            }
        }
        memory.free(self.root);
    }

    fn free_below(memory: &mut impl TableMemory, table: HostPhysical, level: u32) {
        if level > 0 {
            for slot in 0..512 {
                let entry = memory.read(table, slot);
                if entry & PRESENT != 0 && entry & LARGE == 0 {
                    Self::free_below(memory, HostPhysical::new(entry & ADDRESS), level - 1);
                }
            }
        }
        memory.free(table);
    }
}

/// A search for written pages.
struct Search<'a> {
    found: &'a mut [u64],
    count: usize,
    changed: bool,
    /// Where there was no room for the next.
    stopped: Option<u64>,
}

impl Search<'_> {
    fn look(&mut self, memory: &mut impl TableMemory, table: HostPhysical, level: u32, start: u64, end: u64) {
        let step = PAGE_SIZE << (9 * level);
        let mut address = start;
        while address < end && self.stopped.is_none() {
            let slot = index(address, level);
            let entry = memory.read(table, slot);
            let first = address & !(step - 1);
            let next = first.saturating_add(step);
            if entry & PRESENT != 0 && (level == 0 || entry & LARGE != 0) {
                if entry & DIRTY != 0 {
                    let Some(place) = self.found.get_mut(self.count) else {
                        self.stopped = Some(address);
                        return;
                    };
                    *place = first;
                    self.count += 1;
                    self.changed = true;
                    memory.write(table, slot, entry & !DIRTY);
                }
            } else if entry & (PRESENT | ACCESSED) == PRESENT | ACCESSED {
                self.look(memory, HostPhysical::new(entry & ADDRESS), level - 1, address, end.min(next));
                if address == first && end >= next && self.stopped.is_none() {
                    memory.write(table, slot, entry & !ACCESSED);
                    self.changed = true;
                }
            }
            address = next;
        }
    }
}

const _: () = assert!(HUGE_PAGE_SIZE == LARGE_PAGE_SIZE * 512);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeSet, HashMap};

    #[derive(Default)]
    struct Tables {
        entries: HashMap<(u64, usize), u64>,
        next: u64,
        live: i64,
    }

    impl TableMemory for Tables {
        fn read(&self, frame: HostPhysical, index: usize) -> u64 {
            self.entries.get(&(frame.get(), index)).copied().unwrap_or(0)
        }
        fn write(&mut self, frame: HostPhysical, index: usize, entry: u64) {
            self.entries.insert((frame.get(), index), entry);
        }
        fn allocate(&mut self) -> Option<HostPhysical> {
            self.next += PAGE_SIZE;
            self.live += 1;
            Some(HostPhysical::new(self.next))
        }
        fn free(&mut self, frame: HostPhysical) {
            self.entries.retain(|&(table, _), _| table != frame.get());
            self.live -= 1;
        }
    }

    fn page(address: u64, physical: u64, size: u64) -> Page {
        Page { address, physical: HostPhysical::new(physical), size, writable: true, executable: false, device: false }
    }

    /// The processor uses the entries for `address`, to write or not.
    fn access(table: &PageTable, memory: &mut Tables, address: u64, write: bool) {
        let mut frame = table.root();
        for level in (0..=3).rev() {
            let slot = index(address, level);
            let entry = memory.read(frame, slot);
            if entry & PRESENT == 0 {
                return;
            }
            let is_page = level == 0 || entry & LARGE != 0;
            let written = if is_page && write { DIRTY } else { 0 };
            memory.write(frame, slot, entry | ACCESSED | written);
            if is_page {
                return;
            }
            frame = HostPhysical::new(entry & ADDRESS);
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec((0u64..2048, 0u64..64, 0u8..6), 1..80)) {
            let mut memory = Tables { next: 1 << 32, ..Tables::default() };
            let mut table = PageTable::new(&mut memory, HostPhysical::new(0)).unwrap();
            let mut model: HashMap<u64, u64> = HashMap::new();
            let mut written: BTreeSet<u64> = BTreeSet::new();
            let large_of = |address: u64| address & !(LARGE_PAGE_SIZE - 1);
            for (number, count, what) in steps {
                let address = number * PAGE_SIZE;
                let large = large_of(address);
                let end = address + count * PAGE_SIZE;
                match what {
                    0 => {
                        if memory_is_large(&table, &memory, address) {
                            model.retain(|&a, _| large_of(a) != large);
                            written.remove(&large);
                        }
                        table.map(&mut memory, page(address, address + PAGE_SIZE, PAGE_SIZE)).unwrap();
                        model.insert(address, address + PAGE_SIZE);
                        written.remove(&address);
                    }
                    1 => {
                        table.map(&mut memory, page(large, large + LARGE_PAGE_SIZE, LARGE_PAGE_SIZE)).unwrap();
                        for n in 0..512 { model.insert(large + n * PAGE_SIZE, large + LARGE_PAGE_SIZE + n * PAGE_SIZE); }
                        written.retain(|&a| large_of(a) != large);
                    }
                    2 => {
                        let gone: Vec<u64> = model.keys().copied().filter(|&a| if memory_is_large(&table, &memory, a) {
                            large_of(a) < end && address < large_of(a) + LARGE_PAGE_SIZE && count > 0
                        } else { a >= address && a < end }).collect();
                        assert_eq!(table.unmap(&mut memory, address, end), !gone.is_empty());
                        for a in gone { model.remove(&a); written.remove(&a); }
                    }
                    3 | 4 => {
                        access(&table, &mut memory, address, what == 3);
                        if what == 3 && model.contains_key(&address) {
                            written.insert(if memory_is_large(&table, &memory, address) { large } else { address });
                        }
                    }
                    _ => {
                        let end = if count > 32 { 4 << 30 } else { end };
                        let (mut met, mut from) = (Vec::new(), Some(address));
                        while let Some(start) = from {
                            let mut found = [0; 3];
                            let (count, changed, next) = table.take_written(&mut memory, start, end, &mut found);
                            met.extend(&found[..count]);
                            assert!(changed || count == 0);
                            from = next;
                        }
                        let expected: Vec<u64> = written.iter().copied().filter(|&at| {
                            let size = if memory_is_large(&table, &memory, at) { LARGE_PAGE_SIZE } else { PAGE_SIZE };
                            at < end && address < at + size && address < end
                        }).collect();
                        assert_eq!(&met, &expected);
                        for at in met { written.remove(&at); }
                    }
                }
                for n in (0..2600).step_by(7).map(|n| n * PAGE_SIZE) {
                    assert_eq!(table.lookup(&memory, n).map(|(p, _)| p.get()), model.get(&n).copied(), "at {n:#x}");
                    let place = if memory_is_large(&table, &memory, n) { large_of(n) } else { n };
                    assert_eq!(table.is_written(&memory, n), written.contains(&place));
                }
            }
            table.destroy(&mut memory);
            assert_eq!(memory.live, 0);
        }
    }

    #[test]
    fn tables_that_nobody_used_are_passed_over() {
        let mut memory = Tables { next: 1 << 32, ..Tables::default() };
        let mut table = PageTable::new(&mut memory, HostPhysical::new(0)).unwrap();
        for address in [0, LARGE_PAGE_SIZE] {
            table.map(&mut memory, page(address, PAGE_SIZE, PAGE_SIZE)).unwrap();
            access(&table, &mut memory, address, false);
        }
        let take = |table: &mut PageTable, memory: &mut Tables, end| {
            let mut found = [0; 2];
            let (count, changed, next) = table.take_written(memory, 0, end, &mut found);
            assert_eq!(next, None);
            (found[..count].to_vec(), changed)
        };
        assert_eq!(take(&mut table, &mut memory, USER_END), (vec![], true));
        assert_eq!(take(&mut table, &mut memory, USER_END), (vec![], false));
        access(&table, &mut memory, LARGE_PAGE_SIZE, true);
        // A part of a table that was looked at says nothing about the rest.
        assert_eq!(take(&mut table, &mut memory, LARGE_PAGE_SIZE + PAGE_SIZE), (vec![LARGE_PAGE_SIZE], true));
        access(&table, &mut memory, LARGE_PAGE_SIZE, true);
        assert_eq!(take(&mut table, &mut memory, LARGE_PAGE_SIZE), (vec![], false));
        assert_eq!(take(&mut table, &mut memory, USER_END), (vec![LARGE_PAGE_SIZE], true));
        assert_eq!(take(&mut table, &mut memory, USER_END), (vec![], false));
    }

    fn memory_is_large(table: &PageTable, memory: &Tables, address: u64) -> bool {
        let mut frame = table.root();
        for level in (1..=3).rev() {
            let entry = memory.read(frame, index(address, level));
            if entry & PRESENT == 0 {
                return false;
            }
            if entry & LARGE != 0 {
                return true;
            }
            frame = HostPhysical::new(entry & ADDRESS);
        }
        false
    }
}
