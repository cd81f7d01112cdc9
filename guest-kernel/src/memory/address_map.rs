//! Values by address, in order: which Mapping begins where in a Space.
//!
//! Sorted chunks of bounded length, found by their first addresses. Looking up is two binary searches, inserting and
//! removing move at most one chunk; only when a chunk splits or merges do the others move. Most of what is looked for is where
//! something was found or put just before, or right behind it: that takes no search.

use alloc::vec::Vec;
use core::cell::Cell;

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
    /// Where something was last, if nothing has changed since.
    recent: Cell<Position>,
}

/// The entries up to some address: all of the chunks before `chunk`, and `count` of that one, at least one.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    chunk: usize,
    count: usize,
}

impl<V> Default for AddressMap<V> {
    fn default() -> Self {
        Self { firsts: Vec::new(), chunks: Vec::new(), recent: Cell::default() }
    }
}

impl<V: Copy> AddressMap<V> {
    /// The last entry at or before `address`.
    #[inline(always)]
    pub fn at_or_before(&self, address: u64) -> Option<(u64, V)> {
        let Position { chunk, count } = self.position(address)?;
        self.chunks.get(chunk)?.get(count - 1).copied()
    }

    /// What is at `address`.
    #[inline]
    pub fn get(&self, address: u64) -> Option<&V> {
        let Position { chunk, count } = self.position(address)?;
        match self.chunks.get(chunk)?.get(count - 1) {
            Some((start, value)) if *start == address => Some(value),
            _ => None,
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The first entry at or after `address`.
    pub fn at_or_after(&self, address: u64) -> Option<(u64, V)> {
        let Some(Position { chunk, count }) = self.position(address) else {
            return self.chunks.first()?.first().copied();
        };
        let entries = self.chunks.get(chunk)?;
        match entries.get(count - 1) {
            Some(&(start, value)) if start == address => Some((start, value)),
            _ => entries.get(count).or_else(|| self.chunks.get(chunk + 1)?.first()).copied(),
        }
    }

    /// The first address after `address` that there is an entry for.
    #[inline(always)]
    pub fn after(&self, address: u64) -> Option<u64> {
        let Some(Position { chunk, count }) = self.position(address) else { return self.firsts.first().copied() };
        match self.chunks.get(chunk)?.get(count) {
            Some(&(next, _)) => Some(next),
            None => self.firsts.get(chunk + 1).copied(),
        }
    }

    /// Puts `value` at `address`, in place of what is there.
    pub fn insert(&mut self, address: u64, value: V) {
        let Position { chunk: index, count } = self.position(address).unwrap_or_default();
        let last = index + 1 >= self.chunks.len();
        let Some(chunk) = self.chunks.get_mut(index) else { return self.append(address, value) };
        if let Some(entry) = chunk.get_mut(count.wrapping_sub(1))
            && entry.0 == address
        {
            entry.1 = value;
            return;
        }
        // Entries that come in order fill their chunks.
        if last && count == MOST - 1 {
            return self.append(address, value);
        }
        chunk.insert(count, (address, value));
        if count == 0 {
            self.firsts[index] = address;
        }
        self.recent.set(Position { chunk: index, count: count + 1 });
        if chunk.len() == MOST {
            let rest = chunk.split_off(MOST / 2);
            self.firsts.insert(index + 1, rest[0].0);
            self.chunks.insert(index + 1, rest);
        }
    }

    /// Adds a chunk behind all others.
    fn append(&mut self, address: u64, value: V) {
        self.firsts.push(address);
        self.chunks.push(alloc::vec![(address, value)]);
        self.recent.set(Position { chunk: self.chunks.len() - 1, count: 1 });
    }

    /// Takes the entry at `address` out, if `is` holds for its value.
    pub fn remove_if(&mut self, address: u64, is: impl FnOnce(V) -> bool) {
        let Some(Position { chunk: index, count }) = self.position(address) else { return };
        let chunk = &mut self.chunks[index];
        let (start, value) = chunk[count - 1];
        if start != address || !is(value) {
            return;
        }
        chunk.remove(count - 1);
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

    /// The entries up to `address`, unless there are none.
    #[inline(always)]
    fn position(&self, address: u64) -> Option<Position> {
        let Position { chunk: number, count } = self.recent.get();
        // Whatever has become of the map since: a position is right if the entries on both sides of it say so.
        if let Some(chunk) = self.chunks.get(number)
            && chunk.get(count.wrapping_sub(1)).is_some_and(|&(start, _)| start <= address)
        {
            match chunk.get(count) {
                Some(&(next, _)) if address < next => return Some(Position { chunk: number, count }),
                Some(&(next, _)) if address == next => {
                    let position = Position { chunk: number, count: count + 1 };
                    self.recent.set(position);
                    return Some(position);
                }
                None if self.firsts.get(number + 1).is_none_or(|&next| address < next) => {
                    return Some(Position { chunk: number, count });
                }
                _ => {}
            }
        }
        self.search(address)
    }

    #[inline(never)]
    fn search(&self, address: u64) -> Option<Position> {
        let Position { chunk: number, count } = self.recent.get();
        // Right before what was found last: where entries are looked for in falling order.
        if let Some(chunk) = self.chunks.get(number)
            && chunk.get(count.wrapping_sub(2)).is_some_and(|&(start, _)| start <= address)
            && chunk.get(count - 1).is_some_and(|&(next, _)| address < next)
        {
            let position = Position { chunk: number, count: count - 1 };
            self.recent.set(position);
            return Some(position);
        }
        let chunk = self.firsts.partition_point(|&first| first <= address).checked_sub(1)?;
        let count = self.chunks.get(chunk)?.partition_point(|&(start, _)| start <= address);
        let position = Position { chunk, count };
        self.recent.set(position);
        Some(position)
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
                    prop_assert_eq!(map.get(probe), model.get(&probe));
                    prop_assert_eq!(map.after(probe), model.range(probe + 1..).next().map(|(&start, _)| start));
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
