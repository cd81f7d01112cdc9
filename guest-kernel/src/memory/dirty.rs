//! Which pages of a Region were written since somebody asked last.
//!
//! One bit for each page, in frames, with a summary above, so that looking for pages that were written takes time for those, not for the
//! memory. Who fills it is told by [`tracking`](crate::tracking).

use crate::arch::physical::Frame;
use crate::arena::Id;
use crate::kernel::ListPage;
use crate::list::{Member, Place};
use crate::memory::hierarchy::{Region, Space};
use alloc::vec::Vec;
use core::ops::Range;
use protocols::address::PAGE_SIZE;

const WORDS: usize = 512;
/// Pages that one frame has bits for.
const FRAME_PAGES: u64 = WORDS as u64 * 64;
/// Pages that one bit of a frame's summary stands for.
const BLOCK_PAGES: u64 = FRAME_PAGES / 64;
/// Words of a frame that one bit of its summary stands for.
const BLOCK_WORDS: usize = WORDS / 64;
/// The most frames that a bitmap takes.
const MOST_FRAMES: u64 = 512;

/// Bytes of the largest Region that can be tracked.
pub const LARGEST: u64 = MOST_FRAMES * FRAME_PAGES * PAGE_SIZE;

/// A frame of bits.
pub trait Bits {
    /// Its words.
    fn words(&self) -> &[u64; WORDS];
    /// Its words.
    fn words_mut(&mut self) -> &mut [u64; WORDS];
}

impl Bits for Frame<ListPage> {
    fn words(&self) -> &[u64; WORDS] {
        self.get()
    }
    fn words_mut(&mut self) -> &mut [u64; WORDS] {
        self.get_mut()
    }
}

/// That a Region is tracked.
pub struct Tracking {
    /// The pages that were written.
    pub pages: DirtyPages<Frame<ListPage>>,
    /// Who pays for the bitmap.
    pub payer: Id<Space>,
}

impl core::fmt::Debug for Tracking {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "paid by {:?}", self.payer)
    }
}

/// Tracked Regions whose bitmaps one Space pays for.
#[derive(Debug)]
pub enum Tracked {}

impl Member<Tracked> for Region {
    fn place(&mut self) -> &mut Place<Self> {
        &mut self.payer_place
    }
    fn place_ref(&self) -> &Place<Self> {
        &self.payer_place
    }
}

/// A set of pages.
pub struct DirtyPages<F> {
    parts: Vec<Part<F>>,
}

struct Part<F> {
    /// Bit `n`: a bit of block `n` may be set.
    summary: u64,
    bits: F,
}

/// How many frames the bitmap of a Region of `size` bytes takes.
pub fn frames_for(size: u64) -> u64 {
    (size / PAGE_SIZE).div_ceil(FRAME_PAGES)
}

impl<F: Bits> DirtyPages<F> {
    /// An empty set, with its bits in zeroed frames.
    pub fn new(frames: Vec<F>) -> Self {
        Self { parts: frames.into_iter().map(|bits| Part { summary: 0, bits }).collect() }
    }

    /// The frames.
    pub fn into_frames(self) -> impl Iterator<Item = F> {
        self.parts.into_iter().map(|part| part.bits)
    }

    /// Adds a page. One beyond what there are bits for is left out.
    pub fn mark(&mut self, page: u64) {
        if let Some(part) = self.parts.get_mut((page / FRAME_PAGES) as usize) {
            part.summary |= 1 << (page % FRAME_PAGES / BLOCK_PAGES);
            part.bits.words_mut()[word(page)] |= 1 << (page % 64);
        }
    }

    /// Adds pages.
    pub fn mark_all(&mut self, pages: Range<u64>) {
        self.change(pages, |word, mask| *word |= mask);
    }

    /// Takes pages out.
    pub fn clear(&mut self, pages: Range<u64>) {
        self.change(pages, |word, mask| *word &= !mask);
    }

    /// The first stretch of pages of the set among `pages`.
    pub fn first(&self, pages: Range<u64>) -> Option<Range<u64>> {
        let start = self.first_dirty(pages.clone())?;
        Some(start..self.first_clean(start..pages.end))
    }

    /// Applies `change` to every word that has bits for `pages`, with those bits, and brings the summary up to date.
    fn change(&mut self, pages: Range<u64>, change: impl Fn(&mut u64, u64)) {
        let mut page = pages.start;
        while page < pages.end {
            let Some(part) = self.parts.get_mut((page / FRAME_PAGES) as usize) else { return };
            let block = page % FRAME_PAGES / BLOCK_PAGES;
            let words = part.bits.words_mut();
            let end = pages.end.min((page / BLOCK_PAGES + 1) * BLOCK_PAGES);
            while page < end {
                let next = end.min((page / 64 + 1) * 64);
                change(&mut words[word(page)], u64::MAX >> (64 - (next - page)) << (page % 64));
                page = next;
            }
            let first = block as usize * BLOCK_WORDS;
            let any = words[first..first + BLOCK_WORDS].iter().any(|&word| word != 0);
            part.summary = part.summary & !(1 << block) | u64::from(any) << block;
        }
    }

