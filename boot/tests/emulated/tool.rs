//! The tool's scripted run, from the command line to its exit code.

use crate::support::{REPLY, Tool, built, trial};
use anyhow::{Result, ensure};
use boot::guest::Flavour;
use libtest_mimic::Trial;
use std::fs;

pub fn trials() -> Vec<Trial> {
    vec![trial("tool::boot_expects", expects), trial("tool::boot_tells_why_it_failed", fails)]
}

/// Runs `nestor boot` with these arguments to its end. Gives the exit code.
fn boot(arguments: &[&str]) -> Result<Option<i32>> {
    built()?.with_linux(Flavour::Cloud)?;
    Tool::start(&[&["boot", "--host", "bochs", "--memory", "128M"], arguments].concat())?.end(REPLY)
}

fn expects() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    let code = boot(&["--log", &log.display().to_string(), "--expect", "[kernel ]", "--expect", "guest starts"])?;
    ensure!(code == Some(0), "exit code {code:?}");
    let printed = fs::read_to_string(&log)?;
    ensure!(printed.contains("[kernel ]") && printed.contains("guest starts"), "the log:\n{printed}");
    Ok(())
}

fn fails() -> Result<()> {
    let code = boot(&["--expect", "what nobody prints", "--timeout", "5"])?;
    ensure!(code == Some(4), "a timeout: exit code {code:?}");
    let code = boot(&["--expect", "[kernel ]", "--cpu", "no-such-model"])?;
    ensure!(code == Some(5), "a host machine that does not start: exit code {code:?}");
    Ok(())
}
