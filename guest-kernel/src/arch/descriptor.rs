//! Segments, the task state with the I/O permission bitmap, and the interrupt table.
//!
//! The selectors are laid out as Linux lays out its own, so that IA32_STAR has the same value for native threads and
//! for most guests, and need not be written when the CPU passes between them.

use super::cpu;
use super::entry;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use x86::dtables::{DescriptorTablePointer, lgdt, lidt};

/// Kernel code.
pub const KERNEL_CODE: u16 = 0x10;
/// Kernel data and stack.
pub const KERNEL_DATA: u16 = 0x18;
/// User data and stack.
pub const USER_DATA: u16 = 0x2b;
/// User code.
pub const USER_CODE: u16 = 0x33;
const TASK: u16 = 0x40;

/// IA32_STAR for native threads.
pub const STAR: u64 = 0x0023_0010 << 32;
/// IA32_FMASK for native threads: what Linux uses, so that it seldom has to be written.
pub const FMASK: u64 = 0x25_7fd5;

const PORT_BYTES: usize = 8192;

#[repr(C, packed(4))]
struct TaskState {
    reserved0: u32,
    stack0: u64,
    stack1: u64,
    stack2: u64,
    reserved1: u64,
    interrupt_stacks: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    port_bitmap: u16,
    ports: [u8; PORT_BYTES],
    end: u8,
}

/// Offset that puts the port bitmap beyond the segment's limit: no port is allowed.
const NO_PORTS: u16 = u16::MAX;
const PORTS: u16 = 104;
/// Where in [`TABLES`] stands where entries from ring 3 store the registers: just below that address.
pub(super) const ENTRY_STACK: usize = offset_of!(Tables, task) + offset_of!(TaskState, stack0);

#[repr(C)]
pub(super) struct Tables {
    segments: UnsafeCell<[u64; 10]>,
    interrupts: UnsafeCell<[u128; 256]>,
    task: UnsafeCell<TaskState>,
}

// SAFETY: there is one CPU, and the kernel runs with interrupts off.
unsafe impl Sync for Tables {}

/// The tables of the CPU.
pub(super) static TABLES: Tables = Tables {
    segments: UnsafeCell::new([
        0,
        0,
        0x00af_9b00_0000_ffff, // kernel code
        0x00cf_9300_0000_ffff, // kernel data
        0,                     // the base that SYSRET counts from, which it does not read: there is no 32-bit code
        0x00cf_f300_0000_ffff, // user data
        0x00af_fb00_0000_ffff, // user code
        0,
        0, // task state, two entries
        0,
    ]),
    interrupts: UnsafeCell::new([0; 256]),
    task: UnsafeCell::new(TaskState {
        reserved0: 0,
        stack0: 0,
        stack1: 0,
        stack2: 0,
        reserved1: 0,
        interrupt_stacks: [0; 7],
        reserved2: 0,
        reserved3: 0,
        port_bitmap: NO_PORTS,
        ports: [0xff; PORT_BYTES],
        end: 0xff,
    }),
};

fn gate(handler: u64, stack: u128, privilege: u128) -> u128 {
    let handler = handler as u128;
    const PRESENT_INTERRUPT_GATE: u128 = 0x8e << 40;
    (handler & 0xffff)
        | (KERNEL_CODE as u128) << 16
        | stack << 32
        | PRESENT_INTERRUPT_GATE
        | privilege << 45
        | (handler >> 16 & 0xffff) << 48
        | (handler >> 32) << 64
}

