//! This host's part in the cluster while the agent runs.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agent_core::shared::managers::managers;
use agent_core::shared::networks::Rest;
use agent_core::shared::permit::is_revoked;
use agent_core::shared::{MANAGERS, ManagerRecord, Moment, World, is_member};
use agent_store::{Change, Expected, Store, StoreError};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::access::{Access, Means};
use crate::admission::Admission;
use crate::authority::Authority;
use crate::batch::Batch;
use crate::clock::now_s;
use crate::error::UseCluster;
use crate::etcd_plan::EtcdPlan;
use crate::etcd_process::EtcdProcess;
use crate::files::{Files, RESET_KEY, SESSION};
use crate::host_store::Managed;
use crate::identity::Identity;
use crate::life::Session;
use crate::lock::lock;
use crate::manager_port::{Decide, serve};
use crate::office;
use crate::place::{Place, is_own};
use crate::renewal::Renewal;
use crate::settings::{Duty, Settings};
use crate::step::OutOfStep;
use crate::unrecorded::Unrecorded;
use crate::{ClusterOptions, hex};

/// This host as a member of a cluster. [`Member::stop`] ends its thread and what it started.
pub struct Member {
    /// As they were when the agent started; see [`Member::present_settings`].
    pub(crate) settings: Settings,
    pub(crate) files: Files,
    pub(crate) options: ClusterOptions,
    pub(crate) access: Access,
    pub(crate) identity: Arc<Mutex<Identity>>,
    /// What it does for the others now.
    pub(crate) duty: Mutex<Duty>,
    pub(crate) admission: Mutex<Option<Arc<Admission>>>,
    pub(crate) renewal: Mutex<Renewal>,
    /// Where its tunnels end now; the settings say where they ended when the agent started.
    pub(crate) place: Mutex<Place>,
    pub(crate) world: Arc<Mutex<World>>,
    /// While this host is in step with the store.
    pub(crate) session: Arc<Mutex<Option<Session>>>,
    stopping: AtomicBool,
    pub(crate) is_promoting: AtomicBool,
    pub(crate) wake: Notify,
    /// This life of the agent.
    pub(crate) run: String,
    /// Where another agent is that is this host already.
    pub(crate) double: Mutex<Option<IpAddr>>,
    /// A manager of a later life of the cluster, which went on without this one.
    pub(crate) later_life: Mutex<Option<SocketAddr>>,
    /// Means something without a session.
    pub(crate) out_of_step: Mutex<OutOfStep>,
    /// What this host shares is to be told again.
    pub(crate) says_again: AtomicBool,
    /// Since when this host is a member, in seconds since 1970; zero where it is not known.
    pub(crate) joined_s: AtomicU64,
    pub(crate) runtime: Handle,
    pub(crate) tasks: Mutex<Tasks>,
    /// Hosts that were not admitted here.
    refused: Arc<AtomicU64>,
    /// Writes of members that were denied here.
    denied: Arc<AtomicU64>,
    /// How often this host moved.
    pub(crate) moves: AtomicU64,
    /// SHA-256 of what is kept of the world on disk.
    pub(crate) remembered: Mutex<[u8; 32]>,
}

#[derive(Default)]
pub(crate) struct Tasks {
    pub(crate) thread: Option<JoinHandle<()>>,
    /// With where it listens.
    pub(crate) signer: Option<(SocketAddr, tokio::task::JoinHandle<()>)>,
    /// While this host becomes a manager, and after.
    pub(crate) promotion: Option<JoinHandle<()>>,
}

impl Member {
    /// Takes up the membership that is on disk, where there is one. Neither starts nor waits for anything; [`Member::serve`] and
    /// [`Member::start`] do.
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

    pub(crate) fn open(
        options: &ClusterOptions,
        files: Files,
        settings: Settings,
        identity: Identity,
        runtime: &Handle,
    ) -> Result<Arc<Self>, UseCluster> {
        let identity = Arc::new(Mutex::new(identity));
        let mut world = World::default();
        world.replace(files.known_world(), &Moment::alone(Instant::now()));
        let means = Means {
            options,
            files: &files,
            settings: &settings,
            identity: &identity,
        };
        let member = Arc::new(Self {
            access: Access::open(&means, &world)?,
            identity,
            duty: Mutex::new(settings.duty.clone()),
            admission: Mutex::default(),
            renewal: Mutex::new(Renewal::new()),
            place: Mutex::new(Place::of(&settings)),
            world: Arc::new(Mutex::new(world)),
            session: Arc::default(),
            stopping: AtomicBool::new(false),
            is_promoting: AtomicBool::new(false),
            wake: Notify::new(),
            run: hex::encode(&hex::random::<8>()),
            double: Mutex::default(),
            later_life: Mutex::default(),
            out_of_step: Mutex::new(OutOfStep::since_now()),
            says_again: AtomicBool::new(false),
            joined_s: AtomicU64::new(0),
            runtime: runtime.clone(),
            tasks: Mutex::default(),
            refused: Arc::default(),
            denied: Arc::default(),
            moves: AtomicU64::new(0),
            remembered: Mutex::default(),
            options: options.clone(),
            settings,
            files,
        });
        member.note_joined();
        Ok(member)
    }

