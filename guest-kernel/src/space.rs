//! Spaces: what backs their contents.

use crate::account::Account;
use crate::arch::View;
use crate::list::List;
use crate::machine::Machine;
use crate::memory::address_map::AddressMap;
use crate::memory::hierarchy::{Space, Visit};
use crate::memory::page_table::PageTable;
use crate::memory::window::Windows;
use crate::names::NameCache;
use crate::references::Reference;
use core::cell::Cell;

/// What a Space's addresses are, and the tables that cache its Mappings.
#[derive(Debug)]
pub enum Contents {
    /// Physical memory itself: where every chain of Mappings ends.
    Physical,
    /// Nothing caches it: it is only looked through.
    Unbuilt,
    /// Virtual addresses of ring 3.
    Native(PageTable),
    /// Guest-physical addresses of a machine.
    Machine(Machine),
}

impl Space {
    /// An empty Space.
    pub fn new(contents: Contents, account: Account) -> Self {
        Self {
            mappings: AddressMap::default(),
            regions: List::default(),
            threads: List::default(),
            rank: 0,
            visit: Visit::default(),
            next_emptied: None,
            keeper: Reference::default(),
            grants: List::default(),
            tracked: List::default(),
            patience: 0,
            contents,
            account,
            epoch: 0,
            approach: Cell::default(),
            windows: Windows::default(),
            names: NameCache::default(),
            ports: false,
            notes_writes: false,
        }
    }

    /// Whether what it shows is what its Mappings say.
    #[inline]
    pub fn is_derived(&self) -> bool {
        !matches!(self.contents, Contents::Physical)
    }

    /// Whether threads can run in it.
    pub fn runs_threads(&self) -> bool {
        matches!(self.contents, Contents::Native(_) | Contents::Machine(_))
    }

    /// How the CPU sees it, if it is native.
    pub fn view(&self) -> View {
        match &self.contents {
            Contents::Native(table) => View::new(table.root(), self.ports),
            _ => View::default(),
        }
    }
}
