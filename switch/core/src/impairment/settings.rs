//! What goes wrong in one direction.

use std::time::Duration;

use super::chance::Chance;
use super::distribution::Distribution;
use super::loss::Loss;
use super::slot::Slot;
use crate::bucket::on_wire;

/// The impairment of one direction of a link. The default is: none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    pub delay: Duration,
    /// What the delay varies by; see [`Distribution`].
    pub jitter: Duration,
    /// How much a frame's delay depends on that of the frame before, 0.0 to 1.0.
    pub jitter_correlation: f64,
    pub distribution: Distribution,
    pub loss: Loss,
    pub duplicate: Chance,
    /// One bit of a frame is turned over.
    pub corrupt: Chance,
    /// Frames that skip the delay, and so overtake those that wait.
    pub reorder: Chance,
    /// With `reorder`: only every so manieth frame may. Zero is one.
    pub gap: u32,
    /// Bits a second, counted from the Ethernet header on; `None`: no limit.
    pub rate_bits_s: Option<u64>,
    /// Bytes that pass at once where the rate was not used up before.
    pub burst_bytes: u64,
    /// Frames that may wait; where absent, as many as [`Self::limit_frames`] says.
    pub limit: Option<u64>,
    pub slot: Option<Slot>,
}

impl Impairment {
    pub fn is_none(&self) -> bool {
        *self
            == Self {
                // Without what they belong to, these change nothing.
                limit: self.limit,
                burst_bytes: self.burst_bytes,
                distribution: self.distribution,
                jitter_correlation: self.jitter_correlation,
                gap: self.gap,
                ..Self::default()
            }
    }

    /// Frames that may wait: tc's thousand, and as many as the delay itself holds at the rate, or at 10 Gbit/s. tc has those wait
    /// in the thousand too, and a link with a delay then carries less than its rate.
    pub fn limit_frames(&self) -> u64 {
        self.limit.unwrap_or_else(|| {
            let longest = self.delay.saturating_add(self.jitter.saturating_mul(4));
            let rate = self.rate_bits_s.unwrap_or(RATE_ASSUMED_BITS_S);
            let frame = on_wire(FRAME_LEN, rate).as_nanos().max(1);
            let held = u64::try_from(longest.as_nanos() / frame).unwrap_or(u64::MAX);
            LIMIT_FRAMES.saturating_add(held)
        })
    }

    /// Whether something is decided about each frame by itself, so that a superframe has to be cut.
    pub(super) fn concerns_single_frames(&self) -> bool {
        let chances = [self.duplicate, self.corrupt, self.reorder];
        !self.loss.is_none()
            || !self.jitter.is_zero()
            || self.slot.is_some()
            || chances.iter().any(|chance| chance.share > 0.0)
    }

    /// Whether frames leave at the same times with `other`.
    pub(super) fn has_times_of(&self, other: &Self) -> bool {
        let times = |own: &Self| {
            (
                (own.delay, own.jitter, own.distribution),
                (own.rate_bits_s, own.burst_bytes, own.slot),
            )
        };
        times(self) == times(other)
    }
}

/// As of tc.
const LIMIT_FRAMES: u64 = 1000;
const FRAME_LEN: u64 = 1514;
const RATE_ASSUMED_BITS_S: u64 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_what_the_delay_holds() {
        let of = |delay_ms, rate_bits_s, limit| {
            let impairment = Impairment {
                delay: Duration::from_millis(delay_ms),
                rate_bits_s,
                limit,
                ..Impairment::default()
            };
            impairment.limit_frames()
        };
        assert_eq!(of(0, None, None), 1000);
        assert_eq!(of(20, Some(1_000_000_000), None), 1000 + 1651);
        assert_eq!(of(100, None, None), 1000 + 82_576);
        assert_eq!(of(20, Some(1_000_000_000), Some(7)), 7);
    }

    #[test]
    fn words_that_change_nothing_are_none() {
        let idle = Impairment {
            limit: Some(3),
            gap: 4,
            burst_bytes: 5,
            ..Impairment::default()
        };
        assert!(idle.is_none());
        let loss = Impairment {
            loss: Loss::Random(Chance::of(0.1)),
            ..idle
        };
        assert!(!loss.is_none());
    }
}
