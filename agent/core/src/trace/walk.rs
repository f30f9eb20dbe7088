//! What the packet filter does with a packet that a container sends by the host port.
//!
//! # Theory of operation
//!
//! Before the host looks for a way, the chains `protect` and `prerouting` see the packet; after that, `forward` and
//! `postrouting` ([`crate::firewall::render`] has them). Both are walked here by the rules that the table is made of, for the
//! first packet of a connection; connection tracking knows more of later ones. What others have in the packet filter is not
//! seen.

use std::net::{IpAddr, SocketAddr};

use agent_api::{TraceStep, TransportProtocol};

use crate::firewall::{FilterDrop, NetworkRules, Rules};

/// The packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passing {
    /// The host port's link.
    pub link: String,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// TCP and UDP, with the destination port.
    pub transport: Option<(TransportProtocol, u16)>,
}

/// The way that the host has for a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the host itself.
    Local,
    /// Out of this link, by this next hop if there is one.
    Link {
        name: String,
        gateway: Option<IpAddr>,
    },
    /// None, in the kernel's words.
    None(String),
}

/// The steps so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    pub steps: Vec<TraceStep>,
    /// Why the packet ends here.
    pub dropped: Option<FilterDrop>,
    /// Where it goes on to instead.
    pub redirected: Option<SocketAddr>,
}

/// Before a way is looked for; `is_local` where the destination is the host itself.
pub fn inbound(rules: &Rules, packet: &Passing, is_local: bool) -> Walk {
    let mut walk = Walk::default();
    if let Some((reason, why)) = protect(rules, packet, is_local) {
        walk.drop("protect", reason, why);
        return walk;
    }
    let published = packet
        .transport
        .filter(|_| is_local && !is_kept(packet.destination))
        .and_then(|to| published(rules, packet.destination, to));
    if let Some(target) = published {
        let detail = format!("chain published: leads on to {target}");
        walk.add("redirect", detail);
        walk.redirected = Some(target);
    }
    walk
}

/// Once the way is known.
pub fn outbound(rules: &Rules, packet: &Passing, way: &Way, redirected: bool) -> Walk {
    let mut walk = Walk::default();
    let Way::Link { name, .. } = way else {
        return walk;
    };
    let leads_to = |network: &&NetworkRules| network.host_link == *name;
    if rules.networks.iter().any(|network| leads_to(&network)) {
        let is_same = *name == packet.link;
        match (redirected, is_same) {
            (true, _) => walk.add("accept", "chain inward: published".to_owned()),
            (false, true) => walk.add("accept", "chain inward: the same network".to_owned()),
            (false, false) => {
                let why = format!("{name} is another network's, and nothing is published there");
                walk.drop("inward", FilterDrop::Isolation, why);
                return walk;
            }
        }
    } else {
        walk.add("accept", format!("chain outward: leaves by {name}"));
    }
    let masquerades = rules.networks.iter().any(|network| {
        let mut subnets = network.subnets.iter();
        network.masquerade && subnets.any(|net| net.contains(&packet.source))
    });
    let is_own = rules.networks.iter().filter(leads_to).any(|network| {
        let mut subnets = network.subnets.iter();
        subnets.any(|net| net.contains(&packet.source))
    });
    match (is_own, redirected) {
        (true, true) => walk.add(
            "snat",
            "chain postrouting: goes on with the gateway's address".to_owned(),
        ),
        (false, _) if masquerades => {
            walk.add(
                "masquerade",
                format!("chain postrouting: goes on with the address of {name}"),
            );
        }
        _ => {}
    }
    walk
}

impl Walk {
    fn add(&mut self, result: &str, detail: String) {
        self.steps.push(TraceStep {
            stage: "filter".to_owned(),
            result: result.to_owned(),
            detail,
            reason: None,
        });
    }

    fn drop(&mut self, chain: &str, reason: FilterDrop, why: String) {
        self.add("drop", format!("chain {chain}: {why}"));
        if let Some(step) = self.steps.last_mut() {
            step.reason = Some(reason.name().to_owned());
        }
        self.dropped = Some(reason);
    }
}

