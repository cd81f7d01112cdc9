//! Runs the system with its console on the user's terminal.

use crate::cli::RunArgs;
use crate::failure::{Failure, FailureKind};
use crate::host::{Host, HostKind, HostOptions, Pace};
use crate::session::{self, SessionEnd};
use crate::workspace::Workspace;
use crate::{packages, progress};
use anyhow::Result;
use std::path::PathBuf;

/// Runs the command.
pub fn run(arguments: &RunArgs) -> Result<()> {
    let (iso, options) = prepare(arguments, Pace::RealTime)?;
    let mut host = start(&iso, &options)?;
    progress::note("Ctrl-] q leaves; Ctrl-] 1 to 9 switches consoles");
    let end = session::run(host.console())?;
    eprintln!();
    match end {
        SessionEnd::Stopped => {
            let end = host.end()?;
            if arguments.guest.bare {
                end.check_silent()?;
            } else {
                end.check()?;
            }
            progress::note("powered off");
            Ok(())
        }
        SessionEnd::Left => {
            progress::note("left; the machine is stopped");
            Ok(())
        }
        SessionEnd::Signalled => Err(Failure::error(FailureKind::Interrupted, "interrupted")),
    }
}

/// Makes the image and decides on the host.
pub(super) fn prepare(arguments: &RunArgs, pace: Pace) -> Result<(PathBuf, HostOptions)> {
    let workspace = Workspace::find()?;
    let kind = arguments.host_kind();
    arguments.guest.check()?;
    kind.ensure(packages::IMAGE)?;
    let guest = arguments.guest.guest(&workspace, kind)?;
    let options = arguments.host_options(&guest, pace)?;
    let image = arguments.guest.image(&workspace, &guest)?;
    let name = if arguments.guest.bare { "linux" } else { "nestor" };
    let iso = image.cached(&workspace.images(), name)?;
    Ok((iso, options))
}

/// Starts the host machine.
pub(super) fn start(iso: &std::path::Path, options: &HostOptions) -> Result<Host> {
    let name = match options.kind {
        HostKind::Bochs => {
            let bochs = crate::bochs::Bochs::find()?;
            format!("Bochs {} ({})", bochs.version, bochs.binary.display())
        }
        HostKind::Kvm => options.kind.name().to_owned(),
    };
    let step = progress::step("starting the host machine");
    let host = Host::start(iso, options)?;
    step.done(format_args!("{name}, {}", options.memory));
    Ok(host)
}
