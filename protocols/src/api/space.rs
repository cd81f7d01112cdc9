//! Spaces.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Kinds of Space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u64)]
pub enum SpaceKind {
    /// Threads run in ring 3; the kernel builds page tables.
    Native = 0,
    /// Threads are virtual CPUs; the kernel builds EPTs.
    Machine = 1,
}

/// What a Space, and all that are created from it, may use. It comes from the Space that creates it.
///
/// Kernel memory and objects are *handed down*: what is given counts as used until it returns. They return when
/// the Space is destroyed, but for the cost of objects that it has paid for and that still exist, as objects may: that returns when those
/// are destroyed, whoever destroys them. Whoever asks for more than is left is told so by `NoMemory` or `NoObjects`; nobody else notices.
///
/// CPU time is *limited*: in each tenth of a second, time for which the threads of the Space, of Spaces created from it, and so on, run on
/// time from the root counts; when it reaches the share, these threads have no time from the root until the next tenth
/// of a second begins. So the share of no Space helps it to more than those above it have left. Time counts for whom it belongs to: a server that works
/// on a call, or the owner of a Mutex that others wait for, runs on the time of whoever waits, and, when that is used up, on
/// its own. Donated time is the donor's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Kernel memory, in frames of 4 KiB.
    pub frames: u64,
    /// Objects, those of Spaces created from it included.
    pub objects: u64,
    /// Share of the CPU, of [`WHOLE_CPU`](Self::WHOLE_CPU); 0 for no limit of its own.
    pub cpu: u64,
}

impl Quotas {
    /// The whole CPU.
    pub const WHOLE_CPU: u64 = 1_000_000;
    /// In [`space_set_quotas`](crate::libc::system_call::space_set_quotas): as it is.
    pub const UNCHANGED: u64 = u64::MAX;
    /// How many times in a second a share of the CPU is given anew.
    pub const PERIODS_PER_SECOND: u64 = 10;

    /// Kernel memory, as many objects as go with it (one for each 256 bytes: more than it pays for, unless most are small), and the CPU without a limit.
    pub const fn of_memory(frames: u64) -> Self {
        Self { frames, objects: frames.saturating_mul(16), cpu: 0 }
    }
}

impl From<u64> for Quotas {
    fn from(frames: u64) -> Self {
        Self::of_memory(frames)
    }
}

/// How deep Spaces may be nested: one created from one that was created from the first has depth 2.
pub const MAX_SPACE_DEPTH: u64 = 128;

/// State of a Space: what it is, what it may use and what it uses.
///
/// [`space_get_state`](crate::libc::system_call::space_get_state) reads it. No call sets it as a whole: the kind is given to
/// [`space_create`](crate::libc::system_call::space_create), as are the [`Quotas`], which
/// [`space_set_quotas`](crate::libc::system_call::space_set_quotas) changes; what it uses is counted. Its keeper is a Reference beside it.
///
#[doc = example!("space_state")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SpaceState {
    /// [`SpaceKind`].
    pub kind: u64,
    /// Kernel memory that the Space may use, in frames of 4 KiB. Never more than its creator's Space has passed on to it.
    pub allowance: u64,
    /// Kernel memory that it uses for its own tables and objects, or has passed on to other Spaces, in frames of 4 KiB, rounded up.
    pub used: u64,
    /// Objects that the Space may have.
    pub objects: u64,
    /// Objects that it has paid for or has passed on.
    pub objects_used: u64,
    /// Its share of the CPU, of [`Quotas::WHOLE_CPU`]; 0 for no limit of its own.
    pub cpu: u64,
    /// Ticks of the time stamp counter for which its own threads have used the CPU on time from the root, or had others use it for them.
    pub time: u64,
    /// The same, and that of all Spaces created from it, and so on, gone ones included. Where the asker's own Space is one of those, what it has
    /// used lately may be missing.
    pub time_below: u64,
}

const _: () = assert!(size_of::<SpaceState>() == 64);
