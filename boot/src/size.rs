//! Sizes as people write them: `512M`, `1G`, `268435456`.

use std::fmt;
use std::str::FromStr;

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Why a text is not a size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SizeError {
    /// No digits at all.
    #[error("expected a number of bytes with an optional unit K, M or G, such as 512M")]
    NoNumber,
    /// The text after the number is no unit.
    #[error("unknown unit `{0}`: use K, M or G (powers of 1024)")]
    Unit(String),
    /// More than 2^64-1 bytes.
    #[error("too large for a 64-bit number of bytes")]
    Overflow,
}

impl Size {
    /// `count` mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The size in whole mebibytes, rounded up.
    pub const fn to_mib_rounded_up(self) -> u64 {
        self.0.div_ceil(1 << 20)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(SizeError::NoNumber);
        }
        let shift = match unit.to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            _ => return Err(SizeError::Unit(unit.to_owned())),
        };
        let number: u64 = number.parse().map_err(|_| SizeError::Overflow)?;
        number.checked_mul(1 << shift).map(Self).ok_or(SizeError::Overflow)
    }
}

impl fmt::Display for Size {
    /// Gibibytes or mebibytes where they are exact, mebibytes with one decimal
    /// for other large sizes, and bytes for small ones.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        for (shift, unit) in [(30, "GiB"), (20, "MiB")] {
            if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", bytes >> shift);
            }
        }
        if bytes >= 1 << 20 {
            let tenths = bytes / ((1 << 20) / 10);
            write!(f, "{}.{} MiB", tenths / 10, tenths % 10)
        } else {
            write!(f, "{bytes} bytes")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("1k", 1 << 10), ("512M", 512 << 20), ("512MiB", 512 << 20), ("2g", 2 << 30)]
        {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn bad_sizes_have_distinct_errors() {
        assert_eq!("".parse::<Size>(), Err(SizeError::NoNumber));
        assert_eq!("M".parse::<Size>(), Err(SizeError::NoNumber));
        assert_eq!("-1M".parse::<Size>(), Err(SizeError::NoNumber));
        assert_eq!("12Q".parse::<Size>(), Err(SizeError::Unit("Q".into())));
        assert_eq!("1.5G".parse::<Size>(), Err(SizeError::Unit(".5G".into())));
        assert_eq!("17179869184G".parse::<Size>(), Err(SizeError::Overflow));
        assert_eq!("99999999999999999999".parse::<Size>(), Err(SizeError::Overflow));
    }

    #[test]
    fn display_picks_the_exact_unit() {
        assert_eq!(Size::mib(512).to_string(), "512 MiB");
        assert_eq!(Size::mib(2048).to_string(), "2 GiB");
        assert_eq!(Size(1_500_000).to_string(), "1.4 MiB");
        assert_eq!(Size(512).to_string(), "512 bytes");
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*") {
            let _ = text.parse::<Size>();
        }

        #[test]
        fn plain_numbers_round_trip(bytes: u64) {
            prop_assert_eq!(bytes.to_string().parse(), Ok(Size(bytes)));
        }
    }
}
