//! How a command ended.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::spec::write_durably;

/// Contents of `exit.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The command's own code, 128 + n when signal n ended it, 126 or 127 when it could not be executed.
    pub code: i32,
    /// Why it could not be executed, or that its shim died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How the command of this directory ended; `None` while it has not.
pub fn read_exit(dir: &Path) -> io::Result<Option<ExitRecord>> {
    match fs::read(dir.join(EXIT_FILE)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Says in the container's directory that it is about to be removed, for its shim to tell those attached.
pub fn note_removal(dir: &Path) -> io::Result<()> {
    fs::write(dir.join(REMOVAL_FILE), [])
}

pub(crate) fn is_being_removed(dir: &Path) -> bool {
    dir.join(REMOVAL_FILE).exists()
}

pub(crate) fn write_exit(dir: &Path, record: &ExitRecord) -> io::Result<()> {
    write_durably(dir, EXIT_FILE, &serde_json::to_vec(record)?, 0o640)
}

pub(crate) const EXIT_FILE: &str = "exit.json";
const REMOVAL_FILE: &str = "removal";
