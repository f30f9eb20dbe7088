//! What the store of a cluster begins with that is restored from a backup.
//!
//! # Theory of operation
//!
//! Put back is what nobody else could say again: who is a member and who was shut out, networks, whose blocks are whose,
//! certificates on record. What hosts say under their leases they say again by themselves, as after every time without a store.
//! How far they have followed is void, because the new store counts its revisions anew.
//!
//! The managers of before are shut out. Each of them has a store of its own on disk, and would go on with that when it came
//! back: two halves of a cluster, each with half of the hosts, would give the same addresses out. So their certificates are
//! void, and their blocks are free.
//!
//! The host that restores the cluster may have been one of them, by another id. Its containers run on, and it goes on giving out
//! addresses of the blocks that it has on record. Those are its own from the beginning, before any other host can take them.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::blocks::{forget_owner, page_key};
use super::{
    ADDRESSES, ALIVE, ASKS, BLOCKS, CLUSTER, DEMOTE, ENDPOINTS, Entry, FOLLOWED, HOSTS, HostRecord,
    ISSUED, LEASES, MANAGERS, NETWORKS, PROMOTE, PageRecord, REVOKED, TOKENS,
};
use crate::ipam::block::{page_of, without as rest_of};
use crate::record::NetworkRecord;

/// A record that is put back.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    pub key: String,
    pub value: Value,
}

impl Restored {
    /// Whether it stays only as long as certificates are on record.
    pub fn is_certificate(&self) -> bool {
        self.key.starts_with(ISSUED)
    }
}

/// Addresses that the host which restores a cluster gives out, or has given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The network's id.
    pub network: String,
    pub block: IpNet,
}

/// What is put back of a backup, but for the record of the cluster itself. `own` is the host that does so, and what it holds.
pub fn restored(backup: &[Entry], now_s: u64, own: (&str, &[Held])) -> Vec<Restored> {
    let managers: BTreeSet<&str> = managers(backup).collect();
    let mut all: Vec<_> = backup
        .iter()
        .filter(|entry| !is_void(&entry.key, &managers))
        .map(|entry| Restored {
            key: entry.key.clone(),
            value: without(&managers, entry),
        })
        .collect();
    all.extend(managers.iter().map(|manager| {
        let key = format!("{HOSTS}{manager}");
        let host = backup.iter().find(|entry| entry.key == key);
        let host = host.and_then(|host| host.decode::<HostRecord>().ok());
        let name = host.map_or((*manager).to_owned(), |host| host.name);
        // As a `RevokedRecord` is written.
        Restored {
            key: format!("{REVOKED}{manager}"),
            value: json!({"name": name, "revoked_s": now_s}),
        }
    }));
    let (host, held) = own;
    let mut held: Vec<&Held> = held.iter().collect();
    // A wide one comes before what is in it.
    held.sort_by_key(|held| held.block.prefix_len());
    for held in held {
        reserve(&mut all, host, held);
    }
    all
}

/// What `host` holds is its own, but for what another host owns.
fn reserve(all: &mut Vec<Restored>, host: &str, held: &Held) {
    let Some(key) = page_around(all, held) else {
        return;
    };
    let known = all.iter().position(|record| record.key == key);
    let page = known.map(|at| serde_json::from_value(all[at].value.clone()));
    let Ok(mut page) = page.unwrap_or_else(|| Ok(PageRecord::default())) else {
        return;
    };
    let mut parts = vec![held.block];
    for taken in page.owners.keys() {
        let left = parts.into_iter().filter(|part| !taken.contains(part));
        parts = left.flat_map(|part| rest_of(part, *taken)).collect();
    }
    let of_host = parts.into_iter().map(|part| (part, host.to_owned()));
    page.owners.extend(of_host);
    let Ok(value) = serde_json::to_value(&page) else {
        return;
    };
    match known {
        Some(at) => all[at].value = value,
        None => all.push(Restored { key, value }),
    }
}

/// The key of the page that a block is on; `None` where its network is not put back.
fn page_around(all: &[Restored], held: &Held) -> Option<String> {
    let network = format!("{NETWORKS}{}", held.network);
    let network = all.iter().find(|record| record.key == network)?;
    let network: NetworkRecord = serde_json::from_value(network.value.clone()).ok()?;
    let mut subnets = network.subnets.iter().map(|subnet| subnet.net.trunc());
    let subnet = subnets.find(|subnet| subnet.contains(&held.block))?;
    let page = page_of(subnet, held.block.addr());
    Some(page_key(&held.network, page))
}

/// The hosts that were managers, by id.
pub fn managers(backup: &[Entry]) -> impl Iterator<Item = &str> {
    let keys = backup.iter().map(|entry| &*entry.key);
    keys.filter_map(|key| key.strip_prefix(MANAGERS))
}

fn is_void(key: &str, managers: &BTreeSet<&str>) -> bool {
    let is_managers = |kind: &str| {
        let host = key
            .strip_prefix(kind)
            .and_then(|rest| rest.split('/').next());
        host.is_some_and(|host| managers.contains(host))
    };
    key == CLUSTER
        || SAID_AGAIN.iter().any(|kind| key.starts_with(kind))
        || [HOSTS, ISSUED, REVOKED].into_iter().any(is_managers)
}

