//! Cutting frames into datagrams.
//!
//! # Theory of operation
//!
//! [`Datagrams`] turns any frame into datagrams of at most the length a connection carries, into buffers of the caller:
//!
//! - A frame that fits is one datagram. If its checksum was missing, it stays missing.
//! - The payload of a superframe is cut into pieces. Where whole segments fill a datagram well (jumbo underlays, small
//!   segments), cuts lie at multiples of the segment size. Every piece repeats the headers, so that it can become a smaller
//!   superframe by itself.
//! - Where whole segments fill it badly (an inner MTU of 1500 over an underlay of 1500), TCP gets smaller segments that fill it
//!   well. A stream may be cut anywhere, so a lost datagram is a lost segment and nothing waits for anything ([`crate::Run`]).
//! - Messages of UDP must keep their length. There cuts lie anywhere, and a segment survives if all the pieces that it lies in
//!   do. The first and the last piece have the headers, so that one loss cannot take them all.
//! - A longer frame that is no superframe is cut into fragments. An ordinary frame makes two.
//!
//! The datagrams of a frame have equal lengths, to the byte where cuts are free: a batch of equal datagrams is one call with
//! `UDP_SEGMENT`, and quinn ends a batch at a datagram that is more than 16 bytes shorter.

use switch_core::{Frame, Gso, OpenChecksum, VnetHeader, Vni};

use crate::quic_frame::{DatagramHeader, FrameId, PieceGso};
use cut::{Cut, Step, cut_messages, cut_stream};
use plan::Plan;

/// The datagrams of one frame, one after the other.
#[derive(Debug)]
pub struct Datagrams<'a> {
    frame: &'a [u8],
    plan: Plan,
    /// Datagrams returned so far.
    index: usize,
    /// Bytes of the frame, or of the superframe's payload, returned so far.
    at: usize,
}

/// One datagram, in the parts that it is made of. Send them in the order of the fields.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    header: [u8; DatagramHeader::LEN_MAX],
    header_len: usize,
    /// The inner headers that a piece repeats; empty otherwise.
    pub inner_headers: &'a [u8],
    pub payload: &'a [u8],
}

impl Parts<'_> {
    pub fn header(&self) -> &[u8] {
        &self.header[..self.header_len]
    }

    /// Length of the datagram, in bytes. Never zero.
    #[allow(clippy::len_without_is_empty, reason = "a datagram has a header")]
    pub const fn len(&self) -> usize {
        self.header_len + self.inner_headers.len() + self.payload.len()
    }
}

/// The frame cannot cross in datagrams of this length. Count it and drop it, or cut a superframe in software
/// ([`switch_core::Segments`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutFrame {
    #[error("datagrams of {0} bytes are too short to cut frames for")]
    DatagramTooShort(usize),
    #[error("a frame of {0} bytes is longer than any that is carried")]
    FrameTooLong(usize),
    #[error("the headers of a superframe take {0} bytes, more than a piece has for them")]
    HeadersTooLong(usize),
}

impl<'a> Datagrams<'a> {
    /// Least room in a datagram for which frames are cut, in bytes. QUIC's own minimum (RFC 9000 §14) leaves far more.
    pub const DATAGRAM_LEN_MIN: usize = 600;
    /// Longest frame that is cut, in bytes.
    pub const FRAME_LEN_MAX: usize = u16::MAX as usize;
    /// Longest headers of a superframe, in bytes.
    pub const HEADERS_LEN_MAX: usize = DatagramHeader::INNER_HEADERS_LEN_MAX;

    /// Plans the datagrams of `frame`, which `vnet` describes, of at most `datagram_len` bytes each. Draws from `ids` when
    /// the frame must be cut.
    pub fn new(
        vni: Vni,
        vnet: &VnetHeader,
        frame: &Frame<'a>,
        ids: &mut FrameIds,
        datagram_len: usize,
    ) -> Result<Self, CutFrame> {
        let bytes = frame.bytes();
        let len = bytes.len();
        let plan = match (vnet.gso(), vnet.open_checksum()) {
            (Gso::None, checksum) | (_, checksum @ None) => {
                Self::plan_frame(vni, len, checksum, ids, datagram_len)?
            }
            (cut, Some(checksum)) => {
                let gso = PieceGso { cut, checksum };
                Self::plan_pieces(vni, len, vnet.header_len(), gso, ids, datagram_len)?
            }
        };
        Ok(Self {
            frame: bytes,
            plan,
            index: 0,
            at: 0,
        })
    }

