//! What a network's edge is told of an endpoint: its names, its lease.

use dns_core::EndpointNames;
use switch_core::edge::HostRecord;

use crate::name::short;
use crate::publish::services;
use crate::record::{EndpointRecord, NetworkRecord, Owner};

impl EndpointRecord {
    /// What the network's names call it, and what they say of it.
    pub fn names(&self) -> EndpointNames {
        EndpointNames {
            name: self.name.clone(),
            aliases: self.aliases.clone(),
            hostname: self.hostname.clone(),
            short_id: self.short_id(),
            v4: self.ipv4,
            v6: self.ipv6,
            services: services(&self.publish),
        }
    }

    /// Its container's id as people see it.
    pub fn short_id(&self) -> Option<String> {
        match &self.owner {
            Owner::Container(id) => Some(short(id).to_owned()),
            Owner::Sandbox(_) | Owner::Engine(_) => None,
        }
    }

    /// What the network's DHCP server leases it, if it has one and the endpoint an IPv4 address.
    pub fn lease(&self, network: &NetworkRecord) -> Option<HostRecord> {
        let ipv4 = self.ipv4.filter(|_| network.serves_dhcp())?;
        let hostname = self.hostname.as_ref().unwrap_or(&self.name);
        Some(HostRecord {
            ipv4,
            hostname: Some(hostname.clone()),
            dns_servers: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::NetnsId;
    use crate::sample;

    #[test]
    fn a_container_is_known_by_its_short_id_and_a_sandbox_by_none() {
        let mut web = sample::endpoint("web", &["10.1.0.2"]);
        web.owner = Owner::Container("0123456789abcdef".into());
        assert_eq!(web.names().short_id.as_deref(), Some("0123456789ab"));
        web.owner = Owner::Sandbox(NetnsId {
            device: 4,
            inode: 7,
        });
        let names = web.names();
        assert_eq!(
            (names.short_id, names.v4),
            (None, Some([10, 1, 0, 2].into()))
        );
    }

    #[test]
    fn an_address_is_leased_where_the_network_serves_dhcp() {
        let mut network = sample::network("n", &["10.1.0.0/24"]);
        let mut web = sample::endpoint("web", &["10.1.0.2"]);
        let lease = web.lease(&network).unwrap();
        assert_eq!(Some(lease.ipv4), web.ipv4);
        assert_eq!(lease.hostname.as_deref(), Some("web"));
        web.hostname = Some("www".into());
        let lease = web.lease(&network).unwrap();
        assert_eq!(lease.hostname.as_deref(), Some("www"));
        network.options.insert("dhcp".into(), "off".into());
        assert!(web.lease(&network).is_none());
        let v6 = sample::endpoint("web", &["fd01::2"]);
        assert!(v6.lease(&sample::network("n", &["fd01::/64"])).is_none());
    }
}
