//! The store of a single host: one redb file.
//!
//! # Theory of operation
//!
//! `state.redb` holds three tables: entries (key to revision and record), counters (revision, schema version), and which keys
//! are leased. A record lies there in an envelope that proves it ([`envelope`]). Every transaction commits with
//! `Durability::Immediate`, that is, an fsync before it is acknowledged. A crash at any moment leaves the state before or
//! after a commit, because redb writes copies and flips one checksummed header. A file that was damaged meanwhile costs what
//! was damaged ([`open`]).
//!
//! The directory is locked by flock(2), which tells who has it, and so a second agent there is refused by name; where that
//! does not work, redb's own lock of the file refuses it. Events are sent to watchers while the write
//! transaction's turn is held, so they arrive in the order of revisions.
//!
//! After an I/O error, such as of a disk that was full, redb refuses everything until the file is opened anew. That is done
//! at the next call, once all of the file was written again ([`writeback`]): so a store on a disk that has room again works
//! again, and what it says is on disk. Until then its records can be read ([`State::Read`]), so that an agent starts on a
//! disk that is full.
//!
//! Leases live in memory, and a table names the lease of each key that has one. Whoever comes first after a lease has run
//! out deletes its keys; opening deletes those of the leases that ended with the process before.

mod damaged;
mod directory;
mod envelope;
mod error;
mod guarded;
mod open;
mod pages;
mod tables;
#[cfg(test)]
mod tests;
mod writeback;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use redb::Database;
use tokio::sync::broadcast;

use crate::leases::Leases;
use crate::watch::{Told, WATCH_BOUND, Watch};
use crate::{Change, Entry, Expected, LeaseId, Store, StoreError};
use damaged::Damaged;
pub use error::OpenStore;
use error::io_reason;
use guarded::guarded;
use open::{open_or_save, open_whole};
use pages::Rows;
use tables::TransactError;

/// The embedded store.
#[derive(Debug)]
pub struct RedbStore {
    path: PathBuf,
    state: RwLock<State>,
    /// Held over a commit and the sending of its events.
    events: Mutex<broadcast::Sender<Told>>,
    leases: Leases,
    damaged: Damaged,
    /// Another process has the file meanwhile.
    is_resting: AtomicBool,
    /// The directory, locked; last, so that it is let go of when the file is closed.
    lock: Mutex<Option<fs::File>>,
}

/// How the file is at hand.
#[derive(Debug)]
enum State {
    Open(Database),
    /// As it reads, since the disk takes nothing.
    Read(Rows),
    Closed,
}

