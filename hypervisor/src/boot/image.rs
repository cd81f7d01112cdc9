//! The kernel's ELF file: checked once, then a list of segments that can be copied without further checks.

use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;
use protocols::address::PAGE_SIZE;
use thiserror::Error;

/// The kernel is linked into the top 2 GiB, where 32-bit signed addresses reach.
const LOWEST_ADDRESS: u64 = 0xffff_ffff_8000_0000;
/// The largest image accepted, in bytes: what fits into the page tables made for it.
pub const MAX_SIZE: u64 = 64 << 20;
/// Most segments.
const MAX_SEGMENTS: usize = 16;

/// A loadable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Offset in the image.
    pub offset: u64,
    /// What the file holds; the rest is zero.
    pub data: &'a [u8],
}

/// A checked kernel.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// Virtual address of the image's first byte, a multiple of 4096.
    pub base: u64,
    /// Length in bytes, a multiple of 4096.
    pub size: u64,
    /// Virtual address of the first instruction.
    pub entry: u64,
    /// What to copy.
    pub segments: heapless::Vec<Segment<'a>, MAX_SEGMENTS>,
}

/// Why a file is not a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// The file is no ELF file, or cut off.
    #[error("it is not an ELF file, or is cut off")]
    NotElf,
    /// An ELF file, but not a 64-bit x86 executable.
    #[error("it is not a 64-bit x86 executable at fixed addresses")]
    WrongKind,
    /// There is no loadable segment, or there are too many.
    #[error("it has no loadable segments, or too many")]
    Segments,
    /// A segment lies outside the file, the top 2 GiB or the size limit, or overlaps another.
    #[error("a segment lies outside the file or outside the top 2 GiB, or segments overlap")]
    Bounds,
    /// The entry lies in no executable segment.
    #[error("its entry point lies in no executable segment")]
    Entry,
}

/// Checks `file`.
pub fn check(file: &[u8]) -> Result<Image<'_>, Damage> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| Damage::NotElf)?;
    let header = elf.ehdr;
    if header.class != Class::ELF64 || header.e_machine != EM_X86_64 || header.e_type != ET_EXEC {
        return Err(Damage::WrongKind);
    }
    let loads =
        || elf.segments().into_iter().flat_map(|table| table.iter()).filter(|s| s.p_type == PT_LOAD && s.p_memsz > 0);
    let lowest = loads().map(|segment| segment.p_vaddr).min().ok_or(Damage::Segments)?;
    if lowest < LOWEST_ADDRESS {
        return Err(Damage::Bounds);
    }
    let base = lowest & !(PAGE_SIZE - 1);
    let mut image = Image { base, size: 0, entry: header.e_entry, segments: heapless::Vec::new() };
    let mut entry_found = false;
    let mut end_of_last = 0;
    for segment in loads() {
        let offset = segment.p_vaddr - base;
        let end = offset.checked_add(segment.p_memsz).filter(|&end| end <= MAX_SIZE).ok_or(Damage::Bounds)?;
        if offset < end_of_last || segment.p_filesz > segment.p_memsz {
            return Err(Damage::Bounds);
        }
        end_of_last = end;
        let data = elf.segment_data(&segment).map_err(|_| Damage::Bounds)?;
        entry_found |= segment.p_flags & PF_X != 0 && (offset..end).contains(&image.entry.wrapping_sub(base));
        image.segments.push(Segment { offset, data }).map_err(|_| Damage::Segments)?;
    }
    image.size = end_of_last.next_multiple_of(PAGE_SIZE);
    // The image may not wrap past the end of the address space.
    if base.checked_add(image.size - 1).is_none() {
        return Err(Damage::Bounds);
    }
    if entry_found { Ok(image) } else { Err(Damage::Entry) }
}

/// Copies the segments of `image` to `memory`, which is zero.
pub fn load(image: &Image, memory: &mut [u8]) {
    for segment in &image.segments {
        let start = segment.offset as usize;
        // `check` established that every segment fits into `image.size`.
        if let Some(place) = memory.get_mut(start..start + segment.data.len()) {
            place.copy_from_slice(segment.data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A minimal kernel of one segment.
    fn file(vaddr: u64, entry: u64, memsz: u64) -> Vec<u8> {
        let mut file = vec![0; 0x78 + 16];
        file[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
        file[16..18].copy_from_slice(&2u16.to_le_bytes());
        file[18..20].copy_from_slice(&62u16.to_le_bytes());
        file[20..24].copy_from_slice(&1u32.to_le_bytes());
        file[24..32].copy_from_slice(&entry.to_le_bytes());
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[52..54].copy_from_slice(&64u16.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        file[56..58].copy_from_slice(&1u16.to_le_bytes());
        let header = &mut file[64..120];
        header[..4].copy_from_slice(&1u32.to_le_bytes());
        header[4..8].copy_from_slice(&5u32.to_le_bytes());
        header[8..16].copy_from_slice(&0x78u64.to_le_bytes());
        header[16..24].copy_from_slice(&vaddr.to_le_bytes());
        header[32..40].copy_from_slice(&16u64.to_le_bytes());
        header[40..48].copy_from_slice(&memsz.to_le_bytes());
        file
    }

    const BASE: u64 = 0xffff_ffff_8000_0000;

    #[test]
    fn a_good_kernel_is_accepted_and_loaded() {
        let mut bytes = file(BASE + 0x10, BASE + 0x12, 0x2000);
        bytes[0x78..].fill(0xaa);
        let image = check(&bytes).unwrap();
        assert_eq!((image.base, image.size), (BASE, 0x3000));
        let mut memory = vec![0; image.size as usize];
        load(&image, &mut memory);
        assert_eq!(memory[0x0f..0x11], [0, 0xaa]);
        assert_eq!(memory[0x1f..0x21], [0xaa, 0]);
    }

    #[test]
    fn damaged_kernels_are_refused() {
        assert_eq!(check(b"").unwrap_err(), Damage::NotElf);
        assert_eq!(check(&[0; 4096]).unwrap_err(), Damage::NotElf);
        let good = file(BASE, BASE, 0x2000);
        assert_eq!(check(&good[..0x80]).unwrap_err(), Damage::Bounds, "cut off");
        assert_eq!(check(&file(0x10_0000, 0x10_0000, 16)).unwrap_err(), Damage::Bounds, "low");
        assert_eq!(check(&file(BASE, BASE + 0x3000, 0x2000)).unwrap_err(), Damage::Entry);
        assert_eq!(check(&file(BASE, BASE, u64::MAX)).unwrap_err(), Damage::Bounds);
        assert_eq!(
            check(&file(0xffff_ffff_ffff_f000, 0xffff_ffff_ffff_f000, 0x2000)).unwrap_err(),
            Damage::Bounds,
            "wraps"
        );
        let mut wrong = good.clone();
        wrong[18] = 3;
        assert_eq!(check(&wrong).unwrap_err(), Damage::WrongKind);
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_check(at in 0usize..0x88, byte: u8, cut in 0usize..0x88) {
            let mut bytes = file(BASE, BASE, 0x2000);
            bytes[at] = byte;
            bytes.truncate(cut.max(1));
            if let Ok(image) = check(&bytes) {
                let mut memory = vec![0; image.size as usize];
                load(&image, &mut memory);
            }
        }
    }
}
