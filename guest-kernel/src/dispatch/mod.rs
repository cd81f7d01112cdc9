//! Who runs next: chains of donations, and what CPU time comes from.
//!
//! All of this is logic on threads and queues: it touches no hardware but the clock. The kernel calls it where a thread waits, wakes, gives
//! time away or loses it; the fast paths of IPC change nothing but which thread runs, so they know nothing of it.
//!
//! # Where CPU time comes from
//!
//! A thread runs on time from one of three [`Source`]s: from the root (the kernel's own round robin), from its scheduler,
//! which it asks for time at a Port, or from nobody, so that it runs on time that others donate only. A scheduler *donates*: it waits,
//! and meanwhile the thread that it names (its *target*) runs on its time, together with all whom that thread waits for: a server that
//! works on its call, a keeper, a scheduler's own target. So the threads that run on one piece of time form a chain, from one that
//! has time from the root down to the one that runs.
//!
//! Who waits for a Mutex has its owner work for it, as who waits for a reply has the server: the kernel notes the owner that the lock word
//! names when a thread begins to wait ([`Mutex::owner`]). So all that a thread works for, directly or not, form a tree, since each
//! waits for one thing; whoever of them has time lets it run.
//!
//! The [`Grant`] is the innermost donor of the chain that runs. When the running thread can go on no more, the chain is
//! [followed](Dispatcher::resume) again from there: it may end elsewhere now. Where nobody at its end can run, the donor
//! is told, or, if it does not want to be told, does not run either, and so on outwards.
//!
//! # Invariants
//!
//! * A chain has no cycle: [`Dispatcher::donate`] refuses it. A cycle of calls, or of threads that lock Mutexes in different order, runs nobody.
//! * Who loses the CPU while it could go on is in the queue of its source, or its scheduler has been told, or its donor covers it.
//! * A thread that does not have its time from the root runs on root time only while somebody who does waits for it. So a
//!   client that waits outside the running chain is [`Wait::Late`], for which IPC hands no CPU over.
//! * Walks along a chain are bounded: by [`LONGEST_CHAIN`].

mod donation;
mod quick;
mod time;

use crate::account::Payer;
use crate::arena::{Arena, Id};
use crate::list::List;
use crate::objects::{Mutex, Objects, Port, Portset, Queue};
use crate::thread::{Thread, Wait};
use protocols::api::{MessageKind, Sensitivity, Status};

pub use time::Time;

/// Most links from thread to thread that a chain is followed, and most threads that are looked at as possible clients. What is longer
/// does not run.
pub const LONGEST_CHAIN: usize = 128;

/// Where a thread has its CPU time from while nobody donates it any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From the kernel's round robin.
    Root,
    /// From its scheduler, which serves this Port.
    Scheduler(Id<Port>),
    /// From nobody.
    Donated,
}

/// Which queue a thread is in while it waits for the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// In none.
    No,
    /// The ready queue.
    Ready,
    /// Those that are about to ask at a Port, with a word.
    Asking(Id<Port>, u64),
    /// The clients of the Port, to be received with the word.
    AtPort(Id<Port>, u64),
    /// Those that wait for the payer to have time from the root again.
    Held(Id<Payer>),
}

/// A thread's part in scheduling.
#[derive(Clone, Copy, Debug)]
pub struct Scheduling {
    /// Where it has its time from.
    pub source: Source,
    /// The word by which its scheduler knows it.
    pub value: u64,
    /// The queue that it waits for the CPU in.
    pub queued: Queued,
    /// It was interrupted by a woken thread and goes on in the present time slice.
    pub interrupted: bool,
    /// Who donates to it.
    pub donor: Option<Id<Thread>>,
    /// Ticks for which it had the time of its donors.
    pub used: u64,
    /// While it donates: the donor on whose time it does.
    outer: Option<Id<Thread>>,
    /// While it donates: what ends that.
    sensitivity: Sensitivity,
    /// While it donates: whose messages end that.
    portset: Option<Id<Portset>>,
    /// While it donates: nobody at the end of the chain can run.
    dormant: bool,
}

