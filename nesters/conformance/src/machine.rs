//! Machine Spaces: what the monitor answers by policy, what exits, what a keeper can do, and what no guest can.

use protocols::address::PAGE_SIZE;
use protocols::api::{Call, NativeState, Rights, Run, SpaceKind, Status};
use protocols::exception::MachineReply;
use protocols::libc::time;
use protocols::libnest::{Event, Mapping, Memory, Region, Space, objects};
use protocols::policy::{Controls, CpuidEntry, MsrEntry};
use protocols::virtual_cpu::register::{RAX, RBX, RCX, RDI, RDX, RSI};
use protocols::virtual_cpu::{Event as Injected, Groups, VirtualCpuState, exit_reason as reason};

use crate::code;
use crate::guest::{self, CODE, DATA, END_PORT, Guest, HOLE, SIZE, vector};
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};

/// The tests.
pub const TESTS: &[Test] = &[
    ("machine::cpuid_by_table", cpuid_by_table),
    ("machine::cpuid_not_in_the_table", cpuid_not_in_the_table),
    ("machine::port_read_and_write", port_read_and_write),
    ("machine::msr_by_table", msr_by_table),
    ("machine::msr_by_keeper", msr_by_keeper),
    ("machine::msr_direct", msr_direct),
    ("machine::policy_is_checked", policy_is_checked),
    ("machine::memory_supplied_at_an_exit", memory_supplied_at_an_exit),
    ("machine::device_memory", device_memory),
    ("machine::read_only_memory", read_only_memory),
    ("machine::interrupt_wakes_from_halt", interrupt_wakes_from_halt),
    ("machine::interrupt_posted_in_the_reply", interrupt_posted_in_the_reply),
    ("machine::interrupts_wait_until_accepted", interrupts_wait_until_accepted),
    ("machine::injected_exception", injected_exception),
    ("machine::triple_fault", triple_fault),
    ("machine::exception_bitmap", exception_bitmap),
    ("machine::vmcall_allowed", vmcall_allowed),
    ("machine::vmcall_denied", vmcall_denied),
    ("machine::calls_from_a_machine", calls_from_a_machine),
    ("machine::vmx_instructions", vmx_instructions),
    ("machine::control_registers", control_registers),
    ("machine::time_stamp_counter", time_stamp_counter),
    ("machine::time_stamp_offset", time_stamp_offset),
    ("machine::spinning_with_interrupts_off", spinning_with_interrupts_off),
    ("machine::flood_of_exits", flood_of_exits),
    ("machine::nonsense_reply_stops_it", nonsense_reply_stops_it),
    ("machine::keeper_never_replies", keeper_never_replies),
    ("machine::stopped_by_the_reply", stopped_by_the_reply),
    ("machine::impossible_state", impossible_state),
    ("machine::impossible_components", impossible_components),
    ("machine::impossible_system_call_registers", impossible_system_call_registers),
    ("machine::state_survives", state_survives),
    ("machine::no_memory_for_a_virtual_cpu", no_memory_for_a_virtual_cpu),
    ("machine::two_side_by_side", two_side_by_side),
];

/// Replies that make no sense: unknown actions, impossible events and vectors.
pub const NONSENSE: [MachineReply; 6] = [
    MachineReply { actions: 1 << 7, ..NOTHING },
    MachineReply { actions: u64::MAX, ..NOTHING },
    MachineReply { actions: MachineReply::INJECT, event: 0x8000_0f00, ..NOTHING },
    MachineReply { actions: MachineReply::INJECT, event: u64::MAX, ..NOTHING },
    MachineReply { actions: MachineReply::POST, post: 3, ..NOTHING },
    MachineReply { actions: MachineReply::POST, post: 256, ..NOTHING },
];
const NOTHING: MachineReply = MachineReply { actions: 0, rax: 0, rdx: 0, event: 0, post: 0, reserved: [0; 3] };

/// The registers of a guest that is at its end.
fn at_end(exit: &protocols::exception::MachineExit) -> Result<(), Failure> {
    match guest::port(exit) {
        Some(END_PORT) => Ok(()),
        _ => fail!("not at its end: {exit:x?}"),
    }
}

