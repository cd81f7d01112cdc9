//! Values by address, in order: which Mapping begins where in a Space.
//!
//! Sorted chunks of bounded length, found by their first addresses. Looking up is two binary searches, inserting and
//! removing move at most one chunk; only when a chunk splits or merges do the others move.

use alloc::vec::Vec;

/// Most entries of a chunk.
const MOST: usize = 64;
/// A chunk that has fewer entries joins a neighbour where both fit with room to spare, so that memory follows the number of
/// entries.
const FEW: usize = MOST / 4;

/// An ordered map from addresses to values.
#[derive(Debug)]
pub struct AddressMap<V> {
    /// The first address of each chunk.
    firsts: Vec<u64>,
    /// The chunks, none of them empty.
    chunks: Vec<Vec<(u64, V)>>,
}

impl<V> Default for AddressMap<V> {
    fn default() -> Self {
        Self { firsts: Vec::new(), chunks: Vec::new() }
    }
}

impl<V: Copy> AddressMap<V> {
    /// The last entry at or before `address`.
    #[inline]
    pub fn at_or_before(&self, address: u64) -> Option<(u64, V)> {
        let chunk = self.chunks.get(self.chunk(address)?)?;
        let position = chunk.partition_point(|&(start, _)| start <= address);
        chunk.get(position.wrapping_sub(1)).copied()
    }

    /// The first entry at or after `address`.
    pub fn at_or_after(&self, address: u64) -> Option<(u64, V)> {
        let index = self.chunk(address).unwrap_or(0);
        let chunk = self.chunks.get(index)?;
        let position = chunk.partition_point(|&(start, _)| start < address);
        chunk.get(position).or_else(|| self.chunks.get(index + 1)?.first()).copied()
    }

    /// Puts `value` at `address`, in place of what is there.
    pub fn insert(&mut self, address: u64, value: V) {
        let Some(index) = self.chunk(address).or((!self.chunks.is_empty()).then_some(0)) else {
            self.firsts.push(address);
            self.chunks.push(alloc::vec![(address, value)]);
            return;
        };
        let chunk = &mut self.chunks[index];
        match chunk.binary_search_by_key(&address, |&(start, _)| start) {
            Ok(position) => chunk[position].1 = value,
            Err(position) => {
                chunk.insert(position, (address, value));
                self.firsts[index] = chunk[0].0;
                if chunk.len() == MOST {
                    let rest = chunk.split_off(MOST / 2);
                    self.firsts.insert(index + 1, rest[0].0);
                    self.chunks.insert(index + 1, rest);
                }
            }
        }
    }

    /// Takes the entry at `address` out, if `is` holds for its value.
    pub fn remove_if(&mut self, address: u64, is: impl FnOnce(V) -> bool) {
        let Some(index) = self.chunk(address) else { return };
        let chunk = &mut self.chunks[index];
        let Ok(position) = chunk.binary_search_by_key(&address, |&(start, _)| start) else { return };
        if !is(chunk[position].1) {
            return;
        }
        chunk.remove(position);
        if let Some(&(first, _)) = chunk.first() {
            self.firsts[index] = first;
        }
        if chunk.len() < FEW {
            self.merge(index);
        }
    }

    /// All values, in order of their addresses.
    pub fn values(&self) -> impl Iterator<Item = V> + '_ {
        self.chunks.iter().flatten().map(|&(_, value)| value)
    }

    /// The chunk that `address` belongs into, unless that is before all.
    #[inline]
    fn chunk(&self, address: u64) -> Option<usize> {
        self.firsts.partition_point(|&first| first <= address).checked_sub(1)
    }

    /// Joins a short chunk with a neighbour, or drops it if it is empty.
    fn merge(&mut self, index: usize) {
        let length = |index: usize| self.chunks.get(index).map_or(usize::MAX, Vec::len);
        let fits = |other: usize| length(other).saturating_add(length(index)) <= MOST - FEW;
        if length(index) == 0 {
            self.chunks.remove(index);
            self.firsts.remove(index);
            return;
        }
        let first = if fits(index + 1) {
            index
        } else if index > 0 && fits(index - 1) {
            index - 1
        } else {
            return;
        };
        let mut second = self.chunks.remove(first + 1);
        self.firsts.remove(first + 1);
        self.chunks[first].append(&mut second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// It is a BTreeMap, whose chunks are neither too long nor needlessly many.
        #[test]
        fn agrees_with_a_btree_map(
            steps in prop::collection::vec((0u64..600, 0u8..5), 1..1500),
            shrink in any::<bool>(),
        ) {
            let (mut map, mut model) = (AddressMap::default(), BTreeMap::new());
            let half = steps.len() / 2;
            for (number, (address, what)) in steps.into_iter().enumerate() {
                let insert = if shrink { number < half || what == 0 } else { what < 3 };
                if insert {
                    map.insert(address, number);
                    model.insert(address, number);
                } else if what == 4 {
                    map.remove_if(address, |_| false);
                } else {
                    map.remove_if(address, |_| true);
                    model.remove(&address);
                }
                let probe = address * 7 % 640;
                for probe in [probe, address] {
                    let pair = |(&start, &value): (&u64, &usize)| (start, value);
                    prop_assert_eq!(map.at_or_before(probe), model.range(..=probe).next_back().map(pair));
                    prop_assert_eq!(map.at_or_after(probe), model.range(probe..).next().map(pair));
                }
            }
            prop_assert!(map.values().eq(model.values().copied()));
            let lengths: Vec<_> = map.chunks.iter().map(Vec::len).collect();
            prop_assert!(lengths.iter().all(|&length| (1..MOST).contains(&length)));
            prop_assert!(map.firsts.iter().zip(&map.chunks).all(|(&first, chunk)| first == chunk[0].0));
            prop_assert!(lengths.windows(2).all(|pair| pair[0] >= FEW || pair[1] >= FEW || pair[0] + pair[1] > MOST - FEW));
        }
    }
}
