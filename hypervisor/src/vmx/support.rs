//! What the processor must be able to do, checked before anything is switched on. Each lack has its own message: what
//! is missing, and what to do about it.

use raw_cpuid::{CpuId, CpuIdResult};
use thiserror::Error;

use super::controls::{Controls, Exit, Fields, KERNEL, MACHINE, Missing, Pin, Secondary};

const FEATURE_CONTROL: u32 = 0x3a;
const LOCKED: u64 = 1 << 0;
const VMX_OUTSIDE_SMX: u64 = 1 << 2;
const VMX_BASIC: u32 = 0x480;
const VMX_MISC: u32 = 0x485;
const VMX_EPT_VPID: u32 = 0x48c;

/// Time stamp ticks in the guest after which a virtual CPU's run ends at the latest, see `virtual_cpu::exit`.
const RUN_TICKS: u32 = 1 << 22;

/// Reads CPUID and MSRs; a table in tests.
pub trait Probe {
    /// EAX, EBX, ECX, EDX of a leaf's subleaf.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4];
    /// An MSR.
    fn msr(&self, number: u32) -> u64;
}

/// What the processor can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Support {
    /// VMCS revision.
    pub revision: u32,
    /// Bits of a physical address.
    pub width: u32,
    /// IA32_FEATURE_CONTROL is not locked yet: the monitor sets and locks it.
    pub unlocked: bool,
    /// The kernel's controls.
    pub kernel: Controls,
    /// Every virtual CPU's controls.
    pub machine: Controls,
    /// EPT has 1 GiB pages.
    pub huge_ept: bool,
    /// The preemption timer's value for `RUN_TICKS`.
    pub timer: u32,
    /// VPIDs, and single-context INVVPID.
    pub vpid: bool,
    /// Logs of written pages: EPT's dirty flags, and page-modification logging.
    pub log: bool,
    /// CR0 bits that must be 1 in VMX operation; a guest may clear PE and PG.
    pub cr0_fixed: u64,
    /// CR4 bits that must be 1.
    pub cr4_fixed: u64,
    /// CR4 bits that may be 1.
    pub cr4_possible: u64,
    /// XCR0 bits that the processor has; 0 without XSAVE.
    pub xcr0: u64,
    /// 1 GiB pages in ordinary paging.
    pub huge_pages: bool,
    /// EFER.NXE exists.
    pub no_execute: bool,
}

/// Why the processor will not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Lack {
    /// No VT-x.
    #[error(
        "the processor has no VT-x (CPUID.1:ECX bit 5 is 0): use an Intel processor with VT-x, or, in a virtual machine, turn nested virtualization on"
    )]
    NoVmx,
    /// VT-x is locked off.
    #[error(
        "VT-x is locked off by the firmware (IA32_FEATURE_CONTROL): enable \"Intel Virtualization Technology\" in the firmware's setup, then switch off and on"
    )]
    LockedOff,
    /// No secondary controls, so no EPT.
    #[error("VT-x of this processor is too old: it has no secondary controls, so neither EPT nor unrestricted guest")]
    NoSecondary,
    /// No EPT.
    #[error("VT-x of this processor has no EPT (extended page tables): a newer processor is needed")]
    NoEpt,
    /// No unrestricted guest.
    #[error("VT-x of this processor has no unrestricted guest: a newer processor is needed (Westmere, 2010, or later)")]
    NoUnrestricted,
    /// EPT lacks something.
    #[error("EPT of this processor lacks {0}: a newer processor is needed")]
    EptFeature(&'static str),
    /// A required control is missing.
    #[error("VT-x of this processor does not do: {} (missing {:#x}, stuck {:#x})", .0.name, .0.missing, .0.stuck)]
    Control(Missing),
}

