//! The vnet header: what a frame's sender left to the device.
//!
//! # Theory of operation
//!
//! A TAP with `IFF_VNET_HDR` puts this header before every frame; [`RawVnet`] is its layout.
//!
//! The sandbox can write anything here, and another kernel will act on it. So it is never relayed: [`VnetHeader::validate`]
//! reads it beside the frame, and what goes out is rebuilt from what was checked. Rules:
//!
//! - A missing checksum lies behind the IP header, never inside what the guard inspects: a checksum written over an ARP
//!   field, a neighbor's target or a UDP port would change the frame after it was let pass.
//! - At the outer transport header the field must be that protocol's own. Deeper, inside a tunnel, any field in range is
//!   accepted: only the sender knows what it encapsulates.
//! - A superframe needs a missing checksum, headers that agree with its GSO type, an exact IP length, a valid IPv4 header
//!   checksum (the kernel drops others silently). One that fits a single segment is an ordinary frame.
//! - `DATA_VALID` is cleared: a sandbox can forge it, and the receiver would then accept a wrong checksum.

mod gso;
mod raw;
#[cfg(test)]
mod tests;

pub use gso::Gso;
pub use raw::{OpenChecksum, RawVnet};

use crate::bytes::{be16, put_be16};
use crate::frame::ethertype;
use crate::packet::{Fragment, Packet, TCP_HEADER_LEN, UDP_HEADER_LEN, Version, protocol};
use crate::{DropReason, Frame, checksum};

/// A checked vnet header. It describes one frame, the one it was validated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct VnetHeader {
    gso: Gso,
    open: Option<OpenChecksum>,
    header_len: u16,
}

impl VnetHeader {
    /// Length on the wire, in bytes.
    pub const LEN: usize = RawVnet::LEN;
    /// An ordinary frame with nothing left to do.
    pub const NONE: Self = Self {
        gso: Gso::None,
        open: None,
        header_len: 0,
    };

    /// Checks the header `raw` that came with `frame`, and rebuilds it.
    pub fn validate(raw: &[u8], frame: &Frame<'_>) -> Result<Self, DropReason> {
        let raw = RawVnet::read(raw).ok_or(DropReason::VnetMalformed)?;
        if raw.is_empty() {
            return Ok(Self::NONE);
        }
        let packet = Packet::parse(frame);
        let open = open_checksum(&raw, frame, packet.as_ref())?;
        let gso = raw.gso().ok_or(DropReason::VnetGsoType)?;
        let Some(size) = gso.size() else {
            return Ok(Self::ordinary(open));
        };
        let packet = packet.ok_or(DropReason::VnetHeaders)?;
        superframe(gso, usize::from(size), frame, &packet, open)
    }

    fn ordinary(open: Option<OpenChecksum>) -> Self {
        Self {
            gso: Gso::None,
            open,
            header_len: open.map_or(0, field_end),
        }
    }

    /// The header for a superframe built here, whose checksum is left open.
    pub(crate) fn superframe(gso: Gso, open: OpenChecksum, header_len: u16) -> Self {
        Self {
            gso,
            open: Some(open),
            header_len,
        }
    }

    #[inline]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        RawVnet::new(self.gso, self.open)
            .with_header_len(self.header_len)
            .to_bytes()
    }

    pub const fn gso(&self) -> Gso {
        self.gso
    }

    pub const fn is_superframe(&self) -> bool {
        !matches!(self.gso, Gso::None)
    }

    /// Whether [`Self::complete_checksum`] has work to do.
    pub const fn needs_checksum(&self) -> bool {
        self.open.is_some()
    }

    /// The checksum that is missing.
    pub const fn open_checksum(&self) -> Option<OpenChecksum> {
        self.open
    }

    /// Writes the checksum that is missing; does nothing when none is. `frame` must be the frame that this was validated for:
    /// offsets outside it leave it unchanged.
    ///
    /// It trusts the sum of the pseudo-header that the sender put into the checksum's field, and so works at any depth of
    /// encapsulation. A checksum that is complete but wrong is not touched by anything.
    pub fn complete_checksum(&self, frame: &mut [u8]) {
        let Some(open) = self.open else {
            return;
        };
        let (start, offset) = (usize::from(open.start), usize::from(open.offset));
        let Some(covered) = frame.get_mut(start..) else {
            return;
        };
        if covered.len() < offset + 2 {
            return;
        }
        let checksum = checksum::finish(checksum::sum(0, covered));
        put_be16(covered, offset, checksum);
    }

    /// The same after the frame grew by so many bytes before its packet, as by a VLAN tag that came, or shrank.
    #[must_use]
    pub fn moved(self, growth: isize) -> Self {
        let moved = |at: u16| match at {
            0 => 0,
            at => at.saturating_add_signed(i16::try_from(growth).unwrap_or(0)),
        };
        Self {
            open: self.open.map(|open| OpenChecksum {
                start: moved(open.start),
                ..open
            }),
            header_len: moved(self.header_len),
            ..self
        }
    }

    /// Length of all headers of a superframe, from the Ethernet header to the end of the transport header.
    pub const fn header_len(&self) -> usize {
        self.header_len as usize
    }

    /// For a frame of `len` bytes: how many frames it is on the wire, and how many bytes those have.
    pub fn on_wire(&self, len: usize) -> (u32, u64) {
        let (frames, _) = self.segmentation(len);
        let (len, header_len) = (as_u64(len), as_u64(self.header_len()));
        let headers = u64::from(frames.saturating_sub(1)) * header_len;
        (frames, len + headers)
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

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl Frame<'_> {
    /// The same frame, known to be the superframe that `vnet` describes.
    #[inline]
    #[must_use]
    pub fn with_vnet(self, vnet: &VnetHeader) -> Self {
        let (segment_count, segment_len) = vnet.segmentation(self.bytes().len());
        self.of_segments(segment_count, segment_len)
    }
}