impl Scheduling {
    /// That of a new thread.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            value: 0,
            queued: Queued::No,
            interrupted: false,
            donor: None,
            used: 0,
            outer: None,
            sensitivity: Sensitivity::Block,
            portset: None,
            dormant: false,
        }
    }
}

/// The donation that the CPU is used on.
#[derive(Debug)]
pub struct Grant {
    /// The innermost donor; `None`: the root.
    donor: Option<Id<Thread>>,
    /// Up to when its time is accounted for.
    since: u64,
    clock: fn() -> u64,
    /// Threads that are about to ask for time.
    asking: Queue,
    /// Whose time is used.
    payer: Option<Id<Payer>>,
    /// Up to when.
    accounted: u64,
    /// Who has used time that those above do not know of.
    unpassed: heapless::Vec<Id<Payer>, { time::MOST_UNPASSED }>,
    /// Ticks in a period in which time is limited.
    period: u64,
    /// Somebody asks, or the timer is to be set for a limit.
    pub attention: bool,
}

impl Grant {
    /// Time of the root, measured by `clock`, limited in periods of so many ticks.
    pub fn new(clock: fn() -> u64, period: u64) -> Self {
        let (payer, accounted, attention) = (None, 0, false);
        let (asking, unpassed) = (Queue::default(), heapless::Vec::new());
        Self { donor: None, since: 0, clock, asking, payer, accounted, unpassed, period, attention }
    }

    /// The ticks in a period, and what the clock shows.
    pub fn period(&self) -> (u64, u64) {
        (self.period, (self.clock)())
    }

    /// Threads that are about to ask for time.
    #[cfg(test)]
    pub fn asking(&self) -> &Queue {
        &self.asking
    }

    /// Whether it is not the root's.
    #[inline]
    pub fn is_donated(&self) -> bool {
        self.donor.is_some()
    }
}

/// What an end of a donation means for who has the time back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The donor goes on and is told so, for its target could go on as well or is gone.
    With(Status),
    /// The donor goes on with a message.
    Message,
    /// The donor does not go on.
    Cancelled,
}

/// The scheduler that serves a Portset knows that a thread, or who works for it, could run.
type Told = (Id<Portset>, Id<Thread>);

/// Where a thread's time comes from at present, by itself or by those that wait for it.
#[derive(Default)]
struct Support {
    root: bool,
    /// Who has that time, and who pays for it: the outermost who can.
    pays: Option<(Id<Thread>, Option<Id<Payer>>)>,
    /// Who could not.
    exhausted: Option<Id<Payer>>,
    /// Whose scheduler could be asked, and where.
    asks: Option<(Id<Thread>, Id<Port>)>,
}

/// The state that dispatching works on.
pub struct Dispatcher<'a> {
    /// All objects.
    pub objects: &'a mut Objects,
    /// The thread that runs.
    pub current: &'a mut Option<Id<Thread>>,
    /// Threads and donors with time from the root that could run.
    pub ready: &'a mut Queue,
    /// What the CPU is used on.
    pub grant: &'a mut Grant,
}

impl Thread {
    /// It could use the CPU, itself or for its target.
    #[inline]
    fn can_run(&self) -> bool {
        let wants = match self.wait {
            Wait::Nothing => true,
            Wait::Donation(_) => !self.scheduling.dormant,
            _ => false,
        };
        wants && !self.stopped && self.space.is_some()
    }

    /// Who works for it.
    fn works_for_it(&self) -> Option<Id<Self>> {
        match self.wait {
            Wait::Reply(server) | Wait::Keeper(server) | Wait::Late(server) => Some(server),
            Wait::Connection(side) => self.ends.get(side).map(|half| half.peer),
            _ => None,
        }
    }

    /// Its wait for a reply is part of the running chain.
    fn attach(&mut self) {
        if let Wait::Late(server) = self.wait {
            self.wait = Wait::for_reply(self.sending, server);
        }
    }

    /// Its wait for a reply is no part of the running chain.
    pub fn detach(&mut self) {
        match self.wait {
            Wait::Reply(server) => {
                // The fast path does not note it.
                self.sending = MessageKind::Call;
                self.wait = Wait::Late(server);
            }
            Wait::Keeper(server) => self.wait = Wait::Late(server),
            _ => {}
        }
    }
}

