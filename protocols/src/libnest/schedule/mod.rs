//! Schedulers: dividing the program's CPU time between threads of its children.
//!
//! A [`Scheduler`] is the loop that all have in common: it hears who could run, asks its [`Policy`] whose turn it is, and
//! donates ([`scheduling`](crate::scheduling)). Policies are pure: they know clients by number and time by ticks.
//!
//! | policy | divides time |
//! |---|---|
//! | [`RoundRobin`] | equally, in turns of one length |
//! | [`FixedPriority`] | to those of the highest priority that could run, in turns |
//! | [`Stride`] | in proportion to tickets |
//!
//! A scheduler uses no more than its own time, so schedulers can be each other's clients, with any policies.

mod fixed_priority;
mod round_robin;
mod stride;

pub use fixed_priority::FixedPriority;
pub use round_robin::RoundRobin;
pub use stride::Stride;

use super::objects::{Port, Thread};
use super::server::{Event, Server, until};
use crate::api::{Sensitivity, Status};
use crate::libc::system_call::{self, Result, Scheduled};
use crate::libc::time;
use alloc::vec::Vec;
use core::borrow::Borrow;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The client.
    pub client: usize,
    /// For how many ticks at most.
    pub ticks: u64,
}

/// How time is divided. Clients are numbered from 0 on in the order in which they are added.
pub trait Policy {
    /// What a client has that others have not.
    type Share;

    /// A new client, which cannot run yet.
    fn add(&mut self, share: Self::Share);

    /// A client could run. That may be known.
    fn ready(&mut self, client: usize);

    /// A client cannot run any more.
    fn blocked(&mut self, client: usize);

    /// Whose turn it is, if anybody could run. Asking twice changes nothing.
    fn next(&self) -> Option<Turn>;

    /// A client, whose turn it was, has run for `ticks`; its turn is `over`, or was interrupted.
    fn ran(&mut self, client: usize, ticks: u64, over: bool);
}

/// A client of a scheduler.
#[derive(Debug)]
struct Client<T> {
    /// `None`: it was destroyed.
    thread: Option<T>,
    used: u64,
}

/// A scheduler of threads, which `T` are or hold.
#[derive(Debug)]
pub struct Scheduler<P, T> {
    server: Server,
    port: Port,
    policy: P,
    clients: Vec<Client<T>>,
}

/// The alias of the Port at which clients ask. Others can be added to the server.
pub const CLIENTS: u64 = u64::MAX;

impl<P: Policy, T: Borrow<Thread>> Scheduler<P, T> {
    /// A scheduler without clients.
    pub fn new(policy: P) -> Result<Self> {
        let server = Server::new()?;
        let port = server.port(CLIENTS)?;
        Ok(Self { server, port, policy, clients: Vec::new() })
    }

    /// Where its messages arrive.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// The policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// Schedules a thread from now on. It has no other time any more.
    pub fn add(&mut self, thread: T, share: P::Share) -> Result<usize> {
        let client = self.clients.len();
        let used = thread.borrow().time_used()?;
        thread.borrow().set_scheduler(Some(&self.port), client as u64)?;
        self.policy.add(share);
        self.clients.push(Client { thread: Some(thread), used });
        Ok(client)
    }

    /// Lets a client go: it has no time from here any more.
    pub fn remove(&mut self, client: usize) -> Option<T> {
        let thread = self.clients.get_mut(client)?.thread.take()?;
        self.policy.blocked(client);
        // The thread exists for as long as its handle, and setting nobody as its scheduler cannot fail.
        let _ = thread.borrow().set_scheduler(None, 0);
        Some(thread)
    }

    /// Schedules until there is a message that is not a client's wake-up, or until the time stamp counter reaches `deadline`. A
    /// client that has called and has not been replied to is disconnected.
    pub fn run(&mut self, deadline: Option<u64>) -> Event {
        loop {
            let event = match self.policy.next() {
                None => Some(self.server.receive(deadline)),
                Some(turn) => self.take_turn(turn, deadline),
            };
            match event {
                Some(Event::Wakeup { alias: CLIENTS, value }) => self.ready(value),
                Some(event) => return event,
                None => {}
            }
        }
    }

    fn ready(&mut self, value: u64) {
        let client = value as usize;
        if self.clients.get(client).is_some_and(|client| client.thread.is_some()) {
            self.policy.ready(client);
        }
    }

    /// Donates to a client. Returns what has been received meanwhile.
    fn take_turn(&mut self, Turn { client, ticks }: Turn, deadline: Option<u64>) -> Option<Event> {
        let Some(Client { thread: Some(thread), used }) = self.clients.get_mut(client) else {
            self.policy.blocked(client);
            return None;
        };
        let thread: &Thread = (*thread).borrow();
        let now = time::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Some(Event::TimedOut);
        }
        let end = now.saturating_add(ticks);
        let limit = deadline.map_or(end, |deadline| deadline.min(end));
        let portset = self.server.portset().address();
        let (event, status, now_used) =
            match system_call::thread_schedule(thread.address(), until(Some(limit)), Sensitivity::Block, portset) {
                Scheduled::Message(received) => (Some(Event::decode(Ok(received))), None, thread.time_used().ok()),
                Scheduled::Ended { status: status @ (Status::Circular | Status::Refused), .. } => {
                    (None, Some(status), None)
                }
                Scheduled::Ended { status, used, .. } => (None, Some(status), Some(used)),
            };
        let now_used = now_used.unwrap_or(*used);
        let ticks = now_used - core::mem::replace(used, now_used);
        let over = matches!(status, Some(Status::TimedOut | Status::Yielded)) && limit == end;
        self.policy.ran(client, ticks, over);
        match status {
            None | Some(Status::TimedOut | Status::Yielded) => {}
            // It cannot run, or not here: it is heard of again.
            Some(_) => self.policy.blocked(client),
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a simulated client does.
    #[derive(Clone, Copy)]
    pub enum Load {
        /// It always could run.
        Greedy,
        /// It runs so many ticks, then waits ten times as long.
        Interactive(u64),
    }

    /// Runs clients for `total` ticks as a [`Scheduler`] does; returns what each has had.
    pub fn run<P: Policy, const N: usize>(
        policy: &mut P,
        shares: [P::Share; N],
        loads: &[Load; N],
        total: u64,
    ) -> [u64; N] {
        let mut used = [0; N];
        // When each wakes, and how long it goes on then.
        let mut wakes = [Some(0); N];
        let mut left = [0; N];
        shares.into_iter().for_each(|share| policy.add(share));
        let mut now = 0;
        while now < total {
            for client in 0..N {
                if wakes[client].is_some_and(|wake| wake <= now) {
                    wakes[client] = None;
                    left[client] = match loads[client] {
                        Load::Greedy => u64::MAX,
                        Load::Interactive(ticks) => ticks,
                    };
                    policy.ready(client);
                }
            }
            let wake = wakes.iter().flatten().min().copied().unwrap_or(u64::MAX);
            let Some(Turn { client, ticks }) = policy.next() else {
                now = wake;
                continue;
            };
            assert!(left[client] > 0 && wakes[client].is_none(), "who cannot run has a turn");
            let end = now + ticks.min(left[client]).min(wake - now);
            let ran = end - now;
            now = end;
            used[client] += ran;
            left[client] -= ran;
            policy.ran(client, ran, ran == ticks);
            if let (0, Load::Interactive(ticks)) = (left[client], loads[client]) {
                policy.blocked(client);
                wakes[client] = Some(now + 10 * ticks);
            }
        }
        used
    }
}
