//! What an edge knows of names: who has which, and who is asked for the rest.
//!
//! # Theory of operation
//!
//! Shared by the agent, which changes it, and by those who answer: the edge's task and its port. Whatever the agent
//! says holds for every question after its call returned, whoever answers it.
//!
//! Locks are held for one decision or one change. A decision reads the views, then zones; a change writes one of
//! them and holds nothing else.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use agent_api::{DnsProtocol, DnsServer, QueryOutcome};
use dns_core::{
    Answer, EndpointNames, InsertNames, Policy, PrivateNames, Request, Transport, Zone, ZoneConfig,
    absent, answer, answer_among,
};
use dns_io::{Protocol, ServerAddress, Upstream};
use tokio::runtime::Handle;

use super::{Others, SharedZone};

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
    hosts: HashMap<String, Host>,
    /// What else an endpoint's container is on, by the endpoint's address.
    others: HashMap<IpAddr, Arc<Others>>,
    /// Upstreams of the endpoints that have their own, by address.
    own_upstreams: HashMap<IpAddr, Arc<Upstream>>,
    /// Zones of networks that are called like public domains.
    hidden: Vec<SharedZone>,
}

struct Host {
    name: String,
    addresses: Vec<IpAddr>,
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
        names: EndpointNames,
        dns: &[DnsServer],
    ) -> Result<(), InsertNames> {
        let host = Host {
            name: names.name.clone(),
            addresses: [names.v4.map(IpAddr::V4), names.v6.map(IpAddr::V6)]
                .into_iter()
                .flatten()
                .collect(),
        };
        // Before any lock: it may read certificates.
        let upstream = self.own_upstream(dns);
        write(&self.zone).insert(key, names)?;
        let mut views = write(&self.views);
        if let Some(upstream) = upstream {
            let entries = host.addresses.iter();
            let entries = entries.map(|address| (*address, Arc::clone(&upstream)));
            views.own_upstreams.extend(entries);
        }
        views.hosts.insert(key.to_owned(), host);
        Ok(())
    }

    fn own_upstream(&self, dns: &[DnsServer]) -> Option<Arc<Upstream>> {
        let _inside = self.runtime.enter();
        let upstream = (!dns.is_empty()).then(|| Upstream::new(&addresses(dns)))?;
        Some(Arc::new(upstream.blocking_private(self.blocks_private)))
    }

    pub(super) fn remove(&self, key: &str) {
        write(&self.zone).remove(key);
        let mut views = write(&self.views);
        let host = views.hosts.remove(key);
        for address in host.into_iter().flat_map(|host| host.addresses) {
            views.own_upstreams.remove(&address);
            views.others.remove(&address);
        }
    }

    pub(super) fn set_private(&self, private: Arc<PrivateNames>, hidden: Vec<SharedZone>) {
        write(&self.zone).set_private(private);
        write(&self.views).hidden = hidden;
    }

    pub(super) fn set_others(&self, key: &str, others: Others) {
        let mut views = write(&self.views);
        let Views {
            hosts, others: all, ..
        } = &mut *views;
        let others = Arc::new(others);
        for address in hosts.get(key).into_iter().flat_map(|host| &host.addresses) {
            if others.zones.is_empty() {
                all.remove(address);
            } else {
                all.insert(*address, Arc::clone(&others));
            }
        }
    }

    /// Decides about `message`, of `source`.
    pub(super) fn decide(&self, source: IpAddr, transport: Transport, message: &[u8]) -> Decision {
        let views = read(&self.views);
        let request = match self.answer(&views, source, transport, message) {
            Answer::Reply(reply) => return Decision::Answer(QueryOutcome::Local, reply),
            Answer::Refuse(reply) => return Decision::Answer(QueryOutcome::Refused, reply),
            Answer::Ignore => return Decision::Answer(QueryOutcome::Ignored, Vec::new()),
            Answer::Forward(request) => request,
        };
        if views.hides(&request) {
            return Decision::Answer(QueryOutcome::Local, absent(&request, transport));
        }
        let upstream = self.upstream_for(&views, source);
        match upstream.recall(&request, transport) {
            Some(reply) => Decision::Answer(QueryOutcome::Cached, reply),
            None => Decision::Ask(Arc::clone(upstream), request),
        }
    }

    /// Who has an address.
    pub(super) fn name_of(&self, source: IpAddr) -> Option<String> {
        let views = read(&self.views);
        let mut hosts = views.hosts.values();
        let host = hosts.find(|host| host.addresses.contains(&source))?;
        Some(host.name.clone())
    }

    /// The network's upstream and those of its endpoints.
    pub(super) fn upstreams(&self) -> Vec<Arc<Upstream>> {
        let mut seen = HashSet::new();
        // An endpoint with two addresses has its upstream twice.
        std::iter::once(&self.upstream)
            .chain(read(&self.views).own_upstreams.values())
            .filter(|upstream| seen.insert(Arc::as_ptr(upstream)))
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

    fn answer(
        &self,
        views: &Views,
        source: IpAddr,
        transport: Transport,
        message: &[u8],
    ) -> Answer {
        let zone = read(&self.zone);
        let Some(others) = views.others.get(&source) else {
            return answer(&zone, message, transport, self.policy);
        };
        let policy = match others.way_out {
            Some(_) => Policy::Forward,
            None => self.policy,
        };
        let others: Vec<_> = others.zones.iter().map(|zone| read(zone)).collect();
        let others: Vec<&Zone> = others.iter().map(|zone| &**zone).collect();
        answer_among(&zone, &others, message, transport, policy)
    }

    /// The client's own servers, then the network's; an internal network has none, so another's.
    fn upstream_for<'v>(&'v self, views: &'v Views, source: IpAddr) -> &'v Arc<Upstream> {
        let way_out = views
            .others
            .get(&source)
            .filter(|_| self.policy == Policy::Internal)
            .and_then(|others| others.way_out.as_ref());
        let own = views.own_upstreams.get(&source);
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
