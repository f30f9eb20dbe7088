//! What a search has come to.

use super::PathMtu;

/// Named by RFC 8899 §5.2, but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// There was no traffic yet.
    Disabled,
    /// The longest and a short probe are on the way.
    Base,
    Searching,
    SearchComplete,
    /// The short probe was not answered; a shorter one is on the way.
    Error,
    /// Nobody answers.
    Unanswered,
}

/// What is known of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFinding {
    /// There was no traffic yet, or the first answers are awaited.
    Unknown,
    /// A packet of so many bytes was answered.
    Measured(u32),
    /// Routers, or the host's routes, say so; nobody answers.
    Told(u32),
    /// Nobody answers, and nobody says anything.
    Unfindable,
}

impl PathMtu {
    pub const fn state(&self) -> PathState {
        self.state
    }

    pub fn finding(&self) -> PathFinding {
        match (self.found, self.told) {
            (Some(_), _) => PathFinding::Measured(self.current()),
            (None, Some(_)) => PathFinding::Told(self.current()),
            (None, None) if self.state == PathState::Unanswered => PathFinding::Unfindable,
            (None, None) => PathFinding::Unknown,
        }
    }
}
