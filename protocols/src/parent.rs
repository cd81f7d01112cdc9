//! What a child asks of its parent: the console, and the end.
//!
//! IPC calls to the Port of [`Startup::parent`](crate::startup::Startup::parent). The first word of a request is an [`Operation`], the
//! first word of the reply a [`Reply`].

use crate::api::OBJECT_SIZE;
use crate::startup::OBJECTS_ADDRESS;
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Operations of the parent interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Operation {
    /// Writes to the child's console: word 1 is the number of bytes (at most [`MAX_BYTES`]), words 2 to 7 hold them, little-endian.
    ConsoleWrite = 1,
    /// Takes input from the child's console: word 1 of the reply is the number of bytes, words 2 to 7 hold them. Never
    /// waits.
    ConsoleRead = 2,
    /// From now on the parent sends [`CONSOLE_INPUT`] to the Port that it made at [`CONSOLE_PORT`] when there is input.
    ConsoleAttach = 3,
    /// The child ends: word 1 is an [`Outcome`]. The reply does not come.
    End = 4,
    /// Writes a line to the system log, as `ConsoleWrite` writes to the console.
    Log = 5,
}

/// Where in the child's Space the parent has made the Port to which it tells about console input, in no Portset. It is the parent's
/// own making, and the parent keeps a Reference to it, because naming an object in memory that the child can change
/// would let the child drive the parent into misuse.
pub const CONSOLE_PORT: u64 = OBJECTS_ADDRESS + OBJECT_SIZE;

/// Bytes in one console message.
pub const MAX_BYTES: usize = 48;
/// Notification bit: there is console input.
pub const CONSOLE_INPUT: u64 = 1;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Reply {
    /// Done.
    Ok = 0,
    /// The request makes no sense; nothing was done.
    BadRequest = 1,
}

/// How a child ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Outcome {
    /// As it should: for a machine, its guest powered off.
    Done = 0,
    /// It failed; the reason is on its console.
    Failed = 1,
}
