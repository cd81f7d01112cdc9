//! Taking apart, step by step, what hangs on an object that is to be destroyed.
//!
//! Whoever destroys an object with many waiters, or a Space with many Mappings, makes the call again and again until
//! little is left, and others run in between. Meanwhile the object is there, with what is left of it.

use crate::arena::Id;
use crate::dispatch::Queued;
use crate::kernel::Kernel;
use crate::memory::hierarchy::{Mapping, Space};
use crate::memory::page_set::PageSet;
use crate::objects::{Mutex, Object, Port, Portset};
use crate::thread::{Thread, Wait};
use protocols::api::Status;

/// How much of an object goes in one entry of the kernel: waiters, Mappings, Regions, grants, leaves of what was copied.
pub const PIECES: usize = 64;
/// How many Threads of a Space do, which take more time.
const THREADS: usize = 8;

impl Kernel {
    /// Takes an object apart as far as one entry of the kernel may. Whether that was all, but for what is noted of a few copied pages.
    pub fn dismantle(&mut self, object: Object) -> bool {
        match object {
            Object::Mutex(id) => (0..PIECES).any(|_| !self.turn_away_from_mutex(id)),
            Object::Cond(id) => (0..PIECES).any(|_| !self.wake_one(id, Status::Destroyed)),
            Object::Port(id) => (0..PIECES).any(|_| !self.turn_away_from_port(id)),
            Object::Portset(id) => (0..PIECES).any(|_| !self.turn_away_from_portset(id)),
            Object::Space(id) => self.dismantle_space(id),
            Object::Mapping(id) => self.dismantle_mapping(id),
            Object::Region(_) | Object::Thread(_) | Object::Reference(_) => true,
        }
    }

    /// A Mapping of which much was copied appears nowhere while that is forgotten.
    fn dismantle_mapping(&mut self, id: Id<Mapping>) -> bool {
        if self.objects.copied(id).is_none_or(|copied| copied.cost() <= PIECES as u64 * PageSet::LEAF_COST) {
            return true;
        }
        self.withdraw_mapping(id);
        self.leave_out(id);
        self.objects.free_copied(id, |copied| (0..PIECES).map(|_| copied.remove_first_leaf()).sum());
        false
    }

    fn dismantle_space(&mut self, id: Id<Space>) -> bool {
        for _ in 0..THREADS {
            let Some(thread) = self.objects.spaces.get(id).and_then(|space| space.threads.first()) else { break };
            self.expel(thread);
        }
        for _ in 0..PIECES {
            let Some(mapping) = self.objects.spaces.get(id).and_then(|space| space.mappings.values().next()) else {
                break;
            };
            self.withdraw_mapping(mapping);
            self.leave_out(mapping);
        }
        for _ in 0..PIECES {
            let Some(region) = self.objects.spaces.get(id).and_then(|space| space.regions.first()) else { break };
            self.withdraw_region(region);
            self.detach_region(region);
            if let Some(region) = self.objects.regions.get_mut(region) {
                region.space = None;
            }
        }
        let grants_ended = self.end_grants_of(id);
        let tracking_ended = (0..PIECES).any(|_| !self.end_tracking_paid_by(id));
        self.objects.spaces.get(id).is_none_or(|space| {
            let empty = space.threads.first().is_none() && space.regions.first().is_none();
            empty && space.mappings.values().next().is_none() && grants_ended && tracking_ended
        })
    }

    /// Has a Mapping appear in no Space.
    fn leave_out(&mut self, id: Id<Mapping>) {
        let shadow = self.objects.shadow_of(id);
        if let Some(shadow) = shadow.and_then(|shadow| self.objects.mappings.get_mut(shadow)) {
            shadow.space = None;
        }
        let Some(mapping) = self.objects.mappings.get_mut(id) else { return };
        let (space, start) = (mapping.space.take(), mapping.start);
        if let Some(space) = space.and_then(|space| self.objects.spaces.get_mut(space)) {
            space.mappings.remove_if(start, |other| other == id);
        }
    }

    /// Stops a thread and takes it out of its Space, since one of the two is going.
    pub fn expel(&mut self, id: Id<Thread>) {
        self.unready(id);
        self.stop_waiting(id);
        self.break_connections(id);
        self.abandon_client(id);
        self.destroy_virtual_cpu(id);
        self.release_native(id);
        self.leave_space(id);
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.stopped = true;
        }
    }

    /// Ends the call of a thread that waits for a Mutex. Whether there was one.
    pub fn turn_away_from_mutex(&mut self, id: Id<Mutex>) -> bool {
        let objects = &mut self.objects;
        let first = objects.mutexes.get_mut(id).and_then(|mutex| mutex.waiters.pop_front(&mut objects.threads));
        self.end_wait(first, Status::Destroyed)
    }

    /// Ends the call of a client that waits at a Port, or has a thread whose scheduler it is have none. Whether there was one.
    pub fn turn_away_from_port(&mut self, id: Id<Port>) -> bool {
        let objects = &mut self.objects;
        let first = objects.ports.get_mut(id).and_then(|port| port.clients.pop_front(&mut objects.threads));
        let Some(client) = first else { return false };
        match self.objects.threads.get_mut(client) {
            Some(thread) if thread.scheduling.queued != Queued::No => thread.scheduling.queued = Queued::No,
            _ => self.fail_client(client),
        }
        true
    }

    /// Ends the call of a server that waits in a Portset, or has it forget what is pending at one of its Ports. Whether there was either.
    pub fn turn_away_from_portset(&mut self, id: Id<Portset>) -> bool {
        let objects = &mut self.objects;
        let Some(portset) = objects.portsets.get_mut(id) else { return false };
        if let Some(server) = portset.servers.pop_front(&mut objects.threads) {
            return self.end_wait(Some(server), Status::InvalidDestination);
        }
        let Some(port) = portset.first_pending else { return false };
        let port = objects.ports.get_mut(port);
        portset.first_pending = port.and_then(|port| {
            port.is_pending = false;
            port.next_pending.take()
        });
        if portset.first_pending.is_none() {
            portset.last_pending = None;
        }
        true
    }

    fn end_wait(&mut self, waiter: Option<Id<Thread>>, status: Status) -> bool {
        let Some(id) = waiter else { return false };
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.wait = Wait::Nothing;
            thread.finish(status as u64);
        }
        self.make_ready(id);
        true
    }
}
