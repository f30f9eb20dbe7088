//! A rate with a burst: when a frame leaves a link that carries so many bits a second.

use std::time::Duration;

/// A token bucket, kept as the time at which it will be full again: the virtual scheduling of ITU-T I.371.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// When everything that was sent has been put on the wire.
    busy_until: Duration,
    /// When the last frame left.
    left_at: Duration,
}

impl Bucket {
    /// When `bytes` that are there at `ready` leave: at once while the burst lasts, and never before those that came earlier.
    pub(crate) fn send(
        &mut self,
        ready: Duration,
        bytes: u64,
        rate_bits_s: u64,
        burst_bytes: u64,
    ) -> Duration {
        let took = on_wire(bytes, rate_bits_s);
        self.busy_until = self.busy_until.max(ready).saturating_add(took);
        let burst = on_wire(burst_bytes, rate_bits_s);
        let leaves = self.busy_until.saturating_sub(burst).max(ready);
        self.left_at = self.left_at.max(leaves);
        self.left_at
    }

    /// When what takes `took` on the wire may leave, given how long the burst takes; at the latest when all that was sent has been
    /// put on the wire, however long it is.
    pub(crate) const fn admits_at(&self, took: Duration, burst: Duration) -> Duration {
        self.busy_until.saturating_sub(burst.saturating_sub(took))
    }

    /// As [`Self::send`] for a frame that overtakes all others: it leaves now, and the others pay for it.
    pub(crate) fn charge(&mut self, ready: Duration, bytes: u64, rate_bits_s: u64) {
        let took = on_wire(bytes, rate_bits_s);
        self.busy_until = self.busy_until.max(ready).saturating_add(took);
    }
}

/// How long bytes take at a rate, which is not zero.
pub(crate) fn on_wire(bytes: u64, rate_bits_s: u64) -> Duration {
    let bits = u128::from(bytes) * 8 * 1_000_000_000;
    let nanos = bits / u128::from(rate_bits_s.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    /// A thousand bytes a millisecond.
    const RATE: u64 = 8_000_000;

    #[test]
    fn frames_are_spaced_by_their_length() {
        let mut bucket = Bucket::default();
        let times: Vec<_> = (0..3).map(|_| bucket.send(MS, 1000, RATE, 0)).collect();
        assert_eq!(times, [2 * MS, 3 * MS, 4 * MS]);
        assert_eq!(bucket.send(10 * MS, 500, RATE, 0), 10 * MS + MS / 2);
    }

    #[test]
    fn a_burst_passes_at_once_and_has_to_be_earned_again() {
        let mut bucket = Bucket::default();
        let mut send = |at| bucket.send(at, 1000, RATE, 2000);
        let times: Vec<_> = (0..4).map(|_| send(10 * MS)).collect();
        assert_eq!(times, [10 * MS, 10 * MS, 11 * MS, 12 * MS]);
        assert_eq!(send(13 * MS), 13 * MS);
        assert_eq!(send(13 * MS), 14 * MS);
        assert_eq!(send(40 * MS), 40 * MS);
        assert_eq!(send(40 * MS), 40 * MS);
        assert_eq!(send(40 * MS), 41 * MS);
    }

    #[test]
    fn what_overtakes_is_paid_for_by_the_others() {
        let mut bucket = Bucket::default();
        bucket.charge(MS, 1000, RATE);
        assert_eq!(bucket.send(MS, 1000, RATE, 0), 3 * MS);
    }
}
