//! Threads.

use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

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

/// What ends a donation, beside its time and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum Sensitivity {
    /// The target cannot run any more.
    Block = 0,
    /// Nothing: while the target cannot run the donor does not either, until another thread asks for time at the Portset.
    Switch = 1,
    /// As `Switch`; and while the target cannot run, another that asks has the donation without the donor being told.
    Conflict = 2,
}
