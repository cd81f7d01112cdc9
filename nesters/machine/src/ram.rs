//! A guest's RAM: memory of the program that is mapped in the machine's Space too.

use crate::memory::{GuestMemory, HIGH_START, Layout, Unbacked};
use protocols::address::GuestPhysical;
use protocols::libnest::{Mapping, Memory, Region, Result, Rights, Space};

/// RAM of a guest.
#[derive(Debug)]
pub struct Ram {
    memory: Memory,
    layout: Layout,
}

impl Ram {
    /// Takes `size` bytes, a multiple of 2 MiB, from the program's pool.
    pub fn allocate(size: u64) -> Option<Self> {
        Some(Self { memory: Memory::allocate(size)?, layout: Layout::new(size) })
    }

    /// Makes the RAM appear in a machine's Space, for as long as the result lives.
    pub fn map(&self, space: &Space) -> Result<Mapped> {
        let rights = Rights::READ | Rights::WRITE | Rights::EXECUTE;
        let region = Region::new(&self.memory, 0, self.layout.size(), rights)?;
        let (low, high) = (self.layout.low(), self.layout.high());
        let mut mapped = Mapped { low: Mapping::new(&region, 0, space, 0, low, rights)?, high: None, region };
        if high > 0 {
            mapped.high = Some(Mapping::new(&mapped.region, low, space, HIGH_START, high, rights)?);
        }
        Ok(mapped)
    }
}

/// RAM in a machine's Space.
#[derive(Debug)]
#[allow(dead_code, reason = "the handles keep the kernel's objects alive")]
pub struct Mapped {
    low: Mapping,
    high: Option<Mapping>,
    region: Region,
}

impl GuestMemory for Ram {
    fn read(&self, address: GuestPhysical, buffer: &mut [u8]) -> core::result::Result<(), Unbacked> {
        let offset = self.layout.offset(address, buffer.len() as u64).ok_or(Unbacked)?;
        self.memory.read_bytes(offset, buffer).map_err(|_| Unbacked)
    }

    fn write(&mut self, address: GuestPhysical, bytes: &[u8]) -> core::result::Result<(), Unbacked> {
        let offset = self.layout.offset(address, bytes.len() as u64).ok_or(Unbacked)?;
        self.memory.write_bytes(offset, bytes).map_err(|_| Unbacked)
    }

    fn layout(&self) -> Layout {
        self.layout
    }
}