    fn first_dirty(&self, pages: Range<u64>) -> Option<u64> {
        let mut page = pages.start;
        while page < pages.end {
            let part = self.parts.get((page / FRAME_PAGES) as usize)?;
            let blocks = part.summary >> (page % FRAME_PAGES / BLOCK_PAGES);
            let bits = part.bits.words()[word(page)] >> (page % 64);
            page = match () {
                () if blocks == 0 => (page / FRAME_PAGES + 1) * FRAME_PAGES,
                () if blocks & 1 == 0 => (page / BLOCK_PAGES + u64::from(blocks.trailing_zeros())) * BLOCK_PAGES,
                () if bits == 0 => (page / 64 + 1) * 64,
                () => {
                    let found = page + u64::from(bits.trailing_zeros());
                    return (found < pages.end).then_some(found);
                }
            };
        }
        None
    }

    fn first_clean(&self, pages: Range<u64>) -> u64 {
        let mut page = pages.start;
        while page < pages.end {
            let Some(part) = self.parts.get((page / FRAME_PAGES) as usize) else { return page };
            let clean = !part.bits.words()[word(page)] >> (page % 64);
            if clean != 0 {
                return pages.end.min(page + u64::from(clean.trailing_zeros()));
            }
            page = (page / 64 + 1) * 64;
        }
        pages.end
    }
}

/// Which word of a frame the bit of a page is in.
const fn word(page: u64) -> usize {
    (page / 64) as usize % WORDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    impl Bits for Box<[u64; WORDS]> {
        fn words(&self) -> &[u64; WORDS] {
            self
        }
        fn words_mut(&mut self) -> &mut [u64; WORDS] {
            self
        }
    }

    const FRAMES: u64 = 3;

    fn pages() -> DirtyPages<Box<[u64; WORDS]>> {
        DirtyPages::new((0..FRAMES).map(|_| Box::new([0; WORDS])).collect())
    }

    /// Pages, many of them next to where words, blocks and frames begin.
    fn page() -> impl Strategy<Value = u64> {
        let near = |unit: u64| (0..FRAMES * FRAME_PAGES / unit, 0u64..5).prop_map(move |(n, by)| n * unit + by);
        prop_oneof![0..FRAMES * FRAME_PAGES, near(64), near(BLOCK_PAGES), near(FRAME_PAGES)]
            .prop_map(|page| page.saturating_sub(2))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Mark(u64),
        MarkAll(u64, u64),
        Clear(u64, u64),
        First(u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let length = || prop_oneof![0u64..200, 0..2 * FRAME_PAGES];
        prop_oneof![
            page().prop_map(Step::Mark),
            (page(), 0u64..1000).prop_map(|(page, length)| Step::MarkAll(page, length)),
            (page(), length()).prop_map(|(page, length)| Step::Clear(page, length)),
            (page(), length()).prop_map(|(page, length)| Step::First(page, length)),
            (page(), length()).prop_map(|(page, length)| Step::First(page, length)),
        ]
    }

    fn first_of(model: &BTreeSet<u64>, range: Range<u64>) -> Option<Range<u64>> {
        let start = *model.range(range.clone()).next()?;
        let end = (start..range.end).find(|page| !model.contains(page)).unwrap_or(range.end);
        Some(start..end)
    }

    proptest! {
        /// It is a set of the pages that there are bits for.
        #[test]
        fn agrees_with_a_set(steps in prop::collection::vec(step(), 1..60)) {
            let (mut pages, mut model) = (pages(), BTreeSet::new());
            let there_are = |range: Range<u64>| range.start..range.end.min(FRAMES * FRAME_PAGES);
            for step in steps {
                match step {
                    Step::Mark(page) => {
                        pages.mark(page);
                        model.extend(there_are(page..page + 1));
                    }
                    Step::MarkAll(page, length) => {
                        pages.mark_all(page..page + length);
                        model.extend(there_are(page..page + length));
                    }
                    Step::Clear(page, length) => {
                        pages.clear(page..page + length);
                        model.retain(|other| !(page..page + length).contains(other));
                    }
                    Step::First(page, length) => {
                        let range = page..page + length;
                        prop_assert_eq!(pages.first(range.clone()), first_of(&model, range));
                    }
                }
            }
            // Going on behind what was found finds everything, and the summary is exact in the end.
            let mut found = BTreeSet::new();
            let mut next = 0;
            while let Some(range) = pages.first(next..u64::MAX) {
                next = range.end;
                found.extend(range.clone());
                pages.clear(range);
            }
            prop_assert_eq!(found, model);
            prop_assert!(pages.parts.iter().all(|part| part.summary == 0));
        }
    }

    #[test]
    fn a_page_beyond_the_bits_is_left_out() {
        let mut pages = pages();
        pages.mark(FRAMES * FRAME_PAGES);
        pages.mark_all(FRAMES * FRAME_PAGES - 1..u64::MAX);
        assert_eq!(pages.first(0..u64::MAX), Some(FRAMES * FRAME_PAGES - 1..FRAMES * FRAME_PAGES));
    }

    #[test]
    fn one_frame_for_each_128_mib() {
        assert_eq!([PAGE_SIZE, 128 << 20, (128 << 20) + PAGE_SIZE, LARGEST].map(frames_for), [1, 1, 2, 512]);
    }
}
