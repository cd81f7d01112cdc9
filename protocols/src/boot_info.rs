//! What the monitor tells the kernel when it starts it.
//!
//! The kernel is a 64-bit ELF. The monitor loads its segments at a place of its choice and enters it in 64-bit mode,
//! interrupts off, with page tables that map
//! * the ELF's virtual addresses (in the top 2 GiB) to where it was loaded, and
//! * all physical memory at [`DIRECT_MAP`] (writable, not executable), at least the first 4 GiB,
//!
//! and with the address of a [`BootInfo`] in the direct map in RDI and the top of a 16 KiB stack in RSP. The page
//! tables, the stack and the `BootInfo` lie in ranges of kind [`RangeKind::Boot`], which the kernel may reuse once it has left
//! them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The first word of a [`BootInfo`].
pub const MAGIC: u64 = u64::from_le_bytes(*b"NestorB1");
/// Virtual address at which all physical memory is mapped in the kernel.
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// Most memory ranges reported.
pub const MAX_RANGES: usize = 64;
/// Most boot modules reported.
pub const MAX_MODULES: usize = 32;

/// Kinds of memory in a [`Range`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum RangeKind {
    /// Free RAM.
    Free = 1,
    /// The kernel's own image.
    Kernel = 2,
    /// Page tables, stack and `BootInfo` that the monitor made for the kernel's start.
    Boot = 3,
    /// A boot module.
    Module = 4,
    /// Firmware tables and other memory that may be read.
    Firmware = 5,
}

/// A range of physical memory that the kernel owns. What no range names is device space or absent; the monitor's own
/// memory is not in the kernel's physical address space at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Range {
    /// First byte; a multiple of 4096 for every kind but `Module`.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
    /// A [`RangeKind`].
    pub kind: u64,
}

/// A boot module.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Module {
    /// First byte, a multiple of 4096.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
    /// The string that the boot loader gave it, UTF-8, zero-padded: `root`, `program machine`, `file initrd`, …
    pub name: [u8; 48],
}

impl Module {
    /// The string of the module, empty if it is not UTF-8.
    pub fn name(&self) -> &str {
        let end = self.name.iter().position(|&byte| byte == 0).unwrap_or(self.name.len());
        core::str::from_utf8(&self.name[..end]).unwrap_or("")
    }
}

/// Boot information. Ranges do not overlap and are sorted by address.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BootInfo {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`machine::VERSION`](crate::machine::VERSION).
    pub version: u64,
    /// Physical address of the ACPI RSDP, 0 if there is none.
    pub rsdp: u64,
    /// Time stamp counter at the monitor's entry.
    pub started: u64,
    /// End of the physical address space that the direct map covers.
    pub direct_map_end: u64,
    /// How many of `ranges` are used.
    pub range_count: u64,
    /// How many of `modules` are used.
    pub module_count: u64,
    /// Memory.
    pub ranges: [Range; MAX_RANGES],
    /// Modules.
    pub modules: [Module; MAX_MODULES],
}

const _: () = assert!(size_of::<BootInfo>() <= 4096);
