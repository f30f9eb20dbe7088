//! The store of a single host: one redb file.
//!
//! # Theory of operation
//!
//! `state.redb` holds two tables: entries (key to revision and JSON) and counters (revision, schema version). Every
//! transaction commits with `Durability::Immediate`, that is, an fsync before it is acknowledged. redb's other level
//! keeps commits in the process until a later immediate one, so a kill would lose acknowledged changes; there is nothing
//! in between. A crash at any moment leaves the state before or after a commit, because redb writes copies and flips one
//! checksummed header.
//!
//! redb locks the file, so a second agent on the same directory is refused. Events are sent to watchers while the write
//! transaction's turn is held, so they arrive in the order of revisions.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, Table,
    TableDefinition, TableError,
};
use serde_json::Value;
use tokio::sync::broadcast;

use super::watch::{WATCH_BOUND, Watch, WatchEvent};
use super::{Change, Entry, Store, StoreError};

/// The embedded store.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    database: Database,
    /// Held over a commit and the sending of its events.
    events: Mutex<broadcast::Sender<WatchEvent>>,
}

/// Why the state cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStore {
    #[error("another agent uses the state directory {}; stop it or give another --state-dir", dir.display())]
    InUse { dir: PathBuf },
    #[error(
        "the state file {} is damaged ({reason}); restore it from a backup, or move it away to start with none: \
         running containers are then not known any more", path.display()
    )]
    Corrupt { path: PathBuf, reason: String },
    #[error(
        "the state file {} has schema version {found}, this agent knows {SCHEMA_VERSION}; use the agent that wrote it",
        path.display()
    )]
    Schema { path: PathBuf, found: u64 },
    #[error("cannot open the state file {}: {source}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl RedbStore {
    /// Opens or makes `state.redb` in `state_dir`, which is made where absent. Both are readable by root alone.
    pub fn open(state_dir: &Path) -> Result<Self, OpenStore> {
        let path = state_dir.join(FILE_NAME);
        prepare(state_dir, &path).map_err(|source| OpenStore::Io {
            path: path.clone(),
            source,
        })?;
        // A damaged file may fail redb's own assertions instead of its checks.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database =
                Database::create(&path).map_err(|error| database_error(error, state_dir, &path))?;
            initialize(&database, &path)?;
            Ok(database)
        }));
        let database = opened.unwrap_or_else(|_| {
            Err(OpenStore::Corrupt {
                path: path.clone(),
                reason: "its structure contradicts itself".into(),
            })
        })?;
        Ok(Self {
            path,
            database,
            events: Mutex::new(broadcast::Sender::new(WATCH_BOUND)),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn commit(&self, changes: &[Change]) -> Result<Vec<WatchEvent>, TransactError> {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        let mut done = Vec::with_capacity(changes.len());
        {
            let mut entries = write.open_table(ENTRIES)?;
            let mut counters = write.open_table(COUNTERS)?;
            let revision = counter(&counters, REVISION)?.unwrap_or(0) + 1;
            counters.insert(REVISION, revision)?;
            for change in changes {
                done.extend(apply(&mut entries, change, revision)?);
            }
        }
        write.commit()?;
        Ok(done)
    }

    fn revision(&self) -> Result<u64, TransactError> {
        let read = self.database.begin_read()?;
        let counters = read.open_table(COUNTERS)?;
        Ok(counter(&counters, REVISION)?.unwrap_or(0))
    }

    fn read(&self, key: &str) -> Result<Option<Entry>, TransactError> {
        let read = self.database.begin_read()?;
        let entries = read.open_table(ENTRIES)?;
        let Some(found) = entries.get(key)? else {
            return Ok(None);
        };
        let (revision, json) = found.value();
        Ok(Some(entry(key, revision, json)?))
    }

    fn read_all(&self, prefix: &str) -> Result<Vec<Entry>, TransactError> {
        let read = self.database.begin_read()?;
        let entries = read.open_table(ENTRIES)?;
        let mut found = Vec::new();
        for item in entries.range(prefix..)? {
            let (key, value) = item?;
            if !key.value().starts_with(prefix) {
                break;
            }
            let (revision, json) = value.value();
            found.push(entry(key.value(), revision, json)?);
        }
        Ok(found)
    }

    fn failed(&self, error: TransactError) -> StoreError {
        match error {
            TransactError::Store(error) => error,
            TransactError::Redb(error) => StoreError::Storage {
                path: self.path.display().to_string(),
                reason: error.to_string(),
            },
        }
    }
}

impl Store for RedbStore {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.read(key).map_err(|error| self.failed(error))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.read_all(prefix).map_err(|error| self.failed(error))
    }

    fn transact(&self, changes: &[Change]) -> Result<u64, StoreError> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.commit(changes).map_err(|error| self.failed(error))?;
        for event in done {
            // No watcher is no error.
            let _ = events.send(event);
        }
        self.revision().map_err(|error| self.failed(error))
    }

    fn watch(&self, prefix: &str) -> Watch {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        Watch::new(prefix, events.subscribe())
    }
}

