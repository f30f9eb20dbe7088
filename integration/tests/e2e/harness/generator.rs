//! Requests that a generator makes up from the API's own document.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::{Host, Output, from_pypi, run_for};

/// schemathesis, with a document and a way to the host's agent.
pub(crate) struct Generator<'h> {
    host: &'h Host,
    program: PathBuf,
    document: PathBuf,
    bridge: Bridge,
}

impl<'h> Generator<'h> {
    pub(crate) fn new(host: &'h Host, document: &Value) -> Self {
        let path = host.dir().join("openapi.json");
        fs::write(&path, document.to_string()).unwrap();
        Self {
            host,
            program: from_pypi("schemathesis", VERSION),
            document: path,
            bridge: Bridge::open(host),
        }
    }

    /// Makes requests up, and judges the answers by its own rules; no example is made shorter. The same seed makes the same ones.
    pub(crate) fn run(&self, seed: usize, options: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command
            .arg("run")
            .arg(&self.document)
            .current_dir(self.host.dir());
        command.args([
            "--url",
            &format!("http://127.0.0.1:{}", self.bridge.tcp_port),
        ]);
        command.args(["--seed", &seed.to_string(), "--no-color", "--no-shrink"]);
        command.args([
            "--request-timeout",
            "5",
            "--continue-on-failure",
            "--suppress-health-check",
            "all",
        ]);
        self.host
            .netns
            .enter(|| run_for(command.args(options), PATIENCE))
    }

    /// How many requests were answered.
    pub(crate) fn calls(&self) -> usize {
        self.bridge.tally.calls()
    }

    /// Those that were answered with 5xx, and the answers.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.bridge.tally.broken()
    }
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

/// Whether the answer that begins so comes piece by piece, as those do that follow something.
fn is_endless(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    text.starts_with("http/1.1 ") && text.contains("\r\ntransfer-encoding: chunked")
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
                let is_over = back.write_all(&bytes[..length]).is_err();
                // Some answers go on for ever: the generator has its status, and shall not wait.
                if is_over || is_endless(&bytes[..length]) {
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

/// As `scripts/setup` has it.
const VERSION: &str = "4.32.5";
const BROKEN_MAX: usize = 100;
const PATIENCE: Duration = Duration::from_secs(400);
