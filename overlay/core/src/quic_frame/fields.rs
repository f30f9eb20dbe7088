//! What the header of a datagram is made of.

use switch_core::bytes::be16;

/// Numbers the cut frames of one connection, in the order they are sent. Wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrameId(pub u32);

/// Where a checksum is missing: summing starts at `start`, and the sum goes `offset` bytes further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenChecksum {
    pub start: u16,
    pub offset: u16,
}

impl OpenChecksum {
    pub(super) fn read(raw: &[u8], at: usize) -> Self {
        Self {
            start: be16(raw, at),
            offset: be16(raw, at + 2),
        }
    }
}

/// How the superframe is to be cut, and where its checksum is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceGso {
    pub kind: GsoKind,
    /// Only the first segment has CWR.
    pub ecn: bool,
    /// Payload bytes a segment; never zero.
    pub size: u16,
    /// Where the transport header starts in the frame.
    pub checksum_start: u16,
    pub checksum_offset: u8,
}

/// What a superframe's segments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    TcpV4,
    TcpV6,
    Udp,
}

impl PieceGso {
    pub(super) fn read(raw: &[u8]) -> Result<Self, ParseDatagram> {
        let (size, kind) = (be16(raw, 12), raw[14]);
        let ecn = kind & GSO_ECN != 0;
        let kind = match (kind & !GSO_ECN, ecn) {
            (GSO_TCPV4, _) => GsoKind::TcpV4,
            (GSO_TCPV6, _) => GsoKind::TcpV6,
            (GSO_UDP, false) => GsoKind::Udp,
            _ => return Err(ParseDatagram::Gso),
        };
        if size == 0 {
            return Err(ParseDatagram::Gso);
        }
        Ok(Self {
            kind,
            ecn,
            size,
            checksum_start: be16(raw, 18),
            checksum_offset: raw[15],
        })
    }

    /// As in the vnet header.
    pub(crate) const fn type_byte(&self) -> u8 {
        let kind = match self.kind {
            GsoKind::TcpV4 => GSO_TCPV4,
            GsoKind::TcpV6 => GSO_TCPV6,
            GsoKind::Udp => GSO_UDP,
        };
        if self.ecn { kind | GSO_ECN } else { kind }
    }
}

/// The datagram is none of ours. Count it and drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDatagram {
    #[error("the datagram ends inside its header")]
    Truncated,
    #[error("datagram kind {0} is not known")]
    Kind(u8),
    #[error("the GSO type or size of a piece is not one that is carried")]
    Gso,
    #[error("a piece is empty, or reaches beyond the frame it belongs to")]
    Extent,
}

const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;
