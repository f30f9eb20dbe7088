//! The blocks of a shared subnet that are a host's, and in which order it gives their addresses out.
//!
//! # Theory of operation
//!
//! Addresses are given out one after the other, so that one that was given back is nobody's for as long as there are others:
//! caches of neighbours forget it meanwhile. One that was used a moment ago *rests*; where nothing else is free, the one that
//! has rested longest is given out all the same.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;

use super::block::{first, last};

#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    /// In order; none overlaps another.
    blocks: Vec<IpNet>,
    /// Where the search begins.
    cursor: u128,
    /// Until when.
    resting: BTreeMap<u128, Instant>,
}

impl Holding {
    pub(super) fn own(&mut self, mut blocks: Vec<IpNet>) {
        blocks.sort();
        self.blocks = blocks;
    }

    pub(super) fn blocks(&self) -> &[IpNet] {
        &self.blocks
    }

    pub(super) fn owns(&self, address: IpAddr) -> bool {
        self.blocks.iter().any(|block| block.contains(&address))
    }

    /// The next number between `lowest` and `highest` that `is_free`.
    pub(super) fn next(
        &mut self,
        (lowest, highest): (u128, u128),
        is_free: impl Fn(u128) -> bool,
    ) -> Option<u128> {
        let stretches = || {
            let stretches = self.blocks.iter();
            stretches.map(|block| (first(*block).max(lowest), last(*block).min(highest)))
        };
        let behind = stretches().map(|(first, last)| (first.max(self.cursor), last));
        let found = behind
            .chain(stretches())
            .flat_map(|(first, last)| first..=last)
            .find(|number| is_free(*number) && !self.resting.contains_key(number));
        let found = found.or_else(|| {
            let in_range = |number: u128| stretches().any(|(a, b)| (a..=b).contains(&number));
            let rested = self.resting.iter();
            let rested = rested.filter(|(number, _)| is_free(**number) && in_range(**number));
            let (number, _) = rested.min_by_key(|(_, until)| **until)?;
            Some(*number)
        })?;
        self.cursor = found.saturating_add(1);
        self.wake_one(found);
        Some(found)
    }

    pub(super) fn rest(&mut self, number: u128, until: Instant) {
        self.resting.insert(number, until);
    }

    pub(super) fn wake(&mut self, now: Instant) {
        self.resting.retain(|_, until| *until > now);
    }

    pub(super) fn wake_one(&mut self, number: u128) {
        self.resting.remove(&number);
    }

    pub(super) fn resting(&self, first: u128, last: u128) -> impl Iterator<Item = u128> {
        let range = (first <= last).then(|| self.resting.range(first..=last));
        range.into_iter().flatten().map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn holding(blocks: &[&str]) -> Holding {
        let mut holding = Holding::default();
        holding.own(blocks.iter().map(|block| block.parse().unwrap()).collect());
        holding
    }

    #[test]
    fn addresses_are_given_out_one_after_the_other_and_then_again() {
        let mut holding = holding(&["0.0.0.8/31", "0.0.0.2/31"]);
        let mut next = || holding.next((0, 8), |_| true);
        let given: Vec<_> = std::iter::from_fn(&mut next).take(5).collect();
        assert_eq!(given, [2, 3, 8, 2, 3]);
        assert_eq!(holding.next((0, 8), |number| number == 9), None);
    }

    #[test]
    fn who_has_rested_longest_is_woken_where_nobody_else_is_free() {
        #[expect(
            clippy::disallowed_methods,
            reason = "there is no other moment to begin with"
        )]
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut holding = holding(&["0.0.0.4/30"]);
        holding.rest(4, now + second * 3);
        holding.rest(5, now + second * 2);
        holding.rest(6, now + second);
        assert_eq!(holding.next((0, 9), |_| true), Some(7));
        assert_eq!(holding.next((0, 9), |number| number != 7), Some(6));
        assert_eq!(holding.next((0, 9), |number| number < 6), Some(5));
        assert_eq!(holding.resting(0, 9).collect::<Vec<_>>(), [4]);
        holding.wake(now + second * 3);
        assert_eq!(holding.resting(0, 9).count(), 0);
    }
}
