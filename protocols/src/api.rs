//! The low-level API: Fluke's kernel object types and their calls, through two doors.
//!
//! # How a call is made
//!
//! A native thread executes `SYSCALL`, ring 0 of a machine executes `VMCALL`; everything else is the same. RAX holds
//! the [`Call`]; arguments stand in RDI, RSI, RDX, R10, R8, R9 in this order. RAX returns a [`Status`]; values come
//! back in the argument registers that a call names. RCX and R11 are undefined after `SYSCALL`; all other registers are
//! kept. Addresses are addresses in the caller's own Space: virtual for a native thread, guest-physical for a machine.
//!
//! # Objects live in memory
//!
//! An object is created at an address and named by any address that maps the same memory. It takes [`OBJECT_SIZE`]
//! bytes at a multiple of [`OBJECT_SIZE`], which must be mapped with [`Rights::WRITE`] and [`Rights::CREATE_OBJECT`]
//! to create, destroy or change it and with [`Rights::READ`] to use it. The bytes themselves mean nothing. Objects whose memory its parent owns
//! can be found by the parent with [`Call::RegionSearch`], named through the parent's own mapping of that memory, and destroyed.
//!
//! Inter-object links are always given as Reference objects: an argument called *reference* is the address of
//! a Reference; `0` leaves the link as it is.
//!
//! # Errors
//!
//! Conditions that a correct program meets are a [`Status`]. Misuse (no object at an address, wrong type, bad
//! alignment, unknown call) is an exception of the calling thread: [`exception::Misuse`](crate::exception::Misuse),
//! delivered to its Space's keeper, or stopping it where there is none.
//!
//! # Restart
//!
//! Every call is atomic: a call that waits, or that meets a fault in the caller's memory, leaves the caller's registers
//! as a call about to be made, and is made again from the start when the thread goes on. Calls below say *waits* where they can.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// The version of this interface.
pub const VERSION: u64 = 1;
/// Bytes of memory that an object takes, and its alignment.
pub const OBJECT_SIZE: u64 = 64;

/// Numbers of the object types. A call's number is `type * 16 + operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum ObjectType {
    /// Imports part of a Region into a Space.
    Mapping = 3,
    /// Exports part of a Space.
    Region = 4,
    /// Where clients send: the server side of IPC, and the only capability.
    Port = 5,
    /// A pool of server threads, and the Ports that they serve.
    Portset = 6,
    /// An address space: native, or a machine's physical one.
    Space = 7,
    /// A thread: ring-3 registers in a native Space, a virtual CPU in a machine Space.
    Thread = 8,
    /// A link to an object: what capabilities are held in.
    Reference = 9,
}

