//! The shim's ends of the command's streams.

use std::os::fd::OwnedFd;

use rustix::fs::{Gid, Uid};
use rustix::io::ioctl_fionbio;
use rustix::pipe::{PipeFlags, pipe_with};

use super::failure::{MakeContainer, because};
use super::open_null;
use super::users::UserRange;
use crate::log::LogStream;
use crate::spec::ProcessSpec;

pub(super) enum Streams {
    Terminal {
        ours: OwnedFd,
        /// Kept, so that a command which closes its own is not taken for one that ended.
        theirs: OwnedFd,
    },
    Pipes {
        /// Where the command reads input at all.
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
}

/// What the event loop reads.
pub(super) struct Output {
    pub(super) stream: LogStream,
    pub(super) source: OwnedFd,
}

/// The event loop's view of [`Streams`], non-blocking.
pub(super) struct Ends {
    pub(super) outputs: Vec<Output>,
    pub(super) stdin: Option<OwnedFd>,
    /// Our end and the command's.
    pub(super) terminal: Option<(OwnedFd, OwnedFd)>,
}

impl Streams {
    pub(super) fn split(self) -> Ends {
        let output = |stream, source| Output { stream, source };
        let ends = match self {
            Self::Terminal { ours, theirs } => Ends {
                outputs: ours
                    .try_clone()
                    .map(|source| output(LogStream::Stdout, source))
                    .into_iter()
                    .collect(),
                stdin: ours.try_clone().ok(),
                terminal: Some((ours, theirs)),
            },
            Self::Pipes {
                stdin,
                stdout,
                stderr,
            } => Ends {
                outputs: vec![
                    output(LogStream::Stdout, stdout),
                    output(LogStream::Stderr, stderr),
                ],
                stdin,
                terminal: None,
            },
        };
        let sources = ends.outputs.iter().map(|output| &output.source);
        for fd in sources.chain(&ends.stdin) {
            let _ = ioctl_fionbio(fd, true);
        }
        ends
    }
}

/// Pipes and the command's ends of them; nothing for a terminal, which init opens inside. The command's root owns them,
/// so that it can open `/dev/stdout`.
pub(super) fn make_streams(
    process: &ProcessSpec,
    owner: Option<UserRange>,
) -> Result<(Option<Streams>, Vec<OwnedFd>), MakeContainer> {
    if process.tty {
        return Ok((None, Vec::new()));
    }
    let new_pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(because("make a pipe"));
    let (their_stdin, stdin) = if process.interactive {
        let (read, write) = new_pipe()?;
        (read, Some(write))
    } else {
        (open_null().map_err(because("open /dev/null"))?, None)
    };
    let (stdout, their_stdout) = new_pipe()?;
    let (stderr, their_stderr) = new_pipe()?;
    if let Some(range) = owner {
        let (uid, gid) = (Uid::from_raw(range.first), Gid::from_raw(range.first));
        let pipes = [&their_stdout, &their_stderr];
        for pipe in pipes
            .into_iter()
            .chain(stdin.is_some().then_some(&their_stdin))
        {
            rustix::fs::fchown(pipe, Some(uid), Some(gid))
                .map_err(because("give the pipes to the container"))?;
        }
    }
    let streams = Streams::Pipes {
        stdin,
        stdout,
        stderr,
    };
    Ok((Some(streams), vec![their_stdin, their_stdout, their_stderr]))
}
