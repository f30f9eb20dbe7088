//! Managers: an etcd each, of which most must reach each other, and a port where members ask. What a member writes is judged by the
//! manager's copy of the store, as [`HostStore`](../../../../cluster/src/host_store.rs) does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agent_core::shared::before::Before;
use agent_core::shared::networks::Rest;
use agent_core::shared::permit::{Write, is_revoked, may_see, permit};
use agent_core::shared::{CLUSTER, ClusterRecord, Entry, Event, LEASES, MANAGERS, Moment, World};
use switch_core::Time;
use switch_lab::simulation::Random;

use super::super::store::{Change, Refused, Store};
use super::wires::Wires;

/// Everything between the hosts.
pub(crate) struct Net {
    pub(crate) wires: Wires,
    pub(crate) store: Store,
    /// By host.
    pub(crate) managers: BTreeMap<usize, Manager>,
    late: Vec<Late>,
    pub(crate) random: Random,
    pub(crate) now_ms: u64,
    start: Instant,
    /// Managers die in the midst of calls now and then.
    pub(crate) is_rough: bool,
    /// What members were refused.
    pub(crate) denied: Vec<String>,
    /// How often the store was set back.
    pub(crate) era: u32,
}

#[derive(Default)]
pub(crate) struct Manager {
    /// Of the store.
    copy: World,
    at: usize,
    /// New with each life of its agent: connections do not outlast one.
    pub(crate) life: u32,
    /// Its agent runs, so that members are answered.
    pub(crate) answers: bool,
}

/// A call that TCP delivers when the wire is mended, though its sender has given up.
struct Late {
    host: usize,
    manager: (usize, u32),
    changes: Vec<Change>,
    since_ms: u64,
}

