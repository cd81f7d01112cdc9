//! The 8254 interval timer (Intel 8254 data sheet): channel 0 interrupts, channel 2 is gated and read through port 0x61.

use crate::time::Clock;

/// Rate of its clock.
pub const HERTZ: u64 = 1_193_182;

#[derive(Debug)]
struct Channel {
    mode: u8,
    access: u8,
    decimal: bool,
    reload: u32,
    /// Half of a count that is being written.
    low: Option<u8>,
    read_high: bool,
    latched: Option<u16>,
    status: Option<u8>,
    /// When the present count was loaded; `None` before that.
    start: Option<u64>,
    gate: bool,
    /// Clocks counted before the gate closed.
    stopped_at: u64,
}

impl Channel {
    fn new(gate: bool) -> Self {
        Self {
            mode: 3,
            access: 3,
            decimal: false,
            reload: 0x10000,
            low: None,
            read_high: false,
            latched: None,
            status: None,
            start: None,
            gate,
            stopped_at: 0,
        }
    }

    fn elapsed(&self, clock: &Clock, now: u64) -> u64 {
        match self.start {
            Some(start) if self.gate || matches!(self.mode, 1 | 5) => {
                self.stopped_at.saturating_add(clock.to_device(now.saturating_sub(start), HERTZ))
            }
            _ => self.stopped_at,
        }
    }

    fn count(&self, clock: &Clock, now: u64) -> u16 {
        let (elapsed, reload) = (self.elapsed(clock, now), u64::from(self.reload));
        let count = match self.mode {
            2 => reload - elapsed % reload,
            3 => reload - elapsed.wrapping_mul(2) % reload,
            _ => reload.wrapping_sub(elapsed),
        } as u16;
        if self.decimal { to_decimal(count) } else { count }
    }

    fn output(&self, clock: &Clock, now: u64) -> bool {
        let (elapsed, reload) = (self.elapsed(clock, now), u64::from(self.reload));
        match self.mode {
            0 | 1 => self.start.is_some() && elapsed >= reload,
            2 => !self.gate || elapsed % reload != reload - 1,
            3 => !self.gate || elapsed % reload < reload.div_ceil(2),
            _ => elapsed != reload,
        }
    }

    fn write_control(&mut self, value: u8) {
        self.access = value >> 4 & 3;
        self.mode = match value >> 1 & 7 {
            mode @ 0..=5 => mode,
            mode => mode - 4,
        };
        self.decimal = value & 1 != 0;
        self.low = None;
        self.read_high = false;
        self.latched = None;
        self.status = None;
        self.start = None;
        self.stopped_at = 0;
    }

    fn write_count(&mut self, value: u8, now: u64) {
        let count = match (self.access, self.low.take()) {
            (1, _) => u16::from(value),
            (2, _) => u16::from(value) << 8,
            (_, Some(low)) => u16::from_le_bytes([low, value]),
            _ => {
                self.low = Some(value);
                return;
            }
        };
        let count = if self.decimal { from_decimal(count) } else { u32::from(count) };
        let whole = if self.decimal { 10_000 } else { 0x10000 };
        self.reload = if count == 0 { whole } else { count };
        self.start = Some(now);
        self.stopped_at = 0;
    }

    fn read(&mut self, clock: &Clock, now: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let [low, high] = self.latched.unwrap_or_else(|| self.count(clock, now)).to_le_bytes();
        let both = self.access == 3;
        let wants_high = self.access == 2 || both && self.read_high;
        self.read_high = both && !self.read_high;
        if !self.read_high {
            self.latched = None;
        }
        if wants_high { high } else { low }
    }

    fn set_gate(&mut self, gate: bool, clock: &Clock, now: u64) {
        if gate == self.gate {
            return;
        }
        if gate {
            // Modes 0 and 4 go on where they stopped; the others start again.
            if !matches!(self.mode, 0 | 4) {
                self.stopped_at = 0;
            }
            self.start = self.start.map(|_| now);
        } else {
            self.stopped_at = self.elapsed(clock, now);
        }
        self.gate = gate;
    }
}

fn to_decimal(count: u16) -> u16 {
    (0..4).fold(0, |sum, digit| sum | (count / 10u16.pow(digit) % 10) << (4 * digit))
}

fn from_decimal(count: u16) -> u32 {
    (0..4).map(|digit| u32::from(count >> (4 * digit) & 0xf) * 10u32.pow(digit)).sum()
}

/// The interval timer and port 0x61.
#[derive(Debug)]
pub struct Pit {
    clock: Clock,
    channels: [Channel; 3],
    speaker: bool,
    /// When the output of channel 0 rises next.
    rises: Option<u64>,
}

impl Pit {
    /// A timer that has not been programmed.
    pub fn new(clock: Clock) -> Self {
        let channels = [Channel::new(true), Channel::new(true), Channel::new(false)];
        Self { clock, channels, speaker: false, rises: None }
    }

    /// Reads from `port`: 0x40 to 0x43 or 0x61.
    pub fn read(&mut self, port: u16, now: u64) -> u8 {
        match port {
            0x40..=0x42 => self.channels[usize::from(port - 0x40)].read(&self.clock, now),
            0x61 => {
                // Bit 4 toggles with each memory refresh, every 15 microseconds.
                let refresh = self.clock.to_device(now, 66_667) & 1 != 0;
                let output = self.channels[2].output(&self.clock, now);
                u8::from(self.channels[2].gate)
                    | u8::from(self.speaker) << 1
                    | u8::from(refresh) << 4
                    | u8::from(output) << 5
            }
            _ => 0xff,
        }
    }

