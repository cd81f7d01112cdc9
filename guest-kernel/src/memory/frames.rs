//! The kernel's own memory, in frames: for page tables, the heap, state pages, and what it donates to the monitor.
//!
//! One stretch of RAM, taken at boot and shared out as Spaces' allowances. Frames for the monitor come from
//! its top, all others from its bottom, so that donated frames lie together and split few large pages.

use alloc::vec;
use alloc::vec::Vec;
use protocols::address::{HostPhysical, PAGE_SIZE};

/// A pool of frames.
pub struct FramePool {
    start: u64,
    used: Vec<u64>,
    count: usize,
    free: usize,
    bottom: usize,
    top: usize,
}

impl FramePool {
    /// A pool of `count` frames from `start` on.
    pub fn new(start: HostPhysical, count: usize) -> Self {
        let mut used = vec![0; count.div_ceil(64)];
        if !count.is_multiple_of(64) {
            used[count / 64] = !0 << (count % 64);
        }
        Self { start: start.get(), used, count, free: count, bottom: 0, top: count.div_ceil(64) }
    }

    /// How many frames are free.
    pub fn free_count(&self) -> usize {
        self.free
    }

    fn take(&mut self, word: usize) -> HostPhysical {
        let bit = (!self.used[word]).trailing_zeros();
        self.used[word] |= 1 << bit;
        self.free -= 1;
        HostPhysical::new(self.start + (word as u64 * 64 + bit as u64) * PAGE_SIZE)
    }

    /// A frame from the bottom. Its contents are undefined.
    pub fn allocate(&mut self) -> Option<HostPhysical> {
        let word = (self.bottom..self.used.len()).find(|&word| self.used[word] != !0)?;
        self.bottom = word;
        Some(self.take(word))
    }

    /// A frame from the top, to be donated.
    pub fn allocate_top(&mut self) -> Option<HostPhysical> {
        let word = (0..self.top).rev().find(|&word| self.used[word] != !0)?;
        self.top = word + 1;
        Some(self.take(word))
    }

    /// `count` consecutive frames from the bottom.
    pub fn allocate_run(&mut self, count: usize) -> Option<HostPhysical> {
        let mut length = 0;
        let mut frame = 0;
        while frame < self.count {
            if self.used[frame / 64] == !0 {
                (frame, length) = ((frame / 64 + 1) * 64, 0);
                continue;
            }
            length = if self.used[frame / 64] >> (frame % 64) & 1 == 0 { length + 1 } else { 0 };
            frame += 1;
            if length == count {
                let first = frame - count;
                for frame in first..first + count {
                    self.used[frame / 64] |= 1 << (frame % 64);
                }
                self.free -= count;
                return Some(HostPhysical::new(self.start + first as u64 * PAGE_SIZE));
            }
        }
        None
    }

    /// Takes a frame back. What is not an allocated frame of the pool is ignored.
    pub fn release(&mut self, frame: HostPhysical) {
        let number = (frame.get().wrapping_sub(self.start) / PAGE_SIZE) as usize;
        if number >= self.count || self.used[number / 64] >> (number % 64) & 1 == 0 {
            return;
        }
        self.used[number / 64] &= !(1 << (number % 64));
        self.free += 1;
        self.bottom = self.bottom.min(number / 64);
        self.top = self.top.max(number / 64 + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_once_and_come_back() {
        let mut pool = FramePool::new(HostPhysical::new(0x20_0000), 130);
        let run = pool.allocate_run(70).unwrap();
        assert_eq!(run.get(), 0x20_0000);
        let mut seen = std::collections::BTreeSet::new();
        while let Some(frame) = if seen.len() % 2 == 0 { pool.allocate() } else { pool.allocate_top() } {
            assert!(seen.insert(frame.get()));
        }
        assert_eq!((seen.len(), pool.free_count()), (60, 0));
        seen.iter().for_each(|&frame| pool.release(HostPhysical::new(frame)));
        assert_eq!(pool.free_count(), 60);
        pool.release(HostPhysical::new(0));
        assert_eq!(pool.free_count(), 60);
        assert!(pool.allocate_run(60).is_some());
    }
}
