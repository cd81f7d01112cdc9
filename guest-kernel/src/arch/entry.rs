//! Entry to and exit from the kernel.
//!
//! On entry from ring 3, by `SYSCALL` or by an interrupt, the registers are stored straight into the running thread's
//! [`Registers`]: the stack pointer of the entry is the end of that structure. The one kernel stack begins anew at each entry.
//! Interrupts in ring 0 (which happen only where the kernel waits for them) are recorded in [`take_pending`].

use super::{apic, cpu, descriptor, lock};
use core::arch::{asm, global_asm, naked_asm};
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};
use protocols::api::{Call, Status};
use protocols::virtual_cpu::register::{RAX, RDI};

/// A native thread's registers as the entry code stores them.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct Registers {
    /// What `thread_self` returns.
    pub self_address: u64,
    /// General registers in the order of their encoding; the place of RSP is unused. After a system call RCX and R11 are
    /// undefined, so those of an earlier entry stand there.
    pub gpr: [u64; 16],
    /// What led to the kernel: an interrupt vector, or [`SYSTEM_CALL`].
    pub vector: u64,
    /// Error code of an exception.
    pub error: u64,
    /// Instruction pointer.
    pub rip: u64,
    cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    ss: u64,
}

const _: () = assert!(size_of::<Registers>() == SIZE);
const SIZE: usize = 192;

/// [`Registers::vector`] of a system call. Registers that carry it leave the kernel by `SYSRET`, all others by `IRETQ`.
pub const SYSTEM_CALL: u64 = 256;
/// [`Registers::vector`] of registers that were set, not stored: all of them count.
pub const WHOLE: u64 = 257;

const USER_FLAGS: u64 = 0x25_0dd5;
const FIXED_FLAGS: u64 = 0x202;

impl Registers {
    /// Registers of a thread that has not run yet.
    pub const fn new() -> Self {
        Self {
            self_address: 0,
            gpr: [0; 16],
            vector: WHOLE,
            error: 0,
            rip: 0,
            cs: descriptor::USER_CODE as u64,
            rflags: FIXED_FLAGS,
            rsp: 0,
            ss: descriptor::USER_DATA as u64,
        }
    }

    /// Sets the flags, those that ring 3 may choose.
    pub fn set_flags(&mut self, flags: u64) {
        self.rflags = flags & USER_FLAGS | FIXED_FLAGS;
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}

const STACK_SIZE: usize = 64 << 10;

#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);
// SAFETY: only the CPU's stack pointer refers to the bytes.
unsafe impl Sync for Stack {}

static KERNEL_STACK: Stack = Stack(UnsafeCell::new([0; STACK_SIZE]));
static FAULT_STACK: Stack = Stack(UnsafeCell::new([0; STACK_SIZE]));

/// Where a system call leaves the stack pointer of ring 3 while the entry code has no register for it.
static USER_STACK: AtomicU64 = AtomicU64::new(0);

/// Interrupt vectors taken in ring 0 and not looked at yet, from vector 32 on: one bit each.
static PENDING: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// Where the registers lie that ring 3 goes on with. A thread's registers stay where they are while the thread exists.
#[derive(Clone, Copy, Debug)]
pub struct Resume {
    /// Those of the thread.
    thread: u64,
    /// Those that the eight words of a message are taken from, after a system call.
    message: u64,
}

impl Resume {
    /// A thread with all of its registers.
    #[inline]
    pub fn thread(registers: &Registers) -> Self {
        Self::with_message(registers, registers)
    }

    /// A thread in a system call, with the words of a message from `source`.
    #[inline]
    pub fn with_message(registers: &Registers, source: &Registers) -> Self {
        Self { thread: core::ptr::from_ref(registers) as u64, message: core::ptr::from_ref(source) as u64 }
    }

