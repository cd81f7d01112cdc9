//! Storage for kernel objects: typed, generational identifiers into memory that never moves.
//!
//! An identifier of a destroyed object matches nothing ever after, so links need no clearing: destroying an object is
//! what revokes every reference to it, at a cost that does not depend on their number.
//!
//! Following an identifier is one comparison, since it holds the place itself. That is sound because places are never
//! given back or moved while their arena exists, and because identifiers are used only with the arena that made them,
//! which whoever makes an arena promises ([`Arena::new`]).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Identifies an object of type `T`, or one that has been.
pub struct Id<T> {
    slot: NonNull<Slot<T>>,
    key: u64,
}

// SAFETY: an identifier is a name. Only an arena, to which the access rules of Rust apply, follows it.
unsafe impl<T> Send for Id<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Id<T> {}

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
        self.slot == other.slot && self.key == other.key
    }
}
impl<T> Eq for Id<T> {}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.key >> 32, self.key as u32)
    }
}

/// The object comes first, so that the place of both is one address.
#[repr(C)]
struct Slot<T> {
    value: MaybeUninit<T>,
    /// That of the object in it, or of the next one: its number in the high half, its generation in the low one.
    key: u64,
    is_live: bool,
    next_free: Option<NonNull<Slot<T>>>,
}

const CHUNK: usize = 16;
const GENERATION: u64 = u32::MAX as u64;

/// A growing set of `T`s that stay where they are.
pub struct Arena<T> {
    chunks: Vec<NonNull<[Slot<T>; CHUNK]>>,
    first_free: Option<NonNull<Slot<T>>>,
    count: usize,
}

// SAFETY: the arena owns its slots.
unsafe impl<T: Send> Send for Arena<T> {}

impl<T> Arena<T> {
    /// Bytes that an object takes.
    pub const SLOT_SIZE: usize = size_of::<Slot<T>>();

    /// An empty arena.
    ///
    /// # Safety
    /// Identifiers that this arena makes are given to no other arena, and not used after it.
    pub const unsafe fn new() -> Self {
        Self { chunks: Vec::new(), first_free: None, count: 0 }
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
        let mut place = match self.first_free {
            Some(place) => place,
            None => self.grow(),
        };
        // SAFETY: the place is a slot of this arena, borrowed exclusively.
        let slot = unsafe { place.as_mut() };
        self.first_free = slot.next_free;
        slot.value.write(value);
        slot.is_live = true;
        self.count += 1;
        Id { slot: place, key: slot.key }
    }

    /// Takes the object out; its identifier is void from now on.
    pub fn remove(&mut self, id: Id<T>) -> Option<T> {
        let mut place = id.slot;
        // SAFETY: by the promise of `new`, the slot is this arena's, borrowed exclusively.
        let slot = unsafe { place.as_mut() };
        if slot.key != id.key {
            return None;
        }
        slot.key = slot.key & !GENERATION | (slot.key + 1) & GENERATION;
        slot.is_live = false;
        slot.next_free = self.first_free;
        self.first_free = Some(place);
        self.count -= 1;
        // SAFETY: the generation said that the object was there; it is not reachable any more.
        Some(unsafe { slot.value.assume_init_read() })
    }

