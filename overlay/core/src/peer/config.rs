//! What a peer is told at its start.

use std::time::Duration;

use crate::{Epoch, HostId};

#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// What this host says of itself.
    pub hello: Hello,
    /// Who the remote must be, by its certificate and by its hello.
    pub remote: HostId,
    pub role: Role,
    /// Whether this host needs the connection; if not, it only takes one that the remote dials.
    pub is_needed: bool,
    pub timing: Timing,
    /// Seeds the jitter of redials; differs between hosts.
    pub seed: u64,
}

/// Who opens the connection. The other does when that does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Dials,
    Listens,
}

impl Role {
    /// The host with the lower name dials, so that there is one connection.
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
    /// How long an answer, or any word at all, may take before a keepalive asks; while no frames go it becomes as long as
    /// `keepalive_max`.
    pub keepalive: Duration,
    pub keepalive_max: Duration,
    /// How long each keepalive is waited for, and how many are sent in vain before the peer is dead.
    pub probe: Duration,
    pub probes: u32,
    /// How long a dial may take, at least and at most; see the theory of operation.
    pub dial_min: Duration,
    pub dial_max: Duration,
    /// How long a connection may be without a hello.
    pub hello: Duration,
    /// How often a hello is sent that has not arrived.
    pub hello_again: Duration,
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// How long the side that listens waits for the other's dial before it dials itself.
    pub turn: Duration,
    /// How long a connection that nobody needs any more is kept.
    pub linger: Duration,
    /// How long frames may wait for a connection that is needed since just now.
    pub coming: Duration,
}

impl Default for Timing {
    /// The death of a peer that frames go to is known within a second, and so is its return.
    fn default() -> Self {
        Self {
            keepalive: Duration::from_millis(250),
            keepalive_max: Duration::from_secs(1),
            probe: Duration::from_millis(125),
            probes: 4,
            dial_min: Duration::from_millis(400),
            dial_max: Duration::from_millis(3200),
            hello: Duration::from_millis(1000),
            hello_again: Duration::from_millis(100),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_millis(500),
            turn: Duration::from_millis(400),
            linger: Duration::from_secs(30),
            coming: Duration::from_secs(1),
        }
    }
}

impl Timing {
    /// From the first unanswered word until the peer is dead.
    pub(super) fn dead(&self) -> Duration {
        self.keepalive + self.probe * self.probes
    }
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

impl Hello {
    /// What this build speaks.
    pub const fn new(host: HostId, epoch: Epoch) -> Self {
        Self {
            versions: (1, 1),
            capabilities: Capabilities::ALL,
            host,
            epoch,
        }
    }

    /// The same of a host that passes on what is for others, or does not.
    #[must_use]
    pub fn relaying(mut self, relays: bool) -> Self {
        if relays {
            self.capabilities = self.capabilities.with(Capabilities::RELAYS);
        }
        self
    }
}

/// What both ends must have before one uses it. Unknown bits are kept out by the intersection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u32);

impl Capabilities {
    pub const NONE: Self = Self(0);
    /// Superframes may come in pieces.
    pub const PIECES: Self = Self(1);
    /// Long frames may come in fragments.
    pub const FRAGMENTS: Self = Self(2);
    /// Checksums may be missing.
    pub const OPEN_CHECKSUMS: Self = Self(4);
    /// What a third host passes on may come ([`crate::RelayHeader`]).
    pub const RELAYED: Self = Self(8);
    pub const ALL: Self = Self(47);
    /// It passes on what is for others. Each says so for itself; the other need not.
    pub const RELAYS: Self = Self(16);
    /// It reads what other agents write ([`Peer::letter`](crate::Peer::letter)).
    pub const LETTERS: Self = Self(32);

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
