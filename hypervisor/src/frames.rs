//! The frame table: one byte for each frame of memory, saying whose it is. It is what makes it impossible that an EPT
//! maps a frame that the monitor uses.
//!
//! A byte below 0x80 is a frame of the kernel's; its value counts the mappings of the frame in machines' EPTs, up to
//! [`STUCK`], where it stays. Other values are [`Class`]es of frames that no EPT of a machine maps:
//!
//! * a leaf is written to a machine's EPT only together with [`FrameTable::share`], which counts it and refuses every
//!   other class, and is removed together with [`FrameTable::release`];
//! * a frame leaves the kernel's class only through [`FrameTable::take`], which demands a count of 0.
//!
//! So both directions are checked at the border, once, and nothing needs to search an EPT. Counting works on eight
//! frames at a time: a 2 MiB page costs 64 additions. A frame that is mapped 127 times or more (a shared page of
//! zeroes) sticks: it can be mapped on and on, but never again be donated.

use protocols::address::{HostPhysical, PAGE_SIZE};
use protocols::machine::Status;

use crate::ept::{Leaves, UNCACHEABLE, WRITE_BACK};

/// The count at which a frame sticks.
pub const STUCK: u8 = 0x7f;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Whose a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// The kernel's, not mapped in any machine.
    Kernel = 0,
    /// The monitor's own.
    Monitor = 0x80,
    /// Donated to a machine: free, or an EPT table, a bitmap, a policy, a VMCS.
    Donated = 0x81,
    /// Donated: the control frame of a machine.
    Machine = 0x82,
    /// Donated: the control frame of a virtual CPU.
    VirtualCpu = 0x83,
    /// The kernel's, shared with the monitor as the state page of a virtual CPU.
    StatePage = 0x84,
    /// Not memory: device space, or nothing.
    NotMemory = 0xff,
}

/// The frame table.
#[derive(Debug)]
pub struct FrameTable<'a> {
    bytes: &'a mut [u8],
    /// First frame that the processor cannot address.
    limit: u64,
}

impl<'a> FrameTable<'a> {
    /// A table over `bytes` on a processor with physical addresses of `width` bits; no frame is memory yet.
    pub fn new(bytes: &'a mut [u8], width: u32) -> Self {
        bytes.fill(Class::NotMemory as u8);
        Self { bytes, limit: 1 << (width - 12) }
    }

    /// Bytes needed for a table up to `top`.
    pub const fn size_for(top: u64) -> u64 {
        top.div_ceil(PAGE_SIZE).next_multiple_of(8)
    }

    /// Sets whose the frames of `start..end` are; for the monitor's start.
    pub fn assign(&mut self, start: u64, end: u64, class: Class) {
        let (first, last) = ((start / PAGE_SIZE) as usize, end.div_ceil(PAGE_SIZE) as usize);
        let last = last.min(self.bytes.len());
        if let Some(range) = self.bytes.get_mut(first..last) {
            range.fill(class as u8);
        }
    }

    /// Whether frame `number` is of `class`.
    #[inline(always)]
    pub fn is_number(&self, number: u64, class: Class) -> bool {
        self.bytes.get(number as usize) == Some(&(class as u8))
    }

    /// Whether the frame at `address` is memory of the kernel's, and no state page.
    pub fn is_plain_memory(&self, address: HostPhysical) -> bool {
        self.bytes.get((address.get() / PAGE_SIZE) as usize).is_some_and(|&byte| byte <= STUCK)
    }

    /// Takes a frame of the kernel's that nothing maps and makes it `class`.
    pub fn take(&mut self, address: HostPhysical, class: Class) -> Result<(), Status> {
        if !address.is_aligned(PAGE_SIZE) {
            return Err(Status::BadAddress);
        }
        let byte = self.bytes.get_mut((address.get() / PAGE_SIZE) as usize).ok_or(Status::BadAddress)?;
        if *byte == Class::Kernel as u8 {
            *byte = class as u8;
            Ok(())
        } else if *byte == Class::Monitor as u8 || *byte == Class::NotMemory as u8 {
            Err(Status::BadAddress)
        } else {
            Err(Status::FrameInUse)
        }
    }

