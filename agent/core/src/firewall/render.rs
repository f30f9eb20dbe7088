//! The table as `nft` reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use agent_api::TransportProtocol;

use super::drops::{Drops, FilterDrop};
use super::published::{push_maps, push_publish};
use super::rules::{NetworkRules, Rules, Service};

/// The script that replaces the table `inet tapestry` by one for `rules`, whatever was there before.
///
/// The same rules in another order give the same text.
pub fn render(rules: &Rules) -> String {
    render_beside(rules, &Surroundings::default())
}

/// What else there is at the time.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// What the table that is replaced has counted.
    pub drops: Drops,
    /// Docker's chains are there, and decide about its bridges.
    pub docker: bool,
}

/// As [`render`], with what there is at the time taken into account.
pub fn render_beside(rules: &Rules, around: &Surroundings) -> String {
    let mut networks: Vec<&NetworkRules> = rules.networks.iter().collect();
    networks.sort_by(|one, other| one.host_link.cmp(&other.host_link));
    // `add` before `delete` makes deleting a table that is not there no error.
    let mut text = format!(
        "add table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n\
         \tcomment \"made by the tapestry agent, which replaces it as a whole\"\n"
    );
    push_sets(&mut text, &networks);
    push_drops(&mut text, &networks, &around.drops);
    push_underlay(&mut text, rules);
    push_maps(&mut text, &rules.published);
    push_protection(&mut text, rules);
    push_publish(&mut text, &rules.published);
    push_masquerade(&mut text);
    push_forward(&mut text, rules, around.docker);
    text.push_str("}\n");
    text
}

/// The name of the table with its family.
pub const TABLE: &str = "inet tapestry";

