//! Measures Nestor: single operations inside the system, and the boot of Linux
//! inside a nester against the same boot on the bare host machine.
//!
//! All boots of Linux have the same kernel, initial file system, command line,
//! memory and host machine. A boot is measured from the kernel's entry to the
//! first instruction of its first program, which prints the time stamp counter.
//! The entry is when the machine nester lets the guest go, or when GRUB jumps
//! to the kernel, which a boot of its own tells ([`entry_probe`]).

use super::boot::explain;
use super::run::start;
use crate::binaries::Binaries;
use crate::bochs::Bochs;
use crate::cli::BenchArgs;
use crate::console::ExpectError;
use crate::failure::{Failure, FailureKind, OrFailure};
use crate::guest;
use crate::host::{Host, HostKind, HostOptions, Pace, memory_for};
use crate::image::{Content, Image};
use crate::size::Size;
use crate::system::{MACHINE_OVERHEAD, Start, System};
use crate::workspace::{Output, Workspace};
use crate::{bzimage, entry_probe, packages, progress};
use anyhow::{Context, Result};
use benches::report::{Measure, Report, parse_line};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What is built to be measured.
const PACKAGES: &[&str] = &["hypervisor", "guest-kernel", "root", "machine", "benches"];
/// Memory of the program that measures single operations.
const MEASURE_MEMORY: Size = Size::mib(64);
/// Memory of the program that measures every call, which holds 64 levels of nesting and 100,000 objects, and its kernel memory.
const CALLS_MEMORY: Size = Size::mib(256);
const CALLS_KERNEL_MEMORY: Size = Size::mib(48);
/// Memory of the host machine for it: the kernel has a 24th part.
const CALLS_HOST_MEMORY: Size = Size::mib(1536);
const PAGE_SIZE: u64 = 4096;
/// Memory of the measured Linux.
const LINUX_MEMORY: Size = Size::mib(256);
/// How long the single operations may take.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a boot may take.
const BOOT_TIMEOUT: Duration = Duration::from_secs(600);
/// What the machine nester logs before the time stamp counter when it first
/// lets its guest run, and before the VM transitions so far.
const GUEST_STARTS: &str = "guest starts at tick 0x";
const GUEST_ENDS: &str = "guest ends at tick 0x";
const TRANSITIONS: &str = "transitions 0x";

/// Runs the command.
pub fn bench(arguments: &BenchArgs) -> Result<()> {
    let output = arguments.json.as_deref().map(|path| Output::new("--json", path)).transpose()?;
    let workspace = Workspace::find()?;
    let kind = arguments.host.unwrap_or_else(HostKind::preferred);
    kind.ensure(packages::IMAGE)?;
    let kernel = guest::kernel(&workspace, arguments.flavour)?;
    let binaries = Binaries::build(&workspace, PACKAGES)?;
    let initrd = guest::measured_initrd(&workspace, binaries.get("first-instruction")?)?;
    let bytes = fs::read(&kernel).with_context(|| format!("cannot read {}", kernel.display()))?;
    let bench = Bench {
        options: HostOptions {
            kind,
            memory: memory_for(Size(LINUX_MEMORY.0 + MACHINE_OVERHEAD.0)),
            pace: Pace::Fast,
            cpu: None,
        },
        unit: unit(kind),
        append: append(kind)?,
        images: workspace.images(),
        logs: arguments.logs.clone(),
        binaries,
        kernel,
        initrd,
    };
    let version = bzimage::version(&bytes).unwrap_or_else(|| "unknown".to_owned());
    let mut report = Report {
        host: format!("{}; Linux {version} with `{}`", host_name(&bench.options)?, bench.append),
        unit: bench.unit.to_owned(),
        measures: bench.operations()?,
    };
    report.measures.extend(bench.calls()?);
    for (name, append) in [("linux.boot", bench.append.clone()), ("linux.boot.console", without_quiet(&bench.append))] {
        report.measures.push(bench.linux_nested(name, &append)?);
        report.measures.push(bench.linux_bare(name, &append, &bytes)?);
        report.add_boot_ratio(name);
    }
    println!("\n{}\n{}", report.table(), report.calls());
    if let Some(output) = output {
        let json = report.json().or_failure(FailureKind::Failed, "the report")?;
        output.write(|partial| Ok(fs::write(partial, format!("{json}\n"))?))?;
    }
    Ok(())
}

/// What one tick of the time stamp counter is.
fn unit(kind: HostKind) -> &'static str {
    match kind {
        HostKind::Bochs => "instructions",
        HostKind::Kvm => "cycles",
    }
}

