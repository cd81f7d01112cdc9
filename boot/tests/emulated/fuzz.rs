//! The fuzzer of the low-level API, with fixed seeds. A long run is `nestor fuzz`.

use crate::support::{BOOT, built, trial};
use anyhow::{Result, bail, ensure};
use boot::size::Size;
use boot::system::{Start, System};
use libtest_mimic::Trial;

const MEMORY: Size = Size::mib(32);

pub fn trials() -> Vec<Trial> {
    vec![trial("fuzz::seeds", seeds)]
}

/// Two fuzzers side by side, whose children disturb each other's time as well.
fn seeds() -> Result<()> {
    let built = built()?;
    let start = |name: &str, seed| Start::new("fuzz", name, MEMORY)?.arguments(&format!("calls=300000 seed={seed}"));
    let system = System::default().start(start("fuzz1", 1)?);
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
    let end = host.wait(BOOT)?;
    ensure!(end.check().is_ok(), "the system");
    Ok(())
}
