//! The forwarding database: which MAC lives behind which port.
//!
//! # Theory of operation
//!
//! Two structures. `entries`, a concurrent map, is the authority and all that a frame normally touches: one look at the
//! source, one at the destination, each under a shard's read lock that ends with the look. A frame from a known station
//! writes only when the second changes, and then one atomic.
//!
//! The `Ledger`, behind a mutex, is what changes of membership need: for each port its learned MACs ordered by age, and
//! the ports ordered by how many they have. Only new, moved and removed stations take it, with every membership change of
//! `entries` made inside, so the counts are exact. The order of locks is ledger, then shard.
//!
//! Ages in the ledger lag behind: a frame refreshes only the entry. When the ledger looks for the oldest, it puts entries
//! that turn out younger back in their place, so the work is bounded by refreshes, and no scan is ever needed.
//!
//! In a network that is aware of VLANs a station is a MAC in a VLAN: what is known of it in one says nothing of others (independent
//! VLAN learning, IEEE 802.1Q §8.8).
//!
//! Bounds: a port learns up to its own limit, beyond which its stations are flooded to. At the table's limit the port with
//! most learned MACs loses its oldest: a port that invents MACs pushes out its own, never another's (Open vSwitch,
//! `lib/mac-learning.h`). A sticky entry is its port's for good; a static one may move; neither ages or counts.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::quality::FixedState;

use self::ledger::Ledger;
pub use self::station::Station;
use crate::vlan::Vid;
use crate::{Mac, PortId, Time, lock};

/// A concurrent, bounded, ageing table of MACs.
#[derive(Debug)]
pub struct Fdb {
    config: FdbConfig,
    entries: DashMap<Station, Entry, FixedState>,
    ledger: Mutex<Ledger>,
    events: Events,
}

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

impl FdbKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Static => "static",
            Self::Sticky => "sticky",
        }
    }
}

/// One line of `tapestry fdb ls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    pub mac: Mac,
    /// Absent in a network that is not aware of VLANs.
    pub vlan: Option<Vid>,
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
    /// Lost to make room in a full table.
    pub evicted: u64,
    /// Frames whose source belongs to another port for good.
    pub refused: u64,
    /// Frames whose source was not learned because the port is full.
    pub port_full: u64,
}

/// Stations that moved, for whoever tells of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// The first few of them, in their order.
    pub first: Vec<Move>,
    /// How many there were besides.
    pub others: u64,
}

/// A station was behind one port, and is behind another now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub mac: Mac,
    pub from: PortId,
    pub to: PortId,
}

impl Moves {
    fn note(&mut self, moved: Move) {
        if self.first.len() < MOVES_KEPT {
            self.first.push(moved);
        } else {
            self.others += 1;
        }
    }
}

impl Fdb {
    pub fn new(config: FdbConfig) -> Self {
        Self {
            config,
            entries: DashMap::with_hasher(FixedState::with_seed(config.hash_seed)),
            ledger: Mutex::default(),
            events: Events::default(),
        }
    }

    /// The port behind which `station` lives.
    pub fn lookup(&self, station: impl Into<Station>) -> Option<PortId> {
        let station = station.into();
        self.entries.get(&station).map(|entry| entry.port)
    }

    /// The same, and how it came to be known.
    pub fn find(&self, station: impl Into<Station>) -> Option<(PortId, FdbKind)> {
        let station = station.into();
        self.entries
            .get(&station)
            .map(|entry| (entry.port, entry.kind))
    }

