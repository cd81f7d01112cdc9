//! Virtual-processor identifiers: 1 is the kernel's, each virtual CPU has one of its own, handed out once at a time.

use crate::vmx::instruction;

/// The kernel's VPID.
pub const KERNEL: u16 = 1;
const WORDS: usize = 1 << 10;

/// Which VPIDs are in use.
#[derive(Debug)]
pub struct Vpids {
    used: [u64; WORDS],
}

impl Default for Vpids {
    /// All free but 0, which is the monitor's, and the kernel's.
    fn default() -> Self {
        let mut used = [0; WORDS];
        used[0] = 0b11;
        Self { used }
    }
}

impl Vpids {
    /// A VPID that no translation is tagged with; 0 if all are in use: such a virtual CPU runs without.
    pub fn allocate(&mut self) -> u16 {
        let Some(word) = self.used.iter().position(|&word| word != u64::MAX) else { return 0 };
        let bit = self.used[word].trailing_ones();
        self.used[word] |= 1 << bit;
        let vpid = (word as u32 * 64 + bit) as u16;
        // Single-context INVVPID exists wherever VPIDs are used, and the VPID is not 0: it cannot fail.
        let _ = instruction::invvpid(vpid);
        vpid
    }

    /// Gives a VPID back.
    pub fn free(&mut self, vpid: u16) {
        if vpid > KERNEL
            && let Some(word) = self.used.get_mut(usize::from(vpid) / 64)
        {
            *word &= !(1 << (vpid % 64));
        }
    }
}
