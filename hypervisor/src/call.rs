//! The machine interface: the kernel's `VMCALL`s, decoded and checked.

use protocols::address::HostPhysical;
use protocols::machine::{Call, End, EptEntry, Status, VERSION};
use protocols::policy::Kind;
use protocols::virtual_cpu::register::{R10, RAX, RDI, RDX, RSI};
use zerocopy::TryFromBytes;

use crate::cpu::Cpu;
use crate::objects::KernelList;
use crate::{console, kernel, machine, stop, virtual_cpu};

/// What a call returns in RAX, and in RDX where the call has a value.
type Answer = (Status, Option<u64>);

/// A `VMCALL` of the kernel's ring 0 that is not `Run`; the kernel's RIP is behind it already.
#[inline(never)]
pub extern "sysv64" fn handle(cpu: &mut Cpu) -> ! {
    let (status, value) = match Call::try_read_from_bytes(&cpu.registers[RAX].to_le_bytes()) {
        Ok(call) => answer(cpu, call),
        Err(_) => refused(Status::UnknownCall),
    };
    if let Some(value) = value {
        cpu.registers[RDX] = value;
    }
    cpu.registers[RAX] = status as u64;
    kernel::resume(cpu)
}

const fn refused(status: Status) -> Answer {
    (status, None)
}

fn done(result: Result<(), Status>) -> Answer {
    (result.err().unwrap_or(Status::Ok), None)
}

fn value(result: Result<u64, Status>) -> Answer {
    match result {
        Ok(value) => (Status::Ok, Some(value)),
        Err(status) => refused(status),
    }
}

fn answer(cpu: &mut Cpu, call: Call) -> Answer {
    let [rdi, rsi, rdx, r10] = [RDI, RSI, RDX, R10].map(|register| cpu.registers[register]);
    match call {
        // Handled before: they must be fast.
        Call::Run => refused(Status::UnknownCall),
        Call::Version => (Status::Ok, Some(VERSION)),
        Call::CreateMachine => value(list::<u64>(cpu, rdi, rsi).and_then(|list| machine::create(cpu, list))),
        Call::Donate => done(list::<u64>(cpu, rdx, rsi).and_then(|list| machine::donate(cpu, rdi, list))),
        Call::DestroyMachine => value(list::<u64>(cpu, rsi, rdx).and_then(|list| machine::destroy(cpu, rdi, list))),
        Call::CreateVirtualCpu => value(virtual_cpu::create::create(cpu, rdi, HostPhysical::new(rsi))),
        Call::DestroyVirtualCpu => done(virtual_cpu::create::destroy(cpu, rdi)),
        Call::UpdateEpt => match list::<EptEntry>(cpu, rsi, rdx) {
            Ok(list) => machine::update_ept(cpu, rdi, list),
            Err(status) => (status, Some(0)),
        },
        Call::SetPolicy => match Kind::try_read_from_bytes(&rsi.to_le_bytes()) {
            Ok(kind) => done(machine::set_policy(cpu, rdi, kind, rdx, r10)),
            Err(_) => refused(Status::BadArgument),
        },
        Call::WriteConsole => done(list::<u8>(cpu, rdi, rsi).map(write_console)),
        Call::End => match End::try_read_from_bytes(&rdi.to_le_bytes()) {
            Ok(End::PowerOff) => stop::power_off(),
            Ok(End::Reset) => stop::reset(),
            Err(_) => refused(Status::BadArgument),
        },
        Call::ReadState => done(virtual_cpu::read_state(cpu, rdi, rsi)),
        Call::LogWrites => value(virtual_cpu::create::log_writes(cpu, rdi, HostPhysical::new(rsi))),
        Call::DonatedFrames => value(machine::donated_frames(cpu, rdi)),
    }
}

/// A list in the kernel's memory.
fn list<T>(cpu: &Cpu, address: u64, count: u64) -> Result<KernelList, Status> {
    KernelList::check::<T>(&cpu.frames, address, count).ok_or(Status::BadAddress)
}

fn write_console(list: KernelList) {
    for index in 0..list.count() {
        console::write(&[list.read(index)]);
    }
}
