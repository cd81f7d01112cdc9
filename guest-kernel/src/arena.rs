//! Storage for kernel objects: typed, generational identifiers into memory that never moves.
//!
//! An identifier of a destroyed object matches nothing ever after, so links need no clearing: destroying an object is
//! what revokes every reference to it, at a cost that does not depend on their number.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

/// Identifies an object of type `T`, or one that has been.
pub struct Id<T> {
    index: u32,
    generation: u32,
    marker: PhantomData<fn() -> T>,
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.generation == other.generation
    }
}
impl<T> Eq for Id<T> {}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

struct Slot<T> {
    generation: u32,
    next_free: u32,
    value: Option<T>,
}

const CHUNK: usize = 16;
const NONE: u32 = u32::MAX;

/// A growing set of `T`s that stay where they are.
pub struct Arena<T> {
    chunks: Vec<Box<[Slot<T>]>>,
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
        Id { index, generation: slot.generation, marker: PhantomData }
    }

    /// Takes the object out; its identifier is void from now on.
    pub fn remove(&mut self, id: Id<T>) -> Option<T> {
        let slot = self.chunks.get_mut(id.index as usize / CHUNK)?.get_mut(id.index as usize % CHUNK)?;
        if slot.generation != id.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.next_free = self.first_free;
        self.first_free = id.index;
        self.count -= 1;
        Some(value)
    }

    /// The object, if it exists.
    #[inline]
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        let slot = self.chunks.get(id.index as usize / CHUNK)?.get(id.index as usize % CHUNK)?;
        if slot.generation == id.generation { slot.value.as_ref() } else { None }
    }

    /// The object, if it exists.
    #[inline]
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        let slot = self.chunks.get_mut(id.index as usize / CHUNK)?.get_mut(id.index as usize % CHUNK)?;
        if slot.generation == id.generation { slot.value.as_mut() } else { None }
    }

    /// All identifiers.
    pub fn ids(&self) -> impl Iterator<Item = Id<T>> + '_ {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).enumerate().filter_map(|(index, slot)| {
            slot.value.as_ref().map(|_| Id { index: index as u32, generation: slot.generation, marker: PhantomData })
        })
    }

    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        let mut chunk = Vec::with_capacity(CHUNK);
        for offset in 0..CHUNK as u32 {
            let next_free = if offset + 1 == CHUNK as u32 { NONE } else { first + offset + 1 };
            chunk.push(Slot { generation: 0, next_free, value: None });
        }
        self.chunks.push(chunk.into_boxed_slice());
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
