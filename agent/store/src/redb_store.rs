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
//! The directory is locked by flock(2), which tells who has it, and so a second agent there is refused by name; where that
//! does not work, redb's own lock of the file refuses it. Events are sent to watchers while the write
//! transaction's turn is held, so they arrive in the order of revisions.
//!
//! After an I/O error, such as of a disk that was full, redb refuses everything until the file is opened anew. That is done
//! at the next call: so a store on a disk that has room again works again.
//!
//! Leases live in memory, and a table names the lease of each key that has one. Whoever comes first after a lease has run
//! out deletes its keys; opening deletes those of the leases that ended with the process before.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, Table,
    TableDefinition, TableError,
};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::leases::Leases;
use crate::watch::{WATCH_BOUND, Watch, WatchEvent};
use crate::{Change, Entry, Expected, LeaseId, Store, StoreError};

/// The embedded store.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    /// Absent where it could not be opened again.
    database: RwLock<Option<Database>>,
    /// Held over a commit and the sending of its events.
    events: Mutex<broadcast::Sender<WatchEvent>>,
    leases: Leases,
    /// The directory, locked; last, so that it is let go of when the file is closed.
    _lock: Option<fs::File>,
}

/// Why the state cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStore {
    #[error(
        "another agent uses the state directory {}{}; stop it or give another --state-dir",
        dir.display(), process.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse { dir: PathBuf, process: Option<i32> },
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
        let lock = lock(state_dir)?;
        let database = open_file(&path)?;
        let store = Self {
            path,
            database: RwLock::new(Some(database)),
            events: Mutex::new(broadcast::Sender::new(WATCH_BOUND)),
            leases: Leases::default(),
            _lock: lock,
        };
        let forgotten = store
            .drop_leased(|_| true)
            .map_err(|error| OpenStore::Corrupt {
                path: store.path.clone(),
                reason: store.failed(error).to_string(),
            });
        forgotten.map(|()| store)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Works with the file, which is opened anew where redb refuses it because of an earlier error.
    fn with<T>(
        &self,
        work: impl Fn(&Database) -> Result<T, TransactError>,
    ) -> Result<T, TransactError> {
        let refused = || TransactError::Redb(redb::Error::PreviousIo);
        let worked = match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => work(database),
            None => Err(refused()),
        };
        if !matches!(worked, Err(TransactError::Redb(redb::Error::PreviousIo))) {
            return worked;
        }
        self.reopen()?;
        match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => work(database),
            None => Err(refused()),
        }
    }

    fn reopen(&self) -> Result<(), TransactError> {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // The file is locked as long as it is open.
        *database = None;
        let opened = open_file(&self.path).map_err(|error| {
            TransactError::Store(StoreError::Storage {
                path: self.path.display().to_string(),
                reason: error.to_string(),
            })
        })?;
        *database = Some(opened);
        Ok(())
    }

    fn commit(&self, changes: &[Change]) -> Result<(u64, Vec<WatchEvent>), TransactError> {
        self.with(|database| commit(database, changes))
    }

    fn read(&self, key: &str) -> Result<Option<Entry>, TransactError> {
        self.with(|database| read(database, key))
    }

    fn read_all(&self, prefix: &str) -> Result<Vec<Entry>, TransactError> {
        self.with(|database| read_all(database, prefix))
    }

    /// The keys of the leases that `gone` picks.
    fn leased(&self, gone: impl Fn(LeaseId) -> bool) -> Result<Vec<String>, TransactError> {
        self.with(|database| {
            let read = database.begin_read()?;
            let mut keys = Vec::new();
            for item in read.open_table(LEASED)?.iter()? {
                let (key, lease) = item?;
                if gone(LeaseId(lease.value())) {
                    keys.push(key.value().to_owned());
                }
            }
            Ok(keys)
        })
    }

    /// Deletes the keys of the leases that `gone` picks.
    fn drop_leased(&self, gone: impl Fn(LeaseId) -> bool) -> Result<(), TransactError> {
        let keys = self.leased(gone)?.into_iter();
        let changes: Vec<_> = keys
            .map(|key| Change::delete(key, Expected::Anything))
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        self.publish(&changes).map(drop)
    }

    /// Commits, and tells the watchers.
    fn publish(&self, changes: &[Change]) -> Result<u64, TransactError> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let (revision, done) = self.commit(changes)?;
        for event in done {
            // No watcher is no error.
            let _ = events.send(event);
        }
        Ok(revision)
    }

    fn expire_leases(&self) -> Result<(), StoreError> {
        let expired = self.leases.take_expired();
        if expired.is_empty() {
            return Ok(());
        }
        self.drop_leased(|lease| expired.contains(&lease))
            .map_err(|error| self.failed(error))
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
        self.expire_leases()?;
        self.read(key).map_err(|error| self.failed(error))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.expire_leases()?;
        self.read_all(prefix).map_err(|error| self.failed(error))
    }

    fn transact(&self, changes: &[Change]) -> Result<u64, StoreError> {
        self.expire_leases()?;
        if let Some(lease) = changes.iter().find_map(|change| change.lease)
            && !self.leases.is_held(lease)
        {
            return Err(StoreError::LeaseGone);
        }
        self.publish(changes).map_err(|error| self.failed(error))
    }

    fn watch(&self, prefix: &str) -> Watch {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        Watch::new(prefix, events.subscribe())
    }

    fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        Ok(self.leases.grant(ttl))
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.expire_leases()?;
        match self.leases.keep_alive(lease) {
            true => Ok(()),
            false => Err(StoreError::LeaseGone),
        }
    }

    fn end_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.leases.forget(lease);
        self.drop_leased(|held| held == lease)
            .map_err(|error| self.failed(error))
    }
}

