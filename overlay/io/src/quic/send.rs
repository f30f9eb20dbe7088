//! Sending: frames become datagrams, datagrams become trains.

use std::io;
use std::time::Instant;

use bytes::BytesMut;
use overlay_core::{Datagrams, FrameIds, HostId, mss, mtu};
use quinn_proto::{Connection, ConnectionHandle};
use quinn_udp::Transmit;
use switch_core::{Frame, Time, VnetHeader, Vni};
use switch_io::Written;

use super::engine::{Engine, is_too_long};
use super::place::Place;
use crate::envelope;
use crate::socket::SEND_LEN_MAX;

impl Engine {
    /// Sends frames of network `vni` to `host`.
    pub(super) fn send(
        &mut self,
        now: Instant,
        host: &HostId,
        vni: Vni,
        envelopes: &[&[u8]],
    ) -> Written {
        let time = self.clock.time(now);
        if let Some(remote) = self.peers.get_mut(host)
            && remote.machine.is_coming(time)
        {
            return remote.early.hold(time, vni, envelopes);
        }
        let mut written = Written::default();
        let mut queued = 0;
        for envelope in envelopes {
            let Some((vnet, frame)) = envelope::open(envelope) else {
                written.refused += 1;
                continue;
            };
            match self.queue(host, vni, &vnet, &frame) {
                Queued::Taken(len) => {
                    written.count_sent(envelope);
                    queued += len;
                }
                Queued::Full => written.full += 1,
                Queued::Uncut => {
                    written.refused += 1;
                    self.counts.uncut += 1;
                }
                Queued::Down => written.down += 1,
            }
            if queued >= TRAINS_LEN {
                self.flush(now, host);
                queued = 0;
            }
        }
        if queued > 0 {
            self.flush(now, host);
        }
        if written.frames > 0 {
            self.watch_for_answers(now, time, host);
        }
        written
    }

    /// Sends what has waited for the connection to `host`, which is up.
    pub(super) fn send_early(&mut self, now: Instant, host: &HostId) {
        let time = self.clock.time(now);
        let Some(remote) = self.peers.get_mut(host) else {
            return;
        };
        for (vni, envelope) in remote.early.take(time) {
            self.send(now, host, vni, &[&envelope]);
        }
    }

    /// Frames went to `host`: their acknowledgments are waited for.
    fn watch_for_answers(&mut self, now: Instant, time: Time, host: &HostId) {
        if let Some(remote) = self.peers.get_mut(host)
            && remote.machine.handle_sent(time)
        {
            let due = remote.machine.poll_timeout();
            self.alarm
                .ring_by(due.map(|due| self.clock.instant(due)), now);
        }
    }

    /// Hands a frame's datagrams to quinn. TCP is told what crosses in one datagram; it need not know, but then segments stay
    /// what they are.
    fn queue(&mut self, host: &HostId, vni: Vni, vnet: &VnetHeader, frame: &Frame<'_>) -> Queued {
        let Some(remote) = self.peers.get_mut(host).filter(|peer| peer.machine.is_up()) else {
            return Queued::Down;
        };
        let Some(link) = remote.link.and_then(|link| self.links.get_mut(&link)) else {
            return Queued::Down;
        };
        let ids = &mut remote.ids;
        let connection = &mut link.connection;
        let stream_mtu = mtu::quic_stream(link.payload_max.into());
        let lowered = mss::clamped(vnet, frame.bytes(), stream_mtu);
        let lowered = lowered.as_deref().map(Frame::parse);
        let frame = match &lowered {
            Some(Ok(lowered)) => lowered,
            _ => frame,
        };
        queue_frame(connection, ids, &mut self.arena, vni, vnet, frame)
    }

    fn flush(&mut self, now: Instant, host: &HostId) {
        let Some(handle) = self.peers.get(host).and_then(|remote| remote.link) else {
            return;
        };
        self.transmit(now, handle);
    }

