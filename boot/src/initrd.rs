//! The initial file system guests get when the user brings none: busybox as
//! init and shell on the guest's console, with job control.

use crate::cpio::Archive;
use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// busybox init's table. The shell gets whatever console the kernel has, as
/// its controlling terminal (`cttyhack`), so that Ctrl-C and job control work;
/// when it exits, a new one starts. Init has made it a session leader already:
/// `setsid` would fork, and init would take the end of its parent for the
/// shell's.
const INITTAB: &str = "\
::sysinit:/etc/rc
::respawn:/bin/cttyhack /bin/sh -l
::ctrlaltdel:/bin/reboot
";

/// What init runs first.
const RC: &str = "\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
hostname guest
echo
echo \"Linux $(uname -r) is up. \\`poweroff\\` ends it, \\`reboot\\` restarts it.\"
";

/// The login shell's settings.
const PROFILE: &str = "\
export PATH=/bin HOME=/root PS1='guest:\\w# '
cd /root
";

/// The prompt the guest's shell shows when it is ready for the first command.
pub const PROMPT: &str = "guest:/root# ";

/// What follows a measured guest's first program: the end, once the console
/// has sent everything.
const END: &str = "\
#!/bin/sh
sleep 1
poweroff -f
";

/// Builds the compressed archive around the busybox binary `busybox`, whose
/// commands are called `applets`. With `first`, that is the first program and
/// the guest ends after it; otherwise the guest gets a shell.
pub fn build<'a>(busybox: &[u8], applets: impl Iterator<Item = &'a str>, first: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        archive.directory(folder, 0o755);
    }
    // Init's standard streams, before devtmpfs is there.
    archive.character_device("dev/console", 0o600, (5, 1));
    archive.file("bin/busybox", 0o755, busybox);
    for applet in applets.filter(|&applet| applet != "busybox") {
        archive.symlink(&format!("bin/{applet}"), "busybox");
    }
    match first {
        None => archive.symlink("init", "bin/init"),
        Some(first) => {
            archive.file("init", 0o755, first);
            archive.file("init.real", 0o755, END.as_bytes());
        }
    }
    archive.file("etc/inittab", 0o644, INITTAB.as_bytes());
    archive.file("etc/rc", 0o755, RC.as_bytes());
    archive.file("etc/profile", 0o644, PROFILE.as_bytes());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&archive.finish())?;
    Ok(encoder.finish()?)
}

/// Builds it from a busybox file, which tells its own applets.
pub fn build_from_file(busybox: &Path, first: Option<&[u8]>) -> Result<Vec<u8>> {
    let output = Command::new(busybox)
        .arg("--list")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", busybox.display()))?;
    let applets = String::from_utf8(output.stdout).context("busybox lists its commands")?;
    for needed in ["init", "sh", "cttyhack", "mount", "poweroff"] {
        ensure!(applets.lines().any(|applet| applet == needed), "{} has no command `{needed}`", busybox.display());
    }
    build(&fs::read(busybox)?, applets.lines(), first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[test]
    fn holds_init_and_every_applet() {
        let initrd = build(b"ELF", ["busybox", "init", "sh"].into_iter(), None).unwrap();
        let mut archive = Vec::new();
        GzDecoder::new(&initrd[..]).read_to_end(&mut archive).unwrap();
        let text = String::from_utf8_lossy(&archive);
        for name in ["init", "bin/sh", "bin/busybox", "dev/console", "etc/inittab"] {
            assert!(text.contains(&format!("{name}\0")), "{name}");
        }
        assert_eq!(text.matches("bin/busybox\0").count(), 1);
    }

    #[test]
    fn a_first_program_is_in_the_place_of_init() {
        let initrd = build(b"ELF", ["sh"].into_iter(), Some(b"FIRST")).unwrap();
        let mut archive = Vec::new();
        GzDecoder::new(&initrd[..]).read_to_end(&mut archive).unwrap();
        let text = String::from_utf8_lossy(&archive);
        assert!(text.contains("FIRST") && text.contains("init.real\0") && !text.contains("bin/init"));
    }

    #[test]
    fn equal_inputs_give_equal_archives() {
        let build = || build(b"ELF", ["sh"].into_iter(), None).unwrap();
        assert_eq!(build(), build());
    }
}
