//! A fuzzer of the low-level API, inside the running system.
//!
//! A nester that the root nester starts as a child (`start fuzz name=fuzz memory=… -- [calls=N] [seed=N] [round=N]`). It has
//! two children whose threads make random calls, a native process through `SYSCALL` and a machine through `VMCALL`, each with
//! objects of all types, ways to its parent and to the other, memory that is missing, read only, shown twice, supplied
//! when it is asked for; and between the calls instructions that they should not execute. It keeps them: replies at random, but as it
//! may, and stops, changes, interrupts and restarts their threads. After some thousands of calls, a *round*, it destroys them and begins
//! anew. Beside them lives a victim.
//!
//! **What is checked.** Kernel and monitor go on, as everything here shows. The [victim] notices nothing, neither in
//! its memory nor in its calls, and is not late. The [supervisor]'s own memory is as it was. After each round the kernel memory that the
//! supervisor may use is what it was before, to the frame.
//!
//! **Repeating.** Everything random in a round follows from the seed and the number of the round, which stand in each line and in
//! what is said of a failure: `seed=S round=R` begins with that round. What also counts is when interrupts arrive, which is the same
//! on an emulator whose time are its instructions.
//!
//! **Refuses** to know what a call should return: that is what the conformance tests are for.
//!
//! | module | about | runs in | unsafe |
//! |---|---|---|---|
//! | [`supervisor`] | rounds, replies, checks | the nester | no |
//! | [`child`] | making, restarting, disturbing, ending a fuzzing child | the nester | no |
//! | [`generator`] | which call comes next | the children | no |
//! | [`entry`] | the loop, the two doors, odd instructions | the children | yes |
//! | [`victim`] | who must notice nothing | both | yes: its memory |
//! | [`layout`], [`random`] | what they share | both | no |
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod child;
pub mod entry;
pub mod generator;
pub mod layout;
pub mod random;
pub mod supervisor;
pub mod victim;

pub use supervisor::run;
