//! The one lock around the kernel's state.

use crate::kernel::Kernel;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use spin::MutexGuard;

static KERNEL: spin::Mutex<MaybeUninit<Kernel>> = spin::Mutex::new(MaybeUninit::uninit());

/// Puts the kernel's state in place: before anything enters the kernel.
pub(super) fn install(kernel: Kernel) {
    KERNEL.lock().write(kernel);
}

/// Gives the lock back that a [`Locked`] holds which is never dropped.
///
/// # Safety
/// The state is not accessed any more through that.
#[cfg(not(test))]
#[inline(always)]
pub(super) unsafe fn release() {
    // SAFETY: as the caller promises.
    unsafe { KERNEL.force_unlock() }
}

/// The kernel's state, for as long as this lives.
pub(super) struct Locked(MutexGuard<'static, MaybeUninit<Kernel>>);

/// Takes the lock.
#[inline(always)]
pub(super) fn kernel() -> Locked {
    Locked(KERNEL.lock())
}

impl Deref for Locked {
    type Target = Kernel;

    #[inline(always)]
    fn deref(&self) -> &Kernel {
        // SAFETY: `entry::start` installs the state before the first thread runs, and only entries take the lock.
        unsafe { self.0.assume_init_ref() }
    }
}

impl DerefMut for Locked {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Kernel {
        // SAFETY: as in `deref`.
        unsafe { self.0.assume_init_mut() }
    }
}
