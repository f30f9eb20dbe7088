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

use agent_api::EndpointSettings;
use overlay_core::{Directory, RecordFlags, Sequence};
use switch_core::{Mac, Time, Vni};

use super::Agent;
use super::endpoint::{Attachment, Place, addresses, plan_endpoint, release};
use super::error::Attach;
use super::state::{Network, State};
use crate::cluster::{ADDRESSES, ENDPOINTS, EndpointShared, Holder, Member, Session};
use crate::ipam::Pool;
use crate::name::short;
use crate::record::{EndpointRecord, Owner};
use crate::store::{Change, Expected, Store, StoreError};

/// Why an endpoint's addresses are not this host's.
enum Claim {
    Taken(IpAddr),
    Store(StoreError),
}

impl Agent {
    /// As [`plan_endpoint`], in a network of the cluster: the addresses are this host's then.
    pub(super) fn plan_shared(
        &self,
        network: &mut Network,
        attachment: &Attachment<'_>,
        place: Place,
    ) -> Result<EndpointRecord, Attach> {
        let member = self.member().ok_or_else(|| no_cluster(network))?;
        let Some(session) = member.session() else {
            return plan_from_reserve(&member, network, attachment, place);
        };
        for _ in 0..CLAIMS_MAX {
            let record = plan_endpoint(network, attachment, place.clone())?;
            match claim(&member, session, &record) {
                Ok(()) => return Ok(record),
                Err(Claim::Taken(address)) => {
                    release(network, &record);
                    mark(network, address, ELSEWHERE);
                }
                Err(Claim::Store(error)) => {
                    tracing::debug!(%error, "an address is taken from the reserve");
                    release(network, &record);
                    return plan_from_reserve(&member, network, attachment, place);
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
        if let Err(error) = tell(&member, session, network, record, sequence) {
            tracing::warn!(endpoint = record.name, %error, "other hosts do not know of an endpoint yet");
        }
    }

    /// Takes an endpoint back from the others, and gives its addresses free.
    pub(super) fn unshare(
        &self,
        directory: &mut Option<Directory>,
        network: &mut Network,
        record: &EndpointRecord,
    ) {
        let Some(vni) = vni(network) else { return };
        if let Some(directory) = directory {
            directory.withdraw(self.switch.now(), vni, Mac::new(record.mac));
        }
        let Some(member) = self.member() else { return };
        for address in addresses(record) {
            if is_reserve(&member, &record.network, address) {
                mark(network, address, RESERVED);
            }
        }
        if member.session().is_none() {
            return;
        }
        if let Err(error) = untell(&member, &record.network, &record.id, &addresses(record)) {
            tracing::warn!(endpoint = record.name, %error, "other hosts know an endpoint that is gone, for now");
        }
    }

    /// At the beginning of a session: everything of this host under its new lease, and nothing that is gone.
    pub(super) fn share_everything(
        &self,
        state: &mut State,
        member: &Arc<Member>,
        session: Session,
    ) {
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
            if let Err(error) = sweep(member, network) {
                tracing::warn!(network = network.record.name, %error, "what is gone may still be known to others");
            }
            let records: Vec<_> = network
                .endpoints
                .values()
                .map(|endpoint| endpoint.record.clone())
                .collect();
            for record in records {
                match claim_again(member, session, &record) {
                    Ok(()) => self.share(directory, network, &record),
                    Err(Claim::Taken(address)) => self.warn(format!(
                        "endpoint {:?} is cut off: another host took its address {address} while this one was away; remove it and run it again",
                        record.name
                    )),
                    Err(Claim::Store(error)) => tracing::warn!(endpoint = record.name, %error, "an endpoint is not shared yet"),
                }
            }
            self.fill_reserve(member, network);
        }
    }

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

/// Registers the endpoint in the directory; its sequence number.
fn announce(
    now: Time,
    directory: &mut Option<Directory>,
    network: &Network,
    record: &EndpointRecord,
) -> Option<u32> {
    let (vni, directory) = (vni(network)?, directory.as_mut()?);
    let flags = RecordFlags {
        sticky: true,
        ..RecordFlags::default()
    };
    let place = (vni, Mac::new(record.mac));
    match directory.announce(now, place, &addresses(record), flags, Sequence(0)) {
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
    network: &Network,
    record: &EndpointRecord,
    sequence: u32,
) -> Result<(), StoreError> {
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
    };
    let key = format!("{ENDPOINTS}{}/{}", network.record.id, record.id);
    let change = Change::encode(key, &shared, Expected::Anything)?.under(session.lease);
    member.store().transact(&[change]).map(drop)
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

fn claim(member: &Member, session: Session, record: &EndpointRecord) -> Result<(), Claim> {
    let holder = Holder {
        host: member.host().to_owned(),
        endpoint: Some(record.id.clone()),
        reserve: false,
    };
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
fn claim_again(member: &Member, session: Session, record: &EndpointRecord) -> Result<(), Claim> {
    let store = member.store();
    let holder = Holder {
        host: member.host().to_owned(),
        endpoint: Some(record.id.clone()),
        reserve: false,
    };
    for address in addresses(record) {
        let key = address_key(&record.network, address);
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
        let change = Change::encode(key, &holder, expected).map_err(Claim::Store)?;
        match store.transact(&[change.under(session.lease)]) {
            Ok(_) => {}
            Err(StoreError::Exists { key } | StoreError::Changed { key }) => {
                return Err(taken(&key));
            }
            Err(error) => return Err(Claim::Store(error)),
        }
    }
    Ok(())
}

/// Without etcd: an address that is this host's already.
fn plan_from_reserve(
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

fn is_reserve(member: &Member, network: &str, address: IpAddr) -> bool {
    let held = member
        .world()
        .find::<Holder>(&address_key(network, address));
    held.is_some_and(|(holder, _)| holder.host == member.host() && holder.reserve)
}

fn reserved(member: &Member) -> Holder {
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

pub(super) fn vni(network: &Network) -> Option<Vni> {
    network
        .record
        .shared()
        .and_then(|shared| Vni::new(shared.vni))
}

fn no_cluster(network: &Network) -> Attach {
    Attach::NoCluster(network.record.name.clone())
}

fn address_key(network: &str, address: IpAddr) -> String {
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
