//! Addresses of shared networks: claimed by one host, and kept in reserve. What may be written is said in
//! [`agent_core::shared::claims`].

use std::net::IpAddr;

use agent_cluster::{Holder, Member, Session};
use agent_core::ipam::Pools;
use agent_core::record::EndpointRecord;
use agent_core::shared::claims::{self, Before};
use agent_store::{Change, Expected, LeaseId, StoreError};

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
    let claims = claims::claims(member.host(), record);
    let changes = changes(claims, Some(session.lease)).map_err(Claim::Store)?;
    match member.store().transact(&changes) {
        Ok(_) => Ok(()),
        Err(StoreError::Exists { key }) => Err(taken(key)),
        Err(error) => Err(Claim::Store(error)),
    }
}

/// The same for an endpoint that has been here: a key that is this host's is put under the new lease, one of the reserve too.
pub(super) fn claim_again(
    member: &Member,
    session: Session,
    record: &EndpointRecord,
) -> Result<(), Claim> {
    for wanted in claims::claims(member.host(), record) {
        claim_one_again(member, session, &wanted)?;
    }
    Ok(())
}

fn claim_one_again(member: &Member, session: Session, wanted: &claims::Claim) -> Result<(), Claim> {
    let store = member.store();
    // An old lease may end in between.
    for _ in 0..CLAIMS_MAX {
        let held = match store.get(&wanted.key).map_err(Claim::Store)? {
            None => None,
            Some(entry) => {
                let held: Holder = entry.decode().map_err(Claim::Store)?;
                Some((held, entry.revision))
            }
        };
        let Some(claim) = claims::claim_again(wanted.clone(), held) else {
            return Err(taken(wanted.key.clone()));
        };
        let change = change(claim, Some(session.lease)).map_err(Claim::Store)?;
        match store.transact(&[change]) {
            Ok(_) => return Ok(()),
            Err(
                StoreError::Exists { .. } | StoreError::Changed { .. } | StoreError::Missing { .. },
            ) => {}
            Err(error) => return Err(Claim::Store(error)),
        }
    }
    Err(taken(wanted.key.clone()))
}

/// The changes of [`claim_again`], where everything is as this host knows it.
pub(super) fn claims_again(
    member: &Member,
    session: Session,
    record: &EndpointRecord,
) -> Result<Vec<Change>, StoreError> {
    let claims = claims::claims_again(&member.world(), member.host(), record);
    changes(claims, Some(session.lease))
}

/// Keeps `wanted` in reserve: all of them, or none where another host has one.
pub(crate) fn reserve(
    member: &Member,
    network: &str,
    wanted: Vec<IpAddr>,
) -> Result<Reserved, StoreError> {
    let claims = claims::reserves(member.host(), network, &wanted);
    match member.store().transact(&changes(claims, None)?) {
        Ok(_) => Ok(Reserved::Own(wanted)),
        Err(StoreError::Exists { key }) => match taken(key) {
            Claim::Taken(address) => Ok(Reserved::Elsewhere(address)),
            Claim::Store(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// This host's reserve in a network, in use or not, as the store has it.
pub(crate) fn reserve_of(member: &Member, network: &str) -> Vec<IpAddr> {
    claims::reserve_of(&member.world(), member.host(), network)
}

/// Notes whose the addresses of a network are, as far as the cluster is known.
pub(crate) fn settle(member: &Member, pools: &mut Pools, network: &str) {
    claims::settle(pools, &member.world(), member.host(), network);
}

/// Notes whose an address is that an endpoint has given up.
pub(crate) fn note_freed(member: &Member, pools: &mut Pools, network: &str, address: IpAddr) {
    claims::note_freed(pools, &member.world(), member.host(), network, address);
}

fn changes(claims: Vec<claims::Claim>, lease: Option<LeaseId>) -> Result<Vec<Change>, StoreError> {
    claims
        .into_iter()
        .map(|claim| change(claim, lease))
        .collect()
}

fn change(claim: claims::Claim, lease: Option<LeaseId>) -> Result<Change, StoreError> {
    let expected = match claim.before {
        Before::Absent => Expected::Absent,
        Before::Revision(revision) => Expected::Revision(revision),
    };
    let change = Change::encode(claim.key, &claim.holder, expected)?;
    Ok(match lease {
        Some(lease) => change.under(lease),
        None => change,
    })
}

fn taken(key: String) -> Claim {
    match claims::address_of(&key) {
        Some(address) => Claim::Taken(address),
        None => Claim::Store(StoreError::Exists { key }),
    }
}

/// Addresses of each family that a host keeps in a network.
pub(crate) const RESERVE: usize = 8;
/// Smaller subnets have none to spare: 256 addresses at least.
pub(crate) const RESERVE_HOST_BITS_MIN: u8 = 8;
/// How often a host tries again where others were faster.
pub(crate) const CLAIMS_MAX: usize = 256;
