//! The clock by which bridges are asked.

use std::time::Instant;

use switch_core::Time;

/// Milliseconds since `start`.
pub(crate) fn time_since(start: Instant) -> Time {
    time_at(start, Instant::now())
}

/// Milliseconds from `start` to `now`.
pub(crate) fn time_at(start: Instant, now: Instant) -> Time {
    let elapsed = now.saturating_duration_since(start);
    Time::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
