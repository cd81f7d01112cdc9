//! Tests of the border between the kernel and the monitor: frames, identifiers, what the kernel must not do.

use core::arch::asm;

use protocols::address::PAGE_SIZE;
use protocols::boot_info::DIRECT_MAP;
use protocols::machine::{Call, MACHINE_FRAMES, Status};
use protocols::virtual_cpu::exit_reason as reason;

use crate::bare::{Outcome, Test};
use crate::code;
use crate::guest::Guest;
use crate::monitor::{ask, bytes, call, frame, refused, run, write};
use crate::native::{attempt, open_to_ring_3, ring_3_vmcall};
use crate::tests::check;

/// Every test.
pub const ALL: &[Test] = &[
    ("unknown_calls", unknown_calls),
    ("bad_lists", bad_lists),
    ("bad_identifiers", bad_identifiers),
    ("donated_frames_are_out_of_reach", out_of_reach),
    ("the_monitor_cannot_be_mapped", monitor_memory),
    ("destroy_gives_all_frames_back", destroy),
    ("create_and_destroy_many_times", many),
    ("frames_run_out", run_out),
    ("vmcall_from_ring_3", from_ring_3),
    ("other_exits_with_the_number_of_a_run", numbers),
    ("kernel_has_no_vmx", no_vmx),
    ("kernel_xsetbv", xsetbv),
];

fn unknown_calls() -> Outcome {
    for number in [14, 99, u64::MAX, 1 << 32 | Call::Run as u64] {
        check!(call(number, [0; 4]).0 == Status::UnknownCall as u64, "an unknown call was answered");
    }
    check!(refused(ask(Call::End, [7, 0, 0, 0]), Status::BadArgument), "an unknown end");
    Ok(())
}

fn bad_lists() -> Outcome {
    for list in [0xfff8, 1, 1 << 60, u64::MAX, 0x10_0000] {
        check!(refused(ask(Call::CreateMachine, [list, 512, 0, 0]), Status::BadAddress), "a bad list was read");
    }
    let list = frame();
    check!(refused(ask(Call::CreateMachine, [list, 513, 0, 0]), Status::BadAddress), "a list across pages");
    check!(refused(ask(Call::CreateMachine, [list, u64::MAX, 0, 0]), Status::BadAddress), "an endless list");
    check!(refused(ask(Call::CreateMachine, [list, 3, 0, 0]), Status::NoFrames), "a machine of three frames");
    check!(
        refused(ask(Call::WriteConsole, [0x10_0000, 5, 0, 0]), Status::BadAddress),
        "the monitor's memory was printed"
    );
    let same = [frame(); MACHINE_FRAMES];
    write(list, &same);
    check!(refused(ask(Call::CreateMachine, [list, 8, 0, 0]), Status::FrameInUse), "one frame was taken twice");
    bytes(same[0], 8).fill(1);
    Ok(())
}

fn bad_identifiers() -> Outcome {
    for id in [0, 1, 0x100, frame() / PAGE_SIZE, u64::MAX, 1 << 52] {
        check!(run(id) == Status::NoObject as u64, "Run");
        check!(run(id) == Status::NoObject as u64, "Run");
        check!(refused(ask(Call::CreateVirtualCpu, [id, frame(), 0, 0]), Status::NoObject), "CreateVirtualCpu");
        check!(refused(ask(Call::DestroyVirtualCpu, [id, 0, 0, 0]), Status::NoObject), "DestroyVirtualCpu");
        check!(refused(ask(Call::DonatedFrames, [id, 0, 0, 0]), Status::NoObject), "DonatedFrames");
        check!(refused(ask(Call::ReadState, [id, 1, 0, 0]), Status::NoObject), "ReadState");
    }
    let guest = Guest::new(code::hlt_64())?;
    check!(run(guest.machine) == Status::NoObject as u64, "a machine was run");
    check!(refused(ask(Call::DonatedFrames, [guest.cpu, 0, 0, 0]), Status::NoObject), "a virtual CPU has frames");
    Ok(())
}

extern "sysv64" fn read(address: u64) {
    // SAFETY: the address is in the direct map; an exception returns to `attempt`.
    unsafe { (address as *const u64).read_volatile() };
}

