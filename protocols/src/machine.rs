//! The machine interface: what the kernel asks of the monitor.
//!
//! The kernel's ring 0 executes `VMCALL` with the [`Call`] in RAX and arguments in RDI, RSI, RDX, R10, R8. RAX returns
//! a [`Status`], RDX a value where the call has one; all other registers are kept, but by [`Call::Run`]. A `VMCALL` from ring 3 raises #UD
//! there: only the kernel speaks this interface. All addresses are host-physical (the kernel's memory is
//! identity-mapped); all lists are arrays in the kernel's own memory and do not cross a page boundary.
//!
//! **Frames.** Everything that the monitor stores for a machine lies in frames that the kernel *donated* to it. A
//! donated frame leaves the kernel's EPT until it is given back, zeroed. A frame is donated, or mapped in machines,
//! or a state page; the monitor refuses whatever would let a machine or the kernel reach a donated frame or the
//! monitor's own memory.
//!
//! **Run** is a return, not a callback. Interrupts that arrive while a machine runs end the run with
//! `EXTERNAL_INTERRUPT`, still pending: the kernel takes them natively. NMIs end it with `EXCEPTION_OR_NMI`; the NMI
//! is then delivered to the kernel's own handler.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// The version of this interface.
pub const VERSION: u64 = 1;

/// Calls to the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Call {
    /// Returns [`VERSION`].
    Version = 0,
    /// Runs virtual CPU RDI until something needs the kernel. The exit is in its state page; a failed entry is an
    /// exit with [`ENTRY_FAILURE`](crate::virtual_cpu::exit_reason::ENTRY_FAILURE) set. `Ok` for every exit.
    /// Of the caller's registers only RSP is kept, beside the segments, control registers and flags that a VMCS holds: the
    /// caller saves what it needs, so that the monitor need not.
    Run = 1,
    /// Creates a machine from the frames listed at RDI (RSI of them, at least [`MACHINE_FRAMES`]), which it donates.
    /// RDX: the machine's identifier.
    CreateMachine = 2,
    /// Donates the RSI frames listed at RDX to machine RDI, for EPT tables and virtual CPUs.
    Donate = 3,
    /// Destroys machine RDI with its virtual CPUs, EPT and policy, a step at a time: writes up to RDX frames that it
    /// gives back to the list at RSI. RDX: how many. When 0 come back, the identifier is free.
    DestroyMachine = 4,
    /// Creates a virtual CPU for machine RDI, with the state page RSI, which stays mapped in the kernel.
    /// Takes [`VIRTUAL_CPU_FRAMES`] of the machine's donated frames. RDX: the virtual CPU's identifier.
    CreateVirtualCpu = 5,
    /// Destroys virtual CPU RDI; its frames return to its machine's donated frames.
    DestroyVirtualCpu = 6,
    /// Applies the RDX [`EptEntry`]s listed at RSI to machine RDI, in order, until one is refused. RDX: how many were
    /// applied. `NoFrames` when the machine's donated frames do not suffice: donate and go on.
    UpdateEpt = 7,
    /// Sets policy of kind RSI ([`policy::Kind`](crate::policy::Kind)) for machine RDI from the R10 entries listed at
    /// RDX.
    SetPolicy = 8,
    /// Writes the RSI bytes at RDI to the monitor's console. For the kernel's own log.
    WriteConsole = 9,
    /// Ends the system: RDI is an [`End`]. Does not return.
    End = 10,
    /// How many frames machine RDI has left of those donated: RDX.
    DonatedFrames = 11,
    /// Reads the groups RSI of virtual CPU RDI from its VMCS into its state page now, and adds them to `valid`.
    ReadState = 12,
    /// Has virtual CPU RDI log, in frame RSI, which pages it writes: a guest-physical address in each 4 KiB page that it writes, once for
    /// as long as the page's [`EptEntry`] is not applied again. Where it logs already, RSI is ignored and the log begins anew. RDX: how many
    /// addresses were in the log, the last so many of its 512 words. When it is full, the run ends with
    /// [`LOG_FULL`](crate::virtual_cpu::exit_reason::LOG_FULL) before the next write. `UnknownCall` where the processor has no
    /// page-modification log. The frame stays mapped in the kernel, as a state page does, until the virtual CPU is destroyed. Guest accesses to the
    /// guest's own page tables count as writes from then on.
    LogWrites = 13,
}

/// How the system ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum End {
    /// Power off.
    PowerOff = 0,
    /// Reset the host.
    Reset = 1,
}

/// What a call to the monitor returns in RAX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// No such call.
    UnknownCall = 1,
    /// The machine or virtual CPU does not exist.
    NoObject = 2,
    /// An address is not aligned, not memory, or not the kernel's to give.
    BadAddress = 3,
    /// The frame is already donated, mapped in a machine or in use as a state page.
    FrameInUse = 4,
    /// The machine has too few donated frames.
    NoFrames = 5,
    /// An argument is outside what the call documents.
    BadArgument = 6,
}

/// CPUID leaf that the monitor answers for the kernel and its native programs: EAX and EBX are the lower and upper half of the number of
/// VM exits so far, this one included.
pub const STATISTICS_LEAF: u32 = 0x4e65_7301;

/// Frames that a machine needs at least: control, root EPT table, MSR bitmap, I/O bitmaps, policy.
pub const MACHINE_FRAMES: usize = 8;
/// Frames that a virtual CPU needs.
pub const VIRTUAL_CPU_FRAMES: usize = 2;

/// One change of a machine's EPT: `frames` frames from `guest` on map to those from `host` on, or, with no rights,
/// nothing. The monitor uses the largest pages that alignment and length allow and splits where needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EptEntry {
    /// Guest-physical address, a multiple of 4096.
    pub guest: u64,
    /// Host-physical address, a multiple of 4096; ignored where `rights` is 0.
    pub host: u64,
    /// Length in frames.
    pub frames: u32,
    /// [`EptEntry::READ`] and others; 0 removes the mapping.
    pub rights: u16,
    /// EPT memory type (0 uncached, 6 write-back). Device memory is always uncached, RAM always write-back.
    pub memory_type: u16,
}

impl EptEntry {
    /// Right to read.
    pub const READ: u16 = 1;
    /// Right to write; needs `READ`.
    pub const WRITE: u16 = 2;
    /// Right to execute.
    pub const EXECUTE: u16 = 4;
    /// No larger pages than 4 KiB, to log writes to each.
    pub const SMALL: u16 = 8;
}

const _: () = assert!(size_of::<EptEntry>() == 24);
