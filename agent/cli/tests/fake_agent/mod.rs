//! An agent that gives prepared answers and remembers what it was asked.

#![allow(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;

pub(crate) struct FakeAgent {
    dir: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

/// Request line without its version, status, body.
pub(crate) type Answer = (&'static str, u16, &'static str);

impl FakeAgent {
    /// What is not prepared answers 404.
    pub(crate) fn start(answers: &'static [Answer]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("agent.sock")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let agent = Self {
            dir,
            asked: Arc::clone(&asked),
        };
        // Ends with the process: a test has nothing to wait for.
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), answers, &asked);
            }
        });
        agent
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("agent.sock")
    }

    /// Runs `tapestry` against this agent, with nothing on its standard input.
    pub(crate) fn tapestry(&self, arguments: &[&str]) -> Output {
        tapestry(&self.socket(), arguments)
    }

    /// Request lines and bodies so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

pub(crate) fn tapestry(socket: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tapestry"))
        .env("TAPESTRY_SOCKET", socket)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What the script of bash asks when somebody types `line` and Tab behind its last word.
pub(crate) fn completed(socket: &std::path::Path, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let output = Command::new(env!("CARGO_BIN_EXE_tapestry"))
        .env("TAPESTRY_SOCKET", socket)
        .env("TAPESTRY_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
        .arg("--")
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

fn serve(stream: UnixStream, answers: &[Answer], asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(&stream);
    let (mut line, mut length) = (String::new(), 0);
    if reader.read_line(&mut line).unwrap() == 0 {
        return;
    }
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let (status, answer) = answers
        .iter()
        .find(|(request, ..)| *request == line)
        .map_or(
            (404, r#"{"kind":"not_found","message":"no such thing"}"#),
            |(_, status, body)| (*status, *body),
        );
    let body = String::from_utf8(body).unwrap();
    asked
        .lock()
        .unwrap()
        .push(format!("{line} {body}").trim_end().to_owned());
    let _ = write!(
        &stream,
        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    );
}
