//! Which networks may be patched.
//!
//! # Theory of operation
//!
//! Frames carry no count of bridges that they have crossed, so a loop of patches would carry a broadcast for ever: there is
//! one way at most between two networks. Networks that are joined, also by way of others, are one segment: no address may be
//! in the subnets of two of them, and no MAC may be the gateway of two that have addresses.

use std::collections::{BTreeMap, VecDeque};

use agent_api::{ApiError, BadImpairment, Driver, ErrorKind};
use ipnet::IpNet;
use switch_core::Mac;

use crate::ipam::overlap;
use crate::record::{NetworkRecord, PatchRecord};

/// `POST` and `DELETE /v1/networks/{name}/patches`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Patch {
    #[error("network {0:?} cannot be patched to itself; name two networks")]
    Itself(String),
    #[error("network {0:?} has no ports of its own; patches join networks of driver bridge")]
    NoPorts(String),
    #[error(
        "network {0:?} spans hosts, where nothing keeps frames from going in circles; patches join networks of driver bridge"
    )]
    SpansHosts(String),
    #[error(
        "network {0:?} is a LAN, which is not to be joined with another one; give a network of driver bridge the NIC by -o uplink="
    )]
    IsLan(String),
    #[error("{0} are joined already; one more patch would make a loop")]
    Loop(String),
    #[error(
        "subnet {subnet} of network {one:?} overlaps {taken} of network {other:?}; networks of one segment need subnets of their own"
    )]
    Overlap {
        one: String,
        subnet: IpNet,
        other: String,
        taken: IpNet,
    },
    #[error(
        "networks {one:?} and {other:?} have the same gateway MAC address {mac}; make one of them anew with another --gateway"
    )]
    GatewayMac {
        one: String,
        other: String,
        mac: Mac,
    },
    #[error("network {0:?} is down; `tapestry doctor` says why")]
    Down(String),
    #[error(
        "networks {one:?} and {other:?} are not patched; `tapestry network inspect {one}` shows its patches"
    )]
    Apart { one: String, other: String },
    #[error(transparent)]
    Impairments(#[from] BadImpairment),
    #[error("patching networks {one:?} and {other:?}: {why}")]
    Host {
        one: String,
        other: String,
        why: String,
    },
}

