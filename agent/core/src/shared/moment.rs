//! When something is learnt.

use std::time::Instant;

/// The time, and which hosts' tunnels are up then.
pub struct Moment<'a> {
    pub now: Instant,
    pub reaches: &'a dyn Fn(&str) -> bool,
}

impl Moment<'_> {
    /// Without any tunnel.
    pub const fn alone(now: Instant) -> Self {
        Self {
            now,
            reaches: &|_| false,
        }
    }
}
