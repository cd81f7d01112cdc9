//! Micro-guest tests: one behaviour each.

use protocols::machine::Call;
use protocols::policy::{Controls, Kind, MsrEntry};
use protocols::virtual_cpu::{Event, Groups, exit_reason as reason, register};

use crate::bare::{Outcome, Test};
use crate::code;
use crate::guest::{CODE, Guest, MEMORY, OPEN};
use crate::monitor::{ask, memory, run};
use crate::native;

/// Fails the test unless the condition holds.
macro_rules! check {
    ($condition:expr, $what:literal) => {
        if !$condition {
            return Err($what);
        }
    };
}
pub(crate) use check;

/// Every test.
pub const ALL: &[Test] = &[
    ("version", version),
    ("real_mode_port_and_hlt", real_mode),
    ("cpuid_from_the_table", cpuid),
    ("ept_violation_and_map", ept_violation),
    ("ept_split_and_unmap", ept_split),
    ("triple_fault", triple_fault),
    ("msr_policy", msrs),
    ("from_real_to_64_bit_mode", modes),
    ("pae_paging", pae),
    ("vmx_instruction", vmx),
    ("vmcall_policy", vmcall),
    ("xsetbv_policy", xsetbv),
    ("injected_event", injected),
    ("posted_interrupt_waits", posted_waits),
    ("posted_interrupt_at_once", posted_at_once),
    ("bad_event_fails_entry", bad_event),
    ("bad_state_fails_entry", bad_state),
    ("cr4_policy", cr4),
    ("cr0_caching", cr0),
    ("cr8_exits", cr8),
    ("cr2_is_kept", cr2),
    ("exception_bitmap", exceptions),
    ("single_step_over_cpuid", single_step),
    ("interrupt_ends_run", interrupt),
    ("nmi_ends_run", nmi),
    ("run_after_run", run_after_run),
    ("read_state", read_state),
    ("two_machines", two_machines),
];

fn version() -> Outcome {
    check!(ask(Call::Version, [0; 4]) == Ok(protocols::machine::VERSION), "another version");
    Ok(())
}

fn real_mode() -> Outcome {
    let mut guest = Guest::new(code::out_hlt())?;
    guest.real_mode();
    check!(guest.run()? == reason::IO, "no port exit");
    check!(guest.port() == 0x80 && guest.state.gpr[register::RAX] & 0xff == 0x5a, "wrong port or value");
    check!(guest.state.rip == CODE + 2, "wrong RIP");
    check!(guest.state.cr0 == 0x6000_0010, "wrong CR0");
    check!(guest.step()? == reason::HLT, "no HLT exit");
    check!(guest.step()? == reason::IO, "HLT was not skipped");
    Ok(())
}

fn cpuid() -> Outcome {
    let mut guest = Guest::new(code::cpuid())?;
    guest.cpuid(1, [1, 2, u32::MAX, 4]);
    guest.state.gpr[register::RAX] = 0xffff_ffff_0000_0001;
    check!(guest.run()? == reason::IO, "the table did not answer");
    let gpr = guest.state.gpr;
    check!(gpr[0] == 1 && gpr[3] == 2 && gpr[2] == 4, "wrong answer");
    check!(gpr[1] == 0xf7ff_ffff, "OSXSAVE is not CR4's");
    guest.long_mode();
    guest.state.gpr[register::RAX] = 2;
    check!(guest.run()? == reason::CPUID, "an unknown leaf did not exit");
    check!(guest.state.exit.instruction_length == 2, "wrong length");
    Ok(())
}

fn ept_violation() -> Outcome {
    let mut guest = Guest::new(code::touch())?;
    guest.state.gpr[register::RBX] = MEMORY + 0x1238;
    guest.state.gpr[register::RCX] = 77;
    check!(guest.run()? == reason::EPT_VIOLATION, "no violation");
    let exit = guest.state.exit;
    check!(exit.guest_physical == MEMORY + 0x1238 && exit.guest_linear == MEMORY + 0x1238, "wrong address");
    check!(exit.qualification & 7 == 1, "not a read");
    let more = memory(4096, 4096);
    check!(guest.map(MEMORY + 0x1000, more, 4096, 1) == Ok(1), "map");
    check!(guest.run()? == reason::EPT_VIOLATION && guest.state.exit.qualification & 7 == 2, "read-only was written");
    check!(guest.map(MEMORY + 0x1000, more, 4096, 3) == Ok(1), "map again");
    check!(guest.run()? == reason::HLT, "not resumed");
    check!(crate::monitor::bytes(more + 0x238, 1)[0] == 77, "nothing written");
    Ok(())
}

