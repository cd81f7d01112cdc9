//! What a file must be to boot as a Linux kernel: a 64-bit, relocatable-high
//! bzImage that is all there.
//!
//! The header fields are those of the kernel's own documentation,
//! `Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header".

/// The oldest boot protocol with `xloadflags`, which announces the 64-bit
/// entry point (boot.rst, protocol 2.12).
const PROTOCOL_2_12: u16 = 0x020c;
/// `loadflags` bit 0: the protected-mode code is loaded at 1 MiB.
const LOADED_HIGH: u8 = 1 << 0;
/// `xloadflags` bit 0: the kernel has the 64-bit entry point at 0x200.
const XLF_KERNEL_64: u16 = 1 << 0;
/// End of the header fields that are read here.
const HEADER_END: usize = 0x264;

/// What the header of a good kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BzImage {
    /// Memory the kernel needs from its load address until it has found its
    /// way, in bytes (`init_size`).
    pub init_size: u32,
    /// Where it likes to be loaded (`pref_address`).
    pub preferred_address: u64,
}

/// Why a file cannot be booted as a kernel.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BzImageError {
    /// Not an x86 boot image at all.
    #[error("not a bzImage: {0}")]
    NotBzImage(&'static str),
    /// A bzImage that ends early.
    #[error("truncated: the header announces {expected} bytes, the file has {actual}")]
    Truncated {
        /// Bytes of setup and protected-mode code that the header announces.
        expected: u64,
        /// Bytes in the file.
        actual: u64,
    },
    /// The boot protocol is too old.
    #[error("boot protocol {}.{:02} is too old: 2.12 (Linux 3.8) or newer is needed", .0 >> 8, .0 & 0xff)]
    TooOld(u16),
    /// A 32-bit kernel, or one that loads low.
    #[error("not a 64-bit kernel: it has no 64-bit entry point")]
    Not64Bit,
}

