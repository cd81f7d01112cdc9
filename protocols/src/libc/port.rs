//! I/O ports. An access to a port that the program may not use is an exception (#GP) of the program.
#![allow(unsafe_code)]

use core::arch::asm;

macro_rules! port {
    ($input:ident, $output:ident, $type:ty, $register:tt, $in:literal, $out:literal) => {
        #[doc = concat!("Reads a `", stringify!($type), "` from I/O port `port`.")]
        #[inline]
        pub fn $input(port: u16) -> $type {
            let value;
            // SAFETY: IN touches no memory; devices that a program may reach at all are its own, and no memory that
            // Rust code relies on is changed by reading their registers.
            unsafe { asm!($in, out($register) value, in("dx") port, options(nomem, nostack, preserves_flags)) };
            value
        }

        #[doc = concat!("Writes a `", stringify!($type), "` to I/O port `port`. Only the root nester reaches any; it programs no device to write memory.")]
        #[inline]
        pub fn $output(port: u16, value: $type) {
            // SAFETY: OUT touches no memory of the program.
            unsafe { asm!($out, in("dx") port, in($register) value, options(nomem, nostack, preserves_flags)) };
        }
    };
}

port!(read_u8, write_u8, u8, "al", "in al, dx", "out dx, al");
port!(read_u16, write_u16, u16, "ax", "in ax, dx", "out dx, ax");
port!(read_u32, write_u32, u32, "eax", "in eax, dx", "out dx, eax");