impl RedbStore {
    /// Opens or makes `state.redb` in `state_dir`, which is made where absent. Both are readable by root alone.
    pub fn open(state_dir: &Path) -> Result<Self, OpenStore> {
        let path = state_dir.join(FILE_NAME);
        directory::prepare(state_dir, &path).map_err(|source| OpenStore::Io {
            path: path.clone(),
            source,
        })?;
        let lock = directory::lock(state_dir)?;
        let damaged = Damaged::beside(state_dir);
        let state = match open_or_save(&path, &damaged) {
            Err(error @ OpenStore::Io { .. }) => State::Read(open::read(&path).ok_or(error)?),
            Err(error) => return Err(error),
            Ok(database) => State::Open(database),
        };
        let is_open = matches!(state, State::Open(_));
        let store = Self {
            path,
            state: RwLock::new(state),
            events: Mutex::new(broadcast::Sender::new(WATCH_BOUND)),
            leases: Leases::default(),
            damaged,
            is_resting: AtomicBool::new(false),
            lock: Mutex::new(lock),
        };
        if !is_open {
            tracing::warn!(file = %store.path.display(), "the state is read, and changes are refused: its disk takes nothing");
            return Ok(store);
        }
        let forgotten = store
            .drop_leased(|_| true)
            .map_err(|error| open::transact_error(error, &store.path));
        forgotten.map(|()| store)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets go of the file, for another process, until [`Self::resume`]: whoever asks meanwhile is refused.
    pub fn rest(&self) {
        self.is_resting.store(true, Ordering::Release);
        drop(self.close());
        drop(
            self.lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    /// Takes the file up again, which the other process has let go of.
    pub fn resume(&self) -> Result<(), OpenStore> {
        let state_dir = self.path.parent().unwrap_or(&self.path);
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = directory::lock(state_dir)?;
        // It is opened by whoever asks next.
        self.is_resting.store(false, Ordering::Release);
        Ok(())
    }

    /// What was damaged of the state, now or before, until somebody has removed what is kept of it: a line each, with what to
    /// do.
    pub fn damage(&self) -> Vec<String> {
        self.damaged.notes()
    }

    /// Takes a record out that nobody understands, and keeps it where [`Self::damage`] tells.
    pub fn set_aside(&self, key: &str, reason: &str) -> Result<(), StoreError> {
        let row = self.with(|database| tables::read_row(database, key));
        if let Some(row) = row.map_err(|error| self.failed(error))? {
            let kept = self.damaged.keep(key, &row, reason);
            kept.map_err(|error| self.failed(TransactError::Redb(redb::Error::Io(error))))?;
        }
        self.delete(key, Expected::Anything)
    }

    /// Works with the file, which is opened anew where redb refuses it because of an earlier error.
    fn with<T>(
        &self,
        work: impl Fn(&Database) -> Result<T, TransactError>,
    ) -> Result<T, TransactError> {
        if self.is_resting.load(Ordering::Acquire) {
            return Err(TransactError::Redb(redb::Error::DatabaseAlreadyOpen));
        }
        let worked = self.attempt(&work);
        if !matches!(worked, Err(TransactError::Redb(redb::Error::PreviousIo))) {
            return worked;
        }
        self.reopen()?;
        self.attempt(&work)
    }

    fn attempt<T>(
        &self,
        work: impl Fn(&Database) -> Result<T, TransactError>,
    ) -> Result<T, TransactError> {
        let worked = match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(database) => guarded(|| work(database)),
            State::Read(_) | State::Closed => {
                return Err(TransactError::Redb(redb::Error::PreviousIo));
            }
        };
        worked.unwrap_or_else(|_| {
            drop(self.close());
            Err(TransactError::Contradiction)
        })
    }

    /// What redb does about a file when it is closed may fail as what was done before.
    fn close(&self) -> RwLockWriteGuard<'_, State> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let _ = guarded(|| *state = State::Closed);
        state
    }

    fn reopen(&self) -> Result<(), TransactError> {
        // The file is locked as long as it is open.
        let mut state = self.close();
        let written = writeback::write_back(&self.path)
            .map_err(|error| TransactError::Redb(redb::Error::Io(error)));
        let opened = written.and_then(|()| match open_whole(&self.path) {
            Err(OpenStore::Io { source, .. }) => Err(TransactError::Redb(redb::Error::Io(source))),
            Err(error) => Err(TransactError::Store(StoreError::Storage {
                path: self.path.display().to_string(),
                reason: error.to_string(),
            })),
            Ok(database) => Ok(database),
        });
        match opened {
            Ok(database) => {
                *state = State::Open(database);
                Ok(())
            }
            Err(error) => {
                *state = open::read(&self.path).map_or(State::Closed, State::Read);
                Err(error)
            }
        }
    }

    /// What `find` finds in a file that can only be read.
    fn in_rows<T>(&self, find: impl Fn(&Rows) -> T) -> Option<T> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Read(rows) => Some(find(rows)),
            State::Open(_) | State::Closed => None,
        }
    }

    /// Deletes the keys of the leases that `gone` picks.
    fn drop_leased(&self, gone: impl Fn(LeaseId) -> bool) -> Result<(), TransactError> {
        let keys = self.with(|database| tables::leased(database, &gone))?;
        let changes: Vec<_> = keys
            .into_iter()
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
        let (revision, done) = self.with(|database| tables::commit(database, changes))?;
        for event in done {
            // No watcher is no error.
            let _ = events.send(event.into());
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
        let reason = match error {
            TransactError::Store(error) => return error,
            TransactError::Redb(redb::Error::Io(error)) => io_reason(&error),
            TransactError::Redb(error) => error.to_string(),
            TransactError::Contradiction => {
                "its structure contradicts itself; restart the agent, which saves what it can"
                    .into()
            }
        };
        StoreError::Storage {
            path: self.path.display().to_string(),
            reason,
        }
    }
}

impl Store for RedbStore {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        if let Some(found) = self.in_rows(|rows| Some(tables::entry(key, rows.get(key)?))) {
            return found.transpose();
        }
        self.expire_leases()?;
        self.with(|database| tables::read(database, key))
            .map_err(|error| self.failed(error))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let under = |rows: &Rows| {
            let rows = rows.range(prefix.to_owned()..);
            let rows = rows.take_while(|(key, _)| key.starts_with(prefix));
            rows.map(|(key, row)| tables::entry(key, row)).collect()
        };
        if let Some(found) = self.in_rows(under) {
            return found;
        }
        self.expire_leases()?;
        self.with(|database| tables::read_all(database, prefix))
            .map_err(|error| self.failed(error))
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

const FILE_NAME: &str = "state.redb";