    /// Goes on in ring 3. The next entry stores the registers of the same thread; the stack is given up.
    #[inline(always)]
    fn leave(self) -> ! {
        descriptor::set_entry_stack(self.thread + SIZE as u64);
        // SAFETY: both addresses are of `Registers` of existing threads. Nothing on the stack is needed any more: it
        // begins anew at the next entry.
        unsafe {
            asm!("jmp {leave}", leave = sym leave_kernel, in("rax") self.thread, in("rcx") self.message, options(noreturn))
        }
    }
}

/// The address that `SYSCALL` enters at.
pub fn system_call_address() -> u64 {
    system_call_entry as *const () as u64
}

/// The address of the stub for an interrupt vector.
pub fn stub(vector: usize) -> u64 {
    unsafe extern "C" {
        static interrupt_stubs: u8;
    }
    (&raw const interrupt_stubs) as u64 + vector as u64 * 16
}

/// The top of the stack for faults that cannot trust the present one.
pub fn fault_stack() -> u64 {
    FAULT_STACK.0.get() as u64 + STACK_SIZE as u64
}

/// Takes one interrupt vector that arrived in ring 0.
pub fn take_pending() -> Option<u8> {
    for (word, bits) in PENDING.iter().enumerate() {
        let value = bits.load(Ordering::Relaxed);
        if value != 0 {
            let bit = value.trailing_zeros();
            bits.store(value & (value - 1), Ordering::Relaxed);
            return Some((word * 64) as u8 + bit as u8);
        }
    }
    None
}

/// The kernel's entry point, called by the monitor as `boot_info` describes.
#[cfg(target_os = "none")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "lea rsp, [rip + {stack} + {size}]",
        "xor ebp, ebp",
        "call {start}",
        stack = sym KERNEL_STACK, size = const STACK_SIZE, start = sym start,
    )
}

/// Called once: brings the kernel up and starts the first thread.
#[cfg_attr(not(target_os = "none"), allow(dead_code))]
extern "C" fn start(boot_info: u64) -> ! {
    lock::install(crate::boot::start(boot_info));
    let resume = lock::kernel().next_native();
    resume.leave()
}

/// Called at every system call, with the running thread's registers.
extern "C" fn system_call(registers: &mut Registers) -> ! {
    if registers.gpr[RAX] == Call::ThreadSelf as u64 {
        registers.gpr[RDI] = registers.self_address;
        registers.gpr[RAX] = Status::Ok as u64;
        Resume::thread(registers).leave()
    }
    let resume = lock::kernel().system_call();
    resume.leave()
}

/// Called at every other entry from ring 3.
extern "C" fn interrupt() -> ! {
    let resume = lock::kernel().interrupted();
    resume.leave()
}

/// The registers lie below the stack pointer that the task state gives. RCX and R11 hold RIP and RFLAGS.
#[unsafe(naked)]
unsafe extern "C" fn system_call_entry() {
    naked_asm!(
        "mov [rip + {user_stack}], rsp",
        "mov rsp, [rip + {tables} + {entry_stack}]",
        "mov [rsp - {size} + {rip}], rcx",
        "mov rcx, [rip + {user_stack}]",
        "mov [rsp - {size} + {rflags}], r11",
        "mov [rsp - {size} + {rsp}], rcx",
        "mov dword ptr [rsp - {size} + {vector}], {system_call_vector}",
        "mov [rsp - {size} + 8], rax",
        "mov [rsp - {size} + 24], rdx",
        "mov [rsp - {size} + 32], rbx",
        "mov [rsp - {size} + 48], rbp",
        "mov [rsp - {size} + 56], rsi",
        "mov [rsp - {size} + 64], rdi",
        "mov [rsp - {size} + 72], r8",
        "mov [rsp - {size} + 80], r9",
        "mov [rsp - {size} + 88], r10",
        "mov [rsp - {size} + 104], r12",
        "mov [rsp - {size} + 112], r13",
        "mov [rsp - {size} + 120], r14",
        "mov [rsp - {size} + 128], r15",
        "lea rdi, [rsp - {size}]",
        "lea rsp, [rip + {stack} + {stack_size}]",
        "call {system_call}",
        user_stack = sym USER_STACK, tables = sym descriptor::TABLES, entry_stack = const descriptor::ENTRY_STACK,
        size = const SIZE, rip = const offset_of!(Registers, rip), rflags = const offset_of!(Registers, rflags),
        rsp = const offset_of!(Registers, rsp), vector = const offset_of!(Registers, vector),
        system_call_vector = const SYSTEM_CALL, stack = sym KERNEL_STACK, stack_size = const STACK_SIZE,
        system_call = sym system_call,
    )
}

