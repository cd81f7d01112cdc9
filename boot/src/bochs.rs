//! The Bochs emulator as the host machine.
//!
//! Two kinds of build are in use, and both must work: distribution packages
//! (2.7 and newer), built with Bochs's debugger and with display plugins, and
//! builds made for speed, without either. What a binary is, its own `--help`
//! tells.
//!
//! * A debugger build stops at a prompt; `-rc` gives it a file of commands.
//! * The packages' only display that needs no window is `term`, which needs a
//!   terminal: it gets a pseudo-terminal whose output is dropped. Builds
//!   without plugins have `nogui`.
//! * The serial port is a TCP connection that Bochs opens to the tool.
//!   Bochs's `term` mode was not taken: it writes without blocking and drops
//!   what does not fit, while on a socket it waits.

use crate::failure::{Failure, FailureKind, OrFailure};
use crate::host::{HostOptions, Pace};
use crate::packages;
use crate::watchdog::Guarded;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bochs's log, in the machine's folder.
pub const LOG: &str = "bochs.log";
/// What it prints, in the machine's folder.
pub const OUTPUT: &str = "bochs.out";

/// The environment variable that names another Bochs binary.
const VARIABLE: &str = "NESTOR_BOCHS";
/// The CPU model with every VT-x feature the monitor uses.
const CPU: &str = "corei7_skylake_x";
/// Instructions per emulated second, near what a current computer really
/// emulates, so that guests' clocks run at about the right speed. This is for
/// builds with the debugger, which checks every instruction.
const DEBUGGER_IPS: u64 = 50_000_000;
/// The same for builds without it.
const FAST_IPS: u64 = 100_000_000;
/// Bochs keeps at most this much guest memory in its own, and pages the rest
/// to a file (`memory` in bochsrc(5)).
const MOST_HOST_MEMORY_MIB: u64 = 2048;

/// A Bochs binary and what it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bochs {
    /// The binary.
    pub binary: PathBuf,
    /// Its version, as it tells it.
    pub version: String,
    /// Whether it starts in its debugger.
    pub has_debugger: bool,
    display: &'static str,
}

impl Bochs {
    /// The binary that the user named, if any.
    pub fn named_by_user() -> Option<PathBuf> {
        std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The binary to use, probed.
    pub fn find() -> Result<Self> {
        let (binary, source) = match Self::named_by_user() {
            Some(binary) => (binary, "NESTOR_BOCHS: "),
            None => {
                let binary = packages::find_program("bochs");
                (binary.ok_or_else(|| Failure::error(FailureKind::Missing, "there is no bochs"))?, "")
            }
        };
        let output = Command::new(&binary)
            .arg("--help")
            .stdin(Stdio::null())
            .output()
            .or_failure(FailureKind::Host, format!("{source}cannot run {}", binary.display()))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text += &String::from_utf8_lossy(&output.stderr);
        Self::from_help(&binary, &text).ok_or_else(|| {
            Failure::error(FailureKind::Host, format!("{source}{} does not look like Bochs", binary.display()))
        })
    }

    /// Reads what `bochs --help` printed.
    fn from_help(binary: &Path, help: &str) -> Option<Self> {
        let version = help.split("Bochs x86 Emulator ").nth(1)?;
        let version = version.split_whitespace().next()?.to_owned();
        // Builds with plugins say where they look for them.
        let has_plugins = help.contains("LTDL_LIBRARY_PATH");
        Some(Self {
            binary: binary.to_owned(),
            version,
            has_debugger: help.contains("-rc filename"),
            display: if has_plugins { "term" } else { "nogui" },
        })
    }

    /// The model of the machine's CPU.
    pub fn cpu(options: &HostOptions) -> &str {
        options.cpu.as_deref().unwrap_or(CPU)
    }

    /// Instructions per emulated second, which is also the rate of the time
    /// stamp counter.
    pub fn ips(&self) -> u64 {
        if self.has_debugger { DEBUGGER_IPS } else { FAST_IPS }
    }

    /// The configuration of the machine. File names are relative to its folder.
    fn configuration(&self, port: u16, options: &HostOptions) -> String {
        let memory = options.memory.to_mib_rounded_up();
        let host_memory = memory.min(MOST_HOST_MEMORY_MIB);
        let cpu = Self::cpu(options);
        let sync = match options.pace {
            Pace::RealTime => "slowdown",
            Pace::Fast => "none",
        };
        let mut text = String::new();
        let mut line = |line: std::fmt::Arguments<'_>| {
            writeln!(text, "{line}").expect("writing to a string succeeds");
        };
        line(format_args!("display_library: {}", self.display));
        // A triple fault ends the machine, with a message, instead of
        // restarting it.
        line(format_args!("cpu: model={cpu}, count=1, ips={}, reset_on_triple_fault=0", self.ips()));
        line(format_args!("memory: guest={memory}, host={host_memory}"));
        line(format_args!("romimage: file=bios"));
        line(format_args!("vgaromimage: file=vgabios"));
        line(format_args!("ata0: enabled=1"));
        line(format_args!("ata0-master: type=cdrom, path=image.iso, status=inserted"));
        line(format_args!("boot: cdrom"));
        line(format_args!("com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}"));
        line(format_args!("clock: sync={sync}, time0=utc"));
        line(format_args!("log: {LOG}"));
        line(format_args!("panic: action=fatal"));
        line(format_args!("error: action=report"));
        // Guests cause as much of it as they like, and Bochs 3.0 waits for itself for ever when it tells its speed, on a signal, in
        // the middle of telling something else.
        line(format_args!("info: action=ignore"));
        line(format_args!("debug: action=ignore"));
        text
    }

