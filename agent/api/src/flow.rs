//! Who talks to whom on a network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::TraceResult;

/// The flows of a network through this host's switch. Frames and bytes are estimated from samples; what was dropped is counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowReport {
    pub network: String,
    /// Milliseconds that were looked at.
    pub took_ms: u64,
    /// One frame in so many is sampled now.
    pub every: u32,
    /// Samples that the estimates are made from.
    pub samples: u64,
    /// Samples that were lost, as they came too fast: estimates are low by as much.
    pub lost: u64,
    /// Those with the most bytes first; with the most drops first where drops were asked for.
    pub flows: Vec<FlowView>,
    /// Flows that are not shown: beyond as many as were asked for.
    pub more: u64,
    /// Flows that made room for others.
    pub evicted: u64,
    /// Frames that the network's ports dropped meanwhile, by reason: also those of which no frame is known.
    pub drops: BTreeMap<String, u64>,
}

/// What frames have in common that come in at one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowView {
    pub from: FlowEnd,
    pub to: FlowEnd,
    /// In a word: `tcp`, `udp`, `icmp`, `arp`; otherwise a number, as `ip-89` or `0x88cc`.
    pub protocol: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Who is behind the port that they come in at, as `port ls` shows it.
    pub port: String,
    /// What became of the latest; `dropped` where all were.
    pub result: TraceResult,
    /// Estimates.
    pub frames: u64,
    pub bytes: u64,
    /// What they are estimated from.
    pub samples: u64,
    /// Frames that were dropped, by reason. Counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drops: BTreeMap<String, u64>,
}

/// One end of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowEnd {
    /// Of a container, `host` or `gateway`, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub mac: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// Of TCP or UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport_port: Option<u16>,
}

/// Which flows to look at, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FlowQuery {
    /// How many flows to tell at most, 1 to 4096; 20 where absent.
    pub top: Option<u32>,
    /// Only those of which frames were dropped.
    #[param(required = false)]
    pub drops: bool,
    /// One frame in so many is sampled, 1 to 1000000; where absent, as few as are enough.
    pub sample: Option<u32>,
    /// How long to look, 1 to 60; where absent, 3, or what is known already where the configuration has frames sampled for good.
    pub seconds: Option<u32>,
}

impl FlowQuery {
    pub const TOP_MAX: u32 = 4096;
    pub const SAMPLE_MAX: u32 = 1_000_000;
    pub const SECONDS_MAX: u32 = 60;
}
