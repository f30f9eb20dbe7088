//! A container in a directory of its own, and clients of it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use agent_container::attach::{self, Decoder, Event, Message, Request, Role};
use agent_container::{ContainerSpec, ExecRequest, Processes, Shims, signal};
use tempfile::TempDir;

/// A container in a directory of its own; killed when dropped.
pub(crate) struct Container {
    pub(crate) dir: TempDir,
    pub(crate) shims: Shims,
    pub(crate) ready: Processes,
}

/// A client that waits.
pub(crate) struct Attached {
    pub(crate) stream: UnixStream,
    pub(crate) decoder: Decoder,
    pub(crate) window: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) errors: Vec<String>,
    pub(crate) skipped: u64,
    pub(crate) code: Option<i32>,
}

impl Container {
    pub(crate) fn spawn(spec: &ContainerSpec) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shims = Shims::new(program());
        let ready = shims.spawn(dir.path(), spec).unwrap();
        Self { dir, shims, ready }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn attach(&self, role: Role) -> Attached {
        Attached::to(&self.path().join(attach::SOCKET_FILE), role)
    }

    /// Runs to the end with an interactive client.
    pub(crate) fn run(spec: &ContainerSpec) -> Outcome {
        let container = Self::spawn(spec);
        let mut client = container.attach(Role::Interactive);
        client.send(&Request::Start);
        client.finish()
    }

    pub(crate) fn exec(&self, request: &ExecRequest) -> Attached {
        let (dir, _) = self.shims.exec(self.path(), request).unwrap();
        let mut client = Attached::to(&dir.join(attach::SOCKET_FILE), Role::Interactive);
        client.send(&Request::Start);
        client
    }

    /// Starts it, and waits for its first output.
    pub(crate) fn start_and_hear(&self) -> Attached {
        let mut client = self.attach(Role::Interactive);
        client.send(&Request::Start);
        client.until(|event| matches!(event, Event::Stdout(_)));
        client
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = signal(self.path(), libc::SIGKILL);
        eventually(|| !self.ready.init.is_alive());
        eventually(|| !self.ready.shim.is_alive());
        self.shims.reap();
    }
}

impl Attached {
    pub(crate) fn to(socket: &Path, role: Role) -> Self {
        let stream = attach::connect(socket, role).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        Self {
            stream,
            decoder: Decoder::default(),
            window: 0,
        }
    }

    pub(crate) fn send(&mut self, request: &Request) {
        self.stream.write_all(&request.to_bytes()).unwrap();
    }

    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.decoder.decode::<Event>().unwrap() {
                if let Event::Window(bytes) = event {
                    self.window += u64::from(bytes);
                }
                return Some(event);
            }
            let mut buffer = [0; 65536];
            let length = self.stream.read(&mut buffer).unwrap();
            if length == 0 {
                return None;
            }
            self.decoder.push(&buffer[..length]);
        }
    }

    pub(crate) fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().expect("the shim hung up");
            if wanted(&event) {
                return event;
            }
        }
    }

    pub(crate) fn until_stdout(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            match self.next() {
                Some(Event::Stdout(bytes)) => seen += &String::from_utf8_lossy(&bytes),
                Some(Event::Exit(code)) => panic!("ended with {code} after {seen:?}"),
                Some(_) => {}
                None => panic!("the shim hung up after {seen:?}"),
            }
        }
        seen
    }

    pub(crate) fn finish(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(event) = self.next() {
            match event {
                Event::Stdout(bytes) => outcome.stdout.extend(bytes),
                Event::Stderr(bytes) => outcome.stderr.extend(bytes),
                Event::Error(text) => outcome.errors.push(text),
                Event::Skipped(bytes) => outcome.skipped += bytes,
                Event::Exit(code) => {
                    outcome.code = Some(code);
                    return outcome;
                }
                _ => {}
            }
        }
        outcome
    }
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/shim");
    assert!(program.exists(), "cargo build --example shim first");
    program
}

pub(crate) fn shell(script: &str) -> ContainerSpec {
    ContainerSpec {
        id: "0123456789ab".into(),
        hostname: "box".into(),
        command: vec!["sh".into(), "-c".into(), script.into()],
        ..ContainerSpec::default()
    }
}

pub(crate) fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "it did not come to hold in time");
        sleep(Duration::from_millis(20));
    }
}

/// A root directory with busybox and nothing else.
pub(crate) fn busybox_root() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for dir in ["bin", "etc", "tmp", "root"] {
        fs::create_dir(root.path().join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", root.path().join("bin/busybox")).unwrap();
    for name in [
        "sh", "ls", "ps", "tty", "cat", "mount", "hostname", "ifconfig", "stty", "id", "sleep",
    ] {
        std::os::unix::fs::symlink("busybox", root.path().join("bin").join(name)).unwrap();
    }
    root
}
