//! From received datagrams to frames.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Instant;

use overlay_core::ecn::{self, Ecn};
use overlay_core::mss;
use overlay_core::outer::Outer;
use overlay_core::{PathProbe, VxlanHeader};
use quinn_udp::RecvMeta;
use switch_core::{Coalescer, Frame, Joining, PortId, Push, VnetHeader, Vni};
use switch_io::RingPacket;

use super::heard::Heard;
use super::line::{Line, count};
use super::offloaded;
use super::ring::Arrival;
use crate::intake::Intake;
use crate::outlet::Outlet;
use crate::socket::TunnelSocket;
use crate::tunnel::{Ports, Recent};

/// Ports by the network and the address that their frames come with.
pub(super) type VxlanPorts = Ports<(Vni, IpAddr)>;

/// Trains that were received, and how far they have been unpacked.
#[derive(Debug)]
pub(super) struct Trains {
    intake: Intake,
    /// The train being unpacked, and where in it.
    train: usize,
    at: usize,
}

impl Trains {
    pub(super) fn new() -> Self {
        Self {
            intake: Intake::new(),
            train: 0,
            at: 0,
        }
    }

    pub(super) fn are_unpacked(&self) -> bool {
        self.train >= self.intake.count()
    }

    /// Whether the socket had no more when it was received from.
    pub(super) fn were_last(&self) -> bool {
        self.intake.is_drained()
    }

    /// Of the last receive.
    pub(super) fn arrival(&self) -> Arrival {
        let is_long = |train| {
            let meta = self.intake.meta(train);
            meta.len > meta.stride || meta.len > usize::from(switch_io::PacketRing::PACKET_LEN_MAX)
        };
        Arrival {
            trains: u32::try_from(self.intake.count()).unwrap_or(u32::MAX),
            has_long: (0..self.intake.count()).any(is_long),
        }
    }

    pub(super) fn receive(&mut self, socket: &TunnelSocket) -> io::Result<()> {
        self.train = 0;
        self.at = 0;
        self.intake.receive(socket)
    }

    /// Fills buffers with the frames of received datagrams, until there are none or no more room.
    pub(super) fn unpack(
        &mut self,
        unpacker: &mut Unpacker,
        line: &Line,
        ports: &VxlanPorts,
        outlet: &mut Outlet<'_>,
    ) {
        while !self.are_unpacked() && unpacker.has_room(outlet) {
            let meta = self.intake.meta(self.train);
            let end = meta.len.min(self.at + meta.stride.max(1));
            let datagram = self.datagram(self.at..end);
            unpacker.unpack(datagram, (meta.addr, ecn_of(&meta)), line, ports, outlet);
            self.at = end;
            if self.at >= meta.len {
                self.train += 1;
                self.at = 0;
            }
        }
    }

    fn datagram(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.intake.bytes_mut(self.train)[range]
    }
}

fn ecn_of(meta: &RecvMeta) -> Ecn {
    meta.ecn
        .map_or(Ecn::NotEct, |ecn| Ecn::from_bits(ecn as u8))
}

/// Joins the frames of datagrams, and books each on the port of its network and sender.
#[derive(Debug)]
pub(super) struct Unpacker {
    coalescer: Coalescer,
    /// Whose frames the coalescer holds.
    held_for: Option<PortId>,
    recent: Recent<(Vni, SocketAddr)>,
    /// What came that is no frame.
    pub(super) heard: Vec<Heard>,
}

impl Unpacker {
    pub(super) fn new() -> Self {
        Self {
            coalescer: Coalescer::new(),
            held_for: None,
            recent: Recent::new(),
            heard: Vec::new(),
        }
    }

    /// Whether one more datagram can be unpacked.
    pub(super) fn has_room(&self, outlet: &Outlet<'_>) -> bool {
        outlet.has_room(FRAMES)
    }

