//! smoltcp behind the edge: echo, TCP, and refusals for closed ports.
//!
//! # Theory of operation
//!
//! The interface runs on bare IP packets (`Medium::Ip`), so smoltcp keeps no neighbour table: its table holds eight
//! entries and asks one address a second. A reply goes to the MAC its request came from. For TCP that is the MAC of
//! the connection's first segment, remembered with the connection; anything else smoltcp sends answers the packet at
//! hand, and goes to that packet's source. A connection belongs to the port that opened it: segments that come by another
//! port are not its, whatever addresses they bear.
//!
//! smoltcp has no backlog: a SYN needs a socket that listens. One spare listener is enough because every packet is
//! processed to its end before the next one comes, and a new spare is made at once. When all places are taken, the
//! connection that has been idle longest makes room: one of the port with more than its share at once, and even if it is
//! owed answers; else one of all, after a short grace. Answers that wait for their readers are bounded too, and there too
//! the port that has most of them gives way.
//!
//! Layer-4 checksums of what comes in are not verified: a frame from a TAP may legitimately carry an unfinished one.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::config::EdgeConfig;
use super::frame;
use super::queries::Queries;
use super::tcp::{Connection, Turn, client_of, listener};
use super::way::{ConnectionId, Way};
use crate::{PortId, Time};

/// An IP packet smoltcp wants sent, and to whom.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) way: Way,
    pub(super) packet: Vec<u8>,
}

/// The IP stack of one edge.
pub(super) struct Stack {
    interface: Interface,
    device: Packets,
    sockets: SocketSet<'static>,
    spare: Option<SocketHandle>,
    connections: Vec<(SocketHandle, Connection)>,
    next_connection: u64,
    outgoing: VecDeque<Outgoing>,
    timeout: Option<Time>,
}

/// Who sent the packet that is being processed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) way: Way,
    /// With the TCP port; 0 for other protocols.
    pub(super) address: SocketAddr,
}