    /// Starts the machine in `folder`; its serial port connects to `port`.
    pub(crate) fn start(&self, iso: &Path, folder: &Path, port: u16, options: &HostOptions) -> Result<Guarded> {
        // Links spare quoting whatever characters the paths have.
        symlink(iso, folder.join("image.iso"))?;
        symlink(firmware(packages::BOCHS_BIOS)?, folder.join("bios"))?;
        symlink(firmware(packages::VGA_BIOS)?, folder.join("vgabios"))?;
        fs::write(folder.join("bochsrc"), self.configuration(port, options))?;
        let mut command = Command::new(absolute(&self.binary)?);
        command.current_dir(folder).args(["-q", "-f", "bochsrc"]);
        if self.has_debugger {
            // Continue; and should the simulation ever stop, leave.
            fs::write(folder.join("commands"), "c\nq\n")?;
            command.args(["-rc", "commands"]);
        }
        let output = File::create(folder.join(OUTPUT))?;
        if self.display != "term" {
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
            return Guarded::spawn(&mut command);
        }
        let terminal = nix::pty::openpty(None, None).or_failure(FailureKind::Host, "cannot open a pseudo-terminal")?;
        command.env("TERM", "xterm").stdin(terminal.slave.try_clone()?).stdout(terminal.slave).stderr(output);
        let process = Guarded::spawn(&mut command)?;
        // The command holds the terminal's slave side open.
        drop(command);
        drain(File::from(terminal.master), folder.join(OUTPUT));
        Ok(process)
    }
}

/// Takes what Bochs prints on its terminal until it ends, so that it never
/// waits for a reader. The first part, which may hold error messages about its
/// configuration, is kept.
fn drain(mut terminal: File, output: PathBuf) {
    std::thread::spawn(move || {
        const KEPT: usize = 64 * 1024;
        let mut kept = 0;
        let mut file = fs::OpenOptions::new().append(true).open(output).ok();
        let mut buffer = [0; 4096];
        // Reading fails with EIO once the other side is closed.
        while let Ok(count @ 1..) = terminal.read(&mut buffer) {
            if let Some(file) = &mut file
                && kept < KEPT
                && file.write_all(&buffer[..count]).is_ok()
            {
                kept += count;
            }
        }
    });
}

fn firmware(candidates: &[&str]) -> Result<PathBuf> {
    candidates
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .ok_or_else(|| Failure::error(FailureKind::Missing, format!("there is no {}", candidates[0])))
}