    /// Starts what the signer runs for the others: etcd, and the endpoint that admits hosts. Nothing on another host.
    pub fn serve(&self) -> Result<(), UseCluster> {
        self.serve_store()?;
        match is_own(self.signer().ip()) {
            true => self.listen(),
            false => Ok(()),
        }
    }

    /// The same without the endpoint.
    pub(crate) fn serve_store(&self) -> Result<(), UseCluster> {
        if !self.signs() {
            // An agent before may have been killed while it put that away.
            office::clear(&self.files);
            return Ok(());
        }
        let admission = self.open_signer()?;
        // It may have been off for longer than its certificates last.
        self.renew_if_due(None);
        let settings = self.present_settings();
        // The address may be gone since the last start; then the underlay's follower finds another one.
        if !is_own(settings.signer.ip()) {
            return Ok(());
        }
        if settings.signer != self.settings.signer {
            admission.move_to(settings)?;
        } else if settings.duty.etcd_managed {
            let plan = EtcdPlan::of(&settings);
            let is_alone = managers(&self.world()).len() <= 1;
            // It may be no member of etcd any more, which the others know.
            let etcd = match is_alone {
                true => EtcdProcess::start(&self.files, plan),
                false => EtcdProcess::keep_trying(&self.files, plan),
            };
            *lock(&admission.etcd) = Some(etcd?);
        }
        Ok(())
    }

    pub(crate) fn open_signer(&self) -> Result<Arc<Admission>, UseCluster> {
        let authority = Arc::new(Authority::load(&self.files)?);
        let admission = Arc::new(Admission {
            authority: Mutex::new(authority),
            files: self.files.clone(),
            settings: Mutex::new(self.present_settings()),
            managed: Arc::new(Managed {
                batch: Batch::new(self.store()),
                store: self.store(),
                world: Arc::clone(&self.world),
                vni_rest: self.options.vni_rest,
                denied: Arc::clone(&self.denied),
            }),
            options: self.options.clone(),
            unrecorded: Unrecorded::new(&self.files, &self.settings.host),
            lifetime: self.options.certificate_lifetime,
            etcd_store: self.access.etcd(),
            etcd: Mutex::default(),
            departures: watch::Sender::new(()),
            session: Arc::clone(&self.session),
            out_since: Mutex::default(),
            keys_denied: AtomicU64::new(0),
            is_retired: AtomicBool::new(false),
        });
        *lock(&self.admission) = Some(Arc::clone(&admission));
        Ok(admission)
    }

