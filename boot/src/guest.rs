//! The software guests run: a distribution kernel and a static busybox, taken
//! out of the distribution's packages into the cache. Nothing is installed.

use crate::failure::{Failure, FailureKind, OrFailure};
use crate::workspace::{self, Workspace};
use crate::{initrd, packages, progress};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which of the distribution's kernels guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flavour {
    /// The kernel for virtual machines: `linux-image-cloud-amd64`.
    Cloud,
    /// The kernel for any computer: `linux-image-amd64`.
    Generic,
}

impl Flavour {
    /// The packages to look for: Debian's name, then Ubuntu's.
    const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Cloud => &["linux-image-cloud-amd64", "linux-image-virtual", "linux-image-generic"],
            Self::Generic => &["linux-image-amd64", "linux-image-generic"],
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Generic => "generic",
        }
    }
}

/// The cached kernel of a flavour, fetched if it is not there yet.
pub fn kernel(workspace: &Workspace, flavour: Flavour) -> Result<PathBuf> {
    let kernel = workspace.cache.join("guest").join(flavour.folder()).join("vmlinuz");
    if kernel.exists() {
        return Ok(kernel);
    }
    packages::ensure(packages::GUESTS)?;
    let package = resolve_kernel_package(flavour)?;
    let step = progress::step("fetching the guest kernel");
    take_from_package(workspace, &package, "./boot/vmlinuz-*", &kernel)?;
    step.done(&package);
    Ok(kernel)
}

/// The cached initial file system, made if it is not there yet.
pub fn initrd(workspace: &Workspace) -> Result<PathBuf> {
    let busybox = busybox(workspace)?;
    // Its contents are this program's, so it is made anew; this is quick.
    keep(workspace, "initrd", &initrd::build_from_file(&busybox, None)?)
}

/// The initial file system of a guest that is measured: its first program is
/// the file `first`.
pub fn measured_initrd(workspace: &Workspace, first: &Path) -> Result<PathBuf> {
    let busybox = busybox(workspace)?;
    let first = fs::read(first).with_context(|| format!("cannot read {}", first.display()))?;
    keep(workspace, "initrd-measured", &initrd::build_from_file(&busybox, Some(&first))?)
}

/// Keeps `contents` as the file `name`, untouched if it is the same already.
fn keep(workspace: &Workspace, name: &str, contents: &[u8]) -> Result<PathBuf> {
    let path = workspace.cache.join("guest").join(name);
    if fs::read(&path).unwrap_or_default() != contents {
        workspace::complete(&path, |partial| Ok(fs::write(partial, contents)?))?;
    }
    Ok(path)
}

/// The cached static busybox, fetched if it is not there yet.
fn busybox(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.cache.join("guest");
    let busybox = folder.join("busybox");
    if !busybox.exists() {
        packages::ensure(packages::GUESTS)?;
        if candidate("busybox-static")?.is_none() {
            return Err(no_package(&["busybox-static"]));
        }
        let step = progress::step("fetching the guest's busybox");
        // Debian 12 has it in /bin, later ones and Ubuntu in /usr/bin.
        take_from_package(workspace, "busybox-static", "*/bin/busybox", &busybox)?;
        set_executable(&busybox)?;
        step.done("busybox-static");
    }
    Ok(busybox)
}

fn set_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

/// The package that holds the kernel image itself: what the first known
/// metapackage depends on.
fn resolve_kernel_package(flavour: Flavour) -> Result<String> {
    let names = flavour.packages();
    for (position, name) in names.iter().enumerate() {
        if let Some(record) = candidate(name)? {
            if position > 0 {
                progress::note(format_args!("there is no {}; taking {name}", names[0]));
            }
            return kernel_dependency(&record).with_context(|| format!("{name} depends on no kernel image"));
        }
    }
    Err(no_package(names))
}

