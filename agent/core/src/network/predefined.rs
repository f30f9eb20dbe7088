//! The networks that every agent has.

use agent_api::Driver;

use super::DEFAULT_MTU;
use crate::record::NetworkRecord;

/// Whether the network of that name comes with every agent.
pub fn is_predefined(name: &str) -> bool {
    PREDEFINED.iter().any(|(predefined, _)| *predefined == name)
}

/// A network without ports of its own.
pub fn without_segment(id: String, name: &str, driver: Driver) -> NetworkRecord {
    NetworkRecord {
        id,
        name: name.to_owned(),
        driver,
        subnets: Vec::new(),
        ip_range: None,
        aux_addresses: Default::default(),
        internal: false,
        mtu: DEFAULT_MTU,
        dns: Vec::new(),
        options: Default::default(),
        labels: Default::default(),
        overlay: None,
    }
}

/// Where containers go that name no network.
pub const DEFAULT_NETWORK: &str = "bridge";
/// By name, in the order in which they are made.
pub const PREDEFINED: [(&str, Driver); 3] = [
    (DEFAULT_NETWORK, Driver::Bridge),
    ("host", Driver::Host),
    ("none", Driver::Null),
];
