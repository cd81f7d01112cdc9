//! Builds the bare-metal members of the workspace and finds their binaries.
//!
//! Cargo is run at run time, not from a build script: the outer cargo has
//! released its locks by then, and a plain `cargo build` or `cargo check` of
//! the tool does not build the whole system.

use crate::failure::{Failure, FailureKind, OrFailure};
use crate::progress;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;
use anyhow::Result;
use cargo_metadata::Message;
use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
            build_one(workspace, package, &mut paths)?;
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
fn build_one(workspace: &Workspace, package: &str, paths: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(&workspace.root)
        .args(["build", "--release", "--target", TARGET, "-p", package])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // What is set for host builds (coverage, lints as errors) must not
    // reach the bare-metal one.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "LLVM_PROFILE_FILE"] {
        command.env_remove(variable);
    }
    let mut child = command.spawn().or_failure(FailureKind::Build, "cannot start cargo")?;
    if let Some(output) = child.stdout.take() {
        for message in Message::parse_stream(BufReader::new(output)) {
            let message = message.or_failure(FailureKind::Build, "reading cargo's output")?;
            if let Message::CompilerArtifact(artifact) = message
                && let Some(executable) = artifact.executable
            {
                paths.insert(artifact.target.name, executable.into_std_path_buf());
            }
        }
    }
    let status = child.wait().or_failure(FailureKind::Build, "waiting for cargo")?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::error(FailureKind::Build, format!("building {package} failed")))
    }
}
