//! Addresses of shared networks: claimed by one host, and kept in reserve.

use std::net::IpAddr;

use agent_cluster::{ADDRESSES, Holder, Member, Session};
use agent_core::record::EndpointRecord;
use agent_store::{Change, Expected, Store, StoreError};

/// Why an endpoint's addresses are not this host's.
pub(crate) enum Claim {
    Taken(IpAddr),
    Store(StoreError),
}

/// Addresses that were asked for as a reserve, and whose they are now.
pub(crate) enum Reserved {
    Own(Vec<IpAddr>),
    Elsewhere(IpAddr),
}

pub(crate) fn claim(
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

/// Keeps `wanted` in reserve: all of them, or none where another host has one.
pub(crate) fn reserve(
    member: &Member,
    network: &str,
    wanted: Vec<IpAddr>,
) -> Result<Reserved, StoreError> {
    let changes = wanted
        .iter()
        .map(|address| {
            let key = address_key(network, *address);
            Change::encode(key, &reserved(member), Expected::Absent)
        })
        .collect::<Result<Vec<_>, _>>()?;
    match member.store().transact(&changes) {
        Ok(_) => Ok(Reserved::Own(wanted)),
        Err(StoreError::Exists { key }) => match taken(&key) {
            Claim::Taken(address) => Ok(Reserved::Elsewhere(address)),
            Claim::Store(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// This host's reserve in a network, in use or not, as the store has it.
pub(crate) fn reserve_of(member: &Member, network: &str) -> Vec<IpAddr> {
    let prefix = format!("{ADDRESSES}{network}/");
    let world = member.world();
    let held = world.under::<Holder>(&prefix);
    held.filter(|(_, holder)| holder.host == member.host() && holder.reserve)
        .filter_map(|(address, _)| address.parse().ok())
        .collect()
}

pub(crate) fn is_reserve(member: &Member, network: &str, address: IpAddr) -> bool {
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
pub(crate) const RESERVE: usize = 8;
/// Smaller subnets have none to spare: 256 addresses at least.
pub(crate) const RESERVE_HOST_BITS_MIN: u8 = 8;
/// How often a host tries again where others were faster.
pub(crate) const CLAIMS_MAX: usize = 256;
