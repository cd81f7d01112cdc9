//! The command line of Nestor's host-side tool; see the library for what it
//! does.

#![forbid(unsafe_code)]

use boot::cli::Cli;
use boot::{commands, failure};
use std::process::ExitCode;

fn main() -> ExitCode {
    let (cli, matches) = Cli::read();
    match commands::dispatch(&cli, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nestor: {error:#}");
            ExitCode::from(failure::exit_code(&error))
        }
    }
}
