//! Processor registers: control registers, model-specific registers, XCR0, CPUID, the time stamp counter.
//!
//! Reads are safe (an MSR that does not exist would raise #GP, which stops the monitor with a message: callers read
//! architectural MSRs that CPUID or a VMX capability announces). Writes that could pull memory from under Rust's
//! feet are `unsafe`.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, CpuidResult};

use x86::msr;

/// Reads MSR `number`.
pub fn read_msr(number: u32) -> u64 {
    // SAFETY: reading an architectural MSR has no effect on memory; one that does not exist ends in a stop.
    unsafe { msr::rdmsr(number) }
}

/// Writes MSR `number`.
///
/// # Safety
/// The value must leave the monitor's own execution (paging, segments, entry points) as Rust expects it.
pub unsafe fn write_msr(number: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { msr::wrmsr(number, value) }
}

/// CPUID of `leaf` and `subleaf`.
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    __cpuid_count(leaf, subleaf)
}

/// The time stamp counter.
pub fn time_stamp() -> u64 {
    // SAFETY: reading a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

macro_rules! control_register {
    ($name:literal, $read:ident, $write:ident, $condition:literal) => {
        #[doc = concat!("Reads ", $name, ".")]
        #[inline]
        pub fn $read() -> u64 {
            let value;
            // SAFETY: reading a control register.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
            value
        }

        #[doc = concat!("Writes ", $name, ".\n\n# Safety\n", $condition)]
        #[inline]
        pub unsafe fn $write(value: u64) {
            // SAFETY: the caller's promise.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
        }
    };
}
control_register!("cr0", read_cr0, write_cr0, "Paging and protection must stay on.");
control_register!("cr2", read_cr2, write_cr2, "None: it only reports page faults, and the monitor does not use it.");
control_register!("cr3", read_cr3, write_cr3, "The new tables must map everything that the monitor uses where it is.");
control_register!(
    "cr4",
    read_cr4,
    write_cr4,
    "Only bits that the processor has and that keep 4-level paging may change."
);

/// Writes XCR0 with a value that [`crate::guest_rules::xcr0_is_valid`] accepted. The monitor itself uses no extended state.
pub fn write_xcr0(value: u64) {
    // SAFETY: the monitor is built without SSE and x87; CR4.OSXSAVE is set by `vmx::host` where XSAVE exists.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack, preserves_flags));
    };
}

/// Writes all caches back and invalidates them.
pub fn write_back_caches() {
    // SAFETY: WBINVD changes no contents.
    unsafe { asm!("wbinvd", options(nostack, preserves_flags)) };
}

/// Stops this processor for good.
pub fn halt() -> ! {
    loop {
        // SAFETY: waits with interrupts off; an NMI only repeats the loop.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
