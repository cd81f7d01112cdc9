//! The test kernel's own processor: exception handlers that can be recovered from, the timer interrupt, ring 3.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering};

/// The vector of the last exception that [`attempt`] caught, plus 1.
static CAUGHT: AtomicU64 = AtomicU64::new(0);
static RESUME: AtomicU64 = AtomicU64::new(0);
static RESUME_STACK: AtomicU64 = AtomicU64::new(0);
static TICKS: AtomicU64 = AtomicU64::new(0);
static NMIS: AtomicU64 = AtomicU64::new(0);
const NMI: usize = 2;
/// The vector of the timer interrupt.
const TIMER: usize = 32;

static mut IDT: [[u64; 2]; 48] = [[0; 2]; 48];
static mut GDT: [u64; 7] =
    [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00cf_f300_0000_ffff, 0x00af_fb00_0000_ffff, 0, 0];
static mut TASK: [u16; 52] = [0; 52];
static mut STACK: [u64; 1024] = [0; 1024];

/// Loads tables, and masks the legacy interrupt controller as the firmware left it.
pub fn start() {
    for (port, value) in
        [(0x20, 0x11), (0x21, 32), (0x21, 4), (0x21, 1), (0xa0, 0x11), (0xa1, 40), (0xa1, 2), (0xa1, 1)]
    {
        out(port, value);
    }
    out(0x21, 0xff);
    out(0xa1, 0xff);
    // SAFETY: called once, first.
    unsafe {
        let task = &raw mut TASK;
        let stack = (&raw const STACK) as u64 + 8192;
        for part in 0..4 {
            (*task)[2 + part] = (stack >> (16 * part)) as u16;
        }
        (*task)[51] = 104;
        let (gdt, idt, base) = (&raw mut GDT, &raw mut IDT, task as u64);
        (*gdt)[5] = 103 | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        (*gdt)[6] = base >> 32;
        for vector in 0..48 {
            let handler = match vector {
                NMI => nmi as *const () as u64,
                _ if vector >= TIMER => timer as *const () as u64,
                _ => stubs as *const () as u64 + 16 * vector as u64,
            };
            (*idt)[vector] = [handler & 0xffff | 8 << 16 | 0x8e << 40 | (handler >> 16 & 0xffff) << 48, handler >> 32];
        }
        let pointer = |base: u64, limit: u16| [u64::from(limit) << 48, base];
        let (gdt, idt) = (pointer(gdt as u64, 55), pointer(idt as u64, 48 * 16 - 1));
        asm!("lgdt [{}]", "lidt [{}]", "push 8", "lea {s}, [rip + 2f]", "push {s}", "retfq", "2:", "ltr {:x}",
            in(reg) (&raw const gdt as u64) + 6, in(reg) (&raw const idt as u64) + 6, in(reg) 0x28u16, s = out(reg) _);
    }
}

/// Does something that may raise an exception. Returns its vector.
#[inline(never)]
pub fn attempt(what: extern "sysv64" fn(u64), argument: u64) -> Option<u64> {
    CAUGHT.store(0, Ordering::Relaxed);
    trampoline(what, argument, &RESUME, &RESUME_STACK);
    CAUGHT.swap(0, Ordering::Relaxed).checked_sub(1)
}

