//! Noticing that links, addresses or forwarding of a network namespace changed.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::error::NetlinkError;

/// Listens to the kernel's notifications about links, addresses and forwarding. They only say that it is time to look again.
#[derive(Debug)]
pub struct LinkWatch {
    socket: Socket,
}

impl LinkWatch {
    /// Watches the calling thread's network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        Self::of(&GROUPS)
    }

    /// The same, and routes.
    pub fn with_routes() -> Result<Self, NetlinkError> {
        Self::of(&[&GROUPS[..], &[RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE]].concat())
    }

    fn of(groups: &[u32]) -> Result<Self, NetlinkError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            for group in groups {
                socket.add_membership(*group)?;
            }
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let socket = open().map_err(NetlinkError::Open)?;
        Ok(Self { socket })
    }

    /// Waits until something changed, or `limit` is over; which of the two. What changes within [`SETTLE`] is one change.
    pub fn wait(&self, limit: Option<Duration>) -> Result<bool, NetlinkError> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut ready, limit.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(NetlinkError::Exchange(error.into())),
        }
        std::thread::sleep(SETTLE);
        self.drain().map_err(NetlinkError::Exchange)?;
        Ok(true)
    }

    fn drain(&self) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // More happened than the socket holds: one change all the same.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

// linux/rtnetlink.h
pub(super) const RTNLGRP_LINK: u32 = 1;
pub(super) const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
pub(super) const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_IPV6_ROUTE: u32 = 11;
/// Of all kernel settings these alone are told of: forwarding, and a few beside it.
const RTNLGRP_IPV4_NETCONF: u32 = 24;
const RTNLGRP_IPV6_NETCONF: u32 = 25;
const GROUPS: [u32; 5] = [
    RTNLGRP_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV4_NETCONF,
    RTNLGRP_IPV6_NETCONF,
];
/// An address that is replaced goes and comes within a few milliseconds.
pub(super) const SETTLE: Duration = Duration::from_millis(30);
const RECEIVE_BYTES: usize = 32 * 1024;
