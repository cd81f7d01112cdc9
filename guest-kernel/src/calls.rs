//! The low-level API: from registers to operations and back.
//!
//! Each call checks everything first and changes something only then. What it returns says who is to blame: a status
//! for what correct programs meet, [`Stop`] for misuse and for faults in the caller's own memory.

use crate::arena::Id;
use crate::fault::Unresolved;
use crate::kernel::Kernel;
use crate::memory::hierarchy::{
    Fault, Mapping, Piece, Region, Space, derived, link_mapping, overlaps, translate, unlink_mapping,
};
use crate::memory::page_table::USER_END;
use crate::objects::{Object, Port, Portset};
use crate::space::Contents;
use crate::thread::{Thread, Wait};
use alloc::vec::Vec;
use protocols::address::{HostPhysical, PAGE_SIZE};
use protocols::api::{
    Call, MappingState, MessageKind, NativeState, OBJECT_SIZE, ObjectType, RegionState, Rights, Run, SpaceKind,
    SpaceState, Status,
};
use protocols::exception::Misuse;
use protocols::policy::{Controls, CpuidEntry, Kind, MAX_CPUID_ENTRIES, MsrEntry};
use protocols::virtual_cpu::register::{R8, R10, R15, RAX, RDI, RDX, RSI};
use protocols::virtual_cpu::{Groups, VirtualCpuState};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Why a call does not return to its caller now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The caller misused the API.
    Misuse(Misuse),
    /// The caller's memory is not there.
    Memory(Unresolved, u64, Rights),
}

/// Highest end of any address range.
const ADDRESS_END: u64 = 1 << 52;

impl From<Misuse> for Stop {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

type Done = Result<Status, Stop>;

impl Kernel {
    /// Performs the call that a thread's registers say.
    #[inline(always)]
    pub fn call(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        let thread_space = thread.space;
        let gpr = thread.gpr();
        let (number, first) = (gpr[RAX], gpr[RDI]);
        const SELF: u64 = Call::ThreadSelf as u64;
        const CALL: u64 = Call::IpcCall as u64;
        const RECEIVE: u64 = Call::IpcWaitReceive as u64;
        const REPLY_RECEIVE: u64 = Call::IpcReplyWaitReceive as u64;
        let result = match number {
            SELF => return self.thread_self(id),
            CALL => match self.quick_port(thread_space, first).map_or_else(|| self.port_of(id, first), Ok) {
                Ok(port) if self.send(id, port, MessageKind::Call) => return,
                Ok(_) => Ok(Status::InvalidDestination),
                Err(stop) => Err(stop),
            },
            REPLY_RECEIVE => {
                let deadline = gpr[R15];
                match self.quick_portset(thread_space, first).map_or_else(|| self.portset_at(id, first), Ok) {
                    Ok(portset) => {
                        let client = self.reply(id).ok().flatten();
                        self.receive(id, portset, deadline);
                        match client {
                            Some(client) if self.current.is_none() => self.hand_over(client),
                            Some(client) => self.make_ready(client),
                            None => {}
                        }
                        return;
                    }
                    Err(stop) => Err(stop),
                }
            }
            RECEIVE => {
                let deadline = gpr[R15];
                match self.portset_at(id, first) {
                    Ok(portset) => return self.receive(id, portset, deadline),
                    Err(stop) => Err(stop),
                }
            }
            _ => self.other_call(id, number),
        };
        match result {
            Ok(status) => {
                if let Some(thread) = self.objects.threads.get_mut(id) {
                    thread.finish(status as u64);
                }
            }
            Err(Stop::Misuse(misuse)) => self.misuse(id, misuse, number),
            Err(Stop::Memory(unresolved, address, want)) => {
                if let Some(thread) = self.objects.threads.get_mut(id) {
                    thread.repeat_call();
                }
                self.unresolved(id, unresolved, address, want);
            }
        }
    }

    /// `thread_self`.
    #[inline]
    pub fn thread_self(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        let address = if thread.space == Some(thread.home.0) { thread.home.1 } else { 0 };
        thread.gpr_mut()[RDI] = address;
        thread.finish(Status::Ok as u64);
    }

