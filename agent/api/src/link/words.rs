//! Values as tc writes them: `50ms`, `10%`, `10mbit`, `15kb`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a value is none. One line that says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWord {
    #[error("{0:?} is no time; write 50ms, 1.5s or 200us, up to 1h")]
    Interval(String),
    #[error("{0:?} has no unit; write {0}ms for milliseconds, or s or us")]
    NoUnit(String),
    #[error("{0:?} is no share; write 0% to 100%, as in 0.5%")]
    Percent(String),
    #[error(
        "{0:?} is no rate; write 10mbit, 1.5gbit, 500kbit or 1mbps, which counts bytes; a bare number is in kbit"
    )]
    Rate(String),
    #[error("{0:?} is no size; write bytes, or 15kb or 1mb")]
    Size(String),
    #[error("{text:?} is no {what}; write {form}")]
    Form {
        text: String,
        what: &'static str,
        form: &'static str,
    },
}

/// A time, of which an hour is the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub struct Interval {
    nanos: u64,
}

/// A share, in steps of a thousand-millionth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub struct Percent {
    billionths: u32,
}

/// Bits a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub struct Rate {
    bits_s: u64,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub struct ByteSize {
    bytes: u64,
}

/// A value in JSON or YAML: a text, or a number as people write one.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a text like \"50ms\", \"10%\" or \"10mbit\", or a number"
)]
pub(super) enum Word {
    Text(String),
    Whole(u64),
    Real(f64),
}

impl Word {
    pub(super) fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Whole(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
        }
    }
}

impl Interval {
    pub const fn duration(self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    pub const fn is_zero(self) -> bool {
        self.nanos == 0
    }
}

impl FromStr for Interval {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        let bad = || BadWord::Interval(shown(text));
        let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
        let nanos = match unit.as_str() {
            "ns" | "nsec" | "nsecs" => 1.0,
            "us" | "usec" | "usecs" => 1e3,
            "ms" | "msec" | "msecs" => 1e6,
            "s" | "sec" | "secs" => 1e9,
            "min" => 60e9,
            "h" => INTERVAL_MAX_NS,
            "" if number <= 0.0 => 1.0,
            "" => return Err(BadWord::NoUnit(shown(text))),
            _ => return Err(bad()),
        };
        let nanos = whole(number * nanos, INTERVAL_MAX_NS).ok_or_else(bad)?;
        Ok(Self { nanos })
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name, digits) = match self.nanos {
            nanos if nanos >= 1_000_000_000 => (1_000_000_000, "s", 9),
            nanos if nanos >= 1_000_000 => (1_000_000, "ms", 6),
            nanos if nanos >= 1_000 => (1_000, "us", 3),
            0 => (1, "ms", 0),
            _ => (1, "ns", 0),
        };
        write_decimal(f, self.nanos, unit, digits)?;
        f.write_str(name)
    }
}

impl Percent {
    /// 0.0 to 1.0.
    pub fn share(self) -> f64 {
        f64::from(self.billionths) / f64::from(ALL)
    }

    pub const fn is_zero(self) -> bool {
        self.billionths == 0
    }

    /// What is missing to 100 %.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self {
            billionths: ALL - self.billionths,
        }
    }

    pub const ALL: Self = Self { billionths: ALL };
}

impl FromStr for Percent {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        let bad = || BadWord::Percent(shown(text));
        let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
        if !matches!(unit.as_str(), "%" | "") {
            return Err(bad());
        }
        let parts = whole(number * f64::from(ALL / 100), f64::from(ALL)).ok_or_else(bad)?;
        let billionths = u32::try_from(parts).map_err(|_| bad())?;
        Ok(Self { billionths })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.billionths.into(), u64::from(ALL / 100), 7)?;
        f.write_str("%")
    }
}

impl Rate {
    pub const fn of_bits_s(bits_s: u64) -> Self {
        Self { bits_s }
    }

    pub const fn bits_s(self) -> u64 {
        self.bits_s
    }
}

impl FromStr for Rate {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        let bad = || BadWord::Rate(shown(text));
        let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
        let (prefix, base) = match unit.strip_suffix("bit") {
            Some(prefix) => (prefix, 1.0),
            None if unit.is_empty() => ("k", 1.0),
            None => (unit.strip_suffix("bps").ok_or_else(bad)?, 8.0),
        };
        let scale = match prefix {
            "" => 1.0,
            "k" => 1e3,
            "m" => 1e6,
            "g" => 1e9,
            "t" => 1e12,
            "ki" => 1024.0,
            "mi" => 1024.0 * 1024.0,
            "gi" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(bad()),
        };
        let bits_s = whole(number * base * scale, RATE_MAX_BITS_S).ok_or_else(bad)?;
        Ok(Self { bits_s })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1_000_000_000, "gbit"),
            (1_000_000, "mbit"),
            (1_000, "kbit"),
        ];
        let exact = |(unit, _): &(u64, &str)| self.bits_s > 0 && self.bits_s.is_multiple_of(*unit);
        let (unit, name) = units.into_iter().find(exact).unwrap_or((1, "bit"));
        write!(f, "{}{name}", self.bits_s / unit)
    }
}

impl ByteSize {
    pub const fn of_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    pub const fn bytes(self) -> u64 {
        self.bytes
    }
}

impl FromStr for ByteSize {
    type Err = BadWord;

