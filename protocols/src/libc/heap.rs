//! The global allocator of a program: `talc` over blocks that it takes from the [pool](super::pool) as it needs them.
#![allow(unsafe_code)]

use core::alloc::Layout;

use talc::base::Talc;
use talc::base::binning::Binning;
use talc::source::Source;
use talc::{DefaultBinning, TalcLock};

use super::pool::pool;

/// Bytes that the heap grows by at least.
const BLOCK: u64 = 256 << 10;

/// Takes blocks from the pool when the heap is exhausted. Blocks are never given back.
#[derive(Debug)]
pub struct PoolSource;

// SAFETY: `acquire` allocates nothing on the heap and takes no lock that is held while the heap is used.
unsafe impl Source for PoolSource {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        // Room for the block's own bookkeeping and for the worst alignment within it.
        let overhead = talc::min_first_heap_size::<DefaultBinning>() + 64;
        let needed = layout.size().checked_add(layout.align()).and_then(|size| size.checked_add(overhead)).ok_or(())?;
        let block = pool().allocate((needed as u64).max(BLOCK), 0).ok_or(())?;
        // SAFETY: the pool has just handed out this block, mapped and writable, to nobody else.
        unsafe { talc.claim(block.start as *mut u8, block.size as usize) }.map(|_| ()).ok_or(())
    }
}

/// The heap of a program.
pub type Heap = TalcLock<spin::Mutex<()>, PoolSource>;

/// An empty heap.
pub const fn new() -> Heap {
    TalcLock::new(PoolSource)
}
