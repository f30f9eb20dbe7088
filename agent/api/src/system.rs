//! The agent itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/version`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Version {
    pub version: String,
}

/// `GET /v1/info`: what this agent runs on, as `tapestry doctor` shows it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Info {
    pub version: String,
    pub pid: u32,
    #[schema(value_type = String)]
    pub state_dir: PathBuf,
    /// `io_uring` or `epoll`.
    pub engine: String,
    /// Why that engine was taken.
    pub engine_reason: String,
    pub workers: usize,
    /// What each of them has done since the agent's start.
    #[serde(default)]
    pub work: Vec<WorkerView>,
    /// How often the agent died so far and was started again, since its guardian began.
    #[serde(default)]
    pub deaths: u32,
    /// How it died last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_death: Option<String>,
    /// What the host would not let the agent do, in one line each; empty when all is well.
    pub warnings: Vec<String>,
}

/// What a thread that moves frames has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerView {
    /// Microseconds of processor time, some tens of milliseconds late.
    pub busy_us: u64,
    /// Frames that it read, and the batches in which it did.
    pub frames: u64,
    pub batches: u64,
    /// Ports that it reads now.
    pub ports: usize,
}

/// Where the agent listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/tapestry/agent.sock";
