//! Random numbers that are the same again with the same seed.

/// Steele, Lea and Flood's SplitMix64: no state is a bad one, so that the fuzzing child may overwrite its own.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Random(u64);

impl Random {
    /// A generator.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[inline(always)]
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which is not 0.
    #[inline(always)]
    pub fn below(&mut self, end: u64) -> u64 {
        ((self.word() >> 32) * end) >> 32
    }

    /// True once in `count` times.
    #[inline(always)]
    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_repeat_with_their_seed_and_stay_below_their_end() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            [(); 100].map(|()| random.below(10))
        };
        assert_eq!(numbers(0), numbers(0));
        assert_ne!(numbers(0), numbers(1));
        for number in 0..10 {
            assert!(numbers(7).contains(&number), "{number}");
        }
    }
}
