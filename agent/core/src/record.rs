//! What the store keeps: enough to make everything again after a restart.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use agent_api::{ContainerCreate, DnsServer, Driver, EndpointSettings, PortMapping, port_runs};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use switch_core::Vni;

/// The identity of a namespace, as its file has it: two files with the same identity are the same namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NetnsId {
    pub device: u64,
    pub inode: u64,
}

/// A network, by key `network/<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkRecord {
    pub id: String,
    pub name: String,
    pub driver: Driver,
    /// At most one of each family, the IPv4 one first.
    pub subnets: Vec<Subnet>,
    pub ip_range: Option<IpNet>,
    pub internal: bool,
    pub mtu: u16,
    pub dns: Vec<DnsServer>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// How it reaches other hosts; absent on networks of this host alone.
    #[serde(default)]
    pub overlay: Option<OverlayRecord>,
}

/// The part of a network that is between hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayRecord {
    pub vni: u32,
    pub encap: Encap,
    /// Where frames go without a cluster; empty on a network of the cluster.
    pub remotes: Vec<IpAddr>,
}

/// What carries frames between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encap {
    Quic,
    Vxlan,
}

impl Encap {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Vxlan => "vxlan",
        }
    }
}

/// A pool of addresses and the one that the gateway has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub net: IpNet,
    pub gateway: IpAddr,
}

impl NetworkRecord {
    pub fn subnet_v4(&self) -> Option<Subnet> {
        self.subnets
            .iter()
            .copied()
            .find(|subnet| subnet.net.addr().is_ipv4())
    }

    pub fn subnet_v6(&self) -> Option<Subnet> {
        self.subnets
            .iter()
            .copied()
            .find(|subnet| subnet.net.addr().is_ipv6())
    }

    /// The overlay of a network that all hosts of the cluster know.
    pub fn shared(&self) -> Option<&OverlayRecord> {
        self.overlay
            .as_ref()
            .filter(|overlay| overlay.remotes.is_empty())
    }

    /// The VNI of a network that all hosts of the cluster know.
    pub fn vni_shared(&self) -> Option<Vni> {
        self.shared().and_then(|overlay| Vni::new(overlay.vni))
    }

    pub fn has_bridge(&self) -> bool {
        matches!(self.driver, Driver::Bridge | Driver::Overlay)
    }

    /// Whether it shall have a leg in the host's namespace.
    pub fn has_host_port(&self) -> bool {
        self.has_bridge() && !self.internal
    }

    /// What that leg is called.
    pub fn host_link(&self) -> String {
        format!("tsy{}", self.id.get(..10).unwrap_or(&self.id))
    }
}

/// Two networks that are joined to one segment, by key `patch/<id>/<id>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PatchRecord {
    /// Their ids, the smaller one first.
    networks: [String; 2],
}

impl PatchRecord {
    pub fn new(one: &str, other: &str) -> Self {
        let mut networks = [one.to_owned(), other.to_owned()];
        networks.sort();
        Self { networks }
    }

    pub fn key(&self) -> String {
        let [one, other] = &self.networks;
        format!("{PATCHES}{one}/{other}")
    }

    /// Each network, and the one it is joined with.
    pub fn ways(&self) -> [(&str, &str); 2] {
        let [one, other] = &self.networks;
        [(one, other), (other, one)]
    }

    /// The network that this one is joined with, if it is by this patch.
    pub fn other(&self, id: &str) -> Option<&str> {
        let way = self.ways().into_iter().find(|(from, _)| *from == id);
        way.map(|(_, to)| to)
    }
}

/// An endpoint, by key `endpoint/<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointRecord {
    pub id: String,
    pub network: String,
    pub owner: Owner,
    /// A path to the sandbox of somebody else; it may have gone, or lead elsewhere by now.
    #[serde(default)]
    pub sandbox: Option<PathBuf>,
    /// What the network's names call it.
    pub name: String,
    pub hostname: Option<String>,
    pub aliases: Vec<String>,
    /// Its own upstream name servers, before the network's.
    pub dns: Vec<DnsServer>,
    /// Published ports, which have names too.
    #[serde(default, with = "port_runs")]
    pub publish: Vec<PortMapping>,
    pub mac: [u8; 6],
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    /// The link's name inside the sandbox; chosen at the first attachment where absent.
    pub link: Option<String>,
    /// Where the link is, if somebody moved it out of the sandbox.
    #[serde(default)]
    pub moved: Option<Moved>,
    /// Whether its port is down: plugged out, and no part of the network.
    #[serde(default)]
    pub down: bool,
    /// How many networks the sandbox was on before this one: the way out goes by the lowest.
    pub rank: u32,
}

impl EndpointRecord {
    /// At most one of each family, the IPv4 one first.
    pub fn addresses(&self) -> Vec<IpAddr> {
        [self.ipv4.map(IpAddr::V4), self.ipv6.map(IpAddr::V6)]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Where a link is that is not in its sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    pub namespace: NetnsId,
    /// The namespace's cookie: unlike its identity, no later one gets it.
    pub cookie: u64,
    /// The link's name there.
    pub link: String,
}

/// Whose sandbox an endpoint attaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// One of our containers, by id.
    Container(String),
    /// A namespace that somebody else made, whichever paths lead to it.
    Sandbox(NetnsId),
}

/// A container, by key `container/<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub id: String,
    pub name: String,
    pub hostname: String,
    pub created_s: u64,
    pub create: ContainerCreate,
    /// The networks, by id, that it was connected to since, and what was asked for there.
    #[serde(default)]
    pub connected: Vec<(String, EndpointSettings)>,
    pub phase: Phase,
    /// Seconds since the epoch at which the phase began.
    pub since_s: u64,
}

/// How far a container has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Being made, or made and waiting for its start.
    Created,
    Running,
    Exited(i32),
}

/// The host's settings that the agent changed, by key [`SETTINGS`]. They are put back when nothing needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsRecord {
    /// In which life of which host: after a reboot nothing is changed.
    pub place: String,
    pub changes: Vec<SysctlChange>,
}

/// A kernel setting that the agent changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SysctlChange {
    /// Below `/proc/sys`, for example `net/ipv4/ip_forward`.
    pub name: String,
    pub before: String,
    pub after: String,
}

impl SysctlChange {
    /// Whether it makes the host forward packets of this family.
    pub fn is_forwarding(&self, ipv6: bool) -> bool {
        self.name
            == if ipv6 {
                IPV6_FORWARDING
            } else {
                IPV4_FORWARDING
            }
    }

    /// Whether it is made for networks with IPv6 only.
    pub fn is_ipv6(&self) -> bool {
        self.name.starts_with(IPV6)
    }
}

pub fn network_key(id: &str) -> String {
    format!("{NETWORKS}{id}")
}

pub fn endpoint_key(id: &str) -> String {
    format!("{ENDPOINTS}{id}")
}

pub fn container_key(id: &str) -> String {
    format!("{CONTAINERS}{id}")
}

pub const SETTINGS: &str = "agent/settings";
/// Where the cluster's hosts listen, as the packet filter was last told.
pub const SERVICES: &str = "agent/services";
pub const NETWORKS: &str = "network/";
pub const PATCHES: &str = "patch/";
pub const ENDPOINTS: &str = "endpoint/";
pub const CONTAINERS: &str = "container/";
pub const IPV4_FORWARDING: &str = "net/ipv4/ip_forward";
pub const IPV6_FORWARDING: &str = "net/ipv6/conf/all/forwarding";
const IPV6: &str = "net/ipv6/";
