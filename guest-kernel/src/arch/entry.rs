//! Entry to and exit from the kernel.
//!
//! On entry from ring 3, by `SYSCALL` or by an interrupt, the registers are stored straight into the running thread's
//! [`Registers`]: the stack pointer of the entry is the end of that structure. The one kernel stack begins anew at each entry.
//! Interrupts in ring 0 (which happen only where the kernel waits for them) are recorded in [`take_pending`].

use super::{apic, cpu, debug, descriptor, lock, user_copy};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::objects::Portset;
use crate::thread::Thread;
use core::arch::{asm, global_asm, naked_asm};
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};
use protocols::api::{Call, Status};
use protocols::native_thread::{FIXED_FLAGS, FLAGS, Redirection};
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
const _: () = assert!(Call::ThreadGetState as u64 | 1 == Call::ThreadSetState as u64);
// A system call that receives a message ends with this status: the exit code loads it.
const _: () = assert!(Status::Ok as u64 == 0);

/// [`Registers::vector`] of a system call. Registers that carry it leave the kernel by `SYSRET`, all others by `IRETQ`.
pub const SYSTEM_CALL: u64 = 256;
/// [`Registers::vector`] of registers that were set, not stored: all of them count.
pub const WHOLE: u64 = 257;

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

    /// Makes all of them count, those that a system call leaves undefined too.
    pub fn make_whole(&mut self) {
        self.vector = WHOLE;
    }

    /// Makes the instruction at RIP execute although there is a breakpoint.
    pub fn resume_over_breakpoint(&mut self) {
        const RESUME: u64 = 1 << 16;
        self.rflags |= RESUME;
    }

    /// Sets the flags with which handlers begin: no trap, upwards.
    pub fn set_handler_flags(&mut self) {
        const TRAP_DIRECTION_RESUME: u64 = 1 << 8 | 1 << 10 | 1 << 16;
        self.rflags &= !TRAP_DIRECTION_RESUME;
    }

    /// Sets the flags, those that ring 3 may choose.
    pub fn set_flags(&mut self, flags: u64) {
        self.rflags = flags & FLAGS | FIXED_FLAGS;
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
static DEBUG_STACK: Stack = Stack(UnsafeCell::new([0; STACK_SIZE]));

/// Where a system call leaves the stack pointer of ring 3 while the entry code has no register for it.
static USER_STACK: AtomicU64 = AtomicU64::new(0);

/// Where an entry leaves RAX of ring 3 while it needs a register.
static USER_RAX: AtomicU64 = AtomicU64::new(0);

/// Interrupt vectors taken in ring 0 and not looked at yet, from vector 32 on: one bit each.
static PENDING: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// With which registers ring 3 goes on. Those of a thread stay where they are while the thread exists.
#[derive(Clone, Copy, Debug)]
pub enum Resume {
    /// With the [`Registers`] at this address.
    Thread(u64),
    /// As the end of a system call that has received a message.
    Message {
        /// The thread's [`Registers`].
        thread: u64,
        /// The [`Registers`] that hold the eight words.
        words: u64,
        /// RDI.
        rdi: u64,
        /// R15.
        r15: u64,
    },
}

impl Resume {
    /// A thread with all of its registers.
    #[inline]
    pub fn thread(registers: &Registers) -> Self {
        Self::Thread(core::ptr::from_ref(registers) as u64)
    }

    /// A thread that was in a system call, which succeeds now: with the words of a message from `source`, with `rdi`
    /// and with `r15`.
    #[inline]
    pub fn with_message(registers: &Registers, source: &Registers, rdi: u64, r15: u64) -> Self {
        let (thread, words) = (core::ptr::from_ref(registers) as u64, core::ptr::from_ref(source) as u64);
        Self::Message { thread, words, rdi, r15 }
    }

    /// Goes on in ring 3. The next entry stores the registers of the same thread; the stack is given up.
    #[inline(always)]
    fn leave(self) -> ! {
        match self {
            Self::Thread(thread) => {
                descriptor::set_entry_stack(thread + SIZE as u64);
                // SAFETY: these are the registers of an existing thread. Nothing on the stack is needed any more: it
                // begins anew at the next entry.
                unsafe { asm!("jmp {leave}", leave = sym leave_kernel, in("rax") thread, options(noreturn)) }
            }
            Self::Message { thread, words, rdi, r15 } => {
                descriptor::set_entry_stack(thread + SIZE as u64);
                // SAFETY: as above, for both.
                unsafe {
                    asm!(
                        "jmp {leave}", leave = sym leave_with_message,
                        in("rax") thread, in("rcx") words, in("rdi") rdi, in("r15") r15, options(noreturn),
                    )
                }
            }
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

/// The top of the stack for debug exceptions.
pub fn debug_stack() -> u64 {
    DEBUG_STACK.0.get() as u64 + STACK_SIZE as u64
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

/// Notes an interrupt vector as if it had arrived in ring 0.
#[cfg(test)]
pub fn pend(vector: u8) {
    PENDING[vector as usize / 64].fetch_or(1 << (vector % 64), Ordering::Relaxed);
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
    let mut kernel = lock::kernel();
    if let Some(resume) = kernel.fast_path() {
        drop(kernel);
        resume.leave()
    }
    let number = kernel.number_of_call().map_or(0, apart);
    if number == Call::ThreadSchedule as u64 {
        schedule_call(kernel)
    }
    if number == Call::ThreadGetState as u64 {
        get_state_call(kernel)
    }
    if number == Call::ThreadSetState as u64 {
        set_state_call(kernel)
    }
    if number == Call::IpcSend as u64 {
        send_call(kernel)
    }
    general_system_call(&mut kernel)
}

/// A reply that may be to a thread that waits for memory, found by [`Kernel::fast_path`], which needs no registers saved to have
/// it performed elsewhere: this does not return.
#[inline(never)]
pub fn fault_reply(kernel: &mut Kernel, client: Id<Thread>, portset: Id<Portset>) -> ! {
    kernel.fast_supply(client, portset);
    let resume = kernel.general_call();
    leave(kernel, resume)
}

/// Leaves the kernel from wherever its state is borrowed.
#[inline(always)]
pub fn leave(kernel: &mut Kernel, resume: Resume) -> ! {
    let _ = kernel;
    #[cfg(test)]
    std::panic::resume_unwind(std::boxed::Box::new(Left(resume)));
    #[cfg(not(test))]
    {
        // SAFETY: the state was borrowed through the lock, for this entry, and by nobody else; this is the end of the
        // borrow, since nothing on the stack is used any more.
        unsafe { lock::release() };
        resume.leave()
    }
}

/// What a test unwinds with from where the kernel is left.
#[cfg(test)]
struct Left(#[allow(dead_code)] Resume);

/// Runs part of the kernel that may leave it; whether it has returned instead.
#[cfg(test)]
pub fn returns(part: impl FnOnce()) -> bool {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(part)) {
        Ok(()) => true,
        Err(cause) if cause.is::<Left>() => false,
        Err(cause) => std::panic::resume_unwind(cause),
    }
}

/// `number`, as something that the compiler knows nothing of. It would make one jump table of all tests before and after, which takes
/// the calls that are tested first longer.
#[inline(always)]
fn apart(mut number: u64) -> u64 {
    // SAFETY: there are no instructions.
    unsafe { asm!("/* {} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags)) };
    number
}

/// `ipc_send`.
#[inline(never)]
fn send_call(mut kernel: lock::Locked) -> ! {
    if let Some(resume) = kernel.fast_send() {
        drop(kernel);
        resume.leave()
    }
    general_system_call(&mut kernel)
}

/// `thread_schedule`.
#[inline(never)]
fn schedule_call(mut kernel: lock::Locked) -> ! {
    if let Some(resume) = kernel.fast_schedule() {
        drop(kernel);
        resume.leave()
    }
    general_system_call(&mut kernel)
}

/// `thread_get_state`.
#[inline(never)]
fn get_state_call(mut kernel: lock::Locked) -> ! {
    if let Some(resume) = kernel.fast_get_state() {
        drop(kernel);
        resume.leave()
    }
    general_system_call(&mut kernel)
}

/// `thread_set_state`.
#[inline(never)]
fn set_state_call(mut kernel: lock::Locked) -> ! {
    if let Some(resume) = kernel.fast_set_state() {
        drop(kernel);
        resume.leave()
    }
    general_system_call(&mut kernel)
}

/// A system call that cannot be performed the short way.
#[inline(never)]
fn general_system_call(kernel: &mut Kernel) -> ! {
    let resume = kernel.system_call();
    leave(kernel, resume)
}

/// [`Kernel::load_context`], called so that the short ways, which need it seldom, have no registers to save for it.
#[inline(always)]
pub fn load_context(kernel: &mut Kernel) {
    // SAFETY: the stub keeps all registers; the reference is exclusive.
    unsafe { asm!("call {stub}", stub = sym load_context_stub, in("rdi") core::ptr::from_mut(kernel)) }
}

/// RDI: the kernel's state, which the caller borrows exclusively.
#[unsafe(naked)]
unsafe extern "C" fn load_context_stub() {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rax", "push rcx", "push rdx", "push rsi", "push rdi", "push r8", "push r9", "push r10", "push r11", "push r11",
        "and rsp, -16",
        "call {load}",
        "lea rsp, [rbp - 80]",
        "pop r11", "pop r11", "pop r10", "pop r9", "pop r8", "pop rdi", "pop rsi", "pop rdx", "pop rcx", "pop rax",
        "pop rbp",
        "ret",
        load = sym load_context_of,
    )
}

extern "C" fn load_context_of(kernel: &mut Kernel) {
    kernel.load_context();
}

/// Called at every other entry from ring 3.
extern "C" fn interrupt() -> ! {
    let resume = lock::kernel().interrupted();
    resume.leave()
}

/// The range of code whose system calls are not redirected, and where all others go. The first counts from behind the
/// SYSCALL instruction.
static REDIRECTION: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Sets how system calls are redirected, as a thread can have it. Returns the address that `SYSCALL` is to enter at.
pub fn redirect(redirection: &Redirection) -> u64 {
    const SYSCALL_LENGTH: u64 = 2;
    let values = [redirection.start + SYSCALL_LENGTH, redirection.length, redirection.handler];
    for (place, value) in REDIRECTION.iter().zip(values) {
        place.store(value, Ordering::Relaxed);
    }
    redirected_entry as *const () as u64
}

/// Where system calls of threads enter whose are redirected: from outside the range they go on in the handler, with all
/// registers as SYSCALL leaves them. Nothing else is on the kernel's stack then.
#[unsafe(naked)]
unsafe extern "C" fn redirected_entry() {
    naked_asm!(
        "mov [rip + {user_rax}], rax",
        "mov rax, rcx",
        "sub rax, [rip + {redirection}]",
        "cmp rax, [rip + {redirection} + 8]",
        "mov rax, [rip + {user_rax}]",
        "jb {call}",
        "mov [rip + {user_stack}], rsp",
        "lea rsp, [rip + {stack} + {stack_size}]",
        "push {user_data}",
        "push [rip + {user_stack}]",
        "push r11",
        "push {user_code}",
        "push [rip + {redirection} + 16]",
        "iretq",
        user_rax = sym USER_RAX, redirection = sym REDIRECTION, call = sym system_call_entry, user_stack = sym USER_STACK,
        stack = sym KERNEL_STACK, stack_size = const STACK_SIZE, user_data = const descriptor::USER_DATA,
        user_code = const descriptor::USER_CODE,
    )
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

/// The end of a system call: loads what it keeps, the words of a message from `[$words]` and the rest from `[rax]`, which
/// is left to load RAX from.
macro_rules! return_from_system_call {
    ([$($first:literal),*], $words:literal, $last:literal, [$($symbol:tt)*]) => {
        naked_asm!(
            $($first,)*
            concat!("mov rdx, [", $words, " + 24]"),
            concat!("mov rsi, [", $words, " + 56]"),
            concat!("mov r8, [", $words, " + 72]"),
            concat!("mov r9, [", $words, " + 80]"),
            concat!("mov r10, [", $words, " + 88]"),
            concat!("mov r12, [", $words, " + 104]"),
            concat!("mov r13, [", $words, " + 112]"),
            concat!("mov r14, [", $words, " + 120]"),
            "mov rbx, [rax + 32]",
            "mov rbp, [rax + 48]",
            "mov rcx, [rax + {rip}]",
            "mov r11, [rax + {rflags}]",
            "mov rsp, [rax + {rsp}]",
            $last,
            "sysretq",
            rip = const offset_of!(Registers, rip), rflags = const offset_of!(Registers, rflags),
            rsp = const offset_of!(Registers, rsp),
            $($symbol)*
        )
    };
}

/// RAX: the address of the [`Registers`] to load.
#[unsafe(naked)]
unsafe extern "C" fn leave_kernel() -> ! {
    return_from_system_call!(
        ["cmp dword ptr [rax + {vector}], {system_call}", "jne {all}", "mov rdi, [rax + 64]", "mov r15, [rax + 128]"],
        "rax",
        "mov rax, [rax + 8]",
        [vector = const offset_of!(Registers, vector), system_call = const SYSTEM_CALL, all = sym leave_with_all]
    )
}

/// RAX: the address of the [`Registers`] of a thread in a system call, RCX: of those that hold the words of a message. RDI and R15
/// are as they are to be.
#[unsafe(naked)]
unsafe extern "C" fn leave_with_message() -> ! {
    return_from_system_call!([], "rcx", "xor eax, eax", [])
}

/// RAX: the address of the [`Registers`] to load, all of them.
#[unsafe(naked)]
unsafe extern "C" fn leave_with_all() -> ! {
    naked_asm!(
        "lea rsp, [rax + 8]",
        "pop rax",
        "pop rcx",
        "pop rdx",
        "pop rbx",
        "lea rsp, [rsp + 8]",
        "pop rbp",
        "pop rsi",
        "pop rdi",
        "pop r8",
        "pop r9",
        "pop r10",
        "pop r11",
        "pop r12",
        "pop r13",
        "pop r14",
        "pop r15",
        "add rsp, 16",
        "iretq",
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
    ".elseif vector == 1",
    "jmp {debug}",
    ".else",
    "jmp {common}",
    ".endif",
    ".set vector, vector + 1",
    ".endr",
    fault = sym ring0_interrupt, debug = sym debug_entry, common = sym interrupt_entry,
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

/// A debug exception, on its own stack: one from ring 3 goes on as if it had come where all others do.
#[unsafe(naked)]
unsafe extern "C" fn debug_entry() {
    naked_asm!(
        "test byte ptr [rsp + 24], 3",
        "jz {ring0}",
        "mov [rip + {user_rax}], rax",
        "mov rax, rsp",
        "mov rsp, [rip + {tables} + {entry_stack}]",
        "push [rax + 48]", "push [rax + 40]", "push [rax + 32]", "push [rax + 24]",
        "push [rax + 16]", "push [rax + 8]", "push [rax]",
        "mov rax, [rip + {user_rax}]",
        "jmp {store}",
        ring0 = sym ring0_interrupt, user_rax = sym USER_RAX, tables = sym descriptor::TABLES,
        entry_stack = const descriptor::ENTRY_STACK, store = sym store_and_enter,
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

extern "C" fn interrupt_in_kernel(frame: &mut InterruptFrame) {
    const PAGE_FAULT: u64 = 14;
    if frame.vector == PAGE_FAULT
        && let Some(rip) = user_copy::after_fault(frame.rip)
    {
        frame.rip = rip;
        return;
    }
    match frame.vector {
        // A breakpoint of the running thread's, on memory that the kernel uses on its behalf.
        1 => {
            debug::take_conditions();
        }
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
