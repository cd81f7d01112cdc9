//! What instructions do: moves, arithmetic with flags, exchanges and string instructions, for operands in registers, RAM and
//! device memory.

use crate::emulate::{Access, Bus, EmulationError};
use crate::memory::GuestMemory;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use protocols::virtual_cpu::{VirtualCpuState, register, segment};

/// Iterations of a string instruction that are done at once; the rest follows when the guest executes it again.
const MAX_ITERATIONS: u64 = 4096;

const CARRY: u64 = 1;
const PARITY: u64 = 1 << 2;
const ADJUST: u64 = 1 << 4;
const ZERO: u64 = 1 << 6;
const SIGN: u64 = 1 << 7;
const DIRECTION: u64 = 1 << 10;
const OVERFLOW: u64 = 1 << 11;
const ARITHMETIC: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;

const UNSUPPORTED: EmulationError = EmulationError::Unsupported { bytes: [0; 15] };

/// Executes `instruction`. False if it is a string instruction with iterations left.
pub fn execute<M: GuestMemory, B: Bus>(
    access: &mut Access<'_, M, B>,
    instruction: &Instruction,
) -> Result<bool, EmulationError> {
    use Mnemonic as Op;
    match instruction.mnemonic() {
        Op::Mov => {
            let value = read(access, instruction, 1)?;
            write(access, instruction, 0, value)?;
        }
        Op::Movzx => {
            let value = read(access, instruction, 1)?;
            write(access, instruction, 0, value)?;
        }
        Op::Movsx | Op::Movsxd => {
            let value = sign_extend(read(access, instruction, 1)?, size(instruction, 1)?);
            write(access, instruction, 0, value)?;
        }
        Op::Xchg => {
            // Both values are read before either place is written; of an address in the exchanged register, the old one counts.
            check_write(access, instruction)?;
            let (a, b) = (read(access, instruction, 0)?, read(access, instruction, 1)?);
            if instruction.op0_kind() == OpKind::Memory {
                write(access, instruction, 0, b)?;
                write(access, instruction, 1, a)?;
            } else {
                write(access, instruction, 1, a)?;
                write(access, instruction, 0, b)?;
            }
        }
        Op::And | Op::Or | Op::Xor | Op::Add | Op::Sub => {
            check_write(access, instruction)?;
            let (result, flags) = arithmetic(access, instruction)?;
            write(access, instruction, 0, result)?;
            set_flags(access.state, flags);
        }
        Op::Cmp | Op::Test => {
            let (_, flags) = arithmetic(access, instruction)?;
            set_flags(access.state, flags);
        }
        Op::Stosb
        | Op::Stosw
        | Op::Stosd
        | Op::Stosq
        | Op::Lodsb
        | Op::Lodsw
        | Op::Lodsd
        | Op::Lodsq
        | Op::Movsb
        | Op::Movsw
        | Op::Movsq
        | Op::Insb
        | Op::Insw
        | Op::Insd
        | Op::Outsb
        | Op::Outsw
        | Op::Outsd => {
            return string(access, instruction);
        }
        // Also the name of an SSE instruction.
        Op::Movsd if instruction.is_string_instruction() => return string(access, instruction),
        _ => return Err(UNSUPPORTED),
    }
    Ok(true)
}

/// Bytes of operand `operand`.
fn size(instruction: &Instruction, operand: u32) -> Result<usize, EmulationError> {
    let size = match instruction.op_kind(operand) {
        OpKind::Register => instruction.op_register(operand).size(),
        OpKind::Memory => instruction.memory_size().size(),
        _ => match instruction.op0_kind() {
            OpKind::Register => instruction.op0_register().size(),
            _ => instruction.memory_size().size(),
        },
    };
    if matches!(size, 1 | 2 | 4 | 8) { Ok(size) } else { Err(UNSUPPORTED) }
}

fn mask(size: usize) -> u64 {
    u64::MAX >> (64 - 8 * size)
}

fn sign_extend(value: u64, size: usize) -> u64 {
    let shift = 64 - 8 * size as u32;
    ((value << shift) as i64 >> shift) as u64
}

