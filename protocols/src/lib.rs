//! Every interface of Nestor, each defined once.
//!
//! Its documentation is the reference: [`api`] lists all calls and leads to the page of each.
//!
//! | module | between | through |
//! |---|---|---|
//! | [`api`] | any thread and the kernel: the low-level API | `SYSCALL` from native threads, `VMCALL` from a machine's ring 0 |
//! | [`lock_word`] | threads that share a Mutex, and the kernel | eight bytes of shared memory |
//! | [`exception`] | the kernel and a keeper | IPC that the kernel sends on a thread's behalf |
//! | [`virtual_cpu`] | whoever handles the state of a virtual CPU | shared state pages, `thread_get_state`, `thread_set_state` |
//! | [`native_thread`] | whoever handles the state of a native thread | `thread_get_state`, `thread_set_state` |
//! | [`scheduling`] | a scheduler, its clients and the kernel | `thread_schedule` and messages |
//! | [`policy`] | a nester, the kernel and the monitor | tables of what a machine may do without asking |
//! | [`machine`] | the kernel and the monitor | `VMCALL` and shared pages |
//! | [`boot_info`] | the monitor and the kernel | one structure, at the kernel's start |
//! | [`startup`] | a parent and its child | one page in the child's memory, at its start |
//! | [`parent`] | a child and its parent | IPC: the console and the end of the child |
//!
//! Responsible for layouts, numbers and their meaning. Holds no policy and, outside the ring-3 side
//! (`libc`, `libnest`, feature `user`), no `unsafe` code.
//!
//! Invariants: shared structures are `repr(C)`, free of padding (`zerocopy` checks it), of a size that is
//! asserted; numbers, once published, keep their meaning.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "user")]
extern crate alloc;

#[macro_use]
mod page;

pub mod address;
pub mod api;
pub mod boot_info;
pub mod exception;
pub mod lock_word;
pub mod machine;
pub mod native_thread;
pub mod parent;
pub mod policy;
pub mod scheduling;
pub mod startup;
pub mod virtual_cpu;

#[cfg(feature = "user")]
pub mod libc;
#[cfg(feature = "user")]
pub mod libnest;
