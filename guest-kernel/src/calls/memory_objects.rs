//! Calls on Mappings and Regions.

use super::{Done, Stop};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::list::List;
use crate::memory::hierarchy::{
    Circular, MEMORY_END, Mapping, Piece, Region, Space, link_mapping, link_region, order, overlaps, shown,
    unlink_mapping, unlink_region,
};
use crate::memory::page_table::USER_END;
use crate::objects::Object;
use crate::references::Capability;
use crate::space::Contents;
use crate::thread::Thread;
use protocols::address::PAGE_SIZE;
use protocols::api::{MappingState, ObjectType, ReferenceRights, RegionState, Rights, Status};
use protocols::exception::Misuse;
use protocols::virtual_cpu::register::{R8, RDX, RSI};
use zerocopy::IntoBytes;

impl Mapping {
    fn state(&self) -> MappingState {
        MappingState { offset: self.offset, start: self.start, size: self.size, rights: self.access.wanted.bits() }
    }
}

impl Region {
    fn state(&self) -> RegionState {
        RegionState { start: self.start, size: self.size, rights: self.rights.bits() }
    }
}

/// How far one entry of the kernel searches.
const SEARCH_STEPS: usize = 256;

impl Kernel {
    pub(super) fn set_mapping(&mut self, caller: Id<Space>, address: u64, state: u64, region: u64, space: u64) -> Done {
        let Object::Mapping(id) = self.object_at(caller, address, Rights::WRITE)? else {
            return Err(Misuse::WrongType.into());
        };
        let state = match state {
            0 => self.objects.mappings.get(id).map(Mapping::state).unwrap_or_default(),
            address => self.read(caller, address)?,
        };
        check_range(state.start, state.size)?;
        check_range(state.offset, state.size)?;
        let rights = Rights::from_bits(state.rights).ok_or(Misuse::BadArgument)?;
        let capability = self.optional_link(caller, region, ObjectType::Region, ReferenceRights::empty())?;
        let new_region = match capability.map(|capability| capability.target) {
            Some(Object::Region(region)) => Some(region),
            _ => self.objects.mappings.get(id).and_then(|mapping| mapping.region),
        };
        let (space, space_link) = self.optional_space(caller, space, ReferenceRights::MAP)?.unzip();
        let new_space = space.or(self.objects.mappings.get(id).and_then(|mapping| mapping.space));
        if let Some(space) = new_space.and_then(|space| self.objects.spaces.get(space)) {
            if matches!(space.contents, Contents::Native(_)) && state.start + state.size > USER_END {
                return Err(Misuse::BadArgument.into());
            }
            if overlaps(&self.hierarchy(), space, state.start, state.size, id) {
                return Ok(Status::Overlap);
            }
        }
        let lower = new_region.and_then(|region| self.objects.regions.get(region)?.space);
        if let Some((lower, upper)) = lower.zip(new_space)
            && order(&mut self.hierarchy_mut(), lower, upper).is_err()
        {
            return Ok(Status::Circular);
        }
        if !self.prepare_heap() {
            return Ok(Status::NoMemory);
        }
        self.detach_mapping(id);
        if let Some(capability) = capability {
            self.objects.set_access(id, &capability);
        }
        self.set_link(space_link, |objects| Some(&mut objects.mappings.get_mut(id)?.space_link));
        if let Some(mapping) = self.objects.mappings.get_mut(id) {
            mapping.access.wanted = rights;
            let (access, space_link) = (core::mem::take(&mut mapping.access), mapping.space_link);
            let (region, space, rights) = (new_region, new_space, rights & access.limit());
            let (offset, start, size) = (state.offset, state.start, state.size);
            *mapping = Mapping { region, space, space_link, offset, start, size, rights, access, ..Mapping::default() };
        }
        if let Some(space) = new_space.and_then(|space| self.objects.spaces.get_mut(space)) {
            space.mappings.insert(state.start, id);
        }
        link_mapping(&mut self.objects.regions, &mut self.objects.mappings, id);
        Ok(Status::Ok)
    }

