//! Telling the other hosts of this host's endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;

use agent_cluster::{ENDPOINTS, EndpointShared, Holder, Member, ServiceShared, Session};
use agent_core::record::EndpointRecord;
use agent_core::shared::checks;
use agent_core::shared::claims::{Release, address_key, strays};
use agent_store::{Change, Expected, StoreError};
use overlay_core::Epoch;

use super::Sharing;
use super::claims::{Claim, claim_again, claims_again};
use crate::locks::lock;

/// The endpoints of one shared network, as they are at the beginning of a session.
pub(crate) struct SharedEndpoints {
    pub(crate) network: String,
    pub(crate) records: Vec<EndpointRecord>,
}

impl Sharing {
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

    /// Takes an endpoint back from the others, and gives its addresses free.
    pub(crate) fn unshare(&self, record: &EndpointRecord) {
        self.withdraw(record);
        let Some(member) = self.member() else { return };
        if member.session().is_none() {
            return;
        }
        if let Err(error) = untell(&member, &record.network, &record.id, &record.addresses()) {
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
            let told: Vec<_> = some
                .iter()
                .filter_map(|record| {
                    let floor = floor(member, session, record);
                    Some((record, self.announce(record, floor)?))
                })
                .collect();
            self.share_some_again(member, session, &told)?;
        }
        Ok(())
    }

    /// Puts endpoints, each with its sequence number, under the new lease: all in one transaction, or one by one where an
    /// address is not as it was.
    fn share_some_again(
        &self,
        member: &Member,
        session: Session,
        told: &[(&EndpointRecord, u32)],
    ) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        for (record, sequence) in told {
            changes.extend(claims_again(member, session, record)?);
            changes.push(telling(member, session, record, *sequence)?);
        }
        match member.store().transact(&changes) {
            Err(
                StoreError::Exists { .. } | StoreError::Changed { .. } | StoreError::Missing { .. },
            ) => {}
            done => return done.map(drop),
        }
        for (record, sequence) in told {
            match claim_again(member, session, record) {
                Ok(()) => tell(member, session, record, *sequence)?,
                Err(Claim::Taken(address)) => self.ground.warn(format!(
                    "endpoint {:?} is cut off: another host took its address {address} while this one was away; remove it and run it again",
                    record.name
                )),
                Err(Claim::Store(error)) => return Err(error),
            }
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
    };
    let key = format!("{ENDPOINTS}{}/{}", record.network, record.id);
    Ok(Change::encode(key, &shared, Expected::Anything)?.under(session.lease))
}

/// Deletes an endpoint's keys, as far as they are this host's.
fn untell(
    member: &Member,
    network: &str,
    endpoint: &str,
    addresses: &[IpAddr],
) -> Result<(), StoreError> {
    let store = member.store();
    store.delete(
        &format!("{ENDPOINTS}{network}/{endpoint}"),
        Expected::Anything,
    )?;
    for address in addresses {
        let key = address_key(network, *address);
        let Some(entry) = store.get(&key)? else {
            continue;
        };
        let holder: Holder = entry.decode()?;
        let expected = Expected::Revision(entry.revision);
        let change = match holder.release(member.host(), endpoint) {
            Release::Leave => continue,
            Release::Delete => Change::delete(key, expected),
            Release::ToReserve(holder) => Change::encode(key, &holder, expected)?,
        };
        store.transact(&[change])?;
    }
    Ok(())
}

/// Deletes what this host has in the store for endpoints that it does not have.
fn sweep(member: &Member, endpoints: &SharedEndpoints) -> Result<(), StoreError> {
    let present: BTreeSet<&str> = endpoints.records.iter().map(|record| &*record.id).collect();
    let id = &endpoints.network;
    let strays = strays(&member.world(), member.host(), id, |endpoint| {
        present.contains(endpoint)
    });
    for (endpoint, addresses) in strays {
        untell(member, id, &endpoint, &addresses)?;
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
        for (endpoint, addresses) in strays {
            untell(member, &network, &endpoint, &addresses)?;
        }
    }
    Ok(())
}

/// Of one transaction, with two addresses each; etcd takes 128 changes.
const ENDPOINTS_MAX: usize = 32;