/// Sets instead of rules per network, so that a packet costs the same however many networks there are.
fn push_sets(text: &mut String, networks: &[&NetworkRules]) {
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

/// One set per reason, whose elements count (see [`super::drops`]).
fn push_drops(text: &mut String, networks: &[&NetworkRules], drops: &Drops) {
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
fn push_underlay(text: &mut String, rules: &Rules) {
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
fn services(services: &BTreeSet<Service>) -> BTreeMap<ServicePlace, BTreeSet<String>> {
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

pub(super) fn push_block(text: &mut String, head: &str, types: &str, elements: &BTreeSet<String>) {
    let _ = write!(text, "\t{head} {{\n\t\t{types}\n");
    if !elements.is_empty() {
        let elements = elements.iter().map(String::as_str).collect::<Vec<_>>();
        let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
    }
    text.push_str("\t}\n");
}

/// Containers may not reach the host's loopback, nor send as somebody else. Nor may they reach a tunnel or a service of the
/// cluster: their packets would come there with this host's address, which is what a VXLAN receiver takes for proof. Whole
/// datagrams are seen here, since connection tracking has put fragments together. What does not come from a container, a
/// tunnel's datagrams above all, is looked at once; what does is no tunnel's, whatever it says.
///
/// Redirects, which a hairpinned connection provokes, would lead containers astray. The host's own connections to what is
/// published end here while its link is away, as others do in the chain `foreign`: then the next hop is a router. The link
/// by which they leave is not known here, since translation has just changed it.
fn push_protection(text: &mut String, rules: &Rules) {
    let tunnels = &rules.tunnels;
    text.push_str("\tchain outside {\n");
    push_untracked(text, tunnels, "daddr");
    text.push_str(
        "\t}\n\
         \tchain protect {\n\
         \t\ttype filter hook prerouting priority raw; policy accept;\n\
         \t\tiifname != @host_links goto outside\n",
    );
    let mut drop = |condition: &str, reason| push_drop(text, condition, "iifname", reason);
    drop("ip daddr 127.0.0.0/8", FilterDrop::Loopback);
    drop("ip6 daddr ::1", FilterDrop::Loopback);
    drop("udp dport @tunnel_ports", FilterDrop::Underlay);
    for place in services(&rules.services).keys() {
        drop(place.condition(), FilterDrop::Underlay);
    }
    drop(
        "iifname @guarded ip saddr != 0.0.0.0 ip saddr . iifname != @own4",
        FilterDrop::Source,
    );
    drop(
        "iifname @guarded ip6 saddr != { ::, fe80::/10 } ip6 saddr . iifname != @own6",
        FilterDrop::Source,
    );
    text.push_str("\t}\n");
    if !tunnels.is_empty() {
        text.push_str(
            "\tchain tunnels {\n\
             \t\ttype filter hook output priority raw; policy accept;\n",
        );
        push_untracked(text, tunnels, "saddr");
        text.push_str("\t}\n");
    }
    text.push_str(
        "\tchain output {\n\
         \t\ttype filter hook output priority filter; policy accept;\n\
         \t\toifname @host_links icmp type redirect drop\n\
         \t\toifname @host_links icmpv6 type nd-redirect drop\n\
         \t\tct status dnat ip daddr @routed4 rt ip nexthop != @routed4 drop\n\
         \t\tct status dnat ip6 daddr @routed6 rt ip6 nexthop != @routed6 drop\n\
         \t}\n",
    );
}

/// `side` is the meta key of the network's link.
fn push_drop(text: &mut String, condition: &str, side: &str, reason: FilterDrop) {
    let set = reason.set();
    let space = if condition.is_empty() { "" } else { " " };
    let _ = writeln!(text, "\t\t{condition}{space}{side} @{set} drop");
}

/// `side` is where our own address is; the port is the receiver's, which is the same on all hosts.
fn push_untracked(text: &mut String, tunnels: &BTreeSet<SocketAddr>, side: &str) {
    for tunnel in tunnels {
        let (address, port) = (tunnel.ip(), tunnel.port());
        let family = family(address);
        let _ = if address.is_unspecified() {
            writeln!(text, "\t\tudp dport {port} notrack accept")
        } else {
            writeln!(
                text,
                "\t\t{family} {side} {address} udp dport {port} notrack accept"
            )
        };
    }
}

/// The second rule of each family is the hairpin: a container that reaches a port published by its own network must be
/// answered through the host, because it would not know a direct answer. The host's own connections carry the gateway's
/// address for the same reason: their source may be a loopback address.
fn push_masquerade(text: &mut String) {
    text.push_str(
        "\tchain postrouting {\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\toifname @host_links ct status dnat fib saddr type local masquerade\n\
         \t\tip saddr @masqueraded4 ip saddr . oifname != @own4 masquerade\n\
         \t\tip saddr . oifname @own4 ct status dnat masquerade\n\
         \t\tip6 saddr @masqueraded6 ip6 saddr . oifname != @own6 masquerade\n\
         \t\tip6 saddr . oifname @own6 ct status dnat masquerade\n\
         \t}\n",
    );
}

/// Tracking alone does not let a packet pass: a connection that began while there were no rules is established too. Into a
/// network goes what was redirected there on its way in, and the answer to what a container itself asked of the outside. Out of a
/// network goes nothing that is to be masqueraded and is not: it would show a private address.
///
/// What goes to Docker's own bridges is not marked: its isolation of those shall hold against our containers too.
fn push_forward(text: &mut String, rules: &Rules, docker: bool) {
    let mark_bit = rules.mark_bit;
    let _ = write!(
        text,
        "\tchain accepted {{\n\
         \t\tmeta mark set meta mark | {mark_bit:#010x} accept\n\
         \t}}\n"
    );
    push_inward(text);
    push_outward(text);
    push_foreign(text, rules, docker);
    text.push_str(
        "\tchain forward {\n\
         \t\ttype filter hook forward priority filter - 5; policy accept;\n\
         \t\toifname @host_links goto inward\n\
         \t\tiifname @host_links goto outward\n\
         \t\tgoto foreign\n\
         \t}\n",
    );
}

fn push_inward(text: &mut String) {
    text.push_str("\tchain inward {\n");
    push_drop(text, "ct state invalid", "oifname", FilterDrop::Invalid);
    text.push_str(
        "\t\tct status dnat goto accepted\n\
         \t\tiifname . oifname @same_network goto accepted\n\
         \t\tiifname != @host_links ct state established,related ct direction reply goto accepted\n",
    );
    push_drop(text, "", "oifname", FilterDrop::Isolation);
    text.push_str("\t}\n");
}

fn push_outward(text: &mut String) {
    text.push_str("\tchain outward {\n");
    push_drop(text, "ct state invalid", "iifname", FilterDrop::Invalid);
    for (family, version) in [("ip", "4"), ("ip6", "6")] {
        let bare = format!(
            "ct status & (confirmed | snat) == confirmed ct direction original {family} saddr @masqueraded{version}"
        );
        push_drop(text, &bare, "iifname", FilterDrop::Invalid);
    }
    for bridge in DOCKER_BRIDGES {
        let _ = writeln!(text, "\t\toifname {bridge} accept");
    }
    text.push_str("\t\tgoto accepted\n\t}\n");
}

/// What has nothing to do with our networks. What is translated to a container whose link is away, as while the agent
/// restarts, would follow the default route out of the host. What a kernel bridge carries from one of its ports to another
/// is forwarded to the eyes of `br_netfilter`, and no router's work.
fn push_foreign(text: &mut String, rules: &Rules, docker: bool) {
    text.push_str(
        "\tchain foreign {\n\
         \t\tct status snat,dnat ip daddr @routed4 drop\n\
         \t\tct status snat,dnat ip6 daddr @routed6 drop\n",
    );
    let own = rules.own_forwarding;
    if own.ipv4 || own.ipv6 {
        text.push_str("\t\tmeta iifkind \"bridge\" meta oifkind \"bridge\" accept\n");
    }
    if docker && (own.ipv4 || own.ipv6) {
        for bridge in DOCKER_BRIDGES {
            let _ = writeln!(
                text,
                "\t\tiifname {bridge} accept\n\t\toifname {bridge} accept"
            );
        }
    }
    for (is_own, family) in [(own.ipv4, "ipv4"), (own.ipv6, "ipv6")] {
        if is_own {
            let _ = writeln!(text, "\t\tmeta nfproto {family} counter drop");
        }
    }
    text.push_str("\t}\n");
}

/// Ours (IANA's), and that of kernels before they knew it.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const DOCKER_BRIDGES: [&str; 3] = ["\"docker0\"", "\"docker_gwbridge\"", "\"br-*\""];

/// Where a service is, and so the set that it is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ServicePlace {
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
    const fn condition(self) -> &'static str {
        match self {
            Self::Here => "meta l4proto . th dport @services_here fib daddr type local",
            Self::V4 => "ip daddr . meta l4proto . th dport @services4",
            Self::V6 => "ip6 daddr . meta l4proto . th dport @services6",
        }
    }
}

fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip6",
    }
}

