//! Starts Linux by its 64-bit boot protocol (Linux, Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").
//!
//! | guest-physical | what |
//! |---|---|
//! | 0x1000 | GDT |
//! | 0x7000 | boot parameters |
//! | 0x9000 | page tables: the first 4 GiB, mapped to themselves |
//! | 0x20000 | command line |
//! | 0xe0000 | ACPI tables |
//! | where the kernel prefers it, else above 1 MiB | kernel |
//! | as high as the kernel allows | initial RAM disk |

use crate::acpi;
use crate::bzimage::{BzImage, HEADER_START, ImageError};
use crate::memory::{GuestMemory, HIGH_START, Unbacked};
use core::fmt;
use protocols::address::GuestPhysical;
use protocols::virtual_cpu::{Segment, Table, VirtualCpuState, register, segment};

const GDT: u64 = 0x1000;
const BOOT_PARAMETERS: u64 = 0x7000;
const PAGE_TABLES: u64 = 0x9000;
const COMMAND_LINE: u64 = 0x2_0000;
/// Room for the command line.
const COMMAND_LINE_ROOM: usize = 0x1_0000;
/// Where conventional memory ends and firmware's begins.
const LOW_MEMORY_END: u64 = 0x9_fc00;
const MEGABYTE: u64 = 0x10_0000;
/// The 64-bit entry lies this far into the payload.
const ENTRY: u64 = 0x200;

/// The least memory a machine can have.
pub const LEAST_MEMORY: u64 = 16 << 20;

/// Why Linux cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The kernel file is bad.
    Kernel(ImageError),
    /// The kernel does not fit.
    MemoryTooSmall {
        /// Bytes that it takes to hold the kernel.
        needed: u64,
        /// Bytes there are.
        memory: u64,
    },
    /// The initial RAM disk does not fit.
    InitrdTooLarge {
        /// Its size.
        size: u64,
        /// Bytes there are for it.
        room: u64,
    },
    /// The command line is too long.
    CommandLineTooLong {
        /// The longest that the kernel takes.
        limit: usize,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(error) => write!(f, "the kernel {error}"),
            Self::MemoryTooSmall { needed, memory } => {
                write!(f, "the kernel needs {needed} bytes of memory, the machine has {memory}")
            }
            Self::InitrdTooLarge { size, room } => {
                write!(f, "the initial RAM disk does not fit: it has {size} bytes, there is room for {room}")
            }
            Self::CommandLineTooLong { limit } => write!(f, "the command line is longer than {limit} bytes"),
        }
    }
}

impl From<ImageError> for LoadError {
    fn from(error: ImageError) -> Self {
        Self::Kernel(error)
    }
}

/// Loads `kernel`, `initrd` (may be empty), `command_line` and the ACPI tables to `memory`. Returns the state that the
/// processor starts with.
pub fn load<M: GuestMemory>(
    memory: &mut M,
    kernel: &[u8],
    initrd: &[u8],
    command_line: &str,
) -> Result<VirtualCpuState, LoadError> {
    let image = BzImage::parse(kernel)?;
    let limit = image.command_line_max.min(COMMAND_LINE_ROOM - 1);
    if command_line.len() > limit || command_line.contains('\0') {
        return Err(LoadError::CommandLineTooLong { limit });
    }
    let low = memory.layout().low();
    let size = memory.layout().size();
    let (kernel_start, kernel_end) = place_kernel(&image, low)?;
    let initrd_start = place_initrd(initrd.len() as u64, kernel_end, low.min(image.initrd_max.saturating_add(1)))?;

    let boot_parameters = boot_parameters(
        &image,
        &Placement {
            initrd_start: if initrd.is_empty() { 0 } else { initrd_start as u32 },
            initrd_size: initrd.len() as u32,
            low,
            high: memory.layout().high(),
        },
    );
    let mut put = |address: u64, bytes: &[u8]| memory.write(GuestPhysical::new(address), bytes);
    let mut put_all = || -> Result<(), Unbacked> {
        put(kernel_start, image.payload)?;
        put(initrd_start, initrd)?;
        put(COMMAND_LINE, command_line.as_bytes())?;
        put(COMMAND_LINE + command_line.len() as u64, &[0])?;
        put(BOOT_PARAMETERS, &boot_parameters)?;
        put(acpi::ADDRESS, &acpi::tables())?;
        // Null, unused, 64-bit code, data (selectors 0x10 and 0x18).
        for (at, descriptor) in [0, 0, 0x00af_9b00_0000_ffffu64, 0x00cf_9300_0000_ffff].into_iter().enumerate() {
            put(GDT + 8 * at as u64, &descriptor.to_le_bytes())?;
        }
        page_tables(&mut put)
    };
    put_all().map_err(|Unbacked| LoadError::MemoryTooSmall { needed: LEAST_MEMORY, memory: size })?;
    Ok(initial_state(kernel_start + ENTRY))
}

