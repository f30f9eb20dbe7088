//! The cluster's keys as this host knows them.
//!
//! # Theory of operation
//!
//! A copy of everything in the store, made from one list and kept by the events that follow it. After events were missed,
//! another list replaces the copy, and what differs comes out as the events that would have led there. So whoever follows
//! the world only ever sees puts and deletions, and need not know of reconnections. An event that is older than what is
//! known changes nothing, because a list may overtake the events of a watch that was opened before it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::store::{Entry, WatchEvent};

#[derive(Debug, Default)]
pub(crate) struct World {
    entries: BTreeMap<String, Entry>,
}

/// A key that is different now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Difference {
    Put(Entry),
    /// With what it was.
    Deleted(Entry),
}

impl World {
    /// Takes a list of all keys in place of what was known.
    pub(crate) fn replace(&mut self, listed: Vec<Entry>) -> Vec<Difference> {
        let new: BTreeMap<_, _> = listed
            .into_iter()
            .map(|entry| (entry.key.clone(), entry))
            .collect();
        let old = std::mem::take(&mut self.entries);
        let gone = old.iter().filter(|(key, _)| !new.contains_key(*key));
        let mut differences: Vec<_> = gone
            .map(|(_, entry)| Difference::Deleted(entry.clone()))
            .collect();
        let is_news = |entry: &&Entry| {
            old.get(&entry.key)
                .is_none_or(|old| old.revision != entry.revision)
        };
        differences.extend(new.values().filter(is_news).cloned().map(Difference::Put));
        self.entries = new;
        differences
    }

    /// What an event changes. [`WatchEvent::Lagged`] changes nothing: list, and [`Self::replace`].
    pub(crate) fn apply(&mut self, event: WatchEvent) -> Option<Difference> {
        match event {
            WatchEvent::Put(entry) if self.is_news(&entry.key, entry.revision) => {
                self.entries.insert(entry.key.clone(), entry.clone());
                Some(Difference::Put(entry))
            }
            WatchEvent::Deleted { key, revision } if self.is_news(&key, revision) => {
                self.entries.remove(&key).map(Difference::Deleted)
            }
            _ => None,
        }
    }

    /// Everything, to be kept for the next start.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The value of a key, where it is of its type.
    pub(crate) fn find<T: DeserializeOwned>(&self, key: &str) -> Option<(T, u64)> {
        let entry = self.entries.get(key)?;
        Some((entry.decode().ok()?, entry.revision))
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// What is under a prefix: the rest of the key, and the value where it is of its type.
    pub(crate) fn under<'a, T: DeserializeOwned>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, T)> + 'a {
        self.entries
            .range(prefix.to_owned()..)
            .map_while(move |(key, entry)| Some((key.strip_prefix(prefix)?, entry)))
            .filter_map(|(rest, entry)| Some((rest, entry.decode().ok()?)))
    }

    fn is_news(&self, key: &str, revision: u64) -> bool {
        self.entries
            .get(key)
            .is_none_or(|known| known.revision < revision)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(key: &str, revision: u64) -> Entry {
        Entry {
            key: key.into(),
            value: json!(revision),
            revision,
        }
    }

    #[test]
    fn a_list_comes_out_as_what_differs() {
        let mut world = World::default();
        assert_eq!(world.replace(vec![entry("a", 1), entry("b", 2)]).len(), 2);
        let differences = world.replace(vec![entry("b", 5), entry("c", 4)]);
        assert_eq!(
            differences,
            [
                Difference::Deleted(entry("a", 1)),
                Difference::Put(entry("b", 5)),
                Difference::Put(entry("c", 4)),
            ]
        );
        assert!(world.replace(vec![entry("b", 5), entry("c", 4)]).is_empty());
    }

    #[test]
    fn an_event_that_the_list_overtook_changes_nothing() {
        let mut world = World::default();
        world.replace(vec![entry("a", 5)]);
        assert_eq!(world.apply(WatchEvent::Put(entry("a", 4))), None);
        let deleted = |revision| WatchEvent::Deleted {
            key: "a".into(),
            revision,
        };
        assert_eq!(world.apply(deleted(4)), None);
        assert_eq!(
            world.apply(deleted(6)),
            Some(Difference::Deleted(entry("a", 5)))
        );
        assert_eq!(world.apply(deleted(6)), None);
    }

    #[test]
    fn a_prefix_is_read_without_its_neighbours() {
        let mut world = World::default();
        world.replace(vec![entry("n/1", 1), entry("n/2", 2), entry("n0", 3)]);
        let under: Vec<(&str, u64)> = world.under("n/").collect();
        assert_eq!(under, [("1", 1), ("2", 2)]);
        assert_eq!(world.find::<u64>("n0"), Some((3, 3)));
        assert_eq!(world.find::<String>("n0"), None);
    }
}
