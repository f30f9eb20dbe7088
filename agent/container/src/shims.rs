//! The agent's side: starting shims.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use thiserror::Error;

use crate::SIGKILL;
use crate::exit::EXIT_FILE;
use crate::given::Given;
use crate::nursery::Nursery;
use crate::process::ProcessId;
use crate::running::{Greeting, Processes, READY_FILE, processes};
use crate::spec::{ContainerSpec, ExecRequest, ExecSpec, ShimSpec};

/// Starts shims, and collects those that ended.
#[derive(Debug)]
pub struct Shims {
    program: PathBuf,
    ready_limit: Duration,
    given: Option<Given>,
    nursery: Option<Mutex<Option<Nursery>>>,
    /// Those that were not collected yet.
    children: Mutex<Vec<Child>>,
}

/// A shim that has not greeted yet.
enum Newborn {
    /// To be collected here.
    Own(Child),
    /// A nursery's; `None` where it has ended already.
    Adopted(Option<ProcessId>),
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

impl Shims {
    /// `program` understands the arguments `shim DIR` (with [`run_shim`](super::run_shim)) and `init` (with
    /// [`run_init`](super::run_init)); the agent gives `/proc/self/exe`.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            ready_limit: READY_LIMIT,
            given: None,
            nursery: None,
            children: Mutex::new(Vec::new()),
        }
    }

    /// The same for a process that keeps less than it was given.
    #[must_use]
    pub fn giving(self, given: Given) -> Self {
        let given = Some(given);
        Self { given, ..self }
    }

    /// The same where `program` also understands the argument `nursery` (with [`run_nursery`](super::run_nursery)): it is executed
    /// once for all shims.
    #[must_use]
    pub fn with_nursery(self) -> Self {
        let nursery = Some(Mutex::default());
        Self { nursery, ..self }
    }

    /// Makes a container: its directory (0750, where absent), its shim, its namespaces. The command waits for [`start`].
    ///
    /// The directory may be that of a container that ended: its log goes on. Blocks for the milliseconds that processes,
    /// namespaces and two writes to the disk take; 30 s where the shim hangs, as over a root directory on a file system
    /// that does not answer. After an error nothing new runs, and the directory stays.
    pub fn spawn(&self, dir: &Path, spec: &ContainerSpec) -> Result<Processes, SpawnContainer> {
        let before = processes(dir).ok().flatten();
        if before.is_some_and(|before| before.shim.is_alive() || before.init.is_alive()) {
            return Err(SpawnContainer::AlreadyRuns);
        }
        make_dir(dir)
            .and_then(|()| remove_files(dir, &[READY_FILE, EXIT_FILE]))
            .and_then(|()| ShimSpec::Container(Box::new(spec.clone())).write(dir))
            .map_err(|error| SpawnContainer::Directory {
                dir: dir.to_owned(),
                error,
            })?;
        self.run(dir)
    }

    /// Makes another command in the running container of `container`, a directory. Returns the exec's own directory, in
    /// which `attach.sock` is; the command waits for [`Request::Start`](crate::attach::Request::Start), and its directory
    /// goes when it ended. Blocks as [`Shims::spawn`] does.
    pub fn exec(
        &self,
        container: &Path,
        request: &ExecRequest,
    ) -> Result<(PathBuf, Processes), SpawnContainer> {
        let running = processes(container)
            .ok()
            .flatten()
            .filter(|processes| processes.init.is_alive())
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
        outcome.map(|processes| (dir, processes))
    }

    /// Collects the shims that ended, so that none stays a zombie. Spawning does so too. Waits for nobody.
    pub fn reap(&self) {
        self.lock()
            .retain_mut(|shim| matches!(shim.try_wait(), Ok(None)));
    }

    fn run(&self, dir: &Path) -> Result<Processes, SpawnContainer> {
        self.reap();
        let failed = |error| SpawnContainer::Program {
            program: self.program.clone(),
            error,
        };
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let shim = match self.adopt(dir, theirs.as_fd()) {
            Some(shim) => {
                drop(theirs);
                Newborn::Adopted(shim)
            }
            None => Newborn::Own(self.execute(dir, theirs.into()).map_err(failed)?),
        };
        let greeting = read_greeting(&mut File::from(ours), self.ready_limit);
        match (shim, &greeting) {
            (Newborn::Own(shim), Ok(_)) => self.lock().push(shim),
            (Newborn::Own(mut shim), Err(error)) => {
                let _ = shim.kill();
                match error {
                    // Where it hangs in the kernel, it ends when it comes back from there: nobody waits for that.
                    SpawnContainer::TooSlow => self.lock().push(shim),
                    _ => drop(shim.wait()),
                }
            }
            (Newborn::Adopted(Some(shim)), Err(_)) => drop(shim.signal(SIGKILL)),
            (Newborn::Adopted(_), _) => {}
        }
        greeting
    }

    /// A shim of the nursery; `None` where there is none to be had.
    fn adopt(&self, dir: &Path, stdout: BorrowedFd<'_>) -> Option<Option<ProcessId>> {
        let nursery = self.nursery.as_ref()?;
        let mut nursery = nursery.lock().unwrap_or_else(PoisonError::into_inner);
        if nursery.is_none() {
            *nursery = Nursery::start(&self.program, self.given).ok();
        }
        let born = nursery.as_ref()?.bear(dir, stdout);
        if born.is_err()
            && let Some(useless) = nursery.take()
        {
            self.lock().push(useless.close());
        }
        born.ok()
    }

    fn execute(&self, dir: &Path, stdout: Stdio) -> io::Result<Child> {
        Command::new(&self.program)
            .arg0("tapestry")
            .arg("shim")
            .arg(dir)
            .envs(self.given.map(Given::variables).into_iter().flatten())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::null())
            .spawn()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
fn read_greeting(stdout: &mut File, limit: Duration) -> Result<Processes, SpawnContainer> {
    let deadline = Instant::now() + limit;
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
        Ok(Greeting::Ready(processes)) => Ok(processes),
        Ok(Greeting::Failed(why)) => Err(SpawnContainer::Refused(why)),
        Err(_) => Err(SpawnContainer::Refused(
            "the shim died before it was ready".to_owned(),
        )),
    }
}

const EXEC_DIR: &str = "exec";
const DIR_MODE: u32 = 0o750;
/// A shim that needs longer is not going to make it; a loaded host needs a second.
const READY_LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_that_hangs_is_given_up_killed_and_collected() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("hangs");
        fs::write(&program, "#!/bin/sh\nexec sleep 100\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let shims = Shims {
            ready_limit: Duration::from_millis(100),
            ..Shims::new(program)
        };
        let begun = Instant::now();
        let refusal = shims.spawn(&dir.path().join("container"), &ContainerSpec::default());
        assert!(
            matches!(refusal, Err(SpawnContainer::TooSlow)),
            "{refusal:?}"
        );
        while !shims.lock().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it still runs");
            shims.reap();
        }
    }
}
