//! VMCS fields (Intel SDM vol. 3D, appendix B), sorted by what writing them can do.
//!
//! A [`GuestField`] changes only what a guest sees: whatever is written, the worst is that the VM entry fails. A
//! [`ControlField`] can break the monitor's isolation (which EPT, which bitmaps, where exits go): writing one is
//! `unsafe`. A [`ReadField`] is read-only.

use x86::vmx::vmcs::{control, guest, host, ro};

/// A field that holds guest state, or a control with no power over the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestField(u32);
/// A field that isolation depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlField(u32);
/// A field that describes an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadField(u32);

/// A field that can be read.
pub trait Field: Copy {
    /// The field's encoding.
    fn encoding(self) -> u32;
}

macro_rules! fields {
    ($kind:ident: $($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        impl $kind {
            $($(#[$doc])* pub const $name: Self = Self($value);)*
            /// All named fields: the monitor checks at its start that the processor has them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
        impl Field for $kind {
            #[inline(always)]
            fn encoding(self) -> u32 {
                self.0
            }
        }
    };
}

fields! { GuestField:
    /// RIP.
    RIP = guest::RIP;
    /// RSP.
    RSP = guest::RSP;
    /// RFLAGS.
    RFLAGS = guest::RFLAGS;
    /// Interruptibility state.
    INTERRUPTIBILITY = guest::INTERRUPTIBILITY_STATE;
    /// Activity state.
    ACTIVITY = guest::ACTIVITY_STATE;
    /// Pending debug exceptions.
    PENDING_DEBUG = guest::PENDING_DBG_EXCEPTIONS;
    /// CR0.
    CR0 = guest::CR0;
    /// CR3.
    CR3 = guest::CR3;
    /// CR4.
    CR4 = guest::CR4;
    /// CR0 as the guest reads it, where the mask owns the bit.
    CR0_SHADOW = control::CR0_READ_SHADOW;
    /// CR4 as the guest reads it, where the mask owns the bit.
    CR4_SHADOW = control::CR4_READ_SHADOW;
    /// Page-directory pointers of PAE paging.
    PDPTE0 = guest::PDPTE0_FULL;
    /// The second.
    PDPTE1 = guest::PDPTE1_FULL;
    /// The third.
    PDPTE2 = guest::PDPTE2_FULL;
    /// The fourth.
    PDPTE3 = guest::PDPTE3_FULL;
    /// What RDTSC in the guest adds to the counter.
    TSC_OFFSET = control::TSC_OFFSET_FULL;
    /// DR7.
    DR7 = guest::DR7;
    /// IA32_DEBUGCTL.
    DEBUGCTL = guest::IA32_DEBUGCTL_FULL;
    /// IA32_EFER.
    EFER = guest::IA32_EFER_FULL;
    /// IA32_PAT.
    PAT = guest::IA32_PAT_FULL;
    /// IA32_SYSENTER_CS.
    SYSENTER_CS = guest::IA32_SYSENTER_CS;
    /// IA32_SYSENTER_ESP.
    SYSENTER_ESP = guest::IA32_SYSENTER_ESP;
    /// IA32_SYSENTER_EIP.
    SYSENTER_EIP = guest::IA32_SYSENTER_EIP;
    /// GDTR base.
    GDTR_BASE = guest::GDTR_BASE;
    /// GDTR limit.
    GDTR_LIMIT = guest::GDTR_LIMIT;
    /// IDTR base.
    IDTR_BASE = guest::IDTR_BASE;
    /// IDTR limit.
    IDTR_LIMIT = guest::IDTR_LIMIT;
    /// Access rights of CS, for its L bit.
    CS_ACCESS = guest::CS_ACCESS_RIGHTS;
    /// Access rights of SS, whose DPL is the CPL.
    SS_ACCESS = guest::SS_ACCESS_RIGHTS;
    /// The VMCS link pointer.
    LINK_POINTER = guest::LINK_PTR_FULL;
    /// The event to inject.
    ENTRY_EVENT = control::VMENTRY_INTERRUPTION_INFO_FIELD;
    /// Its error code.
    ENTRY_ERROR_CODE = control::VMENTRY_EXCEPTION_ERR_CODE;
    /// The instruction length of an injected software event.
    ENTRY_INSTRUCTION_LENGTH = control::VMENTRY_INSTRUCTION_LEN;
}

impl GuestField {
    /// Where the next address goes in the log of written pages, downwards; exists only where logs do. Beyond the log's end nothing is
    /// written, but the guest exits.
    pub const LOG_INDEX: Self = Self(guest::PML_INDEX);
    /// What is left of the preemption timer; exists only where the timer does.
    pub const TIMER: Self = Self(guest::VMX_PREEMPTION_TIMER_VALUE);

    /// Selector of segment register `index` (in the order of `protocols::virtual_cpu::segment`).
    pub const fn selector(index: usize) -> Self {
        Self(guest::ES_SELECTOR + 2 * (index as u32 & 7))
    }
    /// Base of segment register `index`.
    pub const fn base(index: usize) -> Self {
        Self(guest::ES_BASE + 2 * (index as u32 & 7))
    }
    /// Limit of segment register `index`.
    pub const fn limit(index: usize) -> Self {
        Self(guest::ES_LIMIT + 2 * (index as u32 & 7))
    }
    /// Access rights of segment register `index`.
    pub const fn access(index: usize) -> Self {
        Self(guest::ES_ACCESS_RIGHTS + 2 * (index as u32 & 7))
    }
}

fields! { ControlField:
    /// Pin-based controls.
    PIN = control::PINBASED_EXEC_CONTROLS;
    /// Primary processor-based controls.
    PRIMARY = control::PRIMARY_PROCBASED_EXEC_CONTROLS;
    /// Secondary processor-based controls.
    SECONDARY = control::SECONDARY_PROCBASED_EXEC_CONTROLS;
    /// VM-exit controls.
    EXIT = control::VMEXIT_CONTROLS;
    /// VM-entry controls.
    ENTRY = control::VMENTRY_CONTROLS;
    /// Exceptions that exit.
    EXCEPTIONS = control::EXCEPTION_BITMAP;
    /// MSR bitmap.
    MSR_BITMAP = control::MSR_BITMAPS_ADDR_FULL;
    /// EPT pointer.
    EPT_POINTER = control::EPTP_FULL;
    /// CR0 bits that the monitor owns.
    CR0_MASK = control::CR0_GUEST_HOST_MASK;
    /// CR4 bits that the monitor owns.
    CR4_MASK = control::CR4_GUEST_HOST_MASK;
    /// The monitor's CR0.
    HOST_CR0 = host::CR0;
    /// The monitor's CR3.
    HOST_CR3 = host::CR3;
    /// The monitor's CR4.
    HOST_CR4 = host::CR4;
    /// The monitor's CS.
    HOST_CS = host::CS_SELECTOR;
    /// The monitor's SS.
    HOST_SS = host::SS_SELECTOR;
    /// The monitor's DS.
    HOST_DS = host::DS_SELECTOR;
    /// The monitor's ES.
    HOST_ES = host::ES_SELECTOR;
    /// The monitor's TR.
    HOST_TR = host::TR_SELECTOR;
    /// Base of the monitor's TSS.
    HOST_TR_BASE = host::TR_BASE;
    /// The monitor's GDT.
    HOST_GDTR_BASE = host::GDTR_BASE;
    /// The monitor's IDT.
    HOST_IDTR_BASE = host::IDTR_BASE;
    /// Base of the monitor's GS.
    HOST_GS_BASE = host::GS_BASE;
    /// The monitor's EFER.
    HOST_EFER = host::IA32_EFER_FULL;
    /// The monitor's PAT.
    HOST_PAT = host::IA32_PAT_FULL;
    /// The monitor's stack at an exit.
    HOST_RSP = host::RSP;
    /// The monitor's entry at an exit.
    HOST_RIP = host::RIP;
}

impl ControlField {
    /// The VPID; exists only where VPIDs do.
    pub const VPID: Self = Self(control::VPID);
    /// The frame of the log of written pages; exists only where logs do.
    pub const LOG_ADDRESS: Self = Self(control::PML_ADDR_FULL);
    /// XSAVES state that exits; exists only where XSAVES does.
    pub const XSS_EXITING: Self = Self(control::XSS_EXITING_BITMAP_FULL);
}

fields! { ReadField:
    /// Exit reason.
    REASON = ro::EXIT_REASON;
    /// Exit qualification.
    QUALIFICATION = ro::EXIT_QUALIFICATION;
    /// Length of the instruction that exited.
    INSTRUCTION_LENGTH = ro::VMEXIT_INSTRUCTION_LEN;
    /// Information on the instruction that exited.
    INSTRUCTION_INFORMATION = ro::VMEXIT_INSTRUCTION_INFO;
    /// Guest-linear address.
    GUEST_LINEAR = ro::GUEST_LINEAR_ADDR;
    /// Guest-physical address.
    GUEST_PHYSICAL = ro::GUEST_PHYSICAL_ADDR_FULL;
    /// Exception or NMI that exited.
    INTERRUPTION = ro::VMEXIT_INTERRUPTION_INFO;
    /// Its error code.
    INTERRUPTION_ERROR = ro::VMEXIT_INTERRUPTION_ERR_CODE;
    /// Event whose delivery the exit interrupted.
    VECTORING = ro::IDT_VECTORING_INFO;
    /// Its error code.
    VECTORING_ERROR = ro::IDT_VECTORING_ERR_CODE;
    /// Number of the VM-instruction error.
    INSTRUCTION_ERROR = ro::VM_INSTRUCTION_ERROR;
}
