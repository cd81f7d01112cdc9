//! Copy-on-write: Mappings with a shadow, and the page that is copied when somebody writes to it.
//!
//! A write to a page that a Mapping shows of its source is a soft fault: the kernel copies the page to the shadow, which must have
//! memory there, notes it, and drops what was derived from the page. Where the shadow has none, or the source, their keepers hear of it as of
//! any hard fault, and the copy is tried again after their reply.
//!
//! Only RAM is copied, and only to RAM. Objects are not: the copy has those that the shadow's memory has.

use crate::account::Payer;
use crate::arch::physical;
use crate::arena::Id;
use crate::fault::Unresolved;
use crate::kernel::Kernel;
use crate::memory::hierarchy::{
    Fault, Mapping, Piece, Region, Space, link_mapping, order, translate_in, unlink_mapping,
};
use crate::memory::page_set::PageSet;
use crate::memory::shadow::{Page, Shadow, copy_target, next_on_the_way};
use crate::memory::window::Window;
use crate::objects::Objects;
use crate::references::Capability;
use alloc::boxed::Box;
use protocols::address::{HostPhysical, PAGE_SIZE};
use protocols::api::{Rights, Status};

/// What a shadow costs beside its pages, in bytes: its Mapping and what links it.
const SHADOW_COST: u64 = 512;

/// A page that was copied.
pub struct Copied {
    /// The Space that shows it through the Mapping which it was copied for.
    pub space: Option<Id<Space>>,
    /// The copy.
    pub page: HostPhysical,
    /// With which rights that Space shows it; none if that takes a closer look.
    pub rights: Rights,
}

/// Memory at an offset of a Region.
struct Stretch {
    place: HostPhysical,
    rights: Rights,
    device: bool,
    tracked: bool,
}

impl Objects {
    /// The Mapping of a copy-on-write Mapping's shadow.
    pub fn shadow_of(&self, id: Id<Mapping>) -> Option<Id<Mapping>> {
        Some(self.mappings.get(id)?.shadow.as_ref()?.mapping)
    }

    /// The shadow Region of a copy-on-write Mapping.
    pub fn shadow_region(&self, id: Id<Mapping>) -> Option<Id<Region>> {
        self.mappings.get(self.shadow_of(id)?)?.region
    }

    /// What is noted about the pages of a copy-on-write Mapping.
    pub fn copied(&self, id: Id<Mapping>) -> Option<&PageSet> {
        Some(&self.mappings.get(id)?.shadow.as_ref()?.copied)
    }

    /// Makes room for a page among those copied, at the expense of who pays for the Mapping. False if that is not possible.
    pub fn grow_copied(&mut self, (id, offset): Page) -> bool {
        let shadow = self.mappings.get_mut(id).and_then(|mapping| mapping.shadow.take());
        let Some(mut shadow) = shadow else { return false };
        let payer = shadow.payer;
        let grown = shadow.copied.grow(offset / PAGE_SIZE, &mut |bytes| self.charge_more(payer, bytes));
        if let Some(mapping) = self.mappings.get_mut(id) {
            mapping.shadow = Some(shadow);
        }
        grown
    }

    /// Puts a page among those copied. False if there is no room for that.
    fn insert_copied(&mut self, (id, offset): Page) -> bool {
        let shadow = self.mappings.get_mut(id).and_then(|mapping| mapping.shadow.as_mut());
        shadow.is_some_and(|shadow| shadow.copied.insert(offset / PAGE_SIZE))
    }

    /// Gives room back.
    pub fn free_copied(&mut self, id: Id<Mapping>, free: impl FnOnce(&mut PageSet) -> u64) {
        let Some(shadow) = self.mappings.get_mut(id).and_then(|mapping| mapping.shadow.as_mut()) else { return };
        let (freed, payer) = (free(&mut shadow.copied), shadow.payer);
        self.refund_more(payer, freed);
    }
}

