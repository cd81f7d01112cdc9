//! Nesters that fail, beside a machine that must go on: the other nesters, the
//! kernel and the monitor are unharmed, and root says what happened.

use crate::support::{BOOT, REPLY, apart, built, linux, run, trial};
use anyhow::{Context, Result, ensure};
use boot::guest::Flavour;
use boot::initrd::PROMPT;
use boot::size::Size;
use boot::system::{Start, System};
use boot::transcript::SystemEnd;
use libtest_mimic::Trial;

const MEMORY: Size = Size::mib(8);

pub fn trials() -> Vec<Trial> {
    vec![trial("failing::nesters_end_alone", ending), trial("failing::nesters_never_reply", busy)]
}

/// Roles that the test nester plays to its end, and what root says of it.
const ENDING: &[(&str, &str)] = &[
    ("crash", "crash: page fault at 0x10 "),
    ("misuse", "misuse: misuse of call "),
    ("panic", "panic: "),
    ("fail", "fail: failed: ended"),
    ("done", "done: ended"),
    ("destroy-console", "destroy-console: ended"),
    ("nonsense", "nonsense: ended"),
];
/// What the kernel says of a guest whose nester replies nonsense, and of one
/// whose nester does not reply.
const NONSENSE: &str = " stopped: its keeper's reply makes no sense: ";
const SILENCE: &str = " stopped: its keeper has not replied in time";

/// Nesters that crash, misuse the API, panic, end, and reply nonsense.
fn ending() -> Result<()> {
    let built = built()?;
    let mut system = System::default().start(linux("linux", Size::mib(128))?);
    for (role, _) in ENDING {
        system = system.start(Start::new("conformance", role, MEMORY)?.arguments(role)?);
    }
    let mut host = built.boot(built.with_linux(Flavour::Cloud)?, "ending", &system)?;
    let console = host.console();
    console.expect(PROMPT, BOOT)?;
    let printed = console.transcript().all();
    let (printed, below) = apart(&printed);
    for (role, message) in ENDING {
        let message = format!("[root   ] {message}");
        ensure!(printed.contains(&message), "no `{message}` for the role {role}:\n{printed}");
    }
    ensure!(below.iter().any(|line| line.contains(NONSENSE)), "no `{NONSENSE}` in:\n{}", below.join("\n"));
    let sum = run(console, "echo sum $((40 + 2))")?;
    ensure!(sum.starts_with("sum 42\n"), "{sum}");
    console.send_line("poweroff")?;
    let end = host.wait(REPLY)?;
    // The system says that a child has failed, although the machine did not.
    let failed = matches!(&end.system, Some(SystemEnd::Failed(reason)) if reason.contains("page fault"));
    ensure!(failed, "the system ended with {:?}", end.system);
    Ok(())
}

/// Nesters that never answer: one that only computes, one that floods its
/// console, one that takes its guest's exit and sleeps. The machine gets its
/// share of the processor; that its guest then triple-faults ends it alone.
fn busy() -> Result<()> {
    let built = built()?;
    let append = "console=ttyS0 quiet reboot=triple";
    let linux = Start::linux("linux", Size::mib(128), "vmlinuz", Some("initrd"), append)?;
    let mut system = System::default().start(linux);
    for role in ["spin", "flood", "silent"] {
        system = system.start(Start::new("conformance", role, MEMORY)?.arguments(role)?);
    }
    let mut host = built.boot(built.with_linux(Flavour::Cloud)?, "busy", &system)?;
    let console = host.console();
    console.expect(PROMPT, BOOT).context("beside busy nesters")?;
    let sum = run(console, "echo sum $((40 + 2))")?;
    ensure!(sum.starts_with("sum 42\n"), "{sum}");
    // That may have been before the guest was up.
    if !console.transcript().all().contains(SILENCE) {
        console.expect(SILENCE, REPLY)?;
    }
    console.send_line("reboot -f")?;
    console.expect("[linux  ] the guest ended by a triple fault", REPLY)?;
    console.expect("[root   ] linux: failed: ended", REPLY)?;
    Ok(())
}
