//! Micro-guests: memory of a machine prepared so that a virtual CPU runs 64-bit code in ring 0 at once, for tests and
//! measurements.
//!
//! The first GiB of guest-physical memory appears at the same virtual addresses. The guest finds its code at [`CODE`], a
//! stack that ends at [`STACK`], and an interrupt gate for each vector, to 16 bytes at its [`handler`].

use super::memory::{Memory, OutOfRange};
use crate::address::PAGE_SIZE;
use crate::virtual_cpu::{Segment, Table, VirtualCpuState, register, segment};

/// Three page tables.
const TABLES: u64 = 0x1000;
const DESCRIPTORS: u64 = 0x4000;
const GATES: u64 = 0x5000;
const HANDLERS: u64 = 0x6000;
/// Where the stack ends.
pub const STACK: u64 = 0x9000;
/// The code.
pub const CODE: u64 = 0xa000;
/// From here on the memory is the guest's to use.
pub const DATA: u64 = 0x1_0000;

/// Null, 64-bit code, data.
const SEGMENTS: [u64; 3] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
const CODE_SELECTOR: u16 = 8;
const DATA_SELECTOR: u16 = 16;

/// The address of a vector's handler.
pub const fn handler(vector: u8) -> u64 {
    HANDLERS + vector as u64 * 16
}

/// Fills in page tables, descriptors and gates, and `code`. The memory must reach up to [`DATA`].
pub fn prepare(memory: &Memory, code: &[u8]) -> Result<(), OutOfRange> {
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 0x80;
    memory.write(TABLES, &((TABLES + PAGE_SIZE) | PRESENT_WRITABLE))?;
    memory.write(TABLES + PAGE_SIZE, &((TABLES + 2 * PAGE_SIZE) | PRESENT_WRITABLE))?;
    for index in 0..512u64 {
        memory.write(TABLES + 2 * PAGE_SIZE + index * 8, &(index << 21 | LARGE | PRESENT_WRITABLE))?;
    }
    memory.write(DESCRIPTORS, &SEGMENTS)?;
    for vector in 0..=255 {
        // An interrupt gate (Intel SDM vol. 3A, figure 7-8); handlers lie below 64 KiB.
        let gate = [handler(vector) | (CODE_SELECTOR as u64) << 16 | 0x8e00 << 32, 0];
        memory.write(GATES + vector as u64 * 16, &gate)?;
    }
    memory.write_bytes(CODE, code)
}

/// A virtual CPU at the start of the code, in 64-bit mode, interrupts disabled.
pub fn state() -> VirtualCpuState {
    const UNUSABLE: Segment = Segment { base: 0, limit: 0, access: Segment::UNUSABLE, selector: 0 };
    let data = Segment { base: 0, limit: u32::MAX, access: 0xc093, selector: DATA_SELECTOR };
    let mut state = VirtualCpuState::zeroed();
    state.rip = CODE;
    state.gpr[register::RSP] = STACK;
    state.segments = [data; 8];
    state.segments[segment::CS] = Segment { base: 0, limit: u32::MAX, access: 0xa09b, selector: CODE_SELECTOR };
    state.segments[segment::LDTR] = UNUSABLE;
    state.segments[segment::TR] = Segment { base: 0, limit: 0x67, access: 0x8b, selector: 0 };
    state.gdtr = Table { base: DESCRIPTORS, limit: size_of_val(&SEGMENTS) as u64 - 1 };
    state.idtr = Table { base: GATES, limit: 0xfff };
    // PE, ET, NE, WP, PG; PAE; LME and LMA.
    state.cr0 = 0x8001_0031;
    state.cr3 = TABLES;
    state.cr4 = 0x20;
    state.efer = 0x500;
    state
}

const _: () = assert!(handler(255) + 16 <= STACK - PAGE_SIZE && handler(255) + 16 < 1 << 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_lead_to_handlers_and_tables_to_the_same_address() {
        let memory = Memory::allocate(DATA).unwrap();
        prepare(&memory, &[0xf4]).unwrap();
        let read = |address: u64| memory.read::<u64>(address).unwrap();
        let state = state();
        assert_eq!(read(state.idtr.base + 0x40 * 16) & 0xffff, handler(0x40));
        assert_eq!(read(state.gdtr.base + u64::from(CODE_SELECTOR)), SEGMENTS[1]);
        let entry = |table: u64, index: u64| read((table & !0xfff) + index * 8);
        let page = entry(entry(entry(state.cr3, 0), 0), 3);
        assert_eq!(page, 3 << 21 | 0x83);
        assert_eq!(memory.read::<u8>(state.rip), Ok(0xf4));
        assert_eq!(prepare(&Memory::allocate(CODE).unwrap(), &[0xf4]), Err(OutOfRange));
    }
}
