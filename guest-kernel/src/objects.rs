//! The kernel's halves of all objects, and the links between them.
//!
//! Links are identifiers. An identifier of a destroyed object matches nothing, so whoever follows a link finds either the
//! object or nothing; nobody has to be told when an object goes.

use crate::account::Payer;
use crate::arena::{Arena, Id};
use crate::deadlines::Deadlines;
use crate::dispatch::Source;
use crate::list::{self, Member};
use crate::memory::hierarchy::{Mapping, Region, Space};
use crate::memory::places::Places;
use crate::references::{Capability, Grant, Reference};
use crate::thread::Thread;
use protocols::address::HostPhysical;
use protocols::api::ObjectType;

/// A Mutex. Who owns it stands in its [lock word](protocols::lock_word).
#[derive(Debug)]
pub struct Mutex {
    /// Where the lock word is.
    pub memory: HostPhysical,
    /// Threads that wait for it.
    pub waiters: Queue,
    /// While threads wait: the thread that they wait for, as far as the kernel knows it. They donate to it, nothing else follows.
    owner: Option<Id<Thread>>,
    /// Its place among the Mutexes of that thread.
    owned: list::Place<Self>,
}

impl Mutex {
    /// A Mutex with its lock word at `memory`, for which nobody waits.
    pub fn at(memory: HostPhysical) -> Self {
        Self { memory, waiters: Queue::default(), owner: None, owned: list::Place::default() }
    }

    /// Whom those that wait for it donate to.
    pub fn owner(&self) -> Option<Id<Thread>> {
        self.owner
    }
}

/// Of the list of the Mutexes that a thread owns and others wait for.
impl Member for Mutex {
    fn place(&mut self) -> &mut list::Place<Self> {
        &mut self.owned
    }
    fn place_ref(&self) -> &list::Place<Self> {
        &self.owned
    }
}

/// A Cond: threads asleep.
#[derive(Debug, Default)]
pub struct Cond {
    /// Those threads.
    pub waiters: Queue,
}

/// A Port: where clients send.
#[derive(Debug, Default)]
pub struct Port {
    /// The word that identifies it to its server.
    pub alias: u64,
    /// The Portset that serves it.
    pub portset: Option<Id<Portset>>,
    /// By what it was linked to that Portset.
    pub portset_link: Option<Capability>,
    /// Clients that wait to be received.
    pub clients: Queue,
    /// Notification bits not received yet.
    pub notification: u64,
    /// The interrupt line that it stands for.
    pub line: Option<u8>,
    /// The line has fired and not been received yet.
    pub line_fired: bool,
    /// The next Port of the Portset's pending ones.
    pub next_pending: Option<Id<Port>>,
    /// It is among the Portset's pending Ports.
    pub is_pending: bool,
    /// How many References link to it and are not void.
    pub references: u64,
    /// Its server wants to know when there are none any more.
    pub tells: bool,
    /// There are none any more, which its server has not received yet.
    pub unreferenced: bool,
    /// The next Port whose server is to be told so.
    pub next_unreferenced: Option<Id<Port>>,
}

impl Port {
    /// Whether it has something for its servers.
    #[inline]
    pub fn has_message(&self) -> bool {
        self.line_fired || self.notification != 0 || self.unreferenced || self.clients.first().is_some()
    }
}

/// A Portset: servers that wait, or Ports that have something for them.
#[derive(Debug, Default)]
pub struct Portset {
    /// Threads that wait to receive.
    pub servers: Queue,
    /// First of the Ports with messages.
    pub first_pending: Option<Id<Port>>,
    /// Last of them.
    pub last_pending: Option<Id<Port>>,
    /// The thread that donates CPU time until there is a message.
    pub donor: Option<Id<Thread>>,
}

/// Any object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A Mutex.
    Mutex(Id<Mutex>),
    /// A Cond.
    Cond(Id<Cond>),
    /// A Mapping.
    Mapping(Id<Mapping>),
    /// A Region.
    Region(Id<Region>),
    /// A Port.
    Port(Id<Port>),
    /// A Portset.
    Portset(Id<Portset>),
    /// A Space.
    Space(Id<Space>),
    /// A Thread.
    Thread(Id<Thread>),
    /// A Reference.
    Reference(Id<Reference>),
}

impl Object {
    /// Its type.
    pub fn kind(self) -> ObjectType {
        match self {
            Self::Mutex(_) => ObjectType::Mutex,
            Self::Cond(_) => ObjectType::Cond,
            Self::Mapping(_) => ObjectType::Mapping,
            Self::Region(_) => ObjectType::Region,
            Self::Port(_) => ObjectType::Port,
            Self::Portset(_) => ObjectType::Portset,
            Self::Space(_) => ObjectType::Space,
            Self::Thread(_) => ObjectType::Thread,
            Self::Reference(_) => ObjectType::Reference,
        }
    }
}

