//! The host-side tool of Nestor: it builds the system, assembles its boot
//! image, picks a host machine, runs it and talks to its console.
//!
//! The binary `nestor` (what `cargo run` starts) is a thin command line over
//! this library; the end-to-end tests use the library directly.
//!
//! # What it is responsible for
//!
//! * [`binaries`]: building the bare-metal members of the workspace, once
//!   [`toolchain`] has made sure that Rust can.
//! * [`packages`] and [`guest`]: the distribution packages the tool needs, and
//!   the Linux kernel and busybox that guests run, fetched once into the cache.
//! * [`initrd`] over [`cpio`]: the guests' initial file system.
//! * [`image`]: the bootable ISO (BIOS and UEFI) with its boot modules; the
//!   `system` module's text comes from [`system`].
//! * [`host`]: a host machine, [`bochs`] or [`kvm`], and its [`console`].
//! * [`entry_probe`]: when a boot loader enters a kernel, for the benchmark.
//! * [`session`] and [`terminal`]: joining the user's terminal to that console.
//!
//! # What it refuses to do
//!
//! * It installs nothing silently: packages are named, with the reason, before
//!   anything is installed, and only root's `apt-get` and, for Rust's own
//!   libraries, rustup are ever used. Guest kernels are unpacked into the cache,
//!   never installed.
//! * It starts nothing that cannot work: guest memory, kernel and initrd are
//!   checked ([`request`], [`bzimage`]) before a host is started.
//! * It has no `unsafe` code.
//!
//! # Invariants
//!
//! * Whatever way the tool ends, the user's terminal is as it was and no
//!   emulator is left running.
//! * Cached files appear under their final name only once complete, so an
//!   interrupted run leaves nothing half-made behind.
//! * Every failure carries one of the exit codes of [`failure::FailureKind`].

#![forbid(unsafe_code)]

pub mod binaries;
pub mod bochs;
pub mod bzimage;
pub mod chord;
pub mod cli;
pub mod commands;
pub mod console;
pub mod cpio;
pub mod entry_probe;
pub mod failure;
pub mod guest;
pub mod host;
pub mod image;
pub mod initrd;
pub mod kvm;
pub mod packages;
pub mod progress;
pub mod request;
pub mod session;
pub mod size;
pub mod system;
pub mod terminal;
pub mod toolchain;
pub mod transcript;
pub mod watchdog;
pub mod workspace;