    /// Makes a taken frame `class`.
    pub fn set(&mut self, address: HostPhysical, class: Class) {
        if let Some(byte) = self.bytes.get_mut((address.get() / PAGE_SIZE) as usize) {
            *byte = class as u8;
        }
    }
}

impl Leaves for FrameTable<'_> {
    /// Counts one more mapping of `count` frames from `address` on in a machine's EPT, all of them or none. They must
    /// be all the kernel's memory, or all device space: the memory type tells.
    fn share(&mut self, address: HostPhysical, count: u64) -> Result<u64, Status> {
        let first = address.get() / PAGE_SIZE;
        let last = first.checked_add(count).filter(|&last| last <= self.limit).ok_or(Status::BadAddress)?;
        let length = self.bytes.len() as u64;
        if first >= length {
            return Ok(UNCACHEABLE);
        }
        let Some(bytes) = self.bytes.get_mut(first as usize..last.min(length) as usize) else {
            return Err(Status::BadAddress);
        };
        if bytes.first() == Some(&(Class::NotMemory as u8)) {
            let device = bytes.iter().all(|&byte| byte == Class::NotMemory as u8);
            return if device { Ok(UNCACHEABLE) } else { Err(Status::BadAddress) };
        }
        if last > length {
            return Err(Status::BadAddress);
        }
        check(bytes)?;
        add(bytes);
        Ok(WRITE_BACK)
    }

    /// Takes back what [`Self::share`] counted.
    fn release(&mut self, address: HostPhysical, count: u64) {
        let first = ((address.get() / PAGE_SIZE) as usize).min(self.bytes.len());
        let last = (first + count as usize).min(self.bytes.len());
        let (head, words, tail) = words(&mut self.bytes[first..last]);
        head.iter_mut().chain(tail).for_each(subtract);
        for word in words {
            let value = u64::from_le_bytes(*word);
            // Every byte at least 1, none stuck, none of another class: subtract from eight at once.
            if value.wrapping_sub(LOW_BITS) & HIGH_BITS == 0
                && value.wrapping_add(LOW_BITS) & HIGH_BITS == 0
                && !has_zero(value)
            {
                *word = value.wrapping_sub(LOW_BITS).to_le_bytes();
            } else {
                word.iter_mut().for_each(subtract);
            }
        }
    }
}

/// Takes one from a count that is neither 0 nor stuck.
fn subtract(byte: &mut u8) {
    if *byte < STUCK {
        *byte = byte.saturating_sub(1);
    }
}

/// Whether a byte of `value`, all of whose bytes are below 0x80, is 0.
fn has_zero(value: u64) -> bool {
    value.wrapping_add(HIGH_BITS - LOW_BITS) & HIGH_BITS != HIGH_BITS
}

fn words(bytes: &mut [u8]) -> (&mut [u8], &mut [[u8; 8]], &mut [u8]) {
    let misaligned = bytes.as_ptr().align_offset(8).min(bytes.len());
    let (head, rest) = bytes.split_at_mut(misaligned);
    let (words, tail) = rest.as_chunks_mut();
    (head, words, tail)
}

/// Whether all frames are the kernel's.
fn check(bytes: &mut [u8]) -> Result<(), Status> {
    let (head, words, tail) = words(bytes);
    let all = head.iter().chain(tail.iter()).fold(0, |all, byte| all | byte);
    let all_words = words.iter().fold(0, |all, word| all | u64::from_le_bytes(*word));
    if all_words & HIGH_BITS == 0 && all < 0x80 {
        return Ok(());
    }
    let mixed = bytes.iter().any(|&byte| byte == Class::NotMemory as u8 || byte == Class::Monitor as u8);
    Err(if mixed { Status::BadAddress } else { Status::FrameInUse })
}

