//! Threads of a program among themselves: data behind a Mutex, and Conditions to wait for.
//!
//! ```no_run
//! # use protocols::{libc::mutex::ThisThread, libnest::{Condition, Mutex, Result, Status}};
//! fn give(jobs: &Mutex<Vec<u64>>, more: &Condition, job: u64) -> Result<()> {
//!     let this = ThisThread::get().ok_or(Status::Unsupported)?;
//!     jobs.lock(this)?.push(job);
//!     more.signal()
//! }
//!
//! fn take(jobs: &Mutex<Vec<u64>>, more: &Condition) -> Result<u64> {
//!     let this = ThisThread::get().ok_or(Status::Unsupported)?;
//!     let mut waiting = jobs.lock(this)?;
//!     loop {
//!         match waiting.pop() {
//!             Some(job) => return Ok(job),
//!             None => (waiting, _) = more.wait(waiting, None)?,
//!         }
//!     }
//! }
//! ```
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

use super::objects::{Reference, create};
use super::place::Place;
use super::server::until;
use crate::api::Status;
use crate::libc::mutex::{RawMutex, ThisThread};
use crate::libc::system_call::{self, Result};

/// A value that one thread at a time can get at. While nobody has to wait, locking and unlocking do without the kernel.
#[derive(Debug)]
pub struct Mutex<T> {
    place: Place,
    value: UnsafeCell<T>,
}

// SAFETY: the lock lets one thread at a time at the value, so that sharing the Mutex is sending the value.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// A Mutex around `value`, free.
    pub fn new(value: T) -> Result<Self> {
        // SAFETY: nobody uses the memory of a Place but for the object in it.
        let place = create(|address| unsafe { system_call::mutex_create(address) })?;
        Ok(Self { place, value: UnsafeCell::new(value) })
    }

    fn raw(&self) -> RawMutex {
        // SAFETY: the object exists for as long as its handle, in memory that nothing else uses.
        unsafe { RawMutex::at(self.place.address()) }
    }

    /// Waits until it has the value. A thread that has it already misuses the API.
    #[inline]
    pub fn lock(&self, this: ThisThread) -> Result<Guard<'_, T>> {
        self.lock_until(this, None)
    }

    /// [`lock`](Self::lock), but `TimedOut` when the time stamp counter has reached `deadline`.
    #[inline]
    pub fn lock_until(&self, this: ThisThread, deadline: Option<u64>) -> Result<Guard<'_, T>> {
        self.raw().lock(this, until(deadline))?;
        Ok(Guard { mutex: self, this })
    }

    /// The value if nobody has it. A thread that has it already misuses the API.
    #[inline]
    pub fn try_lock(&self, this: ThisThread) -> Result<Option<Guard<'_, T>>> {
        match self.raw().trylock(this) {
            Ok(()) => Ok(Some(Guard { mutex: self, this })),
            Err(Status::Held) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// The value, which nobody else can have.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// A Reference to it.
    pub fn reference(&self) -> Result<Reference> {
        let reference = Reference::new()?;
        system_call::mutex_reference(self.place.address(), reference.address())?;
        Ok(reference)
    }
}

impl<T> Drop for Mutex<T> {
    fn drop(&mut self) {
        // The object exists for as long as its handle, so that destroying it cannot fail.
        let _ = system_call::mutex_destroy(self.place.address());
    }
}

/// The value of a locked [`Mutex`], which is unlocked when this is dropped.
#[derive(Debug)]
pub struct Guard<'a, T> {
    mutex: &'a Mutex<T>,
    /// Only the thread that locked can unlock: this keeps the guard in it.
    this: ThisThread,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the Mutex is locked for as long as the guard lives.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; the guard is borrowed exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // The thread owns the Mutex, so that unlocking it cannot fail.
        let _ = self.mutex.raw().unlock(self.this);
    }
}

/// Where threads that hold a [`Mutex`] wait for others to say that something has changed.
#[derive(Debug)]
pub struct Condition {
    place: Place,
}

impl Condition {
    /// A Condition that nobody waits for.
    pub fn new() -> Result<Self> {
        Ok(Self { place: create(system_call::cond_create)? })
    }

    /// Unlocks, waits until somebody signals or the time stamp counter reaches `deadline`, and locks again. Also says
    /// whether time ran out. It may return for no reason: look again at what is waited for.
    pub fn wait<'a, T>(&self, guard: Guard<'a, T>, deadline: Option<u64>) -> Result<(Guard<'a, T>, bool)> {
        let mutex = guard.mutex.place.address();
        match system_call::cond_wait(self.place.address(), mutex, until(deadline)) {
            Ok(()) => Ok((guard, false)),
            Err(Status::TimedOut) => Ok((guard, true)),
            Err(status) => {
                if !guard.mutex.raw().is_owned_by(guard.this) {
                    core::mem::forget(guard);
                }
                Err(status)
            }
        }
    }

    /// Lets the thread go on that has waited longest.
    pub fn signal(&self) -> Result<()> {
        system_call::cond_signal(self.place.address())
    }

    /// Lets all threads go on that wait.
    pub fn broadcast(&self) -> Result<()> {
        system_call::cond_broadcast(self.place.address())
    }

    /// A Reference to it.
    pub fn reference(&self) -> Result<Reference> {
        let reference = Reference::new()?;
        system_call::cond_reference(self.place.address(), reference.address())?;
        Ok(reference)
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        // The object exists for as long as its handle, so that destroying it cannot fail.
        let _ = system_call::cond_destroy(self.place.address());
    }
}
