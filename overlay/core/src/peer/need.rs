//! Whether this host needs the connection to another.
//!
//! # Theory of operation
//!
//! Two hosts need a connection while they share a network that both have endpoints on. Each hears of that at its own time, so a
//! connection that is not needed here is taken if the remote dials it, and it is up to the remote when it ends. One that was needed
//! here is kept for [`Timing::linger`](super::Timing::linger): a container that is started anew soon finds it as it was. Then
//! this host closes it; if the remote still needs it, it dials.

use switch_core::Time;

use super::{Close, Peer, PeerState};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Need {
    /// None; a connection is the remote's affair.
    #[default]
    None,
    Since(Time),
    /// None any more; until then a connection is kept.
    Until(Time),
}

impl Need {
    pub(super) const fn is_there(self) -> bool {
        matches!(self, Self::Since(_))
    }

    /// When a connection that was needed has been kept long enough.
    pub(super) const fn end(self) -> Option<Time> {
        match self {
            Self::Until(end) => Some(end),
            Self::None | Self::Since(_) => None,
        }
    }

    pub(super) fn is_over(self, now: Time) -> bool {
        self.end().is_some_and(|end| end <= now)
    }
}

impl Peer {
    /// This host needs the connection: it is dialed, by whose turn it is, unless it is there.
    pub fn need(&mut self, now: Time) {
        if self.need.is_there() {
            return;
        }
        self.need = Need::Since(now);
        if self.state == PeerState::Idle {
            self.begin(now);
        }
    }

    /// This host does not need the connection any more.
    pub fn release(&mut self, now: Time) {
        if !self.need.is_there() {
            return;
        }
        self.need = Need::Until(now + self.config.timing.linger);
        if self.state == PeerState::Waiting {
            (self.state, self.deadline) = (PeerState::Idle, None);
        }
    }

    pub const fn is_needed(&self) -> bool {
        self.need.is_there()
    }

    /// Whether the connection is needed since so short a time that it may be about to come up for the first time.
    pub fn is_coming(&self, now: Time) -> bool {
        match self.need {
            Need::Since(since) => !self.is_up() && now < since + self.config.timing.coming,
            Need::None | Need::Until(_) => false,
        }
    }

    /// A connection has been kept long enough.
    pub(super) fn let_go(&mut self, now: Time) {
        self.need = Need::None;
        match self.state {
            PeerState::Standby | PeerState::Greeting | PeerState::Up | PeerState::Dialing => {
                self.close(now, Close::NotNeeded);
            }
            PeerState::Idle | PeerState::Waiting | PeerState::Revoked => {}
        }
    }
}
