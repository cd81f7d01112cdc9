//! Who waits until when: a queue by time that is linked through its members, so that waiting needs no memory.
//!
//! It is a leftist heap (Crane 1972): adding, taking the earliest and removing any member look at one member for each
//! doubling of their number, in the worst case. A pairing heap does so only on average: its first removal after many
//! additions would look at all members while interrupts are off. A timer wheel would do it in fewer steps, but rounds times and
//! now and then sorts a whole wheel again.

use crate::arena::{Arena, Id};

/// A member's place in the queue.
#[derive(Debug)]
pub struct Place<T> {
    time: u64,
    /// Members on the shortest way to a free place below, this one included; 0 for who is no member.
    rank: u8,
    above: Option<Id<T>>,
    /// The ranks of what is below never grow from left to right.
    below: [Option<Id<T>>; 2],
}

/// What can be a member.
pub trait Timed: Sized {
    /// Its place in the queue.
    fn timed(&mut self) -> &mut Place<Self>;
    /// Its place in the queue.
    fn timed_ref(&self) -> &Place<Self>;
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        Self { time: 0, rank: 0, above: None, below: [None; 2] }
    }
}

impl<T> Place<T> {
    /// The time of a member.
    #[inline]
    pub fn time(&self) -> Option<u64> {
        (self.rank > 0).then_some(self.time)
    }
}

/// The queue.
pub struct Deadlines<T> {
    first: Option<Id<T>>,
}

impl<T> core::fmt::Debug for Deadlines<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}..", self.first)
    }
}

impl<T> Default for Deadlines<T> {
    fn default() -> Self {
        Self { first: None }
    }
}

impl<T: Timed> Deadlines<T> {
    /// The earliest time, and whose it is.
    #[inline]
    pub fn first(&self, arena: &Arena<T>) -> Option<(u64, Id<T>)> {
        let id = self.first?;
        Some((arena.get(id)?.timed_ref().time, id))
    }

    /// Adds an object that is no member, for `time`.
    pub fn add(&mut self, arena: &mut Arena<T>, id: Id<T>, time: u64) {
        let Some(member) = arena.get_mut(id) else { return };
        *member.timed() = Place { time, rank: 1, ..Place::default() };
        self.first = merge(arena, self.first, Some(id));
    }

    /// Takes a member out of this queue. Nothing happens if it is none.
    pub fn remove(&mut self, arena: &mut Arena<T>, id: Id<T>) {
        let Some(member) = arena.get_mut(id).filter(|member| member.timed_ref().rank > 0) else { return };
        let Place { above, below: [left, right], .. } = core::mem::take(member.timed());
        let rest = merge(arena, left, right);
        if let Some(rest) = rest.and_then(|rest| arena.get_mut(rest)) {
            rest.timed().above = above;
        }
        match above.and_then(|above| arena.get_mut(above)) {
            None => self.first = rest,
            Some(member) => {
                let below = &mut member.timed().below;
                below[usize::from(below[0] != Some(id))] = rest;
            }
        }
        // Each rank that changes is one more than that below it, so there are few.
        let mut next = above;
        while let Some(id) = next {
            let (above, changed) = settle(arena, id);
            next = above.filter(|_| changed);
        }
    }
}

fn rank<T: Timed>(arena: &Arena<T>, id: Option<Id<T>>) -> u8 {
    id.and_then(|id| arena.get(id)).map_or(0, |member| member.timed_ref().rank)
}

/// Joins two heaps; the result has nothing above it.
fn merge<T: Timed>(arena: &mut Arena<T>, one: Option<Id<T>>, other: Option<Id<T>>) -> Option<Id<T>> {
    let (Some(mut one), Some(mut other)) = (one, other) else {
        let all = one.or(other)?;
        arena.get_mut(all)?.timed().above = None;
        return Some(all);
    };
    // Down the right edges of both, which are short, always on from the earlier member.
    let mut above = None;
    let mut first = None;
    while let Some((a, b)) = arena.pair_mut(one, other) {
        if a.timed_ref().time > b.timed_ref().time {
            core::mem::swap(&mut one, &mut other);
        }
        let Some(earlier) = arena.get_mut(one) else { break };
        earlier.timed().above = above;
        let next = earlier.timed().below[1].replace(other);
        if let Some(above) = above.and_then(|above: Id<T>| arena.get_mut(above)) {
            above.timed().below[1] = Some(one);
        }
        first.get_or_insert(one);
        above = Some(one);
        match next {
            Some(next) => one = next,
            None => break,
        }
    }
    if let Some(last) = arena.get_mut(other) {
        last.timed().above = above;
    }
    while let Some(id) = above {
        (above, _) = settle(arena, id);
    }
    first
}

