//! Tells when a boot loader enters a Linux kernel: a copy of the kernel whose
//! entry point is replaced by code that prints the time stamp counter on the
//! first serial port and stops.
//!
//! The copy has the kernel's size and headers, so the boot loader does the
//! same work for it; on an emulator that counts instructions, it enters the
//! real kernel at the same tick.

use crate::bzimage::{self, BzImage, BzImageError};

/// What the code prints before the time stamp counter's 16 hexadecimal digits.
pub const MARK: &str = "kernel entry at tick 0x";

/// The code, for the 32-bit entry point ("32-bit Boot Protocol" of
/// `Documentation/arch/x86/boot.rst`): flat segments, interrupts off, any
/// stack. It uses memory below 0x7000 as its stack, which is free once nothing
/// but this code runs, and waits for the serial port before each byte
/// (line status register, bit 5). The text follows it.
const CODE: &[u8] = &[
    0x0f, 0x31, // rdtsc
    0x89, 0xc7, // mov edi, eax
    0x89, 0xd5, // mov ebp, edx
    0xbc, 0x00, 0x70, 0x00, 0x00, // mov esp, 0x7000
    0xe8, 0x00, 0x00, 0x00, 0x00, // call here
    0x5e, // here: pop esi
    0xfc, // cld
    0x81, 0xc6, 0x56, 0x00, 0x00, 0x00, // add esi, text - here
    0xac, // next_byte: lodsb
    0x88, 0xc3, // mov bl, al
    0x84, 0xdb, // test bl, bl
    0x74, 0x07, // jz digits
    0xe8, 0x31, 0x00, 0x00, 0x00, // call put
    0xeb, 0xf2, // jmp next_byte
    0xb9, 0x10, 0x00, 0x00, 0x00, // digits: mov ecx, 16
    0x89, 0xeb, // next_digit: mov ebx, ebp
    0xc1, 0xeb, 0x1c, // shr ebx, 28
    0x80, 0xfb, 0x0a, // cmp bl, 10
    0x72, 0x03, // jb decimal
    0x80, 0xc3, 0x27, // add bl, 'a' - 10 - '0'
    0x80, 0xc3, 0x30, // decimal: add bl, '0'
    0xe8, 0x15, 0x00, 0x00, 0x00, // call put
    0x0f, 0xa4, 0xfd, 0x04, // shld ebp, edi, 4
    0xc1, 0xe7, 0x04, // shl edi, 4
    0x49, // dec ecx
    0x75, 0xe1, // jnz next_digit
    0xb3, 0x0a, // mov bl, '\n'
    0xe8, 0x04, 0x00, 0x00, 0x00, // call put
    0xfa, // stop: cli
    0xf4, // hlt
    0xeb, 0xfc, // jmp stop
    0x66, 0xba, 0xfd, 0x03, // put: mov dx, 0x3fd
    0xec, // wait: in al, dx
    0xa8, 0x20, // test al, 0x20
    0x74, 0xfb, // jz wait
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0x88, 0xd8, // mov al, bl
    0xee, // out dx, al
    0xc3, // ret
];

/// A copy of `kernel` that tells when it is entered.
pub fn probe(kernel: &[u8]) -> Result<Vec<u8>, BzImageError> {
    BzImage::check(kernel)?;
    let mut copy = kernel.to_vec();
    let entry = bzimage::entry_offset(kernel);
    let code = CODE.iter().chain(MARK.as_bytes()).chain(&[0]);
    for (byte, &new) in copy[entry..].iter_mut().zip(code) {
        *byte = new;
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bzimage::tests::good_kernel;

    #[test]
    fn only_the_entry_changes() {
        let kernel = good_kernel(4096, 0);
        let copy = probe(&kernel).unwrap();
        assert_eq!(copy.len(), kernel.len());
        assert_eq!(copy[..1024], kernel[..1024]);
        assert_eq!(copy[1024..1024 + CODE.len()], *CODE);
        let end = 1024 + CODE.len() + MARK.len();
        assert_eq!(copy[1024 + CODE.len()..end], *MARK.as_bytes());
        assert_eq!(copy[end..], kernel[end..]);
        assert!(probe(b"no kernel").is_err());
    }

    #[test]
    fn the_text_is_where_the_code_looks_for_it() {
        // `add esi, text - here`, where `here` is the instruction after the call.
        let here = CODE.windows(5).position(|bytes| bytes == [0xe8, 0, 0, 0, 0]).unwrap() + 5;
        assert_eq!(CODE[here + 2..here + 4], [0x81, 0xc6]);
        assert_eq!(usize::from(CODE[here + 4]), CODE.len() - here);
    }
}
