//! Why a shim does not come to serve.

use std::error::Error;
use std::path::PathBuf;

/// Why there is no container: one line for whoever asked for it.
#[derive(Debug, thiserror::Error)]
pub(super) enum MakeContainer {
    #[error("cannot {what}: {source}")]
    Step {
        what: String,
        source: Box<dyn Error + Send + Sync>,
    },
    /// In the init's own words.
    #[error("{0}")]
    Init(String),
    #[error("the init died before it was prepared")]
    InitDied,
    #[error("the init sent no terminal")]
    NoTerminal,
    #[error("the holder of the user namespace died")]
    HolderDied,
    #[error("the root directory {} is the agent's own; give another", .0.display())]
    AgentsOwn(PathBuf),
    #[error("the container whose network to join does not run")]
    NoNetwork,
}

/// For `map_err`: what was to be done, as it stands behind "cannot".
pub(super) fn because<E: Into<Box<dyn Error + Send + Sync>>>(
    what: &str,
) -> impl Fn(E) -> MakeContainer {
    move |error| MakeContainer::Step {
        what: what.to_owned(),
        source: error.into(),
    }
}
