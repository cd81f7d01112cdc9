//! What CPUID shows: the host's processor, cut down to what a machine has (Intel SDM vol. 2A, CPUID).
//!
//! One processor with an x2APIC, a time stamp counter of known and constant rate, and state components x87, SSE and AVX.
//! Machine checks are there, without banks to report any: Linux takes a processor without them for broken.
//! Absent are what needs more than a machine offers (VMX, SGX, MONITOR, performance counters, thermal control, RDTSCP and
//! RDPID, whose MSR is not switched) and what would enlarge its state (AVX-512, AMX, MPX, PKU, CET).
//!
//! The hypervisor signature is KVM's, with one feature: with it Linux uses an x2APIC without interrupt remapping and
//! calibrates no clock.

use alloc::vec::Vec;
use protocols::policy::CpuidEntry;

/// What a CPUID leaf returns: EAX, EBX, ECX, EDX.
pub type Registers = [u32; 4];

const HYPERVISOR_LEAF: u32 = 0x4000_0000;
const NOP_IO_DELAY: u32 = 1 << 1;
const LAST_LEAF: u32 = 0x16;
const LAST_EXTENDED_LEAF: u32 = 0x8000_0008;

/// A set of bits from their numbers.
const fn bits(numbers: &[u32]) -> u32 {
    let (mut set, mut at) = (0, 0);
    while at < numbers.len() {
        set |= 1 << numbers[at];
        at += 1;
    }
    set
}

/// SSE3, PCLMULQDQ, SSSE3, FMA, CMPXCHG16B, PCID, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE, AVX, F16C, RDRAND.
const LEAF_1_ECX: u32 = bits(&[0, 1, 9, 12, 13, 17, 19, 20, 22, 23, 25, 26, 28, 29, 30]);
/// x2APIC, TSC deadline, hypervisor.
const LEAF_1_ECX_FORCED: u32 = bits(&[21, 24, 31]);
const LEAF_1_ECX_AVX: u32 = bits(&[12, 28, 29]);
const XSAVE: u32 = 1 << 26;
const AVX: u32 = 1 << 28;
const PCID: u32 = 1 << 17;
/// FPU to APIC, SEP to PSE-36, CLFSH, MMX to SS.
const LEAF_1_EDX: u32 = bits(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26, 27]);
/// FSGSBASE, BMI1, AVX2, SMEP, BMI2, ERMS, INVPCID, RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB, SHA.
const LEAF_7_EBX: u32 = bits(&[0, 3, 5, 7, 8, 9, 10, 18, 19, 20, 23, 24, 29]);
/// IA32_TSC_ADJUST: Linux then does not have the time stamp counter watched.
const LEAF_7_EBX_FORCED: u32 = 1 << 1;
/// UMIP, GFNI, VAES, VPCLMULQDQ.
const LEAF_7_ECX: u32 = bits(&[2, 8, 9, 10]);
/// FSRM, MD_CLEAR, SERIALIZE.
const LEAF_7_EDX: u32 = bits(&[4, 10, 14]);

/// The processor of a machine.
#[derive(Clone, Debug)]
pub struct Processor {
    entries: Vec<CpuidEntry>,
    /// Ticks of the time stamp counter in one of the crystal that drives the local APIC timer.
    pub ticks_per_count: u64,
    /// Bits of a physical address.
    pub physical_bits: u8,
    /// XCR0 bits that exist.
    pub xcr0: u64,
    /// CR4 bits that exist.
    pub cr4: u64,
}

