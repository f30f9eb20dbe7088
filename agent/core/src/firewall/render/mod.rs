//! The table as `nft` reads it.
//!
//! # Theory of operation
//!
//! The table is made as a whole at a start, and whenever somebody else has been at it ([`render_beside`]). From then on a network
//! that comes or goes, or a port, is a few elements of sets ([`render_change`]): the cost does not grow with what is there. Both
//! ask the same functions what a network has in which set, so that they cannot differ.

mod change;
mod forward;
mod protection;
mod published;
mod sets;
mod words;

use forward::{push_forward, push_masquerade};
use protection::push_protection;
use published::{push_maps, push_publish};
use sets::{push_sets, push_underlay};

pub use change::render_change;

use super::drops::Drops;
use super::rules::{NetworkRules, Rules};

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
    push_sets(&mut text, &networks, &around.drops);
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

#[cfg(test)]
mod tests {
    use agent_api::TransportProtocol;

    use super::words::quoted;
    use super::*;
    use crate::firewall::{Count, Families, FilterDrop, Published, Service};

    fn network(link: &str, subnets: &[&str]) -> NetworkRules {
        NetworkRules {
            host_link: link.into(),
            subnets: subnets
                .iter()
                .map(|subnet| subnet.parse().unwrap())
                .collect(),
            gateways: subnets
                .iter()
                .map(|subnet| subnet.parse::<ipnet::IpNet>().unwrap())
                .filter_map(|subnet| subnet.hosts().next())
                .collect(),
            masquerade: true,
            anti_spoof: false,
            lan: false,
            routed_by: None,
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
    fn a_lan_is_no_way_through_the_host() {
        let rules = Rules {
            networks: vec![NetworkRules {
                lan: true,
                ..network("tsy0000000003", &["192.0.2.0/24"])
            }],
            ..Rules::default()
        };
        let text = render(&rules);
        assert!(!text.contains("192.0.2.0"), "{text}");
        let drop = text.find("oifname @lans drop").unwrap();
        assert!(drop < text.find("oifname @host_links goto inward").unwrap());
        let (_, set) = text.split_once("set lans").unwrap();
        assert!(set.split_once('}').unwrap().0.contains("tsy0000000003"));
    }

    #[test]
    fn a_routed_network_is_reached_by_its_link_and_keeps_its_addresses() {
        let rules = Rules {
            networks: vec![NetworkRules {
                masquerade: false,
                routed_by: Some("eth0".into()),
                ..network("tsy0000000004", &["10.7.0.0/24"])
            }],
            ..Rules::default()
        };
        let text = render(&rules);
        assert!(text.contains("\"eth0\" . \"tsy0000000004\""), "{text}");
        assert_eq!(text.matches("10.7.0.0/24 . ipv4").count(), 1, "{text}");
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
        let published = |host_ip| Rules {
            published: [port(
                TransportProtocol::Tcp,
                Some(host_ip),
                "[fd00:1::2]:5432",
            )]
            .into(),
            ..Rules::default()
        };
        assert!(render(&published("::1")).contains("5432"));
        let text = render(&published("fe80::1"));
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
    fn no_set_of_networks_is_one_that_nft_lists_before_it_changes_another() {
        let text = render(&two_networks());
        let intervals = text.lines().filter(|line| line.contains("flags interval"));
        let intervals: Vec<_> = intervals.collect();
        assert_eq!(intervals.len(), 6);
        for types in intervals {
            assert!(types.contains(" . "), "{types}");
        }
    }

    #[test]
    fn of_subnets_that_overlap_a_set_has_the_outermost() {
        let networks = [
            network("tsy01", &["10.0.0.0/8", "fd00:1:2::/64"]),
            network("tsy02", &["10.0.0.0/16", "fd00:1::/32"]),
            network("tsy03", &["10.0.0.0/8", "fd00:2::/64"]),
            network("tsy04", &["11.0.0.0/24"]),
        ];
        let text = render(&Rules {
            networks: networks.into(),
            ..Rules::default()
        });
        for elements in [
            "10.0.0.0/8 . ipv4, 11.0.0.0/24 . ipv4",
            "fd00:1::/32 . ipv6, fd00:2::/64 . ipv6",
        ] {
            let elements = format!("elements = {{ {elements} }}");
            assert_eq!(text.matches(&elements).count(), 2, "{text}");
        }
        assert!(text.contains("10.0.0.0/16 . \"tsy02\""), "{text}");
    }

    #[test]
    fn link_names_cannot_end_their_string() {
        assert_eq!(quoted("a\" drop #\n;"), "\"adrop\"");
    }
}
