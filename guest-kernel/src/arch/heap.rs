//! The kernel's heap. It grows from the frame pool, before calls that allocate: [`is_ready`] says whether it must.
//!
//! A part of it is set aside. When an allocation fails, because the heap is full or in pieces, the part becomes free and the
//! allocation succeeds; before the next call allocates, it is set aside again or the heap grows. So no allocation of a call fails
//! that needs less than [`RESERVE`] in all, and nobody has to count bytes.

use protocols::address::HostPhysical;
use protocols::boot_info::DIRECT_MAP;

#[cfg(target_os = "none")]
mod global {
    use super::RESERVE;
    use core::alloc::{GlobalAlloc, Layout};
    use core::ptr::null_mut;
    use core::sync::atomic::{AtomicPtr, Ordering};
    use talc::TalcLock;
    use talc::source::Manual;

    pub struct Heap {
        inner: TalcLock<spin::Mutex<()>, Manual>,
        /// The part that is set aside.
        reserve: AtomicPtr<u8>,
    }

    const RESERVED: Layout = match Layout::from_size_align(RESERVE, 64) {
        Ok(layout) => layout,
        Err(_) => panic!(),
    };

    // SAFETY: all calls go to the inner allocator unchanged, one of them twice if it fails.
    unsafe impl GlobalAlloc for Heap {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: as the caller promises.
            let memory = unsafe { self.inner.alloc(layout) };
            if memory.is_null() && self.free_reserve() {
                // SAFETY: as the caller promises.
                return unsafe { self.inner.alloc(layout) };
            }
            memory
        }
        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            // SAFETY: as the caller promises.
            unsafe { self.inner.dealloc(pointer, layout) }
        }
    }

    impl Heap {
        /// # Safety
        /// The range is unused memory.
        pub unsafe fn add(&self, start: *mut u8, length: usize) {
            // SAFETY: as the caller promises.
            unsafe { self.inner.lock().claim(start, length) };
        }

        #[cold]
        fn free_reserve(&self) -> bool {
            let reserve = self.reserve.swap(null_mut(), Ordering::Relaxed);
            if !reserve.is_null() {
                // SAFETY: it was allocated by `set_aside`, with this layout.
                unsafe { self.inner.dealloc(reserve, RESERVED) };
            }
            !reserve.is_null()
        }

        pub fn is_ready(&self) -> bool {
            !self.reserve.load(Ordering::Relaxed).is_null()
        }

        pub fn set_aside(&self) -> bool {
            // SAFETY: the layout's size is not zero.
            let reserve = unsafe { self.inner.alloc(RESERVED) };
            self.reserve.store(reserve, Ordering::Relaxed);
            !reserve.is_null()
        }
    }

    #[global_allocator]
    pub static HEAP: Heap = Heap { inner: TalcLock::new(Manual), reserve: AtomicPtr::new(null_mut()) };
}

/// Bytes that the heap is given at a time.
pub const STEP: usize = 512 << 10;

/// Bytes that are set aside: more than any one call allocates.
pub const RESERVE: usize = 64 << 10;

/// Whether everything that a call allocates will be there.
#[inline]
pub fn is_ready() -> bool {
    #[cfg(target_os = "none")]
    return global::HEAP.is_ready();
    #[cfg(not(target_os = "none"))]
    true
}

/// Sets memory aside, where that has been used; whether there was enough.
#[cold]
pub fn set_aside() -> bool {
    #[cfg(target_os = "none")]
    return global::HEAP.set_aside();
    #[cfg(not(target_os = "none"))]
    true
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
