//! Debian's Linux in machines: both kernels, each in little and in much memory.

use crate::support::{BOOT, REPLY, Tool, built, linux, linux_from, run, trial};
use anyhow::{Context, Result, ensure};
use boot::console::Console;
use boot::guest::{self, Flavour};
use boot::initrd::PROMPT;
use boot::request::total_memory;
use boot::size::Size;
use boot::system::System;
use libtest_mimic::Trial;

/// Ctrl-], which begins a chord for the console itself.
const PREFIX: u8 = 0x1d;
/// More than a kernel takes of its memory for itself.
const KERNEL_MEMORY: Size = Size::mib(96);

pub fn trials() -> Vec<Trial> {
    vec![
        trial("linux::generic_kernel_in_1_gib", generic),
        trial("linux::cloud_kernel_in_256_mib", shell),
        trial("linux::cloud_kernel_in_1_gib_beside_generic_in_256_mib", two_machines),
    ]
}

/// Everything that a shell is asked, in one boot.
fn shell() -> Result<()> {
    let built = built()?;
    let system = System::default().start(linux("linux", Size::mib(256))?);
    let mut host = built.boot(built.with_linux(Flavour::Cloud)?, "shell", &system)?;
    let console = host.console();
    console.expect(PROMPT, BOOT)?;

    booted(console, Flavour::Cloud, Size::mib(256))?;
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

    absent_memory(console)?;
    console.send_line("poweroff")?;
    accesses_to_nothing(console)?;
    host.wait(REPLY)?.check()
}

/// It is the kernel that was to be booted, it has the memory that it was to
/// have, and its log has no errors. One is about the model of the processor, not
/// about the platform: that it suffers from RETBleed, as Linux says of it on the
/// bare host machine, too.
fn booted(console: &mut Console, flavour: Flavour, memory: Size) -> Result<()> {
    let name = run(console, "uname -a")?;
    ensure!(name.starts_with("Linux guest ") && name.contains("x86_64"), "uname: {name}");
    let is_cloud = name.split_whitespace().nth(2).is_some_and(|release| release.contains("cloud"));
    ensure!(is_cloud == (flavour == Flavour::Cloud), "uname: {name}");
    let text = run(console, "grep MemTotal /proc/meminfo")?;
    let total = total_memory(&text).with_context(|| format!("meminfo: {text}"))?;
    // The kernel itself needs some of it.
    ensure!(total < memory && total.0 + KERNEL_MEMORY.0 > memory.0, "{total} of {memory}");
    let errors = run(console, "dmesg -r | grep '^<[0-3]>' | grep -v RETBleed; echo end")?;
    ensure!(errors.starts_with("end\n"), "errors in the kernel's log:\n{errors}");
    Ok(())
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

/// The kernel's log has no complaints about the platform.
fn kernel_log(console: &mut Console) -> Result<()> {
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

/// Where there is neither memory nor a device, reads give ones and writes do
/// nothing.
fn absent_memory(console: &mut Console) -> Result<()> {
    let memory = run(console, "devmem 0xd0000000 32 0; devmem 0xd0000000 32")?;
    ensure!(memory.starts_with("0xFFFFFFFF\n"), "memory at 0xd0000000: {memory}");
    Ok(())
}

/// The guest has lived through accesses to all kinds of what is not there, as
/// its nester says at its end.
fn accesses_to_nothing(console: &mut Console) -> Result<()> {
    console.expect("accesses to what is not there: ", REPLY)?;
    let line = console.read_line(REPLY)?;
    let counts: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    ensure!(counts.len() == 3 && counts.iter().all(|&count| count > 0), "ports, MSRs, memory: {line}");
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

/// What `cargo run` does, to its exit code.
fn generic() -> Result<()> {
    // Packages and files that are missing are not to come out of this trial's time.
    built()?.with_linux(Flavour::Generic)?;
    let mut tool = Tool::start(&["--host", "bochs", "--flavour", "generic", "--memory", "1G"])?;
    let console = tool.console();
    console.expect("Linux version ", BOOT).context("the kernel's first line, which `quiet` would hide")?;
    console.expect(PROMPT, BOOT)?;
    booted(console, Flavour::Generic, Size::mib(1024))?;
    console.send_line("poweroff")?;
    let code = tool.end(REPLY)?;
    ensure!(code == Some(0), "the tool ended with {code:?}");
    Ok(())
}

/// Two machines with different kernels run side by side, each with its console;
/// when one is off, the other goes on.
fn two_machines() -> Result<()> {
    let built = built()?;
    let generic = guest::kernel(&built.workspace, Flavour::Generic)?;
    let image = built.with_linux(Flavour::Cloud)?.file("generic", generic.as_path());
    let (large, small) = (Size::mib(1024), Size::mib(256));
    let system = System::default().start(linux("first", large)?).start(linux_from("second", small, "generic")?);
    let mut host = built.boot(image, "two-machines", &system)?;
    let console = host.console();
    console.expect(PROMPT, BOOT).context("the first machine")?;
    booted(console, Flavour::Cloud, large)?;
    run(console, "touch /tmp/mine")?;

    switch(console, b'2')?;
    console.expect(PROMPT, BOOT).context("the second machine")?;
    booted(console, Flavour::Generic, small)?;
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
