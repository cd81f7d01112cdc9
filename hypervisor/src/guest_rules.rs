//! Rules for the values that guests write to control registers, as pure functions.

use x86::controlregs::{Cr0, Cr4};

/// CR0.PE.
pub const PE: u64 = Cr0::CR0_PROTECTED_MODE.bits() as u64;
/// CR0.ET, always 1.
pub const ET: u64 = Cr0::CR0_EXTENSION_TYPE.bits() as u64;
/// CR0.NE, always 1 in VMX operation.
pub const NE: u64 = Cr0::CR0_NUMERIC_ERROR.bits() as u64;
/// CR0.NW.
pub const NW: u64 = Cr0::CR0_NOT_WRITE_THROUGH.bits() as u64;
/// CR0.CD.
pub const CD: u64 = Cr0::CR0_CACHE_DISABLE.bits() as u64;
/// CR0.PG.
pub const PG: u64 = Cr0::CR0_ENABLE_PAGING.bits() as u64;
/// CR4.PAE.
pub const PAE: u64 = Cr4::CR4_ENABLE_PAE.bits() as u64;
/// CR4.VMXE, always 1 in VMX operation.
pub const VMXE: u64 = Cr4::CR4_ENABLE_VMX.bits() as u64;
/// CR4.SMXE, always 0.
pub const SMXE: u64 = Cr4::CR4_ENABLE_SMX.bits() as u64;
/// CR4.OSXSAVE.
pub const OSXSAVE: u64 = Cr4::CR4_ENABLE_OS_XSAVE.bits() as u64;
/// CR4.PCIDE.
const PCIDE: u64 = 1 << 17;
/// CR4.PKE.
pub const PKE: u64 = 1 << 22;
/// EFER.LME.
pub const LME: u64 = 1 << 8;
/// EFER.LMA.
pub const LMA: u64 = 1 << 10;
/// The L bit of a code segment's access rights.
pub const CODE_64: u64 = 1 << 13;

/// CR0 bits that the monitor owns: NE is fixed, and caching is switched for the processor, not for a guest.
pub const CR0_OWNED: u64 = NE | NW | CD;
/// All CR0 bits there are (Intel SDM vol. 3A, 2.5).
const CR0_DEFINED: u64 = 0xe005_003f;

/// Whether XCR0 may take `value` on a processor that supports `possible` (Intel SDM vol. 1, 13.3): what XSETBV would
/// accept without #GP.
pub fn xcr0_is_valid(value: u64, possible: u64) -> bool {
    const X87: u64 = 1 << 0;
    const SSE: u64 = 1 << 1;
    const AVX: u64 = 1 << 2;
    const MPX: u64 = 3 << 3;
    const AVX512: u64 = 7 << 5;
    const TILES: u64 = 3 << 17;
    let whole = |group: u64| value & group == 0 || value & group == group;
    value & !possible == 0
        && value & X87 != 0
        && (value & AVX == 0 || value & SSE != 0)
        && (value & AVX512 == 0 || value & AVX != 0)
        && whole(MPX)
        && whole(AVX512)
        && whole(TILES)
}

/// The real CR0 for the value that a guest means to have.
pub const fn real_cr0(value: u64) -> u64 {
    (value & !(NW | CD)) | NE | ET
}

/// The real CR4 for the value that a guest means to have.
pub const fn real_cr4(value: u64) -> u64 {
    (value & !SMXE) | VMXE
}

/// What changes beside CR0 when it takes a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cr0Write {
    /// The value the guest will read.
    pub value: u64,
    /// The new EFER.
    pub efer: u64,
    /// The translation mode changed: the guest's translations are void.
    pub flush: bool,
    /// PAE paging (not IA-32e) came to be: its four page-directory pointers must be loaded.
    pub load_pointers: bool,
}

/// A guest with `cr0`, `cr4`, `efer` and a code segment that is 64-bit or not writes `value` to CR0 (Intel SDM vol. 2B,
/// MOV to control registers, and vol. 3A, 4.1.2). `None`: #GP.
pub fn write_cr0(value: u64, cr0: u64, cr4: u64, efer: u64, code_64: bool) -> Option<Cr0Write> {
    if value >> 32 != 0 || value & PG != 0 && value & PE == 0 || value & NW != 0 && value & CD == 0 {
        return None;
    }
    let value = value & CR0_DEFINED | ET;
    let mut efer = efer;
    let paging_changes = (value ^ cr0) & PG != 0;
    if paging_changes && value & PG != 0 && efer & LME != 0 {
        if cr4 & PAE == 0 || code_64 {
            return None;
        }
        efer |= LMA;
    } else if paging_changes && value & PG == 0 {
        if code_64 || cr4 & PCIDE != 0 {
            return None;
        }
        efer &= !LMA;
    }
    let flush = (value ^ cr0) & (PG | PE | Cr0::CR0_WRITE_PROTECT.bits() as u64) != 0;
    let load_pointers = paging_changes && value & PG != 0 && cr4 & PAE != 0 && efer & LMA == 0;
    Some(Cr0Write { value, efer, flush, load_pointers })
}

