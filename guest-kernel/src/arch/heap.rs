//! The kernel's heap. It grows from the frame pool before it runs low: see [`low`].

use protocols::address::HostPhysical;
use protocols::boot_info::DIRECT_MAP;

#[cfg(target_os = "none")]
mod global {
    use core::alloc::{GlobalAlloc, Layout};
    use core::sync::atomic::{AtomicUsize, Ordering};
    use talc::TalcLock;
    use talc::source::Manual;

    pub struct Heap {
        inner: TalcLock<spin::Mutex<()>, Manual>,
        pub free: AtomicUsize,
    }

    // SAFETY: all calls go to the inner allocator unchanged.
    unsafe impl GlobalAlloc for Heap {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            self.free.fetch_sub(layout.size(), Ordering::Relaxed);
            // SAFETY: as the caller promises.
            unsafe { self.inner.alloc(layout) }
        }
        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            self.free.fetch_add(layout.size(), Ordering::Relaxed);
            // SAFETY: as the caller promises.
            unsafe { self.inner.dealloc(pointer, layout) }
        }
    }

    impl Heap {
        /// # Safety
        /// The range is unused memory.
        pub unsafe fn add(&self, start: *mut u8, length: usize) {
            // SAFETY: as the caller promises.
            if unsafe { self.inner.lock().claim(start, length) }.is_some() {
                self.free.fetch_add(length, Ordering::Relaxed);
            }
        }
    }

    #[global_allocator]
    pub static HEAP: Heap = Heap { inner: TalcLock::new(Manual), free: AtomicUsize::new(0) };
}

/// Bytes that the heap is given at a time.
pub const STEP: usize = 512 << 10;

/// Whether the heap should be given more before anything is allocated for a caller.
pub fn low() -> bool {
    #[cfg(target_os = "none")]
    return global::HEAP.free.load(core::sync::atomic::Ordering::Relaxed) < STEP / 2;
    #[cfg(not(target_os = "none"))]
    false
}

/// Gives the heap memory that is used for nothing else, by physical address.
pub fn add(start: HostPhysical, length: usize) {
    let pointer = (DIRECT_MAP + start.get()) as *mut u8;
    #[cfg(target_os = "none")]
    // SAFETY: the callers pass frames fresh from the boot memory map or the frame pool.
    unsafe {
        global::HEAP.add(pointer, length);
    }
    #[cfg(not(target_os = "none"))]
    let _ = (pointer, length);
}
