//! The kernel's image: its entry point stands in [`guest_kernel::arch::entry`].
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use guest_kernel as _;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the kernel runs on the monitor; build it for x86_64-unknown-none");
}
