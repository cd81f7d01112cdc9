//! The memory of the native Space that the CPU is loaded for, through its own addresses: the short way, where the tables hold
//! everything already. A fault ends the copy.

use core::arch::naked_asm;
use core::mem::MaybeUninit;
use protocols::address::PAGE_SIZE;
use protocols::native_thread::USER_END;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Copies RDX words from RSI to RDI. RAX returns 0 if all are copied.
#[unsafe(naked)]
unsafe extern "C" fn copy_words(to: u64, from: u64, words: u64) -> u64 {
    naked_asm!("mov rcx, rdx", "xor eax, eax", "jmp {copy}", copy = sym copy_or_fault)
}

/// Its first instruction is the only one that may fault.
#[unsafe(naked)]
unsafe extern "C" fn copy_or_fault() {
    naked_asm!("rep movsq", "ret")
}

/// Where a copy that has met a fault goes on.
#[unsafe(naked)]
unsafe extern "C" fn faulted() {
    naked_asm!("mov eax, 1", "ret")
}

/// Where the kernel goes on after a page fault at `rip`, if that is a copy's.
pub(super) fn after_fault(rip: u64) -> Option<u64> {
    (rip == copy_or_fault as *const () as u64).then_some(faulted as *const () as u64)
}

fn is_user(address: u64, length: usize) -> bool {
    address < USER_END && length as u64 <= USER_END - address
}

/// Writes words to `address`. False, with some of them written perhaps, if the memory is not there now.
#[inline(always)]
#[must_use]
pub fn write<T: IntoBytes + Immutable>(address: u64, value: &T) -> bool {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    let length = size_of::<T>();
    let from = value.as_bytes().as_ptr() as u64;
    // SAFETY: what is written is user memory, of which the kernel holds no references, read are the bytes of `value`.
    is_user(address, length) && unsafe { copy_words(address, from, length as u64 / 8) } == 0
}

/// Reads words from `address` to `place`. `None` if the memory is not there now.
#[inline(always)]
#[must_use]
pub fn read<T: FromBytes>(address: u64, place: &mut MaybeUninit<T>) -> Option<&T> {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    let length = size_of::<T>();
    // SAFETY: written are the bytes of `place` alone; the rest as in `write`.
    let copied =
        is_user(address, length) && unsafe { copy_words(place.as_mut_ptr() as u64, address, length as u64 / 8) } == 0;
    // SAFETY: all bytes are there, and every pattern is a `T`.
    copied.then(|| unsafe { place.assume_init_ref() })
}

/// Reads words from `address` that lie in one page. False, with `value` unchanged, if they do not, or are not there now.
#[inline(always)]
#[must_use]
pub fn read_at_once<T: FromBytes + IntoBytes>(address: u64, value: &mut T) -> bool {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    let length = size_of::<T>();
    let one_page = address % PAGE_SIZE <= PAGE_SIZE - length as u64;
    let to = core::ptr::from_mut(value) as u64;
    // SAFETY: written are the bytes of `value`, for which every pattern is valid; the rest as in `write`.
    one_page && is_user(address, length) && unsafe { copy_words(to, address, length as u64 / 8) } == 0
}