    /// How many datagrams there are in all.
    pub const fn count(&self) -> usize {
        self.plan.count
    }

    /// The next datagram in its parts; `None` after the last.
    pub fn next_parts(&mut self) -> Option<Parts<'a>> {
        if self.index == self.plan.count {
            return None;
        }
        let plan = &self.plan;
        let inner_headers = match plan.has_headers(self.index) {
            true => &self.frame[..plan.headers_len],
            false => &[],
        };
        let body = &self.frame[plan.headers_len..];
        let len = plan.payload_len(self.index, self.at, body.len());
        let payload = &body[self.at..self.at + len];
        let header = plan.header(inner_headers.len(), self.at);
        let (header, header_len) = header.to_bytes();
        self.index += 1;
        self.at += len;
        Some(Parts {
            header,
            header_len,
            inner_headers,
            payload,
        })
    }

    /// Writes the next datagram to the start of `out` and returns its length; `None` after the last, or when `out` is shorter
    /// than the `datagram_len` planned for.
    pub fn write_next(&mut self, out: &mut [u8]) -> Option<usize> {
        let parts = self.next_parts()?;
        let out = out.get_mut(..parts.len())?;
        let (header, rest) = out.split_at_mut(parts.header_len);
        let (inner, payload) = rest.split_at_mut(parts.inner_headers.len());
        header.copy_from_slice(parts.header());
        inner.copy_from_slice(parts.inner_headers);
        payload.copy_from_slice(parts.payload);
        Some(parts.len())
    }

    fn plan_frame(
        vni: Vni,
        len: usize,
        checksum: Option<OpenChecksum>,
        ids: &mut FrameIds,
        datagram_len: usize,
    ) -> Result<Plan, CutFrame> {
        let whole = match checksum {
            Some(checksum) => DatagramHeader::OpenFrame { vni, checksum },
            None => DatagramHeader::Frame { vni },
        };
        if whole.len() + len <= datagram_len {
            return Ok(Plan::whole(whole));
        }
        let frame_len = u16::try_from(len).map_err(|_| CutFrame::FrameTooLong(len))?;
        let room = room(datagram_len, DatagramHeader::FRAGMENT_LEN)?;
        Ok(Plan {
            header: DatagramHeader::Fragment {
                vni,
                id: ids.draw(),
                frame_len,
                offset: 0,
                checksum,
            },
            headers_len: 0,
            count: len.div_ceil(room),
            step: Step::Even { total: len },
        })
    }

    fn plan_pieces(
        vni: Vni,
        len: usize,
        headers_len: usize,
        gso: PieceGso,
        ids: &mut FrameIds,
        datagram_len: usize,
    ) -> Result<Plan, CutFrame> {
        let header_len = u16::try_from(headers_len)
            .ok()
            .filter(|_| headers_len <= Self::HEADERS_LEN_MAX)
            .ok_or(CutFrame::HeadersTooLong(headers_len))?;
        let payload = len.saturating_sub(headers_len);
        let payload_len = u16::try_from(payload).map_err(|_| CutFrame::FrameTooLong(len))?;
        let room = room(datagram_len, DatagramHeader::PIECE_LEN)?;
        let Cut { count, step, size } = match gso.is_udp() {
            true => cut_messages(payload, headers_len, gso.size(), room),
            false => cut_stream(payload, headers_len, gso.size(), room),
        };
        // Never more than the superframe's own size.
        let gso = u16::try_from(size).map_or(gso, |size| gso.with_size(size));
        Ok(Plan {
            header: DatagramHeader::Piece {
                vni,
                id: ids.draw(),
                payload_len,
                offset: 0,
                gso,
                header_len,
            },
            headers_len,
            count,
            step,
        })
    }
}

/// Gives the cut frames of a connection their numbers.
#[derive(Clone, Debug, Default)]
pub struct FrameIds(u32);

impl FrameIds {
    pub const fn new() -> Self {
        Self(0)
    }

    const fn draw(&mut self) -> FrameId {
        let id = FrameId(self.0);
        self.0 = self.0.wrapping_add(1);
        id
    }
}

/// Room for bytes of the frame.
const fn room(datagram_len: usize, header_len: usize) -> Result<usize, CutFrame> {
    if datagram_len < Datagrams::DATAGRAM_LEN_MIN {
        Err(CutFrame::DatagramTooShort(datagram_len))
    } else {
        Ok(datagram_len - header_len)
    }
}

mod cut;
mod plan;
