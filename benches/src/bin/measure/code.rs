//! The measured loops, as code that runs in a child: position-independent, ended by a request to the parent.
//!
//! A loop is entered with the number of iterations in RBX and the address of two words in RBP. It reads the time stamp
//! counter into the first word, repeats its operation RBX times, reads it into the second, and ends: a native child with UD2, a
//! machine's guest with a write to port [`END_PORT`].
#![allow(unsafe_code)]

/// The port that a guest writes to when its loop has ended.
pub const END_PORT: u16 = 0x10;
/// The port whose writes are measured.
pub const MEASURED_PORT: u16 = 0x11;
/// The port that asks for an interrupt.
pub const INTERRUPT_PORT: u16 = 0x12;

macro_rules! measured_loop {
    ($(#[$doc:meta])* $name:ident, $label:literal, $end:literal, [$($operation:literal),*]) => {
        core::arch::global_asm!(
            ".section .rodata",
            concat!("measured_", $label, ":"),
            "rdtsc", "shl rdx, 32", "or rax, rdx", "mov [rbp], rax",
            ".balign 16, 0x90",
            concat!("measured_loop_", $label, ":"),
            $($operation,)*
            "dec rbx",
            concat!("jnz measured_loop_", $label),
            "rdtsc", "shl rdx, 32", "or rax, rdx", "mov [rbp + 8], rax",
            $end,
            concat!("jmp measured_", $label),
            ".balign 16, 0x90",
            concat!("measured_end_", $label, ":"),
            ".text",
        );

        $(#[$doc])*
        pub fn $name() -> &'static [u8] {
            unsafe extern "C" {
                #[link_name = concat!("measured_", $label)]
                static START: u8;
                #[link_name = concat!("measured_end_", $label)]
                static END: u8;
            }
            let (start, end) = (&raw const START, &raw const END);
            // SAFETY: both symbols stand in one read-only section, in this order, with nothing but code between.
            unsafe { core::slice::from_raw_parts(start, end as usize - start as usize) }
        }
    };
}

measured_loop!(/// Nothing, in a native child.
    native_empty, "native_empty", "ud2", []);
measured_loop!(/// `thread_self` through SYSCALL.
    null_system_call, "null_syscall", "ud2", ["mov eax, 0x87", "syscall"]);
measured_loop!(/// `ipc_call` to the Reference at R15 (kept by the kernel).
    ipc_call, "ipc_call", "ud2", ["mov eax, 0xa0", "mov rdi, r15", "syscall"]);
measured_loop!(/// Unlocks the Mutex at R15 and locks it again, as the thread R12: with the kernel only where others wait.
    native_relock, "native_relock", "ud2", [
        "mov rax, r12", "xor ecx, ecx", "lock cmpxchg [r15], rcx", "jz 2f",
        "mov eax, 0x18", "mov rdi, r15", "syscall",
        "2: xor eax, eax", "lock cmpxchg [r15], r12", "jz 3f",
        "mov eax, 0x16", "mov rdi, r15", "xor esi, esi", "xor edx, edx", "syscall", "3:"]);
measured_loop!(/// Locks and unlocks the Mutex at R15.
    native_lock, "native_lock", "ud2", [
        "xor eax, eax", "lock cmpxchg [r15], r12", "jz 2f",
        "mov eax, 0x16", "mov rdi, r15", "xor esi, esi", "xor edx, edx", "syscall",
        "2: mov rax, r12", "xor ecx, ecx", "lock cmpxchg [r15], rcx", "jz 3f",
        "mov eax, 0x18", "mov rdi, r15", "syscall", "3:"]);
measured_loop!(/// `ipc_send` of the time to the Reference at R15.
    ipc_send, "ipc_send", "ud2",
    ["rdtsc", "shl rdx, 32", "or rax, rdx", "mov rsi, rax", "mov eax, 0xa1", "mov rdi, r15", "syscall"]);
measured_loop!(/// `client_connect_send_over_receive` to the Reference at R15, with the parameters at R14, of which R13 is a copy.
    ipc_transact, "ipc_transact", "ud2",
    ["mov rsi, r13", "mov rdi, r14", "mov ecx, 12", "rep movsq", "mov eax, 0xb1", "mov rdi, r15", "mov rsi, r14", "syscall"]);
measured_loop!(/// What stands around it.
    around_transact, "around_transact", "ud2",
    ["mov rsi, r13", "mov rdi, r14", "mov ecx, 12", "rep movsq", "mov eax, 0xb1", "mov rdi, r15", "mov rsi, r14"]);
measured_loop!(/// `thread_schedule` of the Thread at R15 (kept by the kernel), without a limit.
    schedule, "schedule", "ud2",
    ["mov eax, 0xd0", "mov rdi, r15", "xor esi, esi", "xor edx, edx", "xor r10d, r10d", "syscall"]);
measured_loop!(/// `thread_schedule` of nobody: the time goes back to who gave it.
    give_back, "give_back", "ud2", ["mov eax, 0xd0", "xor edi, edi", "syscall"]);
measured_loop!(/// `thread_get_state` and `thread_set_state` of the general registers of Thread R15, through the memory 0x800 bytes behind it.
thread_state, "thread_state", "ud2", [
    "mov rdi, r15", "lea rsi, [r15 + 0x800]", "mov edx, 0x200", "xor r10d, r10d", "xor r8d, r8d", "xor r9d, r9d",
    "mov eax, 0x84", "syscall", "mov edx, 0x200", "mov eax, 0x85", "syscall"
]);
measured_loop!(/// A read of the next page from R15 on.
    native_touch, "native_touch", "ud2", ["mov al, [r15]", "add r15, 4096"]);
measured_loop!(/// A write to the next page from R15 on.
    native_write, "native_write", "ud2", ["mov [r15], al", "add r15, 4096"]);
measured_loop!(/// Neither.
    native_step, "native_step", "ud2", ["add r15, 4096"]);
measured_loop!(/// Nothing, in a machine.
    machine_empty, "machine_empty", "out 0x10, al", []);
measured_loop!(/// An instruction of ring 0 that is not intercepted.
    plain, "plain", "out 0x10, al", ["mov rax, cr3"]);
measured_loop!(/// `thread_self` through VMCALL.
    null_vmcall, "null_vmcall", "out 0x10, al", ["mov eax, 0x87", "vmcall"]);
measured_loop!(/// CPUID, leaf 0.
    cpuid, "cpuid", "out 0x10, al", ["xor eax, eax", "push rbx", "cpuid", "pop rbx"]);
measured_loop!(/// What stands around CPUID.
    around_cpuid, "around_cpuid", "out 0x10, al", ["xor eax, eax", "push rbx", "pop rbx"]);
measured_loop!(/// RDMSR of the MSR in R15.
    rdmsr, "rdmsr", "out 0x10, al", ["mov ecx, r15d", "rdmsr"]);
measured_loop!(/// What stands around RDMSR.
    around_rdmsr, "around_rdmsr", "out 0x10, al", ["mov ecx, r15d"]);
measured_loop!(/// A write to the measured port.
    port_write, "port_write", "out 0x10, al", ["out 0x11, al"]);
measured_loop!(/// A write that is answered with an interrupt; the handler only returns.
    interrupt, "interrupt", "out 0x10, al", ["out 0x12, al"]);
measured_loop!(/// A read of the next page from R15 on.
    machine_touch, "machine_touch", "out 0x10, al", ["mov al, [r15]", "add r15, 4096"]);
measured_loop!(/// The same without the read.
    machine_step, "machine_step", "out 0x10, al", ["add r15, 4096"]);
measured_loop!(/// Writes to another page each time, in a machine.
    machine_dirty, "machine_dirty", "out 0x10, al", ["mov [r15], al", "add r15, 4096"]);
