//! The header of a Linux bzImage (Linux, Documentation/arch/x86/boot.rst), checked.

use core::fmt;

/// Size of a sector.
const SECTOR: usize = 512;
/// Where the setup header begins.
pub const HEADER_START: usize = 0x1f1;
/// Protocol 2.12: the first with `xloadflags`.
const OLDEST_PROTOCOL: u16 = 0x20c;

/// What is wrong with a kernel file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// It has no bzImage header.
    NotBzImage,
    /// It ends before what its header describes.
    Truncated {
        /// Bytes that the header describes.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Its boot protocol is older than 2.12.
    TooOld {
        /// The version, major in the high byte.
        version: u16,
    },
    /// It cannot be entered in 64-bit mode.
    Not64Bit,
    /// Its header contradicts itself.
    Damaged,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBzImage => write!(f, "is not a Linux bzImage"),
            Self::Truncated { expected, found } => {
                write!(f, "is truncated: its header describes {expected} bytes, it has {found}")
            }
            Self::TooOld { version } => {
                write!(f, "has boot protocol {}.{:02}, 2.12 is needed", version >> 8, version & 0xff)
            }
            Self::Not64Bit => write!(f, "cannot be entered in 64-bit mode"),
            Self::Damaged => write!(f, "has a damaged header"),
        }
    }
}

/// A checked bzImage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BzImage<'a> {
    /// The setup header, to be copied to the boot parameters at [`HEADER_START`].
    pub header: &'a [u8],
    /// What is loaded: the protected-mode part.
    pub payload: &'a [u8],
    /// Where it prefers to be loaded.
    pub preferred_address: u64,
    /// Alignment it needs when it is loaded elsewhere, `None` if it must not be.
    pub alignment: Option<u64>,
    /// Memory that it needs from its load address on.
    pub run_size: u64,
    /// Highest address that its initial RAM disk may end at.
    pub initrd_max: u64,
    /// Longest command line that it takes, without the final zero.
    pub command_line_max: usize,
}

impl<'a> BzImage<'a> {
    /// Checks `file` and describes it.
    pub fn parse(file: &'a [u8]) -> Result<Self, ImageError> {
        let byte = |at: usize| file.get(at).copied().ok_or(ImageError::NotBzImage);
        let u16_at = |at: usize| bytes(file, at).map(u16::from_le_bytes);
        let u32_at = |at: usize| bytes(file, at).map(u32::from_le_bytes);
        if u16_at(0x1fe)? != 0xaa55 || bytes(file, 0x202)? != *b"HdrS" {
            return Err(ImageError::NotBzImage);
        }
        let version = u16_at(0x206)?;
        // Bit 0 of the load flags: the payload is loaded high, which tells a bzImage from a zImage.
        if byte(0x211)? & 1 == 0 {
            return Err(ImageError::NotBzImage);
        }
        if version < OLDEST_PROTOCOL {
            return Err(ImageError::TooOld { version });
        }
        if u16_at(0x236)? & 1 == 0 {
            return Err(ImageError::Not64Bit);
        }
        let setup_sectors = match byte(HEADER_START)? {
            0 => 4,
            sectors => usize::from(sectors),
        };
        let setup = (setup_sectors + 1) * SECTOR;
        let expected = setup as u64 + u64::from(u32_at(0x1f4)?) * 16;
        if (file.len() as u64) < expected {
            return Err(ImageError::Truncated { expected, found: file.len() as u64 });
        }
        let payload = &file[setup..expected as usize];
        let header_end = 0x202 + usize::from(byte(0x201)?);
        let header = file.get(HEADER_START..header_end.min(0x290)).ok_or(ImageError::Damaged)?;
        let alignment = u64::from(u32_at(0x230)?);
        let relocatable = byte(0x234)? != 0;
        let preferred_address = bytes(file, 0x258).map(u64::from_le_bytes)?;
        let run_size = u64::from(u32_at(0x260)?).max(payload.len() as u64);
        // The 64-bit entry is 0x200 into the payload.
        if header_end < 0x264 || payload.len() < 0x400 || relocatable && !alignment.is_power_of_two() {
            return Err(ImageError::Damaged);
        }
        Ok(Self {
            header,
            payload,
            preferred_address,
            alignment: relocatable.then_some(alignment.max(4096)),
            run_size,
            initrd_max: u64::from(u32_at(0x22c)?),
            command_line_max: u32_at(0x238)? as usize,
        })
    }
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Result<[u8; N], ImageError> {
    file.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).ok_or(ImageError::NotBzImage)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// A file that looks like a kernel with a payload of 4 KiB.
    pub(crate) fn kernel() -> Vec<u8> {
        let mut file = vec![0u8; 2 * SECTOR + 4096];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x1f1, &[1]);
        put(0x1f4, &256u32.to_le_bytes());
        put(0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
        put(0x202, b"HdrS");
        put(0x206, &0x20fu16.to_le_bytes());
        put(0x211, &[1]);
        put(0x22c, &0x7fff_ffffu32.to_le_bytes());
        put(0x230, &0x20_0000u32.to_le_bytes());
        put(0x234, &[1]);
        put(0x236, &1u16.to_le_bytes());
        put(0x238, &2047u32.to_le_bytes());
        put(0x258, &0x100_0000u64.to_le_bytes());
        put(0x260, &0x20_0000u32.to_le_bytes());
        put(2 * SECTOR, b"payload");
        file
    }

    #[test]
    fn a_kernel_is_described() {
        let file = kernel();
        let image = BzImage::parse(&file).unwrap();
        assert_eq!(&image.payload[..7], b"payload");
        assert_eq!((image.payload.len(), image.header.len()), (4096, 0x26c - 0x1f1));
        assert_eq!((image.preferred_address, image.alignment), (0x100_0000, Some(0x20_0000)));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let damaged = |at: usize, bytes: &[u8]| {
            let mut file = kernel();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            BzImage::parse(&file).unwrap_err()
        };
        assert_eq!(BzImage::parse(b"#!/bin/sh"), Err(ImageError::NotBzImage));
        assert_eq!(BzImage::parse(&vec![0; 9000]), Err(ImageError::NotBzImage));
        assert_eq!(damaged(0x206, &[0x0b, 2]), ImageError::TooOld { version: 0x20b });
        assert_eq!(damaged(0x236, &[0]), ImageError::Not64Bit);
        assert_eq!(damaged(0x211, &[0]), ImageError::NotBzImage);
        assert_eq!(damaged(0x201, &[0]), ImageError::Damaged);
        assert_eq!(damaged(0x230, &[3]), ImageError::Damaged);
        let file = kernel();
        let cut = BzImage::parse(&file[..4000]);
        assert_eq!(cut, Err(ImageError::Truncated { expected: 5120, found: 4000 }));
    }

    proptest! {
        #[test]
        fn damage_never_panics(changes in prop::collection::vec((0usize..5120, any::<u8>()), 0..40), length in 0usize..5121) {
            let mut file = kernel();
            for (at, value) in changes {
                file[at] = value;
            }
            let _ = BzImage::parse(&file[..length]);
        }
    }
}
