//! What a member writes to the store, as a manager judges it: whatever is permitted leaves the others what is theirs.
//!
//! An input is transactions in a row: a key, then `l` (under a lease of the host's) or `k` and the value as JSON, or `d` to delete
//! the key. An empty key ends a transaction.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use agent_core::record::NetworkRecord;
use agent_core::shared::networks::Rest;
use agent_core::shared::permit::{Write, permit};
use agent_core::shared::{
    ALIVE, BLOCKS, ENDPOINTS, EndpointShared, Entry, Event, FOLLOWED, HOSTS, Moment, NAMES,
    NETWORKS, PageRecord, World,
};
use serde_json::{Value, json};

use crate::Target;
use crate::input::parts;

pub(crate) const TARGET: Target = Target {
    name: "permit",
    run,
    length_max: 2048,
    words: &[
        b"\x00\x09host/a0aa",
        b"\x00\x09host/a0bb",
        b"\x00\x0aalive/a0aa",
        b"\x00\x0aalive/a0bb",
        b"\x00\x01d",
        b"\x00\x00",
        b"endpoint/0000000000000000000000000000000000000000000000000000000000000001/",
        b"block/0000000000000000000000000000000000000000000000000000000000000001/10.5.0.0",
        b"\x00\x08networks",
        b"\"host\":\"a0aa\"",
        b"\"host\":\"a0bb\"",
        b"\"10.5.0.0/30\":\"a0bb\"",
        b"\"10.5.0.4/30\":\"a0aa\"",
        b"\"sequence\":4294967295",
        b"\"removed_s\":1000000",
    ],
};

fn run(input: &[u8]) {
    permitted(input);
}

/// Takes one input through everything; returns how many transactions were permitted.
fn permitted(input: &[u8]) -> usize {
    let mut store = Store::new();
    let mut asked = Vec::new();
    let mut parts = parts(input);
    while let Some(key) = parts.next() {
        if key.is_empty() {
            store.transact(&std::mem::take(&mut asked));
        } else if let (Ok(key), Some(rest)) = (std::str::from_utf8(key), parts.next()) {
            asked.extend(Asked::read(key, rest));
        }
    }
    store.transact(&asked);
    store.permitted
}

/// One key's part of a transaction.
struct Asked {
    key: String,
    value: Option<Value>,
    is_leased: bool,
}

impl Asked {
    fn read(key: &str, rest: &[u8]) -> Option<Self> {
        let (kind, text) = rest.split_first()?;
        let value = match kind {
            b'd' => None,
            b'k' | b'l' => Some(serde_json::from_slice(text).ok()?),
            _ => return None,
        };
        Some(Self {
            key: key.to_owned(),
            value,
            is_leased: *kind == b'l',
        })
    }
}

/// What a manager knows, of two hosts with one network.
struct Store {
    world: World,
    revision: u64,
    permitted: usize,
    /// What the other host shares.
    others: Vec<Entry>,
}

impl Store {
    fn new() -> Self {
        let mut store = Self {
            world: World::default(),
            revision: 10,
            permitted: 0,
            others: Vec::new(),
        };
        let host = |name: &str, n: u8| json!({"name": name, "address": format!("192.0.2.{n}"), "joined_s": 1});
        let alive =
            |n: u8| json!({"address": format!("192.0.2.{n}"), "quic_udp_port": 4790, "run": "r"});
        let network = json!({
            "id": NET, "name": "lan", "driver": "overlay",
            "subnets": [{"net": "10.5.0.0/24", "gateway": "10.5.0.1"}],
            "ip_range": null, "internal": false, "mtu": 1420, "dns": [], "options": {}, "labels": {},
            "overlay": {"vni": 4096, "encap": "quic", "remotes": []},
        });
        let endpoint = json!({
            "host": OTHER, "epoch": 3, "sequence": 0, "mac": [2, 0, 0, 0, 0, 3], "ipv4": "10.5.0.3", "ipv6": null,
            "name": "theirs", "aliases": [], "hostname": null, "short_id": null,
        });
        for (key, value) in [
            (format!("{HOSTS}{OWN}"), host("own", 1)),
            (format!("{HOSTS}{OTHER}"), host("other", 2)),
            (format!("{ALIVE}{OWN}"), alive(1)),
            (format!("{ALIVE}{OTHER}"), alive(2)),
            (format!("{NETWORKS}{NET}"), network),
            (format!("{NAMES}lan"), json!(NET)),
            ("vni/4096".to_owned(), json!(NET)),
            (
                format!("{BLOCKS}{NET}/10.5.0.0"),
                json!({"10.5.0.0/30": OTHER, "10.5.0.4/30": OWN, "10.5.0.128/25": OWN}),
            ),
            (format!("{ENDPOINTS}{NET}/{THEIRS}"), endpoint),
        ] {
            store.apply(&key, Some(value));
        }
        let theirs = [
            format!("{HOSTS}{OTHER}"),
            format!("{ALIVE}{OTHER}"),
            format!("{ENDPOINTS}{NET}/{THEIRS}"),
        ];
        store.others = theirs
            .iter()
            .map(|key| store.world.entry(key).expect("it was put").clone())
            .collect();
        store
    }

