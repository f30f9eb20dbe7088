//! The agent: what is asked of it, one file per noun.
//!
//! # Theory of operation
//!
//! All of the agent's state sits behind one lock. A call takes it, checks the request against the state, writes a record
//! of what is to be, makes it, and lets go; a failure undoes what was made. Calls block on system calls, so the API runs
//! them off its event loop. Only waiting for a command to end happens without the lock.
//!
//! Records come before deeds: a record without its deed is found and settled by [`reconcile`] at the next start, a deed
//! without a record would never be. What the records cannot know, how a command ended, its supervisor keeps beside it.

mod announce;
mod cluster;
mod container;
mod container_again;
mod container_end;
mod container_spec;
mod dns;
mod endpoint;
mod find;
mod follow;
mod host_port;
mod journal;
mod logs;
mod moved;
mod network;
mod overlay;
mod patch;
mod port_state;
mod publishing;
mod quic;
mod reconcile;
mod sandbox;
mod segment;
mod settings;
mod share;
mod share_address;
mod share_network;
mod state;
mod underlay;
mod view;
mod view_overlay;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use agent_api::{ApiError, Info};
use rustix::rand::{GetRandomFlags, getrandom};
use switch_io::{StartSwitch, Switch, SwitchConfig};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use self::journal::Journal;
use self::overlay::Tunnels;
use self::state::State;
use crate::cluster::Member;
use crate::config::Config;
use crate::container::Supervisor;
use crate::firewall::Firewall;
use crate::host::{MissingRights, check_rights, raise_open_files};
use crate::store::{OpenStore, StoreError};

/// The daemon of this host.
pub(crate) struct Agent {
    config: Config,
    switch: Switch,
    store: Journal,
    supervisor: Supervisor,
    /// Absent where there is no `nft`: then networks have no way out.
    firewall: OnceLock<Firewall>,
    watches_firewall: AtomicBool,
    /// Some network has no host port that should have one.
    closed: Arc<Notify>,
    runtime: Handle,
    /// The random part of this host's own IPv6 prefix (RFC 4193 §3.2.2).
    ula_global_id: [u8; 5],
    warnings: Mutex<Vec<String>>,
    state: Mutex<State>,
    cluster: Mutex<Option<Arc<Member>>>,
    /// Held while this host joins or leaves a cluster.
    cluster_turn: Mutex<()>,
    /// Some container has ended.
    ended: Condvar,
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartAgent {
    #[error(transparent)]
    Rights(#[from] MissingRights),
    #[error(transparent)]
    Store(#[from] OpenStore),
    #[error(transparent)]
    Record(#[from] StoreError),
    #[error("the switch does not start: {0}")]
    Switch(#[from] StartSwitch),
    #[error(
        "/dev/net/tun cannot be opened ({0}); load the tun module, or make the device: mkdir -p /dev/net && mknod /dev/net/tun c 10 200"
    )]
    Tun(std::io::Error),
    #[error("{0}")]
    Reconcile(#[from] ApiError),
}

impl Agent {
    /// Starts the switch and brings back everything on record. Blocks; `runtime` runs the edges and the watching.
    pub(crate) fn start(config: Config, runtime: Handle) -> Result<Arc<Self>, StartAgent> {
        check_rights()?;
        std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .map_err(StartAgent::Tun)?;
        let store = Journal::open(&config.state_dir)?;
        let ula_global_id = ula_global_id(&store)?;
        let switch = Switch::start(SwitchConfig {
            engine: config.engine,
            workers: config.workers,
            ..SwitchConfig::default()
        })?;
        let nft = config.packet_ring.then(Firewall::nft).flatten();
        let agent = Arc::new(Self {
            switch,
            store,
            supervisor: Supervisor::new(PathBuf::from("/proc/self/exe")),
            firewall: OnceLock::new(),
            watches_firewall: AtomicBool::new(false),
            closed: Arc::default(),
            runtime,
            ula_global_id,
            warnings: Mutex::default(),
            state: Mutex::new(State {
                tunnels: Tunnels::new(nft),
                ..State::default()
            }),
            cluster: Mutex::default(),
            cluster_turn: Mutex::default(),
            ended: Condvar::new(),
            config,
        });
        if let Err(error) = raise_open_files() {
            agent.warn(error.to_string());
        }
        agent.watch_firewall();
        agent.keep_opening();
        agent.reconcile()?;
        agent.watch_sandboxes();
        agent.resume_cluster();
        agent.watch_underlay();
        Ok(agent)
    }

    /// Containers go on; the next start attaches them again.
    pub(crate) fn shut_down(&self) {
        self.stop_cluster();
        let mut state = self.state();
        self.note_moves(&mut state);
        self.leave_host(&mut state);
    }

    pub(crate) fn info(&self) -> Info {
        let engine = self.switch.engine();
        Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            state_dir: self.config.state_dir.clone(),
            engine: engine.engine.name().to_owned(),
            engine_reason: engine.fallback.clone().unwrap_or_default(),
            workers: engine.workers,
            warnings: self.present_warnings(),
        }
    }

    /// What was told so far, and which networks are without a way out now.
    fn present_warnings(&self) -> Vec<String> {
        let mut warnings = lock(&self.warnings).clone();
        let state = self.state();
        let closed = state.networks.values().filter_map(|network| {
            let why = network.closed.as_ref()?;
            let name = &network.record.name;
            Some(format!("network {name:?} has no way out: {why}"))
        });
        warnings.extend(closed.take(WARNINGS_MAX));
        warnings
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wait_for_an_end<'a>(
        &self,
        state: MutexGuard<'a, State>,
        patience: Duration,
    ) -> MutexGuard<'a, State> {
        let (state, _) = self
            .ended
            .wait_timeout(state, patience)
            .unwrap_or_else(PoisonError::into_inner);
        state
    }

    /// Something the host does not let the agent do, for `doctor`.
    fn warn(&self, warning: String) {
        tracing::warn!("{warning}");
        let mut warnings = lock(&self.warnings);
        if !warnings.contains(&warning) && warnings.len() < WARNINGS_MAX {
            warnings.push(warning);
        }
    }
}

/// The host's own prefix, made up once.
fn ula_global_id(store: &Journal) -> Result<[u8; 5], StoreError> {
    if let Some(id) = store.get(ULA_KEY)? {
        return Ok(id);
    }
    let mut id = [0u8; 5];
    // Five bytes come at once or not at all; getrandom(2) is not interrupted below 256 bytes.
    let _ = getrandom(&mut id, GetRandomFlags::empty());
    store.put(ULA_KEY, &id)?;
    Ok(id)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const ULA_KEY: &str = "agent/ula-global-id";
const WARNINGS_MAX: usize = 32;
