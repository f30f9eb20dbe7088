//! When a ring is worth it.

use std::time::{Duration, Instant};

/// What one receive from the socket gave.
#[derive(Clone, Copy, Debug)]
pub(in crate::vxlan) struct Arrival {
    /// Trains, a single datagram being the shortest.
    pub(in crate::vxlan) trains: u32,
    /// Whether one of them had several datagrams, or more than a packet has.
    pub(in crate::vxlan) has_long: bool,
}

/// Counts arrivals, and knows how earlier tries went.
#[derive(Debug)]
pub(super) struct Judge {
    /// Single datagrams that came many at a time, less what speaks against a ring.
    singles: u32,
    /// Datagrams that came by the socket in spite of the ring.
    strays: u32,
    /// When a ring was asked for the last time.
    asked: Option<Instant>,
    not_before: Option<Instant>,
    pause: Duration,
}

impl Judge {
    pub(super) const fn new() -> Self {
        Self {
            singles: 0,
            strays: 0,
            asked: None,
            not_before: None,
            pause: PAUSE_MIN,
        }
    }

    /// Whether to ask for a ring. The clock is only looked at when the load says so.
    pub(super) fn wants_ring(&mut self, arrival: Arrival, now: impl Fn() -> Instant) -> bool {
        if arrival.has_long {
            self.singles = 0;
        } else if arrival.trains >= BUSY {
            self.singles += arrival.trains;
        } else {
            self.singles = self.singles.saturating_sub(BUSY);
        }
        if self.singles < SINGLES {
            return false;
        }
        self.singles = 0;
        let now = now();
        if self.not_before.is_some_and(|time| now < time) {
            return false;
        }
        self.asked = Some(now);
        true
    }

    /// Whether too much comes by the socket.
    pub(super) fn wants_socket(&mut self, arrival: Arrival) -> bool {
        self.strays += arrival.trains;
        arrival.has_long || self.strays >= STRAYS
    }

    /// There is no ring, or not any more: the next try waits, and longer each time, unless the ring lasted.
    pub(super) fn failed(&mut self, now: Instant) {
        if self.asked.is_some_and(|asked| now > asked + PAUSE_MAX) {
            self.pause = PAUSE_MIN;
        }
        self.singles = 0;
        self.strays = 0;
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// Datagrams of one receive that mean load.
const BUSY: u32 = 8;
/// A hundredth of a second at the rate where a ring begins to matter.
const SINGLES: u32 = 4_096;
/// More than the odd fragment.
const STRAYS: u32 = 64;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(64);

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Arrival = Arrival {
        trains: 32,
        has_long: false,
    };
    const TRAIN: Arrival = Arrival {
        trains: 1,
        has_long: true,
    };
    const ONE: Arrival = Arrival {
        trains: 1,
        has_long: false,
    };

    /// Receives after which a ring is asked for, if at all.
    fn asks_after(judge: &mut Judge, arrivals: &[Arrival], now: Instant) -> Option<usize> {
        let mut arrivals = arrivals.iter().cycle().take(10_000);
        arrivals.position(|arrival| judge.wants_ring(*arrival, || now))
    }

    #[test]
    fn load_in_single_datagrams_asks() {
        let now = Instant::now();
        assert_eq!(asks_after(&mut Judge::new(), &[FULL], now), Some(127));
        assert!(asks_after(&mut Judge::new(), &[FULL, ONE], now).is_some());
    }

    #[test]
    fn trains_and_idleness_do_not() {
        let now = Instant::now();
        let trains = [FULL, FULL, FULL, TRAIN];
        assert_eq!(asks_after(&mut Judge::new(), &trains, now), None);
        assert_eq!(asks_after(&mut Judge::new(), &[ONE], now), None);
        let rare = [FULL, ONE, ONE, ONE, ONE];
        assert_eq!(asks_after(&mut Judge::new(), &rare, now), None);
    }

    #[test]
    fn a_train_or_many_strays_end_the_ring() {
        assert!(Judge::new().wants_socket(TRAIN));
        let mut judge = Judge::new();
        assert!(!judge.wants_socket(ONE) && !judge.wants_socket(FULL));
        assert!(judge.wants_socket(FULL));
    }

    #[test]
    fn each_try_waits_longer_until_one_lasts() {
        let (mut judge, start) = (Judge::new(), Instant::now());
        judge.failed(start);
        assert_eq!(asks_after(&mut judge, &[FULL], start), None);
        let mut now = start + PAUSE_MIN;
        assert!(asks_after(&mut judge, &[FULL], now).is_some());
        for _ in 0..10 {
            judge.failed(now);
        }
        assert_eq!(asks_after(&mut judge, &[FULL], now + PAUSE_MAX / 2), None);
        now += PAUSE_MAX;
        assert!(asks_after(&mut judge, &[FULL], now).is_some());
        now += PAUSE_MAX * 2;
        judge.failed(now);
        assert!(asks_after(&mut judge, &[FULL], now + PAUSE_MIN).is_some());
    }
}
