//! Says what this computer can do, and what is missing.

use crate::binaries::TARGET;
use crate::bochs::Bochs;
use crate::failure::{Failure, FailureKind};
use crate::host::HostKind;
use crate::toolchain::{self, Remedy, Toolchain};
use crate::workspace::Workspace;
use crate::{kvm, packages};
use anyhow::Result;
use std::fmt::Display;
use std::fs;

/// VT-x's features as `/proc/cpuinfo` names them: Linux's names, what they are,
/// and whether the monitor can do without.
const FEATURES: &[(&str, &str, &str)] = &[
    ("ept", "extended page tables", "required"),
    ("unrestricted_guest", "unrestricted guest", "required"),
    ("vpid", "virtual processor identifiers", "optional"),
    ("flexpriority", "APIC access virtualisation", "optional"),
    ("vnmi", "virtual NMIs", "optional"),
    ("preemption_timer", "preemption timer", "optional"),
    ("mtf", "monitor trap flag", "optional"),
    ("pml", "page modification logging", "optional"),
    ("shadow_vmcs", "VMCS shadowing", "optional"),
];

/// Runs the command. It succeeds if `cargo run` would, which installs what it
/// can.
pub fn doctor() -> Result<()> {
    processor();
    match kvm::obstacle() {
        None => row("KVM", "offers VT-x to guests"),
        Some(obstacle) => row("KVM", format_args!("no: {obstacle}")),
    }
    let bochs = bochs();
    let rust = rust();
    let packages = packages();
    let preferred = HostKind::preferred();
    row("host machine", preferred.name());
    if preferred == HostKind::Bochs {
        bochs?;
    }
    rust.and(packages)
}

/// The processor and its VT-x.
fn processor() {
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |text| text.trim_start_matches([' ', '\t', ':']));
    row("processor", model);
    if !kvm::cpu_has(&cpu_info, "vmx") {
        row("VT-x", "no; the emulator brings its own");
        return;
    }
    row("VT-x", "yes");
    for &(flag, name, need) in FEATURES {
        let state = if kvm::cpu_has(&cpu_info, flag) { "yes" } else { "no" };
        row(&format!("  {name}"), format_args!("{state} ({need} on bare metal and KVM)"));
    }
}

/// The emulator. It is an error if the one that the user named does not work;
/// where there is none yet, it is among the missing packages.
fn bochs() -> Result<()> {
    let bochs = Bochs::find();
    match &bochs {
        Ok(bochs) => {
            let kind = if bochs.has_debugger { ", a build with the debugger, which is slower" } else { "" };
            row("Bochs", format_args!("{} at {}{kind}", bochs.version, bochs.binary.display()));
        }
        Err(error) => row("Bochs", error),
    }
    if Bochs::named_by_user().is_some() { bochs.map(drop) } else { Ok(()) }
}

/// The compiler of the system.
fn rust() -> Result<()> {
    let toolchain = Toolchain::active(&Workspace::find()?);
    match toolchain.remedy()? {
        None => row("Rust", format_args!("builds for {TARGET}")),
        Some(Remedy::Rustup) => {
            row("Rust", format_args!("no libraries for {TARGET}; `cargo run` adds them with rustup"))
        }
        Some(Remedy::OtherRust) => {
            row("Rust", format_args!("no libraries for {TARGET}"));
            return Err(Failure::error(FailureKind::Missing, toolchain::advice()));
        }
    }
    Ok(())
}

/// The distribution's packages.
fn packages() -> Result<()> {
    let mut wanted = [packages::IMAGE, packages::GUESTS, &HostKind::Bochs.packages()].concat();
    if HostKind::preferred() == HostKind::Kvm {
        wanted.extend(HostKind::Kvm.packages());
    }
    let missing = packages::missing(&wanted);
    match missing.len() {
        0 => row("packages", "all there"),
        count => row("packages", format_args!("{count} missing")),
    }
    for package in &missing {
        row(&format!("  {}", package.name), package.purpose);
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !packages::can_install() {
        return Err(Failure::error(FailureKind::Missing, packages::install_advice(&missing)));
    }
    row("  to do", "nothing: `cargo run` installs them");
    Ok(())
}

fn row(name: &str, value: impl Display) {
    println!("{name:<34}{value}");
}
