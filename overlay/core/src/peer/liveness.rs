//! Whether the other is still there.
//!
//! # Theory of operation
//!
//! What is sent over a connection is acknowledged, so something that stays unanswered says more than silence does. Nothing is sent
//! for the sake of life while frames go and are acknowledged. Otherwise:
//!
//! - After a while without a word, a keepalive asks. The while grows with the time since the last frame, from
//!   [`Timing::keepalive`] to [`Timing::keepalive_max`]. One of both sides asks a little earlier than the other, so that mostly one
//!   keepalive and its acknowledgment are all that two idle hosts say.
//! - What was sent and is unanswered after [`Timing::keepalive`], frames as well as a keepalive, is followed by keepalives each
//!   [`Timing::probe`], or more seldom where the path is long. Any word ends that. After [`Timing::probes`] of them in vain the peer is
//!   dead.
//!
//! Each keepalive is waited for. So a host that was held up itself for a while asks once more before it says that the other is dead.

use std::time::Duration;

use switch_core::Time;

use super::config::{Role, Timing};

#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    timing: Timing,
    role: Role,
    heard: Time,
    /// When frames last went or came.
    busy: Time,
    /// Since when something is unanswered.
    asked: Option<Time>,
    /// Keepalives among that, and when the last one was sent.
    probes: u32,
    probed: Time,
    round_trip: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing before then.
    Wait(Time),
    Probe,
    GiveUp,
}

impl Liveness {
    /// Of a connection over which something has just come.
    pub(super) const fn new(timing: Timing, role: Role, now: Time) -> Self {
        Self {
            timing,
            role,
            heard: now,
            busy: now,
            asked: None,
            probes: 0,
            probed: now,
            round_trip: Duration::ZERO,
        }
    }

    /// Anything came.
    pub(super) const fn hear(&mut self, now: Time) {
        self.heard = now;
        self.asked = None;
        self.probes = 0;
    }

    /// Frames came.
    pub(super) const fn take(&mut self, now: Time) {
        self.busy = now;
        self.hear(now);
    }

    /// Frames went. Whether they are the first that are unanswered.
    pub(super) const fn send(&mut self, now: Time) -> bool {
        self.busy = now;
        let is_first = self.asked.is_none();
        if is_first {
            self.asked = Some(now);
        }
        is_first
    }

    /// How long the path is, there and back.
    pub(super) const fn measure(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
    }

    /// A keepalive went.
    pub(super) fn probe(&mut self, now: Time) {
        self.asked.get_or_insert(now);
        self.probes += 1;
        self.probed = now;
    }

    pub(super) fn act(&self, now: Time) -> Act {
        let due = self.due();
        if due > now {
            Act::Wait(due)
        } else if self.probes >= self.timing.probes {
            Act::GiveUp
        } else {
            Act::Probe
        }
    }

    /// When [`Self::act`] says something else than to wait, if nothing comes and nothing goes.
    pub(super) fn due(&self) -> Time {
        match self.asked {
            None => self.heard + self.interval(),
            Some(since) if self.probes == 0 => since + self.timing.keepalive,
            Some(_) => self.probed + self.patience(),
        }
    }

    /// How long silence is nothing special.
    fn interval(&self) -> Duration {
        let idle = self.heard.since(self.busy);
        let interval =
            (idle / IDLE_PER_INTERVAL).clamp(self.timing.keepalive, self.timing.keepalive_max);
        match self.role {
            Role::Dials => interval,
            Role::Listens => interval + interval / 8,
        }
    }

    /// How long an answer may take.
    fn patience(&self) -> Duration {
        self.timing.probe.max(self.round_trip * 3 / 2)
    }
}

/// How many times as long as until the next keepalive no frame has gone.
const IDLE_PER_INTERVAL: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    /// The milliseconds at which `life` asks, and at which it gives up, if nothing ever comes.
    fn asks(mut life: Liveness) -> (Vec<u64>, u64) {
        let mut asked = Vec::new();
        for now in 0..60_000 {
            match life.act(at(now)) {
                Act::Wait(_) => {}
                Act::Probe => {
                    asked.push(now);
                    life.probe(at(now));
                }
                Act::GiveUp => return (asked, now),
            }
        }
        panic!("{life:?}");
    }

    fn life() -> Liveness {
        Liveness::new(Timing::default(), Role::Dials, at(0))
    }

    #[test]
    fn a_peer_is_dead_within_a_second_of_frames_that_nobody_acknowledged() {
        let mut life = life();
        life.hear(at(20_000));
        assert!(life.send(at(20_100)));
        assert!(!life.send(at(20_150)));
        let (asked, dead) = asks(life);
        assert_eq!(asked, [20_350, 20_475, 20_600, 20_725]);
        assert_eq!(dead, 20_850);
    }

    #[test]
    fn the_longer_nothing_goes_the_less_is_asked() {
        let mut life = life();
        let mut gaps = Vec::new();
        for now in 0..30_000 {
            if life.act(at(now)) == Act::Probe {
                gaps.push(now - life.heard.as_millis());
                life.probe(at(now));
                life.hear(at(now + 1));
            }
        }
        assert_eq!((gaps[0], *gaps.last().unwrap()), (250, 1000));
        assert!(gaps.is_sorted(), "{gaps:?}");
        // Of thirty seconds: four for each of four, then in steps of a sixteenth, and one each second after sixteen.
        assert!((45..60).contains(&gaps.len()), "{gaps:?}");
        let (asked, dead) = asks(life);
        assert!(dead - asked[0] == 500 && asked[0] - life.heard.as_millis() <= 1000);
        life.take(at(30_100));
        assert_eq!(life.act(at(30_100)), Act::Wait(at(30_350)));
    }

    #[test]
    fn one_of_both_asks_first() {
        let listens = Liveness::new(Timing::default(), Role::Listens, at(0));
        assert!(listens.due() > life().due());
    }

    #[test]
    fn one_that_was_held_up_itself_asks_before_it_gives_up() {
        let mut life = life();
        life.send(at(0));
        assert_eq!(life.act(at(5_000)), Act::Probe);
        life.probe(at(5_000));
        assert_eq!(life.act(at(5_001)), Act::Wait(at(5_125)));
    }

    #[test]
    fn an_answer_over_a_long_path_is_waited_for() {
        let mut life = life();
        life.measure(Duration::from_millis(600));
        life.probe(at(100));
        assert_eq!(life.act(at(999)), Act::Wait(at(1000)));
    }
}
