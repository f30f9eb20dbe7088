//! One frame that collects.

use std::ops::Range;

use switch_core::{Frame, Time, VnetHeader, Vni};

use super::{HEADROOM, Piece};
use crate::flow::flow_hash;
use crate::quic_frame::{FrameId, OpenChecksum, PieceGso};
use crate::rebuild::{Template, raw_vnet};

/// The pieces of one frame.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: FrameId,
    pub(super) vni: Vni,
    pub(super) last_piece: Time,
    /// Pieces of later frames since the last one of this.
    pub(super) later_pieces: u32,
    /// Given up.
    pub(super) is_over: bool,
    /// Frames that came out.
    pub(super) emitted: u32,
    kind: Kind,
    total: usize,
    template: Option<Template>,
    /// `None` while the headers have not come.
    flow: Option<u64>,
    /// What has come, in order and merged.
    ranges: Vec<Range<usize>>,
    /// Where to look for the next run.
    cursor: usize,
    buffer: Vec<u8>,
}

/// What is being put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Superframe(PieceGso),
    Frame(Option<OpenChecksum>),
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    New,
    Duplicate,
    Mismatch,
}

impl Slot {
    /// An empty slot; [`Self::open`] next.
    pub(super) fn new(piece: &Piece<'_>) -> Self {
        Self {
            id: piece.id,
            vni: piece.vni,
            last_piece: Time::default(),
            later_pieces: 0,
            is_over: false,
            emitted: 0,
            kind: piece.kind,
            total: 0,
            template: None,
            flow: None,
            ranges: Vec::with_capacity(RANGES_MAX),
            cursor: 0,
            buffer: Vec::new(),
        }
    }

    /// Makes the slot the frame's that a piece belongs to, whatever it was.
    pub(super) fn open(&mut self, piece: &Piece<'_>) {
        self.id = piece.id;
        self.vni = piece.vni;
        self.later_pieces = 0;
        self.is_over = false;
        self.emitted = 0;
        self.kind = piece.kind;
        self.total = piece.total;
        self.template = None;
        self.flow = None;
        self.ranges.clear();
        self.cursor = 0;
        if self.buffer.len() < HEADROOM + piece.total {
            self.buffer.resize(HEADROOM + piece.total, 0);
        }
    }

    pub(super) fn take(&mut self, now: Time, piece: &Piece<'_>) -> Taken {
        let agrees = self.vni == piece.vni && self.kind == piece.kind && self.total == piece.total;
        if !agrees {
            return Taken::Mismatch;
        }
        let range = piece.offset..piece.offset + piece.payload.len();
        let place = self.ranges.partition_point(|known| known.end < range.start);
        let touching = self.ranges[place..]
            .iter()
            .take_while(|known| known.start <= range.end)
            .count();
        let near = &self.ranges[place..place + touching];
        if near
            .iter()
            .any(|known| known.start < range.end && range.start < known.end)
        {
            return Taken::Duplicate;
        }
        if touching == 0 && self.ranges.len() == RANGES_MAX || !self.read_headers(piece) {
            return Taken::Mismatch;
        }
        self.later_pieces = 0;
        self.last_piece = now;
        self.buffer[HEADROOM + range.start..HEADROOM + range.end].copy_from_slice(piece.payload);
        self.insert(place, touching, range);
        Taken::New
    }

    /// Whether all has come.
    pub(super) fn is_complete(&self) -> bool {
        let all = self.ranges.first() == Some(&(0..self.total));
        all && (self.template.is_some() || matches!(self.kind, Kind::Frame(_)))
    }

    /// Whether no more is waited for.
    pub(super) fn is_done(&self) -> bool {
        self.is_over || self.is_complete()
    }

    /// Whether this frame may belong to the flow of another, and so has to come out after it.
    pub(super) fn must_follow(&self, earlier: &Self) -> bool {
        let is_other = |a: Option<u64>, b: Option<u64>| a.is_some() && b.is_some() && a != b;
        self.vni == earlier.vni && !is_other(self.flow, earlier.flow)
    }

    /// The next part of the payload that makes a frame; `None` after the last.
    pub(super) fn next_frame(&mut self) -> Option<Range<usize>> {
        let Kind::Superframe(gso) = self.kind else {
            let is_next = self.cursor == 0 && self.is_complete();
            self.cursor = self.total;
            return is_next.then_some(0..self.total);
        };
        self.template.as_ref()?;
        let size = usize::from(gso.size);
        let cursor = self.cursor;
        let whole_segments = |range: &Range<usize>| {
            let start = range.start.max(cursor).next_multiple_of(size);
            let is_end = range.end == self.total;
            let end = if is_end {
                range.end
            } else {
                range.end / size * size
            };
            (start < end).then_some(start..end)
        };
        let run = self.ranges.iter().find_map(whole_segments)?;
        self.cursor = run.end;
        if let Some(template) = &self.template {
            let start = HEADROOM + run.start - template.len();
            template.write(&run, &mut self.buffer[start..HEADROOM + run.start]);
        }
        Some(run)
    }

    /// The vnet header of a part that [`Self::next_frame`] returned; `None` when the frame is not what it claims to be.
    pub(super) fn validate(&mut self, range: &Range<usize>) -> Option<VnetHeader> {
        let raw = match (self.kind, &self.template) {
            (Kind::Superframe(_), Some(template)) => template.raw_vnet(range),
            (Kind::Frame(Some(open)), _) => raw_vnet(0, 0, open.start, open.offset),
            _ => [0; VnetHeader::LEN],
        };
        let frame = Frame::parse(self.frame_mut(range)).ok()?;
        VnetHeader::validate(&raw, &frame).ok()
    }

    /// Headers and payload.
    pub(super) fn frame_mut(&mut self, range: &Range<usize>) -> &mut [u8] {
        let headers = self.template.as_ref().map_or(0, Template::len);
        &mut self.buffer[HEADROOM + range.start - headers..HEADROOM + range.end]
    }

    /// Keeps the headers if these are the first; false when they are not headers.
    fn read_headers(&mut self, piece: &Piece<'_>) -> bool {
        match self.kind {
            Kind::Superframe(gso) if !piece.headers.is_empty() && self.template.is_none() => {
                self.template = Template::read(piece.headers, gso, self.total);
                self.flow = Frame::parse(piece.headers)
                    .ok()
                    .map(|frame| flow_hash(&frame));
                self.template.is_some()
            }
            Kind::Frame(_) if piece.offset == 0 => {
                self.flow = Frame::parse(piece.payload)
                    .ok()
                    .map(|frame| flow_hash(&frame));
                true
            }
            _ => true,
        }
    }

    /// Enters a range that touches `touching` known ones from `place` on, and overlaps none.
    fn insert(&mut self, place: usize, touching: usize, range: Range<usize>) {
        if touching == 0 {
            self.ranges.insert(place, range);
            return;
        }
        let last = self.ranges[place + touching - 1].end.max(range.end);
        let first = self.ranges[place].start.min(range.start);
        self.ranges[place] = first..last;
        self.ranges.drain(place + 1..place + touching);
    }
}

/// A frame that falls apart further than this is not what any network does to it.
const RANGES_MAX: usize = 64;
