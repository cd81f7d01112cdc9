//! The monitor's binary: the boot loader's entry and the panic handler around the library.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod bare {
    use core::arch::global_asm;
    use core::panic::PanicInfo;

    global_asm!(include_str!("entry.s"), options(att_syntax));

    /// Called by `entry.s` in 64-bit mode with what the boot loader left in EAX and EBX and the time stamp counter.
    #[unsafe(no_mangle)]
    extern "sysv64" fn monitor_start(magic: u32, information: u32, started: u64) -> ! {
        hypervisor::start::run(magic, information, started)
    }

    #[panic_handler]
    fn panic(info: &PanicInfo) -> ! {
        hypervisor::stop::stop(format_args!("monitor panic: {info}"))
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
