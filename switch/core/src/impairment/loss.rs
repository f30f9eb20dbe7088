//! Which frames are lost.
//!
//! ```text
//!  state:  1 received in a gap      3 lost in a burst          gemodel:   p
//!          2 received in a burst    4 lost in a gap              good --------> bad
//!                                                                (1-k) <------- (1-h)
//!          1 -p13-> 3 -p31-> 1    3 -p32-> 2 -p23-> 3                    r
//!          1 -p14-> 4 -----> 1
//! ```

use super::chance::{Chance, Correlated, Numbers, Use};

/// A model of loss. Every number is a share, 0.0 to 1.0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Each frame with the same chance.
    Random(Chance),
    /// Four states: S. Salsano, F. Ludovici, A. Ordine, "Definition of a general and intuitive loss model for packet networks".
    State {
        p13: f64,
        p31: f64,
        p32: f64,
        p23: f64,
        p14: f64,
    },
    /// Gilbert-Elliott: `p` leads from the good state to the bad one and `r` back; the last two are lost in the bad state
    /// (tc's `1-h`) and in the good one (`1-k`).
    Gilbert { p: f64, r: f64, bad: f64, good: f64 },
}

impl Default for Loss {
    fn default() -> Self {
        Self::Random(Chance::default())
    }
}

impl Loss {
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Random(chance) if chance.share <= 0.0)
    }
}

/// Where the models are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LossState {
    random: Correlated,
    markov: Markov,
    is_bad: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Markov {
    #[default]
    Gap,
    Burst,
    LostInBurst,
    LostInGap,
}

impl LossState {
    /// Whether frame `n` is lost.
    pub(super) fn loses(&mut self, loss: &Loss, numbers: Numbers, n: u64) -> bool {
        match *loss {
            Loss::Random(chance) => self.random.happens(numbers, n, Use::Loss, chance),
            Loss::State {
                p13,
                p31,
                p32,
                p23,
                p14,
            } => {
                let draw = numbers.unit(n, Use::LossState);
                self.markov = match self.markov {
                    Markov::Gap if draw < p14 => Markov::LostInGap,
                    Markov::Gap if draw < p14 + p13 => Markov::LostInBurst,
                    Markov::Burst if draw < p23 => Markov::LostInBurst,
                    Markov::LostInBurst if draw < p32 => Markov::Burst,
                    Markov::LostInBurst if draw < p32 + p31 => Markov::Gap,
                    Markov::LostInGap => Markov::Gap,
                    same => same,
                };
                matches!(self.markov, Markov::LostInBurst | Markov::LostInGap)
            }
            Loss::Gilbert { p, r, bad, good } => {
                let (share, leave) = if self.is_bad { (bad, r) } else { (good, p) };
                let is_lost = numbers.unit(n, Use::Loss) < share;
                self.is_bad ^= numbers.unit(n, Use::LossState) < leave;
                is_lost
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: u64 = 200_000;

    fn fates(loss: Loss, seed: u64) -> Vec<bool> {
        let (numbers, mut state) = (Numbers::new(seed), LossState::default());
        (0..FRAMES)
            .map(|n| state.loses(&loss, numbers, n))
            .collect()
    }

    fn share(fates: &[bool]) -> f64 {
        let lost = fates.iter().filter(|lost| **lost).count();
        f64::from(u32::try_from(lost).unwrap()) / f64::from(u32::try_from(fates.len()).unwrap())
    }

    /// Lengths of runs of `lost`.
    fn runs(fates: &[bool], lost: bool) -> Vec<f64> {
        let runs = fates.chunk_by(|one, next| one == next);
        let runs = runs.filter(|run| run[0] == lost);
        runs.map(|run| f64::from(u32::try_from(run.len()).unwrap()))
            .collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / f64::from(u32::try_from(values.len()).unwrap())
    }

    /// Four standard deviations of a binomial share.
    fn is_binomial(found: f64, share: f64) {
        let trials = f64::from(u32::try_from(FRAMES).unwrap());
        let deviation = (share * (1.0 - share) / trials).sqrt();
        assert!(
            (found - share).abs() < 4.0 * deviation,
            "{found} of {share}"
        );
    }

    #[test]
    fn random_loss_keeps_the_binomial_bound() {
        for wanted in [0.001, 0.1, 0.5, 0.99] {
            for seed in 0..4 {
                let fates = fates(Loss::Random(Chance::of(wanted)), seed);
                is_binomial(share(&fates), wanted);
            }
        }
        assert!(share(&fates(Loss::Random(Chance::of(1.0)), 1)) >= 1.0);
        assert!(share(&fates(Loss::default(), 1)) <= 0.0);
    }

    #[test]
    fn gilbert_loses_in_runs_of_the_length_that_r_says() {
        let (p, r) = (0.01, 0.2);
        let simple = Loss::Gilbert {
            p,
            r,
            bad: 1.0,
            good: 0.0,
        };
        let fates = fates(simple, 5);
        let (lost, kept) = (runs(&fates, true), runs(&fates, false));
        // Geometric, of mean 1/r and 1/p: three standard errors.
        let error = |stay: f64, runs: &[f64]| {
            3.0 * (1.0 - stay).sqrt() / stay / f64::from(u32::try_from(runs.len()).unwrap()).sqrt()
        };
        assert!(
            (mean(&lost) - 1.0 / r).abs() < error(r, &lost),
            "{}",
            mean(&lost)
        );
        assert!(
            (mean(&kept) - 1.0 / p).abs() < error(p, &kept),
            "{}",
            mean(&kept)
        );
        let longer = |length: f64| {
            let longer = lost.iter().filter(|run| **run > length).count();
            f64::from(u32::try_from(longer).unwrap())
                / f64::from(u32::try_from(lost.len()).unwrap())
        };
        for (length, expected) in [(1.0, 0.8), (3.0, 0.512), (10.0, 0.107)] {
            let found = longer(length);
            assert!((found - expected).abs() < 0.04, "{length}: {found}");
        }
    }

    #[test]
    fn elliott_loses_some_in_either_state() {
        let model = Loss::Gilbert {
            p: 0.05,
            r: 0.15,
            bad: 0.4,
            good: 0.02,
        };
        let expected = 0.25 * 0.4 + 0.75 * 0.02;
        let found = share(&fates(model, 9));
        assert!((found - expected).abs() < 0.004, "{found} of {expected}");
    }

    #[test]
    fn four_states_lose_alone_in_gaps_and_together_in_bursts() {
        let alone = Loss::State {
            p13: 0.0,
            p31: 1.0,
            p32: 0.0,
            p23: 1.0,
            p14: 0.1,
        };
        let fates_alone = fates(alone, 2);
        assert!(runs(&fates_alone, true).iter().all(|run| *run < 1.5));
        // One in eleven: ten received for each that is lost.
        let found = share(&fates_alone);
        assert!((found - 1.0 / 11.0).abs() < 0.003, "{found}");
        let bursts = Loss::State {
            p13: 0.01,
            p31: 0.1,
            p32: 0.1,
            p23: 0.5,
            p14: 0.0,
        };
        // Of the chain's balance: state 3 has p13/p31 of state 1, state 2 has p32/p23 of state 3.
        let expected = 0.1 / (1.0 + 0.1 + 0.02);
        let fates_burst = fates(bursts, 2);
        let found = share(&fates_burst);
        assert!((found - expected).abs() < 0.008, "{found} of {expected}");
        let length = mean(&runs(&fates_burst, true));
        assert!((length - 5.0).abs() < 0.3, "{length}");
    }
}