/// apt's record of the version of `package` it would install. Reads the
/// package lists first if there are none.
fn candidate(package: &str) -> Result<Option<String>> {
    let show = || -> Result<Option<String>> {
        let output = Command::new("apt-cache")
            .args(["show", "--no-all-versions", package])
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .or_failure(FailureKind::Missing, "apt-cache")?;
        let record = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.success() && !record.trim().is_empty()).then_some(record))
    };
    if let Some(record) = show()? {
        return Ok(Some(record));
    }
    // An image for containers comes without package lists; the base system's
    // own packages tell whether that is the case.
    let has_lists = fs::read_dir("/var/lib/apt/lists")
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages")));
    if has_lists {
        return Ok(None);
    }
    if !packages::is_root() {
        return Err(Failure::error(
            FailureKind::Missing,
            "apt has no package lists; run this and try again:\n\n  sudo apt-get update",
        ));
    }
    packages::apt_get(&["update"])?;
    show()
}

fn no_package(names: &[&str]) -> anyhow::Error {
    Failure::error(
        FailureKind::Missing,
        format!("apt knows none of these packages: {}; give --kernel and --initrd instead", names.join(", ")),
    )
}

/// The first kernel image in the `Depends:` of a package record.
fn kernel_dependency(record: &str) -> Option<String> {
    record
        .lines()
        .find_map(|line| line.strip_prefix("Depends:"))?
        .split([',', '|'])
        .filter_map(|dependency| dependency.split_whitespace().next())
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
}

/// Downloads `package` and takes the one file matching `pattern` out of it.
fn take_from_package(workspace: &Workspace, package: &str, pattern: &str, to: &Path) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("download-").tempdir_in(&workspace.cache)?;
    let mut download = Command::new("apt-get");
    download.args(["-qq", "download", package]);
    if packages::is_root() {
        // apt's own user could not write here; the archive is checked against
        // the signed lists all the same.
        download.args(["-o", "APT::Sandbox::User=root"]);
    }
    let output = download
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .or_failure(FailureKind::Missing, "apt-get download")?;
    if !output.status.success() {
        return Err(Failure::error(
            FailureKind::Missing,
            format!("cannot download {package}: {}", String::from_utf8_lossy(&output.stderr).trim()),
        ));
    }
    let archive = fs::read_dir(&folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get downloaded no archive for {package}"))?;
    workspace::complete(to, |partial| extract(&archive, pattern, partial))
        .with_context(|| format!("cannot unpack {package}"))
}

/// Writes the file matching `pattern` in a Debian archive to `to`.
fn extract(archive: &Path, pattern: &str, to: &Path) -> Result<()> {
    let mut unpack = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .or_failure(FailureKind::Missing, "dpkg-deb")?;
    let tar_file = unpack.stdout.take().context("dpkg-deb's output")?;
    let status = Command::new("tar")
        .args(["-xO", "--wildcards", pattern])
        .stdin(tar_file)
        .stdout(File::create(to)?)
        .status()
        .or_failure(FailureKind::Missing, "tar")?;
    let unpacked = unpack.wait()?.success();
    if !unpacked || !status.success() || fs::metadata(to)?.len() == 0 {
        bail!("no file {pattern} in {}", archive.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_kernel_image_of_a_metapackage() {
        let debian = "Package: linux-image-cloud-amd64\n\
                      Depends: linux-image-6.1.0-18-cloud-amd64 (= 6.1.76-1)\n";
        assert_eq!(kernel_dependency(debian).as_deref(), Some("linux-image-6.1.0-18-cloud-amd64"));
        let ubuntu = "Depends: linux-modules-extra-6.8.0-31-generic, \
                      linux-image-6.8.0-31-generic | linux-image-unsigned-6.8.0-31-generic, \
                      linux-firmware\n";
        assert_eq!(kernel_dependency(ubuntu).as_deref(), Some("linux-image-6.8.0-31-generic"));
        assert_eq!(kernel_dependency("Depends: dash\n"), None);
        assert_eq!(kernel_dependency(""), None);
    }
}