/// Why a call was not done.
#[derive(Debug, PartialEq)]
pub(crate) enum Fault {
    /// A key is not as it was to be.
    Changed,
    LeaseGone,
    /// Nobody answers: a transaction may have been done.
    Unreachable,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            wires: Wires::new(),
            store: Store::default(),
            managers: BTreeMap::new(),
            late: Vec::new(),
            random: Random(seed),
            now_ms: 0,
            start: Instant::now(),
            is_rough: true,
            denied: Vec::new(),
            era: 0,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now_ms)
    }

    pub(crate) fn time(&self) -> Time {
        Time::from_millis(self.now_ms)
    }

    pub(crate) fn rest(&self) -> Rest {
        Rest {
            now_s: self.now_ms / 1000,
            length: VNI_REST,
        }
    }

    /// Whether a manager's etcd can answer: it reaches most of the others.
    pub(crate) fn has_quorum(&self, manager: usize) -> bool {
        let all = self.managers.keys();
        let reached = all.filter(|other| self.wires.carry_both(manager, **other));
        self.managers.contains_key(&manager) && 2 * reached.count() > self.managers.len()
    }

    /// As time passes.
    pub(crate) fn tick(&mut self) {
        self.store.expire(self.now_ms);
        let managers: Vec<usize> = self.managers.keys().copied().collect();
        for manager in managers {
            if self.has_quorum(manager) {
                let most = self.random.below(12);
                self.follow(manager, most);
            }
        }
        self.deliver_late();
    }

    /// A manager's copy takes in some of what happened.
    fn follow(&mut self, manager: usize, most: usize) {
        let at = Moment::alone(self.now());
        let Some(manager) = self.managers.get_mut(&manager) else {
            return;
        };
        for _ in 0..most {
            match self.store.next(manager.at) {
                Ok(None) => return,
                Ok(Some(event)) => {
                    manager.at += 1;
                    manager.copy.apply(event.clone(), &at);
                }
                Err(()) => {
                    manager.at = self.store.end();
                    manager.copy.replace(self.store.list(), &at);
                }
            }
        }
    }

    /// A manager does what a member asks for, if it may. It has a quorum.
    pub(crate) fn carry_out(
        &mut self,
        manager: usize,
        host: usize,
        changes: &[Change],
    ) -> Result<u64, Fault> {
        let leases = changes.iter().filter_map(|change| change.lease);
        for lease in leases {
            if !self.owns(host, lease) {
                return Err(Fault::LeaseGone);
            }
        }
        for attempt in 0..TRIES {
            let judged = self.judged(manager, host, changes, attempt > 0)?;
            match self.store.transact(judged) {
                Ok(revision) => return Ok(revision),
                Err(Refused::LeaseGone) => return Err(Fault::LeaseGone),
                Err(Refused::Key | Refused::NoReply) => {}
            }
        }
        Err(Fault::Changed)
    }

    fn judged(
        &mut self,
        manager: usize,
        host: usize,
        changes: &[Change],
        is_behind: bool,
    ) -> Result<Vec<Change>, Fault> {
        let rest = self.rest();
        let copy = &self.managers[&manager].copy;
        if !is_behind
            && expect(copy, changes).is_ok()
            && let Ok(judged) = judge(copy, host, changes, rest)
        {
            return Ok(judged);
        }
        let listed = World::of(self.store.list());
        expect(&listed, changes)?;
        judge(&listed, host, changes, rest).map_err(|(is_late, why)| match is_late {
            true => Fault::Changed,
            false => {
                self.denied.push(why);
                Fault::Unreachable
            }
        })
    }

    pub(crate) fn owns(&self, host: usize, lease: u64) -> bool {
        let owner = self.store.get(&format!("{LEASES}{lease}"));
        owner.is_some_and(|owner| owner.value == name(host))
    }

    pub(crate) fn grant(&mut self, host: usize) -> Result<u64, Fault> {
        let lease = self.store.grant(self.now_ms + LEASE_MS);
        let owner = Change {
            key: format!("{LEASES}{lease}"),
            before: Some(Before::Absent),
            value: Some(name(host).into()),
            lease: Some(lease),
        };
        self.store
            .transact(vec![owner])
            .map_err(|_| Fault::Unreachable)?;
        Ok(lease)
    }

    pub(crate) fn keep_alive(&mut self, host: usize, lease: u64) -> Result<(), Fault> {
        let is_kept =
            self.owns(host, lease) && self.store.keep_alive(lease, self.now_ms + LEASE_MS);
        is_kept.then_some(()).ok_or(Fault::LeaseGone)
    }

    pub(crate) fn listed(&self) -> Vec<Entry> {
        let mut listed = self.store.list();
        listed.retain(|entry| may_see(&entry.key));
        listed
    }

    /// Whether a host is shut out, as a manager knows it.
    pub(crate) fn admits(&self, manager: usize, host: usize) -> bool {
        !is_revoked(&self.managers[&manager].copy, &name(host))
    }

    pub(crate) fn be_late(&mut self, host: usize, manager: (usize, u32), changes: Vec<Change>) {
        self.late.push(Late {
            host,
            manager,
            changes,
            since_ms: self.now_ms,
        });
    }

    fn deliver_late(&mut self) {
        for late in std::mem::take(&mut self.late) {
            let (manager, life) = late.manager;
            let is_there = self.managers.get(&manager).is_some_and(|there| {
                there.answers && there.life == life && self.admits(manager, late.host)
            });
            if !is_there || self.now_ms - late.since_ms > RETRANSMISSIONS_MS {
                continue;
            }
            match self.wires.carry(late.host, manager) && self.has_quorum(manager) {
                // Nobody hears how it ended.
                true => drop(self.carry_out(manager, late.host, &late.changes)),
                false => self.late.push(late),
            }
        }
    }

    // Who is a manager.

    /// The cluster, with its first manager.
    pub(crate) fn found(&mut self, host: usize) {
        self.tell_cluster(&ClusterRecord {
            id: "c".to_owned(),
            created_s: 0,
            restored: None,
            generation: 0,
        });
        self.seat(host);
    }

    fn seat(&mut self, host: usize) {
        let manager = Manager {
            answers: true,
            ..Manager::default()
        };
        self.managers.insert(host, manager);
        self.tell_managers();
    }

    /// The record of the cluster, as the store has it.
    pub(crate) fn cluster(&self) -> ClusterRecord {
        self.store.get(CLUSTER).unwrap().decode().unwrap()
    }

    fn tell_cluster(&mut self, cluster: &ClusterRecord) {
        let value = serde_json::to_value(cluster).unwrap();
        let told = change(CLUSTER.to_owned(), Some(value));
        self.store.transact(vec![told]).unwrap();
    }

    /// By a manager that can write, with the host at hand.
    pub(crate) fn promote(&mut self, host: usize) {
        let by = self
            .managers
            .keys()
            .find(|manager| self.has_quorum(**manager) && self.wires.carry_both(**manager, host));
        if by.is_some() && !self.managers.contains_key(&host) && self.managers.len() < MANAGERS_MAX
        {
            self.seat(host);
        }
    }

    /// The others must go on without it.
    pub(crate) fn demote(&mut self, host: usize) {
        if self.managers.len() < 2 || !self.has_quorum(host) {
            return;
        }
        let Some(demoted) = self.managers.remove(&host) else {
            return;
        };
        match self.managers.keys().any(|other| self.has_quorum(*other)) {
            true => self.tell_managers(),
            false => drop(self.managers.insert(host, demoted)),
        }
    }

    fn tell_managers(&mut self) {
        let told = self.store.list().into_iter();
        let gone = told.filter(|entry| {
            let host = entry.key.strip_prefix(MANAGERS);
            host.is_some_and(|host| !self.managers.keys().any(|manager| name(*manager) == host))
        });
        let mut changes: Vec<Change> = gone.map(|entry| change(entry.key, None)).collect();
        for host in self.managers.keys() {
            let key = format!("{MANAGERS}{}", name(*host));
            let value = serde_json::json!({ "address": format!("192.0.2.{}:4790", host + 1) });
            if self.store.get(&key).is_none() {
                changes.push(change(key, Some(value)));
            }
        }
        self.store.transact(changes).unwrap();
    }

    /// Its agent begins or ends; etcd goes on.
    pub(crate) fn answer(&mut self, host: usize, answers: bool) {
        if let Some(manager) = self.managers.get_mut(&host) {
            manager.answers = answers;
            manager.life += 1;
        }
    }

    /// As whoever recovers a cluster. Managers begin anew with the store as it is: what members had asked for is void.
    pub(crate) fn set_back(&mut self, snapshot: &Store) {
        self.store.set_back(snapshot, self.now_ms + LEASE_MS);
        self.late.clear();
        self.era += 1;
        let again = self.cluster().begin_again(self.era.to_string());
        self.tell_cluster(&again);
        let at = Moment::alone(self.now());
        for manager in self.managers.values_mut() {
            manager.life += 1;
            manager.at = self.store.end();
            manager.copy = World::default();
            manager.copy.replace(self.store.list(), &at);
        }
        self.tell_managers();
    }
}

