//! Labels of containers by which docker-tc impairs links: `com.docker-tc.limit=1mbps` and the like.
//!
//! Their values are tc's, and concern what goes to the container: docker-tc sets them at the host's end of its link.

use std::collections::BTreeMap;
use std::str::FromStr;

use agent_api::{BadWord, ByteSize, Impairment};

/// What the labels ask for, if they ask for anything. What is not understood is returned beside it, in words.
pub(super) fn impairment(labels: &BTreeMap<String, String>) -> (Option<Impairment>, Vec<String>) {
    let label = |name: &str| labels.get(&format!("{PREFIX}{name}")).map(String::as_str);
    if !label("enabled").is_some_and(|enabled| matches!(enabled.trim(), "1" | "true")) {
        return (None, Vec::new());
    }
    let mut refused = Vec::new();
    let limit = label("limit").map(|limit| match limit.parse::<f64>() {
        // tc counts bits where no unit is given.
        Ok(_) => format!("{limit}bit"),
        Err(_) => limit.to_owned(),
    });
    let rate = read("limit", limit.as_deref(), &mut refused);
    let wished = Impairment {
        rate,
        burst: rate.map(|_| ByteSize::of_bytes(BURST_BYTES)),
        delay: read("delay", label("delay"), &mut refused),
        loss: read("loss", label("loss"), &mut refused),
        duplicate: read("duplicate", label("duplicate"), &mut refused),
        corrupt: read("corrupt", label("corrupt"), &mut refused),
        ..Impairment::default()
    };
    let is_some = wished != Impairment::default();
    (is_some.then_some(wished), refused)
}

fn read<T: FromStr<Err = BadWord>>(
    name: &str,
    text: Option<&str>,
    refused: &mut Vec<String>,
) -> Option<T> {
    let parsed = text?.parse();
    parsed
        .map_err(|error| refused.push(format!("label {PREFIX}{name}: {error}")))
        .ok()
}

const PREFIX: &str = "com.docker-tc.";
/// Of docker-tc's token bucket.
const BURST_BYTES: u64 = 5 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_labels(labels: &[(&str, &str)]) -> (Option<String>, Vec<String>) {
        let labels = labels.iter().map(|(name, value)| {
            let name = format!("com.docker-tc.{name}");
            (name, (*value).to_owned())
        });
        let (wished, refused) = impairment(&labels.collect());
        (wished.map(|wished| wished.to_string()), refused)
    }

    #[test]
    fn labels_have_tcs_values() {
        let all = [
            ("enabled", "1"),
            ("limit", "1mbps"),
            ("delay", "100ms"),
            ("loss", "50%"),
            ("duplicate", "50%"),
            ("corrupt", "10%"),
        ];
        let wished = "delay 100ms loss 50% duplicate 50% corrupt 10% rate 8mbit burst 5kb";
        assert_eq!(read_labels(&all), (Some(wished.to_owned()), Vec::new()));
        let bare = read_labels(&[("enabled", "1"), ("limit", "64000")]);
        assert_eq!(bare.0.unwrap(), "rate 64kbit burst 5kb");
    }

    #[test]
    fn without_enabled_nothing_is_done_and_bad_values_are_told() {
        assert_eq!(read_labels(&[("delay", "100ms")]), (None, Vec::new()));
        let off = [("enabled", "0"), ("delay", "100ms")];
        assert_eq!(read_labels(&off), (None, Vec::new()));
        let (wished, refused) = read_labels(&[("enabled", "1"), ("delay", "soon"), ("loss", "1%")]);
        assert_eq!(wished.unwrap(), "loss 1%");
        assert!(refused[0].contains("com.docker-tc.delay: \"soon\" is no time"));
    }
}
