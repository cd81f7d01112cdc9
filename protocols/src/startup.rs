//! What a program finds in its memory when it starts.
//!
//! Its parent (for the root nester: the kernel) maps one [`Startup`] structure at [`STARTUP_ADDRESS`] and starts the
//! program's first thread at the ELF's entry point with that address in RDI, and RSP at the top of a stack of
//! [`STACK_SIZE`] bytes.
//!
//! A program's memory is one contiguous range, its **pool**, at [`POOL_ADDRESS`] (for the root nester one range for
//! each stretch of free RAM). Pool and physical memory behind it are congruent modulo 2 MiB where the parent has it so. Its ELF segments are mapped out
//! of the pool's end, which [`Startup::pool`] no longer counts.
//!
//! # Devices
//!
//! The root nester may use every I/O port but those of the interrupt controllers and the interval timer, which are the
//! kernel's. It holds a Port for each interrupt line, and a Region for each stretch of **device memory**: of the physical
//! address space below the end of memory, or below 4 GiB where that is more, all that is not memory, but for the interrupt
//! controllers. Device memory is read and written, never executed, and holds no objects.
//!
//! A program that its parent lets use devices finds them at [`DEVICES_ADDRESS`] plus their physical address. What lies
//! there is not looked into: registers, video memory, firmware, nothing at all (which reads as ones), or the monitor's own
//! memory, to touch which is an exception of whoever does. Devices that write memory by themselves obey no page table: whoever
//! may use devices is trusted with the whole system.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of [`Startup`].
pub const MAGIC: u64 = u64::from_le_bytes(*b"NestorP1");
/// Where the [`Startup`] structure is mapped: one page.
pub const STARTUP_ADDRESS: u64 = 0x10_0000;
/// The page after it: objects that the parent has made for the program, 64 places of
/// [`OBJECT_SIZE`](crate::api::OBJECT_SIZE).
pub const OBJECTS_ADDRESS: u64 = STARTUP_ADDRESS + 0x1000;
/// The page after that, in a program that has a parent: the first thread's object lies at its beginning, to be read
/// only. The thread knows itself by this address.
pub const THREAD_ADDRESS: u64 = OBJECTS_ADDRESS + 0x1000;
/// Where the first thread's stack ends; it begins [`STACK_SIZE`] below.
pub const STACK_TOP: u64 = 0x30_0000;
/// Bytes of stack.
pub const STACK_SIZE: u64 = 0x4_0000;
/// Lowest address of a program's ELF segments; they end below [`POOL_ADDRESS`].
pub const PROGRAM_ADDRESS: u64 = 0x40_0000;
/// Where a program's pool begins. The root nester's ranges lie at this plus their physical address.
pub const POOL_ADDRESS: u64 = 0x10_0000_0000;
/// Device memory lies at this plus its physical address. Nothing else of a program lies above.
pub const DEVICES_ADDRESS: u64 = 0x4000_0000_0000;
/// Most stretches of memory handed over.
pub const MAX_RANGES: usize = 32;
/// Most files handed over.
pub const MAX_FILES: usize = 24;
/// Most stretches of device memory handed over; of more, the largest.
pub const MAX_DEVICES: usize = 16;

/// A stretch of memory in the program's Space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Memory {
    /// First address.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
}

/// A file handed over, mapped read-only.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct File {
    /// First address.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// Its name, UTF-8, zero-padded. In the root nester the boot module's whole string (`file initrd`).
    pub name: [u8; 48],
}

impl File {
    /// The name of the file, empty if it is not UTF-8.
    pub fn name(&self) -> &str {
        text(&self.name)
    }
}

/// A stretch of device memory handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Device {
    /// In the root nester: address of a Region object of it, the program's to map elsewhere; it appears nowhere yet. 0 in others,
    /// in whose Space it appears.
    pub region: u64,
    /// Its physical address, a multiple of the page size.
    pub start: u64,
    /// Length in bytes, a multiple of the page size.
    pub size: u64,
}

impl Device {
    /// Where it appears in the Space of a program that may use it.
    pub const fn address(&self) -> u64 {
        DEVICES_ADDRESS + self.start
    }
}

/// The start-up page.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Startup {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`api::VERSION`](crate::api::VERSION).
    pub version: u64,
    /// Time stamp counter ticks in a second.
    pub tsc_frequency: u64,
    /// Seconds since 1970-01-01 UTC, and the time stamp counter when it was read.
    pub unix_time: u64,
    /// Time stamp counter at `unix_time`.
    pub unix_time_tsc: u64,
    /// Address of a Reference to the parent's Port (protocol [`parent`](crate::parent)); 0 in the root nester.
    pub parent: u64,
    /// In the root nester: address of the first of 24 Port objects, [`OBJECT_SIZE`](crate::api::OBJECT_SIZE) apart; the kernel sends
    /// the interrupts of line `n` to the `n`th once it is in a Portset. 0 elsewhere.
    pub interrupts: u64,
    /// In the root nester: physical address of the ACPI RSDP, 0 if there is none. 0 elsewhere.
    pub rsdp: u64,
    /// How many of `pool` are used.
    pub pool_count: u64,
    /// How many of `files` are used.
    pub file_count: u64,
    /// Bytes used of `arguments`.
    pub argument_length: u64,
    /// How many of `devices` are used.
    pub device_count: u64,
    /// Memory that is the program's to use, with all rights: zeroed, but in the root nester as the firmware left it.
    pub pool: [Memory; MAX_RANGES],
    /// Files.
    pub files: [File; MAX_FILES],
    /// Arguments: UTF-8 text.
    pub arguments: [u8; 1024],
    /// Device memory, by address.
    pub devices: [Device; MAX_DEVICES],
}

impl Startup {
    /// The memory of the program.
    pub fn pool(&self) -> &[Memory] {
        &self.pool[..(self.pool_count as usize).min(MAX_RANGES)]
    }
    /// The files of the program.
    pub fn files(&self) -> &[File] {
        &self.files[..(self.file_count as usize).min(MAX_FILES)]
    }
    /// The device memory that the program may use.
    pub fn devices(&self) -> &[Device] {
        &self.devices[..(self.device_count as usize).min(MAX_DEVICES)]
    }
    /// The arguments of the program, empty if they are not UTF-8.
    pub fn arguments(&self) -> &str {
        text(&self.arguments[..(self.argument_length as usize).min(1024)])
    }
}

fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..end]).unwrap_or("")
}

const _: () = assert!(size_of::<Startup>() <= 4096 - 256);
