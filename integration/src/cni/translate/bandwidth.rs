//! The capability `bandwidth`: what a container may send and get, in bits a second.
//!
//! The words are those of the plugin `bandwidth`, <https://www.cni.dev/plugins/current/meta/bandwidth/>: ingress is towards the
//! container. A burst, in bits there, is what passes at once after a pause.

use agent_api::{ByteSize, Rate, RateSettings};
use serde_json::{Map, Value};

use crate::cni::wire::{Config, Failure, INVALID_CONFIG, UNSUPPORTED_FIELD};

/// The rates that are asked for, by the runtime or else by the configuration.
pub(super) fn rates(config: &Config) -> Result<RateSettings, Failure> {
    let by_runtime = &config.runtime_config.bandwidth;
    let words = match by_runtime.is_empty() {
        true => &config.bandwidth,
        false => by_runtime,
    };
    if let Some(other) = words.keys().find(|key| !WORDS.contains(&key.as_str())) {
        let message = format!("bandwidth {other}: it is not one of {}", WORDS.join(", "));
        return Err(Failure::new(UNSUPPORTED_FIELD, message));
    }
    let [ingress_rate, ingress_burst, egress_rate, egress_burst] = WORDS;
    let (ingress_rate, ingress_burst) =
        limited(number(words, ingress_rate)?, number(words, ingress_burst)?);
    let (egress_rate, egress_burst) =
        limited(number(words, egress_rate)?, number(words, egress_burst)?);
    let rates = RateSettings {
        ingress_rate,
        ingress_burst,
        egress_rate,
        egress_burst,
    };
    let refused = |error| Failure::new(INVALID_CONFIG, format!("bandwidth: {error}"));
    rates.check().map_err(refused)?;
    Ok(rates)
}

/// A rate of zero is none, whatever its burst.
fn limited(rate_bits_s: u64, burst_bits: u64) -> (Option<Rate>, Option<ByteSize>) {
    if rate_bits_s == 0 {
        return (None, None);
    }
    let burst = (burst_bits >= 8).then(|| ByteSize::of_bytes(burst_bits / 8));
    (Some(Rate::of_bits_s(rate_bits_s)), burst)
}

fn number(words: &Map<String, Value>, key: &str) -> Result<u64, Failure> {
    let value = words.get(key).filter(|value| !value.is_null());
    let Some(value) = value else {
        return Ok(0);
    };
    let number = value.as_u64().filter(|number| *number <= BITS_MAX);
    number.ok_or_else(|| {
        let mut shown = value.to_string();
        shown.truncate(shown.floor_char_boundary(40));
        let message = format!("bandwidth {key} {shown}: write bits as a whole number, as 1000000");
        Failure::new(INVALID_CONFIG, message)
    })
}

const WORDS: [&str; 4] = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"];
/// A terabit.
const BITS_MAX: u64 = 1_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::translate::read_config;

    fn read(more: &str) -> Result<RateSettings, Failure> {
        let text =
            format!(r#"{{"cniVersion": "1.0.0", "name": "red", "type": "tapestry", {more}}}"#);
        rates(&read_config(text.as_bytes()).unwrap())
    }

    #[test]
    fn ingress_is_towards_the_container_and_bursts_are_bits() {
        let words = r#"{"ingressRate": 8000000, "ingressBurst": 80000, "egressRate": 1000000000, "egressBurst": 0}"#;
        let read_both = read(&format!(r#""runtimeConfig": {{"bandwidth": {words}}}"#)).unwrap();
        assert_eq!(
            read_both.to_string(),
            "ingress 8mbit burst 10000b, egress 1gbit"
        );
        assert_eq!(read_both.check(), Ok(()));
        assert_eq!(
            read(&format!(r#""bandwidth": {words}"#)).unwrap(),
            read_both
        );
    }

    #[test]
    fn no_rate_is_no_limit_and_what_is_no_number_is_refused() {
        for words in [
            "null",
            "{}",
            r#"{"ingressRate": 0, "ingressBurst": 80000}"#,
            r#"{"egressRate": null}"#,
        ] {
            let none = read(&format!(r#""runtimeConfig": {{"bandwidth": {words}}}"#)).unwrap();
            assert!(none.is_default(), "{words}");
        }
        for (words, told) in [
            (r#"{"ingressRate": -1}"#, "ingressRate -1: write bits"),
            (r#"{"egressRate": "10M"}"#, "egressRate \"10M\": write bits"),
            (
                r#"{"rate": 1}"#,
                "bandwidth rate: it is not one of ingressRate",
            ),
        ] {
            let refused = read(&format!(r#""bandwidth": {words}"#)).unwrap_err();
            assert!(refused.message.contains(told), "{refused}");
        }
    }
}
