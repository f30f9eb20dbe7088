//! Noticing that others changed the packet filter.

use std::io::{self, PipeReader, PipeWriter};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use tokio::sync::mpsc;

use super::docker::DOCKER_USER;
use super::doings::Doings;
use super::firewalld::{FIREWALLD_FORWARD, FIREWALLD_TABLE};
use crate::netlink::{attribute, messages};

/// Reports what happened until dropped. At most one report waits; one means: apply all rules again.
#[derive(Debug)]
pub struct FirewallWatch {
    reports: mpsc::Receiver<Disturbance>,
    /// Closing it ends the thread.
    _alive: PipeWriter,
}

/// What somebody else did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Our table was changed or removed, for example by `nft flush ruleset`.
    OurTable,
    /// Docker's chain for others appeared or lost a rule.
    DockerUser,
    /// firewalld made its table, or took it away.
    Firewalld,
    /// So much happened at once that the kernel dropped notifications.
    Overrun,
}

/// Why the packet filter cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch the packet filter for changes by others: {0}")]
pub struct WatchFirewall(#[from] io::Error);

impl FirewallWatch {
    /// Watches the calling thread's network namespace.
    pub(super) fn open(doings: Arc<Doings>) -> Result<Self, WatchFirewall> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(NFNLGRP_NFTABLES)?;
        socket.set_non_blocking(true)?;
        // Every element of a replaced table is a notification, our own included, and an overrun means: apply again.
        set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES).map_err(io::Error::from)?;
        let (stop, alive) = io::pipe()?;
        let (sender, reports) = mpsc::channel(1);
        thread::Builder::new()
            .name("nft-watch".into())
            .spawn(move || {
                doings.set_watched(true);
                watch(&socket, &stop, &sender, &doings);
                doings.set_watched(false);
            })?;
        Ok(Self {
            reports,
            _alive: alive,
        })
    }

    /// The next report; None when the watch broke.
    pub async fn next(&mut self) -> Option<Disturbance> {
        self.reports.recv().await
    }

    /// As [`FirewallWatch::next`], for a thread that is not part of a runtime.
    pub fn next_blocking(&mut self) -> Option<Disturbance> {
        self.reports.blocking_recv()
    }

    /// A report that waits already.
    pub fn try_next(&mut self) -> Option<Disturbance> {
        self.reports.try_recv().ok()
    }
}

fn watch(socket: &Socket, stop: &PipeReader, reports: &mpsc::Sender<Disturbance>, doings: &Doings) {
    loop {
        let mut ready = [
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => {
                tracing::warn!(%error, "the watch over the packet filter ended");
                return;
            }
        }
        if !ready[1].revents().is_empty() {
            return;
        }
        let Some(disturbance) = drain(socket, doings) else {
            continue;
        };
        doings.note_disturbance();
        // Full: a report waits already, and whoever takes it applies everything.
        if let Err(mpsc::error::TrySendError::Closed(_)) = reports.try_send(disturbance) {
            return;
        }
        // One reload is many transactions; it also bounds how often we can be made to apply.
        thread::sleep(SETTLE);
    }
}

/// Reads all notifications that wait, and returns the first disturbance among them.
fn drain(socket: &Socket, doings: &Doings) -> Option<Disturbance> {
    let mut first = None;
    let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
    loop {
        buffer.clear();
        match socket.recv(&mut buffer, 0) {
            Ok(_) => {
                let found = notifications(&buffer)
                    .filter(|notification| !doings.is_own(notification.process))
                    .find_map(|notification| notification.disturbance());
                first = first.or(found);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                first = first.or(Some(Disturbance::Overrun));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return first,
        }
    }
}

/// One message of the kernel's `NFNLGRP_NFTABLES` group (linux/netfilter/nf_tables.h).
///
/// ```text
/// nlmsghdr: length 4 | type 2 | flags 2 | sequence 4 | port id of the changing process 4
/// nfgenmsg: family 1 | version 1 | resource 2
/// attributes
/// ```
struct Notification<'a> {
    kind: u16,
    process: u32,
    family: u8,
    attributes: &'a [u8],
}

