//! The command line.

use crate::binaries::Binaries;
use crate::failure::{Failure, FailureKind};
use crate::guest::{self, Flavour};
use crate::host::{HostKind, HostOptions, Pace, memory_for};
use crate::image::Image;
use crate::request::{self, BARE_BOCHS_APPEND, DEFAULT_APPEND, Guest};
use crate::size::Size;
use crate::system::{Start, System};
use crate::workspace::Workspace;
use anyhow::Result;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Without a command, the system runs with its console on this terminal; `Ctrl-] q` leaves.
Through cargo, options and commands follow `--`: cargo run -- doctor

Exit codes:
  0    success; the guests powered off
  1    the system failed, or did not print what was expected
  2    bad usage: an option, or a file that it names
  3    packages or Rust's libraries are missing
  4    timeout
  5    the host machine failed
  6    building failed
  130  interrupted

Environment:
  NESTOR_BOCHS  another Bochs than the one on PATH";

/// Builds Nestor and boots it: Linux guests inside user-level monitors on a
/// microkernel, on an emulated or virtual VT-x machine.
#[derive(Debug, Parser)]
#[command(name = "nestor", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do; to run the system if not given.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The guests and host of a plain run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What the tool can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the system without a terminal, for scripts.
    #[command(after_help = "--expect and --send are done in the order given; the machine is stopped after the \
        last one.\n\nExit codes: those of `nestor --help`; 0 once the console has printed every TEXT.")]
    Boot(BootArgs),
    /// Writes the boot image, for a USB stick or another virtual machine.
    Image(ImageArgs),
    /// Measures what trapping and what calling cost, and how long Linux boots.
    Bench(BenchArgs),
    /// Makes random calls of the low-level API, from a process and from a
    /// machine, and checks that nothing comes of it.
    Fuzz(FuzzArgs),
    /// Says what this computer can do and what is missing.
    Doctor,
}

/// Guests and the host to run them on.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Guests.
    #[command(flatten)]
    pub guest: GuestArgs,
    /// Host.
    #[command(flatten)]
    pub host: HostArgs,
}

/// What the guests are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Guests")]
pub struct GuestArgs {
    /// Boot this Linux kernel instead of the distribution's.
    #[arg(long, value_name = "BZIMAGE")]
    pub kernel: Option<PathBuf>,
    /// Boot with this initial file system instead of the tool's.
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The guest kernel's whole command line [default: console=ttyS0].
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// Memory of each guest, in bytes or with K, M, G.
    #[arg(long, value_name = "SIZE", default_value = "512M")]
    pub memory: Size,
    /// How many machines to run side by side.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=9))]
    pub machines: u8,
    /// The distribution's kernel to boot: `cloud`, for virtual machines, or
    /// `generic`.
    #[arg(long, value_enum, default_value = "cloud", hide_possible_values = true)]
    pub flavour: Flavour,
    /// Boot the guest on the bare host machine, without Nestor.
    #[arg(long, conflicts_with = "machines")]
    pub bare: bool,
}

/// What the host machine is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Host machine")]
pub struct HostArgs {
    /// The host machine, `bochs` or `kvm` [default: kvm where it offers VT-x].
    #[arg(long, value_enum, hide_possible_values = true)]
    pub host: Option<HostKind>,
    /// Memory of the host machine [default: the guests' and 256M more].
    #[arg(long, value_name = "SIZE")]
    pub host_memory: Option<Size>,
    /// CPU model, by the emulator's name for it.
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<String>,
}

/// A scripted run.
#[derive(Args, Clone, Debug)]
pub struct BootArgs {
    /// Guests and host.
    #[command(flatten)]
    pub run: RunArgs,
    /// Wait until the console prints TEXT. May be repeated.
    #[arg(long, help_heading = "Script", value_name = "TEXT", required = true)]
    pub expect: Vec<String>,
    /// Type TEXT and Enter; escapes are \n \r \t \e \\ \xHH, and a final \c for
    /// no Enter. May be repeated.
    #[arg(long, help_heading = "Script", value_name = "TEXT", allow_hyphen_values = true)]
    pub send: Vec<String>,
    /// Give up after so many seconds in all.
    #[arg(long, help_heading = "Script", value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
    /// Keep what the console prints in this file.
    #[arg(long, help_heading = "Script", value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// An image to write.
#[derive(Args, Clone, Debug)]
pub struct ImageArgs {
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// What it boots.
    #[command(flatten)]
    pub guest: GuestArgs,
}

/// A measurement.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Write the report to this file, too, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The distribution's kernel to boot: `cloud`, for virtual machines, or
    /// `generic`.
    #[arg(long, value_enum, default_value = "cloud", hide_possible_values = true)]
    pub flavour: Flavour,
    /// The host machine, `bochs` or `kvm` [default: kvm where it offers VT-x].
    #[arg(long, value_enum, hide_possible_values = true)]
    pub host: Option<HostKind>,
    /// Keep what the consoles print in this folder, a file for each boot.
    #[arg(long, value_name = "FOLDER")]
    pub logs: Option<PathBuf>,
}

