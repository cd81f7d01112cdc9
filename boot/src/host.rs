//! A host machine: the computer, emulated or virtual, that boots an image.

use crate::bochs::Bochs;
use crate::console::Console;
use crate::failure::{Failure, FailureKind, OrFailure};
use crate::packages::Package;
use crate::size::Size;
use crate::transcript::SystemEnd;
use crate::watchdog::Guarded;
use crate::{kvm, packages};
use anyhow::Result;
use clap::ValueEnum;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Which kind of host machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HostKind {
    /// The Bochs emulator: works on any computer.
    Bochs,
    /// QEMU on KVM: needs a computer with VT-x and nested virtualisation.
    Kvm,
}

impl HostKind {
    /// KVM where it is offered, Bochs otherwise.
    pub fn preferred() -> Self {
        match kvm::obstacle() {
            None => Self::Kvm,
            Some(_) => Self::Bochs,
        }
    }

    /// What users are told of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bochs => "Bochs",
            Self::Kvm => "QEMU on KVM",
        }
    }

    /// The packages that such a host needs.
    pub fn packages(self) -> Vec<Package> {
        match self {
            Self::Bochs if Bochs::named_by_user().is_some() => packages::BOCHS_FIRMWARE.to_vec(),
            Self::Bochs => [packages::BOCHS, packages::BOCHS_FIRMWARE].concat(),
            Self::Kvm => packages::KVM.to_vec(),
        }
    }

    /// Makes sure that this computer can be such a host, and that the host's
    /// packages and `others` are there: all together, since users who cannot
    /// have them installed by the tool are to be told once.
    pub fn ensure(self, others: &[Package]) -> Result<()> {
        if self == Self::Kvm
            && let Some(obstacle) = kvm::obstacle()
        {
            return Err(Failure::error(FailureKind::Host, format!("--host kvm: {obstacle}")));
        }
        packages::ensure(self.packages().iter().chain(others))?;
        match self {
            Self::Bochs => Bochs::find().map(drop),
            Self::Kvm => Ok(()),
        }
    }
}

/// How an emulated computer's time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// No faster than real time, for people.
    RealTime,
    /// As fast as possible: time spent waiting is skipped, for scripts.
    Fast,
}

/// What the host machine is to be.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Its kind.
    pub kind: HostKind,
    /// Its memory.
    pub memory: Size,
    /// How its time passes (Bochs).
    pub pace: Pace,
    /// Another CPU model than the usual one with VT-x, by the emulator's name.
    pub cpu: Option<String>,
}

impl HostOptions {
    /// A host of the preferred kind with `memory`, running fast.
    pub fn new(memory: Size) -> Self {
        Self { kind: HostKind::preferred(), memory, pace: Pace::Fast, cpu: None }
    }
}

/// Memory of a host machine beyond what its guests get: the monitor, the
/// kernel and the boot modules.
pub const HOST_OVERHEAD: Size = Size::mib(256);
/// The least a host machine gets.
pub const LEAST_HOST_MEMORY: Size = Size::mib(512);

/// The memory a host machine needs for guests that get `guests` together.
pub fn memory_for(guests: Size) -> Size {
    let wanted = Size(guests.0.saturating_add(HOST_OVERHEAD.0));
    Size::mib(wanted.to_mib_rounded_up()).max(LEAST_HOST_MEMORY)
}

/// How a host machine stopped.
#[derive(Debug)]
pub struct HostEnd {
    /// What the system said about it.
    pub system: Option<SystemEnd>,
    /// The emulator's exit status.
    pub status: Option<ExitStatus>,
    /// What the emulator complained of, if it did.
    pub complaint: Option<String>,
}

impl HostEnd {
    /// Success if the system announced its power-off; the reason otherwise.
    pub fn check(&self) -> Result<()> {
        match (&self.system, &self.complaint) {
            (Some(SystemEnd::PowerOff), _) => Ok(()),
            (Some(SystemEnd::Failed(reason)), _) => {
                Err(Failure::error(FailureKind::Failed, format!("the system failed: {reason}")))
            }
            (None, Some(complaint)) => {
                Err(Failure::error(FailureKind::Host, format!("the host machine stopped: {complaint}")))
            }
            (None, None) => {
                Err(Failure::error(FailureKind::Host, "the host machine stopped, and the system did not say why"))
            }
        }
    }

    /// For a system that announces nothing, such as Linux booted directly:
    /// success unless the emulator complained.
    pub fn check_silent(&self) -> Result<()> {
        match &self.complaint {
            None => Ok(()),
            Some(complaint) => Err(Failure::error(FailureKind::Host, format!("the host machine stopped: {complaint}"))),
        }
    }
}