impl Processor {
    /// The processor of a machine on the host whose CPUID is `host(leaf, subleaf)` and whose time stamp counter makes
    /// `frequency` ticks in a second.
    pub fn new(host: impl Fn(u32, u32) -> Registers, frequency: u64) -> Self {
        let last = host(0, 0)[0];
        let basic = |leaf: u32, subleaf: u32| if leaf <= last { host(leaf, subleaf) } else { [0; 4] };
        let one = basic(1, 0);
        let xcr0 = match one[2] & XSAVE {
            0 => 1,
            _ => u64::from(basic(0xd, 0)[0] & 7 | 1),
        };
        // AVX needs its state, and the state of SSE.
        let avx = one[2] & AVX != 0 && xcr0 & 6 == 6;
        let xcr0 = if avx { xcr0 } else { xcr0 & 3 };
        let ratio = frequency.div_ceil(u64::from(u32::MAX)).max(1);

        let mut table = Table::default();
        table.vendor(last, &host);
        table.features(&basic, avx);
        table.caches_and_topology(&basic);
        table.extended_state(&basic, one[2] & XSAVE != 0, xcr0, avx);
        // Always-running APIC timer.
        table.add(6, CpuidEntry::ANY, [1 << 2, 0, 0, 0]);
        table.add(0x15, CpuidEntry::ANY, [1, ratio as u32, (frequency / ratio) as u32, 0]);
        let megahertz = u16::try_from(frequency / 1_000_000).unwrap_or(u16::MAX).max(1);
        table.add(0x16, CpuidEntry::ANY, [u32::from(megahertz), u32::from(megahertz), 100, 0]);
        table.add(
            HYPERVISOR_LEAF,
            CpuidEntry::ANY,
            [HYPERVISOR_LEAF + 1, word(b"KVMK"), word(b"VMKV"), word(b"M\0\0\0")],
        );
        table.add(HYPERVISOR_LEAF + 1, CpuidEntry::ANY, [NOP_IO_DELAY, 0, 0, 0]);
        let physical_bits = table.extended(&host);
        for leaf in 0..=LAST_LEAF {
            if !table.0.iter().any(|entry| entry.leaf == leaf) {
                table.add(leaf, CpuidEntry::ANY, [0; 4]);
            }
        }
        let mut processor = Self { entries: table.0, ticks_per_count: ratio, physical_bits, xcr0, cr4: 0 };
        processor.cr4 = processor.control_bits();
        processor
    }

    /// The CPUID table.
    pub fn entries(&self) -> &[CpuidEntry] {
        &self.entries
    }

    /// What CPUID returns for `leaf` and `subleaf`: zeroes where the table has nothing.
    pub fn answer(&self, leaf: u32, subleaf: u32) -> Registers {
        let matches = |entry: &&CpuidEntry| {
            entry.leaf == leaf && matches!(entry.subleaf, s if s == subleaf || s == CpuidEntry::ANY)
        };
        self.entries.iter().find(matches).map_or([0; 4], |entry| [entry.eax, entry.ebx, entry.ecx, entry.edx])
    }

    /// CR4 bits that go with the features shown (Intel SDM vol. 3A, 2.5).
    fn control_bits(&self) -> u64 {
        let (one, seven) = (self.answer(1, 0), self.answer(7, 0));
        // VME, PVI, TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT.
        let mut cr4 = u64::from(bits(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
        for (present, bit) in [
            (one[2] & PCID != 0, 17),
            (one[2] & XSAVE != 0, 18),
            (seven[1] & 1 != 0, 16),
            (seven[1] & 1 << 7 != 0, 20),
            (seven[1] & 1 << 20 != 0, 21),
            (seven[2] & 1 << 2 != 0, 11),
        ] {
            cr4 |= u64::from(present) << bit;
        }
        cr4
    }
}

fn word(text: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*text)
}

#[derive(Default)]
struct Table(Vec<CpuidEntry>);

impl Table {
    fn add(&mut self, leaf: u32, subleaf: u32, [eax, ebx, ecx, edx]: Registers) {
        self.0.push(CpuidEntry { leaf, subleaf, eax, ebx, ecx, edx });
    }

    fn vendor(&mut self, last: u32, host: &impl Fn(u32, u32) -> Registers) {
        let [_, ebx, ecx, edx] = host(0, 0);
        self.add(0, CpuidEntry::ANY, [LAST_LEAF, ebx, ecx, edx]);
        if last >= 2 {
            self.add(2, CpuidEntry::ANY, host(2, 0));
        }
    }

