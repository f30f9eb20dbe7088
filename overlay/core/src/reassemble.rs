//! Putting cut frames together again. (Skeleton.)
use crate::DatagramHeader;
use std::time::Duration;
use switch_core::{Time, VnetHeader, Vni};

/// Collects the pieces of one connection.
#[derive(Debug)]
pub struct Reassembler {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReassembleConfig {
    /// Frames collected at the same time; each may take 64 KiB.
    pub frames_max: usize,
    /// How long a frame waits for missing pieces.
    pub hold: Duration,
    /// Pieces of later frames after which a missing piece is taken for lost.
    pub reorder_pieces: u32,
}

/// What [`Reassembler::push`] did with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Taken,
    /// A duplicate, a replay, or too late.
    Stale,
    /// Contradicts what came before of the same frame.
    Mismatch,
    /// Not a piece or a fragment.
    NotAPiece,
}

/// A frame, or what is left of a superframe, to be sent to the switch.
#[derive(Debug)]
pub struct Rebuilt<'a> {
    pub vni: Vni,
    pub vnet: VnetHeader,
    pub frame: &'a mut [u8],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReassembleCounts {
    pub completed: u64,
    pub partial: u64,
    pub lost: u64,
    pub stale: u64,
    pub mismatched: u64,
    pub invalid: u64,
}

impl Reassembler {
    pub fn new(_config: ReassembleConfig) -> Self {
        Self {}
    }
    /// Takes the body of a [`DatagramHeader::Piece`] or [`DatagramHeader::Fragment`]. Call [`Self::poll_frame`] until it
    /// returns `None` afterwards.
    pub fn push(&mut self, _now: Time, _header: &DatagramHeader, _body: &[u8]) -> Pushed {
        todo!()
    }
    /// The next frame that is ready, validated. Its bytes are valid until the next call.
    pub fn poll_frame(&mut self) -> Option<Rebuilt<'_>> {
        todo!()
    }
    /// Gives up on pieces that did not come in time.
    pub fn handle_timeout(&mut self, _now: Time) {}
    /// When [`Self::handle_timeout`] is due; `None` while nothing is incomplete.
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }
    pub fn counts(&self) -> ReassembleCounts {
        todo!()
    }
}
