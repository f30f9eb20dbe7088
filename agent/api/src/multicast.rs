//! Multicast groups of a network that snoops.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A row of `GET /v1/networks/{name}/mdb`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MdbEntryView {
    /// The group; absent where it is about all of them.
    #[schema(value_type = Option<String>)]
    pub group: Option<IpAddr>,
    /// On a network that is aware of VLANs, the one that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Absent of a querier that is the network itself.
    pub port: Option<u32>,
    /// Who is behind the port: a container's name, `host`, `gateway`, a remote host's address. Of a querier without a port `gateway`,
    /// or `network` in a VLAN that has no gateway.
    pub owner: String,
    pub kind: MdbKind,
    /// `ipv4` or `ipv6`; absent where it is about both.
    pub family: Option<String>,
    /// What the sources of a listener are; absent of others.
    pub filter: Option<MdbFilter>,
    /// Of a listener, those that it wants for a time, and without one those that it does not. Of a querier, its address.
    pub sources: Vec<MdbSource>,
    /// Seconds until it is forgotten unless it is heard of again; absent where it stays, or its sources have times of their own.
    pub expires_s: Option<u64>,
}

/// Why a port is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MdbKind {
    /// Somebody there asked for the group.
    Listener,
    /// A multicast router was heard there: it gets every group.
    Router,
    /// The same, without end.
    Static,
    /// The port is new and has not had time to answer, or wants more than is kept for one port: it gets every group.
    Everything,
    /// Who asks what is listened to.
    Querier,
}

/// What a listener's sources are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MdbFilter {
    /// It wants these only.
    Include,
    /// It wants all but those without a time.
    Exclude,
}

/// A source of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MdbSource {
    #[schema(value_type = String)]
    pub address: IpAddr,
    pub expires_s: Option<u64>,
}

/// What a network that snoops heard of multicast groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MulticastReport {
    /// By protocol: `igmp1`, `igmp2`, `igmp3`, `mld1` or `mld2`; zero counts left out, as in what follows.
    pub queries: BTreeMap<String, u64>,
    pub reports: BTreeMap<String, u64>,
    pub leaves: BTreeMap<String, u64>,
    /// Messages that hosts ignore, and so does the network.
    pub invalid: u64,
    /// Reports that found no room; their ports get everything.
    pub full: u64,
    /// Queries that the network sent, each port counted.
    pub queries_sent: u64,
}
