//! The state of a virtual CPU, in named groups.
//!
//! One [`VirtualCpuState`] page is shared by kernel and monitor for each virtual CPU; the same layout is what
//! `thread_get_state` and `thread_set_state` move for a thread of a machine Space.
//!
//! The general registers, the exit record, the event slot and the posted interrupt are always current. All other
//! fields belong to a group: the monitor reads a group from the VMCS at an exit only where `wanted` names it (and then
//! sets it in `valid`), and writes it at an entry only where `dirty` names it (and then clears `dirty`).

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags! {
    /// Groups of fields in [`VirtualCpuState`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Groups: u64 {
        /// `rip`, `rsp` (slot 4 of `gpr`), `rflags`.
        const INSTRUCTION = 1 << 0;
        /// `interruptibility`, `activity`, `pending_debug`.
        const INTERRUPTIBILITY = 1 << 1;
        /// The eight segment registers.
        const SEGMENTS = 1 << 2;
        /// `gdtr` and `idtr`.
        const TABLES = 1 << 3;
        /// `cr0`, `cr2`, `cr3`, `cr4`, `xcr0` as the guest sees them.
        const CONTROL = 1 << 4;
        /// `efer` and `pat`.
        const EFER = 1 << 5;
        /// `sysenter_cs`, `sysenter_esp`, `sysenter_eip`.
        const SYSENTER = 1 << 6;
        /// `dr0` to `dr3`, `dr6`, `dr7`, `debugctl`.
        const DEBUG = 1 << 7;
        /// `star`, `lstar`, `cstar`, `sfmask`, `kernel_gs_base`: kept by the kernel, the monitor ignores it.
        const SYSCALL = 1 << 8;
        /// The general registers. Always current in the shared page; named so that the API can select it.
        const GENERAL = 1 << 9;
        /// `event` and `posted`. Always current in the shared page; named so that the API can select it.
        const EVENT = 1 << 10;
        /// The x87, SSE and AVX state in `extended`: moved by the API only, the shared page does not hold it.
        const EXTENDED = 1 << 11;
        /// `tsc_offset`.
        const TIME = 1 << 12;
    }
}

impl Groups {
    /// What the monitor can read from and write to a VMCS.
    pub const VMCS: Self = Self::INSTRUCTION
        .union(Self::INTERRUPTIBILITY)
        .union(Self::SEGMENTS)
        .union(Self::TABLES)
        .union(Self::CONTROL)
        .union(Self::EFER)
        .union(Self::SYSENTER)
        .union(Self::DEBUG)
        .union(Self::TIME);
}

/// Positions of the general registers in [`VirtualCpuState::gpr`]: the order of their encoding
/// (Intel SDM vol. 2A, table 2-2).
pub mod register {
    /// RAX.
    pub const RAX: usize = 0;
    /// RCX.
    pub const RCX: usize = 1;
    /// RDX.
    pub const RDX: usize = 2;
    /// RBX.
    pub const RBX: usize = 3;
    /// RSP, part of the group `INSTRUCTION`.
    pub const RSP: usize = 4;
    /// RBP.
    pub const RBP: usize = 5;
    /// RSI.
    pub const RSI: usize = 6;
    /// RDI.
    pub const RDI: usize = 7;
    /// R8. R9 to R15 follow.
    pub const R8: usize = 8;
    /// R9.
    pub const R9: usize = 9;
    /// R10.
    pub const R10: usize = 10;
    /// R12.
    pub const R12: usize = 12;
    /// R13.
    pub const R13: usize = 13;
    /// R14.
    pub const R14: usize = 14;
    /// R15.
    pub const R15: usize = 15;
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Segment {
    /// Base address.
    pub base: u64,
    /// Limit in bytes, the last valid offset.
    pub limit: u32,
    /// Access rights in the VMCS format (Intel SDM vol. 3C, table 25-2), with [`Segment::UNUSABLE`] in place of bit 16.
    pub access: u16,
    /// Selector.
    pub selector: u16,
}

impl Segment {
    /// Bit 16 of the VMCS access rights, "unusable", folded into a reserved bit of the 16-bit field.
    pub const UNUSABLE: u16 = 1 << 11;
}

/// Positions of the segment registers in [`VirtualCpuState::segments`], the order of the VMCS fields.
pub mod segment {
    /// ES.
    pub const ES: usize = 0;
    /// CS.
    pub const CS: usize = 1;
    /// SS.
    pub const SS: usize = 2;
    /// DS.
    pub const DS: usize = 3;
    /// FS.
    pub const FS: usize = 4;
    /// GS.
    pub const GS: usize = 5;
    /// LDTR.
    pub const LDTR: usize = 6;
    /// TR.
    pub const TR: usize = 7;
}

/// A descriptor-table register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Table {
    /// Base address.
    pub base: u64,
    /// Limit in bytes, the last valid offset.
    pub limit: u64,
}

