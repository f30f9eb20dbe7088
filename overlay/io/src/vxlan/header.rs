//! Datagrams whose outer IP header says more than ECN.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use overlay_core::OuterFields;

/// Sends datagrams of `segment` bytes each, or one.
pub(super) fn send(
    socket: &impl AsFd,
    remote: SocketAddr,
    (payload, segment): (&[u8], Option<usize>),
    fields: OuterFields,
) -> io::Result<()> {
    let remote = SockaddrStorage::from(remote);
    let whole = segment.and_then(|segment| u16::try_from(segment).ok());
    match send_once(socket, &remote, payload, whole, fields) {
        Err(error) if whole.is_some() && is_no_train(&error) => payload
            .chunks(segment.unwrap_or(usize::MAX))
            .try_for_each(|datagram| send_once(socket, &remote, datagram, None, fields)),
        result => result,
    }
}

fn send_once(
    socket: &impl AsFd,
    remote: &SockaddrStorage,
    payload: &[u8],
    segment: Option<u16>,
    fields: OuterFields,
) -> io::Result<()> {
    let is_v4 = remote.as_sockaddr_in().is_some();
    let (tos, class) = (fields.tos, i32::from(fields.tos));
    let ttl = i32::from(fields.ttl.unwrap_or_default());
    let mut says = Vec::with_capacity(3);
    says.push(match is_v4 {
        true => ControlMessage::Ipv4Tos(&tos),
        false => ControlMessage::Ipv6TClass(&class),
    });
    if fields.ttl.is_some() {
        says.push(match is_v4 {
            true => ControlMessage::Ipv4Ttl(&ttl),
            false => ControlMessage::Ipv6HopLimit(&ttl),
        });
    }
    if let Some(segment) = &segment {
        says.push(ControlMessage::UdpGsoSegments(segment));
    }
    let socket = socket.as_fd().as_raw_fd();
    let payload = [IoSlice::new(payload)];
    sendmsg(socket, &payload, &says, MsgFlags::empty(), Some(remote))?;
    Ok(())
}

/// Whether it may go better one by one: the kernel fragments no trains, and not every device makes checksums for them.
fn is_no_train(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMSGSIZE | libc::EINVAL | libc::EIO)
    )
}