/// Puts a member right whose members below have changed. Returns which is above it, and whether its rank changed.
fn settle<T: Timed>(arena: &mut Arena<T>, id: Id<T>) -> (Option<Id<T>>, bool) {
    let Some([left, right]) = arena.get(id).map(|member| member.timed_ref().below) else { return (None, false) };
    let (left_rank, right_rank) = (rank(arena, left), rank(arena, right));
    let Some(member) = arena.get_mut(id) else { return (None, false) };
    let place = member.timed();
    if left_rank < right_rank {
        place.below = [right, left];
    }
    let new = left_rank.min(right_rank) + 1;
    (place.above, core::mem::replace(&mut place.rank, new) != new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Sleeper(Place<Sleeper>);

    impl Timed for Sleeper {
        fn timed(&mut self) -> &mut Place<Self> {
            &mut self.0
        }
        fn timed_ref(&self) -> &Place<Self> {
            &self.0
        }
    }

    struct Sleepers {
        arena: Arena<Sleeper>,
        ids: Vec<Id<Sleeper>>,
        queue: Deadlines<Sleeper>,
    }

    impl Sleepers {
        fn new(count: usize) -> Self {
            // SAFETY: the only arena of the test.
            #[allow(unsafe_code)]
            let mut arena: Arena<Sleeper> = unsafe { Arena::new() };
            let ids = (0..count).map(|_| arena.insert(Sleeper::default())).collect();
            Self { arena, ids, queue: Deadlines::default() }
        }

        fn pop(&mut self) -> Option<u64> {
            let (time, id) = self.queue.first(&self.arena)?;
            self.queue.remove(&mut self.arena, id);
            Some(time)
        }

        /// Checks all of a heap and counts its members.
        fn check(&self, id: Option<Id<Sleeper>>, above: Option<Id<Sleeper>>) -> usize {
            let Some(id) = id else { return 0 };
            let place = &self.arena.get(id).unwrap().0;
            assert_eq!(place.above, above);
            assert!(above.is_none_or(|above| self.arena.get(above).unwrap().0.time <= place.time));
            let [left, right] = place.below.map(|below| rank(&self.arena, below));
            assert!(left >= right);
            assert_eq!(place.rank, right + 1);
            1 + place.below.iter().map(|&below| self.check(below, Some(id))).sum::<usize>()
        }
    }

    proptest! {
        #[test]
        fn the_earliest_is_first(steps in prop::collection::vec((0usize..24, 0u64..50, any::<bool>()), 0..300)) {
            let mut sleepers = Sleepers::new(24);
            let mut model: Vec<(u64, usize)> = Vec::new();
            for (index, time, pop) in steps {
                let id = sleepers.ids[index];
                if pop {
                    let earliest = model.iter().map(|&(time, _)| time).min();
                    prop_assert_eq!(sleepers.queue.first(&sleepers.arena).map(|(time, _)| time), earliest);
                    if let Some((_, id)) = sleepers.queue.first(&sleepers.arena) {
                        sleepers.queue.remove(&mut sleepers.arena, id);
                        model.retain(|&(_, other)| sleepers.ids[other] != id);
                    }
                } else if model.iter().any(|&(_, other)| other == index) {
                    sleepers.queue.remove(&mut sleepers.arena, id);
                    model.retain(|&(_, other)| other != index);
                } else {
                    sleepers.queue.add(&mut sleepers.arena, id, time);
                    model.push((time, index));
                }
                prop_assert_eq!(sleepers.check(sleepers.queue.first, None), model.len());
                for (other, &id) in sleepers.ids.iter().enumerate() {
                    let expected = model.iter().find(|&&(_, index)| index == other).map(|&(time, _)| time);
                    prop_assert_eq!(sleepers.arena.get(id).unwrap().0.time(), expected);
                }
            }
            let mut rest: Vec<_> = model.iter().map(|&(time, _)| time).collect();
            rest.sort_unstable();
            prop_assert_eq!(core::iter::from_fn(|| sleepers.pop()).collect::<Vec<_>>(), rest);
        }
    }

    #[test]
    fn no_order_of_additions_makes_a_step_long() {
        // Ascending, descending and alternating: right edges stay short, so that every operation does.
        const COUNT: u64 = 4096;
        for time in [|n| n, |n| COUNT - n, |n| if n % 2 == 0 { n } else { COUNT - n }] as [fn(u64) -> u64; 3] {
            let mut sleepers = Sleepers::new(COUNT as usize);
            for n in 0..COUNT {
                let id = sleepers.ids[n as usize];
                sleepers.queue.add(&mut sleepers.arena, id, time(n));
                let mut edge = 0;
                let mut next = sleepers.queue.first;
                while let Some(id) = next {
                    edge += 1;
                    next = sleepers.arena.get(id).unwrap().0.below[1];
                }
                assert!(edge <= (n + 1).ilog2() + 1);
            }
            let times: Vec<_> = core::iter::from_fn(|| sleepers.pop()).collect();
            assert!(times.len() as u64 == COUNT && times.is_sorted());
        }
    }

    #[test]
    fn who_is_no_member_can_be_removed() {
        let mut sleepers = Sleepers::new(2);
        let [one, other] = [sleepers.ids[0], sleepers.ids[1]];
        sleepers.queue.add(&mut sleepers.arena, one, 3);
        sleepers.queue.remove(&mut sleepers.arena, other);
        assert_eq!(sleepers.pop(), Some(3));
        assert_eq!(sleepers.pop(), None);
    }
}
