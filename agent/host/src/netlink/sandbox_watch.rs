//! Noticing what happens to links in sandboxes, and that sandboxes go.
//!
//! # Theory of operation
//!
//! One socket hears of all namespaces that have a number in the agent's own ([`super::NetnsNumber`]), so a thousand sandboxes cost
//! one descriptor. The kernel tells with each message which namespace it is about. A sandbox that is known by a mount ends with
//! that mount, and the kernel says when the table of mounts changes (proc(5), `mountinfo`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::AddAssign;
use std::os::fd::AsRawFd;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::attributes::messages;
use super::error::NetlinkError;
use super::nsid::NetnsNumber;
use super::watch::{RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_LINK, SETTLE};

/// Listens to what happens in sandboxes.
#[derive(Debug)]
pub struct SandboxWatch {
    socket: Socket,
    mounts: File,
}

/// What it heard: where it is time to look again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stir {
    /// Namespaces in which links or addresses changed.
    pub sandboxes: BTreeMap<NetnsNumber, Stirred>,
    /// So did some in the agent's own.
    pub own: bool,
    /// Something was mounted, or is mounted no more.
    pub mounts: bool,
    /// More happened than the socket holds.
    pub overrun: bool,
}

/// Links of one namespace, by their indices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stirred {
    pub links: BTreeSet<u32>,
    /// Those of them that were deleted or moved away.
    pub gone: BTreeSet<u32>,
}

impl Stirred {
    fn note(&mut self, message: &[u8]) {
        if let Some((kind, link)) = subject(message) {
            self.links.insert(link);
            if kind == libc::RTM_DELLINK {
                self.gone.insert(link);
            }
        }
    }
}

impl AddAssign for Stir {
    fn add_assign(&mut self, more: Self) {
        for (sandbox, more) in more.sandboxes {
            let stirred = self.sandboxes.entry(sandbox).or_default();
            stirred.links.extend(more.links);
            stirred.gone.extend(more.gone);
        }
        self.own |= more.own;
        self.mounts |= more.mounts;
        self.overrun |= more.overrun;
    }
}

impl SandboxWatch {
    /// Watches all namespaces that have a number in the calling thread's.
    pub fn open() -> Result<Self, NetlinkError> {
        let open = || -> io::Result<Self> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            for group in [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR] {
                socket.add_membership(group)?;
            }
            socket.set_listen_all_namespaces(true)?;
            socket.set_non_blocking(true)?;
            let mounts = File::open("/proc/self/mountinfo")?;
            Ok(Self { socket, mounts })
        };
        open().map_err(NetlinkError::Open)
    }

    /// Waits until something happens, or `limit` is over. What happens shortly after one another is told at once.
    pub fn wait(&self, limit: Duration) -> Result<Stir, NetlinkError> {
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        let mut ready = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::new(&self.mounts, PollFlags::PRI),
        ];
        let mut stir = Stir::default();
        match poll(&mut ready, Some(&limit)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(stir),
            Ok(_) => {}
            Err(error) => return Err(NetlinkError::Exchange(error.into())),
        }
        stir.mounts = !ready[1].revents().is_empty();
        std::thread::sleep(SETTLE);
        self.drain(&mut stir).map_err(NetlinkError::Exchange)?;
        Ok(stir)
    }

    fn drain(&self, stir: &mut Stir) -> io::Result<()> {
        let mut buffer = vec![0; RECEIVE_BYTES];
        loop {
            let mut control = nix::cmsg_space!(i32);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let descriptor = self.socket.as_raw_fd();
            match recvmsg::<()>(
                descriptor,
                &mut parts,
                Some(&mut control),
                MsgFlags::empty(),
            ) {
                Ok(message) => {
                    let sandbox = message.cmsgs()?.find_map(|control| number(&control));
                    let length = message.bytes;
                    let Some(sandbox) = sandbox else {
                        stir.own = true;
                        continue;
                    };
                    let stirred = stir.sandboxes.entry(sandbox).or_default();
                    messages(&buffer[..length]).for_each(|message| stirred.note(message));
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => stir.overrun = true,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Which namespace a message is about (netlink(7), `NETLINK_LISTEN_ALL_NSID`).
fn number(control: &ControlMessageOwned) -> Option<NetnsNumber> {
    let ControlMessageOwned::Unknown(control) = control else {
        return None;
    };
    let header = control.cmsg_header;
    let is_number =
        (header.cmsg_level, header.cmsg_type) == (libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID);
    let bytes = control
        .data_bytes
        .first_chunk::<4>()
        .filter(|_| is_number)?;
    Some(NetnsNumber(i32::from_ne_bytes(*bytes)))
}

/// The type of a message, and which link it is about.
///
/// ```text
/// nlmsghdr: length 4 | type 2 | flags 2 | sequence 4 | port id 4
/// ifinfomsg: family 1 | padding 1 | type 2 | index 4 ...                              (linux/rtnetlink.h)
/// ifaddrmsg: family 1 | prefix length 1 | flags 1 | scope 1 | index 4                 (linux/if_addr.h)
/// ```
fn subject(message: &[u8]) -> Option<(u16, u32)> {
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    let link = u32::from_ne_bytes(*message.get(20..)?.first_chunk()?);
    Some((kind, link))
}

const RECEIVE_BYTES: usize = 32 * 1024;