/// Where an object lives, who pays for it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The object.
    pub object: Object,
    /// Who was charged for it.
    pub payer: Id<Payer>,
    /// How many bytes.
    pub charge: u64,
}

/// All objects.
pub struct Objects {
    /// Mutexes.
    pub mutexes: Arena<Mutex>,
    /// Conds.
    pub conditions: Arena<Cond>,
    /// Spaces.
    pub spaces: Arena<Space>,
    /// Regions.
    pub regions: Arena<Region>,
    /// Mappings.
    pub mappings: Arena<Mapping>,
    /// Ports.
    pub ports: Arena<Port>,
    /// Portsets.
    pub portsets: Arena<Portset>,
    /// Threads.
    pub threads: Arena<Thread>,
    /// References.
    pub references: Arena<Reference>,
    /// Walks over Spaces so far.
    pub walks: u64,
    /// Objects moved so far.
    pub moves: u64,
    /// Grants.
    pub grants: Arena<Grant>,
    /// Those that quotas were given to.
    pub payers: Arena<Payer>,
    /// How many of them have a limit of CPU time.
    pub limits: u64,
    /// How often one has come, gone or changed.
    pub limit_changes: u64,
    /// When to look again whether those have time that had none left.
    pub refills: Deadlines<Payer>,
    /// First of the Ports whose servers are to be told that there are no References any more.
    pub first_unreferenced: Option<Id<Port>>,
    /// Where they live.
    pub places: Places,
}

impl Objects {
    /// No objects, and where they will live.
    #[allow(unsafe_code)]
    pub fn new(places: Places) -> Self {
        // SAFETY: the fields below are the only arenas of the kernel, one for each type, and there is one kernel.
        unsafe {
            Self {
                mutexes: Arena::new(),
                conditions: Arena::new(),
                spaces: Arena::new(),
                regions: Arena::new(),
                mappings: Arena::new(),
                ports: Arena::new(),
                portsets: Arena::new(),
                threads: Arena::new(),
                references: Arena::new(),
                walks: 0,
                moves: 0,
                grants: Arena::new(),
                payers: Arena::new(),
                limits: 0,
                limit_changes: 0,
                refills: Deadlines::default(),
                first_unreferenced: None,
                places,
            }
        }
    }

    /// The object at a physical address.
    pub fn at(&self, address: HostPhysical) -> Option<Object> {
        self.places.get(address.get()).map(|place| place.object)
    }

    /// What names found before must have been found in: neither was part of the Space taken away since, nor was any object moved.
    #[inline(always)]
    pub fn naming_epoch(&self, space: &Space) -> u64 {
        space.epoch + self.moves
    }

    /// Says whom those that wait for a Mutex donate to.
    pub fn set_mutex_owner(&mut self, id: Id<Mutex>, owner: Option<Id<Thread>>) {
        let owner = owner.filter(|&owner| self.threads.get(owner).is_some());
        let Some(mutex) = self.mutexes.get_mut(id).filter(|mutex| mutex.owner != owner) else { return };
        let before = core::mem::replace(&mut mutex.owner, owner);
        // The list of a thread that is gone is gone as well.
        if let Some(before) = before.and_then(|before| self.threads.get_mut(before)) {
            before.owned.remove(&mut self.mutexes, id);
        }
        if let Some(owner) = owner.and_then(|owner| self.threads.get_mut(owner)) {
            owner.owned.add(&mut self.mutexes, id);
        }
    }

    /// Whether the link from a thread to its scheduler's Port is not void.
    pub fn has_scheduler(&self, thread: &Thread) -> bool {
        matches!(thread.scheduling.source, Source::Scheduler(_))
            && thread.scheduler_link.as_ref().is_none_or(|link| self.is_valid(link))
    }

    /// Whether the object still exists.
    pub fn exists(&self, object: Object) -> bool {
        match object {
            Object::Mutex(id) => self.mutexes.get(id).is_some(),
            Object::Cond(id) => self.conditions.get(id).is_some(),
            Object::Mapping(id) => self.mappings.get(id).is_some(),
            Object::Region(id) => self.regions.get(id).is_some(),
            Object::Port(id) => self.ports.get(id).is_some(),
            Object::Portset(id) => self.portsets.get(id).is_some(),
            Object::Space(id) => self.spaces.get(id).is_some(),
            Object::Thread(id) => self.threads.get(id).is_some(),
            Object::Reference(id) => self.references.get(id).is_some(),
        }
    }
}

/// A queue of threads, linked through them. A thread is in at most one queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue {
    first: Option<Id<Thread>>,
    last: Option<Id<Thread>>,
}

/// A thread's place in a queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    next: Option<Id<Thread>>,
    /// Meaningless in the first thread of a queue.
    previous: Option<Id<Thread>>,
}

impl Queue {
    /// The first thread.
    #[inline]
    pub fn first(&self) -> Option<Id<Thread>> {
        self.first
    }