impl<'a> Notification<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        Some(Self {
            kind: u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?),
            process: u32::from_ne_bytes(message.get(12..16)?.try_into().ok()?),
            family: *message.get(16)?,
            attributes: message.get(20..)?,
        })
    }

    fn disturbance(&self) -> Option<Disturbance> {
        if self.kind >> 8 != NFNL_SUBSYS_NFTABLES {
            return None;
        }
        let message = self.kind & 0xff;
        // A new generation has no table; everything else names its table first.
        if message == NFT_MSG_NEWGEN {
            return None;
        }
        let table = self.text(NFTA_TABLE_NAME)?;
        let inet = self.family == NFPROTO_INET;
        match (message, table) {
            (_, OUR_TABLE) if inet => Some(Disturbance::OurTable),
            (NFT_MSG_NEWTABLE | NFT_MSG_DELTABLE, FIREWALLD_TABLE) if inet => {
                Some(Disturbance::Firewalld)
            }
            // A reload makes its chains after the table, and whoever looks in between finds no firewalld there.
            (NFT_MSG_NEWCHAIN, FIREWALLD_TABLE)
                if inet && self.text(NFTA_CHAIN_NAME)? == FIREWALLD_FORWARD =>
            {
                Some(Disturbance::Firewalld)
            }
            (NFT_MSG_NEWCHAIN, DOCKER_TABLE) if self.text(NFTA_CHAIN_NAME)? == DOCKER_USER => {
                Some(Disturbance::DockerUser)
            }
            (NFT_MSG_DELRULE, DOCKER_TABLE) if self.text(NFTA_RULE_CHAIN)? == DOCKER_USER => {
                Some(Disturbance::DockerUser)
            }
            _ => None,
        }
    }

    fn text(&self, wanted: u16) -> Option<&'a str> {
        let text = std::str::from_utf8(attribute(self.attributes, wanted)?).ok()?;
        Some(text.trim_end_matches('\0'))
    }
}

fn notifications(bytes: &[u8]) -> impl Iterator<Item = Notification<'_>> {
    messages(bytes).filter_map(Notification::parse)
}

const OUR_TABLE: &str = "tapestry";
const DOCKER_TABLE: &str = "filter";
const NFNLGRP_NFTABLES: u32 = 7;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFPROTO_INET: u8 = 1;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_DELRULE: u16 = 8;
const NFT_MSG_NEWGEN: u16 = 15;
/// Number 1 in tables, chains, rules, sets and elements alike.
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_RULE_CHAIN: u16 = 2;
const SETTLE: Duration = Duration::from_millis(200);
const RECEIVE_BYTES: usize = 64 * 1024;
/// What the kernel may hold for us; it takes no more than there is.
const BUFFER_BYTES: usize = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(message: u16, family: u8, attributes: &[(u16, &str)]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend((NFNL_SUBSYS_NFTABLES << 8 | message).to_ne_bytes());
        bytes.extend([0; 6]);
        bytes.extend(77_u32.to_ne_bytes());
        bytes.extend([family, 0, 0, 0]);
        for (kind, text) in attributes {
            let length = u16::try_from(4 + text.len() + 1).unwrap();
            bytes.extend(length.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(text.as_bytes());
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    fn disturbances(bytes: &[u8]) -> Vec<Option<Disturbance>> {
        notifications(bytes).map(|n| n.disturbance()).collect()
    }

    #[test]
    fn a_batch_of_notifications_is_read_to_its_end() {
        let mut bytes = message(8, 1, &[(1, "tapestry"), (2, "forward")]);
        bytes.extend(message(2, 1, &[(1, "other")]));
        bytes.extend(message(3, 2, &[(1, "filter"), (3, "DOCKER-USER")]));
        bytes.extend(message(15, 0, &[]));
        let expected = [
            Some(Disturbance::OurTable),
            None,
            Some(Disturbance::DockerUser),
            None,
        ];
        assert_eq!(disturbances(&bytes), expected);
        assert_eq!(notifications(&bytes).next().unwrap().process, 77);
    }

    #[test]
    fn a_table_of_our_name_in_another_family_is_not_ours() {
        assert_eq!(disturbances(&message(2, 2, &[(1, "tapestry")])), [None]);
    }

    #[test]
    fn truncated_notifications_end_the_batch() {
        let bytes = message(2, 1, &[(1, "tapestry")]);
        for length in 0..bytes.len() {
            assert!(disturbances(&bytes[..length]).is_empty());
        }
    }
}
