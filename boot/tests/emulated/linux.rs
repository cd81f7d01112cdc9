//! Debian's Linux in machines.

use crate::support::{BOOT, REPLY, built, linux, run, trial};
use anyhow::{Context, Result, ensure};
use boot::console::Console;
use boot::guest::Flavour;
use boot::initrd::PROMPT;
use boot::size::Size;
use boot::system::System;
use libtest_mimic::Trial;

/// Ctrl-], which begins a chord for the console itself.
const PREFIX: u8 = 0x1d;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("linux::generic_kernel_in_1_gib", generic),
        trial("linux::shell_in_256_mib", shell),
        trial("linux::two_machines", two_machines),
    ]
}

/// Everything that a shell is asked, in one boot.
fn shell() -> Result<()> {
    let built = built()?;
    let system = System::default().start(linux("linux", Size::mib(256))?);
    let mut host = built.boot(built.with_linux(Flavour::Cloud)?, "shell", &system)?;
    let console = host.console();
    console.expect(PROMPT, BOOT)?;

    let name = run(console, "uname -a")?;
    ensure!(name.starts_with("Linux guest ") && name.contains("x86_64"), "uname: {name}");
    let cpu = run(console, "cat /proc/cpuinfo")?;
    ensure!(cpu.contains("processor\t: 0\n") && cpu.contains("\nmodel name\t: "), "cpuinfo: {cpu}");
    interrupts(console)?;
    kernel_log(console)?;
    time(console)?;

    let numbers = run(console, "seq 1000 | tail -n 1 | tr 0 z")?;
    ensure!(numbers.lines().next() == Some("1zzz"), "pipeline: {numbers}");
    // No byte is lost in either direction.
    let long = "0123456789abcdef".repeat(40);
    console.send_line(&format!("echo {long} | tr -d '\\n' | wc -c"))?;
    console.expect("\n640\n", REPLY)?;
    console.expect(PROMPT, REPLY)?;
    let numbers = run(console, "seq -s, 2000")?;
    let expected: Vec<String> = (1..=2000).map(|n| n.to_string()).collect();
    ensure!(numbers.lines().next() == Some(expected.join(",").as_str()), "2000 numbers: {numbers}");

    console.send_line("echo busy; while :; do :; done")?;
    console.expect("\nbusy\n", REPLY)?;
    console.send(b"\x03")?;
    console.expect(PROMPT, REPLY).context("Ctrl-C on a busy loop")?;

    run(console, "touch /root/before")?;
    console.send_line("reboot")?;
    console.expect("the guest restarts", REPLY)?;
    console.expect(PROMPT, BOOT).context("after `reboot`")?;
    let files = run(console, "ls /root | wc -l")?;
    ensure!(files.trim_start().starts_with('0'), "files are left after `reboot`: {files}");

    console.send_line("poweroff")?;
    host.wait(REPLY)?.check()
}

/// The timer and the serial port interrupt, and nothing else does wrongly.
fn interrupts(console: &mut Console) -> Result<()> {
    let text = run(console, "cat /proc/interrupts")?;
    let count = |name: &str| {
        let line = text.lines().find(|line| line.contains(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    for name in ["ttyS0", "Local timer interrupts"] {
        ensure!(count(name).is_some_and(|count| count > 0), "no interrupts of {name}:\n{text}");
    }
    for name in ["Spurious interrupts", "ERR:", "MIS:", "Machine check exceptions"] {
        ensure!(count(name).unwrap_or(0) == 0, "{name}:\n{text}");
    }
    Ok(())
}

/// The kernel's log has no lines of the level of errors or worse. One is about
/// the model of the processor, not about the platform: that it suffers from
/// RETBleed, as Linux says of it on the bare host machine, too.
fn errors(console: &mut Console) -> Result<()> {
    let errors = run(console, "dmesg -r | grep '^<[0-3]>' | grep -v RETBleed; echo end")?;
    ensure!(errors.starts_with("end\n"), "errors in the kernel's log:\n{errors}");
    Ok(())
}

/// The kernel's log has no errors, and no complaints about the platform.
fn kernel_log(console: &mut Console) -> Result<()> {
    errors(console)?;
    let complaints = [
        "firmware bug",
        "unchecked MSR",
        "ACPI .*(error|warning)",
        "WARNING:",
        "call trace",
        "BUG:",
        "unstable",
        "nobody cared",
        "soft lockup",
        "rcu.*stall",
    ];
    for complaint in complaints {
        let lines = run(console, &format!("dmesg | grep -v RETBleed | grep -iE '{complaint}'; echo end"))?;
        ensure!(lines.starts_with("end\n"), "complaints in the kernel's log:\n{lines}");
    }
    Ok(())
}

/// The clock advances, and about as fast as a timer says.
fn time(console: &mut Console) -> Result<()> {
    let text = run(console, "date +%s; sleep 2; date +%s")?;
    let seconds: Vec<u64> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
    ensure!(seconds.len() == 2, "date: {text}");
    let passed = seconds[1].saturating_sub(seconds[0]);
    ensure!((2..=5).contains(&passed), "{passed} seconds passed during `sleep 2`");
    // Bochs starts with the host's time of day.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    ensure!(now.abs_diff(seconds[0]) < 24 * 3600, "the guest's clock says {}, this computer's {now}", seconds[0]);
    Ok(())
}

fn generic() -> Result<()> {
    let built = built()?;
    let system = System::default().start(linux("linux", Size::mib(1024))?);
    let mut host = built.boot(built.with_linux(Flavour::Generic)?, "generic", &system)?;
    let console = host.console();
    console.expect(PROMPT, BOOT)?;
    let memory = run(console, "grep MemTotal /proc/meminfo")?;
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    ensure!((900 << 10..1 << 20).contains(&kib), "{memory}");
    errors(console)?;
    console.send_line("poweroff")?;
    host.wait(REPLY)?.check()
}

/// Two machines run side by side, each with its console; when one is off, the
/// other goes on.
fn two_machines() -> Result<()> {
    let built = built()?;
    let memory = Size::mib(128);
    let system = System::default().start(linux("first", memory)?).start(linux("second", memory)?);
    let mut host = built.boot(built.with_linux(Flavour::Cloud)?, "two-machines", &system)?;
    let console = host.console();
    console.expect(PROMPT, BOOT).context("the first machine")?;
    run(console, "touch /tmp/mine")?;

    switch(console, b'2')?;
    console.expect(PROMPT, BOOT).context("the second machine")?;
    let files = run(console, "ls /tmp | wc -l")?;
    ensure!(files.trim_start().starts_with('0'), "the second machine sees the first one's files: {files}");

    switch(console, b'1')?;
    console.send_line("poweroff")?;
    console.expect("first: ended", REPLY)?;

    switch(console, b'2')?;
    let sum = run(console, "echo sum $((40 + 2))")?;
    ensure!(sum.starts_with("sum 42\n"), "{sum}");
    console.send_line("poweroff")?;
    console.expect("second: ended", REPLY)?;
    host.wait(REPLY)?.check()
}

fn switch(console: &mut Console, number: u8) -> Result<()> {
    console.send(&[PREFIX, number])?;
    console.expect(&format!("[root   ] console {}\n", char::from(number)), REPLY)?;
    Ok(())
}
