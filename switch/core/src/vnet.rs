//! The vnet header: what a frame's sender left to the device.
//!
//! # Theory of operation
//!
//! A TAP with `IFF_VNET_HDR` puts this header before every frame (Linux `include/uapi/linux/virtio_net.h`; virtio 1.2
//! §5.1.6). It is native endian on a TAP.
//!
//! ```text
//!  0       1          2         4          6            8             10
//! +-------+----------+---------+----------+------------+-------------+
//! | flags | gso_type | hdr_len | gso_size | csum_start | csum_offset |
//! +-------+----------+---------+----------+------------+-------------+
//! ```
//!
//! The sandbox can write anything here, and another kernel will act on it. So it is never relayed: [`VnetHeader::validate`]
//! reads it beside the frame, and what goes out is rebuilt from what was checked. `gso_type` is a number, not a bit set,
//! with the ECN bit beside it. Rules:
//!
//! - A missing checksum lies behind the IP header, never inside what the guard inspects: a checksum written over an ARP
//!   field, a neighbor's target or a UDP port would change the frame after it was let pass.
//! - At the outer transport header the field must be that protocol's own. Deeper, inside a tunnel, any field in range is
//!   accepted: only the sender knows what it encapsulates.
//! - A superframe needs a missing checksum, headers that agree with its GSO type, an exact IP length, a valid IPv4 header
//!   checksum (the kernel drops others silently). One that fits a single segment is an ordinary frame.
//! - `DATA_VALID` is cleared: a sandbox can forge it, and the receiver would then accept a wrong checksum.

use crate::bytes::be16;
use crate::frame::ethertype;
use crate::packet::{Fragment, Packet, TCP_HEADER_LEN, UDP_HEADER_LEN, Version, protocol};
use crate::{DropReason, Frame, checksum};

/// A checked vnet header. It describes one frame, the one it was validated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct VnetHeader {
    gso: Gso,
    partial: Option<Partial>,
    header_len: u16,
}

/// How a superframe is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Gso {
    /// Not a superframe.
    #[default]
    None,
    /// TCP over IPv4, `size` bytes of payload a segment; `ecn`: only the first segment has CWR.
    TcpV4 { size: u16, ecn: bool },
    /// TCP over IPv6.
    TcpV6 { size: u16, ecn: bool },
    /// UDP over either, `size` bytes of payload a datagram (USO).
    Udp { size: u16 },
}

impl Gso {
    /// Payload bytes a segment; `None` for an ordinary frame.
    pub const fn size(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::TcpV4 { size, .. } | Self::TcpV6 { size, .. } | Self::Udp { size } => Some(size),
        }
    }
}

impl VnetHeader {
    /// Length on the wire, in bytes.
    pub const LEN: usize = 10;
    /// An ordinary frame with nothing left to do.
    pub const NONE: Self = Self {
        gso: Gso::None,
        partial: None,
        header_len: 0,
    };

    /// Checks the header `raw` that came with `frame`, and rebuilds it.
    pub fn validate(raw: &[u8], frame: &Frame<'_>) -> Result<Self, DropReason> {
        let raw = Raw::read(raw).ok_or(DropReason::VnetMalformed)?;
        if raw.is_empty() {
            return Ok(Self::NONE);
        }
        let packet = Packet::parse(frame);
        let partial = raw.partial(frame, packet.as_ref())?;
        let kind = raw.gso_kind()?;
        let Some(kind) = kind else {
            return Ok(Self::ordinary(partial));
        };
        let packet = packet.ok_or(DropReason::VnetHeaders)?;
        superframe(&raw, kind, frame, &packet, partial)
    }

    fn ordinary(partial: Option<Partial>) -> Self {
        Self {
            gso: Gso::None,
            partial,
            header_len: partial.map_or(0, Partial::field_end),
        }
    }