/// Of a host.
pub(crate) fn name(host: usize) -> String {
    format!("h{host}")
}

pub(crate) fn change(key: String, value: Option<serde_json::Value>) -> Change {
    Change {
        key,
        before: None,
        value,
        lease: None,
    }
}

/// Whether an event is told to members.
pub(crate) fn is_shown(event: &Event) -> bool {
    let (Event::Put(Entry { key, .. }) | Event::Deleted { key, .. }) = event;
    may_see(key)
}

fn expect(world: &World, changes: &[Change]) -> Result<(), Fault> {
    let is_so = |change: &Change| {
        let is_so = |before: &Before| before.is_so(world.entry(&change.key));
        change.before.as_ref().is_none_or(is_so)
    };
    changes
        .iter()
        .all(is_so)
        .then_some(())
        .ok_or(Fault::Changed)
}

/// The changes with what each key was when they were judged.
fn judge(
    world: &World,
    host: usize,
    changes: &[Change],
    rest: Rest,
) -> Result<Vec<Change>, (bool, String)> {
    let writes: Vec<_> = changes
        .iter()
        .map(|change| Write {
            key: &change.key,
            value: change.value.as_ref(),
            is_leased: change.lease.is_some(),
        })
        .collect();
    let host = name(host);
    permit(world, &host, &writes, rest)
        .map_err(|denied| (denied.is_late, format!("{host}: {denied}")))?;
    let known = |key: &str| {
        let entry = world.entry(key);
        entry.map_or(Before::Absent, Before::of)
    };
    let judged = changes.iter().map(|change| Change {
        before: Some(change.before.clone().unwrap_or_else(|| known(&change.key))),
        ..change.clone()
    });
    Ok(judged.collect())
}

pub(crate) const LEASE_MS: u64 = 10_000;
/// Shorter than by default, so that VNIs come to be used again.
const VNI_REST: Duration = Duration::from_secs(20);
/// So long the kernel sends again what nobody acknowledges, of a connection that was closed.
const RETRANSMISSIONS_MS: u64 = 100_000;
const MANAGERS_MAX: usize = 3;
const TRIES: u32 = 8;
