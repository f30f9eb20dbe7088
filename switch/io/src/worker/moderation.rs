//! How a worker waits for frames.
//!
//! # Theory of operation
//!
//! Waking a worker, and the reader behind it, costs more than taking a small frame, and small frames that are taken together
//! are written together. So while a worker takes very many, and has little time left, it sleeps for [`GATHER`] at least and
//! then takes all that came, as network cards moderate their interrupts.
//!
//! A superframe is worth many small ones, and the stream that it belongs to stands still until it has passed. Where a core
//! that sleeps takes tens of microseconds to wake (a virtual machine's, or one that saves power), that is longer than the
//! next one takes to come. So while superframes flow a worker stays awake for up to [`LINGER`], and lets whoever wants the
//! core have it meanwhile.
//!
//! Otherwise it sleeps until a frame wakes it: one question and its answer neither wait nor keep a core busy. This is
//! decided anew in windows of [`WINDOW`].

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Moderation {
    since: Instant,
    frames: u64,
    superframes: u64,
    rest: Rest,
}

/// What a worker does that has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// It sleeps until a frame comes.
    Sleep,
    /// It sleeps for that long at least.
    Gather(Duration),
    /// It looks for frames for that long, and then sleeps until one comes.
    Linger(Duration),
}

impl Moderation {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            frames: 0,
            superframes: 0,
            rest: Rest::Sleep,
        }
    }

    /// The worker took a frame of so many bytes.
    pub(super) fn took(&mut self, len: usize) {
        self.frames += 1;
        self.superframes += u64::from(len >= SUPERFRAME);
    }

    /// Called once a round, with the share of its time that the worker works.
    pub(super) fn rest(&mut self, now: Instant, share: f64) -> Rest {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let a_second = |count: u64| u128::from(count) * 1_000_000 / elapsed.as_micros();
            let gathers = matches!(self.rest, Rest::Gather(_));
            let busy = if gathers { STILL_BUSY } else { BUSY };
            self.rest = if a_second(self.superframes) >= SUPERFRAMES {
                Rest::Linger(LINGER)
            } else if a_second(self.frames) >= FRAMES && share >= busy {
                Rest::Gather(GATHER)
            } else {
                Rest::Sleep
            };
            (self.since, self.frames, self.superframes) = (now, 0, 0);
        }
        self.rest
    }
}

const WINDOW: Duration = Duration::from_millis(10);
const GATHER: Duration = Duration::from_micros(50);
const LINGER: Duration = Duration::from_micros(100);
/// Frames a second that are very many.
const FRAMES: u128 = 250_000;
/// A worker that works less has time to wake for each frame.
const BUSY: f64 = 0.75;
/// Gathering makes a worker less busy; with even less to do it needs not gather.
const STILL_BUSY: f64 = 0.45;
/// Longer than any frame of a network card, in bytes.
const SUPERFRAME: usize = 16 * 1024;
/// Superframes a second that are a flow of them: some 4 Gbit/s.
const SUPERFRAMES: u128 = 8_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: usize = 64;
    const LARGE: usize = 60_000;

    fn take(moderation: &mut Moderation, frames: u32, len: usize) {
        for _ in 0..frames {
            moderation.took(len);
        }
    }

    #[test]
    fn a_flood_that_keeps_the_worker_busy_gathers_and_what_is_less_does_not() {
        let start = Instant::now();
        let mut moderation = Moderation::new(start);
        for (window, (frames, share, rest)) in (1..).zip([
            (2_400, 1.0, Rest::Sleep),
            (2_500, 0.7, Rest::Sleep),
            (2_500, 0.8, Rest::Gather(GATHER)),
            (4_000, 0.5, Rest::Gather(GATHER)),
            (4_000, 0.4, Rest::Sleep),
            (4_000, 0.5, Rest::Sleep),
            (4_000, 0.8, Rest::Gather(GATHER)),
            (100, 0.8, Rest::Sleep),
        ]) {
            take(&mut moderation, frames, SMALL);
            let now = start + window * WINDOW;
            assert_eq!(moderation.rest(now, share), rest, "{window}");
        }
    }

    #[test]
    fn a_flow_of_superframes_is_awaited_awake_however_small_its_answers() {
        let start = Instant::now();
        let mut moderation = Moderation::new(start);
        for (window, (large, small, rest)) in (1..).zip([
            (79, 79, Rest::Sleep),
            (80, 0, Rest::Linger(LINGER)),
            (80, 4_000, Rest::Linger(LINGER)),
            (0, 4_000, Rest::Gather(GATHER)),
            (0, 80, Rest::Sleep),
        ]) {
            take(&mut moderation, large, LARGE);
            take(&mut moderation, small, SMALL);
            let now = start + window * WINDOW;
            assert_eq!(moderation.rest(now, 1.0), rest, "{window}");
        }
    }

    #[test]
    fn a_pause_ends_it() {
        let start = Instant::now();
        let later = start + WINDOW + Duration::from_secs(1);
        for (len, rest) in [(SMALL, Rest::Gather(GATHER)), (LARGE, Rest::Linger(LINGER))] {
            let mut moderation = Moderation::new(start);
            take(&mut moderation, 10_000, len);
            assert_eq!(moderation.rest(start + WINDOW, 1.0), rest);
            moderation.took(len);
            assert_eq!(moderation.rest(later, 1.0), Rest::Sleep);
        }
    }
}
