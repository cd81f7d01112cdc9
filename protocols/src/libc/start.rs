//! How a program begins and ends: the entry point, the start-up page, the panic handler.
#![allow(unsafe_code)]

use core::panic::PanicInfo;

use super::pool::pool;
use super::{console, log};
use crate::parent::Outcome;
use crate::startup::{MAGIC, STARTUP_ADDRESS, Startup};
use crate::{api, startup};

/// Makes `$main`, a `fn(&'static Startup) -> Outcome`, the program, in a binary for `x86_64-unknown-none`: defines the
/// entry point `_start`, the heap and the panic handler. For other targets it defines a `main` that only says where
/// the program runs.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        #[cfg(target_os = "none")]
        #[global_allocator]
        static HEAP: $crate::libc::heap::Heap = $crate::libc::heap::new();

        #[cfg(target_os = "none")]
        #[panic_handler]
        fn panic(information: &core::panic::PanicInfo<'_>) -> ! {
            $crate::libc::start::panic(information)
        }

        /// The ELF's entry point: RDI holds the address of the start-up page, RSP the top of the stack.
        // The name is the linker's; nothing else in a program defines it.
        #[cfg(target_os = "none")]
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub extern "C" fn _start() -> ! {
            extern "C" fn run() -> ! {
                $crate::libc::start::run($main)
            }
            // CALL leaves the stack as the System V ABI wants it at a function's first instruction.
            core::arch::naked_asm!("xor ebp, ebp", "call {run}", "ud2", run = sym run)
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            let _: fn(&'static $crate::startup::Startup) -> $crate::parent::Outcome = $main;
            eprintln!("this program runs inside Nestor");
        }
    };
}

/// Runs the program: checks the start-up page, fills the pool, calls `main` and tells the parent how it ended.
pub fn run(main: fn(&'static Startup) -> Outcome) -> ! {
    // SAFETY: the parent maps a start-up page there (protocol `startup`) for as long as the program runs, and nothing
    // writes to it. Every byte pattern is a valid Startup.
    let startup = unsafe { &*(STARTUP_ADDRESS as *const Startup) };
    if startup.magic != MAGIC || startup.version != api::VERSION {
        crash();
    }
    pool().is_zero = startup.parent != 0;
    for &range in startup.pool() {
        pool().free(range);
    }
    log::initialize(startup.parent);
    let outcome = main(startup);
    console::end(startup.parent, outcome);
    crash();
}

/// Logs the panic and ends the program.
pub fn panic(information: &PanicInfo<'_>) -> ! {
    log::line(format_args!("{information}"));
    crash()
}

/// Ends the program with an undefined instruction, which its keeper sees as an exception.
pub fn crash() -> ! {
    // SAFETY: UD2 raises #UD and nothing follows it.
    unsafe { core::arch::asm!("ud2", options(noreturn, nomem, nostack)) }
}

/// Names and bytes of the program's files. None for a `Startup` that is not the program's own start-up page.
pub fn files(startup: &'static Startup) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    let own = core::ptr::from_ref(startup).addr() as u64 == STARTUP_ADDRESS;
    let files = if own { startup.files() } else { &[] };
    files.iter().map(|file| {
        let bytes: &[u8] = if file.size == 0 {
            &[]
        } else {
            // SAFETY: this is the start-up page, so the parent has mapped the file there, read-only, for as long as the
            // program runs (protocol `startup`).
            unsafe { core::slice::from_raw_parts(file.start as *const u8, file.size as usize) }
        };
        (file.name(), bytes)
    })
}

/// The bytes of the file called `name`.
pub fn file(startup: &'static Startup, name: &str) -> Option<&'static [u8]> {
    files(startup).find(|(other, _)| *other == name).map(|(_, bytes)| bytes)
}

const _: () = assert!(startup::STACK_TOP.is_multiple_of(16));
