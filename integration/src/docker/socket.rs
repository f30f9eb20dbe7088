//! The plugin's socket: where the engine finds it, or as systemd hands it over.

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use axum::serve::Listener;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

/// Where the plugin listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PluginSocket {
    /// Where the engine looks for plugins, if there is such a directory.
    #[default]
    Auto,
    Off,
    At(PathBuf),
}

/// A socket that the engine may call at. Its file goes with it, if it was made here.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) path: Option<PathBuf>,
    /// Which file it is, whatever is in its place by now.
    identity: Option<(u64, u64)>,
}

/// Why there is no plugin.
#[derive(Debug, thiserror::Error)]
pub(super) enum Listen {
    #[error("Docker's plugin is not served: another process listens on {}; stop it, or set plugin in [docker]", .0.display())]
    Taken(PathBuf),
    #[error("Docker's plugin is not served: {} is there already and is no socket; move it away", .0.display())]
    NoSocket(PathBuf),
    #[error("Docker's plugin is not served: cannot listen on {}: {source}", path.display())]
    Bind { path: PathBuf, source: io::Error },
    #[error("Docker's plugin is not served: the socket that systemd handed over is unusable: {0}")]
    HandedOver(io::Error),
}

/// `None` where no plugin is wanted.
pub(super) fn listen(socket: &PluginSocket) -> Result<Option<(UnixListener, Seat)>, Listen> {
    if *socket == PluginSocket::Off {
        return Ok(None);
    }
    if let Some(descriptor) = handed_over() {
        let listener = take(descriptor).map_err(Listen::HandedOver)?;
        // The file is systemd's, which listens on while there is no agent.
        let seat = Seat {
            path: None,
            identity: None,
        };
        return Ok(Some((listener, seat)));
    }
    let path = match socket {
        PluginSocket::At(path) => path.clone(),
        _ if Path::new(PLUGINS).is_dir() => Path::new(PLUGINS).join(FILE),
        _ => return Ok(None),
    };
    clear(&path)?;
    let bound = UnixListener::bind(&path);
    let listener = bound.map_err(|source| Listen::Bind {
        path: path.clone(),
        source,
    })?;
    let identity = identity(&path);
    let path = Some(path);
    Ok(Some((listener, Seat { path, identity })))
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A socket that nobody listens at makes the engine wait, whatever it is asked.
        if let Some(path) = &self.path
            && self.identity.is_some()
            && identity(path) == self.identity
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket at which not everybody is heard.
pub(super) struct Guarded<A> {
    pub(super) listener: UnixListener,
    pub(super) admit: A,
}

impl<A> Listener for Guarded<A>
where
    A: Fn(Option<i32>) -> Result<(), String> + Clone + Send + 'static,
{
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
            let admit = self.admit.clone();
            match tokio::task::spawn_blocking(move || admit(pid)).await {
                Ok(Ok(())) => return (stream, address),
                Ok(Err(reason)) => tracing::debug!(pid, reason, "not heard at Docker's plugin"),
                Err(error) => tracing::warn!(%error, "not heard at Docker's plugin"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Listener::local_addr(&self.listener)
    }
}

/// Takes away what a dead agent left there, and nothing else.
fn clear(path: &Path) -> Result<(), Listen> {
    let bind = |source| Listen::Bind {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(bind(source)),
        Ok(found) if !found.file_type().is_socket() => Err(Listen::NoSocket(path.to_owned())),
        Ok(_) => match StdUnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(bind)
            }
            _ => Err(Listen::Taken(path.to_owned())),
        },
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// The descriptor called `docker` among those that systemd handed to this process (sd_listen_fds(3)).
fn handed_over() -> Option<RawFd> {
    let variable = |name| std::env::var(name).ok();
    let pid: i32 = variable("LISTEN_PID")?.parse().ok()?;
    if pid != getpid().as_raw_nonzero().get() {
        return None;
    }
    place(
        &variable("LISTEN_FDNAMES")?,
        variable("LISTEN_FDS")?.parse().ok()?,
    )
}

fn place(names: &str, count: usize) -> Option<RawFd> {
    let place = names.split(':').take(count).position(|name| name == NAME)?;
    FIRST.checked_add(RawFd::try_from(place).ok()?)
}

/// Makes the descriptor this process's own, and keeps its children from having it.
fn take(descriptor: RawFd) -> io::Result<UnixListener> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let taken: OwnedFd = pidfd_getfd(own, descriptor, PidfdGetfdFlags::empty())?;
    nix::unistd::close(descriptor.into_raw_fd())?;
    let listener = StdUnixListener::from(taken);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Where the engine looks first.
const PLUGINS: &str = "/run/docker/plugins";
/// The driver's name is the file's.
const FILE: &str = "tapestry.sock";
const NAME: &str = "docker";
/// SD_LISTEN_FDS_START.
const FIRST: RawFd = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_found_by_its_name() {
        assert_eq!(place("api:docker", 2), Some(4));
        assert_eq!(place("docker", 1), Some(3));
        assert_eq!(place("api:docker", 1), None);
        assert_eq!(place("", 0), None);
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        let at = PluginSocket::At(path.clone());
        drop(StdUnixListener::bind(&path).unwrap());
        let (listener, seat) = listen(&at).unwrap().unwrap();
        assert!(matches!(listen(&at), Err(Listen::Taken(_))));
        drop((listener, seat));
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        assert!(matches!(listen(&at), Err(Listen::NoSocket(_))));
        assert!(listen(&PluginSocket::Off).unwrap().is_none());
    }
}
