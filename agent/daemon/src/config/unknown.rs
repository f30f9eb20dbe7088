//! Keys that nobody knows, told with the one that was meant.

/// What the parser says, where it is about an unknown key in words that lead on.
pub(super) fn told(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with(UNKNOWN).then(|| words.next()).flatten();
    let Some(unknown) = unknown else {
        return message.to_owned();
    };
    let known: Vec<_> = words.collect();
    let distance = |key: &&&str| strsim::damerau_levenshtein(unknown, key);
    let nearest = known.iter().min_by_key(distance);
    let likely = |key: &&&str| {
        let least = unknown.len().min(key.len());
        strsim::damerau_levenshtein(unknown, key) <= DISTANCE_MAX.min(least.saturating_sub(1))
    };
    let shown: String = unknown.escape_default().take(KEY_SHOWN).collect();
    let known_here = known.join(", ");
    match nearest.filter(likely) {
        Some(meant) => {
            format!("unknown key {shown}; did you mean {meant}? There are {known_here}")
        }
        None => format!("unknown key {shown}; there are {known_here}"),
    }
}

/// As serde words it.
const UNKNOWN: &str = "unknown field";
const DISTANCE_MAX: usize = 3;
const KEY_SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named_where_one_is_near() {
        let message =
            |key: &str| format!("unknown field `{key}`, expected one of `name`, `lease_s`");
        assert_eq!(
            told(&message("lease")),
            "unknown key lease; did you mean lease_s? There are name, lease_s"
        );
        assert_eq!(
            told(&message("nmae")),
            "unknown key nmae; did you mean name? There are name, lease_s"
        );
        for far in ["x", "", "certificate"] {
            assert!(
                told(&message(far)).ends_with("; there are name, lease_s"),
                "{far}"
            );
        }
        assert_eq!(
            told("unknown field `a`, expected `b`"),
            "unknown key a; there are b"
        );
        assert_eq!(told("expected a value"), "expected a value");
    }
}
