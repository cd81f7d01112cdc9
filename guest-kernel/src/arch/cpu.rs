//! Single instructions.

use core::arch::asm;
use x86::controlregs::{Cr0, Cr4};
use x86::msr;

/// The time stamp counter.
#[inline]
pub fn time() -> u64 {
    // SAFETY: RDTSC reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Reads a model-specific register that exists on every 64-bit CPU or whose presence the caller has checked.
pub fn read_msr(register: u32) -> u64 {
    // SAFETY: the callers, all in this crate, read registers that exist.
    unsafe { msr::rdmsr(register) }
}

/// Writes a model-specific register; the value must be one that keeps the kernel running.
#[inline]
pub(super) fn write_msr(register: u32, value: u64) {
    // SAFETY: the callers, all in `arch`, write registers that exist with values that they justify.
    unsafe { msr::wrmsr(register, value) }
}

/// Writes IA32_TSC_DEADLINE (Intel SDM vol. 3A, 11.5.4.1).
#[inline]
pub fn set_timer_deadline(deadline: u64) {
    write_msr(msr::IA32_TSC_DEADLINE, deadline);
}

/// The faulting address of the last page fault.
pub fn fault_address() -> u64 {
    // SAFETY: reads CR2.
    unsafe { x86::controlregs::cr2() as u64 }
}

/// Loads the root of a Space's page tables.
#[inline]
pub(super) fn load_page_table(root: u64) {
    // SAFETY: the caller passes a root that maps the kernel as the present one does.
    unsafe { x86::controlregs::cr3_write(root) }
}

/// The page-table root in use.
pub fn page_table() -> u64 {
    // SAFETY: reads CR3.
    unsafe { x86::controlregs::cr3() }
}

/// Drops the translation of one address.
pub fn flush_address(address: u64) {
    // SAFETY: INVLPG only drops a cached translation.
    unsafe { x86::tlb::flush(address as usize) }
}

/// Drops all translations of user addresses.
pub fn flush_user() {
    load_page_table(page_table());
}

/// Sets the control registers and EFER as the kernel wants them: write protection, no-execute, global pages, SYSCALL;
/// FPU use traps until a thread's state is loaded.
pub fn set_control_registers() {
    // SAFETY: protection is only tightened; the kernel uses no FPU registers but inside `extended`.
    unsafe {
        let cr0 = x86::controlregs::cr0();
        x86::controlregs::cr0_write(
            cr0 | Cr0::CR0_WRITE_PROTECT | Cr0::CR0_TASK_SWITCHED | Cr0::CR0_MONITOR_COPROCESSOR,
        );
        let mut cr4 =
            x86::controlregs::cr4() | Cr4::CR4_ENABLE_GLOBAL_PAGES | Cr4::CR4_ENABLE_SSE | Cr4::CR4_ENABLE_OS_XSAVE;
        cr4 |= Cr4::CR4_DEBUGGING_EXTENSIONS;
        x86::controlregs::cr4_write(cr4);
    }
    const SYSCALL_ENABLE: u64 = 1;
    const NO_EXECUTE_ENABLE: u64 = 1 << 11;
    write_msr(msr::IA32_EFER, read_msr(msr::IA32_EFER) | SYSCALL_ENABLE | NO_EXECUTE_ENABLE);
}

/// Takes the interrupts that are pending now.
#[inline]
pub fn take_interrupts() {
    // SAFETY: the handlers for interrupts in ring 0 only record them. One instruction after STI runs with interrupts
    // still off, hence the NOP.
    unsafe { asm!("sti", "nop", "nop", "cli", options(nostack)) }
}

/// Waits for the next interrupt and takes it.
pub fn wait_for_interrupt() {
    // SAFETY: as in `take_interrupts`; STI delays interrupts until HLT waits, so that none is missed.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) }
}

/// Stops this CPU.
pub fn wait_for_ever() {
    // SAFETY: only NMIs wake it.
    unsafe { asm!("cli", "hlt", options(nostack)) }
}

/// Sets the GS base of the thread about to run.
pub fn set_gs_base(base: u64) {
    write_msr(msr::IA32_GS_BASE, base);
}

/// Sets the FS base of the thread about to run.
#[inline]
pub fn set_fs_base(base: u64) {
    write_msr(msr::IA32_FS_BASE, base);
}
