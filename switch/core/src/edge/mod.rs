//! The edge service of a network: gateway, DHCP and the way of DNS inside the switch.
//!
//! # Theory of operation
//!
//! An [`Edge`] sits on an ordinary port of its network's bridge and owns the gateway's addresses there. It is a poll
//! machine: frames and time go in, frames and events come out, and between two calls nothing happens.
//!
//! - UDP 67 goes to a stateless DHCP server over the registered hosts.
//! - UDP 53 is taken apart and answered here, each answer to the very MAC and address that asked. No socket buffer
//!   holds it, so no client can fill one.
//! - Who asks is the port by which the frame came in, whatever addresses it bears: that port pays with its places, and what
//!   answers leaves by it alone.
//! - Everything else for a gateway address goes to smoltcp: echo, TCP 53, and refusals for closed ports.
//! - Anything for another address is left alone. ARP and neighbour discovery are the bridge's own work.
//!
//! Names are not decided here: a DNS message leaves as an [`EdgeEvent`] and its answer returns under the event's id.
//! Everything that grows has a bound and a counter; at a bound the newest is dropped.

mod config;
mod dhcp;
mod frame;
mod queries;
mod question;
mod stack;
mod tcp;
#[cfg(test)]
mod tests;
mod way;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use smoltcp::wire::{IpProtocol, Ipv4Cidr, Ipv6Cidr};

pub use config::{Carrier, EdgeConfig, EdgeCounters, EdgeEvent, HostRecord, QueryId, Transmit};
pub use question::Question;

use crate::dhcp::SERVER_PORT;
use crate::{Mac, PortId, Time};
use frame::{Datagram, Ethernet, Ip};
use queries::Queries;
use stack::{Outgoing, Sender, Stack};
use way::{ReturnPath, Way};

/// The edge of one network.
#[derive(Debug)]
pub struct Edge {
    config: EdgeConfig,
    hosts: HashMap<Mac, HostRecord>,
    queries: Queries,
    stack: Stack,
    transmit: VecDeque<Transmit>,
    /// The latest DHCP client that is no host, until the owner has asked.
    unserved: Option<Mac>,
    /// When it may be told of the next.
    unserved_next: Time,
    /// What the owner has been told of, or will be when it asks.
    leased: HashMap<Mac, Ipv4Addr>,
    leases: VecDeque<(Mac, Ipv4Addr)>,
    now: Time,
}

impl Edge {
    pub fn new(config: EdgeConfig) -> Self {
        Self {
            stack: Stack::new(&config),
            config,
            hosts: HashMap::new(),
            queries: Queries::default(),
            transmit: VecDeque::new(),
            unserved: None,
            unserved_next: Time::default(),
            leased: HashMap::new(),
            leases: VecDeque::new(),
            now: Time::default(),
        }
    }

    /// Takes one complete Ethernet frame that the bridge delivered to the edge port, and that it got by port `ingress`.
    pub fn handle_input(&mut self, now: Time, ingress: PortId, frame: &[u8]) {
        self.advance(now);
        let Some(ethernet) = Ethernet::parse(frame) else {
            self.queries.counters.malformed += 1;
            return;
        };
        let to_us =
            ethernet.destination == self.config.gateway_mac || ethernet.destination.is_multicast();
        let is_ip = matches!(
            ethernet.ethertype,
            frame::ETHERTYPE_IPV4 | frame::ETHERTYPE_IPV6
        );
        if !to_us || !is_ip || !ethernet.source.is_station() {
            self.queries.counters.not_ours += 1;
            return;
        }
        match Ip::parse(ethernet.ethertype, ethernet.packet) {
            Some(packet) => self.handle_packet(ingress, &ethernet, &packet),
            None => self.queries.counters.malformed += 1,
        }
    }