fn cpuid_by_table(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_cpuid(), &[(RAX, 0x4000_0000), (RCX, 7)])?;
    let entry = |leaf, subleaf, eax| CpuidEntry { leaf, subleaf, eax, ebx: 2, ecx: 3, edx: 4 };
    guest.space.set_cpuid(&[entry(0, CpuidEntry::ANY, 9), entry(0x4000_0000, 6, 66), entry(0x4000_0000, 7, 77)])?;
    let exit = guest.start(bench)?;
    at_end(&exit)?;
    require!((exit.rax, exit.rbx, exit.rcx, exit.rdx), (77, 2, 3, 4));
    // The table is replaced as a whole, at once.
    guest.space.set_cpuid(&[entry(0x4000_0000, CpuidEntry::ANY, 5)])?;
    let mut state = guest.state()?;
    (state.rip, state.gpr[RAX]) = (CODE, 0x4000_0000);
    guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
    let exit = guest.reply(bench, MachineReply::default())?;
    at_end(&exit)?;
    require!(exit.rax, 5);
    Ok(())
}

fn cpuid_not_in_the_table(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_cpuid(), &[(RAX, 0x8000_0001), (RCX, 0)])?;
    let exit = guest.start(bench)?;
    require!((exit.reason, exit.rax), (u64::from(reason::CPUID) | 2 << 32, 0x8000_0001));
    let mut state = guest.state()?;
    (state.gpr[RAX], state.gpr[RBX]) = (1, 2);
    guest.set_state(&state, Groups::GENERAL)?;
    let exit = guest.skip(bench)?;
    at_end(&exit)?;
    require!((exit.rax, exit.rbx), (1, 2));
    Ok(())
}

fn port_read_and_write(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_port(), &[(RAX, 0xff00)])?;
    let exit = guest.start(bench)?;
    require!((guest::port(&exit), exit.qualification & 0xf), (Some(0x60), 8));
    let actions = MachineReply::ADVANCE | MachineReply::SET_RAX | MachineReply::SET_RDX;
    let exit = guest.reply(bench, MachineReply { actions, rax: 0xffab, rdx: 0x1234, ..Default::default() })?;
    at_end(&exit)?;
    require!((exit.rax, exit.rdx, exit.qualification & 0xf), (0xffab, 0x1234, 0));
    Ok(())
}

fn msr_by_table(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_read_msr(), &[(RCX, 0x8b)])?;
    guest.space.set_msrs(&[MsrEntry { msr: 0x8b, mode: MsrEntry::CONSTANT, value: 0x1122_3344_5566_7788 }])?;
    let exit = guest.start(bench)?;
    at_end(&exit)?;
    require!((exit.rax, exit.rdx), (0x5566_7788, 0x1122_3344));
    // Writes are ignored.
    let mut writer = Guest::new(bench, code::guest_write_msr(), &[(RCX, 0x8b), (RAX, 1)])?;
    writer.space.set_msrs(&[MsrEntry { msr: 0x8b, mode: MsrEntry::CONSTANT, value: 5 }])?;
    let exit = writer.start(bench)?;
    at_end(&exit)?;
    Ok(())
}

fn msr_by_keeper(bench: &mut Bench) -> Verdict {
    for msr in [0x1b, 0x10, 0x480, 0x1234_5678, 0xc001_0000] {
        let mut guest = Guest::new(bench, code::guest_read_msr(), &[(RCX, msr)])?;
        let exit = guest.start(bench)?;
        require!((exit.reason as u32, exit.rcx), (reason::RDMSR, msr));
        let actions = MachineReply::ADVANCE | MachineReply::SET_RAX | MachineReply::SET_RDX;
        let exit = guest.reply(bench, MachineReply { actions, rax: 3, rdx: 4, ..Default::default() })?;
        at_end(&exit)?;
        require!((exit.rax, exit.rdx), (3, 4));
        let mut guest = Guest::new(bench, code::guest_write_msr(), &[(RCX, msr), (RAX, 5), (RDX, 6)])?;
        let exit = guest.start(bench)?;
        require!((exit.reason as u32, exit.rcx, exit.rax, exit.rdx), (reason::WRMSR, msr, 5, 6));
        let general_protection = Injected::exception(13, Some(0));
        let exit = guest.reply(bench, inject(general_protection))?;
        require!(vector(&exit), Some(13));
    }
    Ok(())
}

/// The reply that injects an event.
fn inject(event: Injected) -> MachineReply {
    let event = u64::from(event.information) | u64::from(event.error) << 32;
    MachineReply { actions: MachineReply::INJECT, event, ..MachineReply::default() }
}

