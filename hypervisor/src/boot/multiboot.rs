//! What the boot loader says (Multiboot2 specification 1.6, 3.6), copied out of its memory, which is then free.

use core::fmt;

use multiboot2::{BootInformation, BootInformationHeader, FramebufferType, MemoryAreaType};
use protocols::boot_info::{MAX_MODULES, Module, RangeKind};

use super::map::{Full, Kind, Map, inner_frames};
use crate::physical::Pixels;
use crate::screen::{Mode, Screen};

/// Length of an ACPI 2.0 RSDP (ACPI 6.5, 5.2.5.3).
const RSDP_LENGTH: usize = 36;

/// What the boot loader said.
#[derive(Debug)]
pub struct Boot {
    /// Memory: free, firmware's and modules'. Without the monitor.
    pub map: Map,
    /// The modules, in the loader's order.
    pub modules: heapless::Vec<Module, MAX_MODULES>,
    /// A copy of the ACPI root pointer.
    pub rsdp: Option<[u8; RSDP_LENGTH]>,
    /// The loader's name.
    pub loader: heapless::String<32>,
}

/// Why the boot loader's information is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Entered by something that is not a Multiboot2 loader.
    Magic(u32),
    /// The information is damaged.
    Damaged,
    /// No memory map.
    NoMemoryMap,
    /// The memory map is more fragmented than the monitor can keep.
    Fragmented,
    /// More than [`MAX_MODULES`] modules.
    TooManyModules,
    /// A module's string is longer than the kernel can be told, or not UTF-8.
    ModuleName,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(magic) => {
                write!(f, "not started by a Multiboot2 boot loader (magic {magic:#x}); use GRUB's `multiboot2`")
            }
            Self::Damaged => f.write_str("the boot loader's information is damaged"),
            Self::NoMemoryMap => f.write_str("the boot loader gives no memory map"),
            Self::Fragmented => f.write_str("the memory map has too many ranges"),
            Self::TooManyModules => write!(f, "too many boot modules; at most {MAX_MODULES} are supported"),
            Self::ModuleName => f.write_str("the string of a boot module is not UTF-8 or longer than 47 bytes"),
        }
    }
}

impl From<Full> for Problem {
    fn from(_: Full) -> Self {
        Self::Fragmented
    }
}

/// Reads what the boot loader left; `magic` and `information` are the EAX and EBX it entered with.
///
/// # Safety
/// `information` must be the address that the boot loader gave, untouched since, and the first 4 GiB identity-mapped.
pub unsafe fn read(magic: u32, information: u32) -> Result<(Boot, Option<Screen>), Problem> {
    if magic != multiboot2::MAGIC {
        return Err(Problem::Magic(magic));
    }
    let header = core::ptr::with_exposed_provenance::<BootInformationHeader>(information as usize);
    // SAFETY: the caller's promise; nothing writes there before this function returns.
    let info = unsafe { BootInformation::load(header) }.map_err(|_| Problem::Damaged)?;

    let mut map = Map::default();
    let areas = info.memory_map_tag().ok_or(Problem::NoMemoryMap)?.memory_areas();
    for area in areas.iter().filter(|area| area.typ() == MemoryAreaType::Available) {
        let (start, end) = inner_frames(area.start_address(), area.start_address().saturating_add(area.size()));
        map.paint(start, end, Kind::FREE)?;
    }
    // Where firmware reports overlapping ranges, the more careful reading wins.
    for area in areas.iter().filter(|area| area.typ() != MemoryAreaType::Available) {
        let (start, end) = (area.start_address(), area.start_address().saturating_add(area.size()));
        let (first, last) = (start & !0xfff, end.checked_next_multiple_of(4096).unwrap_or(end & !0xfff));
        map.erase(first, last)?;
        if matches!(area.typ(), MemoryAreaType::AcpiAvailable | MemoryAreaType::ReservedHibernate) {
            map.paint(first, last, Kind::Kernel(RangeKind::Firmware))?;
        }
    }
    // The real-mode vectors and BIOS data: kept readable, never handed out.
    map.paint(0, 4096, Kind::Kernel(RangeKind::Firmware))?;

    let mut modules = heapless::Vec::new();
    for tag in info.module_tags() {
        let (start, end) = (u64::from(tag.start_address()), u64::from(tag.end_address()));
        let text = tag.cmdline().map_err(|_| Problem::ModuleName)?;
        let mut name = [0; 48];
        if text.len() >= name.len() {
            return Err(Problem::ModuleName);
        }
        name[..text.len()].copy_from_slice(text.as_bytes());
        let length = end.checked_sub(start).ok_or(Problem::Damaged)?;
        modules.push(Module { start, length, name }).map_err(|_| Problem::TooManyModules)?;
        if length > 0 {
            let last = end.next_multiple_of(4096);
            map.paint(start & !0xfff, last, Kind::Kernel(RangeKind::Module))?;
        }
    }

    let copy_rsdp = |start: *const u8, length: usize| {
        let mut rsdp = [0; RSDP_LENGTH];
        // SAFETY: the tag holds `length` bytes of RSDP after its 8-byte header.
        rsdp[..length].copy_from_slice(unsafe { core::slice::from_raw_parts(start.add(8), length) });
        rsdp
    };
    let rsdp = match (info.rsdp_v2_tag(), info.rsdp_v1_tag()) {
        (Some(tag), _) if tag.checksum_is_valid() => Some(copy_rsdp(core::ptr::from_ref(tag).cast(), RSDP_LENGTH)),
        (_, Some(tag)) if tag.checksum_is_valid() => Some(copy_rsdp(core::ptr::from_ref(tag).cast(), 20)),
        _ => None,
    };

    let mut loader = heapless::String::new();
    if let Some(Ok(name)) = info.boot_loader_name_tag().map(|tag| tag.name()) {
        // A longer name is not worth showing.
        let _ = loader.push_str(name);
    }
    Ok((Boot { map, modules, rsdp, loader }, screen(&info)))
}

fn screen(info: &BootInformation) -> Option<Screen> {
    let Some(Ok(tag)) = info.framebuffer_tag() else {
        return None;
    };
    let (width, height, pitch) = (tag.width() as usize, tag.height() as usize, tag.pitch() as usize);
    let mode = match tag.buffer_type() {
        Ok(FramebufferType::Text) => Mode::Text,
        Ok(FramebufferType::RGB { .. }) if matches!(tag.bpp(), 16 | 24 | 32) => {
            Mode::Pixels(usize::from(tag.bpp()) / 8)
        }
        _ => return None,
    };
    let length = pitch.checked_mul(height)?;
    // Only the first 4 GiB are mapped yet.
    tag.address().checked_add(length as u64).filter(|&end| end <= 1 << 32)?;
    // SAFETY: the boot loader says that this is video memory, and it is mapped.
    Some(Screen::new(unsafe { Pixels::new(tag.address(), length) }, mode, pitch, width, height))
}