/// Checks the processor.
pub fn check(probe: &impl Probe) -> Result<Support, Lack> {
    let cpuid = CpuId::with_cpuid_fn(|leaf, subleaf| {
        let [eax, ebx, ecx, edx] = probe.cpuid(leaf, subleaf);
        CpuIdResult { eax, ebx, ecx, edx }
    });
    let features = cpuid.get_feature_info().filter(|features| features.has_vmx()).ok_or(Lack::NoVmx)?;
    let feature_control = probe.msr(FEATURE_CONTROL);
    let unlocked = feature_control & LOCKED == 0;
    if !unlocked && feature_control & VMX_OUTSIDE_SMX == 0 {
        return Err(Lack::LockedOff);
    }
    let basic = probe.msr(VMX_BASIC);
    // With bit 55, the TRUE capability MSRs say which of the default-1 controls may be 0 (appendix A.2).
    let offset = if basic >> 55 & 1 != 0 { 0x48d - 0x481 } else { 0 };
    let primary = probe.msr(0x482 + offset);
    if (primary >> 63) & 1 == 0 {
        return Err(Lack::NoSecondary);
    }
    let capabilities = Fields {
        pin: probe.msr(0x481 + offset),
        primary,
        secondary: probe.msr(0x48b),
        exit: probe.msr(0x483 + offset),
        entry: probe.msr(0x484 + offset),
    };
    let possible = (capabilities.secondary >> 32) as u32;
    if possible & Secondary::ENABLE_EPT.bits() == 0 {
        return Err(Lack::NoEpt);
    }
    if possible & Secondary::UNRESTRICTED_GUEST.bits() == 0 {
        return Err(Lack::NoUnrestricted);
    }
    let ept = probe.msr(VMX_EPT_VPID);
    for (bits, what) in [
        (1 << 6, "page walks of length 4"),
        (1 << 14, "write-back tables"),
        (1 << 16, "2 MiB pages"),
        (1 << 20 | 1 << 25, "single-context INVEPT"),
    ] {
        if ept & bits != bits {
            return Err(Lack::EptFeature(what));
        }
    }
    let vpid = ept >> 32 & 1 != 0 && ept >> 41 & 1 != 0 && possible & Secondary::ENABLE_VPID.bits() != 0;
    let mut kernel = KERNEL.fit(&capabilities).map_err(Lack::Control)?;
    let mut machine = MACHINE.fit(&capabilities).map_err(Lack::Control)?;
    let (timer, save) = (Pin::VMX_PREEMPTION_TIMER.bits(), Exit::SAVE_VMX_PREEMPTION_TIMER.bits());
    if machine.pin & timer == 0 || machine.exit & save == 0 {
        machine.pin &= !timer;
        machine.exit &= !save;
    }
    if !vpid {
        kernel.secondary &= !Secondary::ENABLE_VPID.bits();
        machine.secondary &= !Secondary::ENABLE_VPID.bits();
    }
    let [low, _, _, high] = if features.has_xsave() { probe.cpuid(13, 0) } else { [0; 4] };
    let extended = cpuid.get_extended_processor_and_feature_identifiers();
    let capacity = cpuid.get_processor_capacity_feature_info();
    Ok(Support {
        revision: basic as u32 & 0x7fff_ffff,
        width: capacity.map_or(36, |capacity| u32::from(capacity.physical_address_bits()).clamp(32, 52)),
        unlocked,
        kernel,
        machine,
        huge_ept: ept >> 17 & 1 != 0,
        timer: (RUN_TICKS >> (probe.msr(VMX_MISC) & 31)).max(1),
        vpid,
        log: ept >> 21 & 1 != 0 && possible & Secondary::ENABLE_PML.bits() != 0,
        cr0_fixed: probe.msr(0x486),
        cr4_fixed: probe.msr(0x488),
        cr4_possible: probe.msr(0x489),
        xcr0: u64::from(high) << 32 | u64::from(low),
        huge_pages: extended.as_ref().is_some_and(|extended| extended.has_1gib_pages()),
        no_execute: extended.as_ref().is_some_and(|extended| extended.has_execute_disable()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A processor like the one that Bochs calls `corei7_skylake_x`.
    struct Fake(BTreeMap<u32, u64>, u32);

    impl Probe for Fake {
        fn cpuid(&self, leaf: u32, _: u32) -> [u32; 4] {
            match leaf {
                // GenuineIntel
                0 => [22, 0x756e_6547, 0x6c65_746e, 0x4965_6e69],
                1 => [0, 0, self.1, 0],
                0x8000_0000 => [0x8000_0008, 0, 0, 0],
                0x8000_0001 => [0, 0, 0, 1 << 20 | 1 << 26],
                0x8000_0008 => [0x3028, 0, 0, 0],
                13 => [7, 0, 0, 0],
                _ => [0; 4],
            }
        }
        fn msr(&self, number: u32) -> u64 {
            self.0.get(&number).copied().unwrap_or(0)
        }
    }

    fn fake() -> Fake {
        let all = 0xffff_ffff_0000_0000;
        Fake(
            BTreeMap::from([
                (0x3a, 5),
                (0x480, 1 << 55 | 0x2b),
                (0x48d, all | 0x16),
                (0x48e, all | 0x0400_6172),
                (0x48f, all | 0x0003_6dfb),
                (0x490, all | 0x11fb),
                (0x48b, 0x0217_7fff_0000_0000),
                (0x48c, 0xf01_0633_4141),
                (0x486, 0x8000_0021),
                (0x488, 0x2000),
                (0x489, 0x3f_ffff),
            ]),
            1 << 5 | 1 << 26,
        )
    }

    fn with(number: u32, value: u64) -> Result<Support, Lack> {
        let mut fake = fake();
        fake.0.insert(number, value);
        check(&fake)
    }

    #[test]
    fn a_good_processor_passes() {
        let support = check(&fake()).unwrap();
        assert_eq!((support.width, support.revision, support.xcr0), (40, 0x2b, 7));
        assert!(support.huge_ept && support.vpid && support.log && support.huge_pages && !support.unlocked);
        assert_eq!(support.kernel.primary & KERNEL.primary.forbidden, 0);
    }

    #[test]
    fn each_lack_is_found() {
        assert_eq!(check(&Fake(BTreeMap::new(), 0)), Err(Lack::NoVmx));
        assert_eq!(with(0x3a, 1), Err(Lack::LockedOff));
        assert!(with(0x3a, 0).unwrap().unlocked);
        assert_eq!(with(0x48e, 0x7fff_ffff_0400_6172), Err(Lack::NoSecondary));
        assert_eq!(with(0x48b, 0x80 << 32), Err(Lack::NoEpt));
        assert_eq!(with(0x48b, 0x02 << 32), Err(Lack::NoUnrestricted));
        assert_eq!(with(0x48c, 1 << 6 | 1 << 14 | 1 << 20 | 1 << 25), Err(Lack::EptFeature("2 MiB pages")));
        assert!(matches!(with(0x490, 0), Err(Lack::Control(Missing { name: "VM-entry controls", .. }))));
        assert!(!with(0x48c, 1 << 6 | 1 << 14 | 1 << 16 | 1 << 20 | 1 << 25).unwrap().vpid);
        // EPT without dirty flags, and no page-modification log.
        assert!(!with(0x48c, 0xf01_0613_4141).unwrap().log);
        assert!(!with(0x48b, 0x0215_7fff_0000_0000).unwrap().log);
    }
}