    pub(super) fn get_mapping(&mut self, caller: Id<Space>, address: u64, state: u64, region: u64, space: u64) -> Done {
        let Object::Mapping(id) = self.object_at(caller, address, Rights::READ)? else {
            return Err(Misuse::WrongType.into());
        };
        let [region, space] = [self.optional_reference(caller, region)?, self.optional_reference(caller, space)?];
        let Some(mapping) = self.objects.mappings.get(id) else { return Err(Misuse::NoObject.into()) };
        let (value, from, to) = (mapping.state(), mapping.access.link, mapping.space_link);
        if state != 0 {
            self.write(caller, state, value.as_bytes())?;
        }
        self.point(region, from);
        self.point(space, to);
        Ok(Status::Ok)
    }

    /// Drops what came through a Mapping.
    pub fn withdraw_mapping(&mut self, id: Id<Mapping>) {
        let Some(mapping) = self.objects.mappings.get(id) else { return };
        if let Some(space) = mapping.space.filter(|_| mapping.used.get()) {
            self.withdraw(Piece { space, start: mapping.start, end: mapping.start + mapping.size });
        }
    }

    /// Takes a Mapping out of its Space and its Region, and drops what came through it.
    pub fn detach_mapping(&mut self, id: Id<Mapping>) {
        self.withdraw_mapping(id);
        let Some(mapping) = self.objects.mappings.get(id) else { return };
        let (space, start) = (mapping.space, mapping.start);
        if let Some(space) = space.and_then(|space| self.objects.spaces.get_mut(space)) {
            space.mappings.remove_if(start, |other| other == id);
        }
        unlink_mapping(&mut self.objects.regions, &mut self.objects.mappings, id);
    }

    /// Drops what came through a Region.
    pub fn withdraw_region(&mut self, id: Id<Region>) {
        let mut next = self.objects.regions.get(id).and_then(|region| region.mappings.first());
        while let Some(mapping) = next {
            next = List::<Mapping>::after(&self.objects.mappings, mapping);
            if let Some(piece) = shown(&self.hierarchy(), mapping, 0, MEMORY_END) {
                self.withdraw(piece);
            }
        }
    }

    /// Takes a Region out of its Space.
    pub fn detach_region(&mut self, id: Id<Region>) {
        unlink_region(&mut self.objects.spaces, &mut self.objects.regions, id);
    }

    pub(super) fn set_region(&mut self, caller: Id<Space>, address: u64, state: u64, space: u64, keeper: u64) -> Done {
        let id = self.region_at(caller, address, Rights::WRITE)?;
        let state = match state {
            0 => self.objects.regions.get(id).map(Region::state).unwrap_or_default(),
            address => self.read(caller, address)?,
        };
        check_range(state.start, state.size)?;
        let rights = Rights::from_bits(state.rights).ok_or(Misuse::BadArgument)?;
        let (space, space_link) = self.optional_space(caller, space, ReferenceRights::EXPORT)?.unzip();
        let space = space.or(self.objects.regions.get(id).and_then(|region| region.space)).or(Some(caller));
        let keeper = self.optional_link(caller, keeper, ObjectType::Port, ReferenceRights::CALL)?;
        if self.objects.regions.get(id).is_some_and(|region| {
            region.tracking.is_some() && (region.space, region.start, region.size) != (space, state.start, state.size)
        }) {
            return Ok(Status::Refused);
        }
        if self.orders_region(id, space).is_err() {
            return Ok(Status::Circular);
        }
        self.withdraw_region(id);
        self.detach_region(id);
        if let Some(region) = self.objects.regions.get_mut(id) {
            (region.space, region.start, region.size, region.rights) = (space, state.start, state.size, rights);
        }
        self.set_link(space_link, |objects| Some(&mut objects.regions.get_mut(id)?.space_link));
        self.set_keeper(keeper, |objects| Some(&mut objects.regions.get_mut(id)?.keeper));
        link_region(&mut self.objects.spaces, &mut self.objects.regions, id);
        Ok(Status::Ok)
    }

    /// Makes sure that a Region can be one of `space`, whoever has Mappings of it.
    fn orders_region(&mut self, id: Id<Region>, space: Option<Id<Space>>) -> Result<(), Circular> {
        let Some(lower) = space else { return Ok(()) };
        let mut next = self.objects.regions.get(id).and_then(|region| region.mappings.first());
        while let Some(mapping) = next {
            next = List::<Mapping>::after(&self.objects.mappings, mapping);
            if let Some(upper) = self.objects.mappings.get(mapping).and_then(|mapping| mapping.space) {
                order(&mut self.hierarchy_mut(), lower, upper)?;
            }
        }
        Ok(())
    }

