//! The first program of a measured Linux: its first instruction reads the time stamp counter; then it prints it and
//! goes on to the real init.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
#[allow(unsafe_code)]
mod linux {
    // The counter in hexadecimal over the zeroes of the message, then write(1, message), then execve("/init.real").
    core::arch::global_asm!(
        ".global _start",
        "_start:",
        "rdtsc",
        "shl rdx, 32",
        "or rax, rdx",
        "lea rdi, [rip + digits + 15]",
        "mov ecx, 16",
        "2: mov edx, eax",
        "and edx, 15",
        "cmp edx, 10",
        "jb 3f",
        "add edx, 39",
        "3: add edx, 48",
        "mov [rdi], dl",
        "dec rdi",
        "shr rax, 4",
        "loop 2b",
        "mov eax, 1",
        "mov edi, 1",
        "lea rsi, [rip + message]",
        "mov edx, 50",
        "syscall",
        "mov eax, 59",
        "lea rdi, [rip + path]",
        "lea rsi, [rip + arguments]",
        "xor edx, edx",
        "mov [rsi], rdi",
        "syscall",
        "mov eax, 60",
        "mov edi, 1",
        "syscall",
        ".section .data",
        "message: .ascii \"first user instruction at tick 0x\"",
        "digits: .ascii \"0000000000000000\\n\"",
        "message_end:",
        "path: .asciz \"/init.real\"",
        ".balign 8",
        "arguments: .quad 0, 0",
    );

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this program is the first one of a measured Linux");
}
