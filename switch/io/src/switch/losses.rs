//! What the queues of TAPs lose before anybody reads it.
//!
//! # Theory of operation
//!
//! Frames that a sandbox sends wait in its TAP until a worker reads them. When they come faster, the kernel drops them and
//! counts them at the link, which is in the sandbox's namespace, under a name that the sandbox may change. So whoever asks
//! for a port's counters has a thread go there and read that counter. The thread ends afterwards, and nothing keeps the
//! namespace alive. A counter that cannot be read any more, because the namespace has died, stays as it was last read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::port::Port;
use crate::sys::tun;

/// Brings up to date what the links of `ports` have lost.
pub(super) fn survey(ports: &[Arc<Port>]) {
    if ports.iter().all(|port| port.device.tap().is_none()) {
        return;
    }
    thread::scope(|scope| {
        let look = || {
            for port in ports {
                if let Some(Ok(lost)) = port.device.tap().map(lost) {
                    port.note_lost(lost);
                }
            }
        };
        // Without a thread, or with one that fails, the counters stay as they were.
        let surveyor = thread::Builder::new()
            .name("switch-losses".into())
            .spawn_scoped(scope, look);
        let _ = surveyor.map(thread::ScopedJoinHandle::join);
    });
}

/// Frames that the TAP's queue has lost. Leaves the calling thread in the namespace of the link.
fn lost(tap: BorrowedFd<'_>) -> io::Result<u64> {
    let namespace = tun::namespace(tap)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let (name, _) = tun::attached(tap)?;
    let links = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    tx_dropped(&links, &name).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The `drop` column of the transmit half of a link's line (proc(5), `net/dev`).
fn tx_dropped(links: &str, name: &str) -> Option<u64> {
    let fields = links.lines().find_map(|line| {
        let (link, fields) = line.trim_start().rsplit_once(':')?;
        (link == name).then_some(fields)
    })?;
    fields.split_whitespace().nth(TX_DROPPED)?.parse().ok()
}

/// After eight columns of what was received, and bytes, packets and errors of what was sent.
const TX_DROPPED: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_of_the_name_is_read() {
        let links = "Inter-|   Receive                            |  Transmit\n \
            face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed\n    \
            lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
            eth0:1 2 3 4 5 6 7 8 9 10 11 44 13 14 15 16\n\
            eth0:1: 1 2 3 4 5 6 7 8 9 10 11 55 13 14 15 16\n";
        assert_eq!(tx_dropped(links, "eth0"), Some(44));
        assert_eq!(tx_dropped(links, "eth0:1"), Some(55));
        assert_eq!(tx_dropped(links, "eth1"), None);
    }
}
