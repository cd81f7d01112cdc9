//! Objects come and go: creation at an address, destruction with everything that hangs on an object.

use crate::account::Payer;
use crate::arch::{View, heap};
use crate::arena::{Arena, Id};
use crate::calls::Stop;
use crate::dispatch::Source;
use crate::fault::ChargedTables;
use crate::kernel::Kernel;
use crate::memory::hierarchy::{MEMORY_END, Mapping, Piece, Region, Space};
use crate::memory::page_table::PageTable;
use crate::memory::places::Places;
use crate::objects::{Cond, Mutex, Object, Place, Port, Portset};
use crate::references::Reference;
use crate::space::Contents;
use crate::thread::Thread;
use protocols::address::{HostPhysical, PAGE_SIZE};
use protocols::api::{ObjectType, Quotas, Rights, SpaceKind, Status};
use protocols::exception::Misuse;

/// What an object of each type costs its payer, in bytes: its slot, its place, and a Mapping's entry among those of its Space, which
/// are at least half full.
const fn cost(kind: ObjectType) -> u64 {
    let bytes = match kind {
        ObjectType::Thread => Arena::<Thread>::SLOT_SIZE,
        ObjectType::Space => Arena::<Space>::SLOT_SIZE,
        ObjectType::Region => Arena::<Region>::SLOT_SIZE,
        ObjectType::Mapping => Arena::<Mapping>::SLOT_SIZE + 2 * size_of::<(u64, Id<Mapping>)>(),
        ObjectType::Port => Arena::<Port>::SLOT_SIZE,
        ObjectType::Portset => Arena::<Portset>::SLOT_SIZE,
        ObjectType::Mutex => Arena::<Mutex>::SLOT_SIZE,
        ObjectType::Cond => Arena::<Cond>::SLOT_SIZE,
        ObjectType::Reference => Arena::<Reference>::SLOT_SIZE,
    };
    (bytes + Places::COST) as u64
}

// What a call allocates: slots, and the places of a frame.
const _: () = assert!(Arena::<Space>::CHUNK_SIZE + Arena::<Payer>::CHUNK_SIZE + (8 << 10) <= heap::RESERVE);

/// What the cheapest objects cost.
pub const LEAST_COST: u64 = cost(ObjectType::Cond);

impl Kernel {
    /// Makes sure that the heap can serve what one call allocates.
    #[inline]
    pub fn prepare_heap(&mut self) -> bool {
        heap::is_ready() || self.refill_heap()
    }

    #[cold]
    fn refill_heap(&mut self) -> bool {
        while !heap::set_aside() {
            match self.frames.allocate_run(heap::STEP / PAGE_SIZE as usize) {
                Some(run) => heap::add(run, heap::STEP),
                None => return false,
            }
        }
        true
    }

    /// Checks that an object can be created at an address, and charges the caller's Space for it.
    fn claim_place(
        &mut self,
        caller: Id<Space>,
        address: u64,
        kind: ObjectType,
    ) -> Result<Result<(HostPhysical, Id<Payer>), Status>, Stop> {
        let (memory, _) = self.object_memory(caller, address, Rights::WRITE | Rights::CREATE_OBJECT)?;
        if self.objects.at(memory).is_some() {
            return Err(Misuse::ObjectExists.into());
        }
        let payer = match self.objects.charge_object(caller, cost(kind)) {
            Ok(payer) => payer,
            Err(status) => return Ok(Err(status)),
        };
        if !self.prepare_heap() {
            self.objects.refund_object(payer, cost(kind));
            return Ok(Err(Status::NoMemory));
        }
        Ok(Ok((memory, payer)))
    }

    /// Gives a Space's account bytes back.
    pub fn refund(&mut self, space: Id<Space>, bytes: u64) {
        if let Some(space) = self.objects.spaces.get_mut(space) {
            space.account.refund(bytes);
        }
    }

    /// Puts an object at its place.
    fn place(&mut self, memory: HostPhysical, object: Object, payer: Id<Payer>) {
        self.objects.places.insert(memory.get(), Place { object, payer, charge: cost(object.kind()) });
    }

    /// Puts an object at its place that Space `payer` is given at the start, and charged for.
    pub fn place_first(&mut self, memory: HostPhysical, object: Object, payer: Id<Space>) {
        if let Ok(payer) = self.objects.charge_object(payer, cost(object.kind())) {
            self.place(memory, object, payer);
        }
    }

