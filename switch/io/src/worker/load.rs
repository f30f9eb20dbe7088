//! How busy a worker is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The CPU time that the threads of one worker have used, one after the other, for others to read; some [`WINDOW`]s late.
#[derive(Clone, Debug, Default)]
pub(crate) struct Worked(Arc<AtomicU64>);

impl Worked {
    pub(crate) fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// What those before have used is `before`.
    fn set(&self, before: Duration, used: Duration) {
        let used = before + used;
        let nanos = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanos, Ordering::Relaxed);
    }
}

/// The share of its time that a worker works, averaged over the last [`MEMORY`], recent times more.
pub(super) struct Load {
    since: Instant,
    /// CPU time of the thread at `since`.
    used: Duration,
    /// Of the threads before.
    before: Duration,
    worked: Worked,
    /// Of the last window.
    share: f64,
    average: f64,
}

impl Load {
    pub(super) fn new(worked: Worked) -> Self {
        Self {
            since: Instant::now(),
            used: used(),
            before: worked.get(),
            worked,
            share: 0.0,
            average: 0.0,
        }
    }

    /// Called once a round by the worker's thread. True when the worker has too much to do, which is forgotten then: it is not
    /// said again before it has been true for as long again.
    pub(super) fn take_overload(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < WINDOW {
            return false;
        }
        let used = used();
        self.share = used.saturating_sub(self.used).as_secs_f64() / elapsed.as_secs_f64();
        self.since = now;
        self.used = used;
        self.worked.set(self.before, used);
        let weight = (elapsed.as_secs_f64() / MEMORY.as_secs_f64()).min(1.0);
        self.average += (self.share - self.average) * weight;
        let overloaded = self.average > TOO_MUCH;
        if overloaded {
            self.average = 0.0;
        }
        overloaded
    }

    /// The share of the last [`WINDOW`].
    pub(super) const fn share(&self) -> f64 {
        self.share
    }
}

fn used() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

const WINDOW: Duration = Duration::from_millis(10);
/// A worker that works all the time has too much after as long.
const MEMORY: Duration = Duration::from_millis(200);
/// One stream of TCP between two stations takes 0.53 to 0.59 of a core that it shares, and is faster on one worker; a stream
/// each way takes 0.66 to 0.69, eight streams 0.91 to 0.98, and they are faster on two.
const TOO_MUCH: f64 = 0.64;

#[cfg(test)]
mod tests {
    use super::*;

    fn work(time: Duration) {
        let start = used();
        while used() - start < time {
            std::hint::spin_loop();
        }
    }

    /// The windows, made of work done however long the machine took for it, after which the worker had too much.
    fn told(windows: u32, works: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut load = Load::new(Worked::default());
        let mut now = Instant::now();
        let told = |window: &u32| {
            if works(*window) {
                work(WINDOW);
            }
            now += WINDOW;
            load.take_overload(now)
        };
        (1..=windows).filter(told).collect()
    }

    #[test]
    fn a_worker_that_works_all_the_time_has_too_much() {
        let told = told(50, |_| true);
        let [first, second] = told[..] else {
            panic!("{told:?}");
        };
        assert!((15..=25).contains(&first), "{told:?}");
        assert!((15..=25).contains(&(second - first)), "{told:?}");
    }

    #[test]
    fn a_worker_that_waits_has_not() {
        assert_eq!(told(50, |_| false), []);
    }

    #[test]
    fn neither_has_one_that_is_busy_for_a_moment() {
        assert_eq!(told(60, |window| window % 30 < 12), []);
    }

    #[test]
    fn others_see_how_much_it_worked() {
        let worked = Worked::default();
        let mut load = Load::new(worked.clone());
        work(WINDOW);
        load.take_overload(Instant::now() + WINDOW);
        assert!(worked.get() >= WINDOW);
    }

    #[test]
    fn one_that_takes_anothers_place_counts_on() {
        let worked = Worked::default();
        worked.set(Duration::ZERO, Duration::from_secs(7));
        let mut load = Load::new(worked.clone());
        work(WINDOW);
        load.take_overload(Instant::now() + WINDOW);
        assert!(worked.get() >= Duration::from_secs(7) + WINDOW);
    }
}
