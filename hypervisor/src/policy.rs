//! A machine's policy tables: what the monitor answers at once. Default deny: an empty table answers nothing.
//!
//! One frame holds a policy; zeroes are the empty one. CPUID leaves are found through a small index, constant MSRs by
//! binary search.

use protocols::machine::Status;
use protocols::policy::{Controls, CpuidEntry, DIRECT_MSRS, MAX_CONSTANT_MSRS, MAX_CPUID_ENTRIES, MsrEntry};

use crate::guest_rules::{SMXE, VMXE};

/// Leaves with an index slot: 0 to 0x3f and 0x8000_0000 to 0x8000_003f.
const INDEXED: usize = 128;

/// MSRs that the VMCS holds for each guest, so that it accesses them directly, always.
pub const VMCS_MSRS: [u32; 2] = [0x277, 0xc000_0080];

/// The tables of a machine.
#[repr(C)]
#[derive(Debug, zerocopy::FromBytes)]
pub struct Policy {
    controls: Controls,
    cpuid_count: u32,
    msr_count: u32,
    /// 1 + position of a leaf's first entry, 0 for none.
    index: [u8; INDEXED],
    /// Sorted by leaf.
    cpuid: [CpuidEntry; MAX_CPUID_ENTRIES],
    /// Sorted by MSR.
    msrs: [MsrEntry; MAX_CONSTANT_MSRS],
}

const _: () = assert!(size_of::<Policy>() <= 4096);

/// The slot of a leaf, if it has one.
#[inline(always)]
const fn slot(leaf: u32) -> Option<usize> {
    if leaf & 0x7fff_ffc0 == 0 { Some((leaf & 0x3f | leaf >> 25 & 0x40) as usize) } else { None }
}

#[inline(always)]
fn answers(entry: &CpuidEntry, subleaf: u32) -> bool {
    entry.subleaf == subleaf || entry.subleaf == CpuidEntry::ANY
}

