//! The forwarding database: which MAC lives behind which port.

use std::time::Duration;

use dashmap::DashMap;
use foldhash::quality::FixedState;

use crate::{Mac, PortId, Time};

/// Bounds of an [`Fdb`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbConfig {
    /// How long a learned entry lives without a frame from it; to the second.
    pub age_limit: Duration,
    /// Most learned entries.
    pub learned_max: usize,
    /// Seed of the hash, from the caller's randomness: MACs are chosen by strangers.
    pub hash_seed: u64,
}

impl Default for FdbConfig {
    fn default() -> Self {
        Self {
            age_limit: Duration::from_secs(300),
            learned_max: 65_536,
            hash_seed: 0,
        }
    }
}

/// How an entry came to be, and what may change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FdbKind {
    /// Seen as a source; ages.
    Learned,
    /// Configured; never ages, but follows its station to another port.
    Static,
    /// Configured; never ages and never moves.
    Sticky,
}

/// One line of `tapestry fdb ls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    pub mac: Mac,
    pub port: PortId,
    pub kind: FdbKind,
    /// Time since the last frame from it, to the second. Zero for configured entries.
    pub age: Duration,
}

/// What [`Fdb::learn`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Known behind this port.
    Known,
    /// Entered.
    New,
    /// Known behind another port, now behind this one.
    Moved { from: PortId },
    /// Belongs to another port for good.
    Refused,
    /// The port has learned as many as it may.
    PortFull,
}

/// Events of an [`Fdb`] since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FdbCounts {
    pub learned: u64,
    pub moved: u64,
    pub aged: u64,
    pub evicted: u64,
    pub refused: u64,
    pub port_full: u64,
}

/// A concurrent, bounded, ageing table of MACs.
#[derive(Debug)]
pub struct Fdb {
    entries: DashMap<Mac, (PortId, FdbKind), FixedState>,
}

impl Fdb {
    pub fn new(config: FdbConfig) -> Self {
        Self {
            entries: DashMap::with_hasher(FixedState::with_seed(config.hash_seed)),
        }
    }

    /// The port behind which `mac` lives.
    pub fn lookup(&self, mac: Mac) -> Option<PortId> {
        self.entries.get(&mac).map(|entry| entry.0)
    }

    /// Notes that a frame from `mac` came in on `port`, which may learn `learn_limit` MACs.
    pub fn learn(&self, now: Time, mac: Mac, port: PortId, learn_limit: usize) -> Learned {
        let _ = (now, learn_limit);
        self.entries.insert(mac, (port, FdbKind::Learned));
        Learned::New
    }

    /// Enters a configured MAC, in place of whatever was known of it. `kind` is not [`FdbKind::Learned`].
    pub fn insert(&self, mac: Mac, port: PortId, kind: FdbKind) {
        self.entries.insert(mac, (port, kind));
    }

    /// Forgets a MAC of any kind; says whether it was known.
    pub fn remove(&self, mac: Mac) -> bool {
        self.entries.remove(&mac).is_some()
    }

    /// Forgets every MAC behind a port, of any kind.
    pub fn flush_port(&self, port: PortId) {
        self.entries.retain(|_, entry| entry.0 != port);
    }

    /// Forgets learned MACs older than the limit.
    pub fn age(&self, now: Time) {
        let _ = now;
    }

    /// Every entry, by MAC.
    pub fn snapshot(&self, now: Time) -> Vec<FdbEntry> {
        let _ = now;
        Vec::new()
    }

    /// Learned entries behind a port.
    pub fn learned_count(&self, port: PortId) -> usize {
        let _ = port;
        0
    }

    pub fn counts(&self) -> FdbCounts {
        FdbCounts::default()
    }
}
