//! Faults of the agent, and the way back from each.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::Host;

/// What is done to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outage {
    /// The agent proper is killed, and its guardian starts it again.
    Kill,
    /// It is told to stop, and started again.
    Stop,
    /// It is killed together with its guardian, and started again.
    KillAll,
    /// Another agent takes its place while it runs.
    Upgrade,
}

impl Outage {
    /// Does it, and waits until the API answers again; says how long that took.
    pub(super) fn strike(self, host: &Host) -> Duration {
        let start = Instant::now();
        match self {
            Self::Kill => host.kill_agent_proper(),
            Self::Stop => {
                host.stop_agent(Signal::TERM);
                host.launch();
            }
            Self::KillAll => {
                host.stop_agent(Signal::KILL);
                host.launch();
            }
            Self::Upgrade => drop(host.tapestry(&["agent", "--replace"]).ok()),
        }
        start.elapsed()
    }
}
