//! netavark's own words: network, container, status block, failure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::line::line;

/// A network as podman keeps it, as far as it is the plugin's business. Go writes what is empty as null, as empty, or not at all.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Network {
    pub(super) name: String,
    /// 64 hexadecimal digits.
    pub(super) id: String,
    pub(super) network_interface: Option<String>,
    pub(super) subnets: Option<Vec<Subnet>>,
    pub(super) routes: Option<Vec<Value>>,
    #[serde(default)]
    pub(super) ipv6_enabled: bool,
    #[serde(default)]
    pub(super) internal: bool,
    #[serde(default)]
    pub(super) dns_enabled: bool,
    pub(super) network_dns_servers: Option<Vec<IpAddr>>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) options: Option<BTreeMap<String, String>>,
    pub(super) ipam_options: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subnet {
    pub(super) subnet: IpNet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease_range: Option<LeaseRange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaseRange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_ip: Option<IpAddr>,
}

/// What setup and teardown are told.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Attachment {
    pub(super) container_id: String,
    pub(super) container_name: String,
    pub(super) port_mappings: Option<Vec<Mapping>>,
    pub(super) network: Network,
    pub(super) network_options: Wishes,
}

/// What the user chose for one container on one network.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Wishes {
    pub(super) interface_name: String,
    pub(super) aliases: Option<Vec<String>>,
    pub(super) static_ips: Option<Vec<IpAddr>>,
    pub(super) static_mac: Option<String>,
    pub(super) options: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Mapping {
    pub(super) container_port: u16,
    /// Empty for every address of the host.
    #[serde(default)]
    pub(super) host_ip: String,
    pub(super) host_port: u16,
    /// `tcp` where empty; several with commas between them.
    #[serde(default)]
    pub(super) protocol: String,
    /// How many ports in a row; one where zero.
    #[serde(default)]
    pub(super) range: u16,
}

/// The answer to setup.
#[derive(Debug, Serialize)]
pub(super) struct StatusBlock {
    pub(super) dns_search_domains: Vec<String>,
    pub(super) dns_server_ips: Vec<IpAddr>,
    /// By the link's name in the container.
    pub(super) interfaces: BTreeMap<String, Interface>,
}

#[derive(Debug, Serialize)]
pub(super) struct Interface {
    pub(super) mac_address: String,
    pub(super) subnets: Vec<Address>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Address {
    /// The container's address, with the length of its subnet's prefix.
    pub(super) ipnet: IpNet,
    pub(super) gateway: Option<IpAddr>,
}

#[derive(Debug, Serialize)]
pub(super) struct Info {
    pub(super) version: &'static str,
    pub(super) api_version: &'static str,
}

/// What podman's user reads, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failure(String);

impl Failure {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(line(why))
    }
}

#[derive(Debug, Serialize)]
pub(super) struct FailureReply {
    pub(super) error: String,
}

pub(super) const API_VERSION: &str = "1.0.0";
/// The member of `ipam_options` that says who gives addresses.
pub(super) const IPAM_DRIVER: &str = "driver";