fn out_of_reach() -> Outcome {
    let mut guest = Guest::new(code::touch())?;
    let donated = guest.donated;
    check!(attempt(read, DIRECT_MAP + donated) == Some(13), "the kernel reads a donated frame");
    check!(attempt(read, DIRECT_MAP + guest.memory).is_none(), "the kernel lost a frame");
    check!(refused(guest.map(0x40_0000, donated, PAGE_SIZE, 7), Status::FrameInUse), "a donated frame was mapped");
    check!(
        refused(guest.map(0x40_0000, guest.state_frame, PAGE_SIZE, 7), Status::FrameInUse),
        "a state page was mapped"
    );
    write(guest.list, &[guest.memory]);
    check!(
        refused(ask(Call::Donate, [guest.machine, 1, guest.list, 0]), Status::FrameInUse),
        "a mapped frame was donated"
    );
    write(guest.list, &[guest.state_frame]);
    check!(
        refused(ask(Call::Donate, [guest.machine, 1, guest.list, 0]), Status::FrameInUse),
        "a state page was donated"
    );
    let (machine, memory) = (guest.machine, guest.memory);
    check!(
        refused(ask(Call::CreateVirtualCpu, [machine, memory, 0, 0]), Status::FrameInUse),
        "guest memory as state page"
    );
    check!(guest.map(0, 0, 2 << 20, 0) == Ok(1), "unmap");
    write(guest.list, &[guest.memory]);
    check!(ask(Call::Donate, [guest.machine, 1, guest.list, 0]).is_ok(), "an unmapped frame was refused");
    Ok(())
}

fn monitor_memory() -> Outcome {
    let mut guest = Guest::new(code::hlt_64())?;
    check!(attempt(read, DIRECT_MAP + 0x10_0000) == Some(13), "the kernel reads the monitor");
    for (host, length) in [(0x10_0000, 4096), (0, 2 << 20), (u64::MAX - 4095, 4096), (1 << 51, 4096)] {
        check!(refused(guest.map(0x4000_0000, host, length, 7), Status::BadAddress), "mapped");
    }
    check!(refused(guest.map(1 << 48, guest.memory, 4096, 7), Status::BadAddress), "mapped beyond the guest's space");
    check!(refused(guest.map(123, guest.memory, 4096, 7), Status::BadAddress), "mapped without alignment");
    check!(refused(guest.map(0x4000_0000, guest.memory, 4096, 2), Status::BadArgument), "mapped write-only");
    check!(refused(guest.map(0x4000_0000, guest.memory, 4096, 16), Status::BadArgument), "mapped with unknown rights");
    check!(guest.map(0xfee0_0000, 0xfee0_0000, 4096, 3) == Ok(1), "a device was refused");
    check!(guest.run()? == reason::HLT, "the machine does not run");
    Ok(())
}

fn destroy() -> Outcome {
    let mut guest = Guest::new(code::hlt_64())?;
    check!(guest.map(0x4000_0000, guest.memory, 0x3000, 7) == Ok(1), "map");
    check!(guest.run()? == reason::HLT, "run");
    let (machine, cpu, state, donated, memory) =
        (guest.machine, guest.cpu, guest.state_frame, guest.donated, guest.memory);
    check!(guest.destroy()? == MACHINE_FRAMES as u64 + 24, "not all frames came back");
    check!(bytes(donated, 32 << 12).iter().all(|&byte| byte == 0), "they are not zeroed");
    check!(run(cpu) == Status::NoObject as u64, "its virtual CPU lives");
    check!(refused(ask(Call::DonatedFrames, [machine, 0, 0, 0]), Status::NoObject), "it lives");
    // All of them, and what it had mapped, and the state page, can be donated again.
    let list = frame();
    write(
        list,
        &[donated, memory, state, memory + 4096, donated + 4096, donated + 8192, memory + 8192, donated + 12288],
    );
    check!(ask(Call::CreateMachine, [list, 8, 0, 0]).is_ok(), "a frame is not free");
    Ok(())
}

fn many() -> Outcome {
    // The same frames again and again: nothing may stay behind.
    let list = frame();
    let (state, block) = (frame(), crate::monitor::memory(16 * PAGE_SIZE, PAGE_SIZE));
    for _ in 0..200 {
        let frames: [u64; 16] = core::array::from_fn(|index| block + index as u64 * PAGE_SIZE);
        write(list, &frames);
        let machine = ask(Call::CreateMachine, [list, 16, 0, 0]).map_err(|_| "CreateMachine")?;
        let cpu = ask(Call::CreateVirtualCpu, [machine, state, 0, 0]).map_err(|_| "CreateVirtualCpu")?;
        check!(ask(Call::DonatedFrames, [machine, 0, 0, 0]) == Ok(10), "a frame was lost");
        ask(Call::DestroyVirtualCpu, [cpu, 0, 0, 0]).map_err(|_| "DestroyVirtualCpu")?;
        check!(ask(Call::DonatedFrames, [machine, 0, 0, 0]) == Ok(12), "a virtual CPU keeps frames");
        let mut back = 0;
        while let given @ 1.. = ask(Call::DestroyMachine, [machine, list, 5, 0]).map_err(|_| "DestroyMachine")? {
            check!(given <= 5, "more than there is room for");
            back += given;
        }
        check!(back == 16, "not all came back");
    }
    Ok(())
}