fn msr_direct(bench: &mut Bench) -> Verdict {
    // Two guests each keep their own values of registers that they access directly.
    for msr in protocols::policy::DIRECT_MSRS {
        let direct = [MsrEntry { msr, mode: MsrEntry::DIRECT, value: 0 }];
        let registers = |value| [(RCX, u64::from(msr)), (RAX, value), (RDX, 0)];
        let mut writers = [0x1000, 0x2000].map(|value| Guest::new(bench, code::guest_write_msr(), &registers(value)));
        for writer in &mut writers {
            let Ok(writer) = writer else { fail!("no guest") };
            writer.space.set_msrs(&direct)?;
            let exit = writer.start(bench)?;
            at_end(&exit)?;
            writer.memory.write_bytes(CODE, code::guest_read_msr())?;
            let mut state = writer.state()?;
            (state.rip, state.gpr[RAX]) = (CODE, 0);
            writer.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
        }
        for (writer, value) in writers.iter_mut().zip([0x1000, 0x2000]) {
            let Ok(writer) = writer else { fail!("no guest") };
            // The first was given up when we turned to the second: it is let go again.
            writer.cpu.go()?;
            let event = bench.receive();
            let exit = match writer.exit(event) {
                Ok(exit) => exit,
                Err(Failure(why)) => fail!("{msr:#x}: {why}"),
            };
            require!((msr, exit.rax & 0xffff), (msr, value));
        }
    }
    Ok(())
}

fn policy_is_checked(bench: &mut Bench) -> Verdict {
    let guest = Guest::new(bench, code::guest_undefined(), &[])?;
    for msr in [0x1b, 0x3a, 0x480, 0xc000_0080, 0x277, 0xffff_ffff] {
        let entry = MsrEntry { msr, mode: MsrEntry::DIRECT, value: 0 };
        require!((msr, guest.space.set_msrs(&[entry])), (msr, Err(Status::Refused)));
    }
    require!(guest.space.set_msrs(&[MsrEntry { msr: 1, mode: 3, value: 0 }]), Err(Status::Refused));
    require!(guest.space.set_controls(&Controls { flags: 1 << 31, ..Controls::default() }), Err(Status::Refused));
    Ok(())
}

fn memory_supplied_at_an_exit(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_read(), &[(RDI, HOLE + 0x88)])?;
    let exit = guest.start(bench)?;
    require!((exit.reason as u32, exit.guest_physical), (reason::EPT_VIOLATION, HOLE + 0x88));
    let memory = Memory::allocate(PAGE_SIZE).ok_or(Failure("no memory".into()))?;
    memory.write(0x88, &0xbeef_u64)?;
    let region = Region::new(&memory, 0, PAGE_SIZE, Rights::READ)?;
    let _mapping = Mapping::new(&region, 0, &guest.space, HOLE, PAGE_SIZE, Rights::READ)?;
    let exit = guest.reply(bench, MachineReply::default())?;
    at_end(&exit)?;
    require!(exit.rax, 0xbeef);
    Ok(())
}

fn device_memory(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_read(), &[(RDI, SIZE)])?;
    let exit = guest.start(bench)?;
    require!((exit.reason as u32, exit.guest_physical), (reason::EPT_VIOLATION, SIZE));
    // The keeper knows from the code how long the instruction is; here it moves on itself.
    let mut state = guest.state()?;
    state.rip += 3;
    state.gpr[RAX] = 0x5a5a;
    guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
    let exit = guest.reply(bench, MachineReply::default())?;
    at_end(&exit)?;
    require!(exit.rax, 0x5a5a);
    Ok(())
}

fn read_only_memory(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_write(), &[(RDI, HOLE), (RSI, 1)])?;
    let memory = Memory::allocate(PAGE_SIZE).ok_or(Failure("no memory".into()))?;
    let region = Region::new(&memory, 0, PAGE_SIZE, Rights::all())?;
    let _mapping = Mapping::new(&region, 0, &guest.space, HOLE, PAGE_SIZE, Rights::READ)?;
    let exit = guest.start(bench)?;
    // Bit 1 of the qualification: a write (Intel SDM vol. 3C, table 28-7).
    require!((exit.reason as u32, exit.qualification & 2), (reason::EPT_VIOLATION, 2));
    require!(memory.read::<u64>(0)?, 0);
    Ok(())
}