impl Kernel {
    /// Copies a page from the source of a Mapping to its shadow, which it shows from now on.
    #[inline(never)]
    pub fn copy_page(&mut self, id: Id<Mapping>, offset: u64) -> Result<Copied, Unresolved> {
        const UNMAPPED: Unresolved = Unresolved::Fault(Fault::Unmapped);
        let first = (id, offset);
        let mapping = self.objects.mappings.get(id).ok_or(UNMAPPED)?;
        let (space, source) = (mapping.space, mapping.region.ok_or(UNMAPPED)?);
        let start = mapping.start + (offset - mapping.offset);
        let copy = self.objects.shadow_of(id).and_then(|copy| self.objects.mappings.get(copy)).ok_or(UNMAPPED)?;
        let (rights, shadow) = (copy.rights, copy.region.ok_or(UNMAPPED)?);
        mapping.used.set(true);
        copy.used.set(true);
        let (to, last) = match self.window_in(shadow, offset, Rights::WRITE) {
            Ok(to) => (to, first),
            Err(Fault::Copy(..)) => {
                let (to, last) = copy_target(&self.hierarchy(), first).map_err(Unresolved::Fault)?;
                let device = !self.is_ram(to.physical.get());
                (Stretch { place: to.physical, rights: to.rights, device, tracked: to.tracked }, last)
            }
            Err(fault) => return Err(Unresolved::Fault(fault)),
        };
        let from = self.window_in(source, offset, Rights::READ).map_err(|fault| match fault {
            Fault::Region(region, offset) => Unresolved::Fault(Fault::Source(region, offset)),
            fault => Unresolved::Fault(fault),
        })?;
        if from.device || to.device {
            return Err(UNMAPPED);
        }
        let (from, page) = (from.place.align_down(PAGE_SIZE), to.place.align_down(PAGE_SIZE));
        let noted = if last == first { self.note_copied(first) } else { self.note_on_the_way(first, last) };
        if !noted {
            return Err(Unresolved::NoMemory);
        }
        let copied = physical::copy(from, page, PAGE_SIZE as usize);
        debug_assert!(copied, "RAM can be read and written");
        // What the first Mapping shows is derived from the last.
        self.withdraw_pages(last.0, last.1 & !(PAGE_SIZE - 1), PAGE_SIZE);
        // The copy is a write to the shadow, and to all that it is seen through.
        self.note_write(space, start);
        // Further on the way there are more rights than those of the last shadow; tracked memory is found anew each time.
        let rights = if last == first && !to.tracked { rights & to.rights } else { Rights::empty() };
        Ok(Copied { space, page, rights })
    }

    /// What a Region has at an offset for an access that wants `want`: as its Space showed it lately, or from the hierarchy.
    fn window_in(&mut self, id: Id<Region>, offset: u64, want: Rights) -> Result<Stretch, Fault> {
        let fault = Fault::Region(id, offset);
        let region = self.objects.regions.get(id).ok_or(Fault::Unmapped)?;
        let (space_id, address, limit) = (region.space.ok_or(fault)?, region.start.wrapping_add(offset), region.rights);
        let space = self.objects.spaces.get(space_id).ok_or(fault)?;
        if offset < region.size
            && limit.contains(want)
            && let Some(window) = space.windows.find(address, want, space.epoch)
        {
            let place = window.physical(address);
            let (device, tracked) = (window.device, region.tracking.is_some());
            return Ok(Stretch { place, rights: window.rights & limit, device, tracked });
        }
        let found = translate_in(&self.hierarchy(), id, offset, want)?;
        let kind = match found.device {
            Some(device) => (device, 0, u64::MAX),
            None => self.kind_of_memory(found.physical.get()),
        };
        let window = Window::new(address, &found, kind);
        // Every access to tracked memory is to be seen.
        if let Some(space) = self.objects.spaces.get_mut(space_id).filter(|_| !found.tracked) {
            space.windows.add(window, space.epoch);
        }
        Ok(Stretch {
            place: found.physical,
            rights: found.rights & limit,
            device: window.device,
            tracked: found.tracked,
        })
    }

    /// Notes that a page is copied. False, with nothing changed, if that cannot be paid.
    fn note_copied(&mut self, page: Page) -> bool {
        if self.objects.insert_copied(page) {
            return true;
        }
        if self.prepare_heap() && self.objects.grow_copied(page) {
            return self.objects.insert_copied(page);
        }
        self.objects.free_copied(page.0, |copied| copied.prune(page.1 / PAGE_SIZE));
        false
    }

    /// The same for a page and for each that its shadow is seen through, to the last.
    #[cold]
    #[inline(never)]
    fn note_on_the_way(&mut self, first: Page, last: Page) -> bool {
        if !self.prepare_heap() {
            return false;
        }
        // Room for all comes first: the way can be followed only for as long as nothing is noted on it.
        if let Err(refused) = self.each_on_the_way(first, last, Objects::grow_copied) {
            let _ = self.each_on_the_way(first, refused, |objects, (id, offset)| {
                objects.free_copied(id, |copied| copied.prune(offset / PAGE_SIZE));
                true
            });
            return false;
        }
        self.each_on_the_way(first, last, Objects::insert_copied).is_ok()
    }

    /// Does something for each page from `first` to `last` until it fails.
    fn each_on_the_way(
        &mut self,
        first: Page,
        last: Page,
        mut act: impl FnMut(&mut Objects, Page) -> bool,
    ) -> Result<(), Page> {
        let mut here = first;
        loop {
            if !act(&mut self.objects, here) {
                return Err(here);
            }
            match next_on_the_way(&self.hierarchy(), here, last) {
                Some(next) => here = next,
                None => return Ok(()),
            }
        }
    }

