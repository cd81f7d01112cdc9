//! The world switch: from a VM exit to one Rust call, and from what it returns to the next VM entry.
//!
//! The processor block holds the monitor's stack and, above it, the [`Cpu`], whose first words are the kernel's
//! general registers. A VM exit of the kernel pushes them into place; a VM exit of a virtual CPU stores its registers
//! straight into its state page. After either, the same code enters what the handler returned.
//!
//! ```text
//! stack ... | registers[15]    | current            | rest of Cpu
//!           ^ RSP at an exit   ^ RSP at an exit
//!             of a virtual CPU   of the kernel
//! ```

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, offset_of};
use core::ptr;

use crate::cpu::Cpu;
use crate::vmx::host::Landing;
use crate::{kernel, virtual_cpu};

const STACK: usize = 32 << 10;

/// Positions of the kernel's registers in [`Cpu::registers`]: the order of their encoding, without RSP.
pub mod kernel_register {
    #![allow(missing_docs)]
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSI: usize = 5;
    pub const RDI: usize = 6;
    pub const R8: usize = 7;
    pub const R10: usize = 9;
}

/// What the next VM entry enters.
#[repr(C)]
#[derive(Debug)]
pub struct Next {
    /// The general registers in the state page of a virtual CPU; null for the kernel.
    registers: *mut u64,
    /// 0 if the virtual CPU's VMCS was not launched yet.
    launched: u64,
}

impl Next {
    /// The kernel.
    pub const KERNEL: Self = Self { registers: ptr::null_mut(), launched: 1 };

    /// A virtual CPU with these registers. Its VMCS must be current and complete: so only `virtual_cpu` calls this.
    pub fn virtual_cpu(registers: &mut [u64; 16], launched: bool) -> Self {
        Self { registers: registers.as_mut_ptr(), launched: u64::from(launched) }
    }
}

#[repr(C, align(4096))]
struct Block {
    stack: UnsafeCell<[u8; STACK]>,
    cpu: UnsafeCell<MaybeUninit<Cpu>>,
}

// SAFETY: one processor uses the block; `start` and the exit code below hand out the only reference to the Cpu.
unsafe impl Sync for Block {}

static BLOCK: Block = Block { stack: UnsafeCell::new([0; STACK]), cpu: UnsafeCell::new(MaybeUninit::uninit()) };

const _: () =
    assert!(offset_of!(Cpu, registers) == 0 && offset_of!(Cpu, current) == CURRENT && align_of::<Cpu>() >= 16);
const CURRENT: usize = 15 * 8;

/// Where exits of the kernel land.
pub fn kernel_landing() -> Landing {
    Landing { stack: BLOCK.cpu.get() as u64 + CURRENT as u64, code: kernel_exit as *const () as u64 }
}

/// Where exits of virtual CPUs land.
pub fn virtual_cpu_landing() -> Landing {
    Landing { stack: BLOCK.cpu.get() as u64, code: virtual_cpu_exit as *const () as u64 }
}

macro_rules! load_kernel {
    ($entry:literal) => {
        naked_asm!(
            "mov rsp, rdi",
            "pop rax", "pop rcx", "pop rdx", "pop rbx", "pop rbp", "pop rsi", "pop rdi",
            "pop r8", "pop r9", "pop r10", "pop r11", "pop r12", "pop r13", "pop r14", "pop r15",
            $entry,
            "jmp {failed}",
            failed = sym kernel_entry_failed,
        )
    };
}

/// Enters the kernel for the first time, with the registers in `cpu`; the current VMCS is the kernel's. From here on
/// the monitor runs only in VM exits.
///
/// # Safety
/// Called once; the current VMCS is complete, with [`kernel_landing`] as its host state.
pub unsafe fn start(cpu: Cpu) -> ! {
    let place = BLOCK.cpu.get();
    // SAFETY: nothing else uses the block yet; the caller's promise for the entry.
    unsafe {
        place.write(MaybeUninit::new(cpu));
        launch(place.cast())
    }
}

/// Loads the kernel's registers and launches it.
#[unsafe(naked)]
unsafe extern "sysv64" fn launch(cpu: *mut Cpu) -> ! {
    load_kernel!("vmlaunch")
}

