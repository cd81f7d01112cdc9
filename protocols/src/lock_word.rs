//! The lock word: the first eight bytes of a Mutex, which its users change without the kernel while nobody has to wait.
//!
//! | word | meaning |
//! |---|---|
//! | 0 | free |
//! | `owner` | locked; `owner` is the address by which the owning thread knows its own Thread object, a multiple of 64 |
//! | `owner + 1` | locked, and threads wait in the kernel |
//!
//! A user takes a free Mutex by changing 0 to its own address and gives it back by changing its own address to 0, each
//! with one compare-and-exchange ([`take`], [`give_back`]). Where that fails, it calls the kernel
//! ([`MutexLock`](crate::api::Call::MutexLock), [`MutexUnlock`](crate::api::Call::MutexUnlock)). While the lowest bit
//! is set, only the kernel changes the word: it passes the Mutex from owner to owner. Threads that share a Mutex
//! between Spaces must know themselves by different addresses.

use core::sync::atomic::{AtomicU64, Ordering};

/// The bit that says that threads wait in the kernel.
pub const WAITERS: u64 = 1;

/// The atomic operations that the protocol is made of.
pub trait Word {
    /// Reads it.
    fn load(&self) -> u64;
    /// Writes it.
    fn store(&self, value: u64);
    /// Sets bits; returns what it held before.
    fn set(&self, bits: u64) -> u64;
    /// Clears bits.
    fn clear(&self, bits: u64);
    /// Changes it to `new` if it holds `old`, and says whether it did.
    fn exchange(&self, old: u64, new: u64) -> bool;
}

impl Word for AtomicU64 {
    #[inline(always)]
    fn load(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn store(&self, value: u64) {
        self.store(value, Ordering::Release);
    }

    #[inline(always)]
    fn set(&self, bits: u64) -> u64 {
        self.fetch_or(bits, Ordering::AcqRel)
    }

    #[inline(always)]
    fn clear(&self, bits: u64) {
        self.fetch_and(!bits, Ordering::AcqRel);
    }

    #[inline(always)]
    fn exchange(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// The owner that a value of the word names; 0 for none.
#[inline(always)]
pub const fn owner(word: u64) -> u64 {
    word & !WAITERS
}

/// Takes a free Mutex for the thread that knows itself by the address `this`. False: the kernel must be asked.
#[inline(always)]
pub fn take(word: &impl Word, this: u64) -> bool {
    word.exchange(0, this)
}

/// Gives a Mutex back that nobody waits for. False: the kernel must be told.
#[inline(always)]
pub fn give_back(word: &impl Word, this: u64) -> bool {
    word.exchange(this, 0)
}
