//! How much a relay passes on.
//!
//! Each pair of hosts has a bucket that fills at a steady rate, and all of them together have one that fills twice as fast. A payload
//! goes on where both have enough for it. So one pair does not keep the others from it, and all of them leave room for the relay's own
//! frames.

use std::collections::BTreeMap;

use switch_core::Time;

use crate::{Bucket, HostId};

/// The buckets of a relay.
#[derive(Debug)]
pub struct RelayBudget {
    pair_rate: u64,
    all: Bucket,
    /// By sender and receiver.
    pairs: BTreeMap<(HostId, HostId), Bucket>,
}

impl RelayBudget {
    /// A pair has up to `pair_rate` bytes a millisecond, all of them together twice as many.
    pub const fn new(now: Time, pair_rate: u64) -> Self {
        Self {
            pair_rate,
            all: full(2 * pair_rate, now),
            pairs: BTreeMap::new(),
        }
    }

    /// Whether a payload of so many bytes goes on.
    pub fn take(&mut self, now: Time, pair: (&HostId, &HostId), len: usize) -> bool {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let full = full(self.pair_rate, now);
        let Some(bucket) = bucket_of(&mut self.pairs, (now, full), pair) else {
            return false;
        };
        let may_pass = bucket.has(now, len) && self.all.has(now, len);
        if may_pass {
            bucket.spend(len);
            self.all.spend(len);
        }
        may_pass
    }
}

/// `None` where too many pairs speak at once.
fn bucket_of<'a>(
    pairs: &'a mut BTreeMap<(HostId, HostId), Bucket>,
    (now, full): (Time, Bucket),
    (from, to): (&HostId, &HostId),
) -> Option<&'a mut Bucket> {
    let pair = (from.clone(), to.clone());
    if pairs.len() >= PAIRS_MAX && !pairs.contains_key(&pair) {
        // A bucket that is full says no more than none.
        pairs.retain(|_, bucket| !bucket.is_full_at(now));
        if pairs.len() >= PAIRS_MAX {
            return None;
        }
    }
    Some(pairs.entry(pair).or_insert(full))
}

/// With `rate` bytes a millisecond.
const fn full(rate: u64, now: Time) -> Bucket {
    Bucket::full(now, rate * 1000, rate * BURST_MS)
}

/// What may come at once, as the milliseconds that it takes to have so much again.
const BURST_MS: u64 = 100;
const PAIRS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR_RATE: u64 = 62_500;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn host(name: &str) -> HostId {
        HostId::new(name).unwrap()
    }

    /// Bytes of so many tries of 1000.
    fn taken(budget: &mut RelayBudget, now: Time, pair: (&HostId, &HostId), tries: u64) -> u64 {
        (0..tries)
            .map(|_| u64::from(budget.take(now, pair, 1000)) * 1000)
            .sum()
    }

    #[test]
    fn a_pair_has_its_rate_and_no_more() {
        let (a, b) = (host("a"), host("b"));
        let mut budget = RelayBudget::new(at(0), PAIR_RATE);
        taken(&mut budget, at(0), (&a, &b), 10_000);
        let passed: u64 = (1..=1000)
            .map(|ms| taken(&mut budget, at(ms), (&a, &b), 100))
            .sum();
        let rate = PAIR_RATE * 1000;
        assert!(passed <= rate && passed > rate * 95 / 100, "{passed}");
    }

    #[test]
    fn a_pair_that_floods_leaves_room_for_another() {
        let hosts = ["a", "b", "c", "d"].map(host);
        let mut budget = RelayBudget::new(at(0), PAIR_RATE);
        let flood = taken(&mut budget, at(0), (&hosts[0], &hosts[1]), 100_000);
        let other = taken(&mut budget, at(0), (&hosts[2], &hosts[3]), 100_000);
        assert_eq!((flood, other), (PAIR_RATE * 100, PAIR_RATE * 100));
        // Both directions of a pair count for themselves, and all together have an end.
        assert_eq!(taken(&mut budget, at(0), (&hosts[1], &hosts[0]), 100), 0);
    }

    #[test]
    fn pairs_that_are_silent_are_forgotten_for_others() {
        let all: Vec<_> = (0..=PAIRS_MAX).map(|n| host(&format!("h{n}"))).collect();
        let to = host("to");
        let mut budget = RelayBudget::new(at(0), PAIR_RATE);
        for from in &all[..PAIRS_MAX] {
            assert!(budget.take(at(0), (from, &to), 100));
        }
        assert!(!budget.take(at(0), (&all[PAIRS_MAX], &to), 100));
        assert!(budget.take(at(1000), (&all[PAIRS_MAX], &to), 100));
        assert_eq!(budget.pairs.len(), 1);
    }

    #[test]
    fn what_is_longer_than_everything_does_not_pass() {
        let mut budget = RelayBudget::new(at(0), PAIR_RATE);
        assert!(!budget.take(at(0), (&host("a"), &host("b")), usize::MAX));
    }
}
