//! How long a packet the path to a remote host carries: packetization layer path MTU discovery (RFC 8899).
//!
//! # Theory of operation
//!
//! A path may carry less than the link that it begins at, and say nothing of it: a black hole for long packets. VXLAN
//! acknowledges nothing, so a [`PathMtu`] sends *probes*, packets of a certain size which the other end answers
//! ([`crate::PathProbe`]), in rounds. A round is a probe of the size in question and a *control*, which is short enough for
//! nearly every path. Only a round whose control was answered counts against the size; that tells a narrow path from a bad one.
//! A size that has three of those against it does not cross.
//!
//! ```text
//!            traffic         the control crosses, the longest does not
//!   Disabled -------> Base --------------------------------------------> Searching
//!                     |  |                                               ^      |
//!                     |  | the longest crosses     the size of before    |      | between what crosses and what
//!                     |  +---------------+         does not any more     |      | does not there is nothing
//!                     |                  |     +-------------------------+      |
//!                     v no answer        v     |                                |
//!                   Error              SearchComplete <-------------------------+
//!                     | nor to the least
//!                     v
//!                   Unanswered
//! ```
//!
//! The states are RFC 8899's (§5.2), and one more: a remote that is no host of ours answers no probe. It is asked now and then,
//! and more and more seldom, because it may have become one. There, what is known is what routers say (ICMP) and the host's routes,
//! which the caller reads from the kernel ([`PathMtu::handle_told`]); if that is nothing, the MTU of the path is *unfindable*.
//!
//! - Until a search has ended, all that the link carries is taken to cross: a sender that was told too little once keeps
//!   to it for minutes, and one that is told late has lost a second.
//! - What was found is confirmed every three seconds, while there is traffic; without traffic nothing is sent. A path that grows is
//!   noticed after ten minutes (RFC 8899 §5.1.1, PMTU_RAISE_TIMER).
//! - What routers say holds even if probes contradict: of several ways of equal cost those take one.

use std::time::Duration;

use switch_core::Time;

use crate::mtu::Underlay;
use round::{CONFIRM, Round};
use sent::Sent;

pub use finding::{PathFinding, PathState};

/// The search on one path. Sizes are those of packets on the underlay from the IP header on, in bytes.
#[derive(Debug)]
pub struct PathMtu {
    /// Short enough for every path.
    min: u32,
    /// What the link carries, or all that anybody wants to send.
    max: u32,
    /// What routers and routes say.
    told: Option<u32>,
    state: PathState,
    /// What the last search found.
    found: Option<u32>,
    /// In this search, the longest that crosses and the shortest that does not.
    good: u32,
    bad: u32,
    round: Option<Round>,
    /// Rounds that count against their size, and rounds in which nothing was answered; each in a row.
    against: u32,
    silent: u32,
    control: u32,
    sent: Sent,
    /// Whether there was traffic since the last round began.
    is_used: bool,
    rested: Time,
    searched: Time,
    pause: Duration,
    deadline: Option<Time>,
    transmits: Vec<SendProbe>,
}

/// A packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendProbe {
    pub size: u32,
    pub nonce: u64,
}

impl PathMtu {
    /// A path that begins at a link which carries `max` bytes. `seed`: what nobody guesses.
    pub fn new(underlay: Underlay, max: u32, seed: u64) -> Self {
        let min = match underlay {
            Underlay::V4 => MIN_V4,
            Underlay::V6 => BASE,
        };
        Self {
            min,
            max,
            told: None,
            state: PathState::Disabled,
            found: None,
            good: 0,
            bad: 0,
            round: None,
            against: 0,
            silent: 0,
            control: BASE,
            sent: Sent::new(seed),
            is_used: false,
            rested: Time::default(),
            searched: Time::default(),
            pause: CONFIRM,
            deadline: None,
            transmits: Vec::new(),
        }
    }

    /// Longest packet to send now.
    pub fn current(&self) -> u32 {
        let top = self.top();
        self.found.map_or(top, |found| found.min(top))
    }

    /// Whether there was traffic since the last round began. If so there is no need to say it again.
    pub const fn is_used(&self) -> bool {
        self.is_used
    }

    /// There is traffic.
    pub fn handle_traffic(&mut self, now: Time) {
        self.is_used = true;
        if self.state == PathState::Disabled {
            self.begin(now);
        } else if self.deadline.is_none() {
            self.deadline = Some(now.max(self.rested + self.pause));
        }
    }

    /// The link carries `max` bytes now.
    pub fn set_max(&mut self, now: Time, max: u32) {
        let top = self.top();
        self.max = max;
        self.follow_top(now, top);
    }

    /// What routers and the host's routes say that the path carries.
    pub fn handle_told(&mut self, now: Time, mtu: u32) {
        let top = self.top();
        self.told = (mtu < self.max).then_some(mtu.max(self.min));
        self.follow_top(now, top);
    }

    /// A probe was answered that arrived as a packet of `size` bytes.
    pub fn handle_answer(&mut self, now: Time, nonce: u64, size: u32) {
        if self.sent.answered(now, nonce) != Some(size) {
            return;
        }
        self.silent = 0;
        if self.state == PathState::Unanswered {
            self.state = PathState::Base;
            self.bad = self.top() + 1;
        }
        // Whatever was lost before, it crosses.
        if size >= self.bad {
            self.bad = self.top() + 1;
        }
        self.good = self.good.max(size.min(self.top()));
        let Some(round) = &mut self.round else {
            return;
        };
        if round.size == size {
            self.crossed(now);
        } else if size == self.control {
            round.is_control_answered = true;
            let end = now + self.sent.grace();
            self.deadline = self.deadline.map(|deadline| deadline.min(end));
        }
    }

    pub fn handle_timeout(&mut self, now: Time) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.round {
            Some(round) if round.is_control_answered => self.count_against(now, round.size),
            Some(round) => self.count_silent(now, round.size),
            None if self.is_used => self.go_on(now),
            None => self.deadline = None,
        }
    }

    pub fn poll_transmit(&mut self) -> Option<SendProbe> {
        self.transmits.pop()
    }

    pub const fn poll_timeout(&self) -> Option<Time> {
        self.deadline
    }

    /// The longest that may cross, as far as is known without probes.
    fn top(&self) -> u32 {
        self.told.map_or(self.max, |told| told.min(self.max))
    }

    /// The longest that may cross was `old` until now.
    fn follow_top(&mut self, now: Time, old: u32) {
        let top = self.top();
        if top == old {
            return;
        }
        // Of what lies beyond the end of the last search nothing is known.
        self.found = self.found.filter(|found| *found < old.min(top));
        match self.state {
            PathState::Disabled | PathState::Unanswered => {}
            _ => self.begin(now),
        }
    }
}

/// RFC 8899's BASE_PLPMTU (§5.1.2), and IPv6's least: in bytes.
const BASE: u32 = 1280;
/// What every host takes (RFC 791), and more than a Linux router believes in.
const MIN_V4: u32 = 576;

mod finding;
mod round;
mod sent;
#[cfg(test)]
mod tests;
