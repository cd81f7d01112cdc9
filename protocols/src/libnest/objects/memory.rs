//! Regions, Mappings and device memory.

use super::{Port, Reference, Space, create, destroy};
use crate::address::PAGE_SIZE;
use crate::api::{DirtyRange, MappingState, OBJECT_SIZE, ObjectType, RegionState, Rights, Status};
use crate::libc::system_call::{self as call, Result};
use crate::libnest::memory::Memory;
use crate::libnest::place::Place;
use crate::startup;

handle_with_reference! {
    /// A Region as the kernel knows it.
    Exported, region_reference, region_destroy
}

/// A stretch of memory for export to other Spaces.
#[derive(Debug)]
pub struct Region {
    object: Exported,
    state: RegionState,
    /// The memory is the program's own.
    is_own: bool,
    /// Keeps the memory out of Rust's view while it can be mapped elsewhere.
    _memory: Option<Memory>,
}

impl Region {
    /// Exports `size` bytes of `memory` from `offset` on with `rights` at most. `Refused` if that is not page-aligned or not
    /// inside.
    pub fn new(memory: &Memory, offset: u64, size: u64, rights: Rights) -> Result<Self> {
        let inside = offset.checked_add(size).is_some_and(|end| end <= memory.size());
        if !inside || !(offset | size).is_multiple_of(PAGE_SIZE) {
            return Err(Status::Refused);
        }
        Self::export(memory.address() + offset, size, rights, None, Some(memory.clone()))
    }

    /// Exports `size` bytes of what `space` shows from `start` on.
    pub fn of_space(space: &Space, start: u64, size: u64, rights: Rights) -> Result<Self> {
        Self::export(start, size, rights, Some(space), None)
    }

    /// Exports `bytes`, which begin at a page boundary, for reading and executing. The rest of the last page is
    /// exported as well.
    pub fn read_only(bytes: &'static [u8]) -> Result<Self> {
        let start = bytes.as_ptr().addr() as u64;
        if !start.is_multiple_of(PAGE_SIZE) {
            return Err(Status::Refused);
        }
        let size = (bytes.len() as u64).next_multiple_of(PAGE_SIZE);
        Self::export(start, size, Rights::READ | Rights::EXECUTE, None, None)
    }

    fn export(start: u64, size: u64, rights: Rights, space: Option<&Space>, memory: Option<Memory>) -> Result<Self> {
        let state = RegionState { start, size, rights: rights.bits() };
        let is_own = space.is_none();
        let region = Self { object: Exported::create(call::region_create)?, state, is_own, _memory: memory };
        let space = space.map_or(0, |space| space.reference().address());
        // SAFETY: either the memory is another Space's, or there are no Rust references to it, and the handle keeps it
        // so, or the right to write is not exported.
        unsafe { call::region_set_state(region.address(), &state, space, 0) }?;
        Ok(region)
    }

    /// The address that names the object in calls.
    #[inline]
    pub fn address(&self) -> u64 {
        self.object.address()
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.state.size
    }

    /// A Reference to it, made once: handing it to calls costs nothing.
    #[inline]
    pub fn reference(&self) -> &Reference {
        self.object.reference()
    }

    /// Makes `port` its keeper: faults that find no memory in the Region arrive there.
    pub fn set_keeper(&self, port: &Port) -> Result<()> {
        self.set_keeper_through(port.reference())
    }

    /// Makes the Port that `reference` links to its keeper, with the badge and for as long as the grant of `reference`.
    pub fn set_keeper_through(&self, reference: &Reference) -> Result<()> {
        // SAFETY: the state is unchanged.
        unsafe { call::region_set_state(self.address(), &self.state, 0, reference.address()) }
    }

    /// Limits all that is derived from it to `rights`, at once; relaxes the limit too.
    pub fn protect(&self, rights: Rights) -> Result<()> {
        call::region_protect(self.address(), rights)
    }

    /// Destroys every object in its memory, whoever made it, and returns how many there were. Whoever could destroy one of
    /// them at the same time must have lost the right to ([`protect`](Self::protect)). `Refused` if the memory is another Space's.
    pub fn destroy_objects(&self) -> Result<usize> {
        if !self.is_own {
            return Err(Status::Refused);
        }
        let (mut offset, mut count) = (0, 0);
        while let Some((found, kind)) = self.search(offset)? {
            destroy(kind, self.state.start + found)?;
            offset = found + OBJECT_SIZE;
            count += 1;
        }
        Ok(count)
    }

