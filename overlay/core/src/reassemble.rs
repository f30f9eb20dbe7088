//! Putting cut frames together again.
//!
//! # Theory of operation
//!
//! A [`Reassembler`] serves one connection in one direction. Each cut frame collects in a slot, its payload at its place in
//! the slot's buffer, behind room for the headers:
//!
//! ```text
//!  free --first piece--> collecting --all there, or given up--> over --poll_frame--> free
//! ```
//!
//! - Frames come out in the order in which their last pieces came. That is the order in which they were sent, if the path keeps
//!   it. A frame that misses a piece holds nothing up: later frames come out before it, or it never comes out.
//! - Pieces of a superframe come one behind the other, and it comes out when it is whole. When something else comes in between,
//!   a piece was lost or overtaken. Then the whole segments that are there come out first, and later pieces come out as they
//!   come. The same happens when nothing of a superframe came for a pause. A fragmented frame comes out whole or not at all.
//! - Frames that were never cut do not pass through here; before one goes on, its holder calls [`Reassembler::make_way`].
//! - A superframe that comes out in parts makes runs of whole segments. Each run is a smaller superframe, or an ordinary frame if
//!   it is one segment ([`crate::rebuild`]). The headers of a run are written before its payload, over other payload, which is
//!   put back afterwards; so a payload is copied once.
//! - A frame is given up when nothing of it came for the hold, or when it is the oldest of too many.
//! - Every byte is taken once. A piece that overlaps what came before is dropped. So is a piece of a frame that is over, or that
//!   is older than the window of known frames, which moves with the highest number seen. Numbers wrap.
//! - Nothing that a piece says is believed: what comes out passed [`VnetHeader::validate`].
//!
//! Bounds: slots, ranges a slot, bytes a slot (64 KiB and headers). Buffers stay with their slots, so that a busy
//! connection allocates nothing; [`Reassembler::release`] gives them back.

use std::collections::VecDeque;
use std::time::Duration;

use switch_core::{Time, VnetHeader, Vni};

use crate::piece::{Piece, Whole};
use crate::quic_frame::{DatagramHeader, FrameId};
use slot::{Slot, Taken};
use window::Window;

/// Collects the pieces of one connection.
#[derive(Debug)]
pub struct Reassembler {
    config: ReassembleConfig,
    slots: Vec<Slot>,
    /// Slots that collect, the one that was opened first at the front.
    collecting: Vec<usize>,
    /// The superframe among them whose pieces come one behind the other. Nothing else came since its last one.
    filling: Option<usize>,
    /// Slots that may have something to put out, in the order they do.
    ready: VecDeque<usize>,
    free: Vec<usize>,
    window: Window,
    counts: ReassembleCounts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReassembleConfig {
    /// Frames collected at the same time; each may take 64 KiB.
    pub frames_max: usize,
    /// How long the part of a superframe that has come waits for the next piece, so that both go on as one.
    pub pause: Duration,
    /// How long a frame's next piece is waited for.
    pub hold: Duration,
}

impl Default for ReassembleConfig {
    fn default() -> Self {
        Self {
            frames_max: 16,
            pause: Duration::from_millis(5),
            hold: Duration::from_millis(200),
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
    /// Frames of which all came out, superframes at once or by parts.
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
            collecting: Vec::with_capacity(config.frames_max + 1),
            filling: None,
            ready: VecDeque::new(),
            free: Vec::new(),
            window: Window::default(),
            counts: ReassembleCounts::default(),
        }
    }

    /// Takes the body of a [`DatagramHeader::Piece`] or [`DatagramHeader::Fragment`]. Call [`Self::poll_frame`] until it
    /// returns `None` afterwards.
    pub fn push(&mut self, now: Time, header: &DatagramHeader, body: &[u8]) -> Pushed {
        let Some(piece) = Piece::read(header, body) else {
            return Pushed::NotAPiece;
        };
        match self.take(now, &piece) {
            Ok(index) => {
                if self.filling.is_some_and(|filling| filling != index) {
                    self.make_way();
                }
                self.settle(index);
                Pushed::Taken
            }
            Err(refused) => {
                self.count_refused(refused);
                refused
            }
        }
    }

    /// A frame that was never cut is about to go on. The part of a superframe that came before it must go first: poll for
    /// frames if this says so.
    pub fn make_way(&mut self) -> bool {
        let Some(index) = self.filling.take() else {
            return false;
        };
        self.slots[index].is_split = true;
        self.queue(index);
        true
    }

