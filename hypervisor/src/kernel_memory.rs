//! The kernel's EPT: the whole physical address space one to one, in the largest pages, without the monitor's memory
//! and the donated frames.
//!
//! The tables come from a pool that suffices to split every large page below the top of memory, so donating can never
//! run out of them.

use protocols::address::{GuestPhysical, HUGE_PAGE_SIZE, HostPhysical, LARGE_PAGE_SIZE, PAGE_SIZE};
use protocols::machine::{EptEntry, Status};

use crate::boot::map::{Kind, Map};
use crate::ept::{Ept, GUEST_LIMIT, UNCACHEABLE, WRITE_BACK};
use crate::mtrr::Mtrrs;
use crate::objects::{Chain, ChainTables};
use crate::vmx::instruction;

const ALL_RIGHTS: u16 = EptEntry::READ | EptEntry::WRITE | EptEntry::EXECUTE;
/// Without 1 GiB pages, device space is mapped up to here only: each GiB costs a table.
const LIMIT_WITHOUT_HUGE_PAGES: u64 = 1 << 39;

/// The kernel's EPT.
#[derive(Debug)]
pub struct KernelMemory {
    ept: Ept,
    root: HostPhysical,
    pool: Chain,
    mtrrs: Mtrrs,
}

/// Where the kernel's physical address space ends.
fn address_space_end(width: u32, huge_pages: bool, top: u64) -> u64 {
    let end = (1u64 << width).min(GUEST_LIMIT);
    if huge_pages { end } else { end.min(LIMIT_WITHOUT_HUGE_PAGES.max(top.next_multiple_of(HUGE_PAGE_SIZE))) }
}

/// How many bytes of tables the EPT can need at most, with `top` the end of memory.
pub fn pool_size(width: u32, huge_pages: bool, top: u64) -> u64 {
    let end = address_space_end(width, huge_pages, top);
    let directories = if huge_pages { top.max(4 << 30).div_ceil(HUGE_PAGE_SIZE) } else { end.div_ceil(HUGE_PAGE_SIZE) };
    (1 + end.div_ceil(512 << 30) + directories + top.div_ceil(LARGE_PAGE_SIZE)) * PAGE_SIZE
}

impl KernelMemory {
    /// Builds the EPT. Memory has the types the MTRRs give it, which do not count under EPT by themselves; where they are off,
    /// write-back. All else is uncacheable, with which the kernel's own page tables can still choose write-combining.
    pub fn build(pool: Chain, map: &Map, mtrrs: Mtrrs, width: u32, huge_pages: bool) -> Result<Self, Status> {
        let mut pool = pool;
        let root = pool.pop().ok_or(Status::NoFrames)?;
        let mut this = Self { ept: Ept::new(root, huge_pages), root, pool, mtrrs };
        let end = address_space_end(width, huge_pages, map.top());
        let mut at = 0;
        for range in map.ranges() {
            this.add(at, range.start, UNCACHEABLE)?;
            if range.kind != Kind::Monitor {
                this.add_memory(range.start, range.end)?;
            }
            at = range.end;
        }
        this.add(at, end, UNCACHEABLE)?;
        Ok(this)
    }

    /// The EPT pointer.
    pub fn pointer(&self) -> u64 {
        Ept::pointer(self.root)
    }

    fn add(&mut self, start: u64, end: u64, memory_type: u64) -> Result<(), Status> {
        let mut tables = ChainTables { chain: &mut self.pool, leaves: &mut { memory_type } };
        let length = end.saturating_sub(start);
        self.ept.map(&mut tables, GuestPhysical::new(start), HostPhysical::new(start), length, ALL_RIGHTS).map(|_| ())
    }

    /// Adds memory in runs of one type, so that pages become as large as they can.
    fn add_memory(&mut self, start: u64, end: u64) -> Result<(), Status> {
        let mut at = start;
        while at < end {
            let kind = self.memory_type(at);
            let mut next = self.mtrrs.same_until(at, end);
            while next < end && self.memory_type(next) == kind {
                next = self.mtrrs.same_until(next, end);
            }
            self.add(at, next, kind)?;
            at = next;
        }
        Ok(())
    }

    /// The type of memory at an address, as an EPT entry has it.
    fn memory_type(&self, address: u64) -> u64 {
        if self.mtrrs.are_enabled() { u64::from(self.mtrrs.kind(address)) << 3 } else { WRITE_BACK }
    }

    /// Takes a frame out of the kernel's reach. [`Self::flush`] must follow before the monitor relies on it.
    pub fn remove(&mut self, frame: HostPhysical) -> Result<(), Status> {
        let mut tables = ChainTables { chain: &mut self.pool, leaves: &mut { WRITE_BACK } };
        self.ept.unmap(&mut tables, GuestPhysical::new(frame.get()), PAGE_SIZE).map(|_| ())
    }

    /// Gives a frame back to the kernel.
    pub fn restore(&mut self, frame: HostPhysical) -> Result<(), Status> {
        self.add(frame.get(), frame.get() + PAGE_SIZE, self.memory_type(frame.get()))
    }

    /// Drops cached translations of what was removed.
    pub fn flush(&self) {
        // The monitor checked that single-context INVEPT exists, and the pointer is valid: it cannot fail.
        let _ = instruction::invept(self.pointer());
    }
}
