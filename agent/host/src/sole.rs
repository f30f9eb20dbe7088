//! One agent per network namespace.
//!
//! # Theory of operation
//!
//! Two agents in one namespace would rewrite the packet filter in turn, each for its own containers. So an agent holds a
//! name there: it listens at a socket with an abstract name, which belongs to the network namespace and goes with the
//! process, however that ends (unix(7)). Who finds the name taken asks the kernel for the process behind it, and the
//! process for the socket of its API; nothing else is served.
//!
//! Anybody in the namespace can take a name. One who does and is another user than the agent is no agent, and keeps none
//! from starting.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tokio::io::AsyncWriteExt;

/// Who holds the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Zero where it is in a PID namespace that the caller does not see.
    pub pid: i32,
    pub user: u32,
    /// Where its API is; absent where it did not say so in time.
    pub socket: Option<PathBuf>,
}

/// The name, not held by another agent.
#[derive(Debug)]
pub struct Sole(Option<UnixListener>);

/// Why this agent would not be the only one.
#[derive(Debug, thiserror::Error)]
pub enum BeSole {
    #[error(
        "{0} serves this network namespace already; stop it, or start this one in another: ip netns exec NAME tapestry agent"
    )]
    Taken(Holder),
    #[error("cannot take the name @tapestry-agent of this network namespace: {0}")]
    Name(#[from] io::Error),
}

impl std::fmt::Display for Holder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("another agent (")?;
        match self.pid {
            0 => out.write_str("in a PID namespace out of sight")?,
            pid => write!(out, "process {pid}")?,
        }
        if let Some(socket) = &self.socket {
            write!(out, " at {}", socket.display())?;
        }
        out.write_str(")")
    }
}

impl Sole {
    /// Takes the name. One who is just dying gets a moment to do so.
    pub fn take() -> Result<Self, BeSole> {
        let deadline = Instant::now() + DYING;
        loop {
            match UnixListener::bind_addr(&SocketAddr::from_abstract_name(NAME)?) {
                Ok(listener) => return Ok(Self(Some(listener))),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error.into()),
            }
            let holder = holder();
            if Instant::now() < deadline {
                std::thread::sleep(LOOK_AGAIN);
                continue;
            }
            match holder {
                Some(holder) if holder.user == rustix::process::geteuid().as_raw() => {
                    return Err(BeSole::Taken(holder));
                }
                stranger => {
                    let (pid, user) = stranger.map_or((0, None), |who| (who.pid, Some(who.user)));
                    tracing::warn!(
                        pid,
                        user,
                        "somebody who is no agent holds the name @tapestry-agent; a second agent here would not be noticed"
                    );
                    return Ok(Self(None));
                }
            }
        }
    }

    /// The name as an earlier agent held it, which whoever asks finds this process behind from now on.
    pub fn again(kept: OwnedFd) -> Result<Self, BeSole> {
        // It notes who listens (unix(7), `SO_PEERCRED`).
        rustix::net::listen(&kept, BACKLOG).map_err(io::Error::from)?;
        Ok(Self(Some(UnixListener::from(kept))))
    }

    /// What holds the name.
    pub fn held(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }

    /// Tells whoever asks where the API is, until the agent ends.
    pub async fn answer(self, socket: PathBuf) {
        let Some(listener) = self.0 else { return };
        let listening = listener
            .set_nonblocking(true)
            .and_then(|()| listener.try_clone())
            .and_then(tokio::net::UnixListener::from_std);
        let Ok(listening) = listening else {
            // The name is held all the same.
            return std::future::pending().await;
        };
        loop {
            match listening.accept().await {
                // A path fits any socket's buffer. Whoever asked and left is owed nothing.
                Ok((mut asking, _)) => {
                    let _ = asking.write_all(socket.as_os_str().as_bytes()).await;
                }
                // Out of descriptors, most likely.
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}

/// The agent of this network namespace, or whoever poses as it; `None` where nobody does, or does not answer.
pub fn holder() -> Option<Holder> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let asking = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    connect(&asking, &SocketAddrUnix::new_abstract_name(NAME).ok()?).ok()?;
    let credentials = getsockopt(&asking, PeerCredentials).ok()?;
    Some(Holder {
        pid: credentials.pid(),
        user: credentials.uid(),
        socket: read_path(asking),
    })
}

fn read_path(asking: OwnedFd) -> Option<PathBuf> {
    let stream = UnixStream::from(asking);
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
    let mut path = Vec::new();
    stream.take(PATH_MAX).read_to_end(&mut path).ok()?;
    (!path.is_empty()).then(|| std::ffi::OsString::from_vec(path).into())
}

const BACKLOG: i32 = 128;
const NAME: &[u8] = b"tapestry-agent";
const DYING: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
const PATH_MAX: u64 = 4096;