impl From<Patch> for ApiError {
    fn from(error: Patch) -> Self {
        let kind = match &error {
            Patch::Itself(_)
            | Patch::NoPorts(_)
            | Patch::SpansHosts(_)
            | Patch::IsLan(_)
            | Patch::Impairments(_) => ErrorKind::Invalid,
            Patch::Loop(_) | Patch::Overlap { .. } | Patch::GatewayMac { .. } => {
                ErrorKind::Conflict
            }
            Patch::Apart { .. } => ErrorKind::NotFound,
            Patch::Down(_) | Patch::Host { .. } => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// Refuses a patch that must not be. Those that are there are by their keys; `network` finds a network by its id.
pub fn check_patch<'r>(
    patches: &BTreeMap<String, PatchRecord>,
    network: impl Fn(&str) -> Option<&'r NetworkRecord>,
    one: &'r NetworkRecord,
    other: &'r NetworkRecord,
) -> Result<(), Patch> {
    if one.id == other.id {
        return Err(Patch::Itself(one.name.clone()));
    }
    for record in [one, other] {
        check_driver(record)?;
    }
    let (here, there) = (segment(patches, &one.id), segment(patches, &other.id));
    if here.contains_key(other.id.as_str()) {
        let way = way(&here, &other.id).into_iter().filter_map(&network);
        let names: Vec<_> = way.map(|record| record.name.as_str()).collect();
        return Err(Patch::Loop(names.join(" - ")));
    }
    for one in here.into_keys().filter_map(&network) {
        for other in there.keys().copied().filter_map(&network) {
            check_apart(one, other)?;
        }
    }
    Ok(())
}

fn check_driver(record: &NetworkRecord) -> Result<(), Patch> {
    match record.driver {
        Driver::Bridge => Ok(()),
        Driver::Overlay => Err(Patch::SpansHosts(record.name.clone())),
        Driver::Macvlan | Driver::Ipvlan => Err(Patch::IsLan(record.name.clone())),
        Driver::Host | Driver::Null => Err(Patch::NoPorts(record.name.clone())),
    }
}

fn check_apart(one: &NetworkRecord, other: &NetworkRecord) -> Result<(), Patch> {
    let names = || (one.name.clone(), other.name.clone());
    for subnet in &one.subnets {
        let mut taken = other.subnets.iter();
        if let Some(taken) = taken.find(|taken| overlap(subnet.net, taken.net)) {
            let (subnet, taken) = (subnet.net, taken.net);
            let (one, other) = names();
            return Err(Patch::Overlap {
                one,
                subnet,
                other,
                taken,
            });
        }
    }
    // The gateway of a network without addresses never speaks.
    let speak = !one.subnets.is_empty() && !other.subnets.is_empty();
    let mac = one.gateway_mac();
    if speak && mac == other.gateway_mac() {
        let (one, other) = names();
        return Err(Patch::GatewayMac { one, other, mac });
    }
    Ok(())
}

/// Every network that frames from `start` reach, and the one before it on the way; `start` has none.
fn segment<'p>(
    patches: &'p BTreeMap<String, PatchRecord>,
    start: &'p str,
) -> BTreeMap<&'p str, Option<&'p str>> {
    let mut reached = BTreeMap::from([(start, None)]);
    let mut next = VecDeque::from([start]);
    while let Some(here) = next.pop_front() {
        for there in patches.values().filter_map(|patch| patch.other(here)) {
            if !reached.contains_key(there) {
                reached.insert(there, Some(here));
                next.push_back(there);
            }
        }
    }
    reached
}

/// The networks from the start of a segment to `end`.
fn way<'p>(segment: &BTreeMap<&'p str, Option<&'p str>>, end: &str) -> Vec<&'p str> {
    let at = segment.get_key_value(end).map(|(id, _)| *id);
    let back = std::iter::successors(at, |here| segment.get(here).copied().flatten());
    let mut way: Vec<_> = back.collect();
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{self, Surroundings};
    use agent_api::NetworkCreate;

    /// A network whose id is its name.
    fn network(name: &str, subnets: &[&str]) -> NetworkRecord {
        let request = NetworkCreate {
            name: name.into(),
            subnets: subnets.iter().map(|net| net.parse().unwrap()).collect(),
            without_addresses: subnets.is_empty(),
            ..NetworkCreate::default()
        };
        let around = Surroundings {
            networks: Vec::new(),
            host: Vec::new(),
            pools_v4: Vec::new(),
            pools_v6: Vec::new(),
            mtu_max: None,
        };
        network::plan(name.to_owned(), request, None, &around).unwrap()
    }

    fn wires(names: &[&str]) -> Vec<NetworkRecord> {
        names.iter().map(|name| network(name, &[])).collect()
    }

    fn check(
        networks: &[NetworkRecord],
        patches: &[(&str, &str)],
        (one, other): (&str, &str),
    ) -> Result<(), Patch> {
        let patches = patches
            .iter()
            .map(|(one, other)| PatchRecord::new(one, other));
        let find = |id: &str| networks.iter().find(|network| network.id == id);
        let (one, other) = (find(one).unwrap(), find(other).unwrap());
        check_patch(
            &patches.map(|patch| (patch.key(), patch)).collect(),
            find,
            one,
            other,
        )
    }

    #[test]
    fn a_second_way_between_networks_is_refused_and_named() {
        let networks = wires(&["a", "b", "c", "d", "e"]);
        let patches = [("b", "a"), ("b", "c"), ("d", "e")];
        for (pair, way) in [
            (("a", "b"), "a - b"),
            (("b", "a"), "b - a"),
            (("a", "c"), "a - b - c"),
            (("c", "a"), "c - b - a"),
        ] {
            assert_eq!(
                check(&networks, &patches, pair),
                Err(Patch::Loop(way.into()))
            );
        }
        assert_eq!(check(&networks, &patches, ("c", "d")), Ok(()));
        let itself = check(&networks, &patches, ("e", "e"));
        assert_eq!(itself, Err(Patch::Itself("e".into())));
    }

    #[test]
    fn subnets_overlap_nowhere_on_a_segment() {
        let mut networks = wires(&["wire"]);
        networks.push(network("a", &["10.1.0.0/16", "fd01::/64"]));
        networks.push(network("b", &["10.1.7.0/24"]));
        networks.push(network("c", &["10.2.0.0/16"]));
        let overlap = Err(Patch::Overlap {
            one: "a".into(),
            subnet: "10.1.0.0/16".parse().unwrap(),
            other: "b".into(),
            taken: "10.1.7.0/24".parse().unwrap(),
        });
        assert_eq!(check(&networks, &[], ("a", "b")), overlap);
        let through = [("a", "wire"), ("b", "c")];
        assert_eq!(check(&networks, &through, ("wire", "c")), overlap);
        assert_eq!(check(&networks, &[], ("a", "c")), Ok(()));
    }

    #[test]
    fn gateways_that_speak_have_macs_of_their_own() {
        let mut networks = [
            network("a", &["fd00:0:1::/48"]),
            network("b", &["fd00:0:2::/48"]),
        ];
        assert_eq!(check(&networks, &[], ("a", "b")), Ok(()));
        // Folded into four bytes, these are the same.
        networks[0].subnets[0].gateway = "fd00:0:1::1:1".parse().unwrap();
        networks[1].subnets[0].gateway = "fd00:0:2::2:1".parse().unwrap();
        let refused = Err(Patch::GatewayMac {
            one: "a".into(),
            other: "b".into(),
            mac: "02:42:fd:00:00:01".parse().unwrap(),
        });
        assert_eq!(check(&networks, &[], ("a", "b")), refused);
        assert_eq!(check(&wires(&["c", "d"]), &[], ("c", "d")), Ok(()));
    }

    #[test]
    fn only_networks_of_this_host_with_ports_are_patched() {
        let mut networks = wires(&["a", "b"]);
        networks[1].driver = Driver::Overlay;
        let refused = check(&networks, &[], ("a", "b"));
        assert_eq!(refused, Err(Patch::SpansHosts("b".into())));
        networks[1].driver = Driver::Host;
        let refused = check(&networks, &[], ("b", "a"));
        assert_eq!(refused, Err(Patch::NoPorts("b".into())));
    }
}
