//! How long a dial may take, and when the next one comes.

use std::time::Duration;

use switch_core::Time;

use super::config::Timing;

/// How long a dial may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) limit: Duration,
    min: Duration,
    max: Duration,
    since: Time,
    /// Whether a dial was answered, so that it is known how long that takes.
    is_measured: bool,
}

impl Patience {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            limit: timing.dial_min,
            min: timing.dial_min,
            max: timing.dial_max,
            since: Time::default(),
            is_measured: false,
        }
    }

    /// A dial begins; returns when it ends.
    pub(super) fn dial(&mut self, now: Time) -> Time {
        self.since = now;
        now + self.limit
    }

    pub(super) fn connected(&mut self, now: Time) {
        self.is_measured = true;
        self.limit = (now.since(self.since) * 3).clamp(self.min, self.max);
    }

    pub(super) fn grow(&mut self) {
        if !self.is_measured {
            self.limit = (self.limit * 2).min(self.max);
        }
    }
}

/// Spreads redials (splitmix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Below `bound`, to the millisecond; zero when that is.
    pub(super) fn below(&mut self, bound: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        let bound = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(word.checked_rem(bound).unwrap_or(0))
    }
}