/// Why the virtual CPU stopped running: the fields of Intel SDM vol. 3C, 25.9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExitRecord {
    /// Basic exit reason in bits 0-15 (see [`exit_reason`]); bit 31 marks a failed VM entry.
    pub reason: u32,
    /// Length of the instruction that caused the exit, where it has one.
    pub instruction_length: u32,
    /// Exit qualification.
    pub qualification: u64,
    /// Guest-physical address of an EPT violation or misconfiguration.
    pub guest_physical: u64,
    /// Guest-linear address, where the exit has one.
    pub guest_linear: u64,
    /// VM-exit interruption information, for exceptions and NMIs.
    pub interruption: u32,
    /// Its error code.
    pub interruption_error: u32,
    /// VM-exit instruction information.
    pub instruction: u32,
    /// VM-instruction error number of an entry that failed before loading guest state, else 0.
    pub instruction_error: u32,
}

/// An event to be injected at the next entry: the VM-entry interruption-information format
/// (Intel SDM vol. 3C, table 25-17).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// Vector, type, error-code and valid bits; 0 for none.
    pub information: u32,
    /// Error code, where bit 11 of `information` says that there is one.
    pub error: u32,
    /// Instruction length, for software interrupts and exceptions.
    pub instruction_length: u32,
    /// Zero.
    pub reserved: u32,
}

impl Event {
    /// Bit 31: there is an event.
    pub const VALID: u32 = 1 << 31;
    /// Bit 11: the event pushes an error code.
    pub const HAS_ERROR: u32 = 1 << 11;

    /// The event of hardware exception `vector`.
    pub const fn exception(vector: u8, error: Option<u32>) -> Self {
        let has_error = if error.is_some() { Self::HAS_ERROR } else { 0 };
        Self {
            information: Self::VALID | 3 << 8 | has_error | vector as u32,
            error: match error {
                Some(error) => error,
                None => 0,
            },
            instruction_length: 0,
            reserved: 0,
        }
    }

    /// The event of external interrupt `vector`.
    pub const fn interrupt(vector: u8) -> Self {
        Self { information: Self::VALID | vector as u32, error: 0, instruction_length: 0, reserved: 0 }
    }

    /// Whether there is an event.
    pub const fn is_valid(&self) -> bool {
        self.information & Self::VALID != 0
    }

    /// Whether a VM entry would accept the event (Intel SDM vol. 3C, 26.2.1.3): what a nester asked for is checked
    /// with this before it reaches the VMCS.
    pub const fn is_consistent(&self) -> bool {
        let information = self.information;
        if !self.is_valid() {
            return information == 0;
        }
        let (kind, vector, has_error) = (information >> 8 & 7, information & 0xff, information & Self::HAS_ERROR != 0);
        if information & 0x7fff_f000 != 0 {
            return false;
        }
        let pushes_error = matches!(vector, 8 | 10..=14 | 17 | 21);
        match kind {
            0 => !has_error,
            2 => vector == 2 && !has_error,
            3 => vector < 32 && vector != 2 && has_error == pushes_error && self.error & 0xffff_8000 == 0,
            4..=6 => !has_error && self.instruction_length >= 1 && self.instruction_length <= 15,
            _ => false,
        }
    }
}

