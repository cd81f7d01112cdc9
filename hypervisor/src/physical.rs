//! Physical memory as Rust objects. The monitor's page tables map all of it one to one.
//!
//! Ownership is what makes access safe: a [`Region`] is the only handle to its bytes. Regions come from [`Claims`],
//! which never hands out a byte twice.

use core::ptr;

use protocols::address::{HostPhysical, PAGE_SIZE};

use crate::boot::map::{Kind, Map};

/// Hands out the free memory of a [`Map`], each byte once.
#[derive(Debug)]
pub struct Claims {
    map: Map,
}

impl Claims {
    /// # Safety
    /// Ranges of [`Kind::FREE`] in `map` must be RAM that is mapped and that nothing else uses; there may be only one
    /// `Claims`.
    pub unsafe fn new(map: Map) -> Self {
        Self { map }
    }

    /// The memory map as it stands.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Takes `length` bytes (whole frames), aligned to `align`, as memory of `kind`; from the top of memory or from
    /// its bottom.
    pub fn claim(&mut self, length: u64, align: u64, kind: Kind, from_top: bool) -> Option<Region> {
        let length = length.next_multiple_of(PAGE_SIZE);
        let start = self.map.find(length, align, from_top)?;
        self.map.paint(start, start + length, kind).ok()?;
        Some(Region { start, length })
    }
}

/// Exclusive ownership of a range of memory, whole frames.
#[derive(Debug)]
pub struct Region {
    start: u64,
    length: u64,
}

impl Region {
    /// First byte.
    pub fn start(&self) -> HostPhysical {
        HostPhysical::new(self.start)
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Splits off the first `length` bytes, rounded up to whole frames.
    pub fn take(&mut self, length: u64) -> Option<Region> {
        let length = length.next_multiple_of(PAGE_SIZE);
        let rest = self.length.checked_sub(length)?;
        let taken = Region { start: self.start, length };
        self.start += length;
        self.length = rest;
        Some(taken)
    }

    /// The bytes, zeroed.
    pub fn into_bytes(self) -> &'static mut [u8] {
        let start = ptr::with_exposed_provenance_mut::<u8>(self.start as usize);
        // SAFETY: `Claims` handed the range out once, it is mapped RAM, and `self` is consumed.
        unsafe {
            start.write_bytes(0, self.length as usize);
            core::slice::from_raw_parts_mut(start, self.length as usize)
        }
    }
}

/// The bytes of a boot module.
///
/// # Safety
/// The range must be a module that the boot loader placed and that nothing writes while the slice lives.
pub unsafe fn module(start: u64, length: u64) -> &'static [u8] {
    let start = ptr::with_exposed_provenance::<u8>(start as usize);
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(start, length as usize) }
}

/// Video memory: written with volatile stores, never read.
#[derive(Debug)]
pub struct Pixels {
    start: *mut u8,
    length: usize,
}

// SAFETY: plain addresses, used under the console's lock.
unsafe impl Send for Pixels {}

impl Pixels {
    /// # Safety
    /// The range must be mapped video memory.
    pub unsafe fn new(start: u64, length: usize) -> Self {
        Self { start: ptr::with_exposed_provenance_mut(start as usize), length }
    }

    /// Sets the bytes from `index` on that there are.
    pub fn fill(&mut self, index: usize, count: usize, value: u8) {
        for index in index..index.saturating_add(count).min(self.length) {
            // SAFETY: inside the video memory that `new` was promised.
            unsafe { self.start.add(index).write_volatile(value) };
        }
    }
}

/// First byte and end of the monitor's own image.
pub fn own_image() -> (u64, u64) {
    #[cfg(target_os = "none")]
    {
        unsafe extern "C" {
            static image_start: u8;
            static image_end: u8;
        }
        ((&raw const image_start) as u64, (&raw const image_end) as u64)
    }
    // On the host there is no image at a fixed place.
    #[cfg(not(target_os = "none"))]
    (0, 0)
}
