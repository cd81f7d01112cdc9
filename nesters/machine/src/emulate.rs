//! Emulates the one instruction that a guest could not execute itself because it touches a device: decoding, addresses and
//! memory. What instructions do is in [`executor`].
//!
//! The guest is not trusted: it may change the instruction between the exit and the emulation, so anything may be decoded
//! here. What the executor does not know becomes an error.

use crate::executor;
use crate::memory::GuestMemory;
use crate::paging::{TranslationError, translate};
use iced_x86::{Decoder, DecoderOptions, Instruction};
use protocols::address::{GuestPhysical, GuestVirtual};
use protocols::virtual_cpu::{Event, VirtualCpuState, segment};

/// Longest instruction.
const MAX_INSTRUCTION: usize = 15;
const PAGE: u64 = 4096;

/// Where accesses that are not to RAM go.
pub trait Bus {
    /// Reads `size` bytes (1 to 8) of device memory.
    fn memory_read(&mut self, address: GuestPhysical, size: u8) -> u64;
    /// Writes `size` bytes of device memory.
    fn memory_write(&mut self, address: GuestPhysical, size: u8, value: u64);
    /// Reads `size` bytes (1, 2, 4) from a port.
    fn port_read(&mut self, port: u16, size: u8) -> u32;
    /// Writes `size` bytes to a port.
    fn port_write(&mut self, port: u16, size: u8, value: u32);
}

/// Why an instruction was not emulated. The state is unchanged but for iterations of a string instruction already done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmulationError {
    /// The instruction raises a page fault.
    PageFault {
        /// What CR2 becomes.
        address: GuestVirtual,
        /// The error code.
        code: u32,
    },
    /// The paging mode is not supported, or a page table is not in RAM.
    Paging,
    /// The instruction is not emulated.
    Unsupported {
        /// Its bytes.
        bytes: [u8; MAX_INSTRUCTION],
    },
}

impl From<TranslationError> for EmulationError {
    fn from(error: TranslationError) -> Self {
        match error {
            TranslationError::PageFault { address, code } => Self::PageFault { address, code },
            TranslationError::Unsupported => Self::Paging,
        }
    }
}

impl EmulationError {
    /// The exception that the guest gets for this error, if it is its own doing.
    pub fn exception(&self) -> Option<Event> {
        match self {
            Self::PageFault { code, .. } => Some(Event::exception(14, Some(*code))),
            _ => None,
        }
    }
}

/// Emulates the instruction at RIP. `state` needs the groups `INSTRUCTION`, `GENERAL`, `SEGMENTS`, `CONTROL` and `EFER`.
pub fn step<M: GuestMemory, B: Bus>(
    state: &mut VirtualCpuState,
    memory: &mut M,
    bus: &mut B,
) -> Result<(), EmulationError> {
    let bits = code_bits(state);
    let base = if bits == 64 { 0 } else { state.segments[segment::CS].base };
    let rip = if bits == 64 { state.rip } else { state.rip & 0xffff_ffff };
    let mut bytes = [0; MAX_INSTRUCTION];
    let length = fetch(state, memory, base.wrapping_add(rip), &mut bytes)?;
    let mut decoder = Decoder::with_ip(bits, &bytes[..length], rip, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    decoder.decode_out(&mut instruction);
    if instruction.is_invalid() || instruction.has_lock_prefix() && instruction.op0_kind() != iced_x86::OpKind::Memory {
        return Err(EmulationError::Unsupported { bytes });
    }
    let mut access = Access { state, memory, bus };
    let done = executor::execute(&mut access, &instruction).map_err(|error| match error {
        EmulationError::Unsupported { .. } => EmulationError::Unsupported { bytes },
        other => other,
    })?;
    if done {
        let next = state.rip.wrapping_add(instruction.len() as u64);
        state.rip = if bits == 64 { next } else { next & 0xffff_ffff };
    }
    Ok(())
}

/// Operand size and addressing of code, from CS (Intel SDM vol. 3A, 5.2.1).
fn code_bits(state: &VirtualCpuState) -> u32 {
    let access = state.segments[segment::CS].access;
    match (state.efer & 1 << 10 != 0 && access & 1 << 13 != 0, access & 1 << 14 != 0) {
        (true, _) => 64,
        (false, true) => 32,
        (false, false) => 16,
    }
}

/// Reads up to 15 bytes from linear `address` on; fewer if the next page cannot be read.
fn fetch<M: GuestMemory>(
    state: &VirtualCpuState,
    memory: &M,
    address: u64,
    bytes: &mut [u8; MAX_INSTRUCTION],
) -> Result<usize, EmulationError> {
    let first = ((PAGE - address % PAGE) as usize).min(MAX_INSTRUCTION);
    let (head, tail) = bytes.split_at_mut(first);
    let physical = translate(memory, state, GuestVirtual::new(address), false)?;
    memory.read(physical, head).map_err(|_| EmulationError::Paging)?;
    if tail.is_empty() {
        return Ok(first);
    }
    let more = translate(memory, state, GuestVirtual::new(address.wrapping_add(first as u64)), false)
        .is_ok_and(|physical| memory.read(physical, tail).is_ok());
    Ok(if more { MAX_INSTRUCTION } else { first })
}

/// The virtual CPU with its memory and devices, as the executor sees them.
pub struct Access<'a, M, B> {
    /// Its state.
    pub state: &'a mut VirtualCpuState,
    memory: &'a mut M,
    /// Its devices.
    pub bus: &'a mut B,
}