/// Loads all tables and the SYSCALL registers. `fault_stack` is the top of the stack for NMIs, double faults and machine checks,
/// `debug_stack` for debug exceptions: a breakpoint on what MOV SS reads is met behind the SYSCALL that follows, in the
/// kernel, whose stack pointer is still ring 3's then.
pub fn load(fault_stack: u64, debug_stack: u64) {
    let base = TABLES.task.get() as u64;
    let limit = (size_of::<TaskState>() - 1) as u64;
    // SAFETY: nothing else refers to the tables yet; they stay where they are for ever.
    unsafe {
        let segments = &mut *TABLES.segments.get();
        const AVAILABLE_TASK: u64 = 0x89 << 40;
        segments[8] = limit & 0xffff
            | (base & 0xff_ffff) << 16
            | AVAILABLE_TASK
            | (limit >> 16 & 0xf) << 48
            | (base >> 24 & 0xff) << 56;
        segments[9] = base >> 32;
        (*TABLES.task.get()).interrupt_stacks[0] = fault_stack;
        (*TABLES.task.get()).interrupt_stacks[1] = debug_stack;
        let interrupts = &mut *TABLES.interrupts.get();
        for (vector, slot) in interrupts.iter_mut().enumerate() {
            let own_stack = match vector {
                2 | 8 | 18 => 1,
                1 => 2,
                _ => 0,
            };
            // Ring 3 may raise breakpoints and overflows itself (INT3, INTO).
            let privilege = if matches!(vector, 3 | 4) { 3 } else { 0 };
            *slot = gate(entry::stub(vector), own_stack, privilege);
        }
        lgdt(&DescriptorTablePointer::new(segments));
        lidt(&DescriptorTablePointer::new(interrupts));
        core::arch::asm!(
            "push {code}", "lea {scratch}, [rip + 2f]", "push {scratch}", "retfq", "2:",
            "mov ds, {data:e}", "mov es, {data:e}", "mov ss, {data:e}",
            "mov {data:e}, 0", "mov fs, {data:e}", "mov gs, {data:e}",
            "mov {data:e}, {task}", "ltr {data:x}",
            code = const KERNEL_CODE, task = const TASK,
            data = inout(reg) KERNEL_DATA as u64 => _, scratch = out(reg) _,
        );
    }
    load_system_call_registers(entry::system_call_address(), STAR, FMASK);
}

/// Writes IA32_LSTAR, IA32_STAR and IA32_FMASK.
pub fn load_system_call_registers(lstar: u64, star: u64, fmask: u64) {
    cpu::write_msr(x86::msr::IA32_LSTAR, lstar);
    cpu::write_msr(x86::msr::IA32_STAR, star);
    cpu::write_msr(x86::msr::IA32_FMASK, fmask);
}

/// Sets where interrupts from ring 3 store the registers: just below `top`, the end of the running thread's frame.
#[inline]
pub fn set_entry_stack(top: u64) {
    // SAFETY: a plain store to the task state of this CPU; `top` ends a thread's frame.
    unsafe { (&raw mut (*TABLES.task.get()).stack0).write_unaligned(top) }
}

/// Where the port bitmap of a Space is looked for that may use I/O ports, or may not.
pub(super) fn port_bitmap(allow: bool) -> u16 {
    if allow { PORTS } else { NO_PORTS }
}

/// Sets where the port bitmap is looked for: a value of [`port_bitmap`].
#[inline]
pub(super) fn set_port_bitmap(offset: u16) {
    // SAFETY: a plain store to the task state of this CPU.
    unsafe { (&raw mut (*TABLES.task.get()).port_bitmap).write_unaligned(offset) }
}

/// Opens every I/O port but those in `kept` to Spaces that may use ports.
pub fn open_ports(kept: &[core::ops::RangeInclusive<u16>]) {
    // SAFETY: called once, before any thread runs.
    let ports = unsafe { &mut (*TABLES.task.get()).ports };
    ports.fill(0);
    for port in kept.iter().cloned().flatten() {
        ports[port as usize / 8] |= 1 << (port % 8);
    }
}

/// Writes IA32_LSTAR alone.
#[inline]
pub fn load_system_call_address(lstar: u64) {
    cpu::write_msr(x86::msr::IA32_LSTAR, lstar);
}
