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
//! Locks are held for one decision or one change. A decision reads the views, then zones; a change writes one of
//! them and holds nothing else.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use agent_api::{DnsProtocol, DnsServer, QueryOutcome};
use dns_core::{
    Answer, Carrier, EndpointNames, InsertNames, Policy, PrivateNames, Request, Zone, ZoneConfig,
    absent, answer, answer_among,
};
use dns_io::{Protocol, ServerAddress, Upstream};
use switch_core::PortId;
use tokio::runtime::Handle;

use super::{Beside, SharedZone};

/// What an edge needs to know of its network's names.
pub(crate) struct NamesSettings {
    pub(crate) zone: ZoneConfig,
    pub(crate) policy: Policy,
    /// The network's own name servers; the host's where empty.
    pub(crate) dns: Vec<DnsServer>,
    pub(crate) resolv_conf: PathBuf,
    /// Whether answers of servers may not point into private networks.
    pub(crate) blocks_private: bool,
}

pub(super) struct Names {
    zone: SharedZone,
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
    /// Zones of networks that are called like public domains.
    hidden: Vec<SharedZone>,
}

/// An endpoint of this host.
struct Client {
    name: String,
    /// What else its container is on.
    beside: Beside,
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
        Self {
            zone: Arc::new(RwLock::new(Zone::new(settings.zone))),
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
            beside: Beside::default(),
            // Before any lock: it may read certificates.
            own_upstream: self.own_upstream(dns),
        };
        write(&self.zone).insert(key, names)?;
        let mut views = write(&self.views);
        if let Some(before) = views.remove(key) {
            client.beside = before.beside;
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

    pub(super) fn set_private(&self, private: Arc<PrivateNames>, hidden: Vec<SharedZone>) {
        write(&self.zone).set_private(private);
        write(&self.views).hidden = hidden;
    }

    pub(super) fn set_beside(&self, key: &str, beside: Beside) {
        let mut views = write(&self.views);
        let Views { clients, ports, .. } = &mut *views;
        let port = ports.get(key);
        if let Some(client) = port.and_then(|port| clients.get_mut(port)) {
            client.beside = beside;
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
        if views.hides(&request) {
            return Decision::Answer(QueryOutcome::Local, absent(&request, carrier));
        }
        let upstream = self.upstream_for(client);
        match upstream.recall(&request, carrier) {
            Some(reply) => Decision::Answer(QueryOutcome::Cached, reply),
            None => Decision::Ask(Arc::clone(upstream), request),
        }
    }

    /// What the port's owner would be told of a name of its networks; this one's goes first.
    pub(super) fn peek(&self, ingress: PortId, name: &str) -> Vec<IpAddr> {
        let views = read(&self.views);
        let beside = views.clients.get(&ingress).map(|client| &client.beside);
        let others = beside.into_iter().flat_map(|beside| beside.zones.iter());
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
        let zone = read(&self.zone);
        let beside = client.map(|client| &client.beside);
        let zones = beside.into_iter().flat_map(|beside| beside.zones.iter());
        let others = zones.filter(|other| !Arc::ptr_eq(other, &self.zone));
        let others: Vec<_> = others.map(|zone| read(zone)).collect();
        if others.is_empty() {
            return answer(&zone, message, carrier, self.policy);
        }
        let policy = match beside.and_then(|beside| beside.way_out.as_ref()) {
            Some(_) => Policy::Forward,
            None => self.policy,
        };
        let others: Vec<&Zone> = others.iter().map(|zone| &**zone).collect();
        answer_among(&zone, &others, message, carrier, policy)
    }

    /// The client's own servers, then the network's; an internal network has none, so another's.
    fn upstream_for<'v>(&'v self, client: Option<&'v Client>) -> &'v Arc<Upstream> {
        let way_out = client
            .filter(|_| self.policy == Policy::Internal)
            .and_then(|client| client.beside.way_out.as_ref());
        let own = client.and_then(|client| client.own_upstream.as_ref());
        own.or(way_out).unwrap_or(&self.upstream)
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

    /// Whether the name is one of another network's endpoint, although the domain is a public one.
    fn hides(&self, request: &Request) -> bool {
        let mut hidden = self.hidden.iter();
        hidden.any(|zone| read(zone).holds_qualified(&request.question().name))
    }
}

/// Nothing that panics runs under these locks, so a poisoned one is as good as any.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
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