/// A running host machine. Dropping it ends it.
#[derive(Debug)]
pub struct Host {
    // Ends before its folder goes.
    process: Guarded,
    console: Console,
    folder: TempDir,
    kind: HostKind,
}

/// How long an emulator may take until it opens the console.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to exit once it closed the console.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

impl Host {
    /// Starts a host machine from the image `iso`; the host's packages must be
    /// there.
    pub fn start(iso: &Path, options: &HostOptions) -> Result<Self> {
        let iso = iso.canonicalize().or_failure(FailureKind::Usage, iso.display().to_string())?;
        let folder = tempfile::Builder::new().prefix("nestor-host-").tempdir()?;
        let listener =
            TcpListener::bind("127.0.0.1:0").or_failure(FailureKind::Host, "cannot open a port for the console")?;
        let port = listener.local_addr()?.port();
        let mut process = match options.kind {
            HostKind::Bochs => Bochs::find()?.start(&iso, folder.path(), port, options)?,
            HostKind::Kvm => kvm::start(&iso, folder.path(), port, options)?,
        };
        let Some(stream) = accept(&listener, &mut process)? else {
            let complaint = complaint(options.kind, folder.path());
            let mut reason = complaint.unwrap_or_else(|| "it gave no reason".to_owned());
            if let Some(cpu) = &options.cpu {
                reason += &format!(" (does it know the CPU model `{cpu}`?)");
            }
            return Err(Failure::error(FailureKind::Host, format!("the host machine did not start: {reason}")));
        };
        Ok(Self { process, console: Console::new(stream)?, folder, kind: options.kind })
    }

    /// Its console.
    pub fn console(&mut self) -> &mut Console {
        &mut self.console
    }

    /// Collects how the machine stopped, once its console is closed.
    pub fn end(&mut self) -> Result<HostEnd> {
        let status = self.process.wait(EXIT_TIMEOUT)?;
        Ok(HostEnd {
            system: self.console.system_end().cloned(),
            status,
            complaint: complaint(self.kind, self.folder.path()),
        })
    }

    /// Waits until the machine stops, and tells how it did.
    pub fn wait(&mut self, timeout: Duration) -> Result<HostEnd> {
        self.console.read_to_end(timeout).map_err(|error| Failure::error(FailureKind::Timeout, error.to_string()))?;
        self.end()
    }

    /// What the emulator wrote into its own log so far.
    pub fn emulator_log(&self) -> String {
        log_text(self.kind, self.folder.path())
    }
}

/// Waits for the emulator's connection, or for its early end.
fn accept(listener: &TcpListener, process: &mut Guarded) -> Result<Option<TcpStream>> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    while Instant::now() < deadline {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(Some(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if process.wait(Duration::from_millis(20))?.is_some() {
            return Ok(None);
        }
    }
    Ok(None)
}

fn log_text(kind: HostKind, folder: &Path) -> String {
    let name = match kind {
        HostKind::Bochs => crate::bochs::LOG,
        HostKind::Kvm => kvm::LOG,
    };
    let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn complaint(kind: HostKind, folder: &Path) -> Option<String> {
    let log = log_text(kind, folder);
    match kind {
        HostKind::Bochs => crate::bochs::complaint(&log).or_else(|| {
            let output = std::fs::read(folder.join(crate::bochs::OUTPUT)).unwrap_or_default();
            crate::bochs::complaint(&String::from_utf8_lossy(&output))
        }),
        HostKind::Kvm => (!log.trim().is_empty()).then(|| log.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_memory_has_room_and_a_floor() {
        assert_eq!(memory_for(Size::mib(16)), Size::mib(512));
        assert_eq!(memory_for(Size::mib(544)), Size::mib(800));
        assert_eq!(memory_for(Size(Size::mib(544).0 + 1)), Size::mib(801));
    }

    #[test]
    fn ends_are_judged() {
        let end =
            |system, complaint: Option<&str>| HostEnd { system, status: None, complaint: complaint.map(str::to_owned) };
        let code = |end: HostEnd| crate::failure::exit_code(&end.check().unwrap_err());
        assert!(end(Some(SystemEnd::PowerOff), None).check().is_ok());
        assert_eq!(code(end(Some(SystemEnd::Failed("x".into())), None)), 1);
        assert_eq!(code(end(None, Some("triple fault"))), 5);
        assert_eq!(code(end(None, None)), 5);
        assert!(end(None, None).check_silent().is_ok());
        assert!(end(None, Some("panic")).check_silent().is_err());
    }
}
