//! Rates and counts, as short as people read them.

/// Bits a second, of bytes: `1.24 Gbit/s`.
pub(crate) fn bits(bytes_per_s: f64) -> String {
    scaled(bytes_per_s * 8.0, "bit/s")
}

/// Of anything else: `12.0 k/s`, `0/s`.
pub(crate) fn per_second(per_s: f64) -> String {
    scaled(per_s, "/s")
}

/// `1234567` is `1.23 M`.
pub(crate) fn count(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    scaled(count as f64, "").trim_end().to_owned()
}

/// `1234567` is `1.23 MB`.
pub(crate) fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    scaled(count as f64, "B")
}

/// Three digits, and what they are of.
fn scaled(value: f64, unit: &str) -> String {
    let (scaled, prefix) = UNITS
        .iter()
        .find(|(least, _)| value >= *least)
        .map_or((value, ""), |(least, prefix)| (value / least, *prefix));
    let number = match scaled {
        _ if prefix.is_empty() && (scaled.fract() == 0.0 || scaled >= 10.0) => {
            format!("{scaled:.0}")
        }
        100.0.. => format!("{scaled:.0}"),
        10.0.. => format!("{scaled:.1}"),
        _ => format!("{scaled:.2}"),
    };
    match prefix.is_empty() && unit == "/s" {
        true => format!("{number}{unit}"),
        false => format!("{number} {prefix}{unit}"),
    }
}

const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_three_digits_with_their_unit() {
        let shown = [0.0, 1.0, 125.0, 1e5, 1.55e8, 2e10].map(bits);
        assert_eq!(
            shown,
            [
                "0 bit/s",
                "8 bit/s",
                "1.00 kbit/s",
                "800 kbit/s",
                "1.24 Gbit/s",
                "160 Gbit/s"
            ]
        );
        let shown = [0.0, 0.5, 12.4, 12_345.0].map(per_second);
        assert_eq!(shown, ["0/s", "0.50/s", "12/s", "12.3 k/s"]);
        assert_eq!([0, 1_234_567].map(bytes), ["0 B", "1.23 MB"]);
        let shown = [0, 999, 1_234_567].map(count);
        assert_eq!(shown, ["0", "999", "1.23 M"]);
    }
}
