//! Opening the state file, whatever state it is in.
//!
//! # Theory of operation
//!
//! redb verifies every page's checksum when it opens the file, so what it opens is as it was written. What it refuses is read
//! page by page ([`super::pages`]), and a new file is made of what proves itself; the old one is kept aside
//! ([`super::damaged`]). Where nothing proves itself, the file stays as it is and the agent does not start: nobody but its
//! owner can decide to go on without it.
//!
//! Then each record proves itself ([`super::envelope`]); one that does not is kept aside too.
//!
//! After a kill or a power cut redb undoes the last commit if a page of it does not prove itself, for that may be one which
//! nobody was told of. Its records are taken all the same where all of its pages got to the disk; where they did not, the log says so.
//!
//! A new file gets its name when it is complete: so one that is empty has been damaged.

use std::fs;
use std::io;
use std::path::Path;

use redb::{Database, DatabaseError, StorageError};

use super::damaged::Damaged;
use super::directory::{private_file, sync};
use super::envelope::{seal, unseal};
use super::error::OpenStore;
use super::guarded::guarded;
use super::pages::{self, Found, Rows};
use super::tables::{ENTRIES_NAME, SCHEMA_VERSION, TransactError, read_rows, replace, schema};

/// Opens the file, or what can be saved of it, with records that prove themselves.
pub(super) fn open_or_save(path: &Path, damaged: &Damaged) -> Result<Database, OpenStore> {
    let failed = |source| OpenStore::Io {
        path: path.to_owned(),
        source,
    };
    if !path.try_exists().map_err(failed)? {
        make(path, &Rows::new())?;
    }
    let cut_short = Last::of(&fs::read(path).map_err(failed)?);
    let database = match open_whole(path) {
        Err(OpenStore::Corrupt { reason, .. }) => {
            save(path, damaged, reason)?;
            open_whole(path)?
        }
        opened => {
            let database = opened?;
            let redone = cut_short.map(|last| last.redo(&database, path));
            redone
                .transpose()
                .map_err(|error| transact_error(error, path))?;
            database
        }
    };
    settle(&database, damaged)
        .map(|()| database)
        .map_err(|error| transact_error(error, path))
}