    fn from_str(text: &str) -> Result<Self, BadWord> {
        let bad = || BadWord::Size(shown(text));
        let (number, unit) = number_and_unit(text).ok_or_else(bad)?;
        let scale = match unit.as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1024.0,
            "m" | "mb" => 1024.0 * 1024.0,
            "g" | "gb" => 1024.0 * 1024.0 * 1024.0,
            "kbit" => 1024.0 / 8.0,
            "mbit" => 1024.0 * 1024.0 / 8.0,
            _ => return Err(bad()),
        };
        let bytes = whole(number * scale, SIZE_MAX).ok_or_else(bad)?;
        Ok(Self { bytes })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 20, "mb"), (1 << 10, "kb")];
        let exact = |(unit, _): &(u64, &str)| self.bytes > 0 && self.bytes.is_multiple_of(*unit);
        let (unit, name) = units.into_iter().find(exact).unwrap_or((1, "b"));
        write!(f, "{}{name}", self.bytes / unit)
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl TryFrom<Word> for $type {
            type Error = BadWord;

            fn try_from(word: Word) -> Result<Self, BadWord> {
                word.text().parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )*};
}
pub(super) use as_text;

as_text!(Interval, Percent, Rate, ByteSize);

/// `1.5ms` as its two parts; the unit in small letters.
fn number_and_unit(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.parse().ok()?;
    Some((number, unit.trim_start().to_ascii_lowercase()))
}

/// To the next whole number, if it is in 0 ..= `max`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the largest bound is far below what u64 and f64 hold"
)]
fn whole(number: f64, max: f64) -> Option<u64> {
    let rounded = number.round();
    (0.0..=max).contains(&rounded).then_some(rounded as u64)
}

/// `parts / unit` with up to so many digits, and no zeros at the end.
fn write_decimal(f: &mut fmt::Formatter<'_>, parts: u64, unit: u64, digits: usize) -> fmt::Result {
    write!(f, "{}", parts / unit)?;
    let rest = parts % unit;
    if rest == 0 {
        return Ok(());
    }
    let rest = format!("{rest:0digits$}");
    write!(f, ".{}", rest.trim_end_matches('0'))
}

pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

const ALL: u32 = 1_000_000_000;
const INTERVAL_MAX_NS: f64 = 3600e9;
const RATE_MAX_BITS_S: f64 = 1e13;
/// A tebibyte.
const SIZE_MAX: f64 = 1_099_511_627_776.0;
const SHOWN_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn both<T: FromStr<Err = BadWord> + fmt::Display>(cases: &[(&str, &str)]) {
        for (text, written) in cases {
            let value: T = text.parse().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(value.to_string(), *written);
            let again: T = written.parse().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(again.to_string(), *written);
        }
    }

    #[test]
    fn times_have_units() {
        both::<Interval>(&[
            ("50ms", "50ms"),
            ("50 msec", "50ms"),
            ("1.5S", "1.5s"),
            ("100usecs", "100us"),
            ("0.25ms", "250us"),
            ("1500us", "1.5ms"),
            ("7ns", "7ns"),
            ("1h", "3600s"),
            ("2min", "120s"),
            ("0", "0ms"),
        ]);
        for (bad, told) in [
            ("50", "write 50ms"),
            ("ms", "is no time"),
            ("-5ms", "is no time"),
            ("5 parsecs", "is no time"),
            ("2h", "up to 1h"),
            ("1.2.3s", "is no time"),
            ("", "is no time"),
        ] {
            let refused = bad.parse::<Interval>().unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
        }
    }

    #[test]
    fn shares_are_of_a_hundred() {
        both::<Percent>(&[
            ("10%", "10%"),
            ("10", "10%"),
            ("0.5 %", "0.5%"),
            ("100%", "100%"),
            ("0.0000001%", "0.0000001%"),
            ("0", "0%"),
        ]);
        for bad in ["101%", "-1%", "x", "5ms", "NaN", "1e3"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
        assert!(("25%".parse::<Percent>().unwrap().rest().share() - 0.75).abs() < 1e-12);
    }

    #[test]
    fn rates_are_tcs_and_bare_ones_containerlabs() {
        both::<Rate>(&[
            ("10mbit", "10mbit"),
            ("1Gbit", "1gbit"),
            ("1.5gbit", "1500mbit"),
            ("500", "500kbit"),
            ("1mbps", "8mbit"),
            ("1kibit", "1024bit"),
            ("9600bit", "9600bit"),
            ("0", "0bit"),
        ]);
        for bad in ["fast", "10m", "10mb", "-1mbit", "100tbit", "mbit", "10xbit"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_bytes() {
        both::<ByteSize>(&[
            ("15kb", "15kb"),
            ("1500", "1500b"),
            ("1m", "1mb"),
            ("32kbit", "4kb"),
            ("0", "0b"),
        ]);
        for bad in ["15ms", "x", "-1", "9999999g"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_one_short_line() {
        let long = "9".repeat(5000) + "\n";
        for refused in [
            long.parse::<Interval>().unwrap_err(),
            long.parse::<Percent>().unwrap_err(),
            long.parse::<Rate>().unwrap_err(),
            long.parse::<ByteSize>().unwrap_err(),
        ] {
            let told = refused.to_string();
            assert!(told.len() < 300 && !told.contains('\n'), "{told}");
        }
    }
}
