//! From the command line to a served socket, and back down in order.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_container::Given;
use agent_core::events::Notice;
use agent_host::{BeSole, Niceness, Sole};
use ipnet::IpNet;
use rustix::fs::Mode;
use tokio::net::UnixListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::agent::Agent;
use crate::api_server::{self, BLOCKING_THREADS_MAX, Peer, router};
use crate::config::{
    AgentOptions, Change, Config, DockerOptions, KeptText, ReadConfig, SocketGroup,
};
use crate::guardian::{Held, Order, Unbegun};
use crate::metrics::Door;
use crate::signals::Signals;
use crate::start::StartAgent;

/// Why the agent stopped, or never ran.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RunAgent(#[from] Failure);

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ReadConfig),
    #[error(transparent)]
    Start(#[from] StartAgent),
    #[error(transparent)]
    Sole(#[from] BeSole),
    #[error("another agent listens on {}; give another --socket and --state-dir, or stop it", .0.display())]
    SocketTaken(PathBuf),
    #[error("{} is there already and is no socket; give another --socket, or move it away", .0.display())]
    NoSocket(PathBuf),
    #[error("cannot listen on {}: {source}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("--guarded is for the agent's guardian: {0}")]
    Guardian(io::Error),
    #[error("the agent cannot run: {0}")]
    Runtime(#[from] io::Error),
}

/// What runs in the agent's process beside it, as a client of its API, is told this when the agent answers.
#[derive(Clone)]
pub struct Beside {
    /// The agent's socket.
    pub socket: PathBuf,
    pub state_dir: PathBuf,
    pub docker: DockerOptions,
    /// What subnets are cut from where nobody chooses one, with their prefix lengths.
    pub pools: Vec<(IpNet, u8)>,
    agent: Arc<Agent>,
    is_followed: Arc<AtomicBool>,
}

impl Beside {
    fn of(agent: &Arc<Agent>) -> Self {
        let config = &agent.ground.config;
        let pools = config
            .address_pools
            .v4
            .iter()
            .chain(&config.address_pools.v6);
        Self {
            socket: config.socket.clone(),
            state_dir: config.state_dir.clone(),
            docker: config.docker.clone(),
            pools: pools.map(|pool| (pool.base, pool.prefix_len)).collect(),
            agent: Arc::clone(agent),
            is_followed: Arc::default(),
        }
    }

    /// Whether another agent takes the place of this one: what it finds it by has to stay.
    pub fn is_followed(&self) -> bool {
        self.is_followed.load(Ordering::Acquire)
    }

    /// Whether the process that connected to a socket may ask for what the agent can do, and why not: a container of the agent's finds
    /// on the host's files what the companion serves, as it finds the agent's own socket.
    pub fn admit(&self, pid: Option<i32>) -> Result<(), String> {
        let checked = Peer::of(pid).check(&self.agent);
        checked.map_err(|refusal| refusal.message)
    }

    /// Takes a socket that an earlier agent held by that name, or that the service manager made.
    pub fn take_held(&self, name: &str) -> Option<OwnedFd> {
        self.agent.ground.held.take(name)
    }

    /// Lets a socket outlive the agent, for the next one.
    pub fn hold(&self, name: &str, socket: impl AsFd) {
        self.agent.ground.held.hold(name, socket);
    }

    /// Something that does not work, for the log and for `doctor`.
    pub fn warn(&self, warning: String) {
        self.agent.ground.warn(warning);
    }
}

/// Runs the agent until it is told to stop, and what `companion` makes beside it. It is started by [`crate::guard`], and
/// has a line to its guardian at its standard input.
pub fn run<C>(options: AgentOptions, companion: impl Fn(Beside) -> C) -> Result<(), RunAgent>
where
    C: Future<Output = ()> + Send + 'static,
{
    let guardian = Unbegun::at_stdin().map_err(Failure::Guardian)?;
    // Its guardian kept less of what it was given.
    Given::take_back();
    // Whatever it makes is for its own user alone, keys above all; what is for others gets its mode by name.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let config = Config::read(options).map_err(Failure::from)?;
    let given = Niceness::of_this_thread().map_err(Failure::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .on_thread_start(move || {
            // Nobody needs leave to be nicer. What these threads start is as the agent was given.
            let _ = given.give_this_thread();
        })
        .build();
    let runtime = runtime.map_err(Failure::from)?;
    let begun = guardian.begin().map_err(Failure::Guardian)?;
    // This thread answers. Where it may not come first, answers take their turn.
    if let Err(error) = given.prefer_this_thread() {
        tracing::debug!(%error, "the agent's answers wait for others' processes");
    }
    Ok(runtime.block_on(serve(config, begun, companion))?)
}

async fn serve<C>(
    config: Config,
    (held, mut orders): (Held, UnboundedReceiver<Order>),
    companion: impl Fn(Beside) -> C,
) -> Result<(), Failure>
where
    C: Future<Output = ()> + Send + 'static,
{
    let socket = config.socket.clone();
    let kept = held.take(API).filter(|_| socket.exists());
    if kept.is_none() {
        check_socket(&socket)?;
    }
    // The signals are caught before anything is made that has to be taken down.
    let mut signals = Signals::catch()?;
    let sole = match held.take(SOLE) {
        Some(kept) => Sole::again(kept)?,
        None => Sole::take()?,
    };
    let name = sole.held().map(|name| name.try_clone_to_owned());
    let name = name.transpose()?;
    if let Some(name) = &name {
        held.hold(SOLE, name);
    }
    tokio::spawn(sole.answer(std::path::absolute(&socket)?));
    let (before, text, group) = (KeptText::take(&held), config.text.clone(), config.group);
    let follows = held.follows();
    let handle = tokio::runtime::Handle::current();
    let starting = tokio::task::spawn_blocking(move || Agent::start((config, held), handle));
    let agent = starting.await.map_err(io::Error::other)??;
    let listener = match kept {
        Some(kept) => StdUnixListener::from(kept),
        None => listen(&socket)?,
    };
    let own = identity(&socket);
    let held = &agent.ground.held;
    let changes = before.changes(&text);
    give(&socket, group, changes.as_deref().unwrap_or_default());
    tell_begin(&agent, follows, changes);
    if let Err(error) = KeptText::leave(held, &text) {
        tracing::warn!(%error, "the next agent does not know what changes in the configuration");
    }
    held.hold(API, &listener);
    tracing::info!(socket = %socket.display(), "agent ready");
    held.tell_ready();
    let door = Arc::new(Door::open(&agent.ground));
    let mut faces = Faces::show(&agent, (&listener, &door), &companion)?;
    loop {
        tokio::select! {
            served = &mut faces.api => served.map_err(io::Error::other)?,
            signal = signals.told_to_stop() => {
                tracing::info!(signal, "agent stops; containers go on");
                break;
            }
            order = orders.recv() => match order {
                Some(Order::Rest) => faces.rest(&agent).await?,
                Some(Order::Pause) => {
                    aside(Arc::clone(&agent), Agent::pause).await?;
                    agent.ground.held.tell_paused();
                }
                Some(Order::Resume) => {
                    if let Some(name) = &name {
                        // Who asks for the agent here finds this one again, and not the one that failed.
                        Sole::again(name.try_clone()?)?;
                    }
                    agent.resume();
                    faces = Faces::show(&agent, (&listener, &door), &companion)?;
                }
                Some(Order::Leave) => return leave(agent).await,
                Some(Order::Orphaned) | None => {
                    tracing::error!("the agent's guardian has gone: the agent stops, containers go on; start it again");
                    break;
                }
            },
        }
    }
    held.tell_stopping();
    faces.hide().await;
    // Gone already is as good, and what somebody put in its place is theirs.
    if own.is_some() && identity(&socket) == own {
        let _ = std::fs::remove_file(&socket);
    }
    aside(agent, Agent::shut_down).await?;
    tracing::info!("agent stopped");
    Ok(())
}

/// Lets the group use the socket that is configured, be it an agent before that made it.
fn give(socket: &Path, group: Option<SocketGroup>, changes: &[Change]) {
    let is_taken_back = changes.iter().any(|change| change.key == "api.group");
    let group = group.or_else(|| is_taken_back.then(SocketGroup::own));
    if let Some(Err(error)) = group.map(|group| group.give(socket)) {
        tracing::warn!(socket = %socket.display(), %error, "the socket is not given to its group");
    }
}

/// Whether it is the first agent, one after another that died, or one with another configuration.
fn tell_begin(agent: &Agent, follows: bool, changes: Option<Vec<Change>>) {
    let deaths = agent.ground.held.deaths.number;
    let action = if follows { "reload" } else { "start" };
    let mut notice = Notice::daemon(action).with("version", env!("CARGO_PKG_VERSION"));
    if deaths > 0 {
        notice = notice.with("deaths", deaths);
    }
    let known = changes.is_some();
    let changes = changes.unwrap_or_default();
    for change in &changes {
        tracing::info!(
            key = change.key,
            before = change.before,
            now = change.now,
            counts = change.counts(),
            "configuration changed"
        );
    }
    if known && follows && changes.is_empty() {
        tracing::info!("the configuration is as before");
    }
    if !changes.is_empty() {
        let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
        notice = notice.with("changed", keys.join(","));
    }
    agent.ground.events.tell(notice);
}

/// Another agent forwards: nothing is to be taken down, and nothing that was read may be lost.
async fn leave(agent: Arc<Agent>) -> Result<(), Failure> {
    aside(agent, Agent::leave).await?;
    tracing::info!("another agent has taken over");
    std::process::exit(0);
}

/// Has the agent do what takes its time, where nobody else waits for it.
async fn aside(agent: Arc<Agent>, act: impl FnOnce(&Agent) + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(move || act(&agent))
        .await
        .map_err(io::Error::other)
}

/// What the agent is asked at: its API, and what is beside it.
struct Faces {
    api: JoinHandle<()>,
    /// Closes the API, once what was asked has been answered.
    closing: watch::Sender<bool>,
    companion: JoinHandle<()>,
    metrics: JoinHandle<()>,
    is_followed: Arc<AtomicBool>,
}

impl Faces {
    fn show<C>(
        agent: &Arc<Agent>,
        (listener, door): (&StdUnixListener, &Arc<Door>),
        companion: impl Fn(Beside) -> C,
    ) -> io::Result<Self>
    where
        C: Future<Output = ()> + Send + 'static,
    {
        let listener = listener.try_clone()?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let (closing, closes) = watch::channel(false);
        let serving = api_server::serve(listener, router(Arc::clone(agent)), closes);
        let scraping = Arc::clone(door).serve(Arc::clone(&agent.metrics));
        let beside = Beside::of(agent);
        Ok(Self {
            api: tokio::spawn(serving),
            closing,
            is_followed: Arc::clone(&beside.is_followed),
            companion: tokio::spawn(companion(beside)),
            metrics: tokio::spawn(scraping),
        })
    }

    /// The agent acts no more when the guardian hears so; clients that come now wait for the next one.
    async fn rest(&mut self, agent: &Arc<Agent>) -> io::Result<()> {
        self.is_followed.store(true, Ordering::Release);
        agent.ground.events.close();
        agent.flows.close();
        aside(Arc::clone(agent), |agent| agent.captures.close()).await?;
        self.closing.send_replace(true);
        self.metrics.abort();
        self.companion.abort();
        let _ = (&mut self.companion).await;
        // What was asked is answered. Who follows a log, or waits for an end, is not waited for.
        let _ = tokio::time::timeout(ANSWERS_WITHIN, &mut self.api).await;
        self.api = tokio::spawn(std::future::pending());
        aside(Arc::clone(agent), Agent::rest).await?;
        agent.ground.held.tell_resting();
        Ok(())
    }

    async fn hide(self) {
        self.api.abort();
        self.metrics.abort();
        self.companion.abort();
        let _ = self.companion.await;
    }
}

/// Whether the socket's place is free, or holds no more than what a dead agent left there.
fn check_socket(socket: &Path) -> Result<(), Failure> {
    match std::fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Failure::Listen {
            path: socket.to_owned(),
            source,
        }),
        Ok(found) if !found.file_type().is_socket() => Err(Failure::NoSocket(socket.to_owned())),
        Ok(_) => match StdUnixStream::connect(socket) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            _ => Err(Failure::SocketTaken(socket.to_owned())),
        },
    }
}

/// Which file it is, whatever its name.
fn identity(socket: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(socket).ok()?;
    Some((found.dev(), found.ino()))
}

/// Binds the socket for root and its group.
fn listen(socket: &Path) -> Result<StdUnixListener, Failure> {
    // Starting took a while, and somebody may have come in between.
    check_socket(socket)?;
    bind(socket).map_err(|source| Failure::Listen {
        path: socket.to_owned(),
        source,
    })
}

fn bind(socket: &Path) -> io::Result<StdUnixListener> {
    let dirs = socket.ancestors().skip(1);
    let missing: Vec<&Path> = dirs
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .collect();
    for dir in missing.into_iter().rev() {
        std::fs::create_dir(dir)?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(DIRECTORY_MODE))?;
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = StdUnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

/// The names by which the guardian holds the API's socket, and the name of the namespace's only agent.
const API: &str = "listen/api";
const SOLE: &str = "listen/sole";
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
const SOCKET_MODE: u32 = 0o660;
/// Of a directory that is made for the socket: the group has to get there.
const DIRECTORY_MODE: u32 = 0o755;
