//! What the threads of a fuzzing child run: the loop that makes calls, through either door, and instructions that a child should not
//! execute. It is part of this program's text, which the children see where it lies, and touches nothing else of the program.
#![allow(unsafe_code)]

use core::arch::{asm, naked_asm};

use protocols::api::Call;
use protocols::virtual_cpu::register::{RAX, RDI, RSI};

use crate::generator::{Control, Loop, Registers};
use crate::layout::{CONTROL, STACK_COUNT, STACK_SIZE, STACKS, STATES};
use crate::random::Random;

/// Where every thread of a child begins, and where its exceptions and interrupts go.
pub fn address() -> u64 {
    start as *const () as u64
}

/// The first two thirds of the program: its text and constants. Neither is ever written.
#[cfg(target_os = "none")]
pub fn text() -> &'static [u8] {
    use protocols::startup::PROGRAM_ADDRESS;
    unsafe extern "C" {
        static program_read_only_end: u8;
    }
    let end = (&raw const program_read_only_end).addr();
    // SAFETY: the linker script puts text and constants, whole pages, from this address on, and nothing else.
    unsafe { core::slice::from_raw_parts(PROGRAM_ADDRESS as *const u8, end - PROGRAM_ADDRESS as usize) }
}

/// Host programs have no such text.
#[cfg(not(target_os = "none"))]
pub fn text() -> &'static [u8] {
    &[]
}

/// Takes the stack that the thread is on, or a new one if it is on none, from its top on.
#[unsafe(naked)]
extern "C" fn start() -> ! {
    naked_asm!(
        "mov rax, rsp",
        "sub rax, {stacks}",
        "cmp rax, {size} * {count}",
        "jb 2f",
        "mov eax, 1",
        "lock xadd [{control} + 8], rax",
        "and eax, {count} - 1",
        "imul eax, eax, {size}",
        "2:",
        "and rax, -{size}",
        "lea rdi, [rax + {stacks}]",
        "lea rsp, [rdi + {size}]",
        "cld",
        "xor ebp, ebp",
        "call {run}",
        "ud2",
        stacks = const STACKS, size = const STACK_SIZE, count = const STACK_COUNT, control = const CONTROL, run = sym run,
    )
}

/// Makes calls for ever.
extern "C" fn run(own: *mut Loop) -> ! {
    // SAFETY: the child's memory is at these addresses. Other threads of the child may write to it at the same time: what it means
    // then is no matter, since nothing but the child depends on it.
    let (own, control, states) =
        unsafe { (&mut *own, &mut *(CONTROL as *mut Control), &mut *(STATES as *mut [u64; 512])) };
    let native = control.door == 0;
    if native {
        own.registers[RAX] = Call::ThreadSetExceptions as u64;
        own.registers[RDI] = 1;
        // SAFETY: the registers are the thread's own.
        unsafe { native_call(&mut own.registers) };
        if own.random.one_in(64) {
            own.registers[RAX] = Call::ThreadSetHandlers as u64;
            own.registers[RDI] = address();
            own.registers[RSI] = address();
            // SAFETY: as above.
            unsafe { native_call(&mut own.registers) };
        }
    }
    loop {
        own.choose(control, states);
        own.calls = own.calls.wrapping_add(1);
        // SAFETY: as above. What the call does to the child is what it is made for.
        unsafe { if native { native_call(&mut own.registers) } else { machine_call(&mut own.registers) } };
        if own.registers[RAX] == 0 {
            own.succeeded(control);
        }
        if own.random.one_in(control.odd.max(1)) {
            odd_instruction(&mut own.random);
        }
    }
}

/// Defines a function that makes the call in the registers it is given, by one instruction, and returns the registers in them.
macro_rules! door {
    ($name:ident, $instruction:literal) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(registers: &mut Registers) {
            naked_asm!(
                "push rbx",
                "push rbp",
                "push r12",
                "push r13",
                "push r14",
                "push r15",
                "push rdi",
                "mov rax, [rdi]",
                "mov rdx, [rdi + 16]",
                "mov rbx, [rdi + 24]",
                "mov rbp, [rdi + 40]",
                "mov rsi, [rdi + 48]",
                "mov r8, [rdi + 64]",
                "mov r9, [rdi + 72]",
                "mov r10, [rdi + 80]",
                "mov r12, [rdi + 96]",
                "mov r13, [rdi + 104]",
                "mov r14, [rdi + 112]",
                "mov r15, [rdi + 120]",
                "mov rdi, [rdi + 56]",
                $instruction,
                "xchg rdi, [rsp]",
                "mov [rdi], rax",
                "mov [rdi + 16], rdx",
                "mov [rdi + 24], rbx",
                "mov [rdi + 40], rbp",
                "mov [rdi + 48], rsi",
                "mov [rdi + 64], r8",
                "mov [rdi + 72], r9",
                "mov [rdi + 80], r10",
                "mov [rdi + 120], r15",
                "pop rax",
                "mov [rdi + 56], rax",
                "pop r15",
                "pop r14",
                "pop r13",
                "pop r12",
                "pop rbp",
                "pop rbx",
                "ret",
            )
        }
    };
}

