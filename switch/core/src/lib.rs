//! The learning switch: every decision about a frame, and no I/O.
//!
//! Nothing here reads a clock, opens a socket or spawns a thread: time and bytes are arguments.

pub mod edge;

mod mac;
mod time;
mod vni;

pub use mac::{Mac, ParseMac};
pub use time::Time;
pub use vni::Vni;
