//! Names of networks: the options that concern them, and what their forwarders tell.

use std::net::IpAddr;
use std::sync::Arc;

use agent_api::{ApiError, PortMapping, QueryLogEntry, TransportProtocol};
use dns_core::{Carrier, PrivateNames, Service, check_name};
use tokio::sync::mpsc;

use super::Agent;
use super::error::Attach;
use super::state::{Segment, State};
use crate::cluster::ServiceShared;
use crate::edge::{Others, SharedZone};
use crate::record::{NetworkRecord, Owner};

impl Agent {
    /// Follows the queries of a network until it is gone.
    pub(crate) fn dns_log(&self, called: &str) -> Result<mpsc::Receiver<QueryLogEntry>, ApiError> {
        let state = self.state();
        let network = state.network(called)?;
        match &network.segment {
            Some(segment) => Ok(segment.edge.log()),
            None => Err(Attach::NoPorts(network.record.name.clone()).into()),
        }
    }

    /// Tells every network which names this host keeps to itself. To be called whenever networks came or went.
    pub(super) fn share_private_names(&self, state: &State) {
        let records = || state.networks.values().map(|network| &network.record);
        let networks = records()
            .filter(|record| record.has_bridge())
            .map(|record| record.name.as_str());
        let subnets = records()
            .flat_map(|record| &record.subnets)
            .map(|subnet| (subnet.net.network(), subnet.net.prefix_len()))
            .collect();
        let private = Arc::new(PrivateNames::new(networks, subnets));
        let segments = state
            .networks
            .values()
            .filter_map(|network| network.segment.as_ref());
        for segment in segments {
            let hidden = public_zones(state, segment);
            segment.edge.set_private(Arc::clone(&private), hidden);
        }
    }
}

/// The zones of the other networks that are called like public domains.
fn public_zones(state: &State, own: &Segment) -> Vec<SharedZone> {
    let public = state
        .networks
        .values()
        .filter(|network| PrivateNames::is_public(&network.record.name));
    let segments = public.filter_map(|network| network.segment.as_ref());
    let zones = segments.map(|segment| segment.edge.zone());
    zones
        .filter(|zone| !Arc::ptr_eq(zone, &own.edge.zone()))
        .collect()
}

/// A sandbox knows the names of every network that it is on, whichever of their forwarders it asks, and those of the
/// world if one of the networks is not internal. To be called when one of its endpoints came or went.
pub(super) fn share_zones(state: &State, owner: &Owner) {
    let attached = || {
        state.networks.values().filter_map(|network| {
            network.endpoints_of(owner).next()?;
            Some((network, network.segment.as_ref()?))
        })
    };
    for (network, segment) in attached() {
        let others = || attached().filter(|(other, _)| other.record.id != network.record.id);
        let outward = || others().find(|(other, _)| !other.record.internal);
        for endpoint in network.endpoints_of(owner) {
            let others = Others {
                zones: others().map(|(_, segment)| segment.edge.zone()).collect(),
                way_out: outward().map(|(_, segment)| segment.edge.upstream()),
            };
            segment.edge.set_others(&endpoint.record.id, others);
        }
    }
}

impl NetworkRecord {
    /// What `-o dns.record` asks for.
    pub(super) fn dns_records(&self) -> Vec<(String, IpAddr)> {
        // It was checked when the network was made.
        self.options
            .get(OPTION_RECORD)
            .and_then(|value| parse_records(value))
            .unwrap_or_default()
    }

    pub(super) fn blocks_private_answers(&self) -> bool {
        self.options
            .get(OPTION_REBIND)
            .is_some_and(|value| value == "block")
    }
}

/// `name=address[,name=address]...`; a name may come again with another address. `None` where it is not that.
pub(super) fn parse_records(value: &str) -> Option<Vec<(String, IpAddr)>> {
    let record = |text: &str| {
        let (name, address) = text.split_once('=')?;
        let name = name.strip_suffix('.').unwrap_or(name);
        check_name(name).ok()?;
        Some((name.to_owned(), address.parse().ok()?))
    };
    value.split(',').map(record).collect()
}

/// Published ports as SRV records know them, those that stand in a row as one.
pub(super) fn services(publish: &[PortMapping]) -> Vec<Service> {
    let mut services = Vec::<Service>::new();
    for mapping in publish {
        let service = Service {
            carrier: match mapping.protocol {
                TransportProtocol::Tcp => Carrier::Tcp,
                TransportProtocol::Udp => Carrier::Udp,
            },
            number: mapping.container_port,
            // One that the host chooses has no name before it is chosen.
            published: match mapping.host_port {
                0 => mapping.container_port,
                host_port => host_port,
            },
            count: 1,
        };
        match services.last_mut() {
            Some(last) if is_next(last, &service) => last.count += 1,
            _ => services.push(service),
        }
    }
    services
}

fn is_next(last: &Service, service: &Service) -> bool {
    let after = |first: u16| first.checked_add(last.count);
    last.carrier == service.carrier
        && after(last.number) == Some(service.number)
        && after(last.published) == Some(service.published)
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

pub(super) const OPTION_RECORD: &str = "dns.record";
pub(super) const OPTION_REBIND: &str = "dns.rebind";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_a_row_are_one_service() {
        let mapping = |protocol, host_port, container_port| PortMapping {
            host_ip: None,
            host_port,
            container_port,
            protocol,
        };
        let mut publish: Vec<_> = (0..1000)
            .map(|place| mapping(TransportProtocol::Udp, 30_000 + place, 20_000 + place))
            .collect();
        publish.push(mapping(TransportProtocol::Tcp, 31_000, 21_000));
        publish.push(mapping(TransportProtocol::Tcp, 31_001, 80));
        let services = services(&publish);
        let counts: Vec<_> = services.iter().map(|service| service.count).collect();
        assert_eq!(counts, [1000, 1, 1]);
        for service in &services {
            assert_eq!(Service::from(&ServiceShared::from(service)), *service);
        }
    }

    #[test]
    fn records_are_names_and_addresses() {
        let records = parse_records("db=10.0.0.1,db=fd00::1,www.example.com.=192.0.2.1").unwrap();
        let names: Vec<_> = records.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["db", "db", "www.example.com"]);
        for wrong in ["", "db", "db=", "=10.0.0.1", "a b=10.0.0.1", "db=10.0.0.1,"] {
            assert_eq!(parse_records(wrong), None, "{wrong}");
        }
    }
}