fn ept_split() -> Outcome {
    let mut guest = Guest::new(code::touch())?;
    guest.state.gpr[register::RBX] = 0x10_0000;
    check!(guest.run()? == reason::HLT, "not mapped");
    check!(guest.map(0x10_0000, 0, 4096, 0) == Ok(1), "unmap");
    guest.long_mode();
    check!(guest.run()? == reason::EPT_VIOLATION, "still mapped");
    guest.long_mode();
    guest.state.gpr[register::RBX] = 0x10_1000;
    check!(guest.run()? == reason::HLT, "the neighbour is gone");
    Ok(())
}

fn triple_fault() -> Outcome {
    let mut guest = Guest::new(code::triple_fault())?;
    check!(guest.run()? == reason::TRIPLE_FAULT, "no triple fault");
    Ok(())
}

fn msrs() -> Outcome {
    let mut guest = Guest::new(code::rdmsr())?;
    guest.state.gpr[register::RCX] = 0x1b;
    check!(guest.run()? == reason::RDMSR, "unknown MSR did not exit");
    check!(guest.msr(0x1b, MsrEntry::CONSTANT, 0x1_2345_6789).is_ok(), "constant");
    check!(guest.run()? == reason::IO, "the table did not answer");
    check!(guest.state.gpr[0] == 0x2345_6789 && guest.state.gpr[2] == 1, "wrong value");
    check!(guest.msr(0x1b, MsrEntry::DIRECT, 0) == Err(6), "a forbidden MSR became direct");
    check!(guest.msr(0xc000_0102, MsrEntry::DIRECT, 0).is_ok(), "KERNEL_GS_BASE was refused");
    guest.long_mode();
    guest.state.gpr[register::RCX] = 0xc000_0102;
    check!(guest.run()? == reason::IO, "a direct MSR exited");
    let mut guest = Guest::new(code::wrmsr())?;
    guest.state.gpr[register::RCX] = 0x1b;
    check!(guest.run()? == reason::WRMSR, "unknown MSR did not exit");
    check!(guest.msr(0x1b, MsrEntry::CONSTANT, 1).is_ok(), "constant");
    check!(guest.run()? == reason::IO, "a constant MSR's write exited");
    guest.long_mode();
    guest.state.gpr[register::RCX] = 0xc000_0080;
    guest.state.gpr[register::RAX] = 0x2;
    guest.state.gpr[register::RDX] = 0;
    check!(guest.run()? == reason::IO && guest.port() == 0x99, "a reserved bit of EFER was set");
    Ok(())
}

fn modes() -> Outcome {
    let mut guest = Guest::new(code::modes())?;
    guest.real_mode();
    for step in 1..=4 {
        let why = if step == 1 { guest.run()? } else { guest.step()? };
        check!(why == reason::IO && guest.port() == 0x85, "an unexpected exit");
        check!(guest.state.gpr[0] & 0xff == step, "wrong step");
        check!((guest.state.efer & 0x400 != 0) == (step >= 3), "wrong EFER.LMA");
        check!((guest.state.cr0 & 1 != 0) == (step >= 2), "wrong CR0.PE");
    }
    check!(guest.state.gpr[register::RBX] == 0x500, "EFER is read wrong");
    check!(guest.state.cr0 & 0x6000_0000 == 0x6000_0000, "CD and NW are not kept");
    check!(guest.state.cr4 == 0x20, "CR4 shows more than the guest set");
    Ok(())
}

