//! What the service manager is told: when the agent answers, when it stops, what to keep for it (sd_notify(3)).

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};

/// Tells it to whoever started the agent and asked for it. The agent runs without that too, so a failure is no more than a
/// warning.
pub(crate) fn tell(state: &str) {
    tell_with(state, None);
}

/// The same with a descriptor.
pub(crate) fn tell_with(state: &str, fd: Option<BorrowedFd<'_>>) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(&socket, state, fd) {
        tracing::warn!(socket = %socket.display(), %error, "the service manager is not told of {state:?}");
    }
}

fn send(socket: &OsStr, state: &str, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(socket)?,
    };
    let fds: Vec<_> = fd.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let state = [IoSlice::new(state.as_bytes())];
    let unbound = UnixDatagram::unbound()?;
    sendmsg_addr(&unbound, &address, &state, &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}
