//! The server side: what a nester is made of.
//!
//! | module | holds | unsafe |
//! |---|---|---|
//! | [`objects`] | a handle for each kernel object, which destroys it when dropped | yes: calls that share memory |
//! | [`place`] | where objects live: 64-byte places in the program's pool | no |
//! | [`memory`] | memory that is shared with children, reached by copies only | yes: the copies |
//! | [`sync`] | data behind a Mutex, Conditions | yes: what the lock protects |
//! | [`server`] | receiving and answering messages | no |
//! | [`connection`] | messages of any length, with References | yes: calls that write to borrowed slices |
//! | [`schedule`] | schedulers: dividing CPU time between threads | no |
//! | [`image`] | what an ELF file asks for | no |
//! | [`child`] | building and ending native children | no |
//! | [`peer`] | a thread that makes the calls that it is told, for examples and tests | no |
//! | [`micro_guest`] | memory and state of a guest of a few instructions | no |
//!
//! **What makes sharing memory safe.** Rust assumes that nothing changes memory behind a reference. A nester's
//! children change their memory at any time. So memory that a [`Region`] exports for writing is always a [`Memory`],
//! to which no Rust reference ever exists, and a Region keeps its Memory alive. A [`Space`] handle is only ever one of a Space that the
//! program has created, so nothing can be mapped over the program's own memory, and no thread set to run in it.

pub mod child;
pub mod connection;
pub mod image;
pub mod memory;
pub mod micro_guest;
pub mod objects;
pub mod peer;
pub mod place;
pub mod schedule;
pub mod server;
pub mod sync;

pub use child::NativeChild;
pub use connection::Exchange;
pub use memory::Memory;
pub use objects::{Device, Grant, Mapping, Port, Portset, Reference, Region, Space, Thread, WatchedPort};
pub use peer::Peer;
pub use server::{Event, Server};
pub use sync::{Condition, Mutex};

pub use crate::api::{ReferenceRights, Rights, Run, SpaceKind, Status};
pub use crate::libc::system_call::{Message, Result};
