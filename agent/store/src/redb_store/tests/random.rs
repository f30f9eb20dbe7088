//! Numbers that look random, the same for the same seed; and how many rounds a test makes.

/// Xorshift (Marsaglia 2003).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn seeded(seed: u64) -> Self {
        // Zero would stay zero.
        Self((seed ^ 0x9e37_79b9_7f4a_7c15).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// `ROUNDS` where it is set.
pub(super) fn rounds(otherwise: u64) -> u64 {
    let rounds = std::env::var("ROUNDS").ok();
    rounds.map_or(otherwise, |rounds| rounds.parse().unwrap())
}

/// `SEED` where it is set, to see one round again.
pub(super) fn seeds(otherwise: u64) -> std::ops::Range<u64> {
    match std::env::var("SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..rounds(otherwise),
    }
}
