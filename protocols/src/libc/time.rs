//! Time: the time stamp counter, and Unix time derived from it.
#![allow(unsafe_code)]

use crate::startup::Startup;

/// The time stamp counter. Deadlines of the API are given in it.
#[inline]
pub fn now() -> u64 {
    // SAFETY: RDTSC reads a counter; the kernel leaves it usable in ring 3.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Converts `count` units, of which `per_second` make a second, to ticks of a counter of `frequency`.
pub const fn ticks(count: u64, per_second: u64, frequency: u64) -> u64 {
    (count as u128 * frequency as u128 / per_second as u128) as u64
}

/// VM exits and VM entries since the start, as the monitor counts them.
#[inline]
pub fn transitions() -> u64 {
    let answer = core::arch::x86_64::__cpuid(crate::machine::STATISTICS_LEAF);
    (u64::from(answer.eax) | u64::from(answer.ebx) << 32) * 2
}

/// Nanoseconds since 1970-01-01 UTC at the time stamp counter value `tsc`.
pub fn unix_nanoseconds(startup: &Startup, tsc: u64) -> u64 {
    let elapsed = tsc.saturating_sub(startup.unix_time_tsc);
    let frequency = startup.tsc_frequency.max(1);
    startup.unix_time.wrapping_mul(1_000_000_000).wrapping_add(ticks(elapsed, frequency, 1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_do_not_overflow() {
        assert_eq!(ticks(10, 1000, 3_000_000_000), 30_000_000);
        assert_eq!(ticks(u64::MAX / 2, 1_000_000_000, 1_000_000_000), u64::MAX / 2);
    }

    #[test]
    fn unix_time_advances_with_the_counter() {
        let mut startup: Startup = zerocopy::FromZeros::new_zeroed();
        startup.tsc_frequency = 2_000_000_000;
        startup.unix_time = 1_700_000_000;
        startup.unix_time_tsc = 500;
        assert_eq!(unix_nanoseconds(&startup, 500), 1_700_000_000_000_000_000);
        assert_eq!(unix_nanoseconds(&startup, 500 + 3_000_000_000), 1_700_000_001_500_000_000);
    }
}