    fn unpack(
        &mut self,
        datagram: &mut [u8],
        (sender, outer): (SocketAddr, Ecn),
        line: &Line,
        ports: &VxlanPorts,
        outlet: &mut Outlet<'_>,
    ) {
        let Ok((header, _)) = VxlanHeader::parse(datagram) else {
            return count(&line.counters.malformed);
        };
        let search = || ports.find(&(header.vni, sender.ip()));
        let Some(entry) = self.recent.find((header.vni, sender), search) else {
            return self.take_stray(datagram, (header.vni, sender), line, ports);
        };
        let (Some(port), mtu) = (entry.port(), entry.mtu()) else {
            return count(&line.counters.unknown_vni);
        };
        let bytes = &mut datagram[VxlanHeader::LEN..];
        if !ecn::decapsulate(outer, bytes) {
            return count(&line.counters.congestion);
        }
        if self.held_for != Some(port) {
            self.flush(outlet);
            self.held_for = Some(port);
        }
        let Ok(frame) = Frame::parse(bytes) else {
            // The worker finds the same, and counts it on the port.
            return outlet.put(port, &[0; VnetHeader::LEN], bytes);
        };
        // Datagrams stay as they were sent; where a port wants them joined, the worker does it.
        let pushed = match self.coalescer.push(&frame, Joining::Tcp) {
            Push::Flush => {
                self.flush(outlet);
                self.held_for = Some(port);
                self.coalescer.push(&frame, Joining::Tcp)
            }
            pushed => pushed,
        };
        match pushed {
            Push::Taken => {}
            Push::Complete => self.flush(outlet),
            Push::Flush | Push::Unfit => {
                self.flush(outlet);
                let vnet = offloaded::vnet_of(&frame, mtu);
                clamp(&vnet, bytes, mtu);
                outlet.put(port, &vnet, bytes);
            }
        }
    }

    /// Takes a datagram that no port is for.
    #[cold]
    fn take_stray(
        &mut self,
        datagram: &[u8],
        (vni, sender): (Vni, SocketAddr),
        line: &Line,
        ports: &VxlanPorts,
    ) {
        let from = sender.ip();
        let is_known = || ports.any(|(_, remote)| *remote == from);
        let probe = PathProbe::parse(datagram).filter(|_| PathProbe::may_be_in(vni) && is_known());
        let Some(probe) = probe else {
            return count_stray(line, ports, vni, sender);
        };
        if self.heard.len() < HEARD_MAX {
            let len = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
            self.heard.push(Heard { from, probe, len });
        }
    }

    /// Ends a read: nothing is held.
    pub(super) fn finish(&mut self, outlet: &mut Outlet<'_>) {
        self.flush(outlet);
        self.recent.forget();
    }

    /// Empties the coalescer.
    fn flush(&mut self, outlet: &mut Outlet<'_>) {
        if let (Some((vnet, bytes)), Some(port)) = (self.coalescer.take(), self.held_for.take()) {
            outlet.put(port, &vnet.to_bytes(), bytes);
        }
    }
}

/// Does for a packet of the ring what the IP stack would have done; what that would not deliver is malformed.
pub(super) fn unpack_packet(
    unpacker: &mut Unpacker,
    packet: RingPacket<'_>,
    line: &Line,
    ports: &VxlanPorts,
    outlet: &mut Outlet<'_>,
) {
    let Ok(outer) = Outer::parse(packet.bytes, packet.is_verified) else {
        return count(&line.counters.malformed);
    };
    let datagram = &mut packet.bytes[outer.payload];
    unpacker.unpack(datagram, (outer.source, outer.ecn), line, ports, outlet);
}

/// Lowers the MSS of a SYN to what the network carries.
fn clamp(vnet: &[u8; VnetHeader::LEN], bytes: &mut [u8], mtu: u32) {
    let Ok(frame) = Frame::parse(bytes) else {
        return;
    };
    if let Ok(vnet) = VnetHeader::validate(vnet, &frame) {
        mss::clamp(&vnet, bytes, mtu);
    }
}

/// Counts a frame of `vni` from `address` that no port is for, and tells of strangers once.
fn count_stray(line: &Line, ports: &VxlanPorts, vni: Vni, address: SocketAddr) {
    let remote: IpAddr = address.ip();
    let is_known = ports.any(|(known, _)| *known == vni);
    count(if is_known {
        &line.counters.unknown_remote
    } else {
        &line.counters.unknown_vni
    });
    let is_stranger = || !ports.any(|(_, known)| *known == remote);
    if line.strangers.is_news(remote, Instant::now()) && is_stranger() {
        tracing::warn!(%address, vni = vni.value(), "VXLAN from a stranger is dropped");
    }
}

/// A datagram may end a superframe, be a frame of its own, and leave a third to the end of the read.
const FRAMES: usize = 3;
/// Of one read; who is asked more often asks again.
const HEARD_MAX: usize = 64;
