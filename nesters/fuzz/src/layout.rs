//! What a fuzzing child finds at which address: the same in a native Space and in a machine, whose first GiB is mapped to the
//! same virtual addresses.
//!
//! The text of the program itself, with its constants, appears where it lies in the program.

use protocols::address::PAGE_SIZE;
use protocols::api::{OBJECT_SIZE, ObjectType};

/// The [`Control`](crate::generator::Control) page.
pub const CONTROL: u64 = 0x80_0000;
/// Stacks, each with its [`Loop`](crate::generator::Loop) at the low end.
pub const STACKS: u64 = 0x81_0000;
/// How many stacks there are: a power of 2.
pub const STACK_COUNT: u64 = 16;
/// Bytes of a stack: a power of 2.
pub const STACK_SIZE: u64 = 0x2000;
/// What calls read and write.
pub const BUFFERS: u64 = STACKS + STACK_COUNT * STACK_SIZE;
/// Bytes of buffers, and of each area below.
pub const AREA: u64 = 0x1_0000;
/// Where objects can be created.
pub const OBJECTS: u64 = BUFFERS + AREA;
/// Bytes of the child's memory, from [`CONTROL`] on; another [`AREA`] behind it is for [`KEPT`].
pub const SIZE: u64 = OBJECTS + AREA - CONTROL;
/// The memory of [`OBJECTS`] again.
pub const ALIAS: u64 = 0xa0_0000;
/// The buffers to be read only.
pub const READ_ONLY: u64 = 0xa8_0000;
/// Memory that the parent supplies when it is asked, and takes away.
pub const KEPT: u64 = 0xb0_0000;
/// Nothing, at first: for the child's own Mappings.
pub const FREE: u64 = 0xc0_0000;

/// A native thread's state that is as it should be: written again and again by the parent.
pub const THREAD_STATE: u64 = BUFFERS;
/// A [`MappingState`](protocols::api::MappingState) and what else the generator keeps right: one page.
pub const STATES: u64 = BUFFERS + 2 * PAGE_SIZE;
/// Buffers that hold whatever calls leave there.
pub const SCRATCH: u64 = STATES + PAGE_SIZE;

/// Places for objects of each type that are next to each other: a power of 2.
pub const BANK: u64 = 32;

/// The address of a place where objects of a type are, mostly.
pub const fn place(kind: u64, number: u64) -> u64 {
    OBJECTS + (kind % 16 * BANK + number % BANK) * OBJECT_SIZE
}

/// The address of a [given] Reference: the child can use it for as long as it lives, and cannot change it there.
pub const fn given_reference(number: u64) -> u64 {
    READ_ONLY + GIVEN + number * OBJECT_SIZE
}

/// Where the given References are, from [`BUFFERS`] on: in the last page, which calls write to only by chance.
pub const GIVEN: u64 = AREA - PAGE_SIZE;

/// References that the child is given: in its bank at first, which it can do with what it likes, and at [`given_reference`].
pub mod given {
    /// To its own Space.
    pub const SPACE: u64 = 0;
    /// To the Region of its memory.
    pub const MEMORY: u64 = 1;
    /// To a Port that the parent serves.
    pub const PARENT: u64 = 2;
    /// To a Port of the other child's.
    pub const OTHER: u64 = 3;
    /// To its own Portset.
    pub const PORTSET: u64 = 4;
    /// To its own Port, of that Portset.
    pub const PORT: u64 = 5;
    /// To its first Thread.
    pub const THREAD: u64 = 6;
    /// To the Region of [`KEPT`](super::KEPT).
    pub const KEPT: u64 = 7;
    /// How many there are.
    pub const COUNT: u64 = 8;
}

/// How many objects of each type there are at first, by the number of the type.
pub const FIRST_OBJECTS: [u64; 10] = [0, 4, 2, 4, 3, 3, 2, 0, 6, 24];

const _: () = assert!(ObjectType::Reference as usize + 1 == FIRST_OBJECTS.len());
const _: () = assert!(place(15, BANK - 1) < OBJECTS + AREA && CONTROL + SIZE <= ALIAS);
