//! The microkernel of Nestor: kernel objects, IPC, relative address spaces, faults, dispatching.
//!
//! **Responsible for** the low-level API ([`protocols::api`]) through both doors, `SYSCALL` from native threads and
//! `VMCALL` from a machine's ring 0; for Spaces of both kinds, filled by one fault path; for keepers' messages; for kernel memory
//! accounts; for dividing the CPU so that no thread can keep it.
//!
//! **Refuses** policy (what a machine may do, what memory means, who gets what is the nesters' business), devices (but the
//! interrupt controllers and the timer) and names that are not relative to the caller.
//!
//! # Execution model
//!
//! One kernel stack for each CPU, begun anew at each entry; the kernel runs to its end with interrupts off and blocks nowhere. A thread that
//! has to wait leaves its registers as they were when it made its call; what it waits for is one word ([`thread::Wait`]).
//! A call that meets a fault in the caller's memory is undone and made again. Everything hangs on one
//! lock, around [`kernel::Kernel`]; the code under it is free of `unsafe`.
//!
//! A thread that is stopped while it waits for a Mutex or in a Cond leaves the queue and makes its call again when it goes
//! on; in a Cond its registers say from the start that it is about to lock.
//!
//! # Invariants
//!
//! * A thread is in at most one queue; [`thread::Wait`] says which.
//! * Links are generational identifiers: whoever follows one finds the object or nothing ([`objects`]).
//! * Nothing that users can write is believed: the lock word of a Mutex, which they change without the kernel, says who
//!   owns the Mutex, and nothing else ([`lock_word`]).
//! * Tables read by the hardware hold nothing that the Mappings do not say ([`memory::hierarchy`]).
//! * Kernel memory in use is charged to some Space's account, and no subtree uses more than its root was given ([`account`]).
//! * `unsafe` stands in [`arch`] and [`arena`] only, but for the promise with which [`objects`] makes its arenas.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod account;
#[allow(unsafe_code)]
pub mod arch;
#[allow(unsafe_code)]
pub mod arena;
pub mod boot;
pub mod calls;
pub mod fast_path;
pub mod fault;
pub mod ipc;
pub mod kernel;
pub mod lifecycle;
pub mod list;
pub mod lock_word;
pub mod logger;
pub mod machine;
pub mod memory;
pub mod names;
pub mod objects;
pub mod schedule;
pub mod space;
pub mod thread;

use core::fmt::Arguments;
use protocols::machine::End;

/// Ends the system because the kernel cannot go on.
pub fn stop(reason: Arguments<'_>) -> ! {
    log::error!("stop: {reason}");
    arch::monitor::end(End::PowerOff)
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    stop(format_args!("panic: {info}"))
}
