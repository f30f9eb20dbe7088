//! etcd as a child of the agent.
//!
//! # Theory of operation
//!
//! For clusters that bring none: one by itself, or a member beside those of the other managers ([`EtcdPlan`]). A thread owns the
//! process. When etcd ends by itself, the thread starts it again. When the agent ends, the thread ends etcd: it asks first, and
//! kills an etcd that still waits for silent clients. Nothing is lost by that: etcd answers only after its log is on disk, and
//! reads the log at the next start.
//!
//! An agent that was killed leaves its etcd behind. The next agent finds that etcd by the file with its process id, and goes on
//! with it, so that no host of the cluster is out of step because of one that died. An etcd with another command line than it
//! would have now is ended first, and so is one that was not yet started again after a change of CA.
//!
//! Managers alone are its clients, and its peers. It reads its certificate at each handshake.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::child::Process;
use crate::etcd_plan::{DATA_DIR, EtcdPlan};
use crate::files::{CA_CERTIFICATE, Files};

/// A running etcd; dropping it stops it.
#[derive(Debug)]
pub(crate) struct EtcdProcess {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum StartEtcd {
    #[error(
        "there is no etcd here; install it (Debian: apt-get install etcd-server), or give yours with --etcd URL"
    )]
    Missing,
    #[error("etcd does not start: {0}")]
    Spawn(io::Error),
    #[error("etcd ended at once ({status}); {} says why", log.display())]
    Ended { status: String, log: PathBuf },
}

#[derive(Debug)]
enum Order {
    Restart(Instant),
    /// By itself from now on, without the other members.
    BeginAnew,
    Stop,
}

impl EtcdProcess {
    /// Starts etcd, and blocks for a third of a second; etcd may answer later. Or goes on with the one that runs there.
    pub(crate) fn start(files: &Files, plan: EtcdPlan) -> Result<Self, StartEtcd> {
        let plan = Plan {
            files: files.clone(),
            etcd: plan,
        };
        let process = match plan.take_over() {
            Some(process) => process,
            None => plan.start()?,
        };
        Self::keep(plan, Some(process))
    }

    /// The same where other managers have etcd too: tries for as long as it takes.
    pub(crate) fn keep_trying(files: &Files, plan: EtcdPlan) -> Result<Self, StartEtcd> {
        let plan = Plan {
            files: files.clone(),
            etcd: plan,
        };
        let process = plan.take_over();
        Self::keep(plan, process)
    }

    fn keep(plan: Plan, process: Option<Process>) -> Result<Self, StartEtcd> {
        let (orders, received) = channel();
        let thread = std::thread::Builder::new()
            .name("etcd-child".to_owned())
            .spawn(move || keep(&plan, process, &received))
            .map_err(StartEtcd::Spawn)?;
        Ok(Self {
            orders,
            thread: Some(thread),
        })
    }

    /// Starts it again after a while, which ends every connection to it.
    pub(crate) fn restart(&self, after: Duration) {
        // The thread lives as long as this.
        let _ = self.orders.send(Order::Restart(Instant::now() + after));
    }
}

impl EtcdProcess {
    /// Starts it again as the only member, with what it has.
    pub(crate) fn begin_anew(&self) {
        let _ = self.orders.send(Order::BeginAnew);
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has no child to wait for.
            let _ = thread.join();
        }
    }
}

struct Plan {
    files: Files,
    etcd: EtcdPlan,
}

impl Plan {
    /// The etcd that an agent before left behind. One that cannot be gone on with has ended when this returns.
    fn take_over(&self) -> Option<Process> {
        let own = self.command_line();
        let mut is_as_now = false;
        let left = left_behind(&self.files, |line| is_as_now = line == own)?;
        if is_as_now && !self.is_outdated() {
            tracing::info!("etcd goes on");
            return Some(left);
        }
        left.end(STOP_LIMIT);
        None
    }

    /// Whether the CAs are newer than the etcd that runs.
    fn is_outdated(&self) -> bool {
        let written = |name| fs::metadata(self.files.path(name))?.modified();
        match (written(CA_CERTIFICATE), written(PID_FILE)) {
            (Ok(written), Ok(started)) => written > started,
            _ => true,
        }
    }