/// Opens or makes the file.
fn open_file(path: &Path) -> Result<Database, OpenStore> {
    // A damaged file may fail redb's own assertions instead of its checks.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let state_dir = path.parent().unwrap_or(path);
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|error| database_error(error, state_dir, path))?;
        initialize(&database, path)?;
        Ok(database)
    }));
    opened.unwrap_or_else(|_| {
        Err(OpenStore::Corrupt {
            path: path.to_owned(),
            reason: "its structure contradicts itself".into(),
        })
    })
}

fn commit(
    database: &Database,
    changes: &[Change],
) -> Result<(u64, Vec<WatchEvent>), TransactError> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    let mut done = Vec::with_capacity(changes.len());
    let revision;
    {
        let mut entries = write.open_table(ENTRIES)?;
        let mut leased = write.open_table(LEASED)?;
        let mut counters = write.open_table(COUNTERS)?;
        revision = counter(&counters, REVISION)?.unwrap_or(0) + 1;
        counters.insert(REVISION, revision)?;
        for change in changes {
            done.extend(apply(&mut entries, change, revision)?);
            match change.lease {
                Some(lease) => leased.insert(change.key.as_str(), lease.0)?,
                None => leased.remove(change.key.as_str())?,
            };
        }
    }
    write.commit()?;
    Ok((revision, done))
}

fn read(database: &Database, key: &str) -> Result<Option<Entry>, TransactError> {
    let read = database.begin_read()?;
    let entries = read.open_table(ENTRIES)?;
    let Some(found) = entries.get(key)? else {
        return Ok(None);
    };
    let (revision, json) = found.value();
    Ok(Some(entry(key, revision, json)?))
}

fn read_all(database: &Database, prefix: &str) -> Result<Vec<Entry>, TransactError> {
    let read = database.begin_read()?;
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
    keep_private(state_dir, path)?;
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

/// Shuts others out of a directory that is ours, which one is that has our file or nothing. A group that the host's
/// administrator has let in stays.
fn keep_private(state_dir: &Path, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(state_dir)?.permissions().mode();
    let is_open = mode & 0o007 != 0;
    let is_ours = || Ok::<_, io::Error>(path.exists() || fs::read_dir(state_dir)?.next().is_none());
    if is_open && is_ours()? {
        fs::set_permissions(state_dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// `None` where the file system has no such locks.
fn lock(state_dir: &Path) -> Result<Option<fs::File>, OpenStore> {
    let Ok(dir) = fs::File::open(state_dir) else {
        return Ok(None);
    };
    match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(dir)),
        Err(Errno::WOULDBLOCK) => Err(OpenStore::InUse {
            dir: state_dir.to_owned(),
            process: locked_by(state_dir),
        }),
        Err(_) => Ok(None),
    }
}

/// The process that has it locked, as `/proc/locks` tells (proc_locks(5)).
fn locked_by(path: &Path) -> Option<i32> {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{}", fs::metadata(path).ok()?.ino());
    fs::read_to_string("/proc/locks")
        .ok()?
        .lines()
        .find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(4);
            let (pid, file) = (fields.next()?, fields.next()?);
            file.ends_with(&inode).then(|| pid.parse().ok())?
        })
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
                drop(read);
                make_leased(database)?;
                return Ok(version);
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let write = database.begin_write()?;
    write.open_table(ENTRIES)?;
    write.open_table(LEASED)?;
    write.open_table(COUNTERS)?.insert(SCHEMA, SCHEMA_VERSION)?;
    write.commit()?;
    Ok(SCHEMA_VERSION)
}

