//! From the command line to a served socket, and back down in order.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_host::{BeSole, Sole};
use ipnet::IpNet;
use rustix::fs::Mode;
use tokio::net::UnixListener;

use crate::agent::Agent;
use crate::api_server::{self, BLOCKING_THREADS_MAX, Peer, router};
use crate::config::{AgentOptions, Config, DockerOptions, ReadConfig};
use crate::guardian::Held;
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
        }
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
pub fn run<C>(options: AgentOptions, companion: impl FnOnce(Beside) -> C) -> Result<(), RunAgent>
where
    C: Future<Output = ()> + Send + 'static,
{
    let held = Held::from_guardian().map_err(Failure::Guardian)?;
    // Whatever it makes is for its own user alone, keys above all; what is for others gets its mode by name.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let config = Config::read(options).map_err(Failure::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build();
    let runtime = runtime.map_err(Failure::from)?;
    Ok(runtime.block_on(serve(config, held, companion))?)
}

async fn serve<C>(
    config: Config,
    held: Held,
    companion: impl FnOnce(Beside) -> C,
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
    if let Some(name) = sole.held() {
        held.hold(SOLE, name);
    }
    tokio::spawn(sole.answer(std::path::absolute(&socket)?));
    let handle = tokio::runtime::Handle::current();
    let starting = tokio::task::spawn_blocking(move || Agent::start((config, held), handle));
    let agent = starting.await.map_err(io::Error::other)??;
    let listener = match kept {
        Some(kept) => listen_again(kept)?,
        None => listen(&socket)?,
    };
    let own = identity(&socket);
    let held = &agent.ground.held;
    held.hold(API, &listener);
    tracing::info!(socket = %socket.display(), "agent ready");
    held.tell_ready();
    let companion = tokio::spawn(companion(Beside::of(&agent)));
    let router = router(agent.clone());
    tokio::select! {
        () = api_server::serve(listener, router) => {}
        signal = signals.told_to_stop() => tracing::info!(signal, "agent stops; containers go on"),
        () = held.guardian_gone() => tracing::error!("the agent's guardian has gone: the agent stops, containers go on; start it again"),
    }
    held.tell_stopping();
    companion.abort();
    let _ = companion.await;
    // Gone already is as good, and what somebody put in its place is theirs.
    if own.is_some() && identity(&socket) == own {
        let _ = std::fs::remove_file(&socket);
    }
    tokio::task::spawn_blocking(move || agent.shut_down())
        .await
        .map_err(io::Error::other)?;
    tracing::info!("agent stopped");
    Ok(())
}

/// Goes on where an agent before listened.
fn listen_again(kept: OwnedFd) -> io::Result<UnixListener> {
    let listener = StdUnixListener::from(kept);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
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
fn listen(socket: &Path) -> Result<UnixListener, Failure> {
    // Starting took a while, and somebody may have come in between.
    check_socket(socket)?;
    bind(socket).map_err(|source| Failure::Listen {
        path: socket.to_owned(),
        source,
    })
}

fn bind(socket: &Path) -> io::Result<UnixListener> {
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
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

/// The names by which the guardian holds the API's socket, and the name of the namespace's only agent.
const API: &str = "listen/api";
const SOLE: &str = "listen/sole";
const SOCKET_MODE: u32 = 0o660;
/// Of a directory that is made for the socket: the group has to get there.
const DIRECTORY_MODE: u32 = 0o755;