/// A refusal of ours, or a failure of redb's.
#[derive(Debug)]
enum TransactError {
    Store(StoreError),
    Redb(redb::Error),
}

impl From<StoreError> for TransactError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for TransactError {
            fn from(error: $error) -> Self {
                Self::Redb(error.into())
            }
        }
    )*};
}

from_redb!(
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError
);

type Entries<'a> = Table<'a, &'static str, (u64, &'static [u8])>;

fn apply(
    entries: &mut Entries<'_>,
    change: &Change,
    revision: u64,
) -> Result<Option<WatchEvent>, TransactError> {
    let key = change.key.as_str();
    let present = entries.get(key)?.map(|found| found.value().0);
    change.expected.check(key, present)?;
    let key = key.to_owned();
    let Some(value) = &change.value else {
        entries.remove(key.as_str())?;
        return Ok(present.map(|_| WatchEvent::Deleted { key, revision }));
    };
    let json = value.to_string();
    entries.insert(key.as_str(), (revision, json.as_bytes()))?;
    Ok(Some(WatchEvent::Put(Entry {
        key,
        value: value.clone(),
        revision,
    })))
}

fn entry(key: &str, revision: u64, json: &[u8]) -> Result<Entry, StoreError> {
    let value: Value = serde_json::from_slice(json).map_err(|source| StoreError::Value {
        key: key.to_owned(),
        source,
    })?;
    Ok(Entry {
        key: key.to_owned(),
        value,
        revision,
    })
}

fn counter(
    counters: &impl ReadableTable<&'static str, u64>,
    name: &str,
) -> Result<Option<u64>, StorageError> {
    Ok(counters.get(name)?.map(|found| found.value()))
}

fn prepare(state_dir: &Path, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)?;
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        // The name itself must survive a power loss too.
        Ok(_) => fs::File::open(state_dir)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn initialize(database: &Database, path: &Path) -> Result<(), OpenStore> {
    match schema_version(database) {
        Ok(SCHEMA_VERSION) => Ok(()),
        Ok(found) => Err(OpenStore::Schema {
            path: path.to_owned(),
            found,
        }),
        Err(TransactError::Redb(error)) => Err(OpenStore::Corrupt {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
        Err(TransactError::Store(error)) => Err(OpenStore::Corrupt {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// Reads the version, or writes ours into a new file, with both tables, so that reading never misses one.
fn schema_version(database: &Database) -> Result<u64, TransactError> {
    let read = database.begin_read()?;
    match read.open_table(COUNTERS) {
        Ok(counters) => {
            if let Some(version) = counter(&counters, SCHEMA)? {
                return Ok(version);
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let write = database.begin_write()?;
    write.open_table(ENTRIES)?;
    write.open_table(COUNTERS)?.insert(SCHEMA, SCHEMA_VERSION)?;
    write.commit()?;
    Ok(SCHEMA_VERSION)
}

fn database_error(error: DatabaseError, dir: &Path, path: &Path) -> OpenStore {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenStore::InUse {
                dir: dir.to_owned(),
            }
        }
        DatabaseError::Storage(StorageError::Io(source))
            if source.kind() != io::ErrorKind::InvalidData =>
        {
            OpenStore::Io { path, source }
        }
        other => OpenStore::Corrupt {
            path,
            reason: other.to_string(),
        },
    }
}

const FILE_NAME: &str = "state.redb";
const SCHEMA_VERSION: u64 = 1;
const SCHEMA: &str = "schema";
const REVISION: &str = "revision";
const ENTRIES: TableDefinition<'static, &'static str, (u64, &'static [u8])> =
    TableDefinition::new("entries");
const COUNTERS: TableDefinition<'static, &'static str, u64> = TableDefinition::new("counters");
