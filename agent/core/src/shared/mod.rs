//! What hosts of a cluster tell each other through its store.
//!
//! # Theory of operation
//!
//! The store is a map from keys to JSON. Every host follows all of it in its [`World`], and puts its own part under its lease.
//!
//! | key | value | under the lease of |
//! |---|---|---|
//! | `cluster` | [`ClusterRecord`] | |
//! | `ca` | [`CaRecord`]; absent where the CA was never rotated | |
//! | `token/<id>` | [`TokenRecord`] | the token |
//! | `host/<host>` | [`HostRecord`]: a member | |
//! | `alive/<host>` | [`AliveRecord`]: its agent runs; the key's revision is the host's epoch ([`ClusterRecord::epoch`]) | the host |
//! | `issued/<host>/<serial>` | [`IssuedRecord`]: a certificate that is still good, or may be renewed | the certificate |
//! | `revoked/<host>` | [`RevokedRecord`] | |
//! | `manager/<host>` | [`ManagerRecord`]: it serves the store to the others | |
//! | `promote/<host>` | [`OrderRecord`]: it is to be a manager | the manager that orders it |
//! | `demote/<host>` | [`OrderRecord`]: it is a manager no more, and may not know it yet | |
//! | `lease/<lease>` | the host whose lease it is | the lease itself |
//! | `network/<id>` | the network's record | |
//! | `networks` | a digest of all networks that were made so far; every creation rewrites it | |
//! | `name/<network's name>` | the network's id | |
//! | `vni/<n>` | [`VniRecord`](networks::VniRecord): whose it is, or a tombstone | |
//! | `followed/<host>` | [`FollowedRecord`](networks::FollowedRecord) | |
//! | `endpoint/<network>/<id>` | [`EndpointShared`] | the host |
//! | `block/<network>/<first address of a page>` | [`PageRecord`]: who owns which block of the page | |
//! | `ask/<host>/<network>/<address, ipv4 or ipv6>` | [`AskRecord`]: the host asks another one | the host that asks |
//! | `address/<network>/<address>` | [`Holder`], of agents before there were blocks | the host, unless it is a reserve |

pub mod adoption;
pub mod asks;
mod awaited;
pub mod before;
pub mod blocks;
mod ca;
pub mod checks;
pub mod holdings;
mod macs;
pub mod managers;
mod moment;
pub mod networks;
pub mod others;
pub mod permit;
pub mod restoration;
pub mod turns;
pub mod vnis;
mod world;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use agent_api::TransportProtocol;
use dns_core::{Carrier, Service};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switch_core::vlan::PortVlans;

use crate::network::read_vlans;
pub use asks::AskRecord;
pub use blocks::PageRecord;
pub use ca::{CaRecord, FormerCa, RENEWABLE_S};
pub use managers::OrderRecord;
pub use moment::Moment;
pub use world::{Difference, Event, World, is_member};

/// A key of the store, with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub value: Value,
    /// That of the transaction which wrote it last.
    pub revision: u64,
}

/// Another agent wrote what this one does not read.
#[derive(Debug, thiserror::Error)]
#[error("the stored value of {key} is not understood: {source}")]
pub struct NotUnderstood {
    pub key: String,
    #[source]
    pub source: serde_json::Error,
}

impl Entry {
    /// The value as its type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, NotUnderstood> {
        T::deserialize(&self.value).map_err(|source| NotUnderstood {
            key: self.key.clone(),
            source,
        })
    }
}

/// The cluster itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    pub id: String,
    /// Since 1970.
    pub created_s: u64,
    /// Another one each time that the store was restored from a backup, or recovered; absent where it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<String>,
    /// How often it was restored or recovered. Such a store counts its revisions from the beginning, or lost the last of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u64,
}

impl ClusterRecord {
    /// The epoch of a host that said at `revision` of the store that it is alive: above all epochs of former stores.
    pub const fn epoch(&self, revision: u64) -> u64 {
        epoch(self.generation, revision)
    }

    /// The same cluster with a store that is not what it was. `restored` is a word that nobody has used.
    #[must_use]
    pub fn begin_again(self, restored: String) -> Self {
        Self {
            restored: Some(restored),
            generation: self.generation + 1,
            ..self
        }
    }
}

const fn epoch(generation: u64, revision: u64) -> u64 {
    // JSON carries 53 bits of a number faithfully everywhere; 42 are a thousand changes a second for a century.
    (generation << REVISION_BITS) + revision
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

const REVISION_BITS: u32 = 42;

/// A join token that is not used yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// SHA-256 of the secret.
    pub secret_hash: String,
    /// The lease says the same, but etcd looks only now and then.
    pub expires_s: u64,
}

