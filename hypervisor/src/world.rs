//! The world switch: from a VM exit to one Rust function, and from there to the next VM entry.
//!
//! The host state of each VMCS makes GS point to the general registers of whoever runs: the kernel's lie in the
//! [`Cpu`], those of a virtual CPU in its state page, in the same order. So one piece of code stores them at every exit,
//! and one loads them at every entry. Rust functions that end in an entry do not return: the next exit starts at the
//! top of the monitor's stack again.
//!
//! ```text
//! stack ... | registers[16] | rest of Cpu
//!           ^ RSP at an exit
//! ```

use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, offset_of};
use core::ptr;

use protocols::address::HostPhysical;
use protocols::machine::Call;
use protocols::virtual_cpu::{VirtualCpuState, exit_reason};
use x86::vmx::vmcs;

use crate::cpu::Cpu;
use crate::vmx::host::Landing;
use crate::{kernel, virtual_cpu};

const STACK: usize = 32 << 10;

/// The general registers, in the order of [`protocols::virtual_cpu::register`]; the place of RSP is not used here.
pub type Registers = [u64; 16];

#[repr(C, align(4096))]
struct Block {
    stack: UnsafeCell<[u8; STACK]>,
    cpu: UnsafeCell<MaybeUninit<Cpu>>,
}

// SAFETY: one processor uses the block; `start` and the exit code below hand out the only reference to the Cpu.
unsafe impl Sync for Block {}

static BLOCK: Block = Block { stack: UnsafeCell::new([0; STACK]), cpu: UnsafeCell::new(MaybeUninit::uninit()) };

const _: () = assert!(offset_of!(Cpu, registers) == 0 && offset_of!(Block, cpu) == STACK && align_of::<Cpu>() >= 16);
const _: () = assert!(offset_of!(VirtualCpuState, gpr) == 0);

/// Where exits of the kernel land.
pub fn kernel_landing() -> Landing {
    landing(BLOCK.cpu.get() as u64, kernel_exit as *const () as u64)
}

/// Where exits of a virtual CPU with the state page at `state` land.
pub fn virtual_cpu_landing(state: HostPhysical) -> Landing {
    landing(state.get(), virtual_cpu_exit as *const () as u64)
}

fn landing(registers: u64, code: u64) -> Landing {
    // As after a call, RSP is 8 below a multiple of 16.
    Landing { stack: BLOCK.cpu.get() as u64 - 8, code, registers }
}

/// Stores the general registers and goes to `$handler`, whose argument is the [`Cpu`]; `$first` comes before.
macro_rules! exit_code {
    ($handler:path, [$($first:literal),*], $($operands:tt)*) => {
        naked_asm!(
            $($first,)*
            "mov gs:[0], rax", "mov gs:[8], rcx", "mov gs:[16], rdx",
            "mov gs:[24], rbx", "mov gs:[40], rbp", "mov gs:[48], rsi",
            "mov gs:[56], rdi", "mov gs:[64], r8", "mov gs:[72], r9",
            "mov gs:[80], r10", "mov gs:[88], r11", "mov gs:[96], r12",
            "mov gs:[104], r13", "mov gs:[112], r14", "mov gs:[120], r15",
            "lea rdi, [rsp + 8]",
            "jmp {handler}",
            handler = sym $handler,
            $($operands)*
        )
    };
}

/// A VM exit of a virtual CPU.
#[unsafe(naked)]
unsafe extern "sysv64" fn virtual_cpu_exit() -> ! {
    exit_code!(virtual_cpu::exit::exit, [],)
}

/// A VM exit of the kernel. [`Call::Run`] needs no registers stored but two, until it is sure that it is one:
/// a `VMCALL` (`vmcall`) from ring 0, which the DPL of SS tells (Intel SDM vol. 3C, 25.4.1).
#[unsafe(naked)]
unsafe extern "sysv64" fn kernel_exit() -> ! {
    exit_code!(
        kernel::exit,
        [
            "cmp rax, {run}",
            "jne 2f",
            "push rcx",
            "push rdx",
            "mov ecx, {reason}",
            "vmread rdx, rcx",
            "cmp edx, {vmcall}",
            "jne 3f",
            "mov ecx, {ss_access}",
            "vmread rdx, rcx",
            "test dl, 0x60",
            "jne 3f",
            "lea rsi, [rsp + 24]",
            "jmp {virtual_cpu}",
            "3:",
            "pop rdx",
            "pop rcx",
            "2:"
        ],
        run = const Call::Run as u64,
        reason = const vmcs::ro::EXIT_REASON,
        vmcall = const exit_reason::VMCALL,
        ss_access = const vmcs::guest::SS_ACCESS_RIGHTS,
        virtual_cpu = sym virtual_cpu::run,
    )
}