impl Stack {
    pub(super) fn new(config: &EdgeConfig) -> Self {
        let mut device = Packets::new(config.mtu);
        let mut settings = Config::new(HardwareAddress::Ip);
        settings.random_seed = config.seed;
        let mut interface = Interface::new(settings, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // smoltcp is built for two addresses, which is what a network has; it panics on addresses no host may own.
            for cidr in gateway_addresses(config) {
                let _ = addresses.push(cidr);
            }
        });
        Self {
            interface,
            device,
            sockets: SocketSet::new(Vec::new()),
            spare: None,
            connections: Vec::new(),
            next_connection: 0,
            outgoing: VecDeque::new(),
            timeout: None,
        }
    }

    /// Processes one IP packet that is addressed to the gateway.
    pub(super) fn handle_packet(
        &mut self,
        now: Time,
        sender: Sender,
        packet: &[u8],
        queries: &mut Queries,
    ) {
        let is_anothers = |connection: &Connection| {
            connection.client == sender.address && connection.way.port != sender.way.port
        };
        if self.connections.iter().any(|(_, of)| is_anothers(of)) {
            queries.counters.foreign_segments += 1;
            return;
        }
        self.ensure_spare(now, queries);
        self.device.received = Some(packet.to_vec());
        self.run(now, Some(sender), queries);
    }

    pub(super) fn handle_timeout(&mut self, now: Time, queries: &mut Queries) {
        self.run(now, None, queries);
    }

    /// Queues an answer on its connection; false when the connection is gone, or the answer longer than any can be.
    pub(super) fn answer(
        &mut self,
        now: Time,
        id: ConnectionId,
        message: &[u8],
        queries: &mut Queries,
    ) -> bool {
        let Some((_, connection)) = self.find(id) else {
            return false;
        };
        let taken = connection.push_answer(message);
        self.run(now, None, queries);
        self.bound_outbound(now, queries);
        taken
    }

    /// A query of connection `id` will never be answered.
    pub(super) fn forget_query(&mut self, now: Time, id: ConnectionId, queries: &mut Queries) {
        if let Some((_, connection)) = self.find(id) {
            connection.forget_query();
            self.run(now, None, queries);
        }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.timeout
    }

    /// Lets smoltcp and the connections work until neither has anything left to do. Ends because every turn that asks
    /// for another one has moved bytes or ended a connection.
    fn run(&mut self, now: Time, sender: Option<Sender>, queries: &mut Queries) {
        loop {
            self.interface
                .poll(instant(now), &mut self.device, &mut self.sockets);
            self.accept(now, sender);
            self.collect(sender, queries);
            let progressed = self.turn_connections(now, queries);
            self.drop_finished();
            if !progressed {
                break;
            }
        }
        self.ensure_spare(now, queries);
        self.timeout = self.next_timeout(now);
    }

    /// Turns the spare listener into a connection once a client has found it.
    fn accept(&mut self, now: Time, sender: Option<Sender>) {
        let (Some(handle), Some(sender)) = (self.spare, sender) else {
            return;
        };
        let socket = self.sockets.get::<tcp::Socket<'_>>(handle);
        if let Some(client) = client_of(socket) {
            let id = ConnectionId(self.next_connection);
            self.next_connection += 1;
            self.connections
                .push((handle, Connection::new(id, client, sender.way, now)));
            self.spare = None;
        }
    }

    /// Gives smoltcp's packets their destination.
    fn collect(&mut self, sender: Option<Sender>, queries: &mut Queries) {
        while let Some(packet) = self.device.sent.pop_front() {
            let destination = frame::destination_of(&packet);
            let way = destination.and_then(|destination| self.way_to(destination, sender));
            match way {
                Some(way) if self.outgoing.len() < MAX_OUTGOING => {
                    self.outgoing.push_back(Outgoing { way, packet });
                }
                _ => queries.counters.transmit_full += 1,
            }
        }
    }

    fn way_to(&self, destination: SocketAddr, sender: Option<Sender>) -> Option<Way> {
        self.connections
            .iter()
            .find(|(_, connection)| connection.client == destination)
            .map(|(_, connection)| connection.way)
            .or_else(|| {
                sender
                    .filter(|sender| sender.address.ip() == destination.ip())
                    .map(|sender| sender.way)
            })
    }

    fn turn_connections(&mut self, now: Time, queries: &mut Queries) -> bool {
        let mut progressed = false;
        for (handle, connection) in &mut self.connections {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(*handle);
            if is_finished(socket) {
                continue;
            }
            match connection.turn(now, socket, queries) {
                Turn::Quiet => {}
                Turn::Progress => progressed = true,
                Turn::Reset => {
                    socket.abort();
                    queries.counters.connections_reset += 1;
                    progressed = true;
                }
            }
        }
        progressed
    }

    /// Forgets sockets that have nothing more to send. TIME-WAIT is cut short: a stray segment then meets a reset, and
    /// the place serves the next client.
    fn drop_finished(&mut self) {
        let sockets = &mut self.sockets;
        self.connections.retain(|(handle, _)| {
            let socket = sockets.get::<tcp::Socket<'_>>(*handle);
            let over = is_finished(socket) && socket.remote_endpoint().is_none();
            let over = over || matches!(socket.state(), tcp::State::TimeWait | tcp::State::Listen);
            if over {
                sockets.remove(*handle);
            }
            !over
        });
        if self.connections.is_empty() {
            self.connections.shrink_to(0);
        }
    }

    fn ensure_spare(&mut self, now: Time, queries: &mut Queries) {
        if self.spare.is_some() {
            return;
        }
        if self.connections.len() >= MAX_CONNECTIONS && !self.make_room(now, queries) {
            return;
        }
        self.spare = listener(DNS_PORT).map(|socket| self.sockets.add(socket));
    }

    /// Ends a connection: of the port with more than its share at once, else the one that has owed nothing for longest
    /// when it is past its grace. False when there is none.
    fn make_room(&mut self, now: Time, queries: &mut Queries) -> bool {
        let past_grace = |(since, _): &(Time, SocketHandle)| now >= *since + EVICTION_GRACE;
        let victim = self
            .idlest_of_greedy()
            .or_else(|| self.idlest(|_| true).filter(past_grace));
        let Some((_, handle)) = victim else {
            return false;
        };
        self.end(now, handle, queries);
        self.connections.len() < MAX_CONNECTIONS
    }

    /// Of the port with most connections, if those are more than its share, the one that has owed nothing for longest;
    /// where each is owed answers, the one that has not moved for longest.
    fn idlest_of_greedy(&self) -> Option<(Time, SocketHandle)> {
        let (port, held) = self.greediest(|_| 1)?;
        if held <= SHARE_OF_PORT {
            return None;
        }
        let of_port = self
            .connections
            .iter()
            .filter(|(_, of)| of.way.port == port);
        let stillest = of_port
            .map(|(handle, connection)| (connection.last_activity, *handle))
            .min_by_key(|(since, _)| *since);
        self.idlest(|of| of == port).or(stillest)
    }

    /// The port whose connections weigh most together, and what they weigh.
    fn greediest(&self, weight: impl Fn(&Connection) -> usize) -> Option<(PortId, usize)> {
        let mut held = HashMap::<PortId, usize>::new();
        for (_, connection) in &self.connections {
            *held.entry(connection.way.port).or_default() += weight(connection);
        }
        held.into_iter().max_by_key(|(_, weight)| *weight)
    }

    /// The connection that has owed nothing for longest, of the ports that count.
    fn idlest(&self, counts: impl Fn(PortId) -> bool) -> Option<(Time, SocketHandle)> {
        self.connections
            .iter()
            .filter(|(_, connection)| counts(connection.way.port))
            .filter_map(|(handle, connection)| Some((connection.idle_since()?, *handle)))
            .min_by_key(|(since, _)| *since)
    }

    /// Keeps the answers that wait for their readers within bounds: the port with most of them loses its connection with
    /// most of them.
    fn bound_outbound(&mut self, now: Time, queries: &mut Queries) {
        while self.waiting_bytes() > MAX_OUTBOUND {
            let greediest = self.greediest(Connection::waiting_bytes);
            let fullest = self
                .connections
                .iter()
                .filter(|(_, of)| greediest.is_some_and(|(port, _)| of.way.port == port))
                .max_by_key(|(_, of)| of.waiting_bytes());
            let Some((handle, _)) = fullest else {
                return;
            };
            self.end(now, *handle, queries);
        }
    }

    /// Bytes of answers that wait for their readers.
    pub(super) fn waiting_bytes(&self) -> usize {
        let waiting = self.connections.iter().map(|(_, of)| of.waiting_bytes());
        waiting.sum()
    }

    /// Resets a connection and forgets it.
    fn end(&mut self, now: Time, handle: SocketHandle, queries: &mut Queries) {
        self.reset(handle, queries);
        self.interface
            .poll(instant(now), &mut self.device, &mut self.sockets);
        self.collect(None, queries);
        self.drop_finished();
    }

    fn reset(&mut self, handle: SocketHandle, queries: &mut Queries) {
        self.sockets.get_mut::<tcp::Socket<'_>>(handle).abort();
        queries.counters.connections_reset += 1;
    }

    fn find(&mut self, id: ConnectionId) -> Option<&mut (SocketHandle, Connection)> {
        self.connections
            .iter_mut()
            .find(|(_, connection)| connection.id == id)
    }

    fn next_timeout(&mut self, now: Time) -> Option<Time> {
        let smoltcp = self
            .interface
            .poll_at(instant(now), &self.sockets)
            .map(|at| time(at).max(now));
        let idle = self
            .connections
            .iter()
            .map(|(_, connection)| connection.deadline())
            .filter(|deadline| *deadline < Time::from_millis(u64::MAX))
            .min();
        let stalled = self
            .connections
            .iter()
            .any(|(_, connection)| connection.stalled)
            .then(|| now + STALL_RETRY);
        let room = match self.spare {
            Some(_) => None,
            None => self
                .idlest(|_| true)
                .map(|(since, _)| (since + EVICTION_GRACE).max(now + STALL_RETRY)),
        };
        [smoltcp, idle, stalled, room].into_iter().flatten().min()
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("connections", &self.connections.len())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Nothing more will be read from or written to this socket.
fn is_finished(socket: &tcp::Socket<'_>) -> bool {
    socket.state() == tcp::State::Closed
}

fn gateway_addresses(config: &EdgeConfig) -> impl Iterator<Item = IpCidr> {
    let v4 = config
        .v4
        .map(|(address, prefix)| IpCidr::new(IpAddress::from(address), prefix.min(32)));
    let v6 = config
        .v6
        .map(|(address, prefix)| IpCidr::new(IpAddress::from(address), prefix.min(128)));
    [v4, v6]
        .into_iter()
        .flatten()
        .filter(|cidr| frame::is_host_address(cidr.address().into()))
}

fn instant(time: Time) -> Instant {
    Instant::from_millis(i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 1000))
}

