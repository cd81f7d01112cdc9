//! The client side of a program in ring 3: system calls, start-up, heap, console, log, time, I/O ports and device memory.
//!
//! | module | holds | unsafe |
//! |---|---|---|
//! | [`system_call`] | the `SYSCALL` instruction, one typed function per call | yes: the instruction |
//! | [`start`] | the entry point, the panic handler, the start-up page | yes: the stack and the start-up page |
//! | [`mutex`] | Mutexes, locked without the kernel while nobody waits | yes: the shared word |
//! | [`heap`] | the global allocator over the pool | yes: `talc`'s contract |
//! | [`port`] | I/O ports | yes: the instructions |
//! | [`device`] | device memory | yes: the instructions |
//! | [`time`] | time stamp counter and Unix time | yes: `RDTSC` |
//! | [`pool`] | who has which part of the program's memory | no |
//! | [`console`], [`log`] | text to the parent | no |
//!
//! A program consists of a `main.rs` with [`program!`](crate::program) and nothing unsafe:
//!
//! ```text
//! #![cfg_attr(target_os = "none", no_std, no_main)]
//! protocols::program!(main);
//! fn main(startup: &'static protocols::startup::Startup) -> protocols::parent::Outcome {
//!     protocols::parent::Outcome::Done
//! }
//! ```
//!
//! Programs have one thread; locks here spin and are held for a few instructions only.

pub mod console;
pub mod device;
pub mod heap;
pub mod log;
pub mod mutex;
pub mod pool;
pub mod port;
pub mod start;
pub mod system_call;
pub mod time;