/// A relative path given by the user is relative to where the user is, not to
/// the machine's folder.
fn absolute(binary: &Path) -> Result<PathBuf> {
    std::path::absolute(binary).with_context(|| format!("cannot find {}", binary.display()))
}

/// What Bochs itself gave as the reason for stopping: its panics, and errors
/// about its configuration. Lines read `<time><level>[<device>] <message>`,
/// where level `p` is a panic.
pub fn complaint(log: &str) -> Option<String> {
    let messages: Vec<&str> = log
        .lines()
        .filter_map(|line| {
            let line = line.trim_start_matches(|c: char| c.is_ascii_digit());
            let message = line.strip_prefix("p[").or_else(|| line.strip_prefix(">>PANIC<<"))?;
            Some(message.split_once(']').map_or(message, |(_, text)| text).trim())
        })
        .filter(|message| !message.is_empty() && !is_regular_end(message))
        .collect();
    let first = *messages.first()?;
    Some(if first.contains("exception with no resolution") {
        format!("triple fault ({first})")
    } else {
        first.to_owned()
    })
}

/// Bochs reports a power-off by the guest as a panic, too.
fn is_regular_end(message: &str) -> bool {
    message.contains("Shutdown port: shutdown requested") || message.contains("ACPI control: soft power off")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostKind;
    use crate::size::Size;

    const DEBIAN_HELP: &str = "\
00000000000i[      ] LTDL_LIBRARY_PATH not set. using compile time default '/usr/lib/bochs'
Usage: bochs [flags] [bochsrc options]
  -rc filename     execute debugger commands stored in file
                        Bochs x86 Emulator 2.7
";
    const FAST_HELP: &str = "\
Usage: bochs [flags] [bochsrc options]
                        Bochs x86 Emulator 3.0
";

    fn options() -> HostOptions {
        HostOptions { kind: HostKind::Bochs, memory: Size::mib(4096), pace: Pace::Fast, cpu: None }
    }

    #[test]
    fn builds_are_told_apart() {
        let debian = Bochs::from_help(Path::new("bochs"), DEBIAN_HELP).unwrap();
        assert_eq!((debian.version.as_str(), debian.has_debugger), ("2.7", true));
        assert_eq!(debian.display, "term");
        let fast = Bochs::from_help(Path::new("bochs"), FAST_HELP).unwrap();
        assert_eq!((fast.version.as_str(), fast.has_debugger), ("3.0", false));
        assert_eq!(fast.display, "nogui");
        assert_eq!(Bochs::from_help(Path::new("ls"), "Usage: ls"), None);
    }

    #[test]
    fn configuration_follows_the_options() {
        let bochs = Bochs::from_help(Path::new("bochs"), FAST_HELP).unwrap();
        let text = bochs.configuration(4321, &options());
        for line in [
            "display_library: nogui",
            "cpu: model=corei7_skylake_x, count=1, ips=100000000, reset_on_triple_fault=0",
            "memory: guest=4096, host=2048",
            "com1: enabled=1, mode=socket-client, dev=127.0.0.1:4321",
            "clock: sync=none, time0=utc",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let other = HostOptions { pace: Pace::RealTime, cpu: Some("core2_penryn_t9600".into()), ..options() };
        let text = bochs.configuration(1, &other);
        assert!(text.contains("model=core2_penryn_t9600,"));
        assert!(text.contains("sync=slowdown"));
    }

    #[test]
    fn complaints_are_read_from_the_log() {
        assert_eq!(complaint("00000000000i[MEM0  ] allocated\n"), None);
        let log = "00000000000p[SIM   ] >>PANIC<< no such file\n";
        assert_eq!(complaint(log).unwrap(), ">>PANIC<< no such file");
        let log = "00123p[CPU0  ] exception(): 3rd (13) exception with no resolution\n";
        assert!(complaint(log).unwrap().starts_with("triple fault"));
    }

    #[test]
    fn a_power_off_is_no_complaint() {
        let log = "00000000000p[ACPI  ] ACPI control: soft power off\n";
        assert_eq!(complaint(log), None);
    }
}
