//! The tables of the state file, and what is done with them in one transaction each.

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
    WriteTransaction,
};
use serde_json::Value;

use super::envelope::{seal, unseal};
use super::pages::{Row, Rows};
use crate::watch::WatchEvent;
use crate::{Change, Entry, LeaseId, StoreError};

/// A refusal of ours, or a failure of redb's.
#[derive(Debug)]
pub(super) enum TransactError {
    Store(StoreError),
    Redb(redb::Error),
    /// The file contradicts itself.
    Contradiction,
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

pub(super) fn commit(
    database: &Database,
    changes: &[Change],
) -> Result<(u64, Vec<WatchEvent>), TransactError> {
    let write = begin(database)?;
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

pub(super) fn read(database: &Database, key: &str) -> Result<Option<Entry>, TransactError> {
    let read = database.begin_read()?;
    let entries = read.open_table(ENTRIES)?;
    let Some(found) = entries.get(key)? else {
        return Ok(None);
    };
    Ok(Some(entry(key, &row(found.value()))?))
}

pub(super) fn read_all(database: &Database, prefix: &str) -> Result<Vec<Entry>, TransactError> {
    let read = database.begin_read()?;
    let entries = read.open_table(ENTRIES)?;
    let mut found = Vec::new();
    for item in entries.range(prefix..)? {
        let (key, value) = item?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push(entry(key.value(), &row(value.value()))?);
    }
    Ok(found)
}

/// The record as it lies there.
pub(super) fn read_row(database: &Database, key: &str) -> Result<Option<Row>, TransactError> {
    let read = database.begin_read()?;
    let entries = read.open_table(ENTRIES)?;
    Ok(entries.get(key)?.map(|found| row(found.value())))
}

/// All records as they lie there.
pub(super) fn read_rows(database: &Database) -> Result<Rows, TransactError> {
    let read = database.begin_read()?;
    let mut rows = Rows::new();
    for item in read.open_table(ENTRIES)?.iter()? {
        let (key, value) = item?;
        rows.insert(key.value().to_owned(), row(value.value()));
    }
    Ok(rows)
}

/// The keys of the leases that `gone` picks.
pub(super) fn leased(
    database: &Database,
    gone: impl Fn(LeaseId) -> bool,
) -> Result<Vec<String>, TransactError> {
    let read = database.begin_read()?;
    let mut keys = Vec::new();
    for item in read.open_table(LEASED)?.iter()? {
        let (key, lease) = item?;
        if gone(LeaseId(lease.value())) {
            keys.push(key.value().to_owned());
        }
    }
    Ok(keys)
}

/// The schema version; none of a file that has no tables yet.
pub(super) fn schema(database: &Database) -> Result<Option<u64>, TransactError> {
    match database.begin_read()?.open_table(COUNTERS) {
        Ok(counters) => Ok(counter(&counters, SCHEMA)?),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes these all the records there are, as they lie somewhere else. All tables are there then, so that reading never misses
/// one.
pub(super) fn replace<'a>(
    database: &Database,
    rows: impl IntoIterator<Item = (&'a String, &'a Row)>,
) -> Result<(), TransactError> {
    let write = begin(database)?;
    {
        write.open_table(LEASED)?;
        let mut entries = write.open_table(ENTRIES)?;
        let mut counters = write.open_table(COUNTERS)?;
        let mut revision = counter(&counters, REVISION)?.unwrap_or(0);
        entries.retain(|_, _| false)?;
        for (key, row) in rows {
            revision = revision.max(row.revision);
            entries.insert(key.as_str(), (row.revision, row.stored.as_slice()))?;
        }
        counters.insert(REVISION, revision)?;
        counters.insert(SCHEMA, SCHEMA_VERSION)?;
    }
    Ok(write.commit()?)
}

/// A transaction that is on disk when its commit returns: redb's other level keeps commits in the process.
fn begin(database: &Database) -> Result<WriteTransaction, TransactError> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

type Entries<'a> = Table<'a, &'static str, (u64, &'static [u8])>;

fn apply(
    entries: &mut Entries<'_>,
    change: &Change,
    revision: u64,
) -> Result<Option<WatchEvent>, TransactError> {
    let key = change.key.as_str();
    let present = entries.get(key)?.map(|found| row(found.value()));
    let is = |value: &Value| {
        let entry = present.as_ref().map(|row| entry(key, row));
        matches!(entry, Some(Ok(entry)) if entry.value == *value)
    };
    let revision_before = present.as_ref().map(|row| row.revision);
    change.expected.check(key, revision_before, is)?;
    let key = key.to_owned();
    let Some(value) = &change.value else {
        entries.remove(key.as_str())?;
        return Ok(revision_before.map(|_| WatchEvent::Deleted { key, revision }));
    };
    let sealed = seal(&key, revision, value.to_string().as_bytes());
    entries.insert(key.as_str(), (revision, sealed.as_slice()))?;
    Ok(Some(WatchEvent::Put(Entry {
        key,
        value: value.clone(),
        revision,
    })))
}

fn row((revision, stored): (u64, &[u8])) -> Row {
    Row {
        revision,
        stored: stored.to_vec(),
    }
}

pub(super) fn entry(key: &str, row: &Row) -> Result<Entry, StoreError> {
    let value = unseal(key, row.revision, &row.stored);
    let value = value.map_err(|damage| StoreError::Damaged {
        key: key.to_owned(),
        reason: damage.to_string(),
    })?;
    Ok(Entry {
        key: key.to_owned(),
        value,
        revision: row.revision,
    })
}

fn counter(
    counters: &impl ReadableTable<&'static str, u64>,
    name: &str,
) -> Result<Option<u64>, StorageError> {
    Ok(counters.get(name)?.map(|found| found.value()))
}

#[cfg(test)]
pub(super) fn as_before_envelopes(database: &Database, records: &[(&str, &[u8])]) {
    let write = begin(database).unwrap();
    for (key, json) in records {
        let mut entries = write.open_table(ENTRIES).unwrap();
        entries.insert(*key, (5, *json)).unwrap();
    }
    write
        .open_table(COUNTERS)
        .unwrap()
        .insert(SCHEMA, 1)
        .unwrap();
    write.commit().unwrap();
}

/// Records have had envelopes since the second one.
pub(super) const SCHEMA_VERSION: u64 = 2;
pub(super) const SCHEMA: &str = "schema";
const REVISION: &str = "revision";
pub(super) const ENTRIES_NAME: &str = "entries";
const ENTRIES: TableDefinition<'static, &'static str, (u64, &'static [u8])> =
    TableDefinition::new(ENTRIES_NAME);
pub(super) const COUNTERS: TableDefinition<'static, &'static str, u64> =
    TableDefinition::new("counters");
/// Key to lease.
const LEASED: TableDefinition<'static, &'static str, i64> = TableDefinition::new("leased");