    /// The object, if it exists.
    #[inline]
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        // SAFETY: by the promise of `new`, the slot is this arena's, which is borrowed.
        let slot = unsafe { id.slot.as_ref() };
        // SAFETY: only `insert` makes identifiers, with a value in the slot; `remove` changes the key.
        (slot.key == id.key).then(|| unsafe { slot.value.assume_init_ref() })
    }

    /// The object, if it exists.
    #[inline]
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        let mut place = id.slot;
        // SAFETY: as in `get`, borrowed exclusively.
        let slot = unsafe { place.as_mut() };
        // SAFETY: as in `get`.
        (slot.key == id.key).then(|| unsafe { slot.value.assume_init_mut() })
    }

    /// Two different objects, if both exist.
    #[inline]
    pub fn pair_mut(&mut self, first: Id<T>, second: Id<T>) -> Option<(&mut T, &mut T)> {
        if first.slot == second.slot {
            return None;
        }
        let (mut one, mut other) = (first.slot, second.slot);
        // SAFETY: as in `get_mut`; the slots are different ones.
        let (one, other) = unsafe { (one.as_mut(), other.as_mut()) };
        if one.key != first.key || other.key != second.key {
            return None;
        }
        // SAFETY: as in `get`.
        Some(unsafe { (one.value.assume_init_mut(), other.value.assume_init_mut()) })
    }

    /// How many places there are, occupied or free.
    pub fn places(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// The identifier of the object in a place, numbered from 0 on.
    pub fn at(&self, number: usize) -> Option<Id<T>> {
        if number >= self.places() {
            return None;
        }
        let place = self.place(number);
        // SAFETY: the place is a slot of this arena, which is borrowed.
        let slot = unsafe { place.as_ref() };
        slot.is_live.then_some(Id { slot: place, key: slot.key })
    }

    /// All identifiers.
    pub fn ids(&self) -> impl Iterator<Item = Id<T>> + '_ {
        (0..self.places()).filter_map(|number| self.at(number))
    }

    fn place(&self, number: usize) -> NonNull<Slot<T>> {
        // SAFETY: the offset stays inside the chunk.
        unsafe { self.chunks[number / CHUNK].cast::<Slot<T>>().add(number % CHUNK) }
    }

    /// Adds free slots; returns the first.
    #[cold]
    fn grow(&mut self) -> NonNull<Slot<T>> {
        let first = self.places();
        let slot = |offset: usize| Slot {
            value: MaybeUninit::uninit(),
            key: ((first + offset) as u64) << 32 | 1,
            is_live: false,
            next_free: None,
        };
        let chunk = Box::new(core::array::from_fn(slot));
        self.chunks.push(NonNull::from(Box::leak(chunk)));
        for number in (first..first + CHUNK).rev() {
            let mut place = self.place(number);
            // SAFETY: the place is a slot of this arena, borrowed exclusively.
            unsafe { place.as_mut() }.next_free = self.first_free;
            self.first_free = Some(place);
        }
        self.place(first)
    }
}

impl<T> Drop for Arena<T> {
    fn drop(&mut self) {
        for number in 0..self.places() {
            let mut place = self.place(number);
            // SAFETY: the place is a slot of this arena, borrowed exclusively; live slots hold values.
            unsafe {
                if place.as_ref().is_live {
                    place.as_mut().value.assume_init_drop();
                }
            }
        }
        for chunk in &self.chunks {
            // SAFETY: each chunk was leaked from a Box by `grow`.
            drop(unsafe { Box::from_raw(chunk.as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena<T>() -> Arena<T> {
        // SAFETY: each test has one arena.
        unsafe { Arena::new() }
    }

    #[test]
    fn a_removed_identifier_is_void() {
        let mut arena = arena();
        let first = arena.insert(1);
        assert_eq!(arena.remove(first), Some(1));
        let second = arena.insert(2);
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.get(second), Some(&2));
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.len(), 1);
    }

    #[test]
    fn objects_stay_where_they_are() {
        let mut arena = arena();
        let first = arena.insert(0usize);
        let address = core::ptr::from_ref(arena.get(first).unwrap());
        let others: Vec<_> = (1..1000).map(|n| arena.insert(n)).collect();
        assert_eq!(address, core::ptr::from_ref(arena.get(first).unwrap()));
        assert_eq!(arena.ids().count(), 1000);
        assert!(others.iter().enumerate().all(|(n, &id)| arena.get(id) == Some(&(n + 1))));
    }

    #[test]
    fn pairs_are_of_two_different_objects() {
        let mut arena = arena();
        let (first, second) = (arena.insert(1), arena.insert(2));
        let (one, other) = arena.pair_mut(first, second).unwrap();
        core::mem::swap(one, other);
        assert_eq!((arena.get(first), arena.get(second)), (Some(&2), Some(&1)));
        assert_eq!(arena.pair_mut(first, first), None);
        arena.remove(second);
        assert_eq!(arena.pair_mut(first, second), None);
    }

    #[test]
    fn objects_are_dropped_with_the_arena() {
        let counter = alloc::rc::Rc::new(());
        let mut arena = arena();
        let ids: Vec<_> = (0..40).map(|_| arena.insert(counter.clone())).collect();
        arena.remove(ids[7]);
        assert_eq!(alloc::rc::Rc::strong_count(&counter), 40);
        drop(arena);
        assert_eq!(alloc::rc::Rc::strong_count(&counter), 1);
    }
}
