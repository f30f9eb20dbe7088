//! Network namespaces: made, entered, removed.

use std::fs::File;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::{Output, run};

/// A network namespace of this test process, with `lo` up.
#[derive(Debug)]
pub(crate) struct Netns {
    name: String,
}

impl Netns {
    /// `tag` tells people who look at `ip netns` what it is for.
    pub(crate) fn new(tag: &str) -> Self {
        require_root();
        SWEEP.call_once(sweep);
        let name = format!(
            "{PREFIX}{}-{}{tag}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        ip(&["netns", "add", &name]).ok();
        let made = Self { name };
        made.sh("ip link set lo up");
        made
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Runs `work` on a thread inside; sockets and processes made there stay there.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        enter(&self.path(), work)
    }

    pub(crate) fn run(&self, command: &mut Command) -> Output {
        self.enter(|| run(command))
    }

    /// The output of a shell script that has to succeed.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        self.run(Command::new("sh").args(["-ec", script])).ok()
    }

    /// Whether `address` answers one of three pings.
    pub(crate) fn pings(&self, address: impl ToString) -> bool {
        pings(&self.path(), address)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let gone = ip(&["netns", "del", &self.name]);
        if !std::thread::panicking() {
            gone.ok();
        }
    }
}

/// Runs `work` on a thread inside the namespace of the file `sandbox`.
pub(crate) fn enter<T: Send>(sandbox: &Path, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(sandbox).unwrap_or_else(|error| panic!("{}: {error}", sandbox.display()));
    let inside = || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(inside).join())
        .unwrap_or_else(|panic| resume_unwind(panic))
}

/// The shortest round trip of each `ping` whose output is among the lines, in milliseconds.
pub(crate) fn fastest(said: &str) -> Vec<f64> {
    let rtt = |line: &str| {
        let times = line.strip_prefix("rtt min/avg/max/mdev = ")?;
        times.split('/').next()?.parse().ok()
    };
    said.lines().filter_map(rtt).collect()
}

/// Whether `address` answers one of three pings from inside `sandbox`.
pub(crate) fn pings(sandbox: &Path, address: impl ToString) -> bool {
    let address = address.to_string();
    (0..3).any(|_| {
        enter(sandbox, || {
            run(Command::new("ping").args(["-n", "-c1", "-W1", &address])).status == 0
        })
    })
}

/// Panics with advice where namespaces cannot be made.
fn require_root() {
    assert!(
        geteuid().is_root(),
        "this test makes network namespaces: run it as root, for example with `sudo make test`"
    );
}

/// Removes what test processes that were killed could not.
fn sweep() {
    for name in ip(&["netns", "list"])
        .ok()
        .lines()
        .filter_map(|line| line.split_whitespace().next())
    {
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if owner
            .is_none_or(|pid| pid.parse::<u32>().is_err() || Path::new("/proc").join(pid).exists())
        {
            continue;
        }
        let strays = ip(&["netns", "pids", name]).stdout;
        for pid in strays
            .lines()
            .filter_map(|pid| pid.trim().parse().ok())
            .filter_map(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
        ip(&["netns", "del", name]);
    }
}

fn ip(arguments: &[&str]) -> Output {
    run(Command::new("ip").args(arguments))
}

static SWEEP: Once = Once::new();
static NEXT: AtomicU32 = AtomicU32::new(0);
const PREFIX: &str = "tpt";
