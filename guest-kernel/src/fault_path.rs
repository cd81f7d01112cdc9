//! The short way for hard faults of native threads: to a keeper that waits, and back with the memory that its reply supplies.
//!
//! It does what [`interrupted`](Kernel::interrupted) and [`reply_and_receive`](Kernel::reply_and_receive) do, where all of this holds: the
//! access has come to the same missing memory as one before it, or near it; the keeper of the Region depends on no grant and
//! waits, both threads are native and may run, nobody else is involved, there is no deadline. Everything is checked first; where
//! something does not hold, the general way is taken, which finds nothing changed but what it would change alike.

use crate::arch::entry::{self, Resume};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::{Mapping, Space};
use crate::memory::page_table::Page;
use crate::objects::Portset;
use crate::thread::{Thread, Wait, set_words};
use protocols::address::{LARGE_PAGE_SIZE, PAGE_SIZE};
use protocols::api::{MappingState, MessageKind, Rights, Status};
use protocols::exception::memory_reply;
use protocols::virtual_cpu::register::{R8, R9, R10, R12, R15, RDX, RSI};

impl Kernel {
    /// Tells a keeper of a native thread's hard fault. The keeper runs then: this returns where it cannot be done.
    #[inline(always)]
    pub fn fast_fault(&mut self, client: Id<Thread>, space: Id<Space>, address: u64, want: Rights) {
        if let Some(resume) = self.fault_to_keeper(client, space, address, want) {
            entry::leave(self, resume);
        }
    }

    #[inline(always)]
    fn fault_to_keeper(
        &mut self,
        client_id: Id<Thread>,
        space: Id<Space>,
        address: u64,
        want: Rights,
    ) -> Option<Resume> {
        let objects = &mut self.objects;
        let space = objects.spaces.get(space)?;
        let approach = space.approach.get()?;
        let missing = approach.reach(address, want, space.epoch)?;
        let lower = objects.spaces.get(missing.space)?;
        if !lower.is_derived() {
            return None;
        }
        if let Some((start, id)) = lower.mappings.at_or_before(missing.address) {
            let mapping = objects.mappings.get(id)?;
            if missing.address - start < mapping.size && (mapping.rights.contains(want) || mapping.shadow.is_some()) {
                return None;
            }
        }
        let keeper = objects.regions.get(missing.region)?.keeper.direct.as_ref()?;
        let port = objects.ports.get(keeper.port)?;
        let portset = objects.portsets.get_mut(port.portset?)?;
        let server_id = portset.servers.first()?;
        let (client, server) = objects.threads.pair_mut(client_id, server_id)?;
        if !server.view.exists() || server.stopped {
            return None;
        }
        portset.servers.take_first(server);
        let message = [missing.offset, want.bits(), address, want.bits(), 0, 0, 0, 0];
        client.sending = MessageKind::MemoryFault;
        client.wait = Wait::Keeper(server_id);
        // All that is looked at of a message that has arrived.
        client.message[..4].copy_from_slice(&message[..4]);
        set_words(&message, server.receiving(keeper.name(port), MessageKind::MemoryFault));
        server.wait = Wait::Nothing;
        server.client = Some(client_id);
        server.serves_fault = true;
        let (view, context, resume) = (server.view, server.context, Resume::thread(&server.registers));
        self.current = Some(server_id);
        self.load_cpu(view, context);
        Some(resume)
    }

    /// Replies to a native thread that waits for memory, supplies it, and waits for the next message: the rest of what was begun
    /// as [`fast_path`](Self::fast_path). The thread runs then: this returns where it cannot be done.
    #[inline(always)]
    pub fn fast_supply(&mut self, client: Id<Thread>, portset: Id<Portset>) {
        if let Some(resume) = self.supply_and_reply(client, portset) {
            entry::leave(self, resume);
        }
    }

