//! What this host shares with its cluster: its endpoints, and their addresses.
//!
//! # Theory of operation
//!
//! An address of a shared network is a key in the store that one host can make. An endpoint gets the lowest address that is
//! free as far as this host knows; where another host was faster, the next one. The key is under the host's lease and goes
//! with it.
//!
//! For times without etcd a host keeps a few addresses in reserve, from the top of the range, where they are in nobody's way.
//! Their keys are under no lease: they stay the host's until it leaves. An endpoint that is attached without etcd takes one of
//! them, and is told to the others as soon as etcd is back; the address is under the lease then, and the reserve filled up.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use overlay_core::{Directory, RecordFlags, Sequence};
use switch_core::{Mac, Time};

use super::Agent;
use super::endpoint::plan;
use super::share_address::{
    CLAIMS_MAX, Claim, address_key, claim, claim_again, claims_again, from_reserve, is_reserve,
    reserved,
};
use super::state::{Network, State};
use crate::cluster::{
    ADDRESSES, ENDPOINTS, EndpointShared, Holder, Member, ServiceShared, Session,
};
use crate::ipam::Tenant;
use crate::name::short;
use crate::record::{EndpointRecord, Owner};
use crate::store::{Change, Expected, Store, StoreError};
use agent_core::endpoint::{Attach, Attachment, Place};
use agent_core::publish::services;

impl Agent {
    /// As [`plan`], in a network of the cluster: the addresses are this host's then.
    pub(super) fn plan_shared(
        &self,
        network: &mut Network,
        attachment: &Attachment<'_>,
        place: Place,
    ) -> Result<EndpointRecord, Attach> {
        let member = self.member().ok_or_else(|| no_cluster(network))?;
        let Some(session) = member.session() else {
            return from_reserve(&member, network, attachment, place);
        };
        for _ in 0..CLAIMS_MAX {
            let record = plan(network, attachment, place.clone())?;
            match claim(&member, session, &record) {
                Ok(()) => return Ok(record),
                Err(Claim::Taken(address)) => {
                    network.pools.release(&record);
                    network.pools.mark(address, Tenant::Elsewhere);
                }
                Err(Claim::Store(error)) => {
                    tracing::debug!(%error, "an address is taken from the reserve");
                    network.pools.release(&record);
                    return from_reserve(&member, network, attachment, place);
                }
            }
        }
        Err(Attach::AddressRace(network.record.name.clone()))
    }

    /// Tells the others of an endpoint that has its port. Without etcd they hear of it later.
    pub(super) fn share(
        &self,
        directory: &mut Option<Directory>,
        network: &Network,
        record: &EndpointRecord,
    ) {
        let Some(member) = self.member() else { return };
        let Some(sequence) = announce(self.switch.now(), directory, network, record) else {
            return;
        };
        let Some(session) = member.session() else {
            return;
        };
        if let Err(error) = tell(&member, session, record, sequence) {
            tracing::warn!(endpoint = record.name, %error, "other hosts do not know of an endpoint yet");
            member.say_again();
        }
    }

    /// Takes an endpoint back from the others, and gives its addresses free.
    pub(super) fn unshare(
        &self,
        directory: &mut Option<Directory>,
        network: &mut Network,
        record: &EndpointRecord,
    ) {
        let Some(vni) = network.record.vni_shared() else {
            return;
        };
        if let Some(directory) = directory {
            directory.withdraw(self.switch.now(), vni, Mac::new(record.mac));
        }
        let Some(member) = self.member() else { return };
        for address in record.addresses() {
            if is_reserve(&member, &record.network, address) {
                network.pools.mark(address, Tenant::Reserve);
            }
        }
        if member.session().is_none() {
            return;
        }
        if let Err(error) = untell(&member, &record.network, &record.id, &record.addresses()) {
            tracing::warn!(endpoint = record.name, %error, "other hosts know an endpoint that is gone, for now");
            member.say_again();
        }
    }

