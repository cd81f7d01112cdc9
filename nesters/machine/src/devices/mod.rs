//! Device models. Each is a state machine over port, MMIO or MSR accesses and time.

pub mod io_apic;
pub mod local_apic;
pub mod mtrr;
pub mod pci;
pub mod pic;
pub mod pit;
pub mod power;
pub mod rtc;
pub mod uart;
