//! Calls on Mappings and Regions.

use super::{Done, Stop};
use crate::account::Payer;
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::list::{List, Place};
use crate::memory::hierarchy::{
    Circular, MEMORY_END, Mapping, Piece, Region, Space, link_mapping, link_region, order, overlaps, shown,
    unlink_mapping, unlink_region,
};
use crate::memory::page_table::USER_END;
use crate::objects::Object;
use crate::references::Capability;
use crate::space::Contents;
use crate::thread::Thread;
use core::cell::Cell;
use protocols::address::PAGE_SIZE;
use protocols::api::{MappingState, ObjectType, ReferenceRights, RegionState, Rights, Status};
use protocols::exception::Misuse;
use protocols::virtual_cpu::register::{R8, RDX, RSI};
use zerocopy::IntoBytes;

impl Mapping {
    fn state(&self) -> MappingState {
        MappingState { offset: self.offset, start: self.start, size: self.size, rights: self.access.wanted.bits() }
    }

    /// Whether all that it shows would be shown with the state and the rights too.
    fn is_part_of(&self, state: &MappingState, rights: Rights) -> bool {
        let shifted_alike = self.start.wrapping_sub(self.offset) == state.start.wrapping_sub(state.offset);
        let inside = state.start <= self.start && self.start + self.size <= state.start + state.size;
        shifted_alike && inside && rights.contains(self.rights)
    }
}

impl Region {
    fn state(&self) -> RegionState {
        RegionState { start: self.start, size: self.size, rights: self.rights.bits() }
    }
}

/// What a Mapping is to be linked to.
struct Links {
    /// A Region, or the one that it has.
    region: Option<Capability>,
    space: Option<Id<Space>>,
    /// By what it is linked to that Space, if that changes.
    space_link: Option<Capability>,
    /// A shadow, or the one that it has.
    shadow: Option<NewShadow>,
}

struct NewShadow {
    capability: Capability,
    region: Id<Region>,
    /// Who pays for the Mapping.
    payer: Id<Payer>,
}

/// How far one entry of the kernel searches.
const SEARCH_STEPS: usize = 256;

impl Kernel {
    pub(super) fn set_mapping(&mut self, caller: Id<Space>, [address, state, region, space, shadow]: [u64; 5]) -> Done {
        let id = self.mapping_at(caller, address, Rights::WRITE)?;
        let state = match state {
            0 => self.objects.mappings.get(id).map(Mapping::state).unwrap_or_default(),
            address => self.read(caller, address)?,
        };
        let rights = check_mapping(&state)?;
        let capability = self.optional_link(caller, region, ObjectType::Region, ReferenceRights::empty())?;
        let (space, space_link) = self.optional_space(caller, space, ReferenceRights::MAP)?.unzip();
        let shadow = if shadow == 0 { None } else { self.optional_region(caller, shadow)? };
        let Some(mapping) = self.objects.mappings.get(id) else { return Err(Misuse::NoObject.into()) };
        let space = space.or(mapping.space);
        if space == mapping.space
            && shadow.is_none()
            && capability.is_none_or(|capability| mapping.access.link == Some(capability))
        {
            let status = self.place_mapping(id, &state)?;
            self.set_link(space_link, |objects| Some(&mut objects.mappings.get_mut(id)?.space_link));
            return Ok(status);
        }
        let shadow = match shadow {
            Some((capability, region)) => {
                let (place, _) = self.object_memory(caller, address, Rights::WRITE)?;
                let payer = self.objects.places.get(place.get()).ok_or(Misuse::NoObject)?.payer;
                Some(NewShadow { capability, region, payer })
            }
            None => None,
        };
        self.reset_mapping(id, &state, rights, Some(Links { region: capability, space, space_link, shadow }))
    }

