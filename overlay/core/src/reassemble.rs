//! Putting cut frames together again.
//!
//! # Theory of operation
//!
//! A [`Reassembler`] serves one connection in one direction. Each cut frame collects in a slot, its payload at its place in
//! the slot's buffer, behind room for the headers:
//!
//! ```text
//!  free --first piece--> collecting --all there, or given up--> ready --poll_frame--> free
//! ```
//!
//! - A frame is given up when [`ReassembleConfig::reorder_pieces`] pieces of later frames came since its own last one, when
//!   nothing of it came for the hold, or when it is the oldest of too many. The hold is short, because a flow waits for it after
//!   a loss at its end; and four times the longest recent pause between pieces of a frame, because on a slow path a
//!   superframe takes long to arrive.
//! - What a superframe has got by then comes out as runs of whole segments, each a smaller superframe, or an ordinary frame if
//!   it is one segment ([`crate::rebuild`]). The headers of a run are written before its payload, over what was emitted
//!   already or never came; so nothing is copied twice. A fragmented frame comes out whole or not at all.
//! - A frame that is complete waits for earlier frames of its flow that still collect; of two flows neither waits for the
//!   other. Frames that were never cut do not pass through here, and do not wait.
//! - Every byte is taken once: a piece that overlaps what came before is dropped, and so is a piece of a frame that is
//!   done, or too old to know. The window of done frames moves with the highest number seen; numbers wrap.
//! - Nothing that a piece says is believed: what comes out passed [`VnetHeader::validate`].
//!
//! Bounds: slots, ranges a slot, bytes a slot (64 KiB and headers). Buffers stay with their slots, so that a busy
//! connection allocates nothing; [`Reassembler::release`] gives them back.

use std::collections::VecDeque;
use std::time::Duration;

use switch_core::{Time, VnetHeader, Vni};

use crate::pieces::Datagrams;
use crate::quic_frame::{DatagramHeader, FrameId};
use slot::{Kind, Slot, Taken};
use window::Window;

/// Collects the pieces of one connection.
#[derive(Debug)]
pub struct Reassembler {
    config: ReassembleConfig,
    slots: Vec<Slot>,
    /// Slots that collect, the earliest frame first.
    collecting: Vec<usize>,
    /// Slots that are done, in the order they come out.
    ready: VecDeque<usize>,
    free: Vec<usize>,
    window: Window,
    pace: Pace,
    counts: ReassembleCounts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReassembleConfig {
    /// Frames collected at the same time; each may take 64 KiB.
    pub frames_max: usize,
    /// How long a frame waits for its next piece, at least and at most.
    pub hold: Duration,
    pub hold_max: Duration,
    /// Pieces of later frames after which a missing piece is taken for lost.
    pub reorder_pieces: u32,
}

impl Default for ReassembleConfig {
    fn default() -> Self {
        Self {
            frames_max: 16,
            hold: Duration::from_millis(5),
            hold_max: Duration::from_millis(200),
            reorder_pieces: 16,
        }
    }
}

/// What [`Reassembler::push`] did with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Taken,
    /// A duplicate, a replay, or too late.
    Stale,
    /// Contradicts what came before of the same frame, or its own headers.
    Mismatch,
    /// Every slot waits to be polled.
    Full,
    /// Not a piece or a fragment.
    NotAPiece,
}

/// A frame, or what is left of a superframe, for the switch.
#[derive(Debug)]
pub struct Rebuilt<'a> {
    pub vni: Vni,
    pub vnet: VnetHeader,
    pub frame: &'a mut [u8],
}

/// Events since the start. Every field only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReassembleCounts {
    /// Frames that came out whole.
    pub completed: u64,
    /// Superframes of which some segments came out.
    pub partial: u64,
    /// Frames of which nothing came out.
    pub lost: u64,
    /// Pieces that came twice or too late.
    pub stale: u64,
    /// Pieces that contradict others, or themselves.
    pub mismatched: u64,
    /// Pieces that found no slot.
    pub full: u64,
    /// Frames or runs that were not valid when put together.
    pub invalid: u64,
}