impl<M: GuestMemory, B: Bus> Access<'_, M, B> {
    /// Reads `size` bytes (1 to 8) at linear `address`.
    pub fn read(&mut self, address: u64, size: usize) -> Result<u64, EmulationError> {
        let mut bytes = [0; 8];
        let (first, split) = self.pieces(address, size, false)?;
        self.read_piece(first, &mut bytes[..split.map_or(size, |(at, _)| at)]);
        if let Some((at, second)) = split {
            self.read_piece(second, &mut bytes[at..size]);
        }
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes the low `size` bytes (1 to 8) of `value` at linear `address`.
    pub fn write(&mut self, address: u64, size: usize, value: u64) -> Result<(), EmulationError> {
        let bytes = value.to_le_bytes();
        let (first, split) = self.pieces(address, size, true)?;
        self.write_piece(first, &bytes[..split.map_or(size, |(at, _)| at)]);
        if let Some((at, second)) = split {
            self.write_piece(second, &bytes[at..size]);
        }
        Ok(())
    }

    /// Whether `size` bytes at linear `address` can be written: for read-modify-write, before the read.
    pub fn check_write(&mut self, address: u64, size: usize) -> Result<(), EmulationError> {
        self.pieces(address, size, true).map(|_| ())
    }

    /// The physical address of a linear range; if it crosses into another page, also where and to what.
    #[allow(clippy::type_complexity)]
    fn pieces(
        &self,
        address: u64,
        size: usize,
        write: bool,
    ) -> Result<(GuestPhysical, Option<(usize, GuestPhysical)>), EmulationError> {
        let translate = |address| translate(self.memory, self.state, GuestVirtual::new(address), write);
        let first = translate(address)?;
        let in_first = (PAGE - address % PAGE) as usize;
        if size <= in_first {
            return Ok((first, None));
        }
        Ok((first, Some((in_first, translate(address.wrapping_add(in_first as u64))?))))
    }

    fn read_piece(&mut self, address: GuestPhysical, bytes: &mut [u8]) {
        if self.memory.read(address, bytes).is_err() {
            let value = self.bus.memory_read(address, bytes.len() as u8).to_le_bytes();
            bytes.copy_from_slice(&value[..bytes.len()]);
        }
    }

    fn write_piece(&mut self, address: GuestPhysical, bytes: &[u8]) {
        if self.memory.write(address, bytes).is_err() {
            let mut value = [0; 8];
            value[..bytes.len()].copy_from_slice(bytes);
            self.bus.memory_write(address, bytes.len() as u8, u64::from_le_bytes(value));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::memory::tests::TestMemory;
    use crate::paging::tests::paged;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;
    use protocols::virtual_cpu::register;

    /// Virtual address of the I/O APIC's page in the test machine.
    pub(crate) const DEVICE: u64 = 0xffff_8000_0000_0000;
    pub(crate) const CODE: u64 = 0xc000;

    #[derive(Default, Debug, PartialEq, Eq)]
    pub(crate) struct Recorder {
        pub(crate) reads: Vec<(u64, u8)>,
        pub(crate) writes: Vec<(u64, u8, u64)>,
        pub(crate) ports: Vec<(u16, u8, u32)>,
        pub(crate) value: u64,
    }

    impl Bus for Recorder {
        fn memory_read(&mut self, address: GuestPhysical, size: u8) -> u64 {
            self.reads.push((address.get(), size));
            self.value
        }
        fn memory_write(&mut self, address: GuestPhysical, size: u8, value: u64) {
            self.writes.push((address.get(), size, value));
        }
        fn port_read(&mut self, _: u16, _: u8) -> u32 {
            self.value as u32
        }
        fn port_write(&mut self, port: u16, size: u8, value: u32) {
            self.ports.push((port, size, value));
        }
    }

    /// Runs `code` once, with RDI at the device and a device that reads as `value`.
    pub(crate) fn run(
        code: &[u8],
        value: u64,
        prepare: impl FnOnce(&mut VirtualCpuState),
    ) -> (Result<(), EmulationError>, VirtualCpuState, Recorder, TestMemory) {
        let (mut memory, mut state) = paged();
        memory.write(GuestPhysical::new(CODE), code).unwrap();
        state.rip = CODE;
        state.gpr[register::RDI] = DEVICE;
        prepare(&mut state);
        let mut bus = Recorder { value, ..Recorder::default() };
        let result = step(&mut state, &mut memory, &mut bus);
        (result, state, bus, memory)
    }

    #[test]
    fn an_instruction_may_end_at_an_unmapped_page() {
        let (mut memory, mut state) = paged();
        // mov [rdi], eax; the page after the first 2 MiB is not mapped, and RAM ends before it.
        memory.write(GuestPhysical::new(0xfffe), &[0x89, 0x07]).unwrap();
        state.rip = 0xfffe;
        state.gpr[register::RDI] = DEVICE;
        let mut bus = Recorder::default();
        assert_eq!(step(&mut state, &mut memory, &mut bus), Ok(()));
        assert_eq!((state.rip, bus.writes), (0x1_0000, vec![(0xfec0_0000, 4, 0)]));
    }

    #[test]
    fn page_faults_go_to_the_guest() {
        let (result, state, ..) = run(&[0x88, 0x07], 0, |state| state.gpr[register::RDI] = DEVICE + 0x1000);
        let error = result.unwrap_err();
        assert_eq!(error, EmulationError::PageFault { address: GuestVirtual::new(DEVICE + 0x1000), code: 3 });
        assert_eq!(error.exception(), Some(Event::exception(14, Some(3))));
        assert_eq!(state.rip, CODE);
    }

    #[test]
    fn an_access_across_pages_is_split() {
        let code = [0x48, 0x8b, 0x07];
        let (result, state, bus, _) =
            run(&code, 0x1122_3344_5566_7788, |state| state.gpr[register::RDI] = DEVICE + 0xffc);
        assert_eq!(result, Ok(()));
        assert_eq!(bus.reads, [(0xfec0_0ffc, 4)]);
        assert_eq!(state.gpr[register::RAX], 0x5566_7788);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn random_instructions_never_panic(
            code in prop::array::uniform15(any::<u8>()),
            registers in prop::array::uniform16(prop_oneof![Just(DEVICE), Just(0u64), any::<u64>()]),
            at in prop_oneof![Just(CODE), 0xfff0u64..0x1_0000, any::<u64>()],
            access in any::<u16>(),
            control in any::<[u64; 3]>(),
        ) {
            let (mut memory, mut state) = paged();
            let end = 0x1_0000 - at.min(0x1_0000);
            let _ = memory.write(GuestPhysical::new(at), &code[..(end as usize).min(15)]);
            state.gpr = registers;
            state.rip = at;
            if access & 1 != 0 {
                state.segments[segment::CS].access = access;
                state.cr0 ^= control[0] & 1 << 31;
                state.efer ^= control[1] & 1 << 10;
                state.rflags ^= control[2];
            }
            let _ = step(&mut state, &mut memory, &mut Recorder::default());
        }
    }
}
