//! A handle for each kernel object. A handle owns its object: dropping it destroys the object.
#![allow(unsafe_code)]

use super::memory::Memory;
use super::place::Place;
use crate::address::PAGE_SIZE;
use crate::api::{
    DirtyRange, MappingState, NativeState, OBJECT_SIZE, ObjectType, Quotas, ReferenceRights, RegionState, Rights, Run,
    SpaceKind, SpaceState, Status,
};
use crate::libc::system_call::{self as call, Message, Result};
use crate::policy::{Controls, CpuidEntry, MsrEntry};
use crate::startup;
use crate::virtual_cpu::{Groups, VirtualCpuState};
use zerocopy::{FromBytes, IntoBytes};

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $destroy:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            place: Place,
        }

        impl $name {
            /// The address that names the object in calls.
            #[inline]
            pub fn address(&self) -> u64 {
                self.place.address()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // The object exists for as long as its handle, so that destroying it cannot fail.
                let _ = call::$destroy(self.address());
            }
        }
    };
}

/// Makes an object with `create` at a new place.
pub(super) fn create(create: impl FnOnce(u64) -> Result<()>) -> Result<Place> {
    let place = Place::allocate()?;
    create(place.address())?;
    Ok(place)
}

macro_rules! handle_with_reference {
    ($(#[$doc:meta])* $visibility:vis $name:ident, $refer:ident, $destroy:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        $visibility struct $name {
            place: Place,
            reference: Reference,
        }

        impl $name {
            /// The handle of an object that `make` creates.
            fn create(make: impl FnOnce(u64) -> Result<()>) -> Result<Self> {
                // The Reference comes first, so that nothing is left behind when the object cannot be made.
                let reference = Reference::new()?;
                let object = Self { place: create(make)?, reference };
                call::$refer(object.address(), object.reference.address())?;
                Ok(object)
            }

            /// The address that names the object in calls.
            #[inline]
            pub fn address(&self) -> u64 {
                self.place.address()
            }

            /// A Reference to it, made once: handing it to calls costs nothing.
            #[inline]
            pub fn reference(&self) -> &Reference {
                &self.reference
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // The object exists for as long as its handle, so that destroying it cannot fail.
                let _ = call::$destroy(self.address());
            }
        }
    };
}

handle! {
    /// A link to an object: the only thing that others can be given.
    Reference, reference_destroy
}

impl Reference {
    /// A Reference to nothing.
    pub fn new() -> Result<Self> {
        Ok(Self { place: create(call::reference_create)? })
    }

    /// Another Reference to the same object.
    pub fn duplicate(&self) -> Result<Self> {
        let copy = Self::new()?;
        call::reference_copy(self.address(), copy.address())?;
        Ok(copy)
    }

    /// Another Reference to the same object with these of its rights.
    pub fn restricted(&self, rights: ReferenceRights) -> Result<Self> {
        let copy = Self::new()?;
        call::reference_restrict(self.address(), copy.address(), rights, 0)?;
        Ok(copy)
    }

    /// Another Reference to the same Port, which has no badge yet, with these of its rights and a badge other than 0.
    pub fn badged(&self, badge: u64, rights: ReferenceRights) -> Result<Self> {
        if badge == 0 {
            return Err(Status::Refused);
        }
        let copy = Self::new()?;
        call::reference_restrict(self.address(), copy.address(), rights, badge)?;
        Ok(copy)
    }

    /// A grant of what it links to: what is given away as [copies](Grant::reference) of it ends with it.
    pub fn grant(&self) -> Result<Grant> {
        let reference = Self::new()?;
        call::reference_grant(self.address(), reference.address())?;
        Ok(Grant { reference })
    }

    /// Its rights.
    pub fn rights(&self) -> Result<ReferenceRights> {
        call::reference_rights(self.address())
    }

    /// What it links to, `None` if that does not exist any more.
    pub fn check(&self) -> Result<Option<ObjectType>> {
        call::reference_check(self.address())
    }

