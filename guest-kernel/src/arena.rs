//! Storage for kernel objects: typed, generational identifiers into memory that never moves.
//!
//! An identifier of a destroyed object matches nothing ever after, so links need no clearing: destroying an object is
//! what revokes every reference to it, at a cost that does not depend on their number.
//!
//! Following an identifier is one comparison, since it holds the place itself. That is sound because places are never
//! given back or moved while their arena exists, and because identifiers are used only with the arena that made them,
//! which whoever makes an arena promises ([`Arena::new`]).

use alloc::boxed::Box;
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

#[cfg(test)]
impl<T> Id<T> {
    /// The number of its place in the arena.
    pub fn number(self) -> usize {
        (self.key >> 32) as usize
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

/// Slots that are allocated together, linked to the next so many: an arena never needs more contiguous memory than this. The
/// slots come first, so that the number of a slot leads from it to its chunk.
#[repr(C)]
struct Chunk<T> {
    slots: [Slot<T>; CHUNK],
    next: Option<NonNull<Chunk<T>>>,
}

/// A growing set of `T`s that stay where they are.
pub struct Arena<T> {
    first: Option<NonNull<Chunk<T>>>,
    last: Option<NonNull<Chunk<T>>>,
    first_free: Option<NonNull<Slot<T>>>,
    /// Slots, occupied or free.
    slots: usize,
    count: usize,
}

// SAFETY: the arena owns its slots.
unsafe impl<T: Send> Send for Arena<T> {}

impl<T> Arena<T> {
    /// Bytes that an object takes.
    pub const SLOT_SIZE: usize = size_of::<Slot<T>>();
    /// Bytes of the largest piece of memory that it asks for.
    pub const CHUNK_SIZE: usize = size_of::<Chunk<T>>();

    /// An empty arena.
    ///
    /// # Safety
    /// Identifiers that this arena makes are given to no other arena, and not used after it.
    pub const unsafe fn new() -> Self {
        Self { first: None, last: None, first_free: None, slots: 0, count: 0 }
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

    /// The identifier that comes after another, which may be void, in an order that stays; the first after `None`.
    pub fn after(&self, id: Option<Id<T>>) -> Option<Id<T>> {
        let (mut chunk, mut position) = match id {
            Some(id) => (Self::chunk(id.slot, Self::number(id.key)), Self::number(id.key) % CHUNK + 1),
            None => (self.first?, 0),
        };
        loop {
            if position == CHUNK {
                // SAFETY: chunks of this arena, which is borrowed.
                (chunk, position) = (unsafe { chunk.as_ref() }.next?, 0);
            }
            let slot = Self::slot(chunk, position);
            // SAFETY: as above.
            let Slot { key, is_live, .. } = unsafe { slot.as_ref() };
            if *is_live {
                return Some(Id { slot, key: *key });
            }
            position += 1;
        }
    }

    /// All identifiers.
    pub fn ids(&self) -> impl Iterator<Item = Id<T>> + '_ {
        core::iter::successors(self.after(None), |&id| self.after(Some(id)))
    }

    fn number(key: u64) -> usize {
        (key >> 32) as usize
    }

    /// The chunk of the slot with a number.
    fn chunk(slot: NonNull<Slot<T>>, number: usize) -> NonNull<Chunk<T>> {
        // SAFETY: the slot stands that many places behind the beginning of its chunk, where the slots are.
        unsafe { slot.sub(number % CHUNK).cast() }
    }

    fn slot(chunk: NonNull<Chunk<T>>, position: usize) -> NonNull<Slot<T>> {
        // SAFETY: the slots are the chunk's beginning, and `position` is less than their number.
        unsafe { chunk.cast::<Slot<T>>().add(position) }
    }

    /// Adds free slots; returns the first.
    #[cold]
    fn grow(&mut self) -> NonNull<Slot<T>> {
        let first = self.slots;
        let slot = |offset: usize| Slot {
            value: MaybeUninit::uninit(),
            key: ((first + offset) as u64) << 32 | 1,
            is_live: false,
            next_free: None,
        };
        let chunk = Box::new(Chunk { slots: core::array::from_fn(slot), next: None });
        let chunk = NonNull::from(Box::leak(chunk));
        match self.last.replace(chunk) {
            // SAFETY: a chunk of this arena, borrowed exclusively.
            Some(mut last) => unsafe { last.as_mut() }.next = Some(chunk),
            None => self.first = Some(chunk),
        }
        self.slots += CHUNK;
        for position in (0..CHUNK).rev() {
            let mut slot = Self::slot(chunk, position);
            // SAFETY: as above.
            unsafe { slot.as_mut() }.next_free = self.first_free;
            self.first_free = Some(slot);
        }
        Self::slot(chunk, 0)
    }
}

impl<T> Drop for Arena<T> {
    fn drop(&mut self) {
        let mut next = self.first;
        while let Some(chunk) = next {
            // SAFETY: each chunk was leaked from a Box by `grow`.
            let mut chunk = unsafe { Box::from_raw(chunk.as_ptr()) };
            next = chunk.next;
            for slot in chunk.slots.iter_mut().filter(|slot| slot.is_live) {
                // SAFETY: live slots hold values.
                unsafe { slot.value.assume_init_drop() };
            }
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