/// The linear address of memory operand `operand`.
fn address(state: &VirtualCpuState, instruction: &Instruction, operand: u32) -> Result<u64, EmulationError> {
    instruction.virtual_address(operand, 0, |register, _, _| register_value(state, register)).ok_or(UNSUPPORTED)
}

/// A register as part of an address: for a segment register, its base.
fn register_value(state: &VirtualCpuState, name: Register) -> Option<u64> {
    if name.is_segment_register() {
        return Some(match name {
            Register::FS => state.segments[segment::FS].base,
            Register::GS => state.segments[segment::GS].base,
            // In 64-bit mode the other bases count as zero.
            _ if is_long(state) => 0,
            Register::ES => state.segments[segment::ES].base,
            Register::CS => state.segments[segment::CS].base,
            Register::SS => state.segments[segment::SS].base,
            _ => state.segments[segment::DS].base,
        });
    }
    match name {
        Register::RIP => Some(state.rip),
        Register::EIP => Some(state.rip & 0xffff_ffff),
        _ => get(state, name),
    }
}

fn is_long(state: &VirtualCpuState) -> bool {
    state.efer & 1 << 10 != 0 && state.segments[segment::CS].access & 1 << 13 != 0
}

/// The value of a general register.
fn get(state: &VirtualCpuState, name: Register) -> Option<u64> {
    if !name.is_gpr() {
        return None;
    }
    let whole = state.gpr[name.full_register().number() & 15];
    Some(if is_high(name) { whole >> 8 & 0xff } else { whole & mask(name.size()) })
}

fn is_high(name: Register) -> bool {
    matches!(name, Register::AH | Register::BH | Register::CH | Register::DH)
}

fn set(state: &mut VirtualCpuState, name: Register, value: u64) -> Result<(), EmulationError> {
    if !name.is_gpr() {
        return Err(UNSUPPORTED);
    }
    let whole = &mut state.gpr[name.full_register().number() & 15];
    *whole = match name.size() {
        1 if is_high(name) => *whole & !0xff00 | (value & 0xff) << 8,
        1 => *whole & !0xff | value & 0xff,
        2 => *whole & !0xffff | value & 0xffff,
        // A 32-bit result clears the upper half (Intel SDM vol. 1, 3.4.1.1).
        4 => value & 0xffff_ffff,
        _ => value,
    };
    Ok(())
}

fn read<M: GuestMemory, B: Bus>(
    access: &mut Access<'_, M, B>,
    instruction: &Instruction,
    operand: u32,
) -> Result<u64, EmulationError> {
    match instruction.op_kind(operand) {
        OpKind::Register => get(access.state, instruction.op_register(operand)).ok_or(UNSUPPORTED),
        OpKind::Memory => {
            let address = address(access.state, instruction, operand)?;
            access.read(address, size(instruction, operand)?)
        }
        _ => instruction.try_immediate(operand).map_err(|_| UNSUPPORTED),
    }
}

fn write<M: GuestMemory, B: Bus>(
    access: &mut Access<'_, M, B>,
    instruction: &Instruction,
    operand: u32,
    value: u64,
) -> Result<(), EmulationError> {
    match instruction.op_kind(operand) {
        OpKind::Register => set(access.state, instruction.op_register(operand), value),
        OpKind::Memory => {
            let address = address(access.state, instruction, operand)?;
            access.write(address, size(instruction, operand)?, value)
        }
        _ => Err(UNSUPPORTED),
    }
}

fn check_write<M: GuestMemory, B: Bus>(
    access: &mut Access<'_, M, B>,
    instruction: &Instruction,
) -> Result<(), EmulationError> {
    if instruction.op0_kind() != OpKind::Memory {
        return Ok(());
    }
    let address = address(access.state, instruction, 0)?;
    access.check_write(address, size(instruction, 0)?)
}

