//! Rates that a container is given by labels or by options of its endpoint: `com.tapestry.rate=100mbit` and the like.
//!
//! The words are those of `tapestry rate set`.

use agent_api::{ByteSize, Rate, RateSettings};

/// What is asked for, if anything is. `value` gives what a name stands for.
pub(super) fn rates<'v>(value: impl Fn(&str) -> Option<&'v str>) -> Result<RateSettings, String> {
    let [
        rate,
        burst,
        ingress_rate,
        ingress_burst,
        egress_rate,
        egress_burst,
    ] = NAMES;
    let (both, burst) = (
        read::<Rate>(rate, &value)?,
        read::<ByteSize>(burst, &value)?,
    );
    let rates = RateSettings {
        ingress_rate: read(ingress_rate, &value)?.or(both),
        ingress_burst: read(ingress_burst, &value)?.or(burst),
        egress_rate: read(egress_rate, &value)?.or(both),
        egress_burst: read(egress_burst, &value)?.or(burst),
    };
    Ok(rates)
}

fn read<'v, T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &str,
    value: impl Fn(&str) -> Option<&'v str>,
) -> Result<Option<T>, String> {
    let parsed = value(name).map(str::parse).transpose();
    parsed.map_err(|error| format!("{name}: {error}"))
}

pub(super) const NAMES: [&str; 6] = [
    "com.tapestry.rate",
    "com.tapestry.burst",
    "com.tapestry.ingress-rate",
    "com.tapestry.ingress-burst",
    "com.tapestry.egress-rate",
    "com.tapestry.egress-burst",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(given: &[(&str, &'static str)]) -> Result<String, String> {
        let value = |name: &str| {
            given
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| *value)
        };
        rates(value).map(|rates| rates.to_string())
    }

    #[test]
    fn one_way_stands_over_both_and_nonsense_is_told() {
        let both = ("com.tapestry.rate", "100mbit");
        assert_eq!(read_all(&[both]).unwrap(), "100mbit");
        let one = ("com.tapestry.egress-rate", "1gbit");
        assert_eq!(
            read_all(&[both, one]).unwrap(),
            "ingress 100mbit, egress 1gbit"
        );
        assert_eq!(read_all(&[]).unwrap(), "");
        let refused = read_all(&[("com.tapestry.rate", "fast")]).unwrap_err();
        assert!(
            refused.starts_with("com.tapestry.rate: \"fast\" is no rate"),
            "{refused}"
        );
    }
}
