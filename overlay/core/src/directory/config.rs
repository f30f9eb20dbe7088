//! What a directory is told, and what it says.

use std::net::IpAddr;
use std::time::Duration;

use switch_core::Mac;

use crate::{Epoch, HostId, NetworkId, Record, RecordFlags};

#[derive(Clone, Debug)]
pub struct DirectoryConfig {
    /// This host.
    pub host: HostId,
    pub epoch: Epoch,
    pub records_max: usize,
    pub hosts_max: usize,
    /// How long a withdrawal, and the end of a lease, is remembered against records that come late.
    pub tombstone: Duration,
    /// A MAC that moves this often within the window, from here to elsewhere and back, is a duplicate: it is not taken over any
    /// more.
    pub moves_max: u32,
    pub move_window: Duration,
}

impl DirectoryConfig {
    /// EVPN's damping: five moves in three minutes (RFC 7432 §15.1).
    pub const fn new(host: HostId, epoch: Epoch) -> Self {
        Self {
            host,
            epoch,
            records_max: 262_144,
            hosts_max: 4096,
            tombstone: Duration::from_secs(60),
            moves_max: 5,
            move_window: Duration::from_secs(180),
        }
    }
}

/// What became of a record or a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Installed,
    /// Known already, or older than what is known.
    Stale,
    /// Of a host's earlier life.
    OldEpoch,
    /// This host's own, which it knows better. If it does not hold the record, that is left from an earlier life: delete it.
    Own,
    /// Too many addresses, or the table is full.
    Refused,
}

/// An endpoint's place, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: HostId,
    /// Those that no better endpoint claims, in the record's order.
    pub addresses: Vec<IpAddr>,
    pub flags: RecordFlags,
}

/// What changed for the bridges of this host. Only of networks that are attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryEvent {
    /// `mac` lives on `endpoint.host`, which may be this one, with these addresses; replaces what was said before.
    Endpoint {
        network: NetworkId,
        mac: Mac,
        endpoint: Endpoint,
    },
    /// Nobody has `mac`.
    EndpointGone {
        network: NetworkId,
        mac: Mac,
    },
    /// Flood the network to this host, which is another one.
    FloodJoin {
        network: NetworkId,
        host: HostId,
    },
    FloodLeave {
        network: NetworkId,
        host: HostId,
    },
}

/// The endpoint cannot be announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceEndpoint {
    #[error("an endpoint has {0} addresses; at most {max} are carried", max = Record::ADDRESSES_MAX)]
    TooManyAddresses(usize),
    #[error("{0} is not the MAC of a station")]
    NotAStation(Mac),
    #[error("the directory is full")]
    Full,
}

/// Events since the start. Every field only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryCounts {
    pub installed: u64,
    pub withdrawn: u64,
    /// Records and withdrawals that said nothing new.
    pub stale: u64,
    pub old_epoch: u64,
    pub refused: u64,
    /// Leases that ended, and epochs that were replaced, with records in them.
    pub hosts_gone: u64,
    /// MACs that changed their host.
    pub moved: u64,
    /// Times a duplicate MAC was not taken over.
    pub damped: u64,
}
