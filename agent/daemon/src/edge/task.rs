//! The task that runs a network's edge: frames from the bridge in, answers out.
//!
//! # Theory of operation
//!
//! One task owns the [`Edge`], the [`Zone`] and the choice of upstream of one network. Tasks of other networks may read the
//! zone, for clients that are on both. Commands from the agent go before
//! frames: whatever a command says holds for every frame that a container sends after the call that queued it returned.
//! Names of the network and what an upstream said before are answered at once; anything else waits for the upstream
//! among the [`Forwards`]. The edge keeps a query open for as long as that may take.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, UNIX_EPOCH};

use agent_api::{DnsProtocol, DnsServer, Forwarder, ForwarderError, QueryOutcome};
use dns_core::{Answer, InsertNames, Policy, Request, Transport, Zone, answer, answer_among};
use dns_io::{Protocol, ServerAddress, Upstream};
use switch_core::edge::{Edge, EdgeEvent, QueryId, Transport as EdgeTransport};
use switch_core::{Mac, Time};
use switch_io::ChannelEnd;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::forwards::Forwards;
use super::query_log::{Noted, QueryLog};
use super::{Command, EdgeHost, EdgeSettings, SharedZone};

pub(super) struct EdgeTask {
    edge: Edge,
    zone: SharedZone,
    /// The zones of other networks that an endpoint's container is on, by the endpoint's address.
    others: HashMap<IpAddr, Vec<SharedZone>>,
    policy: Policy,
    upstream: Arc<Upstream>,
    hosts: HashMap<String, Registered>,
    /// Upstreams of the endpoints that have their own, by address.
    own_upstreams: HashMap<IpAddr, Arc<Upstream>>,
    blocks_private: bool,
    forwards: Forwards,
    counters: Counters,
    log: QueryLog,
    start: Instant,
}

struct Registered {
    name: String,
    /// That a DHCP lease is for.
    mac: Option<Mac>,
    addresses: Vec<IpAddr>,
}

/// A query on its way to its reply.
pub(super) struct Asked {
    query: QueryId,
    pub(super) source: IpAddr,
    pub(super) transport: Transport,
    noted: Option<Noted>,
}

#[derive(Debug, Default)]
struct Counters {
    local: u64,
    cached: u64,
    forwarded: u64,
    refused: u64,
    ignored: u64,
    failed: u64,
    crowded_out: u64,
}

impl EdgeTask {
    pub(super) fn new(settings: EdgeSettings, zone: SharedZone) -> Self {
        let upstream = match settings.dns.as_slice() {
            [] => Upstream::from_resolv_conf(settings.resolv_conf),
            servers => Upstream::new(&addresses(servers)),
        };
        Self {
            edge: Edge::new(settings.edge),
            zone,
            others: HashMap::new(),
            policy: settings.policy,
            upstream: Arc::new(upstream.blocking_private(settings.blocks_private)),
            hosts: HashMap::new(),
            own_upstreams: HashMap::new(),
            blocks_private: settings.blocks_private,
            forwards: Forwards::default(),
            counters: Counters::default(),
            log: QueryLog::default(),
            start: Instant::now(),
        }
    }

