//! How a command ended.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attach::{self, Decoder, Event, Role};
use crate::running::processes;
use crate::spec::write_atomically;

/// Contents of `exit.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The command's own code, 128 + n when signal n ended it, 126 or 127 when it could not be executed.
    pub code: i32,
    /// Why it could not be executed, or that its shim died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How the command of this directory ended; `None` while it has not.
pub fn read_exit(dir: &Path) -> io::Result<Option<ExitRecord>> {
    match fs::read(dir.join(EXIT_FILE)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for the end of the command of this directory. Returns code 137 where the shim died without a word, since that
/// kills the command. The caller then has [`Shims::reap`](super::Shims::reap) collect the shim.
pub async fn wait(dir: &Path) -> ExitRecord {
    loop {
        if let Ok(Some(record)) = read_exit(dir) {
            return record;
        }
        if let Some(record) = watch(dir).await {
            return record;
        }
        if let Ok(Some(record)) = read_exit(dir) {
            return record;
        }
        let shim_runs = processes(dir)
            .ok()
            .flatten()
            .is_some_and(|processes| processes.shim.is_alive());
        if !shim_runs {
            return ExitRecord {
                code: 137,
                error: Some("its shim died".to_owned()),
            };
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

pub(crate) fn write_exit(dir: &Path, record: &ExitRecord) -> io::Result<()> {
    write_atomically(dir, EXIT_FILE, &serde_json::to_vec(record)?, 0o640)
}

/// Follows the shim until it tells the end; `None` when it stops telling.
async fn watch(dir: &Path) -> Option<ExitRecord> {
    let stream = attach::connect(&dir.join(attach::SOCKET_FILE), Role::Watcher).ok()?;
    stream.set_nonblocking(true).ok()?;
    let stream = tokio::net::UnixStream::from_std(stream).ok()?;
    let mut decoder = Decoder::default();
    let mut buffer = [0; 1024];
    let mut error = None;
    loop {
        stream.readable().await.ok()?;
        match stream.try_read(&mut buffer) {
            Ok(0) => return None,
            Ok(length) => decoder.push(&buffer[..length]),
            Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return None,
        }
        while let Some(event) = decoder.decode::<Event>().ok()? {
            match event {
                Event::Error(text) => error = Some(text),
                Event::Exit(code) => return Some(ExitRecord { code, error }),
                _ => {}
            }
        }
    }
}

pub(crate) const EXIT_FILE: &str = "exit.json";
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
