//! Where an agent's shims come from: a process of this program that has done nothing yet, and forks.
//!
//! # Theory of operation
//!
//! To execute the program takes milliseconds, and a megabyte that is nobody else's: a loader relocates it, arguments are understood. A lab of a
//! thousand nodes pays that a thousand times. So it is done once. The agent starts a *nursery* when it first needs a shim, and asks it for each by
//! a message, with the pipe for the shim's greeting. What the nursery forks is a shim as any other ([`run_shim`]), by its command line
//! too, and shares with the others all that none of them writes to.
//!
//! A nursery has one thread, since what it forks makes namespaces, and knows nothing of the agent, since it was executed. It ends with the agent,
//! whose end of the socket closes then, and takes those shims along that have not said that they are ready, as a parent does. It collects none of
//! them: the kernel does, as it is told. Where there is no nursery, or it does not answer, the agent executes the program itself.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::given::Given;
use crate::process::ProcessId;
use crate::shim::run_shim;
use crate::sys::{self, Fork};

/// The agent's hold on its nursery.
#[derive(Debug)]
pub(crate) struct Nursery {
    control: Control,
    process: Child,
}

/// What became of a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    /// The shim's PID.
    Born(i32),
    Failed(String),
}

impl Nursery {
    /// `program` understands the argument `nursery`, with [`run_nursery`].
    pub(crate) fn start(program: &Path, given: Option<Given>) -> io::Result<Self> {
        let (control, theirs) = Control::pair()?;
        control.limit_waits(ANSWER_LIMIT)?;
        let process = Command::new(program)
            .arg0("tapestry")
            .arg("nursery")
            .envs(given.map(Given::variables).into_iter().flatten())
            .env(ROOM.0, "-".repeat(ROOM.1))
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { control, process })
    }

    /// A shim for `dir`, which greets on `stdout`. `None` where it has ended already.
    pub(crate) fn bear(&self, dir: &Path, stdout: BorrowedFd<'_>) -> io::Result<Option<ProcessId>> {
        self.control.send(dir.as_os_str().as_bytes(), &[stdout])?;
        let answer = self.control.receive()?;
        let (text, _) = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        match serde_json::from_slice(&text)? {
            Answer::Born(pid) => Ok(ProcessId::of(pid).ok()),
            Answer::Failed(why) => Err(io::Error::other(why)),
        }
    }

    /// Ends it; what is left is to be collected.
    pub(crate) fn close(mut self) -> Child {
        let _ = self.process.kill();
        self.process
    }
}

/// The program of `tapestry nursery`: bears shims until nobody asks any more. Has to be called before the process has a second thread.
pub fn run_nursery() -> ExitCode {
    let Ok(control) = Control::from_stdin() else {
        return ExitCode::FAILURE;
    };
    if sys::forget_children(true).is_err() {
        return ExitCode::FAILURE;
    }
    while let Ok(Some((dir, fds))) = control.receive() {
        let Some(stdout) = fds.into_iter().next() else {
            continue;
        };
        let answer = match sys::fork() {
            Ok(Fork::Child) => {
                drop(control);
                return grow_up(&PathBuf::from(OsString::from_vec(dir)), stdout);
            }
            Ok(Fork::Parent(pid)) => Answer::Born(pid),
            Err(error) => Answer::Failed(error.to_string()),
        };
        let text = serde_json::to_vec(&answer).unwrap_or_default();
        if control.send(&text, &[]).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

/// As if it had been executed.
fn grow_up(dir: &Path, stdout: OwnedFd) -> ExitCode {
    let is_ready = sys::forget_children(false)
        .and_then(|()| File::open("/dev/null"))
        .and_then(|null| Ok(rustix::stdio::dup2_stdin(null.as_fd())?))
        .and_then(|()| Ok(rustix::stdio::dup2_stdout(&stdout)?));
    drop(stdout);
    if is_ready.is_err() {
        return ExitCode::FAILURE;
    }
    // Now, since what its environment says is overwritten.
    Given::take_back();
    // People and tools find it as the nursery otherwise, and no worse.
    let _ = show_as(&[b"tapestry shim ", dir.as_os_str().as_bytes()].concat());
    run_shim(dir)
}

/// Has `/proc/<pid>/cmdline` say this, up to the room that arguments and environment have: it is read from where they are in memory, past the
/// arguments' end where that has no zero, proc(5).
fn show_as(title: &[u8]) -> io::Result<()> {
    let odd = || io::Error::from(io::ErrorKind::InvalidData);
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or_else(odd)?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let address = |field: usize| -> io::Result<u64> {
        let text = fields.get(field - FIRST_FIELD).ok_or_else(odd)?;
        text.parse().map_err(|_| odd())
    };
    let (begin, end) = (address(ARG_START)?, address(ENV_END)?);
    let room = usize::try_from(end.saturating_sub(begin)).map_err(io::Error::other)?;
    let mut bytes = title[..title.len().min(room.saturating_sub(1))].to_vec();
    bytes.resize(room, 0);
    let memory = fs::OpenOptions::new().write(true).open("/proc/self/mem")?;
    memory.write_all_at(&bytes, begin)
}

/// Of `/proc/<pid>/stat`, proc(5), from the first behind the name on.
const FIRST_FIELD: usize = 3;
const ARG_START: usize = 48;
const ENV_END: usize = 51;
/// Room for the command line of a shim.
const ROOM: (&str, usize) = ("TAPESTRY_NURSERY", 256);
/// A fork takes less than a millisecond; on a loaded host some wait for their turn.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