fn interrupt_wakes_from_halt(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_wait(), &[])?;
    guest.cpu.go()?;
    let soon = bench.microseconds(1000);
    require!(bench.receive_until(soon), Event::TimedOut);
    for wanted in [0x20u8, 0xef, 0xff] {
        require!(guest.cpu.interrupt(wanted)?, 0);
        let event = bench.receive();
        let exit = guest.exit(event)?;
        require!(vector(&exit), Some(u16::from(wanted)));
        let exit = guest.skip(bench)?;
        at_end(&exit)?;
        let soon = bench.microseconds(1000);
        let skip = MachineReply { actions: MachineReply::ADVANCE, ..Default::default() };
        let event = bench.reply_until(&protocols::libnest::server::machine(skip), soon);
        require!(event, Event::TimedOut);
    }
    Ok(())
}

fn interrupt_posted_in_the_reply(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_port(), &[])?;
    let mut state = guest.state()?;
    state.rflags |= 0x200;
    guest.set_state(&state, Groups::INSTRUCTION)?;
    guest.start(bench)?;
    let actions = MachineReply::ADVANCE | MachineReply::POST;
    let exit = guest.reply(bench, MachineReply { actions, post: 0x31, ..Default::default() })?;
    require!(vector(&exit), Some(0x31));
    let exit = guest.skip(bench)?;
    at_end(&exit)?;
    // HALT waits for the next one.
    let actions = MachineReply::ADVANCE | MachineReply::HALT;
    let halt = protocols::libnest::server::machine(MachineReply { actions, ..Default::default() });
    let soon = bench.microseconds(1000);
    require!(bench.reply_until(&halt, soon), Event::TimedOut);
    guest.cpu.interrupt(0x32)?;
    let event = bench.receive();
    require!(vector(&guest.exit(event)?), Some(0x32));
    Ok(())
}

fn interrupts_wait_until_accepted(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_port(), &[])?;
    require!(guest.cpu.interrupt(0x40)?, 0);
    require!(guest.cpu.interrupt(0x41)?, 0x40);
    let exit = guest.start(bench)?;
    require!((guest::port(&exit), exit.posted), (Some(0x60), 0x41));
    require!(guest.cpu.interrupt(0)?, 0x41);
    let exit = guest.skip(bench)?;
    at_end(&exit)?;
    require!(exit.posted, 0);
    Ok(())
}

fn injected_exception(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_port(), &[])?;
    guest.start(bench)?;
    let exit = guest.reply(bench, inject(Injected::exception(14, Some(2))))?;
    require!(vector(&exit), Some(14));
    // The handler's stack holds the error code.
    let state = guest.state()?;
    require!(guest.memory.read::<u64>(state.gpr[4])?, 2);
    Ok(())
}

fn triple_fault(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_triple_fault(), &[(RDI, DATA)])?;
    let exit = guest.start(bench)?;
    require!(exit.reason as u32, reason::TRIPLE_FAULT);
    Ok(())
}

fn exception_bitmap(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_undefined(), &[])?;
    guest.allow(0, 1 << 6)?;
    let exit = guest.start(bench)?;
    require!(exit.reason as u32, reason::EXCEPTION_OR_NMI);
    let mut state = VirtualCpuState::zeroed();
    guest.cpu.get_state(&mut state, Groups::empty())?;
    require!(state.exit.interruption & 0xff, 6);
    guest.allow(0, 0)?;
    let exit = guest.reply(bench, MachineReply::default())?;
    require!(vector(&exit), Some(6));
    Ok(())
}

fn vmcall_allowed(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_call(), &[(RAX, Call::ThreadSelf as u64), (RDI, 5)])?;
    guest.allow(Controls::VMCALL, 0)?;
    let exit = guest.start(bench)?;
    at_end(&exit)?;
    require!((exit.rax, guest.state()?.gpr[RDI]), (Status::Ok as u64, 0));
    Ok(())
}

fn vmcall_denied(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_call(), &[(RAX, Call::ThreadSelf as u64)])?;
    let exit = guest.start(bench)?;
    require!(vector(&exit), Some(6));
    Ok(())
}

