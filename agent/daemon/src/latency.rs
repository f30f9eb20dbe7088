//! How long something takes, as a distribution that only grows.
//!
//! # Theory of operation
//!
//! Whoever does the work notes how long it took, and waits for nobody. Who reads may see a count before its part of the sum, for the
//! instant between both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Of one kind of work.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    counts: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_us: AtomicU64,
}

/// What was noted, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Distribution {
    pub(crate) sum: f64,
    /// By the upper bound of each bucket, which is infinite for the last, what is in it and in no lower one.
    pub(crate) buckets: Vec<(f64, u64)>,
}

impl Latency {
    pub(crate) fn note(&self, took: Duration) {
        let place = BOUNDS_MS.partition_point(|bound| Duration::from_millis(*bound) < took);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// How long all of it took.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_micros(self.sum_us.load(Ordering::Relaxed))
    }

    /// In seconds.
    pub(crate) fn seen(&self) -> Distribution {
        let seconds = |bound: &u64| Duration::from_millis(*bound).as_secs_f64();
        let bounds = BOUNDS_MS.iter().map(seconds).chain([f64::INFINITY]);
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        Distribution {
            sum: self.total().as_secs_f64(),
            buckets: bounds.zip(counts).collect(),
        }
    }
}

impl Distribution {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

/// From an answer of the next server to what nobody waits for any more.
const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_bound_is_below_it() {
        let latency = Latency::default();
        for micros in [0, 1000, 1001, 5_000_000, 5_000_001] {
            latency.note(Duration::from_micros(micros));
        }
        let seen = latency.seen();
        assert_eq!(seen.buckets[0], (0.001, 2));
        assert_eq!(seen.buckets[1], (0.002, 1));
        assert_eq!(seen.buckets[11], (5.0, 1));
        assert_eq!(seen.buckets[12], (f64::INFINITY, 1));
        assert_eq!(seen.count(), 5);
        assert!((seen.sum - 10.002_002).abs() < 1e-9, "{}", seen.sum);
    }
}
