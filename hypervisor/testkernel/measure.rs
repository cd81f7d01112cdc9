//! Costs of the hot paths, in time stamp ticks.

use core::arch::x86_64::_rdtsc;

use protocols::machine::Call;
use protocols::policy::MsrEntry;
use protocols::virtual_cpu::{Groups, register};

use crate::code;
use crate::guest::Guest;
use crate::monitor::{call, run};
use crate::say;

const ROUNDS: u64 = 2000;

fn now() -> u64 {
    // SAFETY: reading the time stamp counter.
    unsafe { _rdtsc() }
}

/// Measures and prints.
pub fn all() {
    let base = guest_loop(code::empty_loop()).unwrap_or(0);
    if let Ok(cost) = guest_loop(code::cpuid_loop()) {
        say!("measure exit.cpuid.monitor {} instructions", (cost - base) / ROUNDS);
    }
    if let Ok(cost) = guest_loop(code::rdmsr_loop()) {
        say!("measure exit.rdmsr.monitor {} instructions", (cost - base) / ROUNDS);
    }
    let before = now();
    for _ in 0..ROUNDS {
        call(Call::Version as u64, [0; 4]);
    }
    say!("measure call.version {} instructions", (now() - before) / ROUNDS);
    let _ = legs(0, "");
    let _ = legs(Groups::INSTRUCTION.bits(), ".with_rip");
}

/// Runs a guest loop of [`ROUNDS`] rounds that takes its own time.
fn guest_loop(code: &[u8]) -> Result<u64, &'static str> {
    let mut guest = Guest::new(code)?;
    guest.cpuid(0, [1, 2, 3, 4]);
    let _ = guest.msr(0x1b, MsrEntry::CONSTANT, 5);
    guest.state.gpr[register::R14] = ROUNDS;
    guest.run()?;
    Ok(guest.state.gpr[register::RAX])
}

/// The way into the guest and the way out, each.
fn legs(wanted: u64, name: &str) -> Result<(), &'static str> {
    let mut guest = Guest::new(code::time_loop())?;
    guest.run()?;
    guest.state.wanted = wanted;
    let (mut entry, mut exit) = (0, 0);
    for _ in 0..ROUNDS {
        guest.state.advance = 1;
        let before = now();
        run(guest.cpu);
        let after = now();
        let inside = guest.state.gpr[register::RDX] << 32 | guest.state.gpr[register::RAX];
        entry += inside - before;
        exit += after - inside;
    }
    say!("measure run.entry_with_advance{name} {} instructions", entry / ROUNDS);
    say!("measure run.exit{name} {} instructions", exit / ROUNDS);
    // Without anything to bring to the VMCS: the port write exits again and again.
    let before = now();
    for _ in 0..ROUNDS {
        run(guest.cpu);
    }
    say!("measure run.round_trip{name} {} instructions", (now() - before) / ROUNDS);
    Ok(())
}
