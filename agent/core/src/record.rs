//! What the store keeps: enough to make everything again after a restart.

mod patch;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use agent_api::{
    ContainerCreate, DnsServer, Driver, EndpointSettings, LinkSettings, PortMapping, PortSettings,
    RateSettings, port_runs,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use switch_core::Vni;

pub use self::patch::PatchRecord;
use crate::port_choice::open;
use crate::restart::RestartRecord;

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
    /// Addresses that are kept from endpoints, by who has them.
    #[serde(default)]
    pub aux_addresses: BTreeMap<String, IpAddr>,
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
    /// As `-o encap=` has it.
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
    /// The IPv4 subnet, if it has one.
    pub fn subnet_v4(&self) -> Option<Subnet> {
        self.subnets
            .iter()
            .copied()
            .find(|subnet| subnet.net.addr().is_ipv4())
    }

    /// The IPv6 subnet, if it has one.
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

    /// Whether the cluster removed it while containers here were on it: its way to other hosts is gone, and it has no other.
    pub fn is_cut_off(&self) -> bool {
        self.driver == Driver::Overlay && self.overlay.is_none()
    }

    /// What is left of it then.
    #[must_use]
    pub fn cut_off(&self) -> Self {
        Self {
            overlay: None,
            internal: true,
            ..self.clone()
        }
    }

    /// Why its containers reach nobody, where they do not.
    pub fn why_cut_off(&self) -> Option<String> {
        let why = || {
            format!(
                "network {:?} was removed from the cluster while this host was away",
                self.name
            )
        };
        self.is_cut_off().then(why)
    }

    /// Whether it has ports of its own.
    pub fn has_bridge(&self) -> bool {
        !matches!(self.driver, Driver::Host | Driver::Null)
    }

    /// Whether it is reached, and reaches others, through the host.
    pub fn has_host_port(&self) -> bool {
        self.has_bridge() && !self.internal && !self.is_lan()
    }

    /// Whether it shall have a leg in the host's namespace: the way through the host, or on a LAN the way to the host alone.
    pub fn has_host_link(&self) -> bool {
        self.has_host_port() || self.is_lan() && !self.internal
    }

    /// An address of one of the subnets with that subnet's prefix length, as a link carries it.
    pub fn on_link(&self, address: IpAddr) -> Option<IpNet> {
        let mut subnets = self.subnets.iter();
        let subnet = subnets.find(|subnet| subnet.net.contains(&address))?;
        IpNet::new(address, subnet.net.prefix_len()).ok()
    }

    /// What that leg is called.
    pub fn host_link(&self) -> String {
        format!("tsy{}", self.id.get(..10).unwrap_or(&self.id))
    }

    /// Whether a link may be one of those, by its name.
    pub fn is_host_link(name: &str) -> bool {
        Self::digits_of(name).is_some()
    }

    /// How the id of the network begins that has such a link.
    pub fn digits_of(host_link: &str) -> Option<&str> {
        let digits = host_link.strip_prefix("tsy")?;
        let is_one = digits.len() == 10 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_one.then_some(digits)
    }
}

/// A port of a network whose frames are written to another one as well, by key `mirror/<network>/<from>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MirrorRecord {
    /// By id.
    pub network: String,
    /// Who is behind the ports, as `port ls` has it: ports have other numbers after a restart.
    pub from: String,
    pub to: String,
}