impl Reassembler {
    pub fn new(config: ReassembleConfig) -> Self {
        Self {
            config,
            slots: Vec::new(),
            collecting: Vec::with_capacity(config.frames_max),
            ready: VecDeque::new(),
            free: Vec::new(),
            window: Window::default(),
            pace: Pace::default(),
            counts: ReassembleCounts::default(),
        }
    }

    /// Takes the body of a [`DatagramHeader::Piece`] or [`DatagramHeader::Fragment`]. Call [`Self::poll_frame`] until it
    /// returns `None` afterwards.
    pub fn push(&mut self, now: Time, header: &DatagramHeader, body: &[u8]) -> Pushed {
        let Some(piece) = Piece::read(header, body) else {
            return Pushed::NotAPiece;
        };
        self.pace.see(now, piece.id);
        let pushed = self.take(now, &piece);
        match pushed {
            Pushed::Stale => self.counts.stale += 1,
            Pushed::Mismatch => self.counts.mismatched += 1,
            Pushed::Full => self.counts.full += 1,
            Pushed::Taken => {
                self.age_earlier(piece.id);
                self.settle();
            }
            Pushed::NotAPiece => {}
        }
        pushed
    }

    /// The next frame that is ready, validated. Its bytes are there until the next call.
    pub fn poll_frame(&mut self) -> Option<Rebuilt<'_>> {
        let (index, range, vnet) = loop {
            let index = *self.ready.front()?;
            let slot = &mut self.slots[index];
            let Some(range) = slot.next_frame() else {
                self.ready.pop_front();
                self.count_done(index);
                self.free.push(index);
                continue;
            };
            match slot.validate(&range) {
                Some(vnet) => break (index, range, vnet),
                None => self.counts.invalid += 1,
            }
        };
        let slot = &mut self.slots[index];
        slot.emitted += 1;
        let vni = slot.vni;
        Some(Rebuilt {
            vni,
            vnet,
            frame: slot.frame_mut(&range),
        })
    }

    /// Gives up on frames that waited long enough. Poll for frames afterwards.
    pub fn handle_timeout(&mut self, now: Time) {
        let hold = self.hold();
        for index in &self.collecting {
            let slot = &mut self.slots[*index];
            slot.is_over |= now >= slot.last_piece + hold;
        }
        self.settle();
    }

    /// When [`Self::handle_timeout`] is due; `None` while nothing is incomplete.
    pub fn poll_timeout(&self) -> Option<Time> {
        let waiting = self.collecting.iter().map(|index| &self.slots[*index]);
        let first = waiting.map(|slot| slot.last_piece).min()?;
        Some(first + self.hold())
    }

    /// Gives back the memory of a connection that is quiet; does nothing while a frame collects.
    pub fn release(&mut self) {
        if self.collecting.is_empty() && self.ready.is_empty() {
            self.slots = Vec::new();
            self.free = Vec::new();
        }
    }

    pub const fn counts(&self) -> ReassembleCounts {
        self.counts
    }

    fn hold(&self) -> Duration {
        (self.pace.pause * 4).clamp(self.config.hold, self.config.hold_max)
    }

    fn take(&mut self, now: Time, piece: &Piece<'_>) -> Pushed {
        if let Some(index) = self.find(piece.id) {
            return match self.slots[index].take(now, piece) {
                Taken::New => Pushed::Taken,
                Taken::Duplicate => Pushed::Stale,
                Taken::Mismatch => Pushed::Mismatch,
            };
        }
        if !self.window.is_open(piece.id) {
            return Pushed::Stale;
        }
        let Some(index) = self.free_slot(piece) else {
            return Pushed::Full;
        };
        let slot = &mut self.slots[index];
        slot.open(piece);
        if slot.take(now, piece) == Taken::Mismatch {
            self.free.push(index);
            return Pushed::Mismatch;
        }
        self.window.see(piece.id);
        let later = |other: &usize| !self.slots[*other].id.is_after(piece.id);
        let place = self
            .collecting
            .iter()
            .take_while(|other| later(other))
            .count();
        self.collecting.insert(place, index);
        if self.collecting.len() > self.config.frames_max {
            self.slots[self.collecting[0]].is_over = true;
        }
        Pushed::Taken
    }

    fn find(&self, id: FrameId) -> Option<usize> {
        // The latest is the likeliest.
        let mut latest_first = self.collecting.iter().rev().copied();
        latest_first.find(|index| self.slots[*index].id == id)
    }

    fn free_slot(&mut self, piece: &Piece<'_>) -> Option<usize> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        // Those that are ready wait beside those that collect.
        if self.slots.len() > 2 * self.config.frames_max {
            return None;
        }
        self.slots.push(Slot::new(piece));
        Some(self.slots.len() - 1)
    }

    /// A piece came: whatever is earlier and still misses some is a little more likely to miss them for good.
    fn age_earlier(&mut self, id: FrameId) {
        if self.collecting.len() == 1 {
            return;
        }
        for index in &self.collecting {
            let slot = &mut self.slots[*index];
            if id.is_after(slot.id) {
                slot.later_pieces += 1;
                slot.is_over |= slot.later_pieces >= self.config.reorder_pieces;
            }
        }
    }

    /// Moves what is done, and need not wait for an earlier frame of its flow, to the ready.
    fn settle(&mut self) {
        let mut place = 0;
        while place < self.collecting.len() {
            let index = self.collecting[place];
            let slot = &self.slots[index];
            let waits = |earlier: &usize| slot.must_follow(&self.slots[*earlier]);
            if !slot.is_done() || self.collecting[..place].iter().any(waits) {
                place += 1;
                continue;
            }
            self.window.close(slot.id);
            self.collecting.remove(place);
            self.ready.push_back(index);
        }
    }

    fn count_done(&mut self, index: usize) {
        let slot = &self.slots[index];
        let counter = match (slot.is_complete(), slot.emitted) {
            (_, 0) => &mut self.counts.lost,
            (true, _) => &mut self.counts.completed,
            (false, _) => &mut self.counts.partial,
        };
        *counter += 1;
    }
}

