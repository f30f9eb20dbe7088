//! Noticing that links, addresses or forwarding of a network namespace changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::attributes::messages;
use super::error::NetlinkError;
use super::socket::Netlink;
use super::subject::{Names, Subject};

/// Listens to the kernel's notifications about links, addresses and forwarding. They only say where it is time to look again.
#[derive(Debug)]
pub struct LinkWatch {
    socket: Socket,
    names: Names,
}

/// Where something changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Links, by their indices, with all names that they had before and after.
    pub links: BTreeMap<u32, BTreeSet<String>>,
    /// Something that is about no link; or more than the socket holds, and nobody knows where.
    pub elsewhere: bool,
}

impl LinkChange {
    /// Whether nothing changed.
    pub fn is_none(&self) -> bool {
        self.links.is_empty() && !self.elsewhere
    }
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
        let socket = listen(groups).map_err(NetlinkError::Open)?;
        let links = Netlink::open()?.links()?.into_iter();
        let names = Names(links.map(|link| (link.index, link.name)).collect());
        Ok(Self { socket, names })
    }

    /// Waits until something changed, or `limit` is over. What changes within [`SETTLE`] is one change.
    pub fn wait(&mut self, limit: Option<Duration>) -> Result<LinkChange, NetlinkError> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut ready, limit.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(LinkChange::default()),
            Ok(_) => {}
            Err(error) => return Err(NetlinkError::Exchange(error.into())),
        }
        std::thread::sleep(SETTLE);
        let mut change = LinkChange::default();
        drain(&self.socket, |heard| match heard.and_then(Subject::of) {
            Some(said) => match said.link {
                Some(index) => {
                    let names = change.links.entry(index).or_default();
                    names.extend(self.names.follow(index, &said));
                }
                None => change.elsewhere = true,
            },
            None => change.elsewhere = true,
        })
        .map_err(NetlinkError::Exchange)?;
        Ok(change)
    }
}

/// A socket that hears of these groups from now on.
pub(super) fn listen(groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// Reads what waits. `hear` gets each message; nothing where more happened than the socket holds.
pub(super) fn drain(socket: &Socket, mut hear: impl FnMut(Option<&[u8]>)) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
    loop {
        buffer.clear();
        match socket.recv(&mut buffer, 0) {
            Ok(_) => messages(&buffer).for_each(|message| hear(Some(message))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => hear(None),
            Err(error) => return Err(error),
        }
    }
}

// linux/rtnetlink.h
pub(super) const RTNLGRP_LINK: u32 = 1;
pub(super) const RTNLGRP_IPV4_IFADDR: u32 = 5;
pub(super) const RTNLGRP_IPV4_ROUTE: u32 = 7;
pub(super) const RTNLGRP_IPV6_IFADDR: u32 = 9;
pub(super) const RTNLGRP_IPV6_ROUTE: u32 = 11;
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
