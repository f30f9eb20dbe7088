//! Probes that are on the way, and how long answers take.

use std::collections::VecDeque;
use std::time::Duration;

use switch_core::Time;

use crate::random::Random;

/// The last probes, answered or not.
#[derive(Debug)]
pub(super) struct Sent {
    probes: VecDeque<Probe>,
    random: Random,
    round_trip: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    nonce: u64,
    size: u32,
    at: Time,
}

impl Sent {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            probes: VecDeque::new(),
            random: Random::new(seed),
            round_trip: None,
        }
    }

    /// The nonce of a new one.
    pub(super) fn add(&mut self, now: Time, size: u32) -> u64 {
        if self.probes.len() == REMEMBERED {
            self.probes.pop_front();
        }
        let nonce = self.random.word();
        let at = now;
        self.probes.push_back(Probe { nonce, size, at });
        nonce
    }

    /// The size of the probe that is answered, once.
    pub(super) fn answered(&mut self, now: Time, nonce: u64) -> Option<u32> {
        let place = self.probes.iter().position(|probe| probe.nonce == nonce)?;
        let probe = self.probes.remove(place)?;
        let sample = now.since(probe.at);
        // The first one had to wait for neighbours to be found.
        let smoothed = |old: Duration| ((old * 7 + sample) / 8).min(sample);
        self.round_trip = Some(self.round_trip.map_or(sample, smoothed));
        Some(probe.size)
    }

    /// How long an answer is waited for, after so many rounds without any (RFC 6298 §5.5).
    pub(super) fn patience(&self, silent: u32) -> Duration {
        let Some(round_trip) = self.round_trip else {
            return PATIENCE_MAX;
        };
        let patience = (round_trip * 3).max(PATIENCE_MIN);
        patience
            .saturating_mul(1 << silent.min(4))
            .min(PATIENCE_MAX)
    }

    /// How much later than a short probe's the answer to a long one may be.
    pub(super) fn grace(&self) -> Duration {
        self.round_trip.unwrap_or(GRACE_MIN).max(GRACE_MIN)
    }
}

/// Answers may be late by so many probes.
const REMEMBERED: usize = 8;
/// RFC 8899 §5.1.1, where nothing is known of the round trip.
const PATIENCE_MAX: Duration = Duration::from_secs(1);
/// A host that is busy answers within it.
const PATIENCE_MIN: Duration = Duration::from_millis(100);
const GRACE_MIN: Duration = Duration::from_millis(20);