/// The whole state of a virtual CPU. See the module for which fields are current when.
///
/// [`thread_get_state`](crate::libc::system_call::thread_get_state) reads it, [`thread_set_state`](crate::libc::system_call::thread_set_state) sets it, by
/// [`Groups`]. When it is set, `dirty`, `wanted`, `valid`, `advance` and `exit` are ignored. *Checked* (else `Refused`): the groups exist; of
/// `EVENT`, that the event [makes sense](Event::is_consistent) and the vector can be posted; of `SYSCALL`, that its addresses are canonical and
/// `sfmask` has 32 bits; of
/// `CONTROL`, that `xcr0` enables what the processor has, and AVX only with SSE. All else is checked by the processor when the virtual CPU runs: a state that it
/// does not enter is an exit to the keeper.
///
#[doc = example!("virtual_cpu_state")]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VirtualCpuState {
    /// General registers, see [`register`].
    pub gpr: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Groups that the next entry writes to the VMCS.
    pub dirty: u64,
    /// Groups that exits read from the VMCS.
    pub wanted: u64,
    /// Groups whose fields here are those of the last exit.
    pub valid: u64,
    /// 1 to skip the instruction that caused the last exit, at the next entry; the monitor clears it.
    pub advance: u32,
    /// External interrupt to deliver as soon as the guest accepts one: 0x100 | vector, or 0. The monitor clears it
    /// on delivery.
    pub posted: u32,
    /// Event to inject at the next entry. At an exit that interrupted the delivery of an event, that event.
    pub event: Event,
    /// The last exit.
    pub exit: ExitRecord,
    /// Interruptibility state (Intel SDM vol. 3C, table 25-3).
    pub interruptibility: u32,
    /// Activity state (0 active, 1 halted, 2 shut down, 3 waits for start-up IPI).
    pub activity: u32,
    /// Pending debug exceptions.
    pub pending_debug: u64,
    /// Segment registers, see [`segment`].
    pub segments: [Segment; 8],
    /// GDTR.
    pub gdtr: Table,
    /// IDTR.
    pub idtr: Table,
    /// CR0 as the guest reads it.
    pub cr0: u64,
    /// CR2. The monitor loads and saves it with the group `CONTROL` and keeps it across runs.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4 as the guest reads it.
    pub cr4: u64,
    /// XCR0.
    pub xcr0: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// IA32_PAT.
    pub pat: u64,
    /// IA32_SYSENTER_CS.
    pub sysenter_cs: u64,
    /// IA32_SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// IA32_SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// DR0 to DR3.
    pub dr: [u64; 4],
    /// DR6.
    pub dr6: u64,
    /// DR7.
    pub dr7: u64,
    /// IA32_DEBUGCTL.
    pub debugctl: u64,
    /// IA32_STAR.
    pub star: u64,
    /// IA32_LSTAR.
    pub lstar: u64,
    /// IA32_CSTAR.
    pub cstar: u64,
    /// IA32_FMASK.
    pub sfmask: u64,
    /// IA32_KERNEL_GS_BASE.
    pub kernel_gs_base: u64,
    /// What the guest's time stamp counter is ahead of the host's, modulo 2^64. Deadlines of calls that the guest makes are its
    /// own time.
    pub tsc_offset: u64,
    /// x87, SSE and AVX state in the standard (not compacted) XSAVE format.
    pub extended: [u8; 1024],
}

const _: () = assert!(size_of::<VirtualCpuState>() == 1624);

impl VirtualCpuState {
    /// A state of zeroes but for the fields that must not be: RFLAGS, XCR0, DR6, DR7, PAT and the x87 and SSE control
    /// words have their reset values (Intel SDM vol. 3A, table 10-1).
    pub fn zeroed() -> Self {
        let mut state: Self = zerocopy::FromZeros::new_zeroed();
        state.rflags = 2;
        state.xcr0 = 1;
        state.dr6 = 0xffff_0ff0;
        state.dr7 = 0x400;
        state.pat = 0x0007_0406_0007_0406;
        state.extended = initial_extended();
        state
    }
}

