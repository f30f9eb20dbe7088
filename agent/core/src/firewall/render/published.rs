//! Published ports in the table: the maps that say where they lead, and the chains that lead there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use agent_api::TransportProtocol;

use super::words::{push_block, word};
use crate::firewall::rules::Published;

/// One map per protocol, address family, whether a host address is named, and whether ports keep their number.
pub(super) fn push_maps(text: &mut String, published: &[Published]) {
    for (name, elements) in map_elements(published) {
        push_block(text, &format!("map {name}"), &name.types(), &elements);
    }
}

/// What is in each map.
pub(super) fn map_elements<'p>(
    published: impl IntoIterator<Item = &'p Published>,
) -> BTreeMap<MapName, BTreeSet<String>> {
    let mut maps: BTreeMap<MapName, BTreeSet<String>> = BTreeMap::new();
    for run in published.into_iter().filter(|run| run.is_within_reach()) {
        let name = MapName::of(run);
        let elements = maps.entry(name).or_default();
        let host = match run.host_ip {
            Some(host_ip) if !name.any_address => format!("{host_ip} . "),
            _ => String::new(),
        };
        if name.same_port {
            let last = run.host_port.saturating_add(run.ports - 1);
            let container = run.container.ip();
            elements.insert(format!("{host}{}-{last} : {container}", run.host_port));
            continue;
        }
        let ports = (0..run.ports).filter_map(|at| run.host_port.checked_add(at));
        elements.extend(ports.filter_map(|port| {
            let target = run.target_of(port)?;
            Some(format!(
                "{host}{port} : {} . {}",
                target.ip(),
                target.port()
            ))
        }));
    }
    maps
}

/// The maps that there are.
pub(super) fn map_names(published: &[Published]) -> BTreeSet<MapName> {
    let within_reach = published.iter().filter(|run| run.is_within_reach());
    within_reach.map(MapName::of).collect()
}

/// Connections from elsewhere and the host's own are led alike. Packets to IPv6's link-local addresses never
/// leave their link, so the agent's proxy serves those; whoever sends to the host's loopback from elsewhere is no client.
pub(super) fn push_publish(text: &mut String, published: &[Published]) {
    text.push_str("\tchain published {\n");
    // Sorted, so a named address comes before any address.
    for name in map_names(published) {
        let _ = writeln!(text, "\t\t{}", name.rule());
    }
    text.push_str(
        "\t}\n\
         \tchain prerouting {\n\
         \t\ttype nat hook prerouting priority dstnat; policy accept;\n\
         \t\tiifname \"lo\" return\n\
         \t\tip daddr 127.0.0.0/8 return\n\
         \t\tip6 daddr { ::1, fe80::/10 } return\n\
         \t\tfib daddr type local goto published\n\
         \t}\n\
         \tchain local {\n\
         \t\ttype nat hook output priority -100; policy accept;\n\
         \t\tip6 daddr fe80::/10 return\n\
         \t\tfib daddr type local goto published\n\
         \t}\n",
    );
}

/// Ordered so that maps with a named address come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MapName {
    any_address: bool,
    protocol: TransportProtocol,
    v6: bool,
    /// Whole ranges that keep their numbers are one element each.
    same_port: bool,
}

impl MapName {
    fn of(run: &Published) -> Self {
        Self {
            any_address: run.host_ip.is_none_or(|host_ip| host_ip.is_unspecified()),
            protocol: run.protocol,
            v6: run.container.is_ipv6(),
            same_port: run.ports > 1 && run.host_port == run.container.port(),
        }
    }

    /// Leads to what the map says.
    pub(super) fn rule(self) -> String {
        let family = if self.v6 { "ip6" } else { "ip" };
        let protocol = word(self.protocol);
        let address = if self.any_address {
            String::new()
        } else {
            format!("{family} daddr . ")
        };
        format!("dnat {family} to {address}{protocol} dport map @{self}")
    }

    pub(super) fn types(self) -> String {
        let address = if self.v6 { "ipv6_addr" } else { "ipv4_addr" };
        let from = if self.any_address {
            String::new()
        } else {
            format!("{address} . ")
        };
        let to = if self.same_port {
            "; flags interval"
        } else {
            " . inet_service"
        };
        format!("type {from}inet_service : {address}{to}")
    }
}

impl std::fmt::Display for MapName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.any_address { "port" } else { "address" };
        let version = if self.v6 { 6 } else { 4 };
        let plural = if self.same_port { "s" } else { "" };
        write!(f, "{}{version}_{what}{plural}", word(self.protocol))
    }
}