/// Opens the file if all of it is as it was written.
pub(super) fn open_whole(path: &Path) -> Result<Database, OpenStore> {
    let corrupt = |reason: &str| OpenStore::Corrupt {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let length = fs::metadata(path).map(|file| file.len());
    let length = length.map_err(|source| OpenStore::Io {
        path: path.to_owned(),
        source,
    })?;
    if length == 0 {
        return Err(corrupt("it is empty"));
    }
    let opened = guarded(|| {
        let mut builder = builder();
        let opened = builder.set_check_integrity_on_open(true).open(path);
        let database = opened.map_err(|error| database_error(error, path))?;
        let version = schema(&database).map_err(|error| transact_error(error, path))?;
        match version {
            None => Err(corrupt("it has no tables")),
            Some(1..=SCHEMA_VERSION) => Ok(database),
            Some(found) => Err(OpenStore::Schema {
                path: path.to_owned(),
                found,
            }),
        }
    });
    opened.unwrap_or_else(|_| Err(corrupt("its structure contradicts itself")))
}

/// What a file reads as that cannot be opened because the disk takes nothing, if every record proves itself.
pub(super) fn read(path: &Path) -> Option<Rows> {
    let image = fs::read(path).ok()?;
    let found = pages::find(&image, ENTRIES_NAME)?;
    let mut records = found.sound.iter();
    let are_sealed = records.all(|(key, row)| unseal(key, row.revision, &row.stored).is_ok());
    (found.is_whole() && are_sealed).then_some(found.sound)
}

/// A new file with these records, complete when it gets its name.
fn make(path: &Path, rows: &Rows) -> Result<(), OpenStore> {
    let failed = |source| OpenStore::Io {
        path: path.to_owned(),
        source,
    };
    let new = path.with_extension("new");
    private_file(&new).map_err(failed)?;
    let database = builder()
        .create(&new)
        .map_err(|error| database_error(error, path))?;
    let filled = replace(&database, rows);
    filled.map_err(|error| transact_error(error, path))?;
    let closed = database.close();
    closed.map_err(|error| database_error(error, path))?;
    fs::rename(&new, path).map_err(failed)?;
    sync(path.parent().unwrap_or(path)).map_err(failed)
}

/// Makes a new file of the records of a damaged one that prove themselves.
fn save(path: &Path, damaged: &Damaged, reason: String) -> Result<(), OpenStore> {
    let failed = |source| OpenStore::Io {
        path: path.to_owned(),
        source,
    };
    let corrupt = |reason| OpenStore::Corrupt {
        path: path.to_owned(),
        reason,
    };
    let image = fs::read(path).map_err(failed)?;
    let Some(found) = pages::find(&image, ENTRIES_NAME) else {
        return Err(corrupt(reason));
    };
    if found.sound.is_empty() && found.length > 0 {
        return Err(corrupt(reason));
    }
    let kept = damaged.keep_file(path).map_err(failed)?;
    for (key, row) in &found.doubtful {
        damaged.keep(key, row, "with its page").map_err(failed)?;
    }
    let kept = kept.display();
    let rest = match found.missing() {
        0 => "every other record was saved".to_owned(),
        n => format!(
            "{n} of {} records were not found at all: make again what is missing",
            found.length
        ),
    };
    let line = format!(
        "the state file was damaged ({reason}) and is kept as {kept}; {rest}, then remove {}",
        damaged.path().display()
    );
    damaged.note(&line).map_err(failed)?;
    make(path, &found.sound)
}

/// Gives records of former days an envelope, and keeps aside what does not prove itself.
fn settle(database: &Database, damaged: &Damaged) -> Result<(), TransactError> {
    let rows = read_rows(database)?;
    let count = rows.len();
    let is_old = schema(database)? != Some(SCHEMA_VERSION);
    let mut sound = Rows::new();
    for (key, mut row) in rows {
        match unseal(&key, row.revision, &row.stored) {
            Ok(_) => {}
            Err(_) if is_old && is_json(&row.stored) => {
                row.stored = seal(&key, row.revision, &row.stored);
            }
            Err(damage) => {
                let kept = damaged.keep(&key, &row, &damage.to_string());
                kept.map_err(|error| TransactError::Redb(redb::Error::Io(error)))?;
                continue;
            }
        }
        sound.insert(key, row);
    }
    if is_old || sound.len() < count {
        replace(database, &sound)?;
    }
    Ok(())
}

fn is_json(stored: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(stored).is_ok()
}

/// The last commit of a file that was not closed.
pub(super) struct Last(pub(super) Option<Found>);

impl Last {
    pub(super) fn of(image: &[u8]) -> Option<Self> {
        let was_cut_short = image.get(FLAGS).is_some_and(|flags| flags & UNCLEAN != 0);
        was_cut_short.then(|| Self(pages::find(image, ENTRIES_NAME)))
    }

    /// Does it again where redb has undone it.
    fn redo(&self, database: &Database, path: &Path) -> Result<(), TransactError> {
        match &self.0 {
            Some(found) if found.is_whole() => {
                if read_rows(database)? != found.sound {
                    replace(database, &found.sound)?;
                }
            }
            _ => tracing::warn!(
                file = %path.display(),
                "the last change to the state did not get to the disk as a whole, and is undone"
            ),
        }
        Ok(())
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn database_error(error: DatabaseError, path: &Path) -> OpenStore {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenStore::InUse {
                dir: path.parent().unwrap_or(&path).to_owned(),
                process: None,
            }
        }
        DatabaseError::Storage(StorageError::Io(source))
            if source.kind() != io::ErrorKind::InvalidData
                && source.kind() != io::ErrorKind::UnexpectedEof =>
        {
            OpenStore::Io { path, source }
        }
        other => OpenStore::Corrupt {
            path,
            reason: other.to_string(),
        },
    }
}

pub(super) fn transact_error(error: TransactError, path: &Path) -> OpenStore {
    let path = path.to_owned();
    let reason = match error {
        TransactError::Redb(redb::Error::Io(source)) => return OpenStore::Io { path, source },
        TransactError::Redb(error) => error.to_string(),
        TransactError::Store(error) => error.to_string(),
        TransactError::Contradiction => "its structure contradicts itself".to_owned(),
    };
    OpenStore::Corrupt { path, reason }
}

/// Of pages in memory; redb's own bound is a gigabyte, of which a large record that is written again and again takes its part.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Where the header has its flags, and the one of a file that was not closed.
const FLAGS: usize = 9;
const UNCLEAN: u8 = 2;
