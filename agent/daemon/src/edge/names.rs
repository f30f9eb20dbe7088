//! What an edge knows of names: who has which, and who is asked for the rest.
//!
//! # Theory of operation
//!
//! Shared by the agent, which changes it, and by those who answer: the edge's task and its port. Whatever the agent
//! says holds for every question after its call returned, whoever answers it.
//!
//! Who asks is the port that a question came by: a frame's addresses are anybody's word, but nobody sends by another's
//! port. A port without an endpoint here is nobody's, and knows what anybody on the network knows.
//!
//! Locks are held for one decision or one change. A decision reads the views, then a sandbox's company, then zones, several in the
//! order of their addresses: a lock that somebody waits to write lets no more readers in, so two decisions must not each hold
//! what the other comes to next. A change writes one of them and holds nothing else.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use agent_api::{DnsProtocol, DnsServer, QueryOutcome};
use dns_core::{
    Answer, Carrier, EndpointNames, InsertNames, Policy, Request, Zone, ZoneConfig, absent, answer,
    answer_among,
};
use dns_io::{Protocol, ServerAddress, Upstream};
use switch_core::PortId;
use tokio::runtime::Handle;

use super::{Company, HostNames, SharedZone, read, write};

/// What an edge needs to know of its network's names.
pub(crate) struct NamesSettings {
    pub(crate) zone: ZoneConfig,
    pub(crate) policy: Policy,
    /// The network's own name servers; the host's where empty.
    pub(crate) dns: Vec<DnsServer>,
    pub(crate) resolv_conf: PathBuf,
    /// Whether answers of servers may not point into private networks.
    pub(crate) blocks_private: bool,
    /// What this host keeps to itself.
    pub(crate) host: Arc<HostNames>,
}

pub(super) struct Names {
    zone: SharedZone,
    host: Arc<HostNames>,
    policy: Policy,
    upstream: Arc<Upstream>,
    blocks_private: bool,
    views: RwLock<Views>,
    watched: AtomicBool,
    outcomes: [AtomicU64; OUTCOMES],
    /// Where upstreams are at home.
    runtime: Handle,
}

/// What is known of clients.
#[derive(Default)]
struct Views {
    clients: HashMap<PortId, Client>,
    /// The ports of endpoints, by the endpoints' keys.
    ports: HashMap<String, PortId>,
}

/// An endpoint of this host.
struct Client {
    name: String,
    /// What its sandbox is on.
    company: Arc<Company>,
    /// Where it has name servers of its own.
    own_upstream: Option<Arc<Upstream>>,
}

/// What becomes of a question.
pub(super) enum Decision {
    /// Send this back; where it is empty, nothing.
    Answer(QueryOutcome, Vec<u8>),
    /// Ask this upstream.
    Ask(Arc<Upstream>, Box<Request>),
}

impl Names {
    /// Inside a runtime.
    pub(super) fn new(settings: NamesSettings) -> Self {
        let upstream = match settings.dns.as_slice() {
            [] => Upstream::from_resolv_conf(settings.resolv_conf),
            servers => Upstream::new(&addresses(servers)),
        };
        let mut zone = Zone::new(settings.zone);
        zone.set_private(settings.host.private());
        Self {
            zone: Arc::new(RwLock::new(zone)),
            host: settings.host,
            policy: settings.policy,
            upstream: Arc::new(upstream.blocking_private(settings.blocks_private)),
            blocks_private: settings.blocks_private,
            views: RwLock::default(),
            watched: AtomicBool::new(false),
            outcomes: Default::default(),
            runtime: Handle::current(),
        }
    }

    pub(super) fn zone(&self) -> SharedZone {
        Arc::clone(&self.zone)
    }

