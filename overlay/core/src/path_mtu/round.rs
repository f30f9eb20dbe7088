//! Rounds: what is asked next, and what follows from answers and from silence.

use std::time::Duration;

use switch_core::Time;

use super::{BASE, PathMtu, PathState, SendProbe};

/// What was asked last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) size: u32,
    pub(super) is_control_answered: bool,
}

impl PathMtu {
    pub(super) fn begin(&mut self, now: Time) {
        self.state = PathState::Base;
        self.control = BASE.min(self.top());
        (self.good, self.bad) = (0, self.top() + 1);
        self.ask(now, self.top());
    }

    /// A rest is over.
    pub(super) fn go_on(&mut self, now: Time) {
        self.is_used = false;
        match self
            .found
            .filter(|_| self.state == PathState::SearchComplete)
        {
            Some(found) if found < self.top() && now >= self.searched + RAISE => {
                self.state = PathState::Searching;
                (self.good, self.bad) = (found, self.top() + 1);
                self.ask(now, self.top());
            }
            Some(found) => self.ask(now, found),
            None => self.ask(now, self.top()),
        }
    }

    /// Begins to find out whether packets of `size` bytes cross.
    fn ask(&mut self, now: Time, size: u32) {
        (self.against, self.silent) = (0, 0);
        self.ask_again(now, size);
    }

    fn ask_again(&mut self, now: Time, size: u32) {
        self.round = Some(Round {
            size,
            is_control_answered: false,
        });
        self.transmits.clear();
        // What has always crossed needs no control at first.
        let is_first = self.against == 0 && self.silent == 0;
        if size > self.control && !(self.state == PathState::SearchComplete && is_first) {
            self.transmit(now, self.control);
        }
        // It leaves first.
        self.transmit(now, size);
        self.deadline = Some(now + self.sent.patience(self.silent));
    }

    fn transmit(&mut self, now: Time, size: u32) {
        let nonce = self.sent.add(now, size);
        self.transmits.push(SendProbe { size, nonce });
    }

    pub(super) fn crossed(&mut self, now: Time) {
        match self.state {
            PathState::SearchComplete => self.rest(now, CONFIRM),
            _ => self.narrow(now),
        }
    }

    pub(super) fn count_against(&mut self, now: Time, size: u32) {
        self.against += 1;
        self.silent = 0;
        if self.against < MAX_PROBES {
            return self.ask_again(now, size);
        }
        self.bad = self.bad.min(size);
        if self.state == PathState::SearchComplete || self.good >= self.bad {
            // A black hole where there was none: only the control is known to cross.
            self.good = self.control;
        }
        self.narrow(now);
    }

    pub(super) fn count_silent(&mut self, now: Time, size: u32) {
        self.silent += 1;
        if self.silent < MAX_PROBES {
            return self.ask_again(now, size);
        }
        let least = self.min.min(self.top());
        if self.state == PathState::Unanswered || self.control <= least {
            let is_new = self.state != PathState::Unanswered;
            self.state = PathState::Unanswered;
            self.control = least;
            let pause = if is_new { SILENT_MIN } else { self.pause * 2 };
            return self.rest(now, pause.min(SILENT_MAX));
        }
        self.state = PathState::Error;
        (self.good, self.bad) = (0, self.top() + 1);
        let size = self.control;
        self.control = least;
        self.ask(now, size);
    }

    /// Goes on between what crosses and what does not.
    fn narrow(&mut self, now: Time) {
        let top = self.top();
        let between = self.bad.saturating_sub(self.good);
        if between <= 1 {
            self.state = PathState::SearchComplete;
            self.found = Some(self.good);
            self.searched = now;
            return self.rest(now, CONFIRM);
        }
        self.state = PathState::Searching;
        let is_top_open = self.bad > top;
        self.ask(
            now,
            if is_top_open {
                top
            } else {
                self.good + between / 2
            },
        );
    }

    fn rest(&mut self, now: Time, pause: Duration) {
        self.round = None;
        self.rested = now;
        self.pause = pause;
        self.deadline = Some(now + pause);
    }
}

/// Rounds against a size, or in silence.
const MAX_PROBES: u32 = 3;
/// RFC 8899's CONFIRMATION_TIMER.
pub(super) const CONFIRM: Duration = Duration::from_secs(3);
/// RFC 8899's PMTU_RAISE_TIMER.
const RAISE: Duration = Duration::from_secs(600);
/// Between tries where nobody answers.
const SILENT_MIN: Duration = Duration::from_secs(5);
const SILENT_MAX: Duration = Duration::from_secs(60);
