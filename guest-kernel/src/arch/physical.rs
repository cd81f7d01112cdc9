//! Physical memory through the direct map.
//!
//! All of the kernel's access to frames goes through here. The caller names frames by physical address; what lies
//! outside the direct map is refused. Frames that are donated to the monitor fault when touched: the frame pool
//! never hands them out while they are.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use protocols::address::{HostPhysical, PAGE_SIZE};
#[cfg(not(test))]
use protocols::boot_info::DIRECT_MAP;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

static END: AtomicU64 = AtomicU64::new(0);

/// Sets the end of physical memory that the direct map covers.
pub fn set_end(end: u64) {
    END.store(end, Ordering::Relaxed);
}

/// Where the direct map shows an address.
#[inline(always)]
fn direct(address: HostPhysical) -> *mut u8 {
    #[cfg(not(test))]
    return (DIRECT_MAP + address.get()) as *mut u8;
    #[cfg(test)]
    return (super::simulated::memory() + address.get() as usize) as *mut u8;
}

fn pointer(address: HostPhysical, length: usize) -> Option<*mut u8> {
    let end = address.get().checked_add(length as u64)?;
    (end <= END.load(Ordering::Relaxed)).then(|| direct(address))
}

/// Copies from physical memory. False if the range is not in the direct map.
#[must_use]
pub fn read(address: HostPhysical, bytes: &mut [u8]) -> bool {
    let Some(source) = pointer(address, bytes.len()) else { return false };
    // SAFETY: the direct map covers the range, which is RAM; nothing in Rust's view aliases it, since kernel
    // data reached by reference lies in frames that no Space maps.
    unsafe { core::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), bytes.len()) };
    true
}

/// Copies to physical memory. False if the range is not in the direct map.
#[must_use]
pub fn write(address: HostPhysical, bytes: &[u8]) -> bool {
    let Some(target) = pointer(address, bytes.len()) else { return false };
    // SAFETY: as in `read`.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    true
}

/// Copies between two ranges of physical memory, which may overlap. False if one of them is not in the direct map.
#[must_use]
pub fn copy(from: HostPhysical, to: HostPhysical, length: usize) -> bool {
    let Some((source, target)) = pointer(from, length).zip(pointer(to, length)) else { return false };
    if source.addr().abs_diff(target.addr()) < length {
        // SAFETY: as in `read`, for both.
        unsafe { core::ptr::copy(source, target, length) };
        return true;
    }
    // By words however the ranges are aligned, which `copy` does not do.
    // SAFETY: as in `read`, for both; the direction flag is clear.
    unsafe {
        asm!(
            "rep movsq",
            "mov ecx, {rest:e}",
            "rep movsb",
            inout("rcx") length / 8 => _,
            inout("rdi") target => _,
            inout("rsi") source => _,
            rest = in(reg) length % 8,
            options(nostack, preserves_flags),
        );
    }
    true
}

/// Fills `length` bytes with zeroes. False if the range is not in the direct map.
#[must_use]
pub fn zero(address: HostPhysical, length: usize) -> bool {
    let Some(target) = pointer(address, length) else { return false };
    // SAFETY: as in `read`.
    unsafe { core::ptr::write_bytes(target, 0, length) };
    true
}

/// The word at an address, which must be RAM: one that users of several Spaces and the kernel change at the same time.
/// `None` if it is not aligned or not in the direct map.
pub fn shared_word(address: HostPhysical) -> Option<&'static AtomicU64> {
    let word = pointer(address, size_of::<AtomicU64>())?.cast::<AtomicU64>();
    // SAFETY: the direct map covers the word, for ever; whoever else has access to it is no Rust code of the kernel but
    // `read` and `write`, which run with the kernel's lock taken, as do those who use this.
    word.is_aligned().then(|| unsafe { &*word })
}

/// Reads one entry of a page table.
#[inline]
pub fn read_entry(table: HostPhysical, index: usize) -> u64 {
    // SAFETY: `table` is a page-table frame: page aligned, from the kernel's frame pool, inside the direct map.
    unsafe { (direct(table) as *const u64).add(index & 511).read_volatile() }
}

/// Writes one entry of a page table.
#[inline]
pub fn write_entry(table: HostPhysical, index: usize, entry: u64) {
    // SAFETY: as in `read_entry`; no Space maps page-table frames.
    unsafe { (direct(table) as *mut u64).add(index & 511).write_volatile(entry) }
}

/// A frame that the kernel owns alone, or shares with the monitor, seen as a `T`.
pub struct Frame<T> {
    address: HostPhysical,
    marker: core::marker::PhantomData<T>,
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Frame<T> {
    /// Takes over a frame fresh from the frame pool, and fills it with zeroes. `None` if it is no RAM frame.
    pub fn new(address: HostPhysical) -> Option<Self> {
        const { assert!(size_of::<T>() <= PAGE_SIZE as usize) };
        (address.is_aligned(PAGE_SIZE) && zero(address, PAGE_SIZE as usize))
            .then_some(Self { address, marker: core::marker::PhantomData })
    }

    /// Its address.
    pub fn address(&self) -> HostPhysical {
        self.address
    }

    /// Its contents.
    #[inline]
    pub fn get(&self) -> &T {
        // SAFETY: the frame is inside the direct map, aligned, and owned by this value, which is neither `Clone` nor
        // `Copy`; every bit pattern is a `T`. The monitor writes to it only inside a `VMCALL`, across which no reference
        // is held.
        unsafe { &*(direct(self.address) as *const T) }
    }

    /// Its contents.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: as in `get`.
        unsafe { &mut *(direct(self.address) as *mut T) }
    }
}

/// Bytes of physical memory for as long as the system runs: boot modules and firmware tables, which nothing changes
/// once the kernel runs. `None` if the range is not in the direct map.
pub fn permanent(address: HostPhysical, length: usize) -> Option<&'static [u8]> {
    let start = pointer(address, length)?;
    // SAFETY: the range is inside the direct map; boot modules are read here before any thread exists.
    Some(unsafe { core::slice::from_raw_parts(start, length) })
}

/// Physical memory that is used for nothing else, for ever, as `count` zeroes of a type. `None` if it is not in the direct map, or not
/// aligned.
pub fn zeroes<T: FromZeros>(address: HostPhysical, count: usize) -> Option<&'static mut [T]> {
    let length = count.checked_mul(size_of::<T>())?;
    let start = pointer(address, length)?.cast::<T>();
    // SAFETY: as in `zero`; then the range is inside the direct map and aligned, zeroes are a valid `T`, and nobody else has it.
    (start.is_aligned() && zero(address, length)).then(|| unsafe { core::slice::from_raw_parts_mut(start, count) })
}
