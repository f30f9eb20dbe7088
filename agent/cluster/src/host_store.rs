//! The store as one member may use it, at a manager.
//!
//! # Theory of operation
//!
//! Every write is judged by what the manager knows of the cluster ([`permit`]). Its copy of the world follows the store, a little
//! behind it. So a judgement waits until the copy has what this host wrote before; and where it is a no all the same, it is
//! repeated by a list of the store itself, before it is told. A host that was only slower than another one, and has not heard yet
//! that a network was removed, has done nothing wrong: it is told that, and not denied. Where a member does not care what a key was, the key must still be
//! what it was when the write was judged: otherwise two writes could be judged by what neither of them finds.
//!
//! A lease is a host's own by a key that goes with the lease, so that every manager knows whose it is.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent_core::shared::networks::Rest;
use agent_core::shared::permit::{Denied, Write, is_revoked, may_see, permit};
use agent_core::shared::{Entry as Known, LEASES, Moment, REVOKED, World};
use agent_store::{Change, Entry, Expected, LeaseId, Store, StoreError, Watch};
use serde_json::Value;

use crate::batch::Batch;
use crate::clock::now_s;
use crate::entry::known;
use crate::lock::lock;

/// What a manager has for all members.
pub(crate) struct Managed {
    pub(crate) store: Arc<dyn Store>,
    /// By which members' writes go there.
    pub(crate) batch: Batch,
    /// Its copy of the store.
    pub(crate) world: Arc<Mutex<World>>,
    /// How long the VNI of a network rests that was removed.
    pub(crate) vni_rest: Duration,
    /// Counts what members were refused.
    pub(crate) denied: Arc<AtomicU64>,
}

pub(crate) struct HostStore {
    host: String,
    managed: Arc<Managed>,
    /// The latest revision that this host has made here.
    written: AtomicU64,
    /// Leases that are known to be its own.
    leases: Mutex<BTreeSet<LeaseId>>,
    /// One list of everything at a time, however many writes are denied.
    second_look: Mutex<()>,
    /// What was denied on this connection.
    denials: AtomicU64,
}

impl HostStore {
    pub(crate) fn new(host: String, managed: Arc<Managed>) -> Self {
        Self {
            host,
            managed,
            written: AtomicU64::new(0),
            leases: Mutex::default(),
            second_look: Mutex::default(),
            denials: AtomicU64::new(0),
        }
    }

    fn check_member(&self) -> Result<(), StoreError> {
        match is_revoked(&lock(&self.managed.world), &self.host) {
            false => Ok(()),
            true => Err(StoreError::Denied {
                key: format!("{REVOKED}{}", self.host),
                why: "this host was revoked".to_owned(),
            }),
        }
    }

    /// The same changes, each with what its key was when it was judged: by the copy, unless that is known to be behind.
    fn judged(&self, changes: &[Change], is_behind: bool) -> Result<Vec<Change>, StoreError> {
        if !is_behind {
            self.catch_up();
            let world = lock(&self.managed.world);
            if expect(&world, changes).is_ok()
                && let Ok(judged) = self.judge(&world, changes)
            {
                return Ok(judged);
            }
        }
        let _turn = lock(&self.second_look);
        let mut world = World::default();
        world.replace(self.list_all()?, &Moment::alone(Instant::now()));
        // Who was only slower than another host is told that, and has done nothing wrong.
        expect(&world, changes)?;
        self.judge(&world, changes)
            .map_err(|denied| match denied.is_late {
                true => StoreError::Missing { key: denied.key },
                false => self.denied(denied),
            })
    }

    fn judge(&self, world: &World, changes: &[Change]) -> Result<Vec<Change>, Denied> {
        let writes: Vec<_> = changes
            .iter()
            .map(|change| Write {
                key: &change.key,
                value: change.value.as_ref(),
                is_leased: change.lease.is_some(),
            })
            .collect();
        let rest = Rest {
            now_s: now_s(),
            length: self.managed.vni_rest,
        };
        permit(world, &self.host, &writes, rest)?;
        let judged = changes.iter().map(|change| Change {
            expected: match &change.expected {
                Expected::Anything => as_known(world, &change.key),
                expected => expected.clone(),
            },
            ..change.clone()
        });
        Ok(judged.collect())
    }

