//! The EPT builder (Intel SDM vol. 3C, 29.3): maps and unmaps ranges in the largest pages, splits pages, takes trees
//! down step by step. It knows its tables only through [`Tables`], so it is tested on the host.
//!
//! Invariant: whatever a leaf maps was counted by [`Tables::share`] when the leaf was written, and is released when it
//! goes. A failed operation leaves a valid tree; doing it again goes on where it stopped.

use protocols::address::{GuestPhysical, HostPhysical, PAGE_SIZE};
use protocols::machine::Status;

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const RIGHTS: u64 = 7;
const LEAF: u64 = 1 << 7;
/// Level of the root: its entries span 512 GiB.
const ROOT_LEVEL: u32 = 3;
/// The memory type of memory.
pub const WRITE_BACK: u64 = 6 << 3;
/// The memory type of device space, which the guest's own page tables can still make write-combining.
pub const UNCACHEABLE: u64 = 0;
/// In the EPT pointer: processors set accessed and dirty flags.
pub const FLAGS: u64 = 1 << 6;
/// Guest-physical addresses end here.
pub const GUEST_LIMIT: u64 = 1 << 48;

/// Where tables lie and who owns what they map.
pub trait Tables {
    /// A new table, zeroed.
    fn allocate(&mut self) -> Option<HostPhysical>;
    /// Gives a table back.
    fn free(&mut self, table: HostPhysical);
    /// Entry `index` (below 512) of a table.
    fn read(&self, table: HostPhysical, index: usize) -> u64;
    /// Sets entry `index` (below 512) of a table.
    fn write(&mut self, table: HostPhysical, index: usize, entry: u64);
    /// A leaf is about to map `frames` frames from `host` on. Returns further bits for it, such as [`WRITE_BACK`].
    fn share(&mut self, host: HostPhysical, frames: u64) -> Result<u64, Status>;
    /// A leaf that mapped `frames` frames from `host` on is gone.
    fn release(&mut self, host: HostPhysical, frames: u64);
}

/// Says what leaves may map, and with which bits; sees every leaf come and go.
pub trait Leaves {
    /// As [`Tables::share`].
    fn share(&mut self, host: HostPhysical, frames: u64) -> Result<u64, Status>;
    /// As [`Tables::release`].
    fn release(&mut self, host: HostPhysical, frames: u64);
}

/// Leaves that all have the same bits, and that nobody counts.
impl Leaves for u64 {
    fn share(&mut self, _: HostPhysical, _: u64) -> Result<u64, Status> {
        Ok(*self)
    }
    fn release(&mut self, _: HostPhysical, _: u64) {}
}

/// A tree of tables.
#[derive(Debug)]
pub struct Ept {
    root: HostPhysical,
    /// The largest level of leaves: 2 with 1 GiB pages, else 1.
    largest: u32,
}

/// Bytes that an entry at `level` spans.
const fn span(level: u32) -> u64 {
    PAGE_SIZE << (9 * level)
}

const fn index(guest: u64, level: u32) -> usize {
    (guest / span(level)) as usize & 511
}

const fn is_present(entry: u64) -> bool {
    entry & RIGHTS != 0
}

const fn is_leaf(entry: u64, level: u32) -> bool {
    level == 0 || entry & LEAF != 0
}

const fn leaf(host: u64, rights: u16, bits: u64, level: u32) -> u64 {
    host | (rights as u64 & RIGHTS) | bits | if level > 0 { LEAF } else { 0 }
}

impl Ept {
    /// The tree whose root table, zeroed at first, is `root`.
    pub fn new(root: HostPhysical, huge_pages: bool) -> Self {
        Self { root, largest: if huge_pages { 2 } else { 1 } }
    }

    /// The EPT pointer: write-back tables, four levels, no accessed and dirty flags (25.6.11).
    pub fn pointer(root: HostPhysical) -> u64 {
        root.get() | 3 << 3 | 6
    }

    /// The same tree, with leaves of 4 KiB from now on if `small`.
    pub fn with_leaves(&self, small: bool) -> Self {
        Self { root: self.root, largest: if small { 0 } else { self.largest } }
    }

    /// Maps `length` bytes from `guest` on to those from `host` on. Returns whether a translation that existed changed.
    pub fn map(
        &self,
        tables: &mut impl Tables,
        guest: GuestPhysical,
        host: HostPhysical,
        length: u64,
        rights: u16,
    ) -> Result<bool, Status> {
        let mut changed = false;
        let mut done = 0;
        while done < length {
            let (at, target) = (guest.get() + done, host.get() + done);
            let fits = |level: u32| (at | target) & (span(level) - 1) == 0 && length - done >= span(level);
            let level = (0..=self.largest).rev().find(|&level| fits(level)).unwrap_or(0);
            let table = self.descend(tables, at, level)?;
            let bits = tables.share(HostPhysical::new(target), span(level) / PAGE_SIZE)?;
            let old = tables.read(table, index(at, level));
            tables.write(table, index(at, level), leaf(target, rights, bits, level));
            if is_present(old) {
                changed = true;
                drop_entry(tables, old, level);
            }
            done += span(level);
        }
        Ok(changed)
    }

