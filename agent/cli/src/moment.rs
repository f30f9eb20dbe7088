//! Moments, as `--since` and `--until` take them and as lines show them, in Docker's words.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

use crate::output;

/// Milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) u64);

/// The zone that this process is in. To be asked before there are threads.
pub(crate) fn zone() -> UtcOffset {
    UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC)
}

/// A span before now as `10m` or `1h30m`, seconds since the epoch as `1700000000.5`, or a time as `2026-11-30T09:00:00[Z]`.
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    read(text, output::now_ms(), zone()).ok_or_else(|| {
        "write how long ago, as 10m or 1h30m; seconds since the epoch; or a time, as 2026-11-30T09:00:00"
            .to_owned()
    })
}

/// `2026-11-30T09:00:00.123+01:00`.
pub(crate) fn shown(at_ms: u64, zone: UtcOffset) -> String {
    let nanos = i128::from(at_ms) * 1_000_000;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .to_offset(zone);
    let (date, (hour, minute, second, milli)) = (at.date(), at.time().as_hms_milli());
    let (zone_hours, zone_minutes, _) = zone.as_hms();
    format!(
        "{date}T{hour:02}:{minute:02}:{second:02}.{milli:03}{}{:02}:{:02}",
        if zone.is_negative() { '-' } else { '+' },
        zone_hours.abs(),
        zone_minutes.abs()
    )
}

fn read(text: &str, now_ms: u64, zone: UtcOffset) -> Option<Moment> {
    if let Some(span_ms) = span_ms(text) {
        return Some(Moment(now_ms.saturating_sub(span_ms)));
    }
    if let Some(ms) = decimal(text, 1000) {
        return Some(Moment(ms));
    }
    let at = date_and_time(text, zone)?;
    let ms = at.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(ms).ok().map(Moment)
}

/// As Go writes spans: numbers with units behind them.
fn span_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| !c.is_ascii_alphabetic());
        let (unit, next) = behind.split_at(letters.unwrap_or(behind.len()));
        let (_, unit_ms) = UNITS_MS.iter().find(|(name, _)| *name == unit)?;
        sum = sum.checked_add(decimal(number, *unit_ms)?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(sum)
}

/// A decimal number times `unit`.
fn decimal(text: &str, unit: u64) -> Option<u64> {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !is_number(whole) || !is_number(part) || part.len() > DECIMALS_MAX {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(part.len()).ok()?);
    let part: u64 = if part.is_empty() {
        0
    } else {
        part.parse().ok()?
    };
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    whole.checked_add(u64::try_from(u128::from(part) * u128::from(unit) / u128::from(scale)).ok()?)
}

/// RFC 3339, or less of it: without an offset in this zone, without a time at its midnight.
fn date_and_time(text: &str, zone: UtcOffset) -> Option<OffsetDateTime> {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00"));
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    let (time, zone) = match time.find(['Z', 'z', '+', '-']) {
        None => (time, zone),
        Some(at) => (&time[..at], offset(&time[at..])?),
    };
    let mut parts = time.splitn(3, ':');
    let (hour, minute) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let ms = decimal(parts.next().unwrap_or("0"), 1000)?;
    let (second, milli) = (
        u8::try_from(ms / 1000).ok()?,
        u16::try_from(ms % 1000).ok()?,
    );
    let time = Time::from_hms_milli(hour, minute, second, milli).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_offset(zone))
}

/// `Z`, or `+01:00`.
fn offset(text: &str) -> Option<UtcOffset> {
    if text.eq_ignore_ascii_case("z") {
        return Some(UtcOffset::UTC);
    }
    let (sign, rest) = text.split_at(1);
    let (hours, minutes) = rest.split_once(':')?;
    let sign: i8 = if sign == "-" { -1 } else { 1 };
    let (hours, minutes): (i8, i8) = (hours.parse().ok()?, minutes.parse().ok()?);
    UtcOffset::from_hms(sign.checked_mul(hours)?, sign.checked_mul(minutes)?, 0).ok()
}

const UNITS_MS: [(&str, u64); 5] = [
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
    ("d", 86_400_000),
];
const DECIMALS_MAX: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn ms(text: &str) -> Option<u64> {
        let zone = UtcOffset::from_hms(1, 0, 0).unwrap();
        read(text, NOW_MS, zone).map(|moment| moment.0)
    }

    #[test]
    fn spans_are_before_now() {
        for (text, before) in [
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("300ms", 300),
            ("0s", 0),
            ("2d", 172_800_000),
        ] {
            assert_eq!(ms(text), Some(NOW_MS - before), "{text}");
        }
    }

    #[test]
    fn times_are_of_the_epoch_or_of_a_calendar() {
        for (text, expected) in [
            ("1700000000", NOW_MS),
            ("1700000000.25", NOW_MS + 250),
            ("2023-11-14T22:13:20Z", NOW_MS),
            ("2023-11-14T23:13:20+01:00", NOW_MS),
            ("2023-11-14T23:13:20", NOW_MS),
            ("2023-11-14T22:13:20.250Z", NOW_MS + 250),
            ("2023-11-14T23:13", NOW_MS - 20_000),
            ("2023-11-15", NOW_MS + 2_800_000),
        ] {
            assert_eq!(ms(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for wrong in [
            "",
            "m",
            "10",
            "10x",
            "-5m",
            "2023-13-01",
            "2023-11-14T25:00",
            "now",
            "1..5s",
            "é",
        ] {
            let refused = ms(wrong);
            let is_seconds = wrong == "10";
            assert_eq!(refused.is_some(), is_seconds, "{wrong}");
        }
        assert!(moment("tomorrow").unwrap_err().contains("10m"));
    }

    #[test]
    fn a_moment_is_shown_in_its_zone() {
        let zone = UtcOffset::from_hms(-3, -30, 0).unwrap();
        assert_eq!(shown(NOW_MS + 7, zone), "2023-11-14T18:43:20.007-03:30");
        assert_eq!(
            shown(NOW_MS, UtcOffset::UTC),
            "2023-11-14T22:13:20.000+00:00"
        );
    }
}
