//! Round robin.

use super::{Policy, Turn};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Equal turns, one after the other. A turn that was interrupted goes on.
#[derive(Debug)]
pub struct RoundRobin {
    slice: u64,
    left: u64,
    queue: VecDeque<usize>,
    is_ready: Vec<bool>,
}

impl RoundRobin {
    /// Turns of `slice` ticks.
    pub fn new(slice: u64) -> Self {
        let slice = slice.max(1);
        Self { slice, left: slice, queue: VecDeque::new(), is_ready: Vec::new() }
    }
}

impl Policy for RoundRobin {
    type Share = ();

    fn add(&mut self, (): ()) {
        self.is_ready.push(false);
    }

    fn ready(&mut self, client: usize) {
        if !core::mem::replace(&mut self.is_ready[client], true) {
            self.queue.push_back(client);
        }
    }

    fn blocked(&mut self, client: usize) {
        if core::mem::replace(&mut self.is_ready[client], false) {
            if self.queue.front() == Some(&client) {
                self.left = self.slice;
            }
            self.queue.retain(|&other| other != client);
        }
    }

    fn next(&self) -> Option<Turn> {
        self.queue.front().map(|&client| Turn { client, ticks: self.left })
    }

    fn ran(&mut self, client: usize, ticks: u64, over: bool) {
        if self.queue.front() != Some(&client) {
            return;
        }
        if over || ticks >= self.left {
            self.left = self.slice;
            self.queue.rotate_left(1);
        } else {
            self.left -= ticks;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libnest::schedule::tests::{Load, run};

    #[test]
    fn all_have_the_same_time() {
        let mut policy = RoundRobin::new(100);
        let used = run(&mut policy, [(); 3], &[Load::Greedy; 3], 30_000);
        assert!(used.iter().all(|&used| (9_900..=10_100).contains(&used)), "{used:?}");
    }

    #[test]
    fn who_waits_often_takes_nothing_from_others() {
        let mut policy = RoundRobin::new(100);
        let used = run(&mut policy, [(); 3], &[Load::Greedy, Load::Greedy, Load::Interactive(7)], 30_000);
        assert!(used[0].abs_diff(used[1]) <= 200, "{used:?}");
        assert!(used[2] > 500, "{used:?}");
    }

    #[test]
    fn an_interrupted_turn_goes_on() {
        let mut policy = RoundRobin::new(100);
        policy.add(());
        policy.add(());
        policy.ready(1);
        policy.ready(0);
        policy.ran(1, 60, false);
        assert_eq!(policy.next(), Some(Turn { client: 1, ticks: 40 }));
        policy.ran(1, 40, true);
        assert_eq!(policy.next(), Some(Turn { client: 0, ticks: 100 }));
        policy.ready(0);
        policy.blocked(0);
        policy.blocked(1);
        assert_eq!(policy.next(), None);
    }
}
