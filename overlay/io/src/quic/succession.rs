//! One run of a host takes the place of another that still runs.
//!
//! # Theory of operation
//!
//! Both have the same socket, and one of them reads it: the old one, until its end. It makes a [`Passage`]
//! ([`QuicTunnel::make_way`]), and from then on passes on what is not its own: packets for identifiers that the other gave out,
//! and the first packets of new connections. The new one ([`QuicTunnel::start_beside`]) receives from the passage, sends
//! over the socket, and connects to all peers that it needs while frames still flow over the old one's connections. When it is
//! told to take over it says hello, and peers send to it instead. The end of the passage tells it that the old one reads no
//! more; what came meanwhile waits at the socket.
//!
//! Identifiers have a mark for that, one bit ([`super::connection_ids`]). A packet that nobody's identifier is on may be a stateless
//! reset, whose identifier is random: both get that.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use overlay_core::{Destination, PeerState};
use quinn_udp::RecvMeta;

use super::connection_ids::{LEN, Mark};
use super::engine::Engine;
use super::passage::Passage;
use super::{Quic, QuicConfig, QuicTrunk, QuicTunnel, StartQuic};
use crate::tunnel::Shared;

/// What a run leaves to the one that takes its place.
#[derive(Debug)]
pub struct Heritage {
    /// By which the new one's connections are told from the old one's.
    pub mark: Mark,
    /// Where the new one receives from while the old one reads the socket.
    pub passage: OwnedFd,
}

impl QuicTunnel {
    /// Begins beside another run of this host, which has made way and still carries frames over the same `socket`. Connects to
    /// every peer, and carries nothing before [`Self::take_over`].
    pub fn start_beside(
        config: QuicConfig,
        socket: OwnedFd,
        heritage: Heritage,
    ) -> Result<(Self, QuicTrunk), StartQuic> {
        let socket = Self::bind(config.local, Some(socket))?;
        let passage = Passage::of(heritage.passage);
        Self::open(config, socket, (heritage.mark, Some(passage)))
    }

    /// Passes on what is not for this run, to the one that begins beside it with this.
    pub fn make_way(&self) -> io::Result<Heritage> {
        let (near, far) = Passage::pair()?;
        let mut engine = self.engine();
        engine.successor = Some(near);
        Ok(Heritage {
            mark: engine.ids.mark.other(),
            passage: far,
        })
    }

    /// Nobody took the place of this run.
    pub fn go_on(&self) {
        self.engine().successor = None;
    }

    /// Whether every peer that is needed is connected, as far as one is that hears nothing from this run yet.
    pub fn has_met_all(&self) -> bool {
        let is_met = |state| {
            let met = [
                PeerState::Idle,
                PeerState::Standby,
                PeerState::Up,
                PeerState::Revoked,
            ];
            met.contains(&state)
        };
        self.engine().are_all(is_met)
    }

    /// Says hello to all peers that are connected, so that they send to this run.
    pub fn take_over(&self) {
        self.engine().take_over(Instant::now());
    }

    /// Whether every peer that is connected has said hello.
    pub fn is_greeted(&self) -> bool {
        self.engine().are_all(|state| state != PeerState::Greeting)
    }

    /// Closes all connections, because another run has taken over.
    pub fn leave(&self) {
        self.engine().close_all(Instant::now());
    }
}

/// The other run has ended: from now on this one reads the socket.
pub(super) fn inherit(tunnel: &Shared<Quic>, engine: &mut Engine) {
    let Some(ended) = engine.ended.take() else {
        return;
    };
    let watched = tunnel
        .readiness
        .replace(ended.as_fd(), engine.socket.as_fd());
    if let Err(error) = watched {
        tracing::error!(%error, "the tunnel's socket cannot be watched; start the agent again");
    }
}

/// Who has to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Own,
    Others,
    Anybodys,
}

impl Engine {
    fn take_over(&mut self, now: Instant) {
        let time = self.clock.time(now);
        self.stands_by = false;
        for (host, remote) in &mut self.peers {
            remote.machine.take_over(time);
            self.changed.push(host.clone());
        }
        self.settle(now);
    }

    fn are_all(&self, what: impl Fn(PeerState) -> bool) -> bool {
        let mut remotes = self.peers.values();
        remotes.all(|remote| what(remote.machine.state()))
    }

    /// Passes on datagrams that came together, where none of them is for this run. Whether it did.
    pub(super) fn pass_on(&mut self, meta: &RecvMeta, datagrams: &[u8]) -> bool {
        let Some(successor) = &self.successor else {
            return false;
        };
        let stride = meta.stride.max(1);
        let (mut are_own, mut are_others) = (false, false);
        for datagram in datagrams.chunks(stride) {
            let whose = self.whose(datagram);
            are_own |= whose != Whose::Others;
            are_others |= whose != Whose::Own;
        }
        // Of several, each is looked at again for itself.
        let is_one = datagrams.len() <= stride;
        if are_others && (is_one || !are_own) && successor.send(meta, datagrams).is_err() {
            self.counts.unsent += 1;
        }
        !are_own
    }

    fn whose(&self, datagram: &[u8]) -> Whose {
        let Some(to) = Destination::of(datagram, LEN) else {
            return Whose::Own;
        };
        match self.ids.mark_of(to.connection_id) {
            Some(mark) if mark == self.ids.mark => Whose::Own,
            Some(_) => Whose::Others,
            None if !to.is_long => Whose::Anybodys,
            // It may have begun before there was another run.
            None if self.has_begun(to.connection_id) => Whose::Own,
            None => Whose::Others,
        }
    }

    fn has_begun(&self, first_id: &[u8]) -> bool {
        let mut links = self.links.values();
        links.any(|link| link.first_id.as_deref() == Some(first_id))
    }
}
