//! Says what this computer can do, and what is missing.

use crate::bochs::Bochs;
use crate::failure::{Failure, FailureKind};
use crate::host::HostKind;
use crate::{kvm, packages};
use anyhow::Result;
use std::fmt::Display;
use std::fs;

/// VT-x features as `/proc/cpuinfo` names them: Linux's names, what they are,
/// and whether the monitor can do without.
const FEATURES: &[(&str, &str, &str)] = &[
    ("vmx", "VT-x", "required"),
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

/// Runs the command.
pub fn doctor() -> Result<()> {
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |text| text.trim_start_matches([' ', '\t', ':']));
    row("processor", model);
    for &(flag, name, need) in FEATURES {
        let state = if kvm::cpu_has(&cpu_info, flag) { "yes" } else { "no" };
        row(name, format_args!("{state} ({need} on bare metal and KVM)"));
    }
    row(
        "KVM",
        if kvm::is_accessible() {
            "/dev/kvm is usable"
        } else if fs::exists("/dev/kvm").unwrap_or(false) {
            "/dev/kvm is there, but this user may not open it (group `kvm`?)"
        } else {
            "there is no /dev/kvm"
        },
    );
    row(
        "nested VT-x",
        match kvm::nesting_enabled() {
            Some(true) => "enabled",
            Some(false) => "disabled: load kvm_intel with nested=1",
            None => "kvm_intel is not loaded",
        },
    );

    let mut wanted: Vec<_> = [packages::IMAGE, packages::BOCHS_FIRMWARE, packages::GUESTS].concat();
    if Bochs::named_by_user().is_none() {
        wanted.extend(packages::BOCHS);
    }
    if HostKind::preferred() == HostKind::Kvm {
        wanted.extend(packages::KVM);
    }
    let bochs = Bochs::find();
    match &bochs {
        Ok(bochs) => row(
            "Bochs",
            format_args!(
                "{} at {}{}",
                bochs.version,
                bochs.binary.display(),
                if bochs.has_debugger { ", a debugger build" } else { "" }
            ),
        ),
        Err(error) => row("Bochs", error),
    }
    let missing = packages::missing(&wanted);
    for package in &missing {
        row("missing package", format_args!("{}: {}", package.name, package.purpose));
    }
    if !missing.is_empty() {
        if !packages::can_install() {
            return Err(Failure::error(FailureKind::Missing, packages::install_advice(&missing)));
        }
        row("to do", "nothing: `cargo run` installs what is missing");
    } else {
        row("packages", "all there");
    }
    row(
        "host machine",
        match HostKind::preferred() {
            HostKind::Kvm => "QEMU on KVM",
            HostKind::Bochs => "Bochs",
        },
    );
    Ok(())
}

fn row(name: &str, value: impl Display) {
    println!("{name:<32}{value}");
}
