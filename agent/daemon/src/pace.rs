//! How often the agent looks at what others may change without end.

use std::time::Duration;

/// How long to look no more after a look that took `cost`: with thousands of links a look is long, and takes a fifth of a core
/// at most. What changes meanwhile is still seen within a second.
pub(crate) fn rest_after(cost: Duration) -> Duration {
    (cost * 4).min(REST_MAX)
}

const REST_MAX: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_take_a_fifth_of_the_time_and_changes_wait_less_than_a_second() {
        let cost = Duration::from_millis(20);
        assert_eq!(rest_after(cost), Duration::from_millis(80));
        assert_eq!(rest_after(Duration::from_secs(5)), REST_MAX);
    }
}
