//! Receiving: trains become datagrams, datagrams become frames.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;
use overlay_core::{DatagramHeader, HostId};
use quinn_proto::{ConnectionHandle, DatagramEvent, EcnCodepoint, Incoming};
use quinn_udp::RecvMeta;
use switch_core::{Gso, PortId, RawVnet, VnetHeader, Vni};

use super::engine::{Engine, QuicCounts};
use super::link::{Link, Standing};
use super::place::Place;
use crate::outlet::Outlet;
use crate::tunnel::{PortEntry, Ports, Recent};

/// Ports by the network and the host that their frames come from.
pub(super) type QuicPorts = Ports<(Vni, HostId)>;

impl Engine {
    /// Receives until there is nothing left or no more room. Segments of one superframe may come one by one, so it goes on
    /// while there are more; but a flood must not hold the worker.
    pub(super) fn read(&mut self, ports: &QuicPorts, outlet: &mut Outlet<'_>) {
        for _ in 0..ROUNDS {
            let has_more = self.receive(Instant::now(), ports, outlet).unwrap_or(true);
            if !has_more || self.has_backlog() {
                return;
            }
        }
    }

    /// Takes what the socket has and lets happen what is due, and puts frames into `outlet` while it has room. `false`: the
    /// socket has no more.
    fn receive(
        &mut self,
        now: Instant,
        ports: &QuicPorts,
        outlet: &mut Outlet<'_>,
    ) -> io::Result<bool> {
        self.handle_timeouts(now);
        let mut backlog = std::mem::take(&mut self.backlog);
        for handle in backlog.drain(..) {
            self.unpack(now, handle, ports, outlet);
        }
        // What came inside of that.
        self.unpack_touched(now, ports, outlet);
        if !outlet.has_room(1) {
            return Ok(true);
        }
        let result = match &self.predecessor {
            Some(passage) => self.intake.take(|buffer| passage.receive(buffer)),
            None => self.intake.receive(&self.socket),
        };
        if let Err(error) = result {
            self.settle(now);
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(false),
                io::ErrorKind::UnexpectedEof => {
                    self.ended = self.predecessor.take();
                    Ok(true)
                }
                _ => Err(error),
            };
        }
        for train in 0..self.intake.count() {
            self.take_train(now, train);
            // Long trains are unpacked while they are cached, short ones together.
            if self.intake.is_long(train) {
                self.unpack_touched(now, ports, outlet);
            }
        }
        self.unpack_touched(now, ports, outlet);
        self.settle(now);
        Ok(!self.intake.is_drained())
    }

    fn unpack_touched(&mut self, now: Instant, ports: &QuicPorts, outlet: &mut Outlet<'_>) {
        let mut place = 0;
        while let Some(handle) = self.touched.get(place).copied() {
            self.unpack(now, handle, ports, outlet);
            place += 1;
        }
    }

    /// Whether received frames wait for room.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    fn take_train(&mut self, now: Instant, train: usize) {
        let meta = self.intake.meta(train);
        // quinn keeps slices of what it is given; they are gone when the frames are out, and the memory is used again.
        self.arena.extend_from_slice(self.intake.bytes(train));
        let mut bytes = self.arena.split();
        if bytes.len() > meta.stride && self.pass_on(&meta, &bytes) {
            return;
        }
        while !bytes.is_empty() {
            let datagram = bytes.split_to(meta.stride.clamp(1, bytes.len()));
            self.take_datagram(now, &meta, datagram);
        }
    }

    fn take_datagram(&mut self, now: Instant, meta: &RecvMeta, datagram: BytesMut) {
        if self.pass_on(meta, &datagram) {
            return;
        }
        let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
        let ends = (meta.addr, self.local_ip(meta.dst_ip));
        // No host of an underlay has the address of a place.
        match Place::of(meta.addr) {
            None => self.handle_datagram(now, ends, ecn, datagram),
            Some(_) => self.counts.malformed += 1,
        }
    }

    /// Gives quinn a datagram from the underlay, or from a place.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        (remote, local): (SocketAddr, Option<IpAddr>),
        ecn: Option<EcnCodepoint>,
        datagram: BytesMut,
    ) {
        self.out.clear();
        let event = self
            .endpoint
            .handle(now, remote, local, ecn, datagram, &mut self.out);
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(link) = self.links.get_mut(&handle) {
                    link.connection.handle_event(event);
                    link.has_heard = true;
                    self.touch(handle);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.accept(now, incoming),
            Some(DatagramEvent::Response(transmit)) => self.respond(&transmit),
            None => {}
        }
    }

    /// The address that answers must come from. A socket bound to one needs not be told.
    fn local_ip(&self, destination: Option<IpAddr>) -> Option<IpAddr> {
        destination.filter(|_| self.socket.is_bound_to_any())
    }

    fn accept(&mut self, now: Instant, incoming: Incoming) {
        self.out.clear();
        if self.links.len() >= LINKS_MAX {
            let transmit = self.endpoint.refuse(incoming, &mut self.out);
            self.counts.refused += 1;
            return self.respond(&transmit);
        }
        if self.is_crowded() && incoming.may_retry() && !incoming.remote_address_validated() {
            // Proves that the address is its own, before it costs more.
            if let Ok(transmit) = self.endpoint.retry(incoming, &mut self.out) {
                self.respond(&transmit);
            }
            return;
        }
        let (transport, path) = self.transport_to(now, incoming.remote_address());
        let config = self.server(transport);
        let first_id = *incoming.orig_dst_cid();
        match self
            .endpoint
            .accept(incoming, now, &mut self.out, Some(config))
        {
            Ok((handle, connection)) => {
                let mut link = Link::new(connection, path);
                link.first_id = Some(first_id);
                self.links.insert(handle, link);
                self.touched.push(handle);
            }
            Err(error) => {
                self.counts.refused += 1;
                if let Some(transmit) = error.response {
                    self.respond(&transmit);
                }
            }
        }
    }

    /// Whether many strangers are at the door.
    fn is_crowded(&self) -> bool {
        self.links.len() > self.peers.len() + STRANGERS_MAX
    }

    /// Puts the frames that came over a connection into `outlet`; what finds no room waits in the backlog.
    fn unpack(
        &mut self,
        now: Instant,
        handle: ConnectionHandle,
        ports: &QuicPorts,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(link) = self.links.get_mut(&handle) else {
            return;
        };
        let Some(host) = &link.host else {
            return;
        };
        let Some(remote) = self.peers.get_mut(host) else {
            return;
        };
        let Some(mut standing) = remote.standing(handle) else {
            return;
        };
        let is_direct = link.place().is_none();
        let caller = (handle, link.is_dialed(), is_direct);
        let mut displaced = None;
        let mut has_frames = false;
        let time = self.clock.time(now);
        let mut route = Route {
            ports,
            host,
            recent: Recent::new(),
            counts: &mut self.counts,
            outlet,
        };
        loop {
            while route.outlet.has_room(1) {
                let Some(frame) = link.reassembler.poll_frame() else {
                    break;
                };
                route.put(frame.vni, &frame.vnet.to_bytes(), frame.frame);
            }
            if !route.outlet.has_room(1) {
                self.backlog.push(handle);
                break;
            }
            let next = link.waiting.take();
            let Some(datagram) = next.or_else(|| link.connection.datagrams().recv()) else {
                break;
            };
            let Ok((header, body)) = DatagramHeader::parse(&datagram) else {
                route.counts.malformed += 1;
                continue;
            };
            if header == DatagramHeader::Control {
                displaced = remote.hear(time, caller, body).or(displaced);
                standing = remote.standing(handle).unwrap_or(standing);
                self.changed.push(host.clone());
                continue;
            }
            let is_welcome = match standing {
                Standing::Counts => remote.machine.is_up(),
                Standing::Elder => true,
                Standing::Rival => link.is_greeted,
            };
            if !is_welcome {
                route.counts.early += 1;
                continue;
            }
            if header == DatagramHeader::Relay {
                if is_direct {
                    self.relays.received.push(datagram.slice_ref(body));
                } else {
                    route.counts.malformed += 1;
                }
                continue;
            }
            has_frames = true;
            if header.is_complete() && link.reassembler.make_way() {
                link.waiting = Some(datagram);
                continue;
            }
            match header {
                DatagramHeader::Frame { vni } => route.put(vni, &[0; VnetHeader::LEN], body),
                DatagramHeader::OpenFrame { vni, checksum } => {
                    let vnet = RawVnet::new(Gso::None, Some(checksum));
                    route.put(vni, &vnet.to_bytes(), body);
                }
                DatagramHeader::Piece { vni, .. } if route.join(vni, &header, body) => {}
                _ => {
                    link.reassembler.push(time, &header, body);
                }
            }
        }
        let has_heard = std::mem::take(&mut link.has_heard);
        match standing {
            Standing::Counts if has_frames => remote.machine.handle_traffic(time),
            Standing::Counts if has_heard => remote.machine.handle_sign(time),
            _ => {}
        }
        if let Some(due) = link.reassembler.poll_timeout() {
            self.alarm.ring_by(Some(self.clock.instant(due)), now);
        }
        let neighbor = (!self.relays.received.is_empty()).then(|| host.clone());
        if let Some(handle) = displaced {
            self.close(now, handle, "replaced");
        }
        if let Some(neighbor) = neighbor {
            self.handle_relayed(now, &neighbor);
        }
    }
}

