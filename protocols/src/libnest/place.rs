//! Where objects live: 64-byte places in pages of the program's pool that nothing else uses; or one in a page of its
//! own, which can be shown to others.

use alloc::vec::Vec;

use spin::Mutex;

use super::memory::Memory;
use crate::address::PAGE_SIZE;
use crate::api::{OBJECT_SIZE, Status};
use crate::libc::pool::pool;
use crate::libc::system_call::Result;

/// A place for one object. It returns to the others when dropped; the object must be gone by then.
#[derive(Debug)]
pub struct Place {
    address: u64,
    /// The page that it has for itself.
    page: Option<Memory>,
}

struct Places {
    free: Vec<u64>,
    /// All places, free and taken.
    total: usize,
}

static PLACES: Mutex<Places> = Mutex::new(Places { free: Vec::new(), total: 0 });

impl Place {
    /// A free place. `NoMemory` when the pool is used up.
    pub fn allocate() -> Result<Self> {
        let mut places = PLACES.lock();
        if let Some(address) = places.free.pop() {
            return Ok(Self { address, page: None });
        }
        // There is room for every place, so that giving one back never has to allocate.
        let more = PAGE_SIZE / OBJECT_SIZE;
        let total = places.total + more as usize;
        places.free.try_reserve(total).map_err(|_| Status::NoMemory)?;
        let page = pool().allocate(PAGE_SIZE, PAGE_SIZE).ok_or(Status::NoMemory)?;
        places.total = total;
        places.free.extend((1..more).rev().map(|index| page.start + index * OBJECT_SIZE));
        Ok(Self { address: page.start, page: None })
    }

    /// The first place of a page in which there are no others.
    pub fn alone(page: &Memory) -> Self {
        Self { address: page.address(), page: Some(page.clone()) }
    }

    /// The address of the place.
    #[inline]
    pub fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.page.is_none() {
            PLACES.lock().free.push(self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::startup;

    #[test]
    fn places_are_aligned_distinct_and_reused() {
        pool().free(startup::Memory { start: 1 << 40, size: 4 * PAGE_SIZE });
        let places: Vec<_> = (0..130).map(|_| Place::allocate().unwrap()).collect();
        let mut addresses: Vec<_> = places.iter().map(Place::address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 130);
        assert!(addresses.iter().all(|address| address % OBJECT_SIZE == 0));
        drop(places);
        let again = Place::allocate().unwrap();
        assert!(addresses.contains(&again.address()));
        let page = Memory::allocate(PAGE_SIZE).unwrap();
        drop(Place::alone(&page));
        assert!((0..130).all(|_| Place::allocate().unwrap().address() != page.address()));
    }
}
