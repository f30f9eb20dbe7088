//! A command's streams over a unix socket: the protocol, and the side of it that a terminal or the agent is on.

mod codec;
mod session;
mod terminal;

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

pub use codec::{DecodeMessage, Decoder, Event, MAX_PAYLOAD, Message, Request, Role};
pub use session::{AttachSession, Session, SessionOptions};

/// Name of the socket in a container's directory.
pub const SOCKET_FILE: &str = "attach.sock";

/// Connects to an `attach.sock` and says in which role; the first event that comes back is [`Event::Ready`]. Waits 5 s at
/// most, where a shim that is stopped has as many waiting as its socket holds.
///
/// The stream is blocking. For tokio: `set_nonblocking(true)`, then `tokio::net::UnixStream::from_std`.
pub fn connect(socket: &Path, role: Role) -> io::Result<UnixStream> {
    connect_within(socket, role, CONNECT_LIMIT)
}

fn connect_within(socket: &Path, role: Role, limit: Duration) -> io::Result<UnixStream> {
    let family = AddressFamily::UNIX;
    let opened = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // It counts for connecting too, unix(7).
    set_socket_timeout(&opened, Timeout::Send, Some(limit))?;
    with_short_path(socket, |path| {
        let connected = rustix::net::connect(&opened, &SocketAddrUnix::new(path)?);
        connected.map_err(|error| match error {
            Errno::AGAIN => io::Error::new(io::ErrorKind::TimedOut, "nobody takes the connection"),
            error => error.into(),
        })
    })?;
    let mut stream = UnixStream::from(opened);
    io::Write::write_all(&mut stream, &Request::Attach(role).to_bytes())?;
    stream.set_write_timeout(None)?;
    Ok(stream)
}

pub(crate) fn bind(socket: &Path) -> io::Result<UnixListener> {
    with_short_path(socket, |path| UnixListener::bind(path))
}

/// A socket's address holds 107 bytes of path, unix(7); a path through an open directory always fits.
fn with_short_path<T>(
    socket: &Path,
    use_path: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let (Some(dir), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let flags =
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let opened = rustix::fs::open(dir, flags, rustix::fs::Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd())).join(name);
    use_path(&short)
}

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_shim_that_takes_no_connection_is_given_up_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join(SOCKET_FILE);
        let listener = bind(&socket).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let limit = Duration::from_millis(100);
        let begun = Instant::now();
        let mut waiting = Vec::new();
        let refusal = loop {
            match connect_within(&socket, Role::Watcher, limit) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(refusal.kind(), io::ErrorKind::TimedOut);
        assert!(waiting.len() < 4 && begun.elapsed() < Duration::from_secs(5));
    }
}