/// Where the kernel starts and ends.
fn place_kernel(image: &BzImage<'_>, low: u64) -> Result<(u64, u64), LoadError> {
    let fits = |start: u64| {
        let end = start.checked_add(image.run_size)?;
        (start >= MEGABYTE && end <= low && low >= LEAST_MEMORY).then_some((start, end))
    };
    let elsewhere = image.alignment.and_then(|alignment| MEGABYTE.checked_next_multiple_of(alignment));
    fits(image.preferred_address).or_else(|| fits(elsewhere?)).ok_or_else(|| LoadError::MemoryTooSmall {
        needed: elsewhere.unwrap_or(image.preferred_address).saturating_add(image.run_size).max(LEAST_MEMORY),
        memory: low,
    })
}

/// Where the initial RAM disk starts: as high as it can below `limit`.
fn place_initrd(size: u64, kernel_end: u64, limit: u64) -> Result<u64, LoadError> {
    let room = limit.saturating_sub(kernel_end);
    let too_large = LoadError::InitrdTooLarge { size, room };
    let start = limit.checked_sub(size).ok_or(too_large)? & !0xfff;
    if start < kernel_end { Err(too_large) } else { Ok(start) }
}

struct Placement {
    initrd_start: u32,
    initrd_size: u32,
    low: u64,
    high: u64,
}

fn boot_parameters(image: &BzImage<'_>, placement: &Placement) -> [u8; 4096] {
    let mut page = [0; 4096];
    page[HEADER_START..][..image.header.len()].copy_from_slice(image.header);
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x70, &acpi::ADDRESS.to_le_bytes());
    // An unregistered boot loader.
    put(0x210, &[0xff]);
    put(0x218, &placement.initrd_start.to_le_bytes());
    put(0x21c, &placement.initrd_size.to_le_bytes());
    put(0x228, &(COMMAND_LINE as u32).to_le_bytes());
    const RAM: u32 = 1;
    const RESERVED: u32 = 2;
    let ranges = [
        (0, LOW_MEMORY_END, RAM),
        (LOW_MEMORY_END, MEGABYTE - LOW_MEMORY_END, RESERVED),
        (MEGABYTE, placement.low - MEGABYTE, RAM),
        (HIGH_START, placement.high, RAM),
    ];
    let mut count = 0;
    for (start, size, kind) in ranges.into_iter().filter(|range| range.1 != 0) {
        let at = 0x2d0 + 20 * count;
        put(at, &start.to_le_bytes());
        put(at + 8, &size.to_le_bytes());
        put(at + 16, &kind.to_le_bytes());
        count += 1;
    }
    put(0x1e8, &[count as u8]);
    page
}

/// The first 4 GiB in 2 MiB pages: one table of level 4, one of level 3, four of level 2.
fn page_tables(put: &mut impl FnMut(u64, &[u8]) -> Result<(), Unbacked>) -> Result<(), Unbacked> {
    const TABLE: u64 = 3;
    const PAGE: u64 = 0x83;
    let mut tables = [0; 6 * 4096];
    let mut entry = |at: usize, value: u64| tables[8 * at..8 * at + 8].copy_from_slice(&value.to_le_bytes());
    entry(0, (PAGE_TABLES + 0x1000) | TABLE);
    for gigabyte in 0..4 {
        entry(512 + gigabyte, (PAGE_TABLES + 0x2000 + 0x1000 * gigabyte as u64) | TABLE);
    }
    for page in 0..2048 {
        entry(1024 + page, (page as u64) << 21 | PAGE);
    }
    put(PAGE_TABLES, &tables)
}

