//! Which frames are looked at where looking at all would cost too much.
//!
//! # Theory of operation
//!
//! One in N frames is taken, counted as they are on the wire: a superframe is as many as its segments. Between two that are taken lie
//! N on average and not always as many, so that traffic with a rhythm is sampled as any other (RFC 3176 §3.1, RFC 5475 §5.2.2). The
//! numbers come from a generator that is seeded once; a worker has one sampler, for the frames of all its ports.
//!
//! A superframe in which more than one is taken counts as often. Times N is then what a sample stands for, and with N = 1 that is
//! exactly what passed.

use std::num::NonZeroU32;

use crate::splitmix::SplitMix64;

/// Counts down to the next frame that is taken.
#[derive(Clone, Debug)]
pub struct Sampler {
    every: NonZeroU32,
    /// Frames up to the next one that is taken, and with it.
    left: u64,
    numbers: SplitMix64,
}

impl Sampler {
    pub const fn new(seed: u64) -> Self {
        Self {
            every: NonZeroU32::MAX,
            left: 0,
            numbers: SplitMix64::new(seed),
        }
    }

    /// How often a frame is taken that is `frames` on the wire, where one in `every` shall be. Most often not at all.
    #[inline]
    pub fn take(&mut self, every: NonZeroU32, frames: u32) -> u32 {
        if self.every != every {
            self.every = every;
            self.left = self.draw();
        }
        let frames = u64::from(frames);
        if frames < self.left {
            self.left -= frames;
            return 0;
        }
        self.take_from(frames - self.left)
    }

    /// One is taken, and `rest` follow it in the same superframe.
    #[cold]
    fn take_from(&mut self, rest: u64) -> u32 {
        let every = u64::from(self.every.get());
        let mut times = 1 + rest / every;
        let mut rest = rest % every;
        loop {
            let next = self.draw();
            if next > rest {
                self.left = next - rest;
                return u32::try_from(times).unwrap_or(u32::MAX);
            }
            rest -= next;
            times += 1;
        }
    }

    /// Uniform in 1 ..= 2 N - 1.
    fn draw(&mut self) -> u64 {
        let span = u128::from(self.every.get()) * 2 - 1;
        let scaled = (u128::from(self.numbers.word()) * span) >> 64;
        u64::try_from(scaled).unwrap_or(0) + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn every(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    #[test]
    fn traffic_with_a_rhythm_is_sampled_as_any_other() {
        let mut sampler = Sampler::new(7);
        let mut taken = [0_u32; 2];
        for n in 0..1_000_000_usize {
            taken[n % 2] += sampler.take(every(100), 1);
        }
        for share in taken {
            assert!((4_600..5_400).contains(&share), "{taken:?}");
        }
    }

    proptest! {
        #[test]
        fn one_in_one_is_every_frame(seed: u64, sizes in prop::collection::vec(1_u32..2049, 1..50)) {
            let mut sampler = Sampler::new(seed);
            for frames in sizes {
                prop_assert_eq!(sampler.take(every(1), frames), frames);
            }
        }

        #[test]
        fn what_is_taken_stands_for_what_passed(seed: u64, n in 1_u32..500, size in 1_u32..600) {
            let mut sampler = Sampler::new(seed);
            let rounds = 4_000 * n / size + 1;
            let taken: u64 = (0..rounds).map(|_| u64::from(sampler.take(every(n), size))).sum();
            let (stands_for, passed) = (taken * u64::from(n), u64::from(rounds * size));
            // Four thousand are taken: the deviation is below one in a hundred.
            prop_assert!(stands_for.abs_diff(passed) <= passed / 12 + u64::from(2 * n), "{stands_for} for {passed}");
        }

        #[test]
        fn another_rate_counts_at_once(seed: u64, n in 2_u32..1_000_000) {
            let mut sampler = Sampler::new(seed);
            sampler.take(every(n), 1);
            prop_assert_eq!(sampler.take(every(1), 1), 1);
        }
    }
}