    fn features(&mut self, basic: &impl Fn(u32, u32) -> Registers, avx: bool) {
        let without_avx = |bits: u32| if avx { u32::MAX } else { !bits };
        let [signature, ebx, ecx, edx] = basic(1, 0);
        // APIC identifier 0, one logical processor.
        let ebx = ebx & 0xffff | 1 << 16;
        let ecx = ecx & LEAF_1_ECX & without_avx(LEAF_1_ECX_AVX) | LEAF_1_ECX_FORCED;
        self.add(1, CpuidEntry::ANY, [signature, ebx, ecx, edx & LEAF_1_EDX | 1 << 9]);
        let [_, ebx, ecx, edx] = basic(7, 0);
        let ebx = ebx & LEAF_7_EBX & without_avx(1 << 5) | LEAF_7_EBX_FORCED;
        self.add(7, CpuidEntry::ANY, [0, ebx, ecx & LEAF_7_ECX & without_avx(3 << 9), edx & LEAF_7_EDX]);
    }

    fn caches_and_topology(&mut self, basic: &impl Fn(u32, u32) -> Registers) {
        for subleaf in 0..8 {
            let [eax, ebx, ecx, edx] = basic(4, subleaf);
            // One core, and one thread at each cache.
            self.add(4, subleaf, [eax & 0x3fff, ebx, ecx, edx]);
            if eax & 0x1f == 0 {
                break;
            }
        }
        self.add(0xb, 0, [0, 1, 1 << 8, 0]);
        self.add(0xb, 1, [0, 1, 2 << 8 | 1, 0]);
        self.add(0xb, 2, [0, 0, 2, 0]);
    }

    fn extended_state(&mut self, basic: &impl Fn(u32, u32) -> Registers, xsave: bool, xcr0: u64, avx: bool) {
        if !xsave {
            return;
        }
        let size = if avx { 832 } else { 576 };
        self.add(0xd, 0, [xcr0 as u32, size, size, 0]);
        // XSAVEOPT.
        self.add(0xd, 1, [basic(0xd, 1)[0] & 1, 0, 0, 0]);
        if avx {
            self.add(0xd, 2, [256, 576, 0, 0]);
        }
    }

