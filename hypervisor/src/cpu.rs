//! The monitor's state on a physical processor, and what a VM exit's handler gets.

use protocols::address::HostPhysical;

use crate::frames::FrameTable;
use crate::kernel_memory::KernelMemory;
use crate::objects::Objects;
use crate::vmx::support::Support;
use crate::vpid::Vpids;
use crate::world::Registers;

/// Everything. The world switch relies on the place of the first field.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Cpu {
    /// The kernel's general registers while the monitor or a virtual CPU runs.
    pub registers: Registers,
    /// VM exits so far, of the kernel and of all virtual CPUs.
    pub exits: u64,
    /// The kernel's VMCS.
    pub kernel_vmcs: HostPhysical,
    /// What the processor can do.
    pub support: Support,
    /// Whose each frame is.
    pub frames: FrameTable<'static>,
    /// The kernel's EPT.
    pub kernel_memory: KernelMemory,
    /// Machines and virtual CPUs.
    pub objects: Objects,
    /// VPIDs in use.
    pub vpids: Vpids,
}
