//! One remote host, as the connection to it sees it.
//!
//! # Theory of operation
//!
//! A [`Peer`] decides when to dial, whom to talk to and when the other is dead. The connection itself, with its certificates,
//! is the caller's; messages ride in datagrams ([`crate::DatagramHeader::Control`]), so a lost one is sent again here.
//!
//! ```text
//!              backoff over             connected                hello came
//!   Waiting ----------------> Dialing ------------> Greeting ----------------> Up
//!      ^                         |                     |                        |
//!      +--- no answer in time ---+-- no hello, wrong host, no common version ---+-- silent, disconnected
//! ```
//!
//! - Only a connection that is needed is dialed ([`need`]). One that the remote dials is taken all the same, because only
//!   one of both may know yet that it is needed. Without one, such a peer is Idle.
//! - The side that listens gives the other [`Timing::turn`] before it dials too, because it may be the only one that can: the
//!   other does not reach a host behind an address translator. It goes to Greeting when a connection comes: the remote dialed
//!   anew, so it knows that an old connection is gone. Of two that were dialed at once that counts in the end which was dialed
//!   by whose turn it is ([`succession`]); one alone counts, whoever dialed it.
//! - The certificate must name the host that is expected, and the hello the same; the hello alone proves nothing.
//! - Both send their hello until the other's says it has arrived. The version is the highest both speak, the capabilities are
//!   those both have.
//! - Up, anything that comes is a sign of life, acknowledgments too. Who hears none asks, and after some keepalives in vain the
//!   peer is dead ([`liveness`]): Down, close, dial again. A path that works one way only is dead on the side that hears
//!   nothing, and its close tells the other.
//! - The pause before a redial doubles each time, up to [`Timing::backoff_max`]. Half of it is always waited, and a random part
//!   of the other half, so that the hosts of a cluster that starts do not dial in step. A hello that arrives resets the pause.
//!   The maximum is below a second, so that a host that returns is known within a second.
//! - A connection that was up for a while and is gone is dialed again without a pause: its host has started anew, and said so.
//! - A dial that gets no answer is given up after a while, because QUIC probes a path more and more seldom the longer it is away.
//!   The limit is three times what the last successful dial took, and at least [`Timing::dial_min`]. Before the first success
//!   it doubles with each dial, for hosts that are far away.
//! - A host whose certificate is void ([`Peer::revoke`]) is left alone until [`Peer::redial`].
//! - One run of a host takes the place of another without a break ([`succession`]).

use std::collections::VecDeque;
use std::time::Duration;

use switch_core::Time;

use crate::DatagramHeader;
use crate::random::Random;
use liveness::{Act, Liveness};
use message::{LETTER, Message, Outgoing};
use need::Need;
use patience::Patience;
use succession::Rank;

pub use config::{Capabilities, Hello, PeerConfig, Role, Timing};
pub use event::{Close, PeerCounts, PeerEvent, PeerState};

/// The state of the connection to one remote host.
#[derive(Debug)]
pub struct Peer {
    config: PeerConfig,
    state: PeerState,
    /// When [`Self::handle_timeout`] has something to do in this state.
    deadline: Option<Time>,
    /// When the next hello is due; none outside Greeting.
    next_hello: Option<Time>,
    /// Means something while this is up.
    life: Liveness,
    up_since: Time,
    /// Whether the remote's hello came on this connection.
    heard_hello: bool,
    /// How often a hello that nobody confirms is still to be said.
    hellos_left: u32,
    /// Another run of this host is still there.
    stands_by: bool,
    need: Need,
    /// Of the connection that counts; it means something while that is up.
    rank: Rank,
    /// What the remote's hello said it can.
    told: Capabilities,
    backoff: Duration,
    patience: Patience,
    random: Random,
    transmits: VecDeque<Outgoing>,
    events: VecDeque<PeerEvent>,
    counts: PeerCounts,
}

