//! CPU inheritance scheduling: threads schedule each other by donating CPU time.
//!
//! Every thread has its CPU time from one of three sources ([`TimeSource`]). At first threads have it from the *root*: a round robin of the
//! kernel's between all threads that nobody else schedules. A parent that wants to divide time itself gives its children's threads a
//! *scheduler* ([`thread_set_scheduler`](crate::api::Call::ThreadSetScheduler)): a thread that serves a Port, to which the kernel says which of
//! its clients could run, and which donates time to one after the other ([`thread_schedule`](crate::api::Call::ThreadSchedule)). A
//! scheduler can be the client of another.
//!
//! **What a donation is.** The donor waits; the target runs on its time. Whatever the target waits for runs on that time too: the server
//! that works on its call, its keeper while it handles its exception, the owner of the Mutex that it waits for, its own target if it is a
//! scheduler. Such a chain ends where a thread runs. It loses the CPU as a whole when the time of any link is over: the earliest of all deadlines counts, so that a subtree uses at most what its
//! parent gave it. It cannot get more by other ways: a thread made by one without time from the root has *donated* time only, until it
//! gets a scheduler; and a reply to a thread without root time hands no root time to it.
//!
//! **Waiting donates.** Threads with time from the root donate as well while they wait in these ways: a server without time of its own runs
//! for them, and so does the owner of a Mutex, until it unlocks, in the slice of who waits at first. So no thread waits for one that
//! never has its turn.
//!
//! **What a scheduler hears.** When a client could run and nobody donates to it, it is queued at the scheduler's Port, once, however often it sleeps and
//! wakes; receiving the [`Wakeup`](crate::api::MessageKind::Wakeup) takes it off the queue. From then on the scheduler is expected to know that it
//! can run until a donation to it ends with `Blocked` (or, with other [`Sensitivity`](crate::api::Sensitivity), until it
//! is heard of again): a donation that ends with `TimedOut`, `Yielded` or a message leaves a client that can still run. A thread may be reported that
//! was known already, where others donated to it; schedulers take that as no news.
//!
//! **The root.** A thread with time from the root that wakes runs at once, in the slice of the one that it interrupts; others wait for their
//! scheduler. How the kernel's round robin works, and why it is the kernel's, is said in the kernel's `schedule` module.

use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Where a thread has its CPU time from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum TimeSource {
    /// From the kernel's round robin.
    Root = 0,
    /// From its scheduler.
    Scheduler = 1,
    /// From whoever donates.
    Donated = 2,
}
