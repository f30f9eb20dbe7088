//! One run of a host takes the place of another that still runs.
//!
//! # Theory of operation
//!
//! The new run *stands by* ([`Peer::standing_by`]): it dials, whoever's turn it is, but says no hello until it takes over
//! ([`Peer::take_over`]). Its peers see a second connection of a host that they are connected to, a *rival*. A rival counts from its
//! hello on ([`Peer::handle_rival`]), without ever being down in between; until then, all goes on over the other one. So a hello
//! is the word by which a host says where it wants to be reached.
//!
//! Where both ends are replaced at once, each new run may dial the other, and hellos cross; so they do where both ends dial because
//! neither knows who can. So a hello of an earlier run does not end a connection to a later one, and of the same run's, that counts
//! which was dialed by whose turn it is. Whoever goes over to a rival says so a few times, since the other may be content with the
//! connection that it has, and take nothing over this one before it has heard.
//!
//! If the connection that counts is lost while the one before it is still open, that one counts again
//! ([`Peer::handle_return`]): the new run has failed, and the old one goes on.
//!
//! In the same way a host that is up over a relay comes back to the direct path: it says hello over a second connection
//! ([`Peer::hello`]), and is answered there.

use switch_core::Time;

use super::message::{Message, Outgoing};
use super::{Peer, PeerConfig, PeerState, Role};
use crate::Epoch;

/// Which of two connections to the same host counts: that to the later run, and of the same run's, the one that was dialed by
/// whose turn it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) epoch: Epoch,
    pub(super) by_turn: bool,
}

impl Peer {
    /// The same as [`Self::new`], for one that begins while another run of this host is connected. It dials at once, and says
    /// nothing until [`Self::take_over`].
    pub fn standing_by(config: PeerConfig, now: Time) -> Self {
        let mut peer = Self {
            stands_by: true,
            ..Self::new(config, now)
        };
        if peer.state == PeerState::Waiting {
            peer.deadline = Some(now);
        }
        peer
    }

    /// The other run of this host is about to end.
    pub fn take_over(&mut self, now: Time) {
        if !std::mem::take(&mut self.stands_by) {
            return;
        }
        match self.state {
            PeerState::Standby => self.greet(now),
            PeerState::Waiting if self.config.role == Role::Listens => {
                self.deadline = Some(now + self.config.timing.turn);
            }
            _ => {}
        }
    }

    /// Whether a connection that the remote dials now is a rival at first: it counts from its hello on, and not from its
    /// beginning ([`Self::handle_connected`]).
    pub fn has_rivals(&self) -> bool {
        let has_own = match self.state {
            PeerState::Up | PeerState::Standby => true,
            PeerState::Dialing => true,
            // This host dialed it.
            PeerState::Greeting => self.rank.by_turn == (self.config.role == Role::Dials),
            PeerState::Idle | PeerState::Waiting | PeerState::Revoked => false,
        };
        has_own || self.stands_by || self.config.role == Role::Dials
    }

    /// A message came over a connection to the expected host that does not count; `by_turn`: it was dialed by whose turn it is.
    /// Returns whether it counts from now on. Then what is to be sent is for that one; the caller may close the other.
    pub fn handle_rival(&mut self, now: Time, message: &[u8], by_turn: bool) -> bool {
        let Some(Message::Hello { hello, heard }) = Message::parse(message) else {
            return false;
        };
        let rank = Rank {
            epoch: hello.epoch,
            by_turn,
        };
        let is_less = self.is_up() && rank < self.rank;
        let is_refused = hello.host != self.config.remote || self.version(&hello).is_none();
        if is_less || is_refused || self.state == PeerState::Revoked {
            return false;
        }
        self.transmits.clear();
        self.rank = rank;
        self.state = PeerState::Greeting;
        self.heard_hello = false;
        self.handle_hello(now, &hello, heard);
        self.hellos_left = HELLOS;
        self.next_hello = Some(now + self.config.timing.hello_again);
        true
    }

    /// A whole datagram by which this host asks to be reached over a connection that does not count yet.
    pub fn hello(&self) -> Vec<u8> {
        self.datagram(Outgoing::Hello { heard: false })
    }

    /// The connection that counted is gone, and the one before it, which was up, is still open. Only while this is up.
    pub fn handle_return(&mut self, now: Time) {
        self.rank = Rank::default();
        self.life.hear(now);
        // If that is gone as well, the answer says so.
        self.send_keepalive(now);
    }
}

/// All of them are lost together only where next to nothing arrives.
const HELLOS: u32 = 4;