/// The checksum that `raw` says is missing, if that is so and may be.
fn open_checksum(
    raw: &RawVnet,
    frame: &Frame<'_>,
    packet: Option<&Packet>,
) -> Result<Option<OpenChecksum>, DropReason> {
    let Some(open) = raw.open_checksum() else {
        return Ok(None);
    };
    let start = usize::from(open.start);
    let field_end = start + usize::from(open.offset) + 2;
    // The header length is 16 bits wide, and covers the field.
    if field_end > frame.bytes().len() || field_end > usize::from(u16::MAX) {
        return Err(DropReason::VnetChecksum);
    }
    let allowed = match packet {
        Some(packet) => allows(packet, open),
        None => start >= frame.packet_offset().max(START_MIN) && !is_inspected(frame.ethertype()),
    };
    if allowed {
        Ok(Some(open))
    } else {
        Err(DropReason::VnetChecksum)
    }
}

fn field_end(open: OpenChecksum) -> u16 {
    open.start.saturating_add(open.offset).saturating_add(2)
}

/// Whether a packet may have its checksum missing there.
fn allows(packet: &Packet, open: OpenChecksum) -> bool {
    let start = usize::from(open.start);
    if packet.fragment != Fragment::Whole || start < packet.transport || start >= packet.end {
        return false;
    }
    let outer = start == packet.transport;
    match packet.protocol {
        protocol::TCP => outer && open.offset == TCP_CHECKSUM,
        protocol::UDP if outer => open.offset == UDP_CHECKSUM,
        protocol::UDP => start >= packet.transport + UDP_HEADER_LEN,
        protocol::ICMPV6 => outer && open.offset == ICMPV6_CHECKSUM,
        _ => true,
    }
}

const fn is_inspected(number: u16) -> bool {
    matches!(number, ethertype::ARP | ethertype::IPV4 | ethertype::IPV6)
}

fn superframe(
    gso: Gso,
    size: usize,
    frame: &Frame<'_>,
    packet: &Packet,
    open: Option<OpenChecksum>,
) -> Result<VnetHeader, DropReason> {
    let open = open.ok_or(DropReason::VnetChecksum)?;
    let header_len = superframe_header_len(gso, frame, packet).ok_or(DropReason::VnetHeaders)?;
    if usize::from(open.start) != packet.transport {
        return Err(DropReason::VnetChecksum);
    }
    let ipv4_header = &frame.bytes()[packet.start..packet.transport];
    if packet.version == Version::V4 && !checksum::verifies(0, ipv4_header) {
        return Err(DropReason::VnetIpv4Checksum);
    }
    let payload_len = packet.end - usize::from(header_len);
    if size == 0 || payload_len.div_ceil(size) > SEGMENTS_MAX {
        return Err(DropReason::VnetGsoSize);
    }
    if payload_len <= size {
        // Linux makes an ordinary frame of it too (`virtio_net_hdr_to_skb`).
        return Ok(VnetHeader::ordinary(Some(open)));
    }
    Ok(VnetHeader {
        gso,
        open: Some(open),
        header_len,
    })
}

/// `None` when the headers are not those of `gso`, or a length field disagrees with the frame.
fn superframe_header_len(gso: Gso, frame: &Frame<'_>, packet: &Packet) -> Option<u16> {
    let expected = match gso {
        Gso::TcpV4 { .. } => packet.version == Version::V4 && packet.protocol == protocol::TCP,
        Gso::TcpV6 { .. } => packet.version == Version::V6 && packet.protocol == protocol::TCP,
        Gso::Udp { .. } => packet.protocol == protocol::UDP,
        Gso::None => false,
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
    let (len, len_min) = if let Gso::Udp { .. } = gso {
        let len = transport.get(..UDP_HEADER_LEN).map(|udp| be16(udp, 4))?;
        if usize::from(len) != transport.len() {
            return None;
        }
        (UDP_HEADER_LEN, UDP_HEADER_LEN)
    } else {
        (usize::from(*transport.get(12)? >> 4) * 4, TCP_HEADER_LEN)
    };
    if len < len_min || len > transport.len() {
        return None;
    }
    u16::try_from(packet.transport + len).ok()
}

/// Linux takes no frame whose missing checksum starts earlier (`virtio_net_hdr_to_skb`: the length of an IPv4 header).
const START_MIN: usize = 20;
pub(crate) const TCP_CHECKSUM: u16 = 16;
pub(crate) const UDP_CHECKSUM: u16 = 6;
const ICMPV6_CHECKSUM: u16 = 2;

/// Most segments of a superframe. A sender with a sane segment size stays far below; one byte each would make a single
/// read cost its receivers 64 thousand writes.
const SEGMENTS_MAX: usize = 2048;
