//! What a request for a container comes to, checked before anything is touched.

use agent_api::{ContainerCreate, EndpointSettings, NetworkMode, RestartPolicy};

use super::binds::Bind;
use super::error::PlanContainer;
use super::sysctl::sysctl_paths;
use crate::find::Find;
use crate::hosts::ExtraHost;
use crate::name::{check_name, made_up, short};
use crate::network::DEFAULT_NETWORK;
use crate::record::{ContainerRecord, NetworkRecord, Phase};
use crate::resolv_conf::{is_option, is_search_domain};
use crate::restart::RestartRecord;

/// What a new container is given.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub id: String,
    /// Seconds since the epoch.
    pub now_s: u64,
}

/// Checks everything that the records tell. `taken` says whether a container has a name; `networks` and `containers` look up
/// what the request calls by a name, an id or the beginning of one.
pub fn plan<'r>(
    request: ContainerCreate,
    taken: impl Fn(&str) -> bool,
    networks: impl Fn(&str) -> Result<&'r NetworkRecord, Find>,
    containers: impl Fn(&str) -> Result<(), Find>,
    fresh: Fresh,
) -> Result<ContainerRecord, PlanContainer> {
    let Fresh { id, now_s } = fresh;
    let name = request.name.clone().unwrap_or_else(|| made_up(&id));
    check_container_name(&name)?;
    if taken(&name) {
        return Err(PlanContainer::NameTaken(name));
    }
    check_command(&request)?;
    check_files(&request)?;
    check_mode(&request)?;
    check_names(&request)?;
    check_bounds(&request)?;
    sysctl_paths(&request.sysctls)?;
    if request.remove && request.restart != RestartPolicy::No {
        return Err(PlanContainer::RemoveAndRestart);
    }
    if let NetworkMode::Container(called) = &request.network {
        containers(called)?;
    }
    let on = find_networks(&request, networks)?;
    check_ways_out(&request, &on)?;
    let hostname = request
        .hostname
        .clone()
        .unwrap_or_else(|| short(&id).to_owned());
    check_name(&hostname).map_err(|source| PlanContainer::Name {
        what: "hostname",
        source,
    })?;
    let further = on.iter().skip(1).zip(&request.networks);
    let connected: Vec<(String, EndpointSettings)> = further
        .map(|(network, attachment)| (network.id.clone(), attachment.settings.clone()))
        .collect();
    Ok(ContainerRecord {
        id,
        name,
        hostname,
        created_s: now_s,
        since_s: now_s,
        create: request,
        connected,
        phase: Phase::Created,
        restart: RestartRecord::default(),
        published: Vec::new(),
        held: false,
    })
}

/// The networks that a container is on from its start, as the request calls them; the first has its default route.
pub fn networks_called(request: &ContainerCreate) -> impl Iterator<Item = &str> {
    let further = request
        .networks
        .iter()
        .map(|further| further.network.as_str());
    attached_network(&request.network)
        .into_iter()
        .chain(further)
}

/// The network that a mode attaches to.
pub fn attached_network(mode: &NetworkMode) -> Option<&str> {
    match mode {
        NetworkMode::Default => Some(DEFAULT_NETWORK),
        NetworkMode::Network(name) => Some(name),
        NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_) => None,
    }
}

/// What a container may be called.
pub fn check_container_name(name: &str) -> Result<(), PlanContainer> {
    check_name(name).map_err(|source| PlanContainer::Name {
        what: "container name",
        source,
    })
}

fn check_command(request: &ContainerCreate) -> Result<(), PlanContainer> {
    if request.command.first().is_none_or(String::is_empty) {
        return Err(PlanContainer::NoCommand);
    }
    let holds_key = |entry: &&String| entry.split_once('=').is_none_or(|(key, _)| key.is_empty());
    if let Some(entry) = request.env.iter().find(holds_key) {
        return Err(PlanContainer::Env(entry.clone()));
    }
    if let Some(rootfs) = &request.rootfs {
        // Whether it is there is for those to see who may look.
        if !rootfs.is_absolute() {
            return Err(PlanContainer::Rootfs {
                path: rootfs.clone(),
                why: "it must be an absolute path",
            });
        }
    }
    Ok(())
}

