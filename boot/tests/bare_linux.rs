//! The host machine and its console, tried with a payload that is known to
//! work: the distribution's Linux, booted directly.

use anyhow::{Context, Result, ensure};
use boot::guest::{self, Flavour};
use boot::host::{Host, HostKind, HostOptions, Pace};
use boot::image::Image;
use boot::initrd::PROMPT;
use boot::packages;
use boot::request::{BARE_BOCHS_APPEND, DEFAULT_APPEND};
use boot::size::Size;
use boot::workspace::Workspace;
use libtest_mimic::{Arguments, Failed, Trial};
use std::time::Duration;

/// Generous: continuous integration runs on slow computers.
const BOOT: Duration = Duration::from_secs(300);
const REPLY: Duration = Duration::from_secs(60);

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![trial("shell_answers_and_powers_off", shell), trial("triple_fault_is_reported", triple_fault)];
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: &str, test: fn() -> Result<()>) -> Trial {
    Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}"))))
}

fn options() -> Result<HostOptions> {
    HostKind::Bochs.ensure(packages::IMAGE)?;
    Ok(HostOptions { kind: HostKind::Bochs, memory: Size::mib(256), pace: Pace::Fast, cpu: None })
}

fn shell() -> Result<()> {
    let options = options()?;
    let workspace = Workspace::find()?;
    let kernel = guest::kernel(&workspace, Flavour::Cloud)?;
    let initrd = guest::initrd(&workspace)?;
    let append = format!("{DEFAULT_APPEND} {BARE_BOCHS_APPEND} quiet");
    let iso = Image::linux(kernel.as_path(), Some(initrd.as_path()), &append)
        .cached(&workspace.images(), "test-bare-linux")?;

    let mut host = Host::start(&iso, &options)?;
    let console = host.console();
    console.expect(PROMPT, BOOT)?;
    console.send_line("uname -s")?;
    console.expect("\nLinux\n", REPLY)?;
    console.expect(PROMPT, REPLY)?;

    console.send_line("seq 1000 | tail -n 1 | tr 0 z")?;
    console.expect("\n1zzz\n", REPLY)?;
    console.expect(PROMPT, REPLY)?;

    // No byte is lost in either direction.
    let long = "0123456789abcdef".repeat(40);
    console.send_line(&format!("echo {long} | tr -d '\\n' | wc -c"))?;
    console.expect("\n640\n", REPLY)?;
    console.expect(PROMPT, REPLY)?;
    console.send_line("seq -s, 2000 | tr -d '\\n' | md5sum; seq -s, 2000")?;
    console.expect("\n", REPLY)?;
    console.expect("\n", REPLY)?;
    let numbers = console.expect("\n", REPLY)?;
    let expected: Vec<String> = (1..=2000).map(|n| n.to_string()).collect();
    ensure!(numbers == expected.join(","), "got: {numbers}");
    console.expect(PROMPT, REPLY)?;

    console.send_line("echo busy; while :; do :; done")?;
    console.expect("\nbusy\n", REPLY)?;
    console.send(b"\x03")?;
    console.expect(PROMPT, REPLY)?;

    console.send_line("poweroff")?;
    host.wait(REPLY)?.check_silent()
}

/// A monitor that does nothing but fault: the host must end and say why.
fn triple_fault() -> Result<()> {
    let options = options()?;
    let workspace = Workspace::find()?;
    let image = Image::new(faulting_monitor());
    let iso = image.cached(&workspace.images(), "test-triple-fault")?;
    let mut host = Host::start(&iso, &options)?;
    let end = host.wait(REPLY)?;
    let complaint = end.complaint.context("the host did not complain")?;
    ensure!(complaint.contains("triple fault"), "{complaint}");
    Ok(())
}

/// A flat multiboot2 image whose code is `lidt [0]; ud2` (with a zero limit
/// every exception becomes a triple fault).
fn faulting_monitor() -> Vec<u8> {
    const LOAD: u32 = 0x10_0000;
    let mut image = Vec::new();
    let mut put = |word: u32| image.extend(word.to_le_bytes());
    // Multiboot2 specification 1.6 or 2.0, section 3.1: the header, then the
    // address tag, the entry address tag and the end tag.
    let length = 16 + 24 + 16 + 8;
    let magic = 0xe852_50d6_u32;
    put(magic);
    put(0);
    put(length);
    put(0u32.wrapping_sub(magic).wrapping_sub(length));
    for word in [2, 24, LOAD, LOAD, 0, 0] {
        put(word);
    }
    for word in [3, 12, LOAD + length, 0] {
        put(word);
    }
    for word in [0, 8] {
        put(word);
    }
    // lidt [LOAD + length + 16]
    image.extend([0x0f, 0x01, 0x1d]);
    image.extend((LOAD + length + 16).to_le_bytes());
    // ud2
    image.extend([0x0f, 0x0b]);
    image.resize(length as usize + 64, 0);
    image
}
