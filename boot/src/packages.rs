//! The distribution packages the tool needs on the user's computer: which are
//! missing, why they are needed, and installing them where that is possible.

use crate::failure::{Failure, FailureKind, OrFailure};
use crate::progress;
use anyhow::Result;
use std::env;
use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How one sees that a package is there.
#[derive(Clone, Copy, Debug)]
enum Sign {
    /// A program on the search path.
    Program(&'static str),
    /// Any one of these files.
    AnyFile(&'static [&'static str]),
}

/// A package, and what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Its name in Debian and Ubuntu.
    pub name: &'static str,
    /// What the tool needs it for.
    pub purpose: &'static str,
    sign: Sign,
}

impl Package {
    const fn program(name: &'static str, program: &'static str, purpose: &'static str) -> Self {
        Self { name, purpose, sign: Sign::Program(program) }
    }

    const fn files(name: &'static str, files: &'static [&'static str], purpose: &'static str) -> Self {
        Self { name, purpose, sign: Sign::AnyFile(files) }
    }

    /// Whether it is there.
    pub fn is_present(&self) -> bool {
        match self.sign {
            Sign::Program(program) => find_program(program).is_some(),
            Sign::AnyFile(files) => files.iter().any(|file| Path::new(file).exists()),
        }
    }
}

/// What assembling the boot image needs.
pub const IMAGE: &[Package] = &[
    Package::program("grub-common", "grub-mkrescue", "assembles the boot image"),
    Package::files("grub-pc-bin", &["/usr/lib/grub/i386-pc/moddep.lst"], "boots the image on BIOS machines"),
    Package::files("grub-efi-amd64-bin", &["/usr/lib/grub/x86_64-efi/moddep.lst"], "boots the image on UEFI machines"),
    Package::program("xorriso", "xorriso", "writes the boot image's file system"),
    Package::program("mtools", "mformat", "makes the boot image's UEFI partition"),
];

/// The system BIOS for Bochs.
pub const BOCHS_BIOS: &[&str] = &["/usr/share/bochs/BIOS-bochs-latest"];

/// The VGA BIOS for Bochs.
pub const VGA_BIOS: &[&str] = &["/usr/share/vgabios/vgabios.bin", "/usr/share/bochs/VGABIOS-lgpl-latest"];

/// What the Bochs host needs beside the emulator itself.
pub const BOCHS_FIRMWARE: &[Package] = &[
    Package::files("bochsbios", BOCHS_BIOS, "the emulator's system BIOS"),
    Package::files("vgabios", VGA_BIOS, "the emulator's VGA BIOS"),
];

/// The packaged emulator; not needed where `NESTOR_BOCHS` names another.
pub const BOCHS: &[Package] = &[
    Package::program("bochs", "bochs", "emulates a computer with VT-x"),
    Package::files(
        "bochs-term",
        &["/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so"],
        "lets the emulator run without a window",
    ),
];

/// What the KVM host needs.
pub const KVM: &[Package] =
    &[Package::program("qemu-system-x86", "qemu-system-x86_64", "runs a computer with nested VT-x on KVM")];

/// What fetching guest kernels needs.
pub const GUESTS: &[Package] = &[
    Package::program("apt", "apt-get", "fetches the guests' kernel and busybox"),
    Package::program("dpkg", "dpkg-deb", "unpacks them"),
];

/// Those of `packages` that are missing.
pub fn missing<'a>(packages: impl IntoIterator<Item = &'a Package>) -> Vec<Package> {
    packages.into_iter().filter(|package| !package.is_present()).copied().collect()
}

/// Makes sure that `packages` are there: names what is missing and why, then
/// installs it if the tool runs as root and apt is there.
pub fn ensure<'a>(packages: impl IntoIterator<Item = &'a Package>) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    progress::note("packages are missing:");
    for package in &missing {
        progress::note(format_args!("  {:<20} {}", package.name, package.purpose));
    }
    if !can_install() {
        return Err(Failure::error(FailureKind::Missing, install_advice(&missing)));
    }
    progress::note("installing them with apt-get");
    apt_get(&["update"])?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(missing.iter().map(|package| package.name));
    apt_get(&arguments)?;
    let still = self::missing(&missing);
    if still.is_empty() {
        Ok(())
    } else {
        Err(Failure::error(FailureKind::Missing, format!("installed, but still not found: {}", names(&still))))
    }
}

/// What the user can do to install `packages`.
pub fn install_advice(packages: &[Package]) -> String {
    if find_program("apt-get").is_some() {
        format!(
            "packages are missing; run this and try again:\n\n  sudo sh -c 'apt-get update && \
             apt-get install -y --no-install-recommends {}'",
            names(packages)
        )
    } else {
        format!(
            "packages are missing, and there is no apt-get to install them with; they are, by \
             their names in Debian:\n\n  {}",
            names(packages)
        )
    }
}

/// Whether the tool may install packages itself.
pub fn can_install() -> bool {
    is_root() && find_program("apt-get").is_some()
}

/// Whether the tool runs as root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Runs `apt-get`, its output shown on standard error.
pub fn apt_get(arguments: &[&str]) -> Result<()> {
    let what = format!("apt-get {}", arguments.join(" "));
    let output = std::io::stderr().as_fd().try_clone_to_owned().or_failure(FailureKind::Missing, &what)?;
    let status = Command::new("apt-get")
        .args(["-q", "-o", "DPkg::Lock::Timeout=120"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(output)
        .status()
        .or_failure(FailureKind::Missing, &what)?;
    if status.success() { Ok(()) } else { Err(Failure::error(FailureKind::Missing, format!("`{what}` failed"))) }
}

/// Finds a program on the search path, or where root's programs are.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

fn names(packages: &[Package]) -> String {
    let mut text = String::new();
    for package in packages {
        let separator = if text.is_empty() { "" } else { " " };
        write!(text, "{separator}{}", package.name).expect("writing to a string succeeds");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there() {
        let shell = Package::program("dash", "sh", "test");
        let nothing = Package::files("nothing", &["/nonexistent/a", "/nonexistent/b"], "test");
        let root = Package::files("base-files", &["/nonexistent", "/"], "test");
        let found = missing(&[shell, nothing, root]);
        assert_eq!(names(&found), "nothing");
        assert!(install_advice(&found).contains(" nothing"));
    }
}