/// What it sees of the host's files, and over them.
fn check_files(request: &ContainerCreate) -> Result<(), PlanContainer> {
    for bind in &request.binds {
        Bind::parse(bind)?;
    }
    let contradiction = |what, other| Err(PlanContainer::Contradiction { what, other });
    match (request.private_root, request.copies.first()) {
        (true, _) if request.rootfs.is_some() => contradiction("private_root", "rootfs"),
        (true, _) if request.private_users => contradiction("private_root", "private_users"),
        (false, Some(copied)) => Err(PlanContainer::Copied {
            path: copied.clone(),
            why: "copies need private_root",
        }),
        _ => match request.copies.iter().find(|copied| !copied.is_absolute()) {
            Some(copied) => Err(PlanContainer::Copied {
                path: copied.clone(),
                why: "it must be an absolute path",
            }),
            None => Ok(()),
        },
    }
}

/// Of what costs something for each, far more than anybody has a use for.
fn check_bounds(request: &ContainerCreate) -> Result<(), PlanContainer> {
    let picked = request
        .publish
        .iter()
        .filter(|mapping| mapping.host_port == 0);
    let bounds = [
        ("networks", request.networks.len() + 1, 64),
        ("host ports to pick", picked.count(), 1024),
        (
            "host ports out of a range",
            request.publish_one_of.len(),
            64,
        ),
        ("lines of hosts", request.extra_hosts.len(), 1024),
        ("kernel settings", request.sysctls.len(), 256),
        ("copies", request.copies.len(), 16),
        ("binds", request.binds.len(), 128),
    ];
    match bounds.into_iter().find(|(_, given, most)| given > most) {
        Some((what, given, most)) => Err(PlanContainer::TooMany { what, given, most }),
        None => Ok(()),
    }
}

/// What goes into `resolv.conf` as it is.
fn check_names(request: &ContainerCreate) -> Result<(), PlanContainer> {
    if let Some(domain) = request
        .dns_search
        .iter()
        .find(|domain| !is_search_domain(domain))
    {
        return Err(PlanContainer::SearchDomain(domain.clone()));
    }
    match request.dns_options.iter().find(|option| !is_option(option)) {
        Some(option) => Err(PlanContainer::DnsOption(option.clone())),
        None => Ok(()),
    }
}

/// Those that it is to be on, each once.
fn find_networks<'r>(
    request: &ContainerCreate,
    networks: impl Fn(&str) -> Result<&'r NetworkRecord, Find>,
) -> Result<Vec<&'r NetworkRecord>, PlanContainer> {
    let mut on = Vec::<&NetworkRecord>::new();
    for called in networks_called(request) {
        let network = networks(called)?;
        if on.iter().any(|other| other.id == network.id) {
            return Err(PlanContainer::NetworkTwice(network.name.clone()));
        }
        on.push(network);
    }
    Ok(on)
}

/// What leads to the host or comes from outside needs a network that is not internal.
fn check_ways_out(request: &ContainerCreate, on: &[&NetworkRecord]) -> Result<(), PlanContainer> {
    let has_way = on.iter().any(|network| network.has_host_port());
    let publishes = !request.publish.is_empty() || !request.publish_one_of.is_empty();
    if let Some(first) = on.first()
        && publishes
        && !has_way
    {
        return Err(PlanContainer::PublishOnInternal(first.name.clone()));
    }
    for asked in &request.extra_hosts {
        let is_reached = has_way || request.network == NetworkMode::Host;
        if ExtraHost::parse(asked)?.is_of_the_host() && !is_reached {
            return Err(PlanContainer::NoHostGateway);
        }
    }
    let is_no_range = |(first, last): &(u16, u16)| *first == 0 || first > last;
    let mut ranges = request
        .publish_one_of
        .iter()
        .map(|choice| (choice.first, choice.last));
    match ranges.find(is_no_range) {
        Some((first, last)) => Err(PlanContainer::PortRange { first, last }),
        None => Ok(()),
    }
}

