//! A container that was made: its processes, and what they are told.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attach::{self, Decoder, Event, Message, Request, Role};
use crate::process::ProcessId;

/// A container (or exec) whose namespaces exist: contents of `ready.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    pub shim: ProcessId,
    /// Process 1 of the container, or the executed process; its `/proc/<pid>/ns/net` is the sandbox.
    pub init: ProcessId,
}

#[derive(Debug, Error)]
pub enum StartContainer {
    #[error("the container's shim does not answer: {0}")]
    Unreachable(io::Error),
    /// The command could not be executed; the exit code is 126 or 127.
    #[error("{text}")]
    Refused { text: String, code: i32 },
}

#[derive(Debug, Error)]
pub enum SignalContainer {
    #[error("the container does not run")]
    NotRunning,
    #[error("cannot send signal {signo}: {error}")]
    Failed { signo: i32, error: io::Error },
}

/// What a shim says to its parent, as one line of JSON on its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Greeting {
    Ready(Processes),
    Failed(String),
}

/// The processes of a container's directory, as they were made; `None` where that has not happened. They may be gone.
pub fn processes(dir: &Path) -> io::Result<Option<Processes>> {
    match fs::read(dir.join(READY_FILE)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Executes the command of a container that was made before, and waits until it is executed. Again: no effect, no error.
///
/// Blocks for the milliseconds that this takes; 35 s where the shim is stopped, or the program is on a file system that
/// hangs. After [`StartContainer::Unreachable`] the command may still be executed later.
pub fn start(dir: &Path) -> Result<(), StartContainer> {
    start_within(dir, STARTED_LIMIT)
}

fn start_within(dir: &Path, limit: Duration) -> Result<(), StartContainer> {
    let failed = StartContainer::Unreachable;
    let mut stream =
        attach::connect(&dir.join(attach::SOCKET_FILE), Role::Watcher).map_err(failed)?;
    stream
        .write_all(&Request::Start.to_bytes())
        .map_err(failed)?;
    let deadline = Instant::now() + limit;
    let mut decoder = Decoder::default();
    let mut buffer = [0; 1024];
    let mut refusal = None;
    loop {
        let length = read_until(deadline, &mut stream, &mut buffer).map_err(failed)?;
        decoder.push(&buffer[..length]);
        while let Some(event) = decoder
            .decode::<Event>()
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?
        {
            match (event, refusal.take()) {
                (Event::Started, _) | (Event::Exit(_), None) => return Ok(()),
                (Event::Exit(code), Some(text)) => {
                    return Err(StartContainer::Refused { text, code });
                }
                (Event::Error(text), _) => refusal = Some(text),
                (_, earlier) => refusal = earlier,
            }
        }
    }
}

/// Reads at least a byte, however often the shim has said something else before.
fn read_until(deadline: Instant, stream: &mut UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    let late = || {
        io::Error::new(
            io::ErrorKind::TimedOut,
            "the command was not executed in time",
        )
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(late());
    }
    stream.set_read_timeout(Some(left))?;
    match stream.read(buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(late()),
        outcome => outcome,
    }
}

/// Sends a signal to process 1 of a container, or to an exec's process.
///
/// Waits for nobody. The kernel withholds from a process 1 what it has no handler for, except SIGKILL and SIGSTOP, pid_namespaces(7).
pub fn signal(dir: &Path, signo: i32) -> Result<(), SignalContainer> {
    let running = processes(dir)
        .ok()
        .flatten()
        .ok_or(SignalContainer::NotRunning)?;
    running
        .init
        .signal(signo)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SignalContainer::NotRunning,
            _ => SignalContainer::Failed { signo, error },
        })
}

pub(crate) const READY_FILE: &str = "ready.json";
/// A program that is not executed by then is on something that hangs; a loaded host needs a second.
const STARTED_LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_that_talks_and_never_starts_is_given_up_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let listener = attach::bind(&dir.path().join(attach::SOCKET_FILE)).unwrap();
        let talker = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let word = Event::Ready { init_pid: 1 }.to_bytes();
            while stream.write_all(&word).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let begun = Instant::now();
        let refusal = start_within(dir.path(), Duration::from_millis(200)).unwrap_err();
        assert!(
            matches!(&refusal, StartContainer::Unreachable(error) if error.kind() == io::ErrorKind::TimedOut),
            "{refusal}"
        );
        assert!(begun.elapsed() < Duration::from_secs(5));
        talker.join().unwrap();
    }
}
