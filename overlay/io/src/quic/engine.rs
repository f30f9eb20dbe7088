//! Connections and peers of a QUIC tunnel, driven from whatever thread has something to do.
//!
//! # Theory of operation
//!
//! quinn-proto keeps the connections, [`overlay_core::Peer`] decides when to dial and who is dead, and this is the glue: it
//! feeds datagrams and deadlines to both, and carries out what they ask until they ask for nothing ([`Engine::settle`]).
//! There is no thread and no queue of its own: a worker that writes a port sends on the spot, and the worker that reads the
//! trunk receives. An asynchronous runtime would cost a factor of two.
//!
//! A peer has at most one connection that counts. A later one that proves the same name takes its place; while another run of the
//! peer takes over there are two ([`super::succession`]), and frames come over both.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use foldhash::{HashMap, HashMapExt};
use overlay_core::{Hello, HostId, Timing};
use quinn_proto::{ConnectionHandle, Endpoint, Event, ServerConfig, TransportConfig, VarInt};

use super::connection_ids::ConnectionIds;
use super::events::{Events, Letters};
use super::identity::Tls;
use super::link::{Link, PathOptions, Remote};
use super::passage::Passage;
use super::path::PathWatch;
use super::relays::Relays;
use super::transport::transport;
use crate::clock::{Alarm, Clock};
use crate::intake::Intake;
use crate::socket::TunnelSocket;
use crate::strangers::Strangers;

pub(super) struct Engine {
    pub(super) socket: TunnelSocket,
    pub(super) endpoint: Endpoint,
    pub(super) tls: Tls,
    pub(super) udp_payload_max: u16,
    pub(super) links: HashMap<ConnectionHandle, Link>,
    pub(super) peers: HashMap<HostId, Remote>,
    /// Hosts that the owner wants to be connected, whether or not it is known where they are.
    pub(super) needed: BTreeSet<HostId>,
    /// Those, and the relays to those that are not reached.
    pub(super) wanted: BTreeSet<HostId>,
    pub(super) hello: Hello,
    pub(super) timing: Timing,
    pub(super) seed: u64,
    pub(super) clock: Clock,
    pub(super) alarm: Alarm,
    pub(super) events: Events,
    pub(super) letters: Letters,
    pub(super) counts: QuicCounts,
    pub(super) strangers: Strangers,
    /// Links that something happened to.
    pub(super) touched: Vec<ConnectionHandle>,
    /// Peers whose machine may want something.
    pub(super) changed: Vec<HostId>,
    /// Links with datagrams that found no room in the last read.
    pub(super) backlog: Vec<ConnectionHandle>,
    /// What is being sent.
    pub(super) out: Vec<u8>,
    /// Where datagrams are composed.
    pub(super) arena: BytesMut,
    pub(super) intake: Intake,
    pub(super) ids: ConnectionIds,
    /// The run that is to take the place of this one, and gets what is not this one's.
    pub(super) successor: Option<Passage>,
    /// The run whose place this one is to take, and which reads the socket until then.
    pub(super) predecessor: Option<Passage>,
    /// The passage from that one, when it has ended.
    pub(super) ended: Option<Passage>,
    /// Says nothing to peers yet.
    pub(super) stands_by: bool,
    pub(super) relays: Relays,
}

/// What happened in a tunnel. Every field only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuicCounts {
    /// Connections refused: no certificate of the cluster, a host nobody expects, or not its turn to dial.
    pub refused: u64,
    /// Datagrams that are none of ours.
    pub malformed: u64,
    /// Frames of networks that the peer is no member of here.
    pub not_member: u64,
    /// Frames that came before the hello.
    pub early: u64,
    /// Trains of datagrams that the socket did not take.
    pub unsent: u64,
    /// Frames that cannot be cut to datagrams.
    pub uncut: u64,
    /// Payloads of other hosts that were passed on.
    pub relayed: u64,
    /// Those that were not: this host does not relay, or not to that host.
    pub relay_refused: u64,
    /// More than other hosts may have passed on here.
    pub relay_over_budget: u64,
    /// The connection to the receiver had much to send.
    pub relay_full: u64,
    /// The path to the receiver carries no payload of that length.
    pub relay_too_long: u64,
}

impl QuicCounts {
    /// Every count, by its name.
    pub const fn named(&self) -> [(&'static str, u64); 11] {
        [
            ("refused", self.refused),
            ("malformed", self.malformed),
            ("not_member", self.not_member),
            ("early", self.early),
            ("unsent", self.unsent),
            ("uncut", self.uncut),
            ("relayed", self.relayed),
            ("relay_refused", self.relay_refused),
            ("relay_over_budget", self.relay_over_budget),
            ("relay_full", self.relay_full),
            ("relay_too_long", self.relay_too_long),
        ]
    }
}

/// What an engine is made of.
pub(super) struct EngineParts {
    pub(super) socket: TunnelSocket,
    pub(super) tls: Tls,
    pub(super) udp_payload_max: u16,
    pub(super) endpoint: quinn_proto::EndpointConfig,
    pub(super) hello: Hello,
    pub(super) timing: Timing,
    pub(super) seed: u64,
    pub(super) alarm: Alarm,
    pub(super) events: Events,
    pub(super) ids: ConnectionIds,
    pub(super) predecessor: Option<Passage>,
}

impl Engine {
    pub(super) fn new(parts: EngineParts) -> Self {
        let server = Arc::new(server_config(&parts.tls));
        let endpoint = Endpoint::new(Arc::new(parts.endpoint), Some(server), true, None);
        Self {
            socket: parts.socket,
            endpoint,
            tls: parts.tls,
            udp_payload_max: parts.udp_payload_max,
            links: HashMap::new(),
            peers: HashMap::new(),
            needed: BTreeSet::new(),
            wanted: BTreeSet::new(),
            hello: parts.hello,
            timing: parts.timing,
            seed: parts.seed,
            clock: Clock::new(),
            alarm: parts.alarm,
            events: parts.events,
            letters: Letters::default(),
            counts: QuicCounts::default(),
            strangers: Strangers::new(),
            touched: Vec::new(),
            changed: Vec::new(),
            backlog: Vec::new(),
            out: Vec::new(),
            arena: BytesMut::new(),
            intake: Intake::new(),
            ids: parts.ids,
            successor: None,
            stands_by: parts.predecessor.is_some(),
            predecessor: parts.predecessor,
            ended: None,
            relays: Relays::new(),
        }
    }