fn time(instant: Instant) -> Time {
    Time::from_millis(u64::try_from(instant.total_millis()).unwrap_or(0))
}

/// The device smoltcp drives: one packet in, any number out.
struct Packets {
    mtu: usize,
    received: Option<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

impl Packets {
    fn new(mtu: u16) -> Self {
        Self {
            mtu: usize::from(mtu),
            received: None,
            sent: VecDeque::new(),
        }
    }
}

impl Device for Packets {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let packet = self.received.take()?;
        Some((Received(packet), Sending(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        (self.sent.len() < MAX_OUTGOING).then_some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut checksum = ChecksumCapabilities::default();
        checksum.ipv4 = Checksum::Both;
        checksum.tcp = Checksum::Tx;
        checksum.udp = Checksum::Tx;
        checksum.icmpv4 = Checksum::Tx;
        checksum.icmpv6 = Checksum::Tx;
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities.checksum = checksum;
        capabilities
    }
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_packet: F) -> R {
        use_packet(&self.0)
    }
}

struct Sending<'a>(&'a mut Packets);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut packet = vec![0; length];
        let result = fill(&mut packet);
        self.0.sent.push_back(packet);
        result
    }
}

const DNS_PORT: u16 = 53;
/// Connections of one network at a time.
const MAX_CONNECTIONS: usize = 64;
/// Connections that one port may hold while others have to wait.
const SHARE_OF_PORT: usize = 8;
/// Answers of one network that wait for their readers, in bytes: sixteen connections that read nothing after they asked for
/// sixteen of the longest.
const MAX_OUTBOUND: usize = 16 << 20;
/// How long a connection is safe from making room for another.
const EVICTION_GRACE: Duration = Duration::from_millis(250);
/// How long a connection that met a full query table waits before it tries again.
const STALL_RETRY: Duration = Duration::from_millis(50);
/// Packets waiting to be collected by the owner.
const MAX_OUTGOING: usize = 512;
