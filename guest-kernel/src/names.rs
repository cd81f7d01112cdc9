//! Names of objects: a small cache, in each Space, from address to object.
//!
//! An entry counts only for as long as no object has been destroyed and no part of the Space has been taken away since it was made:
//! the epoch, the sum of two counters that only grow.

use crate::objects::Object;
use protocols::api::Rights;

const ENTRIES: usize = 32;

/// As large as an object's memory, so that the slot of an address is a masked offset.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Entry {
    address: u64,
    epoch: u64,
    rights: Rights,
    /// `None` in an entry that was never used.
    object: Option<Object>,
}

/// The cache.
pub struct NameCache {
    entries: [Entry; ENTRIES],
}

impl Default for NameCache {
    fn default() -> Self {
        Self { entries: [Entry { address: 0, epoch: 0, rights: Rights::empty(), object: None }; ENTRIES] }
    }
}

impl NameCache {
    #[inline]
    fn slot(address: u64) -> usize {
        (address / protocols::api::OBJECT_SIZE) as usize % ENTRIES
    }

    /// The object at `address`, if it was found with rights that contain `want` in this epoch.
    #[inline(always)]
    pub fn get(&self, address: u64, want: Rights, epoch: u64) -> Option<Object> {
        let entry = &self.entries[Self::slot(address)];
        let counts = entry.address == address && entry.epoch == epoch && entry.rights.contains(want);
        if counts { entry.object } else { None }
    }

    /// Remembers the object at `address`, found with `rights`.
    pub fn put(&mut self, address: u64, rights: Rights, epoch: u64, object: Object) {
        self.entries[Self::slot(address)] = Entry { address, epoch, rights, object: Some(object) };
    }
}