    /// Creates an object of any type but Space.
    pub fn create_object(&mut self, caller: Id<Space>, address: u64, kind: ObjectType) -> Result<Status, Stop> {
        let (memory, payer) = match self.claim_place(caller, address, kind)? {
            Ok(claimed) => claimed,
            Err(status) => return Ok(status),
        };
        let objects = &mut self.objects;
        let object = match kind {
            ObjectType::Mutex => Object::Mutex(objects.mutexes.insert(Mutex::new(memory))),
            ObjectType::Cond => Object::Cond(objects.conditions.insert(Cond::default())),
            ObjectType::Mapping => Object::Mapping(objects.mappings.insert(Mapping::default())),
            ObjectType::Region => Object::Region(objects.regions.insert(Region::default())),
            ObjectType::Port => Object::Port(objects.ports.insert(Port::default())),
            ObjectType::Portset => Object::Portset(objects.portsets.insert(Portset::default())),
            ObjectType::Reference => Object::Reference(objects.references.insert(Reference::default())),
            ObjectType::Thread | ObjectType::Space => {
                // Who has no time from the root makes none that have.
                let creator =
                    self.current.and_then(|id| objects.threads.get(id)).map(|thread| thread.scheduling.source);
                let source = if creator == Some(Source::Root) { Source::Root } else { Source::Donated };
                Object::Thread(objects.threads.insert(Thread::new((caller, address), source)))
            }
        };
        self.place(memory, object, payer);
        Ok(Status::Ok)
    }

    /// Creates a Space with these quotas.
    pub fn create_space(
        &mut self,
        caller: Id<Space>,
        address: u64,
        kind: SpaceKind,
        quotas: Quotas,
    ) -> Result<Status, Stop> {
        let (memory, payer) = match self.claim_place(caller, address, ObjectType::Space)? {
            Ok(claimed) => claimed,
            Err(status) => return Ok(status),
        };
        let allowance = quotas.frames.saturating_mul(PAGE_SIZE);
        let mut account = match self.objects.open_account(caller, allowance, quotas.objects) {
            Ok(account) => account,
            Err(status) => {
                self.objects.refund_object(payer, cost(ObjectType::Space));
                return Ok(status);
            }
        };
        let contents = match kind {
            SpaceKind::Native => {
                let mut memory = ChargedTables { frames: &mut self.frames, account: &mut account };
                PageTable::new(&mut memory, self.kernel_table).map(Contents::Native).map_err(|_| Status::NoMemory)
            }
            SpaceKind::Machine => self.create_machine(&mut account).map(Contents::Machine),
        };
        match contents {
            Ok(contents) => {
                let id = self.objects.spaces.insert(Space::new(contents, account));
                self.objects.settle_in(id);
                self.set_share(id, quotas.cpu);
                self.place(memory, Object::Space(id), payer);
                Ok(Status::Ok)
            }
            Err(status) => {
                self.objects.close_account(account);
                self.objects.refund_object(payer, cost(ObjectType::Space));
                Ok(status)
            }
        }
    }

    /// Limits the share of the CPU of a Space; 0 for no limit.
    pub fn set_share(&mut self, space: Id<Space>, share: u64) {
        let (length, now) = self.grant.period();
        let payer = self.objects.payer_of(space);
        if let Some((id, payer)) = payer.and_then(|id| Some((id, self.objects.payers.get(id)?)))
            && payer.time.used().0 != share
        {
            self.dispatcher().account();
            self.objects.set_share(id, share, now, length);
            self.grant.attention = true;
        }
    }

    /// Destroys the object at an address. `None`: the caller makes the call again.
    pub fn destroy_at(
        &mut self,
        thread: Id<Thread>,
        caller: Id<Space>,
        address: u64,
        kind: ObjectType,
    ) -> Result<Option<Status>, Stop> {
        let (memory, _) = self.object_memory(caller, address, Rights::WRITE | Rights::CREATE_OBJECT)?;
        let object = self.objects.at(memory).ok_or(Misuse::NoObject)?;
        if object.kind() != kind {
            return Err(Misuse::WrongType.into());
        }
        if object == Object::Thread(thread) || object == Object::Space(caller) {
            return Err(Misuse::CurrentThread.into());
        }
        if !self.dismantle(object) {
            return Ok(self.repeat(thread));
        }
        if let Some(place) = self.objects.places.remove(memory.get()) {
            self.destroy(object);
            self.objects.refund_object(place.payer, place.charge);
        }
        Ok(Some(Status::Ok))
    }

