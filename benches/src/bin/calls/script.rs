//! Scripts: tables of calls that a few instructions make one after the other, again and again.
//!
//! Every call is measured by the same instructions, which load all argument registers from the table and compare what RAX
//! returns with what the table expects. The same instructions without the SYSCALL in them say what they cost themselves.
#![allow(unsafe_code)]

use core::arch::global_asm;
use protocols::api::{Call, Status};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// One call of a script.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Entry {
    rax: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    r10: u64,
    r8: u64,
    r9: u64,
    /// Stays 0: no deadline.
    r15: u64,
    /// What RDI and RSI grow by from one iteration to the next.
    step: [u64; 2],
    /// The status expected.
    status: u64,
    rbx: u64,
    rbp: u64,
    /// Words copied before the call: from, to, how many.
    copied: [u64; 3],
}

/// In [`Entry::status`]: whatever comes is right.
const ANY: u64 = u64::MAX;

/// What runs a script, as its code expects it on the stack and in memory.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Run {
    /// Address of the first entry.
    pub table: u64,
    /// How many entries there are.
    pub count: u64,
    /// How often they are run through.
    pub iterations: u64,
    /// Entries that only the first iteration makes.
    pub once: u64,
    /// The time stamp counter at the beginning and at the end.
    pub ticks: [u64; 2],
    /// The number, from 1 on, of the entry whose status was wrong, and that status.
    pub wrong: [u64; 2],
}

macro_rules! script {
    ($label:literal, $call:literal, $expected:literal) => {
        global_asm!(
            ".section .text.scripts, \"ax\"",
            ".balign 16, 0x90",
            concat!(".globl script_", $label),
            concat!("script_", $label, ":"),
            // Below RSP the entry code of the kernel touches nothing. RDI: the Run.
            "push rbx",
            "push rbp",
            "push r12",
            "push r13",
            "push r14",
            "push r15",
            "push rdi",
            "push 0",
            "push 0",
            "rdtsc",
            "shl rdx, 32",
            "or rax, rdx",
            "mov [rdi + 32], rax",
            "mov rax, [rdi]",
            "mov [rsp + 8], rax",
            "mov rax, [rdi + 8]",
            "mov [rsp], rax",
            "2: mov rdx, [rsp + 8]",
            "mov rdi, [rdx + 112]",
            "mov rsi, [rdx + 104]",
            "mov rcx, [rdx + 120]",
            "rep movsq",
            "mov rax, [rdx]",
            "mov rdi, [rdx + 8]",
            "mov rsi, [rdx + 16]",
            "mov r10, [rdx + 32]",
            "mov r8, [rdx + 40]",
            "mov r9, [rdx + 48]",
            "mov r15, [rdx + 56]",
            "mov rbx, [rdx + 88]",
            "mov rbp, [rdx + 96]",
            "mov rdx, [rdx + 24]",
            $call,
            concat!(".globl script_returned_", $label),
            concat!("script_returned_", $label, ":"),
            "mov rcx, [rsp + 8]",
            concat!("cmp rax, [rcx + ", $expected, "]"),
            "jne 4f",
            "3: mov rax, [rcx + 64]",
            "add [rcx + 8], rax",
            "mov rax, [rcx + 72]",
            "add [rcx + 16], rax",
            "sub rcx, -128",
            "mov [rsp + 8], rcx",
            "dec qword ptr [rsp]",
            "jnz 2b",
            // The next iteration, if there is one, without the entries that are made once.
            "mov rdi, [rsp + 16]",
            "mov rax, [rdi + 24]",
            "mov rcx, rax",
            "shl rcx, 7",
            "add rcx, [rdi]",
            "mov [rsp + 8], rcx",
            "mov rcx, [rdi + 8]",
            "sub rcx, rax",
            "mov [rsp], rcx",
            "dec qword ptr [rdi + 16]",
            "jnz 2b",
            "rdtsc",
            "shl rdx, 32",
            "or rax, rdx",
            "mov rdi, [rsp + 16]",
            "mov [rdi + 40], rax",
            "5: add rsp, 24",
            "pop r15",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop rbp",
            "pop rbx",
            "ret",
            "4: cmp qword ptr [rcx + 80], -1",
            "je 3b",
            "mov rdi, [rsp + 16]",
            "mov [rdi + 56], rax",
            "sub rcx, [rdi]",
            "shr rcx, 7",
            "inc rcx",
            "mov [rdi + 48], rcx",
            "jmp 5b",
            concat!(".globl script_end_", $label),
            concat!("script_end_", $label, ":"),
            ".text",
        );
    };
}

script!("calls", "syscall", "80");
script!("around", "", "0");

unsafe extern "sysv64" {
    fn script_calls(run: u64);
    fn script_around(run: u64);
}
unsafe extern "C" {
    static script_end_calls: u8;
    static script_returned_calls: u8;
}

/// What runs scripts, as position-independent code for other Spaces: entered with the address of a [`Run`] in RDI.
pub fn code() -> &'static [u8] {
    let (start, end) = (script_calls as *const () as *const u8, &raw const script_end_calls);
    // SAFETY: both symbols stand in one section that can be read, in this order, with nothing but code between.
    unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// Where a call in a script of the program itself returns to.
pub fn returned() -> u64 {
    (&raw const script_returned_calls).addr() as u64
}

/// Runs the script of the [`Run`] at `run`, or, with `around`, what stands around its calls.
///
/// # Safety
/// A Run and its table must lie there, in memory of which there are no Rust references; its calls must touch no other memory of the
/// program, nor map or run anything in it.
pub unsafe fn run(run: u64, around: bool) {
    let script = if around { script_around } else { script_calls };
    // SAFETY: the code keeps the registers that the ABI wants kept and touches the stack, the Run and the table; the calls are the
    // caller's promise.
    unsafe { script(run) }
}

impl Entry {
    /// A call that returns `Ok`.
    pub fn new(call: Call) -> Self {
        Self { rax: call as u64, ..Self::default() }
    }
    /// With arguments in RDI, RSI, RDX and R10.
    pub fn with(mut self, arguments: &[u64]) -> Self {
        let mut registers = [0; 6];
        registers[..arguments.len()].copy_from_slice(arguments);
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9] = registers;
        self
    }
    /// With RBX and RBP.
    pub fn references(mut self, rbx: u64, rbp: u64) -> Self {
        (self.rbx, self.rbp) = (rbx, rbp);
        self
    }
    /// Whose RDI and RSI grow from one iteration to the next.
    pub fn step(mut self, rdi: u64, rsi: u64) -> Self {
        self.step = [rdi, rsi];
        self
    }
    /// That returns `status`.
    pub fn returns(mut self, status: Status) -> Self {
        self.status = status as u64;
        self
    }
    /// That returns anything.
    pub fn returns_anything(mut self) -> Self {
        self.status = ANY;
        self
    }
    /// Before which `words` words are copied from one address to another.
    pub fn after_copy(mut self, from: u64, to: u64, words: u64) -> Self {
        self.copied = [from, to, words];
        self
    }
    /// The number of the call.
    pub fn number(&self) -> u64 {
        self.rax
    }
    /// The same that copies as much inside the memory at `scratch`.
    pub fn copying_within(&self, scratch: u64) -> Self {
        let [_, _, words] = self.copied;
        Self { copied: [scratch, scratch + 8 * words, words], ..*self }
    }
}