    /// Admits hosts, and nowhere else any more.
    pub(crate) fn listen(&self) -> Result<(), UseCluster> {
        let Some(admission) = lock(&self.admission).clone() else {
            return Ok(());
        };
        let address = self.signer();
        if matches!(&lock(&self.tasks).signer, Some((at, _)) if *at == address) {
            return Ok(());
        }
        let failed = |source| UseCluster::Listen { address, source };
        // This thread is in the host's namespace, as the agent's is.
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

    /// Ends the session, so that the others know at once, and all that was started. Keeps what is on disk. Blocks until the
    /// thread has ended, some seconds where etcd is silent.
    pub fn stop(&self) {
        self.begin_stopping();
        let join = |thread: Option<JoinHandle<()>>| {
            if let Some(thread) = thread {
                // A thread that panicked has stopped too.
                let _ = thread.join();
            }
        };
        // The first one starts the second.
        let following = lock(&self.tasks).thread.take();
        join(following);
        let promotion = lock(&self.tasks).promotion.take();
        join(promotion);
        self.files.forget(SESSION);
        let session = lock(&self.session).take();
        if let Some(session) = session
            && let Err(error) = self.store().end_lease(session.lease)
        {
            tracing::debug!(%error, "the lease runs out by itself");
        }
        if let Some((_, signer)) = lock(&self.tasks).signer.take() {
            signer.abort();
        }
        // The signer's task may keep it until the runtime has dropped that task.
        *lock(&self.admission) = None;
    }

    /// The store, while this host is in step with it.
    pub fn store(&self) -> Arc<dyn Store> {
        self.access.store()
    }

    /// As a manager: where members reach the store, if they do not know.
    pub(crate) fn tell_manager(&self) -> Result<(), StoreError> {
        let is_sworn = self.signs() && !lock(&self.duty).is_on_trial;
        if !is_sworn || is_revoked(&self.world(), &self.settings.host) {
            return Ok(());
        }
        let key = format!("{MANAGERS}{}", self.settings.host);
        let manager = ManagerRecord {
            address: self.signer_told(),
        };
        let told = lock(&self.world).find::<ManagerRecord>(&key);
        if told.is_some_and(|(told, _)| told == manager) {
            return Ok(());
        }
        let change = Change::encode(key, &manager, Expected::Anything)?;
        self.store().transact(&[change]).map(drop)
    }

    /// Waits until this host knows what the others share. False where it does not within `limit`.
    pub fn is_in_step_within(&self, limit: Duration) -> bool {
        self.session_by(Instant::now() + limit).is_some()
    }

    /// The session. One that broke a moment ago mostly begins anew at once, and is waited for.
    pub fn steady_session(&self) -> Option<Session> {
        self.session().or_else(|| {
            // When a session broke is noted before it is gone.
            let broke = lock(&self.out_of_step).since;
            self.session_by(broke + RENEWAL)
        })
    }

    /// Waits for a session until `deadline`, or until the member stops.
    fn session_by(&self, deadline: Instant) -> Option<Session> {
        loop {
            let session = self.session();
            if session.is_some() || self.is_stopping() || Instant::now() > deadline {
                return session;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Something was not told that this session should have told: everything is told again.
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

    /// A secret that outlives restarts. By it, peers notice a restart at once (RFC 9000 §10.3).
    pub fn reset_key(&self) -> Result<[u8; 32], UseCluster> {
        let known = self.files.read_needed(RESET_KEY);
        if let Some(key) = known.ok().and_then(|text| hex::decode(text.trim())) {
            return Ok(key);
        }
        let key = hex::random();
        self.files.write(RESET_KEY, &hex::encode(&key))?;
        Ok(key)
    }

    /// This host's own address, where its tunnels end.
    pub fn address(&self) -> IpAddr {
        lock(&self.place).address
    }

    /// And where those over QUIC do.
    pub fn quic_address(&self) -> SocketAddr {
        SocketAddr::new(self.address(), self.settings.quic_udp_port)
    }

    /// Where others reach those.
    pub fn told(&self) -> SocketAddr {
        self.settings.told(self.address())
    }

    /// Whether others reach this host at an address that it has not.
    pub fn is_behind_another(&self) -> bool {
        self.settings.advertised.is_some()
    }

    /// Whether the address is the one from which this host reaches the signer, and changes with that.
    pub fn follows_way(&self) -> bool {
        lock(&self.place).follows_way
    }

    /// Where the signer is; `None` on the signer itself.
    pub fn way(&self) -> Option<IpAddr> {
        (!self.signs()).then(|| self.signer().ip())
    }

    /// By which it reaches the store.
    pub(crate) fn means<'a>(&'a self, settings: &'a Settings) -> Means<'a> {
        Means {
            options: &self.options,
            files: &self.files,
            settings,
            identity: &self.identity,
        }
    }

    /// Whether this host is a manager.
    pub(crate) fn signs(&self) -> bool {
        lock(&self.duty).signs
    }

    /// Where hosts are admitted.
    pub(crate) fn signer(&self) -> SocketAddr {
        lock(&self.place).signer
    }

    /// The same as others know it.
    pub(crate) fn signer_told(&self) -> SocketAddr {
        self.present_settings().served()
    }

    /// The settings as they are now.
    pub(crate) fn present_settings(&self) -> Settings {
        let place = *lock(&self.place);
        Settings {
            address: place.address,
            follows_way: place.follows_way,
            duty: lock(&self.duty).clone(),
            ..self.settings.clone()
        }
        .with_signer(place.signer)
    }

    /// When VNIs of removed networks have rested.
    pub fn rest(&self) -> Rest {
        Rest {
            now_s: now_s(),
            length: self.options.vni_rest,
        }
    }

    /// How often this host, as the signer, refused to admit or to certify somebody.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many writes of members this host, as a manager, denied.
    pub fn denied(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }

    /// Whether a host belongs to the cluster, as far as is known.
    pub fn knows(&self, host: &str) -> bool {
        is_member(&self.world(), host)
    }

    /// From and until when this host's certificate is good, in seconds since 1970; zeros where that cannot be read.
    pub fn certificate_s(&self) -> (u64, u64) {
        self.identity().validity_s().unwrap_or_default()
    }

    pub fn identity(&self) -> Identity {
        lock(&self.identity).clone()
    }

    /// The thread ends, and what is deleted stays so.
    pub(crate) fn begin_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// A session that is broken for longer does not begin anew by itself.
const RENEWAL: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