impl MirrorRecord {
    /// Where the store has it.
    pub fn key(&self) -> String {
        format!("{MIRRORS}{}/{}", self.network, self.from)
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
    /// Whether whoever attached it keeps other programs from its host ports.
    #[serde(default)]
    pub ports_reserved: bool,
    pub mac: [u8; 6],
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    /// The link's name inside the sandbox; chosen at the first attachment where absent.
    pub link: Option<String>,
    /// Where the link is, if somebody moved it out of the sandbox.
    #[serde(default)]
    pub moved: Option<Moved>,
    /// Whether its IPv4 address is leased from a LAN's DHCP server.
    #[serde(default)]
    pub is_leased: bool,
    /// Whether its port is down: plugged out, and no part of the network.
    #[serde(default)]
    pub down: bool,
    /// Whether somebody asked for an address of it; where an older agent made it, nobody knows.
    #[serde(default = "is_unknown")]
    pub is_chosen: bool,
    /// How many networks the sandbox was on before this one: the way out goes by the lowest.
    pub rank: u32,
    /// What goes wrong at its link.
    #[serde(default, skip_serializing_if = "LinkSettings::is_default")]
    pub impairments: LinkSettings,
    /// How the switch treats its port, where that is not as the network has it.
    #[serde(default, skip_serializing_if = "PortSettings::is_default")]
    pub port_settings: PortSettings,
    /// By which access lists know it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its native VLAN, on a network that is aware of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The VLANs that it has by their tags, as `10,20-30`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// What it may get and send, where that is not its network's default.
    #[serde(default, skip_serializing_if = "RateSettings::is_default")]
    pub rates: RateSettings,
}

const fn is_unknown() -> bool {
    true
}

impl EndpointRecord {
    /// The host ports that it publishes itself: a container publishes those of its endpoints.
    pub fn own_publish(&self) -> &[PortMapping] {
        match self.owner {
            Owner::Container(_) => &[],
            Owner::Sandbox(_) | Owner::Engine(_) => &self.publish,
        }
    }

    /// Where its link is. An engine numbers the links of a container, whose way out goes by the lowest.
    pub fn at(&self, moved: &Moved) -> Self {
        let number = moved.link.trim_start_matches(|c: char| !c.is_ascii_digit());
        let rank = match self.owner {
            Owner::Engine(_) => number.parse().unwrap_or(self.rank),
            Owner::Container(_) | Owner::Sandbox(_) => self.rank,
        };
        Self {
            link: Some(moved.link.clone()),
            rank,
            ..self.clone()
        }
    }

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
    /// A container engine, which moves the link into a sandbox that it alone knows; by the endpoint's id, since nobody says
    /// which of them share a sandbox.
    Engine(String),
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
    #[serde(default)]
    pub restart: RestartRecord,
    /// The ports as they were published last, with those that were picked.
    #[serde(default, with = "port_runs")]
    pub published: Vec<PortMapping>,
    /// Only its maker starts it, and it goes with its maker until then.
    #[serde(default)]
    pub held: bool,
}

impl ContainerRecord {
    /// Was made for somebody who has not started it.
    pub fn is_held(&self) -> bool {
        self.held && self.phase == Phase::Created
    }

    /// What was asked for on a network, by its id.
    pub fn settings_on(&mut self, network: &str) -> &mut EndpointSettings {
        let mut connected = self.connected.iter_mut();
        let further = connected.find(|(id, _)| id == network);
        match further {
            Some((_, settings)) => settings,
            None => &mut self.create.endpoint,
        }
    }

