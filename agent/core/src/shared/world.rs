//! The cluster's keys as this host knows them.
//!
//! # Theory of operation
//!
//! A copy of everything in the store, made from one list and kept by the events that follow it. After events were missed,
//! another list replaces the copy, and what differs comes out as the events that would have led there. So whoever follows
//! the world only ever sees puts and deletions, and need not know of reconnections. An event that is older than what is
//! known changes nothing, because a list may overtake the events of a watch that was opened before it.
//!
//! After the store was away, hosts that were alive before are [`Awaited`]: what their leases took away counts for a while. So does
//! what the lease of a host took whose tunnel is up. Where the store was set back to before a host joined, that it is a member
//! counts as long.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::de::DeserializeOwned;

use super::awaited::{Awaited, host_of};
use super::macs::Macs;
use super::moment::Moment;
use super::{ALIVE, CLUSTER, ClusterRecord, Entry, HOSTS, REVOKED};

/// What this host knows of the cluster.
#[derive(Debug, Default)]
pub struct World {
    entries: BTreeMap<String, Entry>,
    macs: Macs,
    awaited: Awaited,
    is_set_back: bool,
    /// The latest revision that was heard of.
    seen: u64,
}

/// What the store tells of one key.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Put(Entry),
    Deleted { key: String, revision: u64 },
}

/// A key that is different now.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    Put(Entry),
    /// With what it was.
    Deleted(Entry),
}

impl World {
    /// One that knows these.
    pub fn of(entries: Vec<Entry>) -> Self {
        let mut world = Self::default();
        entries.into_iter().for_each(|entry| world.insert(entry));
        world
    }

    /// The store gave a revision to a write after `seen` had been heard of. Revisions only grow, unless the store was set back: then what
    /// is listed next is of before.
    pub fn note_revision(&mut self, revision: u64, seen: u64) {
        if revision <= seen {
            self.is_set_back = true;
            self.seen = revision;
        }
    }

    /// Takes a list of all keys in place of what was known.
    pub fn replace(&mut self, listed: Vec<Entry>, at: &Moment<'_>) -> Vec<Difference> {
        let mut old = std::mem::take(&mut self.entries);
        self.macs = Macs::default();
        let mut differences = Vec::new();
        for entry in listed {
            self.awaited.there_is(&entry.key);
            let known = old.remove(&entry.key);
            self.is_set_back |= known.as_ref().is_some_and(|known| is_older(&entry, known));
            if known.as_ref() != Some(&entry) {
                self.note_put(&entry, at.now);
                differences.push(Difference::Put(entry.clone()));
            }
            self.insert(entry);
        }
        for (key, entry) in old {
            // What a store has lost that was set back, nobody took away: a member puts itself back.
            let is_lost = self.is_set_back || self.awaited.is_held(&key);
            if !(is_lost && key.starts_with(HOSTS)) {
                self.note_gone(&key, at);
            }
            if self.awaited.holds(&entry, is_lost) {
                if self.is_set_back {
                    self.awaited.outdate(&key);
                }
                self.insert(entry);
            } else {
                differences.push(Difference::Deleted(entry));
            }
        }
        differences
    }