    /// Drops what came through pages of a Mapping, by their place in its Regions.
    pub fn withdraw_pages(&mut self, id: Id<Mapping>, offset: u64, size: u64) {
        let Some(mapping) = self.objects.mappings.get(id) else { return };
        let Some(space) = mapping.space.filter(|_| mapping.used.get()) else { return };
        let start = offset.max(mapping.offset);
        let end = (offset + size).min(mapping.offset + mapping.size);
        if start < end {
            let shift = |offset: u64| mapping.start + (offset - mapping.offset);
            self.withdraw(Piece { space, start: shift(start), end: shift(end) });
        }
    }

    /// Makes sure that a Mapping can have a shadow in `space`: of a new Region, with who pays for that, if there is one, else of the one that it has.
    pub fn prepare_shadow(
        &mut self,
        id: Id<Mapping>,
        new: Option<(Id<Region>, Id<Payer>)>,
        space: Option<Id<Space>>,
    ) -> Status {
        let shown = new.map(|(region, _)| region).or(self.objects.shadow_region(id));
        let lower = shown.and_then(|region| self.objects.regions.get(region)?.space);
        if let Some((lower, upper)) = lower.zip(space)
            && order(&mut self.hierarchy_mut(), lower, upper).is_err()
        {
            return Status::Circular;
        }
        if let Some((_, payer)) = new
            && self.objects.shadow_of(id).is_none()
            && !self.create_shadow(id, payer)
        {
            return Status::NoMemory;
        }
        Status::Ok
    }

    /// Gives a Mapping a shadow that links to nothing yet. False, with nothing changed, if `payer` cannot pay for it.
    fn create_shadow(&mut self, id: Id<Mapping>, payer: Id<Payer>) -> bool {
        let charged = self.objects.charge_more(payer, SHADOW_COST);
        if charged {
            let mapping = self.objects.mappings.insert(Mapping::default());
            let shadow = Shadow { mapping, copied: PageSet::default(), payer };
            if let Some(mapping) = self.objects.mappings.get_mut(id) {
                mapping.shadow = Some(Box::new(shadow));
            }
        }
        charged
    }

    /// Has the shadow of a Mapping follow the Mapping, which was set anew. With a `link` it shows that Region and no page counts as copied any
    /// more; or it ends, if that is the Mapping's own. Nothing is derived from either at present.
    #[inline(never)]
    pub fn set_shadow(&mut self, id: Id<Mapping>, link: Option<(Capability, Id<Region>)>) {
        let source = self.objects.mappings.get(id).and_then(|mapping| mapping.region);
        if link.is_some_and(|(_, region)| Some(region) == source) {
            return self.end_shadow(id);
        }
        let Some(shadow) = self.objects.shadow_of(id) else { return };
        unlink_mapping(&mut self.objects.regions, &mut self.objects.mappings, shadow);
        if let Some((capability, _)) = link {
            self.objects.set_access(shadow, &capability);
        }
        let Some((mapping, copy)) = self.objects.mappings.pair_mut(id, shadow) else { return };
        if let Some((_, region)) = link {
            copy.region = Some(region);
        }
        (copy.space, copy.start, copy.offset, copy.size) = (mapping.space, mapping.start, mapping.offset, mapping.size);
        copy.rights = mapping.access.wanted & copy.access.limit();
        copy.used.set(false);
        let shown = mapping.offset / PAGE_SIZE..(mapping.offset + mapping.size) / PAGE_SIZE;
        let kept = if link.is_some() { 0..0 } else { shown };
        link_mapping(&mut self.objects.regions, &mut self.objects.mappings, shadow);
        self.objects.free_copied(id, |copied| copied.keep(&kept));
    }

    /// Has the shadow of a Mapping want the rights that the Mapping wants now. All that came through either is dropped.
    #[cold]
    #[inline(never)]
    pub fn protect_shadow(&mut self, id: Id<Mapping>) {
        self.withdraw_mapping(id);
        let Some(shadow) = self.objects.shadow_of(id) else { return };
        let Some((mapping, copy)) = self.objects.mappings.pair_mut(id, shadow) else { return };
        copy.rights = mapping.access.wanted & copy.access.limit();
    }

    /// Takes the shadow of a Mapping away, if it has one. Nothing is derived from it any more.
    pub fn end_shadow(&mut self, id: Id<Mapping>) {
        let shadow = self.objects.mappings.get_mut(id).and_then(|mapping| mapping.shadow.take());
        let Some(Shadow { mapping, copied, payer }) = shadow.map(|shadow| *shadow) else { return };
        unlink_mapping(&mut self.objects.regions, &mut self.objects.mappings, mapping);
        self.objects.drop_access(mapping);
        self.objects.mappings.remove(mapping);
        self.objects.refund_more(payer, SHADOW_COST + copied.cost());
    }
}

const _: () = assert!(
    SHADOW_COST as usize >= crate::arena::Arena::<Mapping>::SLOT_SIZE + size_of::<Shadow>() + 32,
    "what a shadow costs covers what it takes"
);
