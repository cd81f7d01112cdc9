//! The micro-guests' code. Each starts at guest-physical [`crate::guest::CODE`] and speaks through port writes.

use core::arch::global_asm;
use core::slice;

macro_rules! code {
    ($($name:ident, $bits:literal: $($line:literal)*;)*) => {
        $(
            global_asm!(
                ".section .rodata.guest, \"a\"",
                ".balign 16",
                concat!(".code", $bits),
                concat!(stringify!($name), "_start:"),
                $($line,)*
                concat!(stringify!($name), "_end:"),
                ".code64",
                ".text",
            );
        )*
        $(
            pub fn $name() -> &'static [u8] {
                let (start, end): (*const u8, *const u8);
                // SAFETY: two labels of the code above; bytes between them are constant.
                unsafe {
                    core::arch::asm!(
                        concat!("lea {}, [rip + ", stringify!($name), "_start]"),
                        concat!("lea {}, [rip + ", stringify!($name), "_end]"),
                        out(reg) start, out(reg) end,
                    );
                    slice::from_raw_parts(start, end.offset_from(start) as usize)
                }
            }
        )*
    };
}

code! {
    // `out` of AL to port 0x80, then HLT, for ever.
    out_hlt, "16": "2:" "mov al, 0x5a" "out 0x80, al" "hlt" "jmp 2b";
    hlt_64, "64": "2:" "hlt" "jmp 2b";
    out_64, "64": "2:" "out 0x80, al" "jmp 2b";
    // CPUID of EAX and ECX; each exit to the kernel counts.
    cpuid, "64": "2:" "cpuid" "out 0x81, al" "hlt" "jmp 2b";
    // Reads and writes memory at RBX.
    touch, "64": "2:" "mov rax, [rbx]" "mov [rbx], rcx" "hlt" "jmp 2b";
    // Writes RCX times, to RBX and what is RDX further.
    sweep, "64": "2:" "mov [rbx], rcx" "add rbx, rdx" "dec rcx" "jnz 2b" "hlt";
    triple_fault, "64": "mov qword ptr [0x7f00], 0" "lidt [0x7f00]" "ud2";
    rdmsr, "64": "2:" "rdmsr" "out 0x82, al" "hlt" "jmp 2b";
    wrmsr, "64": "2:" "wrmsr" "out 0x82, al" "hlt" "jmp 2b";
    vmx, "64": "vmxoff" "hlt";
    vmcall, "64": "vmcall" "hlt";
    xsetbv, "64": "xsetbv" "hlt";
    spin, "64": "2:" "jmp 2b";
    // Interrupts off, then on: a posted interrupt must wait for STI and the instruction after it.
    window, "64": "out 0x83, al" "sti" "nop" "nop" "out 0x84, al" "hlt";
    write_cr4, "64": "mov cr4, rax" "mov rbx, cr4" "hlt";
    write_cr0, "64": "mov cr0, rax" "mov rbx, cr0" "hlt";
    read_cr8, "64": "mov rax, cr8" "hlt";
    read_cr2, "64": "2:" "mov rax, cr2" "hlt" "mov cr2, rbx" "hlt" "jmp 2b";
    // Single step over an instruction that the monitor answers: #DB must come right after it.
    single_step, "64": "push 0x102" "popfq" "cpuid" "hlt";
    // From real mode through protected to 64-bit mode, with an exit in each. The GDT is at 0x6000.
    modes, "16":
        "mov al, 1" "out 0x85, al"
        "lgdt [0x6100]"
        "mov eax, cr0" "or al, 1" "mov cr0, eax"
        ".byte 0xea" ".word 0x8000 + 4f - modes_start, 8" // far jump

        ".code32" "4:"
        "mov ax, 16" "mov ds, ax" "mov es, ax" "mov ss, ax"
        "mov al, 2" "out 0x85, al"
        "mov eax, 0x1000" "mov cr3, eax"
        "mov eax, cr4" "or eax, 0x20" "mov cr4, eax"
        "mov ecx, 0xc0000080" "rdmsr" "or eax, 0x100" "wrmsr"
        "mov eax, cr0" "or eax, 0x80000000" "mov cr0, eax"
        "mov al, 3" "out 0x85, al"
        ".byte 0xea" ".long 0x8000 + 5f - modes_start" ".word 24" // far jump

        ".code64" "5:"
        "mov ecx, 0xc0000080" "rdmsr" "mov rbx, rax"
        "mov al, 4" "out 0x85, al" "hlt";
    // PAE paging with the page-directory pointers at 0x4000, switched on with CD set at the same time: the monitor's
    // path.
    pae, "32":
        "mov eax, 0x4000" "mov cr3, eax"
        "mov eax, cr4" "or eax, 0x20" "mov cr4, eax"
        "mov eax, cr0" "or eax, 0xc0000000" "mov cr0, eax"
        "mov ebx, [0x9000]" "hlt";
    // A loop for measuring: RCX times CPUID, with the time around it.
    cpuid_loop, "64":
        "mov r15, r14" "rdtsc" "mov r12, rax" "2:" "xor eax, eax" "xor ecx, ecx" "cpuid" "dec r15" "jnz 2b" "rdtsc" "sub rax, r12" "hlt";
    empty_loop, "64":
        "mov r15, r14" "rdtsc" "mov r12, rax" "2:" "xor eax, eax" "xor ecx, ecx" "dec r15" "jnz 2b" "rdtsc" "sub rax, r12" "hlt";
    rdmsr_loop, "64":
        "mov r15, r14" "rdtsc" "mov r12, rax" "2:" "mov ecx, 0x1b" "rdmsr" "dec r15" "jnz 2b" "rdtsc" "sub rax, r12" "hlt";
    // Takes the time just before leaving and just after coming back.
    time_loop, "64": "2:" "rdtsc" "out 0x80, al" "jmp 2b";
    // Exception and interrupt handlers, 16 bytes each: the vector to port 0x99.
    handlers, "64":
        ".set guest_vector, 0"
        ".rept 256" ".balign 16" "mov al, guest_vector" "out 0x99, al" "hlt" ".set guest_vector, guest_vector + 1" ".endr";
}