    /// The ports that it publishes, with those that were picked once they are.
    pub fn ports(&self) -> Vec<PortMapping> {
        if !self.published.is_empty() {
            return self.published.clone();
        }
        let asked = self.create.publish.iter().cloned();
        let open = self.create.publish_one_of.iter().map(open);
        asked.chain(open).collect()
    }
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

/// Where the store has the blocks of a shared network that this host may give addresses out of.
pub fn blocks_key(network: &str) -> String {
    format!("blocks/{network}")
}

/// Where the store has a network.
pub fn network_key(id: &str) -> String {
    format!("{NETWORKS}{id}")
}

/// Where the store has an endpoint.
pub fn endpoint_key(id: &str) -> String {
    format!("{ENDPOINTS}{id}")
}

/// Where the store has a container.
pub fn container_key(id: &str) -> String {
    format!("{CONTAINERS}{id}")
}

/// Where the store has the [`SettingsRecord`].
pub const SETTINGS: &str = "agent/settings";
/// Where the cluster's hosts listen, as the packet filter was last told.
pub const SERVICES: &str = "agent/services";
/// Before the ids of networks, patches, endpoints and containers.
pub const NETWORKS: &str = "network/";
pub const PATCHES: &str = "patch/";
/// What the keys of [`MirrorRecord`]s begin with.
pub const MIRRORS: &str = "mirror/";
pub const ENDPOINTS: &str = "endpoint/";
pub const CONTAINERS: &str = "container/";
/// Settings by which the host forwards, below `/proc/sys`.
pub const IPV4_FORWARDING: &str = "net/ipv4/ip_forward";
pub const IPV6_FORWARDING: &str = "net/ipv6/conf/all/forwarding";
const IPV6: &str = "net/ipv6/";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn only_networks_of_the_cluster_share_their_vni() {
        let mut network = sample::network("n", &[]);
        assert_eq!(network.vni_shared(), None);
        let overlay = |vni, remotes: &[&str]| OverlayRecord {
            vni,
            encap: Encap::Vxlan,
            remotes: remotes
                .iter()
                .map(|remote| remote.parse().unwrap())
                .collect(),
        };
        network.overlay = Some(overlay(7, &["192.0.2.1"]));
        assert_eq!(network.vni_shared(), None);
        network.overlay = Some(overlay(7, &[]));
        assert_eq!(network.vni_shared(), Vni::new(7));
        network.overlay = Some(overlay(Vni::MAX + 1, &[]));
        assert_eq!(network.vni_shared(), None);
    }

    #[test]
    fn a_container_has_settings_on_each_network() {
        let kept = r#"{"id": "c1", "name": "web", "hostname": "web", "created_s": 1, "create": {"command": ["true"]},
            "connected": [["n2", {}]], "phase": "running", "since_s": 2}"#;
        let mut container: ContainerRecord = serde_json::from_str(kept).unwrap();
        container.settings_on("n2").impairments.seed = Some(2);
        container.settings_on("n1").impairments.seed = Some(1);
        assert_eq!(container.connected[0].1.impairments.seed, Some(2));
        assert_eq!(container.create.endpoint.impairments.seed, Some(1));
    }

    #[test]
    fn records_of_earlier_agents_are_read() {
        let kept = r#"{"id": "e1", "network": "n", "owner": {"sandbox": {"device": 4, "inode": 7}}, "name": "web",
            "hostname": null, "aliases": [], "dns": [], "mac": [2, 0, 0, 0, 0, 1], "ipv4": "10.1.0.2", "ipv6": null,
            "link": "eth0", "rank": 0}"#;
        let record: EndpointRecord = serde_json::from_str(kept).unwrap();
        let sandbox = NetnsId {
            device: 4,
            inode: 7,
        };
        assert_eq!(record.owner, Owner::Sandbox(sandbox));
        assert_eq!(
            (record.sandbox, record.moved, record.down),
            (None, None, false)
        );
        let kept = r#"{"place": "p", "changes": [{"name": "net/ipv4/ip_forward", "before": "0", "after": "1"}]}"#;
        let settings: SettingsRecord = serde_json::from_str(kept).unwrap();
        assert!(settings.changes[0].is_forwarding(false) && !settings.changes[0].is_ipv6());
        let kept = r#"{"id": "c1", "name": "web", "hostname": "web", "created_s": 1, "create": {"command": ["true"]},
            "phase": {"exited": 3}, "since_s": 2}"#;
        let container: ContainerRecord = serde_json::from_str(kept).unwrap();
        assert_eq!(container.restart, RestartRecord::default());
        assert!(container.create.networks.is_empty() && container.connected.is_empty());
        assert!(container.ports().is_empty());
        assert!(record.impairments.is_default() && record.port_settings.is_default());
        let kept = r#"{"id": "n", "name": "n", "driver": "bridge", "subnets": [], "ip_range": null, "internal": false,
            "mtu": 1500, "dns": [], "options": {}, "labels": {}}"#;
        let network: NetworkRecord = serde_json::from_str(kept).unwrap();
        assert!(network.aux_addresses.is_empty());
    }
}
