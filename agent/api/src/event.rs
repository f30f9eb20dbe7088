//! What happened: the lines of `GET /v1/events`, and what is asked of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that happened on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: EventType,
    /// What happened, in one word: `create`, `die`, `connect`.
    pub action: String,
    pub actor: EventActor,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// How many events this reader lost just before, wanted ones or not, because it was too slow.
    #[serde(default)]
    pub missed: u64,
}

/// To what it happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventActor {
    /// Of a container, network or endpoint, its id; of a port, its number; of another host, the host's id.
    pub id: String,
    /// What is known of it, its labels among that.
    pub attributes: BTreeMap<String, String>,
}

/// What it happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    Container,
    /// The agent, and what it keeps right on the host.
    Daemon,
    Endpoint,
    Network,
    /// Another host of the cluster.
    Node,
    /// A port of a network's switch.
    Port,
    Tunnel,
}

impl EventType {
    pub const ALL: [Self; 7] = [
        Self::Container,
        Self::Daemon,
        Self::Endpoint,
        Self::Network,
        Self::Node,
        Self::Port,
        Self::Tunnel,
    ];

    /// As it stands in a line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Daemon => "daemon",
            Self::Endpoint => "endpoint",
            Self::Network => "network",
            Self::Node => "node",
            Self::Port => "port",
            Self::Tunnel => "tunnel",
        }
    }
}

/// Which events are wanted: the query of `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Milliseconds since the epoch: also those that happened since then and are still known.
    pub since_ms: Option<u64>,
    /// Milliseconds since the epoch: the answer ends there, and goes on until the client hangs up where it is absent.
    pub until_ms: Option<u64>,
    /// By key, values of which one has to fit; of labels, all.
    pub filters: EventFilters,
}

/// As Docker's API takes them: `{"type":["container"],"label":["tier=front"]}`.
pub type EventFilters = BTreeMap<String, Vec<String>>;
