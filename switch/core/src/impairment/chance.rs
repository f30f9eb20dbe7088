//! Random numbers that belong to a frame.

use crate::splitmix::{GOLDEN, scramble};

/// How often something happens, and how much that depends on the frame before. Both are shares, 0.0 to 1.0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Chance {
    pub share: f64,
    pub correlation: f64,
}

impl Chance {
    /// Without correlation.
    pub const fn of(share: f64) -> Self {
        Self {
            share,
            correlation: 0.0,
        }
    }
}

/// What a number decides. Two numbers for one decision, where it needs them, follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Loss = 0,
    LossState = 2,
    Duplicate = 4,
    Corrupt = 6,
    CorruptBit = 8,
    Reorder = 10,
    Jitter = 12,
    Slot = 14,
}

/// The numbers of one direction: any of them can be had at any time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform in 0.0 .. 1.0, for frame `n`.
    pub(super) fn unit(self, n: u64, what: Use) -> f64 {
        unit(self.at(n, what as u64))
    }

    /// A second one, independent of [`Self::unit`].
    pub(super) fn second(self, n: u64, what: Use) -> f64 {
        unit(self.at(n, what as u64 + 1))
    }

    /// Uniform in 0 .. `bound`; zero where that is zero.
    pub(super) fn below(self, n: u64, what: Use, bound: usize) -> usize {
        let bound = u128::try_from(bound).unwrap_or(0);
        let scaled = (u128::from(self.at(n, what as u64)) * bound) >> 64;
        usize::try_from(scaled).unwrap_or(0)
    }

    /// The k-th number of [`crate::SplitMix64`]. The seed is scrambled first: seeds that follow one another would have the same numbers,
    /// shifted.
    fn at(self, n: u64, what: u64) -> u64 {
        let k = n.wrapping_mul(USES).wrapping_add(what).wrapping_add(1);
        scramble(scramble(self.0).wrapping_add(k.wrapping_mul(GOLDEN)))
    }
}

/// One decision that recurs with every frame, and remembers its last number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Correlated {
    last: Option<f64>,
}

impl Correlated {
    /// The number of frame `n`: that of the frame before with the chance of `correlation`.
    pub(super) fn draw(&mut self, numbers: Numbers, n: u64, what: Use, correlation: f64) -> f64 {
        let fresh = numbers.unit(n, what);
        let kept = self
            .last
            .filter(|_| correlation > 0.0 && numbers.second(n, what) < correlation);
        *self.last.insert(kept.unwrap_or(fresh))
    }

    /// Whether it happens to frame `n`.
    pub(super) fn happens(&mut self, numbers: Numbers, n: u64, what: Use, chance: Chance) -> bool {
        chance.share > 0.0 && self.draw(numbers, n, what, chance.correlation) < chance.share
    }
}

fn unit(bits: u64) -> f64 {
    let high = u32::try_from(bits >> 32).unwrap_or(0);
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}

/// Numbers that a frame has.
const USES: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_over_the_unit_and_differ_by_seed_frame_and_use() {
        let numbers = Numbers::new(7);
        let units: Vec<_> = (0..10_000).map(|n| numbers.unit(n, Use::Loss)).collect();
        let mean = units.iter().sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
        assert!(units.iter().all(|unit| (0.0..1.0).contains(unit)));
        assert_ne!(units[1], units[2]);
        assert_ne!(units[1], Numbers::new(8).unit(1, Use::Loss));
        assert_ne!(units[2], Numbers::new(8).unit(1, Use::Loss));
        assert_ne!(units[1], numbers.unit(1, Use::Duplicate));
        assert_eq!(numbers.below(1, Use::CorruptBit, 0), 0);
        assert!((0..1000).all(|n| numbers.below(n, Use::CorruptBit, 9) < 9));
    }

    #[test]
    fn correlation_is_as_asked_for_and_leaves_the_share() {
        let (numbers, mut state) = (Numbers::new(3), Correlated::default());
        let chance = Chance {
            share: 0.1,
            correlation: 0.6,
        };
        let hits: Vec<f64> = (0..200_000)
            .map(|n| f64::from(u8::from(state.happens(numbers, n, Use::Loss, chance))))
            .collect();
        let mean = hits.iter().sum::<f64>() / 200_000.0;
        assert!((0.097..0.103).contains(&mean), "{mean}");
        let product = |pair: &[f64]| (pair[0] - mean) * (pair[1] - mean);
        let shared = hits.windows(2).map(product).sum::<f64>() / 199_999.0;
        let correlation = shared / (mean * (1.0 - mean));
        assert!((0.57..0.63).contains(&correlation), "{correlation}");
    }
}
