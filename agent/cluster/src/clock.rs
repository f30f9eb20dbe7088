//! The time on the wall, which certificates and tokens go by, and what to say where two hosts disagree about it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Two clocks that differ by more than certificates allow for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock of {ahead} is {} ahead of the clock of {behind}; set the one that is wrong, and try again",
    length(*.by_s)
)]
pub struct ClocksDiffer {
    ahead: String,
    behind: String,
    by_s: u64,
}

/// Compares what two clocks show at one moment.
pub(crate) fn compare(
    (one, one_s): (&str, u64),
    (other, other_s): (&str, u64),
) -> Result<(), ClocksDiffer> {
    let by_s = one_s.abs_diff(other_s);
    if by_s <= CLOCK_SKEW.as_secs() {
        return Ok(());
    }
    let (ahead, behind) = if one_s > other_s {
        (one, other)
    } else {
        (other, one)
    };
    Err(ClocksDiffer {
        ahead: ahead.to_owned(),
        behind: behind.to_owned(),
        by_s,
    })
}

/// In its two largest units.
fn length(seconds: u64) -> String {
    let units = [("d", 86_400, u64::MAX), ("h", 3600, 24), ("min", 60, 60)];
    let parts = units.iter().filter_map(|(unit, length, bound)| {
        let count = seconds / length % bound;
        (count > 0).then(|| format!("{count} {unit}"))
    });
    parts.take(2).collect::<Vec<_>>().join(" ")
}

/// Clocks of hosts differ by so much at most.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_700_000_000;

    #[test]
    fn it_is_said_whose_clock_is_ahead_and_by_how_much() {
        let said = |one_s, other_s| {
            let compared = compare(("host-1", one_s), ("host-2", other_s));
            compared.map_err(|differ| differ.to_string())
        };
        assert_eq!(said(NOON, NOON + 300), Ok(()));
        assert_eq!(said(NOON + 300, NOON), Ok(()));
        let ahead = said(NOON + 7503, NOON).unwrap_err();
        assert!(
            ahead.starts_with("the clock of host-1 is 2 h 5 min ahead of the clock of host-2;"),
            "{ahead}"
        );
        let behind = said(NOON, NOON + 301).unwrap_err();
        assert!(
            behind.starts_with("the clock of host-2 is 5 min ahead of the clock of host-1;"),
            "{behind}"
        );
        let unset = said(0, NOON).unwrap_err();
        assert!(unset.contains("is 19675 d 22 h ahead"), "{unset}");
    }
}