impl Policy {
    /// The empty policy.
    pub fn empty() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }

    /// The scalar policy.
    #[inline(always)]
    pub fn controls(&self) -> &Controls {
        &self.controls
    }

    /// The answer to CPUID with `leaf` in EAX and `subleaf` in ECX.
    pub fn cpuid(&self, leaf: u32, subleaf: u32) -> Option<&CpuidEntry> {
        let first = match slot(leaf) {
            Some(slot) => usize::from(self.index[slot]).checked_sub(1)?,
            None => 0,
        };
        let entries = self.cpuid.get(first..self.cpuid_count as usize)?;
        entries.iter().find(|entry| entry.leaf == leaf && answers(entry, subleaf))
    }

    /// As [`Self::cpuid`], where the first entry of an indexed leaf answers: it does for most.
    #[inline(always)]
    pub fn cpuid_at_once(&self, leaf: u32, subleaf: u32) -> Option<&CpuidEntry> {
        let first = usize::from(self.index[slot(leaf)?]).checked_sub(1)?;
        self.cpuid.get(first).filter(|entry| answers(entry, subleaf))
    }

    /// What a read of `msr` returns, if the table answers; writes of such an MSR are ignored.
    #[inline(always)]
    pub fn constant(&self, msr: u32) -> Option<u64> {
        let entries = self.msrs.get(..self.msr_count as usize)?;
        entries.binary_search_by_key(&msr, |entry| entry.msr).ok().map(|at| entries[at].value)
    }

    /// Replaces the CPUID table.
    pub fn set_cpuid(&mut self, entries: impl Iterator<Item = CpuidEntry>) -> Result<(), Status> {
        let mut table = [CpuidEntry::default(); MAX_CPUID_ENTRIES];
        let mut count = 0;
        for entry in entries {
            if count == table.len() {
                return Err(Status::BadArgument);
            }
            // Insertion keeps the order of a leaf's entries: the first that fits answers.
            let at = table[..count].partition_point(|other| other.leaf <= entry.leaf);
            table.copy_within(at..count, at + 1);
            table[at] = entry;
            count += 1;
        }
        self.index = [0; INDEXED];
        for at in (0..count).rev() {
            if let Some(slot) = slot(table[at].leaf) {
                self.index[slot] = at as u8 + 1;
            }
        }
        self.cpuid = table;
        self.cpuid_count = count as u32;
        Ok(())
    }

    /// Sets how an MSR is answered; `bitmap` is the machine's MSR bitmap.
    pub fn set_msr(&mut self, entry: MsrEntry, bitmap: &mut [u8; 4096]) -> Result<(), Status> {
        if VMCS_MSRS.contains(&entry.msr) {
            return Err(Status::BadArgument);
        }
        match entry.mode {
            MsrEntry::EXIT => self.remove(entry.msr),
            MsrEntry::CONSTANT => {
                self.remove(entry.msr);
                let count = self.msr_count as usize;
                if count == MAX_CONSTANT_MSRS {
                    return Err(Status::BadArgument);
                }
                let at = self.msrs[..count].partition_point(|other| other.msr < entry.msr);
                self.msrs.copy_within(at..count, at + 1);
                self.msrs[at] = entry;
                self.msr_count += 1;
            }
            MsrEntry::DIRECT if DIRECT_MSRS.contains(&entry.msr) => self.remove(entry.msr),
            _ => return Err(Status::BadArgument),
        }
        set_exit(bitmap, entry.msr, entry.mode != MsrEntry::DIRECT);
        Ok(())
    }

    fn remove(&mut self, msr: u32) {
        let count = self.msr_count as usize;
        if let Ok(at) = self.msrs[..count].binary_search_by_key(&msr, |entry| entry.msr) {
            self.msrs.copy_within(at + 1..count, at);
            self.msr_count -= 1;
        }
    }

    /// Sets the scalar policy, cut to what can be allowed at all: XCR0 bits of the processor, no VMXE, no SMXE.
    pub fn set_controls(&mut self, controls: Controls, xcr0: u64) -> Result<(), Status> {
        if controls.flags & !Controls::ALL != 0 {
            return Err(Status::BadArgument);
        }
        self.controls = Controls {
            cr4_allowed: controls.cr4_allowed & !(VMXE | SMXE),
            xcr0_allowed: controls.xcr0_allowed & xcr0,
            ..controls
        };
        Ok(())
    }
}

/// Fills an MSR bitmap (Intel SDM vol. 3C, 25.6.9): everything exits but what the VMCS holds.
pub fn initialise_bitmap(bitmap: &mut [u8; 4096]) {
    bitmap.fill(0xff);
    for msr in VMCS_MSRS {
        set_exit(bitmap, msr, false);
    }
}

