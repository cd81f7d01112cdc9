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
//! bytes at a multiple of [`OBJECT_SIZE`], which must be mapped with [`Rights::WRITE`] and [`Rights::CREATE_OBJECT`] to
//! create, destroy or change it and with [`Rights::READ`] to use it. The bytes themselves mean nothing, but for the
//! [lock word](crate::lock_word) of a Mutex. Objects whose memory its parent owns can be found by the parent with
//! [`Call::RegionSearch`], named through the parent's own mapping of that memory, and destroyed.
//!
//! Inter-object links are always given as Reference objects: an argument called *reference* is the address of
//! a Reference; `0` leaves the link as it is.
//!
//! # Operations that all types have
//!
//! | operation | arguments | rights | results | effect |
//! |---|---|---|---|---|
//! | `create` | `rdi`: place | write, create objects | `Ok`, `NoMemory` | a new object, charged to the allowance of the caller's Space |
//! | `destroy` | `rdi`: object | write, create objects | `Ok` | the object is gone, References to it link to nothing; whoever paid for it gets the charge back. Where much hangs on it (waiters, Mappings), others run in between and the call is made again: it may be found half done |
//! | `move` | `rdi`: object, `rsi`: new place | write, create objects, for both | `Ok`, `NoMemory` | the object lives at the new place and nowhere else; links to it and who pays for it stay as they are |
//! | `reference` | `rdi`: object, `rsi`: Reference | read; write | `Ok` | the Reference links to the object |
//! | `get_state` | `rdi`: object, `rsi`: where its simple state goes, then one Reference for each of its links | read; write | `Ok` | what the object says; each Reference is pointed at what the object links to, with the rights, badge and grant that it was linked by, at nothing if it links to nothing that is valid. What is 0 is not asked for |
//! | `set_state` | `rdi`: object, `rsi`: simple state, then one Reference for each of its links | write; read | `Ok`, and by type | the object says what the arguments say. What is 0 stays as it is |
//!
//! A Reference's only state is its link: [`Call::ReferenceCopy`] reads and sets it; there are no References to
//! References. Nobody's state says who refers to it, nor who waits in it: that is state of those who do.
//!
//! They never wait, but to have a fault in the caller's memory served; they are made from the start again then. Misuse:
//! `NotAligned`, `NoRight`, `NoObject`, `WrongType`, `ObjectExists` (`create`, `move`), `NullReference` (`set_state`),
//! `BadArgument` (`set_state`).
//!
//! # References
//!
//! A Reference links to an object, or to nothing. With the link it holds what the link is good for:
//!
//! * [`ReferenceRights`]. Calls on an object itself (`port_reference` and the like) make links with all rights; every copy has at
//!   most those of its original. A call that needs a right which its Reference lacks is `Misuse::NoRight`.
//! * A **badge**: a word other than 0, chosen once by whoever holds a Reference to a Port that has none yet
//!   ([`Call::ReferenceRestrict`]). Calls and the kernel's messages that come through a badged Reference arrive with the badge in place
//!   of the Port's alias, so that a server can tell its clients, or the objects that it serves, apart, and no client can
//!   pretend to be another. [Notifications](Call::IpcSend) of all senders are merged, so they arrive with the alias.
//! * A **grant**, if the Reference was made by [`Call::ReferenceGrant`] or copied from one that was. Whoever made the grant
//!   takes it back with [`Call::ReferenceRevoke`]: all copies, wherever they are, link to nothing at once. What that costs does not
//!   depend on their number. Copies can be granted again: revoking a grant revokes all that were derived from it.
//!
//! A link whose target was destroyed or whose grant was revoked is *void*: calls that need its target end with `InvalidDestination`.
//! It can be copied as any other. A call that was sent before goes on to its reply. What a revoked Reference had been used for ends as well, if it gives
//! access: Mappings of a Region show nothing any more, a keeper Port is none any more. A Space that a Mapping appears in, a Thread runs in or
//! a Region exports, and the Portset of a Port, stay as they are: those links are made once.
//!
//! The kernel counts the References that link to each Port. A server can have it [tell](MessageKind::NoReferences) when
//! the last one is gone: destroyed, made to link to something else, or revoked. Keepers do not count.
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

mod call;
mod mapping;
mod message;
mod mutex;
mod reference;
mod region;
mod space;
mod status;
mod thread;
mod transfer;

pub use crate::native_thread::NativeState;
pub use call::Call;
pub use mapping::MappingState;
pub use message::{MessageKind, WITH_REFERENCE};
pub use mutex::MutexState;
pub use reference::{MAX_GRANT_DEPTH, ReferenceRights};
pub use region::RegionState;
pub use space::{SpaceKind, SpaceState};
pub use status::Status;
pub use thread::{Run, Sensitivity};
pub use transfer::{Buffer, ConnectionState, Side, Table, Transfer};

use bitflags::bitflags;
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// The version of this interface.
pub const VERSION: u64 = 1;
/// Bytes of memory that an object takes, and its alignment.
pub const OBJECT_SIZE: u64 = 64;

/// Numbers of the object types. A call's number is `type * 16 + operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum ObjectType {
    /// Excludes threads from each other. Locked and unlocked without the kernel while nobody has to wait.
    Mutex = 1,
    /// Where threads that hold a Mutex sleep until others signal.
    Cond = 2,
    /// Imports part of a Region into a Space.
    Mapping = 3,
    /// Exports part of a Space.
    Region = 4,
    /// Where clients send: the server side of IPC.
    Port = 5,
    /// A pool of server threads, and the Ports that they serve.
    Portset = 6,
    /// An address space: native, or a machine's physical one.
    Space = 7,
    /// A thread: ring-3 registers in a native Space, a virtual CPU in a machine Space.
    Thread = 8,
    /// A link to an object, and what it is good for: what capabilities are held in.
    Reference = 9,
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
