//! `tapestry agent --replace`: another agent takes the place of the one that runs.

use std::fs;
use std::time::{Duration, Instant};

use agent_host::holder;
use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;

/// Asks the guardian of this network namespace's agent for another agent, and waits until that is there.
pub(crate) fn run() -> Result<u8, Failure> {
    let none = || "no agent runs in this network namespace; start one with: tapestry agent";
    let old = holder()
        .ok_or_else(|| Failure::said(none().to_owned()))?
        .pid;
    let guardian = parent_of(old)
        .filter(|parent| children_of(*parent).contains(&old))
        .ok_or_else(|| {
            Failure::said(format!(
                "process {old} is an agent without a guardian; stop it, and start it again"
            ))
        })?;
    let before = faults_of_ended_children(guardian);
    kill_process(guardian, Signal::USR2)
        .map_err(|error| Failure::said(format!("the agent's guardian cannot be told: {error}")))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // One that failed may have come and gone between two looks.
        let has_failed = faults_of_ended_children(guardian) != before;
        match children_of(guardian).as_slice() {
            [new] if *new != old => {
                println!("process {new} took the place of process {old}");
                return Ok(0);
            }
            [_] if has_failed => break,
            _ if Instant::now() > deadline => break,
            _ => std::thread::sleep(LOOK_AGAIN),
        }
    }
    Err(Failure::said(format!(
        "the agent was not replaced, and process {old} goes on; its log says why"
    )))
}

fn parent_of(pid: i32) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Pid::from_raw(parent.trim().parse().ok()?)
}

fn children_of(parent: Pid) -> Vec<i32> {
    let parent = parent.as_raw_nonzero();
    let listed = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let listed = listed.unwrap_or_default();
    listed
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Page faults of the children that it waited for (proc(5), `cminflt`): more than before, once one of them has ended.
fn faults_of_ended_children(parent: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", parent.as_raw_nonzero())).ok()?;
    // The second field, in brackets, may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(8)?.parse().ok()
}

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
