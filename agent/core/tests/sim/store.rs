//! The cluster's store, as `agent-store` promises it: transactions with what must be before, revisions, leases, watches.

use std::collections::BTreeMap;

use agent_core::shared::before::Before;
use agent_core::shared::{Entry, Event};
use serde_json::Value;

/// One key's part of a transaction.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) key: String,
    /// `None`: whatever there is.
    pub(crate) before: Option<Before>,
    pub(crate) value: Option<Value>,
    pub(crate) lease: Option<u64>,
}

#[derive(Debug)]
pub(crate) enum Refused {
    /// A key is not as it was to be.
    Key,
    LeaseGone,
    /// It may have been done.
    NoReply,
}

#[derive(Clone, Default)]
pub(crate) struct Store {
    entries: BTreeMap<String, (Value, u64, Option<u64>)>,
    /// When each ends.
    leases: BTreeMap<u64, u64>,
    revision: u64,
    leases_given: u64,
    /// What happened, from `told_from` on.
    log: Vec<Event>,
    told_from: usize,
    /// The next transaction is done, and nobody hears of it.
    pub(crate) loses_reply: bool,
}

impl Store {
    /// All changes or none; their revision.
    pub(crate) fn transact(&mut self, changes: Vec<Change>) -> Result<u64, Refused> {
        for change in &changes {
            let present = self.get(&change.key);
            let is_so = |before: &Before| before.is_so(present.as_ref());
            if !change.before.as_ref().is_none_or(is_so) {
                return Err(Refused::Key);
            }
            if change
                .lease
                .is_some_and(|lease| !self.leases.contains_key(&lease))
            {
                return Err(Refused::LeaseGone);
            }
        }
        self.revision += 1;
        for Change {
            key, value, lease, ..
        } in changes
        {
            match value {
                Some(value) => self.put(key, value, lease),
                None => self.delete(key),
            }
        }
        match std::mem::take(&mut self.loses_reply) {
            true => Err(Refused::NoReply),
            false => Ok(self.revision),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        let (value, revision, _) = self.entries.get(key)?;
        Some(Entry {
            key: key.to_owned(),
            value: value.clone(),
            revision: *revision,
        })
    }

    pub(crate) fn list(&self) -> Vec<Entry> {
        self.entries
            .keys()
            .filter_map(|key| self.get(key))
            .collect()
    }

    pub(crate) fn grant(&mut self, ends: u64) -> u64 {
        self.leases_given += 1;
        self.leases.insert(self.leases_given, ends);
        self.leases_given
    }

    /// False where it has ended.
    pub(crate) fn keep_alive(&mut self, lease: u64, ends: u64) -> bool {
        let kept = self.leases.get_mut(&lease);
        kept.map(|until| *until = ends).is_some()
    }

    pub(crate) fn expire(&mut self, now: u64) {
        let over: Vec<u64> = self
            .leases
            .extract_if(.., |_, ends| *ends <= now)
            .map(|(id, _)| id)
            .collect();
        for lease in over {
            let held = self
                .entries
                .iter()
                .filter(|(_, entry)| entry.2 == Some(lease));
            let keys: Vec<String> = held.map(|(key, _)| key.clone()).collect();
            self.revision += 1;
            keys.into_iter().for_each(|key| self.delete(key));
        }
    }

    /// The end of the log, where a new watch begins.
    pub(crate) fn end(&self) -> usize {
        self.told_from + self.log.len()
    }

    /// What a watch that has come to `at` is told next; `None` at the end, an error where that is forgotten.
    pub(crate) fn next(&self, at: usize) -> Result<Option<&Event>, ()> {
        let at = at.checked_sub(self.told_from).ok_or(())?;
        Ok(self.log.get(at))
    }

    /// Forgets the older half of the log, so that slow watches have to list.
    pub(crate) fn compact(&mut self) {
        let half = self.log.len() / 2;
        self.log.drain(..half);
        self.told_from += half;
    }

    /// Becomes what it was once. Leases begin anew, and who watches has to list.
    pub(crate) fn set_back(&mut self, snapshot: &Self, ends: u64) {
        let told_from = self.end() + 1;
        let leases_given = self.leases_given;
        *self = Self {
            log: Vec::new(),
            told_from,
            leases_given,
            ..snapshot.clone()
        };
        self.leases.values_mut().for_each(|until| *until = ends);
    }

    fn put(&mut self, key: String, value: Value, lease: Option<u64>) {
        let entry = (value.clone(), self.revision, lease);
        self.entries.insert(key.clone(), entry);
        self.log.push(Event::Put(Entry {
            key,
            value,
            revision: self.revision,
        }));
    }

    fn delete(&mut self, key: String) {
        if self.entries.remove(&key).is_some() {
            let revision = self.revision;
            self.log.push(Event::Deleted { key, revision });
        }
    }
}