    /// Sends whatever a connection has to send.
    pub(super) fn transmit(&mut self, now: Instant, handle: ConnectionHandle) {
        let mut carrier = None;
        while let Some(link) = self.links.get_mut(&handle) {
            self.out.clear();
            let mtu = usize::from(link.connection.current_mtu());
            let segments = (SEND_LEN_MAX / mtu).min(self.socket.segments_max()).max(1);
            let Some(transmit) = link.connection.poll_transmit(now, segments, &mut self.out) else {
                let due = link.connection.poll_timeout();
                self.alarm.ring_by(due, now);
                break;
            };
            let error = match self.send_out(&transmit) {
                Ok(through) => {
                    carrier = through;
                    continue;
                }
                Err(error) => error,
            };
            self.counts.unsent += 1;
            // A probe for a larger MTU may fail; anything else says that the link has shrunk.
            let is_probe = transmit.segment_size.unwrap_or(transmit.size) > mtu;
            if is_too_long(&error)
                && !is_probe
                && let Some(link) = self.links.get_mut(&handle)
            {
                link.connection.path_changed(now);
            }
        }
        // A relay's own connection goes through no other.
        if let Some(carrier) = carrier {
            self.transmit(now, carrier);
        }
    }

    /// Sends an answer that belongs to no connection; it is in `out`.
    pub(super) fn respond(&mut self, transmit: &quinn_proto::Transmit) {
        match self.send_out(transmit) {
            Ok(carrier) => self.touched.extend(carrier),
            Err(_) => self.counts.unsent += 1,
        }
    }

    /// Sends what is in `out`. Where it goes over a relay, it waits in the connection to that, which is returned.
    fn send_out(
        &mut self,
        transmit: &quinn_proto::Transmit,
    ) -> io::Result<Option<ConnectionHandle>> {
        let Some(place) = Place::of(transmit.destination) else {
            self.socket.send(&udp(transmit, &self.out))?;
            return Ok(None);
        };
        let out = std::mem::take(&mut self.out);
        let size = transmit.segment_size.unwrap_or(transmit.size);
        let sent = self.send_over(place, &out[..transmit.size], size);
        self.out = out;
        sent.map(Some)
    }
}

/// What became of a frame.
enum Queued {
    /// So many bytes of datagrams wait.
    Taken(usize),
    Full,
    Uncut,
    Down,
}

fn queue_frame(
    connection: &mut Connection,
    ids: &mut FrameIds,
    arena: &mut BytesMut,
    vni: Vni,
    vnet: &VnetHeader,
    frame: &Frame<'_>,
) -> Queued {
    let Some(room) = connection.datagrams().max_size() else {
        return Queued::Down;
    };
    let Ok(mut datagrams) = Datagrams::new(vni, vnet, frame, ids, room) else {
        return Queued::Uncut;
    };
    // One allocation for all of them, which is free again when they have been sent.
    arena.reserve(datagrams.count() * room);
    let mut queued = 0;
    while let Some(parts) = datagrams.next_parts() {
        arena.extend_from_slice(parts.header());
        arena.extend_from_slice(parts.inner_headers);
        arena.extend_from_slice(parts.payload);
        queued += parts.len();
        let datagram = arena.split().freeze();
        if connection.datagrams().send(datagram, false).is_err() {
            return Queued::Full;
        }
    }
    Queued::Taken(queued)
}

/// Never ECN-capable, whatever quinn wishes: a mark of the underlay would reach a controller that does nothing, and no flow
/// inside. Unmarked packets are dropped instead, which every flow understands (RFC 6040 §4.3, compatibility mode).
fn udp<'a>(transmit: &quinn_proto::Transmit, out: &'a [u8]) -> Transmit<'a> {
    Transmit {
        destination: transmit.destination,
        ecn: None,
        contents: &out[..transmit.size],
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    }
}

/// Datagrams are sent when so many bytes of them wait: several trains, so that few are short, and no more than a cache holds.
const TRAINS_LEN: usize = 256 << 10;
