//! One session after another, on a thread of its own.
//!
//! # Theory of operation
//!
//! A session begins with a lease and a key that says that this host is alive, and with a list of everything. From then on
//! the store's events keep the world up to date, and the lease is kept alive. It ends with the first call that fails.
//! Only an agent that was killed leaves its session on disk. The next one goes on with it, where its lease is still there and
//! this host still in its place: nothing of what the others know changes then. What it shares it tells again all the same.
//!
//! Pauses between attempts grow, and a random part of each keeps the hosts from coming back all at once.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use agent_core::shared::permit::is_revoked;
use agent_core::shared::{
    ALIVE, AliveRecord, CLUSTER, ClusterRecord, DEMOTE, Difference, Entry, Event, HOSTS, MANAGERS,
    Moment, OrderRecord, PROMOTE, REVOKED,
};
use agent_store::{LeaseId, Pause, StoreError, Watch, WatchEvent};

use crate::entry::known;
use crate::error::UseCluster;
use crate::files::{Files, SESSION, WORLD};
use crate::follow::Follow;
use crate::life::Session;
use crate::lock::lock;
use crate::member::Member;
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
        let (mut told, mut old) = (false, self.kept_session());
        let mut goes_on = old.is_some();
        if let Some(follower) = follower.upgrade() {
            let known = lock(&self.world).entries().cloned().collect::<Vec<_>>();
            let differences = known.into_iter().map(Difference::Put).collect();
            follower.follow(self, differences);
            // It may be another one than when tunnels were opened.
            follower.recertified(&self.identity());
        }
        while !self.is_stopping() {
            self.renew_if_due(follower.upgrade().as_deref());
            let begun = Instant::now();
            let ended = self.live(follower, (old, goes_on));
            if follower.strong_count() == 0 {
                return;
            }
            self.remember();
            if let Err(error) = &ended {
                // Before it is gone, so that nobody takes it for gone since long.
                self.note_out_of_step(self.session().is_some(), error);
                let session = lock(&self.session).take();
                goes_on &= session.is_none();
                old = session.or(old);
                if begun.elapsed() > SETTLED {
                    (pause, told) = (Pause::default(), false);
                }
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "out of step with the cluster");
                }
            }
            if let (Err(_), Some(follower)) = (&ended, follower.upgrade()) {
                self.mind_exclusion();
                self.look_for_signer(&*follower);
                self.renew_if_told(Some(&*follower));
            }
            self.nap(pause.take());
        }
    }

    /// One session, until it breaks or the member stops.
    fn live(
        self: &Arc<Self>,
        follower: &Weak<dyn Follow>,
        (old, goes_on): (Option<Session>, bool),
    ) -> Result<(), UseCluster> {
        let mut changes = self.access.changes();
        let mut watch = self.store().watch("");
        self.be_the_only_one()?;
        let going_on = match goes_on {
            true => self.go_on(old)?,
            false => None,
        };
        let session = match going_on {
            Some(session) => session,
            None => self.register(old)?,
        };
        let Some(found) = follower.upgrade() else {
            return Ok(());
        };
        let listed = self.list()?;
        let reaches = |host: &str| {
            let follower = follower.upgrade();
            follower.is_some_and(|follower| follower.locate(host).is_some())
        };
        let moment = || Moment {
            now: Instant::now(),
            reaches: &reaches,
        };
        let at = moment();
        let differences = match going_on {
            // This host's lease did not end, so nobody's did without a reason.
            Some(_) => lock(&self.world).replace(listed, &at),
            None => {
                let until = at.now + self.options.lease;
                lock(&self.world).catch_up(listed, &self.settings.host, (&at, until))
            }
        };
        self.note_joined();
        self.mind_departures(&differences);
        found.follow(self, differences);
        found.settle(self);
        *lock(&self.session) = Some(session);
        self.mind_orders();
        self.mind_ca(&[], true, &*found);
        self.tell_manager()?;
        self.align_etcd();
        self.put_on_record()?;
        self.keep_signer();
        self.forget_questions();
        tracing::info!(epoch = session.epoch, "in step with the cluster");
        found.begin(self, session)?;
        drop(found);
        self.ask_for_later_life();
        let (mut keep_alive, mut asked) = (Instant::now(), Instant::now());
        let (mut remember_at, mut rest) = (None, REMEMBER_WITHIN);
        while !self.is_stopping() {
            let Some(found) = follower.upgrade() else {
                return Ok(());
            };
            if keep_alive.elapsed() >= self.options.lease / 4 {
                keep_alive = Instant::now();
                self.keep_alive(session.lease)?;
                self.renew_if_due(Some(&*found));
                self.tell_certificate(session.lease)?;
                // The key of another CA may not have been had yet, or a manager may have renewed by the one before.
                self.mind_ca(&[], true, &*found);
                self.put_on_record()?;
                self.finish_rotation()?;
                found.tend(self)?;
            }
            if asked.elapsed() >= self.options.lease {
                asked = Instant::now();
                self.ask_for_later_life();
            }
            self.give_way()?;
            if changes != self.access.changes() {
                changes = self.access.changes();
                watch = self.store().watch("");
                self.list_anew(&*found, &moment())?;
            }
            if self.says_again.swap(false, Ordering::Relaxed) {
                // Before the list: who is no member has no addresses.
                self.put_back()?;
                // Of what is to be taken back nobody may have heard yet.
                self.list_anew(&*found, &moment())?;
                found.begin(self, session)?;
            }
            if remember_at.is_some_and(|at| at <= Instant::now()) {
                remember_at = None;
                let begun = Instant::now();
                self.remember();
                rest = REMEMBER_WITHIN.max(begun.elapsed() * REMEMBER_SHARE);
            }
            let idle_limit = self.idle_limit(keep_alive, remember_at);
            let mut differences = match self.next(&mut watch, idle_limit) {
                Some(WatchEvent::Lagged) => {
                    self.list_anew(&*found, &moment())?;
                    Vec::new()
                }
                Some(WatchEvent::Put(entry)) => self.learn(Event::Put(known(entry)), &moment()),
                Some(WatchEvent::Deleted { key, revision }) => {
                    self.mind_own(&key)?;
                    self.learn(Event::Deleted { key, revision }, &moment())
                }
                None => Vec::new(),
            };
            differences.extend(lock(&self.world).handle_timeout(&moment()));
            if !differences.is_empty() {
                remember_at.get_or_insert_with(|| Instant::now() + rest);
                self.mind_departures(&differences);
                self.mind_ca(&differences, false, &*found);
                found.follow(self, differences);
            }
        }
        Ok(())
    }

    /// After something may have been missed.
    fn list_anew(
        self: &Arc<Self>,
        follower: &dyn Follow,
        at: &Moment<'_>,
    ) -> Result<(), StoreError> {
        let listed = self.list()?;
        let differences = lock(&self.world).replace(listed, at);
        self.mind_departures(&differences);
        self.mind_ca(&differences, false, follower);
        follower.follow(self, differences);
        follower.settle(self);
        Ok(())
    }

    /// Everything that is in the store.
    fn list(&self) -> Result<Vec<Entry>, StoreError> {
        Ok(self.store().list("")?.into_iter().map(known).collect())
    }

    fn learn(&self, event: Event, at: &Moment<'_>) -> Vec<Difference> {
        let difference = lock(&self.world).apply(event, at);
        difference.into_iter().collect()
    }

    /// Knows of a key what the store has just answered, before the watch tells it. Nobody else hears of it then.
    pub fn learn_now(&self, entry: agent_store::Entry) {
        let at = Moment::alone(Instant::now());
        drop(lock(&self.world).apply(Event::Put(known(entry)), &at));
    }

    /// How long to sleep where nothing happens.
    fn idle_limit(&self, keep_alive: Instant, remember_at: Option<Instant>) -> Duration {
        let next = keep_alive + self.options.lease / 4;
        let timeout = lock(&self.world).timeout();
        let first = timeout
            .into_iter()
            .chain(remember_at)
            .fold(next, Instant::min);
        first.saturating_duration_since(Instant::now())
    }

    /// Writes what is known to disk, for a start without etcd. Not where the same is there already.
    fn remember(&self) {
        let (text, digest) = {
            let world = lock(&self.world);
            match Files::text_of(world.entries()) {
                Ok(text) => {
                    let digest = sha256(text.as_bytes());
                    (text, digest)
                }
                Err(_) => return,
            }
        };
        if *lock(&self.remembered) == digest {
            return;
        }
        match self.files.write(WORLD, &text) {
            Ok(()) => *lock(&self.remembered) = digest,
            Err(error) => tracing::warn!(%error, "a start without etcd would find no other host"),
        }
    }

    /// A new lease, and under it the key that says that this host is alive. The old lease is kept alive once more, so that what
    /// is under it stays until this session has said it again.
    fn register(&self, old: Option<Session>) -> Result<Session, StoreError> {
        match old.map(|old| self.store().keep_alive(old.lease)) {
            None | Some(Ok(()) | Err(StoreError::LeaseGone)) => {}
            Some(Err(error)) => return Err(error),
        }
        self.put_back()?;
        let lease = self.store().grant(self.options.lease)?;
        let cluster = self.store().get(CLUSTER)?;
        let cluster = cluster.and_then(|entry| entry.decode::<ClusterRecord>().ok());
        let seen = lock(&self.world).seen();
        let revision = self.store().transact(&[self.alive(lease)?])?;
        lock(&self.world).note_revision(revision, seen);
        let epoch = cluster.map_or(revision, |cluster| cluster.epoch(revision));
        let session = Session {
            lease,
            epoch,
            floor: 0,
        };
        self.keep_session(session);
        Ok(session)
    }

    /// Takes up the session of an agent before, if its lease is still there and this host where it said.
    fn go_on(&self, session: Option<Session>) -> Result<Option<Session>, StoreError> {
        let Some(session) = session else {
            return Ok(None);
        };
        match self.store().keep_alive(session.lease) {
            Ok(()) => {}
            Err(StoreError::LeaseGone) => return Ok(None),
            Err(error) => return Err(error),
        }
        let Some(entry) = self
            .store()
            .get(&format!("{ALIVE}{}", self.settings.host))?
        else {
            return Ok(None);
        };
        let told: AliveRecord = entry.decode()?;
        let place = self.told();
        let is_here = told.address == place.ip() && told.quic_udp_port == Some(place.port());
        let Some(floor) = session.floor.checked_add(LIFE).filter(|_| is_here) else {
            return Ok(None);
        };
        let session = Session { floor, ..session };
        self.keep_session(session);
        Ok(Some(session))
    }

    fn kept_session(&self) -> Option<Session> {
        let text = self.files.read_needed(SESSION).ok()?;
        let (lease, epoch, floor) = serde_json::from_str(&text).ok()?;
        Some(Session {
            lease: LeaseId(lease),
            epoch,
            floor,
        })
    }

    fn keep_session(&self, session: Session) {
        let text = format!("[{},{},{}]", session.lease.0, session.epoch, session.floor);
        if let Err(error) = self.files.write(SESSION, &text) {
            tracing::warn!(%error, "other hosts would notice a restart of the agent");
        }
    }

    /// Which managers there are now; and as a manager, who may not use the store any more.
    fn mind_departures(self: &Arc<Self>, differences: &[Difference]) {
        let is_about = |kinds: &[&str]| {
            differences.iter().any(|difference| {
                let (Difference::Put(entry) | Difference::Deleted(entry)) = difference;
                kinds.iter().any(|kind| entry.key.starts_with(kind))
            })
        };
        if is_about(&[MANAGERS, HOSTS]) {
            self.learn_managers();
        }
        if is_about(&[PROMOTE, DEMOTE, REVOKED]) {
            self.mind_orders();
        }
        if is_about(&[REVOKED, HOSTS])
            && let Some(admission) = lock(&self.admission).clone()
        {
            // Nobody may be connected.
            admission.departures.send_replace(());
        }
    }

    /// Obeys the orders that name this host. Who shut it out as a manager took away the order as well.
    fn mind_orders(self: &Arc<Self>) {
        let key = |kind: &str| format!("{kind}{}", self.settings.host);
        let (is_promoted, is_demoted) = {
            let world = lock(&self.world);
            let order = world.find::<OrderRecord>(&key(PROMOTE));
            let is_promoted = order.is_some_and(|(order, _)| order.failed.is_none());
            (is_promoted, world.contains(&key(DEMOTE)))
        };
        let duty = lock(&self.duty).clone();
        if self.mind_exclusion() {
            // There is nothing else to be obeyed.
        } else if is_demoted {
            if let Err(error) = self.obey_demotion() {
                tracing::warn!(%error, "this host does not become a member yet");
            }
        } else if duty.is_on_trial || (is_promoted && !duty.signs) {
            self.begin_promotion();
        }
    }

    /// A manager that was shut out stands down: where that fails, again when the store is tried the next time. Whether it had to.
    fn mind_exclusion(&self) -> bool {
        let is_shut_out = is_revoked(&lock(&self.world), &self.settings.host);
        let has_to = is_shut_out && lock(&self.duty).signs;
        if has_to && let Err(error) = self.stand_down() {
            tracing::warn!(%error, "this host was shut out, and is a manager still");
        }
        has_to
    }

    fn learn_managers(&self) {
        let settings = self.present_settings();
        let learned = self
            .access
            .learn(&lock(&self.world), &self.means(&settings));
        if let Err(error) = learned {
            tracing::warn!(%error, "the other managers are not known as a way to the store");
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

/// After a session that lasted so long, pauses begin short again.
const SETTLED: Duration = Duration::from_secs(5);
/// How many sequence numbers one agent has for itself; it uses one for each time that a MAC is told anew.
const LIFE: u32 = 1 << 16;
/// A start without etcd may be that far behind.
const REMEMBER_WITHIN: Duration = Duration::from_millis(200);
/// And where a large world changes all the time, so many times as long as writing it down takes.
const REMEMBER_SHARE: u32 = 20;
