//! The processor and the platform: everything in the kernel that is `unsafe` or knows a device.

pub mod apic;
#[cfg(not(test))]
pub mod cpu;
#[cfg(not(test))]
pub mod debug;
pub mod descriptor;
pub mod entry;
#[cfg(not(test))]
pub mod extended;
pub mod heap;
mod lock;
#[cfg(not(test))]
pub mod monitor;
pub mod physical;
#[cfg(not(test))]
pub mod user_copy;

#[cfg(test)]
pub mod simulated;
#[cfg(test)]
pub use simulated::{cpu, debug, extended, monitor, user_copy};

use protocols::address::HostPhysical;

/// What of a native Space the CPU is loaded with.
#[derive(Clone, Copy, Debug, Default)]
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
}

/// What the CPU is loaded with now: the root of page tables, 0 if that is nobody's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loaded(u64);

impl Loaded {
    /// Loads the CPU with a view, unless it is loaded with it already.
    #[inline(always)]
    pub fn change_to(&mut self, view: View) {
        if self.0 != view.root {
            self.0 = view.root;
            cpu::load_page_table(view.root);
            descriptor::set_port_bitmap(view.ports);
        }
    }

    /// Whether it is the Space with these page tables.
    #[inline]
    pub fn is(self, root: HostPhysical) -> bool {
        self.0 == root.get()
    }
}