    pub(super) fn get_region(
        &mut self,
        thread: Id<Thread>,
        caller: Id<Space>,
        [address, state, space, keeper]: [u64; 4],
    ) -> Done {
        let id = self.region_at(caller, address, Rights::READ)?;
        let [space, keeper] = [self.optional_reference(caller, space)?, self.optional_reference(caller, keeper)?];
        let Some(region) = self.objects.regions.get(id) else { return Err(Misuse::NoObject.into()) };
        let (value, keeper_link, references) = (region.state(), region.keeper.capability(), region.references);
        let tracked = u64::from(region.tracking.is_some());
        // Where no Reference was given, it is the Space in which the Region was set: to export, as was done.
        let own = region.space.map(|space| {
            Capability::new(Object::Space(space)).limited(ReferenceRights::EXPORT | ReferenceRights::COPY)
        });
        let space_link = region.space_link.or(own);
        if state != 0 {
            self.write(caller, state, value.as_bytes())?;
        }
        self.point(space, space_link);
        self.point(keeper, keeper_link);
        self.set_result(thread, RDX, tracked)?;
        self.set_result(thread, R8, references)
    }

    pub(super) fn protect_region(&mut self, caller: Id<Space>, address: u64, rights: u64) -> Done {
        let id = self.region_at(caller, address, Rights::WRITE)?;
        let rights = Rights::from_bits(rights).ok_or(Misuse::BadArgument)?;
        let before =
            self.objects.regions.get_mut(id).map_or(rights, |region| core::mem::replace(&mut region.rights, rights));
        if !rights.contains(before) {
            self.withdraw_region(id);
        }
        Ok(Status::Ok)
    }

    /// `None`: not done yet. The offset in the thread's registers says from where on to look when it repeats the call.
    pub(super) fn search_region(
        &mut self,
        thread: Id<Thread>,
        caller: Id<Space>,
        address: u64,
        offset: u64,
    ) -> Result<Option<Status>, Stop> {
        let id = self.region_at(caller, address, Rights::READ)?;
        let Some(region) = self.objects.regions.get(id) else { return Ok(Some(Status::NotFound)) };
        let (start, size) = (region.start, region.size);
        let Some(space) = region.space else { return Ok(Some(Status::NotFound)) };
        let mut offset = offset;
        for _ in 0..SEARCH_STEPS {
            if offset >= size {
                return Ok(Some(Status::NotFound));
            }
            let here = start + offset;
            let Ok(window) = self.window(space, here, Rights::empty()) else {
                // Either there is no Mapping before the next one, or what there is shows no memory in this page.
                let next = self.objects.spaces.get(space).and_then(|space| {
                    let covers = |id| self.objects.mappings.get(id).is_some_and(|at| here < at.start + at.size);
                    match space.mappings.at_or_before(here) {
                        Some((_, id)) if covers(id) => None,
                        _ => Some(space.mappings.at_or_after(here).map_or(start + size, |(next, _)| next)),
                    }
                });
                offset = next.unwrap_or((here & !(PAGE_SIZE - 1)) + PAGE_SIZE) - start;
                continue;
            };
            let length = (window.end - here).min(size - offset);
            let first = window.physical(here).get();
            if let Some((at, place)) = self.objects.places.first(first, first + length) {
                let kind = place.object.kind() as u64;
                self.set_result(thread, RSI, offset + (at - first))?;
                return self.set_result(thread, RDX, kind).map(Some);
            }
            offset += length;
        }
        self.set_result(thread, RSI, offset)?;
        if let Some(thread) = self.objects.threads.get_mut(thread) {
            thread.repeat_call();
        }
        Ok(None)
    }
}

fn check_range(start: u64, size: u64) -> Result<(), Misuse> {
    if !start.is_multiple_of(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) {
        return Err(Misuse::NotAligned);
    }
    match start.checked_add(size) {
        Some(end) if size > 0 && end <= MEMORY_END => Ok(()),
        _ => Err(Misuse::BadArgument),
    }
}
