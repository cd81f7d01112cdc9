//! The kernel's halves of all objects, and the links between them.
//!
//! Links are identifiers. An identifier of a destroyed object matches nothing, so whoever follows a link finds either the
//! object or nothing; nobody has to be told when an object goes.

use crate::arena::{Arena, Id};
use crate::memory::hierarchy::{Mapping, Region, Space};
use crate::thread::Thread;
use alloc::collections::BTreeMap;
use protocols::address::HostPhysical;
use protocols::api::ObjectType;

/// A Port: where clients send.
#[derive(Debug, Default)]
pub struct Port {
    /// The word that identifies it to its server.
    pub alias: u64,
    /// The Portset that serves it.
    pub portset: Option<Id<Portset>>,
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
}

/// A Reference: a link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference {
    /// What it links to.
    pub target: Option<Object>,
}

/// Any object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
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
    /// The Space whose allowance it was charged to.
    pub payer: Id<Space>,
    /// How many bytes.
    pub charge: u64,
}

/// All objects.
pub struct Objects {
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
    /// Objects by the physical address of their memory.
    pub places: BTreeMap<u64, Place>,
}

impl Objects {
    /// No objects.
    #[allow(unsafe_code)]
    pub fn new() -> Self {
        // SAFETY: the fields below are the only arenas of the kernel, one for each type, and there is one kernel.
        unsafe {
            Self {
                spaces: Arena::new(),
                regions: Arena::new(),
                mappings: Arena::new(),
                ports: Arena::new(),
                portsets: Arena::new(),
                threads: Arena::new(),
                references: Arena::new(),
                places: BTreeMap::new(),
            }
        }
    }

    /// The object at a physical address.
    pub fn at(&self, address: HostPhysical) -> Option<Object> {
        self.places.get(&address.get()).map(|place| place.object)
    }

    /// Whether the object still exists.
    pub fn exists(&self, object: Object) -> bool {
        match object {
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
    previous: Option<Id<Thread>>,
}

impl Queue {
    /// The first thread.
    #[inline]
    pub fn first(&self) -> Option<Id<Thread>> {
        self.first
    }

    /// Appends a thread that is in no queue.
    #[inline]
    pub fn push_back(&mut self, threads: &mut Arena<Thread>, id: Id<Thread>) {
        if let Some(thread) = threads.get_mut(id) {
            thread.link = Link { next: None, previous: self.last };
            match self.last.and_then(|last| threads.get_mut(last)) {
                Some(last) => last.link.next = Some(id),
                None => self.first = Some(id),
            }
            self.last = Some(id);
        }
    }

    /// Puts a thread that is in no queue before all others.
    #[inline]
    pub fn push_front(&mut self, threads: &mut Arena<Thread>, id: Id<Thread>) {
        if let Some(thread) = threads.get_mut(id) {
            thread.link = Link { next: self.first, previous: None };
            match self.first.and_then(|first| threads.get_mut(first)) {
                Some(first) => first.link.previous = Some(id),
                None => self.last = Some(id),
            }
            self.first = Some(id);
        }
    }

    /// Takes a thread out of this queue, in which it is.
    #[inline]
    pub fn remove(&mut self, threads: &mut Arena<Thread>, id: Id<Thread>) {
        let Some(thread) = threads.get_mut(id) else { return };
        let link = core::mem::take(&mut thread.link);
        match link.previous.and_then(|previous| threads.get_mut(previous)) {
            Some(previous) => previous.link.next = link.next,
            None => self.first = link.next,
        }
        match link.next.and_then(|next| threads.get_mut(next)) {
            Some(next) => next.link.previous = link.previous,
            None => self.last = link.previous,
        }
    }

    /// Takes the first thread out.
    #[inline]
    pub fn pop_front(&mut self, threads: &mut Arena<Thread>) -> Option<Id<Thread>> {
        let first = self.first?;
        self.first = threads.get(first).and_then(|thread| thread.link.next);
        match self.first.and_then(|next| threads.get_mut(next)) {
            Some(next) => next.link.previous = None,
            None => self.last = None,
        }
        Some(first)
    }
}
