//! Storage for kernel objects: typed, generational identifiers into memory that never moves.
//!
//! An identifier of a destroyed object matches nothing ever after, so links need no clearing: destroying an object is
//! what revokes every reference to it, at a cost that does not depend on their number.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::num::{NonZeroU32, NonZeroU64};

/// Identifies an object of type `T`, or one that has been: its index in the low half, its generation, from 1 on, in the
/// high half.
pub struct Id<T> {
    raw: NonZeroU64,
    marker: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    #[inline]
    fn new(index: u32, generation: NonZeroU32) -> Self {
        let raw = u64::from(generation.get()) << 32 | u64::from(index);
        // A generation is never 0, so neither is this.
        let raw = NonZeroU64::new(raw).unwrap_or(NonZeroU64::MIN);
        Self { raw, marker: PhantomData }
    }

    #[inline]
    fn index(self) -> usize {
        self.raw.get() as u32 as usize
    }

    #[inline]
    fn generation(self) -> u32 {
        (self.raw.get() >> 32) as u32
    }
}

impl<T> Clone for Id<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}
impl<T> Eq for Id<T> {}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.generation())
    }
}

struct Slot<T> {
    generation: NonZeroU32,
    next_free: u32,
    value: Option<T>,
}

const CHUNK: usize = 16;
const NONE: u32 = u32::MAX;
const FIRST: NonZeroU32 = NonZeroU32::MIN;

/// A growing set of `T`s that stay where they are.
pub struct Arena<T> {
    chunks: Vec<Box<[Slot<T>; CHUNK]>>,
    first_free: u32,
    count: usize,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Arena<T> {
    /// An empty arena.
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), first_free: NONE, count: 0 }
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Stores `value`.
    pub fn insert(&mut self, value: T) -> Id<T> {
        if self.first_free == NONE {
            self.grow();
        }
        let index = self.first_free;
        let slot = &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK];
        self.first_free = slot.next_free;
        slot.value = Some(value);
        self.count += 1;
        Id::new(index, slot.generation)
    }

    /// Takes the object out; its identifier is void from now on.
    pub fn remove(&mut self, id: Id<T>) -> Option<T> {
        let slot = &mut self.chunks.get_mut(id.index() / CHUNK)?[id.index() % CHUNK];
        if slot.generation.get() != id.generation() {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.checked_add(1).unwrap_or(FIRST);
        slot.next_free = self.first_free;
        self.first_free = id.index() as u32;
        self.count -= 1;
        Some(value)
    }

    /// The object, if it exists.
    #[inline]
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        let slot = &self.chunks.get(id.index() / CHUNK)?[id.index() % CHUNK];
        if slot.generation.get() == id.generation() { slot.value.as_ref() } else { None }
    }

    /// The object, if it exists.
    #[inline]
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        let slot = &mut self.chunks.get_mut(id.index() / CHUNK)?[id.index() % CHUNK];
        if slot.generation.get() == id.generation() { slot.value.as_mut() } else { None }
    }

    /// All identifiers.
    pub fn ids(&self) -> impl Iterator<Item = Id<T>> + '_ {
        let slots = self.chunks.iter().flat_map(|chunk| chunk.iter()).enumerate();
        slots.filter_map(|(index, slot)| slot.value.as_ref().map(|_| Id::new(index as u32, slot.generation)))
    }

    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        let slot = |offset: usize| {
            let next_free = if offset + 1 == CHUNK { NONE } else { first + offset as u32 + 1 };
            Slot { generation: FIRST, next_free, value: None }
        };
        self.chunks.push(Box::new(core::array::from_fn(slot)));
        self.first_free = first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_identifier_is_void() {
        let mut arena = Arena::new();
        let first = arena.insert(1);
        assert_eq!(arena.remove(first), Some(1));
        let second = arena.insert(2);
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.get(second), Some(&2));
        assert_eq!(arena.remove(first), None);
    }

    #[test]
    fn objects_stay_where_they_are() {
        let mut arena = Arena::new();
        let first = arena.insert(0usize);
        let address = core::ptr::from_ref(arena.get(first).unwrap());
        let others: Vec<_> = (1..1000).map(|n| arena.insert(n)).collect();
        assert_eq!(address, core::ptr::from_ref(arena.get(first).unwrap()));
        assert_eq!(arena.ids().count(), 1000);
        assert!(others.iter().enumerate().all(|(n, &id)| arena.get(id) == Some(&(n + 1))));
    }
}