fn calls_from_a_machine(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_call(), &[])?;
    guest.allow(Controls::VMCALL, 0)?;
    let mut started = false;
    let mut call = |guest: &mut Guest, bench: &mut Bench, call: Call, arguments: [u64; 3]| {
        let mut state = guest.state()?;
        state.rip = CODE;
        state.gpr[RAX] = call as u64;
        [state.gpr[RDI], state.gpr[RSI], state.gpr[RDX]] = arguments;
        guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
        if core::mem::replace(&mut started, true) {
            guest.reply(bench, MachineReply::default())
        } else {
            guest.start(bench)
        }
    };
    // Objects at guest-physical addresses.
    for (create, address) in
        [(Call::PortCreate, DATA), (Call::ReferenceCreate, DATA + 64), (Call::PortsetCreate, DATA + 128)]
    {
        let exit = call(&mut guest, bench, create, [address, 0, 0])?;
        at_end(&exit)?;
        require!(exit.rax, Status::Ok as u64);
    }
    let exit = call(&mut guest, bench, Call::PortReference, [DATA, DATA + 64, 0])?;
    at_end(&exit)?;
    // Misuse is an exit of the VMCALL.
    let exit = call(&mut guest, bench, Call::PortCreate, [DATA, 0, 0])?;
    require!(exit.reason as u32, reason::VMCALL);
    let exit = call(&mut guest, bench, Call::PortDestroy, [DATA + 1, 0, 0])?;
    require!(exit.reason as u32, reason::VMCALL);
    // We find the machine's objects in its memory.
    require!(guest.region.search(0)?.map(|(offset, _)| offset), Some(DATA));
    for address in [DATA, DATA + 64, DATA + 128] {
        let Some((_, kind)) = guest.region.search(address)? else { fail!("no object") };
        protocols::libnest::objects::destroy(kind, guest.memory.address() + address)?;
    }
    require!(guest.region.search(0)?, None);
    Ok(())
}

fn vmx_instructions(bench: &mut Bench) -> Verdict {
    // All of them with memory operands at RDI (Intel SDM vol. 2D, and vol. 3C, chapter 31).
    let instructions: [(&str, &[u8]); 14] = [
        ("VMXON", &[0xf3, 0x0f, 0xc7, 0x37]),
        ("VMXOFF", &[0x0f, 0x01, 0xc4]),
        ("VMCLEAR", &[0x66, 0x0f, 0xc7, 0x37]),
        ("VMPTRLD", &[0x0f, 0xc7, 0x37]),
        ("VMPTRST", &[0x0f, 0xc7, 0x3f]),
        ("VMREAD", &[0x0f, 0x78, 0xc8]),
        ("VMREAD to memory", &[0x0f, 0x78, 0x07]),
        ("VMWRITE", &[0x0f, 0x79, 0xc8]),
        ("VMWRITE from memory", &[0x0f, 0x79, 0x07]),
        ("VMLAUNCH", &[0x0f, 0x01, 0xc2]),
        ("VMRESUME", &[0x0f, 0x01, 0xc3]),
        ("INVEPT", &[0x66, 0x0f, 0x38, 0x80, 0x0f]),
        ("INVVPID", &[0x66, 0x0f, 0x38, 0x81, 0x0f]),
        ("VMFUNC", &[0x0f, 0x01, 0xd4]),
    ];
    for (name, bytes) in instructions {
        let mut guest = Guest::new(bench, bytes, &[(RDI, DATA)])?;
        let exit = guest.start(bench)?;
        require!((name, vector(&exit)), (name, Some(6)));
        require!(guest.memory.read::<u64>(DATA)?, 0);
    }
    let mut guest = Guest::new(bench, code::guest_vmxon(), &[(RDI, DATA)])?;
    guest.allow(Controls::EXIT_ON_VMX, 0)?;
    let exit = guest.start(bench)?;
    // A processor may find CR4.VMXE clear first (Intel SDM vol. 3C, VMXON).
    require!(exit.reason as u32 == reason::VMXON || vector(&exit) == Some(6), true);
    Ok(())
}

