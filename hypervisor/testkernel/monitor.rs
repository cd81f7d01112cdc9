//! The machine interface from the kernel's side, and the frames that the tests use.

use core::arch::asm;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

use protocols::address::PAGE_SIZE;
use protocols::boot_info::{BootInfo, DIRECT_MAP, RangeKind};
use protocols::machine::{Call, End, Status};
use zerocopy::{Immutable, IntoBytes};

static NEXT: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);
static LINE: AtomicU64 = AtomicU64::new(0);

/// Calls the monitor.
#[inline(always)]
pub fn call(number: u64, arguments: [u64; 4]) -> (u64, u64) {
    let (status, value);
    // SAFETY: the tests hand over only frames that they own; RAX and RDX are all that changes.
    unsafe {
        asm!("vmcall", inout("rax") number => status, inout("rdx") arguments[2] => value, in("rdi") arguments[0],
            in("rsi") arguments[1], in("r10") arguments[3]);
    }
    (status, value)
}

/// Calls the monitor and turns the status into a result.
pub fn ask(which: Call, arguments: [u64; 4]) -> Result<u64, u64> {
    match call(which as u64, arguments) {
        (0, value) => Ok(value),
        (status, _) => Err(status),
    }
}

/// Runs a virtual CPU with [`Call::Run`]. Returns the status.
pub fn run(cpu: u64) -> u64 {
    let status;
    // SAFETY: as in `call`; all registers but RSP count as changed.
    unsafe {
        asm!("push rbx", "push rbp", "vmcall", "pop rbp", "pop rbx",
            inlateout("rax") Call::Run as u64 => status, inlateout("rdi") cpu => _,
            lateout("rcx") _, lateout("rdx") _, lateout("rsi") _, lateout("r8") _, lateout("r9") _, lateout("r10") _,
            lateout("r11") _, lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _);
    }
    status
}

/// Whether a result is this refusal.
pub fn refused(result: Result<u64, u64>, status: Status) -> bool {
    result == Err(status as u64)
}

/// Finds memory for the tests: the largest free range.
pub fn start(info: &BootInfo) {
    let ranges = &info.ranges[..info.range_count as usize];
    let free = ranges.iter().filter(|range| range.kind == RangeKind::Free as u64);
    let Some(largest) = free.max_by_key(|range| range.length) else { return };
    NEXT.store(largest.start.next_multiple_of(2 << 20), Ordering::Relaxed);
    END.store(largest.start + largest.length, Ordering::Relaxed);
    LINE.store(frame(), Ordering::Relaxed);
}

/// `length` bytes of memory, aligned to `align`, zeroed.
pub fn memory(length: u64, align: u64) -> u64 {
    let start = NEXT.load(Ordering::Relaxed).next_multiple_of(align);
    assert!(start + length <= END.load(Ordering::Relaxed), "out of memory");
    NEXT.store(start + length, Ordering::Relaxed);
    bytes(start, length as usize).fill(0);
    start
}

/// A frame, zeroed.
pub fn frame() -> u64 {
    memory(PAGE_SIZE, PAGE_SIZE)
}

/// The memory at a physical address.
pub fn bytes(address: u64, length: usize) -> &'static mut [u8] {
    // SAFETY: a frame that a test owns; tests run one after the other and do not keep two views in use at once.
    unsafe { core::slice::from_raw_parts_mut((DIRECT_MAP + address) as *mut u8, length) }
}

/// Writes `values` to a list.
pub fn write<T: IntoBytes + Immutable>(list: u64, values: &[T]) {
    let values = values.as_bytes();
    bytes(list, values.len()).copy_from_slice(values);
}

/// Ends the test run.
pub fn power_off() -> ! {
    call(Call::End as u64, [End::PowerOff as u64, 0, 0, 0]);
    loop {
        core::hint::spin_loop();
    }
}

struct Line(usize);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let page = bytes(LINE.load(Ordering::Relaxed), PAGE_SIZE as usize);
        for &byte in text.as_bytes() {
            page[self.0 % PAGE_SIZE as usize] = byte;
            self.0 += 1;
        }
        Ok(())
    }
}

/// Prints a line.
pub fn print(arguments: fmt::Arguments) {
    let mut line = Line(0);
    let _ = line.write_fmt(format_args!("[test   ] {arguments}\n"));
    let _ = ask(Call::WriteConsole, [LINE.load(Ordering::Relaxed), line.0 as u64, 0, 0]);
}

/// Prints a line.
#[macro_export]
macro_rules! say {
    ($($arguments:tt)*) => { $crate::monitor::print(format_args!($($arguments)*)) };
}
