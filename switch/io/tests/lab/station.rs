//! A network namespace with a thread in it, for the tests of switch-io and overlay-io.

use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A thread in a network namespace of its own. The namespace dies with the station and its sockets.
pub(crate) struct Station {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    pub(crate) tid: i32,
}

type Job = Box<dyn FnOnce() + Send>;

impl Station {
    pub(crate) fn new() -> Self {
        let (jobs, received) = channel::<Job>();
        let (started, starting) = channel();
        let thread = std::thread::spawn(move || {
            enter_private_namespace();
            started
                .send(rustix::thread::gettid().as_raw_nonzero().get())
                .unwrap();
            received.into_iter().for_each(|job| job());
        });
        let tid = starting.recv().expect("this needs root");
        let station = Self {
            jobs: Some(jobs),
            thread: Some(thread),
            tid,
        };
        station.ip("link set lo up");
        station
    }

    /// Runs `job` in the namespace.
    pub(crate) fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (done, result) = channel();
        let job = Box::new(move || {
            let _ = done.send(job());
        });
        self.jobs.as_ref().unwrap().send(job).unwrap();
        result.recv().expect("the job panicked")
    }

    /// Runs `ip` in the namespace.
    pub(crate) fn ip(&self, arguments: &str) {
        let arguments = arguments.to_owned();
        self.run(move || ip(&arguments));
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let _ = self.thread.take().unwrap().join();
    }
}

/// Moves the calling thread into a network namespace of its own. Needs root; panics without.
pub(crate) fn enter_private_namespace() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("this needs root");
}

/// Runs `ip` where the calling thread is; it must succeed.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Asks again and again, up to five seconds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "did not happen: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
