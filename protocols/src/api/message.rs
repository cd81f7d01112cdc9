//! What messages are.

#[cfg(doc)]
use super::*;
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

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
    /// A client has connected: the receiver is its server now, and goes on with a call on that [connection](Transfer).
    Connection = 6,
    /// The last Reference to a Port is gone, and no new one was made since. Nobody waits. The words are 0.
    NoReferences = 7,
    /// A thread whose scheduler the Port is could run: its [word](Call::ThreadSetScheduler) comes first. Nobody waits for a reply.
    Wakeup = 8,
}

/// In R15 of a received message, beside the [`MessageKind`]: a Reference came with it.
pub const WITH_REFERENCE: u64 = 1 << 32;