fn control_registers(bench: &mut Bench) -> Verdict {
    // SMEP is not among the bits that the guest may set.
    let mut guest = Guest::new(bench, code::guest_set_cr4(), &[(RAX, 0x10_0020)])?;
    let exit = guest.start(bench)?;
    require!(exit.reason as u32, reason::CONTROL_REGISTER);
    let exit = guest.reply(bench, inject(Injected::exception(13, Some(0))))?;
    require!(vector(&exit), Some(13));
    // VMXE and SMXE never are, whatever the policy says.
    for bit in [13, 14] {
        let mut guest = Guest::new(bench, code::guest_set_cr4(), &[(RAX, 0x20 | 1 << bit)])?;
        let controls = Controls { cr4_allowed: u64::MAX, ..Controls::default() };
        match guest.space.set_controls(&controls) {
            Err(Status::Refused) => continue,
            other => other?,
        }
        let exit = guest.start(bench)?;
        require!(exit.reason as u32 == reason::CONTROL_REGISTER || vector(&exit) == Some(13), true);
    }
    // PGE and OSFXSR are.
    let mut guest = Guest::new(bench, code::guest_set_cr4(), &[(RAX, 0x2a0)])?;
    let exit = guest.start(bench)?;
    at_end(&exit)?;
    require!(guest.state()?.cr4, 0x2a0);
    // XCR0 within what is allowed, and beyond.
    for (value, ok) in [(3, true), (1, true), (7, false), (0, false), (2, false)] {
        let mut guest = Guest::new(bench, code::guest_set_xcr0(), &[(RAX, value)])?;
        let mut state = guest.state()?;
        state.cr4 |= 1 << 18;
        guest.set_state(&state, Groups::CONTROL)?;
        let exit = guest.start(bench)?;
        require!((value, vector(&exit)), (value, if ok { None } else { Some(13) }));
        if ok {
            at_end(&exit)?;
        }
    }
    Ok(())
}

fn time_stamp_counter(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_read_time(), &[])?;
    let exit = guest.start(bench)?;
    at_end(&exit)?;
    if exit.rax | exit.rdx << 32 > protocols::libc::time::now() {
        fail!("the guest's time stamp counter is ahead of ours");
    }
    let mut guest = Guest::new(bench, code::guest_read_time(), &[])?;
    guest.allow(Controls::EXIT_ON_RDTSC, 0)?;
    let exit = guest.start(bench)?;
    require!(exit.reason as u32, reason::RDTSC);
    Ok(())
}

fn time_stamp_offset(bench: &mut Bench) -> Verdict {
    const OFFSET: u64 = 1 << 60;
    let mut guest = Guest::new(bench, code::guest_read_time(), &[])?;
    let mut state = guest.state()?;
    state.tsc_offset = OFFSET;
    guest.set_state(&state, Groups::TIME)?;
    let before = time::now();
    let exit = guest.start(bench)?;
    at_end(&exit)?;
    let there = exit.rdx << 32 | exit.rax & 0xffff_ffff;
    require!((OFFSET + before..OFFSET + time::now()).contains(&there), true);
    require!(guest.state()?.tsc_offset, OFFSET);
    // A deadline in its own time.
    let mut guest = Guest::new(bench, code::guest_wait_until(), &[(RDI, DATA)])?;
    guest.allow(Controls::VMCALL, 0)?;
    protocols::libc::system_call::portset_create(guest.memory.address() + DATA)?;
    let mut state = guest.state()?;
    state.tsc_offset = OFFSET;
    guest.set_state(&state, Groups::TIME)?;
    let exit = guest.start(bench)?;
    at_end(&exit)?;
    require!(exit.rax, Status::TimedOut as u64);
    Ok(())
}

fn spinning_with_interrupts_off(bench: &mut Bench) -> Verdict {
    let guest = Guest::new(bench, code::guest_count(), &[(RDI, DATA)])?;
    let other = Guest::new(bench, code::guest_count(), &[(RDI, DATA)])?;
    guest.cpu.go()?;
    other.cpu.go()?;
    // Emulators may count the time of a short loop in large steps: that both get on is what can be asked.
    bench.run_until(|| Ok(guest.memory.read::<u64>(DATA)? > 0 && other.memory.read::<u64>(DATA)? > 0))?;
    guest.cpu.stop()?;
    other.cpu.stop()?;
    let state = guest.state()?;
    require!((CODE..CODE + 16).contains(&state.rip), true);
    Ok(())
}

fn flood_of_exits(bench: &mut Bench) -> Verdict {
    const EXITS: u64 = 3000;
    let mut guest = Guest::new(bench, code::guest_flood(), &[(RCX, EXITS)])?;
    let mut counting = crate::native::Native::new(bench)?;
    counting.begin(code::count(), &[(RDI, crate::native::DATA)])?;
    let mut exit = guest.start(bench)?;
    let mut count = 0;
    while guest::port(&exit) == Some(END_PORT) {
        count += 1;
        exit = guest.skip(bench)?;
    }
    require!((count, guest::port(&exit)), (EXITS, Some(END_PORT + 1)));
    counting.thread.stop()?;
    if counting.read(crate::native::DATA)? == 0 {
        fail!("another child did not run meanwhile");
    }
    Ok(())
}

