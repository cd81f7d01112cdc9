//! Which object lives where: by the physical address of its memory.
//!
//! One entry for each frame of memory, as long as memory is; those of frames with objects lead to a list of them, by place.
//! What is occupied stands in a bitmap as well, with a bitmap of its words, and so on: so looking up, adding and removing
//! take as long whatever else there is, and the next object behind an address is found without looking at what is empty.

use crate::objects::Place;
use alloc::boxed::Box;
use alloc::vec::Vec;
use protocols::address::PAGE_SIZE;
use protocols::api::OBJECT_SIZE;

const BITS: usize = u64::BITS as usize;
/// Levels of bitmaps: those of a 64th of the level below, four times.
const LEVELS: usize = 4;

/// The objects in one frame.
#[derive(Debug, Default)]
pub struct Frame {
    /// Which places are occupied.
    occupied: u64,
    /// Their objects, in order.
    places: Vec<Place>,
}

/// An entry of the table: zero where there are no objects.
pub type Entry = Option<Box<Frame>>;

/// All places.
#[derive(Debug)]
pub struct Places {
    frames: &'static mut [Entry],
    occupied: [&'static mut [u64]; LEVELS],
}

/// Words of each level of bitmaps for a number of frames.
const fn words(frames: usize) -> [usize; LEVELS] {
    let mut words = [0; LEVELS];
    let (mut level, mut below) = (0, frames);
    while level < LEVELS {
        below = below.div_ceil(BITS);
        words[level] = below;
        level += 1;
    }
    words
}

impl Places {
    /// What one object takes of memory beside itself, at most: a frame's list, which is at least half full.
    pub const COST: usize = size_of::<Frame>() + 2 * size_of::<Place>();

    /// Words of all bitmaps for memory of `frames` frames.
    pub fn bitmap_words(frames: usize) -> usize {
        words(frames).iter().sum()
    }

    /// None, in a table and bitmaps that are zero and as long as memory wants them.
    pub fn new(frames: &'static mut [Entry], bitmaps: &'static mut [u64]) -> Self {
        let mut rest = bitmaps;
        let occupied = words(frames.len()).map(|words| {
            let (level, others) = core::mem::take(&mut rest).split_at_mut(words);
            rest = others;
            level
        });
        Self { frames, occupied }
    }

    /// Who lives at an address.
    #[inline]
    pub fn get(&self, address: u64) -> Option<&Place> {
        let frame = self.frames.get((address / PAGE_SIZE) as usize)?.as_ref()?;
        let bit = bit(address);
        if frame.occupied & bit == 0 { None } else { frame.places.get(frame.before(bit)) }
    }

    /// Has somebody live at an address where nobody does. Nothing happens outside memory.
    pub fn insert(&mut self, address: u64, place: Place) {
        let number = (address / PAGE_SIZE) as usize;
        let Some(entry) = self.frames.get_mut(number) else { return };
        let first = entry.is_none();
        let frame = entry.get_or_insert_default();
        if first {
            frame.places.reserve_exact(1);
        }
        let bit = bit(address);
        debug_assert_eq!(frame.occupied & bit, 0);
        frame.places.insert(frame.before(bit), place);
        frame.occupied |= bit;
        if first {
            self.mark(number);
        }
    }

    /// Who lived there lives there no more.
    pub fn remove(&mut self, address: u64) -> Option<Place> {
        let number = (address / PAGE_SIZE) as usize;
        let entry = self.frames.get_mut(number)?;
        let frame = entry.as_mut()?;
        let bit = bit(address);
        if frame.occupied & bit == 0 {
            return None;
        }
        let place = frame.places.remove(frame.before(bit));
        frame.occupied &= !bit;
        if frame.occupied == 0 {
            *entry = None;
            self.unmark(number);
        }
        Some(place)
    }

    /// The first who lives in `start` to `end`, and where.
    pub fn first(&self, start: u64, end: u64) -> Option<(u64, &Place)> {
        let mut from = start;
        while from < end {
            let number = self.marked_from((from / PAGE_SIZE) as usize)?;
            let base = number as u64 * PAGE_SIZE;
            from = from.max(base);
            let frame = self.frames.get(number)?.as_ref()?;
            let later = frame.occupied & !(bit(from.next_multiple_of(OBJECT_SIZE)) - 1);
            if later != 0 && from.next_multiple_of(OBJECT_SIZE) < base + PAGE_SIZE {
                let address = base + u64::from(later.trailing_zeros()) * OBJECT_SIZE;
                let place = frame.places.get(frame.before(later & later.wrapping_neg()))?;
                return (address < end).then_some((address, place));
            }
            from = base + PAGE_SIZE;
        }
        None
    }