/// Result and flags of a two-operand arithmetic instruction.
fn arithmetic<M: GuestMemory, B: Bus>(
    access: &mut Access<'_, M, B>,
    instruction: &Instruction,
) -> Result<(u64, u64), EmulationError> {
    let size = size(instruction, 0)?;
    let (a, b) = (read(access, instruction, 0)? & mask(size), read(access, instruction, 1)? & mask(size));
    let sign = |value: u64| value >> (8 * size - 1) & 1 != 0;
    let (result, carry, overflow) = match instruction.mnemonic() {
        Mnemonic::And | Mnemonic::Test => (a & b, false, false),
        Mnemonic::Or => (a | b, false, false),
        Mnemonic::Xor => (a ^ b, false, false),
        Mnemonic::Add => {
            let result = a.wrapping_add(b) & mask(size);
            (result, result < a, sign(a) == sign(b) && sign(result) != sign(a))
        }
        _ => {
            let result = a.wrapping_sub(b) & mask(size);
            (result, a < b, sign(a) != sign(b) && sign(result) != sign(a))
        }
    };
    let adjust = !matches!(instruction.mnemonic(), Mnemonic::And | Mnemonic::Test | Mnemonic::Or | Mnemonic::Xor)
        && (a ^ b ^ result) & 0x10 != 0;
    let mut flags = 0;
    for (holds, flag) in [
        (carry, CARRY),
        ((result as u8).count_ones().is_multiple_of(2), PARITY),
        (adjust, ADJUST),
        (result == 0, ZERO),
        (sign(result), SIGN),
        (overflow, OVERFLOW),
    ] {
        flags |= if holds { flag } else { 0 };
    }
    Ok((result, flags))
}

fn set_flags(state: &mut VirtualCpuState, flags: u64) {
    state.rflags = state.rflags & !ARITHMETIC | flags;
}

/// STOS, LODS, MOVS, INS and OUTS, with or without REP.
fn string<M: GuestMemory, B: Bus>(
    access: &mut Access<'_, M, B>,
    instruction: &Instruction,
) -> Result<bool, EmulationError> {
    use Mnemonic as Op;
    let size = instruction.memory_size().size();
    if !matches!(size, 1 | 2 | 4 | 8) {
        return Err(UNSUPPORTED);
    }
    let kinds = [instruction.op0_kind(), instruction.op1_kind()];
    let width = match kinds {
        kinds if kinds.iter().any(|kind| matches!(kind, OpKind::MemorySegSI | OpKind::MemoryESDI)) => 2,
        kinds if kinds.iter().any(|kind| matches!(kind, OpKind::MemorySegESI | OpKind::MemoryESEDI)) => 4,
        _ => 8,
    };
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    let source_base = register_value(access.state, instruction.memory_segment()).unwrap_or(0);
    let destination_base = register_value(access.state, Register::ES).unwrap_or(0);
    for _ in 0..MAX_ITERATIONS {
        if repeats && access.state.gpr[register::RCX] & mask(width) == 0 {
            return Ok(true);
        }
        let source = source_base.wrapping_add(access.state.gpr[register::RSI] & mask(width));
        let destination = destination_base.wrapping_add(access.state.gpr[register::RDI] & mask(width));
        let port = access.state.gpr[register::RDX] as u16;
        let accumulator = access.state.gpr[register::RAX];
        let (mut uses_source, mut uses_destination) = (false, false);
        match instruction.mnemonic() {
            Op::Stosb | Op::Stosw | Op::Stosd | Op::Stosq => {
                access.write(destination, size, accumulator)?;
                uses_destination = true;
            }
            Op::Lodsb | Op::Lodsw | Op::Lodsd | Op::Lodsq => {
                let value = access.read(source, size)?;
                let name = [Register::AL, Register::AX, Register::EAX, Register::RAX][size.ilog2() as usize];
                set(access.state, name, value)?;
                uses_source = true;
            }
            Op::Movsb | Op::Movsw | Op::Movsd | Op::Movsq => {
                access.check_write(destination, size)?;
                let value = access.read(source, size)?;
                access.write(destination, size, value)?;
                (uses_source, uses_destination) = (true, true);
            }
            Op::Insb | Op::Insw | Op::Insd => {
                access.check_write(destination, size)?;
                let value = access.bus.port_read(port, size as u8);
                access.write(destination, size, u64::from(value))?;
                uses_destination = true;
            }
            _ => {
                let value = access.read(source, size)?;
                access.bus.port_write(port, size as u8, value as u32);
                uses_source = true;
            }
        }
        let step = if access.state.rflags & DIRECTION != 0 { (size as u64).wrapping_neg() } else { size as u64 };
        if uses_source {
            advance(access.state, register::RSI, width, step);
        }
        if uses_destination {
            advance(access.state, register::RDI, width, step);
        }
        if !repeats {
            return Ok(true);
        }
        advance(access.state, register::RCX, width, u64::MAX);
    }
    Ok(access.state.gpr[register::RCX] & mask(width) == 0)
}

