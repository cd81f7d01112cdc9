//! What an ELF file asks for: segments, each on its own pages, and an entry point.

use alloc::vec::Vec;
use core::fmt;

use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PF_R, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;

use crate::address::PAGE_SIZE;
use crate::api::Rights;
use crate::startup::{POOL_ADDRESS, PROGRAM_ADDRESS};

/// Why an ELF file cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// It is not an ELF file, or damaged.
    NotElf,
    /// It is not a statically linked 64-bit x86 executable.
    NotExecutable,
    /// A segment lies outside the addresses that programs have, or outside the file.
    BadSegment,
    /// Two segments share a page.
    Overlap,
    /// A segment is writable and executable at once.
    WritableCode,
    /// The entry point is in no executable segment.
    BadEntry,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotElf => "not an ELF file, or damaged",
            Self::NotExecutable => "not a static 64-bit x86 executable",
            Self::BadSegment => "a segment lies outside the program's addresses or outside the file",
            Self::Overlap => "two segments share a page",
            Self::WritableCode => "a segment is writable and executable",
            Self::BadEntry => "the entry point is in no executable segment",
        })
    }
}

/// Whole pages of a program with the same rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// First address, a multiple of the page size.
    pub start: u64,
    /// Length in bytes, a multiple of the page size.
    pub size: u64,
    /// Rights.
    pub rights: Rights,
    /// What it holds at first, from `lead` on; zeroes around it.
    pub bytes: &'a [u8],
    /// Offset of `bytes` in the first page.
    pub lead: u64,
}

/// A program that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// Address of the first instruction.
    pub entry: u64,
    /// Segments in order of address, none overlapping.
    pub segments: Vec<Segment<'a>>,
}

impl<'a> Image<'a> {
    /// Reads an ELF file.
    pub fn parse(file: &'a [u8]) -> Result<Self, ImageError> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| ImageError::NotElf)?;
        if elf.ehdr.e_machine != EM_X86_64 || elf.ehdr.e_type != ET_EXEC || elf.ehdr.class != elf::file::Class::ELF64 {
            return Err(ImageError::NotExecutable);
        }
        let mut segments = Vec::new();
        for header in elf.segments().ok_or(ImageError::NotExecutable)? {
            if header.p_type != PT_LOAD || header.p_memsz == 0 {
                continue;
            }
            let end = header.p_vaddr.checked_add(header.p_memsz).ok_or(ImageError::BadSegment)?;
            if header.p_vaddr < PROGRAM_ADDRESS || end > POOL_ADDRESS || header.p_filesz > header.p_memsz {
                return Err(ImageError::BadSegment);
            }
            let bytes = elf.segment_data(&header).map_err(|_| ImageError::BadSegment)?;
            let rights = [(PF_R, Rights::READ), (PF_W, Rights::WRITE), (PF_X, Rights::EXECUTE)];
            let rights =
                rights.iter().filter(|(flag, _)| header.p_flags & flag != 0).map(|&(_, right)| right).collect();
            if Rights::contains(&rights, Rights::WRITE | Rights::EXECUTE) {
                return Err(ImageError::WritableCode);
            }
            let start = header.p_vaddr & !(PAGE_SIZE - 1);
            let size = end.next_multiple_of(PAGE_SIZE) - start;
            segments.push(Segment { start, size, rights, bytes, lead: header.p_vaddr - start });
        }
        segments.sort_unstable_by_key(|segment| segment.start);
        if segments.windows(2).any(|pair| pair[0].start + pair[0].size > pair[1].start) {
            return Err(ImageError::Overlap);
        }
        let entry = elf.ehdr.e_entry;
        let is_code = |segment: &Segment<'_>| {
            segment.rights.contains(Rights::EXECUTE) && (segment.start..segment.start + segment.size).contains(&entry)
        };
        if !segments.iter().any(is_code) {
            return Err(ImageError::BadEntry);
        }
        Ok(Self { entry, segments })
    }

    /// Bytes of memory that its segments take.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// (address, memory size, bytes in the file, flags)
    type Load = (u64, u64, usize, u32);

    fn elf(entry: u64, loads: &[Load]) -> Vec<u8> {
        let mut file = vec![0u8; 64 + 56 * loads.len()];
        file[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
        file[16..20].copy_from_slice(&[2, 0, 62, 0]);
        file[20] = 1;
        file[24..32].copy_from_slice(&entry.to_le_bytes());
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[52..58].copy_from_slice(&[64, 0, 56, 0, loads.len() as u8, 0]);
        for (index, &(address, memory, bytes, flags)) in loads.iter().enumerate() {
            let header = &mut file[64 + 56 * index..][..56];
            header[0] = 1;
            header[4..8].copy_from_slice(&flags.to_le_bytes());
            for (at, value) in [(16, address), (32, bytes as u64), (40, memory), (48, 4096)] {
                header[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            let offset = file.len() as u64;
            file[64 + 56 * index + 8..][..8].copy_from_slice(&offset.to_le_bytes());
            file.extend((0..bytes).map(|byte| byte as u8));
        }
        file
    }

    const CODE: Load = (0x40_0010, 0x2000, 0x1500, PF_R | PF_X);
    const DATA: Load = (0x41_0000, 0x5000, 8, PF_R | PF_W);

    #[test]
    fn segments_take_whole_pages() {
        let file = elf(0x40_0010, &[DATA, CODE]);
        let image = Image::parse(&file).unwrap();
        assert_eq!(image.entry, 0x40_0010);
        let [code, data] = image.segments[..] else { panic!() };
        assert_eq!((code.start, code.size, code.lead, code.bytes.len()), (0x40_0000, 0x3000, 0x10, 0x1500));
        assert_eq!(code.rights, Rights::READ | Rights::EXECUTE);
        assert_eq!((data.start, data.size, data.bytes.len()), (0x41_0000, 0x5000, 8));
        assert_eq!(image.size(), 0x8000);
    }

    #[test]
    fn bad_files_are_refused() {
        let error = |entry, loads: &[Load]| Image::parse(&elf(entry, loads)).unwrap_err();
        assert_eq!(Image::parse(b"#!/bin/sh"), Err(ImageError::NotElf));
        assert_eq!(error(0x41_0000, &[CODE, DATA]), ImageError::BadEntry);
        assert_eq!(error(0x40_0010, &[CODE, (0x40_2100, 8, 8, PF_R)]), ImageError::Overlap);
        assert_eq!(error(0x40_0010, &[(0x40_0000, 64, 64, PF_R | PF_W | PF_X)]), ImageError::WritableCode);
        assert_eq!(error(0x10, &[(0, 64, 64, PF_X)]), ImageError::BadSegment, "below the program's addresses");
        assert_eq!(error(0x40_0000, &[(0x40_0000, 8, 64, PF_X)]), ImageError::BadSegment, "more bytes than memory");
        assert_eq!(error(0, &[(u64::MAX - 7, 64, 8, PF_X)]), ImageError::BadSegment, "wraps");
        let mut shared = elf(0x40_0010, &[CODE]);
        shared[16] = 3;
        assert_eq!(Image::parse(&shared), Err(ImageError::NotExecutable));
    }

    #[test]
    fn no_truncation_panics() {
        let file = elf(0x40_0010, &[CODE, DATA]);
        for length in 0..file.len() {
            assert!(Image::parse(&file[..length]).is_err(), "{length}");
        }
    }
}
