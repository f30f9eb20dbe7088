//! What a worker is told at its start.

use std::time::Instant;

use super::busy::Busy;
use super::load::Worked;
use super::tally::Tally;
use crate::engine::EngineKind;
use crate::events::Events;
use crate::lookout::Lookout;
use crate::observers::Observers;
use crate::overload::Overload;
use crate::sampling::Sampling;
use crate::vigil::Ends;

/// What a worker is told at its start, and whoever starts in its place.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) index: usize,
    pub(crate) engine: EngineKind,
    pub(crate) core: Option<usize>,
    pub(crate) join: bool,
    pub(crate) start: Instant,
    pub(crate) events: Events,
    /// Where a worker says that it has too much to do.
    pub(crate) overload: Overload,
    /// Where a worker says what looks like a loop.
    pub(crate) lookout: Lookout,
    /// Whom a worker tells of the frames that pass.
    pub(crate) observers: Observers,
    /// Where a worker writes down the frames that are sampled.
    pub(crate) sampling: Sampling,
    /// Where a worker says how much it has done.
    pub(crate) worked: Worked,
    /// Where a worker counts what it moves.
    pub(crate) tally: Tally,
    /// Where a worker says which port it is at.
    pub(crate) busy: Busy,
    /// Where it is said that a worker has ended although nobody stopped it.
    pub(crate) ends: Ends,
    /// How many have had this place before.
    pub(crate) life: u32,
}