fn run_out() -> Outcome {
    let mut guest = Guest::new(code::hlt_64())?;
    let mut at = 1u64 << 40;
    let refusal = loop {
        match guest.map(at, guest.memory, 4096, 7) {
            Ok(_) => at += 1 << 30,
            refusal => break refusal,
        }
        check!(at < 1 << 46, "frames never run out");
    };
    check!(refused(refusal, Status::NoFrames), "another refusal");
    let more = frame();
    write(guest.list, &[more]);
    check!(ask(Call::Donate, [guest.machine, 1, guest.list, 0]).is_ok(), "donate");
    let more = frame();
    write(guest.list, &[more]);
    check!(ask(Call::Donate, [guest.machine, 1, guest.list, 0]).is_ok(), "donate");
    check!(guest.map(at, guest.memory, 4096, 7) == Ok(1), "does not go on");
    check!(guest.run()? == reason::HLT, "the machine does not run");
    Ok(())
}

fn from_ring_3() -> Outcome {
    open_to_ring_3();
    for number in [Call::Version, Call::Run] {
        check!(attempt(ring_3_vmcall, number as u64) == Some(6), "no #UD");
    }
    Ok(())
}

/// What looks like [`Call::Run`] in RAX, but is no VMCALL, changes no register that it should not.
fn numbers() -> Outcome {
    let number = Call::Run as u64;
    let (mut rax, mut rbx, mut rcx, mut rdx) = (number, 0u64, 0x1_0000_0000u64, !0u64);
    let mut others = [0x11u64, 0x22, 0x33, 0x44];
    // SAFETY: CPUID of the leaf that has the same number.
    unsafe {
        asm!("xchg {b}, rbx", "cpuid", "xchg {b}, rbx", b = inout(reg) rbx, inout("rax") rax, inout("rcx") rcx,
            inout("rdx") rdx, inout("rdi") others[0], inout("rsi") others[1], inout("r8") others[2],
            inout("r15") others[3]);
    }
    let plain = core::arch::x86_64::__cpuid_count(number as u32, 0);
    let expected = [plain.eax, plain.ebx, plain.ecx, plain.edx].map(u64::from);
    check!([rax, rbx, rcx, rdx] == expected, "CPUID is answered wrongly");
    check!(others == [0x11, 0x22, 0x33, 0x44], "registers are lost");
    Ok(())
}

extern "sysv64" fn vmxoff(_: u64) {
    // SAFETY: #UD returns to `attempt`.
    unsafe { asm!("vmxoff") };
}

extern "sysv64" fn set_vmxe(_: u64) {
    // SAFETY: #GP returns to `attempt`.
    unsafe { asm!("mov {s}, cr4", "or {s}, 0x2000", "mov cr4, {s}", s = out(reg) _) };
}

extern "sysv64" fn set_xcr0(value: u64) {
    // SAFETY: the test kernel uses no extended state; #GP returns to `attempt`.
    unsafe { asm!("xsetbv", in("rcx") value >> 32, in("rax") value & 0xffff_ffff, in("rdx") 0) };
}

/// Whether the processor has XSAVE.
pub fn has_xsave() -> bool {
    core::arch::x86_64::__cpuid(1).ecx >> 26 & 1 != 0
}

fn no_vmx() -> Outcome {
    let features = core::arch::x86_64::__cpuid(1).ecx;
    check!(features & 3 << 5 == 0, "CPUID shows VMX or SMX");
    check!(attempt(vmxoff, 0) == Some(6), "VMXOFF without #UD");
    check!(attempt(set_vmxe, 0) == Some(13), "CR4.VMXE without #GP");
    let cr4: u64;
    // SAFETY: reading CR4.
    unsafe { asm!("mov {}, cr4", out(reg) cr4) };
    check!(cr4 & 0x2000 == 0, "CR4 shows VMXE");
    let (one, two) = (exits(), exits());
    check!(two > one && two - one < 4, "the statistics leaf does not count");
    Ok(())
}

/// The number of VM exits so far.
pub fn exits() -> u64 {
    let leaf = core::arch::x86_64::__cpuid(protocols::machine::STATISTICS_LEAF);
    u64::from(leaf.ebx) << 32 | u64::from(leaf.eax)
}

fn xsetbv() -> Outcome {
    if !has_xsave() {
        return Ok(());
    }
    // SAFETY: CR4.OSXSAVE only lets XSETBV be executed.
    unsafe { asm!("mov {s}, cr4", "or {s}, 0x40000", "mov cr4, {s}", s = out(reg) _) };
    check!(core::arch::x86_64::__cpuid(1).ecx >> 27 & 1 == 1, "CPUID does not show OSXSAVE");
    check!(attempt(set_xcr0, 3).is_none(), "a good value was refused");
    check!(attempt(set_xcr0, 2) == Some(13), "a bad value was accepted");
    check!(attempt(set_xcr0, 1 << 32 | 3) == Some(13), "XCR1 was accepted");
    Ok(())
}