/// Loads the general registers at `$registers` and enters the guest of the current VMCS. An instruction that fails leaves
/// them as loaded and goes to `$failed`, whose argument is the [`Cpu`]. `$base` holds `$registers` and is loaded last;
/// naming `$cpu`, where the registers are not its own, makes the compiler write to memory what was changed there.
macro_rules! enter {
    ($instruction:literal, $base:tt: [$($last:literal),*], $registers:expr, $failed:path $(, $cpu:expr)?) => {
        asm!(
            concat!("mov rax, [", $base, "]"), concat!("mov rdx, [", $base, " + 16]"),
            concat!("mov rbx, [", $base, " + 24]"), concat!("mov rbp, [", $base, " + 40]"),
            concat!("mov rsi, [", $base, " + 48]"), concat!("mov r8, [", $base, " + 64]"),
            concat!("mov r9, [", $base, " + 72]"), concat!("mov r10, [", $base, " + 80]"),
            concat!("mov r11, [", $base, " + 88]"), concat!("mov r12, [", $base, " + 96]"),
            concat!("mov r13, [", $base, " + 104]"), concat!("mov r14, [", $base, " + 112]"),
            concat!("mov r15, [", $base, " + 120]"),
            $($last,)*
            $instruction,
            "lea rsp, [rip + {block} + {top} - 8]",
            "lea rdi, [rsp + 8]",
            "jmp {failed}",
            in($base) $registers,
            $(in("rsi") $cpu,)?
            block = sym BLOCK,
            top = const STACK,
            failed = sym $failed,
            options(noreturn),
        )
    };
}

/// [`enter!`] for the kernel, whose registers are the first thing in the [`Cpu`].
macro_rules! enter_kernel {
    ($instruction:literal, $cpu:expr) => {
        enter!($instruction, "rdi": ["mov rcx, [rdi + 8]", "mov rdi, [rdi + 56]"], $cpu, kernel::entry_failed)
    };
}

/// [`enter!`] for a virtual CPU.
macro_rules! enter_virtual_cpu {
    ($instruction:literal, $registers:expr, $cpu:expr) => {
        enter!($instruction, "rcx": ["mov rdi, [rcx + 56]", "mov rcx, [rcx + 8]"], $registers,
            virtual_cpu::exit::entry_failed, $cpu)
    };
}

/// Enters the kernel for the first time, with the registers in `cpu`. From here on the monitor runs only in VM exits.
///
/// # Safety
/// Called once; the current VMCS is complete, with [`kernel_landing`] as its host state.
pub unsafe fn start(cpu: Cpu) -> ! {
    // SAFETY: nothing else uses the block yet; the caller's promise for the entry.
    unsafe {
        let cpu = (*BLOCK.cpu.get()).write(cpu);
        enter_kernel!("vmlaunch", ptr::from_mut(cpu))
    }
}

/// Resumes the kernel with the registers in `cpu`.
///
/// # Safety
/// The current VMCS is the kernel's.
#[inline(always)]
pub unsafe fn resume_kernel(cpu: &mut Cpu) -> ! {
    // SAFETY: the caller's promise.
    unsafe { enter_kernel!("vmresume", ptr::from_mut(cpu)) }
}

/// Resumes the kernel after [`Call::Run`]: with 0, `Ok`, in RAX and anything in the other registers.
///
/// # Safety
/// As [`resume_kernel`]; the kernel's last exit was that call.
#[inline(always)]
pub unsafe fn resume_kernel_after_run(cpu: &mut Cpu) -> ! {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "xor eax, eax",
            "vmresume",
            "lea rsp, [rip + {block} + {top} - 8]",
            "lea rdi, [rsp + 8]",
            "jmp {failed}",
            in("rdi") cpu,
            block = sym BLOCK,
            top = const STACK,
            failed = sym kernel::entry_failed,
            options(noreturn),
        )
    }
}

/// Resumes a virtual CPU with the registers in its state page.
///
/// # Safety
/// The current VMCS is the virtual CPU's, complete and launched.
#[inline(always)]
pub unsafe fn resume(registers: *mut Registers, cpu: &mut Cpu) -> ! {
    // SAFETY: the caller's promise.
    unsafe { enter_virtual_cpu!("vmresume", registers, cpu) }
}

/// As [`resume`], with a VMCS that is not launched yet.
///
/// # Safety
/// The current VMCS is the virtual CPU's, complete and clear.
#[inline(always)]
pub unsafe fn launch(registers: *mut Registers, cpu: &mut Cpu) -> ! {
    // SAFETY: the caller's promise.
    unsafe { enter_virtual_cpu!("vmlaunch", registers, cpu) }
}
