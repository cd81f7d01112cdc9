//! What a machine may do without asking: tables that the monitor answers from, at once.
//!
//! Everything that no table names exits to the kernel and from there to the machine's keeper. A machine starts with
//! empty tables: default deny. Nesters set them with `space_set_policy`, the kernel hands them on to the monitor with
//! [`machine::Call::SetPolicy`](crate::machine::Call::SetPolicy) after checking them against the machine's own rights.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// The kind of the entries handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Kind {
    /// [`CpuidEntry`]s: replace the whole CPUID table. CPUID with a leaf that no entry names exits.
    Cpuid = 1,
    /// [`MsrEntry`]s: added to the MSR table, replacing entries of the same MSR.
    Msr = 2,
    /// One [`Controls`].
    Controls = 3,
}

/// One CPUID answer (Intel SDM vol. 2A, CPUID).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuidEntry {
    /// Value of EAX that the entry answers.
    pub leaf: u32,
    /// Value of ECX that the entry answers, or [`CpuidEntry::ANY`].
    pub subleaf: u32,
    /// Answer.
    pub eax: u32,
    /// Answer.
    pub ebx: u32,
    /// Answer. In leaf 1 the monitor sets OSXSAVE (bit 27) as the guest's CR4 has it.
    pub ecx: u32,
    /// Answer.
    pub edx: u32,
}

impl CpuidEntry {
    /// The entry answers whatever ECX holds.
    pub const ANY: u32 = u32::MAX;
}

/// Most entries a CPUID table holds.
pub const MAX_CPUID_ENTRIES: usize = 96;

/// How one MSR is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MsrEntry {
    /// The MSR.
    pub msr: u32,
    /// [`MsrEntry::CONSTANT`], [`MsrEntry::EXIT`] or [`MsrEntry::DIRECT`].
    pub mode: u32,
    /// What a read returns under `CONSTANT`.
    pub value: u64,
}

impl MsrEntry {
    /// Reads and writes exit to the keeper (the state of every MSR at first).
    pub const EXIT: u32 = 0;
    /// Reads return `value`, writes are ignored; the monitor answers both.
    pub const CONSTANT: u32 = 1;
    /// The guest accesses the register itself. Only for the MSRs in [`DIRECT_MSRS`]; refused for any other.
    pub const DIRECT: u32 = 2;
}

/// Most entries that answer with a constant.
pub const MAX_CONSTANT_MSRS: usize = 64;

/// The MSRs that a machine may access directly: the VMCS switches FS and GS base and the SYSENTER registers, the kernel
/// switches KERNEL_GS_BASE (which SWAPGS changes unseen).
///
/// The other MSRs of the SYSCALL group (STAR, LSTAR, CSTAR, FMASK) always exit and are served by the kernel, not by the
/// keeper.
///
/// EFER and PAT need no entry: the VMCS switches them, guests access them directly, and the processor checks what they
/// write.
///
/// SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP, FS_BASE, GS_BASE, KERNEL_GS_BASE.
pub const DIRECT_MSRS: [u32; 6] = [0x174, 0x175, 0x176, 0xc000_0100, 0xc000_0101, 0xc000_0102];

/// Scalar policy of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Controls {
    /// Exceptions (by vector) that exit. Machine checks always do.
    pub exception_bitmap: u32,
    /// [`Controls::VMCALL`] and others.
    pub flags: u32,
    /// XCR0 bits that the guest may set with XSETBV; the monitor answers within them, injects #GP beyond.
    pub xcr0_allowed: u64,
    /// CR4 bits that the guest may set; setting another exits. VMXE and SMXE are never allowed.
    pub cr4_allowed: u64,
}

impl Controls {
    /// Ring 0 of the machine may call the low-level API with VMCALL. Without it VMCALL raises #UD in the guest.
    pub const VMCALL: u32 = 1 << 0;
    /// RDTSC and RDTSCP exit.
    pub const EXIT_ON_RDTSC: u32 = 1 << 1;
    /// INVLPG and CR3 accesses exit.
    pub const EXIT_ON_PAGING: u32 = 1 << 2;
    /// VMX instructions exit to the keeper. Without it the monitor raises #UD in the guest.
    pub const EXIT_ON_VMX: u32 = 1 << 3;
    /// All defined flags.
    pub const ALL: u32 = 0xf;
}

const _: () = assert!(size_of::<CpuidEntry>() == 24);
const _: () = assert!(size_of::<MsrEntry>() == 16);
const _: () = assert!(size_of::<Controls>() == 24);
