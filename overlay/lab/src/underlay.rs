//! Two hosts, and what is between them.

use switch_lab::Station;

/// Two hosts with `eth0` in each: 192.0.2.1 and 192.0.2.2, 2001:db8::1 and ::2.
pub struct Underlay {
    pub hosts: [Station; 2],
    /// Next to each host; none where the hosts have a wire between them.
    pub routers: Vec<Station>,
}

impl Underlay {
    /// A veth pair.
    pub fn new() -> Self {
        let hosts = [Station::new(), Station::new()];
        hosts[0].ip("link add name eth0 type veth peer name peer");
        hosts[0].give("peer", &hosts[1], "eth0");
        hosts[0].ip("link set eth0 up");
        hosts[0].address(&["192.0.2.1/24", "2001:db8::1/64"]);
        hosts[1].address(&["192.0.2.2/24", "2001:db8::2/64"]);
        Self {
            hosts,
            routers: Vec::new(),
        }
    }

    /// Two routers, with a link of `mtu` between them.
    pub fn routed(mtu: u32) -> Self {
        let hosts = [Station::new(), Station::new()];
        let routers = [Station::new(), Station::new()];
        for station in hosts.iter().chain(&routers) {
            station.sh("sysctl -qw net.ipv6.conf.default.accept_dad=0");
        }
        routers[0].ip("link add name mid type veth peer name peer");
        routers[0].give("peer", &routers[1], "mid");
        for (n, (host, router)) in hosts.iter().zip(&routers).enumerate() {
            let (own, other) = (n + 1, 2 - n);
            router.ip("link add name edge type veth peer name peer");
            router.give("peer", host, "eth0");
            host.ip(&format!("addr add 192.0.2.{own}/32 dev eth0"));
            host.ip(&format!("addr add 2001:db8::{own}/128 dev eth0 nodad"));
            for (station, link) in [(host, "eth0"), (router, "edge"), (router, "mid")] {
                station.ip(&format!("link set {link} up"));
            }
            router.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
            router.ip(&format!("addr add 10.0.0.{own}/24 dev mid"));
            router.ip(&format!("addr add fd00::{own}/64 dev mid nodad"));
            router.ip("addr add fe80::1/64 dev edge nodad");
            router.ip(&format!("route add 192.0.2.{own} dev edge"));
            router.ip(&format!("route add 2001:db8::{own} dev edge"));
            router.ip(&format!("route add 192.0.2.{other} via 10.0.0.{other}"));
            router.ip(&format!("route add 2001:db8::{other} via fd00::{other}"));
            router.ip("addr add 10.1.0.1/32 dev edge");
            host.ip("route add 10.1.0.1 dev eth0");
            host.ip("route add default via 10.1.0.1");
            host.ip("route add default via fe80::1 dev eth0");
        }
        let underlay = Self {
            hosts,
            routers: routers.into(),
        };
        underlay.between(mtu);
        underlay
    }

    /// Every packet walks alone, as on a wire.
    pub fn segment(&self) {
        for host in &self.hosts {
            host.sh("ethtool -K eth0 tso off gso off gro off tx off");
        }
    }

    pub fn mtu(&self, mtu: u32) {
        for host in &self.hosts {
            host.ip(&format!("link set eth0 mtu {mtu}"));
        }
    }

    /// What the link between the routers carries.
    pub fn between(&self, mtu: u32) {
        for router in &self.routers {
            router.ip(&format!("link set mid mtu {mtu}"));
        }
    }

    /// Routers do not say that a packet is too big, or do again.
    pub fn hush(&self, silent: bool) {
        for router in &self.routers {
            router.sh(match silent {
                true => {
                    "nft 'table inet hush { chain out { type filter hook output priority 0;
                     icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }; }'"
                }
                false => "nft delete table inet hush",
            });
        }
    }
}
