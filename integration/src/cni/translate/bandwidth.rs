//! The capability `bandwidth`: what a container may send and get, in bits a second.
//!
//! The words are those of the plugin `bandwidth`, <https://www.cni.dev/plugins/current/meta/bandwidth/>: ingress is towards the
//! container. A burst, in bits there, is what passes at once after a pause.

use agent_api::{ByteSize, Impairment, LinkSettings, Rate};
use serde_json::{Map, Value};

use crate::cni::wire::{Config, Failure, INVALID_CONFIG, UNSUPPORTED_FIELD};

/// The rates that are asked for, by the runtime or else by the configuration.
pub(super) fn impairments(config: &Config) -> Result<LinkSettings, Failure> {
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
    Ok(LinkSettings {
        to: limited(number(words, ingress_rate)?, number(words, ingress_burst)?),
        from: limited(number(words, egress_rate)?, number(words, egress_burst)?),
        seed: None,
    })
}

/// A rate of zero is none, whatever its burst.
fn limited(rate_bits_s: u64, burst_bits: u64) -> Impairment {
    if rate_bits_s == 0 {
        return Impairment::default();
    }
    let queued = rate_bits_s / 1000 * QUEUE_MS / 8 / FRAME_LEN;
    let limit = queued.clamp(QUEUE_MIN, QUEUE_MAX);
    Impairment {
        rate: Some(Rate::of_bits_s(rate_bits_s)),
        burst: (burst_bits >= 8).then(|| ByteSize::of_bytes(burst_bits / 8)),
        limit: u32::try_from(limit).ok(),
        ..Impairment::default()
    }
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
/// What may wait: a moment at the rate, since the sender is to notice.
const QUEUE_MS: u64 = 50;
const QUEUE_MIN: u64 = 100;
const QUEUE_MAX: u64 = 100_000;
const FRAME_LEN: u64 = 1514;
/// A terabit.
const BITS_MAX: u64 = 1_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::translate::read_config;

    fn read(more: &str) -> Result<LinkSettings, Failure> {
        let text =
            format!(r#"{{"cniVersion": "1.0.0", "name": "red", "type": "tapestry", {more}}}"#);
        impairments(&read_config(text.as_bytes()).unwrap())
    }

    #[test]
    fn ingress_is_towards_the_container_and_bursts_are_bits() {
        let words = r#"{"ingressRate": 8000000, "ingressBurst": 80000, "egressRate": 1000000000, "egressBurst": 0}"#;
        let read_both = read(&format!(r#""runtimeConfig": {{"bandwidth": {words}}}"#)).unwrap();
        let to = Impairment {
            rate: Some(Rate::of_bits_s(8_000_000)),
            burst: Some(ByteSize::of_bytes(10_000)),
            limit: Some(100),
            ..Impairment::default()
        };
        assert_eq!(read_both.to, to);
        assert_eq!(read_both.from.to_string(), "rate 1gbit limit 4128");
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
