//! Whether a network of the cluster can be this host's.
//!
//! # Theory of operation
//!
//! A network that another host made becomes this host's as it is, or not at all: with another name or another subnet it would be
//! another network. What is in its way here is named, so that somebody can take that away; then it is adopted.
//!
//! What comes later does not take it away again, since containers may be on it: it is said what overlaps ([`check_overlap`]).

use std::net::IpAddr;

use super::checks::{BadRecord, check_network};
use crate::ipam::{InvalidSubnet, SubnetInUse, check_free};
use crate::network::SubnetEntry;
use crate::record::NetworkRecord;

/// What keeps a network of the cluster out of this host.
#[derive(Debug, thiserror::Error)]
pub enum KeepOut {
    #[error("this host has another network of that name; rename or remove that one")]
    Name,
    #[error(
        "its subnet {subnet} overlaps {by}; take that away here, or make the network with another subnet"
    )]
    Overlap { subnet: ipnet::IpNet, by: String },
    #[error("network {0:?} of this host has its VNI; remove that one")]
    Vni(String),
    #[error("containers that were on it before are cut off here; remove them")]
    Remains,
    #[error("its record is not taken in: {0}")]
    Record(#[from] BadRecord),
    #[error("{0}")]
    Host(String),
}

/// Whether nothing is in the way of a network: neither one of the `others` that this host has, nor what it reaches another way.
pub fn check_adoption<'r>(
    record: &NetworkRecord,
    others: impl Iterator<Item = &'r NetworkRecord> + Clone,
    obstacles: &[SubnetInUse],
) -> Result<(), KeepOut> {
    check_network(&record.id, record)?;
    let others = others.filter(|other| other.id != record.id);
    let by_vni = |other: &&NetworkRecord| {
        let both = other.overlay.as_ref().zip(record.overlay.as_ref());
        both.is_some_and(|(other, own)| (other.vni, other.encap) == (own.vni, own.encap))
    };
    let mut same = others.clone();
    if same.any(|other| other.name == record.name) {
        return Err(KeepOut::Name);
    }
    if let Some(other) = others.clone().find(by_vni) {
        return Err(KeepOut::Vni(other.name.clone()));
    }
    check_overlap(record, others, obstacles)
}

/// Whether nothing else that this host reaches has addresses of a network's subnets.
pub fn check_overlap<'r>(
    record: &NetworkRecord,
    others: impl Iterator<Item = &'r NetworkRecord>,
    obstacles: &[SubnetInUse],
) -> Result<(), KeepOut> {
    // From a host nothing leads into an internal network, nor does its own address there.
    if record.internal {
        return Ok(());
    }
    let with_host_port = others.filter(|other| other.id != record.id && !other.internal);
    let networks: Vec<_> = with_host_port
        .flat_map(|other| {
            other.subnets.iter().map(|subnet| SubnetInUse {
                subnet: subnet.net,
                by: format!("that of network {:?}", other.name),
            })
        })
        .collect();
    for subnet in &record.subnets {
        for in_use in [&networks[..], obstacles] {
            if let Err(InvalidSubnet::Overlaps { subnet, by, .. }) = check_free(subnet.net, in_use)
            {
                return Err(KeepOut::Overlap { subnet, by });
            }
        }
    }
    Ok(())
}

/// What a host reaches another way than by its networks: by its routes, its name servers among them.
pub fn obstacles(routes: &[SubnetEntry], name_servers: &[IpAddr]) -> Vec<SubnetInUse> {
    let routes = routes.iter().map(|entry| SubnetInUse {
        subnet: entry.subnet,
        by: format!("this host's route {entry}"),
    });
    let beyond = name_servers.iter().filter(|server| !server.is_loopback());
    let servers = beyond.map(|server| SubnetInUse {
        subnet: (*server).into(),
        by: format!("this host's name server {server}"),
    });
    routes.chain(servers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::id_of;
    use crate::record::{Encap, OverlayRecord};
    use crate::sample;

    fn network(number: u8, subnet: &str) -> NetworkRecord {
        NetworkRecord {
            id: id_of([number; 32]),
            driver: agent_api::Driver::Overlay,
            overlay: Some(OverlayRecord {
                vni: 4096 + u32::from(number),
                encap: Encap::Quic,
                remotes: Vec::new(),
            }),
            ..sample::network(&format!("n{number}"), &[subnet])
        }
    }

    fn routes() -> Vec<SubnetInUse> {
        let route = SubnetEntry {
            subnet: "172.18.0.0/16".parse().unwrap(),
            gateway: None,
            link: Some("eth0".into()),
        };
        obstacles(&[route], &[[10, 0, 0, 53].into(), [127, 0, 0, 53].into()])
    }

    #[test]
    fn what_comes_to_overlap_a_network_is_named() {
        let own = network(1, "172.18.4.0/24");
        let overlapping = NetworkRecord {
            name: "late".into(),
            ..network(2, "172.18.4.128/25")
        };
        let said = |others: &[NetworkRecord], obstacles: &[SubnetInUse]| {
            let checked = check_overlap(&own, others.iter(), obstacles);
            checked.map_err(|why| why.to_string())
        };
        assert_eq!(said(std::slice::from_ref(&own), &[]), Ok(()));
        let by_route = said(&[], &routes()).unwrap_err();
        assert!(by_route.contains("172.18.0.0/16 dev eth0"), "{by_route}");
        let by_network = said(&[overlapping], &[]).unwrap_err();
        assert!(by_network.contains("network \"late\""), "{by_network}");
    }

    fn why(record: &NetworkRecord, others: &[NetworkRecord]) -> String {
        let checked = check_adoption(record, others.iter(), &routes());
        checked.map_or_else(|why| why.to_string(), |()| "adopted".to_owned())
    }

    #[test]
    fn what_is_in_the_way_is_named_and_nothing_else_is_in_the_way() {
        let own = network(1, "10.9.0.0/24");
        assert_eq!(why(&own, &[]), "adopted");
        assert_eq!(why(&own, std::slice::from_ref(&own)), "adopted");
        assert_eq!(why(&own, &[network(2, "10.8.0.0/24")]), "adopted");
        let cases = [
            (network(3, "172.18.4.0/24"), "172.18.0.0/16 dev eth0"),
            (network(3, "172.16.0.0/12"), "172.18.0.0/16 dev eth0"),
            (network(3, "10.0.0.0/24"), "name server 10.0.0.53"),
            (network(3, "10.9.0.0/16"), "network \"n1\""),
            (
                NetworkRecord {
                    name: "n1".into(),
                    ..network(3, "10.7.0.0/24")
                },
                "of that name",
            ),
            (
                NetworkRecord {
                    overlay: own.overlay.clone(),
                    ..network(3, "10.7.0.0/24")
                },
                "its VNI",
            ),
            (
                NetworkRecord {
                    mtu: 1,
                    ..network(3, "10.7.0.0/24")
                },
                "not taken in",
            ),
        ];
        for (record, part) in cases {
            let said = why(&record, std::slice::from_ref(&own));
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn nothing_is_in_the_way_of_the_subnet_of_an_internal_network() {
        let internal = NetworkRecord {
            internal: true,
            ..network(1, "172.18.0.0/16")
        };
        assert_eq!(why(&internal, &[]), "adopted");
        let open = network(2, "10.9.0.0/24");
        let inside = NetworkRecord {
            internal: true,
            ..network(3, "10.9.0.0/24")
        };
        assert_eq!(why(&open, &[inside]), "adopted");
    }
}
