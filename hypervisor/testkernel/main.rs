//! The monitor's conformance test: a kernel whose machines run micro-guests, one for each behaviour.
//!
//! Boot it under the monitor with two modules, its own file as `kernel` and any ELF file (itself) as `root`. It needs
//! 256 MiB. On COM1 it prints, between the monitor's lines,
//!
//! ```text
//! [test   ] ok NAME
//! [test   ] FAILED NAME: what was wrong
//! [test   ] measure NAME VALUE instructions
//! [test   ] end: N ok, M failed
//! ```
//!
//! and powers off. With a module `file triple-fault` it ends in a triple fault instead, of which the monitor must say
//! `[monitor] stop: kernel triple fault at ...`. Passed means: the line `end: N ok, 0 failed` came. The measures are time stamp ticks, which are
//! instructions on Bochs 2.7, and cycles on hardware.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod boundary;
#[cfg(target_os = "none")]
mod code;
#[cfg(target_os = "none")]
mod guest;
#[cfg(target_os = "none")]
mod log;
#[cfg(target_os = "none")]
mod measure;
#[cfg(target_os = "none")]
mod monitor;
#[cfg(target_os = "none")]
mod native;
#[cfg(target_os = "none")]
mod tests;

#[cfg(target_os = "none")]
mod bare {
    use core::panic::PanicInfo;

    use core::sync::atomic::Ordering::Relaxed;

    use crate::{boundary, guest, log, measure, monitor, native, say, tests};
    use protocols::boot_info::BootInfo;

    /// What a test returns: what was wrong.
    pub type Outcome = Result<(), &'static str>;
    /// A test with its name.
    pub type Test = (&'static str, fn() -> Outcome);

    #[unsafe(no_mangle)]
    extern "sysv64" fn _start(info: &'static BootInfo) -> ! {
        native::start();
        monitor::start(info);
        if info.modules.iter().any(|module| module.name() == "file triple-fault") {
            native::triple_fault();
        }
        let (mut good, mut bad) = (0, 0);
        for (name, test) in tests::ALL.iter().chain(boundary::ALL).chain(log::ALL) {
            match test() {
                Ok(()) => {
                    good += 1;
                    say!("ok {name}");
                }
                Err(what) => {
                    bad += 1;
                    let [reason, qualification, rip, rax] = guest::LAST.each_ref().map(|fact| fact.load(Relaxed));
                    say!(
                        "FAILED {name}: {what}; last exit {reason:#x} ({qualification:#x}), rip {rip:#x}, rax {rax:#x}"
                    );
                }
            }
        }
        measure::all();
        say!("end: {good} ok, {bad} failed");
        monitor::power_off()
    }

    #[panic_handler]
    fn panic(info: &PanicInfo) -> ! {
        say!("FAILED panic: {info}");
        monitor::power_off()
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
