//! The instructions that native children and micro-guests run: position-independent, each routine a slice of bytes.
#![allow(unsafe_code)]

use core::arch::global_asm;

/// Defines functions that return the machine code of their assembly.
macro_rules! routines {
    ($($(#[$doc:meta])* $name:ident: $($line:literal),+ $(,)?;)*) => {$(
        global_asm!(
            ".pushsection .rodata.routines, \"a\", @progbits",
            ".balign 16, 0x90",
            concat!(".globl nestor_code_", stringify!($name), ", nestor_code_", stringify!($name), "_end"),
            concat!("nestor_code_", stringify!($name), ":"),
            $($line,)+
            concat!("nestor_code_", stringify!($name), "_end:"),
            ".popsection",
        );

        $(#[$doc])*
        pub fn $name() -> &'static [u8] {
            unsafe extern "C" {
                #[link_name = concat!("nestor_code_", stringify!($name))]
                static START: u8;
                #[link_name = concat!("nestor_code_", stringify!($name), "_end")]
                static END: u8;
            }
            let (start, end) = (&raw const START, &raw const END);
            // SAFETY: the assembly above defines both symbols, around bytes of read-only data.
            unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
        }
    )*};
}

routines! {
    /// A call as the registers say; then #UD.
    system_call: "syscall", "ud2";
    /// Reads the word at RDI into RAX.
    read: "mov rax, [rdi]", "ud2";
    /// Writes RSI to RDI.
    write: "mov [rdi], rsi", "ud2";
    /// Jumps to RDI.
    jump: "jmp rdi";
    /// Counts at RDI for ever.
    count: "2: inc qword ptr [rdi]", "jmp 2b";
    /// Divides by zero.
    divide: "xor ecx, ecx", "xor edx, edx", "div ecx";
    /// A breakpoint.
    breakpoint: "int3", "ud2";
    /// Privileged: HLT.
    halt: "hlt", "ud2";
    /// Privileged: a port.
    port_in: "mov edx, 0x3f8", "in al, dx", "ud2";
    /// Privileged: interrupts off.
    interrupts_off: "cli", "ud2";
    /// Privileged: an MSR.
    read_msr: "mov ecx, 0x1b", "rdmsr", "ud2";
    /// Privileged: a control register.
    read_control: "mov rax, cr3", "ud2";
    /// The kernel's own way to the monitor.
    vmcall: "mov eax, 10", "xor edi, edi", "vmcall", "ud2";
    /// Reads FS:0 into RAX.
    read_fs: "mov rax, fs:[0]", "ud2";
    /// Uses a vector register.
    vectors: "movq xmm0, rdi", "ud2";
    /// A call as the registers say, whose status and RDI go to RBX; then waits on the Portset at RBP for ever.
    call_and_rest:
        "syscall",
        "mov [rbx + 8], rdi",
        "mov [rbx], rax",
        "2: mov rdi, rbp",
        "xor r15d, r15d",
        "mov eax, 0xa3",
        "syscall",
        "jmp 2b";
    /// Locks the Mutex at RDI as the thread R12, counts at R14, sleeping on the Portset at RBP in the middle of that,
    /// and unlocks, R13 times, with the kernel only where others wait. The last status goes to RBX; then it waits on
    /// the Portset for ever.
    lock_and_count:
        "mov r10, rdi",
        "2: xor eax, eax", "lock cmpxchg [r10], r12", "jz 3f",
        "mov eax, 0x16", "mov rdi, r10", "xor esi, esi", "xor edx, edx", "syscall",
        "test rax, rax", "jnz 6f",
        "3: mov r9, [r14]",
        "rdtsc", "shl rdx, 32", "lea r15, [rax + rdx + 3000]",
        "mov eax, 0xa3", "mov rdi, rbp", "syscall",
        "inc r9", "mov [r14], r9",
        "mov rax, r12", "xor ecx, ecx", "lock cmpxchg [r10], rcx", "jz 4f",
        "mov eax, 0x18", "mov rdi, r10", "syscall",
        "test rax, rax", "jnz 6f",
        "4: dec r13", "jnz 2b",
        "xor eax, eax",
        "6: mov [rbx], rax",
        "5: mov rdi, rbp", "xor r15d, r15d", "mov eax, 0xa3", "syscall", "jmp 5b";
    /// Reads the state of extended registers: XMM3 into RAX, MXCSR into RCX.
    read_vectors: "movq rax, xmm3", "stmxcsr [rdi]", "mov ecx, [rdi]", "ud2";
    /// Counts at RSI for as long as XMM0 and YMM15 hold what they were given.
    keep_vectors:
        "movq xmm0, rdi", "movq xmm15, rdi", "vinsertf128 ymm15, ymm15, xmm0, 1",
        "2: movq rax, xmm0", "cmp rax, rdi", "jne 3f",
        "vextractf128 xmm1, ymm15, 1", "movq rax, xmm1", "cmp rax, rdi", "jne 3f",
        "inc qword ptr [rsi]", "jmp 2b",
        "3: ud2";
    /// Reads GS:0 into RAX.
    read_gs: "mov rax, gs:[0]", "ud2";
    /// Makes the bases of FS and GS zero by loading their selectors, for ever, counting at RDI.
    load_selectors: "2: mov eax, 0x2b", "mov fs, eax", "mov gs, eax", "inc qword ptr [rdi]", "jmp 2b";
    /// Counts at RDI the rounds in which FS:0 is RSI.
    watch_fs: "2: cmp fs:[0], rsi", "jne 3f", "inc qword ptr [rdi]", "jmp 2b", "3: ud2";
    /// Goes to 32-bit code.
    far_return: "push 0x23", "lea rax, [rip + 2f]", "push rax", "retfq", "2: ud2";
    /// Does nothing, in single bytes.
    steps: "nop", "nop", "nop", "ud2";
    /// Loads SS from RDI, then makes a call.
    load_stack_segment: "mov ss, word ptr [rdi]", "syscall", "ud2";
    /// Divides by zero; the exception handler notes what it got at R14 and goes on behind. Then #UD with exceptions disabled.
    handle_exceptions:
        "lea rdi, [rip + 5f]", "xor esi, esi", "mov eax, 0x89", "syscall",
        "mov edi, 1", "mov eax, 0x88", "syscall",
        "mov eax, 7", "mov edx, 0", "xor ecx, ecx", "std", "div ecx",
        "pushfq", "pop r13", "cld",
        "mov r12, rax", "mov r15, rdx", "xor edi, edi", "mov eax, 0x88", "syscall", "ud2",
        "5: mov [r14], rax", "mov [r14 + 8], rcx", "mov [r14 + 16], rdx",
        "pushfq", "pop [r14 + 24]",
        "mov eax, 0x8b", "syscall",
        "mov [r14 + 32], rdi", "add r10, 2", "mov edi, 0x77", "mov eax, 0x8c", "syscall",
        "mov eax, 0x8a", "syscall";
    /// An exception whose handler has one too.
    handle_badly:
        "lea rdi, [rip + 5f]", "xor esi, esi", "mov eax, 0x89", "syscall",
        "mov edi, 1", "mov eax, 0x88", "syscall",
        "int3",
        "5: mov r12, rax", "hlt";
    /// Makes call RBP on RBX, with deadline 0; its interrupt handler notes at R14 how often and with what it was called. Ends
    /// with the call's RAX and RSI in R12 and R13, with exceptions disabled.
    wait_with_handler:
        "lea rsi, [rip + 6f]", "xor edi, edi", "mov eax, 0x89", "syscall",
        "mov edi, 1", "mov eax, 0x88", "syscall",
        "mov rdi, rbx", "mov esi, 0x5151", "xor r15d, r15d", "mov rax, rbp", "syscall",
        "mov r12, rax", "mov r13, rsi", "xor edi, edi", "mov eax, 0x88", "syscall", "ud2",
        "6: inc qword ptr [r14]", "mov [r14 + 8], rax", "mov eax, 0x8a", "syscall";
    /// Sets an interrupt handler, makes a #BP, then enables exceptions: what was posted before arrives then.
    enable_late:
        "lea rsi, [rip + 6f]", "xor edi, edi", "mov eax, 0x89", "syscall",
        "int3",
        "mov r12, [r14]", "mov edi, 1", "mov eax, 0x88", "syscall",
        "mov r13, [r14]", "mov r15, rdi", "xor edi, edi", "mov eax, 0x88", "syscall", "ud2",
        "6: inc qword ptr [r14]", "mov [r14 + 8], rax", "mov eax, 0x8a", "syscall";
    /// Posts vector 0x44 to Thread RBX, its own; the handler notes it at R14.
    interrupt_itself:
        "lea rsi, [rip + 6f]", "xor edi, edi", "mov eax, 0x89", "syscall",
        "mov edi, 1", "mov eax, 0x88", "syscall",
        "mov rdi, rbx", "mov esi, 0x44", "mov eax, 0x86", "syscall",
        "mov r12, rax", "mov r13, rsi", "xor edi, edi", "mov eax, 0x88", "syscall", "ud2",
        "6: inc qword ptr [r14]", "mov [r14 + 8], rax", "mov eax, 0x8a", "syscall";
    /// Redirects its system calls from outside its first 0x40 bytes to its second half, then makes Linux's write(1, 2, 3) there.
    redirected_write:
        "lea rdi, [rip - 7]", "mov esi, 0x40", "lea rdx, [rip + 5f]", "mov eax, 0x8d", "syscall",
        "jmp 4f",
        "3: mov eax, 0x87", "syscall", "mov r12, rax", "ret",
        ".balign 64, 0x90",
        "4: mov r15, rsp", "mov edi, 1", "mov esi, 2", "mov edx, 3", "mov r10d, 4", "mov r8d, 5", "mov r9d, 6",
        "mov eax, 1", "stc",
        "6: syscall", "lea r13, [rip + 6b + 2]", "call 3b", "ud2",
        "5: mov [r14], rax", "mov [r14 + 8], rcx", "mov [r14 + 16], r11", "mov [r14 + 24], rsp", "mov [r14 + 32], r9",
        "add rdi, rsi", "add rdi, rdx", "mov rax, rdi", "jmp rcx";
    /// Receives from the Portset at RDI, then counts at RSI for ever.
    receive_and_spin:
        "mov rbx, rsi", "xor r15d, r15d", "mov eax, 0xa3", "syscall",
        "2: inc qword ptr [rbx]", "jmp 2b";
    /// Redirected to RDX by its state: makes a system call.
    fake_call: "mov eax, 39", "syscall", "ud2", ".balign 16, 0x90", "mov eax, 4242", "jmp rcx";
    /// Calls the Port of Reference RDI with RSI for ever.
    call_for_ever: "2: mov eax, 0xa0", "syscall", "test rax, rax", "jz 2b", "ud2";
    /// Calls the Port of Reference RDI for ever, and counts at RBX.
    call_and_count: "2: mov eax, 0xa0", "syscall", "test rax, rax", "jnz 3f", "inc qword ptr [rbx]", "jmp 2b", "3: ud2";
    /// Sends RSI to the Port of Reference RDI for ever.
    send_for_ever: "2: mov eax, 0xa1", "syscall", "jmp 2b";
    /// Counts R12 down, at RSI up, unlocks the Mutex at RBP, then counts at RSI for ever.
    work_and_unlock:
        "2: inc qword ptr [rsi]",
        "dec r12",
        "jnz 2b",
        "mov r12, rsi",
        "mov eax, 0x18",
        "mov rdi, rbp",
        "syscall",
        "3: inc qword ptr [r12]",
        "jmp 3b";
    /// Serves clients at the Portset at RBX for ever: locks and unlocks the Mutex at RBP for each.
    lock_for_clients:
        "mov rdi, rbx",
        "xor r15d, r15d",
        "mov eax, 0xa3",
        "syscall",
        "2: mov rdi, rbp",
        "xor esi, esi",
        "xor edx, edx",
        "mov eax, 0x16",
        "syscall",
        "mov rdi, rbp",
        "mov eax, 0x18",
        "syscall",
        "mov rdi, rbx",
        "xor r15d, r15d",
        "mov eax, 0xa4",
        "syscall",
        "jmp 2b";
    /// Waits for messages at the Portset at RBX for ever; after each it counts at RBP for long.
    count_when_notified:
        "2:",
        "mov rdi, rbx",
        "xor r15d, r15d",
        "mov eax, 0xa3",
        "syscall",
        "mov ecx, 300000",
        "3: inc qword ptr [rbp]",
        "dec ecx",
        "jnz 3b",
        "jmp 2b";
    /// Waits, busily, for the time stamp counter to reach R9, then sends.
    send_at:
        "2:",
        "rdtsc", "shl rdx, 32", "or rax, rdx", "cmp rax, r9", "jb 2b",
        "mov eax, 0xa1", "syscall", "ud2";
    /// Donates to Threads RBX and R8 in turn, for R9 ticks each.
    schedule_two_for_ever:
        "2:",
        "rdtsc", "shl rdx, 32", "lea rsi, [rax + rdx]", "add rsi, r9",
        "mov rdi, rbx",
        "xor edx, edx",
        "xor r10d, r10d",
        "mov eax, 0xd0",
        "syscall",
        "xchg rbx, r8",
        "jmp 2b";
    /// Serves the Portset at RDI for ever: replies each message with its first word one higher.
    serve_for_ever:
        "mov rbx, rdi",
        "xor r15d, r15d",
        "mov eax, 0xa3",
        "syscall",
        "2: inc rsi",
        "mov rdi, rbx",
        "xor r15d, r15d",
        "mov eax, 0xa4",
        "syscall",
        "jmp 2b";

    /// Serves clients with long messages at the Portset at RDI for ever, with the parameters and tables at RSI, a quarter of a page that
    /// is copied from RDX before each call.
    serve_long_for_ever:
        "mov rbx, rdi",
        "mov rbp, rsi",
        "mov r12, rdx",
        "mov r13d, 0xca",
        "2: mov rsi, r12",
        "mov rdi, rbp",
        "mov ecx, 128",
        "rep movsq",
        "mov rdi, rbx",
        "mov rsi, rbp",
        "xor r15d, r15d",
        "mov eax, r13d",
        "syscall",
        // Where there is no client to reply to, it only waits.
        "mov r13d, 0xca",
        "mov eax, 0xcc",
        "cmp r15d, 6",
        "cmove r13d, eax",
        "jmp 2b";

    /// The calls of a script at RSP (see `atomicity::plan`) one after the other; then it gives its time back for ever.
    script:
        "jmp 2f",
        ".balign 16, 0x90",
        "mov [rsp + 128], rax", "mov [rsp + 136], rcx", "mov [rsp + 144], rdx", "mov eax, 0x8b", "syscall",
        "mov [rsp + 184], rdi", "add r10, 2", "mov eax, 0x8c", "syscall", "mov eax, 0x8a", "syscall",
        "2: mov rax, [rsp]", "test rax, rax", "jz 5f", "cmp rax, -1", "je 4f", "cmp rax, -2", "je 7f", "cmp rax, -3", "je 8f",
        "mov rcx, [rsp + 8]", "mov rdx, [rsp + 16]", "mov rbx, [rsp + 24]", "mov rbp, [rsp + 40]", "mov rsi, [rsp + 48]",
        "mov rdi, [rsp + 56]", "mov r8, [rsp + 64]", "mov r9, [rsp + 72]", "mov r10, [rsp + 80]", "mov r11, [rsp + 88]",
        "mov r12, [rsp + 96]", "mov r13, [rsp + 104]", "mov r14, [rsp + 112]", "mov r15, [rsp + 120]",
        // An emulator may take interrupts behind jumps only.
        "jmp 3f",
        "3: syscall",
        "mov [rsp + 128], rax", "mov [rsp + 136], rcx", "mov [rsp + 144], rdx", "mov [rsp + 152], rbx", "mov [rsp + 168], rbp",
        "mov [rsp + 176], rsi", "mov [rsp + 184], rdi", "mov [rsp + 192], r8", "mov [rsp + 200], r9", "mov [rsp + 208], r10",
        "mov [rsp + 216], r11", "mov [rsp + 224], r12", "mov [rsp + 232], r13", "mov [rsp + 240], r14", "mov [rsp + 248], r15",
        "pushfq", "pop [rsp + 160]", "add rsp, 272", "jmp 2b",
        "4: add rsp, [rsp + 8]", "jmp 2b",
        "5: mov qword ptr [rsp + 128], 1",
        "6: mov eax, 0xd0", "xor edi, edi", "syscall", "jmp 6b",
        "7: mov rdi, [rsp + 56]", "mov rax, [rdi]", "mov [rsp + 128], rax", "add rsp, 272", "jmp 2b",
        "8: ud2", "add rsp, 272", "jmp 2b";

    /// Micro-guest: a call as the registers say; then a write to port 0x400.
    guest_call: "vmcall", "out 0xf0, al", "hlt";
    /// Micro-guest: CPUID of RAX and RCX; then a write to port 0xf0.
    guest_cpuid: "cpuid", "out 0xf0, al", "hlt";
    /// Micro-guest: reads port 0x60, writes what it read to port 0xf0.
    guest_port: "in al, 0x60", "out 0xf0, al", "hlt";
    /// Micro-guest: reads MSR RCX.
    guest_read_msr: "rdmsr", "out 0xf0, al", "hlt";
    /// Micro-guest: writes MSR RCX.
    guest_write_msr: "wrmsr", "out 0xf0, al", "hlt";
    /// Micro-guest: reads the word at RDI.
    guest_read: "mov rax, [rdi]", "out 0xf0, al", "hlt";
    /// Micro-guest: writes RSI to RDI.
    guest_write: "mov [rdi], rsi", "out 0xf0, al", "hlt";
    /// Micro-guest: writes to RDI and RCX - 1 times to what is RSI further.
    guest_sweep: "2: mov [rdi], rsi", "add rdi, rsi", "dec rcx", "jnz 2b", "out 0xf0, al", "hlt";
    /// Micro-guest: counts at RDI for ever, interrupts off.
    guest_count: "cli", "2: inc qword ptr [rdi]", "jmp 2b";
    /// Micro-guest: sets XMM0, lets its keeper look, and reads it.
    guest_vectors: "movq xmm0, rdi", "out 0xf0, al", "movq rax, xmm0", "out 0xf0, al", "hlt";
    /// Micro-guest: waits for interrupts.
    guest_wait: "sti", "2: hlt", "out 0xf0, al", "jmp 2b";
    /// Micro-guest: triple fault.
    guest_triple_fault: "lidt [rdi]", "ud2";
    /// Micro-guest: an undefined instruction.
    guest_undefined: "ud2";
    /// Micro-guest: VMXON.
    guest_vmxon: "vmxon [rdi]", "out 0xf0, al", "hlt";
    /// Micro-guest: writes to port 0xf0 RCX times, then to port 0xf1.
    guest_flood: "2: out 0xf0, al", "dec rcx", "jnz 2b", "out 0xf1, al", "hlt";
    /// Micro-guest: sets XCR0 to RAX.
    guest_set_xcr0: "xor ecx, ecx", "xor edx, edx", "xsetbv", "out 0xf0, al", "hlt";
    /// Micro-guest: sets CR4 to RAX.
    guest_set_cr4: "mov cr4, rax", "out 0xf0, al", "hlt";
    /// Micro-guest: waits for a message at the Portset RDI for a while of its own time.
    guest_wait_until:
        "rdtsc", "shl rdx, 32", "lea r15, [rax + rdx + 10000]", "mov eax, 0xa3", "vmcall", "out 0xf0, al", "hlt";
    /// Micro-guest: reads the time stamp counter.
    guest_read_time: "rdtsc", "out 0xf0, al", "hlt";
    /// Micro-guest: makes calls with the numbers of a generator seeded by RBX for RBP rounds.
    guest_random_calls:
        "2:",
        "mov r11, rbx", "shl r11, 13", "xor rbx, r11",
        "mov r11, rbx", "shr r11, 7", "xor rbx, r11",
        "mov r11, rbx", "shl r11, 17", "xor rbx, r11",
        "mov rax, rbx", "and eax, 0xff",
        "mov rdi, rbx", "shr rdi, 8", "and edi, 0x1fffc0",
        "mov rsi, rbx", "shr rsi, 24", "and esi, 0x1fffc0",
        "mov rdx, rbx", "shr rdx, 40", "and edx, 0x1fff",
        "mov r10, rdi",
        "mov r8, rsi",
        "mov r15d, 1",
        "vmcall",
        "dec rbp",
        "jnz 2b",
        "out 0xf0, al",
        "hlt";
    /// Micro-guest: the same through the other door.
    guest_script:
        "2: mov rax, [rsp]", "test rax, rax", "jz 5f", "cmp rax, -1", "je 4f", "cmp rax, -2", "je 7f", "cmp rax, -3", "je 8f",
        "mov rcx, [rsp + 8]", "mov rdx, [rsp + 16]", "mov rbx, [rsp + 24]", "mov rbp, [rsp + 40]", "mov rsi, [rsp + 48]",
        "mov rdi, [rsp + 56]", "mov r8, [rsp + 64]", "mov r9, [rsp + 72]", "mov r10, [rsp + 80]", "mov r11, [rsp + 88]",
        "mov r12, [rsp + 96]", "mov r13, [rsp + 104]", "mov r14, [rsp + 112]", "mov r15, [rsp + 120]",
        // An emulator may take interrupts behind jumps only.
        "jmp 3f",
        "3: vmcall",
        "mov [rsp + 128], rax", "mov [rsp + 136], rcx", "mov [rsp + 144], rdx", "mov [rsp + 152], rbx", "mov [rsp + 168], rbp",
        "mov [rsp + 176], rsi", "mov [rsp + 184], rdi", "mov [rsp + 192], r8", "mov [rsp + 200], r9", "mov [rsp + 208], r10",
        "mov [rsp + 216], r11", "mov [rsp + 224], r12", "mov [rsp + 232], r13", "mov [rsp + 240], r14", "mov [rsp + 248], r15",
        "pushfq", "pop [rsp + 160]", "add rsp, 272", "jmp 2b",
        "4: add rsp, [rsp + 8]", "jmp 2b",
        "5: mov qword ptr [rsp + 128], 1",
        "6: mov eax, 0xd0", "xor edi, edi", "vmcall", "jmp 6b",
        "7: mov rdi, [rsp + 56]", "mov rax, [rdi]", "mov [rsp + 128], rax", "add rsp, 272", "jmp 2b",
        "8: mov rax, [rsp + 56]", "out 0xf0, al", "mov [rsp + 128], rax", "add rsp, 272", "jmp 2b";
    /// Micro-guest: 256 interrupt handlers, 16 bytes apart: each writes to port 0x500 plus its vector, then returns.
    guest_handlers:
        ".set nestor_vector, 0",
        ".rept 256",
        ".balign 16, 0x90",
        "mov edx, 0x500 + nestor_vector",
        "out dx, al",
        "iretq",
        ".set nestor_vector, nestor_vector + 1",
        ".endr",
        ".balign 16, 0x90";
}

#[cfg(test)]
mod tests {
    #[test]
    fn routines_are_what_was_assembled() {
        assert_eq!(super::system_call(), [0x0f, 0x05, 0x0f, 0x0b]);
        assert_eq!(super::guest_handlers().len(), 256 * 16);
    }
}
