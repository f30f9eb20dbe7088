//! A container whose start hangs is the trouble of whoever wants it, and nobody else's.

use std::collections::BTreeSet;
use std::fs;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::median;
use crate::harness::{Host, eventually};

#[test]
fn a_container_whose_start_hangs_delays_nobody() {
    let host = Host::start();
    host.tapestry(&["network", "create", "other"]).ok();
    for number in 0..2 * ROUNDS {
        host.idle(&format!("idle{number}"), "other", &[]);
    }
    let before = Acts::time(&host, 0);
    let (mut starting, shim) = hang(&host);
    let (release, released) = channel();
    let (during, lasted) = std::thread::scope(|scope| {
        let hanging = scope.spawn(move || hold(shim, &released));
        let during = Acts::time(&host, ROUNDS);
        let _: Result<(), _> = release.send(());
        (during, hanging.join().unwrap())
    });
    for (act, usual, now) in before.beside(&during) {
        println!("{act}: usually {usual:.2?}, meanwhile {now:.2?}");
    }
    assert!(
        lasted,
        "some act waited until the start went on, for {HANG:?}"
    );
    for (act, usual, now) in before.beside(&during) {
        assert!(
            now <= usual * FACTOR_MAX + NOISE,
            "{act} takes {usual:.2?}, and {now:.2?} while a start hangs"
        );
    }

    // It hung, it did not fail.
    let status = eventually(HANG, "the start goes on", || starting.try_wait().unwrap());
    assert!(status.success(), "{status}");
    host.pid("hung");
}

/// How long each act takes, a few times over.
struct Acts(Vec<(&'static str, Vec<Duration>)>);

impl Acts {
    /// `first` is the number of the first idle container that is still there to be stopped.
    fn time(host: &Host, first: usize) -> Self {
        let mut acts: Vec<(&'static str, Vec<Duration>)> = Vec::new();
        for round in 0..ROUNDS {
            let idle = format!("idle{}", first + round);
            let commands: [(&str, &[&str]); 7] = [
                ("run", &["run", "--rm", "--", "true"]),
                ("network create", &["network", "create", "passing"]),
                ("network ls", &["network", "ls"]),
                ("network inspect", &["network", "inspect", "other"]),
                ("network rm", &["network", "rm", "passing"]),
                ("ps", &["ps", "-a"]),
                ("stop", &["stop", "-t", "0", &idle]),
            ];
            for (at, (name, command)) in commands.into_iter().enumerate() {
                let start = Instant::now();
                host.tapestry(command).ok();
                if round == 0 {
                    acts.push((name, Vec::new()));
                }
                acts[at].1.push(start.elapsed());
            }
        }
        Self(acts)
    }

    /// Each act's median here and there.
    fn beside(&self, other: &Self) -> impl Iterator<Item = (&'static str, Duration, Duration)> {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|((act, here), (_, there))| (*act, median(here), median(there)))
    }
}

/// Runs the container `hung` and stops its shim before it is ready.
fn hang(host: &Host) -> (Child, Pid) {
    for _ in 0..TRIES {
        let others = shims(host);
        let mut starting = host.spawn(&["run", "-d", "--name", "hung", "--", "sleep", "1000"]);
        let deadline = Instant::now() + HANG;
        // Without a pause: a shim is ready within milliseconds.
        let shim = loop {
            if let Some(&shim) = shims(host).difference(&others).next() {
                break Pid::from_raw(shim).unwrap();
            }
            assert!(Instant::now() < deadline, "no shim of `hung` was seen");
        };
        kill_process(shim, Signal::STOP).unwrap();
        // One that was quicker has told the agent, and `run` ends.
        std::thread::sleep(READY);
        if starting.try_wait().unwrap().is_none() {
            return (starting, shim);
        }
        kill_process(shim, Signal::CONT).unwrap();
        host.tapestry(&["rm", "-f", "hung"]).ok();
    }
    panic!("the shim was ready before it could be stopped, {TRIES} times");
}

/// The shims among the agent's children and those of its nursery.
fn shims(host: &Host) -> BTreeSet<i32> {
    let own = children(host.agent_pid().as_raw_nonzero().get());
    let theirs = own.iter().flat_map(|pid| children(*pid));
    let is_shim = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline"));
        line.is_ok_and(|line| {
            line.starts_with(b"tapestry shim ") || line.starts_with(b"tapestry\0shim\0")
        })
    };
    let all: BTreeSet<i32> = theirs.chain(own.iter().copied()).collect();
    all.into_iter().filter(is_shim).collect()
}

/// None where it is gone.
fn children(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let lists = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let pids = list.split_whitespace().map(|pid| pid.parse().unwrap());
            pids.collect::<Vec<_>>()
        })
        .collect()
}

/// Keeps the shim stopped until told, but no longer than [`HANG`]; gives whether it was told in time.
fn hold(shim: Pid, released: &Receiver<()>) -> bool {
    let outcome = released.recv_timeout(HANG);
    kill_process(shim, Signal::CONT).unwrap();
    outcome != Err(RecvTimeoutError::Timeout)
}

const ROUNDS: usize = 5;
const HANG: Duration = Duration::from_secs(20);
/// Within which `run` ends, once its container is there.
const READY: Duration = Duration::from_secs(1);
const TRIES: usize = 5;
/// What two runs of the same may differ by on a machine that does other things.
const FACTOR_MAX: u32 = 2;
const NOISE: Duration = Duration::from_millis(50);