/// Sets whether reads and writes of `msr` exit. MSRs outside the bitmap's two ranges always do.
fn set_exit(bitmap: &mut [u8; 4096], msr: u32, exits: bool) {
    let base = match msr {
        0..=0x1fff => 0,
        0xc000_0000..=0xc000_1fff => 1024,
        _ => return,
    };
    let (at, bit) = (base + (msr as usize & 0x1fff) / 8, 1u8 << (msr % 8));
    for at in [at, at + 2048] {
        bitmap[at] = bitmap[at] & !bit | if exits { bit } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(leaf: u32, subleaf: u32, eax: u32) -> CpuidEntry {
        CpuidEntry { leaf, subleaf, eax, ..CpuidEntry::default() }
    }

    #[test]
    fn cpuid_finds_leaves_and_subleaves() {
        let mut policy = Policy::empty();
        assert!(policy.cpuid(0, 0).is_none());
        let table = [
            entry(0x8000_0001, CpuidEntry::ANY, 5),
            entry(4, 1, 2),
            entry(4, 0, 1),
            entry(0x4000_0000, CpuidEntry::ANY, 4),
            entry(0, CpuidEntry::ANY, 3),
        ];
        policy.set_cpuid(table.into_iter()).unwrap();
        let eax = |leaf, subleaf| policy.cpuid(leaf, subleaf).map(|entry| entry.eax);
        assert_eq!(eax(4, 0), Some(1));
        assert_eq!(eax(4, 1), Some(2));
        assert_eq!(eax(4, 2), None);
        assert_eq!(eax(0, 77), Some(3));
        assert_eq!(eax(0x4000_0000, 1), Some(4));
        assert_eq!(eax(0x8000_0001, 0), Some(5));
        assert_eq!(eax(1, 0), None);
        assert_eq!(eax(0x8000_0000, 0), None);
        assert_eq!(policy.cpuid_at_once(0, 77).map(|entry| entry.eax), Some(3));
        assert!(policy.cpuid_at_once(1, 0).is_none());
        assert!(policy.cpuid_at_once(0x4000_0000, 0).is_none(), "not indexed");
    }

    #[test]
    fn tables_have_their_limits() {
        let mut policy = Policy::empty();
        let many = (0..MAX_CPUID_ENTRIES as u32).map(|leaf| entry(leaf, 0, leaf));
        policy.set_cpuid(many.clone()).unwrap();
        assert_eq!(policy.cpuid(95, 0).map(|entry| entry.eax), Some(95));
        assert_eq!(policy.set_cpuid(many.chain([entry(200, 0, 0)])), Err(Status::BadArgument));
        let mut bitmap = [0; 4096];
        for msr in 0..MAX_CONSTANT_MSRS as u32 {
            policy.set_msr(MsrEntry { msr, mode: MsrEntry::CONSTANT, value: 7 }, &mut bitmap).unwrap();
        }
        let one_more = MsrEntry { msr: 0x1000, mode: MsrEntry::CONSTANT, value: 7 };
        assert_eq!(policy.set_msr(one_more, &mut bitmap), Err(Status::BadArgument));
    }

    #[test]
    fn only_listed_msrs_become_direct() {
        let mut policy = Policy::empty();
        let mut bitmap = [0; 4096];
        initialise_bitmap(&mut bitmap);
        let direct = |msr| MsrEntry { msr, mode: MsrEntry::DIRECT, value: 0 };
        assert_eq!(policy.set_msr(direct(0x1b), &mut bitmap), Err(Status::BadArgument));
        assert_eq!(policy.set_msr(direct(0xc000_0080), &mut bitmap), Err(Status::BadArgument));
        let bits = |bitmap: &[u8; 4096]| bitmap.iter().map(|byte| byte.count_zeros()).sum::<u32>();
        assert_eq!(bits(&bitmap), 4, "EFER and PAT");
        policy.set_msr(direct(0xc000_0102), &mut bitmap).unwrap();
        assert_eq!(bits(&bitmap), 6);
        assert_eq!(bitmap[1024 + 0x102 / 8] & 1 << 2, 0);
        policy.set_msr(MsrEntry { msr: 0xc000_0102, mode: MsrEntry::CONSTANT, value: 1 }, &mut bitmap).unwrap();
        assert_eq!(bits(&bitmap), 4);
        assert_eq!(policy.constant(0xc000_0102), Some(1));
    }

    #[test]
    fn vmx_is_never_allowed() {
        let mut policy = Policy::empty();
        let all = Controls { cr4_allowed: u64::MAX, xcr0_allowed: u64::MAX, ..Controls::default() };
        policy.set_controls(all, 7).unwrap();
        assert_eq!((policy.controls().cr4_allowed & (VMXE | SMXE), policy.controls().xcr0_allowed), (0, 7));
        assert_eq!(policy.set_controls(Controls { flags: 0x10, ..all }, 7), Err(Status::BadArgument));
    }

    proptest! {
        #[test]
        fn constants_follow_the_model(steps in prop::collection::vec((0u32..40, 0u32..2, any::<u64>()), 0..100)) {
            let mut policy = Policy::empty();
            let mut bitmap = [0; 4096];
            let mut model = std::collections::BTreeMap::new();
            for (msr, mode, value) in steps {
                policy.set_msr(MsrEntry { msr, mode, value }, &mut bitmap).unwrap();
                if mode == MsrEntry::CONSTANT { model.insert(msr, value); } else { model.remove(&msr); }
            }
            for msr in 0..40 {
                prop_assert_eq!(policy.constant(msr), model.get(&msr).copied());
            }
        }
    }
}
