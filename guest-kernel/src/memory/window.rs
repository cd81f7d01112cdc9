//! What a Space showed lately: stretches that were translated alike, so that the next fault nearby need not go down the whole chain.
//!
//! A window counts for as long as no part of the Space has been taken away since it was found. That rights were relaxed
//! meanwhile does no harm: an access that wants more than a window has goes down the chain.

use super::hierarchy::Translation;
use core::cell::Cell;
use protocols::address::{HostPhysical, PAGE_SIZE};
use protocols::api::Rights;

/// A stretch of a Space that shows contiguous physical memory of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// The physical address of the first.
    physical: u64,
    /// The rights of the whole chain.
    pub rights: Rights,
    /// It is a device's memory, not RAM.
    pub device: bool,
    /// A Region of the chain is tracked.
    pub tracked: bool,
}

impl Window {
    /// Around an address of a Space whose translation is known; `kind` is whether that is device memory, and the physical stretch,
    /// first address and end, that is like it.
    pub fn new(address: u64, found: &Translation, kind: (bool, u64, u64)) -> Self {
        let (device, first, end) = kind;
        let physical = found.physical.get();
        let before = found.before.min(address).min(physical - first);
        let after = found.after.min(end - physical).min(u64::MAX - address);
        Self {
            start: address - before,
            end: address + after,
            physical: physical - before,
            rights: found.rights,
            device,
            tracked: found.tracked,
        }
    }

    /// One page of RAM.
    pub fn page(start: u64, physical: HostPhysical, rights: Rights) -> Self {
        Self { start, end: start + PAGE_SIZE, physical: physical.get(), rights, device: false, tracked: false }
    }

    /// The physical address of an address in it.
    #[inline]
    pub fn physical(&self, address: u64) -> HostPhysical {
        HostPhysical::new(self.physical + (address - self.start))
    }
}

const WINDOWS: usize = 4;

/// The windows found last.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    recent: [Option<(Window, u64)>; WINDOWS],
    oldest: usize,
    /// The one that was wanted last.
    last: Cell<usize>,
}

impl Windows {
    /// The window that was wanted last, if [`find`](Self::find) finds that.
    #[inline(always)]
    pub fn find_last(&self, address: u64, want: Rights, epoch: u64) -> Option<&Window> {
        let (window, found) = self.recent[self.last.get() % WINDOWS].as_ref()?;
        let is_inside = address.wrapping_sub(window.start) < window.end - window.start;
        (is_inside && *found == epoch && window.rights.contains(want)).then_some(window)
    }

    /// The window around `address` with rights that contain `want`, if one was found in this epoch of the Space.
    #[inline(always)]
    pub fn find(&self, address: u64, want: Rights, epoch: u64) -> Option<Window> {
        match self.find_last(address, want, epoch) {
            Some(window) => Some(*window),
            // Spaces that are only looked through have none.
            None => self.recent[0].and_then(|_| self.search(address, want, epoch)),
        }
    }

    #[inline(never)]
    fn search(&self, address: u64, want: Rights, epoch: u64) -> Option<Window> {
        let position = self.recent.iter().flatten().position(|(window, found)| {
            address.wrapping_sub(window.start) < window.end - window.start
                && *found == epoch
                && window.rights.contains(want)
        })?;
        self.last.set(position);
        self.recent[position].map(|(window, _)| window)
    }

    /// Remembers a window.
    pub fn add(&mut self, window: Window, epoch: u64) {
        self.recent[self.oldest] = Some((window, epoch));
        self.last.set(self.oldest);
        self.oldest = (self.oldest + 1) % WINDOWS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(physical: u64, before: u64, after: u64) -> Translation {
        Translation {
            physical: HostPhysical::new(physical),
            rights: Rights::READ,
            before,
            after,
            tracked: false,
            device: None,
        }
    }

    #[test]
    fn windows_end_where_the_kind_of_memory_changes() {
        let window = Window::new(0x5000, &found(0x9000, 0x3000, 0x8000), (false, 0x8000, 0xb000));
        assert_eq!((window.start, window.end), (0x4000, 0x7000));
        assert_eq!(window.physical(0x6800).get(), 0xa800);
        let window = Window::new(0x1000, &found(0x9000, u64::MAX, u64::MAX), (true, 0, u64::MAX));
        assert_eq!((window.start, window.physical(0).get()), (0, 0x8000));
    }

    #[test]
    fn what_was_taken_away_is_not_found() {
        let mut windows = Windows::default();
        let window = Window::new(0x5000, &found(0x9000, 0, 0x1000), (false, 0, u64::MAX));
        windows.add(window, 7);
        assert_eq!(windows.find(0x5fff, Rights::READ, 7), Some(window));
        assert_eq!(windows.find(0x6000, Rights::READ, 7), None);
        assert_eq!(windows.find(0x4fff, Rights::READ, 7), None);
        assert_eq!(windows.find(0x5000, Rights::WRITE, 7), None);
        assert_eq!(windows.find(0x5000, Rights::READ, 8), None);
    }
}
