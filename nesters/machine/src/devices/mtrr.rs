//! The memory type range registers (Intel SDM vol. 3A, 12.11). They only keep what is written: the memory of a machine has
//! the types that its nester gives it.

use super::local_apic::GeneralProtection;

const VARIABLE: usize = 8;
const FIXED: [u32; 11] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
const WRITE_BACK: u64 = 6;

/// The memory type range registers.
#[derive(Debug)]
pub struct Mtrrs {
    default: u64,
    fixed: [u64; 11],
    variable: [u64; VARIABLE * 2],
    address_mask: u64,
}

impl Mtrrs {
    /// As firmware leaves them: everything write-back but the last gigabyte below 4 GiB, for a processor with
    /// `physical_bits` bits of address.
    pub fn new(physical_bits: u8) -> Self {
        let address_mask = (1u64 << physical_bits.clamp(36, 52)) - 1;
        let mut variable = [0; VARIABLE * 2];
        variable[0] = 0xc000_0000;
        variable[1] = address_mask & !0x3fff_ffff | 1 << 11;
        Self { default: 1 << 11 | WRITE_BACK, fixed: [0x0606_0606_0606_0606; 11], variable, address_mask }
    }

    /// Whether `msr` is one of them.
    pub fn owns(msr: u32) -> bool {
        matches!(msr, 0xfe | 0x2ff | 0x200..=0x20f | 0x250..=0x26f)
            && (msr < 0x250 || msr == 0x2ff || FIXED.contains(&msr))
    }

    /// Reads `msr`.
    pub fn read(&self, msr: u32) -> Result<u64, GeneralProtection> {
        match msr {
            // Write combining, fixed ranges, eight variable ranges.
            0xfe => Ok(1 << 10 | 1 << 8 | VARIABLE as u64),
            0x2ff => Ok(self.default),
            0x200..=0x20f => Ok(self.variable[(msr - 0x200) as usize]),
            _ => FIXED.iter().position(|&fixed| fixed == msr).map(|at| self.fixed[at]).ok_or(GeneralProtection),
        }
    }

    /// Writes `msr`.
    pub fn write(&mut self, msr: u32, value: u64) -> Result<(), GeneralProtection> {
        let is_type = |value: u64| matches!(value & 0xff, 0 | 1 | 4 | 5 | 6);
        match msr {
            0x2ff if value & !0xcff == 0 && is_type(value) => self.default = value,
            0x200..=0x20f if msr & 1 == 0 && value & !(self.address_mask & !0xfff | 0xff) == 0 && is_type(value) => {
                self.variable[(msr - 0x200) as usize] = value;
            }
            0x200..=0x20f if msr & 1 == 1 && value & !(self.address_mask & !0xfff | 1 << 11) == 0 => {
                self.variable[(msr - 0x200) as usize] = value;
            }
            _ => {
                let at = FIXED.iter().position(|&fixed| fixed == msr).ok_or(GeneralProtection)?;
                if !(0..8).all(|byte| is_type(value >> (8 * byte))) {
                    return Err(GeneralProtection);
                }
                self.fixed[at] = value;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_defaults_and_checks() {
        let mut mtrrs = Mtrrs::new(40);
        assert_eq!(mtrrs.read(0xfe), Ok(0x508));
        assert_eq!(mtrrs.read(0x2ff), Ok(0x806));
        assert_eq!(mtrrs.read(0x201), Ok(0xff_c000_0800));
        assert_eq!(mtrrs.write(0x2ff, 0x802), Err(GeneralProtection), "reserved type");
        assert_eq!(mtrrs.write(0x201, 1 << 40), Err(GeneralProtection), "beyond the physical address");
        assert_eq!(mtrrs.write(0x202, 0xd000_0006), Ok(()));
        assert_eq!(mtrrs.read(0x202), Ok(0xd000_0006));
        assert_eq!(mtrrs.write(0x26f, 0), Ok(()));
        assert_eq!(mtrrs.write(0xfe, 0), Err(GeneralProtection));
        assert!(!Mtrrs::owns(0x251) && Mtrrs::owns(0x26f) && !Mtrrs::owns(0x277));
    }
}
