//! The fuzzer of the low-level API, with fixed seeds. A long run is `nestor fuzz`.

use crate::support::{BOOT, built, trial};
use anyhow::{Result, bail};
use boot::size::Size;
use boot::system::{Start, System};
use libtest_mimic::Trial;

const MEMORY: Size = Size::mib(32);

pub fn trials() -> Vec<Trial> {
    vec![trial("fuzz::seeds", seeds)]
}

/// Some rounds, which are the same each time but for when interrupts arrive.
fn seeds() -> Result<()> {
    let built = built()?;
    let system = System::default().start(Start::new("fuzz", "fuzz", MEMORY)?.arguments("calls=300000 seed=1")?);
    let image = built.nestor()?.program("fuzz", built.binaries.get("fuzz")?);
    let mut host = built.boot(image, "fuzz", &system)?;
    loop {
        let line = host.console().read_line(BOOT)?;
        if line.contains("FAILED") {
            bail!("{line}");
        }
        if line.contains("passed: ") {
            break;
        }
    }
    host.wait(BOOT)?.check()
}
