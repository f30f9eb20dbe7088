//! The header of a frame inside a QUIC datagram (RFC 9221).
//!
//! # Theory of operation
//!
//! One datagram carries a whole frame, or a piece of one. The kind decides the header's length, so that reading is one
//! match and no loop. All fields are big-endian. Bits named zero are sent as zero, and nobody looks at them.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+-----------------------------------------------+
//! | kind  | zero  |                      VNI                      |   0: a frame, nothing left to do. VNI zero: 4, on
//! +-------+-------+---------------+-------------------------------+      its way through a relay; 15, of the peers
//! |        checksum start         |        checksum offset        |   1: a frame with a checksum missing
//! +-------------------------------+-------------------------------+
//!
//! +-------+-------+-----------------------------------------------+
//! |   2   | zero  |                      VNI                      |   2: a piece of a superframe
//! +-------+-------+-----------------------------------------------+
//! |                           frame id                            |
//! +-------------------------------+-------------------------------+
//! |        payload length         |         piece offset          |   of the whole superframe's payload, and in it
//! +-------------------------------+---------------+---------------+
//! |           GSO size            |   GSO type    | csum offset   |   type: 1 TCPv4, 4 TCPv6, 5 UDP; 0x80 ECN
//! +-------------------------------+---------------+---------------+
//! |         header length         |        checksum start         |   header length zero: this piece has no headers
//! +-------------------------------+-------------------------------+
//!
//! +-------+-------+-----------------------------------------------+
//! |   3   | zero  |                      VNI                      |   3: a fragment of a frame
//! +-------+-------+-----------------------------------------------+
//! |                           frame id                            |
//! +-------------------------------+-------------------------------+
//! |         frame length          |        fragment offset        |
//! +-------------------------------+-------------------------------+
//! |        checksum start         |        checksum offset        |   both zero: no checksum missing
//! +-------------------------------+-------------------------------+
//! ```
//!
//! A missing checksum stays missing on the way: the seal of the datagram covers the frame, and whoever takes the frame out of
//! the far switch computes the sum. The numbers are those of the vnet header ([`switch_core::RawVnet`]). The receiver does not
//! believe them: it validates what comes out like a frame from a TAP.

use switch_core::bytes::{be16, be32};
use switch_core::{OpenChecksum, Vni};

pub use fields::{FrameId, ParseDatagram, PieceGso};

/// The header of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramHeader {
    /// The body is a frame with nothing left to do.
    Frame { vni: Vni },
    /// The body is a frame whose checksum is missing.
    OpenFrame { vni: Vni, checksum: OpenChecksum },
    /// The body is `header_len` bytes of headers, then payload from `offset` on.
    Piece {
        vni: Vni,
        id: FrameId,
        payload_len: u16,
        offset: u16,
        gso: PieceGso,
        header_len: u16,
    },
    /// The body is a part of a frame, from `offset` on.
    Fragment {
        vni: Vni,
        id: FrameId,
        frame_len: u16,
        offset: u16,
        checksum: Option<OpenChecksum>,
    },
    /// The body is a UDP payload of two hosts that a third one connects ([`crate::RelayHeader`]).
    Relay,
    /// The body is a message of the peers ([`crate::Peer`]).
    Control,
}

impl DatagramHeader {
    /// Length of the longest header, in bytes.
    pub const LEN_MAX: usize = 20;
    pub const FRAME_LEN: usize = 4;
    pub const OPEN_FRAME_LEN: usize = 8;
    pub const PIECE_LEN: usize = 20;
    pub const FRAGMENT_LEN: usize = 16;
    /// Longest headers of a superframe in a piece, in bytes.
    pub const INNER_HEADERS_LEN_MAX: usize = 256;

