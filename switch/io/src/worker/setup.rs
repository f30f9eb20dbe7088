//! What a worker is told at its start.

use std::time::Instant;

use super::load::Worked;
use crate::engine::EngineKind;
use crate::events::Events;
use crate::overload::Overload;

/// What a worker is told at its start.
pub(crate) struct Setup {
    pub(crate) index: usize,
    pub(crate) engine: EngineKind,
    pub(crate) core: Option<usize>,
    pub(crate) join: bool,
    pub(crate) start: Instant,
    pub(crate) events: Events,
    /// Where a worker says that it has too much to do.
    pub(crate) overload: Overload,
    /// Where a worker says how much it has done.
    pub(crate) worked: Worked,
}
