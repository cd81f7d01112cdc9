//! The map of physical memory: sorted ranges, each of one kind, and where in it to place things.

use protocols::address::PAGE_SIZE;
use protocols::boot_info::RangeKind;
use thiserror::Error;

/// Most ranges a map holds.
pub const CAPACITY: usize = 192;

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reported to the kernel as this.
    Kernel(RangeKind),
    /// The monitor's own.
    Monitor,
}

impl Kind {
    /// Free RAM.
    pub const FREE: Self = Self::Kernel(RangeKind::Free);
}

/// A range of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// Its use.
    pub kind: Kind,
}

/// The map is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the memory map has too many ranges")]
pub struct Full;

/// Sorted ranges that do not overlap; what no range names is not memory.
#[derive(Clone, Debug, Default)]
pub struct Map {
    ranges: heapless::Vec<Range, CAPACITY>,
}

impl Map {
    /// The ranges, sorted by address.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Makes `start..end` of `kind`, whatever it was.
    pub fn paint(&mut self, start: u64, end: u64, kind: Kind) -> Result<(), Full> {
        self.erase(start, end)?;
        if start >= end {
            return Ok(());
        }
        let at = self.ranges.partition_point(|range| range.start < start);
        self.ranges.insert(at, Range { start, end, kind }).map_err(|_| Full)?;
        if kind != Kind::Kernel(RangeKind::Module) {
            self.merge(at);
        }
        Ok(())
    }

    /// Removes `start..end`.
    pub fn erase(&mut self, start: u64, end: u64) -> Result<(), Full> {
        if start >= end {
            return Ok(());
        }
        let mut index = 0;
        while index < self.ranges.len() {
            let range = self.ranges[index];
            if range.end <= start || range.start >= end {
                index += 1;
                continue;
            }
            match (range.start < start, range.end > end) {
                (false, false) => {
                    self.ranges.remove(index);
                }
                (true, false) => self.ranges[index].end = start,
                (false, true) => self.ranges[index].start = end,
                (true, true) => {
                    self.ranges[index].end = start;
                    let rest = Range { start: end, ..range };
                    self.ranges.insert(index + 1, rest).map_err(|_| Full)?;
                }
            }
        }
        Ok(())
    }

    /// Merges range `at` with neighbours of its kind.
    fn merge(&mut self, at: usize) {
        for at in [Some(at), at.checked_sub(1)].into_iter().flatten() {
            if let Some(&[this, next]) = self.ranges.get(at..at + 2).and_then(|pair| pair.as_array())
                && this.end == next.start
                && this.kind == next.kind
            {
                self.ranges[at].end = next.end;
                self.ranges.remove(at + 1);
            }
        }
    }

    /// Where `length` free bytes lie, aligned to `align` (a power of two): the highest such place, or the lowest above
    /// the first MiB.
    pub fn find(&self, length: u64, align: u64, from_top: bool) -> Option<u64> {
        let place = |range: &Range| {
            let start = range.start.max(1 << 20).checked_next_multiple_of(align)?;
            let last = range.end.checked_sub(length)?;
            (range.kind == Kind::FREE && start <= last).then_some(if from_top { last & !(align - 1) } else { start })
        };
        if from_top { self.ranges.iter().rev().find_map(place) } else { self.ranges.iter().find_map(place) }
    }

    /// End of the highest range.
    pub fn top(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.end)
    }

    /// Bytes of memory in all.
    pub fn total(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }
}

/// The whole frames inside `start..end`.
pub fn inner_frames(start: u64, end: u64) -> (u64, u64) {
    let start = start.checked_next_multiple_of(PAGE_SIZE).unwrap_or(end);
    (start, (end & !(PAGE_SIZE - 1)).max(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MODULE: Kind = Kind::Kernel(RangeKind::Module);

    #[test]
    fn painting_splits_and_merges() {
        let mut map = Map::default();
        map.paint(0x1000, 0x9000, Kind::FREE).unwrap();
        map.paint(0x3000, 0x4000, Kind::Monitor).unwrap();
        assert_eq!(map.ranges().len(), 3);
        map.paint(0x3000, 0x4000, Kind::FREE).unwrap();
        assert_eq!(map.ranges(), [Range { start: 0x1000, end: 0x9000, kind: Kind::FREE }]);
        map.erase(0, 0x2000).unwrap();
        assert_eq!(map.total(), 0x7000);
    }

    #[test]
    fn neighbouring_modules_stay_apart() {
        let mut map = Map::default();
        map.paint(0x1000, 0x2000, MODULE).unwrap();
        map.paint(0x2000, 0x3000, MODULE).unwrap();
        assert_eq!(map.ranges().len(), 2);
    }

    #[test]
    fn places_are_aligned_and_free() {
        let mut map = Map::default();
        map.paint(0, 8 << 20, Kind::FREE).unwrap();
        map.paint(2 << 20, 3 << 20, Kind::Monitor).unwrap();
        assert_eq!(map.find(1 << 20, 2 << 20, false), Some(4 << 20));
        assert_eq!(map.find(1 << 20, 2 << 20, true), Some(6 << 20));
        assert_eq!(map.find(1 << 20, 4096, false), Some(1 << 20));
        assert_eq!(map.find(64 << 20, 4096, false), None);
    }

    proptest! {
        #[test]
        fn the_last_colour_wins(strokes in prop::collection::vec((0u64..64, 0u64..64, 0u8..3), 1..20)) {
            let mut map = Map::default();
            let mut model = [None; 64];
            for (start, end, colour) in strokes {
                let kind = [Kind::FREE, Kind::Monitor, MODULE][usize::from(colour)];
                map.paint(start, end, kind).unwrap();
                for cell in model.iter_mut().take(end as usize).skip(start as usize) {
                    *cell = Some(kind);
                }
            }
            for (at, &kind) in model.iter().enumerate() {
                let found = map.ranges().iter().find(|range| (range.start..range.end).contains(&(at as u64)));
                prop_assert_eq!(found.map(|range| range.kind), kind);
            }
            prop_assert!(map.ranges().windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }
}