fn pae() -> Outcome {
    let mut guest = Guest::new(code::pae())?;
    guest.protected_mode();
    guest.at(0x9000, 1)[0] = 0x42;
    check!(guest.run()? == reason::HLT, "an unexpected exit");
    check!(guest.state.gpr[register::RBX] == 0x42, "wrong memory");
    check!(guest.state.cr0 >> 30 == 3, "wrong CR0");
    // The same state set as a whole: the pointers come from the guest's memory.
    guest.state.rip = CODE + guest.state.rip - CODE - 6;
    guest.state.dirty = Groups::VMCS.bits();
    check!(guest.run()? == reason::HLT, "the state could not be set");
    Ok(())
}

fn vmx() -> Outcome {
    let mut guest = Guest::new(code::vmx())?;
    check!(guest.run()? == reason::IO && guest.port() == 0x99 && guest.state.gpr[0] & 0xff == 6, "no #UD");
    guest.long_mode();
    guest.policy(Kind::Controls, &[Controls { flags: Controls::EXIT_ON_VMX, ..OPEN }]).map_err(|_| "policy")?;
    let why = guest.run()?;
    check!((reason::VMCLEAR..=reason::VMXON).contains(&why), "no exit to the keeper");
    Ok(())
}

fn vmcall() -> Outcome {
    let mut guest = Guest::new(code::vmcall())?;
    check!(guest.run()? == reason::IO && guest.port() == 0x99 && guest.state.gpr[0] & 0xff == 6, "no #UD");
    guest.long_mode();
    guest.policy(Kind::Controls, &[Controls { flags: Controls::VMCALL, ..OPEN }]).map_err(|_| "policy")?;
    check!(guest.run()? == reason::VMCALL && guest.state.exit.instruction_length == 3, "not allowed");
    check!(guest.step()? == reason::HLT, "not skipped");
    Ok(())
}

fn xsetbv() -> Outcome {
    if !crate::boundary::has_xsave() {
        return Ok(());
    }
    let mut guest = Guest::new(code::xsetbv())?;
    guest.state.cr4 |= 1 << 18;
    guest.state.gpr[register::RAX] = 3;
    guest.state.gpr[register::RCX] = 0;
    guest.state.gpr[register::RDX] = 0;
    check!(guest.run()? == reason::HLT && guest.state.xcr0 == 3, "a good value was refused");
    guest.long_mode();
    guest.state.cr4 |= 1 << 18;
    guest.state.gpr[register::RAX] = 2;
    check!(guest.run()? == reason::IO && guest.state.gpr[0] & 0xff == 13, "a bad value was accepted");
    guest.policy(Kind::Controls, &[Controls { xcr0_allowed: 0, ..OPEN }]).map_err(|_| "policy")?;
    guest.long_mode();
    guest.state.cr4 |= 1 << 18;
    guest.state.gpr[register::RAX] = 1;
    check!(guest.run()? == reason::IO && guest.state.gpr[0] & 0xff == 13, "not denied by default");
    Ok(())
}

fn injected() -> Outcome {
    let mut guest = Guest::new(code::spin())?;
    guest.state.rflags |= 0x200;
    guest.state.event = Event::interrupt(0x40);
    check!(guest.run()? == reason::IO && guest.state.gpr[0] & 0xff == 0x40, "not delivered");
    check!(!guest.state.event.is_valid(), "not taken");
    guest.long_mode();
    guest.state.event = Event::exception(13, Some(8));
    check!(guest.run()? == reason::IO && guest.state.gpr[0] & 0xff == 13, "no exception");
    // Delivery that hits an unmapped stack comes back as the event.
    guest.long_mode();
    guest.state.gpr[register::RSP] = MEMORY + 0x800;
    guest.state.event = Event::exception(13, Some(8));
    check!(guest.run()? == reason::EPT_VIOLATION, "no violation");
    check!(guest.state.event == Event::exception(13, Some(8)), "the event is lost");
    let stack = memory(4096, 4096);
    check!(guest.map(MEMORY, stack, 4096, 7).is_ok(), "map");
    check!(guest.run()? == reason::IO && guest.state.gpr[0] & 0xff == 13, "not delivered again");
    Ok(())
}

