//! The agent's side: starting shims, and speaking to them.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attach::{self, Decoder, Event, Message, Request, Role};
use crate::exit::EXIT_FILE;
use crate::process::ProcessId;
use crate::spec::{ContainerSpec, ExecRequest, ExecSpec, ShimSpec};

/// Starts shims, and collects those that ended.
#[derive(Debug)]
pub struct Supervisor {
    program: PathBuf,
    shims: Mutex<Vec<Child>>,
}

/// A container (or exec) whose namespaces exist: contents of `ready.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervised {
    pub shim: ProcessId,
    /// Process 1 of the container, or the executed process; its `/proc/<pid>/ns/net` is the sandbox.
    pub init: ProcessId,
}

#[derive(Debug, Error)]
pub enum SpawnContainer {
    #[error("cannot prepare the directory {dir}: {error}")]
    Directory { dir: PathBuf, error: io::Error },
    #[error("cannot start {program} as shim: {error}")]
    Program { program: PathBuf, error: io::Error },
    #[error("{0}")]
    Refused(String),
    #[error("the shim was not ready within {} s", READY_LIMIT.as_secs())]
    TooSlow,
    /// An exec needs a running container.
    #[error("the container does not run")]
    NotRunning,
    #[error("the container runs already")]
    AlreadyRuns,
}

#[derive(Debug, Error)]
pub enum StartContainer {
    #[error("the container's supervisor does not answer: {0}")]
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
    Ready(Supervised),
    Failed(String),
}