    fn list_all(&self) -> Result<Vec<Known>, StoreError> {
        Ok(self
            .managed
            .store
            .list("")?
            .into_iter()
            .map(known)
            .collect())
    }

    fn denied(&self, denied: Denied) -> StoreError {
        self.managed.denied.fetch_add(1, Ordering::Relaxed);
        let times = self.denials.fetch_add(1, Ordering::Relaxed) + 1;
        // Nobody fills the log.
        if times.is_power_of_two() {
            tracing::warn!(
                host = self.host,
                key = denied.key,
                why = denied.why,
                times,
                "a member's write is denied"
            );
        }
        StoreError::Denied {
            key: denied.key,
            why: denied.why,
        }
    }

    /// Waits a moment for what this host wrote before; without it the second look decides.
    fn catch_up(&self) {
        let written = self.written.load(Ordering::Relaxed);
        let deadline = Instant::now() + CATCH_UP_LIMIT;
        while lock(&self.managed.world).seen() < written && Instant::now() < deadline {
            std::thread::sleep(CATCH_UP_STEP);
        }
    }

    fn owns(&self, lease: LeaseId) -> Result<bool, StoreError> {
        if lock(&self.leases).contains(&lease) {
            return Ok(true);
        }
        let Some(entry) = self.managed.store.get(&lease_key(lease))? else {
            return Ok(false);
        };
        let is_own = entry.decode::<String>()? == self.host;
        if is_own {
            lock(&self.leases).insert(lease);
        }
        Ok(is_own)
    }

    fn check_leases(&self, changes: &[Change]) -> Result<(), StoreError> {
        for change in changes {
            if let Some(lease) = change.lease
                && !self.owns(lease)?
            {
                return Err(StoreError::LeaseGone);
            }
        }
        Ok(())
    }

    fn leases_held(&self) -> usize {
        let world = lock(&self.managed.world);
        let leases = world.under::<String>(LEASES);
        leases.filter(|(_, host)| *host == self.host).count()
    }
}

impl Store for HostStore {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.check_member()?;
        match may_see(key) {
            true => self.managed.store.get(key),
            false => Ok(None),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.check_member()?;
        let mut listed = self.managed.store.list(prefix)?;
        listed.retain(|entry| may_see(&entry.key));
        Ok(listed)
    }

    fn transact(&self, changes: &[Change]) -> Result<u64, StoreError> {
        self.check_leases(changes)?;
        for attempt in 0..TRIES {
            let judged = self.judged(changes, attempt > 0)?;
            match self.managed.batch.transact(&judged) {
                Ok(revision) => {
                    self.written.fetch_max(revision, Ordering::Relaxed);
                    return Ok(revision);
                }
                Err(
                    StoreError::Exists { key }
                    | StoreError::Changed { key }
                    | StoreError::Missing { key },
                ) if is_any(changes, &key) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Changed {
            key: changes
                .first()
                .map(|change| change.key.clone())
                .unwrap_or_default(),
        })
    }

    fn watch(&self, prefix: &str) -> Watch {
        self.managed.store.watch(prefix).only(may_see)
    }

    fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.check_member()?;
        if ttl > LEASE_MAX || self.leases_held() >= LEASES_MAX {
            return Err(self.denied(Denied {
                key: LEASES.to_owned(),
                why: "a host has few leases, and short ones".to_owned(),
                is_late: false,
            }));
        }
        let lease = self.managed.store.grant(ttl)?;
        let owner = Change::put(lease_key(lease), self.host.clone().into(), Expected::Absent);
        self.managed.store.transact(&[owner.under(lease)])?;
        lock(&self.leases).insert(lease);
        Ok(lease)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.check_member()?;
        match self.owns(lease)? {
            true => self.managed.store.keep_alive(lease),
            false => Err(StoreError::LeaseGone),
        }
    }