/// The host machine, for the report.
fn host_name(options: &HostOptions) -> Result<String> {
    Ok(match options.kind {
        HostKind::Bochs => format!("Bochs {}, CPU {}", Bochs::find()?.version, Bochs::cpu(options)),
        HostKind::Kvm => {
            let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
            format!("QEMU on KVM, CPU {}", model.map_or("unknown", |(_, model)| model))
        }
    })
}

/// The measured kernel's command line, the same inside the nester and outside.
fn append(kind: HostKind) -> Result<String> {
    // The host machine has more memory than the guest.
    let common = format!("console=ttyS0 quiet mitigations=off mem={}M", LINUX_MEMORY.to_mib_rounded_up());
    Ok(match kind {
        // Bochs's time stamp counter does not tick at the rate that its CPUID
        // leaf 0x15 claims; without the rate, delays last too long.
        HostKind::Bochs => format!("{common} tsc_early_khz={}", Bochs::find()?.ips() / 1000),
        HostKind::Kvm => common,
    })
}

/// The same, with everything that Linux has to say on its console: what users see.
fn without_quiet(append: &str) -> String {
    append.split(' ').filter(|&word| word != "quiet").collect::<Vec<_>>().join(" ")
}

/// A tick, and the VM transitions up to it if they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    tick: u64,
    transitions: Option<u64>,
}

/// Everything that is measured.
struct Bench {
    options: HostOptions,
    unit: &'static str,
    append: String,
    images: PathBuf,
    logs: Option<PathBuf>,
    binaries: Binaries,
    kernel: PathBuf,
    initrd: PathBuf,
}

impl Bench {
    /// Starts the host machine with `image`.
    fn boot(&self, image: &Image, name: &str) -> Result<Host> {
        self.boot_with(image, name, &self.options)
    }

    fn boot_with(&self, image: &Image, name: &str, options: &HostOptions) -> Result<Host> {
        let iso = image.cached(&self.images, &format!("bench-{name}"))?;
        let mut host = start(&iso, options)?;
        if let Some(folder) = &self.logs {
            fs::create_dir_all(folder).or_failure(FailureKind::Usage, "--logs")?;
            host.console().log_to(&folder.join(name)).or_failure(FailureKind::Usage, "--logs")?;
        }
        Ok(host)
    }

    /// Measures the single operations.
    fn operations(&self) -> Result<Vec<Measure>> {
        let image = Image::nestor(&self.binaries)?
            .program("measure", self.binaries.get("measure")?)
            .system(&System::default().start(Start::new("measure", "bench", MEASURE_MEMORY)?));
        let host = self.boot(&image, "operations")?;
        self.program(host, "measuring single operations")
    }

    /// Measures every call of the low-level API.
    fn calls(&self) -> Result<Vec<Measure>> {
        let start = Start::new("calls", "bench", CALLS_MEMORY)?.kernel_memory(CALLS_KERNEL_MEMORY).file("calls")?;
        let frames = CALLS_KERNEL_MEMORY.0 / PAGE_SIZE;
        let program = self.binaries.get("calls")?;
        let image = Image::nestor(&self.binaries)?
            .program("calls", program)
            .file("calls", program)
            .system(&System::default().start(start.arguments(&format!("frames={frames}"))?));
        let options = HostOptions { memory: CALLS_HOST_MEMORY, ..self.options.clone() };
        let host = self.boot_with(&image, "calls", &options)?;
        self.program(host, "measuring every call")
    }

    /// Reads what a program measures.
    fn program(&self, mut host: Host, what: &str) -> Result<Vec<Measure>> {
        let step = progress::step(what);
        let deadline = Instant::now() + MEASURE_TIMEOUT;
        let mut measures = Vec::new();
        loop {
            let line = next_line(&mut host, deadline)?;
            if let Some(measure) = parse_line(&line, self.unit) {
                measures.push(measure);
            } else if line.trim() == benches::END {
                step.done(format_args!("{} measures", measures.len()));
                return Ok(measures);
            } else if line.starts_with(benches::FAILED) {
                return Err(Failure::error(FailureKind::Failed, line));
            }
        }
    }