    /// Call when [`poll_timeout`](Self::poll_timeout) is due; harmless earlier.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        while let Some(path) = self.queries.take_expired(self.now) {
            if let ReturnPath::Tcp(connection) = path {
                self.stack
                    .forget_query(self.now, connection, &mut self.queries);
            }
        }
        self.stack.handle_timeout(self.now, &mut self.queries);
    }

    /// The next Ethernet frame to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if let Some(transmit) = self.transmit.pop_front() {
            return Some(transmit);
        }
        let Outgoing { way, packet } = self.stack.poll_transmit()?;
        Some(Transmit {
            egress: Some(way.port),
            frame: frame::attach(self.config.gateway_mac, way.mac, &packet)?,
        })
    }

    /// The next thing asked of the owner.
    pub fn poll_event(&mut self) -> Option<EdgeEvent> {
        self.queries.poll_event()
    }

    /// A DHCP client that got no answer because it is no registered host; at most one in [`UNSERVED_PAUSE`].
    pub fn poll_unserved(&mut self) -> Option<Mac> {
        self.unserved.take()
    }

    /// A host that was given its address by DHCP; not again when it renews that.
    pub fn poll_lease(&mut self) -> Option<(Mac, Ipv4Addr)> {
        self.leases.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called; `None` while nothing is pending.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.queries.deadline(), self.stack.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sends the answer of a query. A message for UDP must already fit its client (see dns-core). An empty message
    /// says that there will be no answer, and frees the query's place.
    pub fn answer(&mut self, query: QueryId, message: &[u8]) {
        let sent = match self.queries.take(query) {
            None => false,
            Some(ReturnPath::Udp { .. }) if message.is_empty() => true,
            Some(ReturnPath::Udp {
                way,
                client,
                server,
            }) => self.send_datagram(way, server, client, message),
            Some(ReturnPath::Tcp(connection)) if message.is_empty() => {
                self.stack
                    .forget_query(self.now, connection, &mut self.queries);
                true
            }
            Some(ReturnPath::Tcp(connection)) => {
                self.stack
                    .answer(self.now, connection, message, &mut self.queries)
            }
        };
        if !sent {
            self.queries.counters.answers_dropped += 1;
        }
    }

    /// Registers a host with DHCP, or replaces its record.
    pub fn insert_host(&mut self, mac: Mac, record: HostRecord) {
        self.hosts.insert(mac, record);
    }

    /// Forgets a host. Unknown ones are fine.
    pub fn remove_host(&mut self, mac: Mac) {
        self.hosts.remove(&mac);
        self.leased.remove(&mac);
    }

    pub fn config(&self) -> &EdgeConfig {
        &self.config
    }

    pub fn counters(&self) -> EdgeCounters {
        self.queries.counters
    }

    /// Time never runs backwards here, whatever the caller's clock does.
    fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    fn handle_packet(&mut self, ingress: PortId, ethernet: &Ethernet<'_>, packet: &Ip<'_>) {
        let way = Way {
            port: ingress,
            mac: ethernet.source,
        };
        if packet.fragment {
            self.queries.counters.fragments += 1;
            return;
        }
        let udp = (packet.protocol == IpProtocol::Udp).then(|| packet.udp());
        let for_dhcp =
            |udp: &Datagram<'_>| udp.destination.port() == SERVER_PORT && udp.destination.is_ipv4();
        match udp {
            Some(None) => self.queries.counters.malformed += 1,
            Some(Some(udp)) if for_dhcp(&udp) => self.handle_dhcp(way, &udp),
            _ if !self.is_host(packet.source) || ethernet.destination.is_multicast() => {
                self.queries.counters.not_ours += 1;
            }
            Some(Some(udp))
                if udp.destination.port() == DNS_PORT
                    && serves_names(&self.config, packet.destination) =>
            {
                self.handle_query(way, &udp);
            }
            _ if !self.is_gateway(packet.destination) => self.queries.counters.not_ours += 1,
            // Of a connection of the host's, whose port is not there at the moment: a refusal would end it.
            _ if packet.later_segment().is_some_and(|port| port != DNS_PORT) => {
                self.queries.counters.not_ours += 1;
            }
            _ => {
                let sender = Sender {
                    way,
                    address: frame::source_of(packet),
                };
                self.stack
                    .handle_packet(self.now, sender, ethernet.packet, &mut self.queries);
            }
        }
    }

    fn handle_dhcp(&mut self, way: Way, udp: &Datagram<'_>) {
        let destination = udp.destination.ip();
        if !self.is_gateway(destination) && destination != IpAddr::V4(Ipv4Addr::BROADCAST) {
            self.queries.counters.not_ours += 1;
            return;
        }
        let Some((gateway, _)) = self.config.v4 else {
            self.queries.counters.not_ours += 1;
            return;
        };
        let reply = match dhcp::reply(&self.config, &self.hosts, way.mac, udp.payload) {
            Ok(reply) => reply,
            Err(dhcp::Silence::Ignored) => {
                self.queries.counters.dhcp_ignored += 1;
                return;
            }
            Err(dhcp::Silence::Unknown(client)) => return self.leave_unserved(client),
        };
        let server = SocketAddr::new(gateway.into(), SERVER_PORT);
        let client = SocketAddr::new(reply.address.into(), reply.udp_port);
        let way = Way {
            mac: reply.mac,
            ..way
        };
        if self.send_datagram(way, server, client, &reply.message) {
            self.queries.counters.dhcp_replies += 1;
            self.note_lease(reply.leased);
        }
    }

    /// Of each host one waits to be told at most, so that there are no more than hosts.
    fn note_lease(&mut self, leased: Option<(Mac, Ipv4Addr)>) {
        if let Some((mac, address)) = leased
            && self.leased.insert(mac, address) != Some(address)
        {
            self.leases.retain(|(waiting, _)| *waiting != mac);
            self.leases.push_back((mac, address));
        }
    }

    fn leave_unserved(&mut self, client: Mac) {
        self.queries.counters.dhcp_unknown += 1;
        if self.now >= self.unserved_next {
            self.unserved = Some(client);
            self.unserved_next = self.now + UNSERVED_PAUSE;
        }
    }

    fn handle_query(&mut self, way: Way, udp: &Datagram<'_>) {
        if udp.source.port() == 0 || udp.payload.is_empty() || udp.payload.len() > MAX_QUERY {
            self.queries.counters.malformed += 1;
            return;
        }
        let path = ReturnPath::Udp {
            way,
            client: udp.source,
            server: udp.destination,
        };
        let asker = (way.port, udp.source.ip());
        self.queries.admit(self.now, asker, path, udp.payload);
    }

    /// Frames and queues a datagram; false when it is too long or the queue is full.
    fn send_datagram(
        &mut self,
        way: Way,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) -> bool {
        if self.transmit.len() >= MAX_TRANSMIT {
            self.queries.counters.transmit_full += 1;
            return false;
        }
        let datagram = Datagram {
            source,
            destination,
            payload,
        };
        let frame = datagram.to_frame(self.config.gateway_mac, way.mac, self.config.mtu);
        let fits = frame.is_some();
        self.transmit.extend(frame.map(|frame| Transmit {
            egress: Some(way.port),
            frame,
        }));
        fits
    }

    fn is_gateway(&self, address: IpAddr) -> bool {
        is_gateway(&self.config, address)
    }

    fn is_host(&self, address: IpAddr) -> bool {
        is_host(&self.config, address)
    }
}