    /// At the beginning of a session: everything of this host under its new lease, and nothing that is gone.
    pub(super) fn share_everything(
        &self,
        state: &mut State,
        member: &Arc<Member>,
        session: Session,
    ) -> Result<(), StoreError> {
        let State {
            networks,
            directory,
            ..
        } = state;
        if let Some(directory) = directory {
            directory.renew(self.switch.now(), overlay_core::Epoch(session.epoch));
        }
        for network in networks
            .values_mut()
            .filter(|network| network.record.shared().is_some())
        {
            sweep(member, network)?;
            let endpoints: Vec<_> = network.endpoints.values().collect();
            for some in endpoints.chunks(ENDPOINTS_MAX) {
                let told: Vec<_> = some
                    .iter()
                    .filter_map(|endpoint| {
                        let record = &endpoint.record;
                        let sequence = announce(self.switch.now(), directory, network, record)?;
                        Some((record, sequence))
                    })
                    .collect();
                self.share_again(member, session, &told)?;
            }
            self.fill_reserve(member, network);
        }
        Ok(())
    }

    /// Puts endpoints, each with its sequence number, under the new lease: all in one transaction, or one by one where an
    /// address is not as it was.
    fn share_again(
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
                Err(Claim::Taken(address)) => self.warn(format!(
                    "endpoint {:?} is cut off: another host took its address {address} while this one was away; remove it and run it again",
                    record.name
                )),
                Err(Claim::Store(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Registers the endpoint in the directory; its sequence number.
fn announce(
    now: Time,
    directory: &mut Option<Directory>,
    network: &Network,
    record: &EndpointRecord,
) -> Option<u32> {
    let (vni, directory) = (network.record.vni_shared()?, directory.as_mut()?);
    let flags = RecordFlags {
        sticky: true,
        ..RecordFlags::default()
    };
    let place = (vni, Mac::new(record.mac));
    match directory.announce(now, place, &record.addresses(), flags, Sequence(0)) {
        Ok(record) => Some(record.sequence.0),
        Err(error) => {
            tracing::warn!(endpoint = record.name, %error, "an endpoint is not shared");
            None
        }
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
        short_id: match &record.owner {
            Owner::Container(id) => Some(short(id).to_owned()),
            Owner::Sandbox(_) => None,
        },
        services: services(&record.publish)
            .iter()
            .take(SERVICES_MAX)
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
        if holder.host != member.host() || holder.endpoint.as_deref() != Some(endpoint) {
            continue;
        }
        let expected = Expected::Revision(entry.revision);
        let change = if holder.reserve {
            Change::encode(key, &reserved(member), expected)?
        } else {
            Change::delete(key, expected)
        };
        store.transact(&[change])?;
    }
    Ok(())
}

/// Deletes what this host has in the store for endpoints that it does not have.
fn sweep(member: &Member, network: &Network) -> Result<(), StoreError> {
    let (id, host) = (&network.record.id, member.host());
    let mut gone = BTreeSet::new();
    let mut held = Vec::new();
    {
        let world = member.world();
        let endpoints = format!("{ENDPOINTS}{id}/");
        for (endpoint, shared) in world.under::<EndpointShared>(&endpoints) {
            if shared.host == host {
                gone.insert(endpoint.to_owned());
            }
        }
        let prefix = format!("{ADDRESSES}{id}/");
        for (address, holder) in world.under::<Holder>(&prefix) {
            if let (true, Some(endpoint), Ok(address)) = (
                holder.host == host,
                holder.endpoint,
                address.parse::<IpAddr>(),
            ) {
                gone.insert(endpoint.clone());
                held.push((endpoint, address));
            }
        }
    }
    gone.retain(|endpoint| !network.endpoints.contains_key(endpoint));
    for endpoint in gone {
        let addresses: Vec<_> = held
            .iter()
            .filter(|(holder, _)| *holder == endpoint)
            .map(|(_, address)| *address)
            .collect();
        untell(member, id, &endpoint, &addresses)?;
    }
    Ok(())
}

fn no_cluster(network: &Network) -> Attach {
    Attach::NoCluster(network.record.name.clone())
}

/// Of one transaction, with two addresses each; etcd takes 128 changes.
const ENDPOINTS_MAX: usize = 32;
/// Rows of published ports that other hosts are told of.
const SERVICES_MAX: usize = 256;
