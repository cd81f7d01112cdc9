//! The groups of state: between the shared page and the current VMCS.

use protocols::address::GuestPhysical;
use protocols::virtual_cpu::{Groups, Segment, VirtualCpuState, register};

use super::VirtualCpu;
use crate::frames::FrameTable;
use crate::guest_rules::{CR0_OWNED, LMA, mode_is_possible, real_cr0, real_cr4, uses_pointers};
use crate::machine::read_pointers;
use crate::vmx::controls::Entry;
use crate::vmx::field::{ControlField as Control, GuestField as Guest};
use crate::vmx::instruction::{vmread, vmwrite, vmwrite_control};

/// The fields that a VMCS holds as the state page does, by groups: one table for both directions. `$copy` gets each
/// field and its place in `$state`.
macro_rules! copy_fields {
    ($copy:ident, $state:ident, $groups:ident) => {
        if $groups.contains(Groups::INSTRUCTION) {
            $copy!(Guest::RIP, $state.rip);
            $copy!(Guest::RSP, $state.gpr[register::RSP]);
            $copy!(Guest::RFLAGS, $state.rflags);
        }
        if $groups.contains(Groups::INTERRUPTIBILITY) {
            $copy!(Guest::INTERRUPTIBILITY, $state.interruptibility);
            $copy!(Guest::ACTIVITY, $state.activity);
            $copy!(Guest::PENDING_DEBUG, $state.pending_debug);
        }
        if $groups.contains(Groups::SEGMENTS) {
            for index in 0..$state.segments.len() {
                $copy!(Guest::selector(index), $state.segments[index].selector);
                $copy!(Guest::base(index), $state.segments[index].base);
                $copy!(Guest::limit(index), $state.segments[index].limit);
            }
        }
        if $groups.contains(Groups::TABLES) {
            $copy!(Guest::GDTR_BASE, $state.gdtr.base);
            $copy!(Guest::GDTR_LIMIT, $state.gdtr.limit);
            $copy!(Guest::IDTR_BASE, $state.idtr.base);
            $copy!(Guest::IDTR_LIMIT, $state.idtr.limit);
        }
        if $groups.contains(Groups::CONTROL) {
            $copy!(Guest::CR3, $state.cr3);
        }
        if $groups.contains(Groups::EFER) {
            $copy!(Guest::EFER, $state.efer);
            $copy!(Guest::PAT, $state.pat);
        }
        if $groups.contains(Groups::SYSENTER) {
            $copy!(Guest::SYSENTER_CS, $state.sysenter_cs);
            $copy!(Guest::SYSENTER_ESP, $state.sysenter_esp);
            $copy!(Guest::SYSENTER_EIP, $state.sysenter_eip);
        }
        if $groups.contains(Groups::DEBUG) {
            $copy!(Guest::DR7, $state.dr7);
            $copy!(Guest::DEBUGCTL, $state.debugctl);
        }
    };
}

/// Writes `groups` to the VMCS. Values that a VM entry does not accept make it fail, which is the kernel's to see.
pub fn write(state: &VirtualCpuState, groups: Groups) {
    macro_rules! to_vmcs {
        ($field:expr, $place:expr) => {
            vmwrite($field, u64::from($place))
        };
    }
    copy_fields!(to_vmcs, state, groups);
    if groups.contains(Groups::SEGMENTS) {
        for (index, segment) in state.segments.iter().enumerate() {
            vmwrite(Guest::access(index), access_to_vmcs(segment.access));
        }
    }
    if groups.contains(Groups::CONTROL) {
        write_cr0(state.cr0);
        write_cr4(state.cr4);
    }
    if groups.contains(Groups::EFER) {
        write_efer(state.efer);
    }
    if groups.contains(Groups::TIME) {
        vmwrite(Guest::TSC_OFFSET, state.tsc_offset);
    }
}

/// Reads `groups` from the VMCS. DR0 to DR3, DR6 and XCR0 are the kernel's to know; CR2 is always current; nothing but the
/// kernel changes the TSC offset.
pub fn read(state: &mut VirtualCpuState, groups: Groups) {
    macro_rules! from_vmcs {
        ($field:expr, $place:expr) => {
            $place = vmread($field) as _
        };
    }
    copy_fields!(from_vmcs, state, groups);
    if groups.contains(Groups::SEGMENTS) {
        for (index, segment) in state.segments.iter_mut().enumerate() {
            segment.access = access_from_vmcs(vmread(Guest::access(index)));
        }
    }
    if groups.contains(Groups::CONTROL) {
        state.cr0 = read_cr0();
        state.cr4 = read_cr4();
    }
}