door!(native_call, "syscall");
door!(machine_call, "vmcall");

/// Defines functions of one or a few instructions each, with a random number in RAX, another in RDX and a port or register in RCX.
macro_rules! odd_instructions {
    ($($($line:literal),+;)+) => {
        /// How many there are.
        const ODD: u64 = [$(concat!($($line),+)),+].len() as u64;

        /// Executes one of them. Most do not come back.
        #[inline(never)]
        fn odd_instruction(random: &mut Random) {
            let words = [random.word(), random.word(), random.word()];
            let which = (words[0] >> 32) % ODD;
            let mut number = 0;
            $(
                if which == number {
                    // SAFETY: whatever they do, they do it to the child, all of whose threads may be lost.
                    unsafe {
                        asm!(
                            "push rbx", $($line,)+ "pop rbx",
                            inout("rax") words[0] & words[1] => _, inout("rdx") words[1] => _, inout("rcx") words[2] & 0xfff => _,
                            clobber_abi("sysv64"),
                        );
                    }
                }
                number += 1;
            )+
            let _ = number;
        }
    };
}

odd_instructions! {
    "ud2";
    "int3";
    "int 0x80";
    "int 4";
    "int 0x30";
    "int 0xe0";
    "hlt";
    "cli";
    "sti";
    "in al, dx";
    "out dx, al";
    "mov edx, 0xcf8", "out dx, eax";
    "mov edx, 0x64", "in al, dx";
    "rdmsr";
    "wrmsr";
    "mov ecx, 0xc0000080", "rdmsr";
    "mov ecx, 0xc0000082", "wrmsr";
    "mov ecx, 0x800", "rdmsr";
    "mov ecx, 0x830", "wrmsr";
    "mov rax, cr0", "mov rax, cr4";
    "mov cr0, rax";
    "mov cr3, rax";
    "mov cr4, rax";
    "mov cr8, rax";
    "mov dr7, rax";
    "mov dr0, rdx";
    "mov eax, 10", "xor edi, edi", "vmcall";
    "vmcall";
    "syscall";
    "vmxon [rsp]";
    "vmclear [rsp]";
    "vmptrld [rsp]";
    "vmread rax, rdx";
    "vmwrite rax, rdx";
    "vmlaunch";
    "vmresume";
    "vmxoff";
    "invept rax, [rsp]";
    "invvpid rax, [rsp]";
    "mov eax, 0", "vmfunc";
    "xor ecx, ecx", "div ecx";
    "mov rax, [rdx]";
    "mov [rdx], rax";
    "mov eax, edx", "and eax, 0xffffff", "mov [rax], rdx";
    "mov eax, edx", "and eax, 0xffffff", "mov rax, [rax]";
    "mov rdx, 0xffff800000100000", "mov rax, [rdx]";
    "mov rdx, 0xffffffff80100000", "mov [rdx], rax";
    "jmp rdx";
    "mov eax, edx", "and eax, 0xffffff", "jmp rax";
    "push rdx", "popfq";
    "pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop";
    "pushfq", "or qword ptr [rsp], 0x40000", "popfq", "mov rax, [rsp + 1]";
    "mov fs, edx";
    "mov gs, eax";
    "mov ss, edx";
    "mov ds, eax";
    "xor ecx, ecx", "xsetbv";
    "xor ecx, ecx", "xgetbv";
    "cpuid";
    "mov eax, ecx", "and eax, 31", "mov ecx, edx", "and ecx, 7", "cpuid";
    "rdtsc";
    "rdtscp";
    "rdpmc";
    "pause";
    "sysenter";
    "sysexit";
    "sysretq";
    "wbinvd";
    "invd";
    "invlpg [rdx]";
    "invpcid rax, [rsp]";
    "lgdt [rsp]";
    "lidt [rsp]";
    "lldt ax";
    "ltr ax";
    "lmsw ax";
    "clts";
    "swapgs";
    "iretq";
    "retfq";
    "xor ecx, ecx", "xor edx, edx", "mov rax, rsp", "monitor", "xor eax, eax", "mwait";
    "movq xmm0, rax", "paddq xmm0, xmm0";
    "fninit", "fld1";
    "ldmxcsr [rsp]";
    "xor edx, edx", "mov eax, 7", "mov rbx, rsp", "and rsp, -64", "sub rsp, 1024", "xrstor [rsp]", "mov rsp, rbx";
    "mov rsp, rdx", "push rax";
    "mov rsp, rax", "ud2";
    "wrfsbase rax";
    "wrgsbase rdx";
    "rdrand rax";
    "ins byte ptr [rdi], dx";
    "outs dx, byte ptr [rsi]";
    "getsec";
    "rsm";
    "mov ecx, 100000", "3: dec ecx", "jnz 3b";
}
