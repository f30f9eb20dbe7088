//! A command's streams over a unix socket: the protocol, and the side of it that a terminal or the agent is on.

mod codec;
mod session;
mod terminal;

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

pub use codec::{DecodeMessage, Decoder, Event, MAX_PAYLOAD, Message, Request, Role};
pub use session::{AttachSession, Session, SessionOptions};

/// Name of the socket in a container's directory.
pub const SOCKET_FILE: &str = "attach.sock";

/// Connects to an `attach.sock` and says in which role; the first event that comes back is [`Event::Ready`].
///
/// The stream is blocking. For tokio: `set_nonblocking(true)`, then `tokio::net::UnixStream::from_std`.
pub fn connect(socket: &Path, role: Role) -> io::Result<UnixStream> {
    let mut stream = with_short_path(socket, |path| UnixStream::connect(path))?;
    io::Write::write_all(&mut stream, &Request::Attach(role).to_bytes())?;
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