    /// Length on the wire, in bytes. Never zero.
    #[allow(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub const fn len(&self) -> usize {
        match self {
            Self::Frame { .. } | Self::Relay | Self::Control => Self::FRAME_LEN,
            Self::OpenFrame { .. } => Self::OPEN_FRAME_LEN,
            Self::Piece { .. } => Self::PIECE_LEN,
            Self::Fragment { .. } => Self::FRAGMENT_LEN,
        }
    }

    /// The network; `None` for what belongs to none.
    pub const fn vni(&self) -> Option<Vni> {
        match self {
            Self::Frame { vni }
            | Self::OpenFrame { vni, .. }
            | Self::Piece { vni, .. }
            | Self::Fragment { vni, .. } => Some(*vni),
            Self::Relay | Self::Control => None,
        }
    }

    /// Whether the body is a frame, or segments that need not wait for others ([`crate::Run`]).
    pub const fn is_complete(&self) -> bool {
        match self {
            Self::Frame { .. } | Self::OpenFrame { .. } => true,
            Self::Piece { gso, .. } => !gso.is_udp(),
            Self::Fragment { .. } | Self::Relay | Self::Control => false,
        }
    }

    /// Splits a datagram into header and body.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), ParseDatagram> {
        let kind = datagram.first().ok_or(ParseDatagram::Truncated)? >> 4;
        let len = match kind {
            KIND_FRAME | KIND_RELAY | KIND_CONTROL => Self::FRAME_LEN,
            KIND_OPEN_FRAME => Self::OPEN_FRAME_LEN,
            KIND_PIECE => Self::PIECE_LEN,
            KIND_FRAGMENT => Self::FRAGMENT_LEN,
            other => return Err(ParseDatagram::Kind(other)),
        };
        let (raw, body) = datagram
            .split_at_checked(len)
            .ok_or(ParseDatagram::Truncated)?;
        let vni = Vni::new(be32(raw, 0) & Vni::MAX).ok_or(ParseDatagram::Truncated)?;
        let header = match kind {
            KIND_FRAME => Self::Frame { vni },
            KIND_OPEN_FRAME => Self::OpenFrame {
                vni,
                checksum: read_checksum(raw, 4),
            },
            KIND_PIECE => Self::read_piece(vni, raw, body.len())?,
            KIND_FRAGMENT => Self::read_fragment(vni, raw, body.len())?,
            KIND_RELAY => Self::Relay,
            _ => Self::Control,
        };
        Ok((header, body))
    }

    /// Writes the header to the start of `out`; `None` when it does not fit.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let (bytes, len) = self.to_bytes();
        out.get_mut(..len)?.copy_from_slice(&bytes[..len]);
        Some(len)
    }

    /// The header, and how many of the bytes it has.
    pub fn to_bytes(&self) -> ([u8; Self::LEN_MAX], usize) {
        let mut out = Writer::default();
        match *self {
            Self::Frame { vni } => out.start(KIND_FRAME, vni.value()),
            Self::Relay => out.start(KIND_RELAY, 0),
            Self::Control => out.start(KIND_CONTROL, 0),
            Self::OpenFrame { vni, checksum } => {
                out.start(KIND_OPEN_FRAME, vni.value());
                out.put(&checksum.start.to_be_bytes());
                out.put(&checksum.offset.to_be_bytes());
            }
            Self::Piece {
                vni,
                id,
                payload_len,
                offset,
                gso,
                header_len,
            } => {
                out.start(KIND_PIECE, vni.value());
                out.put(&id.0.to_be_bytes());
                out.put(&payload_len.to_be_bytes());
                out.put(&offset.to_be_bytes());
                out.put(&gso.cut.size().unwrap_or(0).to_be_bytes());
                let offset = u8::try_from(gso.checksum.offset).unwrap_or(0);
                out.put(&[gso.cut.type_byte(), offset]);
                out.put(&header_len.to_be_bytes());
                out.put(&gso.checksum.start.to_be_bytes());
            }
            Self::Fragment {
                vni,
                id,
                frame_len,
                offset,
                checksum,
            } => {
                out.start(KIND_FRAGMENT, vni.value());
                out.put(&id.0.to_be_bytes());
                out.put(&frame_len.to_be_bytes());
                out.put(&offset.to_be_bytes());
                let checksum = checksum.unwrap_or_default();
                out.put(&checksum.start.to_be_bytes());
                out.put(&checksum.offset.to_be_bytes());
            }
        }
        (out.bytes, out.len)
    }

    fn read_piece(vni: Vni, raw: &[u8], body_len: usize) -> Result<Self, ParseDatagram> {
        let (payload_len, offset) = (be16(raw, 8), be16(raw, 10));
        let header_len = be16(raw, 16);
        let gso = PieceGso::read(raw)?;
        let piece_len = body_len.checked_sub(usize::from(header_len));
        if !piece_len.is_some_and(|len| is_inside(offset, len, payload_len)) {
            return Err(ParseDatagram::Extent);
        }
        Ok(Self::Piece {
            vni,
            id: FrameId(be32(raw, 4)),
            payload_len,
            offset,
            gso,
            header_len,
        })
    }

    fn read_fragment(vni: Vni, raw: &[u8], body_len: usize) -> Result<Self, ParseDatagram> {
        let (frame_len, offset) = (be16(raw, 8), be16(raw, 10));
        if !is_inside(offset, body_len, frame_len) {
            return Err(ParseDatagram::Extent);
        }
        let checksum = read_checksum(raw, 12);
        Ok(Self::Fragment {
            vni,
            id: FrameId(be32(raw, 4)),
            frame_len,
            offset,
            checksum: (checksum != OpenChecksum::default()).then_some(checksum),
        })
    }
}

fn read_checksum(raw: &[u8], at: usize) -> OpenChecksum {
    OpenChecksum {
        start: be16(raw, at),
        offset: be16(raw, at + 2),
    }
}

/// A piece has bytes, and they lie inside the whole.
fn is_inside(offset: u16, len: usize, whole: u16) -> bool {
    len > 0 && usize::from(offset) + len <= usize::from(whole)
}

