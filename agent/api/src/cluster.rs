//! Clusters of hosts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::PathMtu;

/// `POST /v1/cluster/init`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterInit {
    /// The address that other hosts reach this one at, which it need not have itself; that of its way out where absent.
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// The TCP port at which hosts join; 4790 where absent. An etcd that the agent runs has the next two.
    pub tcp_port: Option<u16>,
    /// URLs of an etcd to use; the agent runs its own where empty.
    pub etcd: Vec<String>,
}

/// `POST /v1/cluster/tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenCreate {
    /// Seconds until it expires, at most 900; as many where absent.
    pub ttl_s: Option<u64>,
}

/// A token, for one host to join with. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    pub token: String,
    /// Where the host has to join.
    #[schema(value_type = String)]
    pub address: SocketAddr,
    /// Seconds until it expires.
    pub ttl_s: u64,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(for {}, {} s)", self.address, self.ttl_s)
    }
}

/// `POST /v1/cluster/join`. `Debug` does not show the token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterJoin {
    pub token: String,
    #[schema(value_type = String)]
    pub address: SocketAddr,
    /// The address that other hosts reach this one at, which it need not have itself; the one it joins from where absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub advertise: Option<IpAddr>,
    /// The UDP port at which they do, and at which this host's tunnels end; 4790 where absent.
    #[serde(default)]
    pub udp_port: Option<u16>,
}

impl fmt::Debug for ClusterJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterJoin({})", self.address)
    }
}

/// `POST /v1/cluster/revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterRevoke {
    /// A host's id, the beginning of one, or its name.
    pub host: String,
}

/// `POST /v1/cluster/promote` and `/v1/cluster/demote`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterManager {
    /// A host's id, the beginning of one, or its name.
    pub host: String,
}

/// The managers after that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManagersView {
    /// The name of the host that was named.
    pub host: String,
    /// The names of all managers.
    pub managers: Vec<String>,
    /// Whether they run etcd, which works while more than half of them are up.
    pub run_etcd: bool,
}

/// What `POST /v1/cluster/recover` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterRecovered {
    /// The names of the managers that were removed; empty where the store answered, so that there was nothing to do.
    pub removed: Vec<String>,
}

/// `POST /v1/cluster/remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterRemove {
    /// A host's id, the beginning of one, or its name.
    pub host: String,
}

/// A host that was removed, and what it left in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterRemoved {
    pub id: String,
    pub name: String,
    /// Whether it was a manager, and had the CA's key.
    pub was_manager: bool,
    pub endpoints: usize,
    /// Blocks of addresses.
    pub blocks: usize,
    /// Those on record that are void now.
    pub certificates: usize,
}

/// `GET /v1/cluster/backup`. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterBackup {
    /// All that the cluster needs to begin again, the CA's key too.
    pub backup: String,
}

impl fmt::Debug for ClusterBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterBackup({} bytes)", self.backup.len())
    }
}

/// `POST /v1/cluster/restore`. `Debug` does not show the backup.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterRestore {
    pub backup: String,
    /// The address that other hosts reach this one at; that of its way out where absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// The TCP port at which hosts join; that of the manager that made the backup where absent.
    #[serde(default)]
    pub tcp_port: Option<u16>,
    /// URLs of an etcd to use; the agent runs its own where empty.
    #[serde(default)]
    pub etcd: Vec<String>,
    /// Though a manager of the cluster lives.
    #[serde(default)]
    pub force: bool,
}

impl fmt::Debug for ClusterRestore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterRestore({} bytes)", self.backup.len())
    }
}

/// `POST /v1/cluster/managers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterPoint {
    /// Where a manager is that this host does not know of.
    #[schema(value_type = String)]
    pub address: SocketAddr,
}

/// `POST /v1/cluster/ca/rotate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CaRotate {
    /// End the rotation now: hosts that have no certificate of the new CA yet are out until they have renewed.
    pub finish: bool,
}

/// The cluster's certificate authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaView {
    /// Seconds since 1970 when the one that signs now ends.
    pub until_s: u64,
    /// While it takes the place of another one, which is trusted too.
    #[serde(default)]
    pub rotation: Option<CaRotation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CaRotation {
    /// Hosts that are up, and have a certificate of the new CA.
    pub renewed: usize,
    /// Hosts that are up.
    pub up: usize,
}