/// A host that belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    pub name: String,
    pub address: IpAddr,
    /// Since 1970.
    pub joined_s: u64,
}

/// A host that holds the CA's key, and the store for members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerRecord {
    /// Where hosts join, and members reach the store.
    pub address: SocketAddr,
}

/// A host whose agent runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliveRecord {
    /// Where others reach its tunnels.
    pub address: IpAddr,
    /// Where those end, if that is another address, which is translated to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<IpAddr>,
    /// Where its QUIC tunnel listens; absent where it has none.
    #[serde(default)]
    pub quic_udp_port: Option<u16>,
    /// New with each life of the agent.
    pub run: String,
    /// The certificate that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateShared>,
}

/// What a host tells of its own certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateShared {
    /// When it ends, in seconds since 1970.
    pub until_s: u64,
    /// SHA-256 of the CA that signed it, its first 16 digits.
    pub ca: String,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedRecord {
    /// Since 1970.
    pub issued_s: u64,
    /// Of the certificate.
    pub sha256: String,
}

/// A host that was shut out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedRecord {
    pub name: String,
    /// Since 1970.
    pub revoked_s: u64,
}

/// An endpoint, for every host that has the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointShared {
    pub host: String,
    /// The host's life that said so.
    pub epoch: u64,
    /// Of two hosts with one MAC, the higher one has it.
    pub sequence: u32,
    pub mac: [u8; 6],
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub name: String,
    pub aliases: Vec<String>,
    pub hostname: Option<String>,
    pub short_id: Option<String>,
    /// Published ports; absent where an older agent speaks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceShared>,
    /// As of an endpoint's record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
}

/// Published ports in a row, from these numbers on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceShared {
    pub protocol: TransportProtocol,
    pub container_port: u16,
    pub host_port: u16,
    pub count: u16,
}

impl EndpointShared {
    /// The VLANs that its port belongs to, where somebody said which. What was told was checked.
    pub fn vlans(&self) -> Option<PortVlans> {
        read_vlans(self.vlan, self.trunk.as_deref()).ok().flatten()
    }

    /// Those of both families that it has, IPv4 first.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let both = [self.ipv4.map(IpAddr::V4), self.ipv6.map(IpAddr::V6)];
        both.into_iter().flatten().collect()
    }
}

impl From<&Service> for ServiceShared {
    fn from(service: &Service) -> Self {
        Self {
            protocol: match service.carrier {
                Carrier::Tcp => TransportProtocol::Tcp,
                Carrier::Udp => TransportProtocol::Udp,
            },
            container_port: service.number,
            host_port: service.published,
            count: service.count,
        }
    }
}

impl From<&ServiceShared> for Service {
    fn from(shared: &ServiceShared) -> Self {
        Self {
            carrier: match shared.protocol {
                TransportProtocol::Tcp => Carrier::Tcp,
                TransportProtocol::Udp => Carrier::Udp,
            },
            number: shared.container_port,
            published: shared.host_port,
            count: shared.count,
        }
    }
}

/// Who had an address of a network, as older agents say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub host: String,
    /// Absent while it is in reserve.
    pub endpoint: Option<String>,
    /// Whether the host keeps it for times without etcd.
    pub reserve: bool,
}

pub const CLUSTER: &str = "cluster";
pub const CA: &str = "ca";
pub const TOKENS: &str = "token/";
pub const HOSTS: &str = "host/";
pub const ALIVE: &str = "alive/";
pub const ISSUED: &str = "issued/";
pub const REVOKED: &str = "revoked/";
pub const MANAGERS: &str = "manager/";
pub const PROMOTE: &str = "promote/";
pub const DEMOTE: &str = "demote/";
pub const LEASES: &str = "lease/";
pub const NETWORKS: &str = "network/";
/// One key, not what others begin with.
pub const NETWORKS_MADE: &str = "networks";
pub const FOLLOWED: &str = "followed/";
pub const NAMES: &str = "name/";
pub const VNIS: &str = "vni/";
pub const ENDPOINTS: &str = "endpoint/";
pub const BLOCKS: &str = "block/";
pub const ASKS: &str = "ask/";
pub const ADDRESSES: &str = "address/";

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

    #[test]
    fn a_service_is_shared_as_it_is() {
        for carrier in [Carrier::Tcp, Carrier::Udp] {
            let service = Service {
                carrier,
                number: 20_000,
                published: 30_000,
                count: 1000,
            };
            assert_eq!(Service::from(&ServiceShared::from(&service)), service);
        }
    }
}