    /// The next frame that is ready, validated. Its bytes are there until the next call.
    pub fn poll_frame(&mut self) -> Option<Rebuilt<'_>> {
        let (index, range, vnet) = loop {
            let index = *self.ready.front()?;
            let slot = &mut self.slots[index];
            let Some(range) = slot.next_frame() else {
                self.ready.pop_front();
                self.leave_queue(index);
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

    /// Frames that waited long enough go on as far as they are there, or are given up. Poll for frames afterwards.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Some(index) = self.filling
            && now >= self.slots[index].last_piece + self.config.pause
        {
            self.make_way();
        }
        let mut place = 0;
        while let Some(index) = self.collecting.get(place).copied() {
            if now >= self.slots[index].last_piece + self.config.hold {
                self.end(place);
            } else {
                place += 1;
            }
        }
    }

    /// When [`Self::handle_timeout`] is due; `None` while nothing is incomplete.
    pub fn poll_timeout(&self) -> Option<Time> {
        if let Some(index) = self.filling {
            return Some(self.slots[index].last_piece + self.config.pause);
        }
        let waiting = self.collecting.iter().map(|index| &self.slots[*index]);
        let first = waiting.map(|slot| slot.last_piece).min()?;
        Some(first + self.config.hold)
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

    /// The slot that took the piece.
    fn take(&mut self, now: Time, piece: &Piece<'_>) -> Result<usize, Pushed> {
        let found = self.find(piece.id);
        let index = match found {
            Some(index) => index,
            None => self.open(piece)?,
        };
        let taken = self.slots[index].take(now, piece);
        if found.is_some() {
            return match taken {
                Taken::New => Ok(index),
                Taken::Duplicate => Err(Pushed::Stale),
                Taken::Mismatch => Err(Pushed::Mismatch),
            };
        }
        if taken != Taken::New {
            self.free.push(index);
            return Err(Pushed::Mismatch);
        }
        self.window.see(piece.id);
        self.collecting.push(index);
        if self.collecting.len() > self.config.frames_max {
            self.end(0);
        }
        Ok(index)
    }

    fn find(&self, id: FrameId) -> Option<usize> {
        // The latest is the likeliest.
        let mut latest_first = self.collecting.iter().rev().copied();
        latest_first.find(|index| self.slots[*index].id == id)
    }

    fn open(&mut self, piece: &Piece<'_>) -> Result<usize, Pushed> {
        if !self.window.is_open(piece.id) {
            return Err(Pushed::Stale);
        }
        let index = self.free_slot(piece).ok_or(Pushed::Full)?;
        self.slots[index].open(piece);
        Ok(index)
    }

    fn free_slot(&mut self, piece: &Piece<'_>) -> Option<usize> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        // Those that are over wait beside those that collect.
        if self.slots.len() > 2 * self.config.frames_max {
            return None;
        }
        self.slots.push(Slot::new(piece));
        Some(self.slots.len() - 1)
    }

    /// What becomes of a slot that has taken a piece.
    fn settle(&mut self, index: usize) {
        let slot = &self.slots[index];
        if slot.is_complete() {
            if let Some(place) = self.collecting.iter().rposition(|other| *other == index) {
                self.end(place);
            }
        } else if slot.is_split {
            self.queue(index);
        } else if matches!(slot.whole, Whole::Superframe(_)) && !slot.is_over {
            self.filling = Some(index);
        }
    }

    /// The slot at a place of `collecting` takes no more.
    fn end(&mut self, place: usize) {
        let index = self.collecting.remove(place);
        if self.filling == Some(index) {
            self.filling = None;
        }
        let slot = &mut self.slots[index];
        slot.is_over = true;
        self.window.close(slot.id);
        self.queue(index);
    }

    /// A slot may have something to put out.
    fn queue(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if !slot.is_queued {
            slot.is_queued = true;
            self.ready.push_back(index);
        }
    }

    /// A slot has put out what it had.
    fn leave_queue(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.is_queued = false;
        if slot.is_over {
            self.count_over(index);
            self.free.push(index);
        }
    }

    const fn count_refused(&mut self, refused: Pushed) {
        match refused {
            Pushed::Stale => self.counts.stale += 1,
            Pushed::Mismatch => self.counts.mismatched += 1,
            Pushed::Full => self.counts.full += 1,
            Pushed::Taken | Pushed::NotAPiece => {}
        }
    }

    fn count_over(&mut self, index: usize) {
        let slot = &self.slots[index];
        let counter = match (slot.is_complete(), slot.emitted) {
            (_, 0) => &mut self.counts.lost,
            (true, _) => &mut self.counts.completed,
            (false, _) => &mut self.counts.partial,
        };
        *counter += 1;
    }
}

mod ranges;
mod slot;
#[cfg(test)]
mod tests;
mod window;
