//! A frame at a port, and which way it goes.

use std::time::SystemTime;

use switch_core::DropReason;

/// As the port sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the station into the switch.
    In,
    /// To the station.
    Out,
}

/// A frame as a worker sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'f> {
    pub(crate) time: SystemTime,
    pub(crate) direction: Direction,
    pub(crate) envelope: &'f [u8],
    pub(crate) dropped: Option<DropReason>,
}