    /// The header for a superframe built here, whose checksum is left open.
    pub(crate) fn superframe(
        gso: Gso,
        transport: u16,
        checksum_offset: u16,
        header_len: u16,
    ) -> Self {
        Self {
            gso,
            partial: Some(Partial {
                start: transport,
                offset: checksum_offset,
            }),
            header_len,
        }
    }

    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let partial = self.partial.unwrap_or(Partial {
            start: 0,
            offset: 0,
        });
        let (gso_type, gso_size) = match self.gso {
            Gso::None => (GSO_NONE, 0),
            Gso::TcpV4 { size, ecn } => (GSO_TCPV4 | ecn_bit(ecn), size),
            Gso::TcpV6 { size, ecn } => (GSO_TCPV6 | ecn_bit(ecn), size),
            Gso::Udp { size } => (GSO_UDP_L4, size),
        };
        let mut bytes = [0; Self::LEN];
        bytes[0] = if self.partial.is_some() {
            NEEDS_CSUM
        } else {
            0
        };
        bytes[1] = gso_type;
        bytes[2..4].copy_from_slice(&self.header_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&gso_size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&partial.start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&partial.offset.to_ne_bytes());
        bytes
    }

    pub const fn gso(&self) -> Gso {
        self.gso
    }

    pub const fn is_superframe(&self) -> bool {
        !matches!(self.gso, Gso::None)
    }

    /// Whether [`checksum::complete`] has work to do.
    pub const fn needs_checksum(&self) -> bool {
        self.partial.is_some()
    }

    /// Length of all headers of a superframe, from the Ethernet header to the end of the transport header.
    pub const fn header_len(&self) -> usize {
        self.header_len as usize
    }

    /// Where summing starts and, from there, where the sum goes.
    pub(crate) fn partial_checksum(&self) -> Option<(usize, usize)> {
        self.partial
            .map(|partial| (usize::from(partial.start), usize::from(partial.offset)))
    }

    /// For a frame of `len` bytes: how many frames it is on the wire, and the length of the longest.
    pub(crate) fn segmentation(&self, len: usize) -> (u32, usize) {
        let Some(size) = self.gso.size().map(usize::from) else {
            return (1, len);
        };
        let payload_len = len.saturating_sub(self.header_len());
        let count = u32::try_from(payload_len.div_ceil(size)).unwrap_or(u32::MAX);
        (count, self.header_len() + size.min(payload_len))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Partial {
    start: u16,
    offset: u16,
}

impl Partial {
    fn field_end(self) -> u16 {
        self.start.saturating_add(self.offset).saturating_add(2)
    }
}

#[derive(Clone, Copy)]
struct Raw {
    flags: u8,
    gso_type: u8,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    TcpV4,
    TcpV6,
    Udp,
}

impl Raw {
    fn read(raw: &[u8]) -> Option<Self> {
        let raw: &[u8; VnetHeader::LEN] = raw.first_chunk()?;
        let field = |at: usize| u16::from_ne_bytes([raw[at], raw[at + 1]]);
        Some(Self {
            flags: raw[0],
            gso_type: raw[1],
            gso_size: field(4),
            csum_start: field(6),
            csum_offset: field(8),
        })
    }

    const fn is_empty(&self) -> bool {
        self.flags & NEEDS_CSUM == 0 && self.gso_type == GSO_NONE
    }

    fn gso_kind(&self) -> Result<Option<Kind>, DropReason> {
        match (self.gso_type & !GSO_ECN, self.has_ecn()) {
            (GSO_NONE, false) => Ok(None),
            (GSO_TCPV4, _) => Ok(Some(Kind::TcpV4)),
            (GSO_TCPV6, _) => Ok(Some(Kind::TcpV6)),
            (GSO_UDP_L4, false) => Ok(Some(Kind::Udp)),
            _ => Err(DropReason::VnetGsoType),
        }
    }

    const fn has_ecn(&self) -> bool {
        self.gso_type & GSO_ECN != 0
    }

    fn partial(
        &self,
        frame: &Frame<'_>,
        packet: Option<&Packet>,
    ) -> Result<Option<Partial>, DropReason> {
        if self.flags & NEEDS_CSUM == 0 {
            return Ok(None);
        }
        let partial = Partial {
            start: self.csum_start,
            offset: self.csum_offset,
        };
        let start = usize::from(partial.start);
        let field_end = start + usize::from(partial.offset) + 2;
        // The header length is 16 bits wide, and covers the field.
        if field_end > frame.bytes().len() || field_end > usize::from(u16::MAX) {
            return Err(DropReason::VnetChecksum);
        }
        let allowed = match packet {
            Some(packet) => allows(packet, &partial),
            None => start >= frame.packet_offset() && !is_inspected(frame.ethertype()),
        };
        if allowed {
            Ok(Some(partial))
        } else {
            Err(DropReason::VnetChecksum)
        }
    }
}

/// Whether a packet may have its checksum missing there.
fn allows(packet: &Packet, partial: &Partial) -> bool {
    let start = usize::from(partial.start);
    if packet.fragment != Fragment::Whole || start < packet.transport || start >= packet.end {
        return false;
    }
    let outer = start == packet.transport;
    match packet.protocol {
        protocol::TCP => outer && partial.offset == TCP_CHECKSUM,
        protocol::UDP if outer => partial.offset == UDP_CHECKSUM,
        protocol::UDP => start >= packet.transport + UDP_HEADER_LEN,
        protocol::ICMPV6 => outer && partial.offset == ICMPV6_CHECKSUM,
        _ => true,
    }
}

const fn is_inspected(number: u16) -> bool {
    matches!(number, ethertype::ARP | ethertype::IPV4 | ethertype::IPV6)
}

fn superframe(
    raw: &Raw,
    kind: Kind,
    frame: &Frame<'_>,
    packet: &Packet,
    partial: Option<Partial>,
) -> Result<VnetHeader, DropReason> {
    let partial = partial.ok_or(DropReason::VnetChecksum)?;
    let header_len = superframe_header_len(kind, frame, packet).ok_or(DropReason::VnetHeaders)?;
    if usize::from(partial.start) != packet.transport {
        return Err(DropReason::VnetChecksum);
    }
    let ipv4_header = &frame.bytes()[packet.start..packet.transport];
    if packet.version == Version::V4 && !checksum::verifies(0, ipv4_header) {
        return Err(DropReason::VnetIpv4Checksum);
    }
    let size = raw.gso_size;
    let payload_len = packet.end - usize::from(header_len);
    if size == 0 || payload_len.div_ceil(usize::from(size)) > SEGMENTS_MAX {
        return Err(DropReason::VnetGsoSize);
    }
    if payload_len <= usize::from(size) {
        // Linux makes an ordinary frame of it too (`virtio_net_hdr_to_skb`).
        return Ok(VnetHeader::ordinary(Some(partial)));
    }
    let ecn = raw.has_ecn();
    let gso = match kind {
        Kind::TcpV4 => Gso::TcpV4 { size, ecn },
        Kind::TcpV6 => Gso::TcpV6 { size, ecn },
        Kind::Udp => Gso::Udp { size },
    };
    Ok(VnetHeader {
        gso,
        partial: Some(partial),
        header_len,
    })
}

/// `None` when the headers are not those of `kind`, or a length field disagrees with the frame.
fn superframe_header_len(kind: Kind, frame: &Frame<'_>, packet: &Packet) -> Option<u16> {
    let expected = match kind {
        Kind::TcpV4 => packet.version == Version::V4 && packet.protocol == protocol::TCP,
        Kind::TcpV6 => packet.version == Version::V6 && packet.protocol == protocol::TCP,
        Kind::Udp => packet.protocol == protocol::UDP,
    };
    // A jumbogram states its length elsewhere, and cannot be cut here.
    let is_jumbo = packet.version == Version::V6 && be16(frame.bytes(), packet.start + 4) == 0;
    if !expected
        || is_jumbo
        || packet.fragment != Fragment::Whole
        || packet.end != frame.bytes().len()
    {
        return None;
    }
    let transport = packet.transport(frame);
    let len = match kind {
        Kind::Udp => {
            let len = usize::from(u16::from_be_bytes([*transport.get(4)?, *transport.get(5)?]));
            if len != transport.len() {
                return None;
            }
            UDP_HEADER_LEN
        }
        Kind::TcpV4 | Kind::TcpV6 => usize::from(*transport.get(12)? >> 4) * 4,
    };
    let minimum = if kind == Kind::Udp {
        UDP_HEADER_LEN
    } else {
        TCP_HEADER_LEN
    };
    if len < minimum || len > transport.len() {
        return None;
    }
    u16::try_from(packet.transport + len).ok()
}

const fn ecn_bit(ecn: bool) -> u8 {
    if ecn { GSO_ECN } else { 0 }
}

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

pub(crate) const TCP_CHECKSUM: u16 = 16;
pub(crate) const UDP_CHECKSUM: u16 = 6;
const ICMPV6_CHECKSUM: u16 = 2;

/// Most segments of a superframe. A sender with a sane segment size stays far below; one byte each would make a single
/// read cost its receivers 64 thousand writes.
const SEGMENTS_MAX: usize = 2048;

#[cfg(test)]
mod tests;
