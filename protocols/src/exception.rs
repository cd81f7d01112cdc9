//! Exceptions as keepers see them: messages that the kernel sends on behalf of a thread, and the replies it takes.
//!
//! Each message is eight words, as any IPC. The thread waits until the keeper replies; meanwhile the keeper can read
//! and change all of its state. A reply that makes no sense stops the thread.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A message of kind `MemoryFault`, to the keeper of the Region that has no memory where some thread wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryFault {
    /// Offset in the Region.
    pub offset: u64,
    /// [`Rights`](crate::api::Rights) wanted of the Region.
    pub access: u64,
    /// The address in the faulting thread's own Space.
    pub address: u64,
    /// The rights that the thread's own access wants: not those wanted of the Region where a page is about to be
    /// [copied](crate::api::MappingState#copy-on-write).
    pub wanted: u64,
    /// Zero.
    pub reserved: [u64; 4],
}

/// The reply to a memory fault: what to do, the first word, and with what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryReply {
    /// What to do: a [`memory_reply`].
    pub action: u64,
    /// The address, in the replying thread's Space, of a Mapping (with the right to write).
    pub mapping: u64,
    /// Where in its Region the Mapping is to begin; a multiple of the page size.
    pub offset: u64,
    /// Where in its Space it is to appear; a multiple of the page size.
    pub start: u64,
    /// Its length in bytes; a multiple of the page size.
    pub size: u64,
    /// The [`Rights`](crate::api::Rights) that it wants.
    pub rights: u64,
    /// Zero.
    pub reserved: [u64; 2],
}

/// What the reply to a memory fault does: its first word. Any other word is as [`FAIL`](memory_reply::FAIL).
///
/// [`MAP`](memory_reply::MAP) and [`PROTECT`](memory_reply::PROTECT) do with the reply what a call would do before it, whichever call replies. Should that
/// end with another status than `Ok`, or be misuse, or need memory that is not there, then so does the call that replies,
/// and there is no reply: the thread still waits for one. If the thread does not wait any more, nothing is
/// done; should it still need the memory, it faults again.
pub mod memory_reply {
    /// The memory is there now: try again.
    pub const RETRY: u64 = 0;
    /// There is none: raise the exception in the thread.
    pub const FAIL: u64 = 1;
    /// Set `mapping` to `offset`, `start`, `size` and `rights` as [`MappingSetState`](crate::api::Call::MappingSetState) does, its Region and Space
    /// unchanged, then try again. Any number of pages: what of them is accessed later needs no keeper.
    pub const MAP: u64 = 2;
    /// Set the rights of `mapping` to `rights` as [`MappingProtect`](crate::api::Call::MappingProtect) does, then try again.
    pub const PROTECT: u64 = 3;
}

/// A message of kind `Exception`, to the keeper of a native Space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NativeException {
    /// Exception vector 0 to 31, or [`MISUSE`].
    pub vector: u64,
    /// Error code of the exception, or the [`Misuse`].
    pub error: u64,
    /// Instruction pointer.
    pub rip: u64,
    /// Faulting address (CR2) of a page fault, DR6 of a debug exception, the [`Call`](crate::api::Call) of a misuse.
    pub address: u64,
    /// Zero.
    pub reserved: [u64; 4],
}

/// Value of [`NativeException::vector`] for misuse of the API.
pub const MISUSE: u64 = 256;

/// The reply to a native exception: its first word.
pub mod exception_reply {
    /// Go on, with the registers that the thread has now.
    pub const RESUME: u64 = 0;
    /// Stop the thread.
    pub const STOP: u64 = 1;
}

/// Misuse of the low-level API: what cannot happen in a correct program (Fluke's insanity).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Misuse {
    /// No such call.
    UnknownCall = 1,
    /// No object at the address.
    NoObject = 2,
    /// The object is of another type, or the Reference links to another type than wanted.
    WrongType = 3,
    /// There is an object already.
    ObjectExists = 4,
    /// The address is not aligned as documented.
    NotAligned = 5,
    /// The memory is not mapped with the rights needed, or the Reference does not have the right needed.
    NoRight = 6,
    /// The call is not possible on the calling thread itself, or on the Space that it runs in.
    CurrentThread = 7,
    /// An argument is outside what the call documents.
    BadArgument = 8,
    /// The Reference links to nothing.
    NullReference = 9,
    /// The calling thread does not own the Mutex.
    NotOwner = 10,
    /// The calling thread owns the Mutex already.
    AlreadyOwner = 11,
    /// The calling thread has no address of its own by which it could own a Mutex: its Space does not map its Thread
    /// object.
    NoSelf = 12,
    /// The caller is its connection's receiver.
    NotSender = 16,
    /// The caller is its connection's sender.
    NotReceiver = 17,
}

/// A message of kind `MachineExit`, to the keeper of a machine Space: what most handlers need. Everything else is
/// one `thread_get_state` away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MachineExit {
    /// Exit reason in bits 0-31 ([`exit_reason`](crate::virtual_cpu::exit_reason)), instruction length in bits 32-63.
    pub reason: u64,
    /// Exit qualification.
    pub qualification: u64,
    /// Guest-physical address of an EPT violation; the instruction error of a failed entry.
    pub guest_physical: u64,
    /// RAX.
    pub rax: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// The vector posted and not delivered yet, or 0.
    pub posted: u64,
    /// RBX.
    pub rbx: u64,
}

/// The reply to a VM exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MachineReply {
    /// What to do: [`MachineReply::ADVANCE`] and others.
    pub actions: u64,
    /// New RAX, with `SET_RAX`.
    pub rax: u64,
    /// New RDX, with `SET_RDX`.
    pub rdx: u64,
    /// The event to inject, with `INJECT`: `information` in bits 0-31, `error` in bits 32-63 of
    /// [`Event`](crate::virtual_cpu::Event).
    pub event: u64,
    /// Vector to post, with `POST` (as `thread_interrupt` does; replaces the one posted).
    pub post: u64,
    /// Zero.
    pub reserved: [u64; 3],
}

impl MachineReply {
    /// Skip the instruction that caused the exit.
    pub const ADVANCE: u64 = 1 << 0;
    /// Set RAX.
    pub const SET_RAX: u64 = 1 << 1;
    /// Set RDX.
    pub const SET_RDX: u64 = 1 << 2;
    /// Inject `event`.
    pub const INJECT: u64 = 1 << 3;
    /// Post vector `post`; 0 withdraws.
    pub const POST: u64 = 1 << 4;
    /// Stop the virtual CPU.
    pub const STOP: u64 = 1 << 5;
    /// Let the virtual CPU wait for a posted interrupt, as after HLT.
    pub const HALT: u64 = 1 << 6;
    /// All defined actions.
    pub const ALL: u64 = 0x7f;
}

/// Words in a message.
pub const MESSAGE_WORDS: usize = 8;

const _: () = assert!(size_of::<MemoryFault>() == 64);
const _: () = assert!(size_of::<MemoryReply>() == 64);
const _: () = assert!(size_of::<NativeException>() == 64);
const _: () = assert!(size_of::<MachineExit>() == 64);
const _: () = assert!(size_of::<MachineReply>() == 64);