/// Remembers where to go on after an exception, and calls.
#[unsafe(naked)]
extern "sysv64" fn trampoline(what: extern "sysv64" fn(u64), argument: u64, resume: &AtomicU64, stack: &AtomicU64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "lea rax, [rip + 2f]",
        "mov [rdx], rax",
        "mov [rcx], rsp",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "2:",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

#[unsafe(naked)]
extern "sysv64" fn stubs() {
    naked_asm!(
        ".set test_vector, 0",
        ".rept 32",
        ".balign 16",
        "mov eax, test_vector + 1",
        "jmp {common}",
        ".set test_vector, test_vector + 1",
        ".endr",
        common = sym common,
    )
}

/// Goes on after [`trampoline`]'s call, in ring 0, whatever happened.
#[unsafe(naked)]
extern "sysv64" fn common() {
    naked_asm!(
        "mov [rip + {caught}], rax",
        "mov eax, 16",
        "mov ss, eax",
        "mov ds, eax",
        "mov es, eax",
        "mov rsp, [rip + {stack}]",
        "jmp [rip + {resume}]",
        caught = sym CAUGHT, stack = sym RESUME_STACK, resume = sym RESUME,
    )
}

#[unsafe(naked)]
extern "sysv64" fn timer() {
    naked_asm!(
        "lock inc qword ptr [rip + {ticks}]",
        "push rax",
        "mov al, 0x20",
        "out 0x20, al",
        "pop rax",
        "iretq",
        ticks = sym TICKS,
    )
}

#[unsafe(naked)]
extern "sysv64" fn nmi() {
    naked_asm!("lock inc qword ptr [rip + {nmis}]", "iretq", nmis = sym NMIS)
}

/// How many NMIs came so far.
pub fn nmis() -> u64 {
    NMIS.load(Ordering::Relaxed)
}

/// Lets the first I/O APIC turn the timer's line (pin 2) into NMIs, or back into nothing.
pub fn route_timer_to_nmi(on: bool) {
    let apic = (protocols::boot_info::DIRECT_MAP + 0xfec0_0000) as *mut u32;
    // Delivery mode NMI, physical destination 0, edge; or masked.
    let low = if on { 4 << 8 } else { 1 << 16 };
    for (index, value) in [(0x10 + 5, 0), (0x10 + 4, low)] {
        // SAFETY: the I/O APIC's index and data registers, which are the kernel's.
        unsafe {
            apic.write_volatile(index);
            apic.add(4).write_volatile(value);
        }
    }
}

/// Ends this kernel.
pub fn triple_fault() -> ! {
    // SAFETY: without handlers the undefined instruction cannot be reported to anybody.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &[0u64; 2], options(noreturn)) }
}

/// Executes VMCALL in ring 3, with this number in RAX.
pub extern "sysv64" fn ring_3_vmcall(number: u64) {
    // SAFETY: #UD brings us back to `attempt`. The page tables' pages are the kernel's only, so ring 3 faults at its
    // first instruction unless they are opened: see `open_to_ring_3`.
    unsafe {
        asm!("lea {s}, [rip + 2f]", "push 0x1b", "push rsp", "push 2", "push 0x23", "push {s}", "iretq",
            "2:", "vmcall", s = out(reg) _, inout("rax") number => _, out("rdx") _);
    }
}

/// Lets ring 3 execute the kernel's image.
pub fn open_to_ring_3() {
    let mut table: u64;
    // SAFETY: reading CR3.
    unsafe { asm!("mov {}, cr3", out(reg) table) };
    let address = ring_3_vmcall as *const () as u64;
    for shift in [39, 30, 21, 12] {
        let entry = (protocols::boot_info::DIRECT_MAP + (table & 0x000f_ffff_ffff_f000) + (address >> shift & 511) * 8)
            as *mut u64;
        // SAFETY: the boot page tables, in the direct map; setting the user bit of entries on the way. The code may
        // cross into the next page, which this test accepts as a page fault.
        unsafe {
            entry.write_volatile(entry.read_volatile() | 4);
            table = entry.read_volatile();
        }
    }
    // SAFETY: the same tables again.
    unsafe { asm!("mov rax, cr3", "mov cr3, rax", out("rax") _) };
}

fn out(port: u16, value: u8) {
    // SAFETY: the legacy interrupt controller and timer, which are the kernel's.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value) };
}

/// Lets the PIT interrupt once, about `microseconds` from now, through the interrupt controller if it is not `masked`.
/// Interrupts stay off.
pub fn start_timer(microseconds: u32, masked: bool) {
    out(0x21, if masked { 0xff } else { 0xfe });
    let count = (microseconds as u64 * 1_193_182 / 1_000_000).clamp(2, 0xffff) as u16;
    for (port, value) in [(0x43, 0x30), (0x40, count as u8), (0x40, (count >> 8) as u8)] {
        out(port, value);
    }
}

/// Takes the interrupts that are pending. Returns how many came so far.
pub fn take_interrupts() -> u64 {
    // SAFETY: the handler saves what it changes.
    unsafe { asm!("sti", "nop", "nop", "cli") };
    TICKS.load(Ordering::Relaxed)
}