/// `GET /v1/cluster`, and the answer to joining.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterDetail {
    pub id: String,
    /// This host's id.
    pub host: String,
    /// Whether the store answers this host; without it the list is as it was last known.
    pub in_step: bool,
    /// While it does not.
    #[serde(default)]
    pub out_of_step: Option<OutOfStep>,
    /// Where another agent is this host already: this one's state directory is a copy, and it stays out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub double: Option<IpAddr>,
    /// Seconds since 1970 when this host's certificate begins; zero where an older agent answers.
    #[serde(default)]
    pub certificate_from_s: u64,
    /// When it ends, unless it is renewed before.
    pub certificate_until_s: u64,
    #[serde(default)]
    pub ca: CaView,
    pub hosts: Vec<HostView>,
    #[serde(default)]
    pub managers: Vec<ManagerView>,
    /// Hosts that were not admitted or not certified again here, on the host where hosts join.
    #[serde(default)]
    pub refused: u64,
    /// Records of other hosts that this host did not take in.
    #[serde(default)]
    pub records_refused: u64,
    /// Writes of members that this host, as a manager, denied.
    #[serde(default)]
    pub denied: u64,
    /// What this host refused or dropped at its QUIC tunnel, by reason; zero counts left out.
    #[serde(default)]
    pub quic: BTreeMap<String, u64>,
}

/// Since when a host is not in step with the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutOfStep {
    /// Seconds so far.
    pub for_s: u64,
    /// What failed last; absent before the first attempt has ended.
    pub why: Option<String>,
}

/// A host that has the CA's key, and the store for the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManagerView {
    /// The host's id.
    pub host: String,
    pub name: String,
    /// Where hosts join, and members reach the store.
    #[schema(value_type = String)]
    pub address: SocketAddr,
    /// Whether it is the one that the host which was asked reaches the store by. A manager reaches it by itself.
    pub asked: bool,
}

/// A host of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostView {
    pub id: String,
    pub name: String,
    /// Where its tunnels end.
    #[schema(value_type = String)]
    pub address: IpAddr,
    pub state: HostState,
    /// How it is seen from the host that was asked.
    #[serde(default)]
    pub reach: HostReach,
    /// Seconds since its lease ran out; absent while it is up, and where that was before this agent started.
    #[serde(default)]
    pub away_s: Option<u64>,
    /// Whether it is the host that was asked.
    pub own: bool,
    /// Whether it is a manager: it admits hosts, and has the store for the others.
    #[serde(default)]
    pub manager: bool,
    pub joined_s: u64,
    /// Seconds since 1970 when its certificate ends; absent while it is not up.
    #[serde(default)]
    pub certificate_until_s: Option<u64>,
    /// This host's connection to it; absent where none is kept.
    #[serde(default)]
    pub tunnel: Option<HostTunnel>,
    /// Of the path to it, over QUIC or VXLAN; absent while it is not known.
    #[serde(default)]
    pub path_mtu: Option<PathMtu>,
}

/// The connection to another host, which carries the frames of all networks over QUIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostTunnel {
    /// Whether frames flow.
    pub up: bool,
    /// Whether this host needs the connection, because both have endpoints on a network over QUIC. One that is not needed is
    /// there only as long as the other host needs it.
    #[serde(default)]
    pub needed: bool,
    /// Seconds since it is so; absent where it was never up.
    #[serde(default)]
    pub for_s: Option<u64>,
    /// Where it leads.
    #[schema(value_type = String)]
    pub address: SocketAddr,
    /// The id of the host that passes on what goes there; absent where it is reached directly.
    #[serde(default)]
    pub relay: Option<String>,
    /// Round trip in microseconds; this and the next three absent without a connection.
    pub rtt_us: Option<u64>,
    /// Longest UDP payload that is sent, in bytes.
    pub udp_payload: Option<u16>,
    /// Packets of the connection.
    pub sent_packets: Option<u64>,
    pub lost_packets: Option<u64>,
    /// Events since this host began to keep the connection, by name; zero counts left out.
    pub counts: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// It keeps its lease.
    Up,
    /// Its lease has run out.
    Down,
}

/// How a host is seen from another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostReach {
    /// Frames get there.
    Up,
    /// It keeps its lease, but no frame gets there.
    Down,
    /// It keeps its lease, and there is no tunnel, since no network is shared with it.
    Idle,
    /// Its lease has run out.
    #[default]
    Away,
}

/// `GET /v1/cluster/health`: what somebody should look after. Outside of clusters, what is left of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterHealth {
    /// Each was asked just now.
    pub managers: Vec<ManagerHealth>,
    /// Networks of the cluster that are not on this host.
    pub kept_out: Vec<NetworkTrouble>,
    /// Networks of the cluster that something on this host overlaps.
    pub overlapped: Vec<NetworkTrouble>,
    /// Endpoints of this host that have no part in their network.
    pub cut_off: Vec<CutOff>,
}

/// What a manager says when it is asked for the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManagerHealth {
    #[serde(flatten)]
    pub manager: ManagerView,
    /// Why there is no answer.
    pub silent: Option<String>,
    /// How long the answer took, in microseconds.
    pub took_us: Option<u64>,
    /// By how many seconds its clock is ahead of this host's.
    pub clock_ahead_s: Option<i64>,
}

/// A network of the cluster, and what is the matter with it here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkTrouble {
    pub network: String,
    pub why: String,
}

/// An endpoint without a part in its network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CutOff {
    pub endpoint: String,
    pub network: String,
    pub why: String,
}
