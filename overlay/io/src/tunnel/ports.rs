//! The ports of a tunnel, and whose frames come from where.

use std::hash::Hash;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use foldhash::{HashMap, HashMapExt};
use rustix::event::{EventfdFlags, eventfd};
use switch_core::PortId;

/// Ports by where their frames come from. Read without a lock; written when a port comes or goes.
#[derive(Debug)]
pub(crate) struct Members<K> {
    table: ArcSwap<HashMap<K, Arc<Member>>>,
    writer: Mutex<()>,
}

/// One port, as the trunk knows it.
#[derive(Debug)]
pub(crate) struct Member {
    port: AtomicU32,
    mtu: AtomicU32,
    /// Set when the port is never to be heard of again.
    gone: OwnedFd,
}

/// Why a tunnel has no such port.
#[derive(Debug, thiserror::Error)]
pub enum AddTunnelPort {
    #[error("the tunnel has a port for this network and remote already; remove that first")]
    Exists,
    #[error("the port's event descriptor cannot be made: {0}")]
    Event(#[source] io::Error),
}

impl<K: Clone + Eq + Hash> Members<K> {
    pub(crate) fn new() -> Self {
        Self {
            table: ArcSwap::from_pointee(HashMap::new()),
            writer: Mutex::new(()),
        }
    }

    pub(crate) fn find(&self, key: &K) -> Option<Arc<Member>> {
        self.table.load().get(key).cloned()
    }

    /// Whether some key satisfies `is_wanted`.
    pub(crate) fn any(&self, is_wanted: impl FnMut(&K) -> bool) -> bool {
        self.table.load().keys().any(is_wanted)
    }

    pub(crate) fn insert(&self, key: K, mtu: u32) -> Result<Arc<Member>, AddTunnelPort> {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.find(&key).is_some() {
            return Err(AddTunnelPort::Exists);
        }
        let gone = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| AddTunnelPort::Event(error.into()))?;
        let member = Arc::new(Member {
            port: AtomicU32::new(UNATTACHED),
            mtu: AtomicU32::new(mtu),
            gone,
        });
        self.change(|table| {
            table.insert(key, Arc::clone(&member));
        });
        Ok(member)
    }

    pub(crate) fn remove(&self, key: &K) {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.change(|table| {
            table.remove(key);
        });
    }

    /// Tells every port that its tunnel is gone.
    pub(crate) fn end_all(&self) {
        for member in self.table.load().values() {
            member.end();
        }
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<K, Arc<Member>>)) {
        let mut table = HashMap::clone(&self.table.load());
        change(&mut table);
        self.table.store(Arc::new(table));
    }
}

impl Member {
    /// The port's number, once it is attached.
    pub(crate) fn port(&self) -> Option<PortId> {
        match self.port.load(Ordering::Relaxed) {
            UNATTACHED => None,
            number => Some(PortId(number)),
        }
    }

    pub(crate) fn attach(&self, port: PortId) {
        self.port.store(port.0, Ordering::Relaxed);
    }

    /// Longest packet of the port's network, in bytes.
    pub(crate) fn mtu(&self) -> u32 {
        self.mtu.load(Ordering::Relaxed)
    }

    pub(crate) fn set_mtu(&self, mtu: u32) {
        self.mtu.store(mtu, Ordering::Relaxed);
    }

    /// The counter saturates long after "readable", so a failed write changes nothing.
    fn end(&self) {
        let _ = rustix::io::write(&self.gone, &1_u64.to_ne_bytes());
    }

    /// What reading the port gives: nothing while the tunnel lives.
    pub(crate) fn read(&self) -> io::Error {
        match rustix::io::read(&self.gone, &mut [0; 8]) {
            Ok(_) => {
                self.end();
                io::ErrorKind::BrokenPipe.into()
            }
            Err(_) => io::ErrorKind::WouldBlock.into(),
        }
    }
}

impl AsFd for Member {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.gone.as_fd()
    }
}

/// A switch runs out of port numbers before.
const UNATTACHED: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_port_until_that_is_removed() {
        let members = Members::new();
        let member = members.insert(1, 1500).unwrap();
        assert!(matches!(
            members.insert(1, 1500),
            Err(AddTunnelPort::Exists)
        ));
        assert_eq!(member.port(), None);
        member.attach(PortId(7));
        assert_eq!(members.find(&1).unwrap().port(), Some(PortId(7)));
        members.remove(&1);
        assert!(members.find(&1).is_none());
        assert!(members.insert(1, 1500).is_ok());
    }

    #[test]
    fn the_end_of_the_tunnel_ends_its_ports() {
        let members = Members::new();
        let member = members.insert(1, 1500).unwrap();
        assert_eq!(member.read().kind(), io::ErrorKind::WouldBlock);
        members.end_all();
        for _ in 0..2 {
            assert_eq!(member.read().kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
