//! Published ports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `-p [IP:]HOST:CONTAINER[/udp]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortMapping {
    /// Every address of the host where absent.
    #[schema(value_type = Option<String>)]
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: TransportProtocol,
}

/// `-p [IP:]FIRST-LAST:CONTAINER[/udp]`: the first host port of a range that is free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortChoice {
    /// Every address of the host where absent.
    #[schema(value_type = Option<String>)]
    pub host_ip: Option<IpAddr>,
    pub first: u16,
    pub last: u16,
    pub container_port: u16,
    pub protocol: TransportProtocol,
}

#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TransportProtocol {
    #[default]
    Tcp,
    Udp,
}
