//! The machine interface: the kernel's `VMCALL`s, decoded and checked.

use protocols::machine::{Call, End, Status, VERSION};
use zerocopy::TryFromBytes;

use crate::cpu::Cpu;
use crate::kernel::{self, to_kernel};
use crate::objects::KernelList;
use crate::world::Next;
use crate::world::kernel_register::{R10, RAX, RDI, RDX, RSI};
use crate::{console, stop, virtual_cpu};

/// What a call returns: a value for RDX, where the call has one.
type Answer = Result<Option<u64>, Status>;

/// A `VMCALL` of the kernel's ring 0.
#[inline(always)]
pub fn handle(cpu: &mut Cpu) -> Next {
    kernel::advance();
    if cpu.registers[RAX] == Call::Run as u64 {
        return virtual_cpu::run(cpu);
    }
    other(cpu);
    to_kernel()
}

#[cold]
fn other(cpu: &mut Cpu) {
    let answer = match Call::try_read_from_bytes(&cpu.registers[RAX].to_le_bytes()) {
        Ok(call) => answer(cpu, call),
        Err(_) => Err(Status::UnknownCall),
    };
    let status = match answer {
        Ok(value) => {
            if let Some(value) = value {
                cpu.registers[RDX] = value;
            }
            Status::Ok
        }
        Err(status) => status,
    };
    cpu.registers[RAX] = status as u64;
}

fn answer(cpu: &mut Cpu, call: Call) -> Answer {
    let [rdi, rsi, rdx, r10] = [RDI, RSI, RDX, R10].map(|register| cpu.registers[register]);
    let _ = (rdx, r10);
    match call {
        Call::Version => Ok(Some(VERSION)),
        Call::WriteConsole => write_console(cpu, rdi, rsi),
        Call::End if rdi == End::PowerOff as u64 => stop::power_off(),
        Call::End if rdi == End::Reset as u64 => stop::reset(),
        _ => Err(Status::UnknownCall),
    }
}

fn write_console(cpu: &mut Cpu, address: u64, length: u64) -> Answer {
    let list = KernelList::check::<u8>(&cpu.frames, address, length).ok_or(Status::BadAddress)?;
    for index in 0..list.count() {
        console::write(&[cpu.objects.read::<u8>(list, index)]);
    }
    Ok(None)
}