    /// Has it remember which of its pages are written, or not any more: see [`tracking`](crate::api::tracking).
    pub fn track(&self, on: bool) -> Result<()> {
        call::region_track(self.address(), on)
    }

    /// Whether it does.
    pub fn is_tracked(&self) -> Result<bool> {
        call::region_is_tracked(self.address())
    }

    /// Hands every range of pages from offset `start` to offset `end` that were written since they were last reported to
    /// `report`; they count as not written from then on.
    pub fn take_dirty(&self, start: u64, end: u64, mut report: impl FnMut(DirtyRange)) -> Result<()> {
        let (mut next, end) = (start, end.min(self.size()));
        let mut ranges = [DirtyRange::default(); 64];
        while next < end {
            let (found, to) = call::region_get_dirty(self.address(), next, end, &mut ranges)?;
            found.iter().copied().for_each(&mut report);
            next = to;
        }
        Ok(())
    }

    /// Has it remember that the pages from offset `start` to offset `end` were written.
    pub fn set_dirty(&self, start: u64, end: u64) -> Result<()> {
        call::region_set_dirty(self.address(), start, end)
    }

    /// Offset and type of the first object in its memory at or after `offset`.
    pub fn search(&self, offset: u64) -> Result<Option<(u64, ObjectType)>> {
        call::region_search(self.address(), offset)
    }
}

/// A stretch of device memory, for use by other Spaces: a Region that the parent has made, which stays when the handle is
/// dropped.
#[derive(Debug)]
pub struct Device {
    reference: Reference,
    stretch: startup::Device,
}

impl Device {
    /// The handle of a stretch in the program's start-up page. `Refused` if it comes without a Region.
    pub fn new(stretch: &startup::Device) -> Result<Self> {
        if stretch.region == 0 {
            return Err(Status::Refused);
        }
        let reference = Reference::new()?;
        call::region_reference(stretch.region, reference.address())?;
        Ok(Self { reference, stretch: *stretch })
    }

    /// What the start-up page of a program says that may use it.
    pub fn shown(&self) -> startup::Device {
        startup::Device { region: 0, ..self.stretch }
    }
}

handle! {
    /// A stretch of a Space in which part of a Region appears.
    Mapping, mapping_destroy
}

impl Mapping {
    /// Makes `size` bytes of `region` from `offset` on appear in `space` from `start` on, with `rights`.
    pub fn new(region: &Region, offset: u64, space: &Space, start: u64, size: u64, rights: Rights) -> Result<Self> {
        Self::through(region.reference(), offset, space, start, size, rights)
    }

    /// Makes part of the Region that `region` links to appear, with what rights `region` has.
    pub fn through(
        region: &Reference,
        offset: u64,
        space: &Space,
        start: u64,
        size: u64,
        rights: Rights,
    ) -> Result<Self> {
        let mut mapping = Self { place: create(call::mapping_create)? };
        mapping.set_through(region, offset, space, start, size, rights)?;
        Ok(mapping)
    }

    /// A Mapping of `region` that appears nowhere in `space` until it is [set](Self::set), or a reply
    /// [maps](crate::libnest::server::map) it.
    pub fn nowhere(region: &Region, space: &Space) -> Result<Self> {
        Self::new(region, 0, space, 0, 0, Rights::empty())
    }

    /// As [`new`](Self::new), [copy-on-write](MappingState#copy-on-write): `region` is only read, and pages that are written to are
    /// copied to the same offset of `shadow`.
    pub fn copy_on_write(
        [region, shadow]: [&Region; 2],
        offset: u64,
        space: &Space,
        start: u64,
        size: u64,
        rights: Rights,
    ) -> Result<Self> {
        Self::copy_on_write_through([region.reference(), shadow.reference()], offset, space, start, size, rights)
    }

    /// [`copy_on_write`](Self::copy_on_write), with the Regions that two References link to and the rights that these have.
    pub fn copy_on_write_through(
        regions: [&Reference; 2],
        offset: u64,
        space: &Space,
        start: u64,
        size: u64,
        rights: Rights,
    ) -> Result<Self> {
        let mut mapping = Self { place: create(call::mapping_create)? };
        let state = MappingState { offset, start, size, rights: rights.bits() };
        mapping.set_with_shadow(regions, &state, space)?;
        Ok(mapping)
    }

