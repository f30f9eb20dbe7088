//! CoDel (RFC 8289): tells a queue that is always long from one that is long for a moment.
//!
//! # Theory of operation
//!
//! What counts is how long a frame has waited when it leaves. Once that has been above the target for a whole interval, a frame is
//! dropped; then others, at times that come closer with the square root of their number, until a frame has waited for less.

use std::time::Duration;

/// The state of one flow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Codel {
    /// When the wait will have been above the target for an interval.
    too_long_at: Option<Duration>,
    /// `Some`: frames are being dropped, the next one then.
    drops_at: Option<Duration>,
    /// When the last drop would have been followed by another.
    drops_ended: Duration,
    count: u32,
    /// Drops by the time they began the last time.
    count_before: u32,
}

impl Codel {
    /// Whether the frame that is about to leave is dropped instead. `waited` is its time in the queue.
    pub(super) fn drops(&mut self, now: Duration, waited: Duration, target: Duration) -> bool {
        let too_long = self.is_too_long(now, waited, target);
        match self.drops_at {
            Some(_) if !too_long => {
                self.drops_at = None;
                false
            }
            Some(at) if now >= at => {
                self.count = self.count.saturating_add(1);
                self.schedule(at);
                true
            }
            Some(_) => false,
            None if too_long => {
                self.begin(now);
                true
            }
            None => false,
        }
    }

    fn is_too_long(&mut self, now: Duration, waited: Duration, target: Duration) -> bool {
        if waited < target {
            self.too_long_at = None;
            return false;
        }
        let at = *self.too_long_at.get_or_insert(now.saturating_add(INTERVAL));
        now >= at
    }

    /// Where drops ended a moment ago, they go on about as they were.
    fn begin(&mut self, now: Duration) {
        let before = self.count.saturating_sub(self.count_before);
        let is_recent = now.saturating_sub(self.drops_ended) < 16 * INTERVAL;
        self.count = if before > 1 && is_recent { before } else { 1 };
        self.count_before = self.count;
        self.schedule(now);
    }

    fn schedule(&mut self, from: Duration) {
        let next = from.saturating_add(INTERVAL.div_f64(f64::from(self.count.max(1)).sqrt()));
        self.drops_at = Some(next);
        self.drops_ended = next;
    }
}

/// RFC 8289 §4.3.
const INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const TARGET: Duration = Duration::from_millis(5);

    /// At which milliseconds something is dropped of frames that leave one a millisecond.
    fn drops(codel: &mut Codel, from: u32, to: u32, waited: Duration) -> Vec<u32> {
        let drops = (from..to).filter(|ms| codel.drops(*ms * MS, waited, TARGET));
        drops.collect()
    }

    #[test]
    fn a_queue_that_is_long_for_a_moment_loses_nothing() {
        let mut codel = Codel::default();
        for burst in 0..20 {
            let at = burst * 200;
            assert_eq!(drops(&mut codel, at, at + 90, 50 * MS), []);
            assert_eq!(drops(&mut codel, at + 90, at + 100, MS), []);
        }
    }

    #[test]
    fn a_queue_that_stays_long_loses_frames_ever_faster() {
        let mut codel = Codel::default();
        let times = drops(&mut codel, 0, 600, 10 * MS);
        assert_eq!(times[..4], [100, 200, 271, 329]);
        let gaps: Vec<_> = times.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(gaps.is_sorted_by(|one, next| one >= next), "{gaps:?}");
        assert_eq!(drops(&mut codel, 600, 700, MS), []);
        // It goes on where it was when it becomes long again.
        let again = drops(&mut codel, 700, 900, 10 * MS);
        assert_eq!(again[0], 800);
        assert!(again[1] - again[0] < 60, "{again:?}");
    }
}
