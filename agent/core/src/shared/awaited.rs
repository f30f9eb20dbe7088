//! Hosts that are given time to come back.
//!
//! # Theory of operation
//!
//! While etcd was away nobody could keep a lease alive, so they may all have ended. Whoever is first to come back would then
//! find that the other hosts have said nothing, cut their tunnels, and give their addresses away, although they live and are
//! on their way. So each of them gets the time of a lease: until then, what its lease has taken away is *held*, as if it
//! were there still. Where the store was set back to before the host joined, that it is a member is held as well. When the host comes back it says everything again within [`SHARING`]; what it does not repeat is gone.
//!
//! A host whose tunnel is up lives, whatever becomes of its lease: it is waited for until its tunnel is down.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::moment::Moment;
use super::{ADDRESSES, ALIVE, ENDPOINTS, EndpointShared, Entry, HOSTS, Holder};

#[derive(Debug, Default)]
pub(super) struct Awaited {
    hosts: BTreeMap<String, Wait>,
    /// Keys that the store has no more.
    held: BTreeSet<String>,
    /// Those of them whose revisions are of before the store was set back.
    outdated: BTreeSet<String>,
}

#[derive(Debug)]
struct Wait {
    until: Instant,
    /// It has come back, or will not.
    is_settled: bool,
}

impl Awaited {
    /// These hosts, and no others any more. Which keys are held of them, the list says that comes then.
    pub(super) fn wait_for(&mut self, hosts: impl IntoIterator<Item = String>, until: Instant) {
        let wait = || Wait {
            until,
            is_settled: false,
        };
        self.hosts = hosts.into_iter().map(|host| (host, wait())).collect();
    }

    /// A host whose lease has ended, and whose tunnel is up.
    pub(super) fn begin(&mut self, host: &str, now: Instant) {
        let wait = Wait {
            until: now + SHARING,
            is_settled: false,
        };
        self.hosts.insert(host.to_owned(), wait);
    }

    /// Whether a host is waited for that has not come back yet.
    pub(super) fn is_waiting(&self, host: &str) -> bool {
        self.hosts.get(host).is_some_and(|wait| !wait.is_settled)
    }

    /// Whether what an entry says still counts, though the store has it no more. `is_lost`: nobody took it away, so that who was a
    /// member is one.
    pub(super) fn holds(&mut self, gone: &Entry, is_lost: bool) -> bool {
        let is_told = is_lost || !gone.key.starts_with(HOSTS);
        let host = host_of(gone).filter(|_| is_told);
        let is_held = host.is_some_and(|host| self.hosts.contains_key(&host));
        match is_held {
            true => drop(self.held.insert(gone.key.clone())),
            false => self.there_is(&gone.key),
        }
        is_held
    }

    pub(super) fn is_held(&self, key: &str) -> bool {
        self.held.contains(key)
    }

    /// The store has this key, again or still; or nobody waits for it any more.
    pub(super) fn there_is(&mut self, key: &str) {
        self.held.remove(key);
        self.outdated.remove(key);
    }

    /// What the store says of a held key from now on is news, whatever its revision.
    pub(super) fn outdate(&mut self, key: &str) {
        self.outdated.insert(key.to_owned());
    }

    pub(super) fn is_outdated(&self, key: &str) -> bool {
        self.outdated.contains(key)
    }

    pub(super) fn is_back(&mut self, host: &str, now: Instant) {
        self.settle(host, now + SHARING);
    }

    /// For a host that will not come back.
    pub(super) fn give_up(&mut self, host: &str, now: Instant) {
        self.settle(host, now);
    }

    fn settle(&mut self, host: &str, by: Instant) {
        if let Some(wait) = self.hosts.get_mut(host) {
            wait.until = wait.until.min(by);
            wait.is_settled = true;
        }
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        self.hosts.values().map(|wait| wait.until).min()
    }

    /// Hosts whose time is over.
    pub(super) fn take_late(&mut self, at: &Moment<'_>) -> BTreeSet<String> {
        for (host, wait) in &mut self.hosts {
            let is_silent = || self.held.contains(&format!("{ALIVE}{host}"));
            if wait.until <= at.now && !wait.is_settled && is_silent() && (at.reaches)(host) {
                wait.until = at.now + SHARING;
            }
        }
        let late = self.hosts.extract_if(.., |_, wait| wait.until <= at.now);
        late.map(|(host, _)| host).collect()
    }

    /// Keys that the store has no more, of all hosts.
    pub(super) fn held(&self) -> impl Iterator<Item = &String> {
        self.held.iter()
    }
}

/// The host that says an entry again when it comes back: what is under its lease, and that it is a member; `None` of anything else.
pub(super) fn host_of(entry: &Entry) -> Option<String> {
    let key = &entry.key;
    if let Some(host) = key.strip_prefix(ALIVE).or_else(|| key.strip_prefix(HOSTS)) {
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
