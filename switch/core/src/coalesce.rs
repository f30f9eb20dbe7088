//! Coalescing: consecutive segments of one flow become a superframe.

use crate::{Frame, VnetHeader};

/// Collects frames of one flow into a superframe.
#[derive(Debug)]
pub struct Coalescer {
    buffer: Vec<u8>,
}

/// What [`Coalescer::push`] did with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// Taken; later frames may join.
    Taken,
    /// Taken, and nothing may join any more: [`Coalescer::take`] next.
    Complete,
    /// Not taken, because it does not continue what is held: [`Coalescer::take`], then push again.
    Flush,
    /// Not taken, and never will be: take what is held, then send the frame on its own.
    Unfit,
}

impl Coalescer {
    /// Holds superframes of at most 65,535 bytes of packet; allocates once.
    pub fn new() -> Self {
        Self { buffer: Vec::new() }
    }

    /// Offers a frame with its checksums complete.
    pub fn push(&mut self, frame: &Frame<'_>) -> Push {
        let _ = (frame, &self.buffer);
        Push::Unfit
    }

    /// What was collected: the vnet header and the frame, valid until the next push. `None` when nothing is held.
    pub fn take(&mut self) -> Option<(VnetHeader, &[u8])> {
        None
    }
}

impl Default for Coalescer {
    fn default() -> Self {
        Self::new()
    }
}
