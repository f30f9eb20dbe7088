//! The highest rate that a switch delivers with a tolerable loss.
//!
//! # Theory of operation
//!
//! A trial offers a rate and sees what arrives. The first offers all that the sender can; if that is delivered, it is the
//! answer. Otherwise what was delivered under overload is the first guess, and bisection follows between the highest rate
//! that passed and the lowest that failed (RFC 2544 §26.1, with the partial drop rate of MLRsearch). On a shared machine a
//! trial may fail for somebody else's reasons, so one that missed narrowly is given a second chance. The answer is what
//! was delivered at the highest rate that passed.

use crate::trouble::Trouble;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// Largest tolerable share of frames lost.
    pub(crate) loss_max: f64,
    /// Bounds closer than this, in relation to each other, are close enough.
    pub(crate) precision: f64,
    pub(crate) trials_max: usize,
}

/// What one trial saw, in frames a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trial {
    pub(crate) offered: f64,
    pub(crate) delivered: f64,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    /// Frames a second.
    pub(crate) delivered: f64,
    /// All that the sender could offer was delivered: the switch may be capable of more.
    pub(crate) by_sender: bool,
}

impl Trial {
    pub(crate) fn loss(&self) -> f64 {
        if self.offered <= 0.0 {
            return 1.0;
        }
        (1.0 - self.delivered / self.offered).max(0.0)
    }
}

impl Search {
    /// `trial` offers the given rate; `None` is as fast as it can. Zero when nothing passed.
    pub(crate) fn run(
        &self,
        mut trial: impl FnMut(Option<f64>) -> Result<Trial, Trouble>,
    ) -> Result<Found, Trouble> {
        let flood = trial(None)?;
        if flood.loss() <= self.loss_max {
            return Ok(Found {
                delivered: flood.delivered,
                by_sender: true,
            });
        }
        let (mut passed, mut failed) = (0.0, flood.offered);
        let mut best = 0.0_f64;
        let mut guess = flood.delivered;
        let mut second_chance = true;
        for _ in 1..self.trials_max {
            let seen = trial(Some(guess))?;
            if seen.loss() <= self.loss_max {
                best = best.max(seen.delivered);
                passed = guess;
                second_chance = true;
            } else if second_chance && seen.loss() <= NARROW * self.loss_max {
                second_chance = false;
                continue;
            } else {
                failed = guess;
                second_chance = true;
            }
            if failed - passed <= self.precision * failed {
                break;
            }
            guess = f64::midpoint(passed, failed);
        }
        Ok(Found {
            delivered: best,
            by_sender: false,
        })
    }
}

/// A trial that lost up to this many times the tolerable is worth another look.
const NARROW: f64 = 4.0;

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: Search = Search {
        loss_max: 0.005,
        precision: 0.02,
        trials_max: 20,
    };

    /// Delivers up to its capacity, and less and less of what is more.
    fn device(capacity: f64, sender: f64) -> impl FnMut(Option<f64>) -> Result<Trial, Trouble> {
        move |rate| {
            let offered = rate.unwrap_or(sender).min(sender);
            let excess = (offered - capacity).max(0.0);
            let delivered = offered.min(capacity) - 0.2 * excess;
            Ok(Trial { offered, delivered })
        }
    }

    #[test]
    fn the_capacity_is_found_from_above() {
        let found = SEARCH.run(device(150e3, 400e3)).unwrap().delivered;
        assert!((145e3..=151e3).contains(&found), "{found}");
    }

    #[test]
    fn what_the_sender_can_do_is_the_answer_where_nothing_is_lost() {
        let found = SEARCH.run(device(1e6, 400e3)).unwrap();
        assert!(found.by_sender);
        assert_eq!(found.delivered, 400e3);
    }

    #[test]
    fn a_switch_that_always_loses_gets_zero() {
        let lossy = |rate: Option<f64>| {
            let offered = rate.unwrap_or(400e3);
            Ok(Trial {
                offered,
                delivered: 0.9 * offered,
            })
        };
        assert_eq!(SEARCH.run(lossy).unwrap().delivered, 0.0);
    }

    #[test]
    fn one_narrow_miss_is_forgiven() {
        let mut device = device(150e3, 400e3);
        let mut missed = false;
        let found = SEARCH.run(|rate| {
            let mut trial = device(rate)?;
            if rate.is_some() && trial.loss() < 0.001 && !missed {
                missed = true;
                trial.delivered = 0.99 * trial.offered;
            }
            Ok(trial)
        });
        assert!(found.unwrap().delivered > 140e3);
    }
}
