//! The Rust toolchain in use, and whether it can build for the bare machine.
//!
//! `rust-toolchain.toml` names the target, and rustup usually installs what
//! that file names. But rustup can be told not to install anything by itself,
//! and a Rust that did not come from rustup does not read the file: cargo would
//! then fail with "can't find crate for `core`".

use crate::binaries::TARGET;
use crate::failure::{Failure, FailureKind, OrFailure};
use crate::workspace::Workspace;
use crate::{packages, progress};
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Rust toolchain, and the rustup that may manage it.
#[derive(Clone, Debug)]
pub struct Toolchain {
    rustc: PathBuf,
    rustup: Option<PathBuf>,
    folder: PathBuf,
}

/// How the target's libraries get into a toolchain that lacks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// rustup manages the toolchain and adds them.
    Rustup,
    /// Only another Rust helps.
    OtherRust,
}

impl Toolchain {
    /// The toolchain that cargo uses in `workspace`.
    pub fn active(workspace: &Workspace) -> Self {
        let rustc = std::env::var_os("RUSTC").filter(|value| !value.is_empty()).unwrap_or_else(|| "rustc".into());
        Self::new(rustc.into(), packages::find_program("rustup"), workspace.root.clone())
    }

    /// The toolchain of the compiler `rustc`, as it is in `folder`: which one
    /// that is, rustup decides by the folder.
    pub fn new(rustc: PathBuf, rustup: Option<PathBuf>, folder: PathBuf) -> Self {
        Self { rustc, rustup, folder }
    }

    /// What is to be done before it can build for the bare machine; `None` if
    /// it can.
    pub fn remedy(&self) -> Result<Option<Remedy>> {
        let libraries = self.ask(&["--print", "target-libdir", "--target", TARGET])?;
        if holds_core(&libraries) {
            return Ok(None);
        }
        let sysroot = self.ask(&["--print", "sysroot"])?;
        Ok(Some(remedy(&sysroot, self.rustup_compiler().as_deref())))
    }

    /// Makes sure that it can build for the bare machine: says that it cannot
    /// yet, and has rustup add what is missing.
    pub fn ensure(&self) -> Result<()> {
        match self.remedy()? {
            None => return Ok(()),
            Some(Remedy::OtherRust) => return Err(Failure::error(FailureKind::Missing, advice())),
            Some(Remedy::Rustup) => {}
        }
        progress::note(format_args!("Rust has no libraries for {TARGET} yet: running `{}`", command()));
        let mut rustup = self.command(self.rustup.as_deref().unwrap_or(Path::new("rustup")));
        let status = rustup.args(["target", "add", TARGET]).status().or_failure(FailureKind::Missing, "rustup")?;
        if !status.success() {
            return Err(Failure::error(
                FailureKind::Missing,
                format!("rustup failed; once this succeeds, try again:\n\n  {}", command()),
            ));
        }
        match self.remedy()? {
            None => Ok(()),
            Some(_) => Err(Failure::error(
                FailureKind::Missing,
                format!("`{}` succeeded, but {} still has no libraries for {TARGET}", command(), self.rustc.display()),
            )),
        }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// The path that the compiler answers.
    fn ask(&self, arguments: &[&str]) -> Result<PathBuf> {
        let name = self.rustc.display();
        let output =
            self.command(&self.rustc).args(arguments).output().or_failure(FailureKind::Missing, format!("{name}"))?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Failure::error(FailureKind::Missing, format!("{name}: {reason}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().into())
    }

    /// The compiler of the toolchain that rustup would change.
    fn rustup_compiler(&self) -> Option<PathBuf> {
        let output = self.command(self.rustup.as_deref()?).args(["which", "rustc"]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().into())
    }
}

/// Whether there is a `core` library in `folder`.
fn holds_core(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name.starts_with("libcore-") && name.ends_with(".rlib"))
        })
    })
}

/// What helps a toolchain in `sysroot` that lacks the target, where rustup, if
/// there is one, would change that of the compiler `rustup_compiler`.
fn remedy(sysroot: &Path, rustup_compiler: Option<&Path>) -> Remedy {
    match rustup_compiler {
        Some(compiler) if compiler.starts_with(sysroot) => Remedy::Rustup,
        _ => Remedy::OtherRust,
    }
}

/// What adds the target.
fn command() -> String {
    format!("rustup target add {TARGET}")
}

/// What the user can do where rustup does not manage the toolchain.
pub fn advice() -> String {
    format!(
        "this Rust has no libraries for {TARGET}, and rustup does not manage it; install Rust \
         from https://rustup.rs, run this and try again:\n\n  {}",
        command()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustup_helps_only_its_own_toolchains() {
        let of =
            |compiler: Option<&str>| remedy(Path::new("/home/me/.rustup/toolchains/stable"), compiler.map(Path::new));
        assert_eq!(of(Some("/home/me/.rustup/toolchains/stable/bin/rustc")), Remedy::Rustup);
        assert_eq!(of(Some("/home/me/.rustup/toolchains/stable-old/bin/rustc")), Remedy::OtherRust);
        assert_eq!(of(None), Remedy::OtherRust);
        let packaged = Path::new("/usr");
        assert_eq!(remedy(packaged, Some(Path::new("/home/me/.cargo/bin/rustc"))), Remedy::OtherRust);
    }

    #[test]
    fn libraries_are_recognised() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!holds_core(&folder.path().join("none")));
        assert!(!holds_core(folder.path()));
        fs::write(folder.path().join("libcore-0123.rmeta"), "").unwrap();
        assert!(!holds_core(folder.path()));
        fs::write(folder.path().join("libcore-0123.rlib"), "").unwrap();
        assert!(holds_core(folder.path()));
    }
}