/// How fast pieces come.
#[derive(Debug, Default)]
struct Pace {
    last: Option<(FrameId, Time)>,
    /// The longest pause between two pieces of one frame, forgotten by an eighth with each piece.
    pause: Duration,
}

impl Pace {
    fn see(&mut self, now: Time, id: FrameId) {
        if let Some((last, at)) = self.last.replace((id, now))
            && last == id
        {
            self.pause = now.since(at).max(self.pause - self.pause / 8);
        }
    }
}

/// A datagram's part of a frame.
struct Piece<'a> {
    vni: Vni,
    id: FrameId,
    kind: Kind,
    total: usize,
    offset: usize,
    headers: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Piece<'a> {
    fn read(header: &DatagramHeader, body: &'a [u8]) -> Option<Self> {
        let (vni, id, kind, total, offset, header_len) = match *header {
            DatagramHeader::Piece {
                vni,
                id,
                payload_len,
                offset,
                gso,
                header_len,
            } => (
                vni,
                id,
                Kind::Superframe(gso),
                payload_len,
                offset,
                header_len,
            ),
            DatagramHeader::Fragment {
                vni,
                id,
                frame_len,
                offset,
                checksum,
            } => (vni, id, Kind::Frame(checksum), frame_len, offset, 0),
            _ => return None,
        };
        let (headers, payload) = body.split_at_checked(usize::from(header_len))?;
        let (total, offset) = (usize::from(total), usize::from(offset));
        let is_inside = !payload.is_empty() && offset + payload.len() <= total;
        is_inside.then_some(Self {
            vni,
            id,
            kind,
            total,
            offset,
            headers,
            payload,
        })
    }
}

/// Room before the payload.
const HEADROOM: usize = Datagrams::HEADERS_LEN_MAX;

mod slot;
#[cfg(test)]
mod tests;
mod window;