fn protect(rules: &Rules, packet: &Passing, is_local: bool) -> Option<(FilterDrop, String)> {
    let to = packet.destination;
    if to.is_loopback() {
        return Some((FilterDrop::Loopback, format!("{to} is the host's loopback")));
    }
    if let Some((protocol, port)) = packet.transport {
        let is_tunnels = protocol == TransportProtocol::Udp && rules.is_tunnel_port(port);
        let is_service = rules.services.iter().any(|service| {
            let is_there = service.address.map_or(is_local, |address| address == to);
            is_there && (service.protocol, service.port) == (protocol, port)
        });
        if is_tunnels || is_service {
            let what = if is_tunnels { "tunnels" } else { "the cluster" };
            return Some((FilterDrop::Underlay, format!("port {port} is for {what}")));
        }
    }
    let network = rules
        .networks
        .iter()
        .find(|network| network.host_link == packet.link)?;
    let is_own = network
        .subnets
        .iter()
        .any(|net| net.contains(&packet.source));
    let is_exempt = match packet.source {
        IpAddr::V4(source) => source.is_unspecified(),
        IpAddr::V6(source) => source.is_unspecified() || source.is_unicast_link_local(),
    };
    (network.anti_spoof && !is_own && !is_exempt).then(|| {
        let why = format!("{} is none of the network's addresses", packet.source);
        (FilterDrop::Source, why)
    })
}

/// What the chain `prerouting` leaves alone.
fn is_kept(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    }
}

/// Where a published port leads; one of a named address goes before one of all.
fn published(
    rules: &Rules,
    to: IpAddr,
    (protocol, port): (TransportProtocol, u16),
) -> Option<SocketAddr> {
    let leads = |named: bool| {
        let mut runs = rules.published.iter();
        runs.find_map(|run| {
            let is_here = match run.host_ip {
                Some(host_ip) if !host_ip.is_unspecified() => named && host_ip == to,
                _ => !named && run.container.is_ipv4() == to.is_ipv4(),
            };
            let fits = is_here && run.protocol == protocol && run.is_within_reach();
            run.target_of(port).filter(|_| fits)
        })
    };
    leads(true).or_else(|| leads(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::Published;

    fn rules() -> Rules {
        let network = |link: &str, subnet: &str| NetworkRules {
            host_link: link.into(),
            subnets: vec![subnet.parse().unwrap()],
            gateways: Vec::new(),
            masquerade: true,
            anti_spoof: true,
            lan: false,
            routed_by: None,
        };
        Rules {
            networks: vec![
                network("tsy01", "172.17.0.0/16"),
                network("tsy02", "172.18.0.0/16"),
            ],
            published: vec![Published {
                protocol: TransportProtocol::Tcp,
                host_ip: None,
                host_port: 8080,
                container: "172.18.0.2:80".parse().unwrap(),
                ports: 2,
            }],
            ..Rules::default()
        }
    }

    fn packet(source: &str, destination: &str, transport: (TransportProtocol, u16)) -> Passing {
        Passing {
            link: "tsy01".into(),
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            transport: Some(transport),
        }
    }

    fn link(name: &str) -> Way {
        Way::Link {
            name: name.into(),
            gateway: None,
        }
    }

    const WEB: (TransportProtocol, u16) = (TransportProtocol::Tcp, 80);

    #[test]
    fn what_containers_may_not_send_ends_before_a_way_is_looked_for() {
        for (source, destination, port, reason) in [
            ("172.17.0.2", "127.0.0.1", 80, FilterDrop::Loopback),
            ("10.9.9.9", "192.0.2.1", 80, FilterDrop::Source),
            ("172.17.0.2", "192.0.2.1", 4789, FilterDrop::Underlay),
        ] {
            let sent = packet(source, destination, (TransportProtocol::Udp, port));
            let walk = inbound(&rules(), &sent, false);
            assert_eq!(walk.dropped, Some(reason));
            assert_eq!(walk.steps[0].reason.as_deref(), Some(reason.name()));
        }
    }

    #[test]
    fn what_leaves_is_masqueraded_and_another_network_is_not_reached() {
        let sent = packet("172.17.0.2", "192.0.2.1", WEB);
        assert_eq!(inbound(&rules(), &sent, false), Walk::default());
        let walk = outbound(&rules(), &sent, &link("eth0"), false);
        let results: Vec<_> = walk.steps.iter().map(|step| step.result.as_str()).collect();
        assert_eq!(results, ["accept", "masquerade"]);
        let walk = outbound(&rules(), &sent, &link("tsy02"), false);
        assert_eq!(walk.dropped, Some(FilterDrop::Isolation));
    }

    #[test]
    fn a_published_port_leads_to_its_container() {
        let sent = packet("172.17.0.2", "192.0.2.1", (TransportProtocol::Tcp, 8081));
        let walk = inbound(&rules(), &sent, true);
        assert_eq!(walk.redirected, "172.18.0.2:81".parse().ok());
        let walk = outbound(&rules(), &sent, &link("tsy02"), true);
        assert_eq!(walk.dropped, None);
        assert_eq!(inbound(&rules(), &sent, false).redirected, None);
    }
}
