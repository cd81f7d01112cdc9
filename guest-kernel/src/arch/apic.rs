//! Interrupt controllers: the local APIC in x2APIC mode with its deadline timer, the I/O APICs, the 8259s (switched off).

use super::cpu;
use acpi::madt::{Madt, MadtEntry};
use acpi::{AcpiHandler, AcpiTables, PhysicalMapping};
use alloc::vec::Vec;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use protocols::boot_info::DIRECT_MAP;
use x86::io::outb;

/// Vector of the timer.
pub const TIMER: u8 = 0xe0;
const SPURIOUS: u8 = 0xff;
/// Vector of interrupt line 0; the others follow.
pub const FIRST_LINE: u8 = 0x30;
/// Interrupt lines that are handed out.
pub const LINES: u8 = 24;

const X2APIC_ENABLE: u64 = 3 << 10;
const EOI: u32 = 0x80b;
const SPURIOUS_REGISTER: u32 = 0x80f;
const TIMER_REGISTER: u32 = 0x832;
const DEADLINE_MODE: u64 = 2 << 17;

static IO_APIC: AtomicU64 = AtomicU64::new(0);

/// Why the interrupt controllers cannot be used.
#[derive(Clone, Copy, Debug)]
pub enum Missing {
    /// The CPU has no x2APIC.
    X2Apic,
    /// The local APIC's timer has no deadline mode.
    DeadlineTimer,
    /// There is no readable MADT.
    Madt,
}

#[derive(Clone)]
struct DirectMap;

impl AcpiHandler for DirectMap {
    unsafe fn map_physical_region<T>(&self, address: usize, size: usize) -> PhysicalMapping<Self, T> {
        let start = NonNull::new((DIRECT_MAP as usize + address) as *mut T).unwrap_or(NonNull::dangling());
        // SAFETY: the direct map covers firmware tables, for ever.
        unsafe { PhysicalMapping::new(address, start, size, size, Self) }
    }
    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}

fn io_apic_register(base: u64, register: u32) -> *mut u32 {
    let select = (DIRECT_MAP + base) as *mut u32;
    // SAFETY: the I/O APIC's index register, found in the MADT (Intel 82093AA, 3.1).
    unsafe { select.write_volatile(register) };
    (DIRECT_MAP + base + 0x10) as *mut u32
}

fn write_line(line: u8, low: u32, high: u32) {
    let base = IO_APIC.load(Ordering::Relaxed);
    if base != 0 {
        // SAFETY: the I/O APIC's data register, selected just before; both halves of a redirection entry.
        unsafe {
            io_apic_register(base, 0x11 + 2 * line as u32).write_volatile(high);
            io_apic_register(base, 0x10 + 2 * line as u32).write_volatile(low);
        }
    }
}

const MASKED: u32 = 1 << 16;
static LEVEL: AtomicU64 = AtomicU64::new(0);
static ACTIVE_LOW: AtomicU64 = AtomicU64::new(0);

fn line_mode(line: u8) -> u32 {
    let bit = |word: &AtomicU64| (word.load(Ordering::Relaxed) >> line & 1) as u32;
    (FIRST_LINE + line) as u32 | bit(&LEVEL) << 15 | bit(&ACTIVE_LOW) << 13
}

/// Lets interrupts of a line through.
pub fn unmask_line(line: u8) {
    write_line(line, line_mode(line), 0);
}

/// Holds interrupts of a line back.
pub fn mask_line(line: u8) {
    write_line(line, line_mode(line) | MASKED, 0);
}

/// Ends the interrupt being served. A level-triggered line stays masked until its server has replied; an edge-triggered one must not
/// be masked at all, since an edge that comes meanwhile would be lost.
#[inline]
pub fn end_of_interrupt(vector: u8) {
    let line = vector.wrapping_sub(FIRST_LINE);
    if line < LINES && LEVEL.load(Ordering::Relaxed) >> line & 1 != 0 {
        mask_line(line);
    }
    if vector != SPURIOUS {
        cpu::write_msr(EOI, 0);
    }
}

