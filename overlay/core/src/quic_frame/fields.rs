//! What the header of a datagram is made of.

use switch_core::bytes::be16;
use switch_core::{Gso, OpenChecksum};

/// Numbers the cut frames of one connection, in the order they are sent. Wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrameId(pub u32);

/// How the superframe is to be cut, and where its checksum is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceGso {
    /// Never [`Gso::None`]; its size is never zero.
    pub cut: Gso,
    /// The offset is the field's own in TCP or UDP, and has eight bits on the wire.
    pub checksum: OpenChecksum,
}

impl PieceGso {
    pub(super) fn read(raw: &[u8]) -> Result<Self, ParseDatagram> {
        let cut = Gso::from_type_byte(raw[14], be16(raw, 12)).ok_or(ParseDatagram::Gso)?;
        if cut.size().unwrap_or(0) == 0 {
            return Err(ParseDatagram::Gso);
        }
        Ok(Self {
            cut,
            checksum: OpenChecksum {
                start: be16(raw, 18),
                offset: raw[15].into(),
            },
        })
    }

    /// Payload bytes a segment.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.cut.size().unwrap_or(0).into()
    }

    /// Whether segments are messages of UDP.
    #[inline]
    pub(crate) const fn is_udp(&self) -> bool {
        matches!(self.cut, Gso::Udp { .. })
    }

    pub(crate) const fn with_size(mut self, new: u16) -> Self {
        if let Gso::TcpV4 { size, .. } | Gso::TcpV6 { size, .. } | Gso::Udp { size } = &mut self.cut
        {
            *size = new;
        }
        self
    }

    /// Only the first segment has CWR.
    pub(crate) const fn without_ecn(mut self) -> Self {
        if let Gso::TcpV4 { ecn, .. } | Gso::TcpV6 { ecn, .. } = &mut self.cut {
            *ecn = false;
        }
        self
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
