//! The kernel's side of the [lock word](protocols::lock_word) of a Mutex.
//!
//! The kernel looks at a word only with its own lock taken, and believes nothing that it reads: every value leads to an
//! end, after a number of steps that does not depend on it.

use protocols::lock_word::{WAITERS, Word, owner};

/// What became of an attempt to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The Mutex is the caller's now.
    Locked,
    /// It was so before.
    Own,
    /// Another thread has it.
    Held,
}

fn with_waiters(owner: u64, others_wait: bool) -> u64 {
    owner | if others_wait { WAITERS } else { 0 }
}

/// Locks for `this`. After `Held` the waiters' bit is set, so that the owner will come to the kernel: the caller has to
/// wait, or to [`settle`].
pub fn lock(word: &impl Word, this: u64, others_wait: bool) -> Attempt {
    // Once the bit is set, no user changes the word, so that it can be judged and written.
    match owner(word.set(WAITERS)) {
        0 => {
            word.store(with_waiters(this, others_wait));
            Attempt::Locked
        }
        owner if owner == this => {
            settle(word, others_wait);
            Attempt::Own
        }
        _ => Attempt::Held,
    }
}

/// Makes the waiters' bit say whether threads wait.
pub fn settle(word: &impl Word, others_wait: bool) {
    if !others_wait {
        word.clear(WAITERS);
    }
}

/// Whether `this` owns the Mutex.
pub fn is_owner(word: &impl Word, this: u64) -> bool {
    owner(word.load()) == this
}

/// Makes `next`, 0 for nobody, the owner.
pub fn pass_on(word: &impl Word, next: u64, others_wait: bool) {
    word.store(with_waiters(next, others_wait));
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use core::sync::atomic::{AtomicU64, Ordering};
    use loom::sync::{Arc, Mutex, Notify, atomic};
    use proptest::prelude::*;
    use protocols::lock_word::{give_back, take};

    struct Watched(atomic::AtomicU64);

    impl Word for Watched {
        fn load(&self) -> u64 {
            self.0.load(Ordering::Acquire)
        }
        fn store(&self, value: u64) {
            self.0.store(value, Ordering::Release);
        }
        fn set(&self, bits: u64) -> u64 {
            self.0.fetch_or(bits, Ordering::AcqRel)
        }
        fn clear(&self, bits: u64) {
            self.0.fetch_and(!bits, Ordering::AcqRel);
        }
        fn exchange(&self, old: u64, new: u64) -> bool {
            self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        }
    }

    /// A Mutex, the kernel with its lock and the queue of those who wait, and what the Mutex guards.
    struct World {
        word: Watched,
        kernel: Mutex<VecDeque<(u64, Arc<Notify>)>>,
        guarded: atomic::AtomicU64,
    }

    impl World {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                word: Watched(atomic::AtomicU64::new(0)),
                kernel: Mutex::new(VecDeque::new()),
                guarded: atomic::AtomicU64::new(0),
            })
        }

        fn lock(&self, this: u64) {
            if take(&self.word, this) {
                return;
            }
            let mut queue = self.kernel.lock().unwrap();
            match super::lock(&self.word, this, !queue.is_empty()) {
                Attempt::Locked => {}
                Attempt::Own => panic!("{this:#x} owns it already"),
                Attempt::Held => {
                    let turn = Arc::new(Notify::new());
                    queue.push_back((this, turn.clone()));
                    drop(queue);
                    // Loom lets threads wake for no reason.
                    while !is_owner(&self.word, this) {
                        turn.wait();
                    }
                }
            }
        }

        /// A lock whose deadline has passed.
        fn lock_if_free(&self, this: u64) -> bool {
            if take(&self.word, this) {
                return true;
            }
            let queue = self.kernel.lock().unwrap();
            let attempt = super::lock(&self.word, this, !queue.is_empty());
            if attempt == Attempt::Held {
                settle(&self.word, !queue.is_empty());
            }
            attempt == Attempt::Locked
        }

        fn unlock(&self, this: u64) {
            if give_back(&self.word, this) {
                return;
            }
            let mut queue = self.kernel.lock().unwrap();
            assert!(is_owner(&self.word, this));
            match queue.pop_front() {
                Some((next, turn)) => {
                    pass_on(&self.word, next, !queue.is_empty());
                    turn.notify();
                }
                None => pass_on(&self.word, 0, false),
            }
        }

        /// Counts one up, which others who did so at the same time would make unseen.
        fn count(&self) {
            let value = self.guarded.load(Ordering::Relaxed);
            self.guarded.store(value + 1, Ordering::Relaxed);
        }
    }

    /// In whatever order the threads run, with up to `preemptions` between two steps of one: none is inside with
    /// another, none sleeps for ever (loom calls that a deadlock), and the Mutex is free at the end.
    fn orders(threads: u64, rounds: u64, impatient: bool, preemptions: usize) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.check(move || {
            let world = World::new();
            let run = move |world: &World, this: u64| {
                for _ in 0..rounds {
                    world.lock(this);
                    world.count();
                    world.unlock(this);
                }
            };
            let others: Vec<_> = (2..=threads)
                .map(|number| {
                    let world = world.clone();
                    loom::thread::spawn(move || run(&world, number * 64))
                })
                .collect();
            let mut counted = (threads - 1) * rounds;
            if !impatient {
                run(&world, 64);
                counted += rounds;
            } else if world.lock_if_free(64) {
                world.count();
                world.unlock(64);
                counted += 1;
            }
            others.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(Word::load(&world.word), 0);
            assert_eq!(world.guarded.load(Ordering::Relaxed), counted);
        });
    }

    #[test]
    fn two_threads_in_all_orders() {
        orders(2, 2, false, 4);
    }

    #[test]
    fn three_threads_in_all_orders() {
        orders(3, 1, false, 2);
    }

    #[test]
    fn who_does_not_wait_in_all_orders() {
        orders(3, 1, true, 2);
    }

    proptest! {
        /// Whatever the word holds, each step ends, and says what the word said.
        #[test]
        fn any_word_is_judged(value in any::<u64>(), this in 1u64..8, others_wait in any::<bool>()) {
            let this = this * 64;
            for value in [value, value % 512, this, this | WAITERS, 0, WAITERS] {
                let word = AtomicU64::new(value);
                prop_assert_eq!(is_owner(&word, this), value & !WAITERS == this);
                let attempt = lock(&word, this, others_wait);
                let expected = match value & !WAITERS {
                    0 => Attempt::Locked,
                    owner if owner == this => Attempt::Own,
                    _ => Attempt::Held,
                };
                prop_assert_eq!(attempt, expected);
                let now = Word::load(&word);
                let held_by = if attempt == Attempt::Held { value & !WAITERS } else { this };
                let waiters = others_wait || attempt == Attempt::Held;
                prop_assert_eq!((owner(now), now & WAITERS != 0), (held_by, waiters));
                settle(&word, others_wait);
                prop_assert_eq!(Word::load(&word), with_waiters(held_by, others_wait));
            }
        }
    }
}
