//! VMX operation on this processor, and the host state that every VMCS holds: what a VM exit loads.

use protocols::address::HostPhysical;

use super::controls::{Controls, Secondary};
use super::field::{ControlField as Field, GuestField};
use super::instruction::{self, Failed};
use super::support::{Probe, Support};
use crate::interrupt;
use crate::physical::Region;
use crate::register;

const FEATURE_CONTROL: u32 = 0x3a;
const EFER: u32 = 0xc000_0080;
const PAT: u32 = 0x277;
const NO_EXECUTE_ENABLE: u64 = 1 << 11;
const VMXE: u64 = 1 << 13;
const OSXSAVE: u64 = 1 << 18;

/// The real processor.
#[derive(Clone, Copy, Debug)]
pub struct Processor;

impl Probe for Processor {
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let result = register::cpuid(leaf, subleaf);
        [result.eax, result.ebx, result.ecx, result.edx]
    }
    fn msr(&self, number: u32) -> u64 {
        register::read_msr(number)
    }
}

/// Switches VMX operation on, with `region` as the VMXON region.
pub fn enable(support: &Support, region: Region) -> Result<(), Failed> {
    let frame = region.start();
    prepare_frame(region, support.revision);
    let xsave = if support.xcr0 != 0 { OSXSAVE } else { 0 };
    // SAFETY: `support` was read from this processor: VMX and the fixed bits exist, VMX is allowed or unlocked; the
    // region is ours for good. None of the bits changes how the monitor's memory is mapped, NXE apart, which its
    // tables do not use.
    unsafe {
        if support.unlocked {
            register::write_msr(FEATURE_CONTROL, 0b101);
        }
        if support.no_execute {
            register::write_msr(EFER, register::read_msr(EFER) | NO_EXECUTE_ENABLE);
        }
        register::write_cr0(register::read_cr0() | support.cr0_fixed);
        register::write_cr4(register::read_cr4() | support.cr4_fixed | VMXE | xsave);
        instruction::vmxon(frame)
    }
}

/// Writes the VMCS revision into a frame. Returns the frame's address.
pub fn prepare_frame(region: Region, revision: u32) -> HostPhysical {
    let frame = region.start();
    region.into_bytes()[..4].copy_from_slice(&revision.to_le_bytes());
    frame
}

/// Where a VM exit goes.
#[derive(Clone, Copy, Debug)]
pub struct Landing {
    /// RSP.
    pub stack: u64,
    /// RIP.
    pub code: u64,
    /// Base of GS: where the general registers are stored.
    pub registers: u64,
}

/// Writes the host state of the current VMCS, its controls but for those that a policy changes, and the EPT pointer, MSR
/// bitmap and VPID (0 for none) of its guest.
///
/// # Safety
/// At `landing.code` there is code of the world switch that expects `landing.stack` and `landing.registers`; the EPT maps
/// no memory of the monitor's; the bitmap is a frame of the monitor's.
pub unsafe fn write(controls: &Controls, landing: Landing, ept: u64, bitmap: HostPhysical, vpid: u16) {
    let [gdt, idt, task] = interrupt::tables();
    let has_vpid = vpid != 0;
    let secondary = controls.secondary & if has_vpid { !0 } else { !Secondary::ENABLE_VPID.bits() };
    for (field, value) in [
        (Field::HOST_CR0, register::read_cr0()),
        (Field::HOST_CR3, register::read_cr3()),
        (Field::HOST_CR4, register::read_cr4()),
        (Field::HOST_CS, u64::from(interrupt::CODE)),
        (Field::HOST_SS, u64::from(interrupt::DATA)),
        (Field::HOST_DS, u64::from(interrupt::DATA)),
        (Field::HOST_ES, u64::from(interrupt::DATA)),
        (Field::HOST_TR, u64::from(interrupt::TASK)),
        (Field::HOST_TR_BASE, task),
        (Field::HOST_GDTR_BASE, gdt),
        (Field::HOST_IDTR_BASE, idt),
        (Field::HOST_EFER, register::read_msr(EFER)),
        (Field::HOST_PAT, register::read_msr(PAT)),
        (Field::HOST_RSP, landing.stack),
        (Field::HOST_RIP, landing.code),
        (Field::HOST_GS_BASE, landing.registers),
        (Field::PIN, u64::from(controls.pin)),
        (Field::PRIMARY, u64::from(controls.primary)),
        (Field::SECONDARY, u64::from(secondary)),
        (Field::EXIT, u64::from(controls.exit)),
        (Field::ENTRY, u64::from(controls.entry)),
        (Field::EPT_POINTER, ept),
        (Field::MSR_BITMAP, bitmap.get()),
    ] {
        // SAFETY: these are the values the monitor runs with now, fitted controls, and the caller's promise.
        unsafe { instruction::vmwrite_control(field, value) };
    }
    if has_vpid {
        // SAFETY: a tag for translations, which the caller hands to this guest only.
        unsafe { instruction::vmwrite_control(Field::VPID, u64::from(vpid)) };
    }
    instruction::vmwrite(GuestField::LINK_POINTER, u64::MAX);
}