/// Options of the endpoint need an endpoint.
fn check_mode(request: &ContainerCreate) -> Result<(), PlanContainer> {
    let mode = match &request.network {
        NetworkMode::Default | NetworkMode::Network(_) => return Ok(()),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Container(name) => format!("container:{name}"),
    };
    if !request.networks.is_empty() {
        return Err(PlanContainer::ModeAmongNetworks(mode));
    }
    let shares = matches!(request.network, NetworkMode::Container(_));
    let has_own = request.network == NetworkMode::None;
    let settings = &request.endpoint;
    let asked = [
        ("ip", settings.ip.is_some()),
        ("ip6", settings.ip6.is_some()),
        ("mac-address", settings.mac.is_some()),
        ("network-alias", !settings.aliases.is_empty()),
        ("publish", !request.publish.is_empty()),
        ("publish", !request.publish_one_of.is_empty()),
        ("add-host", shares && !request.extra_hosts.is_empty()),
        ("sysctl", !has_own && !request.sysctls.is_empty()),
        (
            "dns with an encrypted server",
            request.dns.iter().any(|server| server.plain().is_none()),
        ),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((option, _)) => Err(PlanContainer::NotWithMode { option, mode }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use agent_api::{ErrorKind, NetworkAttachment};

    use super::*;
    use crate::sample;

    fn request(network: NetworkMode) -> ContainerCreate {
        ContainerCreate {
            command: vec!["true".into()],
            network,
            ..ContainerCreate::default()
        }
    }

    /// On a host with a container `taken` and an internal network `inner`.
    fn planned(request: ContainerCreate) -> Result<ContainerRecord, PlanContainer> {
        let mut inner = sample::network("inner", &["10.1.0.0/24"]);
        inner.internal = true;
        let bridge = sample::network("bridge", &["10.2.0.0/24"]);
        let network = |called: &str| match called {
            "inner" => Ok(&inner),
            "bridge" => Ok(&bridge),
            _ => Err(Find::NoNetwork(called.to_owned())),
        };
        let container = |called: &str| match called {
            "taken" => Ok(()),
            _ => Err(Find::NoContainer(called.to_owned())),
        };
        let fresh = Fresh {
            id: "0123456789abcdef".repeat(4),
            now_s: 7,
        };
        plan(request, |name| name == "taken", network, container, fresh)
    }

    fn refused(change: impl FnOnce(&mut ContainerCreate)) -> PlanContainer {
        let mut request = request(NetworkMode::Host);
        change(&mut request);
        planned(request).unwrap_err()
    }

    #[test]
    fn a_container_without_a_name_gets_one_and_its_id_as_hostname() {
        let record = planned(request(NetworkMode::Default)).unwrap();
        assert_eq!(record.hostname, "0123456789ab");
        assert!(check_container_name(&record.name).is_ok());
        assert_eq!((record.created_s, record.since_s), (7, 7));
        assert_eq!(record.phase, Phase::Created);
    }

    #[test]
    fn what_is_called_by_name_is_looked_up() {
        let network = |called: &str| planned(request(NetworkMode::Network(called.into())));
        assert!(network("inner").is_ok());
        assert!(matches!(
            network("n"),
            Err(PlanContainer::Find(Find::NoNetwork(_)))
        ));
        let joined = |called: &str| planned(request(NetworkMode::Container(called.into())));
        assert!(joined("taken").is_ok());
        let missing = joined("gone").unwrap_err();
        assert_eq!(agent_api::ApiError::from(missing).kind, ErrorKind::NotFound);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let taken = refused(|request| request.name = Some("taken".into()));
        assert!(matches!(taken, PlanContainer::NameTaken(_)));
        assert_eq!(agent_api::ApiError::from(taken).kind, ErrorKind::Conflict);
        let name = refused(|request| request.name = Some("a b".into()));
        assert!(name.to_string().starts_with("container name: "), "{name}");
        let hostname = refused(|request| request.hostname = Some("a b".into()));
        assert!(hostname.to_string().starts_with("hostname: "), "{hostname}");
        let none = refused(|request| request.command.clear());
        assert!(matches!(none, PlanContainer::NoCommand));
        for entry in ["A", "=1"] {
            let env = refused(|request| request.env = vec!["A=1".into(), entry.into()]);
            assert!(matches!(env, PlanContainer::Env(found) if found == entry));
        }
        let rootfs = refused(|request| request.rootfs = Some("images/web".into()));
        assert!(rootfs.to_string().contains("absolute"), "{rootfs}");
        let search = refused(|request| request.dns_search = vec!["a b".into()]);
        assert!(matches!(search, PlanContainer::SearchDomain(_)));
        let option = refused(|request| request.dns_options = vec!["ndots:x".into()]);
        assert!(matches!(option, PlanContainer::DnsOption(_)));
    }

    #[test]
    fn files_of_its_own_are_the_hosts_and_not_of_a_root_directory() {
        let own = |change: fn(&mut ContainerCreate)| {
            refused(|request| {
                request.private_root = true;
                change(request);
            })
        };
        let rootfs = own(|request| request.rootfs = Some("/srv".into()));
        assert!(matches!(rootfs, PlanContainer::Contradiction { .. }));
        let users = own(|request| request.private_users = true);
        assert!(matches!(users, PlanContainer::Contradiction { .. }));
        let relative = own(|request| request.copies = vec!["srv".into()]);
        assert!(matches!(relative, PlanContainer::Copied { .. }));
        let alone = refused(|request| request.copies = vec!["/srv".into()]);
        assert!(matches!(alone, PlanContainer::Copied { .. }));
        let bind = refused(|request| request.binds = vec!["/srv".into()]);
        assert!(matches!(bind, PlanContainer::Bind(_)));
    }

    #[test]
    fn options_of_an_endpoint_need_a_network() {
        let address = refused(|request| request.endpoint.ip = Some([10, 1, 0, 9].into()));
        assert!(address.to_string().contains("--ip needs"), "{address}");
        let mac = refused(|request| {
            request.network = NetworkMode::Container("taken".into());
            request.endpoint.mac = Some("02:00:00:00:00:01".into());
        });
        assert!(mac.to_string().contains("container:taken"), "{mac}");
    }

    fn attachment(network: &str) -> NetworkAttachment {
        NetworkAttachment {
            network: network.to_owned(),
            ..NetworkAttachment::default()
        }
    }

    #[test]
    fn further_networks_are_connected_from_the_start_each_once() {
        let on = |further: &[&str]| {
            let mut request = request(NetworkMode::Default);
            request.networks = further.iter().map(|name| attachment(name)).collect();
            planned(request)
        };
        let connected = on(&["inner"]).unwrap().connected;
        assert_eq!(
            connected,
            [("inner".to_owned(), EndpointSettings::default())]
        );
        for twice in [&["bridge"][..], &["inner", "inner"]] {
            let refused = on(twice).unwrap_err();
            assert!(
                matches!(refused, PlanContainer::NetworkTwice(_)),
                "{refused}"
            );
        }
        assert!(matches!(on(&["n"]), Err(PlanContainer::Find(_))));
        let many = on(&["inner"; 64]).unwrap_err().to_string();
        assert!(many.starts_with("65 networks are too many"), "{many}");
        let beside_host = refused(|request| request.networks = vec![attachment("inner")]);
        assert!(matches!(beside_host, PlanContainer::ModeAmongNetworks(_)));
    }

    #[test]
    fn what_docker_would_not_do_is_refused() {
        let both = refused(|request| {
            request.remove = true;
            request.restart = RestartPolicy::Always;
        });
        assert!(matches!(both, PlanContainer::RemoveAndRestart));
        let of_the_host = refused(|request| {
            request.sysctls = [("net.ipv4.ip_forward".into(), "1".into())].into();
        });
        assert!(
            of_the_host.to_string().contains("--sysctl needs"),
            "{of_the_host}"
        );
        let kernels = refused(|request| {
            request.network = NetworkMode::None;
            request.sysctls = [("kernel.shmmax".into(), "1".into())].into();
        });
        assert!(matches!(kernels, PlanContainer::Sysctl(_)));
        let gateway = |network: NetworkMode| {
            let mut request = request(network);
            request.extra_hosts = vec!["up:host-gateway".into()];
            planned(request)
        };
        assert!(gateway(NetworkMode::Default).is_ok() && gateway(NetworkMode::Host).is_ok());
        for without in [NetworkMode::None, NetworkMode::Network("inner".into())] {
            let refused = gateway(without).unwrap_err();
            assert!(matches!(refused, PlanContainer::NoHostGateway), "{refused}");
        }
    }

    #[test]
    fn nothing_is_published_on_an_internal_network() {
        let mapping = agent_api::PortMapping {
            host_ip: None,
            host_port: 8080,
            container_port: 80,
            protocol: agent_api::TransportProtocol::Tcp,
        };
        let refused = refused(|request| {
            request.network = NetworkMode::Network("inner".into());
            request.publish = vec![mapping];
        });
        assert!(matches!(refused, PlanContainer::PublishOnInternal(_)));
    }

    #[test]
    fn what_costs_something_for_each_has_a_bound() {
        let open = agent_api::PortMapping {
            host_ip: None,
            host_port: 0,
            container_port: 80,
            protocol: agent_api::TransportProtocol::Tcp,
        };
        let picking = |count: usize| {
            let mut request = request(NetworkMode::Default);
            request.publish = vec![open.clone(); count];
            planned(request)
        };
        assert!(picking(1024).is_ok());
        let refused = picking(1025).unwrap_err().to_string();
        assert!(refused.contains("host ports to pick"), "{refused}");
    }
}
