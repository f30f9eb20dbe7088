//! etcd as a child of the agent.
//!
//! # Theory of operation
//!
//! One etcd by itself, for clusters that bring none. A thread owns the process. When etcd ends by itself, the thread starts it
//! again. When the agent ends, the thread ends etcd: it asks first, and kills an etcd that still waits for silent clients.
//! Nothing is lost by that: etcd answers only after its log is on disk, and reads the log at the next start.
//!
//! An agent that was killed leaves its etcd behind. The next agent finds that etcd by the file with its process id, ends it,
//! and starts its own. So what stands on etcd's command line is always true.
//!
//! Clients show a certificate of the cluster's CA. etcd reads its certificate and the list of revoked ones at each handshake;
//! connections that were open before a revocation end because etcd is restarted then.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::files::{CA_CERTIFICATE, Files, REVOKED, SERVICE_CERTIFICATE, SERVICE_KEY};
use crate::settings::client_url;

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
    Restart,
    Stop,
}

impl EtcdProcess {
    /// Starts etcd on the two TCP ports after the signer's `address`. Blocks for a third of a second; etcd may answer later.
    pub(crate) fn start(files: &Files, address: SocketAddr) -> Result<Self, StartEtcd> {
        end_orphan(&files.path(PID_FILE));
        let plan = Plan {
            files: files.clone(),
            address,
        };
        let mut child = plan.spawn()?;
        // A wrong command line or a taken port shows within this time.
        std::thread::sleep(FIRST_LOOK);
        if let Ok(Some(status)) = child.try_wait() {
            return Err(StartEtcd::Ended {
                status: status.to_string(),
                log: files.path(LOG_FILE),
            });
        }
        let (orders, received) = channel();
        let thread = std::thread::Builder::new()
            .name("etcd-child".to_owned())
            .spawn(move || keep(&plan, child, &received))
            .map_err(StartEtcd::Spawn)?;
        Ok(Self {
            orders,
            thread: Some(thread),
        })
    }

    /// Ends every connection to it.
    pub(crate) fn restart(&self) {
        // The thread lives as long as this.
        let _ = self.orders.send(Order::Restart);
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
    /// Of the signer; etcd takes the next two ports.
    address: SocketAddr,
}

impl Plan {
    fn spawn(&self) -> Result<Child, StartEtcd> {
        let path = |name| self.files.path(name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(path(LOG_FILE))
            .map_err(StartEtcd::Spawn)?;
        let client = client_url(self.address);
        // An etcd by itself has no peers.
        let loopback: IpAddr = [127, 0, 0, 1].into();
        let peer = SocketAddr::new(loopback, self.address.port().wrapping_add(2));
        let peer = format!("https://{peer}");
        let mut command = Command::new("etcd");
        command
            .arg("--data-dir")
            .arg(path(DATA_DIR))
            .args(["--name", NAME])
            .args(["--initial-cluster", &format!("{NAME}={peer}")])
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--client-cert-auth", "--peer-client-cert-auth"])
            .args([
                "--auto-compaction-mode",
                "periodic",
                "--auto-compaction-retention",
                "10m",
            ])
            .args(["--logger", "zap", "--log-level", "warn"]);
        for (option, file) in [
            ("--trusted-ca-file", CA_CERTIFICATE),
            ("--cert-file", SERVICE_CERTIFICATE),
            ("--key-file", SERVICE_KEY),
            ("--client-crl-file", REVOKED),
            ("--peer-trusted-ca-file", CA_CERTIFICATE),
            ("--peer-cert-file", SERVICE_CERTIFICATE),
            ("--peer-key-file", SERVICE_KEY),
        ] {
            command.arg(option).arg(path(file));
        }
        command
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
        Ok(child)
    }
}

/// Keeps a child running until the order to stop.
fn keep(plan: &Plan, child: Child, orders: &Receiver<Order>) {
    let mut child = Some(child);
    loop {
        match orders.recv_timeout(LOOK_EVERY) {
            Ok(Order::Restart) => end(child.take()),
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => {
                end(child.take());
                // It may be gone already.
                let _ = fs::remove_file(plan.files.path(PID_FILE));
                return;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(Ok(Some(status))) = child.as_mut().map(Child::try_wait) {
            tracing::warn!(%status, "etcd ended; it is started again");
            child = None;
        }
        if child.is_none() {
            match plan.spawn() {
                Ok(started) => child = Some(started),
                Err(error) => tracing::warn!(%error, "etcd stays down for now"),
            }
        }
    }
}

fn end(child: Option<Child>) {
    let Some(mut child) = child else { return };
    // It cannot be another process: nobody has waited for it yet.
    let _ = kill_process(Pid::from_child(&child), Signal::TERM);
    let deadline = Instant::now() + STOP_LIMIT;
    while Instant::now() < deadline {
        if let Ok(Some(_)) | Err(_) = child.try_wait() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Ends what an agent that was killed left running.
fn end_orphan(pid_file: &std::path::Path) {
    let recorded = fs::read_to_string(pid_file).ok();
    let Some(pid) = recorded
        .and_then(|text| text.trim().parse().ok())
        .and_then(Pid::from_raw)
    else {
        return;
    };
    let data_dir = pid_file.with_file_name(DATA_DIR);
    let command_line =
        fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let is_ours = String::from_utf8_lossy(&command_line).contains(&*data_dir.to_string_lossy());
    if !is_ours {
        return;
    }
    let _ = kill_process(pid, Signal::TERM);
    let deadline = Instant::now() + STOP_LIMIT;
    while test_kill_process(pid).is_ok() {
        if Instant::now() > deadline {
            let _ = kill_process(pid, Signal::KILL);
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

const NAME: &str = "tapestry";
const DATA_DIR: &str = "etcd";
const LOG_FILE: &str = "etcd.log";
const PID_FILE: &str = "etcd.pid";
const FIRST_LOOK: Duration = Duration::from_millis(300);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Three times as long as etcd needs where no client is silent.
const STOP_LIMIT: Duration = Duration::from_millis(500);
