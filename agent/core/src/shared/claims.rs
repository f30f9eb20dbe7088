//! Who may have an address of a shared network: what a host writes, by what the store has.
//!
//! # Theory of operation
//!
//! An address is a key, and its value is its holder. A host takes one that nobody has, under its lease; says again what is its
//! own, under a newer lease; and gives back what its endpoint had, to its reserve where it came from there. Every write says what
//! must be there before it ([`Before`]), so that of two hosts with one wish one is refused.
//!
//! What the store has of a host that the host has not is a [stray](strays): the host stopped between two steps, or its last
//! words did not arrive. It is taken back when the host is in step again.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{ADDRESSES, ENDPOINTS, EndpointShared, Holder, World};
use crate::ipam::{Pools, Tenant};
use crate::record::EndpointRecord;

/// A write that makes an address this host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub key: String,
    pub holder: Holder,
    pub before: Before,
}

/// What must be so for a key to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Absent,
    /// That of the transaction which wrote it last.
    Revision(u64),
}

/// What becomes of the key of an address that an endpoint had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// It is not the endpoint's any more.
    Leave,
    Delete,
    ToReserve(Holder),
}

impl Holder {
    pub fn endpoint(host: &str, record: &EndpointRecord) -> Self {
        Self {
            host: host.to_owned(),
            endpoint: Some(record.id.clone()),
            reserve: false,
        }
    }

    pub fn reserve(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            endpoint: None,
            reserve: true,
        }
    }

    /// What becomes of it when `endpoint` of `host` gives it up.
    pub fn release(&self, host: &str, endpoint: &str) -> Release {
        if self.host != host || self.endpoint.as_deref() != Some(endpoint) {
            return Release::Leave;
        }
        match self.reserve {
            true => Release::ToReserve(Self::reserve(host)),
            false => Release::Delete,
        }
    }
}

/// Takes the addresses of a new endpoint, which nobody may have.
pub fn claims(host: &str, record: &EndpointRecord) -> Vec<Claim> {
    let claim = |address| Claim {
        key: address_key(&record.network, address),
        holder: Holder::endpoint(host, record),
        before: Before::Absent,
    };
    record.addresses().into_iter().map(claim).collect()
}

/// The same for an endpoint that has been here, where everything is as this host knows it.
pub fn claims_again(world: &World, host: &str, record: &EndpointRecord) -> Vec<Claim> {
    let mut claims = claims(host, record);
    for claim in &mut claims {
        if let Some((held, revision)) = world.find::<Holder>(&claim.key)
            && held.host == host
        {
            claim.before = Before::Revision(revision);
        }
    }
    claims
}

/// The same by what the store has: one of this host's reserve is taken too. `None` where somebody else has it.
pub fn claim_again(claim: Claim, held: Option<(Holder, u64)>) -> Option<Claim> {
    let before = match held {
        None => Before::Absent,
        Some((held, revision)) => {
            let is_free = held.endpoint.is_none() || held.endpoint == claim.holder.endpoint;
            if held.host != claim.holder.host || !is_free {
                return None;
            }
            Before::Revision(revision)
        }
    };
    Some(Claim { before, ..claim })
}

/// Keeps addresses that nobody may have in reserve.
pub fn reserves(host: &str, network: &str, wanted: &[IpAddr]) -> Vec<Claim> {
    let claim = |address: &IpAddr| Claim {
        key: address_key(network, *address),
        holder: Holder::reserve(host),
        before: Before::Absent,
    };
    wanted.iter().map(claim).collect()
}

/// Whether an address of a network is a host's, for an endpoint or in reserve.
pub fn has(world: &World, host: &str, network: &str, address: IpAddr) -> bool {
    let held = world.find::<Holder>(&address_key(network, address));
    held.is_some_and(|(holder, _)| holder.host == host)
}

/// A host's reserve in a network, in use or not.
pub fn reserve_of(world: &World, host: &str, network: &str) -> Vec<IpAddr> {
    let prefix = format!("{ADDRESSES}{network}/");
    let held = world.under::<Holder>(&prefix);
    held.filter(|(_, holder)| holder.host == host && holder.reserve)
        .filter_map(|(address, _)| address.parse().ok())
        .collect()
}

/// What the store has in a network for endpoints of `host` that are not `present`: their ids, and the addresses of each.
pub fn strays(
    world: &World,
    host: &str,
    network: &str,
    present: impl Fn(&str) -> bool,
) -> BTreeMap<String, Vec<IpAddr>> {
    let mut strays: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    let prefix = format!("{ENDPOINTS}{network}/");
    for (endpoint, shared) in world.under::<EndpointShared>(&prefix) {
        if shared.host == host {
            strays.entry(endpoint.to_owned()).or_default();
        }
    }
    let prefix = format!("{ADDRESSES}{network}/");
    for (address, holder) in world.under::<Holder>(&prefix) {
        if let (true, Some(endpoint), Ok(address)) =
            (holder.host == host, holder.endpoint, address.parse())
        {
            strays.entry(endpoint).or_default().push(address);
        }
    }
    strays.retain(|endpoint, _| !present(endpoint));
    strays
}

/// Notes in the pools of `host` who has an address, or that nobody has it any more.
pub fn note(pools: &mut Pools, host: &str, address: IpAddr, holder: Option<&Holder>) {
    let Some(holder) = holder else {
        return pools.unmark(address);
    };
    match (holder.host == host, &holder.endpoint) {
        (false, _) => {
            pools.unmark(address);
            pools.mark(address, Tenant::Elsewhere);
        }
        (true, None) => pools.mark(address, Tenant::Reserve),
        // The endpoint itself has it.
        (true, Some(_)) => {}
    }
}

/// Notes in the pools of `host` what the world says of a network, in place of all that was noted: a refused claim tells of a holder
/// who may come and go between two lists.
pub fn settle(pools: &mut Pools, world: &World, host: &str, network: &str) {
    pools.forget_marks();
    let prefix = format!("{ADDRESSES}{network}/");
    for (address, holder) in world.under::<Holder>(&prefix) {
        if let Ok(address) = address.parse() {
            note(pools, host, address, Some(&holder));
        }
    }
}

/// Notes in the pools of `host` whose an address is that its endpoint has just given up: the reserve's, or another host's that took
/// it while this one was away.
pub fn note_freed(pools: &mut Pools, world: &World, host: &str, network: &str, address: IpAddr) {
    if let Some((holder, _)) = world.find::<Holder>(&address_key(network, address)) {
        note(pools, host, address, Some(&holder));
    }
}

pub fn address_key(network: &str, address: IpAddr) -> String {
    format!("{ADDRESSES}{network}/{address}")
}

/// The address that such a key is of.
pub fn address_of(key: &str) -> Option<IpAddr> {
    key.rsplit('/').next()?.parse().ok()
}
