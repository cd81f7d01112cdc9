//! Tracking which pages of Regions are written: see [`crate::memory::dirty`] for the invariant.

use crate::arch::cpu;
use crate::arch::physical::Frame;
use crate::arena::Id;
use crate::fault::ChargedTables;
use crate::kernel::{Kernel, ListPage};
use crate::memory::dirty::{DirtyPages, LARGEST, Tracking, frames_for};
use crate::memory::hierarchy::{Derived, Piece, Region, Space, TooMuch, Translation, visit_below};
use crate::space::Contents;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;
use protocols::address::PAGE_SIZE;
use protocols::api::{Rights, Status};

impl Kernel {
    /// Begins to track a Region at the expense of `payer`.
    pub fn begin_tracking(&mut self, id: Id<Region>, payer: Id<Space>) -> Status {
        let Some(region) = self.objects.regions.get(id) else { return Status::NotFound };
        if region.tracking.is_some() {
            return Status::Ok;
        }
        if region.size == 0 || region.size > LARGEST {
            return Status::Refused;
        }
        let count = frames_for(region.size);
        let account = self.objects.spaces.get_mut(payer).map(|space| &mut space.account);
        if account.is_none_or(|account| account.charge(count * PAGE_SIZE).is_err()) {
            return Status::NoMemory;
        }
        let mut frames: Vec<Frame<ListPage>> = Vec::new();
        if self.prepare_heap() {
            let zeroed = core::iter::from_fn(|| self.frames.allocate().and_then(Frame::new));
            frames.extend(zeroed.take(count as usize));
        }
        if frames.len() < count as usize {
            self.release_bitmap(payer, count, frames);
            return Status::NoMemory;
        }
        // What was found before says that everything can be written.
        self.withdraw_region(id);
        self.tracked_regions += 1;
        if let Some(region) = self.objects.regions.get_mut(id) {
            region.tracking = Some(Box::new(Tracking { pages: DirtyPages::new(frames), payer }));
        }
        if let Some(payer) = self.objects.spaces.get_mut(payer) {
            payer.tracked.add(&mut self.objects.regions, id);
        }
        Status::Ok
    }

    /// Ends tracking a Region.
    pub fn end_tracking(&mut self, id: Id<Region>) {
        let tracking = self.objects.regions.get_mut(id).and_then(|region| region.tracking.take());
        let Some(Tracking { pages, payer }) = tracking.map(|tracking| *tracking) else { return };
        self.tracked_regions -= 1;
        if let Some(payer) = self.objects.spaces.get_mut(payer) {
            payer.tracked.remove(&mut self.objects.regions, id);
        }
        let frames: Vec<_> = pages.into_frames().collect();
        self.release_bitmap(payer, frames.len() as u64, frames);
        // What comes now can be in large pages again.
        self.withdraw_region(id);
    }

    /// Ends tracking one of the Regions whose bitmaps a Space pays for. Whether there was one.
    pub fn end_tracking_paid_by(&mut self, space: Id<Space>) -> bool {
        let region = self.objects.spaces.get(space).and_then(|space| space.tracked.first());
        region.inspect(|&region| self.end_tracking(region)).is_some()
    }

    fn release_bitmap(&mut self, payer: Id<Space>, charged: u64, frames: Vec<Frame<ListPage>>) {
        for frame in frames {
            self.frames.release(frame.address());
        }
        self.refund(payer, charged * PAGE_SIZE);
    }

    /// Limits what was found at an address below which a Region is tracked to one page, and, unless the page is to be written and so is
    /// marked now, to reading it.
    #[cold]
    #[inline(never)]
    pub fn limit_tracked(&mut self, space: Id<Space>, address: u64, want: Rights, found: &mut Translation) {
        let inside = address % PAGE_SIZE;
        found.before = found.before.min(inside);
        found.after = found.after.min(PAGE_SIZE - inside);
        if want.contains(Rights::WRITE) {
            self.mark_written(space, address);
        } else {
            found.rights -= Rights::WRITE;
        }
    }

    /// The kernel writes at an address of a Space that it has found earlier.
    #[inline]
    pub fn note_write(&mut self, space: Option<Id<Space>>, address: u64) {
        if self.tracked_regions != 0
            && let Some(space) = space
        {
            self.mark_written(space, address);
        }
    }

    /// Notes in every tracked Region through which a Space shows an address that the page there is written.
    pub fn mark_written(&mut self, space: Id<Space>, address: u64) {
        visit_below(&mut self.hierarchy_mut(), space, address, |_, region, offset| {
            if let Some(tracking) = &mut region.tracking {
                tracking.pages.mark(offset / PAGE_SIZE);
            }
        });
    }

    /// Takes pages that were written out of the set of a tracked Region. Returns the work that it took, in pieces of memory.
    pub fn forget_written(&mut self, id: Id<Region>, pages: Range<u64>) -> usize {
        let Some(region) = self.objects.regions.get(id) else { return 0 };
        let at = |page: u64| region.start + page * PAGE_SIZE;
        let piece = region.space.map(|space| Piece { space, start: at(pages.start), end: at(pages.end) });
        let work = piece.map_or(0, |piece| self.write_protect_derived(id, piece));
        if let Some(tracking) = self.objects.regions.get_mut(id).and_then(|region| region.tracking.as_mut()) {
            tracking.pages.clear(pages);
        }
        work
    }

    /// Marks what the processor knows of writes to pages of a Region.
    pub fn collect_written(&mut self, id: Id<Region>, pages: Range<u64>) {
        let Some(region) = self.objects.regions.get(id) else { return };
        let at = |page: u64| region.start + page * PAGE_SIZE;
        if let Some(space) = region.space {
            self.collect_derived(id, Piece { space, start: at(pages.start), end: at(pages.end) });
        }
    }

    /// Has everything that is derived through a Region from a piece of its Space be found again before it is written. Returns
    /// how many pieces of Spaces that are.
    fn write_protect_derived(&mut self, id: Id<Region>, piece: Piece) -> usize {
        let mut walk = Derived::of_region(&self.hierarchy(), id, piece);
        loop {
            match walk.next(&self.hierarchy()) {
                Ok(Some(piece)) => self.write_protect(piece),
                Ok(None) => return walk.count(),
                Err(TooMuch) => {
                    self.empty_derived(piece.space);
                    return walk.count();
                }
            }
        }
    }

    /// Has a Space find everything in a piece of it again before it writes there.
    fn write_protect(&mut self, piece: Piece) {
        let Some(space) = self.objects.spaces.get_mut(piece.space) else { return };
        space.epoch += 1;
        match &mut space.contents {
            Contents::Native(table) => {
                let mut memory = ChargedTables { frames: &mut self.frames, account: &mut space.account };
                let changed = table.write_protect(&mut memory, piece.start, piece.end);
                if changed && self.loaded.is(table.root()) {
                    cpu::flush_user();
                }
            }
            Contents::Machine(machine) => {
                let machine = *machine;
                if machine.logged {
                    self.log_again(piece.space, machine, piece.start, piece.end);
                } else {
                    self.remove_from_machine(piece.space, machine, piece.start, piece.end);
                }
            }
            Contents::Physical | Contents::Unbuilt => {}
        }
    }
}
