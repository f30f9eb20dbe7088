//! Coalescing: consecutive segments of one flow become a superframe.
//!
//! # Theory of operation
//!
//! The inverse of [`crate::Segments`], and held to it: cutting what was coalesced gives back the very frames that went in.
//! So a frame joins only if all it adds is payload: same headers but for length, checksum, the TCP sequence number (which
//! continues) and the IPv4 identification (which counts up). All payloads have the size of the first, the last may be
//! shorter; PSH or FIN end the superframe. Frames that cutting could not restore never join anything: fragments, IPv4
//! options, IPv6 extensions, padding, any wrong or absent checksum, TCP flags other than ACK, ECE, PSH and FIN.
//!
//! TCP is a stream: nobody is to know where its segments ended, and Linux joins them on every receiver (GRO). Datagrams have
//! ends that mean something: firewalls look at their length, captures and raw sockets show them, and Linux joins them only
//! for a socket that asked. So they are joined only where [`Joining`] says so.

use crate::bytes::{be16, be32, put_be16};
use crate::packet::{
    Fragment, IPV4_HEADER_LEN, IPV6_HEADER_LEN, Packet, TCP_HEADER_LEN, UDP_HEADER_LEN, Version,
    protocol,
};
use crate::segment::{TCP_FIN, TCP_FLAGS, TCP_PSH};
use crate::vnet::{TCP_CHECKSUM, UDP_CHECKSUM};
use crate::{Frame, Gso, OpenChecksum, VnetHeader, checksum, ethertype};

/// Which frames may become a superframe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Joining {
    /// Segments of TCP.
    #[default]
    Tcp,
    /// Datagrams of UDP too.
    TcpAndUdp,
}

impl Joining {
    /// Whether frames of this one's protocol may join. Cheap; [`Coalescer::push`] finds out about the frame itself.
    pub fn concerns(self, frame: &Frame<'_>) -> bool {
        let protocol = match frame.ethertype() {
            ethertype::IPV4 => frame.packet().get(9),
            ethertype::IPV6 => frame.packet().get(6),
            _ => None,
        };
        match protocol {
            Some(&protocol::TCP) => true,
            Some(&protocol::UDP) => self == Self::TcpAndUdp,
            _ => false,
        }
    }
}

/// Collects frames of one flow into a superframe.
#[derive(Debug)]
pub struct Coalescer {
    buffer: Vec<u8>,
    held: Option<Held>,
}

/// What [`Coalescer::push`] did with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// Taken; later frames may join.
    Taken,
    /// Taken, and nothing may join any more: [`Coalescer::take`] next.
    Complete,
    /// Not taken, because it does not continue what is held: [`Coalescer::take`], then push again.
    Flush,
    /// Not taken, and never will be: take what is held, then send the frame on its own.
    Unfit,
}

impl Coalescer {
    /// Holds superframes of at most 65,535 bytes of packet; allocates once.
    pub fn new() -> Self {
        Self {
            buffer: Vec::with_capacity(FRAME_MAX),
            held: None,
        }
    }

    /// Offers a frame with its checksums complete.
    pub fn push(&mut self, frame: &Frame<'_>, joining: Joining) -> Push {
        let piece = Some(frame).filter(|frame| joining.concerns(frame));
        let Some(piece) = piece.and_then(Piece::read) else {
            return Push::Unfit;
        };
        let Some(held) = &mut self.held else {
            self.buffer.clear();
            self.buffer.extend_from_slice(frame.bytes());
            let held = self.held.insert(Held::new(piece));
            return held.state();
        };
        if !held.continues(&self.buffer, frame, &piece) {
            return Push::Flush;
        }
        if !held.has_room(&self.buffer, &piece) {
            // As with Linux: what would have ended this superframe begins no other.
            return if held.ends_with(&piece) {
                Push::Unfit
            } else {
                Push::Flush
            };
        }
        self.buffer
            .extend_from_slice(&frame.bytes()[piece.header_len..]);
        held.add(&piece);
        held.state()
    }

    /// What was collected: the vnet header and the frame, valid until the next push. `None` when nothing is held.
    pub fn take(&mut self) -> Option<(VnetHeader, &[u8])> {
        let held = self.held.take()?;
        if held.count == 1 {
            return Some((VnetHeader::NONE, &self.buffer));
        }
        let vnet = held.finish(&mut self.buffer)?;
        Some((vnet, &self.buffer))
    }
}