/// The calls. Below, `space: rdi` means that the argument called *space* stands in RDI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Call {
    /// Creates a Mapping at `rdi`, linked to nothing.
    /// `Ok`, `NoMemory`.
    MappingCreate = 0x30,
    /// Destroys the Mapping at `rdi`: what came through it is no longer accessible, at once.
    MappingDestroy = 0x31,
    /// Sets Mapping `rdi` from the [`MappingState`] at `rsi`, its Region from *reference* `rdx`, the Space it appears in from
    /// *reference* `r10`.
    /// `Ok`, `Overlap` (with another Mapping of the Space), `Circular` (the Space shows itself then), `NoMemory`.
    MappingSetState = 0x35,

    /// Creates a Region at `rdi`, exporting nothing. `Ok`, `NoMemory`.
    RegionCreate = 0x40,
    /// Destroys Region `rdi`: what came through Mappings of it is no longer accessible, at once.
    RegionDestroy = 0x41,
    /// Points Reference `rsi` at Region `rdi`.
    RegionReference = 0x43,
    /// Sets Region `rdi` from the [`RegionState`] at `rsi`, the Space that it exports from *reference* `rdx` (0 at first: the
    /// caller's own Space), the keeper Port from *reference* `r10`. `Ok`, `Circular`.
    RegionSetState = 0x45,
    /// Limits everything derived from Region `rdi` to [`Rights`] `rsi`, at once; relaxes the limit too.
    RegionProtect = 0x46,
    /// Finds the first object of the memory that Region `rdi` exports at or after offset `rsi`. `Ok`: `rsi` is its offset, `rdx` its
    /// [`ObjectType`]. `NotFound`: there is none. Continue at `rsi + OBJECT_SIZE`.
    RegionSearch = 0x47,

    /// Creates a Port at `rdi`, in no Portset. `Ok`, `NoMemory`.
    PortCreate = 0x50,
    /// Destroys Port `rdi`: present and future calls to it end with `InvalidDestination`.
    PortDestroy = 0x51,
    /// Points Reference `rsi` at Port `rdi`.
    PortReference = 0x53,
    /// Sets the alias of Port `rdi` to `rsi` and its Portset from *reference* `rdx`.
    PortSetState = 0x55,

    /// Creates a Portset at `rdi`. `Ok`, `NoMemory`.
    PortsetCreate = 0x60,
    /// Destroys Portset `rdi`; its Ports remain, in no Portset.
    PortsetDestroy = 0x61,
    /// Points Reference `rsi` at Portset `rdi`.
    PortsetReference = 0x63,

    /// Creates a Space at `rdi` of [`SpaceKind`] `rsi`, with a kernel-memory allowance of `rdx` frames taken from that of the
    /// caller's Space. `Ok`, `NoMemory` (the caller's allowance does not suffice), `Unsupported` (no such kind here).
    SpaceCreate = 0x70,
    /// Destroys Space `rdi`: Mappings into it and Regions of it lose their link, its Threads stop, its allowance returns.
    SpaceDestroy = 0x71,
    /// Points Reference `rsi` at Space `rdi`.
    SpaceReference = 0x73,
    /// Writes the [`SpaceState`] of Space `rdi` to `rsi`.
    SpaceGetState = 0x74,
    /// Sets the keeper Port of Space `rdi` from *reference* `rsi`, and how many ticks of the time stamp counter its threads wait for
    /// a keeper's reply, its own or a Region's, from `rdx` (0: unchanged; at first ten seconds). A thread that has waited longer stops.
    /// The kernel looks four times in a second.
    SpaceSetState = 0x75,
    /// Sets policy of a machine Space `rdi`: `rsi` is a [`policy::Kind`](crate::policy::Kind), `rdx` the address of `r10` entries.
    /// `Ok`, `Refused` (an entry is not allowed; none was applied), `NoMemory`.
    SpaceSetPolicy = 0x76,

    /// Creates a Thread at `rdi`, stopped, in no Space. `Ok`, `NoMemory`.
    ThreadCreate = 0x80,
    /// Destroys Thread `rdi`, which must not be the caller.
    ThreadDestroy = 0x81,
    /// Points Reference `rsi` at Thread `rdi`.
    ThreadReference = 0x83,
    /// Stops Thread `rdi` (not the caller) and writes its state to `rsi`: a [`NativeState`], or a
    /// [`VirtualCpuState`](crate::virtual_cpu::VirtualCpuState) of which the [`Groups`](crate::virtual_cpu::Groups) `rdx` are
    /// filled in. The thread stays stopped until a `thread_set_state` lets it go on; a thread that waits for
    /// its keeper's reply goes on waiting for it as well.
    ThreadGetState = 0x84,
    /// Sets Thread `rdi` (not the caller) from `rsi` (0: unchanged), a [`NativeState`] or the [`Groups`](crate::virtual_cpu::Groups)
    /// `rdx` of a [`VirtualCpuState`](crate::virtual_cpu::VirtualCpuState), its Space from *reference* `r10`; `r8` is a [`Run`].
    /// `Ok`, `NoMemory`, `Refused` (the state is one that no thread can have; nothing was changed).
    ThreadSetState = 0x85,
    /// Posts interrupt vector `rsi` (16 to 255; 0 withdraws) to Thread `rdi` of a machine Space, to be delivered as soon as
    /// its guest accepts interrupts; wakes it from HLT. `rsi` returns the vector posted earlier and not delivered, 0 if none.
    ThreadInterrupt = 0x86,
    /// Returns in `rdi` the address of the calling thread's own object, 0 if its Space does not map it there any more. The
    /// shortest call.
    ThreadSelf = 0x87,

    /// Creates a Reference at `rdi`, linked to nothing. `Ok`, `NoMemory`.
    ReferenceCreate = 0x90,
    /// Destroys Reference `rdi`; its target is not affected.
    ReferenceDestroy = 0x91,
    /// Makes Reference `rsi` link to what `rdi` links to.
    ReferenceCopy = 0x96,
    /// Returns in `rsi` the [`ObjectType`] of what Reference `rdi` links to, 0 if it links to nothing that exists.
    ReferenceCheck = 0x97,

    /// Sends eight words to the Port of *reference* `rdi` and waits for the reply (idempotent: may be delivered more than once).
    /// Words stand in RSI, RDX, R10, R8, R9, R12, R13, R14 both ways. Waits.
    /// `Ok`, `InvalidDestination` (the Port, or the server while it worked on the call, is gone).
    IpcCall = 0xa0,
    /// Sets bits `rsi` in the notification word of the Port of *reference* `rdi` (one-way). Never waits; bits that
    /// the server has not received yet are merged. `Ok`, `InvalidDestination`.
    IpcSend = 0xa1,
    /// Replies the eight words to the caller's present client, if there still is one.
    /// `Ok`, `Disconnected` (there is none).
    IpcReply = 0xa2,
    /// Waits on the Portset at `rdi` for a message until the time stamp counter reaches R15 (0: for ever). A client that has not been replied to is
    /// disconnected. `Ok`: RDI is the [alias](Call::PortSetState) of the Port, R15 the [`MessageKind`],
    /// and the eight words are the message. `TimedOut`. Waits.
    IpcWaitReceive = 0xa3,
    /// [`IpcReply`](Call::IpcReply), then [`IpcWaitReceive`](Call::IpcWaitReceive), in one: the main loop of a server. Waits.
    IpcReplyWaitReceive = 0xa4,
}

