//! How few frames need be sampled.
//!
//! # Theory of operation
//!
//! A network where little happens is looked at frame by frame; where much happens, a thousand samples a second say as much as a
//! million. So one frame in 1, 10, 100 and so on is taken: as many as makes no more than [`SAMPLES_MAX`] a second of what passed lately.
//! More traffic counts at once, less of it one step at a time, since the next moment may have more again.

use std::num::NonZeroU32;
use std::time::Duration;

/// One frame in how many is taken, as it was chosen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(NonZeroU32);

impl Default for Pace {
    /// As few as do no harm, whatever passes.
    fn default() -> Self {
        Self(BEGIN)
    }
}

impl Pace {
    /// One in so many.
    pub const fn every(self) -> NonZeroU32 {
        self.0
    }

    /// The next one, where `frames` passed within `span`, as the samples have it.
    #[must_use]
    pub fn after(self, frames: u64, span: Duration) -> Self {
        let span_ms = span.as_millis().max(1);
        let a_second = u128::from(frames) * 1000 / span_ms;
        let mut wanted: u32 = 1;
        while u128::from(wanted) * SAMPLES_MAX < a_second && wanted < SLOWEST {
            wanted *= 10;
        }
        let lower = self.0.get() / 10;
        Self(NonZeroU32::new(wanted.max(lower)).unwrap_or(BEGIN))
    }
}

const BEGIN: NonZeroU32 = NonZeroU32::new(1000).unwrap();
/// In a second.
const SAMPLES_MAX: u128 = 2000;
const SLOWEST: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_looked_at_whole_and_much_in_samples() {
        let mut pace = Pace::default();
        let mut next = |frames: u64| {
            pace = pace.after(frames, Duration::from_millis(100));
            pace.every().get()
        };
        let quiet = [next(0), next(0), next(0), next(0)];
        assert_eq!(quiet, [100, 10, 1, 1]);
        assert_eq!(next(150), 1);
        let busy = [next(300), next(400_000), next(u64::MAX)];
        assert_eq!(busy, [10, 10_000, 100_000]);
        assert_eq!([next(100_000), next(100_000)], [10_000, 1_000]);
    }
}
