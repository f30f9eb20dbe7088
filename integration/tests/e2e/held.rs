//! `run` cut short: what was made for a client who has not started it goes with him, whenever he goes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Host, eventually, run};

#[test]
fn forty_runs_cut_at_random_moments_leave_nothing() {
    let host = Host::start();
    let mut random = Random::seeded();
    let whole = length_of_a_run(&host);
    nothing_is_left(&host);
    let held = descriptors(&host);
    for number in 0..40 {
        cut(&mut begin(&host, number), random.below(whole));
    }
    nothing_is_left(&host);
    eventually(Duration::from_secs(10), "the agent lets go of it", || {
        let now = descriptors(&host);
        (now == held).then_some(())
    });
    host.tapestry(&["run", "--rm", "--name", "cut7", "--", "true"])
        .ok();
}

#[test]
fn runs_cut_together_with_the_agent_leave_nothing() {
    let host = Host::start();
    let mut random = Random::seeded();
    let whole = length_of_a_run(&host);
    for round in 0..3 {
        let mut clients: Vec<_> = (0..4).map(|n| begin(&host, round * 4 + n)).collect();
        std::thread::sleep(random.below(whole * 2));
        host.stop_agent(Signal::KILL);
        for client in &mut clients {
            cut(client, Duration::ZERO);
        }
        host.launch();
        nothing_is_left(&host);
    }
    let kills: [fn(&Host); 2] = [Host::kill_agent_proper, |host| {
        host.stop_agent(Signal::TERM);
        host.launch();
    }];
    for round in 0..6 {
        let mut client = begin(&host, 20 + round);
        std::thread::sleep(random.below(whole));
        kills[round as usize % kills.len()](&host);
        cut(&mut client, Duration::ZERO);
        nothing_is_left(&host);
    }
}

#[test]
fn a_hold_ends_with_the_start_and_takes_nothing_along_that_was_started() {
    let host = Host::start();
    let (connection, id) = hold(&host, "started");
    host.api("POST", &format!("/v1/containers/{id}/start"), None);
    let rest = std::io::read_to_string(connection).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the answer ends: {rest:?}");
    assert!(host.is_known("started"));
    host.exec("started", "true").ok();

    let (connection, _) = hold(&host, "cut");
    assert!(host.is_known("cut"));
    drop(connection);
    eventually(
        Duration::from_secs(10),
        "it goes with the connection",
        || (!host.is_known("cut")).then_some(()),
    );

    let (_connection, _) = hold(&host, "killed");
    host.stop_agent(Signal::KILL);
    host.launch();
    assert!(!host.is_known("killed") && host.is_known("started"));
}

#[test]
fn what_is_made_without_a_hold_stays() {
    let host = Host::start();
    let request = request("plain");
    host.api("POST", "/v1/containers", Some(&request))
        .ok::<Value>();
    for signal in [Signal::KILL, Signal::TERM] {
        host.stop_agent(signal);
        host.launch();
        assert!(host.is_known("plain"));
    }
    host.tapestry(&["start", "plain"]).ok();
    host.exec("plain", "true").ok();
}

fn request(name: &str) -> Value {
    json!({"name": name, "command": ["sleep", "1000"]})
}

/// A container that is held by the connection that is returned, and its id.
fn hold(host: &Host, name: &str) -> (UnixStream, String) {
    let body = request(name).to_string();
    let mut connection = UnixStream::connect(host.socket()).unwrap();
    let limit = Some(Duration::from_secs(30));
    connection.set_read_timeout(limit).unwrap();
    write!(
        connection,
        "POST /v1/containers?hold=true HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
    let line = lines.find_map(|line| line.ok().filter(|line| line.starts_with('{')));
    let created: Value = serde_json::from_str(&line.expect("an answer")).unwrap();
    (connection, created["id"].as_str().unwrap().to_owned())
}

/// A client like those that are cut: in the foreground, or detached; its command ends at once.
fn begin(host: &Host, number: u32) -> Child {
    let mut command: Command = host.command(&["run", "--rm", "--name", &format!("cut{number}")]);
    if number % 2 == 1 {
        command.arg("-d");
    }
    command.args(["--", "true"]).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    host.netns.enter(|| command.spawn()).unwrap()
}

fn cut(client: &mut Child, after: Duration) {
    std::thread::sleep(after);
    client.kill().unwrap();
    client.wait().unwrap();
}

/// A little more than one takes from its beginning to its end.
fn length_of_a_run(host: &Host) -> Duration {
    let begun = Instant::now();
    assert!(begin(host, 0).wait().unwrap().success());
    begun.elapsed() * 5 / 4
}

#[track_caller]
fn nothing_is_left(host: &Host) {
    let files = || {
        let mut find = Command::new("find");
        find.arg(host.state_dir().join("containers"));
        run(find.args(["-mindepth", "1"])).ok()
    };
    let left = || {
        let containers = host.containers().len();
        let endpoints = host.api("GET", "/v1/endpoints", None).ok::<Vec<Value>>();
        (containers, endpoints.len(), shims(host).len(), files())
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while left() != (0, 0, 0, String::new()) {
        assert!(
            Instant::now() < deadline,
            "containers, endpoints, shims and files that are left: {:?}",
            left()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes with a command line that names the agent's state.
fn shims(host: &Host) -> Vec<i32> {
    let dir = host.state_dir().join("containers");
    let dir = dir.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(dir))
    })
    .collect()
}

/// How many namespaces, TAPs and processes the agent has a descriptor of.
fn descriptors(host: &Host) -> BTreeMap<&'static str, usize> {
    let fds = format!("/proc/{}/fd", host.agent_pid().as_raw_nonzero());
    let targets: Vec<String> = fs::read_dir(fds)
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    let count = |kind| {
        targets
            .iter()
            .filter(|target| target.contains(kind))
            .count()
    };
    ["net:[", "/dev/net/tun", "[pidfd]"]
        .map(|kind| (kind, count(kind)))
        .into()
}

/// xorshift64, seeded by the clock, or by `SEED`.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded() -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let given = std::env::var("SEED").ok();
        let seed: u64 = given.map_or(clock.subsec_nanos().into(), |seed| seed.parse().unwrap());
        println!("SEED={seed}");
        Self(seed | 1 << 40)
    }

    fn below(&mut self, limit: Duration) -> Duration {
        limit.mul_f64((self.next() >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// One of the first `count` numbers.
    pub(crate) fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.next() >> 11).unwrap() % count
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
