//! What can go wrong while a contender is measured.

use std::io;
use std::time::Duration;

/// Why there is no reading. One line each; the report shows it in place of the figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("interrupted")]
    Interrupted,
    #[error("{program} is not installed; `scripts/setup bench` installs it")]
    NotInstalled { program: String },
    #[error("{command}: {reason}")]
    Command { command: String, reason: String },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{what}: not within {limit:?}")]
    Late { what: String, limit: Duration },
    #[error("the agent: {0}")]
    Agent(#[from] agent_api::ClientError),
    #[error("{tool}: {reason}")]
    Tool { tool: String, reason: String },
    /// The contender cannot do this by its nature.
    #[error("{0}")]
    Unsupported(String),
}

impl Trouble {
    /// For `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