    /// Writes to one of these ports.
    pub fn write(&mut self, port: u16, value: u8, now: u64) {
        match port {
            0x40..=0x42 => {
                self.channels[usize::from(port - 0x40)].write_count(value, now);
                if port == 0x40 {
                    self.schedule();
                }
            }
            0x43 if value >> 6 == 3 => self.read_back(value, now),
            0x43 => {
                let channel = &mut self.channels[usize::from(value >> 6)];
                if value & 0x30 == 0 {
                    let count = channel.count(&self.clock, now);
                    channel.latched.get_or_insert(count);
                } else {
                    channel.write_control(value);
                    self.schedule();
                }
            }
            0x61 => {
                self.channels[2].set_gate(value & 1 != 0, &self.clock, now);
                self.speaker = value & 2 != 0;
            }
            _ => {}
        }
    }

    fn read_back(&mut self, value: u8, now: u64) {
        for (index, channel) in self.channels.iter_mut().enumerate() {
            if value & 2 << index == 0 {
                continue;
            }
            if value & 0x20 == 0 {
                let count = channel.count(&self.clock, now);
                channel.latched.get_or_insert(count);
            }
            if value & 0x10 == 0 {
                let status = u8::from(channel.output(&self.clock, now)) << 7
                    | u8::from(channel.start.is_none()) << 6
                    | channel.access << 4
                    | channel.mode << 1
                    | u8::from(channel.decimal);
                channel.status.get_or_insert(status);
            }
        }
    }

    fn schedule(&mut self) {
        let channel = &self.channels[0];
        self.rises = match (channel.mode, channel.start) {
            (0 | 2..=4, Some(start)) => {
                Some(start.saturating_add(self.clock.from_device(u64::from(channel.reload), HERTZ)))
            }
            _ => None,
        };
    }

    /// When channel 0 interrupts next.
    pub fn next_event(&self) -> Option<u64> {
        self.rises
    }

    /// Whether channel 0 has interrupted since the last call.
    pub fn advance(&mut self, now: u64) -> bool {
        let Some(due) = self.rises.filter(|&due| due <= now) else { return false };
        let channel = &self.channels[0];
        self.rises = match (channel.mode, channel.start) {
            (2 | 3, Some(start)) => {
                // Count periods from the start, so that rounding does not add up.
                let reload = u64::from(channel.reload);
                let periods = self.clock.to_device(now.saturating_sub(start), HERTZ) / reload + 1;
                let next = start.saturating_add(self.clock.from_device(periods.saturating_mul(reload), HERTZ));
                Some(next.max(due.saturating_add(self.clock.shortest_period())).max(now.saturating_add(1)))
            }
            _ => None,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pit() -> Pit {
        Pit::new(Clock::new(HERTZ * 100))
    }

    #[test]
    fn a_rate_generator_interrupts_without_drift() {
        let mut pit = pit();
        pit.write(0x43, 0x34, 0);
        pit.write(0x40, 0x9c, 0);
        assert_eq!(pit.next_event(), None, "half a count");
        pit.write(0x40, 0x2e, 0);
        for period in 1..=5 {
            let due = period * 11_932 * 100;
            assert_eq!(pit.next_event(), Some(due));
            assert!(!pit.advance(due - 1));
            assert!(pit.advance(due));
        }
        assert_eq!(pit.read(0x40, 11_932 * 550), 0x4e, "half of the period is left");
    }

    #[test]
    fn one_shot_fires_once() {
        let mut pit = pit();
        pit.write(0x43, 0x30, 0);
        pit.write(0x40, 10, 0);
        pit.write(0x40, 0, 0);
        assert!(pit.advance(5000));
        assert_eq!(pit.next_event(), None);
    }

    #[test]
    fn calibration_through_channel_2_and_port_61() {
        let mut pit = pit();
        pit.write(0x61, 1, 0);
        pit.write(0x43, 0xb0, 0);
        pit.write(0x42, 0xff, 0);
        pit.write(0x42, 0xff, 0);
        assert_eq!(pit.read(0x61, 100) & 0x21, 1);
        assert_eq!(pit.read(0x42, 100), 0xfe);
        assert_eq!(pit.read(0x42, 100), 0xff);
        assert_eq!(pit.read(0x61, 0xffff * 100) & 0x20, 0x20);
    }

    #[test]
    fn a_closed_gate_stops_the_count() {
        let mut pit = pit();
        pit.write(0x61, 1, 0);
        pit.write(0x43, 0x90, 0);
        pit.write(0x42, 100, 0);
        pit.write(0x61, 0, 3000);
        assert_eq!(pit.read(0x42, 1_000_000), 70);
        pit.write(0x61, 1, 1_000_000);
        assert_eq!(pit.read(0x42, 1_001_000), 60);
    }

    #[test]
    fn latch_and_read_back() {
        let mut pit = pit();
        pit.write(0x43, 0x34, 0);
        pit.write(0x40, 0, 0);
        pit.write(0x40, 0x10, 0);
        pit.write(0x43, 0xc2, 1000);
        assert_eq!(pit.read(0x40, 5000), 0xb4, "status: output, both bytes, mode 2");
        assert_eq!((pit.read(0x40, 5000), pit.read(0x40, 5000)), (0xf6, 0x0f), "latched at 1000");
        assert_eq!(to_decimal(1234), 0x1234);
        assert_eq!(from_decimal(0x9999), 9999);
    }
}