    pub(super) async fn run(
        mut self,
        end: ChannelEnd,
        readable: AsyncFd<OwnedFd>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some((asked, reply)) = self.forwards.next() => self.finish(asked, &reply),
                ready = readable.readable() => match ready {
                    Ok(mut ready) => if !self.take_frames(&end) {
                        ready.clear_ready();
                    },
                    Err(error) => {
                        warn!(%error, "an edge lost its port");
                        return;
                    }
                },
                () = sleep_until(self.edge.poll_timeout(), self.start) => {
                    let now = self.now();
                    self.edge.handle_timeout(now);
                }
            }
            self.answer_events();
            while let Some(frame) = self.edge.poll_transmit() {
                // A full queue towards the bridge drops the frame and counts it there.
                end.send(&frame);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Insert { key, host, done } => {
                let result = self.insert(key, *host);
                // Nobody waits when the agent gave up on the request.
                let _ = done.send(result);
            }
            Command::Remove { key } => self.remove(&key),
            Command::Announce { mac, address } => self.edge.announce(mac, address),
            Command::SetPrivate(private) => write(&self.zone).set_private(private),
            Command::SetOthers { key, zones } => self.set_others(&key, &zones),
            Command::Report(done) => self.report(done),
            Command::Log(reader) => self.log.add(reader),
        }
    }

    fn insert(&mut self, key: String, host: EdgeHost) -> Result<(), InsertNames> {
        let own: Vec<IpAddr> = [host.names.v4.map(IpAddr::V4), host.names.v6.map(IpAddr::V6)]
            .into_iter()
            .flatten()
            .collect();
        let name = host.names.name.clone();
        write(&self.zone).insert(&key, host.names)?;
        let mac = host.dhcp.is_some().then_some(host.mac);
        if let Some(dhcp) = host.dhcp {
            self.edge.insert_host(host.mac, dhcp);
        }
        if !host.dns.is_empty() {
            let upstream = Upstream::new(&addresses(&host.dns));
            let upstream = Arc::new(upstream.blocking_private(self.blocks_private));
            let entries = own.iter().map(|address| (*address, Arc::clone(&upstream)));
            self.own_upstreams.extend(entries);
        }
        let registered = Registered {
            name,
            mac,
            addresses: own,
        };
        self.hosts.insert(key, registered);
        Ok(())
    }

    fn remove(&mut self, key: &str) {
        write(&self.zone).remove(key);
        if let Some(host) = self.hosts.remove(key) {
            if let Some(mac) = host.mac {
                self.edge.remove_host(mac);
            }
            for address in host.addresses {
                self.own_upstreams.remove(&address);
                self.others.remove(&address);
            }
        }
    }

    fn set_others(&mut self, key: &str, zones: &[SharedZone]) {
        let Some(host) = self.hosts.get(key) else {
            return;
        };
        for address in &host.addresses {
            if zones.is_empty() {
                self.others.remove(address);
            } else {
                self.others.insert(*address, zones.to_vec());
            }
        }
    }

    /// Hands waiting frames to the edge, a bounded number at a time; says whether more may wait.
    fn take_frames(&mut self, end: &ChannelEnd) -> bool {
        let now = self.now();
        for _ in 0..FRAMES_BATCH {
            let Ok(received) = end.try_recv() else {
                return false;
            };
            self.edge.handle_input(now, received.frame());
        }
        true
    }

    fn answer_events(&mut self) {
        while let Some(event) = self.edge.poll_event() {
            let EdgeEvent::Dns {
                query,
                source,
                transport,
                message,
            } = event;
            let asked = Asked {
                query,
                source,
                transport: match transport {
                    EdgeTransport::Udp => Transport::Udp,
                    EdgeTransport::Tcp => Transport::Tcp,
                },
                noted: self.log.note(&message),
            };
            match self.decide(&asked, &message) {
                Answer::Reply(reply) => self.reply(asked, QueryOutcome::Local, &reply),
                Answer::Refuse(reply) => self.reply(asked, QueryOutcome::Refused, &reply),
                Answer::Forward(request) => self.forward(asked, *request),
                Answer::Ignore => self.reply(asked, QueryOutcome::Ignored, &[]),
            }
        }
    }

    fn decide(&self, asked: &Asked, message: &[u8]) -> Answer {
        let zone = read(&self.zone);
        let Some(others) = self.others.get(&asked.source) else {
            return answer(&zone, message, asked.transport, self.policy);
        };
        let others: Vec<_> = others.iter().map(read).collect();
        let others: Vec<&Zone> = others.iter().map(|zone| &**zone).collect();
        answer_among(&zone, &others, message, asked.transport, self.policy)
    }

    fn forward(&mut self, asked: Asked, request: Request) {
        let upstream = self.own_upstreams.get(&asked.source);
        let upstream = upstream.unwrap_or(&self.upstream);
        if let Some(reply) = upstream.recall(&request, asked.transport) {
            self.reply(asked, QueryOutcome::Cached, &reply);
        } else if self.forwards.has_room(asked.source) {
            self.forwards.start(asked, Arc::clone(upstream), request);
        } else {
            self.counters.crowded_out += 1;
            let busy = request.failure(asked.transport);
            self.reply(asked, QueryOutcome::Refused, &busy);
        }
    }

    fn finish(&mut self, asked: Asked, reply: &[u8]) {
        let has_failed = reply.get(3).is_none_or(|flags| flags & 0x0f == SERVFAIL);
        self.counters.failed += u64::from(has_failed);
        self.reply(asked, QueryOutcome::Forwarded, reply);
    }

    /// Sends the reply, counts it, and tells those who read the log. An empty one says that there will be none.
    fn reply(&mut self, asked: Asked, outcome: QueryOutcome, reply: &[u8]) {
        let counters = &mut self.counters;
        *match outcome {
            QueryOutcome::Local => &mut counters.local,
            QueryOutcome::Cached => &mut counters.cached,
            QueryOutcome::Forwarded => &mut counters.forwarded,
            QueryOutcome::Refused => &mut counters.refused,
            QueryOutcome::Ignored => &mut counters.ignored,
        } += 1;
        self.edge.answer(asked.query, reply);
        if let Some(noted) = asked.noted {
            let mut hosts = self.hosts.values();
            let endpoint = hosts
                .find(|host| host.addresses.contains(&asked.source))
                .map(|host| host.name.clone());
            let entry = noted.into_entry(asked.source, endpoint, asked.transport, outcome, reply);
            self.log.write(&entry);
        }
    }

    /// Counts now; the servers may have to be read first, which nothing else waits for.
    fn report(&self, done: oneshot::Sender<Forwarder>) {
        let edge = self.edge.counters();
        let own = self.own_upstreams.values();
        let mut seen = HashSet::new();
        // An endpoint with two addresses has its upstream twice.
        let upstreams: Vec<_> = std::iter::once(&self.upstream)
            .chain(own)
            .filter(|upstream| seen.insert(Arc::as_ptr(upstream)))
            .collect();
        let errors = upstreams.iter().flat_map(|upstream| upstream.failures());
        let counters = &self.counters;
        let mut report = Forwarder {
            servers: Vec::new(),
            queries: edge.queries + edge.queries_refused,
            local: counters.local,
            cached: counters.cached,
            forwarded: counters.forwarded,
            refused: counters.refused,
            ignored: counters.ignored,
            failed: counters.failed,
            crowded_out: counters.crowded_out + edge.queries_refused,
            blocked: upstreams
                .iter()
                .map(|upstream| upstream.counters().blocked)
                .sum(),
            connections_reset: edge.connections_reset,
            errors: errors.map(error_view).collect(),
        };
        report.errors.sort_by_key(|error| error.at_s);
        let upstream = (self.policy == Policy::Forward).then(|| Arc::clone(&self.upstream));
        tokio::spawn(async move {
            if let Some(upstream) = upstream {
                let servers = upstream.servers().await;
                report.servers = servers.iter().map(ServerAddress::to_string).collect();
            }
            // Nobody waits when the agent gave up on the request.
            let _ = done.send(report);
        });
    }

    fn now(&self) -> Time {
        Time::from_millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
impl Asked {
    pub(super) fn new(source: IpAddr) -> Self {
        Self {
            query: QueryId::default(),
            source,
            transport: Transport::Udp,
            noted: None,
        }
    }
}

/// Nothing that panics runs under these locks, so a poisoned one is as good as any.
fn read(zone: &SharedZone) -> RwLockReadGuard<'_, Zone> {
    zone.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(zone: &SharedZone) -> RwLockWriteGuard<'_, Zone> {
    zone.write().unwrap_or_else(PoisonError::into_inner)
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

fn error_view(failure: dns_io::Failure) -> ForwarderError {
    ForwarderError {
        at_s: failure
            .at
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        server: failure.server,
        error: failure.error,
        times: failure.times,
    }
}

async fn sleep_until(due: Option<Time>, start: Instant) {
    match due {
        Some(due) => {
            tokio::time::sleep_until((start + Duration::from_millis(due.as_millis())).into()).await
        }
        None => std::future::pending().await,
    }
}

/// Frames taken before answers are sent and commands looked at again.
const FRAMES_BATCH: usize = 64;
/// RFC 1035 §4.1.1.
const SERVFAIL: u8 = 2;
