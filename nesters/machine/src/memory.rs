//! A guest's RAM and where it lies.

use protocols::address::GuestPhysical;

/// Where RAM stops below 4 GiB; the rest of it continues at 4 GiB.
pub const LOW_END: u64 = 0xc000_0000;
/// Where RAM goes on.
pub const HIGH_START: u64 = 1 << 32;

/// An access to guest-physical memory that is not RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbacked;

/// A guest's RAM by guest-physical address.
pub trait GuestMemory {
    /// Copies memory from `address` on to `buffer`.
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked>;
    /// Copies `bytes` to memory from `address` on.
    fn write(&mut self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked>;
    /// How the memory lies.
    fn layout(&self) -> Layout;
}

/// How `size` bytes of RAM lie in the guest-physical address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    size: u64,
}

impl Layout {
    /// The layout of `size` bytes.
    pub const fn new(size: u64) -> Self {
        Self { size }
    }

    /// Bytes of RAM.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of RAM from address 0 on.
    pub fn low(&self) -> u64 {
        self.size.min(LOW_END)
    }

    /// Bytes of RAM from 4 GiB on.
    pub fn high(&self) -> u64 {
        self.size - self.low()
    }

    /// Where in RAM `length` bytes from `address` on lie, if all of them are RAM.
    pub fn offset(&self, address: GuestPhysical, length: u64) -> Option<u64> {
        let start = address.get();
        let end = start.checked_add(length)?;
        if end <= self.low() {
            Some(start)
        } else if start >= HIGH_START && end - HIGH_START <= self.high() {
            Some(self.low() + (start - HIGH_START))
        } else {
            None
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    /// RAM for tests: sparse only in that it may be smaller than its layout says.
    pub(crate) struct TestMemory {
        pub(crate) bytes: Vec<u8>,
        layout: Layout,
    }

    impl TestMemory {
        pub(crate) fn new(size: u64) -> Self {
            Self { bytes: vec![0; size as usize], layout: Layout::new(size) }
        }

        pub(crate) fn u64(&self, address: u64) -> u64 {
            let mut bytes = [0; 8];
            self.read(GuestPhysical::new(address), &mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        }
    }

    impl GuestMemory for TestMemory {
        fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> Result<(), Unbacked> {
            let offset = self.layout.offset(address, buffer.len() as u64).ok_or(Unbacked)? as usize;
            buffer.copy_from_slice(&self.bytes[offset..offset + buffer.len()]);
            Ok(())
        }

        fn write(&mut self, address: GuestPhysical, bytes: &[u8]) -> Result<(), Unbacked> {
            let offset = self.layout.offset(address, bytes.len() as u64).ok_or(Unbacked)? as usize;
            self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn layout(&self) -> Layout {
            self.layout
        }
    }

    #[test]
    fn memory_has_a_hole_below_4_gib() {
        let layout = Layout::new(4 << 30);
        let offset = |address, length| layout.offset(GuestPhysical::new(address), length);
        assert_eq!((layout.low(), layout.high()), (LOW_END, 1 << 30));
        assert_eq!(offset(LOW_END - 1, 1), Some(LOW_END - 1));
        assert_eq!(offset(LOW_END - 1, 2), None);
        assert_eq!(offset(HIGH_START, 1 << 30), Some(LOW_END));
        assert_eq!(offset(HIGH_START + 1, 1 << 30), None);
        assert_eq!(offset(u64::MAX, 2), None);
        assert_eq!(Layout::new(4096).offset(GuestPhysical::new(HIGH_START), 1), None);
    }
}