    fn transact(&mut self, asked: &[Asked]) {
        let keys: BTreeSet<&str> = asked.iter().map(|one| &*one.key).collect();
        // etcd takes a key once in a transaction.
        if asked.is_empty() || keys.len() < asked.len() {
            return;
        }
        let writes: Vec<_> = asked
            .iter()
            .map(|one| Write {
                key: &one.key,
                value: one.value.as_ref(),
                is_leased: one.is_leased,
            })
            .collect();
        let rest = Rest {
            now_s: 1_000_000,
            length: Duration::from_secs(600),
        };
        if permit(&self.world, OWN, &writes, rest).is_err() {
            return;
        }
        self.permitted += 1;
        for one in asked {
            self.judge(one);
            self.apply(&one.key, one.value.clone());
        }
        self.check();
    }

    /// Whose the key is says itself, or what is there.
    fn judge(&self, asked: &Asked) {
        let key = &*asked.key;
        for kind in MANAGERS {
            assert!(!key.starts_with(kind), "{key} is for managers");
        }
        for kind in [HOSTS, ALIVE, FOLLOWED] {
            if let Some(host) = key.strip_prefix(kind) {
                assert_eq!(host, OWN, "{key}");
            }
        }
        if key.starts_with(ENDPOINTS) {
            let before = self.world.find::<EndpointShared>(key);
            assert!(before.is_none_or(|(before, _)| before.host == OWN), "{key}");
            let after = asked.value.clone().map(|value| {
                let shared: EndpointShared = serde_json::from_value(value).unwrap();
                shared
            });
            if let Some(after) = after {
                assert!(asked.is_leased && after.host == OWN, "{key}");
                assert!(after.sequence < u32::MAX);
            }
        }
        let is_known = self.world.contains(key);
        assert!(!(key.starts_with(NETWORKS) && is_known && asked.value.is_some()));
    }

    fn apply(&mut self, key: &str, value: Option<Value>) {
        self.revision += 1;
        let (key, revision) = (key.to_owned(), self.revision);
        let event = match value {
            Some(value) => Event::Put(Entry {
                key,
                value,
                revision,
            }),
            None => Event::Deleted { key, revision },
        };
        self.world.apply(event, &Moment::alone(Instant::now()));
    }

    fn check(&self) {
        for entry in &self.others {
            assert_eq!(self.world.entry(&entry.key), Some(entry), "it is another's");
        }
        if self.world.contains(&format!("{NETWORKS}{NET}")) {
            let page = self
                .world
                .find::<PageRecord>(&format!("{BLOCKS}{NET}/10.5.0.0"));
            let (page, _) = page.expect("the page stays");
            let theirs = "10.5.0.0/30".parse().unwrap();
            assert_eq!(page.owners.get(&theirs).map(String::as_str), Some(OTHER));
        }
        for (id, network) in self.world.under::<NetworkRecord>(NETWORKS) {
            let name = self
                .world
                .find::<String>(&format!("{NAMES}{}", network.name));
            assert_eq!(
                name.map(|(owner, _)| owner).as_deref(),
                Some(id),
                "a name is one network's"
            );
            let vni = network.overlay.expect("it is shared").vni;
            assert!(
                self.world.contains(&format!("vni/{vni}")),
                "its VNI is taken"
            );
        }
    }
}

const OWN: &str = "a0aa";
const OTHER: &str = "a0bb";
const NET: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const THEIRS: &str = "00000000000000000000000000000000000000000000000000000000000000e2";
/// What members never write.
const MANAGERS: [&str; 7] = [
    "token/", "issued/", "revoked/", "manager/", "lease/", "cluster", "ca",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn stored_inputs_are_what_they_say() {
        for input in corpus::read("permit").unwrap() {
            let Some(name) = input.name() else { continue };
            let wanted = match name.strip_prefix("denied_") {
                Some(_) => 0,
                None => name.split('_').next().unwrap().parse().unwrap_or(1),
            };
            assert_eq!(permitted(&input.bytes), wanted, "{name}");
        }
    }
}