fn is_gateway(config: &EdgeConfig, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => config.v4.is_some_and(|(own, _)| own == address),
        IpAddr::V6(address) => config.v6.is_some_and(|(own, _)| own == address),
    }
}

/// Whether names are asked at an address: the gateway's, or that of a server in whose place the edge answers.
fn serves_names(config: &EdgeConfig, address: IpAddr) -> bool {
    is_gateway(config, address) || is_beyond(config, address)
}

/// Whether an address lies beyond the gateway of a network that has a way out. What is asked there reaches the edge only from
/// ports for which it is to answer.
fn is_beyond(config: &EdgeConfig, address: IpAddr) -> bool {
    let is_on_link = match address {
        IpAddr::V4(address) => config
            .v4
            .is_some_and(|(own, prefix)| Ipv4Cidr::new(own, prefix).contains_addr(&address)),
        IpAddr::V6(address) => config
            .v6
            .is_some_and(|(own, prefix)| Ipv6Cidr::new(own, prefix).contains_addr(&address)),
    };
    config.routed && !is_on_link && frame::is_host_address(address)
}

fn is_host(config: &EdgeConfig, address: IpAddr) -> bool {
    frame::is_host_address(address) && !is_gateway(config, address)
}

/// How long a query waits for its answer.
pub const QUERY_LIFETIME: Duration = Duration::from_secs(10);

/// How often the owner is told of clients that get no address.
pub const UNSERVED_PAUSE: Duration = Duration::from_secs(60);

/// Longest query taken, in bytes: far above any that a client has reason to send.
const MAX_QUERY: usize = 4096;
const DNS_PORT: u16 = 53;
/// Datagrams waiting to be collected by the owner.
const MAX_TRANSMIT: usize = 512;
