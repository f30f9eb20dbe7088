//! What was damaged is kept aside, in `damaged/` beside the state file: the bytes, and a line about each in `notes`.
//!
//! The agent tells the notes at every start, so that nothing is lost in silence, until somebody removes the directory.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::directory::{make_private, private_file, sync};
use super::pages::Row;

/// The directory, which is there once something is in it.
#[derive(Debug)]
pub(super) struct Damaged(PathBuf);

impl Damaged {
    pub(super) fn beside(state_dir: &Path) -> Self {
        Self(state_dir.join("damaged"))
    }

    /// Lines that tell what was damaged, with what to do.
    pub(super) fn notes(&self) -> Vec<String> {
        let notes = fs::read(self.0.join(NOTES)).unwrap_or_default();
        let notes = String::from_utf8_lossy(&notes);
        let lines: BTreeSet<_> = notes.lines().collect();
        lines
            .into_iter()
            .take(NOTES_MAX)
            .map(str::to_owned)
            .collect()
    }

    /// Keeps a record's bytes, and notes what it was. On disk when it returns.
    pub(super) fn keep(&self, key: &str, row: &Row, reason: &str) -> io::Result<()> {
        let file = self.0.join(format!("{}.{}", file_name(key), row.revision));
        make_private(&self.0)?;
        let mut kept = private_file(&file)?;
        kept.write_all(&row.stored)?;
        kept.sync_all()?;
        self.note(&format!(
            "the record {} in the state file was damaged ({reason}) and is kept as {}: make again what it was, then remove {}",
            about(key, &row.stored),
            file.display(),
            self.0.display()
        ))
    }

    /// Keeps the whole state file under another name too, which is returned.
    pub(super) fn keep_file(&self, path: &Path) -> io::Result<PathBuf> {
        make_private(&self.0)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_millis());
        let file = self.0.join(format!("state.redb.{now}"));
        // Not every file system has hard links.
        if fs::hard_link(path, &file).is_err() {
            fs::copy(path, &file)?;
            fs::File::open(&file)?.sync_all()?;
        }
        sync(&self.0)?;
        Ok(file)
    }

    pub(super) fn note(&self, line: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let mut notes = options.open(self.0.join(NOTES))?;
        writeln!(notes, "{line}")?;
        notes.sync_all()?;
        sync(&self.0)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

fn file_name(key: &str) -> String {
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => c,
        _ => '-',
    };
    key.chars().map(plain).take(FILE_NAME_MAX).collect()
}

/// Which record it was, as far as its key and its bytes tell.
fn about(key: &str, stored: &[u8]) -> String {
    // The key may be what is damaged.
    let plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    let key: String = key.chars().map(plain).take(FILE_NAME_MAX).collect();
    match name(stored) {
        Some(name) => format!("{key:?} (called {name:?})"),
        None => format!("{key:?}"),
    }
}

/// The record's first name, if that much of it can be read.
fn name(stored: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stored);
    let (_, rest) = text.split_once("\"name\":\"")?;
    let (name, _) = rest.split_once('"')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (!name.is_empty() && name.len() <= FILE_NAME_MAX && name.chars().all(is_plain))
        .then(|| name.to_owned())
}

const NOTES: &str = "notes";
const NOTES_MAX: usize = 256;
const FILE_NAME_MAX: usize = 100;
