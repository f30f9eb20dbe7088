//! One direction of a faulty link.
//!
//! # Theory of operation
//!
//! A frame draws four numbers, always all four, so the fate of the n-th frame does not depend on the faults of others:
//! loss, duplication, reordering, jitter. What is not lost passes the rate limiter (a frame leaves when those before it
//! have been serialized), then waits its delay. Frames are released by time, and at equal times in order of arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::{FaultCounts, Faults};
use crate::frame_port::Written;
use crate::random::Random;

#[derive(Debug)]
pub(super) struct Line {
    faults: Faults,
    random: Random,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// When the last frame has left the rate limiter.
    busy_until: Duration,
    arrivals: u64,
    counts: FaultCounts,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Overflow,
    Queued,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Duration,
    arrival: u64,
    envelope: Vec<u8>,
}

impl Line {
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        Self {
            faults,
            random: Random::new(seed),
            waiting: BinaryHeap::new(),
            busy_until: Duration::ZERO,
            arrivals: 0,
            counts: FaultCounts::default(),
        }
    }

    pub(super) fn set(&mut self, faults: Faults) {
        self.faults = faults;
    }

    pub(super) fn counts(&self) -> FaultCounts {
        self.counts
    }

    pub(super) fn count_late(&mut self, released: &Written) {
        self.counts.late_drops += released.dropped();
    }

    /// Takes a frame in at `now`.
    pub(super) fn push(&mut self, now: Duration, envelope: &[u8]) -> Fate {
        let [lost, doubled, overtakes, jitter] = std::array::from_fn(|_| self.random.unit());
        if lost < self.faults.loss {
            self.counts.lost += 1;
            return Fate::Lost;
        }
        let doubled = doubled < self.faults.duplicate;
        let copies = if doubled { 2 } else { 1 };
        if self.waiting.len() + copies > self.faults.limit_frames {
            self.counts.overflowed += 1;
            return Fate::Overflow;
        }
        let delay = self.delay(overtakes, jitter);
        for _ in 0..copies {
            let due = self.serialize(now, envelope.len()) + delay;
            self.counts.delayed += u64::from(due > now);
            self.arrivals += 1;
            self.waiting.push(Reverse(Waiting {
                due,
                arrival: self.arrivals,
                envelope: envelope.to_vec(),
            }));
        }
        self.counts.duplicated += u64::from(doubled);
        Fate::Queued
    }

    /// The next frame whose time has come.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.next_release()? > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(waiting)| waiting.envelope)
    }

    /// When [`Self::pop`] will have something.
    pub(super) fn next_release(&self) -> Option<Duration> {
        self.waiting.peek().map(|Reverse(waiting)| waiting.due)
    }

    fn delay(&mut self, overtakes: f64, jitter: f64) -> Duration {
        let Faults {
            delay,
            jitter: spread,
            reorder,
            ..
        } = self.faults;
        if delay > Duration::ZERO && overtakes < reorder {
            self.counts.reordered += 1;
            return Duration::ZERO;
        }
        (delay + spread.mul_f64(2.0 * jitter)).saturating_sub(spread)
    }

    /// When a frame of `len` bytes has been put on the line.
    fn serialize(&mut self, now: Duration, len: usize) -> Duration {
        let Some(rate) = self.faults.rate_bits_s.filter(|rate| *rate > 0) else {
            return now;
        };
        let bits = u64::try_from(len).unwrap_or(u64::MAX).saturating_mul(8);
        let nanos = u128::from(bits) * 1_000_000_000 / u128::from(rate);
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.busy_until = self.busy_until.max(now).saturating_add(time);
        self.busy_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn fates(seed: u64, faults: Faults) -> Vec<Fate> {
        let mut line = Line::new(faults, seed);
        (0..200).map(|_| line.push(MS, &[0; 64])).collect()
    }

    #[test]
    fn equal_seeds_give_equal_fates() {
        let faults = Faults {
            loss: 0.3,
            duplicate: 0.1,
            ..Faults::default()
        };
        assert_eq!(fates(5, faults), fates(5, faults));
        assert_ne!(fates(5, faults), fates(6, faults));
    }

    #[test]
    fn other_faults_leave_the_lost_frames_the_same() {
        let loss = Faults {
            loss: 0.3,
            ..Faults::default()
        };
        let more = Faults {
            duplicate: 0.5,
            delay: MS,
            reorder: 0.5,
            jitter: MS,
            ..loss
        };
        assert_eq!(fates(5, loss), fates(5, more));
    }

    #[test]
    fn frames_are_released_in_order_after_the_delay() {
        let mut line = Line::new(
            Faults {
                delay: MS,
                ..Faults::default()
            },
            1,
        );
        line.push(MS, &[1]);
        line.push(MS, &[2]);
        assert_eq!(line.pop(MS), None);
        assert_eq!(line.next_release(), Some(2 * MS));
        assert_eq!(
            [line.pop(2 * MS), line.pop(2 * MS), line.pop(2 * MS)],
            [Some(vec![1]), Some(vec![2]), None]
        );
    }

    #[test]
    fn a_reordered_frame_overtakes_those_that_wait() {
        let mut line = Line::new(
            Faults {
                delay: MS,
                ..Faults::default()
            },
            1,
        );
        line.push(MS, &[1]);
        line.set(Faults {
            delay: MS,
            reorder: 1.0,
            ..Faults::default()
        });
        line.push(MS, &[2]);
        assert_eq!(
            [line.pop(2 * MS), line.pop(2 * MS)],
            [Some(vec![2]), Some(vec![1])]
        );
        assert_eq!(line.counts().reordered, 1);
    }

    #[test]
    fn the_rate_spaces_frames_by_their_length() {
        let mut line = Line::new(
            Faults {
                rate_bits_s: Some(8_000_000),
                ..Faults::default()
            },
            1,
        );
        for _ in 0..3 {
            line.push(Duration::ZERO, &[0; 1000]);
        }
        let releases: Vec<_> = std::iter::from_fn(|| {
            let due = line.next_release()?;
            line.pop(due).map(|_| due)
        })
        .collect();
        assert_eq!(releases, [MS, 2 * MS, 3 * MS]);
    }

    #[test]
    fn frames_beyond_the_limit_overflow() {
        let mut line = Line::new(
            Faults {
                delay: MS,
                limit_frames: 1,
                ..Faults::default()
            },
            1,
        );
        assert_eq!(line.push(MS, &[1]), Fate::Queued);
        assert_eq!(line.push(MS, &[2]), Fate::Overflow);
        assert_eq!(line.counts().overflowed, 1);
    }

    #[test]
    fn a_duplicated_frame_comes_twice() {
        let mut line = Line::new(
            Faults {
                duplicate: 1.0,
                ..Faults::default()
            },
            1,
        );
        line.push(MS, &[1]);
        assert_eq!(
            [line.pop(MS), line.pop(MS), line.pop(MS)],
            [Some(vec![1]), Some(vec![1]), None]
        );
    }
}