/// A page without the blocks of `managers`; any other value as it is.
fn without(managers: &BTreeSet<&str>, entry: &Entry) -> Value {
    let page = match entry.key.starts_with(BLOCKS) {
        true => entry.decode::<PageRecord>().ok(),
        false => None,
    };
    let Some(page) = page else {
        return entry.value.clone();
    };
    let left = managers.iter().fold(page, |page, manager| {
        forget_owner(&page, manager).unwrap_or(page)
    });
    serde_json::to_value(&left).unwrap_or_else(|_| entry.value.clone())
}

/// What hosts say by themselves, and what is void without the store that it was in.
const SAID_AGAIN: [&str; 10] = [
    TOKENS, ALIVE, LEASES, MANAGERS, PROMOTE, DEMOTE, FOLLOWED, ENDPOINTS, ASKS, ADDRESSES,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: Value) -> Entry {
        Entry {
            key: key.to_owned(),
            value,
            revision: 7,
        }
    }

    #[test]
    fn what_nobody_says_again_is_put_back_and_managers_are_shut_out() {
        let host = |name: &str| json!({"name": name, "address": "192.0.2.1", "joined_s": 1});
        let page = json!({"10.9.0.0/28": "0a01", "10.9.0.16/28": "a002"});
        let backup = [
            entry("cluster", json!({"id": "c", "created_s": 1})),
            entry("ca", json!({"certificate": "pem"})),
            entry("host/0a01", host("one")),
            entry("host/a002", host("two")),
            entry("manager/0a01", json!({"address": "192.0.2.1:4790"})),
            entry("alive/a002", json!({})),
            entry("followed/a002", json!({"revision": 6})),
            entry("token/1", json!({})),
            entry("lease/5", json!("a002")),
            entry("endpoint/n/e", json!({})),
            entry("ask/a002/n/ipv4", json!({})),
            entry("issued/0a01/1", json!({})),
            entry("issued/a002/2", json!({})),
            entry("network/n", json!({"id": "n"})),
            entry("networks", json!(5)),
            entry("vni/4096", json!({"network": "n"})),
            entry("block/n/10.9.0.0", page),
            entry("revoked/a003", json!({"name": "three", "revoked_s": 2})),
        ];
        let restored = restored(&backup, 9, ("a009", &[]));
        let keys: Vec<_> = restored.iter().map(|record| &*record.key).collect();
        assert_eq!(
            keys,
            [
                "ca",
                "host/a002",
                "issued/a002/2",
                "network/n",
                "networks",
                "vni/4096",
                "block/n/10.9.0.0",
                "revoked/a003",
                "revoked/0a01",
            ]
        );
        let value = |key: &str| &restored.iter().find(|it| it.key == key).unwrap().value;
        assert_eq!(value("block/n/10.9.0.0"), &json!({"10.9.0.16/28": "a002"}));
        assert_eq!(
            value("revoked/0a01"),
            &json!({"name": "one", "revoked_s": 9})
        );
        assert_eq!(value("network/n"), &json!({"id": "n"}));
        let certificates = restored.iter().filter(|it| it.is_certificate());
        assert_eq!(certificates.count(), 1);
    }

    #[test]
    fn what_the_host_that_restores_holds_is_its_own_before_anybody_can_take_it() {
        let host = |name: &str| json!({"name": name, "address": "192.0.2.1", "joined_s": 1});
        let network = crate::sample::network("n", &["10.9.0.0/16"]);
        let page = json!({"10.9.0.0/28": "0a01", "10.9.0.16/28": "a002", "10.9.0.32/29": "a002"});
        let (id, key) = (&network.id, |page: &str| {
            format!("block/{}/{page}", network.id)
        });
        let backup = [
            entry("host/0a01", host("one")),
            entry("host/a002", host("two")),
            entry("manager/0a01", json!({"address": "192.0.2.1:4790"})),
            entry(
                &format!("network/{id}"),
                serde_json::to_value(&network).unwrap(),
            ),
            entry(&key("10.9.0.0"), page),
        ];
        let held = |network: &str, block: &str| Held {
            network: network.to_owned(),
            block: block.parse().unwrap(),
        };
        let held = [
            // An endpoint in a block of its own, one in another host's, and one on a page that was not there.
            held(id, "10.9.0.3/32"),
            held(id, "10.9.0.17/32"),
            held(id, "10.9.7.9/32"),
            held(id, "10.9.0.0/28"),
            // Of half of it, another host is the owner.
            held(id, "10.9.0.32/28"),
            held("gone", "10.9.0.64/28"),
        ];
        let restored = restored(&backup, 9, ("0a07", &held));
        let page = |first: &str| {
            let page = restored.iter().find(|record| record.key == key(first));
            page.unwrap().value.clone()
        };
        assert_eq!(
            page("10.9.0.0"),
            json!({
                "10.9.0.0/28": "0a07",
                "10.9.0.16/28": "a002",
                "10.9.0.32/29": "a002",
                "10.9.0.40/29": "0a07",
            })
        );
        assert_eq!(page("10.9.7.0"), json!({"10.9.7.9/32": "0a07"}));
        let pages = restored.iter().filter(|it| it.key.starts_with(BLOCKS));
        assert_eq!(pages.count(), 2);
    }
}
