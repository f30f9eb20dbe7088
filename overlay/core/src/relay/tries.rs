//! When a host that is up over a relay is tried directly.
//!
//! ```text
//!                 pause over             connected
//!   Off -> Resting ---------> Dialing -----------------> Greeting -> Off: the host's hello came over it
//!             ^                  |                           |
//!             +---- no answer ---+------ no hello -----------+
//! ```
//!
//! The pause doubles with each try, up to half a minute. It begins anew when a direct connection has held for a minute, so that a
//! path that comes and goes does not take the host along each time. The side whose turn it is not to dial pauses longer, because it may
//! be the only one that can.

use std::time::Duration;

use switch_core::Time;

use crate::{Role, Timing};

/// The tries of one host.
#[derive(Clone, Debug)]
pub struct DirectTries {
    state: State,
    timing: Timing,
    first_pause: Duration,
    pause: Duration,
    direct_since: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is up over a relay.
    Off,
    Resting {
        due: Time,
    },
    Dialing {
        until: Time,
    },
    Greeting {
        next: Time,
        until: Time,
    },
}

/// What the caller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// Open a connection directly; then [`DirectTries::connected`].
    Dial,
    /// Say hello over it.
    Greet,
    /// Close it, or stop opening it.
    GiveUp,
}

impl DirectTries {
    pub const fn new(role: Role, timing: Timing) -> Self {
        let first_pause = match role {
            Role::Dials => PAUSE_DIALS,
            Role::Listens => PAUSE_LISTENS,
        };
        Self {
            state: State::Off,
            timing,
            first_pause,
            pause: first_pause,
            direct_since: None,
        }
    }

    /// The host is up over a relay.
    pub fn relayed(&mut self, now: Time) {
        self.lose_direct(now);
        if self.state == State::Off {
            self.rest(now);
        }
    }

    /// The host is up directly.
    pub const fn direct(&mut self, now: Time) {
        self.state = State::Off;
        self.direct_since = Some(now);
    }

    /// The host is not up.
    pub fn down(&mut self, now: Time) {
        self.lose_direct(now);
        self.state = State::Off;
    }

    /// The connection that was dialed is open.
    pub fn connected(&mut self, now: Time) {
        if matches!(self.state, State::Dialing { .. }) {
            self.state = State::Greeting {
                next: now,
                until: now + self.timing.hello,
            };
        }
    }

    pub fn poll(&mut self, now: Time) -> Option<Try> {
        match self.state {
            State::Resting { due } if due <= now => {
                let until = now + self.timing.dial_max;
                self.state = State::Dialing { until };
                Some(Try::Dial)
            }
            State::Dialing { until } | State::Greeting { until, .. } if until <= now => {
                self.rest(now);
                Some(Try::GiveUp)
            }
            State::Greeting { next, until } if next <= now => {
                let next = now + self.timing.hello_again;
                self.state = State::Greeting { next, until };
                Some(Try::Greet)
            }
            _ => None,
        }
    }

    /// When [`Self::poll`] has something.
    pub fn poll_timeout(&self) -> Option<Time> {
        match self.state {
            State::Off => None,
            State::Resting { due } => Some(due),
            State::Dialing { until } => Some(until),
            State::Greeting { next, until } => Some(next.min(until)),
        }
    }

    fn lose_direct(&mut self, now: Time) {
        let since = self.direct_since.take();
        if since.is_some_and(|since| now.since(since) >= CALM) {
            self.pause = self.first_pause;
        }
    }

    fn rest(&mut self, now: Time) {
        self.state = State::Resting {
            due: now + self.pause,
        };
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

const PAUSE_DIALS: Duration = Duration::from_secs(1);
const PAUSE_LISTENS: Duration = Duration::from_millis(2500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a direct connection holds that is worth as much as any.
const CALM: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn tries() -> DirectTries {
        DirectTries::new(Role::Dials, Timing::default())
    }

    /// When the next connection is dialed.
    fn next_dial(tries: &mut DirectTries) -> Time {
        loop {
            let due = tries.poll_timeout().unwrap();
            if tries.poll(due) == Some(Try::Dial) {
                return due;
            }
        }
    }

    #[test]
    fn the_pause_grows_up_to_half_a_minute() {
        let mut tries = tries();
        assert_eq!(tries.poll_timeout(), None);
        tries.relayed(at(0));
        let dials: Vec<_> = (0..8).map(|_| next_dial(&mut tries)).collect();
        assert_eq!(dials[0], at(1000));
        let gaps: Vec<_> = dials
            .windows(2)
            .map(|pair| pair[1].since(pair[0]))
            .collect();
        assert!(gaps.is_sorted(), "{gaps:?}");
        assert_eq!(gaps[6], Timing::default().dial_max + PAUSE_MAX);
    }

    #[test]
    fn a_connection_says_hello_until_it_counts_or_is_given_up() {
        let mut tries = tries();
        tries.relayed(at(0));
        assert_eq!(tries.poll(at(1000)), Some(Try::Dial));
        assert_eq!(tries.poll(at(1000)), None);
        tries.connected(at(1100));
        assert_eq!(tries.poll(at(1100)), Some(Try::Greet));
        assert_eq!(tries.poll(at(1150)), None);
        assert_eq!(tries.poll(at(1200)), Some(Try::Greet));
        let mut counting = tries.clone();
        counting.direct(at(1210));
        assert_eq!(counting.poll_timeout(), None);
        assert_eq!(tries.poll(at(2100)), Some(Try::GiveUp));
        assert_eq!(tries.poll(at(2100)), None);
        // Whoever connects too late is not greeted.
        tries.connected(at(2200));
        assert_eq!(tries.poll(at(2200)), None);
    }

    #[test]
    fn a_path_that_comes_and_goes_is_tried_less_and_less_often() {
        let mut tries = tries();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..4 {
            tries.relayed(now);
            let dial = next_dial(&mut tries);
            pauses.push(dial.since(now));
            tries.direct(dial);
            now = dial + Duration::from_secs(5);
            tries.down(now);
        }
        assert!(
            pauses.windows(2).all(|pair| pair[0] < pair[1]),
            "{pauses:?}"
        );
        tries.direct(now);
        now = now + CALM;
        tries.down(now);
        tries.relayed(now);
        assert_eq!(next_dial(&mut tries).since(now), PAUSE_DIALS);
    }

    #[test]
    fn another_relay_does_not_begin_the_pause_anew() {
        let mut tries = tries();
        tries.relayed(at(0));
        tries.relayed(at(900));
        assert_eq!(tries.poll_timeout(), Some(at(1000)));
    }
}