    /// Makes it [copy-on-write](MappingState#copy-on-write): it shows `region` from now on, and the pages that are written to then in `shadow`.
    /// If both are the same Region, it is copy-on-write no more.
    pub fn set_shadow(&mut self, [region, shadow]: [&Region; 2], space: &Space) -> Result<()> {
        self.set_shadow_through([region.reference(), shadow.reference()], space)
    }

    /// [`set_shadow`](Self::set_shadow), with the Regions that two References link to and the rights that these have.
    pub fn set_shadow_through(&mut self, regions: [&Reference; 2], space: &Space) -> Result<()> {
        let state = call::mapping_get_state(self.address(), 0, 0)?;
        self.set_with_shadow(regions, &state, space)
    }

    /// Points `reference` at its shadow Region, at nothing if it is not copy-on-write.
    pub fn shadow(&self, reference: &Reference) -> Result<()> {
        call::mapping_get_shadow(self.address(), reference.address())
    }

    fn set_with_shadow(
        &mut self,
        [region, shadow]: [&Reference; 2],
        state: &MappingState,
        space: &Space,
    ) -> Result<()> {
        let (region, shadow, space) = (region.address(), shadow.address(), space.reference().address());
        // SAFETY: Space handles are of Spaces that the program has created, so this changes no memory of its own; the handles of the
        // Regions keep their memory out of Rust's view.
        unsafe { call::mapping_set_state_with_shadow(self.address(), state, region, space, shadow) }
    }

    /// Changes what it is a Mapping of, and the Space it appears in. Which pages were copied stays.
    pub fn move_to(&mut self, region: &Region, space: &Space, start: u64) -> Result<()> {
        let state = call::mapping_get_state(self.address(), 0, 0)?;
        self.set_state(&MappingState { start, ..state }, region.reference(), space)
    }

    /// Which pages were copied: looks for the first at or after `offset` in its Region, and writes to `words` one bit for each page from there on.
    /// Returns the offset of that page; `None` if there is none. `Refused` if it is not copy-on-write.
    pub fn copied(&self, offset: u64, words: &mut [u64]) -> Result<Option<u64>> {
        call::mapping_get_copied(self.address(), offset, words)
    }

    /// Has the pages from `offset` in its Region on count as copied whose bits are set in `words`, and no others of those.
    /// `Refused` if it is not copy-on-write.
    pub fn set_copied(&mut self, offset: u64, words: &[u64]) -> Result<()> {
        // SAFETY: it is a Mapping into a Space that the program has created, so this changes no memory of its own.
        unsafe { call::mapping_set_copied(self.address(), offset, words) }
    }

    /// Makes all of `device` appear in `space` where a program expects it.
    pub fn of_device(device: &Device, space: &Space) -> Result<Self> {
        let mut mapping = Self { place: create(call::mapping_create)? };
        let rights = (Rights::READ | Rights::WRITE).bits();
        let state = MappingState { offset: 0, start: device.stretch.address(), size: device.stretch.size, rights };
        mapping.set_state(&state, &device.reference, space)?;
        Ok(mapping)
    }

    /// Changes what appears where, at once.
    pub fn set(
        &mut self,
        region: &Region,
        offset: u64,
        space: &Space,
        start: u64,
        size: u64,
        rights: Rights,
    ) -> Result<()> {
        self.set_through(region.reference(), offset, space, start, size, rights)
    }

    fn set_through(
        &mut self,
        region: &Reference,
        offset: u64,
        space: &Space,
        start: u64,
        size: u64,
        rights: Rights,
    ) -> Result<()> {
        let state = MappingState { offset, start, size, rights: rights.bits() };
        self.set_state(&state, region, space)
    }

    /// Changes its rights, at once.
    pub fn protect(&mut self, rights: Rights) -> Result<()> {
        // SAFETY: as in `set_state`.
        unsafe { call::mapping_protect(self.address(), rights) }
    }

    fn set_state(&mut self, state: &MappingState, region: &Reference, space: &Space) -> Result<()> {
        // SAFETY: Space handles are of Spaces that the program has created, so this changes no memory of its own.
        unsafe { call::mapping_set_state(self.address(), state, region.address(), space.reference().address()) }
    }
}
