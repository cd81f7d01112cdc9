//! The PC that a guest OS sees: device models, CPU policy, firmware tables, the Linux boot protocol and the emulation of
//! instructions that touch devices.
//!
//! Responsible for what a guest can observe of its machine, and for nothing else: it knows no kernel calls (the program in
//! `main.rs` makes them), no host devices and no clock. Every function takes `now`, the time stamp counter, and every
//! device says when it next needs attention ([`pc::Pc::next_event`]).
//!
//! The machine: one virtual CPU whose local APIC starts in x2APIC mode, one I/O APIC, a pair of 8259s, an 8254, a CMOS clock,
//! a 16550 at 0x3f8, the ACPI fixed hardware with reset and power-off, and a PCI bus with nothing but its host bridge.
//! Unknown ports and unbacked memory read as all ones and swallow writes; unknown MSRs raise #GP. Both are counted.
//!
//! Refuses: several virtual CPUs, xAPIC mode (the local APIC's MMIO page), PCI devices.
//!
//! Invariants: no `unsafe` code; nothing a guest does, and no file it is given, makes this library panic; all memory that
//! a guest can make it hold is bounded.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod acpi;
pub mod arguments;
pub mod bzimage;
pub mod cpuid;
pub mod devices;
pub mod emulate;
pub mod executor;
pub mod linux;
pub mod memory;
pub mod paging;
pub mod pc;
pub mod policy;
pub mod time;
