//! Records in the store. The agent is their only writer on a single host, so it expects nothing of what it overwrites.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{Change, Expected, OpenStore, RedbStore, Store, StoreError};

pub(super) struct Journal(RedbStore);

impl Journal {
    pub(super) fn open(state_dir: &Path) -> Result<Self, OpenStore> {
        RedbStore::open(state_dir).map(Self)
    }

    /// On disk when this returns.
    pub(super) fn put(&self, key: &str, record: &impl Serialize) -> Result<(), StoreError> {
        self.0
            .transact(&[Change::encode(key, record, Expected::Anything)?])
            .map(|_| ())
    }

    pub(super) fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.delete(key, Expected::Anything)
    }

    pub(super) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        self.0.get(key)?.map(|entry| entry.decode()).transpose()
    }

    pub(super) fn list<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, StoreError> {
        self.0
            .list(prefix)?
            .iter()
            .map(|entry| entry.decode())
            .collect()
    }
}