fn posted_waits() -> Outcome {
    let mut guest = Guest::new(code::window())?;
    guest.state.posted = 0x141;
    check!(guest.run()? == reason::IO && guest.port() == 0x83, "delivered with interrupts off");
    check!(guest.state.posted == 0x141, "lost");
    check!(guest.step()? == reason::IO && guest.port() == 0x99, "not delivered after STI");
    check!(guest.state.gpr[0] & 0xff == 0x41 && guest.state.posted == 0, "wrong vector");
    // The return address: after STI and one instruction.
    let saved = guest.at(guest.state.gpr[register::RSP], 1)[0];
    check!(u64::from(saved) == (CODE + 4) & 0xff, "delivered in STI's shadow");
    guest.long_mode();
    guest.state.posted = 0x142;
    check!(guest.run()? == reason::IO, "no exit");
    guest.state.posted = 0;
    check!(guest.step()? == reason::IO && guest.port() == 0x84, "a withdrawn interrupt was delivered");
    Ok(())
}

fn posted_at_once() -> Outcome {
    let mut guest = Guest::new(code::spin())?;
    guest.state.rflags |= 0x200;
    guest.state.posted = 0x150;
    check!(guest.run()? == reason::IO && guest.state.gpr[0] & 0xff == 0x50 && guest.state.posted == 0, "not delivered");
    // An event goes first, the posted interrupt follows when the handler allows it; here it never does.
    guest.long_mode();
    guest.state.rflags |= 0x200;
    guest.state.event = Event::interrupt(0x51);
    guest.state.posted = 0x152;
    check!(
        guest.run()? == reason::IO && guest.state.gpr[0] & 0xff == 0x51 && guest.state.posted == 0x152,
        "wrong order"
    );
    Ok(())
}

fn bad_event() -> Outcome {
    let mut guest = Guest::new(code::hlt_64())?;
    guest.state.event = Event { information: Event::VALID | 1 << 8 | 3, ..Event::default() };
    let why = guest.run()?;
    check!(why & reason::ENTRY_FAILURE != 0 && guest.state.exit.instruction_error == 7, "not refused");
    guest.state.event = Event::default();
    check!(guest.run()? == reason::HLT, "no life after it");
    Ok(())
}

fn bad_state() -> Outcome {
    let mut guest = Guest::new(code::hlt_64())?;
    guest.state.rflags = 0;
    check!(guest.run()? == reason::ENTRY_FAILURE | reason::INVALID_GUEST_STATE, "bad RFLAGS entered");
    guest.long_mode();
    guest.state.event = Event::exception(6, None);
    guest.state.cr0 = 0x8000_0030;
    check!(guest.run()? & reason::ENTRY_FAILURE != 0, "PG without PE entered");
    check!(guest.state.event == Event::exception(6, None), "the event is lost");
    guest.state.event = Event::default();
    guest.long_mode();
    check!(guest.run()? == reason::HLT, "no life after it");
    // Whole groups of nonsense, one after the other.
    let mut seed = 1u64;
    for group in 0..8 {
        guest.long_mode();
        let state = &mut *guest.state;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed
        };
        match group {
            0 => (state.rip, state.rflags) = (noise(), noise()),
            1 => (state.interruptibility, state.activity) = (noise() as u32, noise() as u32),
            2 => state.segments.iter_mut().for_each(|segment| segment.access = noise() as u16),
            3 => (state.gdtr.base, state.idtr.limit) = (noise(), noise()),
            4 => (state.cr0, state.cr3, state.cr4) = (noise(), noise(), noise()),
            5 => (state.efer, state.pat) = (noise(), noise()),
            6 => (state.sysenter_esp, state.sysenter_eip) = (noise() | 1 << 63, noise() | 1 << 62),
            _ => (state.dr7, state.debugctl) = (noise(), noise()),
        }
        check!(guest.run()? & reason::ENTRY_FAILURE != 0, "nonsense entered");
    }
    guest.state.interruptibility = 0;
    guest.state.activity = 0;
    (guest.state.pat, guest.state.dr7, guest.state.debugctl) = (0x0007_0406_0007_0406, 0x400, 0);
    (guest.state.sysenter_esp, guest.state.sysenter_eip) = (0, 0);
    guest.long_mode();
    check!(guest.run()? == reason::HLT, "no life after nonsense");
    Ok(())
}

