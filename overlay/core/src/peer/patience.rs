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
