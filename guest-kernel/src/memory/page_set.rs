//! Sets of pages, by number: which pages of a copy-on-write Mapping have been copied.
//!
//! A tree of bits whose leaves exist only where there are pages, so that memory follows the number of pages and nothing is
//! allocated in one large piece. A node is there only if there is a page below it, but for those that [`PageSet::grow`] has made and
//! that nothing was put into yet.

use alloc::boxed::Box;
use core::ops::Range;

/// Children of a branch, words of a leaf.
const WIDTH: usize = 64;
/// Pages in a leaf, as a power of two.
const LEAF_SHIFT: u32 = 12;
/// What a branch is wider than each of its children, as a power of two.
const BRANCH_SHIFT: u32 = 6;
/// Branches above a leaf at most: more than any address has.
const HIGHEST: u32 = 4;
/// How many words on either side of a page's own a run reaches at most, if all of that is alike: enough for a large page.
const RUN_WORDS: usize = 8;
/// What a branch costs its payer, in bytes.
const BRANCH_COST: u64 = size_of::<[Node; WIDTH]>() as u64 + 32;

#[derive(Debug, Default)]
enum Node {
    #[default]
    Empty,
    Leaf(Box<[u64; WIDTH]>),
    Branch(Box<[Node; WIDTH]>),
}

/// A set of pages.
#[derive(Debug, Default)]
pub struct PageSet {
    root: Node,
    /// Branches above each leaf.
    height: u32,
    /// What its nodes cost.
    cost: u64,
}

/// Pages around one that are all in a set or all not, though not necessarily all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// They are in it.
    pub contained: bool,
    /// The pages.
    pub pages: Range<u64>,
}

/// How many pages a node with so many branches above its leaves covers, as a power of two.
fn shift(height: u32) -> u32 {
    LEAF_SHIFT + BRANCH_SHIFT * height
}

/// Which child of a branch a page belongs to.
fn child(page: u64, height: u32) -> usize {
    (page >> shift(height - 1)) as usize % WIDTH
}

/// Which word of a leaf a page belongs to.
fn word_of(page: u64) -> usize {
    (page / 64) as usize % WIDTH
}

impl PageSet {
    /// Pages whose room comes and goes together.
    pub const LEAF: u64 = 1 << LEAF_SHIFT;
    /// What that room costs its payer, in bytes, beside that for finding it.
    pub const LEAF_COST: u64 = size_of::<[u64; WIDTH]>() as u64 + 32;