/// Loads the kernel's registers and resumes it.
#[unsafe(naked)]
unsafe extern "sysv64" fn resume_kernel(cpu: *mut Cpu) -> ! {
    load_kernel!("vmresume")
}

/// A VM exit of the kernel.
#[unsafe(naked)]
unsafe extern "sysv64" fn kernel_exit() -> ! {
    naked_asm!(
        "push r15", "push r14", "push r13", "push r12", "push r11", "push r10", "push r9", "push r8",
        "push rdi", "push rsi", "push rbp", "push rbx", "push rdx", "push rcx", "push rax",
        "mov rdi, rsp",
        "call {handler}",
        "test rax, rax",
        "jnz {enter}",
        "pop rax", "pop rcx", "pop rdx", "pop rbx", "pop rbp", "pop rsi", "pop rdi",
        "pop r8", "pop r9", "pop r10", "pop r11", "pop r12", "pop r13", "pop r14", "pop r15",
        "vmresume",
        "jmp {failed}",
        handler = sym kernel::exit,
        enter = sym enter,
        failed = sym kernel_entry_failed,
    )
}

/// A VM exit of a virtual CPU.
#[unsafe(naked)]
unsafe extern "sysv64" fn virtual_cpu_exit() -> ! {
    naked_asm!(
        "push rdi",
        "mov rdi, [rsp + 8 + {current}]",
        "mov [rdi], rax",
        "mov [rdi + 8], rcx",
        "mov [rdi + 16], rdx",
        "mov [rdi + 24], rbx",
        "mov [rdi + 40], rbp",
        "mov [rdi + 48], rsi",
        "mov [rdi + 64], r8",
        "mov [rdi + 72], r9",
        "mov [rdi + 80], r10",
        "mov [rdi + 88], r11",
        "mov [rdi + 96], r12",
        "mov [rdi + 104], r13",
        "mov [rdi + 112], r14",
        "mov [rdi + 120], r15",
        "pop qword ptr [rdi + 56]",
        "mov rdi, rsp",
        "call {handler}",
        "test rax, rax",
        "jnz {enter}",
        "pop rax", "pop rcx", "pop rdx", "pop rbx", "pop rbp", "pop rsi", "pop rdi",
        "pop r8", "pop r9", "pop r10", "pop r11", "pop r12", "pop r13", "pop r14", "pop r15",
        "vmresume",
        "jmp {failed}",
        current = const CURRENT,
        handler = sym virtual_cpu::exit::handle,
        enter = sym enter,
        failed = sym kernel_entry_failed,
    )
}

/// Enters the virtual CPU that RAX and RDX, a [`Next`], name. RSP is the address of the Cpu, as after either exit.
#[unsafe(naked)]
unsafe extern "sysv64" fn enter() -> ! {
    naked_asm!(
        // No instruction from the test to the jump changes the flags.
        "mov [rsp + {current}], rax",
        "test rdx, rdx",
        "mov rcx, [rax + 8]",
        "mov rdx, [rax + 16]",
        "mov rbx, [rax + 24]",
        "mov rbp, [rax + 40]",
        "mov rsi, [rax + 48]",
        "mov rdi, [rax + 56]",
        "mov r8, [rax + 64]",
        "mov r9, [rax + 72]",
        "mov r10, [rax + 80]",
        "mov r11, [rax + 88]",
        "mov r12, [rax + 96]",
        "mov r13, [rax + 104]",
        "mov r14, [rax + 112]",
        "mov r15, [rax + 120]",
        "mov rax, [rax]",
        "jz 3f",
        "vmresume",
        "jmp 4f",
        "3:",
        "vmlaunch",
        // The entry failed before it loaded anything: the guest's registers are in its state page still.
        "4:",
        "mov rdi, rsp",
        "call {failed}",
        // It returns the kernel.
        "mov rdi, rsp",
        "jmp {resume}",
        current = const CURRENT,
        failed = sym virtual_cpu::exit::entry_failed,
        resume = sym resume_kernel,
    )
}

/// The kernel's entry failed: its registers were popped, so RSP is at the end of them.
#[unsafe(naked)]
unsafe extern "sysv64" fn kernel_entry_failed() -> ! {
    naked_asm!(
        "sub rsp, {registers}",
        "mov rdi, rsp",
        "call {failed}",
        "ud2",
        registers = const CURRENT,
        failed = sym kernel::entry_failed,
    )
}
