//! A network namespace with a thread in it.

use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A thread in a network namespace of its own. The namespace dies with the station and its sockets.
pub struct Station {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    pub tid: i32,
}

type Job = Box<dyn FnOnce() + Send>;

impl Default for Station {
    fn default() -> Self {
        Self::new()
    }
}

impl Station {
    pub fn new() -> Self {
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
    pub fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (done, result) = channel();
        let job = Box::new(move || {
            let _ = done.send(job());
        });
        self.jobs.as_ref().unwrap().send(job).unwrap();
        result.recv().expect("the job panicked")
    }

    /// Runs `ip` in the namespace.
    pub fn ip(&self, arguments: &str) {
        let arguments = arguments.to_owned();
        self.run(move || ip(&arguments));
    }

    /// Runs a shell command in the namespace; it must succeed.
    pub fn sh(&self, command: &str) -> String {
        let output = self.output(command);
        assert!(
            output.status.success(),
            "{command}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn output(&self, command: &str) -> Output {
        let command = command.to_owned();
        self.run(move || Command::new("sh").args(["-c", &command]).output().unwrap())
    }

    pub fn spawn(&self, command: &str) -> Process {
        let command = format!("exec {command}");
        Process(self.run(move || {
            Command::new("sh")
                .args(["-c", &command])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        }))
    }

    /// Moves interface `name` of this namespace to `other`, calls it `new_name` there and sets it up.
    pub fn give(&self, name: &str, other: &Self, new_name: &str) {
        self.ip(&format!("link set {name} netns {}", other.tid));
        other.ip(&format!("link set {name} name {new_name}"));
        other.ip(&format!("link set {new_name} up"));
    }

    /// Gives `eth0` addresses that work at once.
    pub fn address(&self, addresses: &[&str]) {
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            self.ip(&format!("addr add {address} dev eth0 {nodad}"));
        }
    }

    pub fn pings(&self, address: &str) -> bool {
        self.output(&format!("ping -c 3 -i 0.1 -W 1 {address}"))
            .status
            .success()
    }

    /// Takes interface `name` out of the caller's namespace and sets it up as `eth0` with `address`.
    pub fn adopt(&self, name: &str, address: &str) {
        ip(&format!("link set {name} netns {}", self.tid));
        self.ip(&format!("link set {name} name eth0"));
        self.ip(&format!("addr add {address}/24 dev eth0"));
        self.ip("link set eth0 up");
    }

    pub fn has_interface(&self) -> bool {
        self.run(|| {
            Command::new("ip")
                .args(["link", "show", "eth0"])
                .output()
                .unwrap()
                .status
                .success()
        })
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let _ = self.thread.take().unwrap().join();
    }
}

/// A running program; killed when dropped.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Moves the calling thread into a network namespace of its own. Needs root; panics without.
pub fn enter_private_namespace() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("this needs root");
}

/// Runs `ip` where the calling thread is; it must succeed.
pub fn ip(arguments: &str) {
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
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "did not happen: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
