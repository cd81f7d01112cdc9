//! What calls return.

use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// What a call returns in RAX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// The kernel memory of the caller's Space does not suffice, or the kernel has no memory left.
    NoMemory = 1,
    /// A Reference is void: its target does not exist any more, or its grant was revoked. Or the server called ended without a reply.
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
    /// The object was destroyed while the caller waited in it.
    Destroyed = 10,
    /// Another thread owns the Mutex.
    Held = 11,
    /// The caller's Space has as many objects as it may, those passed on included.
    NoObjects = 12,
    /// The Port to connect to does not exist any more.
    ConnectInvalid = 32,
    /// The connection ended in a *send*: not everything was received.
    SendDisconnected = 33,
    /// The connection ended in a *receive*: where a reply is expected, its normal end.
    ReceiveDisconnected = 34,
    /// The connection ended while the caller waited for the roles to change.
    OverDisconnected = 35,
    /// The connection ended before the caller became its sender.
    AckDisconnected = 36,
    /// There is no room for the bytes that the sender has left.
    MoreData = 37,
    /// There is no room for the References that the sender has left.
    MoreReferences = 38,
    /// The peer alerted the caller, or was destroyed.
    Alerted = 39,
    /// The target of a donation cannot run.
    Blocked = 48,
    /// The target of a donation gave the rest of it back.
    Yielded = 49,
}
