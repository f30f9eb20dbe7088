//! Addresses of shared networks: claimed by one host, kept in reserve, marked as elsewhere.

use std::net::IpAddr;

use agent_api::EndpointSettings;

use super::Agent;
use super::endpoint::{Attachment, addresses};
use super::endpoint_plan::{Place, plan_endpoint};
use super::state::Network;
use crate::cluster::{ADDRESSES, Holder, Member, Session};
use crate::ipam::Pool;
use crate::record::EndpointRecord;
use crate::store::{Change, Expected, Store, StoreError};
use agent_core::error::Attach;

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
        for pool in [&mut network.pool_v4, &mut network.pool_v6]
            .into_iter()
            .flatten()
        {
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
    let changes = addresses(record)
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
    for address in addresses(record) {
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
    addresses(record).into_iter().map(change).collect()
}

fn holder(member: &Member, record: &EndpointRecord) -> Holder {
    Holder {
        host: member.host().to_owned(),
        endpoint: Some(record.id.clone()),
        reserve: false,
    }
}

/// Without etcd: an address that is this host's already.
pub(super) fn plan_from_reserve(
    member: &Member,
    network: &mut Network,
    attachment: &Attachment<'_>,
    place: Place,
) -> Result<EndpointRecord, Attach> {
    let kept = reserve(member, &network.record.id);
    let is_free = |pool: &Option<Pool>, address: IpAddr| {
        pool.as_ref().and_then(|pool| pool.owner(address)) == Some(RESERVED)
    };
    let pick = |wish: Option<IpAddr>, pool: &Option<Pool>, v4: bool| {
        let mut candidates = kept
            .iter()
            .copied()
            .filter(|address| address.is_ipv4() == v4);
        candidates
            .find(|address| wish.is_none_or(|wish| wish == *address) && is_free(pool, *address))
    };
    let wishes = attachment.settings;
    let none = || Attach::NoReserve(network.record.name.clone());
    let mut settings: EndpointSettings = wishes.clone();
    let mut picked = Vec::new();
    if network.pool_v4.is_some() {
        let address = pick(wishes.ip.map(Into::into), &network.pool_v4, true).ok_or_else(none)?;
        picked.push(address);
    }
    if network.pool_v6.is_some() {
        let address = pick(wishes.ip6.map(Into::into), &network.pool_v6, false).ok_or_else(none)?;
        picked.push(address);
    }
    for address in &picked {
        match address {
            IpAddr::V4(address) => settings.ip = Some(*address),
            IpAddr::V6(address) => settings.ip6 = Some(*address),
        }
        unmark(network, *address);
    }
    let attachment = Attachment {
        settings: &settings,
        owner: attachment.owner.clone(),
        ..*attachment
    };
    let planned = plan_endpoint(network, &attachment, place);
    if planned.is_err() {
        for address in picked {
            mark(network, address, RESERVED);
        }
    }
    planned
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
        let (found, owner) = match member.store().transact(&changes) {
            Ok(_) => (addresses, RESERVED),
            Err(StoreError::Exists { key }) => match taken(&key) {
                Claim::Taken(address) => (vec![address], ELSEWHERE),
                Claim::Store(error) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        for address in found {
            // It was free just now, under the state's lock.
            let _ = pool.take(address, owner);
        }
        if owner == RESERVED {
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

/// Notes that an address is not to be given out.
pub(super) fn mark(network: &mut Network, address: IpAddr, owner: &str) {
    if let Some(pool) = pool_of(network, address) {
        // One that is noted already stays as it is.
        let _ = pool.take(address, owner);
    }
}

/// Undoes [`mark`]; what an endpoint of this host has stays.
pub(super) fn unmark(network: &mut Network, address: IpAddr) {
    if let Some(pool) = pool_of(network, address)
        && matches!(pool.owner(address), Some(ELSEWHERE | RESERVED))
    {
        pool.release(address);
    }
}

fn pool_of(network: &mut Network, address: IpAddr) -> Option<&mut Pool> {
    match address {
        IpAddr::V4(_) => network.pool_v4.as_mut(),
        IpAddr::V6(_) => network.pool_v6.as_mut(),
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

/// Who has an address that is not an endpoint's of this host, as refusals show it.
pub(super) const ELSEWHERE: &str = "a container on another host";
pub(super) const RESERVED: &str = "this host's reserve";
/// Addresses of each family that a host keeps in a network.
const RESERVE: usize = 8;
/// Smaller subnets have none to spare: 256 addresses at least.
const RESERVE_HOST_BITS_MIN: u8 = 8;
pub(super) const CLAIMS_MAX: usize = 256;
