//! Why the state cannot be opened, in a line for whoever started the agent.

use std::io;
use std::path::PathBuf;

use super::tables::SCHEMA_VERSION;

/// Why the state cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStore {
    #[error(
        "another agent uses the state directory {}{}; stop it or give another --state-dir",
        dir.display(), process.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse { dir: PathBuf, process: Option<i32> },
    #[error(
        "the state file {} is damaged ({reason}) and no record can be read; restore it from a backup, or move it away to start \
         with none: running containers are then not known any more", path.display()
    )]
    Corrupt { path: PathBuf, reason: String },
    #[error(
        "the state file {} has schema version {found}, this agent knows {SCHEMA_VERSION}; use the agent that wrote it",
        path.display()
    )]
    Schema { path: PathBuf, found: u64 },
    #[error("cannot open the state file {}: {}", path.display(), io_reason(source))]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What the disk said, with what to do where somebody can.
pub(super) fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "there is no room on its disk; make some, and try again".to_owned()
        }
        _ => error.to_string(),
    }
}