    pub(super) fn upstream(&self) -> Arc<Upstream> {
        Arc::clone(&self.upstream)
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    /// Takes the names of endpoint `key`, and its own name servers where it has some. On an error nothing has changed.
    pub(super) fn insert(
        &self,
        key: &str,
        port: Option<PortId>,
        names: EndpointNames,
        dns: &[DnsServer],
    ) -> Result<(), InsertNames> {
        let mut client = Client {
            name: names.name.clone(),
            company: Arc::default(),
            // Before any lock: it may read certificates.
            own_upstream: self.own_upstream(dns),
        };
        write(&self.zone).insert(key, names)?;
        let mut views = write(&self.views);
        if let Some(before) = views.remove(key) {
            client.company = before.company;
        }
        if let Some(port) = port {
            views.ports.insert(key.to_owned(), port);
            views.clients.insert(port, client);
        }
        Ok(())
    }

    fn own_upstream(&self, dns: &[DnsServer]) -> Option<Arc<Upstream>> {
        let _inside = self.runtime.enter();
        let upstream = (!dns.is_empty()).then(|| Upstream::new(&addresses(dns)))?;
        Some(Arc::new(upstream.blocking_private(self.blocks_private)))
    }

    pub(super) fn rename(&self, network: &str) {
        write(&self.zone).rename(network);
    }

    pub(super) fn remove(&self, key: &str) {
        write(&self.zone).remove(key);
        write(&self.views).remove(key);
    }

    pub(super) fn accompany(&self, key: &str, company: Arc<Company>) {
        let mut views = write(&self.views);
        let Views { clients, ports, .. } = &mut *views;
        let port = ports.get(key);
        if let Some(client) = port.and_then(|port| clients.get_mut(port)) {
            client.company = company;
        }
    }

    /// Decides about `message`, which came by port `ingress`.
    pub(super) fn decide(&self, ingress: PortId, carrier: Carrier, message: &[u8]) -> Decision {
        let views = read(&self.views);
        let client = views.clients.get(&ingress);
        let request = match self.answer(client, carrier, message) {
            Answer::Reply(reply) => return Decision::Answer(QueryOutcome::Local, reply),
            Answer::Refuse(reply) => return Decision::Answer(QueryOutcome::Refused, reply),
            Answer::Ignore => return Decision::Answer(QueryOutcome::Ignored, Vec::new()),
            Answer::Forward(request) => request,
        };
        if self.host.hides(&self.zone, &request) {
            return Decision::Answer(QueryOutcome::Local, absent(&request, carrier));
        }
        let upstream = self.upstream_for(client);
        match upstream.recall(&request, carrier) {
            Some(reply) => Decision::Answer(QueryOutcome::Cached, reply),
            None => Decision::Ask(upstream, request),
        }
    }

    /// What the port's owner would be told of a name of its networks; this one's goes first.
    pub(super) fn peek(&self, ingress: PortId, name: &str) -> Vec<IpAddr> {
        let views = read(&self.views);
        let client = views.clients.get(&ingress);
        let company = client.map(|client| client.company.members());
        let others = company.iter().flat_map(|members| members.values());
        let others = others.map(|member| &member.zone);
        let mut zones = std::iter::once(&self.zone).chain(others);
        let found = zones.find_map(|zone| {
            let addresses = read(zone).peek(name);
            (!addresses.is_empty()).then_some(addresses)
        });
        found.unwrap_or_default()
    }

    /// Who is behind a port.
    pub(super) fn name_of(&self, port: PortId) -> Option<String> {
        let views = read(&self.views);
        Some(views.clients.get(&port)?.name.clone())
    }

    /// The network's upstream and those of its endpoints.
    pub(super) fn upstreams(&self) -> Vec<Arc<Upstream>> {
        let views = read(&self.views);
        let clients = views.clients.values();
        std::iter::once(&self.upstream)
            .chain(clients.filter_map(|client| client.own_upstream.as_ref()))
            .cloned()
            .collect()
    }

    pub(super) fn count(&self, outcome: QueryOutcome) {
        self.counter(outcome).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counted(&self, outcome: QueryOutcome) -> u64 {
        self.counter(outcome).load(Ordering::Relaxed)
    }

    /// Whether somebody reads the log of queries.
    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    pub(super) fn set_watched(&self, watched: bool) {
        self.watched.store(watched, Ordering::Release);
    }

    fn answer(&self, client: Option<&Client>, carrier: Carrier, message: &[u8]) -> Answer {
        let company = client.map(|client| client.company.members());
        let members = company.iter().flat_map(|members| members.values());
        let others: Vec<_> = members.filter(|member| !member.is_of(&self.zone)).collect();
        if others.is_empty() {
            return answer(&read(&self.zone), message, carrier, self.policy);
        }
        let leads_out = others.iter().any(|member| member.way_out.is_some());
        let policy = match leads_out {
            true => Policy::Forward,
            false => self.policy,
        };
        let zones = others.iter().map(|member| &member.zone);
        let zones: BTreeMap<_, _> = std::iter::once(&self.zone)
            .chain(zones)
            .map(|zone| (Arc::as_ptr(zone), zone))
            .collect();
        let zones = zones.into_iter().map(|(place, zone)| (place, read(zone)));
        let held: BTreeMap<_, _> = zones.collect();
        let zone_of = |zone: &SharedZone| held.get(&Arc::as_ptr(zone)).map(|zone| &**zone);
        let others: Vec<&Zone> = others
            .iter()
            .filter_map(|member| zone_of(&member.zone))
            .collect();
        match zone_of(&self.zone) {
            Some(own) => answer_among(own, &others, message, carrier, policy),
            None => Answer::Ignore,
        }
    }

    /// The client's own servers, then the network's; an internal network has none, so another's.
    fn upstream_for(&self, client: Option<&Client>) -> Arc<Upstream> {
        let own = client.and_then(|client| client.own_upstream.clone());
        let way_out = || {
            let client = client.filter(|_| self.policy == Policy::Internal)?;
            client.company.way_out(&self.zone)
        };
        own.or_else(way_out)
            .unwrap_or_else(|| Arc::clone(&self.upstream))
    }

    fn counter(&self, outcome: QueryOutcome) -> &AtomicU64 {
        let [local, cached, forwarded, refused, ignored] = &self.outcomes;
        match outcome {
            QueryOutcome::Local => local,
            QueryOutcome::Cached => cached,
            QueryOutcome::Forwarded => forwarded,
            QueryOutcome::Refused => refused,
            QueryOutcome::Ignored => ignored,
        }
    }
}

impl Views {
    fn remove(&mut self, key: &str) -> Option<Client> {
        let port = self.ports.remove(key)?;
        self.clients.remove(&port)
    }
}

fn addresses(servers: &[DnsServer]) -> Vec<ServerAddress> {
    let address = |server: &DnsServer| ServerAddress {
        socket: SocketAddr::new(server.address(), server.server_port()),
        protocol: match server.protocol() {
            DnsProtocol::Plain => Protocol::Plain,
            DnsProtocol::Tls => Protocol::Tls,
            DnsProtocol::Https { path } => Protocol::Https { path: path.clone() },
            DnsProtocol::Quic => Protocol::Quic,
        },
        name: server.name().map(str::to_owned),
    };
    servers.iter().map(address).collect()
}

const OUTCOMES: usize = 5;
