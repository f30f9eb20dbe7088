//! Telling the other hosts of this host's endpoints.

use std::collections::BTreeSet;
use std::sync::Arc;

use agent_cluster::{ENDPOINTS, EndpointShared, Member, ServiceShared, Session};
use agent_core::record::EndpointRecord;
use agent_core::shared::checks;
use agent_core::shared::others::{holder_of_mac, lost_mac, name_of, strays};
use agent_store::{Change, Expected, StoreError};
use overlay_core::Epoch;
use switch_core::Mac;

use super::Sharing;
use crate::locks::lock;

/// The endpoints of one shared network, as they are at the beginning of a session.
pub(crate) struct SharedEndpoints {
    pub(crate) network: String,
    pub(crate) records: Vec<Arc<EndpointRecord>>,
}

impl Sharing {
    /// The endpoint of another host that has the MAC of `record`, for people. What is known of it may be a moment old, so the store is
    /// asked; but for what counts though the store has it no more.
    pub(crate) fn holder_of_mac(&self, member: &Member, record: &EndpointRecord) -> Option<String> {
        let (key, told, is_held) = {
            let world = member.world();
            let holder = holder_of_mac(&world, member.host(), &record.network, record.mac);
            let (key, told) = holder?;
            let is_held = world.is_held(&key);
            (key, told, is_held)
        };
        let is_gone = !is_held && matches!(member.store().get(&key), Ok(None));
        (!is_gone).then_some(told.name)
    }

    /// Why an endpoint of this host is not told, where another host has its MAC.
    pub(crate) fn why_mac_is_lost(member: &Member, record: &EndpointRecord) -> Option<String> {
        let world = member.world();
        let place = (&*record.network, &*record.id);
        let other = lost_mac(&world, member.host(), place, record.mac)?;
        let (mac, host) = (Mac::new(record.mac), name_of(&world, &other.host));
        Some(format!(
            "its MAC {mac} is that of {:?} on {host}",
            other.name
        ))
    }

    /// Tells the others of an endpoint that has its port. Without etcd they hear of it later.
    pub(crate) fn share(&self, record: &EndpointRecord) {
        let Some(member) = self.member() else { return };
        let session = member.session();
        let floor = session.map_or(0, |session| session.floor);
        let (Some(sequence), Some(session)) = (self.announce(record, floor), session) else {
            return;
        };
        if let Err(error) = tell(&member, session, record, sequence) {
            tracing::warn!(endpoint = record.name, %error, "other hosts do not know of an endpoint yet");
            member.say_again();
        }
    }

    /// Takes an endpoint back from the others.
    pub(crate) fn unshare(&self, record: &EndpointRecord) {
        self.withdraw(record);
        let Some(member) = self.member() else { return };
        if member.session().is_none() {
            return;
        }
        if let Err(error) = untell(&member, &record.network, &record.id) {
            tracing::warn!(endpoint = record.name, %error, "other hosts know an endpoint that is gone, for now");
            member.say_again();
        }
    }

    /// At the beginning of a session: everything of this host under its new lease.
    pub(crate) fn begin(&self, session: Session) {
        if let Some(directory) = &mut *lock(&self.directory) {
            directory.renew(self.ground.switch.now(), Epoch(session.epoch));
        }
    }

    /// Puts the endpoints of a network under the new lease, and takes back what the store has of this host and is gone.
    pub(crate) fn share_again(
        &self,
        member: &Member,
        session: Session,
        endpoints: &SharedEndpoints,
    ) -> Result<(), StoreError> {
        sweep(member, endpoints)?;
        for some in endpoints.records.chunks(ENDPOINTS_MAX) {
            let mut changes = Vec::new();
            for record in some {
                let floor = floor(member, session, record);
                if let Some(sequence) = self.announce(record, floor) {
                    changes.push(telling(member, session, record, sequence)?);
                }
            }
            member.store().transact(&changes)?;
        }
        Ok(())
    }
}

/// The sequence number by which this session told the same of an endpoint already; otherwise one that it has not used.
fn floor(member: &Member, session: Session, record: &EndpointRecord) -> u32 {
    let key = format!("{ENDPOINTS}{}/{}", record.network, record.id);
    let told = member.world().find::<EndpointShared>(&key);
    let is_of_session =
        |told: &EndpointShared| told.host == member.host() && told.epoch == session.epoch;
    match told.map(|(told, _)| told).filter(is_of_session) {
        Some(told) if told.mac == record.mac && told.addresses() == record.addresses() => {
            told.sequence
        }
        Some(told) => session.floor.max(told.sequence.saturating_add(1)),
        None => session.floor,
    }
}

fn tell(
    member: &Member,
    session: Session,
    record: &EndpointRecord,
    sequence: u32,
) -> Result<(), StoreError> {
    let change = telling(member, session, record, sequence)?;
    member.store().transact(&[change]).map(drop)
}

fn telling(
    member: &Member,
    session: Session,
    record: &EndpointRecord,
    sequence: u32,
) -> Result<Change, StoreError> {
    let shared = EndpointShared {
        host: member.host().to_owned(),
        epoch: session.epoch,
        sequence,
        mac: record.mac,
        ipv4: record.ipv4,
        ipv6: record.ipv6,
        name: record.name.clone(),
        aliases: record.aliases.clone(),
        hostname: record.hostname.clone(),
        short_id: record.short_id(),
        services: agent_core::publish::services(&record.publish)
            .iter()
            .take(checks::SERVICES_MAX)
            .map(ServiceShared::from)
            .collect(),
        vlan: record.vlan,
        trunk: record.trunk.clone(),
    };
    let key = format!("{ENDPOINTS}{}/{}", record.network, record.id);
    Ok(Change::encode(key, &shared, Expected::Anything)?.under(session.lease))
}

fn untell(member: &Member, network: &str, endpoint: &str) -> Result<(), StoreError> {
    let key = format!("{ENDPOINTS}{network}/{endpoint}");
    member.store().delete(&key, Expected::Anything)
}

/// Deletes what this host has in the store for endpoints that it does not have.
fn sweep(member: &Member, endpoints: &SharedEndpoints) -> Result<(), StoreError> {
    let present: BTreeSet<&str> = endpoints.records.iter().map(|record| &*record.id).collect();
    let id = &endpoints.network;
    let strays = strays(&member.world(), member.host(), id, |endpoint| {
        present.contains(endpoint)
    });
    for endpoint in strays {
        untell(member, id, &endpoint)?;
    }
    Ok(())
}

/// Deletes what the store has of this host in networks that are not `here`, as after it was set back.
pub(crate) fn sweep_elsewhere(member: &Member, here: &BTreeSet<String>) -> Result<(), StoreError> {
    let elsewhere: BTreeSet<String> = {
        let world = member.world();
        let told = world.under::<EndpointShared>(ENDPOINTS);
        told.filter(|(_, shared)| shared.host == member.host())
            .filter_map(|(key, _)| Some(key.split_once('/')?.0.to_owned()))
            .filter(|network| !here.contains(network))
            .collect()
    };
    for network in elsewhere {
        let strays = strays(&member.world(), member.host(), &network, |_| false);
        for endpoint in strays {
            untell(member, &network, &endpoint)?;
        }
    }
    Ok(())
}

/// Of one transaction; etcd takes 128 changes.
const ENDPOINTS_MAX: usize = 64;
