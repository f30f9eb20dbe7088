//! What a record of the cluster must look like before anybody takes it in.
//!
//! # Theory of operation
//!
//! Whoever may write to the store may write nonsense. So every record is checked by whoever lets it in, and once more by every host
//! that reads it: its form and sizes here, and what it must agree with in the world ([`check_claimed`], and
//! [`super::networks`] for what two networks must not have in common).
//!
//! Bounds are far above what an agent writes, and low enough that all members together fill nobody's memory.

use std::net::IpAddr;

use agent_api::{Driver, NetworkCreate};
use ipnet::IpNet;
use switch_core::{Mac, Vni};

use super::{ALIVE, AliveRecord, EndpointShared, HostRecord, ServiceShared, World, blocks};
use crate::ipam::{AllocateAddress, CreatePool, InvalidSubnet, Pool, Pools, Tenant, parse_subnet};
use crate::name::{BadId, BadName, check_id, check_name};
use crate::network::{BadVlan, CreateNetwork, check_mtu, check_options, check_vlans};
use crate::record::{NetworkRecord, Subnet};

/// Why a record is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    #[error(transparent)]
    Id(#[from] BadId),
    #[error(transparent)]
    Name(#[from] BadName),
    #[error("{0:?} is no id of a host; one has 1 to 63 of a-z, 0-9, '-' and '.'")]
    Host(String),
    #[error("it is of host {said:?}, and its key is of {key:?}")]
    Key { said: String, key: String },
    #[error("{count} {what} are too many; at most {most} are taken")]
    TooMany {
        what: &'static str,
        count: usize,
        most: usize,
    },
    #[error("{0} is no address of a host")]
    Address(IpAddr),
    #[error("its {0} is not set")]
    Unset(&'static str),
    #[error("{0} is not the MAC of a station")]
    NoStation(Mac),
    #[error("{0} is the MAC of the network's gateway")]
    GatewayMac(Mac),
    #[error("{0}")]
    EndpointAddress(#[from] AllocateAddress),
    #[error("it has no address of its network's subnet {0}")]
    NoAddress(IpNet),
    #[error("it has address {0}, and the network has no subnet of that family")]
    NoSubnet(IpAddr),
    #[error("address {0} is not claimed by its host")]
    Unclaimed(IpAddr),
    #[error("its host has begun no life of number {0}")]
    Life(u64),
    #[error("sequence number {0} is above {SEQUENCE_MAX}: no host gets that far")]
    Sequence(u32),
    #[error(transparent)]
    Vlan(#[from] BadVlan),
    #[error("a service has port 0, or ends above port 65535")]
    Service,
    #[error("driver {0:?} is not that of a network of the cluster")]
    Driver(Driver),
    #[error("it has remotes of its own; a network of the cluster has none")]
    Remotes,
    #[error("VNI {0} is none; take 1 to 16777215")]
    Vni(u32),
    #[error("its subnets are not one IPv4 subnet, one IPv6 subnet, or one of each in that order")]
    Families,
    #[error(transparent)]
    Subnet(#[from] InvalidSubnet),
    #[error(transparent)]
    Pool(#[from] CreatePool),
    #[error("address {0}, which it keeps for somebody, is in none of its subnets")]
    AuxAddress(IpAddr),
    #[error(transparent)]
    Network(#[from] CreateNetwork),
}

/// A network of the cluster, by itself.
pub fn check_network(id: &str, record: &NetworkRecord) -> Result<(), BadRecord> {
    check_id(id)?;
    if record.id != id {
        return Err(BadRecord::Key {
            said: record.id.clone(),
            key: id.to_owned(),
        });
    }
    check_name(&record.name)?;
    let Some(overlay) = record
        .overlay
        .as_ref()
        .filter(|_| record.driver == Driver::Overlay)
    else {
        return Err(BadRecord::Driver(record.driver));
    };
    if !overlay.remotes.is_empty() {
        return Err(BadRecord::Remotes);
    }
    check_vni_form(overlay.vni)?;
    check_sizes(record)?;
    check_subnets(record)?;
    let with_ipv6 = record.subnet_v6().is_some();
    check_mtu(record.mtu, with_ipv6)?;
    Ok(check_options(&NetworkCreate {
        driver: record.driver,
        options: record.options.clone(),
        ..NetworkCreate::default()
    })?)
}

/// A number that frames can bear; kernel devices take 0 for "any".
pub fn check_vni_form(vni: u32) -> Result<(), BadRecord> {
    match (1..=Vni::MAX).contains(&vni) {
        true => Ok(()),
        false => Err(BadRecord::Vni(vni)),
    }
}

fn check_sizes(record: &NetworkRecord) -> Result<(), BadRecord> {
    check_count("kept addresses", record.aux_addresses.len(), AUX_MAX)?;
    check_count("name servers", record.dns.len(), DNS_MAX)?;
    check_count("labels", record.labels.len(), LABELS_MAX)?;
    let texts = record.labels.iter().chain(&record.options);
    let texts = texts.map(|(name, value)| name.len() + value.len());
    let keepers = record.aux_addresses.keys().map(String::len);
    let length = texts.chain(keepers).sum();
    check_count("bytes of labels and options", length, TEXT_MAX)
}

fn check_subnets(record: &NetworkRecord) -> Result<(), BadRecord> {
    let is_v4 = |subnet: &Subnet| subnet.net.addr().is_ipv4();
    match record.subnets.as_slice() {
        [] | [_] => {}
        [one, other] if is_v4(one) && !is_v4(other) => {}
        _ => return Err(BadRecord::Families),
    }
    for subnet in &record.subnets {
        parse_subnet(&subnet.net.to_string())?;
        let range = record.ip_range.filter(|_| is_v4(subnet));
        Pool::new(subnet.net, Some(subnet.gateway), range)?;
    }
    let is_outside = |address: &&IpAddr| {
        let mut subnets = record.subnets.iter();
        !subnets.any(|subnet| subnet.net.contains(*address))
    };
    match record.aux_addresses.values().find(is_outside) {
        Some(stray) => Err(BadRecord::AuxAddress(*stray)),
        None => Ok(()),
    }
}

/// An endpoint of a network, by itself.
pub fn check_endpoint(
    network: &NetworkRecord,
    id: &str,
    shared: &EndpointShared,
) -> Result<(), BadRecord> {
    check_id(id)?;
    check_host_id(&shared.host)?;
    check_name(&shared.name)?;
    check_count("aliases", shared.aliases.len(), ALIASES_MAX)?;
    shared
        .aliases
        .iter()
        .chain(&shared.hostname)
        .try_for_each(|name| check_name(name))?;
    if let Some(short) = &shared.short_id {
        check_name(short)?;
    }
    check_count("published ports", shared.services.len(), SERVICES_MAX)?;
    shared.services.iter().try_for_each(check_service)?;
    check_vlans(network, shared.vlan, shared.trunk.as_deref())?;
    if shared.sequence > SEQUENCE_MAX {
        return Err(BadRecord::Sequence(shared.sequence));
    }
    let mac = Mac::new(shared.mac);
    if !mac.is_station() {
        return Err(BadRecord::NoStation(mac));
    }
    if mac == network.gateway_mac() {
        return Err(BadRecord::GatewayMac(mac));
    }
    check_addresses(network, shared)
}

/// Each is one that an endpoint may have: inside, not the network's own, not the gateway's, kept for nobody.
fn check_addresses(network: &NetworkRecord, shared: &EndpointShared) -> Result<(), BadRecord> {
    let mut pools = Pools::of(network)?;
    let both = [
        (shared.ipv4.map(IpAddr::V4), &mut pools.v4),
        (shared.ipv6.map(IpAddr::V6), &mut pools.v6),
    ];
    for (address, pool) in both {
        match (address, pool) {
            (Some(address), Some(pool)) => {
                pool.take(address, Tenant::Endpoint(shared.name.clone()))?;
            }
            (Some(address), None) => return Err(BadRecord::NoSubnet(address)),
            (None, Some(pool)) => return Err(BadRecord::NoAddress(pool.subnet())),
            (None, None) => {}
        }
    }
    Ok(())
}

/// Whether the host of an endpoint has its addresses, as far as the world says, and said so in a life that it has begun.
pub fn check_claimed(
    world: &World,
    network: &str,
    shared: &EndpointShared,
) -> Result<(), BadRecord> {
    // What is held of a store before may have a higher number than what its host has begun since.
    let alive = world.entry(&format!("{ALIVE}{}", shared.host));
    if alive.is_some_and(|alive| shared.epoch > world.epoch(alive.revision)) {
        return Err(BadRecord::Life(shared.epoch));
    }
    let is_its = |address: &IpAddr| blocks::has(world, &shared.host, network, *address);
    match shared
        .addresses()
        .into_iter()
        .find(|address| !is_its(address))
    {
        Some(stray) => Err(BadRecord::Unclaimed(stray)),
        None => Ok(()),
    }
}

/// A member, by itself.
pub fn check_host(id: &str, record: &HostRecord) -> Result<(), BadRecord> {
    check_host_id(id)?;
    check_host_name(&record.name)?;
    check_host_address(record.address)
}

/// A member that lives, by itself.
pub fn check_alive(id: &str, record: &AliveRecord) -> Result<(), BadRecord> {
    check_host_id(id)?;
    check_host_address(record.address)?;
    if record.quic_udp_port == Some(0) {
        return Err(BadRecord::Unset("UDP port"));
    }
    check_count("bytes of a run's name", record.run.len(), RUN_MAX)?;
    let ca = record.certificate.as_ref().map_or("", |own| &*own.ca);
    check_count("digits of a CA's hash", ca.len(), CA_DIGITS_MAX)
}

/// As certificates name hosts.
pub fn check_host_id(id: &str) -> Result<(), BadRecord> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = id.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    let is_good = bytes.len() <= HOST_ID_MAX
        && ends
            .iter()
            .all(|end| end.is_some_and(|byte| is_plain(*byte)))
        && bytes
            .iter()
            .all(|byte| is_plain(*byte) || matches!(byte, b'-' | b'.'));
    match is_good {
        true => Ok(()),
        false => Err(BadRecord::Host(id.chars().take(HOST_ID_MAX).collect())),
    }
}

fn check_host_name(name: &str) -> Result<(), BadRecord> {
    check_count("bytes of a host's name", name.len(), HOST_NAME_MAX)?;
    match name.is_empty() || name.chars().any(char::is_control) {
        true => Err(BadRecord::Unset("name")),
        false => Ok(()),
    }
}

/// Where somebody's tunnels can end.
fn check_host_address(address: IpAddr) -> Result<(), BadRecord> {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    let is_nobodys = address.is_unspecified() || address.is_multicast() || is_broadcast;
    match is_nobodys || address.is_loopback() {
        true => Err(BadRecord::Address(address)),
        false => Ok(()),
    }
}

fn check_service(service: &ServiceShared) -> Result<(), BadRecord> {
    let ends = |first: u16| first.checked_add(service.count.saturating_sub(1));
    let starts = [service.container_port, service.host_port];
    match service.count > 0
        && starts
            .iter()
            .all(|first| *first > 0 && ends(*first).is_some())
    {
        true => Ok(()),
        false => Err(BadRecord::Service),
    }
}

fn check_count(what: &'static str, count: usize, most: usize) -> Result<(), BadRecord> {
    match count <= most {
        true => Ok(()),
        false => Err(BadRecord::TooMany { what, count, most }),
    }
}

/// Of a record's sequence number. A host raises it by one above what it knows when it takes a MAC over, and by 2^16 for each agent
/// before it in one session, so that no host ever gets here. What is higher was made up; near the end of the range
/// nobody could outrank it any more.
pub const SEQUENCE_MAX: u32 = 1 << 31;
/// Rows of published ports that other hosts are told of.
pub const SERVICES_MAX: usize = 256;
const ALIASES_MAX: usize = 256;
const AUX_MAX: usize = 1024;
const DNS_MAX: usize = 64;
const LABELS_MAX: usize = 1024;
const TEXT_MAX: usize = 128 * 1024;
const CA_DIGITS_MAX: usize = 16;
const RUN_MAX: usize = 64;
/// A DNS label's (RFC 1035 §2.3.4), so that it fits a certificate.
const HOST_ID_MAX: usize = 63;
/// Of the kernel's (HOST_NAME_MAX in limits.h), and more for people who choose their own.
const HOST_NAME_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::blocks::page_key;
    use super::super::{Entry, HOSTS, Moment};
    use super::*;
    use crate::ipam::block::page_of;
    use crate::name::id_of;
    use crate::record::{Encap, OverlayRecord};
    use crate::sample;
    use crate::shared::CertificateShared;

    fn network() -> NetworkRecord {
        NetworkRecord {
            id: id_of([7; 32]),
            driver: Driver::Overlay,
            overlay: Some(OverlayRecord {
                vni: 4096,
                encap: Encap::Quic,
                remotes: Vec::new(),
            }),
            ..sample::network("far", &["10.9.0.0/24", "fd09::/64"])
        }
    }

    fn endpoint() -> Value {
        json!({
            "host": "node-1", "epoch": 1, "sequence": 2, "mac": [2, 0, 0, 0, 0, 1],
            "ipv4": "10.9.0.2", "ipv6": "fd09::2", "name": "web", "aliases": ["www"],
            "hostname": "web", "short_id": "0123456789ab",
        })
    }

    fn refused_endpoint(key: &str, value: Value) -> String {
        let mut shared = endpoint();
        shared[key] = value;
        let shared = serde_json::from_value(shared).unwrap();
        let checked = check_endpoint(&network(), &id_of([1; 32]), &shared);
        checked.unwrap_err().to_string()
    }

    fn refused_network(change: impl FnOnce(&mut NetworkRecord)) -> String {
        let mut record = network();
        change(&mut record);
        let checked = check_network(&id_of([7; 32]), &record);
        checked.unwrap_err().to_string()
    }

    #[test]
    fn an_endpoint_as_agents_write_it_is_good() {
        let shared = serde_json::from_value(endpoint()).unwrap();
        check_endpoint(&network(), &id_of([1; 32]), &shared).unwrap();
    }

    #[test]
    fn an_endpoint_that_is_made_up_is_refused_with_the_reason() {
        let cases = [
            ("host", json!("Node 1"), "id of a host"),
            ("host", json!("x".repeat(64)), "id of a host"),
            ("name", json!("a b"), "usable name"),
            ("name", json!("x".repeat(64)), "at most 63"),
            ("aliases", json!(["ok", "/"]), "usable name"),
            ("aliases", json!(vec!["a"; 257]), "257 aliases"),
            ("hostname", json!("-"), "usable name"),
            ("short_id", json!("!"), "usable name"),
            ("sequence", json!(u32::MAX), "4294967295"),
            ("sequence", json!(SEQUENCE_MAX + 1), "2147483648"),
            ("mac", json!([0, 0, 0, 0, 0, 0]), "station"),
            ("mac", json!([3, 0, 0, 0, 0, 1]), "station"),
            ("mac", json!(Mac::BROADCAST.octets()), "station"),
            ("mac", json!(network().gateway_mac().octets()), "gateway"),
            ("ipv4", json!("10.8.0.2"), "10.8.0.2"),
            ("ipv4", json!("10.9.0.0"), "10.9.0.0"),
            ("ipv4", json!("10.9.0.255"), "10.9.0.255"),
            ("ipv4", json!("10.9.0.1"), "10.9.0.1"),
            ("ipv4", Value::Null, "10.9.0.0/24"),
            ("ipv6", json!("fd08::2"), "fd08::2"),
            ("ipv6", json!("fd09::1"), "fd09::1"),
        ];
        for (key, value, part) in cases {
            let said = refused_endpoint(key, value.clone());
            assert!(said.contains(part), "{key} {value}: {said}");
        }
        for (first, count) in [(0, 1), (65_535, 2), (80, 0)] {
            let service = json!({
                "protocol": "tcp", "container_port": first, "host_port": 80, "count": count,
            });
            let said = refused_endpoint("services", json!([service]));
            assert!(said.contains("port"), "{said}");
        }
    }

    #[test]
    fn a_network_without_addresses_has_endpoints_without_any() {
        let bare = NetworkRecord {
            subnets: Vec::new(),
            ..network()
        };
        let mut shared: EndpointShared = serde_json::from_value(endpoint()).unwrap();
        let id = id_of([1; 32]);
        assert!(check_endpoint(&bare, &id, &shared).is_err());
        (shared.ipv4, shared.ipv6) = (None, None);
        check_endpoint(&bare, &id, &shared).unwrap();
    }

    #[test]
    fn a_network_that_is_made_up_is_refused_with_the_reason() {
        check_network(&id_of([7; 32]), &network()).unwrap();
        let refused = [
            (refused_network(|it| it.id = id_of([8; 32])), "its key"),
            (refused_network(|it| it.name = "a b".into()), "usable name"),
            (
                refused_network(|it| it.driver = Driver::Bridge),
                "not that of",
            ),
            (refused_network(|it| it.overlay = None), "not that of"),
            (refused_network(|it| it.mtu = 100), "100"),
            (refused_network(|it| it.mtu = 1000), "1000"),
            (refused_network(|it| it.subnets.reverse()), "in that order"),
            (
                refused_network(|it| it.ip_range = "10.8.0.0/25".parse().ok()),
                "10.8.0.0/25",
            ),
        ];
        for (said, part) in refused {
            assert!(said.contains(part), "{said}");
        }
        for (net, gateway) in [
            ("10.9.0.1/24", "10.9.0.1"),
            ("127.0.0.0/8", "127.0.0.1"),
            ("224.0.0.0/8", "224.0.0.1"),
            ("10.9.0.0/32", "10.9.0.0"),
            ("10.9.0.0/24", "10.8.0.1"),
            ("10.9.0.0/24", "10.9.0.255"),
            ("0.0.0.0/0", "10.9.0.1"),
        ] {
            let subnet = Subnet {
                net: net.parse().unwrap(),
                gateway: gateway.parse().unwrap(),
            };
            refused_network(|it| it.subnets = vec![subnet]);
        }
        let overlay = |change: fn(&mut OverlayRecord)| {
            refused_network(|it| change(it.overlay.as_mut().unwrap()))
        };
        assert!(overlay(|it| it.vni = 0).contains("VNI 0"));
        assert!(overlay(|it| it.vni = 1 << 24).contains("16777215"));
        assert!(overlay(|it| it.remotes.push([192, 0, 2, 1].into())).contains("remotes"));
        let long = refused_network(|it| {
            it.labels.insert("x".into(), "x".repeat(200_000));
        });
        assert!(long.contains("bytes of labels"), "{long}");
        let option = refused_network(|it| {
            it.options.insert("guard".into(), "none".into());
        });
        assert!(option.contains("strict or loose"), "{option}");
        let kept = refused_network(|it| {
            it.aux_addresses.insert("r".into(), [9, 9, 9, 9].into());
        });
        assert!(kept.contains("9.9.9.9"), "{kept}");
    }

    #[test]
    fn an_address_of_an_endpoint_is_its_hosts() {
        let shared: EndpointShared = serde_json::from_value(endpoint()).unwrap();
        let world_of = |host: &str| {
            let entry = |key: String, value: Value| Entry {
                key,
                value,
                revision: 1,
            };
            let known = json!({"name": host, "address": "192.0.2.1", "joined_s": 1});
            let mut entries = vec![entry(format!("{HOSTS}{host}"), known)];
            let page = |address: &IpAddr| {
                let subnets = network().subnets.into_iter();
                let mut subnet = subnets.filter(|subnet| subnet.net.contains(address));
                let page = page_of(subnet.next().unwrap().net, *address);
                let block = IpNet::from(*address).to_string();
                entry(page_key("n", page), json!({ block: host }))
            };
            entries.extend(shared.addresses().iter().map(page));
            let mut world = World::default();
            #[expect(clippy::disallowed_methods, reason = "any moment will do")]
            let now = std::time::Instant::now();
            world.replace(entries, &Moment::alone(now));
            world
        };
        check_claimed(&world_of("node-1"), "n", &shared).unwrap();
        for world in [world_of("node-2"), World::default()] {
            let refused = check_claimed(&world, "n", &shared).unwrap_err();
            assert!(refused.to_string().contains("10.9.0.2"), "{refused}");
        }
        assert!(check_claimed(&world_of("node-1"), "m", &shared).is_err());
    }

    #[test]
    fn a_word_of_a_life_that_its_host_has_not_begun_is_not_taken_in() {
        let told: EndpointShared = serde_json::from_value(endpoint()).unwrap();
        let alive = Entry {
            key: format!("{ALIVE}{}", told.host),
            value: json!({"address": "192.0.2.1", "quic_udp_port": 4790, "run": "r"}),
            revision: 5,
        };
        let world = World::of(vec![alive]);
        for (epoch, is_taken) in [(4, true), (5, true), (6, false)] {
            let told = EndpointShared {
                epoch,
                ipv4: None,
                ipv6: None,
                ..told.clone()
            };
            let checked = check_claimed(&world, "n", &told);
            assert_eq!(checked.is_ok(), is_taken, "{checked:?}");
        }
    }

    #[test]
    fn a_host_is_somewhere_where_tunnels_can_end() {
        let host = |name: &str, address: &str| HostRecord {
            name: name.into(),
            address: address.parse().unwrap(),
            joined_s: 1,
        };
        check_host("node-1", &host("node 1", "192.0.2.1")).unwrap();
        for (id, name, address) in [
            ("", "n", "192.0.2.1"),
            ("a/b", "n", "192.0.2.1"),
            ("a", "", "192.0.2.1"),
            ("a", "a\nb", "192.0.2.1"),
            ("a", "n", "127.0.0.1"),
            ("a", "n", "0.0.0.0"),
            ("a", "n", "ff02::1"),
            ("a", "n", "255.255.255.255"),
        ] {
            assert!(check_host(id, &host(name, address)).is_err(), "{id} {name}");
        }
        let alive = AliveRecord {
            address: [192, 0, 2, 1].into(),
            inside: None,
            quic_udp_port: Some(4790),
            run: "r".into(),
            certificate: Some(CertificateShared {
                until_s: 1,
                ca: "0123456789abcdef".into(),
            }),
        };
        check_alive("a", &alive).unwrap();
        let portless = AliveRecord {
            quic_udp_port: Some(0),
            ..alive.clone()
        };
        assert!(check_alive("a", &portless).is_err());
        let long = AliveRecord {
            run: "r".repeat(65),
            ..alive.clone()
        };
        assert!(check_alive("a", &long).is_err());
        let long = AliveRecord {
            certificate: Some(CertificateShared {
                until_s: 1,
                ca: "a".repeat(17),
            }),
            ..alive
        };
        assert!(check_alive("a", &long).is_err());
    }
}