/// Brings the interrupt controllers up, all lines masked. Returns the physical addresses of all I/O APICs.
pub fn initialize(rsdp: u64) -> Result<Vec<u64>, Missing> {
    let cpuid = raw_cpuid::CpuId::new();
    let features = cpuid.get_feature_info().ok_or(Missing::X2Apic)?;
    if !features.has_x2apic() {
        return Err(Missing::X2Apic);
    }
    if !features.has_tsc_deadline() {
        return Err(Missing::DeadlineTimer);
    }
    // SAFETY: masks both 8259s after moving their vectors out of the exceptions' way; nothing else uses them.
    unsafe {
        for (port, value) in [
            (0x20, 0x11),
            (0xa0, 0x11),
            (0x21, 0x20),
            (0xa1, 0x28),
            (0x21, 4),
            (0xa1, 2),
            (0x21, 1),
            (0xa1, 1),
            (0x21, 0xff),
            (0xa1, 0xff),
        ] {
            outb(port, value);
        }
    }
    let base = cpu::read_msr(x86::msr::IA32_APIC_BASE);
    cpu::write_msr(x86::msr::IA32_APIC_BASE, base | 1 << 11);
    cpu::write_msr(x86::msr::IA32_APIC_BASE, base | X2APIC_ENABLE);
    cpu::write_msr(SPURIOUS_REGISTER, 0x100 | SPURIOUS as u64);
    cpu::write_msr(TIMER_REGISTER, DEADLINE_MODE | TIMER as u64);

    // SAFETY: the monitor found the RSDP where the firmware or the boot loader says it is.
    let tables = unsafe { AcpiTables::from_rsdp(DirectMap, rsdp as usize) }.map_err(|_| Missing::Madt)?;
    let madt = tables.find_table::<Madt>().map_err(|_| Missing::Madt)?;
    let mut io_apics = Vec::new();
    for entry in madt.get().entries() {
        match entry {
            MadtEntry::IoApic(io_apic) => {
                io_apics.push(io_apic.io_apic_address as u64);
                if io_apic.global_system_interrupt_base == 0 {
                    IO_APIC.store(io_apic.io_apic_address as u64, Ordering::Relaxed);
                }
            }
            MadtEntry::InterruptSourceOverride(line) if line.global_system_interrupt < LINES as u32 => {
                let bit = 1 << line.global_system_interrupt;
                if line.flags & 3 == 3 {
                    ACTIVE_LOW.fetch_or(bit, Ordering::Relaxed);
                }
                if line.flags >> 2 & 3 == 3 {
                    LEVEL.fetch_or(bit, Ordering::Relaxed);
                }
            }
            _ => {}
        }
    }
    (0..LINES).for_each(mask_line);
    Ok(io_apics)
}

/// Ticks of the time stamp counter in a second: what CPUID says, else measured against the interval timer.
pub fn time_stamp_frequency() -> u64 {
    let cpuid = raw_cpuid::CpuId::new();
    if let Some(frequency) =
        cpuid.get_tsc_info().and_then(|info| info.tsc_frequency()).filter(|&frequency| frequency != 0)
    {
        return frequency;
    }
    const INTERVAL_TIMER: u64 = 1_193_182;
    const COUNT: u64 = 23_864; // 20 ms
    // SAFETY: channel 2 of the interval timer, which the kernel owns, counts once; the speaker stays off.
    unsafe {
        use x86::io::inb;
        outb(0x61, inb(0x61) & !3);
        outb(0x43, 0xb0);
        outb(0x42, COUNT as u8);
        outb(0x42, (COUNT >> 8) as u8);
        outb(0x61, inb(0x61) & !2 | 1);
        let start = cpu::time();
        while inb(0x61) & 0x20 == 0 {}
        (cpu::time() - start) * INTERVAL_TIMER / COUNT
    }
}
