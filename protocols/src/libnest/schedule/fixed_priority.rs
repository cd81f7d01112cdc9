//! Fixed priorities.

use super::{Policy, RoundRobin, Turn};
use alloc::vec::Vec;

/// Those of the highest priority that could run have all the time, in turns; others wait.
#[derive(Debug)]
pub struct FixedPriority {
    slice: u64,
    /// By descending priority: a round robin for each, among numbers of its own.
    levels: Vec<(u8, RoundRobin, Vec<usize>)>,
    /// Priority and number in it, by client.
    clients: Vec<(u8, usize)>,
}

impl FixedPriority {
    /// Turns of `slice` ticks among those of equal priority.
    pub fn new(slice: u64) -> Self {
        Self { slice, levels: Vec::new(), clients: Vec::new() }
    }

    fn level(&mut self, client: usize) -> Option<(&mut RoundRobin, usize)> {
        let &(priority, number) = self.clients.get(client)?;
        let (_, level, _) = self.levels.iter_mut().find(|(other, ..)| *other == priority)?;
        Some((level, number))
    }
}

impl Policy for FixedPriority {
    /// The priority: higher ones come first.
    type Share = u8;

    fn add(&mut self, priority: u8) {
        let place = self.levels.partition_point(|&(other, ..)| other > priority);
        if self.levels.get(place).is_none_or(|&(other, ..)| other != priority) {
            self.levels.insert(place, (priority, RoundRobin::new(self.slice), Vec::new()));
        }
        let (_, level, members) = &mut self.levels[place];
        level.add(());
        members.push(self.clients.len());
        self.clients.push((priority, members.len() - 1));
    }

    fn ready(&mut self, client: usize) {
        if let Some((level, number)) = self.level(client) {
            level.ready(number);
        }
    }

    fn blocked(&mut self, client: usize) {
        if let Some((level, number)) = self.level(client) {
            level.blocked(number);
        }
    }

    fn next(&self) -> Option<Turn> {
        self.levels.iter().find_map(|(_, level, members)| {
            let Turn { client, ticks } = level.next()?;
            Some(Turn { client: members[client], ticks })
        })
    }

    fn ran(&mut self, client: usize, ticks: u64, over: bool) {
        if let Some((level, number)) = self.level(client) {
            level.ran(number, ticks, over);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libnest::schedule::tests::{Load, run};

    #[test]
    fn the_highest_has_all() {
        let mut policy = FixedPriority::new(100);
        let used = run(&mut policy, [1, 3, 2, 3], &[Load::Greedy; 4], 10_000);
        assert_eq!((used[0], used[2]), (0, 0));
        assert!(used[1].abs_diff(used[3]) <= 100, "{used:?}");
    }

    #[test]
    fn lower_ones_have_what_is_left() {
        let mut policy = FixedPriority::new(100);
        let used = run(&mut policy, [1, 9], &[Load::Greedy, Load::Interactive(10)], 10_000);
        assert!(used[1] > 900 && used[0] > 1000, "{used:?}");
        policy.ready(0);
        policy.ready(1);
        assert_eq!(policy.next().map(|turn| turn.client), Some(1));
    }
}
