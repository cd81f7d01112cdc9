//! Names of objects: a small cache, in each Space, from address to object.
//!
//! An entry counts only for as long as no object has been destroyed and no part of the Space has been taken away since it was made:
//! the epoch, the sum of two counters that only grow.

use crate::objects::Object;
use protocols::api::Rights;

const ENTRIES: usize = 32;

#[derive(Clone, Copy)]
struct Entry {
    address: u64,
    epoch: u64,
    rights: Rights,
    object: Object,
}

/// The cache.
pub struct NameCache {
    entries: [Option<Entry>; ENTRIES],
}

impl Default for NameCache {
    fn default() -> Self {
        Self { entries: [None; ENTRIES] }
    }
}

impl NameCache {
    #[inline]
    fn slot(address: u64) -> usize {
        (address / protocols::api::OBJECT_SIZE) as usize % ENTRIES
    }

    /// The object at `address`, if it was found with rights that contain `want` in this epoch.
    #[inline]
    pub fn get(&self, address: u64, want: Rights, epoch: u64) -> Option<Object> {
        match &self.entries[Self::slot(address)] {
            Some(entry) if entry.address == address && entry.epoch == epoch && entry.rights.contains(want) => {
                Some(entry.object)
            }
            _ => None,
        }
    }

    /// Remembers the object at `address`, found with `rights`.
    pub fn put(&mut self, address: u64, rights: Rights, epoch: u64, object: Object) {
        self.entries[Self::slot(address)] = Some(Entry { address, epoch, rights, object });
    }
}