fn nonsense_reply_stops_it(bench: &mut Bench) -> Verdict {
    for reply in NONSENSE {
        let mut guest = Guest::new(bench, code::guest_flood(), &[(RCX, 5)])?;
        guest.start(bench)?;
        let soon = bench.microseconds(500);
        let event = bench.reply_until(&protocols::libnest::server::machine(reply), soon);
        require!(event, Event::TimedOut);
        // Its keeper can still see it and let it go on.
        let mut state = guest.state()?;
        state.rip = CODE;
        guest.cpu.set_state(&state, Groups::INSTRUCTION, Run::Go)?;
        let event = bench.receive();
        at_end(&guest.exit(event)?)?;
    }
    Ok(())
}

fn keeper_never_replies(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_flood(), &[(RCX, 5)])?;
    guest.start(bench)?;
    let soon = bench.microseconds(500);
    require!(bench.abandon_until(soon), Event::TimedOut);
    let mut other = Guest::new(bench, code::guest_flood(), &[(RCX, 5)])?;
    let exit = other.start(bench)?;
    at_end(&exit)?;
    Ok(())
}

fn stopped_by_the_reply(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_flood(), &[(RCX, 5)])?;
    guest.start(bench)?;
    let stop = MachineReply { actions: MachineReply::STOP | MachineReply::ADVANCE, ..Default::default() };
    let soon = bench.microseconds(500);
    let event = bench.reply_until(&protocols::libnest::server::machine(stop), soon);
    require!(event, Event::TimedOut);
    guest.cpu.go()?;
    let event = bench.receive();
    require!(guest.exit(event)?.rcx, 4);
    Ok(())
}

fn impossible_system_call_registers(bench: &mut Bench) -> Verdict {
    let guest = Guest::new(bench, code::guest_undefined(), &[])?;
    let good = guest.state()?;
    for change in [
        (|state| state.sfmask = 1 << 32) as fn(&mut VirtualCpuState),
        |state| state.lstar = 1 << 63,
        |state| state.cstar = 1 << 63,
        |state| state.kernel_gs_base = 1 << 63,
    ] {
        let mut state = good;
        change(&mut state);
        require!(guest.cpu.set_state(&state, Groups::SYSCALL, Run::Unchanged), Err(Status::Refused));
    }
    let mut state = good;
    (state.star, state.sfmask) = (u64::MAX, 0xffff_ffff);
    guest.set_state(&state, Groups::SYSCALL)
}

/// XCR0 with AVX, but without the SSE state that AVX is part of: no XSETBV would accept it.
fn impossible_components(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_undefined(), &[])?;
    let good = guest.state()?;
    for xcr0 in [4, 5, 8, u64::MAX] {
        let state = VirtualCpuState { xcr0, ..good };
        require!((xcr0, guest.set_state(&state, Groups::CONTROL).is_err()), (xcr0, true));
    }
    for xcr0 in [0, 1, 2, 3] {
        guest.set_state(&VirtualCpuState { xcr0, ..good }, Groups::CONTROL)?;
    }
    guest.start(bench)?;
    Ok(())
}

fn impossible_state(bench: &mut Bench) -> Verdict {
    // What an entry checks, it reports as an exit; the keeper sees it, the monitor goes on.
    let mut guest = Guest::new(bench, code::guest_undefined(), &[])?;
    let good = guest.state()?;
    let mut state = good;
    state.rflags = 0;
    guest.set_state(&state, Groups::INSTRUCTION)?;
    let exit = guest.start(bench)?;
    require!(exit.reason as u32, reason::INVALID_GUEST_STATE | reason::ENTRY_FAILURE);
    for change in [
        (|state| state.segments[1].access = 0xffff) as fn(&mut VirtualCpuState),
        |state| state.cr0 = 0x8000_0000,
        // IA-32e mode without paging, protection or wide entries.
        |state| state.cr0 = 0x30,
        |state| state.cr0 = 0x31,
        |state| state.cr4 = 0,
        |state| state.cr3 = u64::MAX,
        |state| state.efer = u64::MAX,
        |state| state.pat = u64::MAX,
        |state| state.activity = 77,
        |state| state.interruptibility = u32::MAX,
        |state| state.dr7 = u64::MAX,
        |state| state.gdtr.base = 1 << 63,
        |state| state.sysenter_eip = 1 << 63,
        |state| state.debugctl = u64::MAX,
        |state| state.cr4 = u64::MAX,
        |state| state.segments[7].base = 1 << 63,
    ] {
        let mut state = good;
        change(&mut state);
        // The kernel may refuse it, the entry may fail, or the state may be corrected: nothing else.
        match guest.cpu.set_state(&state, Groups::VMCS, Run::Unchanged) {
            Err(Status::Refused) => continue,
            other => other?,
        }
        guest.reply(bench, MachineReply::default())?;
    }
    let mut state = good;
    state.rip = CODE;
    guest.set_state(&state, Groups::VMCS)?;
    let exit = guest.reply(bench, MachineReply::default())?;
    require!(vector(&exit), Some(6));
    let mut state = good;
    state.event = Injected { information: 0x8000_0f00, ..Default::default() };
    require!(guest.cpu.set_state(&state, Groups::EVENT, Run::Unchanged), Err(Status::Refused));
    Ok(())
}

