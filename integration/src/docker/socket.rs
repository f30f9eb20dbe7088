//! The plugin's socket: where the engine finds it, or as systemd hands it over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use axum::serve::Listener;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

use super::door::Doorkeeper;

/// Where the plugin listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PluginSocket {
    /// Where the engine looks for plugins, if there is such a directory.
    #[default]
    Auto,
    Off,
    At(PathBuf),
}

/// A socket that the engine may call at. Its file goes with it, if it was made here and nobody follows.
pub(super) struct Seat<D: Doorkeeper> {
    pub(super) path: Option<PathBuf>,
    /// Which file it is, whatever is in its place by now.
    identity: Option<(u64, u64)>,
    door: D,
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
pub(super) fn listen<D: Doorkeeper>(
    socket: &PluginSocket,
    door: &D,
) -> Result<Option<(UnixListener, Seat<D>)>, Listen> {
    if *socket == PluginSocket::Off {
        return Ok(None);
    }
    if let Some(activated) = door.take_socket(ACTIVATED) {
        let listener = go_on(activated).map_err(Listen::HandedOver)?;
        // The file is systemd's, which listens on while there is no agent.
        let seat = Seat {
            path: None,
            identity: None,
            door: door.clone(),
        };
        return Ok(Some((listener, seat)));
    }
    let path = match socket {
        PluginSocket::At(path) => path.clone(),
        _ if Path::new(PLUGINS).is_dir() => Path::new(PLUGINS).join(FILE),
        _ => return Ok(None),
    };
    let bind = |source| Listen::Bind {
        path: path.clone(),
        source,
    };
    let left = door.take_socket(LEFT).filter(|_| path.exists());
    let listener = match left {
        Some(left) => go_on(left).map_err(bind)?,
        None => {
            clear(&path)?;
            UnixListener::bind(&path).map_err(bind)?
        }
    };
    door.leave_socket(LEFT, listener.as_fd());
    let seat = Seat {
        identity: identity(&path),
        path: Some(path),
        door: door.clone(),
    };
    Ok(Some((listener, seat)))
}

impl<D: Doorkeeper> Drop for Seat<D> {
    fn drop(&mut self) {
        // A socket that nobody listens at makes the engine wait, whatever it is asked.
        if let Some(path) = &self.path
            && self.identity.is_some()
            && identity(path) == self.identity
            && !self.door.is_followed()
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket at which not everybody is heard.
pub(super) struct Guarded<D> {
    pub(super) listener: UnixListener,
    pub(super) door: D,
}

impl<D: Doorkeeper> Listener for Guarded<D> {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
            let door = self.door.clone();
            match tokio::task::spawn_blocking(move || door.admit(pid)).await {
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

/// Listens where an earlier process did.
fn go_on(socket: OwnedFd) -> io::Result<UnixListener> {
    let listener = StdUnixListener::from(socket);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Where the engine looks first.
const PLUGINS: &str = "/run/docker/plugins";
/// The driver's name is the file's.
const FILE: &str = "tapestry.sock";
/// Of a unit that says `FileDescriptorName=docker`.
const ACTIVATED: &str = "activated/docker";
const LEFT: &str = "listen/docker";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::fd::BorrowedFd;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Sockets by name, as a process leaves them that ends without a word.
    #[derive(Clone, Default)]
    struct Door(Arc<Mutex<BTreeMap<String, OwnedFd>>>);

    impl Doorkeeper for Door {
        fn admit(&self, _: Option<i32>) -> Result<(), String> {
            Ok(())
        }

        fn warn(&self, warning: String) {
            panic!("{warning}");
        }

        fn is_followed(&self) -> bool {
            false
        }

        fn take_socket(&self, name: &str) -> Option<OwnedFd> {
            self.0.lock().unwrap().remove(name)
        }

        fn leave_socket(&self, name: &str, socket: BorrowedFd<'_>) {
            let socket = socket.try_clone_to_owned().unwrap();
            self.0.lock().unwrap().insert(name.to_owned(), socket);
        }
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.sock");
        let at = PluginSocket::At(path.clone());
        drop(StdUnixListener::bind(&path).unwrap());
        let (first, second) = (Door::default(), Door::default());
        let (listener, seat) = listen(&at, &first).unwrap().unwrap();
        assert!(matches!(listen(&at, &second), Err(Listen::Taken(_))));
        drop((listener, seat));
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        assert!(matches!(listen(&at, &second), Err(Listen::NoSocket(_))));
        assert!(listen(&PluginSocket::Off, &second).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_caller_waits_for_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let at = PluginSocket::At(dir.path().join("p.sock"));
        let door = Door::default();
        let (listener, seat) = listen(&at, &door).unwrap().unwrap();
        // Without a word, so that the file stays.
        drop(listener);
        std::mem::forget(seat);
        let caller = UnixStream::connect(dir.path().join("p.sock")).await;
        caller.unwrap();
        let (next, _seat) = listen(&at, &door).unwrap().unwrap();
        next.accept().await.unwrap();
    }

    #[tokio::test]
    async fn what_the_service_manager_listens_at_comes_first_and_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("systemd.sock");
        let (door, activated) = (Door::default(), StdUnixListener::bind(&path).unwrap());
        door.leave_socket(ACTIVATED, activated.as_fd());
        let at = PluginSocket::At(dir.path().join("p.sock"));
        let (_, seat) = listen(&at, &door).unwrap().unwrap();
        assert!(seat.path.is_none() && !dir.path().join("p.sock").exists());
        drop(seat);
        assert!(path.exists());
    }
}
