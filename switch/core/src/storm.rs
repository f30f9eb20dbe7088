//! Storm control: a token bucket for broadcast, unknown unicast and multicast.
//!
//! # Theory of operation
//!
//! What a flood costs others is its copies, one to each port, and not the frame. So the bucket counts in *copies*, of which
//! a frame is worth [`COPIES_PER_FRAME`]: a frame that reaches no more ports than that costs one frame, so that in a small network
//! the limit is what it says, frames a second; one that reaches more costs as many copies. A superframe costs its segments.
//!
//! A multicast frame for a group with listeners ([`crate::groups`]) is asked for: each of them pays for as many
//! copies as a frame is worth, its own and some that go to others besides, and the sender for what is left.
//!
//! Each kind of flood may have a budget of its own besides, in frames and whatever they reach; it is asked first.
//!
//! The generic cell rate algorithm (ITU-T I.371, Annex A): one number, the time at which the bucket will be full again, stands
//! for level and clock, so a worker admits a frame with one atomic update and no lock. A frame passes a full bucket even
//! if it costs more than fits, and its port then waits the longer.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{BumLimit, ByFlood, DropReason, FloodKind, Time};

/// The bucket of one port.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// Nanoseconds a copy costs; zero: nothing passes.
    copy_ns: u64,
    burst_ns: u64,
    /// When the bucket will be full, in nanoseconds.
    full_at: AtomicU64,
}

impl TokenBucket {
    pub(crate) fn new(limit: BumLimit) -> Self {
        let per_frame = u64::from(COPIES_PER_FRAME);
        let copy_ns = match u64::from(limit.frames_s) {
            0 => 0,
            frames_s => (SECOND_NS / (frames_s * per_frame)).max(1),
        };
        let burst = u64::from(limit.burst_frames.max(1)) * per_frame;
        Self {
            copy_ns,
            burst_ns: copy_ns.saturating_mul(burst),
            full_at: AtomicU64::new(0),
        }
    }

    /// Whether `frames` that cost so many copies each may pass; takes their tokens if so.
    pub(crate) fn admit(&self, now: Time, frames: u32, copies: u32) -> bool {
        if self.copy_ns == 0 {
            return false;
        }
        let now_ns = now.as_millis().saturating_mul(MILLISECOND_NS);
        let copies = u64::from(frames) * u64::from(copies);
        let cost = self.copy_ns.saturating_mul(copies);
        self.full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                let is_full = full_at <= now_ns;
                let full_at = full_at.max(now_ns).saturating_add(cost);
                (is_full || full_at - now_ns <= self.burst_ns).then_some(full_at)
            })
            .is_ok()
    }
}

impl Clone for TokenBucket {
    fn clone(&self) -> Self {
        Self {
            full_at: AtomicU64::new(self.full_at.load(Ordering::Relaxed)),
            ..*self
        }
    }
}

/// The budgets of one port, by kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct StormBudgets(ByFlood<Option<(BumLimit, TokenBucket)>>);

/// What became of a frame at the budget of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) kind: FloodKind,
    pub(crate) limit: BumLimit,
    pub(crate) passed: bool,
}

impl StormBudgets {
    pub(crate) fn new(limits: &ByFlood<Option<BumLimit>>) -> Self {
        Self(limits.each(|limit| limit.map(|limit| (limit, TokenBucket::new(limit)))))
    }

    /// Whether the budget of the kind has room for so many frames, where it has one.
    pub(crate) fn charge(&self, now: Time, kind: FloodKind, frames: u32) -> Option<Charge> {
        let (limit, bucket) = self.0.of(kind).as_ref()?;
        Some(Charge {
            kind,
            limit: *limit,
            passed: bucket.admit(now, frames, COPIES_PER_FRAME),
        })
    }
}

impl Charge {
    pub(crate) const fn outcome(&self) -> Result<(), DropReason> {
        match self.passed {
            true => Ok(()),
            false => Err(self.kind.over_rate()),
        }
    }
}

/// Copies that a frame costs at least: in a network of no more ports, such as one with gateway and three containers, the limit
/// is one of frames. With [`BumLimit::SANDBOX`], sixty ports get 80,000 copies a second, a seventh of a processor's work.
pub(crate) const COPIES_PER_FRAME: u32 = 4;
const SECOND_NS: u64 = 1_000_000_000;
const MILLISECOND_NS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(frames_s: u32, burst_frames: u32) -> TokenBucket {
        TokenBucket::new(BumLimit {
            frames_s,
            burst_frames,
        })
    }

    fn admitted(bucket: &TokenBucket, ms: u64, frames: usize, copies: u32) -> usize {
        (0..frames)
            .filter(|_| bucket.admit(Time::from_millis(ms), 1, copies))
            .count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let bucket = bucket(1000, 10);
        assert_eq!(admitted(&bucket, 5000, 50, COPIES_PER_FRAME), 10);
        assert_eq!(admitted(&bucket, 5005, 50, COPIES_PER_FRAME), 5);
        assert_eq!(admitted(&bucket, 9000, 50, COPIES_PER_FRAME), 10);
    }

    #[test]
    fn a_frame_that_reaches_more_ports_costs_more() {
        let bucket = bucket(1000, 12);
        assert_eq!(admitted(&bucket, 5000, 50, 3 * COPIES_PER_FRAME), 4);
        assert_eq!(admitted(&bucket, 5012, 50, 4 * COPIES_PER_FRAME), 3);
    }

    #[test]
    fn a_superframe_costs_its_segments() {
        let bucket = bucket(1000, 10);
        assert!(bucket.admit(Time::from_millis(0), 45, COPIES_PER_FRAME));
        assert!(!bucket.admit(Time::from_millis(34), 2, COPIES_PER_FRAME));
        assert!(bucket.admit(Time::from_millis(37), 2, COPIES_PER_FRAME));
    }

    #[test]
    fn a_frame_to_more_ports_than_fit_passes_now_and_then() {
        let bucket = bucket(20, 20);
        assert_eq!(admitted(&bucket, 0, 10, 2000), 1);
        assert_eq!(admitted(&bucket, 24_000, 10, 2000), 0);
        assert_eq!(admitted(&bucket, 26_000, 10, 2000), 1);
    }

    #[test]
    fn a_rate_of_zero_stops_everything() {
        assert!(!bucket(0, 100).admit(Time::from_millis(1000), 1, 1));
    }

    #[test]
    fn each_kind_has_a_budget_of_its_own() {
        let limit = |frames_s| {
            Some(BumLimit {
                frames_s,
                burst_frames: frames_s,
            })
        };
        let budgets = StormBudgets::new(&ByFlood {
            broadcast: limit(2),
            multicast: limit(3),
            unknown: None,
        });
        let now = Time::from_millis(5000);
        let passed = |kind| {
            (0..5)
                .filter_map(|_| budgets.charge(now, kind, 1))
                .filter(|charge| charge.outcome().is_ok())
                .count()
        };
        assert_eq!(passed(FloodKind::Broadcast), 2);
        assert_eq!(passed(FloodKind::Multicast), 3);
        assert_eq!(budgets.charge(now, FloodKind::Unknown, 1), None);
        let over = budgets.charge(now, FloodKind::Multicast, 1).unwrap();
        assert_eq!(over.outcome(), Err(DropReason::StormMulticast));
    }
}
