//! Who has which part of the program's memory: a first-fit allocator of page ranges.
//!
//! Small ranges come from the low end of the memory, ranges of 2 MiB and more from its high end, so that the big and
//! aligned ones, which become guests' memory, stay contiguous. Bookkeeping needs no heap: the heap itself is allocated
//! here.

use spin::Mutex;

use crate::address::{LARGE_PAGE_SIZE, PAGE_SIZE};
use crate::startup::{MAX_RANGES, Memory};

/// Most free ranges that are kept apart. When more would come into being, the smallest is given up.
const MAX_FREE: usize = MAX_RANGES + 96;

/// A set of free page ranges.
#[derive(Debug)]
pub struct Ranges {
    free: [Memory; MAX_FREE],
    count: usize,
    /// Whether all free memory is zero. That of the root nester, which is what the firmware left, is not.
    pub is_zero: bool,
}

impl Ranges {
    /// No memory.
    pub const fn new() -> Self {
        Self { free: [Memory { start: 0, size: 0 }; MAX_FREE], count: 0, is_zero: true }
    }

    /// Takes `size` bytes (rounded up to pages) at a multiple of `alignment` (a power of two; at least a page).
    pub fn allocate(&mut self, size: u64, alignment: u64) -> Option<Memory> {
        let size = size.max(1).checked_next_multiple_of(PAGE_SIZE)?;
        let alignment = alignment.max(PAGE_SIZE);
        if !alignment.is_power_of_two() {
            return None;
        }
        let high = size >= LARGE_PAGE_SIZE;
        let place = |range: &Memory| {
            let end = range.start + range.size;
            let start = if high {
                end.checked_sub(size)? & !(alignment - 1)
            } else {
                range.start.checked_next_multiple_of(alignment)?
            };
            (start >= range.start && start.checked_add(size)? <= end).then_some(start)
        };
        let find = |(index, range): (usize, &Memory)| place(range).map(|start| (index, start));
        let free = self.free[..self.count].iter().enumerate();
        let (index, start) = if high { free.rev().find_map(find)? } else { { free }.find_map(find)? };
        let range = self.free[index];
        self.remove(index);
        self.insert(Memory { start: range.start, size: start - range.start });
        self.insert(Memory { start: start + size, size: range.start + range.size - (start + size) });
        Some(Memory { start, size })
    }

    /// Adds a range, which must not overlap the free ones. Partial pages at its ends are left out.
    pub fn free(&mut self, range: Memory) {
        let start = range.start.next_multiple_of(PAGE_SIZE);
        let end = (range.start + range.size) & !(PAGE_SIZE - 1);
        self.insert(Memory { start, size: end.saturating_sub(start) });
    }

    /// Bytes that are free.
    pub fn available(&self) -> u64 {
        self.free[..self.count].iter().map(|range| range.size).sum()
    }

    /// The largest `size` that [`allocate`](Self::allocate) can satisfy with this alignment.
    pub fn largest(&self, alignment: u64) -> u64 {
        let fit = |range: &Memory| {
            (range.start + range.size).saturating_sub(range.start.next_multiple_of(alignment.max(PAGE_SIZE)))
        };
        self.free[..self.count].iter().map(fit).max().unwrap_or(0)
    }

    fn remove(&mut self, index: usize) {
        self.free.copy_within(index + 1..self.count, index);
        self.count -= 1;
    }

    /// Inserts a range in order of address, merged with its neighbours.
    fn insert(&mut self, mut range: Memory) {
        if range.size == 0 {
            return;
        }
        let mut index = self.free[..self.count].partition_point(|other| other.start < range.start);
        if index < self.count && range.start + range.size == self.free[index].start {
            range.size += self.free[index].size;
            self.remove(index);
        }
        if index > 0 && self.free[index - 1].start + self.free[index - 1].size == range.start {
            index -= 1;
            range = Memory { start: self.free[index].start, size: self.free[index].size + range.size };
            self.remove(index);
        }
        if self.count == MAX_FREE {
            let smallest = (0..self.count).min_by_key(|&at| self.free[at].size).unwrap_or(0);
            if self.free[smallest].size >= range.size {
                return;
            }
            self.remove(smallest);
            index -= usize::from(smallest < index);
        }
        self.free.copy_within(index..self.count, index + 1);
        self.free[index] = range;
        self.count += 1;
    }
}

impl Default for Ranges {
    fn default() -> Self {
        Self::new()
    }
}

static POOL: Mutex<Ranges> = Mutex::new(Ranges::new());

/// The program's pool, locked. Must not be held while allocating on the heap, which grows out of it.
pub fn pool() -> spin::MutexGuard<'static, Ranges> {
    POOL.lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn with(ranges: &[(u64, u64)]) -> Ranges {
        let mut all = Ranges::new();
        for &(start, size) in ranges {
            all.free(Memory { start, size });
        }
        all
    }

    #[test]
    fn small_ranges_come_low_and_large_ones_high() {
        let mut ranges = with(&[(MIB, 15 * MIB)]);
        assert_eq!(ranges.allocate(1, 0), Some(Memory { start: MIB, size: 4096 }));
        assert_eq!(ranges.allocate(4 * MIB, LARGE_PAGE_SIZE), Some(Memory { start: 12 * MIB, size: 4 * MIB }));
        assert_eq!(ranges.available(), 11 * MIB - 4096);
    }

    #[test]
    fn what_is_freed_merges_again() {
        let mut ranges = with(&[(MIB, 15 * MIB)]);
        let taken = [100u64, 3 * MIB, 5000, 2 * MIB].map(|size| ranges.allocate(size, PAGE_SIZE).unwrap());
        for index in [2, 0, 3, 1] {
            ranges.free(taken[index]);
        }
        assert_eq!(ranges.count, 1);
        assert_eq!(ranges.free[0], Memory { start: MIB, size: 15 * MIB });
    }

    #[test]
    fn too_much_and_nonsense_are_refused() {
        let mut ranges = with(&[(MIB, 4 * MIB)]);
        assert_eq!(ranges.allocate(5 * MIB, PAGE_SIZE), None);
        assert_eq!(ranges.allocate(u64::MAX, PAGE_SIZE), None);
        assert_eq!(ranges.allocate(PAGE_SIZE, 3 * PAGE_SIZE), None);
        assert_eq!(ranges.largest(LARGE_PAGE_SIZE), 3 * MIB);
        assert_eq!(ranges.available(), 4 * MIB);
    }

    #[test]
    fn partial_pages_are_left_out() {
        assert_eq!(with(&[(4097, 4096 * 3)]).available(), 4096 * 2);
        assert_eq!(with(&[(1, 4000)]).available(), 0);
    }

    #[test]
    fn overflowing_the_table_loses_only_the_smallest() {
        let mut ranges = Ranges::new();
        for index in 0..MAX_FREE as u64 + 10 {
            ranges.free(Memory { start: index * 16 * PAGE_SIZE, size: PAGE_SIZE });
        }
        ranges.free(Memory { start: 1 << 40, size: MIB });
        assert_eq!(ranges.count, MAX_FREE);
        assert_eq!(ranges.largest(PAGE_SIZE), MIB);
    }
}