impl Default for Coalescer {
    fn default() -> Self {
        Self::new()
    }
}

/// A frame that may join others.
#[derive(Clone, Copy, Debug)]
struct Piece {
    packet: Packet,
    header_len: usize,
    payload_len: usize,
    /// TCP flags that end a superframe; zero for UDP.
    ending: u8,
}

impl Piece {
    fn read(frame: &Frame<'_>) -> Option<Self> {
        let packet = Packet::parse(frame)?;
        let bytes = frame.bytes();
        let ip_len = match packet.version {
            Version::V4 => IPV4_HEADER_LEN,
            Version::V6 => IPV6_HEADER_LEN,
        };
        let plain = packet.transport == packet.start + ip_len
            && packet.fragment == Fragment::Whole
            && packet.end == bytes.len();
        if !plain
            || packet.version == Version::V4
                && !is_restorable(0, &bytes[packet.start..packet.transport], 10)
        {
            return None;
        }
        let transport = packet.transport(frame);
        let pseudo_header = checksum::pseudo_header(&packet, bytes, transport.len());
        let (len, ending) = match packet.protocol {
            protocol::TCP if is_restorable(pseudo_header, transport, usize::from(TCP_CHECKSUM)) => {
                tcp_header(transport)?
            }
            protocol::UDP if checksum::verifies(pseudo_header, transport) => {
                (udp_header(transport)?, 0)
            }
            _ => return None,
        };
        let payload_len = transport.len().checked_sub(len).filter(|len| *len > 0)?;
        Some(Self {
            packet,
            header_len: packet.transport + len,
            payload_len,
            ending,
        })
    }

    fn is_tcp(&self) -> bool {
        self.packet.protocol == protocol::TCP
    }
}

/// Whether the checksum is right, and in the one of its two forms of zero that cutting writes.
fn is_restorable(pseudo_header: u64, bytes: &[u8], field: usize) -> bool {
    checksum::verifies(pseudo_header, bytes) && bytes.get(field..field + 2) != Some(&[0xff, 0xff])
}

/// Length of the header, and the flags that end a superframe.
fn tcp_header(transport: &[u8]) -> Option<(usize, u8)> {
    let header = transport.get(..TCP_HEADER_LEN)?;
    let len = usize::from(header[12] >> 4) * 4;
    let flags = header[TCP_FLAGS];
    let ending = flags & (TCP_FIN | TCP_PSH);
    let plain = flags & !(TCP_FIN | TCP_PSH | TCP_ECE) == TCP_ACK;
    (plain && len >= TCP_HEADER_LEN).then_some((len, ending))
}

fn udp_header(transport: &[u8]) -> Option<usize> {
    let header = transport.get(..UDP_HEADER_LEN)?;
    let has_checksum = be16(header, usize::from(UDP_CHECKSUM)) != 0;
    (has_checksum && usize::from(be16(header, 4)) == transport.len()).then_some(UDP_HEADER_LEN)
}

/// What the buffer holds: the first frame, and the payloads of those that joined.
#[derive(Debug)]
struct Held {
    first: Piece,
    count: usize,
    payload_len: usize,
    /// Ending flags of the last, which has them alone.
    ending: u8,
    is_complete: bool,
}

impl Held {
    fn new(first: Piece) -> Self {
        Self {
            first,
            count: 1,
            payload_len: first.payload_len,
            ending: first.ending,
            is_complete: first.ending != 0,
        }
    }

    fn state(&self) -> Push {
        if self.is_complete {
            Push::Complete
        } else {
            Push::Taken
        }
    }

    fn continues(&self, buffer: &[u8], frame: &Frame<'_>, piece: &Piece) -> bool {
        !self.is_complete
            && piece.header_len == self.first.header_len
            && piece.packet.transport == self.first.packet.transport
            && piece.packet.version == self.first.packet.version
            && piece.packet.protocol == self.first.packet.protocol
            && piece.payload_len <= self.first.payload_len
            && self.headers_continue(buffer, frame.bytes())
    }

    fn has_room(&self, buffer: &[u8], piece: &Piece) -> bool {
        let len = buffer.len() - self.first.packet.start + piece.payload_len;
        let segments_max = if piece.is_tcp() {
            TCP_SEGMENTS_MAX
        } else {
            UDP_SEGMENTS_MAX
        };
        self.count < segments_max && len <= PACKET_MAX
    }

