//! One session after another, on a thread of its own.
//!
//! # Theory of operation
//!
//! A session begins with a lease and a key that says that this host is alive, and with a list of everything. From then on
//! the store's events keep the world up to date, and the lease is kept alive. It ends with the first call that fails.
//! Pauses between attempts grow, and a random part of each keeps the hosts from coming back all at once.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use agent_core::shared::{Difference, Entry, Event, REVOKED};
use agent_store::{Pause, Store, StoreError, Watch, WatchEvent};

use crate::error::UseCluster;
use crate::files::WORLD;
use crate::follow::Follow;
use crate::lock::lock;
use crate::member::{Member, Session};
use crate::renew::RenewalPlan;
use crate::token::sha256;

impl Member {
    /// Begins to follow the world, on a thread of its own.
    pub fn start(self: &Arc<Self>, follower: Weak<dyn Follow>) -> Result<(), UseCluster> {
        let member = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name("cluster".to_owned())
            .spawn(move || member.run(&follower))
            .map_err(UseCluster::Thread)?;
        lock(&self.tasks).thread = Some(thread);
        Ok(())
    }

    fn run(self: &Arc<Self>, follower: &Weak<dyn Follow>) {
        let mut pause = Pause::default();
        let (mut told, mut old) = (false, None);
        let renewal = RenewalPlan::new();
        if let Some(follower) = follower.upgrade() {
            let known = lock(&self.world).entries().cloned().collect::<Vec<_>>();
            let differences = known.into_iter().map(Difference::Put).collect();
            follower.follow(self, differences);
        }
        while !self.is_stopping() {
            let begun = Instant::now();
            let ended = self.live(follower, renewal, old);
            if follower.strong_count() == 0 {
                return;
            }
            self.remember();
            if let Err(error) = &ended {
                old = lock(&self.session).take().or(old);
                if begun.elapsed() > SETTLED {
                    (pause, told) = (Pause::default(), false);
                }
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "out of step with the cluster");
                }
            }
            if let (Err(_), Some(follower)) = (&ended, follower.upgrade()) {
                self.look_for_signer(&*follower);
            }
            self.renew_if_due(renewal, follower.upgrade().as_deref());
            self.nap(pause.take());
        }
    }

    /// One session, until it breaks or the member stops.
    fn live(
        self: &Arc<Self>,
        follower: &Weak<dyn Follow>,
        renewal: RenewalPlan,
        old: Option<Session>,
    ) -> Result<(), StoreError> {
        let mut watch = self.store.watch("");
        let session = self.register(old)?;
        let Some(found) = follower.upgrade() else {
            return Ok(());
        };
        let listed = self.list()?;
        let now = Instant::now();
        let times = (now, now + self.options.lease);
        let differences = lock(&self.world).catch_up(listed, &self.settings.host, times);
        self.mind_revocations(&differences, true);
        found.follow(self, differences);
        found.settle(self);
        *lock(&self.session) = Some(session);
        self.keep_signer();
        tracing::info!(epoch = session.epoch, "in step with the cluster");
        found.begin(self, session)?;
        drop(found);
        let mut keep_alive = Instant::now();
        while !self.is_stopping() {
            let Some(found) = follower.upgrade() else {
                return Ok(());
            };
            if keep_alive.elapsed() >= self.options.lease / 4 {
                keep_alive = Instant::now();
                self.keep_alive(session.lease)?;
                self.remember();
                self.renew_if_due(renewal, Some(&*found));
            }
            if self.says_again.swap(false, Ordering::Relaxed) {
                // Of what is to be taken back nobody may have heard yet.
                let listed = self.list()?;
                let differences = lock(&self.world).replace(listed, Instant::now());
                found.follow(self, differences);
                found.settle(self);
                found.begin(self, session)?;
            }
            let mut differences = match self.next(&mut watch, self.idle_limit(keep_alive)) {
                Some(WatchEvent::Lagged) => {
                    let listed = self.list()?;
                    let differences = lock(&self.world).replace(listed, Instant::now());
                    found.follow(self, differences);
                    found.settle(self);
                    Vec::new()
                }
                Some(WatchEvent::Put(entry)) => self.learn(Event::Put(known(entry))),
                Some(WatchEvent::Deleted { key, revision }) => {
                    self.learn(Event::Deleted { key, revision })
                }
                None => Vec::new(),
            };
            differences.extend(lock(&self.world).handle_timeout(Instant::now()));
            if !differences.is_empty() {
                self.mind_revocations(&differences, false);
                found.follow(self, differences);
            }
        }
        Ok(())
    }

    /// Everything that is in the store.
    fn list(&self) -> Result<Vec<Entry>, StoreError> {
        Ok(self.store.list("")?.into_iter().map(known).collect())
    }

    fn learn(&self, event: Event) -> Vec<Difference> {
        let difference = lock(&self.world).apply(event, Instant::now());
        difference.into_iter().collect()
    }

    /// How long to sleep where nothing happens.
    fn idle_limit(&self, keep_alive: Instant) -> Duration {
        let next = keep_alive + self.options.lease / 4;
        let timeout = lock(&self.world).timeout();
        timeout
            .map_or(next, |timeout| next.min(timeout))
            .saturating_duration_since(Instant::now())
    }

    /// Writes what is known to disk, for a start without etcd. Not where the same is there already.
    fn remember(&self) {
        let (text, digest) = {
            let world = lock(&self.world);
            let entries: Vec<_> = world
                .entries()
                .map(|entry| (&entry.key, &entry.value, entry.revision))
                .collect();
            match serde_json::to_string(&entries) {
                Ok(text) => {
                    let digest = sha256(text.as_bytes());
                    (text, digest)
                }
                Err(_) => return,
            }
        };
        if std::mem::replace(&mut *lock(&self.remembered), digest) == digest {
            return;
        }
        if let Err(error) = self.files.write(WORLD, &text) {
            tracing::warn!(%error, "a start without etcd would find no other host");
        }
    }

    /// A new lease, and under it the key that says that this host is alive. The old lease is kept alive once more, so that what
    /// is under it stays until this session has said it again.
    fn register(&self, old: Option<Session>) -> Result<Session, StoreError> {
        match old.map(|old| self.store.keep_alive(old.lease)) {
            None | Some(Ok(()) | Err(StoreError::LeaseGone)) => {}
            Some(Err(error)) => return Err(error),
        }
        let lease = self.store.grant(self.options.lease)?;
        let epoch = self.store.transact(&[self.alive(lease)?])?;
        Ok(Session { lease, epoch })
    }

    /// The signer keeps the list of the revoked.
    fn mind_revocations(&self, differences: &[Difference], always: bool) {
        let is_about = |difference: &Difference| match difference {
            Difference::Put(entry) | Difference::Deleted(entry) => entry.key.starts_with(REVOKED),
        };
        if !always && !differences.iter().any(is_about) {
            return;
        }
        let admission = lock(&self.admission).clone();
        if let Some(admission) = admission {
            match admission.list_revoked() {
                Ok(true) => tracing::info!("the list of revoked certificates is new"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "a revoked host may still reach etcd"),
            }
        }
    }

    fn next(&self, watch: &mut Watch, limit: Duration) -> Option<WatchEvent> {
        self.runtime.block_on(async {
            tokio::select! {
                event = watch.next() => event,
                () = self.wake.notified() => None,
                () = tokio::time::sleep(limit) => None,
            }
        })
    }

    fn nap(&self, length: Duration) {
        self.runtime.block_on(async {
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(length) => {}
            }
        });
    }
}

/// As the world has it.
fn known(entry: agent_store::Entry) -> Entry {
    Entry {
        key: entry.key,
        value: entry.value,
        revision: entry.revision,
    }
}

/// After a session that lasted so long, pauses begin short again.
const SETTLED: Duration = Duration::from_secs(5);