impl Dispatcher<'_> {
    fn threads(&mut self) -> &mut Arena<Thread> {
        &mut self.objects.threads
    }

    fn thread(&self, id: Id<Thread>) -> Option<&Thread> {
        self.objects.threads.get(id)
    }

    /// Who works for a thread that waits: on its call or exception, or as the owner of the Mutex that it waits for.
    fn worker_of(&self, id: Id<Thread>) -> Option<Id<Thread>> {
        let thread = self.thread(id)?;
        match thread.wait {
            Wait::Mutex(mutex) => self.objects.mutexes.get(mutex)?.owner(),
            _ => thread.works_for_it(),
        }
    }

    /// The thread whose call or exception `id` works on.
    fn client_of(&self, id: Id<Thread>) -> Option<Id<Thread>> {
        let client = self.thread(id)?.client?;
        (self.thread(client)?.works_for_it() == Some(id)).then_some(client)
    }

    /// The first that waits for a Mutex, from `mutex` on in the list of its owner.
    fn first_waiter(&self, mutex: Option<Id<Mutex>>) -> Option<Id<Thread>> {
        let mutexes = &self.objects.mutexes;
        let mut list = core::iter::successors(mutex, |&id| List::after(mutexes, id)).take(LONGEST_CHAIN);
        list.find_map(|id| mutexes.get(id)?.waiters.first())
    }

    /// The first thread that `id` works for.
    fn first_below(&self, id: Id<Thread>) -> Option<Id<Thread>> {
        self.client_of(id).or_else(|| self.first_waiter(self.thread(id)?.owned.first()))
    }

    /// The next thread that the same thread works for.
    fn next_beside(&self, id: Id<Thread>) -> Option<Id<Thread>> {
        match self.thread(id)?.wait {
            Wait::Mutex(mutex) => Queue::after(&self.objects.threads, id)
                .or_else(|| self.first_waiter(List::after(&self.objects.mutexes, mutex))),
            _ => self.first_waiter(self.thread(self.worker_of(id)?)?.owned.first()),
        }
    }

    /// All that a thread works for form a tree. The one to look at after `at` in the tree of `root`; if not `down`, not one of those
    /// that `at` works for. Who walks looks at no more than [`LONGEST_CHAIN`].
    fn next_client(&self, root: Id<Thread>, at: Id<Thread>, down: bool) -> Option<Id<Thread>> {
        if let Some(first) = self.first_below(at).filter(|_| down) {
            return Some(first);
        }
        let mut at = at;
        for _ in 0..LONGEST_CHAIN {
            if at == root {
                return None;
            }
            if let Some(next) = self.next_beside(at) {
                return Some(next);
            }
            at = self.worker_of(at)?;
        }
        None
    }

    /// Who donates to `id`.
    pub fn donor_of(&self, id: Id<Thread>) -> Option<Id<Thread>> {
        let donor = self.thread(id)?.scheduling.donor?;
        (self.thread(donor)?.wait == Wait::Donation(id)).then_some(donor)
    }

    fn outer(&self, donor: Id<Thread>) -> Option<Id<Thread>> {
        self.thread(donor)?.scheduling.outer
    }

    /// The donors of the running chain, from the innermost outwards.
    fn is_active(&self, id: Id<Thread>) -> bool {
        self.is_donor_above(self.grant.donor, id)
    }

    /// Whether `id` is among the donors of a chain, from `innermost` outwards.
    fn is_donor_above(&self, innermost: Option<Id<Thread>>, id: Id<Thread>) -> bool {
        let chain = core::iter::successors(innermost, |&donor| self.outer(donor));
        chain.take(LONGEST_CHAIN).any(|donor| donor == id)
    }

    fn support(&self, id: Id<Thread>) -> Support {
        let mut support = Support::default();
        let workers = core::iter::successors(Some(id), |&at| self.next_client(id, at, true));
        for id in workers.take(LONGEST_CHAIN) {
            let Some(thread) = self.thread(id) else { break };
            match thread.scheduling.source {
                Source::Root => match self.exhausted(id) {
                    None => {
                        support.root = true;
                        support.pays = Some((id, self.payer(id)));
                    }
                    exhausted => support.exhausted = support.exhausted.or(exhausted),
                },
                Source::Scheduler(port) if support.asks.is_none() && self.objects.has_scheduler(thread) => {
                    support.asks = Some((id, port));
                }
                Source::Scheduler(_) | Source::Donated => {}
            }
        }
        support
    }

    /// Takes a thread out of the queue in which it waits for the CPU.
    pub fn unqueue(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        match core::mem::replace(&mut thread.scheduling.queued, Queued::No) {
            Queued::No => {}
            Queued::Ready => self.ready.remove(&mut self.objects.threads, id),
            Queued::Asking(..) => self.grant.asking.remove(&mut self.objects.threads, id),
            Queued::Held(payer) => self.release(id, payer),
            Queued::AtPort(port, _) => {
                if let Some(port) = self.objects.ports.get_mut(port) {
                    port.clients.remove(&mut self.objects.threads, id);
                }
            }
        }
    }

    fn enqueue(&mut self, id: Id<Thread>, front: bool) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        thread.scheduling.queued = Queued::Ready;
        thread.scheduling.interrupted = front;
        if front {
            self.ready.push_front(&mut self.objects.threads, id);
        } else {
            self.ready.push_back(&mut self.objects.threads, id);
        }
    }

    /// Lets a thread that could run have the CPU in its turn, whoever gives it.
    #[inline]
    pub fn make_ready(&mut self, id: Id<Thread>) {
        self.provide(id, false, None);
    }

    /// [`make_ready`](Self::make_ready), before all others if at `front`. The scheduler may have been `told` already.
    #[inline]
    fn provide(&mut self, id: Id<Thread>, front: bool, told: Option<Told>) {
        let Some(thread) = self.objects.threads.get(id) else { return };
        let scheduling = &thread.scheduling;
        if !thread.can_run() || !matches!(scheduling.queued, Queued::No | Queued::Held(_)) || *self.current == Some(id)
        {
            return;
        }
        if scheduling.source == Source::Root
            && scheduling.donor.is_none()
            && self.grant.donor.is_none()
            && self.objects.limits == 0
            && scheduling.queued == Queued::No
        {
            return self.enqueue(id, front);
        }
        self.provide_by_all(id, front, told);
    }

    #[inline(never)]
    fn provide_by_all(&mut self, id: Id<Thread>, front: bool, told: Option<Told>) {
        let mut revived = Queue::default();
        let mut next = Some(id);
        while let Some(id) = next {
            let queued = self.thread(id).filter(|thread| thread.can_run()).map(|thread| thread.scheduling.queued);
            if let Some(queued) = queued.filter(|_| *self.current != Some(id) && !self.is_active(id)) {
                if let Queued::Held(_) = queued {
                    self.unqueue(id);
                }
                if let Queued::No | Queued::Held(_) = queued {
                    self.provide_one(id, front, told);
                }
                self.revive_donors(id, &mut revived);
            }
            next = revived.pop_front(&mut self.objects.threads);
        }
    }

    fn provide_one(&mut self, id: Id<Thread>, front: bool, told: Option<Told>) {
        let support = self.support(id);
        if support.root {
            self.enqueue(id, front);
        } else if let Some(payer) = support.exhausted {
            self.hold(id, payer);
        } else if let Some((owner, port)) = support.asks {
            // Its scheduler knows if it has just been told, or donates itself; a donation of somebody else's may never have the CPU.
            let knows = self.objects.ports.get(port).and_then(|port| port.portset).is_some_and(|portset| {
                let donor = self.donor_of(owner).and_then(|donor| self.thread(donor));
                told == Some((portset, owner)) || donor.is_some_and(|donor| donor.scheduling.portset == Some(portset))
            });
            if !knows {
                self.ask(id, owner, port);
            }
        }
    }

    /// Adds to `revived` the donors that could run now for the sake of `id`.
    fn revive_donors(&mut self, id: Id<Thread>, revived: &mut Queue) {
        let mut at = id;
        for _ in 0..LONGEST_CHAIN {
            let goes_on = self.thread(at).is_some_and(|thread| !thread.stopped);
            if goes_on
                && let Some(donor) = self.donor_of(at)
                && let Some(thread) = self.objects.threads.get_mut(donor)
                && core::mem::take(&mut thread.scheduling.dormant)
            {
                revived.push_back(&mut self.objects.threads, donor);
            }
            match self.next_client(id, at, goes_on) {
                Some(client) => at = client,
                None => return,
            }
        }
    }

    fn ask(&mut self, id: Id<Thread>, owner: Id<Thread>, port: Id<Port>) {
        let Some(value) = self.thread(owner).map(|owner| owner.scheduling.value) else { return };
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.scheduling.queued = Queued::Asking(port, value);
            self.grant.asking.push_back(&mut self.objects.threads, id);
            self.grant.attention = true;
        }
    }

    /// Whether anybody is about to ask.
    #[inline]
    pub fn is_asking(&self) -> bool {
        self.grant.asking.first().is_some()
    }

    /// Lets the next that is about to ask for time do so. Returns the Port, which is to be announced.
    pub fn next_asker(&mut self) -> Option<Id<Port>> {
        let id = self.grant.asking.first()?;
        let queued = self.thread(id).map_or(Queued::No, |thread| thread.scheduling.queued);
        self.unqueue(id);
        let Queued::Asking(port_id, value) = queued else { return None };
        let portset = self.objects.ports.get(port_id)?.portset;
        let donor = portset.and_then(|portset| self.objects.portsets.get(portset)?.donor);
        if let Some(donor) = donor
            && self.retarget(donor, id, port_id)
        {
            return None;
        }
        let objects = &mut *self.objects;
        let port = objects.ports.get_mut(port_id)?;
        objects.threads.get_mut(id)?.scheduling.queued = Queued::AtPort(port_id, value);
        port.clients.push_back(&mut objects.threads, id);
        Some(port_id)
    }

    /// Runs a woken thread at once if it has time from the root, instead of the running one, which goes on in the same slice
    /// afterwards. Others have to ask for time.
    pub fn wake(&mut self, id: Id<Thread>) {
        if !self.thread(id).is_some_and(Thread::can_run) || *self.current == Some(id) || self.is_active(id) {
            return;
        }
        if !self.support(id).root {
            return self.make_ready(id);
        }
        self.suspend(None, None, true);
        self.unqueue(id);
        self.make_ready_now(id);
    }

    fn make_ready_now(&mut self, id: Id<Thread>) {
        self.enqueue(id, true);
        self.next();
    }

    /// Takes the CPU from the chain that runs, up to the donor `upto`, who is about to go on.
    fn suspend(&mut self, upto: Option<Id<Thread>>, told: Option<Told>, front: bool) {
        self.settle();
        let mut donor = core::mem::replace(&mut self.grant.donor, upto);
        let is_chain = donor.is_some();
        if let Some(current) = self.current.take() {
            self.detach_clients(current, !is_chain);
            self.provide(current, front, told);
        }
        for _ in 0..LONGEST_CHAIN {
            let Some(id) = donor.filter(|_| donor != upto) else { return };
            donor = self.outer(id);
            self.detach_clients(id, false);
            self.provide(id, front, told);
        }
    }

    /// Lets those that wait for `id`, directly or not, do so outside of the running chain; if `root_stays`, as far as they have
    /// no time from the root.
    #[inline]
    fn detach_clients(&mut self, id: Id<Thread>, root_stays: bool) {
        let (mut at, mut down) = (id, true);
        for _ in 0..LONGEST_CHAIN {
            let Some(client_id) = self.next_client(id, at, down) else { return };
            if let Some(client) = self.threads().get_mut(client_id) {
                down = !(root_stays && client.scheduling.source == Source::Root);
                if down {
                    client.detach();
                }
            }
            at = client_id;
        }
    }

    /// A stopped thread goes on: it could run, or somebody could run for it.
    pub fn go_on(&mut self, id: Id<Thread>) {
        let mut at = id;
        for _ in 0..LONGEST_CHAIN {
            match self.worker_of(at) {
                Some(server) => at = server,
                None => return self.provide_by_all(at, false, None),
            }
        }
    }

    /// Takes a thread off the CPU and out of its queue. What it donates it goes on donating when it goes on itself.
    #[inline]
    pub fn unready(&mut self, id: Id<Thread>) {
        if *self.current == Some(id) {
            *self.current = None;
        } else {
            self.detach_below(id);
        }
        self.unqueue(id);
        if self.grant.donor.is_some() && self.is_active(id) {
            self.suspend(Some(id), None, false);
            self.grant.donor = self.outer(id);
        }
    }

    /// The running thread gives back what is left of its time: to its donor, who is told, or to the others that have time from the root.
    pub fn give_back(&mut self) {
        match self.grant.donor {
            Some(donor) => {
                self.end_donation(donor, End::With(Status::Yielded));
            }
            None => self.suspend(None, None, false),
        }
    }

    /// The time slice is over: the next has its turn.
    pub fn end_slice(&mut self) {
        self.suspend(None, None, false);
        self.next();
    }

    /// Takes the CPU from a thread that runs on the time of others and does not work for them any more.
    #[inline]
    pub fn check_running(&mut self) {
        let Some((id, thread)) = self.current.and_then(|id| Some((id, self.thread(id)?))) else { return };
        if thread.scheduling.source != Source::Root || self.grant.donor.is_some() || self.objects.limits != 0 {
            self.check_support(id);
        }
    }

    #[cold]
    fn check_support(&mut self, running: Id<Thread>) {
        let (mut head, mut next) = (running, self.grant.donor);
        for _ in 0..LONGEST_CHAIN {
            let Some((donor, thread)) = next.and_then(|donor| Some((donor, self.thread(donor)?))) else { break };
            next = thread.scheduling.outer;
            if let Wait::Donation(target) = thread.wait
                && !self.leads_to(target, head)
            {
                return self.suspend(Some(donor), None, false);
            }
            head = donor;
        }
        match self.support(head).pays {
            Some((pays, payer)) => {
                self.charge_to(payer);
                self.detach_unpaid(head, pays);
            }
            None => self.suspend(None, None, false),
        }
    }

    /// Nobody runs: gives the CPU to whoever can use it next. Returns whether that is the end of an interruption.
    ///
    /// What is left of a chain comes first, then those that have time from the root, in turn.
    pub fn resume(&mut self) -> Option<bool> {
        if let Some(donor) = self.grant.donor {
            self.settle();
            let outer = self.outer(donor);
            self.follow(donor, outer);
            if self.current.is_some() {
                return Some(true);
            }
        }
        self.next()
    }

    fn next(&mut self) -> Option<bool> {
        while let Some(id) = self.ready.first() {
            self.unqueue(id);
            let Some(thread) = self.objects.threads.get_mut(id) else { continue };
            let interrupted = core::mem::take(&mut thread.scheduling.interrupted);
            let Some((pays, payer)) = self.support(id).pays else {
                self.make_ready(id);
                continue;
            };
            self.charge_to(payer);
            self.detach_unpaid(id, pays);
            self.grant.donor = None;
            self.follow(id, None);
            if self.current.is_some() {
                return Some(interrupted);
            }
        }
        self.charge_to(None);
        None
    }

    /// Has a thread that waits for a reply wait for that of `server`, who can use its time from now on.
    pub fn serve_by(&mut self, client: Id<Thread>, server: Id<Thread>) {
        let Some(thread) = self.threads().get_mut(client) else { return };
        thread.detach();
        thread.wait = Wait::Late(server);
        self.check_running();
        self.go_on(client);
    }

    /// Sets where a thread has its time from.
    pub fn set_source(&mut self, id: Id<Thread>, source: Source, value: u64) {
        let Some(thread) = self.threads().get_mut(id) else { return };
        (thread.scheduling.source, thread.scheduling.value) = (source, value);
        self.unqueue(id);
        self.make_ready(id);
        self.check_running();
    }
}

#[cfg(test)]
mod tests;
