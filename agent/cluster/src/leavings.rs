//! What a host had in the store, and leaves.

use agent_core::shared::asks::Ask;
use agent_core::shared::blocks::forget_owner;
use agent_core::shared::{
    ADDRESSES, ASKS, BLOCKS, ENDPOINTS, EndpointShared, Holder, ISSUED, LEASES, PageRecord,
};
use agent_store::{Change, Entry, Expected, LeaseId, Store, StoreError};

/// What a host had in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    pub endpoints: usize,
    /// Of addresses.
    pub blocks: usize,
    pub certificates: usize,
}

/// Deletes what `host` shared and held.
pub(crate) fn forget_host(store: &dyn Store, host: &str) -> Result<Left, StoreError> {
    let is_its_endpoint = |entry: &Entry| {
        let shared = entry.decode::<EndpointShared>();
        shared.is_ok_and(|shared| shared.host == host)
    };
    let is_its_claim = |entry: &Entry| {
        let holder = entry.decode::<Holder>();
        holder.is_ok_and(|holder| holder.host == host)
    };
    let is_its_ask = |entry: &Entry| Ask::of_key(&entry.key).is_some_and(|ask| ask.asker == host);
    let issued = format!("{ISSUED}{host}/");
    let left = Left {
        endpoints: delete(store, ENDPOINTS, is_its_endpoint)?,
        blocks: give_back(store, host)?,
        certificates: delete(store, &issued, |_| true)?,
    };
    delete(store, ADDRESSES, is_its_claim)?;
    delete(store, ASKS, is_its_ask)?;
    for lease in store.list(LEASES)? {
        let id = lease
            .key
            .strip_prefix(LEASES)
            .and_then(|id| id.parse().ok());
        if let (Ok(owner), Some(id)) = (lease.decode::<String>(), id)
            && owner == host
        {
            store.end_lease(LeaseId(id))?;
        }
    }
    Ok(left)
}

/// Deletes what `is_its` picks under a prefix. Returns how much that was.
fn delete(
    store: &dyn Store,
    prefix: &str,
    is_its: impl Fn(&Entry) -> bool,
) -> Result<usize, StoreError> {
    let mut gone = store.list(prefix)?;
    gone.retain(is_its);
    for some in gone.chunks(CHANGES_MAX) {
        let deletions: Vec<_> = some
            .iter()
            .map(|entry| Change::delete(&entry.key, Expected::Anything))
            .collect();
        store.transact(&deletions)?;
    }
    Ok(gone.len())
}

/// Its blocks are nobody's. Returns how many they were.
fn give_back(store: &dyn Store, host: &str) -> Result<usize, StoreError> {
    let mut count = 0;
    for entry in store.list(BLOCKS)? {
        let Ok(page) = entry.decode::<PageRecord>() else {
            continue;
        };
        let Some(left) = forget_owner(&page, host) else {
            continue;
        };
        let change = Change::encode(&entry.key, &left, Expected::written(&entry))?;
        match store.transact(&[change]) {
            // Whoever changed it left out what is of no member.
            Ok(_) | Err(StoreError::Changed { .. } | StoreError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        count += page.owners.len() - left.owners.len();
    }
    Ok(count)
}

/// Of one transaction; etcd takes 128.
const CHANGES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use agent_store::RedbStore;
    use serde_json::json;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_host_had_is_deleted_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(dir.path()).unwrap();
        let endpoint = |host: &str| {
            json!({"host": host, "epoch": 1, "sequence": 1, "mac": [2, 0, 0, 0, 0, 1], "ipv4": null,
                "ipv6": null, "name": "x", "aliases": [], "hostname": null, "short_id": null})
        };
        let page = json!({"10.9.0.0/28": "a001", "10.9.0.16/28": "a002", "10.9.0.32/28": "a001"});
        let lease = store.grant(Duration::from_secs(60)).unwrap();
        for (key, value) in [
            ("endpoint/n/1", endpoint("a001")),
            ("endpoint/n/2", endpoint("a002")),
            ("block/n/10.9.0.0", page),
            ("issued/a001/1", json!({})),
            ("issued/a001/2", json!({})),
            ("issued/a002/1", json!({})),
        ] {
            store.put_if(key, value, Expected::Absent).unwrap();
        }
        let owner = Change::put(
            format!("lease/{}", lease.0),
            json!("a001"),
            Expected::Absent,
        );
        store.transact(&[owner.under(lease)]).unwrap();
        let left = forget_host(&store, "a001").unwrap();
        let expected = Left {
            endpoints: 1,
            blocks: 2,
            certificates: 2,
        };
        assert_eq!(left, expected);
        let keys = store.list("").unwrap().into_iter().map(|entry| entry.key);
        let keys: Vec<_> = keys.collect();
        assert_eq!(keys, ["block/n/10.9.0.0", "endpoint/n/2", "issued/a002/1"]);
        assert!(matches!(
            store.keep_alive(lease),
            Err(StoreError::LeaseGone)
        ));
        assert_eq!(forget_host(&store, "a001").unwrap(), Left::default());
    }
}
