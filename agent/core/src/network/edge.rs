//! What a network's edge is told: its gateway, its zone.

use std::net::IpAddr;

use dns_core::{Policy, ZoneConfig};
use switch_core::edge::EdgeConfig;

use crate::record::{NetworkRecord, Subnet};

impl NetworkRecord {
    /// The gateway as containers see it. `seed` is random.
    pub fn edge_config(&self, seed: u64) -> EdgeConfig {
        let own = |_: &Subnet| !self.is_lan();
        let v4 = self
            .subnet_v4()
            .filter(own)
            .and_then(|subnet| match subnet.gateway {
                IpAddr::V4(gateway) => Some((gateway, subnet.net.prefix_len())),
                IpAddr::V6(_) => None,
            });
        let v6 = self
            .subnet_v6()
            .filter(own)
            .and_then(|subnet| match subnet.gateway {
                IpAddr::V6(gateway) => Some((gateway, subnet.net.prefix_len())),
                IpAddr::V4(_) => None,
            });
        EdgeConfig {
            gateway_mac: self.gateway_mac(),
            v4,
            v6,
            mtu: self.mtu,
            dns_servers: Vec::new(),
            domain: None,
            lease_s: LEASE_S,
            routed: !self.internal,
            seed,
        }
    }

    /// The network's own names, but those of its endpoints.
    pub fn zone_config(&self) -> ZoneConfig {
        let subnets = self.subnets.iter().map(|subnet| subnet.net);
        ZoneConfig {
            network: self.name.clone(),
            subnets: subnets
                .map(|net| (net.network(), net.prefix_len()))
                .collect(),
            records: self.dns_records(),
        }
    }

    /// Whether names of the world are asked for.
    pub fn dns_policy(&self) -> Policy {
        match self.internal {
            true => Policy::Internal,
            false => Policy::Forward,
        }
    }
}

const LEASE_S: u32 = 3600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn an_edge_has_the_gateways_that_the_network_has() {
        let both = sample::network("n", &["10.1.0.0/24", "fd01::/64"]);
        let edge = both.edge_config(7);
        assert_eq!(edge.v4, Some(([10, 1, 0, 1].into(), 24)));
        assert_eq!(edge.v6, Some(("fd01::1".parse().unwrap(), 64)));
        assert_eq!((edge.seed, edge.routed), (7, true));
        let without = sample::network("n", &[]).edge_config(7);
        assert_eq!((without.v4, without.v6), (None, None));
        let inner = NetworkRecord {
            internal: true,
            ..both
        };
        assert!(!inner.edge_config(7).routed);
        assert!(matches!(inner.dns_policy(), Policy::Internal));
    }

    #[test]
    fn a_zone_has_the_networks_subnets_and_records() {
        let mut network = sample::network("n", &["10.1.0.0/24"]);
        network
            .options
            .insert("dns.record".into(), "db=10.1.0.9".into());
        let zone = network.zone_config();
        assert_eq!(zone.network, "n");
        assert_eq!(zone.subnets, [("10.1.0.0".parse().unwrap(), 24)]);
        assert_eq!(zone.records, [("db".into(), "10.1.0.9".parse().unwrap())]);
    }
}
