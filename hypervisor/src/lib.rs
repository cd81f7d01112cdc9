//! The monitor of Nestor. (draft)
#![cfg_attr(not(test), no_std)]

pub mod boot;
mod call;
pub mod console;
pub mod cpu;
pub mod ept;
pub mod frames;
pub mod guest_rules;
pub mod interrupt;
pub mod kernel;
pub mod kernel_memory;
pub mod machine;
pub mod mtrr;
pub mod objects;
pub mod physical;
pub mod policy;
pub mod port;
pub mod register;
pub mod screen;
pub mod start;
pub mod stop;
pub mod virtual_cpu;
pub mod vmx;
pub mod vpid;
pub mod world;
