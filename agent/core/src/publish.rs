//! Published ports: where they lead, who has them, and what names say of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use agent_api::{ApiError, ErrorKind, PortMapping, PortRun, TransportProtocol, runs};
use dns_core::{Carrier, Service};

use crate::firewall::{NetworkRules, Published};
use crate::record::{ContainerRecord, EndpointRecord, NetworkRecord, Owner, Phase};

/// Why a container's ports are not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishPorts {
    #[error(
        "host port {run} is published by container {holder:?} already; choose another or stop that container"
    )]
    Taken { run: PortRun, holder: String },
    #[error("host port {run} cannot be published: {why}")]
    Refused { run: PortRun, why: String },
    #[error("container {name:?}: {why}")]
    Host { name: String, why: String },
}

impl PublishPorts {
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Taken { .. } | Self::Refused { .. } => ErrorKind::Conflict,
            Self::Host { .. } => ErrorKind::Failed,
        }
    }
}

impl From<PublishPorts> for ApiError {
    fn from(error: PublishPorts) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

/// The addresses by which a container with these endpoints is reached from the host, at most one per family: the one on the
/// network that its default route goes through, since answers go there.
pub fn targets(endpoints: &[(&NetworkRecord, &EndpointRecord)]) -> Vec<IpAddr> {
    let reachable = endpoints
        .iter()
        .filter(|(network, _)| network.has_host_port());
    let mut reachable: Vec<_> = reachable.map(|(_, endpoint)| *endpoint).collect();
    reachable.sort_by_key(|endpoint| endpoint.rank);
    let all = || reachable.iter().flat_map(|endpoint| endpoint.addresses());
    [all().find(IpAddr::is_ipv4), all().find(IpAddr::is_ipv6)]
        .into_iter()
        .flatten()
        .collect()
}

/// A run as the packet filter knows it: once for each of the container's addresses.
pub fn entries(run: &PortRun, targets: &[IpAddr]) -> impl Iterator<Item = Published> {
    targets.iter().map(|target| Published {
        protocol: run.protocol,
        host_ip: run.host_ip,
        host_port: run.host_port,
        container: SocketAddr::new(*target, run.container_port),
        ports: run.ports,
    })
}

/// What the records say is published, by publisher: where a start finds everything as it was, its packet filter is this. Of ports
/// that two ask for, as an engine does for each network of a container, the first one has them.
pub fn on_record(
    networks: &[NetworkRecord],
    containers: &[ContainerRecord],
    endpoints: &[EndpointRecord],
) -> BTreeMap<String, Vec<Published>> {
    let sandboxes = sandboxes(networks, endpoints);
    let mut taken: Vec<PortRun> = Vec::new();
    let mut published = BTreeMap::new();
    for (id, owner, mappings) in publishers(containers, &sandboxes) {
        let targets = sandboxes
            .get(&owner)
            .map_or_else(Vec::new, |on| targets(on));
        let is_free =
            |run: &PortRun| run.host_port != 0 && !taken.iter().any(|other| other.overlaps(run));
        let own: Vec<PortRun> = runs(mappings).filter(is_free).collect();
        let leads: Vec<Published> = own.iter().flat_map(|run| entries(run, &targets)).collect();
        if !leads.is_empty() {
            taken.extend(own);
            published.insert(id.to_owned(), leads);
        }
    }
    published
}

/// Who may publish anything, and what that is.
fn publishers<'r>(
    containers: &'r [ContainerRecord],
    sandboxes: &Sandboxes<'r>,
) -> impl Iterator<Item = (&'r str, Owner, &'r [PortMapping])> {
    let running = containers
        .iter()
        .filter(|container| container.phase == Phase::Running);
    let running = running.map(|record| {
        let owner = Owner::Container(record.id.clone());
        (&*record.id, owner, &*record.published)
    });
    let endpoints = sandboxes.values().flatten().map(|(_, record)| *record);
    let mut endpoints: Vec<&EndpointRecord> = endpoints.collect();
    endpoints.sort_by_key(|record| record.rank);
    let endpoints = endpoints
        .into_iter()
        .map(|record| (&*record.id, record.owner.clone(), record.own_publish()));
    running.chain(endpoints)
}

/// The endpoints of each sandbox, with their networks.
type Sandboxes<'r> = BTreeMap<Owner, Vec<(&'r NetworkRecord, &'r EndpointRecord)>>;

fn sandboxes<'r>(networks: &'r [NetworkRecord], endpoints: &'r [EndpointRecord]) -> Sandboxes<'r> {
    let by_id: BTreeMap<&str, &NetworkRecord> = networks
        .iter()
        .map(|network| (&*network.id, network))
        .collect();
    let mut sandboxes = Sandboxes::new();
    for endpoint in endpoints {
        if let Some(network) = by_id.get(&*endpoint.network) {
            let sandbox = sandboxes.entry(endpoint.owner.clone()).or_default();
            sandbox.push((*network, endpoint));
        }
    }
    sandboxes
}

