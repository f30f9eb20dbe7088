//! What the plugin reads: the configuration on standard input, as far as it is the plugin's business.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::Dns;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cni) struct Config {
    #[serde(default = "oldest")]
    pub(in crate::cni) cni_version: String,
    /// The runtime's name of the network.
    #[serde(default)]
    pub(in crate::cni) name: String,
    /// What the runtime calls the plugin.
    #[serde(default, rename = "type")]
    pub(in crate::cni) plugin: String,
    /// The agent's name of the network, where it is another one.
    pub(in crate::cni) network: Option<String>,
    /// The agent's socket, where it is not the usual one.
    pub(in crate::cni) socket: Option<String>,
    /// Who gives addresses, where it is not the network itself.
    #[serde(default, deserialize_with = "or_null")]
    pub(in crate::cni) ipam: Map<String, Value>,
    /// Where the runtime passes none.
    #[serde(default, deserialize_with = "or_null")]
    pub(in crate::cni) bandwidth: Map<String, Value>,
    #[serde(flatten)]
    pub(in crate::cni) bridge: BridgeWords,
    #[serde(default, deserialize_with = "or_null")]
    pub(in crate::cni) dns: Dns,
    #[serde(default, deserialize_with = "or_null")]
    pub(in crate::cni) args: Args,
    #[serde(default, deserialize_with = "or_null")]
    pub(in crate::cni) runtime_config: RuntimeConfig,
    /// Read by CHECK alone: nothing in it may keep DEL from its work.
    pub(in crate::cni) prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    pub(in crate::cni) valid_attachments: Option<Vec<Attachment>>,
    #[serde(flatten)]
    pub(in crate::cni) others: Map<String, Value>,
}

/// The words of the plugin `bridge` that a network has or has not, <https://www.cni.dev/plugins/current/main/bridge/>.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cni) struct BridgeWords {
    pub(in crate::cni) bridge: Option<String>,
    pub(in crate::cni) mtu: Option<u32>,
    pub(in crate::cni) is_gateway: Option<bool>,
    pub(in crate::cni) is_default_gateway: Option<bool>,
    pub(in crate::cni) force_address: Option<bool>,
    pub(in crate::cni) ip_masq: Option<bool>,
    pub(in crate::cni) ip_masq_backend: Option<String>,
    pub(in crate::cni) promisc_mode: Option<bool>,
    pub(in crate::cni) vlan: Option<i64>,
    #[serde(deserialize_with = "or_null")]
    pub(in crate::cni) vlan_trunk: Vec<VlanRange>,
    pub(in crate::cni) preserve_default_vlan: Option<bool>,
    pub(in crate::cni) enabledad: Option<bool>,
    pub(in crate::cni) disable_container_interface: Option<bool>,
    pub(in crate::cni) port_isolation: Option<bool>,
    pub(in crate::cni) uplink_interface: Option<String>,
}

/// One VLAN by `id`, or those from `min_id` to `max_id`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cni) struct VlanRange {
    pub(in crate::cni) id: Option<i64>,
    #[serde(rename = "minID")]
    pub(in crate::cni) min_id: Option<i64>,
    #[serde(rename = "maxID")]
    pub(in crate::cni) max_id: Option<i64>,
}

/// What a person or an orchestrator adds, by the conventions' `args`; the rest of it is others' business.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cni) struct Args {
    #[serde(deserialize_with = "or_null")]
    pub(in crate::cni) cni: CniArgs,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cni) struct CniArgs {
    #[serde(deserialize_with = "or_null")]
    pub(in crate::cni) ips: Vec<String>,
    pub(in crate::cni) mac: Option<String>,
}

/// What the runtime passes by capabilities.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::cni) struct RuntimeConfig {
    /// With keys in either case of letters: runtimes differ.
    #[serde(deserialize_with = "or_null")]
    pub(in crate::cni) port_mappings: Vec<Map<String, Value>>,
    #[serde(deserialize_with = "or_null")]
    pub(in crate::cni) bandwidth: Map<String, Value>,
    #[serde(deserialize_with = "or_null")]
    pub(in crate::cni) ips: Vec<String>,
    pub(in crate::cni) mac: Option<String>,
    /// By the runtime's name of the network.
    #[serde(deserialize_with = "or_null")]
    pub(in crate::cni) aliases: BTreeMap<String, Option<Vec<String>>>,
    #[serde(deserialize_with = "or_null")]
    pub(in crate::cni) dns: RuntimeDns,
    #[serde(flatten)]
    pub(in crate::cni) others: Map<String, Value>,
}

/// The capability `dns`, whose words differ from those of the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cni) struct RuntimeDns {
    #[serde(alias = "Servers", deserialize_with = "or_null")]
    pub(in crate::cni) servers: Vec<String>,
    #[serde(alias = "Searches", deserialize_with = "or_null")]
    pub(in crate::cni) searches: Vec<String>,
    #[serde(alias = "Options", deserialize_with = "or_null")]
    pub(in crate::cni) options: Vec<String>,
}

/// A container's interface that GC shall leave.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::cni) struct Attachment {
    #[serde(rename = "containerID")]
    pub(in crate::cni) container_id: String,
    pub(in crate::cni) ifname: String,
}

/// A result that somebody else wrote: the one of ADD that comes with CHECK, and that of an IPAM plugin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::cni) struct GivenResult {
    #[serde(deserialize_with = "or_null")]
    pub(in crate::cni) interfaces: Vec<GivenInterface>,
    #[serde(deserialize_with = "or_null")]
    pub(in crate::cni) ips: Vec<GivenIp>,
    #[serde(deserialize_with = "or_null")]
    pub(in crate::cni) routes: Vec<GivenRoute>,
    #[serde(deserialize_with = "or_null")]
    pub(in crate::cni) dns: Dns,
}

#[derive(Clone, Debug, Deserialize)]
pub(in crate::cni) struct GivenInterface {
    pub(in crate::cni) name: String,
    pub(in crate::cni) mac: Option<String>,
    /// The namespace; absent or empty in the host's.
    pub(in crate::cni) sandbox: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(in crate::cni) struct GivenIp {
    pub(in crate::cni) address: IpNet,
    pub(in crate::cni) gateway: Option<std::net::IpAddr>,
    /// Which of the result's interfaces has it.
    pub(in crate::cni) interface: Option<usize>,
}

#[derive(Clone, Debug, Deserialize)]
pub(in crate::cni) struct GivenRoute {
    pub(in crate::cni) dst: IpNet,
    pub(in crate::cni) gw: Option<std::net::IpAddr>,
    /// Of the kernel's routing tables; the main one where absent.
    pub(in crate::cni) table: Option<u32>,
}

/// A configuration without a version is of the first specification.
fn oldest() -> String {
    "0.1.0".to_owned()
}

/// Go writes an absent list, map or structure as `null`.
pub(super) fn or_null<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