    /// The same after the host `own` was out of step: other hosts that were alive, and have not come back yet, have until
    /// `until`.
    pub fn catch_up(
        &mut self,
        listed: Vec<Entry>,
        own: &str,
        (at, until): (&Moment<'_>, Instant),
    ) -> Vec<Difference> {
        let revisions: BTreeMap<&str, u64> = listed
            .iter()
            .map(|entry| (entry.key.as_str(), entry.revision))
            .collect();
        let is_older = |entry: &Entry| {
            let known = self.entries.get(&entry.key);
            known.is_some_and(|known| is_older(entry, known))
        };
        let is_set_back = self.is_set_back || listed.iter().any(is_older);
        let is_missed = |host: &str, alive: &Entry| {
            let member = format!("{HOSTS}{host}");
            let is_member = match is_set_back || self.awaited.is_held(&member) {
                true => !revisions.contains_key(&*format!("{REVOKED}{host}")),
                false => revisions.contains_key(&*member),
            };
            let now = revisions.get(alive.key.as_str());
            host != own && is_member && now.is_none_or(|now| *now == alive.revision)
        };
        let missed: Vec<String> = self
            .entries
            .range(ALIVE.to_owned()..)
            .map_while(|(key, entry)| Some((key.strip_prefix(ALIVE)?, entry)))
            .filter(|(host, alive)| is_missed(host, alive))
            .map(|(host, _)| host.to_owned())
            .collect();
        self.awaited.wait_for(missed, until);
        self.replace(listed, at)
    }

    /// What an event changes.
    pub fn apply(&mut self, event: Event, at: &Moment<'_>) -> Option<Difference> {
        let (Event::Put(Entry { revision, .. }) | Event::Deleted { revision, .. }) = &event;
        self.seen = self.seen.max(*revision);
        match event {
            Event::Put(entry)
                if self.is_news(&entry.key, entry.revision) || self.is_back(&entry) =>
            {
                self.awaited.there_is(&entry.key);
                self.note_put(&entry, at.now);
                self.insert(entry.clone());
                Some(Difference::Put(entry))
            }
            Event::Deleted { key, revision } if self.is_news(&key, revision) => {
                self.note_gone(&key, at);
                let known = self.entries.get(&key)?;
                if self.awaited.holds(known, false) {
                    return None;
                }
                self.remove(&key).map(Difference::Deleted)
            }
            _ => None,
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn timeout(&self) -> Option<Instant> {
        self.awaited.timeout()
    }

    /// What is gone because nobody waits for its host any more.
    pub fn handle_timeout(&mut self, at: &Moment<'_>) -> Vec<Difference> {
        let late = self.awaited.take_late(at);
        if late.is_empty() {
            return Vec::new();
        }
        let is_over = |key: &&String| {
            let host = self.entries.get(*key).and_then(host_of);
            host.is_none_or(|host| late.contains(&host))
        };
        let over: Vec<String> = self.awaited.held().filter(is_over).cloned().collect();
        let gone = over.into_iter().filter_map(|key| {
            self.awaited.there_is(&key);
            self.remove(&key)
        });
        gone.map(Difference::Deleted).collect()
    }

    /// Everything, to be kept for the next start.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The value of a key, where it is of its type, and its revision.
    pub fn find<T: DeserializeOwned>(&self, key: &str) -> Option<(T, u64)> {
        let entry = self.entries.get(key)?;
        Some((entry.decode().ok()?, entry.revision))
    }

    /// The epoch of a host that said at `revision` that it is alive.
    pub fn epoch(&self, revision: u64) -> u64 {
        let cluster = self.find::<ClusterRecord>(CLUSTER);
        cluster.map_or(revision, |(cluster, _)| cluster.epoch(revision))
    }

    /// How often the cluster was restored or recovered, as far as is known.
    pub fn generation(&self) -> Option<u64> {
        let cluster = self.find::<ClusterRecord>(CLUSTER);
        cluster.map(|(cluster, _)| cluster.generation)
    }

    /// What is known of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The latest revision of the store that this is a copy of, as far as anything there changed.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The keys of a network's endpoints that have a MAC.
    pub fn keys_with_mac(&self, network: &str, mac: [u8; 6]) -> impl Iterator<Item = &str> {
        self.macs.keys(network, mac)
    }

    /// Whether there is such a key, whatever its value.
    pub fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether the store has a key no more, and it counts all the same, since its host lives or may come back.
    pub fn is_held(&self, key: &str) -> bool {
        self.awaited.is_held(key)
    }

    /// What is under a prefix: the rest of the key, and the value where it is of its type.
    pub fn under<'a, T: DeserializeOwned>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, T)> + 'a {
        self.entries_under(prefix)
            .filter_map(|(rest, entry)| Some((rest, entry.decode().ok()?)))
    }

    /// What is under a prefix: the rest of the key, and the entry.
    pub fn entries_under<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Entry)> + 'a {
        self.entries
            .range(prefix.to_owned()..)
            .map_while(move |(key, entry)| Some((key.strip_prefix(prefix)?, entry)))
    }

    /// Whether a list was older than what was known, since this was last asked: the store was set back, and what hosts said before
    /// may have higher numbers than what they say now.
    pub fn take_set_back(&mut self) -> bool {
        std::mem::take(&mut self.is_set_back)
    }

    fn insert(&mut self, entry: Entry) {
        self.seen = self.seen.max(entry.revision);
        self.remove(&entry.key);
        self.macs.put(&entry);
        self.entries.insert(entry.key.clone(), entry);
    }

    fn remove(&mut self, key: &str) -> Option<Entry> {
        let removed = self.entries.remove(key)?;
        self.macs.forget(&removed);
        Some(removed)
    }

    fn note_put(&mut self, entry: &Entry, now: Instant) {
        if let Some(host) = entry.key.strip_prefix(ALIVE) {
            self.awaited.is_back(host, now);
        }
        if let Some(host) = entry.key.strip_prefix(REVOKED) {
            self.awaited.give_up(host, now);
        }
    }

    fn note_gone(&mut self, key: &str, at: &Moment<'_>) {
        if let Some(host) = key.strip_prefix(HOSTS) {
            self.awaited.give_up(host, at.now);
        }
        if let Some(host) = key.strip_prefix(ALIVE)
            && is_member(self, host)
            && !self.awaited.is_waiting(host)
            && (at.reaches)(host)
        {
            self.awaited.begin(host, at.now);
        }
    }

    /// Whether it is what the store had lost, said again. Where the store was set back it counts anew, so that this may have a lower
    /// revision than what counts meanwhile, or the same.
    fn is_back(&self, entry: &Entry) -> bool {
        self.is_held(&entry.key) && self.entries.get(&entry.key) != Some(entry)
    }

    fn is_news(&self, key: &str, revision: u64) -> bool {
        let known = self.entries.get(key);
        known.is_none_or(|known| known.revision < revision) || self.awaited.is_outdated(key)
    }
}

/// Whether a key that is listed so was set back. A revision comes again then, for another write.
fn is_older(listed: &Entry, known: &Entry) -> bool {
    listed.revision < known.revision
        || listed.revision == known.revision && listed.value != known.value
        // It is written when the cluster begins, and again.
        || listed.key == CLUSTER && listed.value != known.value
}

/// Whether a host belongs to the cluster.
pub fn is_member(world: &World, host: &str) -> bool {
    world.contains(&format!("{HOSTS}{host}")) && !world.contains(&format!("{REVOKED}{host}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::ADDRESSES;
    use super::super::awaited::SHARING;
    use super::*;

    fn entry(key: &str, revision: u64) -> Entry {
        Entry {
            key: key.into(),
            value: json!(revision),
            revision,
        }
    }

    fn replace(world: &mut World, listed: Vec<Entry>) -> Vec<Difference> {
        world.replace(listed, &Moment::alone(now()))
    }

    fn apply(world: &mut World, event: Event) -> Option<Difference> {
        world.apply(event, &Moment::alone(now()))
    }

    #[test]
    fn a_list_comes_out_as_what_differs() {
        let mut world = World::default();
        assert_eq!(
            replace(&mut world, vec![entry("a", 1), entry("b", 2)]).len(),
            2
        );
        let differences = replace(&mut world, vec![entry("b", 5), entry("c", 4)]);
        assert_eq!(
            differences,
            [
                Difference::Put(entry("b", 5)),
                Difference::Put(entry("c", 4)),
                Difference::Deleted(entry("a", 1)),
            ]
        );
        assert!(replace(&mut world, vec![entry("b", 5), entry("c", 4)]).is_empty());
    }

    #[test]
    fn a_list_of_an_older_state_is_told_once() {
        let mut world = World::default();
        replace(&mut world, vec![entry("a", 1), entry("b", 5)]);
        replace(&mut world, vec![entry("a", 7), entry("b", 5)]);
        assert!(!world.take_set_back());
        replace(&mut world, vec![entry("a", 3)]);
        assert!(world.take_set_back());
        assert!(!world.take_set_back());
    }

    #[test]
    fn a_store_whose_revisions_go_back_has_lost_what_it_does_not_list() {
        for is_set_back in [false, true] {
            let mut world = World::default();
            let old = || vec![entry("cluster", 1), entry("networks/a", 2)];
            replace(&mut world, [old(), host("b", 8)].concat());
            let seen = world.seen();
            // Of an old backup, which lists nothing that is another than what is known; or b was removed.
            world.note_revision(if is_set_back { 5 } else { seen + 1 }, seen);
            let at = Moment::alone(now());
            let until = at.now + Duration::from_secs(1);
            world.catch_up(old(), "own", (&at, until));
            assert_eq!(world.take_set_back(), is_set_back);
            assert_eq!(world.contains("host/b"), is_set_back, "it puts itself back");
        }
    }

    #[test]
    fn a_revision_that_came_again_is_another_write() {
        let mut world = World::default();
        replace(&mut world, vec![entry("a", 1), entry("cluster", 2)]);
        let other = Entry {
            value: json!("other"),
            ..entry("a", 1)
        };
        let listed = vec![other.clone(), entry("cluster", 2)];
        assert_eq!(
            replace(&mut world, listed),
            [Difference::Put(other.clone())]
        );
        assert!(world.take_set_back());
        // The cluster has begun again, in a store that counts higher.
        let listed = vec![other, entry("cluster", 9)];
        assert_eq!(replace(&mut world, listed).len(), 1);
        assert!(world.take_set_back());
    }

    #[test]
    fn an_event_that_the_list_overtook_changes_nothing() {
        let mut world = World::default();
        replace(&mut world, vec![entry("a", 5)]);
        assert_eq!(apply(&mut world, Event::Put(entry("a", 4))), None);
        let deleted = |revision| Event::Deleted {
            key: "a".into(),
            revision,
        };
        assert_eq!(apply(&mut world, deleted(4)), None);
        assert_eq!(
            apply(&mut world, deleted(6)),
            Some(Difference::Deleted(entry("a", 5)))
        );
        assert_eq!(apply(&mut world, deleted(6)), None);
    }

    #[test]
    fn a_prefix_is_read_without_its_neighbours() {
        let mut world = World::default();
        replace(
            &mut world,
            vec![entry("n/1", 1), entry("n/2", 2), entry("n0", 3)],
        );
        let under: Vec<(&str, u64)> = world.under("n/").collect();
        assert_eq!(under, [("1", 1), ("2", 2)]);
        assert_eq!(world.find::<u64>("n0"), Some((3, 3)));
        assert_eq!(world.find::<String>("n0"), None);
    }

    /// A host that is alive since a revision, with an address.
    fn host(name: &str, revision: u64) -> Vec<Entry> {
        let entry = |key: String, value| Entry {
            key,
            value,
            revision,
        };
        let holder = json!({ "host": name, "endpoint": "e", "reserve": false });
        vec![
            Entry {
                revision: 1,
                ..entry(format!("{HOSTS}{name}"), json!(null))
            },
            entry(format!("{ALIVE}{name}"), json!(null)),
            entry(format!("{ADDRESSES}n/{name}"), holder),
        ]
    }

    /// Knows two other hosts, and then finds only that they are members.
    fn bereft(until: Instant) -> World {
        let mut world = World::default();
        let mut known = [host("own", 2), host("b", 3), host("c", 4)].concat();
        replace(&mut world, known.clone());
        known.retain(|entry| entry.key.starts_with(HOSTS));
        let differences = world.catch_up(known, "own", (&Moment::alone(now()), until));
        let own = &host("own", 2)[1..];
        let gone: Vec<_> = own.iter().cloned().map(Difference::Deleted).collect();
        assert_eq!(differences.len(), gone.len());
        assert!(differences.iter().all(|gone_now| gone.contains(gone_now)));
        world
    }

    #[test]
    fn what_ended_while_the_store_was_away_is_held_until_its_host_is_late() {
        let (start, until) = times();
        let mut world = bereft(until);
        assert!(world.handle_timeout(&Moment::alone(start)).is_empty());
        assert_eq!(world.timeout(), Some(until));
        // A deletion that comes by the watch is no different.
        let mut again = host("b", 3).remove(1);
        again.revision = 7;
        let deleted = Event::Deleted {
            key: again.key.clone(),
            revision: 8,
        };
        assert_eq!(world.apply(deleted, &Moment::alone(start)), None);
        let gone = world.handle_timeout(&Moment::alone(until));
        assert_eq!(gone.len(), 4, "{gone:?}");
        assert_eq!((world.timeout(), world.entries.len()), (None, 3));
    }

    #[test]
    fn a_member_that_a_store_has_lost_which_was_set_back_is_held_until_it_is_late() {
        let (_, until) = times();
        let cluster = |value: u64, revision| Entry {
            key: CLUSTER.to_owned(),
            value: json!(value),
            revision,
        };
        let mut world = World::default();
        let mut known = [host("own", 2), host("b", 3), host("c", 4)].concat();
        known.push(cluster(1, 1));
        replace(&mut world, known);
        let listed = vec![host("own", 2).remove(0), cluster(2, 9)];
        world.catch_up(listed.clone(), "own", (&Moment::alone(now()), until));
        assert!(world.take_set_back());
        assert!(is_member(&world, "b") && is_member(&world, "c"));
        // By a lower number than before, since it counts anew.
        let back = Entry {
            revision: 0,
            ..host("b", 3).remove(0)
        };
        world.apply(Event::Put(back), &Moment::alone(now()));
        let gone = world.handle_timeout(&Moment::alone(until));
        assert_eq!(gone.len(), 5, "{gone:?}");
        assert!(is_member(&world, "b") && !is_member(&world, "c"));
        // Who left is not waited for.
        let mut world = World::default();
        replace(&mut world, [host("b", 3), listed].concat());
        let listed = vec![cluster(2, 9)];
        world.catch_up(listed, "own", (&Moment::alone(now()), until));
        assert!(!is_member(&world, "b"));
    }

    #[test]
    fn a_member_that_the_store_has_lost_is_held_through_every_list_until_it_is_late() {
        let (start, until) = times();
        let at = Moment::alone(start);
        let older = |key: &str, revision| entry(key, revision);
        let mut world = World::default();
        let known = [host("own", 2), host("b", 3), vec![older("a", 9)]].concat();
        replace(&mut world, known);
        let listed = [host("own", 2), vec![older("a", 1)]].concat();
        world.catch_up(listed.clone(), "own", (&at, until));
        assert!(world.take_set_back());
        for _ in 0..2 {
            assert_eq!(world.replace(listed.clone(), &at), []);
            assert!(is_member(&world, "b") && !world.take_set_back());
        }
        let later = until + SHARING;
        assert_eq!(world.catch_up(listed.clone(), "own", (&at, later)), []);
        assert!(world.handle_timeout(&Moment::alone(until)).is_empty());
        // Put back, it is a member like others: whoever takes it away means it.
        let back = Entry {
            revision: 2,
            ..host("b", 3).remove(0)
        };
        let removed = Event::Deleted {
            key: back.key.clone(),
            revision: 3,
        };
        assert!(world.apply(Event::Put(back), &at).is_some());
        assert!(world.apply(removed, &at).is_some());
        assert_eq!(world.handle_timeout(&at).len(), 2);
        // Revoked meanwhile, it is not.
        let mut world = World::default();
        replace(&mut world, [host("b", 3), vec![older("a", 9)]].concat());
        world.catch_up(vec![older("a", 1)], "own", (&at, until));
        assert!(is_member(&world, "b") && world.take_set_back());
        let listed = vec![older("a", 1), older(&format!("{REVOKED}b"), 2)];
        assert_eq!(world.replace(listed, &at).len(), 1);
        assert!(!is_member(&world, "b"));
        assert_eq!(world.handle_timeout(&at).len(), 3);
    }

    #[test]
    fn a_host_that_comes_back_keeps_what_it_says_again_and_nothing_else() {
        let (start, until) = times();
        let mut world = bereft(until);
        let mut back = host("b", 9);
        let (address, alive) = (back.pop().unwrap(), back.pop().unwrap());
        assert!(
            world
                .apply(Event::Put(alive), &Moment::alone(start))
                .is_some()
        );
        let soon = start + SHARING;
        assert_eq!(world.timeout(), Some(soon));
        assert_eq!(
            world.handle_timeout(&Moment::alone(soon)),
            [Difference::Deleted(host("b", 3).remove(2))]
        );
        assert!(
            world
                .apply(Event::Put(address.clone()), &Moment::alone(soon))
                .is_some()
        );
        let gone = world.handle_timeout(&Moment::alone(until));
        assert_eq!(gone.len(), 2, "{gone:?}");
        assert!(world.contains(&address.key));
        // It is waited for no more.
        let deleted = Event::Deleted {
            key: address.key.clone(),
            revision: 10,
        };
        assert_eq!(
            world.apply(deleted, &Moment::alone(until)),
            Some(Difference::Deleted(address))
        );
    }

    #[test]
    fn nobody_waits_for_a_host_that_left_or_is_back_already() {
        let (start, until) = times();
        let mut world = bereft(until);
        let left = Event::Deleted {
            key: format!("{HOSTS}b"),
            revision: 9,
        };
        assert!(world.apply(left, &Moment::alone(start)).is_some());
        assert_eq!(world.handle_timeout(&Moment::alone(start)).len(), 2);
        let listed = [host("own", 2), host("c", 11)].concat();
        let mut world = bereft(until);
        world.catch_up(listed, "own", (&Moment::alone(start), until));
        assert_eq!(world.timeout(), None);
    }

    #[test]
    fn what_a_lease_took_of_a_host_stays_while_its_tunnel_is_up() {
        let (start, _) = times();
        let mut world = World::default();
        replace(&mut world, [host("own", 2), host("b", 3)].concat());
        let up = |now| Moment {
            now,
            reaches: &|host| host == "b",
        };
        let lost = |entry: &Entry| Event::Deleted {
            key: entry.key.clone(),
            revision: 5,
        };
        for entry in &host("b", 3)[1..] {
            assert_eq!(world.apply(lost(entry), &up(start)), None);
        }
        assert!(world.handle_timeout(&up(start + SHARING)).is_empty());
        let listed = [host("own", 2), host("b", 3)[..1].to_vec()].concat();
        assert!(world.replace(listed, &up(start + SHARING)).is_empty());
        let down = Moment::alone(start + SHARING * 2);
        assert_eq!(world.handle_timeout(&down).len(), 2);
        assert_eq!(world.timeout(), None);
    }

    #[test]
    fn what_is_held_is_said_again_though_the_store_was_set_back() {
        let (start, until) = times();
        let mut world = bereft(until);
        let again = Entry {
            revision: 2,
            ..host("c", 4).remove(1)
        };
        let at = Moment::alone(start);
        let said = world.apply(Event::Put(again.clone()), &at);
        assert_eq!(said, Some(Difference::Put(again.clone())));
        assert_eq!(world.entry(&again.key), Some(&again));
        // What it does not repeat goes, as with any host that is back.
        assert_eq!(
            world.handle_timeout(&Moment::alone(start + SHARING)).len(),
            1
        );
        assert!(world.contains(&again.key));
    }

    #[test]
    fn what_is_held_is_there_again_also_at_the_revision_of_before() {
        let (start, until) = times();
        let mut world = bereft(until);
        let mut again = host("c", 4).remove(2);
        assert!(world.is_held(&again.key));
        let said = Event::Put(again.clone());
        assert_eq!(world.apply(said, &Moment::alone(start)), None);
        again.value["epoch"] = serde_json::json!(9);
        let said = world.apply(Event::Put(again.clone()), &Moment::alone(start));
        assert_eq!(said, Some(Difference::Put(again.clone())));
        assert!(!world.is_held(&again.key));
    }

    #[test]
    fn who_was_shut_out_or_speaks_for_itself_is_not_held_by_its_tunnel() {
        let (start, _) = times();
        let up = Moment {
            now: start,
            reaches: &|_| true,
        };
        let lost = |entry: &Entry| Event::Deleted {
            key: entry.key.clone(),
            revision: 5,
        };
        let mut world = World::default();
        replace(&mut world, host("b", 3));
        let [member, alive, address] = &host("b", 3)[..] else {
            unreachable!()
        };
        // Its lease goes on.
        assert!(world.apply(lost(address), &up).is_some());
        replace(&mut world, host("b", 3));
        assert!(world.apply(lost(member), &up).is_some());
        assert!(world.apply(lost(alive), &up).is_some());
        assert!(world.apply(lost(address), &up).is_some());
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "there is no other moment to begin with"
    )]
    fn now() -> Instant {
        Instant::now()
    }

    fn times() -> (Instant, Instant) {
        let start = now();
        (start, start + SHARING * 5)
    }
}
