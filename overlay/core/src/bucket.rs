//! What may be spent, at a steady rate and with bursts (RFC 2697 calls such a thing a meter).

use switch_core::Time;

/// Tokens, which come at a rate and are kept up to a burst.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Tokens a second, or thousandths a millisecond.
    rate: u64,
    /// In thousandths of a token, as what is left.
    burst: u64,
    left: u64,
    filled: Time,
}

impl Bucket {
    /// Full at `now`, with `rate` tokens a second, and up to `burst` at once after a pause.
    pub const fn full(now: Time, rate: u64, burst: u64) -> Self {
        let burst = burst.saturating_mul(ONE);
        Self {
            rate,
            burst,
            left: burst,
            filled: now,
        }
    }

    /// Spends so many tokens, if they are there.
    pub fn take(&mut self, now: Time, tokens: u64) -> bool {
        let has = self.has(now, tokens);
        if has {
            self.spend(tokens);
        }
        has
    }

    /// Whether so many tokens are there.
    pub(crate) fn has(&mut self, now: Time, tokens: u64) -> bool {
        self.left = self.left_at(now);
        self.filled = self.filled.max(now);
        tokens.saturating_mul(ONE) <= self.left
    }

    /// Spends tokens that are there.
    pub(crate) const fn spend(&mut self, tokens: u64) {
        self.left = self.left.saturating_sub(tokens.saturating_mul(ONE));
    }

    pub(crate) fn is_full_at(&self, now: Time) -> bool {
        self.left_at(now) == self.burst
    }

    fn left_at(&self, now: Time) -> u64 {
        let passed_ms = now.as_millis().saturating_sub(self.filled.as_millis());
        let more = passed_ms.saturating_mul(self.rate);
        self.left.saturating_add(more).min(self.burst)
    }
}

/// A token in thousandths.
const ONE: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_at_their_rate_and_up_to_a_burst() {
        let mut bucket = Bucket::full(Time::from_millis(7), 200, 50);
        let mut taken = |now| {
            (0..1000)
                .filter(|_| bucket.take(Time::from_millis(now), 1))
                .count()
        };
        assert_eq!(taken(7), 50);
        assert_eq!(taken(17), 2);
        assert_eq!(taken(5), 0, "a clock that steps back earns nothing");
        assert_eq!(taken(1_000_000), 50);
    }

    #[test]
    fn what_is_longer_than_the_burst_never_passes() {
        let mut bucket = Bucket::full(Time::from_millis(0), 1000, 100);
        assert!(!bucket.take(Time::from_millis(0), 101));
        assert!(!bucket.take(Time::from_millis(0), u64::MAX));
        assert!(bucket.take(Time::from_millis(0), 100));
        assert!(!bucket.is_full_at(Time::from_millis(99)));
        assert!(bucket.is_full_at(Time::from_millis(100)));
    }
}
