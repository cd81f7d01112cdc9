//! Lists that are linked through their members: adding and removing need no memory and take the same time however long a list is.

use crate::arena::{Arena, Id};
use core::marker::PhantomData;

/// A member's place in a list.
pub struct Place<T> {
    next: Option<Id<T>>,
    previous: Option<Id<T>>,
}

/// What can be a member of one list at a time of those that `L` tells apart from others.
pub trait Member<L = ()>: Sized {
    /// Its place in the list.
    fn place(&mut self) -> &mut Place<Self>;
    /// Its place in the list.
    fn place_ref(&self) -> &Place<Self>;
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        Self { next: None, previous: None }
    }
}

impl<T> core::fmt::Debug for Place<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}..{:?}", self.previous, self.next)
    }
}

/// A list, in no particular order.
#[derive(Debug)]
pub struct List<T, L = ()> {
    first: Option<Id<T>>,
    kind: PhantomData<L>,
}

impl<T, L> Default for List<T, L> {
    fn default() -> Self {
        Self { first: None, kind: PhantomData }
    }
}

impl<T: Member<L>, L> List<T, L> {
    /// The first member.
    #[inline]
    pub fn first(&self) -> Option<Id<T>> {
        self.first
    }

    /// The member after `id`.
    #[inline]
    pub fn after(arena: &Arena<T>, id: Id<T>) -> Option<Id<T>> {
        arena.get(id)?.place_ref().next
    }

    /// Adds an object that is in no list.
    pub fn add(&mut self, arena: &mut Arena<T>, id: Id<T>) {
        let Some(member) = arena.get_mut(id) else { return };
        *member.place() = Place { next: self.first, previous: None };
        if let Some(next) = self.first.replace(id).and_then(|next| arena.get_mut(next)) {
            next.place().previous = Some(id);
        }
    }

    /// Removes a member, which must be one of this list.
    pub fn remove(&mut self, arena: &mut Arena<T>, id: Id<T>) {
        let Some(member) = arena.get_mut(id) else { return };
        let Place { next, previous } = core::mem::take(member.place());
        match previous.and_then(|previous| arena.get_mut(previous)) {
            Some(previous) => previous.place().next = next,
            None => self.first = next,
        }
        if let Some(next) = next.and_then(|next| arena.get_mut(next)) {
            next.place().previous = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Thing(Place<Thing>);

    impl Member for Thing {
        fn place(&mut self) -> &mut Place<Self> {
            &mut self.0
        }
        fn place_ref(&self) -> &Place<Self> {
            &self.0
        }
    }

    proptest! {
        #[test]
        fn lists_hold_what_was_added_and_not_removed(steps in prop::collection::vec(0usize..10, 0..100)) {
            // SAFETY: the only arena of this test.
            #[allow(unsafe_code)]
            let mut arena: Arena<Thing> = unsafe { Arena::new() };
            let ids: Vec<_> = (0..10).map(|_| arena.insert(Thing::default())).collect();
            let (mut list, mut model) = (List::<Thing>::default(), Vec::new());
            for index in steps {
                if model.contains(&ids[index]) {
                    list.remove(&mut arena, ids[index]);
                    model.retain(|&id| id != ids[index]);
                } else {
                    list.add(&mut arena, ids[index]);
                    model.insert(0, ids[index]);
                }
                let found: Vec<_> = core::iter::successors(list.first(), |&id| List::<Thing>::after(&arena, id)).collect();
                prop_assert_eq!(&found, &model);
            }
        }
    }
}
