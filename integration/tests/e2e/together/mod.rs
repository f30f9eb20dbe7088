//! Many at once: nobody waits behind a slow neighbour, and who fails leaves nothing in the way of the next.

mod crowd;
mod hang;
mod mixed;
mod removed;
mod rollback;

use std::time::Duration;

/// The value that so many of a hundred of `times` stay at or below: 50 gives the median.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted[rank.max(1) - 1]
}

fn median(times: &[Duration]) -> Duration {
    percentile(times, 50)
}

#[test]
fn a_percentile_is_a_value_that_was_seen() {
    let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
    assert_eq!(median(&times), Duration::from_millis(100));
    assert_eq!(percentile(&times, 99), Duration::from_millis(198));
    assert_eq!(percentile(&times[..1], 99), Duration::from_millis(200));
}