    /// Measures the boot of Linux inside the machine nester. Its transitions
    /// are counted up to the guest's power-off, which follows at once.
    fn linux_nested(&self, name: &str, append: &str) -> Result<Measure> {
        let linux = Start::linux("linux", LINUX_MEMORY, "vmlinuz", Some("initrd"), append)?;
        let image = Image::nestor(&self.binaries)?
            .program("machine", self.binaries.get("machine")?)
            .file("vmlinuz", self.kernel.as_path())
            .file("initrd", self.initrd.as_path())
            .system(&System::default().start(linux));
        let mut host = self.boot(&image, &format!("{name}.nested"))?;
        let step = progress::step(format!("{name}: booting Linux inside the nester"));
        let deadline = Instant::now() + BOOT_TIMEOUT;
        let entry = wait_for(&mut host, GUEST_STARTS, deadline)?;
        let first = wait_for(&mut host, FIRST_INSTRUCTION, deadline)?;
        let end = wait_for(&mut host, GUEST_ENDS, deadline)?;
        let transitions = match (entry.transitions, end.transitions) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => 0,
        };
        let measure = self.measure(format!("{name}.nested"), entry, first, transitions);
        step.done(format_args!("{} {}", measure.value, self.unit));
        Ok(measure)
    }

    /// Measures the boot of Linux on the bare host machine, where there are no
    /// VM transitions.
    fn linux_bare(&self, name: &str, append: &str, kernel: &[u8]) -> Result<Measure> {
        let probe = entry_probe::probe(kernel).or_failure(FailureKind::Usage, "the kernel")?;
        let entry = self.bare(&format!("{name}.entry"), append, probe.into(), entry_probe::MARK)?;
        let name = format!("{name}.bare");
        let first = self.bare(&name, append, kernel.to_vec().into(), FIRST_INSTRUCTION)?;
        Ok(self.measure(name, entry, first, 0))
    }

    /// Boots `kernel` with GRUB and gives the moment that it prints.
    fn bare(&self, name: &str, append: &str, kernel: Content, mark: &str) -> Result<Moment> {
        let image = Image::linux(kernel, Some(self.initrd.as_path()), append);
        let mut host = self.boot(&image, name)?;
        let step = progress::step(format!("{name}: booting on the bare host machine"));
        let moment = wait_for(&mut host, mark, Instant::now() + BOOT_TIMEOUT)?;
        step.done(format_args!("tick {}", moment.tick));
        Ok(moment)
    }

    fn measure(&self, name: String, from: Moment, to: Moment, transitions: u64) -> Measure {
        Measure {
            name,
            value: to.tick.saturating_sub(from.tick) as f64,
            unit: self.unit.to_owned(),
            transitions: transitions as f64,
            samples: 1,
        }
    }
}

/// What the first program prints before the time stamp counter's digits.
const FIRST_INSTRUCTION: &str = "first user instruction at tick 0x";

/// Reads lines until one holds `mark` and a number.
fn wait_for(host: &mut Host, mark: &str, deadline: Instant) -> Result<Moment> {
    loop {
        let line = next_line(host, deadline)?;
        if let Some(tick) = hexadecimal_after(&line, mark) {
            return Ok(Moment { tick, transitions: hexadecimal_after(&line, TRANSITIONS) });
        }
    }
}

/// The next line of the console; an error if the system ends.
fn next_line(host: &mut Host, deadline: Instant) -> Result<String> {
    let left = deadline.saturating_duration_since(Instant::now());
    match host.console().read_line(left) {
        Ok(line) => Ok(line),
        Err(error @ ExpectError::Io(_)) => Err(error.into()),
        Err(error) => Err(explain(host, &error)),
    }
}

/// The hexadecimal number that follows `mark` in `line`.
fn hexadecimal_after(line: &str, mark: &str) -> Option<u64> {
    let (_, rest) = line.split_once(mark)?;
    let end = rest.find(|character: char| !character.is_ascii_hexdigit()).unwrap_or(rest.len());
    u64::from_str_radix(&rest[..end], 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_is_one_word() {
        assert_eq!(without_quiet("console=ttyS0 quiet quieter=1 mem=9M"), "console=ttyS0 quieter=1 mem=9M");
    }

    #[test]
    fn ticks_are_found_in_lines() {
        let line = "[linux  ] guest starts at tick 0x00000000000000ff, transitions 0x10";
        assert_eq!(hexadecimal_after(line, GUEST_STARTS), Some(255));
        assert_eq!(hexadecimal_after(line, TRANSITIONS), Some(16));
        assert_eq!(hexadecimal_after(line, FIRST_INSTRUCTION), None);
        assert_eq!(hexadecimal_after("transitions 0x", TRANSITIONS), None);
        assert_eq!(hexadecimal_after("transitions 0x11112222333344445", TRANSITIONS), None);
    }

    #[test]
    fn the_marks_are_those_of_the_measured_programs() {
        assert_eq!(FIRST_INSTRUCTION.strip_suffix("0x"), Some(benches::FIRST_INSTRUCTION));
    }
}