/// Adds one to every count.
fn add(bytes: &mut [u8]) {
    let (head, words, tail) = words(bytes);
    for byte in head.iter_mut().chain(tail) {
        *byte = (*byte + 1).min(STUCK);
    }
    for word in words {
        let sum = u64::from_le_bytes(*word).wrapping_add(LOW_BITS);
        // Bytes that reached 0x80 were stuck: back by one.
        *word = (sum - ((sum & HIGH_BITS) >> 7)).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(bytes: &mut [u8]) -> FrameTable<'_> {
        let frames = bytes.len() as u64;
        let mut table = FrameTable::new(bytes, 40);
        table.assign(0, frames * PAGE_SIZE, Class::Kernel);
        table
    }

    const fn frame(number: u64) -> HostPhysical {
        HostPhysical::new(number * PAGE_SIZE)
    }

    #[test]
    fn shared_frames_are_not_taken_and_taken_frames_not_shared() {
        let mut bytes = [0; 64];
        let mut table = table(&mut bytes);
        assert_eq!(table.share(frame(8), 16), Ok(WRITE_BACK));
        assert_eq!(table.take(frame(9), Class::Donated), Err(Status::FrameInUse));
        assert_eq!(table.take(frame(3), Class::Donated), Ok(()));
        assert_eq!(table.share(frame(0), 8), Err(Status::FrameInUse));
        table.release(frame(8), 16);
        assert_eq!(table.take(frame(9), Class::Machine), Ok(()));
        assert!(table.is_number(9, Class::Machine));
    }

    #[test]
    fn the_monitor_and_absent_memory_are_bad_addresses() {
        let mut bytes = [0; 64];
        let mut table = table(&mut bytes);
        table.assign(0x10_000, 0x20_000, Class::Monitor);
        assert_eq!(table.share(frame(12), 8), Err(Status::BadAddress));
        assert_eq!(table.take(frame(16), Class::Donated), Err(Status::BadAddress));
        assert_eq!(table.take(HostPhysical::new(0x123), Class::Donated), Err(Status::BadAddress));
        assert_eq!(table.share(frame(60), 8), Err(Status::BadAddress), "half memory, half device space");
        assert_eq!(table.share(frame(64), 8), Ok(UNCACHEABLE));
        assert_eq!(table.share(frame(1 << 28), 1), Err(Status::BadAddress), "beyond the processor");
        assert_eq!(table.share(frame((1 << 28) - 1), u64::MAX), Err(Status::BadAddress));
    }

    #[test]
    fn often_shared_frames_stick() {
        let mut bytes = [0; 64];
        let mut table = table(&mut bytes);
        for _ in 0..300 {
            table.share(frame(0), 64).unwrap();
        }
        for _ in 0..300 {
            table.release(frame(0), 64);
        }
        assert_eq!(table.take(frame(5), Class::Donated), Err(Status::FrameInUse));
    }

    proptest! {
        #[test]
        fn counts_follow_the_model(steps in prop::collection::vec((any::<bool>(), 0u64..70, 0u64..70), 1..200)) {
            let mut bytes = [0; 64];
            let mut table = table(&mut bytes);
            let mut model = [0u8; 64];
            let mut live = Vec::new();
            for (share, start, count) in steps {
                if share {
                    let inside = start + count <= 64;
                    let result = table.share(frame(start), count);
                    if inside && start < 64 {
                        prop_assert_eq!(result, Ok(WRITE_BACK));
                        for byte in &mut model[start as usize..(start + count) as usize] {
                            *byte = (*byte + 1).min(STUCK);
                        }
                        live.push((start, count));
                    } else if start < 64 {
                        prop_assert_eq!(result, Err(Status::BadAddress));
                    }
                } else if let Some((start, count)) = live.pop() {
                    table.release(frame(start), count);
                    for byte in &mut model[start as usize..(start + count) as usize] {
                        if *byte < STUCK {
                            *byte -= 1;
                        }
                    }
                }
            }
            prop_assert_eq!(&*table.bytes, &model[..]);
        }
    }
}