fn cr4() -> Outcome {
    let mut guest = Guest::new(code::write_cr4())?;
    guest.policy(Kind::Controls, &[Controls { cr4_allowed: 0x20 | 1 << 9, ..OPEN }]).map_err(|_| "policy")?;
    guest.state.gpr[register::RAX] = 0x220;
    check!(guest.run()? == reason::HLT && guest.state.gpr[register::RBX] == 0x220, "an allowed bit exited");
    guest.long_mode();
    guest.state.gpr[register::RAX] = 0x20 | 1 << 7;
    check!(guest.run()? == reason::CONTROL_REGISTER, "another bit did not exit");
    guest.state.gpr[register::RAX] = 0x20 | 1 << 13;
    check!(guest.run()? == reason::CONTROL_REGISTER, "VMXE did not exit");
    // A bit that the keeper set may be cleared.
    guest.long_mode();
    guest.state.cr4 = 0x20 | 1 << 7;
    guest.state.gpr[register::RAX] = 0x20;
    check!(guest.run()? == reason::HLT && guest.state.cr4 == 0x20, "clearing exited");
    guest.long_mode();
    guest.state.cr4 = 0x20 | 1 << 7;
    guest.state.gpr[register::RAX] = 0;
    check!(guest.run()? == reason::IO && guest.state.gpr[0] & 0xff == 13, "PAE was cleared in 64-bit mode");
    Ok(())
}

fn cr0() -> Outcome {
    let mut guest = Guest::new(code::write_cr0())?;
    guest.state.gpr[register::RAX] = 0xc000_0031;
    check!(guest.run()? == reason::HLT, "CD exited");
    check!(guest.state.gpr[register::RBX] == 0xc000_0031 && guest.state.cr0 == 0xc000_0031, "CD is not seen");
    guest.long_mode();
    guest.state.gpr[register::RAX] = 0xa000_0031;
    check!(guest.run()? == reason::IO && guest.state.gpr[0] & 0xff == 13, "NW without CD");
    guest.long_mode();
    guest.state.gpr[register::RAX] = 0x8000_0011;
    check!(guest.run()? == reason::HLT && guest.state.gpr[register::RBX] == 0x8000_0011, "NE is not the guest's");
    Ok(())
}

fn cr8() -> Outcome {
    let mut guest = Guest::new(code::read_cr8())?;
    check!(guest.run()? == reason::CONTROL_REGISTER && guest.state.exit.qualification & 0x3f == 0x18, "no exit");
    Ok(())
}

fn cr2() -> Outcome {
    let mut guest = Guest::new(code::read_cr2())?;
    guest.state.cr2 = 0x1234;
    guest.state.gpr[register::RBX] = 0x5678;
    check!(guest.run()? == reason::HLT && guest.state.gpr[0] == 0x1234, "not loaded");
    native::attempt(page_fault, 0);
    check!(guest.step()? == reason::HLT && guest.state.cr2 == 0x5678, "not saved");
    native::attempt(page_fault, 0);
    check!(guest.step()? == reason::HLT && guest.state.gpr[0] == 0x5678, "not kept");
    Ok(())
}

extern "sysv64" fn page_fault(_: u64) {
    // SAFETY: nothing is mapped there; the page fault returns to `attempt`.
    unsafe { (0x7000_0000_0000 as *const u8).read_volatile() };
}

fn exceptions() -> Outcome {
    let mut guest = Guest::new(code::vmx())?;
    guest.policy(Kind::Controls, &[Controls { exception_bitmap: 1 << 6, ..OPEN }]).map_err(|_| "policy")?;
    guest.at(CODE, 2).copy_from_slice(&[0x0f, 0x0b]);
    check!(guest.run()? == reason::EXCEPTION_OR_NMI, "no exit");
    check!(guest.state.exit.interruption == Event::exception(6, None).information, "wrong vector");
    Ok(())
}

