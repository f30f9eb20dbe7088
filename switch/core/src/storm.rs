//! Storm control: a token bucket for broadcast, unknown unicast and multicast.
//!
//! # Theory of operation
//!
//! The generic cell rate algorithm (ITU-T I.371, Annex A): one number, the time at which the bucket will be full again, stands
//! for level and clock, so a worker admits a frame with one atomic update and no lock. A superframe costs its segments. It
//! passes a full bucket even if it costs more than fits, and its port then waits the longer.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{BumLimit, Time};

/// The bucket of one port.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// Nanoseconds a frame costs; zero: nothing passes.
    frame_ns: u64,
    burst_ns: u64,
    /// When the bucket will be full, in nanoseconds.
    full_at: AtomicU64,
}

impl TokenBucket {
    pub(crate) fn new(limit: BumLimit) -> Self {
        let frame_ns = match limit.frames_s {
            0 => 0,
            frames_s => (SECOND_NS / u64::from(frames_s)).max(1),
        };
        Self {
            frame_ns,
            burst_ns: frame_ns.saturating_mul(u64::from(limit.burst_frames.max(1))),
            full_at: AtomicU64::new(0),
        }
    }

    /// Whether `frames` may pass; takes their tokens if so.
    pub(crate) fn admit(&self, now: Time, frames: u32) -> bool {
        if self.frame_ns == 0 {
            return false;
        }
        let now_ns = now.as_millis().saturating_mul(MILLISECOND_NS);
        let cost = self.frame_ns.saturating_mul(u64::from(frames));
        self.full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                let is_full = full_at <= now_ns;
                let full_at = full_at.max(now_ns).saturating_add(cost);
                (is_full || full_at - now_ns <= self.burst_ns).then_some(full_at)
            })
            .is_ok()
    }
}

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

    fn admitted(bucket: &TokenBucket, ms: u64, frames: usize) -> usize {
        (0..frames)
            .filter(|_| bucket.admit(Time::from_millis(ms), 1))
            .count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let bucket = bucket(1000, 10);
        assert_eq!(admitted(&bucket, 5000, 50), 10);
        assert_eq!(admitted(&bucket, 5005, 50), 5);
        assert_eq!(admitted(&bucket, 9000, 50), 10);
    }

    #[test]
    fn a_superframe_costs_its_segments() {
        let bucket = bucket(1000, 10);
        assert!(bucket.admit(Time::from_millis(0), 45));
        assert!(!bucket.admit(Time::from_millis(34), 2));
        assert!(bucket.admit(Time::from_millis(37), 2));
    }

    #[test]
    fn a_rate_of_zero_stops_everything() {
        assert!(!bucket(0, 100).admit(Time::from_millis(1000), 1));
    }
}
