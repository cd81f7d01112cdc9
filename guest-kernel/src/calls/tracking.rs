//! Calls that tell which pages of a Region were written.

use super::{Done, Stop};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::dirty::Tracking;
use crate::memory::hierarchy::{Region, Space};
use crate::thread::Thread;
use core::ops::Range;
use protocols::address::PAGE_SIZE;
use protocols::api::{DirtyRange, Rights, Status};
use protocols::exception::Misuse;
use protocols::virtual_cpu::register::{RDX, RSI};
use zerocopy::IntoBytes;

/// The most work that one entry of the kernel does, in pages and pieces of memory.
const MOST_WORK: u64 = 4096;
/// The longest stretch that is looked at as one.
const MOST_PAGES: u64 = 512;
/// How many pages the processor is asked about at once.
const MOST_COLLECTED: u64 = 8192;
/// How many pages are marked in one entry of the kernel.
const MOST_MARKED: u64 = 1 << 20;

impl Kernel {
    pub(super) fn track_region(&mut self, caller: Id<Space>, address: u64, on: u64) -> Done {
        let id = self.region_at(caller, address, Rights::WRITE)?;
        match on {
            0 => {
                self.end_tracking(id);
                Ok(Status::Ok)
            }
            1 => Ok(self.begin_tracking(id, caller)),
            _ => Err(Misuse::BadArgument.into()),
        }
    }

    /// `None`: not done yet. The registers say how far it came, which is further with each entry of the kernel.
    pub(super) fn get_dirty(
        &mut self,
        thread: Id<Thread>,
        caller: Id<Space>,
        [address, offset, mut buffer, buffer_end, end]: [u64; 5],
    ) -> Result<Option<Status>, Stop> {
        const ENTRY: u64 = size_of::<DirtyRange>() as u64;
        let id = self.region_at(caller, address, Rights::WRITE)?;
        let Some((Range { mut start, end }, _)) = self.tracked_pages(id, offset, end)? else {
            return Ok(Some(Status::Refused));
        };
        let at_once = if self.noting_spaces == 0 { u64::MAX } else { MOST_COLLECTED };
        let (mut collected, mut work, mut reports) = (start, 0, false);
        loop {
            if start == collected {
                self.set_result(thread, RSI, start * PAGE_SIZE)?;
                if start == end {
                    return Ok(Some(Status::Ok));
                }
                if work >= MOST_WORK {
                    return Ok(self.repeat(thread));
                }
                collected = end.min(start.saturating_add(at_once));
                work += 1 + self.collect_written(id, start..collected);
            }
            let tracking = self.objects.regions.get(id).and_then(|region| region.tracking.as_ref());
            let Some(found) = tracking.and_then(|tracking| tracking.pages.first(start..collected)) else {
                start = collected;
                continue;
            };
            self.set_result(thread, RSI, found.start * PAGE_SIZE)?;
            if buffer_end.saturating_sub(buffer) < ENTRY {
                return Ok(Some(Status::Ok));
            }
            if reports && work >= MOST_WORK {
                return Ok(self.repeat(thread));
            }
            let found = found.start..found.end.min(found.start + MOST_PAGES);
            let range = DirtyRange { offset: found.start * PAGE_SIZE, size: (found.end - found.start) * PAGE_SIZE };
            // The buffer must be there before a page is forgotten, and may be a page that is.
            self.copy(caller, buffer, ENTRY as usize, Rights::WRITE, |_, _| true)?;
            work += found.end - found.start;
            start = found.end;
            work += self.forget_written(id, found) as u64;
            self.write(caller, buffer, range.as_bytes())?;
            buffer += ENTRY;
            self.set_result(thread, RSI, start * PAGE_SIZE)?;
            self.set_result(thread, RDX, buffer)?;
            reports = true;
        }
    }

    /// `None`: not done yet. The offset in the registers says how far it came.
    pub(super) fn set_dirty(
        &mut self,
        thread: Id<Thread>,
        caller: Id<Space>,
        [address, offset, end]: [u64; 3],
    ) -> Result<Option<Status>, Stop> {
        let id = self.region_at(caller, address, Rights::WRITE)?;
        let Some((pages, tracking)) = self.tracked_pages(id, offset, end)? else {
            return Ok(Some(Status::Refused));
        };
        let marked = pages.start..pages.end.min(pages.start.saturating_add(MOST_MARKED));
        tracking.pages.mark_all(marked.clone());
        self.set_result(thread, RSI, marked.end * PAGE_SIZE)?;
        if marked.end < pages.end {
            return Ok(self.repeat(thread));
        }
        Ok(Some(Status::Ok))
    }

    /// The pages from `offset` to `end` that a Region has, and how they are tracked. `None` if they are not.
    fn tracked_pages(
        &mut self,
        id: Id<Region>,
        offset: u64,
        end: u64,
    ) -> Result<Option<(Range<u64>, &mut Tracking)>, Misuse> {
        if !offset.is_multiple_of(PAGE_SIZE) || !end.is_multiple_of(PAGE_SIZE) {
            return Err(Misuse::NotAligned);
        }
        let Some(region) = self.objects.regions.get_mut(id) else { return Ok(None) };
        let end = end.min(region.size).max(offset);
        let tracking = region.tracking.as_deref_mut();
        Ok(tracking.map(|tracking| (offset / PAGE_SIZE..end / PAGE_SIZE, tracking)))
    }
}
