//! `tapestry agent`: the daemon of this host.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use agent_daemon::{AgentOptions, Beside, DockerPlugin};
use integration::docker::{Doorkeeper, PluginOptions, PluginSocket};

use crate::failure::Failure;

/// Run the agent of this host, in the foreground
///
/// It serves its API on --socket, and keeps networks and containers in --state-dir. Every path may be chosen, so several
/// agents can run on one machine, each in a network namespace of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where it keeps its state
    #[arg(long, value_name = "DIR", default_value = "/var/lib/tapestry")]
    state_dir: PathBuf,
    /// A configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Let another agent take the place of the one that runs here, without losing a frame: a newer program, or another configuration
    #[arg(long)]
    replace: bool,
    /// Be the agent proper, as its guardian starts it
    #[arg(long, hide = true)]
    guarded: bool,
}

pub(crate) fn run(args: Args, socket: &Path) -> Result<u8, Failure> {
    if args.replace {
        return crate::replace::run();
    }
    log_to_stderr();
    if !args.guarded {
        return agent_daemon::guard().map_err(|error| Failure::said(error.to_string()));
    }
    let options = AgentOptions {
        socket: socket.to_owned(),
        state_dir: args.state_dir,
        config: args.config,
    };
    agent_daemon::run(options, serve_docker).map_err(|error| Failure::said(error.to_string()))?;
    Ok(0)
}

/// Docker's plugin, in the agent's process: the engine waits for one that is gone, so both come and go together.
async fn serve_docker(beside: Beside) {
    let options = PluginOptions {
        agent: beside.socket.clone(),
        state_dir: beside.state_dir.clone(),
        plugin: match &beside.docker.plugin {
            DockerPlugin::Auto => PluginSocket::Auto,
            DockerPlugin::Off => PluginSocket::Off,
            DockerPlugin::At(path) => PluginSocket::At(path.clone()),
        },
        engine: beside.docker.engine.clone(),
        pools: beside.pools.clone(),
    };
    integration::docker::serve(options, Door(beside)).await;
}

/// The agent's process, as the plugin needs it.
#[derive(Clone)]
struct Door(Beside);

impl Doorkeeper for Door {
    fn admit(&self, pid: Option<i32>) -> Result<(), String> {
        self.0.admit(pid)
    }

    fn warn(&self, warning: String) {
        self.0.warn(warning);
    }

    fn is_followed(&self) -> bool {
        self.0.is_followed()
    }

    fn take_socket(&self, name: &str) -> Option<OwnedFd> {
        self.0.take_held(name)
    }

    fn leave_socket(&self, name: &str, socket: BorrowedFd<'_>) {
        self.0.hold(name, socket);
    }
}

/// `RUST_LOG` chooses what is told; state changes and surprises where it is not set.
fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        // It would tell of them where it could not write, and panic.
        .log_internal_errors(false)
        .init();
}
