//! What the packet filter shall do.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use agent_api::TransportProtocol;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Everything the agent wants of the packet filter. Order does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Networks with a host port.
    pub networks: Vec<NetworkRules>,
    pub published: Vec<Published>,
    /// Where tunnels receive, an unspecified address standing for all. Their datagrams are not tracked as connections, which
    /// would cost each packet of a container as much as a tenth of its whole way.
    pub tunnels: BTreeSet<SocketAddr>,
    /// Where the cluster's hosts listen to each other. Containers, whose packets would arrive in this host's name, may not go
    /// there.
    pub services: BTreeSet<Service>,
    /// Where this host forwards only because of its networks: between links that are not theirs, it shall go on not to.
    pub own_forwarding: Families,
    /// The one bit of the packet mark that says a forwarded packet was accepted here.
    pub mark_bit: u32,
}

/// A network that has a leg in the host's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRules {
    /// The host port's link, for example `tsy0123456789`.
    pub host_link: String,
    pub subnets: Vec<IpNet>,
    /// The link's own addresses, at most one of each family.
    pub gateways: Vec<IpAddr>,
    /// Packets that leave through another link carry that link's address.
    pub masquerade: bool,
    /// Packets from the network with a source outside its subnets are dropped.
    pub anti_spoof: bool,
    /// The link leads to containers of a LAN and to the host itself, and nothing is forwarded between it and any other; the rest
    /// does not concern it. The host's NIC gets those containers' packets as well, where all have its MAC.
    pub lan: bool,
    /// The link by which packets come and go untranslated.
    pub routed_by: Option<String>,
}

/// A port that hosts of a cluster talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Service {
    pub protocol: TransportProtocol,
    /// This host itself where absent, by whatever address.
    pub address: Option<IpAddr>,
    pub port: u16,
}

/// Something that is so for one address family, for both or for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    pub ipv4: bool,
    pub ipv6: bool,
}

/// A published port, or several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    pub protocol: TransportProtocol,
    /// Every local address where absent.
    pub host_ip: Option<IpAddr>,
    /// The first one.
    pub host_port: u16,
    /// The container's own address, and what the first port leads to. One entry per address family.
    pub container: SocketAddr,
    /// How many ports in a row, on both sides; at least one.
    pub ports: u16,
}

impl Published {
    /// False where the filter can lead no packet there: to another family, or from addresses whose packets the kernel keeps
    /// on their link, IPv6's link-local ones.
    pub fn is_within_reach(&self) -> bool {
        let Some(host_ip) = self.host_ip else {
            return true;
        };
        let stays_on_link = match host_ip {
            IpAddr::V4(_) => false,
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        host_ip.is_ipv4() == self.container.is_ipv4() && !stays_on_link
    }

    /// Where a packet to the host's `port` goes on to.
    pub fn target_of(&self, port: u16) -> Option<SocketAddr> {
        let at = port.checked_sub(self.host_port)?;
        let target = self.container.port().checked_add(at)?;
        (at < self.ports).then(|| SocketAddr::new(self.container.ip(), target))
    }
}

impl Rules {
    /// Whether tunnels end at the port, on whatever host.
    pub fn is_tunnel_port(&self, port: u16) -> bool {
        VXLAN_PORTS.contains(&port) || self.tunnels.iter().any(|tunnel| tunnel.port() == port)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            published: Vec::new(),
            tunnels: BTreeSet::new(),
            services: BTreeSet::new(),
            own_forwarding: Families::default(),
            mark_bit: DEFAULT_MARK_BIT,
        }
    }
}

/// Clear of the bits that Kubernetes (0x4000, 0x8000), Tailscale (0xff0000), Calico (0xffff0000) and Docker's swarm use.
pub const DEFAULT_MARK_BIT: u32 = 0x2000;

/// Ours (IANA's), and that of kernels before they knew it.
pub(super) const VXLAN_PORTS: [u16; 2] = [4789, 8472];