impl Peer {
    /// Who dials does so at once.
    pub fn new(config: PeerConfig, now: Time) -> Self {
        let mut peer = Self {
            state: PeerState::Idle,
            deadline: None,
            next_hello: None,
            life: Liveness::new(config.timing, config.role, now),
            up_since: now,
            heard_hello: false,
            hellos_left: 0,
            stands_by: false,
            need: Need::default(),
            rank: Rank::default(),
            told: Capabilities::NONE,
            backoff: config.timing.backoff_min,
            patience: Patience::new(config.timing),
            random: Random::new(config.seed),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counts: PeerCounts::default(),
            config,
        };
        if peer.config.is_needed {
            peer.need(now);
        }
        peer
    }

    /// A connection is open, and its certificate names `identity`. It takes the place of an earlier one, which the caller
    /// closes.
    pub fn handle_connected(&mut self, now: Time, identity: &str) {
        if self.state == PeerState::Revoked {
            self.events.push_back(PeerEvent::Close(Close::Revoked));
            return;
        }
        if identity != self.config.remote.as_str() {
            // A stranger does not end what is up.
            if self.state == PeerState::Up {
                self.counts.refused += 1;
                return;
            }
            self.close(now, Close::WrongIdentity(identity.to_owned()));
            return;
        }
        self.go_down();
        let has_dialed = self.state == PeerState::Dialing;
        if has_dialed {
            self.patience.connected(now);
        }
        self.rank.by_turn = has_dialed == (self.config.role == Role::Dials);
        self.heard_hello = false;
        if self.stands_by {
            self.state = PeerState::Standby;
            self.deadline = None;
        } else {
            self.greet(now);
        }
    }

    /// The connection is gone, or could not be opened. Not for connections that were to be closed or replaced.
    pub fn handle_disconnected(&mut self, now: Time) {
        if !self.is_open() && self.state != PeerState::Dialing {
            return;
        }
        let has_lasted = self.is_up() && self.up_since + self.config.timing.dead() <= now;
        self.go_down();
        self.wait(now);
        if has_lasted && self.dials() && self.state == PeerState::Waiting {
            self.deadline = Some(now);
        }
    }

    /// The remote host was announced anew: its address changed, or it has a new certificate. Dials at once if nothing is up.
    pub fn redial(&mut self, now: Time) {
        match self.state {
            PeerState::Waiting | PeerState::Revoked if self.need.is_there() => self.begin(now),
            PeerState::Revoked => self.state = PeerState::Idle,
            _ => {}
        }
    }

    /// The remote's certificate was revoked or has expired.
    pub fn revoke(&mut self) {
        if self.state == PeerState::Revoked {
            return;
        }
        let is_open = self.is_open() || self.state == PeerState::Dialing;
        self.go_down();
        self.state = PeerState::Revoked;
        self.deadline = None;
        if is_open {
            self.counts.refused += 1;
            self.events.push_back(PeerEvent::Close(Close::Revoked));
        }
    }

    /// A message came: the body of a [`DatagramHeader::Control`] datagram.
    pub fn handle_input(&mut self, now: Time, message: &[u8]) {
        let Some(message) = Message::parse(message) else {
            self.counts.malformed += 1;
            return;
        };
        if !self.is_open() {
            return;
        }
        self.life.hear(now);
        match message {
            Message::Hello { hello, heard } => self.handle_hello(now, &hello, heard),
            Message::Keepalive => {}
            Message::Letter(body) if self.is_up() => {
                self.events.push_back(PeerEvent::Letter(body));
            }
            Message::Letter(_) => {}
        }
    }

    /// Something came over the connection that is none of our datagrams: acknowledgments. The caller must see to it that
    /// whatever is sent is acknowledged.
    pub const fn handle_sign(&mut self, now: Time) {
        self.life.hear(now);
    }

    /// Frames came. This and the next are cheap enough to be called for every batch of frames.
    pub const fn handle_traffic(&mut self, now: Time) {
        self.life.take(now);
    }

    /// Frames went. Whether [`Self::poll_timeout`] is due earlier now.
    pub fn handle_sent(&mut self, now: Time) -> bool {
        if !self.life.send(now) || !self.is_up() {
            return false;
        }
        let due = self.life.due();
        let is_earlier = self.deadline.is_none_or(|deadline| due < deadline);
        if is_earlier {
            self.deadline = Some(due);
        }
        is_earlier
    }

