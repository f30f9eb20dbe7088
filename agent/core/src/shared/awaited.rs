//! Hosts that are given time to come back.
//!
//! # Theory of operation
//!
//! While etcd was away nobody could keep a lease alive, so they may all have ended. Whoever is first to come back would then
//! find that the other hosts have said nothing, cut their tunnels, and give their addresses away, although they live and are
//! on their way. So each of them gets the time of a lease: until then, what its lease has taken away is *held*, as if it
//! were there still. When the host comes back it says everything again within [`SHARING`]; what it does not repeat is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{ADDRESSES, ALIVE, ENDPOINTS, EndpointShared, Entry, Holder};

#[derive(Debug, Default)]
pub(super) struct Awaited {
    /// Until when, by host.
    hosts: BTreeMap<String, Instant>,
    /// Keys that the store has no more.
    held: BTreeSet<String>,
}

impl Awaited {
    pub(super) fn new(hosts: impl IntoIterator<Item = String>, until: Instant) -> Self {
        Self {
            hosts: hosts.into_iter().map(|host| (host, until)).collect(),
            held: BTreeSet::new(),
        }
    }

    /// Whether what an entry says still counts, though the store has it no more.
    pub(super) fn holds(&mut self, gone: &Entry) -> bool {
        let is_held = speaker(gone).is_some_and(|host| self.hosts.contains_key(&host));
        if is_held {
            self.held.insert(gone.key.clone());
        }
        is_held
    }

    /// The store has this key, again or still.
    pub(super) fn there_is(&mut self, key: &str) {
        self.held.remove(key);
    }

    pub(super) fn is_back(&mut self, host: &str, now: Instant) {
        if let Some(until) = self.hosts.get_mut(host) {
            *until = (*until).min(now + SHARING);
        }
    }

    /// For a host that will not come back.
    pub(super) fn give_up(&mut self, host: &str, now: Instant) {
        if let Some(until) = self.hosts.get_mut(host) {
            *until = now;
        }
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        self.hosts.values().min().copied()
    }

    /// Hosts whose time is over, at `now`.
    pub(super) fn take_late(&mut self, now: Instant) -> BTreeSet<String> {
        let late = self.hosts.extract_if(.., |_, until| *until <= now);
        late.map(|(host, _)| host).collect()
    }

    /// Keys that the store has no more, of all hosts.
    pub(super) fn held(&self) -> impl Iterator<Item = &String> {
        self.held.iter()
    }
}

/// The host under whose lease an entry is; `None` where it is under none.
pub(super) fn speaker(entry: &Entry) -> Option<String> {
    if let Some(host) = entry.key.strip_prefix(ALIVE) {
        return Some(host.to_owned());
    }
    if entry.key.starts_with(ENDPOINTS) {
        return Some(entry.decode::<EndpointShared>().ok()?.host);
    }
    if entry.key.starts_with(ADDRESSES) {
        let holder = entry.decode::<Holder>().ok()?;
        return holder.endpoint.and(Some(holder.host));
    }
    None
}

/// How long a host that has come back may take to say everything again.
pub(super) const SHARING: Duration = Duration::from_secs(1);