    #[inline(never)]
    fn other_call(&mut self, id: Id<Thread>, number: u64) -> Done {
        let call = Call::try_read_from_bytes(number.as_bytes()).map_err(|_| Misuse::UnknownCall)?;
        let thread = self.objects.threads.get(id).ok_or(Misuse::NoObject)?;
        let caller = thread.space.ok_or(Misuse::NoObject)?;
        let gpr = thread.gpr();
        let [a, b, c, d, e] = [gpr[RDI], gpr[RSI], gpr[RDX], gpr[R10], gpr[R8]];
        match call {
            Call::MappingCreate => self.create_object(caller, a, ObjectType::Mapping),
            Call::RegionCreate => self.create_object(caller, a, ObjectType::Region),
            Call::PortCreate => self.create_object(caller, a, ObjectType::Port),
            Call::PortsetCreate => self.create_object(caller, a, ObjectType::Portset),
            Call::ReferenceCreate => self.create_object(caller, a, ObjectType::Reference),
            Call::ThreadCreate => self.create_object(caller, a, ObjectType::Thread),
            Call::SpaceCreate => {
                let kind = SpaceKind::try_read_from_bytes(b.as_bytes()).map_err(|_| Misuse::BadArgument)?;
                self.create_space(caller, a, kind, c)
            }
            Call::MappingDestroy => self.destroy_at(id, caller, a, ObjectType::Mapping),
            Call::RegionDestroy => self.destroy_at(id, caller, a, ObjectType::Region),
            Call::PortDestroy => self.destroy_at(id, caller, a, ObjectType::Port),
            Call::PortsetDestroy => self.destroy_at(id, caller, a, ObjectType::Portset),
            Call::ReferenceDestroy => self.destroy_at(id, caller, a, ObjectType::Reference),
            Call::ThreadDestroy => self.destroy_at(id, caller, a, ObjectType::Thread),
            Call::SpaceDestroy => self.destroy_at(id, caller, a, ObjectType::Space),
            Call::RegionReference => self.refer(caller, a, ObjectType::Region, b),
            Call::PortReference => self.refer(caller, a, ObjectType::Port, b),
            Call::PortsetReference => self.refer(caller, a, ObjectType::Portset, b),
            Call::SpaceReference => self.refer(caller, a, ObjectType::Space, b),
            Call::ThreadReference => self.refer(caller, a, ObjectType::Thread, b),
            Call::ReferenceCopy => {
                let target = self.link_of(caller, a)?;
                self.set_link(caller, b, target)
            }
            Call::ReferenceCheck => {
                let target = self.link_of(caller, a)?.filter(|&target| self.objects.exists(target));
                self.set_result(id, RSI, target.map_or(0, |target| target.kind() as u64))
            }
            Call::MappingSetState => self.set_mapping(caller, a, b, c, d),
            Call::RegionSetState => self.set_region(caller, a, b, c, d),
            Call::RegionProtect => self.protect_region(caller, a, b),
            Call::RegionSearch => self.search_region(id, caller, a, b),
            Call::PortSetState => self.set_port(caller, a, b, c),
            Call::SpaceGetState => self.get_space(caller, a, b),
            Call::SpaceSetState => {
                let space = self.space_at(caller, a, Rights::WRITE)?;
                let keeper = self.optional_port(caller, b)?;
                if let Some(space) = self.objects.spaces.get_mut(space) {
                    space.keeper = keeper.or(space.keeper);
                }
                Ok(Status::Ok)
            }
            Call::SpaceSetPolicy => self.set_space_policy(caller, a, b, c, d),
            Call::ThreadGetState => self.get_thread(id, caller, a, b, c),
            Call::ThreadSetState => self.set_thread(id, caller, [a, b, c, d, e]),
            Call::ThreadInterrupt => {
                let target = self.thread_at(caller, a, Rights::READ)?;
                if b != 0 && !(16..256).contains(&b) {
                    return Err(Misuse::BadArgument.into());
                }
                let before = self.post_interrupt(target, b).ok_or(Misuse::WrongType)?;
                self.set_result(id, RSI, before)
            }
            Call::IpcSend => {
                let port = self.port_of(id, a)?;
                match self.objects.ports.get_mut(port) {
                    Some(port) => port.notification |= b,
                    None => return Ok(Status::InvalidDestination),
                }
                // The caller's own result must stand in its registers before somebody else may run.
                if let Some(thread) = self.objects.threads.get_mut(id) {
                    thread.finish(Status::Ok as u64);
                }
                self.announce(port);
                Ok(Status::Ok)
            }
            Call::IpcReply => match self.reply(id) {
                Ok(client) => {
                    client.into_iter().for_each(|client| self.make_ready(client));
                    Ok(Status::Ok)
                }
                Err(status) => Ok(status),
            },
            Call::ThreadSelf | Call::IpcCall | Call::IpcWaitReceive | Call::IpcReplyWaitReceive => {
                Err(Misuse::UnknownCall.into())
            }
        }
    }

