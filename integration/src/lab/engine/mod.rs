//! Nodes that run an image: their containers at Docker or podman.
//!
//! # Theory of operation
//!
//! The agent has a container for such a node as for any other. It has the node's name, its network namespace and its links, and
//! sleeps. The engine's container, of the same name, runs the image in that namespace. So links come, go and are impaired while the
//! image runs, and when the engine starts its container again, links and addresses are there still.
//!
//! podman takes a namespace by its path. Docker takes that of another container only: it looks it up at the process of that
//! container (`daemon/oci_linux.go`, `WithNamespaces`). So there is a third one, `NAME-net`, of an empty image with the host's programs: its
//! process enters the node's namespace by itself and sleeps there.
//!
//! [`arguments`] is what engines are told, as pure functions; [`command`] tells them; [`guests`] is the order of it.

mod arguments;
mod command;
mod guests;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;

pub use arguments::exec;
pub use command::Unable;
pub(super) use command::find;
pub(super) use guests::{look, prepare, remove, remove_empty_image, run};

/// Who runs images: containerlab's word for it, also of a node's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Runtime {
    Docker,
    Podman,
}

/// What a node runs of its image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Image {
    pub name: String,
    /// Who runs it; whoever is there where absent.
    #[serde(skip)]
    pub runtime: Option<Runtime>,
    /// In place of the image's own, where they are not empty.
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub user: Option<String>,
    /// Whether it may do all that the host may.
    pub privileged: bool,
    /// Commands that it is given once it runs.
    pub tasks: Vec<Vec<String>>,
    /// A line for a shell in it, before it is taken away.
    pub at_end: Option<String>,
}

/// A node's container at an engine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Guest {
    pub image: Image,
    pub hostname: String,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    /// As a container's of the agent.
    pub binds: Vec<String>,
    pub copies: Vec<PathBuf>,
    /// Those that are not of its network namespace, `KEY=VALUE`.
    pub sysctls: Vec<String>,
    /// Beside those that engines give to everything.
    pub cap_add: Vec<String>,
    pub restart: String,
    pub memory: Option<u64>,
    pub nano_cpus: Option<u64>,
    /// `KEY=VALUE`.
    pub labels: Vec<String>,
    /// It is in the host's namespace.
    pub is_host: bool,
}

impl Runtime {
    /// The command's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

impl FromStr for Runtime {
    type Err = NoRuntime;

    fn from_str(text: &str) -> Result<Self, NoRuntime> {
        let all = [Self::Docker, Self::Podman];
        let found = all.into_iter().find(|runtime| runtime.word() == text);
        found.ok_or_else(|| NoRuntime(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that names no engine.
#[derive(Debug, thiserror::Error)]
#[error("runtime {0:?} is not docker or podman")]
pub struct NoRuntime(String);