/// Paging on, flat segments, interrupts off, RSI at the boot parameters.
fn initial_state(entry: u64) -> VirtualCpuState {
    let mut state = VirtualCpuState::zeroed();
    state.rip = entry;
    state.gpr[register::RSI] = BOOT_PARAMETERS;
    // PE, MP, ET, NE, WP, AM, PG.
    state.cr0 = 0x8005_0033;
    state.cr3 = PAGE_TABLES;
    // PAE.
    state.cr4 = 1 << 5;
    // LME, LMA, NXE.
    state.efer = 1 << 8 | 1 << 10 | 1 << 11;
    let data = Segment { base: 0, limit: u32::MAX, access: 0xc093, selector: 0x18 };
    state.segments = [data; 8];
    state.segments[segment::CS] = Segment { access: 0xa09b, selector: 0x10, ..data };
    state.segments[segment::LDTR] = Segment { access: Segment::UNUSABLE, ..Segment::default() };
    state.segments[segment::TR] = Segment { limit: 0x67, access: 0x8b, ..Segment::default() };
    state.gdtr = Table { base: GDT, limit: 0x1f };
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bzimage::tests::kernel;
    use crate::memory::tests::TestMemory;
    use alloc::vec;
    use proptest::prelude::*;
    use protocols::address::GuestVirtual;

    #[test]
    fn everything_is_in_its_place() {
        let mut memory = TestMemory::new(32 << 20);
        let state = load(&mut memory, &kernel(), &[0xaa; 5000], "console=ttyS0").unwrap();
        assert_eq!(state.rip, 0x100_0200);
        assert_eq!(&memory.bytes[0x100_0000..0x100_0007], b"payload");
        let parameters = &memory.bytes[BOOT_PARAMETERS as usize..][..4096];
        let u32_at = |at: usize| u32::from_le_bytes(parameters[at..at + 4].try_into().unwrap());
        assert_eq!((u32_at(0x218), u32_at(0x21c)), ((32 << 20) - 8192, 5000));
        assert_eq!(memory.bytes[u32_at(0x218) as usize + 4999], 0xaa);
        assert_eq!(&memory.bytes[u32_at(0x228) as usize..][..14], b"console=ttyS0\0");
        assert_eq!(parameters[0x1e8], 3);
        assert_eq!(&parameters[0x202..0x206], b"HdrS");
        assert_eq!(memory.u64(acpi::ADDRESS), u64::from_le_bytes(*b"RSD PTR "));
        for address in [0, 0x12_3456, 0xfec0_0010] {
            let translated = crate::paging::translate(&memory, &state, GuestVirtual::new(address), true);
            assert_eq!(translated, Ok(GuestPhysical::new(address)));
        }
    }

    #[test]
    fn a_kernel_moves_when_its_place_is_too_high() {
        let mut memory = TestMemory::new(16 << 20);
        assert_eq!(load(&mut memory, &kernel(), &[], "").unwrap().rip, 0x20_0200);
        let mut fixed = kernel();
        fixed[0x234] = 0;
        let error = load(&mut memory, &fixed, &[], "").unwrap_err();
        assert_eq!(error, LoadError::MemoryTooSmall { needed: 0x120_0000, memory: 16 << 20 });
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut memory = TestMemory::new(17 << 20);
        let initrd = vec![0; 16 << 20];
        assert!(matches!(load(&mut memory, &kernel(), &initrd, ""), Err(LoadError::InitrdTooLarge { .. })));
        let line = core::str::from_utf8(&[b'x'; 2048]).unwrap();
        let error = load(&mut memory, &kernel(), &[], line).unwrap_err();
        assert_eq!(error, LoadError::CommandLineTooLong { limit: 2047 });
        let mut memory = TestMemory::new(1 << 20);
        assert!(matches!(load(&mut memory, &kernel(), &[], ""), Err(LoadError::MemoryTooSmall { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_damaged_kernel_never_panics(
            changes in prop::collection::vec((0x1f0usize..0x270, any::<u8>()), 0..12),
            initrd in 0usize..20 << 20,
            size in prop_oneof![Just(0u64), Just(1 << 20), Just(16 << 20), 0u64..33 << 20],
        ) {
            let mut file = kernel();
            for (at, value) in changes {
                file[at] = value;
            }
            let _ = load(&mut TestMemory::new(size), &file, &vec![0; initrd], "quiet");
        }
    }
}
