//! Fuzzes the low-level API inside the running system: the fuzzer's children make random calls through both doors.

use super::boot::explain;
use super::run::start;
use crate::binaries::{Binaries, SYSTEM};
use crate::cli::FuzzArgs;
use crate::failure::{Failure, FailureKind, OrFailure};
use crate::host::{HostKind, HostOptions, Pace, memory_for};
use crate::image::Image;
use crate::size::Size;
use crate::system::{Start, System};
use crate::workspace::Workspace;
use crate::{packages, progress};
use anyhow::{Context, Result};
use std::time::{Duration, SystemTime};

/// Memory of the fuzzer and its children.
const MEMORY: Size = Size::mib(32);
/// How long a round may take, or the start: much longer, and the system hangs.
const ROUND_TIMEOUT: Duration = Duration::from_secs(300);

/// Runs the command.
pub fn fuzz(arguments: &FuzzArgs) -> Result<()> {
    let workspace = Workspace::find()?;
    let kind = arguments.host.unwrap_or_else(HostKind::preferred);
    kind.ensure(packages::IMAGE)?;
    let seed = arguments.seed.unwrap_or_else(seed_of_now);
    let binaries = Binaries::build(&workspace, &[SYSTEM, &["fuzz"]].concat())?;
    let text = format!("calls={} seed={seed} round={}", arguments.calls, arguments.round);
    let system = System::default().start(Start::new("fuzz", "fuzz", MEMORY)?.arguments(&text)?);
    let image = Image::nestor(&binaries)?.program("fuzz", binaries.get("fuzz")?).system(&system);
    let iso = image.cached(&workspace.images(), "fuzz")?;
    let options = HostOptions { kind, memory: memory_for(system.memory()), pace: Pace::Fast, cpu: None };
    let mut host = start(&iso, &options)?;
    if let Some(log) = &arguments.log {
        host.console().log_to(log).or_failure(FailureKind::Usage, "--log")?;
    }
    let step = progress::step(format_args!("fuzzing with seed {seed}"));
    let mut round = arguments.round;
    let again =
        |round: u64| format!("again with: nestor fuzz --seed {seed} --round {round} --calls {}", arguments.calls);
    loop {
        // What the kernel warns of does not count: it goes on when nothing else does.
        let line = match host.console().expect("fuzz: ", ROUND_TIMEOUT) {
            Ok(_) => host.console().read_line(ROUND_TIMEOUT),
            Err(error) => Err(error),
        };
        let line = match line {
            Ok(line) => line.trim_end().to_owned(),
            Err(error) => return Err(explain(&mut host, &error)).context(again(round)),
        };
        if line.starts_with("FAILED") {
            return Err(Failure::error(FailureKind::Failed, line)).context(again(round));
        }
        if let Some(result) = line.strip_prefix("passed: ") {
            step.done(result);
            break;
        }
        if let Some(number) = round_of(&line) {
            round = number;
        }
        step.progress(&line);
    }
    host.wait(ROUND_TIMEOUT)?.check()
}

/// The number of the round that a line of progress tells.
fn round_of(line: &str) -> Option<u64> {
    line.split_whitespace().find_map(|word| word.strip_prefix("round="))?.parse().ok()
}

/// A seed that no earlier run had.
fn seed_of_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(1, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::round_of;

    #[test]
    fn rounds_are_found_in_lines() {
        assert_eq!(round_of("5 of 10 calls; round=3 seed=9"), Some(3));
        assert_eq!(round_of("no success through VMCALL: A"), None);
    }
}