pub(super) const fn word(protocol: TransportProtocol) -> &'static str {
    match protocol {
        TransportProtocol::Tcp => "tcp",
        TransportProtocol::Udp => "udp",
    }
}

/// Link names come from identifiers, but a quote inside one must never end the string.
fn quoted(link: &str) -> String {
    let safe: String = link
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .collect();
    format!("\"{safe}\"")
}

#[cfg(test)]
mod tests {
    use super::super::rules::Published;
    use super::*;
    use crate::firewall::{Count, Families};

    fn network(link: &str, subnets: &[&str]) -> NetworkRules {
        NetworkRules {
            host_link: link.into(),
            subnets: subnets
                .iter()
                .map(|subnet| subnet.parse().unwrap())
                .collect(),
            masquerade: true,
            anti_spoof: false,
        }
    }

    fn port(protocol: TransportProtocol, host_ip: Option<&str>, container: &str) -> Published {
        Published {
            protocol,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port: 8080,
            container: container.parse().unwrap(),
            ports: 1,
        }
    }

    fn two_networks() -> Rules {
        Rules {
            networks: vec![
                network("tsy0000000002", &["172.18.0.0/16"]),
                NetworkRules {
                    anti_spoof: true,
                    ..network("tsy0000000001", &["172.17.0.0/16", "fd00:1::/64"])
                },
            ],
            published: vec![
                port(TransportProtocol::Tcp, None, "172.17.0.2:80"),
                port(TransportProtocol::Tcp, None, "[fd00:1::2]:80"),
                port(TransportProtocol::Udp, Some("192.0.2.1"), "172.18.0.2:53"),
                port(TransportProtocol::Tcp, Some("127.0.0.1"), "172.18.0.2:5432"),
            ],
            ..Rules::default()
        }
    }

    #[test]
    fn no_networks_render_a_table_that_does_nothing() {
        insta::assert_snapshot!(render(&Rules::default()));
    }

    #[test]
    fn networks_are_isolated_and_masqueraded_and_publish_ports() {
        insta::assert_snapshot!(render(&two_networks()));
    }

    #[test]
    fn order_of_rules_does_not_matter() {
        let mut other = two_networks();
        other.networks.reverse();
        other.published.reverse();
        assert_eq!(render(&two_networks()), render(&other));
    }

    #[test]
    fn what_stays_on_its_link_is_left_to_the_proxy() {
        let rules = Rules {
            published: ["::1", "fe80::1"]
                .map(|host_ip| port(TransportProtocol::Tcp, Some(host_ip), "[fd00:1::2]:5432"))
                .into(),
            ..Rules::default()
        };
        let text = render(&rules);
        assert!(!text.contains("5432"), "{text}");
    }

    #[test]
    fn a_range_that_keeps_its_numbers_is_one_element() {
        let range = |host_ip, first: u16| Published {
            host_port: 20_000,
            ports: 10_000,
            ..port(
                TransportProtocol::Udp,
                host_ip,
                &format!("172.17.0.2:{first}"),
            )
        };
        let kept = Rules {
            published: vec![range(None, 20_000), range(Some("192.0.2.1"), 20_000)],
            ..Rules::default()
        };
        let text = render(&kept);
        for element in [
            "{ 20000-29999 : 172.17.0.2 }",
            "{ 192.0.2.1 . 20000-29999 : 172.17.0.2 }",
        ] {
            assert!(text.contains(element), "{text}");
        }
        let moved = Rules {
            published: vec![range(None, 30_000)],
            ..Rules::default()
        };
        let text = render(&moved);
        assert!(text.contains("29999 : 172.17.0.2 . 39999"), "{text}");
    }

