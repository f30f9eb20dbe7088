//! Faults of the agent, and the way back from each.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Host, eventually};

/// What is done to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outage {
    /// The agent proper is killed, and comes back however it comes back.
    Kill,
    /// It is told to stop, and started again.
    Stop,
    /// Everything of it is killed, and started again.
    KillAll,
}

impl Outage {
    /// Does it, and waits until the API answers again; says how long that took.
    pub(super) fn strike(self, host: &Host) -> Duration {
        let start = Instant::now();
        match self {
            Self::Kill => kill(host),
            Self::Stop => {
                host.stop_agent(Signal::TERM);
                host.launch();
            }
            Self::KillAll => {
                let proper = agent_proper(host);
                host.stop_agent(Signal::KILL);
                // It may have gone with the process that watched it.
                let _ = proper.map(|pid| kill_process(pid, Signal::KILL));
                host.launch();
            }
        }
        start.elapsed()
    }
}

/// Where the process that the test started is itself the agent, nobody but the test brings it back.
fn kill(host: &Host) {
    let killed = agent_proper(host).expect("the agent answers");
    if killed == host.agent_pid() {
        host.stop_agent(Signal::KILL);
        host.launch();
        return;
    }
    kill_process(killed, Signal::KILL).unwrap();
    eventually(PATIENCE, "another agent answers", || {
        agent_proper(host).filter(|pid| *pid != killed)
    });
}

/// The process that forwards and answers.
pub(super) fn agent_proper(host: &Host) -> Option<Pid> {
    let info: Value = host.try_api("GET", "/v1/info", None).ok()?.body;
    Pid::from_raw(i32::try_from(info["pid"].as_i64()?).ok()?)
}

const PATIENCE: Duration = Duration::from_secs(30);
