//! The tool's commands.

pub mod bench;
pub mod boot;
pub mod doctor;
pub mod fuzz;
pub mod image;
pub mod run;

use crate::cli::{Cli, Command};
use anyhow::Result;
use clap::ArgMatches;

/// Runs the command that `cli` names.
pub fn dispatch(cli: &Cli, matches: &ArgMatches) -> Result<()> {
    match &cli.command {
        None => run::run(&cli.run),
        Some(Command::Boot(arguments)) => {
            let matches = matches.subcommand_matches("boot");
            boot::boot(arguments, matches.unwrap_or(&ArgMatches::default()))
        }
        Some(Command::Image(arguments)) => image::image(arguments),
        Some(Command::Bench(arguments)) => bench::bench(arguments),
        Some(Command::Fuzz(arguments)) => fuzz::fuzz(arguments),
        Some(Command::Doctor) => doctor::doctor(),
    }
}