impl BzImage {
    /// Checks a whole kernel file.
    pub fn check(file: &[u8]) -> Result<Self, BzImageError> {
        if let Some(reason) = recognise_other(file) {
            return Err(BzImageError::NotBzImage(reason));
        }
        if file.len() < HEADER_END {
            return Err(BzImageError::Truncated { expected: HEADER_END as u64, actual: file.len() as u64 });
        }
        let u16_at = |at: usize| u16::from_le_bytes([file[at], file[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;

        let protocol = u16_at(0x206);
        if protocol < PROTOCOL_2_12 {
            return Err(BzImageError::TooOld(protocol));
        }
        if file[0x211] & LOADED_HIGH == 0 || u16_at(0x236) & XLF_KERNEL_64 == 0 {
            return Err(BzImageError::Not64Bit);
        }
        let expected = entry_offset(file) as u64 + u64::from(u32_at(0x1f4)) * 16;
        if expected > file.len() as u64 {
            return Err(BzImageError::Truncated { expected, actual: file.len() as u64 });
        }
        Ok(Self { init_size: u32_at(0x260), preferred_address: u64_at(0x258) })
    }
}

/// Where the protected-mode code, and so the 32-bit entry point, begins in a
/// file that passed [`BzImage::check`] (boot.rst, "Loading The Rest of The
/// Kernel": a setup_sects of 0 means 4, for compatibility).
pub fn entry_offset(file: &[u8]) -> usize {
    let setup_sectors = match file[0x1f1] {
        0 => 4,
        count => usize::from(count),
    };
    (setup_sectors + 1) * 512
}

/// The version that a kernel which passed [`BzImage::check`] gives itself, such
/// as `6.1.0-18-amd64` (`kernel_version` in boot.rst).
pub fn version(file: &[u8]) -> Option<String> {
    let at = match u16::from_le_bytes([*file.get(0x20e)?, *file.get(0x20f)?]) {
        0 => return None,
        offset => usize::from(offset) + 0x200,
    };
    let text = file.get(at..)?.split(|byte| byte.is_ascii_whitespace() || *byte == 0).next()?;
    (text.len() < 100).then(|| String::from_utf8_lossy(text).into_owned())
}

/// Says why `file` is no bzImage, naming what it looks like instead.
fn recognise_other(file: &[u8]) -> Option<&'static str> {
    let has = |at: usize, magic: &[u8]| file.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if file.is_empty() {
        Some("the file is empty")
    } else if has(0, b"\x7fELF") {
        Some("it is an ELF file (an uncompressed vmlinux?); use arch/x86/boot/bzImage")
    } else if has(0, b"\x1f\x8b") {
        Some("it is a gzip file (an initrd?)")
    } else if has(0x38, b"ARM\x64") {
        Some("it is a kernel for arm64")
    } else if file.len() >= 0x206 && (!has(0x1fe, &[0x55, 0xaa]) || !has(0x202, b"HdrS")) {
        Some("it has no Linux boot header (`HdrS`)")
    } else if file.len() < 0x206 {
        Some("it is too short for a Linux boot header")
    } else {
        None
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A minimal good kernel: one setup sector, `code` bytes of kernel.
    pub(crate) fn good_kernel(code: u32, init_size: u32) -> Vec<u8> {
        let mut file = vec![0u8; 1024 + code as usize];
        file[0x1f1] = 1;
        file[0x1f4..0x1f8].copy_from_slice(&(code / 16).to_le_bytes());
        file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        file[0x202..0x206].copy_from_slice(b"HdrS");
        file[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
        file[0x211] = LOADED_HIGH;
        file[0x236] = 1;
        file[0x258..0x260].copy_from_slice(&0x100_0000u64.to_le_bytes());
        file[0x260..0x264].copy_from_slice(&init_size.to_le_bytes());
        file
    }

    #[test]
    fn accepts_a_good_kernel() {
        let kernel = BzImage::check(&good_kernel(4096, 0x20_0000)).unwrap();
        assert_eq!(kernel.init_size, 0x20_0000);
        assert_eq!(kernel.preferred_address, 0x100_0000);
    }

    #[test]
    fn finds_entry_and_version() {
        let mut kernel = good_kernel(4096, 0);
        assert_eq!((entry_offset(&kernel), version(&kernel)), (1024, None));
        kernel[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        kernel[0x300..0x30c].copy_from_slice(b"6.1.0-x (me)");
        assert_eq!(version(&kernel).as_deref(), Some("6.1.0-x"));
    }

    #[test]
    fn refuses_what_is_no_bzimage() {
        for bytes in [&b""[..], b"hello", b"\x7fELF\x02", b"\x1f\x8b\x08", &[0; 4096]] {
            assert!(matches!(BzImage::check(bytes), Err(BzImageError::NotBzImage(_))));
        }
    }

    #[test]
    fn refuses_truncation_at_every_length() {
        let kernel = good_kernel(4096, 0);
        for length in 0x206..kernel.len() {
            let error = BzImage::check(&kernel[..length]).unwrap_err();
            assert!(matches!(error, BzImageError::Truncated { .. }), "{length}");
        }
    }

    #[test]
    fn refuses_old_and_32_bit_kernels() {
        let mut kernel = good_kernel(4096, 0);
        kernel[0x236] = 0;
        assert_eq!(BzImage::check(&kernel), Err(BzImageError::Not64Bit));
        kernel[0x206] = 4;
        assert_eq!(BzImage::check(&kernel), Err(BzImageError::TooOld(0x0204)));
        assert!(BzImageError::TooOld(0x0204).to_string().contains("2.04"));
    }

    proptest! {
        #[test]
        fn never_panics(at in 0usize..1100, value: u8, length in 0usize..1100) {
            let mut kernel = good_kernel(64, 0);
            if let Some(byte) = kernel.get_mut(at) {
                *byte = value;
            }
            kernel.truncate(length);
            let _ = BzImage::check(&kernel);
        }
    }
}