    /// Has a Mapping say what `state` says, and of what `links` say, if anything. All that came through it is dropped.
    fn reset_mapping(&mut self, id: Id<Mapping>, state: &MappingState, wanted: Rights, links: Option<Links>) -> Done {
        let Some(mapping) = self.objects.mappings.get(id) else { return Err(Misuse::NoObject.into()) };
        let (mut region, mut space) = (mapping.region, mapping.space);
        let mut has_shadow = mapping.shadow.is_some();
        if let Some(links) = &links {
            if let Some(Object::Region(new)) = links.region.map(|capability| capability.target) {
                region = Some(new);
            }
            space = links.space;
            has_shadow |= links.shadow.is_some();
        }
        if let Some(space) = space.and_then(|space| self.objects.spaces.get(space)) {
            check_end(space, state.start + state.size)?;
            if overlaps(&self.hierarchy(), space, state.start, state.size, id) {
                return Ok(Status::Overlap);
            }
        }
        let lower = region.and_then(|region| self.objects.regions.get(region)?.space);
        if let Some((lower, upper)) = lower.zip(space)
            && order(&mut self.hierarchy_mut(), lower, upper).is_err()
        {
            return Ok(Status::Circular);
        }
        if !self.prepare_heap() {
            return Ok(Status::NoMemory);
        }
        if has_shadow {
            let shadow = links.as_ref().and_then(|links| links.shadow.as_ref()).map(|new| (new.region, new.payer));
            match self.prepare_shadow(id, shadow.filter(|&(shadow, _)| Some(shadow) != region), space) {
                Status::Ok => {}
                status => return Ok(status),
            }
        }
        self.detach_mapping(id);
        let mut shadow = None;
        if let Some(Links { region: capability, space_link, shadow: new, .. }) = links {
            shadow = new.map(|new| (new.capability, new.region));
            if let Some(capability) = capability {
                self.objects.set_access(id, &capability);
            }
            self.set_link(space_link, |objects| Some(&mut objects.mappings.get_mut(id)?.space_link));
        }
        if let Some(mapping) = self.objects.mappings.get_mut(id) {
            mapping.access.wanted = wanted;
            let (access, space_link) = (core::mem::take(&mut mapping.access), mapping.space_link);
            let (rights, offset, start, size) = (wanted & access.limit(), state.offset, state.start, state.size);
            let (used, place) = (Cell::new(false), Place::default());
            let shadow = mapping.shadow.take();
            *mapping = Mapping { region, space, space_link, offset, start, size, rights, place, used, access, shadow };
        }
        if has_shadow {
            self.set_shadow(id, shadow);
        }
        if let Some(space) = space.and_then(|space| self.objects.spaces.get_mut(space)).filter(|_| state.size != 0) {
            space.mappings.insert(state.start, id);
        }
        link_mapping(&mut self.objects.regions, &mut self.objects.mappings, id);
        Ok(Status::Ok)
    }

    /// Has a Mapping say what `state` says, of the Region that it shows and in the Space that it appears in.
    #[inline(always)]
    pub(crate) fn place_mapping(&mut self, id: Id<Mapping>, state: &MappingState) -> Done {
        let wanted = check_mapping(state)?;
        let objects = &mut self.objects;
        let Some(mapping) = objects.mappings.get_mut(id) else { return Err(Misuse::NoObject.into()) };
        let rights = wanted & mapping.access.limit();
        let grows = mapping.start == state.start
            && mapping.offset == state.offset
            && state.size >= mapping.size
            && mapping.size != 0
            && rights.contains(mapping.rights)
            && mapping.shadow.is_none();
        if !grows {
            return self.replace_mapping(id, state, wanted);
        }
        let end = state.start + state.size;
        if let Some(space) = mapping.space.and_then(|space| objects.spaces.get(space)) {
            check_end(space, end)?;
            if space.mappings.after(state.start).is_some_and(|next| next < end) {
                return Ok(Status::Overlap);
            }
        }
        (mapping.size, mapping.rights, mapping.access.wanted) = (state.size, rights, wanted);
        Ok(Status::Ok)
    }

    /// Has a Mapping say what `state` says, whatever it said before. Nothing is dropped that it still shows.
    fn replace_mapping(&mut self, id: Id<Mapping>, state: &MappingState, wanted: Rights) -> Done {
        let objects = &self.objects;
        let Some(mapping) = objects.mappings.get(id) else { return Err(Misuse::NoObject.into()) };
        if mapping.shadow.is_some() {
            return self.reset_mapping(id, state, wanted, None);
        }
        let (old_start, old_size) = (mapping.start, mapping.size);
        let rights = wanted & mapping.access.limit();
        let begins_alike = old_start == state.start && old_size != 0 && state.size != 0;
        let space_id = mapping.space;
        let loses = mapping.used.get() && !mapping.is_part_of(state, rights);
        if let Some(space) = space_id.and_then(|id| objects.spaces.get(id)) {
            let end = state.start + state.size;
            check_end(space, end)?;
            let taken = if begins_alike {
                space.mappings.after(old_start).is_some_and(|next| next < end)
            } else {
                overlaps(&self.hierarchy(), space, state.start, state.size, id)
            };
            if taken {
                return Ok(Status::Overlap);
            }
        }
        if loses {
            self.withdraw_mapping(id);
        }
        let objects = &mut self.objects;
        if let Some(space) = space_id.and_then(|id| objects.spaces.get_mut(id)).filter(|_| !begins_alike) {
            if old_size != 0 {
                space.mappings.remove_if(old_start, |other| other == id);
            }
            if state.size != 0 {
                space.mappings.insert(state.start, id);
            }
        }
        if let Some(mapping) = objects.mappings.get_mut(id) {
            (mapping.offset, mapping.start, mapping.size) = (state.offset, state.start, state.size);
            (mapping.access.wanted, mapping.rights) = (wanted, rights);
        }
        Ok(Status::Ok)
    }

