//! This host's part in the cluster while the agent runs.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::admission::Admission;
use crate::ca::Ca;
use crate::error::UseCluster;
use crate::etcd_access::etcd_options;
use crate::etcd_process::EtcdProcess;
use crate::files::{CA_KEY, Files, RESET_KEY, Settings, WORLD};
use crate::identity::Identity;
use crate::place::Place;
use crate::renew::RenewalPlan;
use crate::signer::{Decide, serve};
use crate::token::sha256;
use crate::{ClusterOptions, hex};
use agent_core::shared::{Difference, Entry, Event, World};
use agent_core::shared::{HOSTS, REVOKED};
use agent_store::{EtcdStore, LeaseId, Pause, Store, StoreError, Watch, WatchEvent};

/// A member of a cluster. [`Member::stop`] ends its thread and what it started.
pub struct Member {
    pub(crate) settings: Settings,
    pub(crate) files: Files,
    pub(crate) options: ClusterOptions,
    pub(crate) store: Arc<EtcdStore>,
    pub(crate) identity: Arc<Mutex<Identity>>,
    pub(crate) admission: Mutex<Option<Arc<Admission>>>,
    /// Where its tunnels end, which changes while the agent runs; the settings say where they ended at its start.
    pub(crate) place: Mutex<Place>,
    world: Mutex<World>,
    /// While this host is in step with the store.
    session: Mutex<Option<Session>>,
    stopping: AtomicBool,
    wake: Notify,
    /// What this host shares is to be told again.
    says_again: AtomicBool,
    pub(crate) runtime: Handle,
    tasks: Mutex<Tasks>,
    /// Hosts that were not admitted here.
    refused: Arc<AtomicU64>,
    /// How often this host moved.
    pub(crate) moves: AtomicU64,
    /// SHA-256 of what is kept of the world on disk.
    remembered: Mutex<[u8; 32]>,
}

#[derive(Default)]
struct Tasks {
    thread: Option<JoinHandle<()>>,
    /// With where it listens.
    signer: Option<(SocketAddr, tokio::task::JoinHandle<()>)>,
}

/// One life of this host in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub lease: LeaseId,
    pub epoch: u64,
}

/// Who wires networks together. Called on the member's thread; calls may block.
pub trait Follow: Send + Sync {
    /// The world is different now.
    fn follow(&self, member: &Arc<Member>, differences: Vec<Difference>);
    /// A new session: what this host shares is to be put under its lease.
    /// An error ends the session.
    fn begin(&self, member: &Arc<Member>, session: Session) -> Result<(), StoreError>;
    /// Where a host's connection comes from.
    fn locate(&self, host: &str) -> Option<IpAddr>;
    /// There is a new certificate.
    fn recertified(&self, identity: &Identity);
}

