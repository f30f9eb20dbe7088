//! Time as the cores see it: a number that callers hand in.

use std::ops::Add;
use std::time::{Duration, Instant};

/// A point on the caller's monotonic clock, in milliseconds since any fixed start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// At `now` on a clock that began at `start`; its beginning where `now` is before that.
    #[inline]
    pub fn at(start: Instant, now: Instant) -> Self {
        let elapsed = now.saturating_duration_since(start).as_millis();
        Self(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Zero when `earlier` lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}