/// A run of the fuzzer.
#[derive(Args, Clone, Debug)]
pub struct FuzzArgs {
    /// How many calls to make.
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    pub calls: u64,
    /// Where all random choices come from [default: the time].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The round to begin with, to repeat what went wrong in it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub round: u64,
    /// The host machine, `bochs` or `kvm` [default: kvm where it offers VT-x].
    #[arg(long, value_enum, hide_possible_values = true)]
    pub host: Option<HostKind>,
    /// Keep what the console prints in this file.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

impl Cli {
    /// Reads the process's command line. The matches tell the order in which
    /// options stood.
    pub fn read() -> (Self, ArgMatches) {
        let matches = Self::command().get_matches();
        match Self::from_arg_matches(&matches) {
            Ok(cli) => (cli, matches),
            Err(error) => error.exit(),
        }
    }
}

impl GuestArgs {
    /// Checks what needs no files of the tool's: a typing error should not cost
    /// a download.
    pub fn check(&self) -> Result<()> {
        request::check_memory(self.memory).map_err(Failure::from)?;
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        if let Some(available) = request::total_memory(&meminfo) {
            request::check_total(self.memory, self.machines.into(), available).map_err(Failure::from)?;
        }
        if let Some(kernel) = &self.kernel {
            request::check_kernel_file(kernel)?;
        }
        Ok(())
    }

    /// The guest asked for, its files fetched if need be, and checked.
    pub fn guest(&self, workspace: &Workspace, host: HostKind) -> Result<Guest> {
        self.check()?;
        let default_append = match (self.bare, host) {
            (true, HostKind::Bochs) => format!("{DEFAULT_APPEND} {BARE_BOCHS_APPEND}"),
            _ => DEFAULT_APPEND.to_owned(),
        };
        let guest = Guest {
            kernel: match &self.kernel {
                Some(kernel) => kernel.clone(),
                None => guest::kernel(workspace, self.flavour)?,
            },
            initrd: Some(match &self.initrd {
                Some(initrd) => initrd.clone(),
                None => guest::initrd(workspace)?,
            }),
            append: self.append.clone().unwrap_or(default_append),
            memory: self.memory,
        };
        guest.check()?;
        Ok(guest)
    }

    /// What the root nester starts for this guest.
    pub fn system(&self, guest: &Guest) -> Result<System> {
        let mut system = System::default();
        for n in 1..=self.machines {
            let name = match self.machines {
                1 => "linux".to_owned(),
                _ => format!("linux{n}"),
            };
            let initrd = guest.initrd.as_ref().map(|_| "initrd");
            let start = Start::linux(&name, guest.memory, "vmlinuz", initrd, &guest.append)
                .map_err(|error| Failure::error(FailureKind::Usage, format!("--append: {error}")))?;
            system = system.start(start);
        }
        Ok(system)
    }

    /// The image that boots the guests, Nestor built if it is in it. What
    /// assembling it needs must be there.
    pub fn image(&self, workspace: &Workspace, guest: &Guest) -> Result<Image> {
        let initrd = guest.initrd.as_deref();
        if self.bare {
            return Ok(Image::linux(guest.kernel.as_path(), initrd, &guest.append));
        }
        let system = self.system(guest)?;
        let binaries = Binaries::build(workspace, crate::binaries::SYSTEM)?;
        let mut image = Image::nestor(&binaries)?
            .program("machine", binaries.get("machine")?)
            .file("vmlinuz", guest.kernel.as_path());
        if let Some(initrd) = initrd {
            image = image.file("initrd", initrd);
        }
        Ok(image.system(&system))
    }
}

impl RunArgs {
    /// The kind of host asked for.
    pub fn host_kind(&self) -> HostKind {
        self.host.host.unwrap_or_else(HostKind::preferred)
    }

    /// The host asked for, with enough memory for `guest`.
    pub fn host_options(&self, guest: &Guest, pace: Pace) -> Result<HostOptions> {
        let needed = if self.guest.bare { guest.memory } else { memory_for(self.guest.system(guest)?.memory()) };
        Ok(HostOptions {
            kind: self.host_kind(),
            memory: self.host.host_memory.unwrap_or(needed),
            pace,
            cpu: self.host.cpu.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_tells_every_exit_code() {
        for kind in FailureKind::ALL {
            let start = format!("  {:<5}", kind.exit_code());
            assert!(AFTER_HELP.lines().any(|line| line.starts_with(&start)), "{kind:?}");
        }
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn a_plain_run_takes_guest_options() {
        let cli = parse("nestor --kernel k --memory 1G --machines 2 --host bochs").unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.run.guest.memory, Size::mib(1024));
        assert_eq!(cli.run.guest.machines, 2);
        assert_eq!(cli.run.host_kind(), HostKind::Bochs);
    }

    #[test]
    fn bad_lines_are_usage_errors() {
        for line in [
            "nestor --memory 12Q",
            "nestor --machines 0",
            "nestor --machines 10",
            "nestor --host vmware",
            "nestor boot --timeout 5",
            "nestor image",
            "nestor frobnicate",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn machines_have_their_own_names() {
        let cli = parse("nestor --machines 2").unwrap();
        let guest = Guest { kernel: "k".into(), initrd: None, append: "a".into(), memory: Size::mib(64) };
        let text = cli.run.guest.system(&guest).unwrap().to_string();
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("name=linux1 ") && text.contains("name=linux2 "));
        let options = cli.run.host_options(&guest, Pace::Fast).unwrap();
        assert_eq!(options.memory, Size::mib(512));
    }
}