/// The extended state after a reset: x87 and SSE with their control words' reset values, the rest zero.
pub const fn initial_extended() -> [u8; 1024] {
    let mut area = [0; 1024];
    [area[0], area[1]] = 0x037fu16.to_le_bytes();
    [area[24], area[25]] = 0x1f80u16.to_le_bytes();
    area
}

/// Basic exit reasons (Intel SDM vol. 3D, appendix C).
#[allow(missing_docs)]
pub mod exit_reason {
    pub const EXCEPTION_OR_NMI: u32 = 0;
    pub const EXTERNAL_INTERRUPT: u32 = 1;
    pub const TRIPLE_FAULT: u32 = 2;
    pub const INIT: u32 = 3;
    pub const STARTUP_IPI: u32 = 4;
    pub const INTERRUPT_WINDOW: u32 = 7;
    pub const NMI_WINDOW: u32 = 8;
    pub const TASK_SWITCH: u32 = 9;
    pub const CPUID: u32 = 10;
    pub const GETSEC: u32 = 11;
    pub const HLT: u32 = 12;
    pub const INVD: u32 = 13;
    pub const INVLPG: u32 = 14;
    pub const RDPMC: u32 = 15;
    pub const RDTSC: u32 = 16;
    pub const VMCALL: u32 = 18;
    pub const VMCLEAR: u32 = 19;
    pub const VMXON: u32 = 27;
    pub const CONTROL_REGISTER: u32 = 28;
    pub const DEBUG_REGISTER: u32 = 29;
    pub const IO: u32 = 30;
    pub const RDMSR: u32 = 31;
    pub const WRMSR: u32 = 32;
    pub const INVALID_GUEST_STATE: u32 = 33;
    pub const MSR_LOADING: u32 = 34;
    pub const MWAIT: u32 = 36;
    pub const MONITOR_TRAP: u32 = 37;
    pub const MONITOR: u32 = 39;
    pub const PAUSE: u32 = 40;
    pub const MACHINE_CHECK_ON_ENTRY: u32 = 41;
    pub const TABLE_ACCESS: u32 = 46;
    pub const LDTR_TR_ACCESS: u32 = 47;
    pub const EPT_VIOLATION: u32 = 48;
    pub const EPT_MISCONFIGURATION: u32 = 49;
    pub const INVEPT: u32 = 50;
    pub const RDTSCP: u32 = 51;
    pub const INVVPID: u32 = 53;
    pub const WBINVD: u32 = 54;
    pub const XSETBV: u32 = 55;
    pub const RDRAND: u32 = 57;
    pub const INVPCID: u32 = 58;
    pub const VMFUNC: u32 = 59;
    pub const RDSEED: u32 = 61;
    pub const LOG_FULL: u32 = 62;
    pub const XSAVES: u32 = 63;
    pub const XRSTORS: u32 = 64;
    /// Bit 31 of the reason: the VM entry failed.
    pub const ENTRY_FAILURE: u32 = 1 << 31;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_checked_as_a_vm_entry_would() {
        assert!(Event::exception(14, Some(2)).is_consistent());
        assert!(Event::exception(6, None).is_consistent());
        assert!(Event::interrupt(0xef).is_consistent());
        assert!(Event::default().is_consistent());
        assert!(!Event::exception(14, None).is_consistent(), "a page fault pushes an error code");
        assert!(!Event { information: Event::VALID | 1 << 8, ..Event::default() }.is_consistent(), "reserved type");
        assert!(!Event { information: Event::VALID | 1 << 20 | 32, ..Event::default() }.is_consistent());
        assert!(!Event { information: 0x55, ..Event::default() }.is_consistent(), "not valid, not zero");
    }
}
