//! Captures on the way from the agent to a file or a terminal.
//!
//! # Theory of operation
//!
//! The agent sends a capture as pcapng ([`switch_core::pcapng`]): what it sends may be written to a file as it is. The bytes
//! arrive cut anywhere; [`Blocks`] puts whole blocks together, so that a file may end, or another one begin, between any two
//! frames. [`Tally`] follows what was taken and lost at each interface, since whoever ends a capture writes its last statistics.
//! [`describe`] says in words what a frame is. At the other end, a [`Scope`] says which ports are captured, also of those that come later.

mod blocks;
mod line;
mod link;
mod scope;
mod tally;

pub use blocks::Blocks;
pub use line::describe;
pub use scope::{NamedPort, Scope, StartCapture, check_choice};
pub use tally::{Tally, Total};