    fn set_result(&mut self, id: Id<Thread>, register: usize, value: u64) -> Done {
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.gpr_mut()[register] = value;
        }
        Ok(Status::Ok)
    }

    // Names.

    /// The object named by an address of a Space.
    #[inline]
    pub fn object_at(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Object, Stop> {
        let cached =
            self.objects.spaces.get(space).and_then(|space| space.names.get(address, want, self.epoch + space.epoch));
        match cached {
            Some(object) => Ok(object),
            None => self.find_object(space, address, want),
        }
    }

    #[cold]
    fn find_object(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Object, Stop> {
        let (physical, rights) = self.object_memory(space, address, want)?;
        let object = self.objects.at(physical).ok_or(Misuse::NoObject)?;
        if let Some(space) = self.objects.spaces.get_mut(space) {
            space.names.put(address, rights, self.epoch + space.epoch, object);
        }
        Ok(object)
    }

    /// The memory of an object at an address of a Space.
    pub fn object_memory(
        &mut self,
        space: Id<Space>,
        address: u64,
        want: Rights,
    ) -> Result<(HostPhysical, Rights), Stop> {
        if !address.is_multiple_of(OBJECT_SIZE) {
            return Err(Misuse::NotAligned.into());
        }
        let found = match translate(&self.hierarchy(), space, address, want) {
            Ok(found) => found,
            Err(Fault::Unmapped) => return Err(Misuse::NoRight.into()),
            Err(fault) => return Err(Stop::Memory(Unresolved::Fault(fault), address, want)),
        };
        if !self.is_ram(found.physical.get()) {
            return Err(Misuse::NoRight.into());
        }
        Ok((found.physical, found.rights))
    }

    /// What an address names, where that was found before.
    #[inline]
    fn cached_name(&self, space: Option<Id<Space>>, address: u64) -> Option<Object> {
        let space = self.objects.spaces.get(space?)?;
        space.names.get(address, Rights::READ, self.epoch + space.epoch)
    }

    /// The Port that a Reference links to, where the Reference was found before.
    #[inline]
    fn quick_port(&self, space: Option<Id<Space>>, address: u64) -> Option<Id<Port>> {
        let Object::Reference(id) = self.cached_name(space, address)? else { return None };
        match self.objects.references.get(id)?.target {
            Some(Object::Port(port)) => Some(port),
            _ => None,
        }
    }

    /// The Portset at an address, where it was found before.
    #[inline]
    fn quick_portset(&self, space: Option<Id<Space>>, address: u64) -> Option<Id<Portset>> {
        match self.cached_name(space, address)? {
            Object::Portset(portset) => Some(portset),
            _ => None,
        }
    }

    #[inline]
    fn link_of(&mut self, space: Id<Space>, address: u64) -> Result<Option<Object>, Stop> {
        match self.object_at(space, address, Rights::READ)? {
            Object::Reference(id) => Ok(self.objects.references.get(id).and_then(|reference| reference.target)),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    fn set_link(&mut self, space: Id<Space>, address: u64, target: Option<Object>) -> Done {
        match self.object_at(space, address, Rights::WRITE)? {
            Object::Reference(id) => {
                if let Some(reference) = self.objects.references.get_mut(id) {
                    reference.target = target;
                }
                Ok(Status::Ok)
            }
            _ => Err(Misuse::WrongType.into()),
        }
    }

    fn refer(&mut self, space: Id<Space>, address: u64, kind: ObjectType, reference: u64) -> Done {
        let object = self.object_at(space, address, Rights::READ)?;
        if object.kind() != kind {
            return Err(Misuse::WrongType.into());
        }
        self.set_link(space, reference, Some(object))
    }

    /// The Port that the Reference at `address` links to.
    #[inline]
    fn port_of(&mut self, id: Id<Thread>, address: u64) -> Result<Id<Port>, Stop> {
        let space = self.objects.threads.get(id).and_then(|thread| thread.space).ok_or(Misuse::NoObject)?;
        match self.link_of(space, address)? {
            Some(Object::Port(port)) => Ok(port),
            Some(_) => Err(Misuse::WrongType.into()),
            None => Err(Misuse::NullReference.into()),
        }
    }

    fn optional_port(&mut self, space: Id<Space>, address: u64) -> Result<Option<Id<Port>>, Stop> {
        match address {
            0 => Ok(None),
            address => match self.link_of(space, address)? {
                Some(Object::Port(port)) => Ok(Some(port)),
                Some(_) => Err(Misuse::WrongType.into()),
                None => Err(Misuse::NullReference.into()),
            },
        }
    }

    #[inline]
    fn portset_at(&mut self, id: Id<Thread>, address: u64) -> Result<Id<Portset>, Stop> {
        let space = self.objects.threads.get(id).and_then(|thread| thread.space).ok_or(Misuse::NoObject)?;
        match self.object_at(space, address, Rights::READ)? {
            Object::Portset(portset) => Ok(portset),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    fn space_at(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Id<Space>, Stop> {
        match self.object_at(space, address, want)? {
            Object::Space(id) => Ok(id),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    fn thread_at(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Id<Thread>, Stop> {
        match self.object_at(space, address, want)? {
            Object::Thread(id) => Ok(id),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    fn region_at(&mut self, space: Id<Space>, address: u64, want: Rights) -> Result<Id<Region>, Stop> {
        match self.object_at(space, address, want)? {
            Object::Region(id) => Ok(id),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    // The caller's memory.

    /// Copies from or to the memory of a Space.
    fn copy(
        &mut self,
        space: Id<Space>,
        address: u64,
        length: usize,
        want: Rights,
        mut part: impl FnMut(HostPhysical, core::ops::Range<usize>) -> bool,
    ) -> Result<(), Stop> {
        let mut done = 0;
        while done < length {
            let here = address.checked_add(done as u64).ok_or(Misuse::BadArgument)?;
            let found = match translate(&self.hierarchy(), space, here, want) {
                Ok(found) => found,
                Err(fault) => return Err(Stop::Memory(Unresolved::Fault(fault), here, want)),
            };
            let size = (length - done).min(found.after as usize);
            let (first, last) = (found.physical.get(), found.physical.get() + size as u64 - 1);
            if !self.is_ram(first) || !self.is_ram(last) || !part(found.physical, done..done + size) {
                return Err(Misuse::NoRight.into());
            }
            done += size;
        }
        Ok(())
    }

    fn read<T: FromBytes + FromZeros + IntoBytes + Immutable + KnownLayout>(
        &mut self,
        space: Id<Space>,
        address: u64,
    ) -> Result<T, Stop> {
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        self.copy(space, address, bytes.len(), Rights::READ, |physical, range| {
            crate::arch::physical::read(physical, &mut bytes[range])
        })?;
        Ok(value)
    }

    fn write(&mut self, space: Id<Space>, address: u64, bytes: &[u8]) -> Result<(), Stop> {
        // Both halves of what crosses a page must be there before the first is written.
        self.copy(space, address, bytes.len(), Rights::WRITE, |_, _| true)?;
        self.copy(space, address, bytes.len(), Rights::WRITE, |physical, range| {
            crate::arch::physical::write(physical, &bytes[range])
        })
    }

    // Memory objects.

    fn set_mapping(&mut self, caller: Id<Space>, address: u64, state: u64, region: u64, space: u64) -> Done {
        let Object::Mapping(id) = self.object_at(caller, address, Rights::WRITE)? else {
            return Err(Misuse::WrongType.into());
        };
        let state: MappingState = self.read(caller, state)?;
        check_range(state.start, state.size)?;
        check_range(state.offset, state.size)?;
        let rights = Rights::from_bits(state.rights).ok_or(Misuse::BadArgument)?;
        let new_region = match region {
            0 => self.objects.mappings.get(id).and_then(|mapping| mapping.region),
            reference => match self.link_of(caller, reference)? {
                Some(Object::Region(region)) => Some(region),
                Some(_) => return Err(Misuse::WrongType.into()),
                None => return Err(Misuse::NullReference.into()),
            },
        };
        let new_space = match space {
            0 => self.objects.mappings.get(id).and_then(|mapping| mapping.space),
            reference => match self.link_of(caller, reference)? {
                Some(Object::Space(space)) => Some(space),
                Some(_) => return Err(Misuse::WrongType.into()),
                None => return Err(Misuse::NullReference.into()),
            },
        };
        if let Some(space) = new_space.and_then(|space| self.objects.spaces.get(space)) {
            if matches!(space.contents, Contents::Native(_)) && state.start + state.size > USER_END {
                return Err(Misuse::BadArgument.into());
            }
            if overlaps(&self.hierarchy(), space, state.start, state.size, id) {
                return Ok(Status::Overlap);
            }
        }
        self.detach_mapping(id);
        if let Some(mapping) = self.objects.mappings.get_mut(id) {
            let (region, space) = (new_region, new_space);
            let (offset, start, size) = (state.offset, state.start, state.size);
            *mapping = Mapping { region, space, offset, start, size, rights, position: 0 };
        }
        if let Some(space) = new_space.and_then(|space| self.objects.spaces.get_mut(space)) {
            space.mappings.insert(state.start, id);
        }
        link_mapping(&mut self.objects.regions, &mut self.objects.mappings, id);
        Ok(Status::Ok)
    }

    /// Takes a Mapping out of its Space and its Region, and drops what came through it.
    pub fn detach_mapping(&mut self, id: Id<Mapping>) {
        let Some(mapping) = self.objects.mappings.get(id) else { return };
        let (space, start, end) = (mapping.space, mapping.start, mapping.start + mapping.size);
        if let Some(space) = space {
            self.withdraw(Piece { space, start, end });
            if let Some(space) = self.objects.spaces.get_mut(space) {
                if space.mappings.get(&start) == Some(&id) {
                    space.mappings.remove(&start);
                }
            }
        }
        unlink_mapping(&mut self.objects.regions, &mut self.objects.mappings, id);
    }

    /// Drops what came through a Region.
    pub fn withdraw_region(&mut self, id: Id<Region>) {
        let mut pieces = Vec::new();
        if let Some(region) = self.objects.regions.get(id) {
            derived(&self.hierarchy(), region, 0, region.size, &mut pieces);
        }
        pieces.into_iter().for_each(|piece| self.withdraw(piece));
    }

    /// Takes a Region out of its Space.
    pub fn detach_region(&mut self, id: Id<Region>) {
        let space = self.objects.regions.get(id).and_then(|region| region.space);
        if let Some(space) = space.and_then(|space| self.objects.spaces.get_mut(space)) {
            space.regions.retain(|&other| other != id);
        }
    }

    fn set_region(&mut self, caller: Id<Space>, address: u64, state: u64, space: u64, keeper: u64) -> Done {
        let id = self.region_at(caller, address, Rights::WRITE)?;
        let state: RegionState = self.read(caller, state)?;
        check_range(state.start, state.size)?;
        let rights = Rights::from_bits(state.rights).ok_or(Misuse::BadArgument)?;
        let space = match space {
            0 => self.objects.regions.get(id).and_then(|region| region.space).or(Some(caller)),
            reference => match self.link_of(caller, reference)? {
                Some(Object::Space(space)) => Some(space),
                Some(_) => return Err(Misuse::WrongType.into()),
                None => return Err(Misuse::NullReference.into()),
            },
        };
        let keeper = self.optional_port(caller, keeper)?;
        self.withdraw_region(id);
        self.detach_region(id);
        if let Some(region) = self.objects.regions.get_mut(id) {
            (region.space, region.start, region.size, region.rights) = (space, state.start, state.size, rights);
            region.keeper = keeper.or(region.keeper);
        }
        if let Some(space) = space.and_then(|space| self.objects.spaces.get_mut(space)) {
            space.regions.push(id);
        }
        Ok(Status::Ok)
    }

    fn protect_region(&mut self, caller: Id<Space>, address: u64, rights: u64) -> Done {
        let id = self.region_at(caller, address, Rights::WRITE)?;
        let rights = Rights::from_bits(rights).ok_or(Misuse::BadArgument)?;
        let before =
            self.objects.regions.get_mut(id).map_or(rights, |region| core::mem::replace(&mut region.rights, rights));
        if !rights.contains(before) {
            self.withdraw_region(id);
        }
        Ok(Status::Ok)
    }

    fn search_region(&mut self, thread: Id<Thread>, caller: Id<Space>, address: u64, offset: u64) -> Done {
        let id = self.region_at(caller, address, Rights::READ)?;
        let Some(region) = self.objects.regions.get(id) else { return Ok(Status::NotFound) };
        let (start, size, space) = (region.start, region.size, region.space);
        let mut offset = offset;
        while let Some(space) = space.filter(|_| offset < size) {
            let Ok(found) = translate(&self.hierarchy(), space, start + offset, Rights::empty()) else {
                offset = (offset & !(PAGE_SIZE - 1)) + PAGE_SIZE;
                continue;
            };
            let length = found.after.min(size - offset);
            let first = found.physical.get();
            if let Some((&at, place)) = self.objects.places.range(first..first + length).next() {
                let kind = place.object.kind() as u64;
                self.set_result(thread, RSI, offset + (at - first))?;
                return self.set_result(thread, RDX, kind);
            }
            offset += length;
        }
        Ok(Status::NotFound)
    }

    // Ports, Spaces.

    fn set_port(&mut self, caller: Id<Space>, address: u64, alias: u64, portset: u64) -> Done {
        let Object::Port(id) = self.object_at(caller, address, Rights::WRITE)? else {
            return Err(Misuse::WrongType.into());
        };
        let portset = match portset {
            0 => None,
            reference => match self.link_of(caller, reference)? {
                Some(Object::Portset(portset)) => Some(portset),
                Some(_) => return Err(Misuse::WrongType.into()),
                None => return Err(Misuse::NullReference.into()),
            },
        };
        self.unpend(id);
        let Some(port) = self.objects.ports.get_mut(id) else { return Ok(Status::Ok) };
        port.alias = alias;
        port.portset = portset.or(port.portset);
        if let Some(line) = port.line {
            crate::arch::apic::unmask_line(line);
        }
        let waiting = port.line_fired || port.notification != 0 || port.clients.first().is_some();
        if waiting {
            self.announce(id);
        }
        Ok(Status::Ok)
    }

    fn get_space(&mut self, caller: Id<Space>, address: u64, state: u64) -> Done {
        let id = self.space_at(caller, address, Rights::READ)?;
        let Some(space) = self.objects.spaces.get(id) else { return Ok(Status::NotFound) };
        let kind = if matches!(space.contents, Contents::Machine(_)) { SpaceKind::Machine } else { SpaceKind::Native };
        let (allowance, used) = space.account.frames();
        let value = SpaceState { kind: kind as u64, allowance, used };
        self.write(caller, state, value.as_bytes())?;
        Ok(Status::Ok)
    }

    fn set_space_policy(&mut self, caller: Id<Space>, address: u64, kind: u64, entries: u64, count: u64) -> Done {
        let id = self.space_at(caller, address, Rights::WRITE)?;
        let Some(Contents::Machine(machine)) = self.objects.spaces.get(id).map(|space| &space.contents) else {
            return Err(Misuse::WrongType.into());
        };
        let machine = *machine;
        let kind = Kind::try_read_from_bytes(kind.as_bytes()).map_err(|_| Misuse::BadArgument)?;
        let (size, most) = match kind {
            Kind::Cpuid => (size_of::<CpuidEntry>(), MAX_CPUID_ENTRIES),
            Kind::Msr => (size_of::<MsrEntry>(), PAGE_SIZE as usize / size_of::<MsrEntry>()),
            Kind::Controls => (size_of::<Controls>(), 1),
        };
        if count == 0 || count > most as u64 {
            return Err(Misuse::BadArgument.into());
        }
        let page = self.list.address();
        self.copy(caller, entries, size * count as usize, Rights::READ, |physical, range| {
            let mut bytes = [0; 512];
            range.clone().step_by(bytes.len()).all(|start| {
                let part = &mut bytes[..(range.end - start).min(512)];
                crate::arch::physical::read(physical.offset((start - range.start) as u64), part)
                    && crate::arch::physical::write(page.offset(start as u64), part)
            })
        })?;
        Ok(self.set_policy(machine, kind as u64, count as usize))
    }

    // Threads.

    fn get_thread(&mut self, id: Id<Thread>, caller: Id<Space>, address: u64, state: u64, groups: u64) -> Done {
        let target = self.thread_at(caller, address, Rights::READ)?;
        if target == id {
            return Err(Misuse::CurrentThread.into());
        }
        let groups = Groups::from_bits(groups).ok_or(Misuse::BadArgument)?;
        if let Some(thread) = self.objects.threads.get_mut(target) {
            thread.stopped |= thread.wait == Wait::Nothing;
        }
        self.unready(target);
        match self.virtual_cpu_state(target, groups) {
            Some(value) => self.write(caller, state, value.as_bytes())?,
            None => {
                let Some(value) = self.objects.threads.get(target).map(Thread::native_state) else {
                    return Ok(Status::NotFound);
                };
                self.write(caller, state, value.as_bytes())?;
            }
        }
        Ok(Status::Ok)
    }

    fn set_thread(
        &mut self,
        id: Id<Thread>,
        caller: Id<Space>,
        [address, state, groups, space, run]: [u64; 5],
    ) -> Done {
        let target = self.thread_at(caller, address, Rights::WRITE)?;
        if target == id {
            return Err(Misuse::CurrentThread.into());
        }
        let run = Run::try_read_from_bytes(run.as_bytes()).map_err(|_| Misuse::BadArgument)?;
        let new_space = match space {
            0 => None,
            reference => match self.link_of(caller, reference)? {
                Some(Object::Space(space)) => Some(space),
                Some(_) => return Err(Misuse::WrongType.into()),
                None => return Err(Misuse::NullReference.into()),
            },
        };
        let old_space = self.objects.threads.get(target).and_then(|thread| thread.space);
        if let Some(space) = new_space.filter(|&space| old_space != Some(space)) {
            self.unready(target);
            self.destroy_virtual_cpu(target);
            if let Err(status) = self.create_virtual_cpu(target, space) {
                return Ok(status);
            }
            if let Some(thread) = self.objects.threads.get_mut(target) {
                thread.space = Some(space);
            }
        }
        if state != 0 {
            let is_machine = self.objects.threads.get(target).is_some_and(|thread| thread.virtual_cpu.is_some());
            let accepted = if is_machine {
                let value: VirtualCpuState = self.read(caller, state)?;
                self.set_virtual_cpu_state(target, &value, groups)
            } else {
                let value: NativeState = self.read(caller, state)?;
                self.objects.threads.get_mut(target).is_some_and(|thread| thread.set_native_state(&value))
            };
            if !accepted {
                return Ok(Status::Refused);
            }
            if !is_machine
                && self.objects.threads.get(target).is_some_and(|thread| {
                    thread.sending == MessageKind::Call || !matches!(thread.wait, Wait::Reply(_) | Wait::Server(_))
                })
            {
                self.stop_waiting(target);
            }
        }
        match run {
            Run::Unchanged => {}
            Run::Stop => {
                if let Some(thread) = self.objects.threads.get_mut(target) {
                    thread.stopped = true;
                }
                self.unready(target);
            }
            Run::Go => {
                if let Some(thread) = self.objects.threads.get_mut(target) {
                    thread.stopped = false;
                }
                if self.objects.threads.get(target).is_some_and(|thread| thread.space.is_some()) {
                    self.make_ready(target);
                }
            }
        }
        Ok(Status::Ok)
    }
}

fn check_range(start: u64, size: u64) -> Result<(), Misuse> {
    if !start.is_multiple_of(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) {
        return Err(Misuse::NotAligned);
    }
    match start.checked_add(size) {
        Some(end) if size > 0 && end <= ADDRESS_END => Ok(()),
        _ => Err(Misuse::BadArgument),
    }
}
