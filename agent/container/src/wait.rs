//! Waiting for the end of a command.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::attach::{self, Decoder, Event, Role};
use crate::exit::{ExitRecord, read_exit};
use crate::running::processes;

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

const RETRY_INTERVAL: Duration = Duration::from_millis(200);