    /// Removes whatever `length` bytes from `guest` on map. Returns whether there was anything.
    pub fn unmap(&self, tables: &mut impl Tables, guest: GuestPhysical, length: u64) -> Result<bool, Status> {
        let (mut at, end) = (guest.get(), guest.get() + length);
        let mut changed = false;
        while at < end {
            let (mut table, mut level) = (self.root, ROOT_LEVEL);
            loop {
                let entry = tables.read(table, index(at, level));
                let next = (at & !(span(level) - 1)) + span(level);
                if !is_present(entry) {
                    at = next;
                    break;
                }
                if at & (span(level) - 1) == 0 && end >= next {
                    tables.write(table, index(at, level), 0);
                    drop_entry(tables, entry, level);
                    changed = true;
                    at = next;
                    break;
                }
                table = child(tables, table, at, level, entry)?;
                level -= 1;
            }
        }
        Ok(changed)
    }

    /// The table at `level` that holds the entry for `guest`, made if need be.
    fn descend(&self, tables: &mut impl Tables, guest: u64, level: u32) -> Result<HostPhysical, Status> {
        let mut table = self.root;
        for above in (level + 1..=ROOT_LEVEL).rev() {
            let entry = tables.read(table, index(guest, above));
            table = if is_present(entry) {
                child(tables, table, guest, above, entry)?
            } else {
                let new = tables.allocate().ok_or(Status::NoFrames)?;
                tables.write(table, index(guest, above), new.get() | RIGHTS);
                new
            };
        }
        Ok(table)
    }

    /// Where `guest` is mapped to, with the rights, in tables that `read` reads as [`Tables::read`] does.
    pub fn translate(
        &self,
        read: impl Fn(HostPhysical, usize) -> u64,
        guest: GuestPhysical,
    ) -> Option<(HostPhysical, u16)> {
        let guest = guest.get();
        let mut table = self.root;
        for level in (0..=ROOT_LEVEL).rev() {
            let entry = read(table, index(guest, level));
            if guest >= GUEST_LIMIT || !is_present(entry) {
                return None;
            }
            if is_leaf(entry, level) {
                let offset = guest & (span(level) - 1);
                return Some((
                    HostPhysical::new((entry & ADDRESS & !(span(level) - 1)) + offset),
                    (entry & RIGHTS) as u16,
                ));
            }
            table = HostPhysical::new(entry & ADDRESS);
        }
        None
    }

    /// Takes down at most about `budget` tables. Returns whether the tree is empty.
    pub fn prune(&self, tables: &mut impl Tables, budget: &mut usize) -> bool {
        prune(tables, self.root, ROOT_LEVEL, budget)
    }
}

/// The table below `entry`, which is entry `index(guest, level)` of `table`; a large leaf is split into one.
fn child(
    tables: &mut impl Tables,
    table: HostPhysical,
    guest: u64,
    level: u32,
    entry: u64,
) -> Result<HostPhysical, Status> {
    if !is_leaf(entry, level) {
        return Ok(HostPhysical::new(entry & ADDRESS));
    }
    let new = tables.allocate().ok_or(Status::NoFrames)?;
    let below = if level == 1 { entry & !LEAF } else { entry };
    for part in 0..512 {
        // The leaves together map what the large one did: nothing to count.
        tables.write(new, part, below + part as u64 * span(level - 1));
    }
    tables.write(table, index(guest, level), new.get() | RIGHTS);
    Ok(new)
}

/// Releases everything below an entry that was at `level`.
fn drop_entry(tables: &mut impl Tables, entry: u64, level: u32) {
    if is_leaf(entry, level) {
        tables.release(HostPhysical::new(entry & ADDRESS & !(span(level) - 1)), span(level) / PAGE_SIZE);
        return;
    }
    let table = HostPhysical::new(entry & ADDRESS);
    for part in 0..512 {
        let entry = tables.read(table, part);
        if is_present(entry) {
            drop_entry(tables, entry, level - 1);
        }
    }
    tables.free(table);
}

fn prune(tables: &mut impl Tables, table: HostPhysical, level: u32, budget: &mut usize) -> bool {
    for part in 0..512 {
        let entry = tables.read(table, part);
        if !is_present(entry) {
            continue;
        }
        if *budget == 0 {
            return false;
        }
        if is_leaf(entry, level) || level == 1 {
            // A leaf, or a table of leaves: at most 512 releases.
            drop_entry(tables, entry, level);
            *budget -= 1;
        } else {
            let below = HostPhysical::new(entry & ADDRESS);
            if !prune(tables, below, level - 1, budget) {
                return false;
            }
            tables.free(below);
        }
        tables.write(table, part, 0);
    }
    true
}

#[cfg(test)]
mod tests;
