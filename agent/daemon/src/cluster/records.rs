//! What hosts tell each other through the store.
//!
//! | key | value | under the lease of |
//! |---|---|---|
//! | `cluster` | [`ClusterRecord`] | |
//! | `token/<id>` | [`TokenRecord`] | the token |
//! | `host/<host>` | [`HostRecord`]: a member | |
//! | `alive/<host>` | [`AliveRecord`]: its agent runs; the key's revision is the host's epoch | the host |
//! | `issued/<host>/<serial>` | a certificate that is still good | the certificate |
//! | `revoked/<host>` | [`RevokedRecord`] | |
//! | `network/<id>` | the network's record | |
//! | `name/<network's name>`, `vni/<n>` | the network's id: each is taken once | |
//! | `endpoint/<network>/<id>` | [`EndpointShared`] | the host |
//! | `address/<network>/<address>` | [`Holder`] | the host, unless it is a reserve |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agent_api::TransportProtocol;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClusterRecord {
    pub(super) id: String,
    pub(super) created_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TokenRecord {
    /// SHA-256 of the secret.
    pub(super) secret_hash: String,
    /// The lease says the same, but etcd looks only now and then.
    pub(super) expires_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostRecord {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    pub(crate) joined_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AliveRecord {
    /// Where its tunnels end.
    pub(crate) address: IpAddr,
    /// Where its QUIC tunnel listens; absent where it has none.
    #[serde(default)]
    pub(crate) quic_udp_port: Option<u16>,
    /// New with each life of the agent.
    pub(crate) run: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RevokedRecord {
    pub(super) name: String,
    pub(super) revoked_s: u64,
}

/// An endpoint, for every host that has the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndpointShared {
    pub(crate) host: String,
    /// The host's life that said so.
    pub(crate) epoch: u64,
    /// Of two hosts with one MAC, the higher one has it.
    pub(crate) sequence: u32,
    pub(crate) mac: [u8; 6],
    pub(crate) ipv4: Option<Ipv4Addr>,
    pub(crate) ipv6: Option<Ipv6Addr>,
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) short_id: Option<String>,
    /// Published ports; absent where an older agent speaks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<ServiceShared>,
}

/// Published ports in a row, from these numbers on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceShared {
    pub(crate) protocol: TransportProtocol,
    pub(crate) container_port: u16,
    pub(crate) host_port: u16,
    pub(crate) count: u16,
}

impl EndpointShared {
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let both = [self.ipv4.map(IpAddr::V4), self.ipv6.map(IpAddr::V6)];
        both.into_iter().flatten().collect()
    }
}

/// Who has an address of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) host: String,
    /// Absent while it is in reserve.
    pub(crate) endpoint: Option<String>,
    /// Whether the host keeps it for times without etcd.
    pub(crate) reserve: bool,
}

pub(super) const CLUSTER: &str = "cluster";
pub(super) const TOKENS: &str = "token/";
pub(crate) const HOSTS: &str = "host/";
pub(crate) const ALIVE: &str = "alive/";
pub(super) const ISSUED: &str = "issued/";
pub(crate) const REVOKED: &str = "revoked/";
pub(crate) const NETWORKS: &str = "network/";
pub(crate) const NAMES: &str = "name/";
pub(crate) const VNIS: &str = "vni/";
pub(crate) const ENDPOINTS: &str = "endpoint/";
pub(crate) const ADDRESSES: &str = "address/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_of_an_older_agent_is_understood() {
        let older = r#"{"host":"h","epoch":1,"sequence":2,"mac":[2,0,0,0,0,1],"ipv4":"10.0.0.2","ipv6":null,
            "name":"web","aliases":[],"hostname":null,"short_id":null}"#;
        let mut shared: EndpointShared = serde_json::from_str(older).unwrap();
        assert!(shared.services.is_empty());
        let said = serde_json::to_string(&shared).unwrap();
        assert!(!said.contains("services"), "{said}");
        shared.services.push(ServiceShared {
            protocol: TransportProtocol::Udp,
            container_port: 20_000,
            host_port: 30_000,
            count: 1000,
        });
        let said = serde_json::to_string(&shared).unwrap();
        assert_eq!(
            serde_json::from_str::<EndpointShared>(&said).unwrap(),
            shared
        );
    }
}
