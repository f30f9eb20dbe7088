//! The sets that rules look things up in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::words::{family, push_block, quoted, word};
use crate::firewall::drops::{Drops, FilterDrop};
use crate::firewall::rules::{NetworkRules, Rules, Service};

/// Sets instead of rules per network, so that a packet costs the same however many networks there are.
pub(super) fn push_sets(text: &mut String, networks: &[&NetworkRules]) {
    let links: BTreeSet<String> = networks.iter().map(|n| quoted(&n.host_link)).collect();
    let same = links
        .iter()
        .map(|link| format!("{link} . {link}"))
        .collect();
    let guarded = networks.iter().filter(|network| network.anti_spoof);
    let guarded = guarded.map(|n| quoted(&n.host_link)).collect();
    push_block(text, "set host_links", "type ifname", &links);
    push_block(text, "set same_network", "type ifname . ifname", &same);
    push_block(text, "set guarded", "type ifname", &guarded);
    for (version, family) in [("4", "ip"), ("6", "ip6")] {
        let mut own = BTreeSet::new();
        let mut routed = BTreeSet::new();
        let mut masqueraded = BTreeSet::new();
        for (network, subnet) in networks
            .iter()
            .flat_map(|network| network.subnets.iter().map(move |subnet| (network, subnet)))
            .filter(|(_, subnet)| self::family(subnet.addr()) == family)
        {
            own.insert(format!("{subnet} . {}", quoted(&network.host_link)));
            routed.insert(subnet.to_string());
            if network.masquerade {
                masqueraded.insert(subnet.to_string());
            }
        }
        let gateways = networks.iter().flat_map(|network| {
            let link = quoted(&network.host_link);
            let own = network.gateways.iter();
            let own = own.filter(move |gateway| self::family(**gateway) == family);
            own.map(move |gateway| format!("{link} : {gateway}"))
        });
        let gateway_type = format!("type ifname : ipv{version}_addr");
        push_block(
            text,
            &format!("map gateways{version}"),
            &gateway_type,
            &gateways.collect(),
        );
        let own_type = format!("type ipv{version}_addr . ifname; flags interval");
        let subnet_type = format!("type ipv{version}_addr; flags interval; auto-merge");
        push_block(text, &format!("set own{version}"), &own_type, &own);
        push_block(text, &format!("set routed{version}"), &subnet_type, &routed);
        push_block(
            text,
            &format!("set masqueraded{version}"),
            &subnet_type,
            &masqueraded,
        );
    }
}

/// One set per reason, whose elements count (see [`Drops`]).
pub(super) fn push_drops(text: &mut String, networks: &[&NetworkRules], drops: &Drops) {
    for reason in FilterDrop::ALL {
        let counted = networks.iter().map(|network| {
            let count = drops.count(reason, &network.host_link);
            let link = quoted(&network.host_link);
            format!(
                "{link} counter packets {} bytes {}",
                count.packets, count.bytes
            )
        });
        let head = format!("set {}", reason.set());
        push_block(text, &head, "type ifname; counter", &counted.collect());
    }
}

/// Where tunnels end, on whatever host, and what else hosts of a cluster trust each other with.
pub(super) fn push_underlay(text: &mut String, rules: &Rules) {
    let own = rules.tunnels.iter().map(SocketAddr::port);
    let ports: BTreeSet<u16> = own.chain(VXLAN_PORTS).collect();
    let ports = ports.iter().map(u16::to_string).collect();
    push_block(text, "set tunnel_ports", "type inet_service", &ports);
    for (place, elements) in services(&rules.services) {
        let types = match place {
            ServicePlace::Here => "type inet_proto . inet_service",
            ServicePlace::V4 => "type ipv4_addr . inet_proto . inet_service",
            ServicePlace::V6 => "type ipv6_addr . inet_proto . inet_service",
        };
        push_block(text, &format!("set {}", place.set()), types, &elements);
    }
}

/// The elements of each set that is not empty.
pub(super) fn services(services: &BTreeSet<Service>) -> BTreeMap<ServicePlace, BTreeSet<String>> {
    let mut sets: BTreeMap<ServicePlace, BTreeSet<String>> = BTreeMap::new();
    for service in services {
        let port = format!("{} . {}", word(service.protocol), service.port);
        let (place, element) = match service.address {
            None => (ServicePlace::Here, port),
            Some(address @ IpAddr::V4(_)) => (ServicePlace::V4, format!("{address} . {port}")),
            Some(address @ IpAddr::V6(_)) => (ServicePlace::V6, format!("{address} . {port}")),
        };
        sets.entry(place).or_default().insert(element);
    }
    sets
}

/// Where a service is, and so the set that it is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ServicePlace {
    Here,
    V4,
    V6,
}

impl ServicePlace {
    const fn set(self) -> &'static str {
        match self {
            Self::Here => "services_here",
            Self::V4 => "services4",
            Self::V6 => "services6",
        }
    }

    /// The port first: it costs less to look up than whether an address is local.
    pub(super) const fn condition(self) -> &'static str {
        match self {
            Self::Here => "meta l4proto . th dport @services_here fib daddr type local",
            Self::V4 => "ip daddr . meta l4proto . th dport @services4",
            Self::V6 => "ip6 daddr . meta l4proto . th dport @services6",
        }
    }
}

/// Ours (IANA's), and that of kernels before they knew it.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
