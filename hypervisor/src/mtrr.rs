//! The memory types that the firmware programmed into the MTRRs (Intel SDM vol. 3A, 12.11): under EPT the processor
//! ignores them, so the kernel's EPT repeats them.

const UNCACHEABLE: u8 = 0;
const WRITE_THROUGH: u8 = 4;
const WRITE_BACK: u8 = 6;

/// The fixed-range registers: first MSR, number of MSRs, bytes covered by each of their eight fields.
const FIXED: [(u32, u32, u64); 3] = [(0x250, 1, 0x1_0000), (0x258, 2, 0x4000), (0x268, 8, 0x1000)];
const FIXED_END: u64 = 1 << 20;

/// A decoded set of MTRRs.
#[derive(Clone, Debug, Default)]
pub struct Mtrrs {
    enabled: bool,
    default: u8,
    fixed: Option<[u64; 11]>,
    variable: heapless::Vec<Variable, 16>,
}

#[derive(Clone, Copy, Debug)]
struct Variable {
    base: u64,
    mask: u64,
    kind: u8,
    /// The mask's bits are contiguous up to the processor's width.
    contiguous: bool,
}

impl Mtrrs {
    /// Decodes the MTRRs that `read` reads, for physical addresses of `width` bits.
    pub fn read(width: u32, read: impl Fn(u32) -> u64) -> Self {
        let (capabilities, control) = (read(0xfe), read(0x2ff));
        let mut this = Self { enabled: control >> 11 & 1 != 0, default: control as u8, ..Self::default() };
        if capabilities >> 8 & 1 != 0 && control >> 10 & 1 != 0 {
            let mut registers = FIXED.iter().flat_map(|&(first, count, _)| first..first + count);
            this.fixed = Some(core::array::from_fn(|_| registers.next().map_or(0, &read)));
        }
        let addresses = ((1u64 << width) - 1) & !0xfff;
        for pair in 0..(capabilities as u32 & 0xff).min(16) {
            let (base, mask) = (read(0x200 + 2 * pair), read(0x201 + 2 * pair));
            if mask >> 11 & 1 != 0 {
                let mask = mask & addresses;
                let contiguous = mask != 0 && mask | (mask & mask.wrapping_neg()).wrapping_sub(1) == (1 << width) - 1;
                let variable = Variable { base: base & mask, mask, kind: base as u8, contiguous };
                // There is room for 16.
                let _ = this.variable.push(variable);
            }
        }
        this
    }

    /// Whether the firmware switched the MTRRs on.
    pub fn are_enabled(&self) -> bool {
        self.enabled
    }

    /// The memory type of the frame at `address`.
    pub fn kind(&self, address: u64) -> u8 {
        if !self.enabled {
            return UNCACHEABLE;
        }
        if let (Some(fixed), true) = (&self.fixed, address < FIXED_END) {
            let (field, mut start, mut index) = (address, 0u64, 0usize);
            for (_, count, size) in FIXED {
                let end = start + u64::from(count) * 8 * size;
                if field < end {
                    let number = ((field - start) / size) as usize;
                    return fixed[index + number / 8].to_le_bytes()[number % 8];
                }
                start = end;
                index += count as usize;
            }
        }
        let mut kinds =
            self.variable.iter().filter(|range| (address ^ range.base) & range.mask == 0).map(|range| range.kind);
        let Some(first) = kinds.next() else {
            return self.default;
        };
        // Overlaps: uncacheable wins, write-through beats write-back, all else is undefined (12.11.4.1).
        kinds.fold(first, |a, b| match (a, b) {
            (a, b) if a == b => a,
            (WRITE_THROUGH, WRITE_BACK) | (WRITE_BACK, WRITE_THROUGH) => WRITE_THROUGH,
            _ => UNCACHEABLE,
        })
    }

    /// The end of the longest range from `address` on, up to `limit`, that surely has one type.
    pub fn same_until(&self, address: u64, limit: u64) -> u64 {
        if !self.enabled {
            return limit;
        }
        if address < FIXED_END && self.fixed.is_some() {
            return limit.min((address & !0xfff) + 0x1000);
        }
        let next = |range: &Variable| {
            // Below the lowest bit of the mask addresses are alike; a contiguous mask makes one range of that size.
            let size = range.mask & range.mask.wrapping_neg();
            match address {
                _ if !range.contiguous => (address | size.wrapping_sub(1)).saturating_add(1),
                _ if address < range.base => range.base,
                _ if address - range.base < size => range.base + size,
                _ => limit,
            }
        };
        self.variable.iter().map(next).fold(limit, u64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SeaBIOS on a machine of 3 GiB: write-back by default, uncached above.
    fn sea_bios(msr: u32) -> u64 {
        match msr {
            0xfe => 0x508,
            0x2ff => 0xc06,
            0x200 => 0xc000_0000,
            0x201 => 0xff_c000_0800,
            0x250 | 0x258 => 0x0606_0606_0606_0606,
            0x259 => 0,
            0x268..=0x26f => 0x0505_0505_0505_0505,
            _ => 0,
        }
    }

    #[test]
    fn fixed_and_variable_ranges() {
        let mtrrs = Mtrrs::read(40, sea_bios);
        assert_eq!(mtrrs.kind(0), WRITE_BACK);
        assert_eq!(mtrrs.kind(0x9_f000), WRITE_BACK);
        assert_eq!(mtrrs.kind(0xa_0000), UNCACHEABLE);
        assert_eq!(mtrrs.kind(0xc_0000), 5);
        assert_eq!(mtrrs.kind(0xf_ffff), 5);
        assert_eq!(mtrrs.kind(0x10_0000), WRITE_BACK);
        assert_eq!(mtrrs.kind(0xbfff_ffff), WRITE_BACK);
        assert_eq!(mtrrs.kind(0xc000_0000), UNCACHEABLE);
        assert_eq!(mtrrs.kind(0x1_0000_0000), WRITE_BACK);
    }

    #[test]
    fn types_are_uniform_up_to_the_reported_end() {
        let mtrrs = Mtrrs::read(40, sea_bios);
        assert_eq!(mtrrs.same_until(0x10_0000, 1 << 40), 0xc000_0000);
        let mut at = 0;
        while at < 8 << 30 {
            let end = mtrrs.same_until(at, 8 << 30);
            assert!(end > at && end & 0xfff == 0);
            assert_eq!(mtrrs.kind(at), mtrrs.kind(end - 4096), "{at:#x}");
            at = end;
        }
    }

    #[test]
    fn overlaps_take_the_weaker_type() {
        let mtrrs = Mtrrs::read(36, |msr| match msr {
            0xfe => 3,
            0x2ff => 0x800,
            0x200 => 6,
            0x201 => 0xf_8000_0800,
            0x202 => 0x7000_0000,
            0x203 => 0xf_f000_0800,
            0x204 => 0x6000_0004,
            0x205 => 0xf_f000_0800,
            _ => 0,
        });
        assert_eq!(mtrrs.kind(0x1000), WRITE_BACK);
        assert_eq!(mtrrs.kind(0x7000_0000), UNCACHEABLE);
        assert_eq!(mtrrs.kind(0x6000_0000), WRITE_THROUGH);
        assert_eq!(mtrrs.kind(0x8000_0000), UNCACHEABLE, "default");
    }

    #[test]
    fn switched_off_means_uncached() {
        assert_eq!(Mtrrs::read(40, |_| 0).kind(0x10_0000), UNCACHEABLE);
    }
}