    /// The extended leaves; returns the bits of a physical address.
    fn extended(&mut self, host: &impl Fn(u32, u32) -> Registers) -> u8 {
        let last = host(0x8000_0000, 0)[0];
        let get = |leaf: u32| if (0x8000_0000..=last).contains(&leaf) { host(leaf, 0) } else { [0; 4] };
        self.add(0x8000_0000, CpuidEntry::ANY, [LAST_EXTENDED_LEAF, 0, 0, 0]);
        let [_, _, ecx, edx] = get(0x8000_0001);
        // LAHF, LZCNT, PREFETCHW; SYSCALL, NX, 1 GiB pages, long mode.
        self.add(0x8000_0001, CpuidEntry::ANY, [0, 0, ecx & bits(&[0, 5, 8]), edx & bits(&[11, 20, 26, 29])]);
        for leaf in 0x8000_0002..=0x8000_0004 {
            self.add(leaf, CpuidEntry::ANY, get(leaf));
        }
        self.add(0x8000_0005, CpuidEntry::ANY, [0; 4]);
        self.add(0x8000_0006, CpuidEntry::ANY, [0, 0, get(0x8000_0006)[2], 0]);
        // Invariant time stamp counter.
        self.add(0x8000_0007, CpuidEntry::ANY, [0, 0, 0, 1 << 8]);
        let physical = (get(0x8000_0008)[0] & 0xff).clamp(36, 52);
        self.add(LAST_EXTENDED_LEAF, CpuidEntry::ANY, [48 << 8 | physical, 0, 0, 0]);
        physical as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocols::policy::MAX_CPUID_ENTRIES;

    fn everything(leaf: u32, subleaf: u32) -> Registers {
        match (leaf, subleaf) {
            (0, _) => [0x1f, 0x756e_6547, 0x6c65_746e, 0x4965_6e69],
            (4, 4..) => [0; 4],
            (0xd, 0) => [0x2e7, 2696, 2696, 0],
            (0x8000_0000, _) => [0x8000_0008, 0, 0, 0],
            (0x8000_0008, _) => [0x3927, 0, 0, 0],
            _ => [u32::MAX; 4],
        }
    }

    #[test]
    fn hides_what_a_machine_does_not_have() {
        let processor = Processor::new(everything, 2_500_000_000);
        let [_, ebx, ecx, edx] = processor.answer(1, 0);
        assert_eq!(ebx >> 16, 1);
        assert_eq!(ecx & bits(&[3, 5, 6, 8, 15, 27]), 0, "MONITOR, VMX, SMX, TM2, PDCM, OSXSAVE");
        assert_eq!(ecx & LEAF_1_ECX_FORCED, LEAF_1_ECX_FORCED);
        assert_eq!(edx & bits(&[21, 22, 28]), 0, "DS, ACPI, HTT");
        let [_, ebx, ecx, edx] = processor.answer(7, 0);
        assert_eq!(ebx & bits(&[2, 4, 11, 12, 14, 15, 16, 17, 30, 31]), 0, "SGX, HLE, RTM, RDT, MPX, AVX-512");
        assert_eq!((ecx & bits(&[3, 5, 7, 16, 22]), edx & bits(&[20, 22, 24, 26, 27, 29])), (0, 0));
        assert_eq!(processor.answer(0xa, 0), [0; 4]);
        assert_eq!(processor.answer(0xd, 0), [7, 832, 832, 0]);
        assert_eq!(processor.answer(0xd, 1), [1, 0, 0, 0]);
        assert_eq!(processor.answer(0x8000_0001, 0)[3] & 1 << 27, 0, "RDTSCP");
        assert_eq!(processor.answer(0x1234, 5), [0; 4]);
        assert_eq!((processor.xcr0, processor.physical_bits), (7, 39));
        assert_eq!(processor.cr4 & 1 << 13 | processor.cr4 & 1 << 12, 0, "VMXE, LA57");
    }

    #[test]
    fn the_frequency_can_be_computed_from_leaf_0x15() {
        for frequency in [1, 50_000_000, 2_500_000_000, 5_200_000_000] {
            let processor = Processor::new(everything, frequency);
            let [denominator, numerator, crystal, _] = processor.answer(0x15, 0);
            let computed = u64::from(crystal) * u64::from(numerator) / u64::from(denominator);
            assert!(frequency - computed <= 1);
            assert_eq!(processor.ticks_per_count, u64::from(numerator));
        }
    }

    #[test]
    fn every_basic_leaf_is_answered_by_a_table_that_fits() {
        for host in [everything, |_, _| [0; 4], |_, _| [u32::MAX; 4]] {
            let processor = Processor::new(host, 1_000_000_000);
            assert!(processor.entries().len() <= MAX_CPUID_ENTRIES);
            for leaf in 0..=LAST_LEAF {
                assert!(processor.entries().iter().any(|entry| entry.leaf == leaf));
            }
            for (at, entry) in processor.entries().iter().enumerate() {
                let same = |other: &CpuidEntry| {
                    other.leaf == entry.leaf && (other.subleaf == entry.subleaf || entry.subleaf == CpuidEntry::ANY)
                };
                assert!(!processor.entries()[at + 1..].iter().any(same), "leaf {:#x} twice", entry.leaf);
            }
        }
    }

    #[test]
    fn without_avx_there_is_no_avx_state() {
        let processor =
            Processor::new(|leaf, subleaf| if leaf == 0xd { [3, 576, 576, 0] } else { everything(leaf, subleaf) }, 1);
        assert_eq!(processor.answer(1, 0)[2] & LEAF_1_ECX_AVX, 0);
        assert_eq!(processor.answer(7, 0)[1] & 1 << 5, 0);
        assert_eq!(processor.answer(0xd, 0)[1], 576);
        assert_eq!(processor.xcr0, 3);
    }
}
