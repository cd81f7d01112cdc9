//! Device memory, by physical address. An access to what the program may not use is an exception (#PF) of the program.
#![allow(unsafe_code)]

use core::arch::asm;

use crate::startup::DEVICES_ADDRESS;

macro_rules! memory {
    ($input:ident, $output:ident, $type:ty, $class:ident, $in:literal, $out:literal) => {
        #[doc = concat!("Reads a `", stringify!($type), "` from the device memory at `physical`.")]
        #[inline]
        pub fn $input(physical: u64) -> $type {
            let value;
            // SAFETY: nothing of the program lies at or above `DEVICES_ADDRESS`, so that this is an access to device
            // memory or an exception.
            unsafe { asm!($in, out($class) value, in(reg) address(physical), options(nostack, preserves_flags)) };
            value
        }

        #[doc = concat!("Writes a `", stringify!($type), "` to the device memory at `physical`. To have devices write memory by")]
        #[doc = "themselves one needs its physical address, which programs do not know of their own."]
        #[inline]
        pub fn $output(physical: u64, value: $type) {
            // SAFETY: as for reading.
            unsafe { asm!($out, in(reg) address(physical), in($class) value, options(nostack, preserves_flags)) };
        }
    };
}

memory!(read_u8, write_u8, u8, reg_byte, "mov {}, [{}]", "mov [{}], {}");
memory!(read_u16, write_u16, u16, reg, "mov {:x}, [{}]", "mov [{}], {:x}");
memory!(read_u32, write_u32, u32, reg, "mov {:e}, [{}]", "mov [{}], {:e}");

/// Where device memory appears. Beyond what page tables can show, nothing ever does.
fn address(physical: u64) -> u64 {
    DEVICES_ADDRESS.saturating_add(physical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_physical_address_leads_back_into_the_program() {
        for physical in [0, 0xb_8000, DEVICES_ADDRESS, u64::MAX - DEVICES_ADDRESS, u64::MAX] {
            assert!(address(physical) >= DEVICES_ADDRESS, "{physical:#x}");
        }
    }
}
