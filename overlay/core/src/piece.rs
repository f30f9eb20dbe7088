//! A datagram's part of a frame that was cut.

use switch_core::{OpenChecksum, Vni};

use crate::quic_frame::{DatagramHeader, FrameId, PieceGso};

/// A piece of a superframe, or a fragment of a frame; it has payload, and that lies inside the whole.
pub(crate) struct Piece<'a> {
    pub(crate) vni: Vni,
    pub(crate) id: FrameId,
    pub(crate) whole: Whole,
    /// Length of the whole payload, in bytes.
    pub(crate) total: usize,
    /// Where in it this payload is.
    pub(crate) offset: usize,
    /// Of the superframe; empty where the datagram has none.
    pub(crate) headers: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// What was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    Superframe(PieceGso),
    Frame(Option<OpenChecksum>),
}

impl<'a> Piece<'a> {
    /// `None` when the datagram is neither a piece nor a fragment, or contradicts itself.
    #[inline]
    pub(crate) fn read(header: &DatagramHeader, body: &'a [u8]) -> Option<Self> {
        let (vni, id, whole, total, offset, header_len) = match *header {
            DatagramHeader::Piece {
                vni,
                id,
                payload_len,
                offset,
                gso,
                header_len,
            } => {
                let whole = Whole::Superframe(gso);
                (vni, id, whole, payload_len, offset, header_len)
            }
            DatagramHeader::Fragment {
                vni,
                id,
                frame_len,
                offset,
                checksum,
            } => (vni, id, Whole::Frame(checksum), frame_len, offset, 0),
            _ => return None,
        };
        let (headers, payload) = body.split_at_checked(usize::from(header_len))?;
        let (total, offset) = (usize::from(total), usize::from(offset));
        let is_inside = !payload.is_empty() && offset + payload.len() <= total;
        is_inside.then_some(Self {
            vni,
            id,
            whole,
            total,
            offset,
            headers,
            payload,
        })
    }

    /// How the segments are cut; `None` unless the piece is whole segments of TCP with headers, and so a frame by itself.
    #[inline]
    pub(crate) fn whole_segments(&self) -> Option<PieceGso> {
        let Whole::Superframe(gso) = self.whole else {
            return None;
        };
        let size = gso.size();
        let end = self.offset + self.payload.len();
        let is_whole = !gso.is_udp()
            && !self.headers.is_empty()
            && self.offset.is_multiple_of(size)
            && (end == self.total || end.is_multiple_of(size));
        is_whole.then_some(gso)
    }
}

#[cfg(test)]
mod tests {
    use switch_core::Gso;

    use super::*;

    const TCP_V4: Gso = Gso::TcpV4 {
        size: 100,
        ecn: false,
    };
    const TCP_V6: Gso = Gso::TcpV6 {
        size: 100,
        ecn: false,
    };
    const UDP: Gso = Gso::Udp { size: 100 };

    fn piece(cut: Gso, offset: u16, header_len: u16) -> DatagramHeader {
        DatagramHeader::Piece {
            vni: Vni::new(7).unwrap(),
            id: FrameId(3),
            payload_len: 250,
            offset,
            gso: PieceGso {
                cut,
                checksum: OpenChecksum {
                    start: 34,
                    offset: 16,
                },
            },
            header_len,
        }
    }

    #[test]
    fn what_reaches_beyond_the_whole_or_has_no_payload_is_no_piece() {
        let body = [0; 154];
        let is_piece = |offset, header_len| {
            let header = piece(TCP_V4, offset, header_len);
            Piece::read(&header, &body).is_some()
        };
        assert!(is_piece(0, 54) && is_piece(150, 54));
        assert!(!is_piece(151, 54), "beyond the end");
        assert!(!is_piece(0, 154), "nothing but headers");
        assert!(!is_piece(0, 155), "headers beyond the body");
        assert!(Piece::read(&DatagramHeader::Control, &body).is_none());
    }

    #[test]
    fn only_whole_segments_of_tcp_with_headers_go_on_by_themselves() {
        let goes_on = |cut, offset, header_len, body: &[u8]| {
            let header = piece(cut, offset, header_len);
            let piece = Piece::read(&header, body).unwrap();
            piece.whole_segments().is_some()
        };
        let body = [0; 154];
        assert!(goes_on(TCP_V4, 0, 54, &body));
        assert!(goes_on(TCP_V6, 200, 54, &body[..104]), "the end");
        assert!(!goes_on(UDP, 0, 54, &body));
        assert!(!goes_on(TCP_V4, 50, 54, &body));
        assert!(!goes_on(TCP_V4, 0, 54, &body[..104]));
        assert!(!goes_on(TCP_V4, 0, 0, &body[..100]));
    }
}
