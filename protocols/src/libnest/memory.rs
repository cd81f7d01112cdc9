//! Memory that a program shares with its children: reached by copies only, never by reference.
#![allow(unsafe_code)]

use alloc::sync::Arc;
use core::arch::asm;
use core::mem::MaybeUninit;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::address::LARGE_PAGE_SIZE;

/// The range asked for is not inside the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange;

/// A contiguous, page-aligned stretch of the pool, taken out of Rust's view. Clones name the same stretch; when the last
/// is dropped it returns to the pool.
///
/// It is zeroed once: when it returns to a pool that is all zero, or when it is taken from one that is not, the root
/// nester's.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Stretch>);

#[derive(Debug)]
struct Stretch {
    start: u64,
    size: u64,
}

impl Memory {
    /// Takes `size` bytes (rounded up to pages) from the pool, at a multiple of 2 MiB where it is that large, so that
    /// large pages can map it. It is zero. `None` if there is no such stretch.
    pub fn allocate(size: u64) -> Option<Self> {
        let alignment = if size >= LARGE_PAGE_SIZE { LARGE_PAGE_SIZE } else { 0 };
        Self::take(size, alignment)
    }

    #[cfg(target_os = "none")]
    fn take(size: u64, alignment: u64) -> Option<Self> {
        let (range, is_zero) = {
            let mut pool = crate::libc::pool::pool();
            (pool.allocate(size, alignment)?, pool.is_zero)
        };
        if !is_zero {
            // SAFETY: the pool's memory is mapped, and nobody else has this stretch.
            unsafe { zero(range.start, range.size as usize) };
        }
        Some(Self(Arc::new(Stretch { start: range.start, size: range.size })))
    }

    /// On the host, where unit tests run, memory comes from the heap.
    #[cfg(not(target_os = "none"))]
    fn take(size: u64, alignment: u64) -> Option<Self> {
        let layout = host_layout(size, alignment)?;
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc::alloc::alloc_zeroed(layout) };
        (!start.is_null()).then(|| Self(Arc::new(Stretch { start: start.addr() as u64, size: layout.size() as u64 })))
    }

    /// The first address.
    #[inline]
    pub fn address(&self) -> u64 {
        self.0.start
    }

    /// Length in bytes.
    #[inline]
    pub fn size(&self) -> u64 {
        self.0.size
    }

    #[inline]
    fn at(&self, offset: u64, size: u64) -> Result<u64, OutOfRange> {
        let end = offset.checked_add(size).ok_or(OutOfRange)?;
        if end <= self.0.size { Ok(self.0.start + offset) } else { Err(OutOfRange) }
    }

    /// Copies `bytes` to `offset`.
    #[inline]
    pub fn write_bytes(&self, offset: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        let target = self.at(offset, bytes.len() as u64)?;
        // SAFETY: the target lies in the stretch, which is mapped and of which there are no Rust references.
        unsafe { copy(target, bytes.as_ptr().addr() as u64, bytes.len()) };
        Ok(())
    }

    /// Copies the bytes at `offset` into `bytes`.
    #[inline]
    pub fn read_bytes(&self, offset: u64, bytes: &mut [u8]) -> Result<(), OutOfRange> {
        let source = self.at(offset, bytes.len() as u64)?;
        // SAFETY: the source lies in the stretch, which is mapped; the target is exclusively ours.
        unsafe { copy(bytes.as_mut_ptr().addr() as u64, source, bytes.len()) };
        Ok(())
    }

    /// Sets `size` bytes from `offset` on to zero.
    pub fn clear(&self, offset: u64, size: u64) -> Result<(), OutOfRange> {
        let target = self.at(offset, size)?;
        // SAFETY: the target lies in the stretch, which is mapped and of which there are no Rust references.
        unsafe { zero(target, size as usize) };
        Ok(())
    }

    /// The value at `offset`, at any alignment. Children that write to it at the same time may be seen halfway.
    #[inline]
    pub fn read<T: FromBytes>(&self, offset: u64) -> Result<T, OutOfRange> {
        let source = self.at(offset, size_of::<T>() as u64)?;
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the source lies in the stretch; every byte pattern is a valid T, and all of its bytes are written.
        unsafe {
            if source.is_multiple_of(align_of::<T>() as u64) && size_of::<T>() <= 8 {
                value = MaybeUninit::new((source as *const T).read_volatile());
            } else {
                copy(value.as_mut_ptr().addr() as u64, source, size_of::<T>());
            }
            Ok(value.assume_init())
        }
    }

    /// Writes `value` at `offset`, at any alignment.
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&self, offset: u64, value: &T) -> Result<(), OutOfRange> {
        self.write_bytes(offset, value.as_bytes())
    }
}

