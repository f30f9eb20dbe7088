//! Connections, and the hosts that they lead to.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use overlay_core::{
    DirectTries, FrameIds, HostId, Peer, ReassembleConfig, Reassembler, Role, Ways,
};
use quinn_proto::{Connection, ConnectionHandle, ConnectionId};
use switch_core::Time;

use super::early::Early;
use super::path::PathWatch;
use super::place::Place;

/// One connection.
pub(super) struct Link {
    pub(super) connection: Connection,
    /// The peer whose connection this is: the one dialed, or the one that proved its name.
    pub(super) host: Option<HostId>,
    pub(super) watch: Arc<PathWatch>,
    /// Longest UDP payload that is tried.
    pub(super) payload_max: u16,
    /// By which the one that dialed called it first.
    pub(super) first_id: Option<ConnectionId>,
    /// This host said hello over it, so that frames may come, whatever became of it since.
    pub(super) is_greeted: bool,
    /// Something came that its peer has not been told of.
    pub(super) has_heard: bool,
    /// A received datagram before which others go on first.
    pub(super) waiting: Option<Bytes>,
    /// Each has its own, because two runs of a host number their frames alike.
    pub(super) reassembler: Reassembler,
}

impl Link {
    pub(super) fn new(connection: Connection, (watch, payload_max): PathOptions) -> Self {
        Self {
            connection,
            host: None,
            watch,
            payload_max,
            first_id: None,
            is_greeted: false,
            has_heard: false,
            waiting: None,
            reassembler: Reassembler::new(ReassembleConfig::default()),
        }
    }

    pub(super) fn is_dialed(&self) -> bool {
        self.connection.side().is_client()
    }

    /// Where the other end is, if it is reached over a relay.
    pub(super) fn place(&self) -> Option<Place> {
        Place::of(self.connection.remote_address())
    }
}

/// What sees a connection's path, and the longest UDP payload that is tried there.
pub(super) type PathOptions = (Arc<PathWatch>, u16);

/// A host that is to be connected.
pub(super) struct Remote {
    pub(super) address: SocketAddr,
    pub(super) role: Role,
    pub(super) machine: Peer,
    /// The connection that counts: what is sent goes there.
    pub(super) link: Option<ConnectionHandle>,
    /// The one that counted before. Frames come over it until its host closes it.
    pub(super) elder: Option<ConnectionHandle>,
    /// One that counts as soon as its host says hello over it.
    pub(super) rival: Option<ConnectionHandle>,
    pub(super) ids: FrameIds,
    /// By which it is known in places.
    pub(super) number: u32,
    pub(super) ways: Ways,
    pub(super) tries: DirectTries,
    /// The connection of such a try.
    pub(super) trial: Option<ConnectionHandle>,
    /// Frames for a connection that is not there yet.
    pub(super) early: Early,
}

/// What a connection is to its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Counts,
    Elder,
    Rival,
}

impl Remote {
    /// `None` for a connection that is closed, or about to be.
    pub(super) fn standing(&self, handle: ConnectionHandle) -> Option<Standing> {
        let places = [
            (self.link, Standing::Counts),
            (self.elder, Standing::Elder),
            (self.rival, Standing::Rival),
        ];
        let place = places.iter().find(|(link, _)| *link == Some(handle));
        place.map(|(_, standing)| *standing)
    }

    /// Whether a connection that is open now does not count before its host says hello over it.
    pub(super) fn is_rival(&self, handle: ConnectionHandle, is_dialed: bool) -> bool {
        let is_up = self.machine.is_up();
        match is_dialed {
            true if self.trial == Some(handle) => is_up,
            true => self.link != Some(handle),
            false => self.machine.has_rivals(),
        }
    }

    /// A message came over a connection, which may count from now on. Returns one that is of no use any more then.
    pub(super) fn hear(
        &mut self,
        now: Time,
        (handle, is_dialed, is_direct): (ConnectionHandle, bool, bool),
        message: &[u8],
    ) -> Option<ConnectionHandle> {
        if self.link == Some(handle) {
            self.machine.handle_input(now, message);
            return None;
        }
        let was_up = self.machine.is_up();
        // Away from a relay is anybody's turn.
        let is_better = is_direct && was_up && self.ways.are_relayed();
        let is_by_turn = is_better || is_dialed == (self.role == Role::Dials);
        let counts = self.machine.handle_rival(now, message, is_by_turn);
        counts.then(|| self.prefer(handle, was_up)).flatten()
    }

    /// The connection counts from now on, in place of one over which the host was up, or was not.
    fn prefer(&mut self, handle: ConnectionHandle, was_up: bool) -> Option<ConnectionHandle> {
        self.part_with(handle);
        let before = self.link.replace(handle);
        match was_up {
            true => std::mem::replace(&mut self.elder, before),
            // The host may still say hello over it.
            false => std::mem::replace(&mut self.rival, before),
        }
    }

    pub(super) fn part_with(&mut self, handle: ConnectionHandle) {
        let (link, elder, rival) = (&mut self.link, &mut self.elder, &mut self.rival);
        for place in [link, elder, rival, &mut self.trial] {
            place.take_if(|link| *link == handle);
        }
    }
}
