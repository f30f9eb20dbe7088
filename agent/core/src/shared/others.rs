//! What a host notes of other hosts' endpoints, and what the store has of its own that are gone.
//!
//! # Theory of operation
//!
//! Another host's endpoint has an address of that host's blocks, so that nobody here would give it out. It is noted all the same:
//! refusals name who has an address, a host without a free one knows whom to ask, and where a block has changed hands against
//! the rules nothing is given out twice.
//!
//! A MAC is one host's. Who hears that another host has one tells of no endpoint with it. Where two hosts told of one at a moment, before
//! either had heard of the other, the one with the lower id keeps it: both see that in the same records, whoever reads them.
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

/// The endpoint of another host that has the MAC of one of `host`, named by its id: that one has no part in its network then.
pub fn lost_mac(
    world: &World,
    host: &str,
    (network, endpoint): (&str, &str),
    mac: [u8; 6],
) -> Option<EndpointShared> {
    let told = world.find::<EndpointShared>(&format!("{ENDPOINTS}{network}/{endpoint}"));
    let is_told = told.is_some_and(|(told, _)| told.host == host && told.mac == mac);
    let mut keys = world.keys_with_mac(network, mac);
    keys.find_map(|key| {
        let (other, _) = world.find::<EndpointShared>(key)?;
        let is_others = other.host != host && (!is_told || *other.host < *host);
        is_others.then_some(other)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_two_hosts_that_told_of_one_mac_the_lower_keeps_it_and_who_comes_later_never_has_it() {
        let told = |host: &str, id: &str| Entry {
            key: format!("{ENDPOINTS}n/{id}"),
            value: json!({
                "host": host, "epoch": 1, "sequence": 0, "mac": [2, 0, 0, 0, 0, 1], "ipv4": null, "ipv6": null,
                "name": id, "aliases": [], "hostname": null, "short_id": null,
            }),
            revision: 1,
        };
        let mac = [2, 0, 0, 0, 0, 1];
        let lost = |world: &World, host: &str, id: &str| {
            let other = lost_mac(world, host, ("n", id), mac);
            other.map(|other| other.host)
        };
        let both = World::of(vec![told("a", "1"), told("b", "2")]);
        assert_eq!(lost(&both, "a", "1"), None);
        assert_eq!(lost(&both, "b", "2").as_deref(), Some("a"));
        // The lower one comes later.
        let one = World::of(vec![told("b", "2")]);
        assert_eq!(lost(&one, "b", "2"), None);
        assert_eq!(lost(&one, "a", "1").as_deref(), Some("b"));
        assert_eq!(lost_mac(&one, "a", ("other", "1"), mac), None);
    }
}
