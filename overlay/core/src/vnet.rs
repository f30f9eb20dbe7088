//! The vnet header of a frame, and the fields of a datagram that stand for it on the way.

use switch_core::{DropReason, Frame, Gso, VnetHeader};

use crate::quic_frame::{GsoKind, OpenChecksum, PieceGso};

/// What the vnet header says, as this crate writes it.
pub(crate) struct Vnet {
    pub(crate) gso: Option<PieceGso>,
    pub(crate) checksum: Option<OpenChecksum>,
    pub(crate) header_len: usize,
}

impl Vnet {
    pub(crate) fn read(vnet: &VnetHeader) -> Self {
        let raw = vnet.to_bytes();
        let field = |at: usize| u16::from_ne_bytes([raw[at], raw[at + 1]]);
        let (start, offset) = (field(6), field(8));
        let (kind, ecn, size) = match vnet.gso() {
            Gso::None => {
                let checksum = OpenChecksum { start, offset };
                return Self {
                    gso: None,
                    checksum: vnet.needs_checksum().then_some(checksum),
                    header_len: 0,
                };
            }
            Gso::TcpV4 { size, ecn } => (GsoKind::TcpV4, ecn, size),
            Gso::TcpV6 { size, ecn } => (GsoKind::TcpV6, ecn, size),
            Gso::Udp { size } => (GsoKind::Udp, false, size),
        };
        Self {
            gso: Some(PieceGso {
                kind,
                ecn,
                size,
                checksum_start: start,
                // The field's own place in TCP or UDP.
                checksum_offset: u8::try_from(offset).unwrap_or(0),
            }),
            checksum: None,
            header_len: vnet.header_len(),
        }
    }
}

impl OpenChecksum {
    /// The vnet header of the frame whose checksum is missing, validated like one from a TAP.
    pub fn vnet(self, frame: &[u8]) -> Result<VnetHeader, DropReason> {
        let raw = raw_vnet(0, 0, self.start, self.offset);
        VnetHeader::validate(&raw, &Frame::parse(frame)?)
    }
}

/// A vnet header as a TAP would bring it, with a checksum missing.
pub(crate) fn raw_vnet(kind: u8, size: u16, start: u16, offset: u16) -> [u8; VnetHeader::LEN] {
    let mut raw = [0; VnetHeader::LEN];
    raw[0] = NEEDS_CSUM;
    raw[1] = kind;
    raw[4..6].copy_from_slice(&size.to_ne_bytes());
    raw[6..8].copy_from_slice(&start.to_ne_bytes());
    raw[8..10].copy_from_slice(&offset.to_ne_bytes());
    raw
}

const NEEDS_CSUM: u8 = 1;
