//! One frame that collects.

use std::ops::Range;

use switch_core::{Frame, Gso, RawVnet, Time, VnetHeader, Vni};

use super::ranges::Ranges;
use crate::piece::{Piece, Whole};
use crate::quic_frame::{DatagramHeader, FrameId};
use crate::rebuild::Template;

/// The pieces of one frame.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: FrameId,
    pub(super) vni: Vni,
    pub(super) last_piece: Time,
    /// Waits to be polled.
    pub(super) is_queued: bool,
    /// A superframe whose segments go on as they come.
    pub(super) is_split: bool,
    /// Complete or given up.
    pub(super) is_over: bool,
    /// Frames that came out.
    pub(super) emitted: u32,
    pub(super) whole: Whole,
    total: usize,
    template: Option<Template>,
    /// What has come, and what of it has come out.
    came: Ranges,
    out: Ranges,
    buffer: Vec<u8>,
    /// The payload that the headers of the last run stand in the place of, and where.
    covered: Vec<u8>,
    covered_at: usize,
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
            is_queued: false,
            is_split: false,
            is_over: false,
            emitted: 0,
            whole: piece.whole,
            total: 0,
            template: None,
            came: Ranges::new(),
            out: Ranges::new(),
            buffer: Vec::new(),
            covered: Vec::with_capacity(HEADROOM),
            covered_at: 0,
        }
    }

    /// Makes the slot the frame's that a piece belongs to, whatever it was.
    pub(super) fn open(&mut self, piece: &Piece<'_>) {
        self.id = piece.id;
        self.vni = piece.vni;
        self.is_split = false;
        self.is_over = false;
        self.emitted = 0;
        self.whole = piece.whole;
        self.total = piece.total;
        self.template = None;
        self.came.clear();
        self.out.clear();
        self.covered.clear();
        if self.buffer.len() < HEADROOM + piece.total {
            self.buffer.resize(HEADROOM + piece.total, 0);
        }
    }

    pub(super) fn take(&mut self, now: Time, piece: &Piece<'_>) -> Taken {
        let agrees =
            self.vni == piece.vni && self.whole == piece.whole && self.total == piece.total;
        if !agrees {
            return Taken::Mismatch;
        }
        let range = piece.offset..piece.offset + piece.payload.len();
        if self.came.overlaps(&range) {
            return Taken::Duplicate;
        }
        if !self.read_headers(piece) || !self.came.insert(range.clone()) {
            return Taken::Mismatch;
        }
        self.uncover();
        self.last_piece = now;
        self.buffer[HEADROOM + range.start..HEADROOM + range.end].copy_from_slice(piece.payload);
        Taken::New
    }

    /// Whether all has come.
    pub(super) fn is_complete(&self) -> bool {
        let has_headers = self.template.is_some() || matches!(self.whole, Whole::Frame(_));
        has_headers && self.came.is_whole(self.total)
    }

    /// The next part of the payload that makes a frame; `None` after the last for now.
    pub(super) fn next_frame(&mut self) -> Option<Range<usize>> {
        self.uncover();
        let run = match self.whole {
            Whole::Superframe(gso) => self.next_run(gso.size())?,
            Whole::Frame(_) if self.is_complete() && self.out.is_empty() => 0..self.total,
            Whole::Frame(_) => return None,
        };
        if !self.out.insert(run.clone()) {
            return None;
        }
        self.write_headers(&run);
        Some(run)
    }

    /// The first whole segments that are there and have not come out.
    fn next_run(&self, size: usize) -> Option<Range<usize>> {
        self.template.as_ref()?;
        self.came.iter().find_map(|range| {
            let is_end = range.end == self.total;
            let end = if is_end {
                range.end
            } else {
                range.end / size * size
            };
            let whole = range.start.next_multiple_of(size)..end;
            self.out.first_gap(&whole)
        })
    }

    /// Writes the headers of a run before it.
    fn write_headers(&mut self, run: &Range<usize>) {
        let Some(template) = &self.template else {
            return;
        };
        let end = HEADROOM + run.start;
        let place = end - template.len()..end;
        if run.start > 0 {
            self.covered.extend_from_slice(&self.buffer[place.clone()]);
            self.covered_at = place.start;
        }
        template.write(run, &mut self.buffer[place]);
    }

    /// Puts back what the headers of the last run cover.
    fn uncover(&mut self) {
        let place = self.covered_at..self.covered_at + self.covered.len();
        self.buffer[place].copy_from_slice(&self.covered);
        self.covered.clear();
    }

    /// The vnet header of a part that [`Self::next_frame`] returned; `None` when the frame is not what it claims to be.
    pub(super) fn validate(&mut self, range: &Range<usize>) -> Option<VnetHeader> {
        let raw = match (self.whole, &self.template) {
            (Whole::Superframe(_), Some(template)) => template.raw_vnet(range),
            (Whole::Frame(open), _) => RawVnet::new(Gso::None, open).to_bytes(),
            _ => RawVnet::default().to_bytes(),
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
        match self.whole {
            Whole::Superframe(gso) if !piece.headers.is_empty() && self.template.is_none() => {
                self.template = Template::read(piece.headers, gso, self.total);
                self.template.is_some()
            }
            _ => true,
        }
    }
}

/// Room before the payload.
const HEADROOM: usize = DatagramHeader::INNER_HEADERS_LEN_MAX;
