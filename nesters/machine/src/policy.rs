//! What the monitor answers without asking, beside CPUID: MSRs and control bits.

use crate::cpuid::Processor;
use protocols::policy::{Controls, DIRECT_MSRS, MsrEntry};

/// MSRs that read as a constant and ignore writes.
const CONSTANTS: [(u32, u64); 9] = [
    // IA32_PLATFORM_ID.
    (0x17, 0),
    // IA32_FEATURE_CONTROL: locked, nothing enabled.
    (0x3a, 1),
    // IA32_TSC_ADJUST.
    (0x3b, 0),
    // IA32_BIOS_SIGN_ID: some microcode revision.
    (0x8b, 1 << 32),
    // IA32_MCG_CAP, IA32_MCG_STATUS: no banks, no machine check.
    (0x179, 0),
    (0x17a, 0),
    // IA32_MISC_ENABLE: fast strings; no branch trace, no event sampling.
    (0x1a0, 1 | 1 << 11 | 1 << 12),
    // IA32_DEBUGCTL.
    (0x1d9, 0),
    // MSR_MISC_FEATURES_ENABLES: CPUID does not fault.
    (0x140, 0),
];

/// Number of entries in the MSR table.
pub const MSR_ENTRIES: usize = CONSTANTS.len() + DIRECT_MSRS.len();

/// The MSR table of a machine. What it does not name exits.
pub fn msrs() -> [MsrEntry; MSR_ENTRIES] {
    core::array::from_fn(|at| match CONSTANTS.get(at) {
        Some(&(msr, value)) => MsrEntry { msr, mode: MsrEntry::CONSTANT, value },
        None => MsrEntry { msr: DIRECT_MSRS[at - CONSTANTS.len()], mode: MsrEntry::DIRECT, value: 0 },
    })
}

/// The control bits of a machine with `processor`: no exception exits, no VMCALL, no VMX.
pub fn controls(processor: &Processor) -> Controls {
    Controls { exception_bitmap: 0, flags: 0, xcr0_allowed: processor.xcr0, cr4_allowed: processor.cr4 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocols::policy::MAX_CONSTANT_MSRS;

    #[test]
    fn the_tables_are_what_the_monitor_takes() {
        let msrs = msrs();
        assert!(CONSTANTS.len() <= MAX_CONSTANT_MSRS);
        for (at, entry) in msrs.iter().enumerate() {
            assert!(msrs[at + 1..].iter().all(|other| other.msr != entry.msr));
            assert!(entry.mode != MsrEntry::DIRECT || DIRECT_MSRS.contains(&entry.msr));
        }
        let controls = controls(&Processor::new(|_, _| [u32::MAX; 4], 1));
        assert_eq!(controls.cr4_allowed & (3 << 13), 0, "neither VMXE nor SMXE");
        assert_eq!(controls.xcr0_allowed, 7);
    }
}