impl Drop for Stretch {
    fn drop(&mut self) {
        #[cfg(target_os = "none")]
        {
            if crate::libc::pool::pool().is_zero {
                // SAFETY: the stretch is mapped and this was the last handle.
                unsafe { zero(self.start, self.size as usize) };
            }
            crate::libc::pool::pool().free(crate::startup::Memory { start: self.start, size: self.size });
        }
        #[cfg(not(target_os = "none"))]
        if let Some(layout) = host_layout(self.size, LARGE_PAGE_SIZE) {
            // SAFETY: `take` allocated the stretch with the same layout.
            unsafe { alloc::alloc::dealloc(self.start as *mut u8, layout) };
        }
    }
}

#[cfg(not(target_os = "none"))]
fn host_layout(size: u64, _alignment: u64) -> Option<core::alloc::Layout> {
    let size = size.max(1).checked_next_multiple_of(crate::address::PAGE_SIZE)?;
    core::alloc::Layout::from_size_align(size as usize, LARGE_PAGE_SIZE as usize).ok()
}

/// Copies memory with string instructions, so that the compiler assumes nothing about what it holds.
///
/// # Safety
/// `count` bytes from `source` on must be mapped, as must those from `target` on, of which there must be no other
/// references; the two must not overlap.
#[inline]
unsafe fn copy(target: u64, source: u64, count: usize) {
    // SAFETY: the caller's promise; the direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep movsq",
            "mov ecx, {rest:e}",
            "rep movsb",
            inout("rcx") count / 8 => _,
            inout("rdi") target => _,
            inout("rsi") source => _,
            rest = in(reg) count % 8,
            options(nostack, preserves_flags),
        );
    }
}

/// Zeroes memory with string instructions.
///
/// # Safety
/// `count` bytes from `target` on must be mapped, and there must be no references to them.
unsafe fn zero(target: u64, count: usize) {
    // SAFETY: the caller's promise; the direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep stosq",
            "mov ecx, {rest:e}",
            "rep stosb",
            inout("rcx") count / 8 => _,
            inout("rdi") target => _,
            in("rax") 0u64,
            rest = in(reg) count % 8,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_and_keeps_what_is_written() {
        let memory = Memory::allocate(10_000).unwrap();
        assert_eq!(memory.size(), 12_288);
        assert_eq!(memory.read::<[u8; 32]>(12_256), Ok([0; 32]));
        let text = b"a text of an odd length, unaligned";
        memory.write_bytes(4093, text).unwrap();
        let mut back = [0; 34];
        memory.read_bytes(4093, &mut back).unwrap();
        assert_eq!(&back, text);
        memory.write(8, &0x1122_3344_5566_7788u64).unwrap();
        assert_eq!(memory.read::<u64>(8), Ok(0x1122_3344_5566_7788));
        assert_eq!(memory.read::<u32>(9), Ok(0x4455_6677));
        memory.clear(8, 5).unwrap();
        assert_eq!(memory.read::<u64>(8), Ok(0x1122_3300_0000_0000));
    }

    #[test]
    fn accesses_beyond_the_end_are_refused() {
        let memory = Memory::allocate(4096).unwrap();
        assert_eq!(memory.read::<u64>(4089), Err(OutOfRange));
        assert_eq!(memory.write_bytes(4095, &[1, 2]), Err(OutOfRange));
        assert_eq!(memory.read::<u8>(u64::MAX), Err(OutOfRange));
        assert_eq!(memory.clear(0, u64::MAX), Err(OutOfRange));
        assert_eq!(memory.write_bytes(4096, &[]), Ok(()));
    }

    #[test]
    fn clones_name_the_same_memory() {
        let memory = Memory::allocate(3 << 20).unwrap();
        let clone = memory.clone();
        assert!(memory.address().is_multiple_of(LARGE_PAGE_SIZE));
        memory.write(0, &7u8).unwrap();
        drop(memory);
        assert_eq!(clone.read::<u8>(0), Ok(7));
    }
}
