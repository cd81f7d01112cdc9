//! Page tables in the long-mode format (Intel SDM vol. 3A, 4.5): the monitor's own identity map and the kernel's first
//! tables.
//!
//! Tables are made in one zeroed array of tables, by index, and refer to one another by physical address.

use protocols::address::{HUGE_PAGE_SIZE, HostPhysical, LARGE_PAGE_SIZE, PAGE_SIZE};

/// Present and writable.
const TABLE: u64 = 3;
const LARGE: u64 = 1 << 7;
/// Not executable; only where EFER.NXE is set.
pub const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A page table.
pub type Table = [u64; 512];

/// There are not enough tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFew;

/// Builds tables in an array.
#[derive(Debug)]
pub struct Builder<'a> {
    tables: &'a mut [Table],
    physical: HostPhysical,
    used: usize,
}

impl<'a> Builder<'a> {
    /// Builds in `tables`, zeroed, which lie at `physical`. The first is the root.
    pub fn new(tables: &'a mut [Table], physical: HostPhysical) -> Self {
        Self { tables, physical, used: 1 }
    }

    /// Physical address of the root.
    pub fn root(&self) -> HostPhysical {
        self.physical
    }

    /// Maps `length` bytes from `virtual_address` on to those from `physical` on, in pages of `page` bytes (4 KiB,
    /// 2 MiB or 1 GiB), with `flags` beside present and writable. All aligned to `page`.
    pub fn map(
        &mut self,
        virtual_address: u64,
        physical: u64,
        length: u64,
        page: u64,
        flags: u64,
    ) -> Result<(), TooFew> {
        let leaf_level = match page {
            HUGE_PAGE_SIZE => 2,
            LARGE_PAGE_SIZE => 1,
            _ => 0,
        };
        let large = if leaf_level > 0 { LARGE } else { 0 };
        for offset in (0..length).step_by(page as usize) {
            let at = virtual_address + offset;
            let mut table = 0;
            for level in (leaf_level + 1..4).rev() {
                table = self.next(table, index(at, level))?;
            }
            self.tables[table][index(at, leaf_level)] = (physical + offset) | TABLE | large | flags;
        }
        Ok(())
    }

    /// The table that `entry` of `table` refers to, made if need be.
    fn next(&mut self, table: usize, entry: usize) -> Result<usize, TooFew> {
        let value = self.tables[table][entry];
        if value & 1 != 0 {
            return Ok((((value & ADDRESS) - self.physical.get()) / PAGE_SIZE) as usize);
        }
        if self.used == self.tables.len() {
            return Err(TooFew);
        }
        self.tables[table][entry] = (self.physical.get() + self.used as u64 * PAGE_SIZE) | TABLE;
        self.used += 1;
        Ok(self.used - 1)
    }
}

fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize & 511
}

/// How many tables a map of `length` bytes in pages of `page` bytes needs at most, wherever it starts, the root apart.
pub const fn tables_needed(length: u64, page: u64) -> u64 {
    let mut needed = 0;
    let mut span = page * 512;
    while span <= 1 << 39 {
        needed += length.div_ceil(span) + 1;
        span *= 512;
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(tables: &[Table], base: u64, address: u64) -> Option<u64> {
        let mut table = 0;
        for level in (0..4).rev() {
            let entry = tables[table][index(address, level)];
            if entry & 1 == 0 {
                return None;
            }
            let span = 1u64 << (12 + 9 * level);
            if level == 0 || entry & LARGE != 0 {
                return Some((entry & ADDRESS & !(span - 1)) + (address & (span - 1)));
            }
            table = (((entry & ADDRESS) - base) / PAGE_SIZE) as usize;
        }
        None
    }

    #[test]
    fn what_is_mapped_is_found() {
        let base = 0x70_0000;
        let mut tables = vec![[0; 512]; 1 + tables_needed(8 << 30, LARGE_PAGE_SIZE) as usize + 8];
        let mut builder = Builder::new(&mut tables, HostPhysical::new(base));
        builder.map(0xffff_8000_0000_0000, 0, 8 << 30, LARGE_PAGE_SIZE, 0).unwrap();
        builder.map(0xffff_ffff_8000_0000, 0x40_0000, 0x3000, PAGE_SIZE, 0).unwrap();
        assert_eq!(walk(&tables, base, 0xffff_8001_2345_6789), Some(0x1_2345_6789));
        assert_eq!(walk(&tables, base, 0xffff_ffff_8000_2fff), Some(0x40_2fff));
        assert_eq!(walk(&tables, base, 0xffff_ffff_8000_3000), None);
        assert_eq!(walk(&tables, base, 0), None);
    }

    #[test]
    fn too_few_tables_are_an_error() {
        let mut tables = vec![[0; 512]; 2];
        let mut builder = Builder::new(&mut tables, HostPhysical::new(0));
        assert_eq!(builder.map(0, 0, 1 << 30, LARGE_PAGE_SIZE, 0), Err(TooFew));
    }
}
