//! Tracking which pages of Regions are written.
//!
//! What is written is marked in the [bitmap](crate::memory::dirty) of every tracked Region on the way from a Space down to physical memory. Every
//! access to memory begins with finding what its address means, and that marks the page if it is to be written. What
//! comes of it, so that the address need not be found again, lets the page be written only if
//!
//! * the page was marked, and it goes before the mark does: names of objects, entries of EPTs;
//! * or the processor notes that the page is written, and is asked before the note goes or the way changes by which it was written, and
//!   before the bitmap is read: the dirty bits of page tables, and the [logs](crate::write_log) of virtual CPUs.
//!
//! The first needs nothing of the processor, and costs a fault for each page; the second costs looking through tables, but only through those that
//! the processor has used, or logs. Tracked memory is found in pages, and windows are not remembered.
//!
//! Nothing of this is done for a Space that shows no tracked memory.

use crate::arch::cpu;
use crate::arch::physical::Frame;
use crate::arena::Id;
use crate::fault::ChargedTables;
use crate::kernel::{Kernel, ListPage};
use crate::memory::dirty::{DirtyPages, LARGEST, Tracking, frames_for};
use crate::memory::hierarchy::{
    Derived, MEMORY_END, Piece, Region, Space, TooMuch, Translation, list_derived, visit_below,
};
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

    /// Limits what was found at an address below which a Region is tracked to one page, and marks the page if it is to be written. Otherwise
    /// it can be read, and can be written as well only in a native Space, whose page tables note that.
    #[cold]
    #[inline(never)]
    pub fn limit_tracked(&mut self, id: Id<Space>, address: u64, want: Rights, found: &mut Translation) {
        let inside = address % PAGE_SIZE;
        found.before = found.before.min(inside);
        found.after = found.after.min(PAGE_SIZE - inside);
        let Some(space) = self.objects.spaces.get_mut(id) else { return };
        let mut is_written = want.contains(Rights::WRITE);
        if let Contents::Native(table) = &space.contents {
            // Another entry may take the place of the one that says so.
            let tables = ChargedTables { frames: &mut self.frames, account: &mut space.account };
            is_written |= space.notes_writes && table.is_written(&tables, address);
            self.note_writes(id);
        } else if !is_written {
            found.rights -= Rights::WRITE;
        }
        if is_written {
            self.mark_written(id, address);
        }
    }

    /// The processor notes from now on which tracked pages are written in a Space.
    pub fn note_writes(&mut self, id: Id<Space>) {
        let space = self.objects.spaces.get_mut(id);
        let before = space.is_none_or(|space| core::mem::replace(&mut space.notes_writes, true));
        self.noting_spaces += usize::from(!before);
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

    /// Notes in every tracked Region through which a Space shows the page at an address that it is written.
    pub fn mark_written(&mut self, space: Id<Space>, address: u64) {
        self.mark_all_written(space, &[address]);
    }

    /// The same for pages at several addresses; those next to each other are looked up together.
    pub fn mark_all_written(&mut self, space: Id<Space>, addresses: &[u64]) {
        for stretch in addresses.chunk_by(|&one, &next| one / PAGE_SIZE + 1 == next / PAGE_SIZE) {
            let Some((&first, &last)) = stretch.first().zip(stretch.last()) else { continue };
            let (mut start, end) = (first & !(PAGE_SIZE - 1), (last & !(PAGE_SIZE - 1)) + PAGE_SIZE);
            while start < end {
                start = visit_below(&mut self.hierarchy_mut(), space, start, end, |_, region, offsets| {
                    if let Some(tracking) = &mut region.tracking {
                        tracking.pages.mark_all(offsets.start / PAGE_SIZE..offsets.end / PAGE_SIZE);
                    }
                });
            }
        }
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

    /// Marks which of these pages of a Region were written, as far as the processor has noted that. Returns the work that it took, in pages and pieces
    /// of memory.
    pub fn collect_written(&mut self, id: Id<Region>, pages: Range<u64>) -> u64 {
        let Some(region) = self.objects.regions.get(id) else { return 0 };
        let Some(space) = region.space.filter(|_| self.noting_spaces != 0) else { return 0 };
        let at = |page: u64| region.start + page * PAGE_SIZE;
        let piece = Piece { space, start: at(pages.start), end: at(pages.end) };
        let mut walk = Derived::of_region(&self.hierarchy(), id, piece);
        let mut work = 0;
        loop {
            match walk.next(&self.hierarchy()) {
                Ok(Some(piece)) => work += 1 + self.collect_in(piece),
                Ok(None) => return work,
                Err(TooMuch) => break,
            }
        }
        let mut list = list_derived(&mut self.hierarchy_mut(), space);
        while let Some(space) = list {
            list = self.objects.spaces.get_mut(space).and_then(|space| space.next_emptied.take());
            work += self.collect_in(Piece { space, start: 0, end: MEMORY_END });
        }
        work
    }

    /// Marks what was written in a piece of a Space, as far as the processor has noted that. Returns how many pages those are.
    fn collect_in(&mut self, piece: Piece) -> u64 {
        match self.objects.spaces.get(piece.space) {
            Some(Space { contents: Contents::Native(_), .. }) => self.collect_native(piece),
            Some(Space { contents: Contents::Machine(machine), .. }) if machine.logged => {
                self.collect_logs(piece.space)
            }
            _ => 0,
        }
    }

    /// Marks the pages in a piece of a native Space that its page tables say were written. Returns how many those are.
    pub fn collect_native(&mut self, piece: Piece) -> u64 {
        let mut count = 0;
        let mut written = [0; 64];
        let mut start = piece.start;
        // So many at a time, since marking needs the hierarchy that the tables are part of.
        while let Some(space) = self.objects.spaces.get_mut(piece.space).filter(|space| space.notes_writes) {
            let Contents::Native(table) = &mut space.contents else { break };
            let mut memory = ChargedTables { frames: &mut self.frames, account: &mut space.account };
            let (found, changed, next) = table.take_written(&mut memory, start, piece.end, &mut written);
            if changed && self.loaded.is(table.root()) {
                cpu::flush_user();
            }
            self.mark_all_written(piece.space, &written[..found]);
            count += found as u64;
            match next {
                Some(next) => start = next,
                None => break,
            }
        }
        count
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

    /// Has a Space find everything in a piece of it again before it writes there, but where the processor notes that.
    fn write_protect(&mut self, piece: Piece) {
        let Some(space) = self.objects.spaces.get_mut(piece.space) else { return };
        space.epoch += 1;
        let Contents::Machine(machine) = space.contents else { return };
        if machine.logged {
            self.log_again(piece.space, machine, piece.start, piece.end);
        } else {
            self.remove_from_machine(piece.space, machine, piece.start, piece.end);
        }
    }
}
