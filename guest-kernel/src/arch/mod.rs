//! The processor and the platform: everything in the kernel that is `unsafe` or knows a device.

pub mod apic;
pub mod cpu;
pub mod descriptor;
pub mod entry;
pub mod extended;
pub mod heap;
mod lock;
pub mod monitor;
pub mod physical;

/// Loads the page tables of a native Space, and whether it may use I/O ports.
pub fn load_space(root: protocols::address::HostPhysical, ports: bool) {
    cpu::load_page_table(root.get());
    descriptor::allow_ports(ports);
}
