//! Endpoints: the attachments of sandboxes to networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::DnsServer;

/// What a user may choose about one attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EndpointSettings {
    #[schema(value_type = Option<String>)]
    pub ip: Option<Ipv4Addr>,
    #[schema(value_type = Option<String>)]
    pub ip6: Option<Ipv6Addr>,
    /// `02:42:ac:11:00:02`; made from the IPv4 address where absent.
    pub mac: Option<String>,
    pub aliases: Vec<String>,
}

/// `POST /v1/endpoints`: attaches a namespace that the caller owns, as plugins and labs do.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EndpointCreate {
    pub network: String,
    /// The name that the network's DNS answers for; unique on the network.
    pub name: String,
    /// A network namespace file, for example `/run/netns/h1` or `/proc/42/ns/net`.
    #[schema(value_type = String)]
    pub sandbox: PathBuf,
    /// The link's name inside the sandbox; the first free `ethN` where absent.
    pub link: Option<String>,
    /// Name servers that are asked for it before the network's, as those of `run --dns`.
    #[schema(value_type = Vec<String>)]
    pub dns: Vec<DnsServer>,
    #[serde(flatten)]
    pub settings: EndpointSettings,
}

/// An endpoint as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointDetail {
    pub id: String,
    pub network: String,
    /// The container, or the name given at creation.
    pub name: String,
    pub mac: String,
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpNet>,
    #[schema(value_type = Vec<String>)]
    pub gateways: Vec<IpAddr>,
    pub link: String,
    pub port: Option<u32>,
    pub aliases: Vec<String>,
    /// A path to the namespace; absent for containers, which say it themselves.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub sandbox: Option<PathBuf>,
    /// Whether its port is up.
    #[serde(default = "yes")]
    pub up: bool,
}

const fn yes() -> bool {
    true
}

/// `POST /v1/networks/{name}/connect`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Connect {
    pub container: String,
    #[serde(flatten)]
    pub settings: EndpointSettings,
}

/// `POST /v1/networks/{name}/disconnect`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Disconnect {
    pub container: String,
}