    /// Whether nothing may join after `piece`.
    fn ends_with(&self, piece: &Piece) -> bool {
        piece.ending != 0 || piece.payload_len < self.first.payload_len
    }

    fn headers_continue(&self, held: &[u8], new: &[u8]) -> bool {
        let start = self.first.packet.start;
        let transport = self.first.packet.transport;
        let same = |from: usize, to: usize| held[from..to] == new[from..to];
        let ip = match self.first.packet.version {
            Version::V4 => {
                // The count stays below TCP_SEGMENTS_MAX.
                let next_id =
                    be16(held, start + 4).wrapping_add(u16::try_from(self.count).unwrap_or(0));
                same(start, start + 2)
                    && be16(new, start + 4) == next_id
                    && same(start + 6, start + 10)
                    && same(start + 12, transport)
            }
            Version::V6 => same(start, start + 4) && same(start + 6, transport),
        };
        same(0, start) && ip && self.transport_continues(&held[transport..], &new[transport..])
    }

    fn transport_continues(&self, held: &[u8], new: &[u8]) -> bool {
        if !self.first.is_tcp() {
            return held[..4] == new[..4];
        }
        let options_end = self.first.header_len - self.first.packet.transport;
        // A packet is far shorter than 4 GiB.
        let next_seq = be32(held, 4).wrapping_add(u32::try_from(self.payload_len).unwrap_or(0));
        held[..4] == new[..4]
            && be32(new, 4) == next_seq
            && held[8..TCP_FLAGS] == new[8..TCP_FLAGS]
            && held[TCP_FLAGS] == new[TCP_FLAGS] & !(TCP_FIN | TCP_PSH)
            && held[14..16] == new[14..16]
            && held[18..options_end] == new[18..options_end]
    }

    fn add(&mut self, piece: &Piece) {
        self.count += 1;
        self.payload_len += piece.payload_len;
        self.ending = piece.ending;
        self.is_complete = self.ends_with(piece);
    }

    /// Turns the first frame's headers into the superframe's. Every length below fits: the packet is within its maximum.
    fn finish(&self, buffer: &mut [u8]) -> Option<VnetHeader> {
        let packet = &self.first.packet;
        let size = u16::try_from(self.first.payload_len).ok()?;
        let len = u16::try_from(buffer.len() - packet.start).ok()?;
        let transport_len = u16::try_from(buffer.len() - packet.transport).ok()?;
        match packet.version {
            Version::V4 => {
                put_be16(buffer, packet.start + 2, len);
                put_be16(buffer, packet.start + 10, 0);
                let sum = checksum::sum(0, &buffer[packet.start..packet.transport]);
                put_be16(buffer, packet.start + 10, !checksum::fold(sum));
            }
            Version::V6 => put_be16(buffer, packet.start + 4, transport_len),
        }
        let pseudo_header = checksum::pseudo_header(packet, buffer, usize::from(transport_len));
        let transport = &mut buffer[packet.transport..];
        let (gso, field) = match (packet.protocol, packet.version) {
            (protocol::TCP, version) => {
                transport[TCP_FLAGS] |= self.ending;
                let gso = match version {
                    Version::V4 => Gso::TcpV4 { size, ecn: false },
                    Version::V6 => Gso::TcpV6 { size, ecn: false },
                };
                (gso, TCP_CHECKSUM)
            }
            _ => {
                put_be16(transport, 4, transport_len);
                (Gso::Udp { size }, UDP_CHECKSUM)
            }
        };
        put_be16(transport, usize::from(field), checksum::fold(pseudo_header));
        let start = u16::try_from(packet.transport).ok()?;
        let header_len = u16::try_from(self.first.header_len).ok()?;
        let open = OpenChecksum {
            start,
            offset: field,
        };
        Some(VnetHeader::superframe(gso, open, header_len))
    }
}

const TCP_ACK: u8 = 0x10;
const TCP_ECE: u8 = 0x40;
const PACKET_MAX: usize = 65_535;
/// Ethernet header, two tags, packet.
const FRAME_MAX: usize = 14 + 8 + PACKET_MAX;
/// What `VnetHeader::validate` lets pass.
const TCP_SEGMENTS_MAX: usize = 2048;
/// Linux cuts UDP superframes of up to 64 everywhere (`UDP_MAX_SEGMENTS` until 6.9).
const UDP_SEGMENTS_MAX: usize = 64;

#[cfg(test)]
mod gro;

#[cfg(test)]
mod tests;
