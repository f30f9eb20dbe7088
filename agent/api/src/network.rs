//! Networks, their ports and their forwarding tables.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    DnsServer, EndpointDetail, Forwarder, LinkCounts, LinkSettings, MulticastReport, PathMtu,
};

/// `POST /v1/networks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkCreate {
    /// Under which id the caller knows it already: 64 hexadecimal digits. Made up where absent.
    pub id: Option<String>,
    pub name: String,
    pub driver: Driver,
    /// At most one IPv4 and one IPv6 subnet; an empty list takes the next free default pool. An IPv6 subnet alone makes a network
    /// without IPv4, unless `ipv6` is set.
    #[schema(value_type = Vec<String>, example = json!(["172.20.0.0/16"]))]
    pub subnets: Vec<IpNet>,
    /// No subnet at all: endpoints have a link and no address, and nothing leads to the host.
    pub without_addresses: bool,
    /// One per subnet at most; the first address of the subnet where absent.
    #[schema(value_type = Vec<String>)]
    pub gateways: Vec<IpAddr>,
    /// Containers get their addresses from this part of the IPv4 subnet only.
    #[schema(value_type = Option<String>)]
    pub ip_range: Option<IpNet>,
    /// Addresses of the subnets that no container gets by itself or by wish: somebody else has them. By who has them.
    #[schema(value_type = BTreeMap<String, String>)]
    pub aux_addresses: BTreeMap<String, IpAddr>,
    /// Beside IPv4; the subnet of the next free default pool where none is given.
    pub ipv6: bool,
    /// Take subnets that the host reaches another way, and cut the host off there.
    pub force: bool,
    /// No way out and no way in: no host port, no forwarding of names.
    pub internal: bool,
    /// Bytes of an IP packet, without the Ethernet header; 1500 where absent.
    pub mtu: Option<u16>,
    /// Servers for names outside the network; the host's where empty.
    #[schema(value_type = Vec<String>, example = json!(["8.8.8.8", "tls://1.1.1.1#one.one.one.one"]))]
    pub dns: Vec<DnsServer>,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// `PATCH /v1/networks/{name}`: what is to be different; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkUpdate {
    pub name: Option<String>,
}

/// Who carries the network's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    #[default]
    Bridge,
    Overlay,
    /// On the LAN of one of the host's NICs, each container with a MAC of its own.
    Macvlan,
    /// The same, all with the NIC's MAC.
    Ipvlan,
    Host,
    Null,
}

/// Where the network is known: on this host, or on every host of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Local,
    Global,
}

/// A row of `GET /v1/networks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkSummary {
    /// 64 hexadecimal digits, as Docker's ids; people see the first twelve.
    pub id: String,
    pub name: String,
    pub driver: Driver,
    pub scope: Scope,
    /// Why containers do not reach the host and the outside, where they should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_way_out: Option<String>,
    /// Why this network of the cluster is not to be used on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_here: Option<String>,
    /// What came to overlap this network of the cluster on this host, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlaps: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// `GET /v1/networks/{name}`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NetworkDetail {
    #[serde(flatten)]
    pub summary: NetworkSummary,
    #[schema(value_type = Vec<String>)]
    pub subnets: Vec<IpNet>,
    #[schema(value_type = Vec<String>)]
    pub gateways: Vec<IpAddr>,
    pub gateway_mac: Option<String>,
    #[schema(value_type = Option<String>)]
    pub ip_range: Option<IpNet>,
    /// Addresses that are kept from containers, by who has them.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub aux_addresses: BTreeMap<String, IpAddr>,
    pub ipv6: bool,
    pub internal: bool,
    pub mtu: u16,
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<DnsServer>,
    pub options: BTreeMap<String, String>,
    /// The link in the host's namespace; absent on internal networks.
    pub host_link: Option<String>,
    pub endpoints: Vec<EndpointDetail>,
    /// The endpoints on other hosts of the cluster.
    #[serde(default)]
    pub remote_endpoints: Vec<RemoteEndpoint>,
    /// Frames dropped on this network so far, by reason, at ports that are gone as well; reasons that never happened are left
    /// out.
    pub drops: BTreeMap<String, u64>,
    /// What went through ports that are gone: of containers that ended, of hosts that left. Absent without a switch.
    #[serde(default)]
    pub gone: Option<PortTotals>,
    /// Absent on the networks `host` and `none`, which have none.
    pub forwarder: Option<Forwarder>,
    /// What the network's DHCP server did; absent where there is none.
    #[serde(default)]
    pub dhcp: Option<DhcpReport>,
    /// What its switch learned; absent without one.
    #[serde(default)]
    pub stations: Option<StationsReport>,
    /// What it heard of multicast groups; absent where it does not snoop.
    #[serde(default)]
    pub multicast: Option<MulticastReport>,
    /// How the network reaches other hosts; absent where it does not.
    #[serde(default)]
    pub overlay: Option<OverlayDetail>,
    /// The networks that it is patched to.
    #[serde(default)]
    pub patches: Vec<String>,
    /// The NIC that it is on; absent where it is on none.
    #[serde(default)]
    pub uplink: Option<UplinkView>,
}

/// The NIC that a network is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UplinkView {
    /// As it was asked for.
    pub parent: String,
    /// Whether frames pass.
    pub up: bool,
    /// Why not, and what to do.
    #[serde(default)]
    pub why: Option<String>,
    /// The link and its MAC; absent while it is not there.
    #[serde(default)]
    pub link: Option<String>,
    #[serde(default)]
    pub mac: Option<String>,
    /// The one VLAN of the link that the network is.
    #[serde(default)]
    pub vlan: Option<u16>,
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Whether the LAN sees the NIC's MAC alone.
    pub translates: bool,
}