    fn end_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        match self.owns(lease)? {
            true => {
                lock(&self.leases).remove(&lease);
                self.managed.store.end_lease(lease)
            }
            false => Ok(()),
        }
    }
}

fn lease_key(lease: LeaseId) -> String {
    format!("{LEASES}{}", lease.0)
}

/// Whether every key is what the host believes that it is.
fn expect(world: &World, changes: &[Change]) -> Result<(), StoreError> {
    changes.iter().try_for_each(|change| {
        let present = world.entry(&change.key);
        let is = |value: &Value| present.is_some_and(|entry| entry.value == *value);
        let revision = present.map(|entry| entry.revision);
        change.expected.check(&change.key, revision, is)
    })
}

fn as_known(world: &World, key: &str) -> Expected {
    match world.entry(key) {
        Some(entry) => Expected::Written {
            revision: entry.revision,
            value: entry.value.clone(),
        },
        None => Expected::Absent,
    }
}

fn is_any(changes: &[Change], key: &str) -> bool {
    let wrote = changes.iter().find(|change| change.key == key);
    wrote.is_some_and(|change| change.expected == Expected::Anything)
}

/// The store's events come within some milliseconds.
const CATCH_UP_LIMIT: Duration = Duration::from_millis(200);
const CATCH_UP_STEP: Duration = Duration::from_millis(2);
/// How often a write is judged anew because a key changed meanwhile.
const TRIES: u32 = 8;
/// Twice what a configuration may ask for.
const LEASE_MAX: Duration = Duration::from_secs(1200);
/// Of one host at once: each session takes one, and those before it end by themselves.
const LEASES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use agent_core::shared::Event;
    use agent_store::RedbStore;
    use serde_json::json;

    use super::*;

    /// A manager's store and its copy, which follows only when it is told to.
    struct Manager {
        store: Arc<RedbStore>,
        world: Arc<Mutex<World>>,
        denied: Arc<AtomicU64>,
        _dir: tempfile::TempDir,
    }

    impl Manager {
        fn new(hosts: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let manager = Self {
                store: Arc::new(RedbStore::open(dir.path()).unwrap()),
                world: Arc::default(),
                denied: Arc::default(),
                _dir: dir,
            };
            for (n, host) in (1..).zip(hosts) {
                let record =
                    json!({"name": host, "address": format!("192.0.2.{n}"), "joined_s": 1});
                let key = format!("host/{host}");
                manager
                    .store
                    .put_if(&key, record, Expected::Absent)
                    .unwrap();
            }
            manager.follow();
            manager
        }

        fn follow(&self) {
            let listed = self.store.list("").unwrap().into_iter().map(known);
            lock(&self.world).replace(listed.collect(), &Moment::alone(Instant::now()));
        }

        fn of(&self, host: &str) -> HostStore {
            let managed = Managed {
                store: Arc::clone(&self.store) as _,
                batch: Batch::new(Arc::clone(&self.store) as _),
                world: Arc::clone(&self.world),
                vni_rest: Duration::from_secs(600),
                denied: Arc::clone(&self.denied),
            };
            HostStore::new(host.to_owned(), Arc::new(managed))
        }
    }

    fn alive(lease: LeaseId, host: &str, address: &str) -> Change {
        let value = json!({"address": address, "quic_udp_port": 4790, "run": "r"});
        Change::put(format!("alive/{host}"), value, Expected::Anything).under(lease)
    }

    const LEASE: Duration = Duration::from_secs(10);

    #[test]
    fn a_host_says_that_it_is_alive_under_its_own_lease_alone() {
        let manager = Manager::new(&["a", "b"]);
        let (a, b) = (manager.of("a"), manager.of("b"));
        let [of_a, of_b] = [&a, &b].map(|store| store.grant(LEASE).unwrap());
        a.transact(&[alive(of_a, "a", "192.0.2.1")]).unwrap();
        // Again, though the copy does not have the first one yet.
        a.transact(&[alive(of_a, "a", "192.0.2.1")]).unwrap();
        for (lease, host) in [(of_b, "a"), (of_a, "b")] {
            let error = a.transact(&[alive(lease, host, "192.0.2.9")]).unwrap_err();
            assert!(
                matches!(error, StoreError::LeaseGone | StoreError::Denied { .. }),
                "{error}"
            );
        }
        assert!(matches!(b.keep_alive(of_a), Err(StoreError::LeaseGone)));
        b.end_lease(of_a).unwrap();
        a.keep_alive(of_a).unwrap();
        // Another manager knows whose it is.
        manager.of("a").keep_alive(of_a).unwrap();
        assert_eq!(manager.denied.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn who_is_slower_is_told_so_and_not_denied() {
        let manager = Manager::new(&["a", "b"]);
        let store = manager.of("a");
        let before = store.get("host/a").unwrap().unwrap().revision;
        let record = json!({"name": "a", "address": "192.0.2.9", "joined_s": 1});
        let put = |expected| store.put_if("host/a", record.clone(), expected);
        assert!(matches!(
            put(Expected::Absent),
            Err(StoreError::Exists { .. })
        ));
        put(Expected::Revision(before)).unwrap();
        assert!(matches!(
            put(Expected::Revision(before)),
            Err(StoreError::Changed { .. })
        ));
        assert_eq!(manager.denied.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_write_is_judged_by_what_it_finds() {
        let manager = Manager::new(&["a", "b"]);
        let (a, b) = (manager.of("a"), manager.of("b"));
        let lease = b.grant(LEASE).unwrap();
        b.transact(&[alive(lease, "b", "192.0.2.7")]).unwrap();
        manager.follow();
        let lease = a.grant(LEASE).unwrap();
        let denied = a.transact(&[alive(lease, "a", "192.0.2.7")]).unwrap_err();
        assert!(matches!(denied, StoreError::Denied { .. }), "{denied}");
        // What the copy denies, the store may allow by now.
        b.transact(&[alive(b.grant(LEASE).unwrap(), "b", "192.0.2.2")])
            .unwrap();
        a.transact(&[alive(lease, "a", "192.0.2.7")]).unwrap();
    }

    #[test]
    fn secrets_are_not_shown_and_a_host_that_is_out_sees_nothing() {
        let manager = Manager::new(&["a"]);
        let put = |key: &str| {
            manager
                .store
                .put_if(key, json!("x"), Expected::Absent)
                .unwrap()
        };
        put("token/1");
        let a = manager.of("a");
        assert!(a.get("token/1").unwrap().is_none());
        assert!(
            a.list("")
                .unwrap()
                .iter()
                .all(|entry| entry.key != "token/1")
        );
        let mut watch = a.watch("");
        put("token/2");
        put("network/1");
        let seen = std::iter::from_fn(|| watch.try_next()).collect::<Vec<_>>();
        assert_eq!(seen.len(), 1, "{seen:?}");
        let revoked = Known {
            key: "revoked/a".to_owned(),
            value: json!({"name": "a", "revoked_s": 1}),
            revision: 99,
        };
        manager
            .store
            .put_if(&revoked.key, revoked.value.clone(), Expected::Absent)
            .unwrap();
        lock(&manager.world).apply(Event::Put(revoked), &Moment::alone(Instant::now()));
        assert!(matches!(a.list(""), Err(StoreError::Denied { .. })));
        assert!(matches!(a.grant(LEASE), Err(StoreError::Denied { .. })));
    }

    #[test]
    fn leases_are_few_and_short() {
        let manager = Manager::new(&["a"]);
        let a = manager.of("a");
        assert!(a.grant(LEASE_MAX * 2).is_err());
        for _ in 0..LEASES_MAX {
            a.grant(LEASE).unwrap();
        }
        manager.follow();
        assert!(matches!(a.grant(LEASE), Err(StoreError::Denied { .. })));
    }
}