#[derive(Default)]
struct Writer {
    bytes: [u8; DatagramHeader::LEN_MAX],
    len: usize,
}

impl Writer {
    fn start(&mut self, kind: u8, vni: u32) {
        self.put(&(u32::from(kind) << 28 | vni).to_be_bytes());
    }

    fn put(&mut self, field: &[u8]) {
        self.bytes[self.len..self.len + field.len()].copy_from_slice(field);
        self.len += field.len();
    }
}

const KIND_FRAME: u8 = 0;
const KIND_OPEN_FRAME: u8 = 1;
const KIND_PIECE: u8 = 2;
const KIND_FRAGMENT: u8 = 3;
const KIND_RELAY: u8 = 4;
const KIND_CONTROL: u8 = 15;

mod fields;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switch_core::Gso;

    use super::*;

    fn headers() -> impl Strategy<Value = DatagramHeader> {
        let vni = (0..=Vni::MAX).prop_map(|vni| Vni::new(vni).unwrap());
        let checksum = (any::<u16>(), any::<u8>());
        let gso = (0..3_u8, any::<bool>(), 1..=u16::MAX, checksum).prop_map(
            |(kind, ecn, size, (start, offset))| PieceGso {
                cut: match kind {
                    0 => Gso::TcpV4 { size, ecn },
                    1 => Gso::TcpV6 { size, ecn },
                    _ => Gso::Udp { size },
                },
                checksum: OpenChecksum {
                    start,
                    offset: offset.into(),
                },
            },
        );
        (vni, gso, 0..6_u8, any::<u32>(), any::<[u16; 3]>()).prop_map(
            |(vni, gso, kind, id, [a, b, c])| {
                let checksum = OpenChecksum {
                    start: a,
                    offset: b,
                };
                let (id, whole, offset) = (FrameId(id), a.max(1), b % a.max(1));
                match kind {
                    0 => DatagramHeader::Frame { vni },
                    1 => DatagramHeader::OpenFrame { vni, checksum },
                    2 => DatagramHeader::Piece {
                        vni,
                        id,
                        payload_len: whole,
                        offset,
                        gso,
                        header_len: c % 200,
                    },
                    3 => DatagramHeader::Fragment {
                        vni,
                        id,
                        frame_len: whole,
                        offset,
                        checksum: (c != 0).then_some(OpenChecksum {
                            start: c,
                            offset: b,
                        }),
                    },
                    4 => DatagramHeader::Relay,
                    _ => DatagramHeader::Control,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(header in headers()) {
            let mut bytes = vec![0; 300];
            let len = header.write(&mut bytes).unwrap();
            prop_assert_eq!(len, header.len());
            // One byte of payload, behind the inner headers if there are any.
            let inner = match header {
                DatagramHeader::Piece { header_len, .. } => usize::from(header_len),
                _ => 0,
            };
            let (read, body) = DatagramHeader::parse(&bytes[..len + inner + 1]).unwrap();
            prop_assert_eq!(read, header);
            prop_assert_eq!(body.len(), inner + 1);
        }

        #[test]
        fn what_is_read_is_written_back(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let Ok((header, body)) = DatagramHeader::parse(&bytes) else { return Ok(()) };
            let (written, len) = header.to_bytes();
            prop_assert_eq!(len + body.len(), bytes.len());
            // All but the four bits that are not looked at, and the VNI of what belongs to none.
            let known = if header.vni().is_none() { 1 } else { 4 };
            prop_assert_eq!(written[0], bytes[0] & 0xf0);
            prop_assert_eq!(&written[1..known], &bytes[1..known]);
            prop_assert_eq!(&written[4..len.max(4)], &bytes[4..len.max(4)]);
        }
    }

    #[test]
    fn a_header_cut_short_is_truncated() {
        for kind in [0_u8, 1, 2, 3, 4, 15] {
            let datagram = [kind << 4; 20];
            for len in 0..4 {
                assert_eq!(
                    DatagramHeader::parse(&datagram[..len]),
                    Err(ParseDatagram::Truncated)
                );
            }
        }
        assert_eq!(
            DatagramHeader::parse(&[0x50; 40]),
            Err(ParseDatagram::Kind(5))
        );
    }

    #[test]
    fn a_piece_beyond_its_frame_is_refused() {
        let header = DatagramHeader::Fragment {
            vni: Vni::new(1).unwrap(),
            id: FrameId(0),
            frame_len: 10,
            offset: 8,
            checksum: None,
        };
        let (bytes, _) = header.to_bytes();
        for (body, good) in [(0, false), (1, true), (2, true), (3, false)] {
            let datagram = &bytes[..DatagramHeader::FRAGMENT_LEN + body];
            assert_eq!(DatagramHeader::parse(datagram).is_ok(), good, "{body}");
        }
    }
}
