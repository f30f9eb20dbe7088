//! How busy a worker is.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The share of its time that a worker works, in windows of [`WINDOW`].
pub(super) struct Load {
    since: Instant,
    /// CPU time of the thread at `since`.
    used: Duration,
    /// Windows in a row in which the worker was busy.
    busy: u32,
}

impl Load {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            used: used(),
            busy: 0,
        }
    }

    /// Called once a round by the worker's thread. True when the worker has been busy for [`BUSY_WINDOWS`] in a row, once for
    /// every so many.
    pub(super) fn is_too_much(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < WINDOW {
            return false;
        }
        let used = used();
        let worked = used.saturating_sub(self.used);
        self.since = now;
        self.used = used;
        self.busy = if worked > elapsed.mul_f64(BUSY) {
            self.busy + 1
        } else {
            0
        };
        let is_too_much = self.busy >= BUSY_WINDOWS;
        if is_too_much {
            self.busy = 0;
        }
        is_too_much
    }
}

fn used() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

const WINDOW: Duration = Duration::from_millis(10);
const BUSY_WINDOWS: u32 = 10;
/// One stream of TCP between two stations takes 0.55 to 0.6 of a core that it shares, and is faster on one worker; eight
/// streams, or one each way, take 0.65 to 0.95 and are faster on two.
const BUSY: f64 = 0.62;

#[cfg(test)]
mod tests {
    use super::*;

    fn work(time: Duration) {
        let start = used();
        while used() - start < time {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn a_worker_that_works_all_the_time_has_too_much() {
        let mut load = Load::new();
        // The windows are made of work done, however long the machine took for it.
        let mut now = Instant::now();
        for window in 1..=BUSY_WINDOWS {
            work(WINDOW);
            now += WINDOW;
            assert_eq!(load.is_too_much(now), window == BUSY_WINDOWS);
        }
        assert!(!load.is_too_much(now));
    }

    #[test]
    fn a_worker_that_waits_has_not() {
        let mut load = Load::new();
        let mut now = Instant::now();
        for _ in 0..=2 * BUSY_WINDOWS {
            now += WINDOW;
            assert!(!load.is_too_much(now));
        }
    }

    #[test]
    fn a_pause_starts_the_count_again() {
        let mut load = Load::new();
        let mut now = Instant::now();
        for window in 0..2 * BUSY_WINDOWS {
            if window != BUSY_WINDOWS - 1 {
                work(WINDOW);
            }
            now += WINDOW;
            let told = load.is_too_much(now);
            assert_eq!(told, window == 2 * BUSY_WINDOWS - 1);
        }
    }
}
