//! The ports of a tunnel, and whose frames come from where.

use std::hash::Hash;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use foldhash::{HashMap, HashMapExt};
use rustix::event::{EventfdFlags, eventfd};
use switch_core::{PortId, lock};

/// Ports by where their frames come from. Read without a lock; written when a port comes or goes.
#[derive(Debug)]
pub(crate) struct Ports<K> {
    table: ArcSwap<HashMap<K, Arc<PortEntry>>>,
    writer: Mutex<()>,
}

/// One port, as the trunk knows it.
#[derive(Debug)]
pub(crate) struct PortEntry {
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

impl<K: Clone + Eq + Hash> Ports<K> {
    pub(crate) fn new() -> Self {
        Self {
            table: ArcSwap::from_pointee(HashMap::new()),
            writer: Mutex::new(()),
        }
    }

    pub(crate) fn find(&self, key: &K) -> Option<Arc<PortEntry>> {
        self.table.load().get(key).cloned()
    }

    /// Whether some key satisfies `is_wanted`.
    pub(crate) fn any(&self, is_wanted: impl FnMut(&K) -> bool) -> bool {
        self.table.load().keys().any(is_wanted)
    }

    pub(crate) fn insert(&self, key: K, mtu: u32) -> Result<Arc<PortEntry>, AddTunnelPort> {
        let _turn = lock(&self.writer);
        if self.find(&key).is_some() {
            return Err(AddTunnelPort::Exists);
        }
        let gone = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| AddTunnelPort::Event(error.into()))?;
        let entry = Arc::new(PortEntry {
            port: AtomicU32::new(UNATTACHED),
            mtu: AtomicU32::new(mtu),
            gone,
        });
        self.change(|table| {
            table.insert(key, Arc::clone(&entry));
        });
        Ok(entry)
    }

    pub(crate) fn remove(&self, key: &K) {
        let _turn = lock(&self.writer);
        self.change(|table| {
            table.remove(key);
        });
    }

    /// Tells every port that its tunnel is gone.
    pub(crate) fn end_all(&self) {
        for entry in self.table.load().values() {
            entry.end();
        }
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<K, Arc<PortEntry>>)) {
        let mut table = HashMap::clone(&self.table.load());
        change(&mut table);
        self.table.store(Arc::new(table));
    }
}

/// The port that the last frame was for. Frames come in trains, so the next is mostly for the same one, whom `W` tells apart.
#[derive(Debug)]
pub(crate) struct Recent<W>(Option<(W, Arc<PortEntry>)>);

impl<W: PartialEq> Recent<W> {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// The port of `whose` frames: the last one again, or what `search` finds.
    #[inline]
    pub(crate) fn find(
        &mut self,
        whose: W,
        search: impl FnOnce() -> Option<Arc<PortEntry>>,
    ) -> Option<&PortEntry> {
        if self.0.as_ref().is_none_or(|(last, _)| *last != whose) {
            self.0 = search().map(|entry| (whose, entry));
        }
        self.0.as_ref().map(|(_, entry)| &**entry)
    }

    /// A port that goes meanwhile is not remembered.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }
}

impl PortEntry {
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

impl AsFd for PortEntry {
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
        let ports = Ports::new();
        let entry = ports.insert(1, 1500).unwrap();
        assert!(matches!(ports.insert(1, 1500), Err(AddTunnelPort::Exists)));
        assert_eq!(entry.port(), None);
        entry.attach(PortId(7));
        assert_eq!(ports.find(&1).unwrap().port(), Some(PortId(7)));
        ports.remove(&1);
        assert!(ports.find(&1).is_none());
        assert!(ports.insert(1, 1500).is_ok());
    }

    #[test]
    fn the_end_of_the_tunnel_ends_its_ports() {
        let ports = Ports::new();
        let entry = ports.insert(1, 1500).unwrap();
        assert_eq!(entry.read().kind(), io::ErrorKind::WouldBlock);
        ports.end_all();
        for _ in 0..2 {
            assert_eq!(entry.read().kind(), io::ErrorKind::BrokenPipe);
        }
    }

    #[test]
    fn the_last_port_is_found_without_a_search() {
        let ports = Ports::new();
        for (key, number) in [(1, 7), (2, 8)] {
            ports.insert(key, 1500).unwrap().attach(PortId(number));
        }
        let mut recent = Recent::new();
        let mut searches = 0;
        let mut find = |key| {
            let entry = recent.find(key, || {
                searches += 1;
                ports.find(&key)
            });
            entry.and_then(PortEntry::port)
        };
        for (key, port) in [
            (1, Some(7)),
            (1, Some(7)),
            (2, Some(8)),
            (3, None),
            (3, None),
        ] {
            assert_eq!(find(key), port.map(PortId));
        }
        assert_eq!(searches, 4, "what is not there is not remembered");
    }
}
