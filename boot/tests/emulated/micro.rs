//! Programs that test single behaviours of the monitor and of the low-level
//! API, and print how each test ended.

use crate::support::{BOOT, built, options, trial};
use anyhow::{Context, Result, bail, ensure};
use boot::console::Console;
use boot::host::{HostOptions, memory_for};
use boot::image::Image;
use boot::size::Size;
use boot::system::{Start, System};
use libtest_mimic::Trial;

/// Memory of the nester that tests the API.
const MEMORY: Size = Size::mib(64);

pub fn trials() -> Vec<Trial> {
    vec![
        trial("api::conformance", conformance),
        trial("api::tracking_without_a_log_of_writes", tracking_without_log),
        trial("atomicity::native", || api("atomicity-native", "atomicity::native", None).map(drop)),
        trial("atomicity::machine", || api("atomicity-machine", "atomicity::machine", None).map(drop)),
        trial("monitor::test_kernel", monitor),
    ]
}

/// Reads lines until `end` gives the numbers of passed and failed tests.
/// Succeeds if some passed and none failed; otherwise says which did, by the
/// lines in which `FAILED` stands.
fn judge(console: &mut Console, end: impl Fn(&str) -> Option<(u32, u32)>) -> Result<()> {
    let mut failures = Vec::new();
    let (passed, failed) = loop {
        let line = console.read_line(BOOT)?;
        if let Some(counts) = end(&line) {
            break counts;
        }
        if line.contains("FAILED") {
            failures.push(line);
        }
    };
    if failed > 0 || !failures.is_empty() {
        bail!("{failed} of {} failed:\n{}", passed + failed, failures.join("\n"));
    }
    ensure!(passed > 0, "no test was run");
    Ok(())
}

/// `<before><N><middle><M><after>` as (N, M).
fn counts(line: &str, before: &str, middle: &str, after: &str) -> Option<(u32, u32)> {
    let (passed, failed) = line.trim_end().strip_prefix(before)?.strip_suffix(after)?.split_once(middle)?;
    Some((passed.parse().ok()?, failed.parse().ok()?))
}

/// What the kernel says of a processor without page-modification log.
const NO_LOG: &str = "the processor logs no written pages";

fn conformance() -> Result<()> {
    let printed = api("conformance", "-atomicity", None)?;
    ensure!(!printed.contains(NO_LOG), "the log of written pages was not used");
    Ok(())
}

/// Without it, faults tell.
fn tracking_without_log() -> Result<()> {
    let printed = api("tracking", "tracking", Some("corei7_haswell_4770"))?;
    ensure!(printed.contains(NO_LOG), "the processor has a log of written pages");
    Ok(())
}

/// Runs the tests of the API that `arguments` select on a processor. Gives what was printed.
fn api(name: &str, arguments: &str, cpu: Option<&str>) -> Result<String> {
    let built = built()?;
    let system = System::default().start(Start::new("conformance", "test", MEMORY)?.arguments(arguments)?);
    let options = HostOptions { cpu: cpu.map(str::to_owned), ..options(memory_for(system.memory())) };
    let mut host = built.start(&built.nestor()?.system(&system), name, &options)?;
    judge(host.console(), |line| counts(line, "conformance: ", " passed, ", " failed"))?;
    let printed = host.console().transcript().all();
    host.wait(BOOT)?.check()?;
    Ok(printed)
}

/// The test kernel stands in the kernel's place, and in root's, which it does
/// not start.
fn monitor() -> Result<()> {
    let built = built()?;
    let kernel = built.binaries.get("monitor-test-kernel")?;
    let image = Image::new(built.binaries.get("hypervisor")?).module("kernel", kernel).module("root", kernel);
    let mut host = built.start(&image, "monitor", &options(Size::mib(256)))?;
    judge(host.console(), |line| counts(line, "[test   ] end: ", " ok, ", " failed"))?;
    // It powers off without announcing the end of a system, which there is not.
    host.wait(BOOT)?.check_silent().context("after the tests")
}