/// What a call returns in RAX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// The kernel-memory allowance of the caller's Space does not suffice, or the kernel has no memory left.
    NoMemory = 1,
    /// The Port called does not exist, or its server ended without a reply.
    InvalidDestination = 2,
    /// The client does not wait for a reply any more.
    Disconnected = 3,
    /// The deadline passed.
    TimedOut = 4,
    /// The address range is taken by another Mapping.
    Overlap = 5,
    /// Nothing (more) was found.
    NotFound = 6,
    /// The state or policy given is not allowed; nothing was changed.
    Refused = 7,
    /// This host lacks what the call needs.
    Unsupported = 8,
    /// A Space would show part of itself.
    Circular = 9,
}

/// What a received message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum MessageKind {
    /// A client's `ipc_call`. It waits for the reply.
    Call = 0,
    /// Bits of `ipc_send` in the first word. Nobody waits.
    Notification = 1,
    /// A [memory fault](crate::exception::MemoryFault) to a Region's keeper. The thread waits for the reply.
    MemoryFault = 2,
    /// A [native exception](crate::exception::NativeException) to a Space's keeper. The thread waits for the reply.
    Exception = 3,
    /// A [VM exit](crate::exception::MachineExit) to a machine Space's keeper. The virtual CPU waits for the reply.
    MachineExit = 4,
    /// A device interrupt: the first word is its line. A level-triggered line stays masked until the reply; edges that come
    /// meanwhile are merged into one.
    Interrupt = 5,
}

bitflags! {
    /// What an access may do, what a Mapping passes on, what a Region exports.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Rights: u64 {
        /// Read.
        const READ = 1;
        /// Write.
        const WRITE = 2;
        /// Execute.
        const EXECUTE = 4;
        /// Create objects.
        const CREATE_OBJECT = 8;
    }
}

/// Kinds of Space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum SpaceKind {
    /// Threads run in ring 3; the kernel builds page tables.
    Native = 0,
    /// Threads are virtual CPUs; the kernel builds EPTs.
    Machine = 1,
}

/// What `thread_set_state` does about running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Run {
    /// As it is.
    Unchanged = 0,
    /// Let it go on.
    Go = 1,
    /// Stop it.
    Stop = 2,
}

/// State of a Mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MappingState {
    /// Where in the Region it begins; a multiple of the page size.
    pub offset: u64,
    /// Where in the Space it appears; a multiple of the page size.
    pub start: u64,
    /// Length in bytes; a multiple of the page size.
    pub size: u64,
    /// [`Rights`] wanted. What counts is the AND of the whole chain.
    pub rights: u64,
}

/// State of a Region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionState {
    /// First address that it exports; a multiple of the page size.
    pub start: u64,
    /// Length in bytes; a multiple of the page size.
    pub size: u64,
    /// Most [`Rights`] that anything derived from it has.
    pub rights: u64,
}

/// State of a Space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SpaceState {
    /// [`SpaceKind`].
    pub kind: u64,
    /// Kernel memory that the Space may use, in frames of 4 KiB.
    pub allowance: u64,
    /// Kernel memory that it uses or has passed on, in frames.
    pub used: u64,
}

/// State of a native thread. It has no x87, SSE or AVX registers: using them raises #NM (vector 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NativeState {
    /// General registers in the order of their [encoding](crate::virtual_cpu::register).
    pub gpr: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags: status, direction and trap flag.
    pub rflags: u64,
    /// FS base.
    pub fs_base: u64,
    /// 1 while stopped.
    pub stopped: u64,
}

const _: () = assert!(size_of::<MappingState>() == 32);
const _: () = assert!(size_of::<RegionState>() == 24);
const _: () = assert!(size_of::<SpaceState>() == 24);
const _: () = assert!(size_of::<NativeState>() == 160);
