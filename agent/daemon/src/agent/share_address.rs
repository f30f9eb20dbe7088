//! Addresses of shared networks: claimed by one host, kept in reserve, marked as elsewhere.

use std::net::IpAddr;

use super::Agent;
use super::endpoint::fresh;
use super::state::Network;
use crate::cluster::{ADDRESSES, Holder, Member, Session};
use crate::ipam::{Pool, Tenant};
use crate::record::EndpointRecord;
use crate::store::{Change, Expected, Store, StoreError};
use agent_core::endpoint::{Attach, Attachment, Place, plan_from_reserve};

/// Why an endpoint's addresses are not this host's.
pub(super) enum Claim {
    Taken(IpAddr),
    Store(StoreError),
}

impl Agent {
    /// Tops up the addresses that are kept for times without etcd.
    pub(super) fn fill_reserve(&self, member: &Member, network: &mut Network) {
        let id = network.record.id.clone();
        let kept = reserve(member, &id);
        for pool in network.pools.each() {
            let family = pool.gateway().is_ipv4();
            let have = kept
                .iter()
                .filter(|address| address.is_ipv4() == family)
                .count();
            let size = pool.subnet().max_prefix_len() - pool.subnet().prefix_len();
            if have >= RESERVE || size < RESERVE_HOST_BITS_MIN {
                continue;
            }
            if let Err(error) = reserve_some(member, &id, pool, RESERVE - have) {
                tracing::debug!(network = network.record.name, %error, "the reserve is not full");
            }
        }
    }
}

pub(super) fn claim(
    member: &Member,
    session: Session,
    record: &EndpointRecord,
) -> Result<(), Claim> {
    let holder = holder(member, record);
    let changes = record
        .addresses()
        .into_iter()
        .map(|address| {
            let key = address_key(&record.network, address);
            Ok(Change::encode(key, &holder, Expected::Absent)?.under(session.lease))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(Claim::Store)?;
    match member.store().transact(&changes) {
        Ok(_) => Ok(()),
        Err(StoreError::Exists { key }) => Err(taken(&key)),
        Err(error) => Err(Claim::Store(error)),
    }
}

/// The same for an endpoint that has been here: a key that is this host's is put under the new lease, one of the reserve too.
pub(super) fn claim_again(
    member: &Member,
    session: Session,
    record: &EndpointRecord,
) -> Result<(), Claim> {
    let holder = holder(member, record);
    for address in record.addresses() {
        claim_one_again(member, session, &holder, (&record.network, address))?;
    }
    Ok(())
}

fn claim_one_again(
    member: &Member,
    session: Session,
    holder: &Holder,
    (network, address): (&str, IpAddr),
) -> Result<(), Claim> {
    let store = member.store();
    // An old lease may end in between.
    for _ in 0..CLAIMS_MAX {
        let key = address_key(network, address);
        let expected = match store.get(&key).map_err(Claim::Store)? {
            None => Expected::Absent,
            Some(entry) => {
                let held: Holder = entry.decode().map_err(Claim::Store)?;
                let is_free = held.endpoint.is_none() || held.endpoint == holder.endpoint;
                if held.host != holder.host || !is_free {
                    return Err(Claim::Taken(address));
                }
                Expected::Revision(entry.revision)
            }
        };
        let change = Change::encode(key, holder, expected).map_err(Claim::Store)?;
        match store.transact(&[change.under(session.lease)]) {
            Ok(_) => return Ok(()),
            Err(
                StoreError::Exists { .. } | StoreError::Changed { .. } | StoreError::Missing { .. },
            ) => {}
            Err(error) => return Err(Claim::Store(error)),
        }
    }
    Err(Claim::Taken(address))
}

/// The changes of [`claim_again`], where everything is as this host knows it.
pub(super) fn claims_again(
    member: &Member,
    session: Session,
    record: &EndpointRecord,
) -> Result<Vec<Change>, StoreError> {
    let (holder, world) = (holder(member, record), member.world());
    let change = |address| {
        let key = address_key(&record.network, address);
        let expected = match world.find::<Holder>(&key) {
            Some((held, revision)) if held.host == holder.host => Expected::Revision(revision),
            _ => Expected::Absent,
        };
        Ok(Change::encode(key, &holder, expected)?.under(session.lease))
    };
    record.addresses().into_iter().map(change).collect()
}

fn holder(member: &Member, record: &EndpointRecord) -> Holder {
    Holder {
        host: member.host().to_owned(),
        endpoint: Some(record.id.clone()),
        reserve: false,
    }
}

/// Without etcd: an address that is this host's already.
pub(super) fn from_reserve(
    member: &Member,
    network: &mut Network,
    attachment: &Attachment<'_>,
    place: Place,
) -> Result<EndpointRecord, Attach> {
    if network.segment.is_none() {
        return Err(Attach::NoPorts(network.record.name.clone()));
    }
    let kept = reserve(member, &network.record.id);
    let others = network.endpoints.values().map(|endpoint| &endpoint.record);
    plan_from_reserve(
        &network.record,
        &mut network.pools,
        &kept,
        others,
        attachment,
        place,
        fresh(),
    )
}

fn reserve_some(
    member: &Member,
    network: &str,
    pool: &mut Pool,
    count: usize,
) -> Result<(), StoreError> {
    // Hosts that come at the same time find each other's addresses one by one.
    for _ in 0..CLAIMS_MAX {
        let addresses = pool.highest_free(count);
        let changes = addresses
            .iter()
            .map(|address| {
                let key = address_key(network, *address);
                Change::encode(key, &reserved(member), Expected::Absent)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (found, tenant) = match member.store().transact(&changes) {
            Ok(_) => (addresses, Tenant::Reserve),
            Err(StoreError::Exists { key }) => match taken(&key) {
                Claim::Taken(address) => (vec![address], Tenant::Elsewhere),
                Claim::Store(error) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        for address in found {
            // It was free just now, under the state's lock.
            let _ = pool.take(address, tenant.clone());
        }
        if tenant == Tenant::Reserve {
            return Ok(());
        }
    }
    Ok(())
}

/// This host's reserve in a network, in use or not, as the store has it.
fn reserve(member: &Member, network: &str) -> Vec<IpAddr> {
    let prefix = format!("{ADDRESSES}{network}/");
    let world = member.world();
    let held = world.under::<Holder>(&prefix);
    held.filter(|(_, holder)| holder.host == member.host() && holder.reserve)
        .filter_map(|(address, _)| address.parse().ok())
        .collect()
}

pub(super) fn is_reserve(member: &Member, network: &str, address: IpAddr) -> bool {
    let held = member
        .world()
        .find::<Holder>(&address_key(network, address));
    held.is_some_and(|(holder, _)| holder.host == member.host() && holder.reserve)
}

pub(super) fn reserved(member: &Member) -> Holder {
    Holder {
        host: member.host().to_owned(),
        endpoint: None,
        reserve: true,
    }
}

pub(super) fn address_key(network: &str, address: IpAddr) -> String {
    format!("{ADDRESSES}{network}/{address}")
}

fn taken(key: &str) -> Claim {
    let address = key
        .rsplit('/')
        .next()
        .and_then(|address| address.parse().ok());
    match address {
        Some(address) => Claim::Taken(address),
        None => Claim::Store(StoreError::Exists {
            key: key.to_owned(),
        }),
    }
}

/// Addresses of each family that a host keeps in a network.
const RESERVE: usize = 8;
/// Smaller subnets have none to spare: 256 addresses at least.
const RESERVE_HOST_BITS_MIN: u8 = 8;
pub(super) const CLAIMS_MAX: usize = 256;