    /// How long the path is, there and back, as far as the connection knows.
    pub const fn handle_round_trip(&mut self, round_trip: Duration) {
        self.life.measure(round_trip);
    }

    pub fn handle_timeout(&mut self, now: Time) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.handle_deadline(now);
        }
        if self.next_hello.is_some_and(|due| due <= now) {
            self.send_hello(now);
        }
        if self.need.is_over(now) {
            self.let_go(now);
        }
    }

    /// A whole datagram to send, header included.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let message = self.transmits.pop_front()?;
        Some(self.datagram(message))
    }

    /// A whole datagram, header included, that brings `body` to the remote's agent; `None` where nobody there would read it. It comes
    /// once or not at all: nothing is sent again.
    pub fn letter(&self, body: &[u8]) -> Option<Vec<u8>> {
        if !self.is_up() || !self.told.contains(Capabilities::LETTERS) {
            return None;
        }
        let (header, len) = DatagramHeader::Control.to_bytes();
        let mut datagram = header[..len].to_vec();
        datagram.push(LETTER);
        datagram.extend(body);
        Some(datagram)
    }

    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due; `None` while only a connection can change anything.
    pub fn poll_timeout(&self) -> Option<Time> {
        let all = [self.deadline, self.next_hello, self.need.end()];
        all.into_iter().flatten().min()
    }

    pub const fn state(&self) -> PeerState {
        self.state
    }

    pub const fn is_up(&self) -> bool {
        matches!(self.state, PeerState::Up)
    }

    /// What the remote says of itself; while it is up.
    pub const fn told(&self) -> Capabilities {
        self.told
    }

    pub const fn counts(&self) -> PeerCounts {
        self.counts
    }

    /// Connected to somebody.
    const fn is_open(&self) -> bool {
        matches!(
            self.state,
            PeerState::Standby | PeerState::Greeting | PeerState::Up
        )
    }

    fn handle_deadline(&mut self, now: Time) {
        match self.state {
            PeerState::Waiting => self.dial(now),
            PeerState::Dialing => {
                self.patience.grow();
                self.close(now, Close::NoAnswer);
            }
            PeerState::Greeting => self.close(now, Close::NoHello),
            PeerState::Up => match self.life.act(now) {
                Act::Wait(due) => self.deadline = Some(due),
                Act::Probe => self.send_keepalive(now),
                Act::GiveUp => self.close(now, Close::Silent),
            },
            PeerState::Idle | PeerState::Standby | PeerState::Revoked => self.deadline = None,
        }
    }

    fn close(&mut self, now: Time, why: Close) {
        match why {
            Close::Silent | Close::NoHello | Close::NoAnswer => self.counts.silent += 1,
            Close::NotNeeded => {}
            _ => self.counts.refused += 1,
        }
        self.go_down();
        self.events.push_back(PeerEvent::Close(why));
        self.wait(now);
    }

    /// Ends what a connection had.
    fn go_down(&mut self) {
        if self.state == PeerState::Up {
            self.counts.downs += 1;
            self.events.push_back(PeerEvent::Down);
        }
        self.next_hello = None;
        self.hellos_left = 0;
        self.transmits.clear();
    }

    fn send_keepalive(&mut self, now: Time) {
        self.transmit(Outgoing::Keepalive);
        self.life.probe(now);
        self.deadline = Some(self.life.due());
    }

    fn datagram(&self, message: Outgoing) -> Vec<u8> {
        let (header, len) = DatagramHeader::Control.to_bytes();
        let mut datagram = header[..len].to_vec();
        message.write(&self.config.hello, &mut datagram);
        datagram
    }

    fn transmit(&mut self, message: Outgoing) {
        if self.transmits.len() < TRANSMITS_MAX {
            self.transmits.push_back(message);
        }
    }
}

/// The longest letter, in bytes: it fits the shortest datagram that QUIC promises (RFC 9000 14: 1,200 bytes), less the headers.
pub const LETTER_LEN_MAX: usize = 1100;
/// Messages that wait for a caller that does not poll.
const TRANSMITS_MAX: usize = 4;

mod config;
mod dialing;
mod event;
mod greeting;
mod liveness;
mod message;
mod need;
mod patience;
mod succession;
#[cfg(test)]
mod tests;