/// Stores the rest of the registers; the processor and the stub have pushed those from the vector on.
#[unsafe(naked)]
unsafe extern "C" fn store_and_enter() {
    naked_asm!(
        "push r15", "push r14", "push r13", "push r12", "push r11", "push r10", "push r9", "push r8",
        "push rdi", "push rsi", "push rbp", "push rsp", "push rbx", "push rdx", "push rcx", "push rax",
        "lea rsp, [rip + {stack} + {size}]",
        // Interrupt gates leave the direction flag as ring 3 had it.
        "cld",
        "call {interrupt}",
        stack = sym KERNEL_STACK, size = const STACK_SIZE, interrupt = sym interrupt,
    )
}

/// RAX: the address of the [`Registers`] to load; RCX: of those that the words of a message are loaded from, after a
/// system call.
#[unsafe(naked)]
unsafe extern "C" fn leave_kernel() -> ! {
    naked_asm!(
        "cmp dword ptr [rax + {vector}], {system_call_vector}",
        "jne 2f",
        "mov rdx, [rcx + 24]",
        "mov rbx, [rax + 32]",
        "mov rbp, [rax + 48]",
        "mov rsi, [rcx + 56]",
        "mov rdi, [rax + 64]",
        "mov r8, [rcx + 72]",
        "mov r9, [rcx + 80]",
        "mov r10, [rcx + 88]",
        "mov r12, [rcx + 104]",
        "mov r13, [rcx + 112]",
        "mov r14, [rcx + 120]",
        "mov r15, [rax + 128]",
        "mov rcx, [rax + {rip}]",
        "mov r11, [rax + {rflags}]",
        "mov rsp, [rax + {rsp}]",
        "mov rax, [rax + 8]",
        "sysretq",
        "2: lea rsp, [rax + 8]",
        "pop rax", "pop rcx", "pop rdx", "pop rbx", "lea rsp, [rsp + 8]", "pop rbp", "pop rsi", "pop rdi",
        "pop r8", "pop r9", "pop r10", "pop r11", "pop r12", "pop r13", "pop r14", "pop r15",
        "add rsp, 16",
        "iretq",
        vector = const offset_of!(Registers, vector), system_call_vector = const SYSTEM_CALL,
        rip = const offset_of!(Registers, rip), rflags = const offset_of!(Registers, rflags),
        rsp = const offset_of!(Registers, rsp),
    )
}

global_asm!(
    ".balign 16",
    ".global interrupt_stubs",
    "interrupt_stubs:",
    ".set vector, 0",
    ".rept 256",
    ".balign 16",
    // Vectors whose exceptions push an error code (Intel SDM vol. 3A, table 6-1).
    ".if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21)",
    ".else",
    "push 0",
    ".endif",
    "push vector",
    ".if (vector == 2) || (vector == 8) || (vector == 18)",
    "jmp {fault}",
    ".else",
    "jmp {common}",
    ".endif",
    ".set vector, vector + 1",
    ".endr",
    fault = sym ring0_interrupt, common = sym interrupt_entry,
);

#[unsafe(naked)]
unsafe extern "C" fn interrupt_entry() {
    naked_asm!(
        "test byte ptr [rsp + 24], 3",
        "jnz {store}",
        "jmp {ring0}",
        store = sym store_and_enter, ring0 = sym ring0_interrupt,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn ring0_interrupt() {
    naked_asm!(
        "push rax", "push rcx", "push rdx", "push rsi", "push rdi", "push r8", "push r9", "push r10", "push r11", "push rbp",
        "mov rbp, rsp",
        "lea rdi, [rsp + 80]",
        "and rsp, -16",
        "call {handler}",
        "mov rsp, rbp",
        "pop rbp", "pop r11", "pop r10", "pop r9", "pop r8", "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rax",
        "add rsp, 16",
        "iretq",
        handler = sym interrupt_in_kernel,
    )
}

/// The part of an interrupt frame that the handler looks at.
#[repr(C)]
struct InterruptFrame {
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

extern "C" fn interrupt_in_kernel(frame: &InterruptFrame) {
    match frame.vector {
        2 => log::warn!("NMI"),
        32.. => {
            let vector = frame.vector as usize;
            PENDING[vector / 64].fetch_or(1 << (vector % 64), Ordering::Relaxed);
            apic::end_of_interrupt(vector as u8);
        }
        18 => crate::stop(format_args!("machine check")),
        vector => crate::stop(format_args!(
            "exception {vector} in the kernel, error {:#x}, at {:#x}, stack {:#x}, address {:#x}",
            frame.error,
            frame.rip,
            frame.rsp,
            cpu::fault_address(),
        )),
    }
}