    #[inline(always)]
    fn supply_and_reply(&mut self, client_id: Id<Thread>, portset_id: Id<Portset>) -> Option<Resume> {
        let server_id = self.current?;
        if self.objects.portsets.get(portset_id)?.first_pending.is_some() {
            return None;
        }
        let (client, server) = self.objects.threads.pair_mut(client_id, server_id)?;
        if !client.wait.is_of_keeper(server_id)
            || client.sending != MessageKind::MemoryFault
            || server.registers.gpr[R15] != 0
            || !client.view.exists()
            || client.stopped
            || client.native.exceptions.posted != 0
        {
            return None;
        }
        let [_, _, address, want, ..] = client.message;
        let (space, want) = (client.space?, Rights::from_bits_truncate(want));
        let is_installed = match server.registers.gpr[RSI] {
            memory_reply::RETRY => None,
            // An error has changed nothing: the general way meets it again.
            memory_reply::MAP | memory_reply::PROTECT => {
                let mapping = self.supply_quickly(server_id)?;
                self.install_supplied(space, address, want, mapping)
            }
            _ => return None,
        };
        if is_installed.is_none() {
            self.retry(client_id, address, want);
        }
        let objects = &mut self.objects;
        let (client, server) = objects.threads.pair_mut(client_id, server_id)?;
        client.wait = Wait::Nothing;
        client.keeper_since = 0;
        server.client = None;
        server.serves_fault = false;
        server.wait = Wait::Message(portset_id);
        server.deadline = 0;
        let (view, context, resume) = (client.view, client.context, Resume::thread(&client.registers));
        let portset = objects.portsets.get_mut(portset_id)?;
        if !portset.servers.put_first(server, server_id) {
            portset.servers.push_back(&mut objects.threads, server_id);
        }
        self.current = Some(client_id);
        self.load_cpu(view, context);
        Some(resume)
    }

    /// Does to a Mapping what a native server's reply says. `None`: nothing has changed.
    #[inline(always)]
    fn supply_quickly(&mut self, server_id: Id<Thread>) -> Option<Id<Mapping>> {
        let server = self.objects.threads.get(server_id)?;
        let (space, gpr) = (server.space?, &server.registers.gpr);
        let (action, name) = (gpr[RSI], gpr[RDX]);
        let state = MappingState { offset: gpr[R10], start: gpr[R8], size: gpr[R9], rights: gpr[R12] };
        let mapping = match self.quick_mapping(server_id, name) {
            Some(mapping) => mapping,
            None => self.mapping_at(space, name, Rights::WRITE).ok()?,
        };
        let status = if action == memory_reply::PROTECT {
            self.protect_mapping(mapping, state.rights)
        } else {
            self.place_mapping(mapping, &state)
        };
        status.is_ok_and(|status| status == Status::Ok).then_some(mapping)
    }

    /// Installs what a native Space shows at an address whose memory was missing and is supplied by a Mapping now, if that shows
    /// memory known already.
    #[inline(always)]
    fn install_supplied(&mut self, space: Id<Space>, address: u64, want: Rights, supplied: Id<Mapping>) -> Option<()> {
        let objects = &self.objects;
        let upper = objects.spaces.get(space)?;
        let approach = upper.approach.get()?;
        let missing = approach.reach(address, want, upper.epoch)?;
        let mapping = objects.mappings.get(supplied)?;
        let inside = missing.address.wrapping_sub(mapping.start);
        if mapping.space != Some(missing.space) || inside >= mapping.size || mapping.shadow.is_some() {
            return None;
        }
        // Where there may be a large page the general way looks for it.
        let before = address % LARGE_PAGE_SIZE;
        if inside >= before && mapping.size - inside >= LARGE_PAGE_SIZE - before {
            return None;
        }
        let region = objects.regions.get(mapping.region?)?;
        let offset = mapping.offset + inside;
        let below = objects.spaces.get(region.space?)?;
        let rights = missing.rights & mapping.rights & region.rights;
        if missing.tracked || region.tracking.is_some() {
            return None;
        }
        if offset >= region.size || !rights.contains(want) {
            return None;
        }
        let at = region.start + offset;
        let window = below.windows.find_last(at, want, below.epoch)?;
        mapping.used.set(true);
        let page = Page {
            address: address & !(PAGE_SIZE - 1),
            physical: window.physical(at).align_down(PAGE_SIZE),
            size: PAGE_SIZE,
            writable: (rights & window.rights).contains(Rights::WRITE),
            executable: (rights & window.rights).contains(Rights::EXECUTE),
            device: window.device,
        };
        self.install_in_native(space, page).ok()
    }
}
