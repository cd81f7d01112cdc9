//! t
#![cfg_attr(target_os = "none", no_std, no_main)]
#[cfg(target_os = "none")]
mod bare {
    use core::arch::asm;
    #[unsafe(no_mangle)]
    extern "sysv64" fn _start(info: u64) -> ! {
        let b = info - 0xffff_8000_0000_0000;
        static M: &[u8] = b"hello from the kernel\n";
        // write at info page: copy message there
        let p = (info + 3700) as *mut u8;
        for (i, c) in M.iter().enumerate() { unsafe { p.add(i).write_volatile(*c) } }
        unsafe { asm!("vmcall", inout("rax") 9u64 => _, in("rdi") b + 3700, in("rsi") M.len() as u64) };
        unsafe { asm!("vmcall", inout("rax") 10u64 => _, in("rdi") 0u64) };
        loop {}
    }
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
}
#[cfg(not(target_os = "none"))]
fn main() {}
