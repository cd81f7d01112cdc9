//! ACPI fixed hardware (ACPI 6.5, 4.8.3): the power management registers, reset and power-off.

use super::super::time::Clock;

/// First port of the PM1a event block, 4 bytes.
pub const EVENT_PORT: u16 = 0x600;
/// Port of the PM1a control register, 2 bytes.
pub const CONTROL_PORT: u16 = 0x604;
/// Port of the PM timer, 4 bytes.
pub const TIMER_PORT: u16 = 0x608;
/// The reset register, and what to write there.
pub const RESET_PORT: u16 = 0xcf9;
/// What resets the machine when written to [`RESET_PORT`].
pub const RESET_VALUE: u8 = 6;
/// SLP_TYP of the soft-off state.
pub const SOFT_OFF: u16 = 5;

const TIMER_HERTZ: u64 = 3_579_545;
const SCI_ENABLE: u16 = 1;
const SLEEP_ENABLE: u16 = 1 << 13;

/// The registers. No event ever happens, so their status stays clear.
#[derive(Debug, Default)]
pub struct Power {
    enable: u16,
    control: u16,
}

impl Power {
    /// Reads `size` bytes at `port`, in the range 0x600 to 0x60b.
    pub fn read(&self, port: u16, size: u8, clock: &Clock, now: u64) -> u32 {
        let (word, shift) = match port {
            EVENT_PORT..CONTROL_PORT => (u32::from(self.enable) << 16, port - EVENT_PORT),
            CONTROL_PORT..TIMER_PORT => (u32::from(self.control | SCI_ENABLE), port - CONTROL_PORT),
            _ => (clock.to_device(now, TIMER_HERTZ) as u32, port & 3),
        };
        let word = word >> (8 * shift);
        match size {
            1 => word & 0xff,
            2 => word & 0xffff,
            _ => word,
        }
    }

    /// Writes to `port`. True if the machine is to be switched off.
    pub fn write(&mut self, port: u16, value: u32) -> bool {
        match port {
            0x602 => self.enable = value as u16,
            CONTROL_PORT => {
                let value = value as u16;
                self.control = value & !SLEEP_ENABLE;
                return value & SLEEP_ENABLE != 0 && value >> 10 & 7 == SOFT_OFF;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_enable_with_s5_switches_off() {
        let mut power = Power::default();
        assert!(!power.write(CONTROL_PORT, 0x1400));
        assert_eq!(power.read(CONTROL_PORT, 2, &Clock::new(1), 0), 0x1401);
        assert!(!power.write(CONTROL_PORT, 0x2000));
        assert!(power.write(CONTROL_PORT, 0x3400));
    }

    #[test]
    fn the_timer_runs_at_its_rate() {
        let (power, clock) = (Power::default(), Clock::new(1_000_000));
        assert_eq!(power.read(TIMER_PORT, 4, &clock, 2_000_000), 7_159_090);
    }
}
