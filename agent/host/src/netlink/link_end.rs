//! Waiting until a link is out of its namespace's sight.

use std::io;
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::attributes::messages;
use super::error::NetlinkError;
use super::socket::Netlink;
use super::watch::RTNLGRP_LINK;
use crate::namespace::Netns;

/// A look at a link that is about to end. The kernel takes it off the namespace's list within a millisecond, and then tens of
/// them to let go of what belonged to it, for which whoever closes a TAP has to wait.
#[derive(Debug)]
pub struct LinkEnd {
    socket: Socket,
    index: u32,
}

impl LinkEnd {
    /// To be opened before anything ends the link.
    pub fn of(netns: &Netns, link: &str) -> Result<Self, NetlinkError> {
        netns.run(|| {
            let open = || -> io::Result<Socket> {
                let mut socket = Socket::new(NETLINK_ROUTE)?;
                socket.bind(&SocketAddr::new(0, 0))?;
                socket.add_membership(RTNLGRP_LINK)?;
                socket.set_non_blocking(true)?;
                Ok(socket)
            };
            let socket = open().map_err(NetlinkError::Open)?;
            let index = Netlink::open()?.link_by_name(link)?.index;
            Ok(Self { socket, index })
        })?
    }

    /// Whether the link has gone within `limit`.
    pub fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) if messages(&buffer).any(|message| self.is_end(message)) => return true,
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // More happened than the socket holds, so the link's end may have been among it.
                Err(_) => return false,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
            if left.is_zero() || poll(&mut ready, Some(&limit)).is_err() {
                return false;
            }
        }
    }

    /// `nlmsghdr` with its type at byte 4, then `ifinfomsg` with the index at its byte 4 (rtnetlink(7)).
    fn is_end(&self, message: &[u8]) -> bool {
        let kind = message
            .get(4..6)
            .map(|kind| kind == RTM_DELLINK.to_ne_bytes());
        let index = message
            .get(20..24)
            .map(|index| index == self.index.to_ne_bytes());
        kind == Some(true) && index == Some(true)
    }
}

const RTM_DELLINK: u16 = 17;
const RECEIVE_BYTES: usize = 16 * 1024;
