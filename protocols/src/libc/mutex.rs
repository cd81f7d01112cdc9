//! Mutexes at addresses: the calls of the API, spared while nobody has to wait.
#![allow(unsafe_code)]

use core::marker::PhantomData;
use core::sync::atomic::AtomicU64;

use super::system_call::{self, Result};
use crate::api::Status;
use crate::lock_word::{self, Word};

/// The calling thread as an owner of Mutexes: the address by which it knows its own object, asked for once.
#[derive(Clone, Copy, Debug)]
pub struct ThisThread {
    address: u64,
    /// It is of no use to another thread.
    bound: PhantomData<*const ()>,
}

impl ThisThread {
    /// The calling thread. `None` if it does not see its own object, so that it cannot own a Mutex.
    pub fn get() -> Option<Self> {
        let address = system_call::thread_self();
        (address != 0).then_some(Self { address, bound: PhantomData })
    }
}

/// A Mutex at an address, in memory that may be shared with others.
#[derive(Clone, Copy, Debug)]
pub struct RawMutex {
    address: u64,
}

impl RawMutex {
    /// The Mutex at `address`.
    ///
    /// # Safety
    /// There is a Mutex at the address for as long as the value is used, and Rust code does not use its first eight
    /// bytes but as an atomic word.
    #[inline(always)]
    pub const unsafe fn at(address: u64) -> Self {
        Self { address }
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU64 {
        // SAFETY: by the promise of `at`; the address of an object is a multiple of 64.
        unsafe { &*(self.address as *const AtomicU64) }
    }

    /// Locks it, waiting until the time stamp counter reaches `deadline`, 0 for ever.
    /// `TimedOut`, `Destroyed`: as [`MutexLock`](crate::api::Call::MutexLock).
    #[inline]
    pub fn lock(&self, this: ThisThread, deadline: u64) -> Result<()> {
        if lock_word::take(self.word(), this.address) {
            return Ok(());
        }
        system_call::mutex_lock(self.address, deadline)
    }

    /// Locks it if it is free, else `Held`.
    #[inline]
    pub fn trylock(&self, this: ThisThread) -> Result<()> {
        if lock_word::take(self.word(), this.address) {
            return Ok(());
        }
        match lock_word::owner(Word::load(self.word())) {
            owner if owner == 0 || owner == this.address => system_call::mutex_trylock(self.address),
            _ => Err(Status::Held),
        }
    }

    /// Unlocks it.
    #[inline]
    pub fn unlock(&self, this: ThisThread) -> Result<()> {
        if lock_word::give_back(self.word(), this.address) {
            return Ok(());
        }
        system_call::mutex_unlock(self.address)
    }

    /// Whether the calling thread owns it.
    #[inline]
    pub fn is_owned_by(&self, this: ThisThread) -> bool {
        lock_word::owner(Word::load(self.word())) == this.address
    }
}
