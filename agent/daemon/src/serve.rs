//! From the command line to a served socket, and back down in order.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::{Agent, StartAgent};
use crate::api_server::router;
use crate::config::{AgentOptions, Config, ReadConfig};

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
    #[error("another agent listens on {}; give another --socket and --state-dir, or stop it", .0.display())]
    SocketTaken(PathBuf),
    #[error("cannot listen on {}: {source}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("the agent cannot run: {0}")]
    Runtime(#[from] io::Error),
}

/// Runs the agent until SIGINT or SIGTERM.
pub fn run(options: AgentOptions) -> Result<(), RunAgent> {
    let config = Config::read(options).map_err(Failure::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build();
    let runtime = runtime.map_err(Failure::from)?;
    Ok(runtime.block_on(serve(config))?)
}

async fn serve(config: Config) -> Result<(), Failure> {
    let socket = config.socket.clone();
    refuse_second_agent(&socket)?;
    let handle = tokio::runtime::Handle::current();
    // The signals are caught before anything is made that has to be taken down.
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let starting = tokio::task::spawn_blocking(move || Agent::start(config, handle));
    let agent = starting.await.map_err(io::Error::other)??;
    let listener = listen(&socket).map_err(|source| Failure::Listen {
        path: socket.clone(),
        source,
    })?;
    tracing::info!(socket = %socket.display(), "agent ready");
    tokio::select! {
        served = axum::serve(listener, router(agent.clone())) => served?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // A socket that is gone already is as good.
    let _ = std::fs::remove_file(&socket);
    tokio::task::spawn_blocking(move || agent.shut_down())
        .await
        .map_err(io::Error::other)?;
    Ok(())
}

fn refuse_second_agent(socket: &Path) -> Result<(), Failure> {
    match StdUnixStream::connect(socket) {
        Ok(_) => Err(Failure::SocketTaken(socket.to_owned())),
        Err(_) => Ok(()),
    }
}

/// Binds the socket for root and its group; what a dead agent left there goes first.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = socket.parent() {
        std::fs::create_dir_all(dir)?;
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

const SOCKET_MODE: u32 = 0o660;
/// Each waiting `stop` and each followed log keeps one.
const BLOCKING_THREADS_MAX: usize = 256;
