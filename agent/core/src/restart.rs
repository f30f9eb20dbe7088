//! When a container that has ended is started again.
//!
//! # Theory of operation
//!
//! As Docker does it: a container whose policy wants it running is started again after a pause, which doubles from a tenth of a
//! second up to a minute, and begins anew once a run has lasted ten seconds. Whoever stops it ends that; so does the bound of
//! `on-failure`. What was counted is on record, so that a restart of the agent is no way around the bound.

use std::time::Duration;

use agent_api::RestartPolicy;
use serde::{Deserialize, Serialize};

/// What is kept of a container's restarts, beside its policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartRecord {
    /// It ran at least once.
    #[serde(default)]
    pub started: bool,
    /// Somebody has stopped it, and nobody has started it since.
    #[serde(default)]
    pub stopped: bool,
    /// How often it was started again since somebody started it.
    #[serde(default)]
    pub count: u32,
    /// Of those, how often before a run had lasted long enough.
    #[serde(default)]
    pub in_a_row: u32,
}

/// A command that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub code: i32,
    pub lasted: Duration,
}

impl RestartRecord {
    /// After how long it is started again; not at all where nothing comes out. `self` is what is on record then.
    pub fn after(&mut self, policy: RestartPolicy, end: End) -> Option<Duration> {
        if end.lasted >= LONG_ENOUGH {
            self.in_a_row = 0;
        }
        if self.stopped || !self.started || !self.wants(policy, end.code) {
            return None;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.in_a_row.min(DOUBLINGS_MAX));
        self.count = self.count.saturating_add(1);
        self.in_a_row = self.in_a_row.saturating_add(1);
        Some(pause.min(PAUSE_MAX))
    }

    /// Whether a start of the agent starts it, which finds that it has ended with `code`.
    pub fn at_start(&self, policy: RestartPolicy, code: i32) -> bool {
        // A stop is for as long as the agent runs, as Docker's word `always` has it.
        let forgiven = policy == RestartPolicy::Always;
        self.started && (forgiven || !self.stopped) && self.wants(policy, code)
    }

    const fn wants(&self, policy: RestartPolicy, code: i32) -> bool {
        match policy {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure { most } => code != 0 && (most == 0 || self.count < most),
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// More would be over the longest pause anyway.
const DOUBLINGS_MAX: u32 = 10;
/// A run of this length was no failure to start.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(5);
    const STARTED: RestartRecord = RestartRecord {
        started: true,
        stopped: false,
        count: 0,
        in_a_row: 0,
    };
    const FAILED: End = End {
        code: 1,
        lasted: QUICK,
    };

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let mut record = STARTED;
        let mut next = |lasted| {
            let end = End { code: 0, lasted };
            record.after(RestartPolicy::Always, end).unwrap()
        };
        let pauses: Vec<_> = (0..11).map(|_| next(QUICK).as_millis()).collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[9..], [51_200, 60_000]);
        assert_eq!(next(LONG_ENOUGH), FIRST_PAUSE);
        assert_eq!(next(QUICK), FIRST_PAUSE * 2);
    }

    #[test]
    fn failures_are_started_again_as_often_as_was_said() {
        let policy = RestartPolicy::OnFailure { most: 2 };
        let mut record = STARTED;
        let good = End { code: 0, ..FAILED };
        assert_eq!(record.after(policy, good), None);
        assert!(record.after(policy, FAILED).is_some());
        assert!(record.at_start(policy, 137) && !record.at_start(policy, 0));
        assert!(record.after(policy, FAILED).is_some());
        assert_eq!(record.after(policy, FAILED), None);
        assert!(!record.at_start(policy, 1));
        let unbounded = RestartPolicy::OnFailure { most: 0 };
        assert!(record.after(unbounded, FAILED).is_some());
        assert_eq!(record.after(RestartPolicy::No, FAILED), None);
        let mut never_ran = RestartRecord::default();
        assert_eq!(never_ran.after(RestartPolicy::Always, FAILED), None);
        assert!(!never_ran.at_start(RestartPolicy::Always, 137));
    }

    #[test]
    fn what_was_stopped_stays_so_and_always_is_started_with_the_agent() {
        let mut stopped = RestartRecord {
            stopped: true,
            ..STARTED
        };
        for policy in [RestartPolicy::Always, RestartPolicy::UnlessStopped] {
            assert_eq!(stopped.after(policy, FAILED), None);
        }
        assert!(stopped.at_start(RestartPolicy::Always, 0));
        assert!(!stopped.at_start(RestartPolicy::UnlessStopped, 0));
        assert!(!stopped.at_start(RestartPolicy::OnFailure { most: 0 }, 1));
    }

    #[test]
    fn records_of_earlier_agents_are_read() {
        let record: RestartRecord = serde_json::from_str("{}").unwrap();
        assert_eq!(record, RestartRecord::default());
    }
}