    /// `mapping_protect`.
    pub(super) fn protect_mapping_at(&mut self, caller: Id<Space>, address: u64, rights: u64) -> Done {
        let id = self.mapping_at(caller, address, Rights::WRITE)?;
        self.protect_mapping(id, rights)
    }

    /// Changes the rights that a Mapping wants.
    #[inline(always)]
    pub(crate) fn protect_mapping(&mut self, id: Id<Mapping>, rights: u64) -> Done {
        let wanted = Rights::from_bits(rights).ok_or(Misuse::BadArgument)?;
        let Some(mapping) = self.objects.mappings.get_mut(id) else { return Err(Misuse::NoObject.into()) };
        mapping.access.wanted = wanted;
        let rights = wanted & mapping.access.limit();
        if mapping.shadow.is_some() {
            mapping.rights = rights;
            self.protect_shadow(id);
            return Ok(Status::Ok);
        }
        let before = core::mem::replace(&mut mapping.rights, rights);
        if !rights.contains(before) {
            self.withdraw_mapping(id);
        }
        Ok(Status::Ok)
    }

    pub(super) fn get_mapping(&mut self, caller: Id<Space>, [address, state, region, space, shadow]: [u64; 5]) -> Done {
        let id = self.mapping_at(caller, address, Rights::READ)?;
        let [region, space] = [self.optional_reference(caller, region)?, self.optional_reference(caller, space)?];
        let shadow = self.optional_reference(caller, shadow)?;
        let Some(mapping) = self.objects.mappings.get(id) else { return Err(Misuse::NoObject.into()) };
        let (value, from, to) = (mapping.state(), mapping.access.link, mapping.space_link);
        let copies_to = self.objects.shadow_of(id).and_then(|shadow| self.objects.mappings.get(shadow)?.access.link);
        if state != 0 {
            self.write(caller, state, value.as_bytes())?;
        }
        self.point(region, from);
        self.point(space, to);
        self.point(shadow, copies_to);
        Ok(Status::Ok)
    }

    /// The Region that the Reference at an address links to.
    fn optional_region(&mut self, space: Id<Space>, address: u64) -> Result<Option<(Capability, Id<Region>)>, Stop> {
        let link = self.optional_link(space, address, ObjectType::Region, ReferenceRights::empty())?;
        Ok(link.and_then(|link| match link.target {
            Object::Region(region) => Some((link, region)),
            _ => None,
        }))
    }

    /// Drops what came through a Mapping.
    pub fn withdraw_mapping(&mut self, id: Id<Mapping>) {
        let Some(mapping) = self.objects.mappings.get(id) else { return };
        if let Some(space) = mapping.space.filter(|_| mapping.used.replace(false)) {
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
        Ok(self.repeat(thread))
    }
}

/// Checks the state of a Mapping. Returns its rights.
#[inline(always)]
fn check_mapping(state: &MappingState) -> Result<Rights, Misuse> {
    let &MappingState { offset, start, size, rights } = state;
    if !(offset | start | size).is_multiple_of(PAGE_SIZE) {
        return Err(Misuse::NotAligned);
    }
    let room = MEMORY_END.checked_sub(offset.max(start)).ok_or(Misuse::BadArgument)?;
    if size > room {
        return Err(Misuse::BadArgument);
    }
    Rights::from_bits(rights).ok_or(Misuse::BadArgument)
}

/// Checks that Mappings of a Space can end at an address.
#[inline]
fn check_end(space: &Space, end: u64) -> Result<(), Misuse> {
    if matches!(space.contents, Contents::Native(_)) && end > USER_END { Err(Misuse::BadArgument) } else { Ok(()) }
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
