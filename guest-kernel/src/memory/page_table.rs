//! Page tables of native Spaces (Intel SDM vol. 3A, 4.5): a cache of what the Mappings say.
//!
//! Since everything in them can be derived again, removing part of a large page drops all of it: nothing is ever split.

use protocols::address::{HUGE_PAGE_SIZE, HostPhysical, LARGE_PAGE_SIZE, PAGE_SIZE};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
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
}

impl PageTable {
    /// Tables whose upper half, the kernel's, is that of the table `kernel`.
    pub fn new(memory: &mut impl TableMemory, kernel: HostPhysical) -> Result<Self, NoMemory> {
        let root = memory.allocate().ok_or(NoMemory)?;
        for index in 256..512 {
            let entry = memory.read(kernel, index);
            memory.write(root, index, entry);
        }
        Ok(Self { root })
    }

    /// The frame of the root table.
    pub fn root(&self) -> HostPhysical {
        self.root
    }

    /// Installs a page in place of what is there.
    pub fn map(&mut self, memory: &mut impl TableMemory, page: Page) -> Result<(), NoMemory> {
        let last = if page.size == LARGE_PAGE_SIZE { 1 } else { 0 };
        let mut table = self.root;
        for level in (last + 1..=3).rev() {
            let slot = index(page.address, level);
            let entry = memory.read(table, slot);
            table = if entry & PRESENT == 0 || entry & LARGE != 0 {
                let next = memory.allocate().ok_or(NoMemory)?;
                memory.write(table, slot, next.get() | PRESENT | WRITABLE | USER);
                next
            } else {
                HostPhysical::new(entry & ADDRESS)
            };
        }
        let slot = index(page.address, last);
        let old = memory.read(table, slot);
        if last == 1 && old & PRESENT != 0 && old & LARGE == 0 {
            memory.free(HostPhysical::new(old & ADDRESS));
        }
        let mut entry = page.physical.get() | PRESENT | USER;
        entry |= if page.writable { WRITABLE } else { 0 };
        entry |= if page.executable { 0 } else { NO_EXECUTE };
        entry |= if page.device { CACHE_DISABLE | WRITE_THROUGH } else { 0 };
        entry |= if last == 1 { LARGE } else { 0 };
        memory.write(table, slot, entry);
        Ok(())
    }

    /// Removes every page that touches `start` to `end`; reports whether there was any.
    pub fn unmap(&mut self, memory: &mut impl TableMemory, start: u64, end: u64) -> bool {
        Self::keep_in(memory, self.root, 3, start, end.min(USER_END), 0)
    }

    /// Makes every page that touches `start` to `end` read-only; reports whether any was not.
    pub fn write_protect(&mut self, memory: &mut impl TableMemory, start: u64, end: u64) -> bool {
        Self::keep_in(memory, self.root, 3, start, end.min(USER_END), !WRITABLE)
    }

    /// Clears in the entries of all pages that touch `start` to `end` the bits that are not in `keep`; reports whether any
    /// was set.
    fn keep_in(
        memory: &mut impl TableMemory,
        table: HostPhysical,
        level: u32,
        start: u64,
        end: u64,
        keep: u64,
    ) -> bool {
        let step = PAGE_SIZE << (9 * level);
        let mut changed = false;
        let mut address = start;
        while address < end {
            let slot = index(address, level);
            let entry = memory.read(table, slot);
            let next = (address & !(step - 1)).saturating_add(step);
            if entry & PRESENT != 0 {
                if level == 0 || entry & LARGE != 0 {
                    if entry & !keep != 0 {
                        memory.write(table, slot, entry & keep);
                        changed = true;
                    }
                } else {
                    let below = HostPhysical::new(entry & ADDRESS);
                    changed |= Self::keep_in(memory, below, level - 1, address, end.min(next), keep);
                }
            }
            address = next;
        }
        changed
    }

    /// What `address` is mapped to, with whether it can be written.
    #[inline]
    pub fn lookup(&self, memory: &impl TableMemory, address: u64) -> Option<(HostPhysical, bool)> {
        let mut table = self.root;
        for level in (0..=3).rev() {
            let entry = memory.read(table, index(address, level));
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 || entry & LARGE != 0 {
                let size = PAGE_SIZE << (9 * level);
                let base = entry & ADDRESS & !(size - 1);
                return Some((HostPhysical::new(base | address & (size - 1)), entry & WRITABLE != 0));
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

const _: () = assert!(HUGE_PAGE_SIZE == LARGE_PAGE_SIZE * 512);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

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

    proptest::proptest! {
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec((0u64..2048, 0u64..64, 0u8..4), 1..60)) {
            let mut memory = Tables { next: 1 << 32, ..Tables::default() };
            let mut table = PageTable::new(&mut memory, HostPhysical::new(0)).unwrap();
            let mut model: HashMap<u64, (u64, bool)> = HashMap::new();
            for (number, count, what) in steps {
                let address = number * PAGE_SIZE;
                match what {
                    0 => {
                        let large = address & !(LARGE_PAGE_SIZE - 1);
                        let covered = model.contains_key(&address) && memory_is_large(&table, &memory, address);
                        if covered { model.retain(|&a, _| a & !(LARGE_PAGE_SIZE - 1) != large); }
                        table.map(&mut memory, page(address, address + PAGE_SIZE, PAGE_SIZE)).unwrap();
                        model.insert(address, (address + PAGE_SIZE, true));
                    }
                    1 => {
                        let large = address & !(LARGE_PAGE_SIZE - 1);
                        table.map(&mut memory, page(large, large + LARGE_PAGE_SIZE, LARGE_PAGE_SIZE)).unwrap();
                        for n in 0..512 {
                            model.insert(large + n * PAGE_SIZE, (large + LARGE_PAGE_SIZE + n * PAGE_SIZE, true));
                        }
                    }
                    _ if count > 0 => {
                        let end = address + count * PAGE_SIZE;
                        let touched: Vec<u64> = model.keys().copied().filter(|&a| if memory_is_large(&table, &memory, a) {
                            let large = a & !(LARGE_PAGE_SIZE - 1);
                            large < end && address < large + LARGE_PAGE_SIZE
                        } else { a >= address && a < end }).collect();
                        if what == 2 {
                            assert_eq!(table.unmap(&mut memory, address, end), !touched.is_empty());
                            for a in touched { model.remove(&a); }
                        } else {
                            let changes = touched.iter().any(|a| model[a].1);
                            assert_eq!(table.write_protect(&mut memory, address, end), changes);
                            for a in touched { model.entry(a).and_modify(|page| page.1 = false); }
                        }
                    }
                    _ => {}
                }
                for n in (0..2600).step_by(7).map(|n| n * PAGE_SIZE) {
                    let found = table.lookup(&memory, n).map(|(physical, writable)| (physical.get(), writable));
                    assert_eq!(found, model.get(&n).copied(), "at {n:#x}");
                }
            }
            table.destroy(&mut memory);
            assert_eq!(memory.live, 0);
        }
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