    /// What it costs, in bytes.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// The leaf of a page, or the pages around it for which there are none.
    fn leaf(&self, page: u64) -> Result<&[u64; WIDTH], Range<u64>> {
        let mut height = self.height;
        if page >> shift(height) != 0 {
            return Err(1 << shift(height)..u64::MAX);
        }
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(words) => return Ok(words),
                Node::Branch(children) => {
                    node = &children[child(page, height)];
                    height -= 1;
                }
                Node::Empty => {
                    let start = page >> shift(height) << shift(height);
                    return Err(start..start + (1 << shift(height)));
                }
            }
        }
    }

    /// Whether a page is in it.
    pub fn contains(&self, page: u64) -> bool {
        self.leaf(page).is_ok_and(|words| words[word_of(page)] >> (page % 64) & 1 != 0)
    }

    /// Whether a page is in it, and others around it alike.
    pub fn run(&self, page: u64) -> Run {
        let words = match self.leaf(page) {
            Ok(words) => words,
            Err(pages) => return Run { contained: false, pages },
        };
        let (word, bit) = (word_of(page), page % 64);
        let contained = words[word] >> bit & 1 != 0;
        let alike = if contained { u64::MAX } else { 0 };
        let others = |word: usize| words[word] ^ alike;
        let base = page - page % 64;
        let mut pages = base..base + 64;
        let (below, above) = (others(word) & ((1 << bit) - 1), others(word) >> bit);
        if below != 0 {
            pages.start += 64 - u64::from(below.leading_zeros());
        }
        if above != 0 {
            pages.end = page + u64::from(above.trailing_zeros());
        }
        // Only where a whole word is alike there is hope of a large page.
        if below | above == 0 {
            for word in (word.saturating_sub(RUN_WORDS)..word).rev() {
                let others = others(word);
                pages.start -= u64::from(others.leading_zeros());
                if others != 0 {
                    break;
                }
            }
            for word in word + 1..WIDTH.min(word + 1 + RUN_WORDS) {
                let others = others(word);
                pages.end += u64::from(others.trailing_zeros());
                if others != 0 {
                    break;
                }
            }
        }
        Run { contained, pages }
    }

    /// Which of the 64 pages from a multiple of 64 on are in it.
    fn word(&self, page: u64) -> u64 {
        self.leaf(page).map_or(0, |words| words[word_of(page)])
    }

    /// Which of the 64 pages from any page on are in it.
    pub fn bits(&self, page: u64) -> u64 {
        let low = self.word(page) >> (page % 64);
        if page.is_multiple_of(64) { low } else { low | self.word(page + 64) << (64 - page % 64) }
    }

    /// The first page in it that is `from` or after it.
    pub fn first_from(&self, from: u64) -> Option<u64> {
        if from >> shift(self.height) != 0 {
            return None;
        }
        self.root.first_from(self.height, 0, from)
    }

    /// Makes room for a page, each node if `charge` allows it its cost. False, with what was made until then, if it does not.
    #[must_use]
    pub fn grow(&mut self, page: u64, charge: &mut impl FnMut(u64) -> bool) -> bool {
        let cost = &mut self.cost;
        let mut charge = |bytes| {
            let charged = charge(bytes);
            *cost += if charged { bytes } else { 0 };
            charged
        };
        while page >> shift(self.height) != 0 {
            if self.height == HIGHEST {
                return false;
            }
            if !matches!(self.root, Node::Empty) {
                if !charge(BRANCH_COST) {
                    return false;
                }
                let mut children = Box::new([const { Node::Empty }; WIDTH]);
                children[0] = core::mem::take(&mut self.root);
                self.root = Node::Branch(children);
            }
            self.height += 1;
        }
        let (mut node, mut height) = (&mut self.root, self.height);
        loop {
            if matches!(node, Node::Empty) {
                if !charge(if height == 0 { Self::LEAF_COST } else { BRANCH_COST }) {
                    return false;
                }
                *node = match height {
                    0 => Node::Leaf(Box::new([0; WIDTH])),
                    _ => Node::Branch(Box::new([const { Node::Empty }; WIDTH])),
                };
            }
            match node {
                Node::Branch(children) => node = &mut children[child(page, height)],
                _ => return true,
            }
            height -= 1;
        }
    }

    /// Puts a page in. False if there is no room for it.
    pub fn insert(&mut self, page: u64) -> bool {
        let word = self.word_mut(page);
        word.map(|word| *word |= 1 << (page % 64)).is_some()
    }

    /// Has the pages from any page on be in it as `bits` says, of those that `mask` names. There is room for those that come in.
    pub fn set(&mut self, page: u64, mask: u64, bits: u64) {
        let by = page % 64;
        self.set_word(page, mask << by, bits << by);
        if by != 0 && mask >> (64 - by) != 0 {
            self.set_word(page + 64, mask >> (64 - by), bits >> (64 - by));
        }
    }

    fn set_word(&mut self, page: u64, mask: u64, bits: u64) {
        if let Some(word) = self.word_mut(page) {
            *word = *word & !mask | bits & mask;
        }
    }

    /// The word of a page, if there is room for it.
    fn word_mut(&mut self, page: u64) -> Option<&mut u64> {
        let mut height = self.height;
        if page >> shift(height) != 0 {
            return None;
        }
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Leaf(words) => return Some(&mut words[word_of(page)]),
                Node::Branch(children) => node = &mut children[child(page, height)],
                Node::Empty => return None,
            }
            height -= 1;
        }
    }

    /// Gives the room around a page back if there is no page in it. Returns what that had cost.
    pub fn prune(&mut self, page: u64) -> u64 {
        if page >> shift(self.height) != 0 {
            return 0;
        }
        let freed = self.root.prune(self.height, page);
        self.freed(freed)
    }

    /// Takes pages out, from the first on, as many as share a leaf. Returns what their room had cost.
    pub fn remove_first_leaf(&mut self) -> u64 {
        let Some(page) = self.first_from(0) else { return 0 };
        for word in (page & !(Self::LEAF - 1)..).step_by(64).take(WIDTH) {
            self.set_word(word, u64::MAX, 0);
        }
        self.prune(page)
    }

    /// Takes all pages out but those of a range. Returns what their room had cost.
    pub fn keep(&mut self, pages: &Range<u64>) -> u64 {
        let freed = self.root.keep(self.height, 0, pages);
        self.freed(freed)
    }

    fn freed(&mut self, freed: u64) -> u64 {
        self.cost -= freed;
        if matches!(self.root, Node::Empty) {
            self.height = 0;
        }
        freed
    }
}

