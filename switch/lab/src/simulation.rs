//! Worlds that follow from a seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Splitmix64 (Steele et al. 2014): the same world from the same seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// Below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.word() >> 33).unwrap() % bound
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// The seeds to go through: `SIM_SEEDS` of them where that is set, and `SIM_SEED` alone where that is.
pub fn seeds(otherwise: u64) -> std::ops::RangeInclusive<u64> {
    let given = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    match given("SIM_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=given("SIM_SEEDS").unwrap_or(otherwise),
    }
}

/// Names the seed of a world that failed.
pub fn with_seed(seed: u64, test: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(test)) {
        eprintln!("seed {seed}");
        resume_unwind(panic);
    }
}