    #[test]
    fn the_unspecified_address_is_any_address_of_its_family() {
        let rules = Rules {
            published: vec![
                port(TransportProtocol::Tcp, Some("0.0.0.0"), "172.17.0.2:80"),
                port(TransportProtocol::Tcp, Some("0.0.0.0"), "[fd00:1::2]:81"),
            ],
            ..Rules::default()
        };
        let text = render(&rules);
        assert!(
            text.contains("{ 8080 : 172.17.0.2 . 80 }") && !text.contains("fd00"),
            "{text}"
        );
    }

    #[test]
    fn what_tunnels_receive_is_not_tracked() {
        let rules = Rules {
            tunnels: ["192.0.2.1:4789", "[2001:db8::1]:4790", "0.0.0.0:4791"]
                .map(|tunnel| tunnel.parse().unwrap())
                .into(),
            ..Rules::default()
        };
        let text = render(&rules);
        let (outside, rest) = text.split_once("chain protect").unwrap();
        assert!(
            outside.contains("daddr") && !rest.contains("daddr 192.0.2.1"),
            "a container could feign a tunnel"
        );
        for rule in [
            "ip daddr 192.0.2.1 udp dport 4789 notrack",
            "ip saddr 192.0.2.1 udp dport 4789 notrack",
            "ip6 daddr 2001:db8::1 udp dport 4790 notrack",
            "\tudp dport 4791 notrack",
        ] {
            assert!(text.contains(rule), "{text}");
        }
        assert!(!render(&Rules::default()).contains("notrack"));
    }

    #[test]
    fn containers_reach_no_port_of_a_tunnel_or_of_the_cluster() {
        let service = |protocol, address: Option<&str>, port| Service {
            protocol,
            address: address.map(|address| address.parse().unwrap()),
            port,
        };
        let rules = Rules {
            tunnels: ["192.0.2.1:14790".parse().unwrap()].into(),
            services: [
                service(TransportProtocol::Udp, None, 14790),
                service(TransportProtocol::Tcp, Some("192.0.2.2"), 4791),
                service(TransportProtocol::Tcp, Some("2001:db8::2"), 4791),
            ]
            .into(),
            ..Rules::default()
        };
        let text = render(&rules);
        for part in [
            "elements = { 14790, 4789, 8472 }",
            "elements = { udp . 14790 }",
            "elements = { 192.0.2.2 . tcp . 4791 }",
            "elements = { 2001:db8::2 . tcp . 4791 }",
            "udp dport @tunnel_ports iifname @dropped_underlay drop",
            "th dport @services_here fib daddr type local iifname @dropped_underlay drop",
            "ip daddr . meta l4proto . th dport @services4 iifname @dropped_underlay drop",
            "ip6 daddr . meta l4proto . th dport @services6 iifname @dropped_underlay drop",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_host_that_forwards_for_our_sake_forwards_nothing_else() {
        let rules = Rules {
            own_forwarding: Families {
                ipv4: true,
                ipv6: false,
            },
            ..Rules::default()
        };
        let foreign = |docker| {
            let around = Surroundings {
                docker,
                ..Surroundings::default()
            };
            let text = render_beside(&rules, &around);
            let (_, from) = text.split_once("chain foreign").unwrap();
            from.split_once('}').unwrap().0.to_owned()
        };
        let alone = foreign(false);
        assert!(alone.contains("meta nfproto ipv4 counter drop"), "{alone}");
        assert!(!alone.contains("meta nfproto ipv6"), "{alone}");
        assert!(!alone.contains("docker0"), "{alone}");
        let beside = foreign(true);
        let accept = beside.find("iifname \"docker0\" accept").unwrap();
        assert!(accept < beside.find("counter drop").unwrap(), "{beside}");
    }

    #[test]
    fn what_was_counted_is_handed_over() {
        let mut drops = Drops::default();
        let count = Count {
            packets: 3,
            bytes: 90,
        };
        drops.note(FilterDrop::Source, "tsy0000000001", count);
        let around = Surroundings {
            drops,
            docker: false,
        };
        let text = render_beside(&two_networks(), &around);
        let kept = "\"tsy0000000001\" counter packets 3 bytes 90";
        assert_eq!(text.matches(kept).count(), 1, "{text}");
    }

    #[test]
    fn link_names_cannot_end_their_string() {
        assert_eq!(quoted("a\" drop #\n;"), "\"adrop\"");
    }
}
