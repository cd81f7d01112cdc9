//! The guest's page tables, walked as the processor would (Intel SDM vol. 3A, chapter 4): 4-level and 5-level paging, and no
//! paging. The 32-bit paging modes are not walked.

use crate::memory::GuestMemory;
use protocols::address::{GuestPhysical, GuestVirtual};
use protocols::virtual_cpu::{VirtualCpuState, segment};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const FRAME: u64 = 0x000f_ffff_ffff_f000;
const CR0_PAGING: u64 = 1 << 31;
const CR0_WRITE_PROTECT: u64 = 1 << 16;
const CR4_LA57: u64 = 1 << 12;
const EFER_LMA: u64 = 1 << 10;

/// Why an address has no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationError {
    /// The access raises a page fault with this error code.
    PageFault {
        /// The address.
        address: GuestVirtual,
        /// The error code.
        code: u32,
    },
    /// A page table is not in RAM, or the paging mode is not supported.
    Unsupported,
}

/// Translates a linear address for a read, or for a write if `write`.
pub fn translate<M: GuestMemory>(
    memory: &M,
    state: &VirtualCpuState,
    address: GuestVirtual,
    write: bool,
) -> Result<GuestPhysical, TranslationError> {
    let linear = address.get();
    if state.cr0 & CR0_PAGING == 0 {
        return Ok(GuestPhysical::new(linear & 0xffff_ffff));
    }
    if state.efer & EFER_LMA == 0 {
        return Err(TranslationError::Unsupported);
    }
    let user = privilege(state) == 3;
    let fault = |present: bool| TranslationError::PageFault {
        address,
        code: u32::from(present) | u32::from(write) << 1 | u32::from(user) << 2,
    };
    let levels = if state.cr4 & CR4_LA57 != 0 { 5 } else { 4 };
    let sign_bits = 64 - (12 + 9 * levels);
    if (linear as i64) << sign_bits >> sign_bits != linear as i64 {
        return Err(fault(false));
    }
    let must_be_writable = write && (user || state.cr0 & CR0_WRITE_PROTECT != 0);
    let mut table = state.cr3 & FRAME;
    for level in (0..levels).rev() {
        let shift = 12 + 9 * level;
        let mut entry = [0; 8];
        let at = GuestPhysical::new(table + (linear >> shift & 0x1ff) * 8);
        memory.read(at, &mut entry).map_err(|_| TranslationError::Unsupported)?;
        let entry = u64::from_le_bytes(entry);
        if entry & PRESENT == 0 {
            return Err(fault(false));
        }
        if must_be_writable && entry & WRITABLE == 0 {
            return Err(fault(true));
        }
        if level == 0 || (level < 3 && entry & LARGE != 0) {
            let offset = (1u64 << shift) - 1;
            return Ok(GuestPhysical::new(entry & FRAME & !offset | linear & offset));
        }
        table = entry & FRAME;
    }
    Err(TranslationError::Unsupported)
}

/// The current privilege level: DPL of SS (Intel SDM vol. 3C, 25.4.1).
pub fn privilege(state: &VirtualCpuState) -> u8 {
    (state.segments[segment::SS].access >> 5 & 3) as u8
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::memory::tests::TestMemory;

    /// Page tables at 0x1000 that map 0 to 2 MiB identically, `0xffff_8000_0000_0000` to the page 0xfec00000 and the page
    /// after that to 0x5000, read-only; a state that uses them.
    pub(crate) fn paged() -> (TestMemory, VirtualCpuState) {
        let mut memory = TestMemory::new(64 << 10);
        for (at, entry) in [
            (0x1000, 0x2003),
            (0x2000, 0x3003),
            (0x3000, 0x83),
            (0x1800, 0x6003),
            (0x6000, 0x7003),
            (0x7000, 0x8003),
            (0x8000, 0xfec0_0003u64),
            (0x8008, 0x5001),
        ] {
            memory.write(GuestPhysical::new(at), &entry.to_le_bytes()).unwrap();
        }
        let mut state = VirtualCpuState::zeroed();
        state.cr0 = 0x8001_0001;
        state.cr3 = 0x1000;
        state.cr4 = 0x20;
        state.efer = 0x500;
        state.segments[segment::CS].access = 0xa09b;
        (memory, state)
    }

    #[test]
    fn walks_small_and_large_pages() {
        let (memory, mut state) = paged();
        let walk = |state: &VirtualCpuState, address, write| {
            translate(&memory, state, GuestVirtual::new(address), write).map(GuestPhysical::get)
        };
        assert_eq!(walk(&state, 0x12_3456, true), Ok(0x12_3456));
        assert_eq!(walk(&state, 0xffff_8000_0000_0010, true), Ok(0xfec0_0010));
        let address = GuestVirtual::new(0xffff_8000_0000_1000);
        assert_eq!(walk(&state, address.get(), true), Err(TranslationError::PageFault { address, code: 3 }));
        assert_eq!(walk(&state, address.get(), false), Ok(0x5000));
        assert!(matches!(walk(&state, 0x20_0000, false), Err(TranslationError::PageFault { code: 0, .. })));
        assert!(matches!(walk(&state, 0x8000_0000_0000, false), Err(TranslationError::PageFault { .. })));
        state.efer = 0;
        assert_eq!(walk(&state, 0, false), Err(TranslationError::Unsupported));
        state.cr0 = 1;
        assert_eq!(walk(&state, 0x1_0000_0004, false), Ok(4));
    }
}
