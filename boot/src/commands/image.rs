//! Writes the boot image for other machines.

use crate::cli::ImageArgs;
use crate::host::HostKind;
use crate::size::Size;
use crate::workspace::{Output, Workspace};
use crate::{packages, progress};
use anyhow::Result;
use std::fs;

/// Runs the command.
pub fn image(arguments: &ImageArgs) -> Result<()> {
    let output = Output::new("--output", &arguments.output)?;
    let workspace = Workspace::find()?;
    arguments.guest.check()?;
    packages::ensure(packages::IMAGE)?;
    // Written for real machines: nothing that only an emulator needs.
    let guest = arguments.guest.guest(&workspace, HostKind::Kvm)?;
    let image = arguments.guest.image(&workspace, &guest)?;
    let step = progress::step(format_args!("writing {}", arguments.output.display()));
    let mut size = 0;
    output.write(|partial| {
        image.assemble(partial)?;
        size = fs::metadata(partial)?.len();
        Ok(())
    })?;
    step.done(Size(size));
    Ok(())
}
