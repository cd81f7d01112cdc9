//! Device memory: used by a nester that was given it, refused to all others.

use crate::support::{BOOT, apart, built, trial};
use anyhow::{Result, ensure};
use boot::size::Size;
use boot::system::{Start, System};
use libtest_mimic::Trial;

const MEMORY: Size = Size::mib(8);

pub fn trials() -> Vec<Trial> {
    vec![trial("devices::memory", memory)]
}

/// Children that may use device memory: label, role, and what root says of it.
const GIVEN: &[(&str, &str, &str)] = &[
    ("driver", "devices", "driver: ended"),
    ("local-apic", "touch fee00020", "local-apic: page fault at 0x4000fee00020 "),
    ("io-apic", "touch fec00000", "io-apic: page fault at 0x4000fec00000 "),
    ("memory", "touch 1000", "memory: page fault at 0x400000001000 "),
    ("monitor", "touch 100000", "monitor: general protection fault, error 0x0 "),
    // What reaches the kernel by address must be memory.
    ("screen-fill", "fill b8000", "screen-fill: misuse of call 0x74: a missing right "),
    ("monitor-fill", "fill 100000", "monitor-fill: misuse of call 0x74: a missing right "),
];
/// Children that may not.
const DENIED: &[(&str, &str, &str)] = &[("stranger", "devices", "stranger: page fault at 0x4000fffffff0 ")];

fn memory() -> Result<()> {
    let built = built()?;
    let mut system = System::default();
    for (name, role, _) in GIVEN {
        system = system.start(Start::new("conformance", name, MEMORY)?.devices().arguments(role)?);
    }
    for (name, role, _) in DENIED {
        system = system.start(Start::new("conformance", name, MEMORY)?.arguments(role)?);
    }
    let mut host = built.boot(built.nestor()?, "devices", &system)?;
    host.wait(BOOT)?;
    let printed = host.console().transcript().all();
    let (printed, _) = apart(&printed);
    for (_, _, message) in GIVEN.iter().chain(DENIED) {
        let message = format!("[root   ] {message}");
        ensure!(printed.contains(&message), "no `{message}`:\n{printed}");
    }
    // So that the driver has written there: PC firmware leaves the screen in a mode of text.
    let text = "[driver ] the screen shows text";
    ensure!(printed.contains(text), "no `{text}`:\n{printed}");
    Ok(())
}