/// Whether a guest may write `value` to CR4, which reads `old`, on a processor where `possible` bits may be 1 (Intel SDM
/// vol. 2B, MOV to control registers): else #GP.
pub fn cr4_is_valid(value: u64, old: u64, cr3: u64, efer: u64, possible: u64) -> bool {
    let long = efer & LMA != 0;
    let starts_pcids = value & !old & PCIDE != 0;
    value & !(possible | VMXE) == 0 && (!long || value & PAE != 0) && (!starts_pcids || long && cr3 & 0xfff == 0)
}

/// Whether IA-32e mode is active only with paging and protection, as a VM entry wants it (Intel SDM vol. 3C, 26.3.1.1). Emulators
/// are known to enter the guest all the same, and to end.
pub const fn mode_is_possible(cr0: u64, cr4: u64, efer: u64) -> bool {
    efer & LMA == 0 || cr0 & PE != 0 && cr0 & PG != 0 && cr4 & PAE != 0
}

/// Whether the state uses PAE paging, whose page-directory pointers the VMCS holds.
pub const fn uses_pointers(cr0: u64, cr4: u64, efer: u64) -> bool {
    cr0 & PG != 0 && cr4 & PAE != 0 && efer & LMA == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn xcr0_combinations() {
        for good in [1, 3, 7, 0xe7, 0x1f] {
            assert!(xcr0_is_valid(good, 0xff), "{good:#x}");
        }
        for bad in [0, 2, 5, 0x27, 0xe3, 0xf, 0x8000_0000_0000_0001, 0x201] {
            assert!(!xcr0_is_valid(bad, 0xff), "{bad:#x}");
        }
    }

    #[test]
    fn long_mode_starts_and_ends_with_paging() {
        let on = write_cr0(PG | PE | CD, PE, PAE, LME, false).unwrap();
        assert_eq!((on.value, on.efer, on.flush, on.load_pointers), (PG | PE | CD | ET, LME | LMA, true, false));
        let off = write_cr0(PE, PG | PE, PAE, LME | LMA, false).unwrap();
        assert_eq!(off.efer, LME);
        assert_eq!(write_cr0(PG | PE, PE, 0, LME, false), None, "no PAE");
        assert_eq!(write_cr0(PE, PG | PE, PAE, LME | LMA, true), None, "from 64-bit code");
        assert!(write_cr0(PG | PE, PE, PAE, 0, false).unwrap().load_pointers);
    }

    #[test]
    fn long_mode_needs_paging() {
        assert!(mode_is_possible(PE | PG, PAE, LME | LMA));
        assert!(mode_is_possible(0, 0, LME));
        for (cr0, cr4) in [(0, PAE), (PE, PAE), (PG, PAE), (PE | PG, 0)] {
            assert!(!mode_is_possible(cr0, cr4, LME | LMA), "{cr0:#x} {cr4:#x}");
        }
    }

    #[test]
    fn cr4_rules() {
        let possible = 0x3f_ffff;
        assert!(cr4_is_valid(PAE | PCIDE, PAE, 0x1000, LMA, possible));
        assert!(!cr4_is_valid(PAE | PCIDE, PAE, 0x1001, LMA, possible), "CR3 has a PCID");
        assert!(cr4_is_valid(PAE | PCIDE, PAE | PCIDE, 0x1001, LMA, possible), "set before");
        assert!(!cr4_is_valid(PAE | PCIDE, PAE, 0x1000, 0, possible), "not in 64-bit mode");
        assert!(!cr4_is_valid(0, PAE, 0, LMA, possible), "PAE is needed");
        assert!(!cr4_is_valid(1 << 40, 0, 0, 0, possible));
    }

    #[test]
    fn inconsistent_values_are_refused() {
        assert_eq!(write_cr0(PG, 0, 0, 0, false), None);
        assert_eq!(write_cr0(NW, 0, 0, 0, false), None);
        assert_eq!(write_cr0(1 << 40, 0, 0, 0, false), None);
        assert!(write_cr0(CD | NW, 0, 0, 0, false).is_some());
    }

    proptest! {
        #[test]
        fn what_is_loaded_is_what_vmx_accepts(value: u64, cr4: u64) {
            prop_assert_eq!(real_cr0(value) & (NE | CD | NW), NE);
            prop_assert_eq!(real_cr4(cr4) & (VMXE | SMXE), VMXE);
        }
    }
}
