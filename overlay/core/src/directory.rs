//! Where every endpoint of the cluster is. (Skeleton.)
use crate::{Epoch, HostId, Record, RecordFlags, Sequence, Withdrawal};
use std::net::IpAddr;
use std::time::Duration;
use switch_core::{Mac, Time, Vni};

/// Every record known on this host, and what follows from them.
#[derive(Debug)]
pub struct Directory {}

#[derive(Clone, Debug)]
pub struct DirectoryConfig {
    pub host: HostId,
    pub epoch: Epoch,
    pub records_max: usize,
    pub hosts_max: usize,
    /// How long a withdrawal is remembered against records that come late.
    pub tombstone: Duration,
    /// A MAC that moves this often within the window is duplicate: it is no longer taken over.
    pub moves_max: u32,
    pub move_window: Duration,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Installed,
    /// Known already, or older than what is known.
    Stale,
    /// Of a host's earlier life.
    OldEpoch,
    /// Too many addresses, or the table is full.
    Refused,
}

/// An endpoint's place, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: HostId,
    pub addresses: Vec<IpAddr>,
    pub flags: RecordFlags,
}

/// What changed for the bridges of this host. Only of networks that are attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryEvent {
    /// `mac` lives on `endpoint.host`, which may be this one, with these addresses; replaces what was said before.
    Endpoint {
        vni: Vni,
        mac: Mac,
        endpoint: Endpoint,
    },
    EndpointGone {
        vni: Vni,
        mac: Mac,
    },
    /// Flood the network to this host.
    FloodJoin {
        vni: Vni,
        host: HostId,
    },
    FloodLeave {
        vni: Vni,
        host: HostId,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryCounts {
    pub installed: u64,
    pub moved: u64,
    pub withdrawn: u64,
    pub stale: u64,
    pub old_epoch: u64,
    pub refused: u64,
    pub damped: u64,
}

impl Directory {
    pub fn new(_config: DirectoryConfig) -> Self {
        Self {}
    }
    /// This host has a bridge of the network now: its events follow.
    pub fn attach_network(&mut self, _vni: Vni) {}
    pub fn detach_network(&mut self, _vni: Vni) {}
    /// An endpoint was attached here. Its sequence is above all that is known of its MAC and addresses, and at least `floor`.
    /// Publish the record.
    pub fn announce(
        &mut self,
        _now: Time,
        _vni: Vni,
        _mac: Mac,
        _addresses: &[IpAddr],
        _flags: RecordFlags,
        _floor: Sequence,
    ) -> Option<Record> {
        todo!()
    }
    /// The endpoint was detached here. Publish the withdrawal.
    pub fn withdraw(&mut self, _now: Time, _vni: Vni, _mac: Mac) -> Option<Withdrawal> {
        todo!()
    }
    /// A frame from `mac` came from a port of this host. If the MAC is another host's, and not registered, this host takes it
    /// over: publish the record.
    pub fn learn_local(&mut self, _now: Time, _vni: Vni, _mac: Mac) -> Option<Record> {
        todo!()
    }
    /// A record of another host.
    pub fn apply(&mut self, _now: Time, _record: Record) -> Applied {
        todo!()
    }
    pub fn apply_withdrawal(&mut self, _now: Time, _withdrawal: &Withdrawal) -> Applied {
        todo!()
    }
    /// The whole of what others say now (after the store was away): what is not in it is withdrawn.
    pub fn resync(&mut self, _now: Time, _records: Vec<Record>) {}
    /// The lease of a host, in this epoch, is gone: everything it said is void.
    pub fn host_gone(&mut self, _now: Time, _host: &HostId, _epoch: Epoch) {}
    /// This host has a new lease: returns its records, in the new epoch, to be published.
    pub fn renew(&mut self, _now: Time, _epoch: Epoch) -> Vec<Record> {
        todo!()
    }
    /// Who has a MAC.
    pub fn locate(&self, _vni: Vni, _mac: Mac) -> Option<&Record> {
        todo!()
    }
    /// Who has an address.
    pub fn resolve(&self, _vni: Vni, _address: IpAddr) -> Option<&Record> {
        todo!()
    }
    /// Other hosts with an endpoint in the network, in order.
    pub fn flood(&self, _vni: Vni) -> impl Iterator<Item = &HostId> {
        std::iter::empty()
    }
    /// Whether a host may send frames of a network: it has an endpoint there.
    pub fn is_member(&self, _vni: Vni, _host: &HostId) -> bool {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<DirectoryEvent> {
        None
    }
    pub fn handle_timeout(&mut self, _now: Time) {}
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }
    pub fn counts(&self) -> DirectoryCounts {
        todo!()
    }
}
