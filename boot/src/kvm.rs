//! QEMU on KVM as the host machine. Its CPU must offer VT-x to guests, that
//! is, the computer's KVM must allow nesting.
//!
//! Kept thin: this host could not be tried where it was written, for want of a
//! computer with KVM; what it relies on is QEMU's documented command line.

use crate::host::HostOptions;
use crate::watchdog::Guarded;
use anyhow::Result;
use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

/// QEMU's messages, in the machine's folder.
pub const LOG: &str = "qemu.log";

/// Why this computer does not offer VT-x to KVM guests of this user; `None` if
/// it does.
pub fn obstacle() -> Option<&'static str> {
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !cpu_has(&cpu_info, "vmx") {
        Some("this computer's CPU does not offer VT-x")
    } else if !fs::exists("/dev/kvm").unwrap_or(false) {
        Some("there is no /dev/kvm")
    } else if !is_accessible() {
        Some("this user may not open /dev/kvm; members of the group `kvm` usually may")
    } else {
        match nesting_enabled() {
            Some(true) => None,
            Some(false) => Some("nesting is off; load kvm_intel with nested=1"),
            None => Some("the module kvm_intel is not loaded"),
        }
    }
}

/// Whether `/dev/kvm` is there and this user may open it.
pub fn is_accessible() -> bool {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Whether KVM's Intel module allows nesting; `None` if it is not loaded.
pub fn nesting_enabled() -> Option<bool> {
    let text = fs::read_to_string("/sys/module/kvm_intel/parameters/nested").ok()?;
    Some(matches!(text.trim(), "Y" | "1"))
}

/// Whether `/proc/cpuinfo`'s text names `flag` among the flags of the first
/// CPU; Linux lists VT-x's own features on a line of their own.
pub fn cpu_has(cpu_info: &str, flag: &str) -> bool {
    cpu_info
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| matches!(key.trim(), "flags" | "vmx flags"))
        .any(|(_, flags)| flags.split_whitespace().any(|found| found == flag))
}

/// Starts QEMU; its serial port connects to `port`.
pub(crate) fn start(iso: &Path, folder: &Path, port: u16, options: &HostOptions) -> Result<Guarded> {
    let log = File::create(folder.join(LOG))?;
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(arguments(port, options))
        .arg("-cdrom")
        .arg(iso)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Guarded::spawn(&mut command)
}

fn arguments(port: u16, options: &HostOptions) -> Vec<String> {
    let cpu = options.cpu.as_deref().unwrap_or("host");
    let memory = options.memory.to_mib_rounded_up().to_string();
    let console = format!("socket,id=console,host=127.0.0.1,port={port}");
    [
        "-machine",
        "pc",
        "-enable-kvm",
        "-cpu",
        cpu,
        "-m",
        &memory,
        "-boot",
        "d",
        "-display",
        "none",
        "-monitor",
        "none",
        "-no-reboot",
        "-nic",
        "none",
        "-chardev",
        &console,
        "-serial",
        "chardev:console",
    ]
    .map(str::to_owned)
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::Size;

    #[test]
    fn cpu_flags() {
        let text = "processor\t: 0\nflags\t\t: fpu vmx\nvmx flags\t: ept vpid\n\nflags : svm\n";
        assert!(cpu_has(text, "vmx"));
        assert!(cpu_has(text, "ept"));
        assert!(!cpu_has(text, "svm"));
        assert!(!cpu_has(text, "vm"));
        assert!(!cpu_has("", "vmx"));
    }

    #[test]
    fn command_line() {
        let line = arguments(1234, &HostOptions::new(Size::mib(800))).join(" ");
        assert!(line.contains("-cpu host -m 800 "));
        assert!(line.contains("port=1234 -serial chardev:console"));
    }
}