/// An endpoint of a network of the cluster, on another host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemoteEndpoint {
    pub id: String,
    pub name: String,
    /// The host's id.
    pub host: String,
    pub host_name: String,
    pub mac: String,
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}

/// `POST /v1/networks/{name}/patches`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchCreate {
    /// The network to join it with, by name, id or unique prefix of its id, of at least four digits.
    pub network: String,
    /// What goes wrong between them from the first frame on; `to` is what goes to the other network.
    #[serde(default)]
    pub impairments: LinkSettings,
}

/// What goes wrong between two networks that are joined, as one of them sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PatchLink {
    pub network: String,
    pub other: String,
    pub settings: LinkSettings,
    /// What frames to the other network met since the patch was impaired first, or the agent started.
    pub to: LinkCounts,
    /// The same of frames from there.
    pub from: LinkCounts,
}

/// `POST /v1/networks/{name}/mirrors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MirrorCreate {
    /// The port whose frames are copied, both ways: its number, who is behind it, or both of owner and link, as in `web:eth0`.
    pub from: String,
    /// The port that gets the copies, likewise.
    pub to: String,
}

/// A port whose frames are written to another one as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MirrorView {
    /// Who is behind the port.
    pub from: String,
    pub to: String,
    /// Their numbers, as far as they are there.
    pub from_port: Option<u32>,
    pub to_port: Option<u32>,
    /// Whether copies are made now: both ports are there.
    pub up: bool,
}

/// What a network's switch learned of stations that nobody registered, and what it had no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StationsReport {
    pub learned: u64,
    /// Learned at another port than before.
    pub moved: u64,
    /// Forgotten because they were silent.
    pub aged: u64,
    /// Forgotten to make room in a full table.
    pub evicted: u64,
    /// Frames whose station belongs to another port for good.
    pub refused: u64,
    /// Frames whose station was not learned because its port has as many as it may.
    pub port_full: u64,
    /// Reports of listeners to multicast groups that found no room.
    pub listeners_full: u64,
}

/// What a network's DHCP server did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DhcpReport {
    /// Messages answered, to endpoints and to relays that asked for them.
    pub replies: u64,
    /// Messages left unanswered because the client is no endpoint of the network.
    pub unknown: u64,
    /// Messages left unanswered because they are malformed, for another server, or from a relay outside the subnet.
    pub ignored: u64,
}

/// What went through some ports of a network, together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortTotals {
    pub rx_frames: u64,
    pub rx_bytes: u64,
    pub tx_frames: u64,
    pub tx_bytes: u64,
    /// By reason; zero counts left out.
    pub drops: BTreeMap<String, u64>,
}

/// A network's way over hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OverlayDetail {
    /// `quic` or `vxlan`.
    pub encap: String,
    pub vni: u32,
    pub tunnels: Vec<TunnelView>,
    /// What the host's tunnels dropped before it was any network's, by reason; zero counts left out.
    pub drops: BTreeMap<String, u64>,
}

/// A network's tunnel to one other host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TunnelView {
    pub port: u32,
    /// The host's id; absent for a remote without a cluster.
    pub host: Option<String>,
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Whether frames flow; absent over VXLAN, where nobody knows.
    pub up: Option<bool>,
    /// Round trip in microseconds; absent over VXLAN and while the tunnel is down.
    pub rtt_us: Option<u64>,
    /// Absent while it is not known yet: it is measured while frames flow.
    #[serde(default)]
    pub path_mtu: Option<PathMtu>,
    pub rx_frames: u64,
    pub rx_bytes: u64,
    pub tx_frames: u64,
    pub tx_bytes: u64,
    /// By reason; zero counts left out.
    pub drops: BTreeMap<String, u64>,
}

/// `POST /v1/networks/prune`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    pub networks: Vec<String>,
    /// Unused ones that could not be removed, or not all of them.
    #[serde(default)]
    pub failed: Vec<Unpruned>,
}

/// A network that `POST /v1/networks/prune` did not get rid of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unpruned {
    pub network: String,
    /// One line.
    pub why: String,
}

/// A row of `GET /v1/networks/{name}/fdb`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FdbEntryView {
    pub mac: String,
    /// On a network that is aware of VLANs, the one in which it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    pub port: u32,
    /// Who is behind the port: a container's name, `host`, `gateway`, the network behind a patch.
    pub owner: String,
    pub kind: FdbKind,
    /// Seconds since the address last sent; absent for static entries.
    pub age_s: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FdbKind {
    Learned,
    Static,
    Sticky,
}

/// A row of `GET /v1/networks/{name}/ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortView {
    pub port: u32,
    /// `tap`, `host`, `edge`, `tunnel`, `patch` or `uplink`.
    pub kind: String,
    pub owner: String,
    /// `up`; `down`, as it was asked to be; `blocked (loop)`, or `blocked (loop in VLAN 20)`, while what leaves by it comes back by
    /// another port; `blocked (fault)` because its frames made the switch fail; `blocked (bpdu guard)` because it sent a BPDU.
    pub state: String,
    pub link: Option<String>,
    /// `offload` or `basic`; absent for ports that are not TAPs.
    pub tap_driver: Option<String>,
    /// What may pass, in words, as `ingress 100mbit, egress 1gbit` or `100mbit` both ways; absent where nothing is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    pub rx_frames: u64,
    pub rx_bytes: u64,
    pub tx_frames: u64,
    pub tx_bytes: u64,
    /// Dropped on their way in (from the port) or out (to it), by reason; zero counts left out.
    pub drops: BTreeMap<String, u64>,
}