impl Supervisor {
    /// `program` understands the arguments `shim DIR` (with [`run_shim`](super::run_shim)) and `init` (with
    /// [`run_init`](super::run_init)); the agent gives `/proc/self/exe`.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            shims: Mutex::new(Vec::new()),
        }
    }

    /// Makes a container: its directory (0750, where absent), its shim, its namespaces. The command waits for [`start`].
    ///
    /// The directory may be that of a container that ended: its log goes on. Blocks for the milliseconds this takes, 30 s
    /// at worst. After an error nothing new runs, and the directory stays.
    pub fn spawn(&self, dir: &Path, spec: &ContainerSpec) -> Result<Supervised, SpawnContainer> {
        let before = supervised(dir).ok().flatten();
        if before.is_some_and(|before| before.shim.is_alive() || before.init.is_alive()) {
            return Err(SpawnContainer::AlreadyRuns);
        }
        make_dir(dir)
            .and_then(|()| remove_files(dir, &[READY_FILE, EXIT_FILE]))
            .and_then(|()| ShimSpec::Container(spec.clone()).write(dir))
            .map_err(|error| SpawnContainer::Directory {
                dir: dir.to_owned(),
                error,
            })?;
        self.run(dir)
    }

    /// Makes another command in the running container of `container`, a directory. Returns the exec's own directory, in
    /// which `attach.sock` is; the command waits for [`Request::Start`], and its directory goes when it ended.
    pub fn exec(
        &self,
        container: &Path,
        request: &ExecRequest,
    ) -> Result<(PathBuf, Supervised), SpawnContainer> {
        let running = supervised(container)
            .ok()
            .flatten()
            .filter(|supervised| supervised.init.is_alive())
            .ok_or(SpawnContainer::NotRunning)?;
        let dir = next_exec_dir(container).map_err(|error| SpawnContainer::Directory {
            dir: container.join(EXEC_DIR),
            error,
        })?;
        let outcome = write_exec(container, &dir, running.init, request)
            .map_err(|error| SpawnContainer::Directory {
                dir: dir.clone(),
                error,
            })
            .and_then(|()| self.run(&dir));
        if outcome.is_err() {
            let _ = fs::remove_dir_all(&dir);
        }
        outcome.map(|supervised| (dir, supervised))
    }

    /// Collects the shims that ended, so that none stays a zombie. Spawning does so too.
    pub fn reap(&self) {
        self.lock()
            .retain_mut(|shim| matches!(shim.try_wait(), Ok(None)));
    }

    fn run(&self, dir: &Path) -> Result<Supervised, SpawnContainer> {
        self.reap();
        let mut shim = Command::new(&self.program)
            .arg0("tapestry")
            .arg("shim")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| SpawnContainer::Program {
                program: self.program.clone(),
                error,
            })?;
        let greeting = match shim.stdout.take() {
            Some(mut stdout) => read_greeting(&mut stdout),
            None => Err(SpawnContainer::TooSlow),
        };
        match greeting {
            Ok(ready) => {
                self.lock().push(shim);
                Ok(ready)
            }
            Err(error) => {
                let _ = shim.kill();
                let _ = shim.wait();
                Err(error)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Child>> {
        self.shims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The processes of a container's directory, as they were made; `None` where that has not happened. They may be gone.
pub fn supervised(dir: &Path) -> io::Result<Option<Supervised>> {
    match fs::read(dir.join(READY_FILE)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Executes the command of a container made before, and waits until it is executed. Again: no effect, no error.
pub fn start(dir: &Path) -> Result<(), StartContainer> {
    let failed = StartContainer::Unreachable;
    let mut stream =
        attach::connect(&dir.join(attach::SOCKET_FILE), Role::Watcher).map_err(failed)?;
    stream.set_read_timeout(Some(READY_LIMIT)).map_err(failed)?;
    stream
        .write_all(&Request::Start.to_bytes())
        .map_err(failed)?;
    let mut decoder = Decoder::default();
    let mut buffer = [0; 1024];
    let mut refusal = None;
    loop {
        let length = stream.read(&mut buffer).map_err(failed)?;
        if length == 0 {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
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

/// Sends a signal to process 1 of a container, or to an exec's process.
///
/// The kernel withholds from a process 1 what it has no handler for, except SIGKILL and SIGSTOP, pid_namespaces(7).
pub fn signal(dir: &Path, signo: i32) -> Result<(), SignalContainer> {
    let running = supervised(dir)
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

/// With its parents, where absent. Its group may look, whatever the umask of the agent.
fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_dir(parent)?;
    }
    match make_new_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

fn make_new_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(DIR_MODE).create(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(DIR_MODE))
}

fn remove_files(dir: &Path, names: &[&str]) -> io::Result<()> {
    for name in names {
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn write_exec(
    container: &Path,
    dir: &Path,
    container_init: ProcessId,
    request: &ExecRequest,
) -> io::Result<()> {
    let ShimSpec::Container(spec) = ShimSpec::read(container)? else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not the directory of a container",
        ));
    };
    ShimSpec::Exec(ExecSpec {
        container_init,
        process: spec.exec(request),
    })
    .write(dir)
}

fn next_exec_dir(container: &Path) -> io::Result<PathBuf> {
    let parent = container.join(EXEC_DIR);
    make_dir(&parent)?;
    let mut number: u64 = 0;
    loop {
        let dir = parent.join(number.to_string());
        match make_new_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            outcome => return outcome.map(|()| dir),
        }
    }
}

/// Reads until the shim closes its standard output, which it does when it is ready or dead.
fn read_greeting(stdout: &mut ChildStdout) -> Result<Supervised, SpawnContainer> {
    let deadline = Instant::now() + READY_LIMIT;
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(SpawnContainer::TooSlow);
        }
        let timeout = Timespec::try_from(left).ok();
        let mut fds = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN)];
        if !matches!(poll(&mut fds, timeout.as_ref()), Ok(ready) if ready > 0) {
            continue;
        }
        match stdout.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => text.extend_from_slice(&buffer[..length]),
        }
    }
    match serde_json::from_slice(&text) {
        Ok(Greeting::Ready(supervised)) => Ok(supervised),
        Ok(Greeting::Failed(why)) => Err(SpawnContainer::Refused(why)),
        Err(_) => Err(SpawnContainer::Refused(
            "the shim died before it was ready".to_owned(),
        )),
    }
}

pub(crate) const READY_FILE: &str = "ready.json";
const EXEC_DIR: &str = "exec";
const DIR_MODE: u32 = 0o750;
/// A shim that needs longer is not going to make it; a loaded host needs a second.
const READY_LIMIT: Duration = Duration::from_secs(30);
