//! The engine's own words: what libnetwork's remote drivers are asked, and what they answer.
//!
//! Requests: <https://github.com/moby/moby/blob/master/daemon/libnetwork/docs/remote.md>, and `ipam.md` beside it. A member that means
//! nothing here is not read; one that may be absent may be `null` as well.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::line::line;

/// 64 hexadecimal digits, as the engine names its networks and endpoints, and the agent its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Id(String);

impl Id {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The id that a text is, if it is one.
    pub(super) fn find(text: &str) -> Option<Self> {
        Self::try_from(text.to_owned()).ok()
    }

    /// As people see it.
    pub(super) fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.len() == 64 && text.bytes().all(is_digit) {
            true => Ok(Self(text)),
            false => Err(format!(
                "{:?} is no id; one has 64 hexadecimal digits",
                text.chars().take(64).collect::<String>()
            )),
        }
    }
}

/// By key; a value is a text, a list, or a map of its own.
pub(super) type Options = BTreeMap<String, Value>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateNetwork {
    #[serde(rename = "NetworkID")]
    pub(super) network: Id,
    #[serde(default, deserialize_with = "or_null")]
    pub(super) options: Options,
    #[serde(default, rename = "IPv4Data", deserialize_with = "or_null")]
    pub(super) v4: Vec<PoolData>,
    #[serde(default, rename = "IPv6Data", deserialize_with = "or_null")]
    pub(super) v6: Vec<PoolData>,
}

/// What the IPAM driver gave for a network; addresses come with their prefix lengths.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PoolData {
    #[serde(default)]
    pub(super) address_space: String,
    #[serde(default)]
    pub(super) pool: String,
    #[serde(default)]
    pub(super) gateway: String,
    #[serde(default, deserialize_with = "or_null")]
    pub(super) aux_addresses: BTreeMap<String, String>,
}

/// Of the calls that name a network alone.
#[derive(Debug, Deserialize)]
pub(super) struct NetworkOnly {
    #[serde(rename = "NetworkID")]
    pub(super) network: Id,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateEndpoint {
    #[serde(rename = "NetworkID")]
    pub(super) network: Id,
    #[serde(rename = "EndpointID")]
    pub(super) endpoint: Id,
    #[serde(default, deserialize_with = "or_null")]
    pub(super) interface: Interface,
    #[serde(default, deserialize_with = "or_null")]
    pub(super) options: Options,
}

/// An empty text is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Interface {
    #[serde(rename = "Address", skip_serializing_if = "String::is_empty")]
    pub(super) address: String,
    #[serde(rename = "AddressIPv6", skip_serializing_if = "String::is_empty")]
    pub(super) address_v6: String,
    #[serde(rename = "MacAddress", skip_serializing_if = "String::is_empty")]
    pub(super) mac: String,
}

/// Of the calls about an endpoint that there is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfEndpoint {
    #[serde(rename = "NetworkID")]
    pub(super) network: Id,
    #[serde(rename = "EndpointID")]
    pub(super) endpoint: Id,
    #[serde(default, deserialize_with = "or_null")]
    pub(super) options: Options,
}

/// An element of `com.docker.network.portmap`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PortBinding {
    pub(super) proto: u8,
    pub(super) port: u16,
    #[serde(default, rename = "HostIP")]
    pub(super) host_ip: String,
    #[serde(default)]
    pub(super) host_port: u16,
    #[serde(default)]
    pub(super) host_port_end: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RequestPool {
    #[serde(default)]
    pub(super) pool: String,
    #[serde(default)]
    pub(super) sub_pool: String,
    #[serde(default, deserialize_with = "or_null")]
    pub(super) options: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) v6: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct PoolOnly {
    #[serde(rename = "PoolID")]
    pub(super) pool: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfAddress {
    #[serde(rename = "PoolID")]
    pub(super) pool: String,
    #[serde(default)]
    pub(super) address: String,
    #[serde(default, deserialize_with = "or_null")]
    pub(super) options: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Activated {
    pub(super) implements: &'static [&'static str],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NetworkCapabilities {
    pub(super) scope: &'static str,
    pub(super) connectivity_scope: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IpamCapabilities {
    #[serde(rename = "RequiresMACAddress")]
    pub(super) requires_mac_address: bool,
    pub(super) requires_request_replay: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddressSpaces {
    pub(super) local_default_address_space: &'static str,
    pub(super) global_default_address_space: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EndpointCreated {
    pub(super) interface: Interface,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Joined {
    pub(super) interface_name: InterfaceName,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) gateway: String,
    #[serde(rename = "GatewayIPv6", skip_serializing_if = "String::is_empty")]
    pub(super) gateway_v6: String,
    pub(super) disable_gateway_service: bool,
}

/// The link is there under the first name, and becomes the second with the lowest free number.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InterfaceName {
    pub(super) src_name: String,
    pub(super) dst_prefix: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OperInfo {
    pub(super) value: BTreeMap<String, Value>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PoolGiven {
    #[serde(rename = "PoolID")]
    pub(super) id: String,
    pub(super) pool: String,
    pub(super) data: BTreeMap<&'static str, String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AddressGiven {
    /// With its prefix length.
    pub(super) address: String,
    pub(super) data: BTreeMap<&'static str, String>,
}

/// Why a call was refused: one line, which the engine shows to whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(String);

impl Refusal {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(line(why))
    }
}

/// Reads a call's body.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    if body.is_empty() {
        // The engine's second attempt, after it lost the answer to the first one, comes without what it asked.
        return Err(Refusal::new(
            "the request is empty; the answer to the first attempt was lost, do it again",
        ));
    }
    // A list would be read as the members in their order.
    if body.first() != Some(&b'{') {
        return Err(Refusal::new(
            "the request is not understood: it is no JSON object",
        ));
    }
    serde_json::from_slice(body)
        .map_err(|error| Refusal::new(format!("the request is not understood: {error}")))
}

fn or_null<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(from).map(Option::unwrap_or_default)
}

pub(super) const GENERIC: &str = "com.docker.network.generic";
pub(super) const INTERNAL: &str = "com.docker.network.internal";
pub(super) const PORT_MAP: &str = "com.docker.network.portmap";
pub(super) const GATEWAY: &str = "com.docker.network.gateway";
pub(super) const REQUEST_ADDRESS_TYPE: &str = "RequestAddressType";

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    #[test]
    fn what_may_be_absent_may_be_null() {
        let text = format!(
            r#"{{"NetworkID":"{}","EndpointID":"{}","Interface":null,"Options":null,"New":1}}"#,
            id('a'),
            id('b')
        );
        let call: CreateEndpoint = read(text.as_bytes()).unwrap();
        assert_eq!(call.interface, Interface::default());
        assert_eq!(call.network.short(), "aaaaaaaaaaaa");
        let text = format!(r#"{{"NetworkID":"{}","IPv4Data":null}}"#, id('a'));
        let call: CreateNetwork = read(text.as_bytes()).unwrap();
        assert!(call.v4.is_empty() && call.options.is_empty());
    }

    #[test]
    fn an_incomplete_call_is_told_what_it_lacks() {
        let told = |text: &str| read::<NetworkOnly>(text.as_bytes()).unwrap_err().0;
        assert!(told("").contains("empty"));
        assert!(told("{}").contains("NetworkID"));
        for wrong in ["[", "[]", "{", "null"] {
            assert!(told(wrong).contains("not understood"));
        }
        for wrong in [r#""""#, "7", r#""../../etc""#, r#""ABCDEF""#] {
            let told = told(&format!(r#"{{"NetworkID":{wrong}}}"#));
            assert!(told.contains("not understood"), "{told}");
        }
    }
}
