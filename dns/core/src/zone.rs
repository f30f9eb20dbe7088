//! The names of one network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network's own facts, fixed for the zone's life.
#[derive(Clone, Debug, Default)]
pub struct ZoneConfig {
    /// The network's name: every endpoint also answers to `name.network`.
    pub network: String,
    /// Subnets (address and prefix length) whose reverse names are answered here and never forwarded.
    pub subnets: Vec<(IpAddr, u8)>,
}

/// All names of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointNames {
    /// The container's name.
    pub name: String,
    /// `--network-alias`; several endpoints may share one.
    pub aliases: Vec<String>,
    pub hostname: Option<String>,
    /// First 12 digits of the container's id.
    pub short_id: Option<String>,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

/// Why an endpoint's names were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertNames {
    #[error("the network already holds the names of {0} endpoints; remove one first")]
    TooManyEndpoints(usize),
    #[error("an endpoint may have at most {0} names")]
    TooManyNames(usize),
    #[error(
        "{0:?} cannot be a DNS name; use letters, digits, '-', '_' and '.', at most 63 bytes between dots"
    )]
    InvalidName(String),
}

/// The names of one network, forward and reverse.
#[derive(Debug)]
pub struct Zone {
    config: ZoneConfig,
}

impl Zone {
    pub fn new(config: ZoneConfig) -> Self {
        Self { config }
    }

    /// Takes the names of endpoint `key`, replacing what it had.
    pub fn insert(&mut self, _key: &str, _names: EndpointNames) -> Result<(), InsertNames> {
        Ok(())
    }

    /// Forgets an endpoint; says whether it was there.
    pub fn remove(&mut self, _key: &str) -> bool {
        false
    }

    pub fn config(&self) -> &ZoneConfig {
        &self.config
    }
}