    fn mark(&mut self, number: usize) {
        let mut number = number;
        for level in &mut self.occupied {
            let word = &mut level[number / BITS];
            let was = *word;
            *word |= 1 << (number % BITS);
            if was != 0 {
                return;
            }
            number /= BITS;
        }
    }

    fn unmark(&mut self, number: usize) {
        let mut number = number;
        for level in &mut self.occupied {
            let word = &mut level[number / BITS];
            *word &= !(1 << (number % BITS));
            if *word != 0 {
                return;
            }
            number /= BITS;
        }
    }

    /// The first marked number from `number` on.
    fn marked_from(&self, number: usize) -> Option<usize> {
        let mut number = number;
        for (level, words) in self.occupied.iter().enumerate() {
            let word = words.get(number / BITS)? & (!0 << (number % BITS));
            if word != 0 {
                return Some(self.down(level, number / BITS * BITS + word.trailing_zeros() as usize));
            }
            number = number / BITS + 1;
        }
        // What four levels do not summarise is looked through.
        let top = self.occupied.last()?;
        let word = (number..top.len()).find(|&word| top[word] != 0)?;
        Some(self.down(LEVELS - 1, word * BITS + top[word].trailing_zeros() as usize))
    }

    /// The first number that is marked below a marked one of a level.
    fn down(&self, level: usize, number: usize) -> usize {
        self.occupied[..level].iter().rev().fold(number, |number, words| {
            let word = words.get(number).copied().unwrap_or(0);
            number * BITS + word.trailing_zeros() as usize
        })
    }
}

#[cfg(test)]
impl Places {
    /// None, on the host.
    pub fn on_host(frames: usize) -> Self {
        let entries: Vec<_> = (0..frames).map(|_| None).collect();
        Self::new(entries.leak(), alloc::vec![0; Self::bitmap_words(frames)].leak())
    }
}

impl Frame {
    /// How many places before the one of a bit are occupied.
    fn before(&self, bit: u64) -> usize {
        (self.occupied & (bit - 1)).count_ones() as usize
    }
}

/// The bit of an address's place in its frame.
fn bit(address: u64) -> u64 {
    1 << (address % PAGE_SIZE / OBJECT_SIZE)
}

const _: () = assert!(PAGE_SIZE / OBJECT_SIZE == BITS as u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Payer;
    use crate::arena::{Arena, Id};
    use crate::objects::{Object, Port};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Frames of the tests' memory: more than two levels of bitmaps cover.
    const FRAMES: usize = 10_000;

    /// A place for a test: `charge` tells which.
    fn place(payer: Id<Payer>, port: Id<Port>, charge: u64) -> Place {
        Place { object: Object::Port(port), payer, charge }
    }

    proptest! {
        /// It is an ordered map.
        #[test]
        fn agrees_with_a_btree_map(
            steps in prop::collection::vec((prop_oneof![0u64..4, 60u64..70, 4090u64..4100, 9990u64..10_000], 0u64..64, 0u8..5), 1..400)
        ) {
            // SAFETY: one arena of each type.
            #[allow(unsafe_code)]
            let mut ports = unsafe { Arena::new() };
            let mut objects = crate::objects::Objects::new(Places::on_host(1));
            let payer = objects.open_first_account(0, 0).payer().unwrap();
            let port = ports.insert(Port::default());
            let (mut places, mut model) = (Places::on_host(FRAMES), BTreeMap::new());
            for (number, (frame, slot, what)) in steps.into_iter().enumerate() {
                let address = frame * PAGE_SIZE + slot * OBJECT_SIZE;
                if what > 1 && !model.contains_key(&address) {
                    places.insert(address, place(payer, port, number as u64));
                    model.insert(address, number as u64);
                } else {
                    prop_assert_eq!(places.remove(address).map(|place| place.charge), model.remove(&address));
                }
                prop_assert_eq!(places.get(address).map(|place| place.charge), model.get(&address).copied());
                for (start, end) in [(0, u64::MAX), (address, address + 1), (address + 1, u64::MAX), (address, address + PAGE_SIZE)] {
                    let found = places.first(start, end).map(|(address, place)| (address, place.charge));
                    prop_assert_eq!(found, model.range(start..end).next().map(|(&address, &number)| (address, number)));
                }
            }
        }
    }

    #[test]
    fn outside_memory_lives_nobody() {
        let mut places = Places::on_host(2);
        assert!(places.get(2 * PAGE_SIZE).is_none());
        assert!(places.remove(u64::MAX - 63).is_none());
        assert!(places.first(0, u64::MAX).is_none());
    }
}