/// A state file of before there were leases lacks their table.
fn make_leased(database: &Database) -> Result<(), TransactError> {
    match database.begin_read()?.open_table(LEASED) {
        Ok(_) => return Ok(()),
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let write = database.begin_write()?;
    write.open_table(LEASED)?;
    Ok(write.commit()?)
}

fn database_error(error: DatabaseError, dir: &Path, path: &Path) -> OpenStore {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenStore::InUse {
                dir: dir.to_owned(),
                process: None,
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
/// Of pages in memory; redb's own bound is a gigabyte, of which a large record that is written again and again takes its part.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
const SCHEMA_VERSION: u64 = 1;
const SCHEMA: &str = "schema";
const REVISION: &str = "revision";
const ENTRIES: TableDefinition<'static, &'static str, (u64, &'static [u8])> =
    TableDefinition::new("entries");
const COUNTERS: TableDefinition<'static, &'static str, u64> = TableDefinition::new("counters");

/// Key to lease.
const LEASED: TableDefinition<'static, &'static str, i64> = TableDefinition::new("leased");

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use serde_json::json;

    use super::*;
    use crate::contract;

    fn store() -> (tempfile::TempDir, RedbStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn what_was_put_is_found_again_after_reopening() {
        let (dir, store) = store();
        let revision = store
            .put_if("a/1", json!({"x": 1}), Expected::Absent)
            .unwrap();
        drop(store);
        let store = RedbStore::open(dir.path()).unwrap();
        let entry = store.get("a/1").unwrap().unwrap();
        assert_eq!((entry.revision, entry.value), (revision, json!({"x": 1})));
        assert!(store.get("a").unwrap().is_none());
    }

    #[test]
    fn the_contract_holds() {
        let (_dir, store) = store();
        contract::hold(&store);
    }

    #[test]
    fn leased_keys_do_not_outlive_the_process() {
        let (dir, store) = store();
        let lease = store.grant(Duration::from_secs(60)).unwrap();
        store
            .transact(&[Change::put("a", json!(1), Expected::Anything).under(lease)])
            .unwrap();
        store.put_if("b", json!(1), Expected::Anything).unwrap();
        drop(store);
        let store = RedbStore::open(dir.path()).unwrap();
        assert!(store.get("a").unwrap().is_none());
        assert!(store.get("b").unwrap().is_some());
    }

    #[test]
    fn a_directory_of_ours_is_shut_to_others_and_a_strangers_is_left() {
        use std::os::unix::fs::PermissionsExt;
        let open_to = |dir: &Path, mode| {
            fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
            drop(RedbStore::open(dir).unwrap());
            fs::metadata(dir).unwrap().permissions().mode() & 0o7777
        };
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(open_to(dir.path(), 0o755), 0o700, "empty");
        assert_eq!(open_to(dir.path(), 0o755), 0o700, "with our file");
        assert_eq!(open_to(dir.path(), 0o750), 0o750, "a group was let in");
        let strangers = tempfile::tempdir().unwrap();
        fs::write(strangers.path().join("file"), "").unwrap();
        assert_eq!(open_to(strangers.path(), 0o1777), 0o1777);
    }

    #[test]
    fn a_watcher_that_falls_behind_is_told_so() {
        let (_dir, store) = store();
        let mut watch = store.watch("");
        let changes: Vec<Change> = (0..=WATCH_BOUND)
            .map(|n| Change::put(format!("k/{n}"), json!(n), Expected::Anything))
            .collect();
        store.transact(&changes).unwrap();
        assert_eq!(watch.try_next(), Some(WatchEvent::Lagged));
        assert!(matches!(watch.try_next(), Some(WatchEvent::Put(_))));
    }

    #[test]
    fn a_second_agent_is_refused() {
        let (dir, _store) = store();
        let refused = RedbStore::open(dir.path()).unwrap_err();
        assert!(matches!(refused, OpenStore::InUse { .. }));
        assert!(
            refused
                .to_string()
                .contains("another agent uses the state directory")
        );
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(matches!(refused, OpenStore::InUse { process: Some(pid), .. } if pid == own));
    }

    #[test]
    fn the_state_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, store) = store();
        let mode = fs::metadata(store.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let nested = dir.path().join("new/state");
        RedbStore::open(&nested).unwrap();
        assert_eq!(
            fs::metadata(nested).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_damaged_file_is_named_with_what_to_do() {
        let (dir, store) = store();
        let path = store.path().to_owned();
        drop(store);
        fs::write(
            &path,
            b"not a database, but long enough to be taken for one",
        )
        .unwrap();
        let error = RedbStore::open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenStore::Corrupt { .. }), "{error:?}");
        let said = error.to_string();
        assert!(
            said.contains("state.redb") && said.contains("move it away"),
            "{said}"
        );
    }

    #[test]
    fn no_flipped_byte_makes_opening_panic() {
        let (dir, store) = store();
        for n in 0..20 {
            store
                .put_if(&format!("k/{n}"), json!("v"), Expected::Absent)
                .unwrap();
        }
        let path = store.path().to_owned();
        drop(store);
        let whole = fs::read(&path).unwrap();
        for at in (0..512).chain((512..whole.len()).step_by(4099)) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            fs::write(&path, damaged).unwrap();
            let _ = RedbStore::open(dir.path());
        }
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let (dir, store) = store();
        let database = store.database.write().unwrap().take().unwrap();
        let write = database.begin_write().unwrap();
        write
            .open_table(COUNTERS)
            .unwrap()
            .insert(SCHEMA, 99)
            .unwrap();
        write.commit().unwrap();
        drop((database, store));
        let error = RedbStore::open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenStore::Schema { found: 99, .. }));
    }

    /// The body of the process that the next test kills.
    #[test]
    #[ignore = "run by a_killed_agent_loses_nothing_acknowledged"]
    fn writer_to_be_killed() {
        let store = RedbStore::open(Path::new(&std::env::var(WRITER_DIR).unwrap())).unwrap();
        for n in 0_u32.. {
            store
                .put_if(&format!("k/{n}"), json!(n), Expected::Absent)
                .unwrap();
            println!("\nacknowledged {n}");
        }
    }

    #[test]
    fn a_killed_agent_loses_nothing_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer_to_be_killed", "--ignored", "--nocapture"])
            .env(WRITER_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = lines.map_while(|line| {
            let line = line.unwrap();
            let number = line.strip_prefix("acknowledged ");
            Some(number.map(|number| number.parse::<u32>().unwrap()))
        });
        acknowledged.by_ref().flatten().nth(30).unwrap();
        child.kill().unwrap();
        let last = acknowledged.flatten().last().unwrap_or(30);
        child.wait().unwrap();
        let store = RedbStore::open(dir.path()).unwrap();
        for n in 0..=last {
            assert!(
                store.get(&format!("k/{n}")).unwrap().is_some(),
                "{n} of {last}"
            );
        }
    }

    /// Prints the latency of a commit; the bound is only there to notice a slip of an order of magnitude.
    #[test]
    fn a_commit_takes_a_few_milliseconds() {
        let (_dir, store) = store();
        let mut latencies: Vec<_> = (0..50)
            .map(|n| {
                let start = Instant::now();
                store
                    .put_if(&format!("k/{n}"), json!(n), Expected::Absent)
                    .unwrap();
                start.elapsed()
            })
            .collect();
        latencies.sort();
        println!(
            "commit: median {:?}, worst {:?}",
            latencies[25], latencies[49]
        );
        assert!(latencies[25].as_millis() < 200);
    }

    const WRITER_DIR: &str = "TAPESTRY_TEST_WRITER_DIR";
}