/// The way from a connection to the ports of its host.
struct Route<'a, 'b> {
    ports: &'a QuicPorts,
    host: &'a HostId,
    recent: Recent<Vni>,
    counts: &'a mut QuicCounts,
    outlet: &'a mut Outlet<'b>,
}

impl Route<'_, '_> {
    fn put(&mut self, vni: Vni, vnet: &[u8; VnetHeader::LEN], frame: &[u8]) {
        match self.port(vni) {
            Some(port) => self.outlet.put(port, vnet, frame),
            None => self.counts.not_member += 1,
        }
    }

    /// Takes a piece that can go on by itself; `false`: it has to wait for others.
    fn join(&mut self, vni: Vni, header: &DatagramHeader, body: &[u8]) -> bool {
        match self.port(vni) {
            Some(port) => self.outlet.join(port, header, body),
            None => false,
        }
    }

    fn port(&mut self, vni: Vni) -> Option<PortId> {
        let (ports, host) = (self.ports, self.host);
        let search = || ports.find(&(vni, host.clone()));
        self.recent.find(vni, search).and_then(PortEntry::port)
    }
}

/// Receives of one read.
const ROUNDS: usize = 8;
/// Connections at the same time, strangers included.
const LINKS_MAX: usize = 4096;
/// Connections beyond one a peer from which on strangers must prove their address first.
const STRANGERS_MAX: usize = 32;
