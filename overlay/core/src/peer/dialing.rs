//! When the connection is dialed.

use switch_core::Time;

use super::patience::Patience;
use super::{Peer, PeerEvent, PeerState, Role};

impl Peer {
    /// To dial as for the first time.
    pub(super) fn begin(&mut self, now: Time) {
        self.state = PeerState::Waiting;
        self.backoff = self.config.timing.backoff_min;
        self.patience = Patience::new(self.config.timing);
        self.deadline = Some(match self.dials() {
            true => now,
            false => now + self.config.timing.turn,
        });
    }

    pub(super) fn dial(&mut self, now: Time) {
        self.state = PeerState::Dialing;
        self.deadline = Some(self.patience.dial(now));
        self.counts.dials += 1;
        self.events.push_back(PeerEvent::Dial);
    }

    pub(super) fn wait(&mut self, now: Time) {
        if !self.need.is_there() {
            (self.state, self.deadline) = (PeerState::Idle, None);
            return;
        }
        self.state = PeerState::Waiting;
        let pause = match self.dials() {
            true => self.backoff,
            false => self.config.timing.turn * 2,
        };
        let half = pause / 2;
        self.deadline = Some(now + half + self.random.below(pause - half));
        self.backoff = (self.backoff * 2).min(self.config.timing.backoff_max);
    }

    pub(super) fn dials(&self) -> bool {
        self.stands_by || self.config.role == Role::Dials
    }
}