    /// Another table with the same entries, and no events. Nobody waits meanwhile: entries that change are as they were or
    /// as they are.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new(self.config);
        let mut ledger = copy.ledger();
        #[expect(
            clippy::disallowed_methods,
            reason = "each is entered for itself, in whatever order"
        )]
        for entry in self.entries.iter() {
            copy.enter(&mut ledger, *entry.key(), entry.copy());
        }
        drop(ledger);
        copy
    }

    /// Whether `station` belongs to some port for good.
    pub fn is_sticky(&self, station: impl Into<Station>) -> bool {
        let station = station.into();
        self.entries
            .get(&station)
            .is_some_and(|entry| entry.kind == FdbKind::Sticky)
    }

    /// Whether `station` belongs to a port other than `port` for good.
    pub fn is_refused(&self, station: impl Into<Station>, port: PortId) -> bool {
        let station = station.into();
        self.entries
            .get(&station)
            .is_some_and(|entry| entry.kind == FdbKind::Sticky && entry.port != port)
    }

    /// Whether anything is learned at all: an age limit of zero makes the bridge flood always, as `ageing_time 0` does the kernel's.
    pub const fn learns(&self) -> bool {
        !self.config.age_limit.is_zero()
    }

    /// Whether `station` is configured at `port`.
    pub fn is_configured(&self, station: impl Into<Station>, port: PortId) -> bool {
        let station = station.into();
        self.entries
            .get(&station)
            .is_some_and(|entry| entry.port == port && entry.kind != FdbKind::Learned)
    }

    /// Notes that a frame from `station` came in on `port`, which may learn `learn_limit` MACs.
    pub fn learn(
        &self,
        now: Time,
        station: impl Into<Station>,
        port: PortId,
        learn_limit: usize,
    ) -> Learned {
        let station = station.into();
        let second = second(now);
        match self.refresh(second, station, port) {
            Refresh::Done => Learned::Known,
            Refresh::Sticky => {
                count(&self.events.refused);
                Learned::Refused
            }
            Refresh::Absent | Refresh::Elsewhere => self.settle(second, station, port, learn_limit),
        }
    }

    /// Enters a configured MAC, in place of whatever was known of it. As [`FdbKind::Learned`] it is entered as if a frame
    /// had come in at time zero, without regard to limits.
    pub fn insert(&self, station: impl Into<Station>, port: PortId, kind: FdbKind) {
        let station = station.into();
        self.enter(&mut self.ledger(), station, Entry::new(port, kind, 0));
    }

    /// Enters what was learned `age` ago, before this table began, unless the MAC is known or too old by now. Limits hold as in
    /// [`Self::learn`]; it is no event.
    pub fn recall(
        &self,
        now: Time,
        station: impl Into<Station>,
        port: PortId,
        age: Duration,
        learn_limit: usize,
    ) {
        let station = station.into();
        if age >= self.config.age_limit {
            return;
        }
        let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let seen = second(now).saturating_sub(age);
        let mut ledger = self.ledger();
        let is_full =
            ledger.learned_count(port) >= learn_limit || ledger.learned >= self.config.learned_max;
        if !is_full && !self.entries.contains_key(&station) {
            self.enter(
                &mut ledger,
                station,
                Entry::new(port, FdbKind::Learned, seen),
            );
        }
    }

    /// Goes on counting from what a table before this one has counted.
    pub fn resume(&self, before: FdbCounts) {
        let add = |counter: &AtomicU64, more| {
            counter.fetch_add(more, Ordering::Relaxed);
        };
        add(&self.events.learned, before.learned);
        add(&self.events.moved, before.moved);
        add(&self.events.aged, before.aged);
        add(&self.events.evicted, before.evicted);
        add(&self.events.refused, before.refused);
        add(&self.events.port_full, before.port_full);
    }

    /// The stations that moved since the last call.
    pub fn take_moves(&self) -> Moves {
        std::mem::take(&mut self.ledger().moves)
    }

    /// Forgets a MAC of any kind; says whether it was known.
    pub fn remove(&self, station: impl Into<Station>) -> bool {
        let station = station.into();
        self.forget(&mut self.ledger(), station).is_some()
    }

    /// Forgets every MAC behind a port, of any kind.
    pub fn flush_port(&self, port: PortId) {
        let mut ledger = self.ledger();
        for station in ledger.stations(port) {
            self.forget(&mut ledger, station);
        }
    }

    /// Forgets the learned MACs behind a port.
    pub fn flush_learned(&self, port: PortId) {
        let mut ledger = self.ledger();
        while let Some((queued, station)) = ledger.oldest(port) {
            self.discard(&mut ledger, port, queued, station);
        }
    }

    /// Forgets learned MACs older than the limit. Takes the ledger for a slice of the work at a time, so that learning
    /// goes on meanwhile.
    pub fn age(&self, now: Time) {
        let limit = u32::try_from(self.config.age_limit.as_secs()).unwrap_or(u32::MAX);
        // Entries of this second and later stay.
        let Some(horizon) = second(now).checked_sub(limit) else {
            return;
        };
        let ports = self.ledger().ports();
        for port in ports {
            while self.age_slice(port, horizon) {}
        }
    }

    /// Every entry, by MAC and VLAN.
    pub fn snapshot(&self, now: Time) -> Vec<FdbEntry> {
        let second = second(now);
        #[expect(clippy::disallowed_methods, reason = "the list is sorted")]
        let entries = self.entries.iter();
        let mut list: Vec<FdbEntry> = entries
            .map(|entry| FdbEntry {
                mac: entry.key().mac(),
                vlan: entry.key().vlan(),
                port: entry.port,
                kind: entry.kind,
                age: entry.age(second),
            })
            .collect();
        list.sort_unstable_by_key(|entry| (entry.mac, entry.vlan));
        list
    }

    /// Whether anything is learned at all.
    pub fn has_learned(&self) -> bool {
        self.ledger().learned > 0
    }

    /// Learned entries behind a port.
    pub fn learned_count(&self, port: PortId) -> usize {
        self.ledger().learned_count(port)
    }

    pub fn counts(&self) -> FdbCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FdbCounts {
            learned: read(&self.events.learned),
            moved: read(&self.events.moved),
            aged: read(&self.events.aged),
            evicted: read(&self.events.evicted),
            refused: read(&self.events.refused),
            port_full: read(&self.events.port_full),
        }
    }

    fn refresh(&self, second: u32, station: Station, port: PortId) -> Refresh {
        let Some(entry) = self.entries.get(&station) else {
            return Refresh::Absent;
        };
        if entry.port == port {
            entry.see(second);
            return Refresh::Done;
        }
        match entry.kind {
            FdbKind::Sticky => Refresh::Sticky,
            FdbKind::Static | FdbKind::Learned => Refresh::Elsewhere,
        }
    }

    /// Enters or moves a station that [`Self::refresh`] did not find in place; another worker may have been faster.
    fn settle(&self, second: u32, station: Station, port: PortId, learn_limit: usize) -> Learned {
        let mut ledger = self.ledger();
        let known = self
            .entries
            .get(&station)
            .map(|entry| (entry.port, entry.kind));
        match known {
            None => self.settle_new(&mut ledger, second, station, port, learn_limit),
            Some((at, _)) if at == port => Learned::Known,
            Some((_, FdbKind::Sticky)) => Learned::Refused,
            Some((_, FdbKind::Learned)) if ledger.learned_count(port) >= learn_limit => {
                // It has no place where it is, but it is no longer where it was.
                self.forget(&mut ledger, station);
                count(&self.events.port_full);
                Learned::PortFull
            }
            Some((from, kind @ (FdbKind::Static | FdbKind::Learned))) => {
                self.enter(&mut ledger, station, Entry::new(port, kind, second));
                let (mac, to) = (station.mac(), port);
                self.note_move(&mut ledger, Move { mac, from, to })
            }
        }
    }

    fn note_move(&self, ledger: &mut Ledger, moved: Move) -> Learned {
        count(&self.events.moved);
        ledger.moves.note(moved);
        Learned::Moved { from: moved.from }
    }

    fn settle_new(
        &self,
        ledger: &mut Ledger,
        second: u32,
        station: Station,
        port: PortId,
        learn_limit: usize,
    ) -> Learned {
        if ledger.learned_count(port) >= learn_limit || self.config.learned_max == 0 {
            count(&self.events.port_full);
            return Learned::PortFull;
        }
        while ledger.learned >= self.config.learned_max {
            self.evict(ledger);
        }
        self.enter(ledger, station, Entry::new(port, FdbKind::Learned, second));
        count(&self.events.learned);
        Learned::New
    }

    /// Takes the oldest entry from the port that has most.
    fn evict(&self, ledger: &mut Ledger) {
        let Some(port) = ledger.fullest() else {
            return;
        };
        for _ in 0..REQUEUES_MAX {
            match ledger.oldest(port) {
                Some((queued, station)) if self.requeue(ledger, queued, station) => {}
                _ => break,
            }
        }
        if let Some((queued, station)) = ledger.oldest(port) {
            self.discard(ledger, port, queued, station);
            count(&self.events.evicted);
        }
    }

    /// Ages at most [`AGE_SLICE`] entries of a port; says whether there may be more.
    fn age_slice(&self, port: PortId, horizon: u32) -> bool {
        let mut ledger = self.ledger();
        for _ in 0..AGE_SLICE {
            let Some((queued, station)) =
                ledger.oldest(port).filter(|(queued, _)| *queued < horizon)
            else {
                return false;
            };
            if !self.requeue(&mut ledger, queued, station) {
                self.discard(&mut ledger, port, queued, station);
                count(&self.events.aged);
            }
        }
        true
    }

    /// Brings the ledger up to date on one learned entry; says whether it was seen since.
    fn requeue(&self, ledger: &mut Ledger, queued: u32, station: Station) -> bool {
        let Some(mut entry) = self.entries.get_mut(&station) else {
            return false;
        };
        let seen = entry.last_seen.load(Ordering::Relaxed);
        if seen <= queued {
            return false;
        }
        entry.queued = seen;
        let port = entry.port;
        drop(entry);
        ledger.requeue(port, queued, seen, station);
        true
    }

    /// Puts an entry in place of whatever was known, without a moment in which the MAC is unknown.
    fn enter(&self, ledger: &mut Ledger, station: Station, entry: Entry) {
        let (port, kind, queued) = (entry.port, entry.kind, entry.queued);
        if let Some(old) = self.entries.insert(station, entry) {
            ledger.remove(station, old.port, old.kind, old.queued);
        }
        ledger.add(station, port, kind, queued);
    }

    fn forget(&self, ledger: &mut Ledger, station: Station) -> Option<Entry> {
        let (_, entry) = self.entries.remove(&station)?;
        ledger.remove(station, entry.port, entry.kind, entry.queued);
        Some(entry)
    }

    /// Forgets a learned entry by the ledger's own line, so that the ledger shrinks whatever the table says.
    fn discard(&self, ledger: &mut Ledger, port: PortId, queued: u32, station: Station) {
        ledger.remove(station, port, FdbKind::Learned, queued);
        self.entries.remove(&station);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }
}

