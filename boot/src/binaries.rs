//! Builds the bare-metal members of the workspace and finds their binaries.
//!
//! Cargo is run at run time, not from a build script: the outer cargo has
//! released its locks by then, and a plain `cargo build` or `cargo check` of
//! the tool does not build the whole system.

use crate::failure::{Failure, FailureKind, OrFailure};
use crate::progress::{self, Step};
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;
use anyhow::Result;
use cargo_metadata::Message;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, ChildStdout, Command, Stdio};

/// The target of everything that runs on the bare machine.
pub const TARGET: &str = "x86_64-unknown-none";

/// The members that make the system people boot.
pub const SYSTEM: &[&str] = &["hypervisor", "guest-kernel", "root", "machine"];

/// Built binaries by name.
#[derive(Clone, Debug)]
pub struct Binaries {
    paths: BTreeMap<String, PathBuf>,
}

impl Binaries {
    /// Builds `packages` for the bare machine, optimised, one after the other: built together, they would share the
    /// features of their dependencies, and the monitor would get an allocator that it has no use for.
    pub fn build(workspace: &Workspace, packages: &[&str]) -> Result<Self> {
        Toolchain::active(workspace).ensure()?;
        let step = progress::step(format_args!("building {}", packages.join(", ")));
        let mut paths = BTreeMap::new();
        for package in packages {
            build_one(workspace, package, &step, &mut paths)?;
        }
        step.done("built");
        Ok(Self { paths })
    }

    /// The binary called `name`.
    pub fn get(&self, name: &str) -> Result<&Path> {
        self.paths
            .get(name)
            .map(PathBuf::as_path)
            .ok_or_else(|| Failure::error(FailureKind::Build, format!("the build made no binary called `{name}`")))
    }

    /// The names of all binaries.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.paths.keys().map(String::as_str)
    }
}

/// Builds one package and notes its binaries.
fn build_one(workspace: &Workspace, package: &str, step: &Step, paths: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(&workspace.root)
        .args(["build", "--release", "--target", TARGET, "-p", package])
        .arg("--message-format=json-render-diagnostics")
        .arg(if progress::has_terminal() { "--color=always" } else { "--color=auto" })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // What is set for host builds (coverage, lints as errors) must not
    // reach the bare-metal one.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "LLVM_PROFILE_FILE"] {
        command.env_remove(variable);
    }
    let mut child = command.spawn().or_failure(FailureKind::Build, "cannot start cargo")?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(|| errors.map(|errors| relay(errors, step)));
        output.map_or(Ok(()), |output| note_binaries(output, paths))
    })?;
    let status = child.wait().or_failure(FailureKind::Build, "waiting for cargo")?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::error(FailureKind::Build, format!("building {package} failed")))
    }
}

/// Notes the binaries that cargo announces.
fn note_binaries(output: ChildStdout, paths: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for message in Message::parse_stream(BufReader::new(output)) {
        let message = message.or_failure(FailureKind::Build, "reading cargo's output")?;
        if let Message::CompilerArtifact(artifact) = message
            && let Some(executable) = artifact.executable
        {
            paths.insert(artifact.target.name, executable.into_std_path_buf());
        }
    }
    Ok(())
}

/// Shows what cargo says: its progress as the step's, the rest as it is.
fn relay(errors: ChildStderr, step: &Step) {
    for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        match cargo_status(&line) {
            // Said four times over, it would hide what matters.
            Some(status) if status.starts_with("Finished") => {}
            Some(status) => step.progress(&status),
            None => step.show(&line),
        }
    }
}

/// A line of cargo's about its progress, without its colours, its indentation
/// and the path of a package; `None` for diagnostics and all else. Cargo
/// right-aligns the verb that such a line begins with to twelve columns.
fn cargo_status(line: &str) -> Option<String> {
    const COLUMNS: usize = 12;
    let plain = without_colours(line);
    let (verb, rest) = plain.split_at_checked(COLUMNS)?;
    let is_verb =
        verb.trim_start().chars().all(char::is_alphabetic) && verb.trim_start().starts_with(char::is_uppercase);
    let status = plain.split(" (").next().unwrap_or_default().trim_start();
    (is_verb && rest.starts_with(' ')).then(|| status.to_owned())
}

/// `text` without the escape sequences that colour it (`ESC [ ... m`).
fn without_colours(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain += part.split_once('m').map_or(part, |(_, rest)| rest);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_from_diagnostics() {
        let compiling = "   Compiling root v0.1.0 (/a/path)";
        assert_eq!(cargo_status(compiling).as_deref(), Some("Compiling root v0.1.0"));
        let coloured = "\u{1b}[1m\u{1b}[92m    Blocking\u{1b}[0m waiting for file lock";
        assert_eq!(cargo_status(coloured).as_deref(), Some("Blocking waiting for file lock"));
        for line in [
            "",
            "warning: unused variable: `x`",
            "error[E0425]: cannot find value",
            "  --> guest-kernel/src/lib.rs:3:9",
            "12 |     let x = 3;",
            "   |         ^ help",
            "Caused by:",
            "            Indented text of something else",
        ] {
            assert_eq!(cargo_status(line), None, "{line}");
        }
    }
}