    /// Calls the Port that it links to and waits for the reply.
    #[inline]
    pub fn call(&self, message: &mut Message) -> Result<()> {
        call::ipc_call(self.address(), message)
    }

    /// [`call`](Self::call) that sends a Reference along, if there is one, and has `taking` link as the one that comes with the
    /// reply. Returns whether one came.
    pub fn call_with(
        &self,
        message: &mut Message,
        sent: Option<&Reference>,
        taking: Option<&Reference>,
    ) -> Result<bool> {
        let address = |reference: Option<&Reference>| reference.map_or(0, Reference::address);
        call::ipc_call_with_reference(self.address(), message, address(sent), address(taking))
    }

    /// Sends notification bits to the Port that it links to. Never waits.
    #[inline]
    pub fn send(&self, bits: u64) -> Result<()> {
        call::ipc_send(self.address(), bits)
    }
}

/// What has been given away and can be taken back: dropping it revokes it, and all that was derived from it.
#[derive(Debug)]
pub struct Grant {
    reference: Reference,
}

impl Grant {
    /// A Reference to give away, which ends with the grant.
    pub fn reference(&self) -> Result<Reference> {
        self.reference.duplicate()
    }

    /// The Reference that grants: copies of it end with the grant.
    pub fn granting(&self) -> &Reference {
        &self.reference
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        // The Reference has the right for as long as its handle, so that revoking cannot fail.
        let _ = call::reference_revoke(self.reference.address());
    }
}

handle_with_reference! {
    /// A set of Ports that threads of the program serve.
    pub Portset, portset_reference, portset_destroy
}

impl Portset {
    /// A Portset without Ports.
    pub fn new() -> Result<Self> {
        Self::create(call::portset_create)
    }
}

handle_with_reference! {
    /// Where clients and exceptions arrive. Its Reference lets its holder send and call.
    pub Port, port_reference, port_destroy
}

impl Port {
    /// A Port in `portset`; messages that come through it carry `alias`.
    pub fn new(portset: &Portset, alias: u64) -> Result<Self> {
        let port = Self::create(call::port_create)?;
        call::port_set_state(port.address(), alias, portset.reference().address())?;
        Ok(port)
    }
}

handle! {
    /// A Port of which the handle keeps no Reference: its server can be told when nobody has one any more.
    WatchedPort, port_destroy
}

impl WatchedPort {
    /// A Port in `portset`; messages that come through it carry `alias`. Each time that its last Reference goes,
    /// [`Event::NoReferences`](super::Event::NoReferences) arrives.
    pub fn new(portset: &Portset, alias: u64) -> Result<Self> {
        let port = Self { place: create(call::port_create)? };
        call::port_set_state_telling(port.address(), alias, portset.reference().address(), true)?;
        Ok(port)
    }

    /// A Reference to it, to be given away.
    pub fn reference(&self) -> Result<Reference> {
        let reference = Reference::new()?;
        call::port_reference(self.address(), reference.address())?;
        Ok(reference)
    }
}

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
    /// [maps](super::server::map) it.
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

handle_with_reference! {
    /// A Space that the program has created: never its own.
    pub Space, space_reference, space_destroy
}

impl Space {
    /// An empty Space with quotas from the program's own. Frames of kernel memory alone are [enough to say](Quotas::of_memory).
    pub fn new(kind: SpaceKind, quotas: impl Into<Quotas>) -> Result<Self> {
        let quotas = quotas.into();
        Self::create(|address| call::space_create(address, kind, quotas))
    }

    /// Changes its quotas; those that are [`Quotas::UNCHANGED`] stay.
    pub fn set_quotas(&self, quotas: Quotas) -> Result<()> {
        call::space_set_quotas(self.address(), quotas)
    }

    /// Limits its share of the CPU, of [`Quotas::WHOLE_CPU`]; 0 for no limit of its own.
    pub fn set_cpu(&self, cpu: u64) -> Result<()> {
        self.set_quotas(Quotas { frames: Quotas::UNCHANGED, objects: Quotas::UNCHANGED, cpu })
    }

