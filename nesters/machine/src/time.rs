//! Time: everything runs on the time stamp counter.

/// The rate of the time stamp counter, with conversions to and from the clocks of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    frequency: u64,
}

impl Clock {
    /// A clock whose time stamp counter makes `frequency` ticks in a second (0 counts as 1).
    pub fn new(frequency: u64) -> Self {
        Self { frequency: frequency.max(1) }
    }

    /// Ticks of the time stamp counter in a second.
    pub fn frequency(&self) -> u64 {
        self.frequency
    }

    /// How often a device clock of `hertz` ticks during `ticks` of the time stamp counter, rounded down.
    pub fn to_device(&self, ticks: u64, hertz: u64) -> u64 {
        saturate(u128::from(ticks) * u128::from(hertz) / u128::from(self.frequency))
    }

    /// Ticks of the time stamp counter during `count` ticks of a device clock of `hertz`, rounded up.
    pub fn from_device(&self, count: u64, hertz: u64) -> u64 {
        saturate((u128::from(count) * u128::from(self.frequency)).div_ceil(u128::from(hertz.max(1))))
    }

    /// The shortest period at which a device interrupts: 20 microseconds. Keeps a guest that asks for more from
    /// occupying its nester.
    pub fn shortest_period(&self) -> u64 {
        (self.frequency / 50_000).max(1)
    }
}

fn saturate(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// The earlier of two moments, `None` being never.
pub fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_round_so_that_an_event_is_never_early() {
        let clock = Clock::new(3_000_000_000);
        for count in [1, 7, 65_536, 1 << 40] {
            assert_eq!(clock.to_device(clock.from_device(count, 1_193_182), 1_193_182), count);
        }
        assert_eq!(clock.to_device(u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(Clock::new(0).to_device(5, 1), 5);
    }
}