    /// Connections from now on use these credentials.
    pub(super) fn renew(&mut self, tls: Tls) {
        let server = server_config(&tls);
        self.endpoint.set_server_config(Some(Arc::new(server)));
        self.tls = tls;
    }

    /// Sends from `socket` from now on; peers learn the new address.
    pub(super) fn rebind(&mut self, now: Instant, socket: TunnelSocket) {
        self.socket = socket;
        for (handle, link) in &mut self.links {
            link.connection.local_address_changed();
            self.touched.push(*handle);
        }
        self.settle(now);
    }

    pub(super) fn close_all(&mut self, now: Instant) {
        let handles: Vec<_> = self.links.keys().copied().collect();
        for handle in handles {
            self.close(now, handle, "the tunnel ends");
        }
        self.peers.clear();
        self.settle(now);
    }

    /// Lets everything that is due happen.
    pub(super) fn handle_timeouts(&mut self, now: Instant) {
        if !self.alarm.is_due(now) {
            return;
        }
        self.alarm.clear();
        let time = self.clock.time(now);
        for (handle, link) in &mut self.links {
            if link.connection.poll_timeout().is_some_and(|due| due <= now) {
                link.connection.handle_timeout(now);
                self.touched.push(*handle);
            }
            if link.watch.is_hole(now) {
                tracing::info!(host = ?link.host, "long packets vanish; the path is measured anew");
                link.watch.forget();
                link.connection.path_changed(now);
            }
            let due = link.reassembler.poll_timeout();
            if due.is_some_and(|due| due <= time) {
                link.reassembler.handle_timeout(time);
                self.backlog.push(*handle);
            }
        }
        for (host, remote) in &mut self.peers {
            if remote.machine.poll_timeout().is_some_and(|due| due <= time) {
                if let Some(link) = remote.link.and_then(|link| self.links.get(&link)) {
                    remote.machine.handle_round_trip(link.connection.rtt());
                }
                remote.machine.handle_timeout(time);
                self.changed.push(host.clone());
            }
            if remote.tries.poll_timeout().is_some_and(|due| due <= time) {
                self.changed.push(host.clone());
            }
        }
        self.settle(now);
        for link in self.links.values_mut() {
            self.alarm.ring_by(link.connection.poll_timeout(), now);
            let due = link.reassembler.poll_timeout();
            self.alarm
                .ring_by(due.map(|due| self.clock.instant(due)), now);
        }
        for remote in self.peers.values() {
            let due = [remote.machine.poll_timeout(), remote.tries.poll_timeout()];
            let due = due.into_iter().flatten().min();
            self.alarm
                .ring_by(due.map(|due| self.clock.instant(due)), now);
        }
    }

    /// Carries out what connections and machines ask for, until they ask for nothing.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            if let Some(host) = self.changed.pop() {
                self.obey(now, &host);
            } else if let Some(handle) = self.touched.pop() {
                self.drive(now, handle);
            } else {
                return;
            }
        }
    }

    /// How the next connection that is accepted is set up.
    pub(super) fn server(&self, transport: Arc<TransportConfig>) -> Arc<ServerConfig> {
        let mut config = server_config(&self.tls);
        config.transport_config(transport);
        Arc::new(config)
    }

    /// How the next connection is set up, which goes to `address`.
    pub(super) fn transport_to(
        &self,
        now: Instant,
        address: SocketAddr,
    ) -> (Arc<TransportConfig>, PathOptions) {
        let watch = PathWatch::new(now);
        let payload_max = self.payload_max(address);
        let transport = transport(payload_max, Arc::clone(&watch));
        (Arc::new(transport), (watch, payload_max))
    }

    /// Takes what happened on a connection, and sends what it has to send.
    fn drive(&mut self, now: Instant, handle: ConnectionHandle) {
        while let Some(link) = self.links.get_mut(&handle) {
            if let Some(event) = link.connection.poll() {
                match event {
                    Event::Connected => self.connected(now, handle),
                    Event::ConnectionLost { reason } => self.lost(now, handle, &reason),
                    _ => {}
                }
                continue;
            }
            let Some(event) = link.connection.poll_endpoint_events() else {
                break;
            };
            let is_over = event.is_drained();
            if let Some(event) = self.endpoint.handle_event(handle, event) {
                link.connection.handle_event(event);
            }
            if is_over {
                self.links.remove(&handle);
                return;
            }
        }
        self.transmit(now, handle);
    }

    pub(super) fn close(&mut self, now: Instant, handle: ConnectionHandle, reason: &'static str) {
        if let Some(link) = self.links.get_mut(&handle) {
            let reason = Bytes::from_static(reason.as_bytes());
            link.connection.close(now, VarInt::from_u32(0), reason);
            self.touched.push(handle);
        }
    }
}

fn server_config(tls: &Tls) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(Arc::clone(&tls.server) as _);
    config.migration(true);
    config
}

/// Whether an error of a send says that the datagrams are longer than the link carries.
pub(super) fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}
