//! Stride scheduling (Waldspurger and Weihl 1995): proportional shares without chance.

use super::{Policy, Turn};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Time in proportion to tickets. Who does not run collects nothing.
#[derive(Debug)]
pub struct Stride {
    slice: u64,
    clients: Vec<Client>,
    /// Those that could run, by how much they have had.
    ready: BTreeSet<(u128, usize)>,
    /// How much each of those that could run has had at least.
    pass: u128,
}

#[derive(Debug)]
struct Client {
    tickets: u64,
    /// What it has had, in ticks for each ticket, with a fraction.
    pass: u128,
    is_ready: bool,
}

const FRACTION_BITS: u32 = 32;

impl Stride {
    /// Turns of `slice` ticks.
    pub fn new(slice: u64) -> Self {
        Self { slice: slice.max(1), clients: Vec::new(), ready: BTreeSet::new(), pass: 0 }
    }
}

impl Policy for Stride {
    /// Tickets; 0 counts as 1.
    type Share = u64;

    fn add(&mut self, tickets: u64) {
        self.clients.push(Client { tickets: tickets.max(1), pass: 0, is_ready: false });
    }

    fn ready(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if !core::mem::replace(&mut client.is_ready, true) {
            client.pass = client.pass.max(self.pass);
            self.ready.insert((client.pass, number));
        }
    }

    fn blocked(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.is_ready = false;
        self.ready.remove(&(client.pass, number));
    }

    fn next(&self) -> Option<Turn> {
        self.ready.first().map(|&(_, client)| Turn { client, ticks: self.slice })
    }

    fn ran(&mut self, number: usize, ticks: u64, _: bool) {
        let client = &mut self.clients[number];
        let was_ready = self.ready.remove(&(client.pass, number));
        client.pass += (u128::from(ticks) << FRACTION_BITS) / u128::from(client.tickets);
        if was_ready {
            self.ready.insert((client.pass, number));
        }
        let least = self.ready.first().map_or(client.pass, |&(pass, _)| pass);
        self.pass = self.pass.max(least);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libnest::schedule::tests::{Load, run};

    #[test]
    fn time_is_in_proportion_to_tickets() {
        for tickets in [[3, 1, 1], [1, 1, 8], [100, 10, 1]] {
            let mut policy = Stride::new(100);
            let total = 200_000;
            let used = run(&mut policy, tickets, &[Load::Greedy; 3], total);
            let all: u64 = tickets.iter().sum();
            for (used, tickets) in used.iter().zip(tickets) {
                assert!(used.abs_diff(total * tickets / all) <= 200, "{used:?}");
            }
        }
    }

    #[test]
    fn sleeping_collects_nothing() {
        let mut policy = Stride::new(100);
        policy.add(1);
        policy.add(1);
        policy.ready(0);
        policy.ran(0, 50_000, true);
        policy.ready(1);
        let mut turns = [0; 2];
        for _ in 0..20 {
            let turn = policy.next().unwrap();
            turns[turn.client] += 1;
            policy.ran(turn.client, turn.ticks, true);
        }
        assert!(turns[1] <= 11, "{turns:?}");
    }
}