impl Node {
    fn first_from(&self, height: u32, start: u64, from: u64) -> Option<u64> {
        match self {
            Self::Empty => None,
            Self::Leaf(words) => {
                let skipped = from.saturating_sub(start);
                let first = (skipped / 64) as usize;
                (first..WIDTH).find_map(|word| {
                    let bits = if word == first { words[word] & u64::MAX << (skipped % 64) } else { words[word] };
                    (bits != 0).then(|| start + word as u64 * 64 + u64::from(bits.trailing_zeros()))
                })
            }
            Self::Branch(children) => {
                let size = 1 << shift(height - 1);
                let first = (from.saturating_sub(start) / size) as usize;
                let below = children.iter().enumerate().skip(first);
                below
                    .map(|(index, below)| (start + index as u64 * size, below))
                    .find_map(|(start, below)| below.first_from(height - 1, start, from))
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Leaf(words) => words.iter().all(|&word| word == 0),
            Self::Branch(children) => children.iter().all(|child| matches!(child, Self::Empty)),
        }
    }

    /// Becomes `Empty` if it is empty. Returns what it has cost.
    fn free_if_empty(&mut self) -> u64 {
        if !self.is_empty() {
            return 0;
        }
        match core::mem::take(self) {
            Self::Empty => 0,
            Self::Leaf(_) => PageSet::LEAF_COST,
            Self::Branch(_) => BRANCH_COST,
        }
    }

    fn prune(&mut self, height: u32, page: u64) -> u64 {
        let below = match self {
            Self::Branch(children) => children[child(page, height)].prune(height - 1, page),
            _ => 0,
        };
        below + self.free_if_empty()
    }

    fn keep(&mut self, height: u32, start: u64, pages: &Range<u64>) -> u64 {
        let end = start + (1 << shift(height));
        if pages.start <= start && end <= pages.end {
            return 0;
        }
        let mut freed = 0;
        match self {
            Self::Empty => {}
            Self::Leaf(words) => {
                for (word, first) in words.iter_mut().zip((start..).step_by(64)) {
                    let cut = |at: u64| at.saturating_sub(first).min(64) as u32;
                    let below = |bit: u32| u64::MAX.checked_shr(64 - bit).unwrap_or(0);
                    *word &= below(cut(pages.end)) & !below(cut(pages.start));
                }
            }
            Self::Branch(children) => {
                for (child, first) in children.iter_mut().zip((start..).step_by(1 << shift(height - 1))) {
                    freed += child.keep(height - 1, first, pages);
                }
            }
        }
        freed + self.free_if_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Set(u64, u64, u64),
        Keep(u64, u64),
        Prune(u64),
    }

    /// Pages near each other, in few leaves, and some far away.
    fn page() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..300, 4000u64..4200, (1u64 << 18) - 70..(1 << 18) + 70, (1u64 << 36) - 200..(1 << 36) - 64]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => page().prop_map(Step::Insert),
            3 => (page(), any::<u64>(), any::<u64>()).prop_map(|(page, mask, bits)| Step::Set(page, mask, bits)),
            1 => (page(), any::<u64>()).prop_map(|(page, mask)| Step::Set(page, mask, 0)),
            1 => (page(), page()).prop_map(|(one, other)| Step::Keep(one.min(other), one.max(other))),
            1 => page().prop_map(Step::Prune),
        ]
    }

    /// What the nodes cost that are there.
    fn cost(node: &Node) -> u64 {
        match node {
            Node::Empty => 0,
            Node::Leaf(_) => PageSet::LEAF_COST,
            Node::Branch(children) => BRANCH_COST + children.iter().map(cost).sum::<u64>(),
        }
    }

    proptest! {
        /// It is a set of numbers, whose cost is that of its nodes, and nothing when it is empty.
        #[test]
        fn agrees_with_a_btree_set(steps in prop::collection::vec(step(), 1..60), probes in prop::collection::vec(page(), 20)) {
            let (mut set, mut model) = (PageSet::default(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Insert(page) => {
                        prop_assert!(set.grow(page, &mut |_| true));
                        prop_assert!(set.insert(page));
                        model.insert(page);
                    }
                    Step::Set(page, mask, bits) => {
                        for page in [page, page + 63] {
                            prop_assert!(set.grow(page, &mut |_| true));
                        }
                        set.set(page, mask, bits);
                        for bit in (0..64).filter(|bit| mask >> bit & 1 != 0) {
                            if bits >> bit & 1 != 0 { model.insert(page + bit); } else { model.remove(&(page + bit)); }
                        }
                        set.prune(page);
                        set.prune(page + 63);
                    }
                    Step::Keep(start, end) => {
                        set.keep(&(start..end));
                        model.retain(|page| (start..end).contains(page));
                    }
                    Step::Prune(page) => { set.prune(page); }
                }
                prop_assert_eq!(set.cost(), cost(&set.root));
                prop_assert_eq!(set.cost() == 0, model.is_empty());
            }
            for page in probes {
                prop_assert_eq!(set.first_from(page), model.range(page..).next().copied());
                let bits = (0..64).filter(|bit| model.contains(&(page + bit))).fold(0, |bits, bit| bits | 1 << bit);
                prop_assert_eq!(set.bits(page), bits);
                let run = set.run(page);
                prop_assert!(run.pages.contains(&page));
                prop_assert_eq!(run.contained, model.contains(&page));
                prop_assert_eq!(run.contained, set.contains(page));
                let inside = model.range(run.pages.clone()).count() as u64;
                prop_assert_eq!(inside, if run.contained { run.pages.end - run.pages.start } else { 0 });
            }
            let (cost, mut freed) = (set.cost(), 0);
            let leaves = model.iter().map(|page| page / PageSet::LEAF).collect::<BTreeSet<_>>();
            for leaf in leaves {
                prop_assert_eq!(set.first_from(0).map(|page| page / PageSet::LEAF), Some(leaf));
                freed += set.remove_first_leaf();
            }
            prop_assert_eq!((set.cost(), freed, set.remove_first_leaf()), (0, cost, 0));
        }

        /// A run ends only where pages differ, or far away, or at the end of a word that is not all alike.
        #[test]
        fn runs_are_long(pages in prop::collection::btree_set(0u64..4096, 0..12), probe in 0u64..4096) {
            let mut set = PageSet::default();
            for &page in &pages {
                prop_assert!(set.grow(page, &mut |_| true));
                prop_assert!(set.insert(page));
            }
            let Run { contained, pages: run } = set.run(probe);
            let differs = |page: u64| pages.contains(&page) != contained;
            let word = probe - probe % 64;
            let mixed = (word..word + 64).any(differs);
            let far = |pages: u64, end: u64| if mixed { end == word || end == word + 64 } else { pages >= 512 };
            prop_assert!(run.start == 0 || differs(run.start - 1) || far(probe - run.start, run.start));
            prop_assert!(run.end >= 4096 || differs(run.end) || far(run.end - probe, run.end));
        }

        /// What cannot be paid for is not there, and costs nothing once it is given back.
        #[test]
        fn growing_ends_where_the_allowance_does(pages in prop::collection::vec(page(), 1..20), allowance in 0u64..10_000) {
            let (mut set, mut left) = (PageSet::default(), allowance);
            for page in pages {
                let mut refused = false;
                let grown = set.grow(page, &mut |bytes| {
                    refused |= bytes > left;
                    if bytes <= left { left -= bytes; true } else { false }
                });
                prop_assert_eq!(grown, !refused);
                prop_assert_eq!(set.insert(page), grown);
                if !grown { left += set.prune(page); }
                prop_assert_eq!(set.cost() + left, allowance);
                prop_assert_eq!(set.run(page).contained, grown);
            }
        }
    }
}
