//! Lets frames gather in a flood.
//!
//! # Theory of operation
//!
//! Waking a worker, and the reader behind it, costs more than taking a small frame, and small frames that are taken together
//! are written together. So while a worker takes very many, and has little time left, it sleeps for [`GATHER`] at least and
//! then takes all that came, as network cards moderate their interrupts. Otherwise every frame wakes it: neither one question
//! and its answer nor a stream of TCP, whose superframes are few, ever waits. This is decided anew in windows of [`WINDOW`].

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Moderation {
    since: Instant,
    frames: u64,
    gathers: bool,
}

impl Moderation {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            frames: 0,
            gathers: false,
        }
    }

    /// The worker took so many frames.
    pub(super) fn took(&mut self, frames: usize) {
        self.frames += u64::try_from(frames).unwrap_or(0);
    }

    /// Called once a round, with the share of its time that the worker works. How long it is to sleep at least; zero: as short
    /// as it can.
    pub(super) fn least_sleep(&mut self, now: Instant, share: f64) -> Duration {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let rate = u128::from(self.frames) * 1_000_000 / elapsed.as_micros();
            let busy = if self.gathers { STILL_BUSY } else { BUSY };
            self.gathers = rate >= FRAMES && share >= busy;
            (self.since, self.frames) = (now, 0);
        }
        if self.gathers { GATHER } else { Duration::ZERO }
    }
}

const WINDOW: Duration = Duration::from_millis(10);
const GATHER: Duration = Duration::from_micros(50);
/// Frames a second that are very many.
const FRAMES: u128 = 250_000;
/// A worker that works less has time to wake for each frame.
const BUSY: f64 = 0.75;
/// Gathering makes a worker less busy; with even less to do it needs not gather.
const STILL_BUSY: f64 = 0.45;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_that_keeps_the_worker_busy_gathers_and_what_is_less_does_not() {
        let start = Instant::now();
        let mut moderation = Moderation::new(start);
        for (window, (frames, share, least)) in (1..).zip([
            (2_400, 1.0, Duration::ZERO),
            (2_500, 0.7, Duration::ZERO),
            (2_500, 0.8, GATHER),
            (4_000, 0.5, GATHER),
            (4_000, 0.4, Duration::ZERO),
            (4_000, 0.5, Duration::ZERO),
            (4_000, 0.8, GATHER),
            (100, 0.8, Duration::ZERO),
        ]) {
            moderation.took(frames);
            let now = start + window * WINDOW;
            assert_eq!(moderation.least_sleep(now, share), least, "{window}");
        }
    }

    #[test]
    fn a_pause_ends_it() {
        let start = Instant::now();
        let mut moderation = Moderation::new(start);
        moderation.took(10_000);
        assert_eq!(moderation.least_sleep(start + WINDOW, 1.0), GATHER);
        moderation.took(1);
        let later = start + WINDOW + Duration::from_secs(1);
        assert_eq!(moderation.least_sleep(later, 1.0), Duration::ZERO);
    }
}
