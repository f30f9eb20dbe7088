//! The directory, which orders what all hosts claim, and where a host is.

use std::net::IpAddr;

use agent_cluster::{ALIVE, AliveRecord, HOSTS, HostRecord, Member};
use agent_core::record::EndpointRecord;
use agent_core::record::NetworkRecord;
use overlay_core::{
    Applied, DirectoryEvent, Epoch, HostId, NetworkId, Record, RecordFlags, Sequence,
};
use switch_core::Mac;

use super::Sharing;
use crate::locks::lock;

impl Sharing {
    /// A network of the cluster is here from now on.
    pub(crate) fn attach_network(&self, network: NetworkId) {
        if let Some(directory) = &mut *lock(&self.directory) {
            directory.attach_network(network);
        }
    }

    /// It is here no more.
    pub(crate) fn forget_network(&self, network: NetworkId) {
        if let Some(directory) = &mut *lock(&self.directory) {
            directory.forget_network(network);
        }
    }

    /// Registers an endpoint of this host in the directory; its sequence number, which is at least `floor`. Nothing where there
    /// is no cluster.
    pub(crate) fn announce(&self, record: &EndpointRecord, floor: u32) -> Option<u32> {
        let flags = RecordFlags {
            sticky: true,
            ..RecordFlags::default()
        };
        let place = (NetworkId::parse(&record.network)?, Mac::new(record.mac));
        let now = self.ground.switch.now();
        let announced = lock(&self.directory).as_mut()?.announce(
            now,
            place,
            &record.addresses(),
            flags,
            Sequence(floor),
        );
        match announced {
            Ok(record) => Some(record.sequence.0),
            Err(error) => {
                tracing::warn!(endpoint = record.name, %error, "an endpoint is not shared");
                None
            }
        }
    }

    /// An endpoint of this host has no part in its network: what others claim counts.
    pub(crate) fn withdraw(&self, record: &EndpointRecord) {
        if let (Some(directory), Some(network)) = (
            &mut *lock(&self.directory),
            NetworkId::parse(&record.network),
        ) {
            directory.withdraw(self.ground.switch.now(), network, Mac::new(record.mac));
        }
    }

    pub(crate) fn next_event(&self) -> Option<DirectoryEvent> {
        lock(&self.directory).as_mut()?.poll_event()
    }

    /// Whether there is a directory to be told of another host's endpoint.
    pub(crate) fn apply(&self, record: Record, is_there: bool) -> bool {
        let now = self.ground.switch.now();
        let mut directory = lock(&self.directory);
        let Some(directory) = &mut *directory else {
            return false;
        };
        let (mac, host) = (record.mac, record.host.clone());
        let (epoch, sequence) = (record.epoch.0, record.sequence.0);
        let known = directory.epoch_of(&host);
        let applied = match is_there {
            true => directory.apply(now, record),
            // What a host said in a store of before, and what is held no more now, went when the host began another life.
            false if known.is_some_and(|known| known < record.epoch) => Applied::OldEpoch,
            false => directory.apply_withdrawal(now, &record.withdrawal()),
        };
        tracing::debug!(%mac, %host, ?applied, is_there, epoch, sequence, "remote endpoint");
        true
    }

    /// The store was set back: what all hosts say now is to be applied after this.
    pub(crate) fn forget_past(&self) {
        if let Some(directory) = &mut *lock(&self.directory) {
            directory.forget_past();
        }
    }

    /// A host says that it is alive: what is known of higher epochs is of a store before.
    pub(crate) fn note_life(&self, host: &HostId, epoch: u64) {
        if let Some(directory) = &mut *lock(&self.directory) {
            directory.host_lives(host, Epoch(epoch));
        }
    }

    pub(crate) fn forget_host(&self, host: &HostId, epoch: u64) {
        if let Some(directory) = &mut *lock(&self.directory) {
            // Not a life of which nothing is known yet: in a store that was restored it may have begun at the revision of the one before.
            let known = directory.epoch_of(host).unwrap_or(Epoch(epoch));
            directory.host_gone(self.ground.switch.now(), host, known.min(Epoch(epoch)));
        }
    }
}

/// What the directory calls a network of the cluster.
pub(crate) fn id_shared(record: &NetworkRecord) -> Option<NetworkId> {
    record.shared().and_then(|_| NetworkId::parse(&record.id))
}

/// Where a host is, as far as is known.
pub(crate) fn address_of(member: &Member, host: &HostId) -> Option<IpAddr> {
    let world = member.world();
    let alive = world.find::<AliveRecord>(&format!("{ALIVE}{host}"));
    alive.map(|(alive, _)| alive.address).or_else(|| {
        let known = world.find::<HostRecord>(&format!("{HOSTS}{host}"));
        known.map(|(known, _)| known.address)
    })
}