    /// Destroys what was [taken apart](Self::dismantle).
    fn destroy(&mut self, object: Object) {
        match object {
            Object::Mutex(id) => self.destroy_mutex(id),
            Object::Cond(id) => drop(self.objects.conditions.remove(id)),
            Object::Mapping(id) => {
                self.detach_mapping(id);
                self.end_shadow(id);
                self.objects.drop_access(id);
                let mapping = self.objects.mappings.remove(id);
                self.objects.drop_kept(mapping.and_then(|mapping| mapping.space_link));
            }
            Object::Region(id) => {
                self.withdraw_region(id);
                self.detach_region(id);
                self.end_tracking(id);
                if let Some(region) = self.objects.regions.remove(id) {
                    self.objects.drop_kept(region.keeper.capability());
                    self.objects.drop_kept(region.space_link);
                }
            }
            Object::Port(id) => self.destroy_port(id),
            Object::Portset(id) => self.destroy_portset(id),
            Object::Space(id) => self.destroy_space(id),
            Object::Thread(id) => self.destroy_thread(id),
            Object::Reference(id) => self.objects.remove_reference(id),
        }
    }

    /// Takes a Port out of the list of those that have something.
    pub fn unpend(&mut self, id: Id<Port>) {
        let Some(port) = self.objects.ports.get_mut(id) else { return };
        if !core::mem::take(&mut port.is_pending) {
            return;
        }
        let (next, portset) = (port.next_pending.take(), port.portset);
        let Some(portset) = portset.and_then(|id| self.objects.portsets.get_mut(id)) else { return };
        if portset.first_pending == Some(id) {
            portset.first_pending = next;
            if next.is_none() {
                portset.last_pending = None;
            }
            return;
        }
        let mut position = portset.first_pending;
        while let Some(here) = position {
            let Some(port) = self.objects.ports.get_mut(here) else { return };
            position = port.next_pending;
            if position == Some(id) {
                port.next_pending = next;
                if next.is_none() {
                    portset.last_pending = Some(here);
                }
                return;
            }
        }
    }

    fn destroy_port(&mut self, id: Id<Port>) {
        self.unpend(id);
        let port = self.objects.ports.remove(id);
        self.objects.drop_kept(port.and_then(|port| port.portset_link));
    }

    fn destroy_portset(&mut self, id: Id<Portset>) {
        if let Some(donor) = self.objects.portsets.get(id).and_then(|portset| portset.donor) {
            self.end_donation(donor, Status::InvalidDestination);
        }
        self.objects.portsets.remove(id);
    }

    fn destroy_thread(&mut self, id: Id<Thread>) {
        self.expel(id);
        if let Some(donor) = self.dispatcher().donor_of(id) {
            self.end_donation(donor, Status::NotFound);
        }
        self.timer.sleepers.remove(&mut self.objects.threads, id);
        let thread = self.objects.threads.remove(id);
        let (space, scheduler) = thread.map_or((None, None), |thread| (thread.space_link, thread.scheduler_link));
        self.objects.drop_kept(space);
        self.objects.drop_kept(scheduler);
        self.check_running();
    }

    /// Puts a thread that is in no Space into one.
    pub fn enter_space(&mut self, id: Id<Thread>, space_id: Id<Space>) {
        let Some(space) = self.objects.spaces.get_mut(space_id) else { return };
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.join(space_id, space.view());
            space.threads.add(&mut self.objects.threads, id);
        }
    }

    /// Takes a thread out of its Space.
    pub fn leave_space(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        let space = thread.space;
        thread.leave();
        if let Some(space) = space.and_then(|space| self.objects.spaces.get_mut(space)) {
            space.threads.remove(&mut self.objects.threads, id);
        }
    }

    fn destroy_space(&mut self, id: Id<Space>) {
        self.collect_native(Piece { space: id, start: 0, end: MEMORY_END });
        self.dispatcher().account();
        let Some(space) = self.objects.spaces.remove(id) else { return };
        self.noting_spaces -= usize::from(space.notes_writes);
        self.objects.drop_kept(space.keeper.capability());
        if self.is_loaded(&space.contents) {
            self.loaded.change_to(View::new(self.kernel_table, false));
        }
        let mut account = space.account;
        match space.contents {
            Contents::Native(table) => {
                table.destroy(&mut ChargedTables { frames: &mut self.frames, account: &mut account })
            }
            Contents::Machine(machine) => self.destroy_machine(machine),
            Contents::Physical | Contents::Unbuilt => {}
        }
        self.objects.close_account(account);
    }
}
