//! Device memory: what the physical address space holds besides memory and the kernel's own devices.

use alloc::vec::Vec;
use core::ops::Range;
use protocols::address::PAGE_SIZE;

/// Where local APICs are, and where writes by devices become interrupts (Intel SDM vol. 3A, 11.11).
pub const INTERRUPT_WINDOW: Range<u64> = 0xfee0_0000..0xfef0_0000;

/// The whole pages below `end` that none of `taken` touches, by address; of more than `most` stretches the largest.
pub fn stretches(mut taken: Vec<Range<u64>>, end: u64, most: usize) -> Vec<Range<u64>> {
    taken.sort_unstable_by_key(|range| range.start);
    taken.push(end..end);
    let mut found = Vec::new();
    let mut next = 0;
    for range in taken {
        let stop = range.start.min(end) & !(PAGE_SIZE - 1);
        if next < stop {
            found.push(next..stop);
        }
        next = next.max(range.end.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX));
    }
    found.sort_by_key(|stretch| core::cmp::Reverse(stretch.end - stretch.start));
    found.truncate(most);
    found.sort_unstable_by_key(|stretch| stretch.start);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn what_lies_between_is_found_in_whole_pages() {
        let taken = vec![0x10_0000..0x20_0000, 0..0x9_fc00, 0xfec0_0000..0xfec0_1000, 0x20_0000..0x20_0801];
        let expected = [0xa_0000..0x10_0000, 0x20_1000..0xfec0_0000, 0xfec0_1000..0x1_0000_0000];
        assert_eq!(stretches(taken, 1 << 32, 16), expected);
    }

    #[test]
    fn nothing_taken_leaves_all_and_all_taken_nothing() {
        let (whole, everything) = (0..0x5000, 0..u64::MAX);
        assert_eq!(stretches(Vec::new(), 0x5000, 16), [whole]);
        assert_eq!(stretches(vec![everything], 0x5000, 16), []);
        assert_eq!(stretches(vec![0x5000..u64::MAX, 0..0x5000], 0x5000, 16), []);
        assert_eq!(stretches(Vec::new(), 0, 16), []);
    }

    #[test]
    fn of_too_many_the_largest_are_kept() {
        let taken = vec![0x1000..0x2000, 0x4000..0x5000, 0x6000..0x7000];
        assert_eq!(stretches(taken, 0xa000, 2), [0x2000..0x4000, 0x7000..0xa000]);
    }

    proptest! {
        #[test]
        fn each_page_is_found_that_nothing_touches(
            taken in prop::collection::vec((0u64..0x2_0000, 1u64..0x4000), 0..12),
            end in 0u64..32,
        ) {
            let taken: Vec<_> = taken.into_iter().map(|(start, size)| start..start + size).collect();
            let found = stretches(taken.clone(), end * PAGE_SIZE, usize::MAX);
            for page in 0..40 {
                let (first, last) = (page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
                let is_taken = taken.iter().any(|range| range.start < last && first < range.end);
                let is_found = found.iter().any(|stretch| stretch.start <= first && last <= stretch.end);
                prop_assert_eq!(is_found, page < end && !is_taken, "page {}", page);
            }
        }
    }
}
