//! Which port wants which group.
//!
//! # Theory of operation
//!
//! A record ([`super::record`]) for each group and port of which somebody has reported. Who changes it is told whether other
//! frames reach the port now than before.
//!
//! Bounds: so many records for a port, so many in all ([`super::room`]), so many sources of a group. A port that wants more than its
//! share is *full*: it gets everything, as if nobody looked, and others bear nothing of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::address::Address;
use super::message::Report;
use super::record::{Doubt, Record};
use super::room::Room;
use crate::{PortId, PortKind, Time};

/// What records are kept of, within one VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    pub(crate) group: Address,
}

/// The records of one VLAN, or of a network that knows none.
#[derive(Debug)]
pub(crate) struct Table {
    groups: BTreeMap<GroupKey, BTreeMap<PortId, Record>>,
    room: Arc<Room>,
}

/// What a report has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Other frames reach the port now.
    pub(crate) is_news: bool,
    /// There was no room for all that it says.
    pub(crate) is_full: bool,
    pub(crate) doubt: Doubt,
}

impl Table {
    pub(crate) const fn new(room: Arc<Room>) -> Self {
        Self {
            groups: BTreeMap::new(),
            room,
        }
    }

    /// The same in a room where it has its place already.
    pub(crate) fn copy(&self, room: Arc<Room>) -> Self {
        Self {
            groups: self.groups.clone(),
            room,
        }
    }

    pub(crate) fn hear(
        &mut self,
        now: Time,
        (port, kind): (PortId, PortKind),
        key: GroupKey,
        report: &Report<'_>,
    ) -> Outcome {
        let sources: Vec<_> = report.sources.iter().collect();
        let known = self.record(key, port);
        let is_new = known.is_none();
        let before = known.cloned().unwrap_or_else(Record::new);
        let mut record = before.clone();
        let doubt = record.hear(now, report.change, &sources);
        let mut is_full = record.widen(now);
        if record.is_gone() {
            let is_news = !is_new;
            self.remove(key, port);
            return Outcome {
                is_news,
                is_full,
                doubt,
            };
        }
        if is_new && !self.room.take(port, kind) {
            return Outcome {
                is_full: true,
                ..Outcome::default()
            };
        }
        if self.has_too_many_sources(key, &record) {
            record.take_all(now);
            is_full = true;
        }
        let is_news = is_new || differs(&before, &record);
        self.insert(key, port, record);
        Outcome {
            is_news,
            is_full,
            doubt,
        }
    }

    fn has_too_many_sources(&self, key: GroupKey, record: &Record) -> bool {
        if record.sources().is_empty() {
            return false;
        }
        let mut all: BTreeSet<_> = self.sources(key).collect();
        all.extend(record.sources().keys().copied());
        all.len() > SOURCES_OF_GROUP_MAX
    }

    fn insert(&mut self, key: GroupKey, port: PortId, record: Record) {
        self.groups.entry(key).or_default().insert(port, record);
    }

    fn remove(&mut self, key: GroupKey, port: PortId) -> bool {
        let Some(group) = self.groups.get_mut(&key) else {
            return false;
        };
        let was_there = group.remove(&port).is_some();
        if group.is_empty() {
            self.groups.remove(&key);
        }
        if was_there {
            self.room.give_back(port);
        }
        was_there
    }

    /// Gives the groups that it was in.
    pub(crate) fn remove_port(&mut self, port: PortId) -> Vec<GroupKey> {
        let groups = self
            .groups
            .iter()
            .filter(|(_, group)| group.contains_key(&port));
        let keys: Vec<_> = groups.map(|(key, _)| *key).collect();
        for key in &keys {
            self.remove(*key, port);
        }
        keys
    }

    /// What is in doubt has until then; at once where that is now. Whether other frames reach the port.
    pub(crate) fn shorten(
        &mut self,
        now: Time,
        (key, port): (GroupKey, PortId),
        doubt: &Doubt,
        until: Time,
    ) -> bool {
        let group = self.groups.get_mut(&key);
        let Some(record) = group.and_then(|group| group.get_mut(&port)) else {
            return false;
        };
        record.shorten(doubt, until);
        let is_news = record.age(now);
        if record.is_gone() {
            self.remove(key, port);
        }
        is_news
    }

    /// Forgets what is over. Gives the groups of which other frames reach somebody now.
    pub(crate) fn age(&mut self, now: Time) -> Vec<GroupKey> {
        let mut changed = Vec::new();
        let mut gone = Vec::new();
        for (key, group) in &mut self.groups {
            let mut is_news = false;
            for (port, record) in group.iter_mut() {
                is_news |= record.age(now);
                if record.is_gone() {
                    gone.push((*key, *port));
                }
            }
            if is_news {
                changed.push(*key);
            }
        }
        for (key, port) in gone {
            self.remove(key, port);
        }
        changed
    }

    /// When something is over next.
    pub(crate) fn due(&self) -> Option<Time> {
        let records = self.groups.values().flat_map(BTreeMap::values);
        records.filter_map(Record::due).min()
    }

    pub(crate) fn record(&self, key: GroupKey, port: PortId) -> Option<&Record> {
        self.groups.get(&key)?.get(&port)
    }

    pub(crate) fn group(&self, key: GroupKey) -> impl Iterator<Item = (PortId, &Record)> {
        let group = self.groups.get(&key).into_iter().flatten();
        group.map(|(port, record)| (*port, record))
    }

    /// Every source that some record of the group has an opinion of, perhaps several times.
    pub(crate) fn sources(&self, key: GroupKey) -> impl Iterator<Item = Address> {
        let records = self.group(key);
        records.flat_map(|(_, record)| record.sources().keys().copied())
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = GroupKey> {
        self.groups.keys().copied()
    }
}

/// Whether they let different frames pass.
fn differs(one: &Record, other: &Record) -> bool {
    let opinions = |record: &Record| {
        let sources = record.sources().iter();
        sources
            .map(|(source, until)| (*source, until.is_some()))
            .collect::<Vec<_>>()
    };
    one.mode() != other.mode() || opinions(one) != opinions(other)
}

const SOURCES_OF_GROUP_MAX: usize = 64;
