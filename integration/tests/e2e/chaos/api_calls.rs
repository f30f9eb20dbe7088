//! Ten thousand requests that a generator makes up from the API's own document.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::figures::Row;
use crate::harness::{Host, from_pypi, run_for};

#[test]
#[ignore = "takes schemathesis from PyPI and some minutes: make chaos"]
fn ten_thousand_generated_calls_break_nothing() {
    let generator = from_pypi("schemathesis", VERSION);
    let host = Host::start();
    let document = host.dir().join("openapi.json");
    let text = host.api("GET", "/v1/openapi.json", None).body.to_string();
    fs::write(&document, text).unwrap();
    let before = host.agent_pid();
    let bridge = Bridge::open(&host);

    let mut seed = 0;
    while bridge.tally.calls() < CALLS && seed < SEEDS_MAX {
        seed += 1;
        let mut command = Command::new(&generator);
        command.arg("run").arg(&document).current_dir(host.dir());
        command.args(["--url", &format!("http://127.0.0.1:{}", bridge.tcp_port)]);
        command.args([
            "--phases",
            "coverage,fuzzing",
            "--checks",
            "not_a_server_error",
        ]);
        command.args([
            "--max-examples",
            "100",
            "--request-timeout",
            "5",
            "--no-shrink",
        ]);
        command.args(["--continue-on-failure", "--suppress-health-check", "all"]);
        command.args(["--seed", &seed.to_string(), "--no-color"]);
        // It fails where anything is odd in its eyes; what counts here is counted on the way.
        host.netns.enter(|| run_for(&mut command, PATIENCE));
    }
    let mut row = Row::new(
        16,
        "generated API calls",
        "0 crashes, 0 undocumented 5xx",
        "",
    );
    let calls = bridge.tally.calls();
    row.figure(format_args!("{calls} calls"));
    row.hold(calls >= CALLS, format_args!("{calls} calls only"));
    let broken = bridge.tally.broken();
    row.none("status 5xx", broken.len(), &broken);
    let is_same = host.agent_pid() == before;
    row.figure(if is_same { "no crash" } else { "a crash" });
    row.hold(is_same, "another agent answers");
    let panics: Vec<_> = host
        .log()
        .lines()
        .filter(|line| line.contains("panicked"))
        .map(str::to_owned)
        .collect();
    row.none("panics", panics.len(), &panics);
    row.finish();
}

/// A TCP port of the host that leads to the agent's socket: the generator knows no other kind of socket.
struct Bridge {
    tcp_port: u16,
    tally: Arc<Tally>,
}

/// What went over it.
#[derive(Default)]
struct Tally {
    calls: AtomicUsize,
    /// Requests that were answered with 5xx, and the answers.
    broken: Mutex<Vec<String>>,
}

impl Bridge {
    fn open(host: &Host) -> Self {
        let listener = host
            .netns
            .enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
        let tcp_port = listener.local_addr().unwrap().port();
        let tally = Arc::<Tally>::default();
        let (socket, counted) = (host.socket(), Arc::clone(&tally));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (socket, counted) = (socket.clone(), Arc::clone(&counted));
                std::thread::spawn(move || lead(client, &socket, &counted));
            }
        });
        Self { tcp_port, tally }
    }
}

impl Tally {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn broken(&self) -> Vec<String> {
        self.broken.lock().unwrap().clone()
    }

    fn note(&self, request: &str, answer: &[u8]) {
        let text = String::from_utf8_lossy(answer);
        let Some(status) = text.strip_prefix("HTTP/1.1 ") else {
            return;
        };
        self.calls.fetch_add(1, Ordering::Relaxed);
        if status.starts_with('5') {
            let mut broken = self.broken.lock().unwrap();
            if broken.len() < BROKEN_MAX {
                broken.push(format!(
                    "{request}: {}",
                    status.chars().take(300).collect::<String>()
                ));
            }
        }
    }
}

/// Carries bytes both ways until either side ends; a request is over when its answer begins, as clients have it that wait.
fn lead(mut client: TcpStream, socket: &Path, tally: &Tally) {
    let Ok(mut agent) = UnixStream::connect(socket) else {
        return;
    };
    let (Ok(mut answers), Ok(mut back)) = (agent.try_clone(), client.try_clone()) else {
        return;
    };
    let asked = Mutex::new(String::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = [0; 1 << 16];
            while let Ok(length @ 1..) = answers.read(&mut bytes) {
                tally.note(&asked.lock().unwrap(), &bytes[..length]);
                if back.write_all(&bytes[..length]).is_err() {
                    break;
                }
            }
            let _ = back.shutdown(Shutdown::Both);
        });
        let mut bytes = [0; 1 << 16];
        while let Ok(length @ 1..) = client.read(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..length]);
            if let Some(line) = text
                .lines()
                .next()
                .filter(|line| line.contains(" HTTP/1.1"))
            {
                *asked.lock().unwrap() = line.chars().take(200).collect();
            }
            if agent.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = agent.shutdown(Shutdown::Both);
    });
}

const VERSION: &str = "4.32.5";
const CALLS: usize = 10_000;
const SEEDS_MAX: usize = 10;
const BROKEN_MAX: usize = 100;
const PATIENCE: Duration = Duration::from_secs(400);