impl Member {
    /// Takes up the membership that is on disk, where there is one. Does not wait for etcd.
    pub fn resume(
        options: &ClusterOptions,
        runtime: &Handle,
    ) -> Result<Option<Arc<Self>>, UseCluster> {
        let files = Files::new(&options.state_dir);
        match files.load()? {
            Some((settings, identity)) => {
                Self::open(options, files, settings, identity, runtime).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Starts what this host runs for the cluster: as the signer, etcd and the endpoint for others.
    pub(crate) fn open(
        options: &ClusterOptions,
        files: Files,
        settings: Settings,
        identity: Identity,
        runtime: &Handle,
    ) -> Result<Arc<Self>, UseCluster> {
        // It may have been lost since the last start; whoever follows addresses finds another one then.
        let is_here = !settings.signs || is_own(settings.signer);
        let etcd = (settings.signs && settings.etcd_managed && is_here)
            .then(|| EtcdProcess::start(&files, settings.signer))
            .transpose()?;
        let store = EtcdStore::connect(&etcd_options(options, &settings, &identity)?)?;
        let member = Arc::new(Self {
            store: Arc::new(store),
            identity: Arc::new(Mutex::new(identity)),
            admission: Mutex::default(),
            place: Mutex::new(Place::of(&settings)),
            world: Mutex::default(),
            session: Mutex::default(),
            stopping: AtomicBool::new(false),
            wake: Notify::new(),
            says_again: AtomicBool::new(false),
            runtime: runtime.clone(),
            tasks: Mutex::default(),
            refused: Arc::default(),
            moves: AtomicU64::new(0),
            remembered: Mutex::default(),
            options: options.clone(),
            settings,
            files,
        });
        lock(&member.world).replace(member.remembered(), Instant::now());
        if member.settings.signs {
            member.open_signer(etcd)?;
            if is_here {
                member.listen()?;
            }
        }
        Ok(member)
    }

    fn open_signer(&self, etcd: Option<EtcdProcess>) -> Result<(), UseCluster> {
        let identity = lock(&self.identity).clone();
        let ca = Ca::load(identity.ca, &self.files.read_needed(CA_KEY)?)?;
        let admission = Arc::new(Admission {
            ca,
            files: self.files.clone(),
            settings: Mutex::new(self.settings.clone()),
            store: Arc::clone(&self.store),
            lifetime: self.options.certificate_lifetime,
            etcd: Mutex::new(etcd),
        });
        *lock(&self.admission) = Some(admission);
        Ok(())
    }

    /// Admits hosts, and nowhere else any more.
    fn listen(&self) -> Result<(), UseCluster> {
        let Some(admission) = lock(&self.admission).clone() else {
            return Ok(());
        };
        let address = self.signer();
        if matches!(&lock(&self.tasks).signer, Some((at, _)) if *at == address) {
            return Ok(());
        }
        let failed = |source| UseCluster::Listen { address, source };
        // The agent's own thread is in the host's namespace, as this one is.
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = {
            let _inside = self.runtime.enter();
            TcpListener::from_std(listener).map_err(failed)?
        };
        let decide: Arc<dyn Decide> = Arc::clone(&admission) as _;
        let signer = self
            .runtime
            .spawn(serve(listener, decide, Arc::clone(&self.refused)));
        if let Some((_, before)) = lock(&self.tasks).signer.replace((address, signer)) {
            before.abort();
        }
        Ok(())
    }

    /// As the signer, at an address that is new.
    pub(crate) fn serve_elsewhere(&self) -> Result<(), UseCluster> {
        self.listen()?;
        let admission = lock(&self.admission).clone();
        match admission {
            Some(admission) => admission.move_to(self.present_settings()),
            None => Ok(()),
        }
    }

    /// Begins to follow the world, on a thread of its own.
    pub fn start(self: &Arc<Self>, follower: Weak<dyn Follow>) -> Result<(), UseCluster> {
        let member = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name("cluster".to_owned())
            .spawn(move || member.run(&follower))
            .map_err(|error| UseCluster::Refused(format!("no thread for the cluster: {error}")))?;
        lock(&self.tasks).thread = Some(thread);
        Ok(())
    }

    /// Ends the session, so that others know at once, and everything that was started. Keeps what is on disk.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        if let Some(thread) = tasks.thread {
            // A thread that panicked has stopped too.
            let _ = thread.join();
        }
        if let Some(session) = lock(&self.session).take()
            && let Err(error) = self.store.end_lease(session.lease)
        {
            tracing::debug!(%error, "the lease runs out by itself");
        }
        if let Some((_, signer)) = tasks.signer {
            signer.abort();
        }
        // The signer's task may hold on to it until the runtime has dropped it.
        *lock(&self.admission) = None;
    }

    /// The store, while this host is in step with it.
    pub fn store(&self) -> &EtcdStore {
        &self.store
    }

    /// Something that was to be told in this session was not: everything is told again.
    pub fn say_again(&self) {
        self.says_again.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    pub fn session(&self) -> Option<Session> {
        *lock(&self.session)
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    pub fn host(&self) -> &str {
        &self.settings.host
    }

    pub fn cluster(&self) -> &str {
        &self.settings.cluster
    }

    /// A secret that outlives restarts, with which peers learn of one at once (RFC 9000 §10.3).
    pub fn reset_key(&self) -> Result<[u8; 32], UseCluster> {
        let known = self.files.read_needed(RESET_KEY);
        if let Some(key) = known.ok().and_then(|text| hex::decode(text.trim())) {
            return Ok(key);
        }
        let key = hex::random();
        self.files.write(RESET_KEY, &hex::encode(&key))?;
        Ok(key)
    }

    /// How often somebody was not admitted, or not certified again, here.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether a host belongs to the cluster, as far as is known.
    pub fn knows(&self, host: &str) -> bool {
        let world = self.world();
        world.contains(&format!("{HOSTS}{host}")) && !world.contains(&format!("{REVOKED}{host}"))
    }

    /// Seconds since 1970 at which this host's certificate ends; zero where that cannot be read.
    pub fn certificate_until_s(&self) -> u64 {
        self.identity().validity_s().map_or(0, |(_, until)| until)
    }

    pub fn identity(&self) -> Identity {
        lock(&self.identity).clone()
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

    pub(crate) fn look_for_signer(&self, follower: &dyn Follow) {
        let host = self.settings.signer_host.as_deref();
        let seen = host.and_then(|host| follower.locate(host));
        if let Err(error) = self.seek_signer(seen) {
            tracing::warn!(%error, "the signer is not looked for elsewhere");
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
                found.begin(self, session)?;
            }
            let mut differences = match self.next(&mut watch, self.idle_limit(keep_alive)) {
                Some(WatchEvent::Lagged) => {
                    let listed = self.list()?;
                    lock(&self.world).replace(listed, Instant::now())
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

    /// How long nothing is to be done, unless something happens.
    fn idle_limit(&self, keep_alive: Instant) -> Duration {
        let next = keep_alive + self.options.lease / 4;
        let timeout = lock(&self.world).timeout();
        timeout
            .map_or(next, |timeout| next.min(timeout))
            .saturating_duration_since(Instant::now())
    }

    /// Keeps what is known for a start without etcd, where it is not kept already.
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

    fn remembered(&self) -> Vec<Entry> {
        let text = self.files.read_needed(WORLD).unwrap_or_default();
        let entries: Vec<(String, serde_json::Value, u64)> =
            serde_json::from_str(&text).unwrap_or_default();
        let entry = |(key, value, revision)| Entry {
            key,
            value,
            revision,
        };
        entries.into_iter().map(entry).collect()
    }

    /// A new lease, with the key that says this host is alive. What is under the old one stays until it has been said again.
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
                Err(why) => tracing::warn!(why, "a revoked host may still reach etcd"),
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

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
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

fn is_own(address: SocketAddr) -> bool {
    let taken = std::net::TcpListener::bind(SocketAddr::new(address.ip(), 0));
    !matches!(taken, Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session that lasted so long was a good one: the next attempt comes soon.
const SETTLED: Duration = Duration::from_secs(5);
