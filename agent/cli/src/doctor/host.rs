//! The host as files show it, under a root that tests choose.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where `/proc`, `/sys`, `/dev` and `/run` are looked for.
pub(crate) struct Host {
    root: PathBuf,
}

impl Host {
    pub(crate) fn here() -> Self {
        Self { root: "/".into() }
    }

    #[cfg(test)]
    pub(crate) fn under(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `path` has no leading slash.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The file's text without the newline at its end.
    pub(crate) fn read(&self, path: &str) -> io::Result<String> {
        fs::read_to_string(self.path(path)).map(|text| text.trim_end().to_owned())
    }
}

/// What a program prints, or why it failed in its own first line.
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or("it said nothing").to_owned();
    Err(io::Error::other(first))
}