/// Which of the containers, given by name with each run that it publishes, has one of the `wanted` ports on an overlapping
/// address.
pub fn holder<'a>(
    mut published: impl Iterator<Item = (&'a str, &'a PortRun)>,
    wanted: &PortRun,
) -> Option<&'a str> {
    let found = published.find(|(_, run)| run.overlaps(wanted));
    found.map(|(container, _)| container)
}

/// What the packet filter does for a network; nothing for one without a leg in the host's namespace.
pub fn network_rules(network: &NetworkRecord) -> Option<NetworkRules> {
    network.has_host_link().then(|| NetworkRules {
        host_link: network.host_link(),
        subnets: network.subnets.iter().map(|subnet| subnet.net).collect(),
        gateways: network.own_gateways(),
        masquerade: !network.is_routed(),
        anti_spoof: true,
        lan: network.is_lan(),
        routed_by: network.routed_by().map(str::to_owned),
    })
}

/// Published ports as SRV records know them, those that stand in a row as one.
pub fn services(publish: &[PortMapping]) -> Vec<Service> {
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

#[cfg(test)]
mod tests {
    use agent_api::runs;

    use super::*;
    use crate::sample;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn mapping(protocol: TransportProtocol, host_port: u16, container_port: u16) -> PortMapping {
        PortMapping {
            host_ip: None,
            host_port,
            container_port,
            protocol,
        }
    }

    fn run(protocol: TransportProtocol, host_port: u16) -> PortRun {
        runs(&[mapping(protocol, host_port, 80)]).next().unwrap()
    }

    #[test]
    fn ports_lead_where_the_default_route_goes() {
        let (one, other) = (
            sample::network("one", &["10.1.0.0/24", "fd01::/64"]),
            sample::network("other", &["10.2.0.0/24"]),
        );
        let at = |rank, addresses: &[&str]| EndpointRecord {
            rank,
            ..sample::endpoint("web", addresses)
        };
        let (second, first) = (at(1, &["10.1.0.2", "fd01::2"]), at(0, &["10.2.0.2"]));
        assert_eq!(
            targets(&[(&one, &second), (&other, &first)]),
            [ip("10.2.0.2"), ip("fd01::2")]
        );
        let internal = NetworkRecord {
            internal: true,
            ..other
        };
        assert_eq!(
            targets(&[(&one, &second), (&internal, &first)]),
            [ip("10.1.0.2"), ip("fd01::2")]
        );
        assert!(targets(&[]).is_empty());
        assert!(network_rules(&internal).is_none());
    }

    #[test]
    fn a_run_leads_to_each_of_the_addresses() {
        let run = run(TransportProtocol::Tcp, 8080);
        let to: Vec<_> = entries(&run, &[ip("10.1.0.2"), ip("fd01::2")]).collect();
        let ends: Vec<_> = to.iter().map(|entry| entry.container.to_string()).collect();
        assert_eq!(ends, ["10.1.0.2:80", "[fd01::2]:80"]);
        assert!(
            to.iter()
                .all(|entry| (entry.host_port, entry.ports) == (8080, 1))
        );
    }

    #[test]
    fn the_records_say_what_is_published_and_a_port_leads_to_one() {
        let network = sample::network("n", &["10.1.0.0/24"]);
        let sandbox = |rank, name: &str, address: &str, port| EndpointRecord {
            owner: Owner::Engine("e".into()),
            publish: vec![mapping(TransportProtocol::Tcp, port, 80)],
            rank,
            ..sample::endpoint(name, &[address])
        };
        let endpoints = [
            sandbox(1, "second", "10.1.0.3", 8080),
            sandbox(0, "first", "10.1.0.2", 8080),
            sandbox(2, "picks", "10.1.0.4", 0),
            EndpointRecord {
                network: "gone".into(),
                ..sandbox(3, "lost", "10.1.0.5", 81)
            },
        ];
        let published = on_record(&[network], &[], &endpoints);
        let leads: Vec<_> = published
            .iter()
            .map(|(id, leads)| (id.as_str(), leads[0].host_port, leads[0].container))
            .collect();
        assert_eq!(leads, [("first", 8080, "10.1.0.2:80".parse().unwrap())]);
    }

    #[test]
    fn a_port_has_one_holder_per_protocol() {
        let taken = run(TransportProtocol::Tcp, 8080);
        let holder = |wanted: PortRun| holder([("web", &taken)].into_iter(), &wanted);
        assert_eq!(holder(run(TransportProtocol::Tcp, 8080)), Some("web"));
        assert_eq!(holder(run(TransportProtocol::Tcp, 8081)), None);
        assert_eq!(holder(run(TransportProtocol::Udp, 8080)), None);
    }

    #[test]
    fn ports_in_a_row_are_one_service() {
        let mut publish: Vec<_> = (0..1000)
            .map(|place| mapping(TransportProtocol::Udp, 30_000 + place, 20_000 + place))
            .collect();
        publish.push(mapping(TransportProtocol::Tcp, 31_000, 21_000));
        publish.push(mapping(TransportProtocol::Tcp, 31_001, 80));
        let services = services(&publish);
        let counts: Vec<_> = services.iter().map(|service| service.count).collect();
        assert_eq!(counts, [1000, 1, 1]);
    }
}
