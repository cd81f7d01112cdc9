//! Page tables in the long-mode format (Intel SDM vol. 3A, 4.5): the monitor's own identity map and the kernel's first
//! tables. They differ from the EPT's tables in a few bits of the leaves only, so the same builder makes them.

use protocols::address::{GuestPhysical, HostPhysical};
use protocols::machine::Status;

use crate::ept::Ept;
use crate::objects::{Chain, ChainTables};
use crate::physical::Region;

/// Present and writable.
const WRITABLE: u16 = 3;
/// Not executable; only where EFER.NXE is set.
pub const NO_EXECUTE: u64 = 1 << 63;

/// A tree of page tables.
#[derive(Debug)]
pub struct PageTables {
    tree: Ept,
    root: HostPhysical,
    chain: Chain,
}

impl PageTables {
    /// An empty tree whose tables lie in `region`, with pages up to 1 GiB or up to 2 MiB.
    pub fn new(region: Region, huge_pages: bool) -> Option<Self> {
        let mut chain = Chain::of_region(region);
        let root = chain.pop()?;
        Some(Self { tree: Ept::new(root, huge_pages), root, chain })
    }

    /// Physical address of the root.
    pub fn root(&self) -> HostPhysical {
        self.root
    }

    /// Maps `length` bytes from `address` on, a virtual address, to those from `physical` on, with `flags` beside
    /// present and writable. All are whole pages.
    pub fn map(&mut self, address: u64, physical: u64, length: u64, flags: u64) -> Result<(), Status> {
        let mut tables = ChainTables { chain: &mut self.chain, leaves: &mut { flags } };
        let (address, physical) = (GuestPhysical::new(address), HostPhysical::new(physical));
        self.tree.map(&mut tables, address, physical, length, WRITABLE).map(|_| ())
    }
}

/// How many tables a map of `length` bytes in pages of at least `page` bytes needs at most, wherever it starts, the root
/// apart.
pub const fn tables_needed(length: u64, page: u64) -> u64 {
    let mut needed = 0;
    let mut span = page * 512;
    while span <= 1 << 39 {
        needed += length.div_ceil(span) + 1;
        span *= 512;
    }
    needed
}
