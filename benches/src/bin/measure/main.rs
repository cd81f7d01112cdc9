//! Measures what single operations cost, with children of its own: a native thread and a machine.
//!
//! Every measurement runs its loop once to warm up, then once measured; the cost of the loop around the operation,
//! measured the same way, is taken off.
//!
//! 16 MiB of memory suffice, and the allowance of kernel memory that comes with them: 1000 Mappings take 94 frames, the
//! children 224. 4 MiB do not, since a machine's memory begins at a multiple of 2 MiB.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod code;
#[cfg(target_os = "none")]
mod faults;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod messages;
#[cfg(target_os = "none")]
mod native;
#[cfg(target_os = "none")]
mod tracking;

#[cfg(target_os = "none")]
mod program {
    use crate::{machine, memory, native, tracking};
    use core::fmt::Write;
    use protocols::libc::console::Console;
    use protocols::libnest::Result;
    use protocols::parent::Outcome;
    use protocols::startup::Startup;

    /// Iterations of each measured loop.
    pub const ITERATIONS: u64 = 1000;

    /// What a loop cost: ticks and VM transitions.
    #[derive(Clone, Copy)]
    pub struct Cost {
        /// Ticks of the time stamp counter.
        pub ticks: u64,
        /// VM exits and entries.
        pub transitions: u64,
    }

    /// Prints measurements as the report reads them.
    pub struct Printer {
        console: Console,
    }

    impl Printer {
        /// One measurement: `cost` of `ITERATIONS` operations less that of the loop around them, or of another operation.
        pub fn print(&mut self, name: &str, cost: Cost, less: Cost) {
            let hundredths = |value: u64, less: u64| value.saturating_sub(less) * 100 / ITERATIONS;
            let (ticks, transitions) =
                (hundredths(cost.ticks, less.ticks), hundredths(cost.transitions, less.transitions));
            let mark = benches::MARK;
            // The console keeps what cannot be sent now; there is nobody else to tell.
            let _ = writeln!(self.console, "{mark} {name} {ticks} {transitions} {ITERATIONS}");
            self.console.flush();
        }
    }

    fn measure(printer: &mut Printer) -> Result<()> {
        native::measure(printer)?;
        memory::measure(printer)?;
        tracking::measure(printer)?;
        machine::measure(printer)
    }

    pub fn main(startup: &'static Startup) -> Outcome {
        let mut printer = Printer { console: Console::new(startup.parent) };
        let result = measure(&mut printer);
        let outcome = match result {
            Ok(()) => {
                let _ = writeln!(printer.console, "{}", benches::END);
                Outcome::Done
            }
            Err(status) => {
                let _ = writeln!(printer.console, "{}{status:?}", benches::FAILED);
                Outcome::Failed
            }
        };
        printer.console.flush();
        outcome
    }
}

#[cfg(target_os = "none")]
protocols::program!(program::main);

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this program runs inside Nestor");
}
