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

use protocols::address::HostPhysical;

/// What of a native Space the CPU is loaded with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The root of the page tables; 0 for none.
    root: u64,
    /// Where the bitmap of I/O ports is looked for.
    ports: u16,
}

impl View {
    /// That of a Space with these page tables; `ports` says whether it may use I/O ports.
    pub fn new(root: HostPhysical, ports: bool) -> Self {
        Self { root: root.get(), ports: descriptor::port_bitmap(ports) }
    }

    /// Whether there is a native Space.
    #[inline]
    pub fn exists(self) -> bool {
        self.root != 0
    }

    /// Whether it is of the Space with these page tables.
    #[inline]
    pub fn is_of(self, root: HostPhysical) -> bool {
        self.root == root.get()
    }

    /// Loads the CPU with it.
    #[inline]
    pub fn load(self) {
        cpu::load_page_table(self.root);
        descriptor::set_port_bitmap(self.ports);
    }
}