#[derive(Debug)]
struct Entry {
    port: PortId,
    kind: FdbKind,
    last_seen: AtomicU32,
    /// The age the ledger knows. Changes only under the ledger's lock.
    queued: u32,
}

impl Entry {
    const fn new(port: PortId, kind: FdbKind, second: u32) -> Self {
        Self {
            port,
            kind,
            last_seen: AtomicU32::new(second),
            queued: second,
        }
    }

    fn copy(&self) -> Self {
        Self {
            last_seen: AtomicU32::new(self.last_seen.load(Ordering::Relaxed)),
            ..*self
        }
    }

    fn see(&self, second: u32) {
        // Looking first keeps the line shared among workers for the rest of the second.
        if self.last_seen.load(Ordering::Relaxed) < second {
            self.last_seen.fetch_max(second, Ordering::Relaxed);
        }
    }

    fn age(&self, second: u32) -> Duration {
        match self.kind {
            FdbKind::Learned => {
                let seen = self.last_seen.load(Ordering::Relaxed);
                Duration::from_secs(u64::from(second.saturating_sub(seen)))
            }
            FdbKind::Static | FdbKind::Sticky => Duration::ZERO,
        }
    }
}

enum Refresh {
    Done,
    Absent,
    Elsewhere,
    Sticky,
}

#[derive(Debug, Default)]
struct Events {
    learned: AtomicU64,
    moved: AtomicU64,
    aged: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
    port_full: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Coarse enough that a busy station is written once a second, not once a frame.
fn second(now: Time) -> u32 {
    u32::try_from(now.as_millis() / 1000).unwrap_or(u32::MAX)
}

/// Looks for the oldest entry stop here and take what they have.
const REQUEUES_MAX: usize = 64;
const AGE_SLICE: usize = 256;
/// Until somebody takes them.
const MOVES_KEPT: usize = 32;

mod ledger;
mod station;
#[cfg(test)]
mod tests;
