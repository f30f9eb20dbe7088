//! CNI's own words: configuration, result, failure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The configuration on standard input, as far as it is the plugin's business.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    #[serde(default = "oldest")]
    pub(super) cni_version: String,
    /// The runtime's name of the network.
    #[serde(default)]
    pub(super) name: String,
    /// The agent's name of the network, where it is another one.
    pub(super) network: Option<String>,
    /// The agent's socket, where it is not the usual one.
    pub(super) socket: Option<String>,
    pub(super) ipam: Option<serde_json::Value>,
    pub(super) mtu: Option<u16>,
    pub(super) vlan: Option<u16>,
    #[serde(default)]
    pub(super) dns: Dns,
    #[serde(default)]
    pub(super) runtime_config: RuntimeConfig,
    pub(super) prev_result: Option<PrevResult>,
    #[serde(rename = "cni.dev/valid-attachments")]
    pub(super) valid_attachments: Option<Vec<Attachment>>,
}

/// What the runtime passes by capabilities.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RuntimeConfig {
    pub(super) port_mappings: Vec<serde_json::Value>,
    pub(super) bandwidth: Option<serde_json::Value>,
    pub(super) ips: Vec<String>,
    pub(super) mac: Option<String>,
    /// By the runtime's name of the network.
    pub(super) aliases: BTreeMap<String, Vec<String>>,
    pub(super) dns: Option<RuntimeDns>,
}

/// The capability `dns`, whose words differ from those of the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RuntimeDns {
    pub(super) servers: Vec<String>,
    pub(super) searches: Vec<String>,
    pub(super) options: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Dns {
    pub(super) nameservers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) search: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) options: Vec<String>,
}

/// What ADD said, as CHECK needs it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PrevResult {
    #[serde(default)]
    pub(super) ips: Vec<PrevIp>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PrevIp {
    pub(super) address: IpNet,
}

/// A container's interface that GC shall leave.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Attachment {
    #[serde(rename = "containerID")]
    pub(super) container_id: String,
    pub(super) ifname: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Success {
    pub(super) cni_version: String,
    pub(super) interfaces: Vec<Interface>,
    pub(super) ips: Vec<Ip>,
    pub(super) routes: Vec<Route>,
    pub(super) dns: Dns,
}

#[derive(Debug, Serialize)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mac: String,
    pub(super) sandbox: String,
    /// From version 1.1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mtu: Option<u16>,
}

#[derive(Debug, Serialize)]
pub(super) struct Ip {
    /// `4` or `6`, before version 1.0.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<&'static str>,
    pub(super) address: IpNet,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gateway: Option<IpAddr>,
    pub(super) interface: u32,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Route {
    pub(super) dst: &'static str,
    pub(super) gw: IpAddr,
}

/// A failure, with the codes of the specification's "Error".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    pub(super) code: u32,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(code: u32, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FailureReply<'a> {
    pub(super) cni_version: &'a str,
    pub(super) code: u32,
    pub(super) msg: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Versions {
    pub(super) cni_version: &'static str,
    pub(super) supported_versions: &'static [&'static str],
}

/// A configuration without a version is of the first specification.
fn oldest() -> String {
    "0.1.0".to_owned()
}

pub(super) const V0_4: &str = "0.4.0";
pub(super) const V1_1: &str = "1.1.0";
pub(super) const SUPPORTED: &[&str] = &[V0_4, "1.0.0", V1_1];

pub(super) const INCOMPATIBLE_VERSION: u32 = 1;
pub(super) const UNSUPPORTED_FIELD: u32 = 2;
pub(super) const UNKNOWN_CONTAINER: u32 = 3;
pub(super) const INVALID_ENVIRONMENT: u32 = 4;
pub(super) const IO_FAILURE: u32 = 5;
pub(super) const DECODE_FAILURE: u32 = 6;
pub(super) const INVALID_CONFIG: u32 = 7;
pub(super) const TRY_AGAIN: u32 = 11;
pub(super) const NOT_AVAILABLE: u32 = 50;
/// The first code that is a plugin's own.
pub(super) const REFUSED: u32 = 100;
