//! What the agent remembers: networks, endpoints, containers, as JSON under keys.
//!
//! # Theory of operation
//!
//! A [`Store`] is a map from keys (`networks/<id>`, `endpoints/<id>`) to JSON values. Every change is a transaction: a
//! list of [`Change`]s, each with an [`Expected`] state of its key, that happens as a whole or not at all. A transaction
//! that happened raises the store's revision by one, and the keys it wrote carry that revision. So two writers never
//! overwrite each other unknowingly, and several keys that belong together never disagree. These are etcd's semantics;
//! an implementation over etcd differs only in who else may write. A store that was set back to an older state counts its
//! revisions anew, so that one of them may name another write than before: what was planned by a record expects its value
//! too ([`Expected::written`]).
//!
//! Watches are bounded. A watcher that falls behind is told [`WatchEvent::Lagged`] and lists again. So is one whose
//! connection to the store broke, once it is there again.
//!
//! A key may be put under a [`LeaseId`]. It goes away with the lease: when somebody ends that, or when nobody has kept it
//! alive for its time to live. A lease lives as long as its store runs without interruption, at least.

#[cfg(test)]
mod contract;
mod etcd_store;
mod leases;
mod manager_store;
mod redb_store;
mod watch;

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use etcd_store::{
    ChangeMembers, ConnectEtcd, EtcdMember, EtcdOptions, EtcdStore, EtcdTls, Pause,
};
pub use manager_store::{Connection, Dial, Dialing, ManagerStore, serve, wire};
pub use redb_store::{OpenStore, RedbStore};
pub use watch::{Watch, WatchEvent};

/// A durable map with revisions. Calls block until the disk has it; asynchronous callers use `spawn_blocking`.
pub trait Store: Send + Sync {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Every entry whose key starts with `prefix`, in key order.
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError>;

    /// All changes or none. Returns the revision they got.
    fn transact(&self, changes: &[Change]) -> Result<u64, StoreError>;

    /// Changes under `prefix` from now on.
    fn watch(&self, prefix: &str) -> Watch;

    /// A new lease that lasts `ttl` (whole seconds, rounded up; a store may give more) from now and from each
    /// [`Store::keep_alive`].
    fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// [`StoreError::LeaseGone`] when it has ended: its keys are gone then.
    fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends a lease and deletes its keys. One that is gone is no error.
    fn end_lease(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Writes one key. Returns its new revision.
    fn put_if(&self, key: &str, value: Value, expected: Expected) -> Result<u64, StoreError> {
        self.transact(&[Change::put(key, value, expected)])
    }

    /// Deletes one key. One that is not there is no error, unless it was expected.
    fn delete(&self, key: &str, expected: Expected) -> Result<(), StoreError> {
        self.transact(&[Change::delete(key, expected)]).map(|_| ())
    }
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    pub value: Value,
    /// That of the transaction which wrote it last.
    pub revision: u64,
}

/// One key's part of a transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub key: String,
    pub expected: Expected,
    /// The new value; None deletes.
    pub value: Option<Value>,
    /// The lease that the key goes with from now on.
    pub lease: Option<LeaseId>,
}

/// Names a lease in its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(pub i64);

/// What must be true of a key for a change to happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    Anything,
    /// The key does not exist.
    Absent,
    /// The key was last written by that revision. For a store that is never set back.
    Revision(u64),
    /// The key was last written by that revision, and this is what was written.
    Written {
        revision: u64,
        value: Value,
    },
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{key} exists already")]
    Exists { key: String },
    #[error("{key} was changed by somebody else; read it again")]
    Changed { key: String },
    #[error("{key} does not exist")]
    Missing { key: String },
    #[error("the stored value of {key} is not understood: {source}")]
    Value {
        key: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the stored value of {key} is damaged: {reason}")]
    Damaged { key: String, reason: String },
    #[error("the state file {path} cannot be used: {reason}")]
    Storage { path: String, reason: String },
    #[error("the lease has ended; take a new one")]
    LeaseGone,
    #[error("{key} is not this host's to write: {why}")]
    Denied { key: String, why: String },
    #[error("the cluster's store at {endpoints} cannot be used: {reason}")]
    Unreachable { endpoints: String, reason: String },
}

impl Entry {
    /// The value as its type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        T::deserialize(&self.value).map_err(|source| StoreError::Value {
            key: self.key.clone(),
            source,
        })
    }
}

impl Change {
    pub fn put(key: impl Into<String>, value: Value, expected: Expected) -> Self {
        Self {
            key: key.into(),
            expected,
            value: Some(value),
            lease: None,
        }
    }

    pub fn delete(key: impl Into<String>, expected: Expected) -> Self {
        Self {
            key: key.into(),
            expected,
            value: None,
            lease: None,
        }
    }

    /// As [`Change::put`], from a type.
    pub fn encode<T: Serialize>(
        key: impl Into<String>,
        value: &T,
        expected: Expected,
    ) -> Result<Self, StoreError> {
        let key = key.into();
        match serde_json::to_value(value) {
            Ok(value) => Ok(Self::put(key, value, expected)),
            Err(source) => Err(StoreError::Value { key, source }),
        }
    }

    /// The same, under a lease.
    #[must_use]
    pub fn under(mut self, lease: LeaseId) -> Self {
        self.lease = Some(lease);
        self
    }
}

impl Expected {
    /// The key is as it was when this was read.
    pub fn written(entry: &Entry) -> Self {
        Self::Written {
            revision: entry.revision,
            value: entry.value.clone(),
        }
    }

    /// Compares with a key's present revision, None where it does not exist. `is` says whether its value is that.
    pub fn check(
        &self,
        key: &str,
        present: Option<u64>,
        is: impl FnOnce(&Value) -> bool,
    ) -> Result<(), StoreError> {
        let key = key.to_owned();
        let is_so = match (self, present) {
            (Self::Anything, _) | (Self::Absent, None) => return Ok(()),
            (Self::Absent, Some(_)) => return Err(StoreError::Exists { key }),
            (Self::Revision(_) | Self::Written { .. }, None) => {
                return Err(StoreError::Missing { key });
            }
            (Self::Revision(wanted), Some(present)) => *wanted == present,
            (Self::Written { revision, value }, Some(present)) => *revision == present && is(value),
        };
        match is_so {
            true => Ok(()),
            false => Err(StoreError::Changed { key }),
        }
    }
}
