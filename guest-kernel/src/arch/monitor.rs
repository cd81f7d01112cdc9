//! The machine interface, from the kernel's side: one function for each call.

use protocols::address::HostPhysical;
use protocols::machine::{Call, End, Status};
use zerocopy::{IntoBytes, TryFromBytes};

fn status(value: u64) -> Status {
    Status::try_read_from_bytes(value.as_bytes()).unwrap_or(Status::UnknownCall)
}

fn call(call: Call, arguments: [u64; 4]) -> Result<u64, Status> {
    let (result, value): (u64, u64);
    // SAFETY: the monitor touches only the memory that the arguments describe, which the callers below own, and only
    // RAX and RDX.
    unsafe {
        core::arch::asm!(
            "vmcall",
            inlateout("rax") call as u64 => result,
            inlateout("rdx") arguments[2] => value,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("r10") arguments[3],
            options(nostack),
        );
    }
    match result {
        0 => Ok(value),
        error => Err(status(error)),
    }
}

/// The version of the monitor's interface.
pub fn version() -> Result<u64, Status> {
    call(Call::Version, [0; 4])
}

/// Runs a virtual CPU until something needs the kernel.
#[inline]
pub fn run(virtual_cpu: u64) -> Result<(), Status> {
    let result: u64;
    // SAFETY: as in `call`; of the general registers only RSP is kept. RBX and RBP cannot be named as changed.
    unsafe {
        core::arch::asm!(
            "push rbx",
            "push rbp",
            "vmcall",
            "pop rbp",
            "pop rbx",
            inlateout("rax") Call::Run as u64 => result,
            inlateout("rdi") virtual_cpu => _,
            lateout("rcx") _, lateout("rdx") _, lateout("rsi") _, lateout("r8") _, lateout("r9") _, lateout("r10") _,
            lateout("r11") _, lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
        );
    }
    if result == 0 { Ok(()) } else { Err(status(result)) }
}

/// Creates a machine from the frames in `list`, the address of an array of `count` addresses.
pub fn create_machine(list: HostPhysical, count: usize) -> Result<u64, Status> {
    call(Call::CreateMachine, [list.get(), count as u64, 0, 0])
}

/// Donates more frames.
pub fn donate(machine: u64, list: HostPhysical, count: usize) -> Result<(), Status> {
    call(Call::Donate, [machine, count as u64, list.get(), 0]).map(|_| ())
}

/// One step of destroying a machine: the number of frames given back in `list`.
pub fn destroy_machine(machine: u64, list: HostPhysical, room: usize) -> Result<u64, Status> {
    call(Call::DestroyMachine, [machine, list.get(), room as u64, 0])
}

/// Creates a virtual CPU with a state page.
pub fn create_virtual_cpu(machine: u64, state: HostPhysical) -> Result<u64, Status> {
    call(Call::CreateVirtualCpu, [machine, state.get(), 0, 0])
}

/// Destroys a virtual CPU.
pub fn destroy_virtual_cpu(virtual_cpu: u64) -> Result<(), Status> {
    call(Call::DestroyVirtualCpu, [virtual_cpu, 0, 0, 0]).map(|_| ())
}

/// Reads groups of a virtual CPU's state into its state page.
pub fn read_state(virtual_cpu: u64, groups: u64) -> Result<(), Status> {
    call(Call::ReadState, [virtual_cpu, groups, 0, 0]).map(|_| ())
}

/// Has a virtual CPU log the pages that it writes, in `frame` or, anew, where it does already: how many it has logged.
pub fn log_writes(virtual_cpu: u64, frame: HostPhysical) -> Result<u64, Status> {
    call(Call::LogWrites, [virtual_cpu, frame.get(), 0, 0])
}

/// How many frames a machine has left.
pub fn donated_frames(machine: u64) -> Result<u64, Status> {
    call(Call::DonatedFrames, [machine, 0, 0, 0])
}

/// Applies `count` changes of a machine's EPT; an error comes with how many were applied before it.
pub fn update_ept(machine: u64, list: HostPhysical, count: usize) -> Result<(), Status> {
    call(Call::UpdateEpt, [machine, list.get(), count as u64, 0]).map(|_| ())
}

/// Sets policy of a machine.
pub fn set_policy(machine: u64, kind: u64, list: HostPhysical, count: usize) -> Result<(), Status> {
    call(Call::SetPolicy, [machine, kind, list.get(), count as u64]).map(|_| ())
}

/// Writes to the monitor's console.
pub fn write_console(text: HostPhysical, length: usize) {
    // The console is the last resort: there is nobody to tell that it fails.
    let _ = call(Call::WriteConsole, [text.get(), length as u64, 0, 0]);
}

/// Ends the system.
pub fn end(how: End) -> ! {
    let _ = call(Call::End, [how as u64, 0, 0, 0]);
    loop {
        super::cpu::wait_for_ever();
    }
}
