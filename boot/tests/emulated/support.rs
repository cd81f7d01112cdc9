//! What the trials share: the built system, host machines, and a shell.

use anyhow::{Context, Result};
use boot::binaries::{Binaries, SYSTEM};
use boot::console::Console;
use boot::guest::{self, Flavour};
use boot::host::{Host, HostKind, HostOptions, Pace, memory_for};
use boot::image::Image;
use boot::initrd::PROMPT;
use boot::packages;
use boot::size::Size;
use boot::system::{Start, System};
use boot::watchdog::Guarded;
use boot::workspace::Workspace;
use libtest_mimic::{Failed, Trial};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// How long a boot may take. Generous: continuous integration runs on slow
/// computers.
pub const BOOT: Duration = Duration::from_secs(600);
/// How long an answer may take.
pub const REPLY: Duration = Duration::from_secs(120);

/// A trial of this name.
pub fn trial(name: &str, test: fn() -> Result<()>) -> Trial {
    Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}"))))
}

/// What is built and fetched once for all trials.
pub struct Built {
    pub workspace: Workspace,
    pub binaries: Binaries,
}

/// Builds the system, the first time.
pub fn built() -> Result<&'static Built> {
    static BUILT: OnceLock<Built> = OnceLock::new();
    static BUILDING: Mutex<()> = Mutex::new(());
    // After a trial has failed to build, the next ones try and report again.
    let _building = BUILDING.lock();
    if let Some(built) = BUILT.get() {
        return Ok(built);
    }
    HostKind::Bochs.ensure(packages::IMAGE)?;
    let workspace = Workspace::find()?;
    let binaries = Binaries::build(&workspace, &[SYSTEM, &["conformance", "fuzz"]].concat())?;
    Ok(BUILT.get_or_init(|| Built { workspace, binaries }))
}

/// A Bochs host machine with `memory`.
pub fn options(memory: Size) -> HostOptions {
    HostOptions { kind: HostKind::Bochs, memory, pace: Pace::Fast, cpu: None }
}

impl Built {
    /// The system with the programs that are tested.
    pub fn nestor(&self) -> Result<Image> {
        Ok(Image::nestor(&self.binaries)?
            .program("machine", self.binaries.get("machine")?)
            .program("conformance", self.binaries.get("conformance")?))
    }

    /// The system with a Linux kernel and its initial file system.
    pub fn with_linux(&self, flavour: Flavour) -> Result<Image> {
        let kernel = guest::kernel(&self.workspace, flavour)?;
        let initrd = guest::initrd(&self.workspace)?;
        Ok(self.nestor()?.file("vmlinuz", kernel.as_path()).file("initrd", initrd.as_path()))
    }

    /// Boots `image` with these children, in as much memory as they need.
    pub fn boot(&self, image: Image, name: &str, system: &System) -> Result<Host> {
        let memory = memory_for(system.memory());
        self.start(&image.system(system), name, &options(memory))
    }

    /// Boots `image`.
    pub fn start(&self, image: &Image, name: &str, options: &HostOptions) -> Result<Host> {
        let iso = image.cached(&self.workspace.images(), &format!("test-{name}"))?;
        let mut host = Host::start(&iso, options)?;
        // What a trial saw is kept, to find out why it failed.
        host.console().log_to(&self.workspace.images().join(format!("test-{name}.log")))?;
        Ok(host)
    }
}

/// A machine called `name` with the kernel and initrd of [`Built::with_linux`].
pub fn linux(name: &str, memory: Size) -> Result<Start> {
    linux_from(name, memory, "vmlinuz")
}

/// The same with the kernel in the file `kernel`.
pub fn linux_from(name: &str, memory: Size, kernel: &str) -> Result<Start> {
    Ok(Start::linux(name, memory, kernel, Some("initrd"), "console=ttyS0 quiet")?)
}

/// The tool itself, as a user starts it; its standard input and output are the
/// two directions of a console.
pub struct Tool {
    process: Guarded,
    console: Console,
}

impl Tool {
    /// Starts it with these arguments.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        let far = OwnedFd::from(listener.accept()?.0);
        let mut command = Command::new(env!("CARGO_BIN_EXE_nestor"));
        command.args(arguments).stdin(far.try_clone()?).stdout(far);
        Ok(Self { process: Guarded::spawn(&mut command)?, console: Console::new(near)? })
    }

    /// What it prints and reads.
    pub fn console(&mut self) -> &mut Console {
        &mut self.console
    }

    /// Waits until it ends, and gives its exit code, if it has one.
    pub fn end(&mut self, timeout: Duration) -> Result<Option<i32>> {
        let status = self.process.wait(timeout)?.context("the tool does not end")?;
        Ok(status.code())
    }
}

/// What the console printed without the lines of kernel and monitor, and those.
/// These two do not wait for the line that root is sending: their own stand
/// within it.
pub fn apart(printed: &str) -> (String, Vec<&str>) {
    let (mut others, mut below) = (String::new(), Vec::new());
    let mut rest = printed;
    while let Some(at) = ["[kernel ] ", "[monitor] "].iter().filter_map(|mark| rest.find(mark)).min() {
        others += &rest[..at];
        let (line, after) = rest[at..].split_once('\n').unwrap_or((&rest[at..], ""));
        below.push(line);
        rest = after;
    }
    (others + rest, below)
}

/// Runs a command in the guest's shell and gives what it printed. The prompt
/// must have been read.
pub fn run(console: &mut Console, command: &str) -> Result<String> {
    console.send_line(command)?;
    let output = console.expect(PROMPT, REPLY).with_context(|| format!("running `{command}`"))?;
    // The terminal's echo of the command comes first, after what was shown when
    // the console was switched.
    let echoed = output.split_once(command).map_or(output.as_str(), |(_, rest)| rest);
    Ok(echoed.split_once('\n').map_or("", |(_, output)| output).to_owned())
}
