//! What the boot loader says (Multiboot2 specification 1.6, 3.6), copied out of its memory, which is then free.

use multiboot2::{BootInformation, BootInformationHeader, FramebufferType, MaybeDynSized, MemoryAreaType};
use protocols::boot_info::{MAX_MODULES, Module, RangeKind};
use thiserror::Error;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// Entered by something that is not a Multiboot2 loader.
    #[error("not started by a Multiboot2 boot loader (magic {0:#x}); use GRUB's `multiboot2`")]
    Magic(u32),
    /// The information is damaged.
    #[error("the boot loader's information is damaged")]
    Damaged,
    /// No memory map.
    #[error("the boot loader gives no memory map")]
    NoMemoryMap,
    /// The memory map is more fragmented than the monitor can keep.
    #[error(transparent)]
    Fragmented(#[from] Full),
    /// More than [`MAX_MODULES`] modules.
    #[error("too many boot modules; at most {MAX_MODULES} are supported")]
    TooManyModules,
    /// A module's string is longer than the kernel can be told, or not UTF-8.
    #[error("the string of a boot module is not UTF-8 or longer than 47 bytes")]
    ModuleName,
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

    let rsdp = match (info.rsdp_v2_tag(), info.rsdp_v1_tag()) {
        (Some(tag), _) if tag.checksum_is_valid() => Some(tag.as_bytes()),
        (_, Some(tag)) if tag.checksum_is_valid() => Some(tag.as_bytes()),
        _ => None,
    };
    let rsdp = rsdp.map(|tag| {
        let mut rsdp = [0; RSDP_LENGTH];
        // Behind the tag's own header of 8 bytes; an ACPI 1.0 RSDP is shorter.
        rsdp.iter_mut().zip(&tag[8..]).for_each(|(to, from)| *to = *from);
        rsdp
    });

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