fn single_step() -> Outcome {
    let mut guest = Guest::new(code::single_step())?;
    guest.cpuid(0, [0; 4]);
    guest.state.gpr[register::RAX] = 0;
    check!(guest.run()? == reason::IO && guest.state.gpr[0] & 0xff == 1, "no #DB");
    let saved = guest.at(guest.state.gpr[register::RSP], 1)[0];
    check!(u64::from(saved) == (CODE + 8) & 0xff, "#DB at the wrong instruction");
    Ok(())
}

fn interrupt() -> Outcome {
    let mut guest = Guest::new(code::spin())?;
    let before = native::take_interrupts();
    native::start_timer(200, false);
    check!(guest.run()? == reason::EXTERNAL_INTERRUPT, "the run did not end");
    check!(native::take_interrupts() == before + 1, "the interrupt is lost");
    native::start_timer(200, false);
    check!(guest.run()? == reason::EXTERNAL_INTERRUPT, "the second run did not end");
    check!(native::take_interrupts() == before + 2, "the second interrupt is lost");
    Ok(())
}

fn nmi() -> Outcome {
    let mut guest = Guest::new(code::spin())?;
    for round in 1..=3 {
        native::route_timer_to_nmi(true);
        native::start_timer(300, true);
        let mut why = guest.run()?;
        while why == reason::EXTERNAL_INTERRUPT {
            why = guest.run()?;
        }
        native::route_timer_to_nmi(false);
        check!(why == reason::EXCEPTION_OR_NMI, "the run did not end");
        check!(guest.state.exit.interruption == 0x8000_0202, "not an NMI");
        check!(native::nmis() == round, "the kernel did not get it");
    }
    Ok(())
}

fn run_after_run() -> Outcome {
    let mut guest = Guest::new(code::out_hlt())?;
    guest.real_mode();
    check!(run(guest.cpu) == 0 && guest.exit_reason() == reason::IO, "no port exit");
    check!(guest.port() == 0x80 && guest.state.gpr[register::RAX] & 0xff == 0x5a, "wrong port or value");
    guest.state.advance = 1;
    check!(run(guest.cpu) == 0 && guest.exit_reason() == reason::HLT, "no HLT exit");
    // The two ways to run do not get into each other's way.
    check!(guest.step()? == reason::IO, "HLT was not skipped");
    guest.state.event = Event { information: Event::VALID | 1 << 8 | 3, ..Event::default() };
    check!(run(guest.cpu) == 0 && guest.exit_reason() & reason::ENTRY_FAILURE != 0, "a bad event entered");
    guest.state.event = Event::default();
    check!(run(guest.cpu) == 0 && guest.exit_reason() == reason::IO, "no life after it");
    Ok(())
}

fn read_state() -> Outcome {
    let mut guest = Guest::new(code::out_64())?;
    guest.state.wanted = 0;
    check!(guest.run()? == reason::IO && guest.state.valid == 0, "valid without wanted");
    guest.state.rip = 0;
    guest.state.advance = 1;
    check!(ask(Call::ReadState, [guest.cpu, Groups::VMCS.bits(), 0, 0]).is_ok(), "refused");
    check!(guest.state.rip == CODE + 2 && guest.state.advance == 0, "RIP is not where the guest goes on");
    check!(guest.state.valid == Groups::VMCS.bits() && guest.state.cr3 == 0x1000, "not read");
    check!(guest.run()? == reason::IO, "no way on");
    Ok(())
}

fn two_machines() -> Outcome {
    // The same addresses, different memory.
    let (mut one, mut two) = (Guest::new(code::touch())?, Guest::new(code::touch())?);
    for (guest, value) in [(&mut one, 11), (&mut two, 22)] {
        guest.state.gpr[register::RBX] = 0x9000;
        guest.state.gpr[register::RCX] = value;
    }
    for _ in 0..3 {
        check!(one.run()? == reason::HLT && two.run()? == reason::HLT, "an unexpected exit");
        one.long_mode();
        two.long_mode();
    }
    check!(one.at(0x9000, 1)[0] == 11 && two.at(0x9000, 1)[0] == 22, "they share memory");
    check!(one.state.gpr[0] == 11 && two.state.gpr[0] == 22, "they share translations");
    Ok(())
}
