//! The CMOS clock (Motorola MC146818A data sheet) with 114 bytes of memory. It keeps time from the time stamp counter; its
//! interrupts are not connected.

use crate::time::Clock;

const REGISTER_B: usize = 0xb;
const BINARY: u8 = 4;
const HOURS_24: u8 = 2;
const SET: u8 = 0x80;
const CENTURY: usize = 0x32;

/// The CMOS clock and memory.
#[derive(Debug)]
pub struct Rtc {
    clock: Clock,
    /// Seconds since 1970 when the time stamp counter was `base_tsc`.
    base: u64,
    base_tsc: u64,
    index: u8,
    memory: [u8; 128],
}

impl Rtc {
    /// A clock that shows `unix_time` (seconds since 1970, UTC) when the time stamp counter is `at`.
    pub fn new(clock: Clock, unix_time: u64, at: u64) -> Self {
        let mut memory = [0; 128];
        memory[0xa] = 0x26;
        memory[REGISTER_B] = HOURS_24;
        memory[0xd] = 0x80;
        // The years that four digits can show.
        Self { clock, base: unix_time.min(253_402_300_799), base_tsc: at, index: 0, memory }
    }

    /// Reads port 0x70 or 0x71.
    pub fn read(&mut self, port: u16, now: u64) -> u8 {
        if port & 1 == 0 {
            return 0xff;
        }
        let index = usize::from(self.index);
        if self.memory[REGISTER_B] & SET == 0 && is_time(index) {
            self.show(now);
        }
        self.memory[index]
    }

    /// Writes port 0x70 or 0x71.
    pub fn write(&mut self, port: u16, value: u8, now: u64) {
        if port & 1 == 0 {
            self.index = value & 0x7f;
            return;
        }
        let index = usize::from(self.index);
        match index {
            REGISTER_B => {
                let was = self.memory[REGISTER_B];
                if value & SET != 0 && was & SET == 0 {
                    self.show(now);
                }
                self.memory[REGISTER_B] = value;
                if value & SET == 0 && was & SET != 0 {
                    self.set(now);
                }
            }
            0xa => self.memory[index] = value & 0x7f,
            0xc | 0xd => {}
            _ if is_time(index) && self.memory[REGISTER_B] & SET == 0 => {
                self.show(now);
                self.memory[index] = value;
                self.set(now);
            }
            _ => self.memory[index] = value,
        }
    }

    fn seconds(&self, now: u64) -> u64 {
        self.base.saturating_add(self.clock.to_device(now.saturating_sub(self.base_tsc), 1)).min(253_402_300_799)
    }

    /// Writes the present time to the registers.
    fn show(&mut self, now: u64) {
        let time = self.seconds(now);
        let (days, second) = (time / 86_400, time % 86_400);
        let (year, month, day) = date(days);
        let hour = (second / 3600) as u8;
        let control = self.memory[REGISTER_B];
        let (hour, afternoon) =
            if control & HOURS_24 != 0 { (hour, 0) } else { ((hour + 11) % 12 + 1, if hour >= 12 { 0x80 } else { 0 }) };
        let encode = |value: u8| if control & BINARY != 0 { value } else { ((value / 10) << 4) | (value % 10) };
        for (index, value) in [
            (0, (second % 60) as u8),
            (2, (second / 60 % 60) as u8),
            (4, hour),
            (6, ((days + 4) % 7 + 1) as u8),
            (7, day),
            (8, month),
            (9, (year % 100) as u8),
            (CENTURY, (year / 100) as u8),
        ] {
            self.memory[index] = encode(value);
        }
        self.memory[4] |= afternoon;
    }

    /// Takes the time from the registers.
    fn set(&mut self, now: u64) {
        let control = self.memory[REGISTER_B];
        let field = |index: usize, mask: u8| {
            let value = self.memory[index] & mask;
            u64::from(if control & BINARY != 0 {
                value
            } else {
                (value >> 4).wrapping_mul(10).wrapping_add(value & 0xf)
            })
        };
        let hour = if control & HOURS_24 != 0 {
            field(4, 0xff)
        } else {
            field(4, 0x7f) % 12 + if self.memory[4] & 0x80 != 0 { 12 } else { 0 }
        };
        let year = (field(CENTURY, 0xff) * 100 + field(9, 0xff)).clamp(1970, 9999);
        let days = days(year, field(8, 0xff).clamp(1, 12), field(7, 0xff).clamp(1, 31));
        self.base = days * 86_400 + hour.min(23) * 3600 + field(2, 0xff).min(59) * 60 + field(0, 0xff).min(59);
        self.base_tsc = now;
    }
}

fn is_time(index: usize) -> bool {
    matches!(index, 0 | 2 | 4 | 6..=9 | CENTURY)
}

/// Days since 1970-01-01 of a Gregorian date. Years start in March, so that the leap day is their last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The Gregorian date (year, month, day) of the day `days` after 1970-01-01.
fn date(days: u64) -> (u64, u8, u8) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, if month < 10 { month + 3 } else { month - 9 });
    (if month <= 2 { year + 1 } else { year }, month as u8, day_of_month as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rtc: &mut Rtc, index: u8, now: u64) -> u8 {
        rtc.write(0x70, index, now);
        rtc.read(0x71, now)
    }

    fn write(rtc: &mut Rtc, index: u8, value: u8, now: u64) {
        rtc.write(0x70, index, now);
        rtc.write(0x71, value, now);
    }

    #[test]
    fn dates_convert_both_ways() {
        for day in (0..2_932_896).step_by(97) {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, u64::from(month), u64::from(of_month)), day);
        }
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(19_782), (2024, 2, 29));
    }

    #[test]
    fn shows_the_time_and_goes_on() {
        // 2024-02-29 23:59:58, a Thursday.
        let mut rtc = Rtc::new(Clock::new(1000), 1_709_251_198, 0);
        let fields: [u8; 8] = [0, 2, 4, 6, 7, 8, 9, 0x32].map(|index| read(&mut rtc, index, 0));
        assert_eq!(fields, [0x58, 0x59, 0x23, 5, 0x29, 2, 0x24, 0x20]);
        let fields: [u8; 4] = [0, 4, 7, 8].map(|index| read(&mut rtc, index, 2000));
        assert_eq!(fields, [0, 0, 1, 3]);
    }

    #[test]
    fn keeps_the_time_that_is_set() {
        let mut rtc = Rtc::new(Clock::new(1000), 0, 0);
        write(&mut rtc, 0xb, 0x80, 0);
        for (index, value) in [(0, 0x30), (2, 0x15), (4, 0x91), (7, 5), (8, 6), (9, 0x30), (0x32, 0x20)] {
            write(&mut rtc, index, value, 0);
        }
        write(&mut rtc, 0xb, 0, 5000);
        assert_eq!(read(&mut rtc, 0, 6000), 0x31);
        assert_eq!(read(&mut rtc, 4, 6000), 0x91, "11 p.m.");
        write(&mut rtc, 0xb, 6, 6000);
        assert_eq!(read(&mut rtc, 4, 6000), 23);
        assert_eq!(read(&mut rtc, 9, 6000), 30);
        assert_eq!(read(&mut rtc, 0xd, 0), 0x80);
    }
}
