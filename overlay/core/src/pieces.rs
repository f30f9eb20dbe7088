//! Cutting frames into datagrams.
//!
//! # Theory of operation
//!
//! [`Datagrams`] turns any frame into datagrams of at most the length a connection carries, into buffers of the caller:
//!
//! - A frame that fits is one datagram, with its checksum missing if it was.
//! - A superframe is cut into pieces of its payload. Where whole segments fill a datagram well (jumbo underlays, small
//!   segments), cuts lie at multiples of the segment size, and every piece repeats the headers: each can become a smaller
//!   superframe by itself. Where they do not (an inner MTU of 1500 over an underlay of 1500), TCP gets smaller segments that
//!   do: a stream may be cut anywhere, so a lost datagram is a lost segment and nothing waits for anything
//!   ([`crate::Run`]). Messages of UDP may not; their cuts lie anywhere, and a segment survives if all the pieces it lies in
//!   do; then the first and the last piece have the headers, so that one loss cannot take them all.
//! - A longer frame that is no superframe is cut into fragments: two of them, for an ordinary frame.
//!
//! The datagrams of a frame have equal lengths, to the byte where cuts are free: a batch of equal datagrams is one call with
//! `UDP_SEGMENT`, and quinn ends a batch at a datagram that is more than 16 bytes shorter.

use switch_core::{Frame, VnetHeader, Vni};

use crate::quic_frame::{DatagramHeader, FrameId, GsoKind, OpenChecksum, PieceGso};

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

/// One datagram, in the parts it is made of. Send them one behind the other.
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
    pub const HEADERS_LEN_MAX: usize = 256;

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
        let vnet = Vnet::read(vnet);
        let plan = match vnet.gso {
            Some(gso) => {
                Self::plan_pieces(vni, bytes.len(), vnet.header_len, gso, ids, datagram_len)?
            }
            None => Self::plan_frame(vni, bytes.len(), vnet.checksum, ids, datagram_len)?,
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
        let Cut { count, step, size } = match gso.kind {
            GsoKind::Udp => cut_messages(payload, headers_len, usize::from(gso.size), room),
            _ => cut_stream(payload, headers_len, usize::from(gso.size), room),
        };
        // Never more than the superframe's own size.
        let gso = PieceGso {
            size: u16::try_from(size).unwrap_or(gso.size),
            ..gso
        };
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

#[derive(Debug)]
struct Plan {
    /// The header of the first datagram.
    header: DatagramHeader,
    /// Bytes at the start of the frame that pieces repeat.
    headers_len: usize,
    count: usize,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Multiples of the segment size; every piece has headers.
    Aligned { step: usize },
    /// Bodies of equal length, to the byte; `total` counts the headers as often as they are sent.
    Even { total: usize },
}

impl Plan {
    const fn whole(header: DatagramHeader) -> Self {
        Self {
            header,
            headers_len: 0,
            count: 1,
            step: Step::Aligned { step: usize::MAX },
        }
    }

    const fn has_headers(&self, index: usize) -> bool {
        match self.step {
            Step::Aligned { .. } => true,
            Step::Even { .. } => index == 0 || index + 1 == self.count,
        }
    }

    fn payload_len(&self, index: usize, at: usize, whole: usize) -> usize {
        let len = match self.step {
            Step::Aligned { step } => step,
            Step::Even { total } => {
                let (base, longer) = (total / self.count, total % self.count);
                let headers = if self.has_headers(index) {
                    self.headers_len
                } else {
                    0
                };
                base + usize::from(index < longer) - headers
            }
        };
        len.min(whole - at)
    }

    fn header(&self, inner: usize, at: usize) -> DatagramHeader {
        // Both were checked to fit when the plan was made.
        let (inner, at) = (
            u16::try_from(inner).unwrap_or(0),
            u16::try_from(at).unwrap_or(0),
        );
        let mut header = self.header;
        match &mut header {
            DatagramHeader::Piece {
                offset, header_len, ..
            } => {
                *offset = at;
                *header_len = inner;
            }
            DatagramHeader::Fragment { offset, .. } => *offset = at,
            _ => {}
        }
        header
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

/// How many pieces a payload makes, where the cuts lie, and the size of the segments.
struct Cut {
    count: usize,
    step: Step,
    size: usize,
}

/// TCP: all pieces are whole segments, made smaller where that fills datagrams better.
fn cut_stream(payload: usize, headers: usize, size: usize, room: usize) -> Cut {
    if let Some(cut) = cut_aligned(payload, headers, size, room) {
        return cut;
    }
    let segments = (room - headers).div_ceil(size);
    let step_max = (room - headers) / segments * segments;
    let count = payload.div_ceil(step_max);
    let step = payload.div_ceil(count).next_multiple_of(segments);
    Cut {
        count: payload.div_ceil(step),
        step: Step::Aligned { step },
        size: step / segments,
    }
}

/// UDP: segments are messages, and stay as they are.
fn cut_messages(payload: usize, headers: usize, size: usize, room: usize) -> Cut {
    if let Some(cut) = cut_aligned(payload, headers, size, room) {
        return cut;
    }
    let one = payload + headers;
    let (count, total) = match one <= room {
        true => (1, one),
        false => ((one + headers).div_ceil(room), one + headers),
    };
    Cut {
        count,
        step: Step::Even { total },
        size,
    }
}

/// Pieces of whole segments as they are; `None` where those leave much of a datagram empty.
fn cut_aligned(payload: usize, headers: usize, size: usize, room: usize) -> Option<Cut> {
    let segments_fit = (room - headers) / size;
    let is_filled = headers + segments_fit * size >= room - room / WASTE;
    let segments = payload.div_ceil(size);
    if segments_fit == 0 || !is_filled && segments > segments_fit {
        return None;
    }
    let count = segments.div_ceil(segments_fit);
    // The same number of pieces, as equal as they get.
    let step = segments.div_ceil(count) * size;
    Some(Cut {
        count: payload.div_ceil(step),
        step: Step::Aligned { step },
        size,
    })
}

/// What the vnet header says, as this crate writes it.
struct Vnet {
    gso: Option<PieceGso>,
    checksum: Option<OpenChecksum>,
    header_len: usize,
}

impl Vnet {
    fn read(vnet: &VnetHeader) -> Self {
        use switch_core::Gso;
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

/// Aligned cuts may leave one part in so many of a datagram empty.
const WASTE: usize = 8;