    /// Its threads, from the first on, if all links agree.
    #[cfg(test)]
    pub fn members(&self, threads: &Arena<Thread>) -> alloc::vec::Vec<Id<Thread>> {
        let mut members = alloc::vec::Vec::new();
        let mut next = self.first;
        while let Some(id) = next {
            let link = threads.get(id).expect("a thread in a queue exists").link;
            assert!(members.is_empty() || link.previous == members.last().copied(), "{id:?} is behind another");
            members.push(id);
            assert!(members.len() <= threads.len(), "a queue has no end");
            next = link.next;
        }
        assert_eq!(self.last, members.last().copied());
        members
    }

    /// The thread behind a member.
    pub fn after(threads: &Arena<Thread>, id: Id<Thread>) -> Option<Id<Thread>> {
        threads.get(id)?.link.next
    }

    /// Appends a thread that is in no queue.
    #[inline(always)]
    pub fn push_back(&mut self, threads: &mut Arena<Thread>, id: Id<Thread>) {
        if let Some(thread) = threads.get_mut(id) {
            thread.link = Link { next: None, previous: self.last };
            match self.last.replace(id) {
                Some(last) => {
                    if let Some(last) = threads.get_mut(last) {
                        last.link.next = Some(id);
                    }
                }
                None => self.first = Some(id),
            }
        }
    }

    /// Appends a thread that is in no queue, `thread`, if the queue is empty. Whether it is in the queue now.
    #[inline(always)]
    pub fn put_first(&mut self, thread: &mut Thread, id: Id<Thread>) -> bool {
        let is_empty = self.first.is_none();
        if is_empty {
            thread.link.next = None;
            (self.first, self.last) = (Some(id), Some(id));
        }
        is_empty
    }

    /// Puts a thread that is in no queue before all others.
    #[inline]
    pub fn push_front(&mut self, threads: &mut Arena<Thread>, id: Id<Thread>) {
        if let Some(thread) = threads.get_mut(id) {
            thread.link.next = self.first;
            match self.first.replace(id) {
                Some(first) => {
                    if let Some(first) = threads.get_mut(first) {
                        first.link.previous = Some(id);
                    }
                }
                None => self.last = Some(id),
            }
        }
    }

    /// Takes a thread out of this queue, in which it is.
    #[inline]
    pub fn remove(&mut self, threads: &mut Arena<Thread>, id: Id<Thread>) {
        let Some(thread) = threads.get(id) else { return };
        if self.first == Some(id) {
            return self.take_first(thread);
        }
        let Link { next, previous } = thread.link;
        if let Some(previous) = previous.and_then(|previous| threads.get_mut(previous)) {
            previous.link.next = next;
        }
        match next {
            Some(next) => {
                if let Some(next) = threads.get_mut(next) {
                    next.link.previous = previous;
                }
            }
            None => self.last = previous,
        }
    }

    /// Takes the first thread out.
    #[inline]
    pub fn pop_front(&mut self, threads: &mut Arena<Thread>) -> Option<Id<Thread>> {
        let first = self.first?;
        self.take_first(threads.get(first)?);
        Some(first)
    }

    /// Takes the first thread out, which is `first`.
    #[inline(always)]
    pub fn take_first(&mut self, first: &Thread) {
        self.first = first.link.next;
        if self.first.is_none() {
            self.last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use proptest::prelude::*;

    proptest! {
        /// A queue is a list of threads, whatever is pushed, popped and removed.
        #[test]
        fn queues_are_lists(steps in prop::collection::vec((0u8..4, 0usize..8), 0..200)) {
            let mut objects = Objects::new(Places::on_host(1));
            let home = objects.spaces.insert(Space::new(crate::space::Contents::Unbuilt, crate::account::Account::new(0, None)));
            let ids: Vec<_> = (0..8).map(|_| objects.threads.insert(Thread::new((home, 0), Source::Root))).collect();
            let (mut queue, mut model) = (Queue::default(), VecDeque::new());
            for (step, index) in steps {
                let threads = &mut objects.threads;
                let id = ids[index];
                match step {
                    0 if !model.contains(&id) => {
                        if !queue.put_first(threads.get_mut(id).unwrap(), id) {
                            prop_assert!(!model.is_empty());
                            queue.push_back(threads, id);
                        }
                        model.push_back(id);
                    }
                    1 if !model.contains(&id) => {
                        queue.push_front(threads, id);
                        model.push_front(id);
                    }
                    2 if model.contains(&id) => {
                        queue.remove(threads, id);
                        model.retain(|&other| other != id);
                    }
                    3 => prop_assert_eq!(queue.pop_front(threads), model.pop_front()),
                    _ => {}
                }
                prop_assert_eq!((queue.first, queue.last), (model.front().copied(), model.back().copied()));
            }
            let rest: Vec<_> = core::iter::from_fn(|| queue.pop_front(&mut objects.threads)).collect();
            prop_assert_eq!(rest, Vec::from(model));
        }
    }
}