    /// Makes `port` its keeper: exceptions and VM exits of its threads arrive there.
    pub fn set_keeper(&self, port: &Port) -> Result<()> {
        self.set_keeper_through(port.reference())
    }

    /// Makes the Port that `reference` links to its keeper, with the badge and for as long as the grant of `reference`.
    pub fn set_keeper_through(&self, reference: &Reference) -> Result<()> {
        call::space_set_keeper(self.address(), reference.address())
    }

    /// Lets its threads wait for a keeper's reply for so many ticks of the time stamp counter, then stop.
    pub fn set_patience(&self, ticks: u64) -> Result<()> {
        call::space_set_patience(self.address(), ticks)
    }

    /// What it is, may use and uses.
    pub fn state(&self) -> Result<SpaceState> {
        call::space_get_state(self.address())
    }

    /// Sets the CPUID table of a machine Space.
    pub fn set_cpuid(&self, entries: &[CpuidEntry]) -> Result<()> {
        call::space_set_policy_cpuid(self.address(), entries)
    }

    /// Adds to the MSR table of a machine Space.
    pub fn set_msrs(&self, entries: &[MsrEntry]) -> Result<()> {
        call::space_set_policy_msr(self.address(), entries)
    }

    /// Sets the scalar policy of a machine Space.
    pub fn set_controls(&self, controls: &Controls) -> Result<()> {
        call::space_set_policy_controls(self.address(), core::slice::from_ref(controls))
    }
}

/// A thread in a Space that the program has created: native, or a virtual CPU.
#[derive(Debug)]
pub struct Thread {
    place: Place,
    kind: SpaceKind,
}

impl Thread {
    /// A stopped thread in the native Space `space` with the registers of `state`.
    pub fn native(space: &Space, state: &NativeState) -> Result<Self> {
        Self::native_at(create(call::thread_create)?, space, state)
    }

    /// [`native`](Self::native) with its object at the beginning of `page`, in which there is nothing else: so it can
    /// be shown to the thread.
    pub(super) fn native_in(page: &Memory, space: &Space, state: &NativeState) -> Result<Self> {
        let place = Place::alone(page);
        call::thread_create(place.address())?;
        Self::native_at(place, space, state)
    }

    fn native_at(place: Place, space: &Space, state: &NativeState) -> Result<Self> {
        let thread = Self { place, kind: SpaceKind::Native };
        let space = space.reference().address();
        // SAFETY: Space handles are never of the program's own Space.
        unsafe {
            let groups = NativeState::REGISTERS;
            call::thread_set_native_state(thread.address(), Some(state), groups, space, Run::Unchanged)
        }?;
        Ok(thread)
    }

    /// A stopped virtual CPU in the machine Space `space` with `groups` of `state`.
    pub fn virtual_cpu(space: &Space, state: &VirtualCpuState, groups: Groups) -> Result<Self> {
        let thread = Self { place: create(call::thread_create)?, kind: SpaceKind::Machine };
        let space = space.reference().address();
        // SAFETY: Space handles are never of the program's own Space.
        unsafe { call::thread_set_virtual_cpu(thread.address(), Some(state), groups, space, Run::Unchanged) }?;
        Ok(thread)
    }

    /// The address that names the object in calls.
    #[inline]
    pub fn address(&self) -> u64 {
        self.place.address()
    }

    /// A new Reference to it.
    pub fn reference(&self) -> Result<Reference> {
        let reference = Reference::new()?;
        call::thread_reference(self.address(), reference.address())?;
        Ok(reference)
    }

    /// Lets it go on.
    pub fn go(&self) -> Result<()> {
        self.run(Run::Go)
    }

    /// Stops it.
    pub fn stop(&self) -> Result<()> {
        self.run(Run::Stop)
    }

    fn run(&self, run: Run) -> Result<()> {
        // SAFETY: neither state nor Space change.
        unsafe { call::thread_set_native_state(self.address(), None, Groups::empty(), 0, run) }
    }

