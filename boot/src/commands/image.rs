//! Writes the boot image for other machines.

use crate::cli::ImageArgs;
use crate::host::HostKind;
use crate::progress;
use crate::size::Size;
use crate::workspace::{self, Workspace};
use anyhow::Result;

/// Runs the command.
pub fn image(arguments: &ImageArgs) -> Result<()> {
    let workspace = Workspace::find()?;
    // Written for real machines: nothing that only an emulator needs.
    let guest = arguments.guest.guest(&workspace, HostKind::Kvm)?;
    let image = arguments.guest.image(&workspace, &guest)?;
    let step = progress::step(format_args!("writing {}", arguments.output.display()));
    workspace::complete(&arguments.output, |partial| image.assemble(partial))?;
    step.done(Size(std::fs::metadata(&arguments.output)?.len()));
    Ok(())
}
