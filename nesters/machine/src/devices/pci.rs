//! PCI configuration access through ports 0xcf8 to 0xcff (PCI Local Bus Specification 3.0, 3.2.2.3.2). The bus holds a host
//! bridge and nothing else; with no bridge at all Linux reports a fatal error.

/// Vendor, device, command and status, class: a host bridge.
const BRIDGE: [u32; 4] = [0x0d57_8086, 0x0000_0000, 0x0600_0000, 0];
const ENABLE: u32 = 1 << 31;

/// The configuration ports.
#[derive(Debug, Default)]
pub struct Pci {
    address: u32,
}

impl Pci {
    /// Reads `size` bytes at `offset` from port 0xcf8.
    pub fn read(&self, offset: u16, size: u8) -> u32 {
        let (word, shift) = match offset {
            0..=3 => (self.address, offset),
            _ => (self.configuration(), offset & 3),
        };
        let word = if offset < 4 && size != 4 { u32::MAX } else { word >> (8 * shift) };
        match size {
            1 => word & 0xff,
            2 => word & 0xffff,
            _ => word,
        }
    }

    fn configuration(&self) -> u32 {
        let register = (self.address >> 2 & 0x3f) as usize;
        match self.address & 0x00ff_ff00 {
            0 if self.address & ENABLE != 0 => BRIDGE.get(register).copied().unwrap_or(0),
            _ => u32::MAX,
        }
    }

    /// Writes `size` bytes at `offset` from port 0xcf8.
    pub fn write(&mut self, offset: u16, size: u8, value: u32) {
        if (offset, size) == (0, 4) {
            self.address = value & 0x80ff_fffc;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_host_bridge_and_nothing_else() {
        let mut pci = Pci::default();
        pci.write(0, 4, 0x8000_0000);
        assert_eq!(pci.read(0, 4), 0x8000_0000);
        assert_eq!(pci.read(4, 4), 0x0d57_8086);
        assert_eq!(pci.read(6, 2), 0x0d57);
        pci.write(0, 4, 0x8000_0008);
        assert_eq!(pci.read(6, 2), 0x600);
        pci.write(0, 4, 0x8000_0800);
        assert_eq!(pci.read(4, 4), u32::MAX);
        pci.write(0, 4, 0);
        assert_eq!(pci.read(4, 2), 0xffff);
    }
}