/// CR0 as the guest reads it.
pub fn read_cr0() -> u64 {
    vmread(Guest::CR0) & !CR0_OWNED | vmread(Guest::CR0_SHADOW) & CR0_OWNED
}

/// CR4 as the guest reads it.
pub fn read_cr4() -> u64 {
    let owned = vmread(Control::CR4_MASK);
    vmread(Guest::CR4) & !owned | vmread(Guest::CR4_SHADOW) & owned
}

/// Sets CR0 as the guest reads it.
pub fn write_cr0(value: u64) {
    vmwrite(Guest::CR0, real_cr0(value));
    vmwrite(Guest::CR0_SHADOW, value);
}

/// Sets CR4 as the guest reads it.
pub fn write_cr4(value: u64) {
    vmwrite(Guest::CR4, real_cr4(value));
    vmwrite(Guest::CR4_SHADOW, value);
}

/// Sets EFER, and with it the mode of the next entry.
pub fn write_efer(value: u64) {
    vmwrite(Guest::EFER, value);
    let long = if value & LMA != 0 { u64::from(Entry::IA32E_MODE_GUEST.bits()) } else { 0 };
    let controls = vmread(Control::ENTRY) & !u64::from(Entry::IA32E_MODE_GUEST.bits()) | long;
    // SAFETY: the bit says in which mode the guest is; a wrong one fails the entry.
    unsafe { vmwrite_control(Control::ENTRY, controls) };
}

/// Whether the mode that the VMCS says is [possible](mode_is_possible).
pub fn mode_in_vmcs_is_possible() -> bool {
    mode_is_possible(vmread(Guest::CR0), vmread(Guest::CR4), vmread(Guest::EFER))
}

/// Loads the page-directory pointers where the guest uses PAE paging, as a write of CR3 does (Intel SDM vol. 3A,
/// 4.4.1). `None`: they are not in the guest's memory, or bad.
pub fn load_pointers(frames: &FrameTable, control: &VirtualCpu) -> Option<()> {
    if !uses_pointers(vmread(Guest::CR0), vmread(Guest::CR4), vmread(Guest::EFER)) {
        return Some(());
    }
    // CR3 without its low bits says where they lie (table 4-7).
    let at = GuestPhysical::new(vmread(Guest::CR3) & 0xffff_ffe0);
    let pointers = read_pointers(frames, control.root, at)?;
    // Bits 2:1 and 8:5 of a present pointer are reserved.
    if pointers.iter().any(|pointer| pointer & 1 != 0 && pointer & 0x1e6 != 0) {
        return None;
    }
    for (field, value) in [Guest::PDPTE0, Guest::PDPTE1, Guest::PDPTE2, Guest::PDPTE3].into_iter().zip(pointers) {
        vmwrite(field, value);
    }
    Some(())
}

/// Access rights for the VMCS: bit 16 is "unusable", bits 11:8 are reserved.
const fn access_to_vmcs(access: u16) -> u64 {
    let unusable = if access & Segment::UNUSABLE != 0 { 1 << 16 } else { 0 };
    (access & 0xf0ff) as u64 | unusable
}

/// Access rights for the state page.
const fn access_from_vmcs(access: u64) -> u16 {
    let unusable = if access >> 16 & 1 != 0 { Segment::UNUSABLE } else { 0 };
    access as u16 & 0xf0ff | unusable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_rights_go_both_ways() {
        for access in [0x93, 0xa09b, 0x8b, Segment::UNUSABLE, 0xc093 | Segment::UNUSABLE] {
            assert_eq!(access_from_vmcs(access_to_vmcs(access)), access);
        }
        assert_eq!(access_to_vmcs(Segment::UNUSABLE), 0x1_0000);
        assert_eq!(access_to_vmcs(0xffff), 0x1_f0ff, "reserved bits never reach the VMCS");
    }
}