/// Adds `step` to a register that is used with `width` bytes of address.
fn advance(state: &mut VirtualCpuState, index: usize, width: usize, step: u64) {
    let old = state.gpr[index];
    let new = old.wrapping_add(step) & mask(width);
    state.gpr[index] = if width == 2 { old & !0xffff | new } else { new };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulate::tests::{CODE, DEVICE, run};
    use register::{RAX, RBX, RCX, RDI, RDX, RSI};

    #[test]
    fn moves() {
        // mov eax, [rdi+0x10]
        let (result, state, bus, _) = run(&[0x8b, 0x47, 0x10], 0x1_1234_5678, |state| state.gpr[RAX] = u64::MAX);
        assert_eq!((result, state.gpr[RAX], state.rip), (Ok(()), 0x1234_5678, CODE + 3));
        assert_eq!(bus.reads, [(0xfec0_0010, 4)]);
        // mov dword [rdi], 0x12345678
        let (_, _, bus, _) = run(&[0xc7, 0x07, 0x78, 0x56, 0x34, 0x12], 0, |_| {});
        assert_eq!(bus.writes, [(0xfec0_0000, 4, 0x1234_5678)]);
        // mov qword [rdi], -1 (sign-extended immediate)
        let (_, _, bus, _) = run(&[0x48, 0xc7, 0x07, 0xff, 0xff, 0xff, 0xff], 0, |_| {});
        assert_eq!(bus.writes, [(0xfec0_0000, 8, u64::MAX)]);
        // mov [rdi], ah
        let (_, _, bus, _) = run(&[0x88, 0x27], 0, |state| state.gpr[RAX] = 0xab00);
        assert_eq!(bus.writes, [(0xfec0_0000, 1, 0xab)]);
        // movzx eax, word [rdi]; movsx rax, byte [rdi]
        let (_, state, ..) = run(&[0x0f, 0xb7, 0x07], 0xffff_8001, |_| {});
        assert_eq!(state.gpr[RAX], 0x8001);
        let (_, state, ..) = run(&[0x48, 0x0f, 0xbe, 0x07], 0x80, |_| {});
        assert_eq!(state.gpr[RAX], 0xffff_ffff_ffff_ff80);
        // mov al, [moffs64]
        let (_, state, bus, _) = run(&[0xa0, 4, 0, 0, 0, 0, 0x80, 0xff, 0xff], 0x55, |_| {});
        assert_eq!((state.gpr[RAX], &bus.reads[..]), (0x55, &[(0xfec0_0004, 1)][..]));
    }

    #[test]
    fn addresses_use_bases_indices_and_segments() {
        // mov gs:[rbx+rcx*4+8], eax
        let (result, _, bus, _) = run(&[0x65, 0x89, 0x44, 0x8b, 0x08], 0, |state| {
            state.segments[segment::GS].base = DEVICE;
            state.gpr[RBX] = 0x100;
            state.gpr[RCX] = 2;
        });
        assert_eq!((result, &bus.writes[..]), (Ok(()), &[(0xfec0_0110, 4, 0)][..]));
        // mov eax, [rip+0x10]: RAM
        let (result, state, bus, _) = run(&[0x8b, 0x05, 0xfa, 0xff, 0xff, 0xff], 0, |_| {});
        assert_eq!((result, state.gpr[RAX], bus.reads.len()), (Ok(()), 0xfffa_058b, 0));
    }

    #[test]
    fn arithmetic_sets_flags() {
        // and dword [rdi], eax
        let (_, state, bus, _) = run(&[0x21, 0x07], 0xf0, |state| state.gpr[RAX] = 0x0f);
        assert_eq!((bus.writes[0].2, state.rflags & ARITHMETIC), (0, ZERO | PARITY));
        // add byte [rdi], 1: 0x7f + 1 overflows
        let (_, state, bus, _) = run(&[0x80, 0x07, 1], 0x7f, |_| {});
        assert_eq!((bus.writes[0].2, state.rflags & ARITHMETIC), (0x80, OVERFLOW | SIGN | ADJUST));
        // cmp dword [rdi], eax: 1 - 2 borrows
        let (_, state, bus, _) = run(&[0x39, 0x07], 1, |state| state.gpr[RAX] = 2);
        assert_eq!(state.rflags & ARITHMETIC, CARRY | SIGN | ADJUST | PARITY);
        assert!(bus.writes.is_empty());
        // test byte [rdi], 0x80
        let (_, state, ..) = run(&[0xf6, 0x07, 0x80], 0x80, |_| {});
        assert_eq!(state.rflags & ARITHMETIC, SIGN);
        // sub rax, [rdi]
        let (_, state, ..) = run(&[0x48, 0x2b, 0x07], 5, |state| state.gpr[RAX] = 5);
        assert_eq!((state.gpr[RAX], state.rflags & ARITHMETIC), (0, ZERO | PARITY));
    }

    #[test]
    fn exchange() {
        let (_, state, bus, _) = run(&[0x87, 0x07], 7, |state| state.gpr[RAX] = 9);
        assert_eq!((state.gpr[RAX], bus.writes[0].2), (7, 9));
        // xchg [rdi], rdi: the address is the old RDI.
        let (_, state, bus, _) = run(&[0x48, 0x87, 0x3f], 7, |_| {});
        assert_eq!((state.gpr[RDI], bus.writes[0]), (7, (0xfec0_0000, 8, DEVICE)));
    }

    #[test]
    fn strings_repeat_and_turn_around() {
        // rep stosd
        let (_, state, bus, _) = run(&[0xf3, 0xab], 0, |state| state.gpr[RCX] = 3);
        assert_eq!((bus.writes.len(), state.gpr[RCX], state.gpr[RDI], state.rip), (3, 0, DEVICE + 12, CODE + 2));
        // rep stosb of more than one batch
        let (_, state, ..) = run(&[0xf3, 0xaa], 0, |state| {
            state.gpr[RCX] = 5000;
            state.gpr[RDI] = 0x8_0000;
        });
        assert_eq!((state.gpr[RCX], state.rip), (5000 - MAX_ITERATIONS, CODE));
        // std; movsb from the device to RAM
        let (_, state, _, memory) = run(&[0xa4], 0x42, |state| {
            state.gpr[RSI] = DEVICE;
            state.gpr[RDI] = 0xd000;
            state.rflags |= DIRECTION;
        });
        assert_eq!((memory.bytes[0xd000], state.gpr[RSI], state.gpr[RDI]), (0x42, DEVICE - 1, 0xcfff));
        // rep outsb
        let (_, state, bus, _) = run(&[0xf3, 0x6e], 0, |state| {
            state.gpr[RSI] = CODE;
            state.gpr[RDX] = 0x3f8;
            state.gpr[RCX] = 2;
        });
        assert_eq!((state.gpr[RSI], &bus.ports[..]), (CODE + 2, &[(0x3f8, 1, 0xf3), (0x3f8, 1, 0x6e)][..]));
        // insw
        let (_, _, _, memory) = run(&[0x66, 0x6d], 0xbeef, |state| state.gpr[RDI] = 0xd000);
        assert_eq!(memory.bytes[0xd000..0xd003], [0xef, 0xbe, 0]);
    }

    #[test]
    fn other_instructions_are_refused_with_their_bytes() {
        // movups [rdi], xmm0
        let (result, state, ..) = run(&[0x0f, 0x11, 0x07], 0, |_| {});
        assert!(matches!(result, Err(EmulationError::Unsupported { bytes: [0x0f, 0x11, 0x07, ..] })));
        assert_eq!(state.rip, CODE);
    }
}
