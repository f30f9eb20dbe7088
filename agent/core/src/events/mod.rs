//! What happens on this host, and who reads of it.
//!
//! # Theory of operation
//!
//! Whoever does or notices something makes a [`Notice`] of it, which becomes an event with the time at which it was told. The
//! [`Ring`] keeps the latest events; when it is full, the oldest goes. A reader is no more than a [`Cursor`], the number of the
//! event that it reads next: there is no queue of its own that could fill, and nobody waits for it. One that falls behind what the
//! ring still has goes on with the oldest event there is, and is told how many it lost.
//!
//! [`Counted`] finds what only shows in counters: storms, drops and stations that move.

mod counted;
mod filter;
mod notice;
mod ring;

pub use self::counted::{Counted, Limits, PortCounted};
pub use self::filter::{BadFilter, Filter};
pub use self::notice::Notice;
pub use self::ring::{Batch, Cursor, Ring};