    /// Stops a native thread and returns its state, all but the extended registers. `Refused` for a virtual CPU.
    pub fn native_state(&self) -> Result<NativeState> {
        let mut state = NativeState::default();
        self.get_native_state(&mut state, NativeState::GROUPS.difference(Groups::EXTENDED))?;
        Ok(state)
    }

    /// Stops a native thread and fills in `groups` of `state`. `Refused` for a virtual CPU.
    #[inline]
    pub fn get_native_state(&self, state: &mut NativeState, groups: Groups) -> Result<()> {
        if self.kind != SpaceKind::Native {
            return Err(Status::Refused);
        }
        // SAFETY: the thread is in a native Space; its handle never moves it to another.
        unsafe { call::thread_get_native_state(self.address(), state, groups) }
    }

    /// [`get_native_state`](Self::get_native_state), and points `waited_for` at what the thread waited for in a call.
    pub fn get_waiting_state(&self, state: &mut NativeState, groups: Groups, waited_for: &Reference) -> Result<()> {
        if self.kind != SpaceKind::Native {
            return Err(Status::Refused);
        }
        // SAFETY: the thread is in a native Space; its handle never moves it to another.
        unsafe { call::thread_get_waiting_state(self.address(), state, groups, waited_for.address()) }
    }

    /// Sets the registers of a native thread: general, instruction pointer, flags, bases.
    pub fn set_native_state(&self, state: &NativeState, run: Run) -> Result<()> {
        self.set_native_groups(state, NativeState::REGISTERS, run)
    }

    /// Sets `groups` of the state of a native thread. `Refused` for a virtual CPU.
    #[inline]
    pub fn set_native_groups(&self, state: &NativeState, groups: Groups, run: Run) -> Result<()> {
        if self.kind != SpaceKind::Native {
            return Err(Status::Refused);
        }
        // SAFETY: the thread is in a Space that the program has created, never in its own.
        unsafe { call::thread_set_native_state(self.address(), Some(state), groups, 0, run) }
    }

    /// Stops a virtual CPU and fills in `groups` of `state`. A virtual CPU whose exit the caller is handling is stopped
    /// anyway, and goes on with [`set_state`](Self::set_state) or the reply.
    #[inline]
    pub fn get_state(&self, state: &mut VirtualCpuState, groups: Groups) -> Result<()> {
        call::thread_get_virtual_cpu(self.address(), state, groups)
    }

    /// Sets `groups` of the state of a virtual CPU. `Refused` for a native thread.
    #[inline]
    pub fn set_state(&self, state: &VirtualCpuState, groups: Groups, run: Run) -> Result<()> {
        if self.kind != SpaceKind::Machine {
            return Err(Status::Refused);
        }
        // SAFETY: the thread is in a Space that the program has created, never in its own.
        unsafe { call::thread_set_virtual_cpu(self.address(), Some(state), groups, 0, run) }
    }

    /// Makes `port` its scheduler, known to it by `value`; without one the thread runs on donated time only.
    pub fn set_scheduler(&self, port: Option<&Port>, value: u64) -> Result<()> {
        match port {
            Some(port) => call::thread_set_scheduler(self.address(), port.reference().address(), value),
            None => call::thread_set_scheduler(self.address(), 0, value),
        }
    }

    /// For how many ticks it has had donated time.
    #[inline]
    pub fn time_used(&self) -> Result<u64> {
        call::thread_get_scheduler(self.address(), 0).map(|(_, _, used)| used)
    }

    /// Posts an interrupt; 0 withdraws. Returns the one that was posted and not delivered.
    #[inline]
    pub fn interrupt(&self, vector: u8) -> Result<u64> {
        call::thread_interrupt(self.address(), vector)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // The object exists for as long as its handle, so that destroying it cannot fail.
        let _ = call::thread_destroy(self.address());
    }
}

/// Sets the registers and the Space of the thread at `address`: for threads that others see as well, in memory of theirs.
pub fn set_native_thread(address: u64, state: &NativeState, space: &Reference, run: Run) -> Result<()> {
    // SAFETY: References to Spaces are of those that the program has created, never of its own.
    unsafe { call::thread_set_native_state(address, Some(state), NativeState::REGISTERS, space.address(), run) }
}

