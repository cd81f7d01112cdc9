//! The time of day from the CMOS clock (Motorola MC146818A).

use protocols::libc::{port, time};

/// What the clock's registers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fields {
    second: u8,
    minute: u8,
    hour: u8,
    day: u8,
    month: u8,
    year: u8,
    /// Register B: bit 1 for 24 hours, bit 2 for binary.
    format: u8,
}

/// Unix time in seconds, and the time stamp counter when it was read.
pub fn read() -> (u64, u64) {
    let mut fields = read_fields();
    // An update between two registers gives a mixture: two equal readings in a row are none. The bound is for a host
    // without a clock.
    for _ in 0..1000 {
        let again = read_fields();
        let stable = again == fields && register(0x0a) & 0x80 == 0;
        fields = again;
        if stable {
            break;
        }
    }
    (unix_time(fields), time::now())
}

fn register(index: u8) -> u8 {
    port::write_u8(0x70, index);
    port::read_u8(0x71)
}

fn read_fields() -> Fields {
    Fields {
        second: register(0),
        minute: register(2),
        hour: register(4),
        day: register(7),
        month: register(8),
        year: register(9),
        format: register(0x0b),
    }
}

fn unix_time(fields: Fields) -> u64 {
    let is_binary = fields.format & 4 != 0;
    let number = |value: u8| u64::from(if is_binary { value } else { (value >> 4) * 10 + (value & 15) });
    let mut hour = number(fields.hour & 0x7f);
    if fields.format & 2 == 0 {
        hour = hour % 12 + if fields.hour & 0x80 != 0 { 12 } else { 0 };
    }
    let (year, month, day) = (2000 + number(fields.year), number(fields.month).clamp(1, 12), number(fields.day).max(1));
    // Days since 1970-01-01, counting years from March so that leap days come last.
    let (shifted, from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + (from_march * 153 + 2) / 5 + day - 1;
    const EPOCH: u64 = 719_468;
    (days - EPOCH) * 86_400 + hour * 3600 + number(fields.minute) * 60 + number(fields.second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        let bcd = Fields { second: 0x56, minute: 0x34, hour: 0x12, day: 0x29, month: 2, year: 0x24, format: 2 };
        assert_eq!(unix_time(bcd), 1_709_210_096, "2024-02-29 12:34:56");
        let binary = Fields { second: 7, minute: 46, hour: 1, day: 9, month: 9, year: 1, format: 6 };
        assert_eq!(unix_time(binary), 999_999_967, "2001-09-09 01:46:07");
    }

    #[test]
    fn twelve_hour_clocks() {
        let at = |hour| Fields { second: 0, minute: 0, hour, day: 1, month: 1, year: 0, format: 4 };
        let midnight = 946_684_800;
        assert_eq!(unix_time(at(12)), midnight);
        assert_eq!(unix_time(at(1)), midnight + 3600);
        assert_eq!(unix_time(at(12 | 0x80)), midnight + 12 * 3600);
        assert_eq!(unix_time(at(11 | 0x80)), midnight + 23 * 3600);
    }

    proptest! {
        #[test]
        fn nothing_panics(second: u8, minute: u8, hour: u8, day: u8, month: u8, year: u8, format: u8) {
            let _ = unix_time(Fields { second, minute, hour, day, month, year, format });
        }
    }
}
