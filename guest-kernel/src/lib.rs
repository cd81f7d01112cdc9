//! The microkernel of Nestor: kernel objects, IPC, relative address spaces, faults, dispatching.
//!
//! **Responsible for** the low-level API ([`protocols::api`]) through both doors, `SYSCALL` from native threads and `VMCALL` from a
//! machine's ring 0; for Spaces of both kinds, filled by one fault path; for keepers' messages; for accounts of kernel memory,
//! objects and CPU time ([`account`]); for CPU time going where threads give it ([`dispatch`]), and for a round robin
//! between those that nobody else schedules, so that no thread can keep the CPU ([`schedule`]).
//!
//! **Refuses** policy (what a machine may do, what memory means, who gets what is the nesters' business), devices (but the
//! interrupt controllers and the timer) and names that are not relative to the caller.
//!
//! # Execution model
//!
//! One kernel stack for each CPU, begun anew at each entry; the kernel runs to its end with interrupts off and blocks nowhere.
//! The entry code stores registers straight into the running thread ([`arch::entry`]) and never returns: each entry ends by
//! loading the registers of whoever runs next ([`arch::entry::Resume`]). A thread that has to wait leaves its registers as
//! they were when it made its call; what it waits for is one word ([`thread::Wait`]). A call that meets a fault in the
//! caller's memory, or that has done a bounded amount of work and is not done, is made again: how far it came stands in the
//! caller's registers.
//!
//! ```text
//! SYSCALL   -> entry -> fast_path (a call to a server that waits, a reply)        -> ring 3
//!                    -> fault_path (a reply that supplies memory)                 -> ring 3
//!                    -> calls -> objects, ipc, memory ... -> next_native          -> ring 3
//! interrupt -> entry -> fault_path (a hard fault, to a keeper that waits)         -> ring 3
//!                    -> fault::resolve (a soft fault)                             -> ring 3
//!                    -> fault, ipc, schedule ...          -> next_native          -> ring 3
//! next_native: runs virtual CPUs (machine) or waits until a native thread is to run
//! ```
//!
//! Everything hangs on one lock, around [`kernel::Kernel`]; the code under it is free of `unsafe`. With one CPU it is never
//! waited for. What several CPUs need is laid out for them: what belongs to a CPU (its stack, task state, what it is loaded
//! with, the running thread and whose time it uses, the timer) is named as such in [`kernel::Kernel`] and [`arch`], and moves into a structure of
//! each CPU; the lock is taken at the entry and given back before ring 3, no code waits while it holds it, and it is the
//! only one (beside the heap's, which is taken under it and never the other way round). A finer grain is for when
//! measurements ask for it: the fast path touches a client, a server, a Reference, a Port and a Portset, in this order.
//! What threads do at the same time as the kernel even with one CPU is changing lock words; that is checked in all
//! orders ([`lock_word`]). The lock itself is the `spin` crate's.
//!
//! # What is bounded
//!
//! No call works longer, with interrupts off, than its documentation says, whatever its caller has built: walks over what
//! is derived from memory have a fixed size and empty whole Spaces beyond it ([`memory::hierarchy`]), searches go on in a
//! repeated call, and so does destroying what has much hanging on it ([`dismantle`]); lists are linked through their members ([`list`])
//! and need no memory. Linear are: withdrawing a Region in its Mappings, ranking a Space above another in the Spaces derived
//! from it, taking a Port out of those of its Portset that have something.
//!
//! Chains of donors, clients, servers and owners of Mutexes are followed for at most [`dispatch::LONGEST_CHAIN`] threads, where a thread waits, wakes or
//! loses the CPU and the chain has a donor; IPC's fast paths follow none. A wake-up takes time for each donor that slept for its sake,
//! which slept because of as many other steps. CPU time is charged to all Spaces above one, [`MAX_SPACE_DEPTH`](protocols::api::MAX_SPACE_DEPTH)
//! at most, when somebody asks, and at once to those with limits; threads that were held for want of it are let go sixteen at a time. Deadlines take logarithmic time ([`deadlines`]).
//!
//! A thread that is stopped while it waits for a Mutex or in a Cond leaves the queue and makes its call again when it goes
//! on; in a Cond its registers say from the start that it is about to lock.
//!
//! # Invariants
//!
//! * A thread is in at most one queue; [`thread::Wait`] says which, or, for who waits for the CPU, [`dispatch::Queued`].
//! * Whoever runs does so on time of the root or of a chain of donors that leads there, none of which has a cycle; a subtree that has
//!   no time of the root's uses what it is given and no more, and one with a limit no more than that ([`dispatch`]).
//! * What a thread has not done yet of a call on a connection is a call too, and stands in its registers ([`connection`]).
//! * Links are generational identifiers: whoever follows one finds the object or nothing ([`objects`]).
//! * What is linked through a grant ends with it; References are counted where they link to ([`references`]).
//! * Nothing that users can write is believed: the lock word of a Mutex, which they change without the kernel, says who
//!   owns the Mutex, and whom a thread donates to that waits for it, and nothing else ([`lock_word`]).
//! * Tables read by the hardware hold nothing that the Mappings do not say ([`memory::hierarchy`]), but which pages were written ([`tracking`]).
//! * Kernel memory and objects in use are charged to some account, whether its Space still exists or not, and no subtree uses more than
//!   its root was given ([`account`]).
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
pub mod connection;
pub mod copy_on_write;
pub mod deadlines;
pub mod devices;
pub mod dismantle;
pub mod dispatch;
pub mod fast_path;
pub mod fast_state;
pub mod fault;
pub mod fault_path;
#[cfg(test)]
mod fuzz;
pub mod handlers;
pub mod ipc;
pub mod kernel;
pub mod lifecycle;
pub mod list;
pub mod lock_word;
pub mod logger;
pub mod machine;
pub mod memory;
pub mod names;
pub mod native;
pub mod objects;
pub mod references;
pub mod schedule;
pub mod space;
pub mod suspend;
pub mod thread;
pub mod tracking;
pub mod write_log;

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
