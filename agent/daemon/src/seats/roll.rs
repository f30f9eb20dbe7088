//! The roll: where each endpoint is, of all networks. So that nobody asks every network for one endpoint, or for one sandbox's.

use std::collections::BTreeMap;
use std::sync::Mutex;

use agent_core::record::{EndpointRecord, Owner};

use crate::locks::lock;

/// Who has a seat, be it coming or going. Seats keep it: it is locked after them.
#[derive(Default)]
pub(crate) struct Roll(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// Networks by endpoint.
    networks: BTreeMap<String, String>,
    owned: BTreeMap<Owner, Sandbox>,
}

/// Endpoints, each with its network, in the order in which they came.
type Sandbox = BTreeMap<(u32, String), String>;

impl Roll {
    pub(super) fn enter(&self, record: &EndpointRecord) {
        let mut entries = lock(&self.0);
        let (id, network) = (record.id.clone(), record.network.clone());
        let sandbox = entries.owned.entry(record.owner.clone()).or_default();
        sandbox.insert((record.rank, id.clone()), network.clone());
        entries.networks.insert(id, network);
    }

    pub(super) fn strike(&self, record: &EndpointRecord) {
        let mut entries = lock(&self.0);
        entries.networks.remove(&record.id);
        if let Some(sandbox) = entries.owned.get_mut(&record.owner) {
            sandbox.remove(&(record.rank, record.id.clone()));
            if sandbox.is_empty() {
                entries.owned.remove(&record.owner);
            }
        }
    }

    /// The network of an endpoint.
    pub(crate) fn network_of(&self, id: &str) -> Option<String> {
        lock(&self.0).networks.get(id).cloned()
    }

    /// The endpoints of a sandbox, each with its network, in the order in which they came.
    pub(crate) fn of(&self, owner: &Owner) -> Vec<(String, String)> {
        let entries = lock(&self.0);
        let sandbox = entries.owned.get(owner).into_iter().flatten();
        sandbox
            .map(|((_, id), network)| (id.clone(), network.clone()))
            .collect()
    }

    /// The rank of the sandbox's last endpoint.
    pub(crate) fn last_rank(&self, owner: &Owner) -> Option<u32> {
        let entries = lock(&self.0);
        let (last, _) = entries.owned.get(owner)?.last_key_value()?;
        Some(last.0)
    }
}

#[cfg(test)]
mod tests {
    use agent_core::record::NetnsId;

    use super::*;

    fn endpoint(id: &str, network: &str, inode: u64, rank: u32) -> EndpointRecord {
        let sandbox = NetnsId { device: 4, inode };
        serde_json::from_value(serde_json::json!({
            "id": id, "network": network, "owner": { "sandbox": sandbox }, "name": id,
            "mac": [2, 0, 0, 0, 0, 1], "rank": rank, "aliases": [], "dns": [],
        }))
        .unwrap()
    }

    #[test]
    fn an_endpoint_is_found_by_itself_and_by_its_sandbox_until_it_is_struck() {
        let roll = Roll::default();
        let all = [
            endpoint("b", "far", 7, 1),
            endpoint("a", "near", 7, 0),
            endpoint("c", "near", 8, 0),
        ];
        all.iter().for_each(|record| roll.enter(record));
        let owner = &all[0].owner;
        let pair = |id: &str, network: &str| (id.to_owned(), network.to_owned());
        assert_eq!(roll.of(owner), [pair("a", "near"), pair("b", "far")]);
        assert_eq!(roll.last_rank(owner), Some(1));
        assert_eq!(roll.network_of("c").as_deref(), Some("near"));
        all.iter().for_each(|record| roll.strike(record));
        let entries = lock(&roll.0);
        assert!(entries.networks.is_empty() && entries.owned.is_empty());
    }
}
