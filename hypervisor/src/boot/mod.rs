//! From the boot loader to a kernel that can be entered: what there is, where to put things, what the kernel is told.

pub mod image;
pub mod map;
pub mod multiboot;
pub mod prepare;
pub mod tables;
