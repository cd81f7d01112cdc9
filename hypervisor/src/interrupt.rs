//! The monitor's own segments and exception handlers.
//!
//! In VMX root mode the monitor runs with interrupts off, so only NMIs, machine checks and its own faults arrive. An NMI
//! is remembered and handed to the kernel at its next entry; everything else ends the system with a message.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU8, Ordering};

use x86::bits64::task::TaskStateSegment;
use x86::dtables::{DescriptorTablePointer, lgdt, lidt};
use x86::segmentation::{SegmentSelector, load_cs, load_ds, load_es, load_ss};
use x86::task::load_tr;

use crate::register;
use crate::stop;

/// Selector of the monitor's code segment.
pub const CODE: u16 = 8;
/// Selector of the monitor's data segment.
pub const DATA: u16 = 16;
/// Selector of the monitor's TSS.
pub const TASK: u16 = 24;

/// Vectors with a handler: the exceptions.
const VECTORS: usize = 32;
const STACK: usize = 16 << 10;
/// Bytes of a handler stub, see [`stubs`].
const STUB: u64 = 16;

/// What the kernel's next entry delivers: [`NMI`] and [`MACHINE_CHECK`].
static PENDING: AtomicU8 = AtomicU8::new(0);
/// An NMI.
pub const NMI: u8 = 1;
/// A machine check.
pub const MACHINE_CHECK: u8 = 2;

#[repr(C, align(16))]
struct Stack([u8; STACK]);

static mut FAULT_STACK: Stack = Stack([0; STACK]);
static mut TASK_STATE: TaskStateSegment = TaskStateSegment::new();
static mut GDT: [u64; 5] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0];
static mut IDT: [[u64; 2]; VECTORS] = [[0; 2]; VECTORS];

/// Where GDT, IDT and TSS lie.
pub fn tables() -> [u64; 3] {
    [&raw const GDT as u64, &raw const IDT as u64, &raw const TASK_STATE as u64]
}

/// Whether there is something that the kernel's next entry must deliver.
#[inline(always)]
pub fn is_pending() -> bool {
    PENDING.load(Ordering::Relaxed) != 0
}

/// What the kernel's next entry must deliver; it is the caller's business from now on.
pub fn take_pending() -> u8 {
    PENDING.swap(0, Ordering::Relaxed)
}

/// The kernel's next entry delivers [`NMI`] or [`MACHINE_CHECK`].
pub fn set_pending(what: u8) {
    PENDING.fetch_or(what, Ordering::Relaxed);
}

/// Loads segments, TSS and handlers.
///
/// # Safety
/// Called once, with the segments of the entry code.
pub unsafe fn start() {
    let (gdt, idt, task) = (&raw mut GDT, &raw mut IDT, &raw mut TASK_STATE);
    let base = task as u64;
    // SAFETY: the caller makes this the only access, before the processor uses the tables; they are static and filled
    // when they are loaded, and the selectors name segments like those that are in use.
    unsafe {
        // IST 1 is the stack of the handlers that may come at any place.
        (*task).set_ist(0, (&raw const FAULT_STACK) as u64 + STACK as u64);
        (*task).iomap_base = size_of::<TaskStateSegment>() as u16;
        (*gdt)[3] = 103 | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        (*gdt)[4] = base >> 32;
        for vector in 0..VECTORS {
            let handler =
                if vector == 2 { nmi as *const () as u64 } else { stubs as *const () as u64 + STUB * vector as u64 };
            // Double fault and machine check on their own stack; interrupt gates.
            let ist = if matches!(vector, 8 | 18) { 1 } else { 0 };
            (*idt)[vector] = [
                handler & 0xffff | u64::from(CODE) << 16 | ist << 32 | 0x8e << 40 | (handler >> 16 & 0xffff) << 48,
                handler >> 32,
            ];
        }
        lgdt(&DescriptorTablePointer::new(&*gdt));
        lidt(&DescriptorTablePointer::new(&*idt));
        let data = SegmentSelector::from_raw(DATA);
        load_cs(SegmentSelector::from_raw(CODE));
        load_ds(data);
        load_es(data);
        load_ss(data);
        load_tr(SegmentSelector::from_raw(TASK));
    }
}

/// NMIs: remembered. Changes no register, so that it may come between any two instructions.
#[unsafe(naked)]
extern "sysv64" fn nmi() {
    naked_asm!("or byte ptr [rip + {pending}], {nmi}", "iretq", pending = sym PENDING, nmi = const NMI)
}

/// A stub of [`STUB`] bytes for each vector: pushes an error code where the processor does not, then the vector.
#[unsafe(naked)]
extern "sysv64" fn stubs() {
    naked_asm!(
        ".set vector, 0",
        ".rept 32",
        ".balign 16",
        ".if (vector != 8) && (vector < 10 || vector > 14) && (vector != 17) && (vector != 21) && (vector != 29) && (vector != 30)",
        "push 0",
        ".endif",
        "push vector",
        "jmp {common}",
        ".set vector, vector + 1",
        ".endr",
        common = sym common,
    )
}

#[unsafe(naked)]
extern "sysv64" fn common() {
    naked_asm!("mov rdi, rsp", "cld", "and rsp, -16", "call {fault}", "ud2", fault = sym fault)
}

/// What the stubs and the processor pushed.
#[repr(C)]
struct Frame {
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
}

extern "sysv64" fn fault(frame: &Frame) -> ! {
    let Frame { vector, error, rip, rsp, .. } = frame;
    let what = if *vector == 18 { "machine check" } else { "exception" };
    stop::stop(format_args!(
        "{what} {vector} in the monitor, error {error:#x}, rip {rip:#x}, rsp {rsp:#x}, cr2 {:#x}",
        register::read_cr2()
    ))
}