/// Creates a Mutex in `memory`, for those who share it. `Refused` if there is no place for one at `offset`.
pub fn create_mutex_in(memory: &Memory, offset: u64) -> Result<()> {
    let place = place_in(memory, offset)?;
    // SAFETY: of the memory there are no Rust references.
    unsafe { call::mutex_create(place) }
}

/// Creates a Region in `memory` that exports `size` bytes of the same memory from `start` on, for those who share it; faults arrive at the Port
/// that `keeper` links to. `Refused` if there is no place for one at `offset`, or what it is to export is not inside or not page-aligned.
pub fn create_region_in(
    memory: &Memory,
    offset: u64,
    [start, size]: [u64; 2],
    rights: Rights,
    keeper: Option<&Reference>,
) -> Result<()> {
    let place = place_in(memory, offset)?;
    let inside = start.checked_add(size).is_some_and(|end| end <= memory.size());
    if !inside || !(start | size).is_multiple_of(PAGE_SIZE) {
        return Err(Status::Refused);
    }
    call::region_create(place)?;
    let state = RegionState { start: memory.address() + start, size, rights: rights.bits() };
    // SAFETY: of the memory there are no Rust references.
    unsafe { call::region_set_state(place, &state, 0, keeper.map_or(0, Reference::address)) }
}

/// Creates a Mapping in `memory`, for those who share it: of the Region that `region` links to, into `space`. `Refused` if there is no place for one
/// at `offset`.
pub fn create_mapping_in(
    memory: &Memory,
    offset: u64,
    state: &MappingState,
    region: &Reference,
    space: &Space,
) -> Result<()> {
    let place = place_in(memory, offset)?;
    call::mapping_create(place)?;
    // SAFETY: Space handles are of Spaces that the program has created, so this changes no memory of its own.
    unsafe { call::mapping_set_state(place, state, region.address(), space.reference().address()) }
}

/// The address of the place for an object at `offset` of `memory`.
fn place_in(memory: &Memory, offset: u64) -> Result<u64> {
    let inside = offset.checked_add(OBJECT_SIZE).is_some_and(|end| end <= memory.size());
    if inside && offset.is_multiple_of(OBJECT_SIZE) { Ok(memory.address() + offset) } else { Err(Status::Refused) }
}

/// Stops the native thread at `address` and returns its state. `Refused` if it is a virtual CPU.
pub fn native_thread(address: u64) -> Result<NativeState> {
    // Room for the state of a virtual CPU, should it be one: nothing is asked of that.
    let mut state = VirtualCpuState::zeroed();
    call::thread_get_virtual_cpu(address, &mut state, Groups::empty())?;
    let (native, _) = NativeState::read_from_prefix(state.as_bytes()).map_err(|_| Status::Refused)?;
    // The flags of a native thread are never 0; of a virtual CPU, nothing was written there.
    if native.rflags == 0 { Err(Status::Refused) } else { Ok(native) }
}

/// Lets the thread at `address` go on, or stops it.
pub fn run_thread(address: u64, run: Run) -> Result<()> {
    // SAFETY: neither state nor Space change.
    unsafe { call::thread_set_native_state(address, None, Groups::empty(), 0, run) }
}

/// Destroys the object of type `kind` at `address`: for objects that others have created in the program's memory.
pub fn destroy(kind: ObjectType, address: u64) -> Result<()> {
    match kind {
        ObjectType::Mutex => call::mutex_destroy(address),
        ObjectType::Cond => call::cond_destroy(address),
        ObjectType::Mapping => call::mapping_destroy(address),
        ObjectType::Region => call::region_destroy(address),
        ObjectType::Port => call::port_destroy(address),
        ObjectType::Portset => call::portset_destroy(address),
        ObjectType::Space => call::space_destroy(address),
        ObjectType::Thread => call::thread_destroy(address),
        ObjectType::Reference => call::reference_destroy(address),
    }
}
