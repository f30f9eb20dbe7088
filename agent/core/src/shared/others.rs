//! What a host notes of other hosts' endpoints, and what the store has of its own that are gone.
//!
//! # Theory of operation
//!
//! Another host's endpoint has an address of that host's blocks, so that nobody here would give it out. It is noted all the same:
//! refusals name who has an address, a host without a free one knows whom to ask, and where a block has changed hands against
//! the rules nothing is given out twice.
//!
//! Agents of older versions claimed each address by a key, [`Holder`]. Such claims of other hosts count as long as they are there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{ADDRESSES, ENDPOINTS, EndpointShared, Entry, HOSTS, Holder, HostRecord, World};
use crate::ipam::{Pools, Tenant};

/// Notes in the pools of `host` that there is an endpoint, or is no more.
pub fn note(pools: &mut Pools, world: &World, host: &str, shared: &EndpointShared, is_there: bool) {
    if shared.host == host {
        return;
    }
    let tenant = tenant(world, &shared.name, &shared.host);
    for address in shared.addresses() {
        match is_there {
            true => pools.mark(address, tenant.clone()),
            false => pools.unmark(address, &tenant),
        }
    }
}

/// Notes in the pools of `host` what the world says of a network, in place of all that was noted.
pub fn settle(pools: &mut Pools, world: &World, host: &str, network: &str) {
    pools.forget_marks();
    let prefix = format!("{ADDRESSES}{network}/");
    for (address, holder) in world.under::<Holder>(&prefix) {
        if let (Ok(address), Some(endpoint)) = (address.parse::<IpAddr>(), &holder.endpoint)
            && holder.host != host
        {
            pools.mark(address, tenant(world, endpoint, &holder.host));
        }
    }
    let prefix = format!("{ENDPOINTS}{network}/");
    for (_, shared) in world.under::<EndpointShared>(&prefix) {
        note(pools, world, host, &shared, true);
    }
}

fn tenant(world: &World, endpoint: &str, host: &str) -> Tenant {
    Tenant::Elsewhere {
        endpoint: endpoint.to_owned(),
        host: name_of(world, host),
    }
}

/// Another host's endpoint that has a MAC of a network: its key, and what was told of it.
pub fn holder_of_mac(
    world: &World,
    host: &str,
    network: &str,
    mac: [u8; 6],
) -> Option<(String, EndpointShared)> {
    let mut keys = world.keys_with_mac(network, mac);
    keys.find_map(|key| {
        let (told, _) = world.find::<EndpointShared>(key)?;
        (told.host != host).then(|| (key.to_owned(), told))
    })
}

/// What people call a host.
pub fn name_of(world: &World, host: &str) -> String {
    let known = world.find::<HostRecord>(&format!("{HOSTS}{host}"));
    known.map_or_else(|| host.to_owned(), |(known, _)| known.name)
}

/// The ids of endpoints that the store has in a network for `host`, and that are not `present`.
pub fn strays(
    world: &World,
    host: &str,
    network: &str,
    present: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let prefix = format!("{ENDPOINTS}{network}/");
    let shared = world.under::<EndpointShared>(&prefix);
    shared
        .filter(|(endpoint, shared)| shared.host == host && !present(endpoint))
        .map(|(endpoint, _)| endpoint.to_owned())
        .collect()
}

/// The keys of what an agent of an older version had claimed for `host`: it owns blocks now.
pub fn old_claims(world: &World, host: &str) -> Vec<String> {
    let is_own = |entry: &&Entry| {
        entry.key.starts_with(ADDRESSES)
            && entry.decode::<Holder>().is_ok_and(|held| held.host == host)
    };
    let own = world.entries().filter(is_own);
    own.map(|entry| entry.key.clone()).collect()
}