fn state_survives(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_port(), &[])?;
    let mut state = guest.state()?;
    for (index, register) in state.gpr.iter_mut().enumerate().filter(|(index, _)| *index != 4) {
        *register = 0x1111_1111_1111_1111 * index as u64;
    }
    state.cr2 = 0x1234_5678_9abc;
    state.dr = [1, 2, 3, 4];
    (state.sysenter_cs, state.sysenter_esp, state.sysenter_eip) = (8, 0x1000, 0x2000);
    (state.segments[4].base, state.segments[5].base) = (0x7000_0000_0000, 0x7000_0000_1000);
    guest.set_state(&state, Groups::VMCS | Groups::GENERAL)?;
    let syscall = Groups::SYSCALL | Groups::EXTENDED;
    (state.star, state.lstar, state.cstar) = (0x0013_0008_0000_0000, 0xffff_8000_0000_1000, 0x2000);
    (state.sfmask, state.kernel_gs_base) = (0x4700, 0x3000);
    state.extended[160..176].copy_from_slice(&[0x5a; 16]);
    guest.set_state(&state, syscall)?;
    let exit = guest.start(bench)?;
    require!(guest::port(&exit), Some(0x60));
    let mut after = VirtualCpuState::zeroed();
    guest.cpu.get_state(&mut after, Groups::all())?;
    require!(after.gpr, state.gpr);
    require!((after.cr0, after.cr2, after.cr3, after.cr4), (state.cr0, state.cr2, state.cr3, state.cr4));
    require!((after.efer, after.pat, after.dr), (state.efer, state.pat, state.dr));
    require!((after.sysenter_cs, after.sysenter_esp, after.sysenter_eip), (8, 0x1000, 0x2000));
    require!((after.star, after.lstar, after.sfmask), (state.star, state.lstar, state.sfmask));
    require!(after.kernel_gs_base, 0x3000);
    require!((after.gdtr, after.idtr), (state.gdtr, state.idtr));
    require!(after.segments[1].base, 0);
    require!((after.segments[4].base, after.segments[5].base), (0x7000_0000_0000, 0x7000_0000_1000));
    require!(after.extended[160..176], [0x5a; 16]);
    Ok(())
}

fn no_memory_for_a_virtual_cpu(bench: &mut Bench) -> Verdict {
    // A virtual CPU that is to move where there is no memory for it cannot run, nor keep others from running.
    let guest = Guest::new(bench, code::guest_count(), &[(RDI, DATA)])?;
    let poor = Space::new(SpaceKind::Machine, 8)?;
    let moved = objects::set_native_thread(guest.cpu.address(), &NativeState::default(), poor.reference(), Run::Go);
    require!(moved, Err(Status::NoMemory));
    guest.cpu.go()?;
    let mut other = Guest::new(bench, code::guest_flood(), &[(RCX, 0)])?;
    other.start(bench)?;
    Ok(())
}

fn two_side_by_side(bench: &mut Bench) -> Verdict {
    let mut first = Guest::new(bench, code::guest_write(), &[(RDI, DATA), (RSI, 1)])?;
    let exit = first.start(bench)?;
    at_end(&exit)?;
    let mut second = Guest::new(bench, code::guest_write(), &[(RDI, DATA), (RSI, 2)])?;
    let exit = second.start(bench)?;
    at_end(&exit)?;
    require!([first.memory.read::<u64>(DATA)?, second.memory.read(DATA)?], [1, 2]);
    drop(second);
    require!(first.memory.read::<u64>(DATA)?, 1);
    Ok(())
}
