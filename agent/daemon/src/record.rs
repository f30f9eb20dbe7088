//! What the store keeps: enough to make everything again after a restart.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use agent_api::{ContainerCreate, DnsServer, Driver, EndpointSettings, PortMapping, port_runs};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::host::SysctlChange;
use crate::netlink::NetnsId;

/// A network, by key `network/<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) driver: Driver,
    /// At most one of each family, the IPv4 one first.
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) ip_range: Option<IpNet>,
    pub(crate) internal: bool,
    pub(crate) mtu: u16,
    pub(crate) dns: Vec<DnsServer>,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// How it reaches other hosts; absent on networks of this host alone.
    #[serde(default)]
    pub(crate) overlay: Option<OverlayRecord>,
}

/// The part of a network that is between hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OverlayRecord {
    pub(crate) vni: u32,
    pub(crate) encap: Encap,
    /// Where frames go without a cluster; empty on a network of the cluster.
    pub(crate) remotes: Vec<IpAddr>,
}

/// What carries frames between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encap {
    Quic,
    Vxlan,
}

impl Encap {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Vxlan => "vxlan",
        }
    }
}

/// A pool of addresses and the one that the gateway has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subnet {
    pub(crate) net: IpNet,
    pub(crate) gateway: IpAddr,
}

impl NetworkRecord {
    pub(crate) fn subnet_v4(&self) -> Option<Subnet> {
        self.subnets
            .iter()
            .copied()
            .find(|subnet| subnet.net.addr().is_ipv4())
    }

    pub(crate) fn subnet_v6(&self) -> Option<Subnet> {
        self.subnets
            .iter()
            .copied()
            .find(|subnet| subnet.net.addr().is_ipv6())
    }

    /// The overlay of a network that all hosts of the cluster know.
    pub(crate) fn shared(&self) -> Option<&OverlayRecord> {
        self.overlay
            .as_ref()
            .filter(|overlay| overlay.remotes.is_empty())
    }

    pub(crate) fn has_bridge(&self) -> bool {
        matches!(self.driver, Driver::Bridge | Driver::Overlay)
    }

    /// Whether it shall have a leg in the host's namespace.
    pub(crate) fn has_host_port(&self) -> bool {
        self.has_bridge() && !self.internal
    }

    /// What that leg is called.
    pub(crate) fn host_link(&self) -> String {
        format!("tsy{}", self.id.get(..10).unwrap_or(&self.id))
    }
}

/// Two networks that are joined to one segment, by key `patch/<id>/<id>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct PatchRecord {
    /// Their ids, the smaller one first.
    networks: [String; 2],
}

impl PatchRecord {
    pub(crate) fn new(one: &str, other: &str) -> Self {
        let mut networks = [one.to_owned(), other.to_owned()];
        networks.sort();
        Self { networks }
    }

    pub(crate) fn key(&self) -> String {
        let [one, other] = &self.networks;
        format!("{PATCHES}{one}/{other}")
    }

    /// Each network, and the one it is joined with.
    pub(crate) fn ways(&self) -> [(&str, &str); 2] {
        let [one, other] = &self.networks;
        [(one, other), (other, one)]
    }

    /// The network that this one is joined with, if it is by this patch.
    pub(crate) fn other(&self, id: &str) -> Option<&str> {
        let way = self.ways().into_iter().find(|(from, _)| *from == id);
        way.map(|(_, to)| to)
    }
}

/// An endpoint, by key `endpoint/<id>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EndpointRecord {
    pub(crate) id: String,
    pub(crate) network: String,
    pub(crate) owner: Owner,
    /// A path to the sandbox of somebody else; it may have gone, or lead elsewhere by now.
    #[serde(default)]
    pub(crate) sandbox: Option<PathBuf>,
    /// What the network's names call it.
    pub(crate) name: String,
    pub(crate) hostname: Option<String>,
    pub(crate) aliases: Vec<String>,
    /// Its own upstream name servers, before the network's.
    pub(crate) dns: Vec<DnsServer>,
    /// Published ports, which have names too.
    #[serde(default, with = "port_runs")]
    pub(crate) publish: Vec<PortMapping>,
    pub(crate) mac: [u8; 6],
    pub(crate) ipv4: Option<Ipv4Addr>,
    pub(crate) ipv6: Option<Ipv6Addr>,
    /// The link's name inside the sandbox; chosen at the first attachment where absent.
    pub(crate) link: Option<String>,
    /// Where the link is, if somebody moved it out of the sandbox.
    #[serde(default)]
    pub(crate) moved: Option<Moved>,
    /// Whether its port is down: plugged out, and no part of the network.
    #[serde(default)]
    pub(crate) down: bool,
    /// How many networks the sandbox was on before this one: the way out goes by the lowest.
    pub(crate) rank: u32,
}

/// Where a link is that is not in its sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moved {
    pub(crate) namespace: NetnsId,
    /// The namespace's cookie: unlike its identity, no later one gets it.
    pub(crate) cookie: u64,
    /// The link's name there.
    pub(crate) link: String,
}

/// Whose sandbox an endpoint attaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Owner {
    /// One of our containers, by id.
    Container(String),
    /// A namespace that somebody else made, whichever paths lead to it.
    Sandbox(NetnsId),
}

/// A container, by key `container/<id>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) hostname: String,
    pub(crate) created_s: u64,
    pub(crate) create: ContainerCreate,
    /// The networks, by id, that it was connected to since, and what was asked for there.
    #[serde(default)]
    pub(crate) connected: Vec<(String, EndpointSettings)>,
    pub(crate) phase: Phase,
    /// Seconds since the epoch at which the phase began.
    pub(crate) since_s: u64,
}

/// How far a container has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Being made, or made and waiting for its start.
    Created,
    Running,
    Exited(i32),
}

/// The host's settings that the agent changed, by key [`SETTINGS`]. They are put back when nothing needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingsRecord {
    /// In which life of which host: after a reboot nothing is changed.
    pub(crate) place: String,
    pub(crate) changes: Vec<SysctlChange>,
}

pub(crate) fn network_key(id: &str) -> String {
    format!("{NETWORKS}{id}")
}

pub(crate) fn endpoint_key(id: &str) -> String {
    format!("{ENDPOINTS}{id}")
}

pub(crate) fn container_key(id: &str) -> String {
    format!("{CONTAINERS}{id}")
}

pub(crate) const SETTINGS: &str = "agent/settings";
/// Where the cluster's hosts listen, as the packet filter was last told.
pub(crate) const SERVICES: &str = "agent/services";
pub(crate) const NETWORKS: &str = "network/";
pub(crate) const PATCHES: &str = "patch/";
pub(crate) const ENDPOINTS: &str = "endpoint/";
pub(crate) const CONTAINERS: &str = "container/";
