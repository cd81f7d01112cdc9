//! The PC that a guest OS sees: device models, CPU policy, firmware tables, the Linux boot protocol and the emulation of
//! instructions that touch devices.
//!
//! Responsible for what a guest can observe of its machine. The models know no kernel calls and no clock: every function takes
//! `now`, the time stamp counter, and every device says when it next needs attention ([`pc::Pc::next_event`]). Kernel calls
//! are made in [`program`] only, which builds the machine and serves its exits.
//!
//! | module | about |
//! |---|---|
//! | [`pc`], [`devices`] | the PC and each of its devices |
//! | [`cpuid`], [`policy`] | the processor: what the monitor answers without asking |
//! | [`linux`], [`bzimage`], [`acpi`] | the boot protocol and what firmware leaves in memory |
//! | [`emulate`], [`executor`], [`paging`], [`memory`] | instructions that touch devices |
//! | [`exits`] | what each VM exit becomes |
//! | [`program`], [`ram`], [`arguments`] | the program: from its arguments to the end of its guest |
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
pub mod exits;
pub mod linux;
pub mod memory;
pub mod paging;
pub mod pc;
pub mod policy;
pub mod program;
pub mod ram;
pub mod time;