    /// A wrong command line or a taken port shows within a short time.
    fn start(&self) -> Result<Process, StartEtcd> {
        let mut process = self.spawn(&[])?;
        std::thread::sleep(FIRST_LOOK);
        match process.ended() {
            Some(status) => Err(StartEtcd::Ended {
                status,
                log: self.files.path(LOG_FILE),
            }),
            None => Ok(process),
        }
    }

    fn spawn(&self, beside: &[&str]) -> Result<Process, StartEtcd> {
        let path = |name| self.files.path(name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(path(LOG_FILE))
            .map_err(StartEtcd::Spawn)?;
        let mut command = Command::new(PROGRAM);
        command
            .args(self.etcd.arguments(&self.files))
            .args(beside)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
            // A terminal's interrupt is for the agent, which then stops etcd in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(StartEtcd::Spawn)?)
            .stderr(log);
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StartEtcd::Missing,
            _ => StartEtcd::Spawn(error),
        })?;
        if let Err(error) = fs::write(path(PID_FILE), child.id().to_string()) {
            tracing::warn!(%error, "an etcd that outlives its agent will not be found");
        }
        Process::of_child(child).map_err(StartEtcd::Spawn)
    }

    /// As /proc shows it.
    fn command_line(&self) -> Vec<u8> {
        let words =
            std::iter::once(OsString::from(PROGRAM)).chain(self.etcd.arguments(&self.files));
        let words = words.map(|word| [word.as_bytes(), b"\0"].concat());
        words.collect::<Vec<_>>().concat()
    }
}

/// The etcd of an agent before, whose command line `look` sees.
fn left_behind(files: &Files, look: impl FnOnce(&[u8])) -> Option<Process> {
    let pid = files.read_needed(PID_FILE).ok()?;
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw)?;
    let data_dir = files.path(DATA_DIR);
    let data_dir = data_dir.as_os_str().as_bytes();
    Process::left_behind(pid, |line| {
        look(line);
        line.split(|byte| *byte == 0).any(|word| word == data_dir)
    })
}

/// Ends the etcd that an agent before left behind, where it has none any more.
pub(crate) fn end_left_behind(files: &Files) {
    if let Some(left) = left_behind(files, |_| ()) {
        left.end(STOP_LIMIT);
    }
    files.forget(PID_FILE);
}

/// Keeps a process running until the order to stop.
fn keep(plan: &Plan, mut process: Option<Process>, orders: &Receiver<Order>) {
    let (mut restart_at, mut begins_anew) = (None, false);
    let end = |process: Option<Process>| {
        if let Some(process) = process {
            process.end(STOP_LIMIT);
        }
    };
    loop {
        match orders.recv_timeout(LOOK_EVERY) {
            Ok(Order::Restart(at)) => restart_at = Some(at),
            Ok(Order::BeginAnew) => (restart_at, begins_anew) = (Some(Instant::now()), true),
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => {
                end(process.take());
                // It may be gone already.
                let _ = fs::remove_file(plan.files.path(PID_FILE));
                return;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if restart_at.is_some_and(|at| at <= Instant::now()) {
            restart_at = None;
            end(process.take());
        }
        if let Some(status) = process.as_mut().and_then(Process::ended) {
            tracing::warn!(status, "etcd ended; it is started again");
            process = None;
        }
        if process.is_none() {
            // Only once: the next members would be dropped with the next start.
            let beside: &[&str] = match std::mem::take(&mut begins_anew) {
                true => &[FORCE_NEW_CLUSTER],
                false => &[],
            };
            match plan.spawn(beside) {
                Ok(started) => process = Some(started),
                Err(error) => tracing::warn!(%error, "etcd stays down for now"),
            }
        }
    }
}

const PROGRAM: &str = "etcd";
const FORCE_NEW_CLUSTER: &str = "--force-new-cluster";
const LOG_FILE: &str = "etcd.log";
const PID_FILE: &str = "etcd.pid";
const FIRST_LOOK: Duration = Duration::from_millis(300);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Three times as long as etcd needs where no client is silent.
const STOP_LIMIT: Duration = Duration::from_millis(500);
