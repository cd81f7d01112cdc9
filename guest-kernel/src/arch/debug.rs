//! Debug registers. DR7 here is the kernel's and its native threads'; that of a virtual CPU is in its VMCS.

use core::arch::asm;
use protocols::native_thread::Debug;

fn set_dr7(value: u64) {
    // SAFETY: the callers load breakpoints that the kernel does not meet, or none.
    unsafe { asm!("mov dr7, {}", in(reg) value, options(nomem, nostack)) }
}

fn set_addresses(dr: [u64; 4]) {
    // SAFETY: nothing happens at these addresses but what DR7 enables, for which see there.
    unsafe {
        asm!("mov dr0, {0}", "mov dr1, {1}", "mov dr2, {2}", "mov dr3, {3}",
            in(reg) dr[0], in(reg) dr[1], in(reg) dr[2], in(reg) dr[3], options(nomem, nostack));
    }
}

fn dr6() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, dr6", out(reg) value, options(nomem, nostack)) };
    value
}

fn set_dr6(value: u64) {
    // SAFETY: it holds what has happened; the upper half must be zero.
    unsafe { asm!("mov dr6, {}", in(reg) value & 0xffff_ffff, options(nomem, nostack)) };
}

/// DR0 to DR3, and DR6.
pub fn read() -> ([u64; 4], u64) {
    let (dr0, dr1, dr2, dr3): (u64, u64, u64, u64);
    // SAFETY: reads registers.
    unsafe {
        asm!("mov {0}, dr0", "mov {1}, dr1", "mov {2}, dr2", "mov {3}, dr3",
            out(reg) dr0, out(reg) dr1, out(reg) dr2, out(reg) dr3, options(nomem, nostack));
    }
    ([dr0, dr1, dr2, dr3], dr6())
}

/// Loads the addresses of a virtual CPU. No breakpoint may be loaded: the addresses can be the kernel's.
pub fn load_of_virtual_cpu(dr: [u64; 4], dr6: u64) {
    set_addresses(dr);
    set_dr6(dr6);
}

/// Loads the breakpoints of a native thread, which are [possible](Debug::is_possible).
pub fn load(debug: &Debug) {
    set_addresses(debug.dr);
    set_dr7(debug.dr7);
}

/// Takes the breakpoints of a native thread out of the CPU.
pub fn disarm() {
    set_dr7(Debug::DR7);
}

/// The conditions that the last #DB was raised for, which are cleared.
pub fn take_conditions() -> u64 {
    let value = dr6();
    set_dr6(value & !Debug::CONDITIONS);
    value & Debug::CONDITIONS
}
