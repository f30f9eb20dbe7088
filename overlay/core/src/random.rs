//! Chance that follows from a seed.

use std::time::Duration;

use switch_core::SplitMix64;

#[derive(Clone, Debug)]
pub(crate) struct Random(SplitMix64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    pub(crate) const fn word(&mut self) -> u64 {
        self.0.word()
    }

    /// Below `bound`, to the millisecond; zero when that is.
    pub(crate) fn below(&mut self, bound: Duration) -> Duration {
        let bound = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.word().checked_rem(bound).unwrap_or(0))
    }
}
