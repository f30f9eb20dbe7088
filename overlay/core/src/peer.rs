//! One remote host. (Skeleton.)
use crate::{Epoch, HostId};
use std::time::Duration;
use switch_core::Time;

/// The state of the connection to one remote host.
#[derive(Debug)]
pub struct Peer {}

#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// What this host says of itself.
    pub hello: Hello,
    /// Who the remote must be by its certificate and by its hello.
    pub remote: HostId,
    pub role: Role,
    pub timing: Timing,
    /// Seeds the jitter of redials; differs between hosts.
    pub seed: u64,
}

/// Who opens the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Dials,
    Listens,
}

impl Role {
    /// The host with the lower name dials.
    pub fn between(local: &HostId, remote: &HostId) -> Self {
        if local < remote {
            Self::Dials
        } else {
            Self::Listens
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub keepalive: Duration,
    pub dead: Duration,
    pub hello_timeout: Duration,
    pub backoff_min: Duration,
    pub backoff_max: Duration,
}

/// What a host says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Protocol versions spoken, lowest and highest.
    pub versions: (u8, u8),
    pub capabilities: Capabilities,
    pub host: HostId,
    pub epoch: Epoch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Superframes may come in pieces.
    pub const PIECES: Self = Self(1);
    /// Long frames may come in fragments.
    pub const FRAGMENTS: Self = Self(2);
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    Waiting,
    Dialing,
    Greeting,
    Up,
}

/// Why a connection is to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Close {
    /// The certificate names another host.
    WrongIdentity(String),
    /// The hello names another host than the certificate.
    WrongHost(HostId),
    NoCommonVersion,
    NoHello,
    Silent,
    Malformed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// Open a connection; then `handle_connected` or `handle_disconnected`.
    Dial,
    /// Close the connection.
    Close(Close),
    /// Frames may flow.
    Up {
        version: u8,
        capabilities: Capabilities,
        epoch: Epoch,
    },
    /// No frames may flow any more.
    Down,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    pub dials: u64,
    pub ups: u64,
    pub refused: u64,
    pub silent: u64,
    pub malformed: u64,
}

impl Peer {
    pub fn new(_config: PeerConfig, _now: Time) -> Self {
        Self {}
    }
    /// A connection is open whose certificate names `identity`.
    pub fn handle_connected(&mut self, _now: Time, _identity: &str) {}
    /// The connection is gone, or could not be opened.
    pub fn handle_disconnected(&mut self, _now: Time) {}
    /// The remote host was announced anew (its address changed, say): dial at once.
    pub fn redial(&mut self, _now: Time) {}
    /// A message came: the body of a [`crate::DatagramHeader::Control`] datagram.
    pub fn handle_input(&mut self, _now: Time, _message: &[u8]) {}
    /// A frame came over the connection: a sign of life.
    pub fn handle_traffic(&mut self, _now: Time) {}
    pub fn handle_timeout(&mut self, _now: Time) {}
    /// A whole datagram to send, header included.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        None
    }
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        None
    }
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }
    pub fn state(&self) -> PeerState {
        todo!()
    }
    pub fn counts(&self) -> PeerCounts {
        todo!()
    }
}
