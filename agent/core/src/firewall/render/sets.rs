//! The sets that rules look things up in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::words::{push_block, quoted, word};
use crate::firewall::drops::{Count, Drops, FilterDrop};
use crate::firewall::rules::{NetworkRules, Rules, Service, VXLAN_PORTS};

/// Sets instead of rules per network, so that a packet costs the same however many networks there are, and a network that comes
/// or goes changes nothing but elements.
///
/// Subnets stand beside their family, which says nothing: of a set whose elements are intervals of one thing alone, `nft` (1.0.6)
/// lists all there are before it changes any, and of no other.
pub(super) fn push_sets(text: &mut String, networks: &[&NetworkRules], drops: &Drops) {
    let mut elements: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (set, element) in network_elements(networks) {
        elements.entry(set).or_default().insert(element);
    }
    for reason in FilterDrop::ALL {
        let counted = networks.iter().map(|network| {
            let count = drops.count(reason, &network.host_link);
            counting(&network.host_link, count)
        });
        elements.insert(reason.set(), counted.collect());
    }
    for (head, set, types) in NETWORK_SETS {
        let elements = elements.remove(set).unwrap_or_default();
        push_block(text, &format!("{head} {set}"), types, &elements);
    }
}

/// What each set has of the networks, those that count aside.
pub(super) fn network_elements(networks: &[&NetworkRules]) -> BTreeSet<(&'static str, String)> {
    let mut elements = BTreeSet::new();
    for network in networks {
        let link = quoted(&network.host_link);
        if network.lan {
            elements.insert(("lans", link));
            continue;
        }
        elements.insert(("host_links", link.clone()));
        if let Some(nic) = &network.routed_by {
            elements.insert(("same_network", format!("{} . {link}", quoted(nic))));
        }
        elements.insert(("same_network", format!("{link} . {link}")));
        if network.anti_spoof {
            elements.insert(("guarded", link.clone()));
        }
        for gateway in &network.gateways {
            let [gateways, ..] = address_sets(*gateway);
            elements.insert((gateways, format!("{link} : {gateway}")));
        }
        for subnet in &network.subnets {
            let [_, own, ..] = address_sets(subnet.addr());
            elements.insert((own, format!("{subnet} . {link}")));
        }
    }
    let routed = networks.iter().filter(|network| !network.lan);
    let masqueraded = routed.clone().filter(|network| network.masquerade);
    for subnet in outermost(routed.flat_map(|network| &network.subnets)) {
        let [_, _, routed, _] = address_sets(subnet.addr());
        elements.insert((routed, beside_family(subnet)));
    }
    for subnet in outermost(masqueraded.flat_map(|network| &network.subnets)) {
        let [.., masqueraded] = address_sets(subnet.addr());
        elements.insert((masqueraded, beside_family(subnet)));
    }
    elements
}

fn beside_family(subnet: IpNet) -> String {
    match subnet {
        IpNet::V4(_) => format!("{subnet} . ipv4"),
        IpNet::V6(_) => format!("{subnet} . ipv6"),
    }
}

/// The subnets that lie in no other one: a set takes no intervals that overlap. Were it to merge them, it would merge neighbors too, and
/// `nft` (1.0.6) takes none of those out again.
fn outermost<'r>(subnets: impl Iterator<Item = &'r IpNet>) -> Vec<IpNet> {
    let sorted: BTreeSet<IpNet> = subnets.copied().collect();
    let mut outermost: Vec<IpNet> = Vec::new();
    for subnet in sorted {
        // Whatever it lies in comes just before it.
        if !outermost.last().is_some_and(|last| last.contains(&subnet)) {
            outermost.push(subnet);
        }
    }
    outermost
}

/// An element of the sets whose elements count (see [`Drops`]).
pub(super) fn counting(link: &str, count: Count) -> String {
    let link = quoted(link);
    let Count { packets, bytes } = count;
    format!("{link} counter packets {packets} bytes {bytes}")
}

const fn address_sets(address: IpAddr) -> [&'static str; 4] {
    match address {
        IpAddr::V4(_) => ["gateways4", "own4", "routed4", "masqueraded4"],
        IpAddr::V6(_) => ["gateways6", "own6", "routed6", "masqueraded6"],
    }
}

/// In the order of the table: what it is, its name, what it holds.
const NETWORK_SETS: [(&str, &str, &str); 17] = [
    ("set", "host_links", "type ifname"),
    ("set", "lans", "type ifname"),
    ("set", "same_network", "type ifname . ifname"),
    ("set", "guarded", "type ifname"),
    ("map", "gateways4", "type ifname : ipv4_addr"),
    ("set", "own4", "type ipv4_addr . ifname; flags interval"),
    ("set", "routed4", SUBNETS4),
    ("set", "masqueraded4", SUBNETS4),
    ("map", "gateways6", "type ifname : ipv6_addr"),
    ("set", "own6", "type ipv6_addr . ifname; flags interval"),
    ("set", "routed6", SUBNETS6),
    ("set", "masqueraded6", SUBNETS6),
    ("set", FilterDrop::Source.set(), COUNTING),
    ("set", FilterDrop::Loopback.set(), COUNTING),
    ("set", FilterDrop::Underlay.set(), COUNTING),
    ("set", FilterDrop::Invalid.set(), COUNTING),
    ("set", FilterDrop::Isolation.set(), COUNTING),
];

const SUBNETS4: &str = "type ipv4_addr . nf_proto; flags interval";
const SUBNETS6: &str = "type ipv6_addr . nf_proto; flags interval";
const COUNTING: &str = "type ifname; counter";

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
