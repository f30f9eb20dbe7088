//! A member that was taken over: with its own certificate it tries to write what is not its own, past its agent.

use std::fs;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use super::refusals::{Door, Shown};
use super::{STEP, cluster_of, hosts_of, pair, reaches, token};
use crate::harness::{Host, eventually};

/// A connection to the store as a member has it.
struct Member {
    door: Door,
    calls: u64,
}

impl Member {
    fn of(host: &Host) -> Self {
        let mut door = Door::open(&host.netns, Some(shown(host)));
        assert_eq!(door.ask(&json!("store")), json!("serving"));
        Self { door, calls: 0 }
    }

    fn call(&mut self, call: &Value) -> Value {
        self.calls += 1;
        let said = self.door.ask(&json!({"number": self.calls, "call": call}));
        assert_eq!(said["answer"]["number"], self.calls, "{said}");
        said["answer"]["answer"].clone()
    }

    fn write(&mut self, key: &str, value: Option<Value>, lease: Option<i64>) -> Value {
        let change = json!({"key": key, "expected": "anything", "value": value, "lease": lease});
        self.call(&json!({"transact": [change]}))
    }
}

fn shown(host: &Host) -> Shown {
    let read = |name| fs::read(host.state_dir().join("cluster").join(name)).unwrap();
    let certificate = CertificateDer::from_pem_slice(&read("host.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&read("host.key")).unwrap();
    (certificate, key)
}

#[test]
fn a_member_gets_no_key_of_the_ca_without_an_order() {
    let lab = pair();
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let refused = |host: &Host| cluster_of(host)["refused"].as_u64().unwrap();
    let before = refused(one);
    let own = cluster_of(two)["host"].as_str().unwrap().to_owned();
    let ca = fs::read_to_string(two.state_dir().join("cluster/ca.pem")).unwrap();
    let asked = [json!({"manage": {}}), json!({"manage": {"ca": ca}})];
    for request in &asked {
        let said = Door::open(&two.netns, Some(shown(two))).ask(request);
        let why = said["refused"].as_str().unwrap();
        assert!(why.contains("no order"), "{said}");
    }
    eventually(STEP, "each is counted", || {
        (refused(one) - before == 2).then_some(())
    });
    let log = one.log();
    let line = log.lines().find(|line| line.contains("without an order"));
    assert!(line.is_some_and(|line| line.contains(&own)), "{log}");
    // Neither does an order of its own making give it one, nor its word that it is a manager.
    let mut member = Member::of(two);
    let order = json!({"by": own, "ordered_s": 1});
    let manager = json!({"address": "192.0.2.2:4790"});
    for (key, value) in [
        (format!("promote/{own}"), Some(order.clone())),
        (format!("demote/{own}"), Some(order)),
        (format!("manager/{own}"), Some(manager)),
    ] {
        let answer = member.write(&key, value, None);
        assert!(answer["failed"]["denied"].is_object(), "{key}: {answer}");
    }
    let said = Door::open(&two.netns, Some(shown(two))).ask(&asked[0]);
    assert!(said["refused"].is_string(), "{said}");
    assert!(!two.state_dir().join("cluster/ca.key").exists());
}

#[test]
fn a_member_that_was_taken_over_writes_nothing_that_is_not_its_own() {
    let lab = pair();
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let (manager, own) = (
        cluster_of(one)["host"].clone(),
        cluster_of(two)["host"].clone(),
    );
    let (manager, own) = (manager.as_str().unwrap(), own.as_str().unwrap());
    let secret = token(one);
    let mut member = Member::of(two);
    let listed = member.call(&json!({"list": ""}));
    let entries = listed["entries"].as_array().unwrap().clone();
    let keys = |kind: &str| -> Vec<String> {
        let keys = entries.iter().map(|entry| entry["key"].as_str().unwrap());
        let of_kind = keys.filter(|key| key.starts_with(kind));
        of_kind.map(str::to_owned).collect()
    };
    for hidden in ["token/", "issued/", "lease/"] {
        assert_eq!(keys(hidden), [""; 0], "{hidden}");
    }
    assert_eq!(keys("host/").len(), 2);
    let value_of = |key: &str| {
        let entry = entries.iter().find(|entry| entry["key"] == key);
        entry.unwrap()["value"].clone()
    };
    let endpoints = keys("endpoint/");
    let victim = endpoints
        .iter()
        .find(|key| value_of(key)["host"] == manager);
    let victim = victim.unwrap();
    let lease = member.call(&json!({"grant": 30_000}))["lease"]
        .as_i64()
        .unwrap();
    let stolen = |field: &str, to: Value| {
        let mut told = value_of(victim);
        told["host"] = json!(own);
        told[field] = to;
        Some(told)
    };
    let (network, _) = victim
        .strip_prefix("endpoint/")
        .unwrap()
        .split_once('/')
        .unwrap();
    let new = format!("endpoint/{network}/{:064x}", 7);
    let page = keys("block/").into_iter().next().unwrap();
    let alive = |host: &str| Some(value_of(&format!("alive/{host}")));
    let before = cluster_of(one)["denied"].as_u64().unwrap();
    let tries = [
        (format!("alive/{manager}"), alive(manager)),
        (format!("alive/{manager}"), None),
        // Its own key with the address of another host.
        (format!("alive/{own}"), alive(manager)),
        (format!("host/{manager}"), None),
        (
            "host/a0ffffffffffffff".to_owned(),
            Some(value_of(&format!("host/{own}"))),
        ),
        (
            format!("manager/{own}"),
            Some(json!({"address": "192.0.2.2:4790"})),
        ),
        (format!("manager/{manager}"), None),
        (
            "token/00112233445566ff".to_owned(),
            Some(json!({"secret_hash": "", "expires_s": 1_u64 << 40})),
        ),
        (format!("issued/{own}/01"), None),
        (
            format!("revoked/{manager}"),
            Some(json!({"name": "host-1", "revoked_s": 1})),
        ),
        ("cluster".to_owned(), None),
        ("ca".to_owned(), None),
        // Another's endpoint: taken away, taken over, and its MAC and address under an id of its own.
        (victim.clone(), None),
        (victim.clone(), stolen("epoch", json!(1))),
        (new.clone(), stolen("ipv4", json!("10.9.0.77"))),
        (new.clone(), stolen("mac", json!([2, 0, 0, 0, 0, 7]))),
        (new, stolen("sequence", json!(u32::MAX))),
        (page, Some(json!({"10.9.0.0/24": own}))),
        (format!("network/{network}"), None),
        ("name/far".to_owned(), None),
        (keys("vni/").remove(0), None),
    ];
    let count = u64::try_from(tries.len()).unwrap();
    for (key, value) in tries {
        let answer = member.write(&key, value.clone(), value.as_ref().map(|_| lease));
        assert!(
            answer["failed"]["denied"].is_object(),
            "{key} {value:?}: {answer}"
        );
    }
    // A lease of another host is nobody else's.
    let answer = member.write(&format!("alive/{own}"), alive(own), Some(lease + 1));
    assert_eq!(answer["failed"], "lease_gone", "{answer}");
    assert_eq!(cluster_of(one)["denied"].as_u64().unwrap() - before, count);
    assert!(one.log().contains("a member's write is denied"));

    let after = member.call(&json!({"list": ""}))["entries"]
        .as_array()
        .unwrap()
        .clone();
    for kind in [
        "host/",
        "endpoint/",
        "network/",
        "name/",
        "vni/",
        "block/",
        "manager/",
    ] {
        let of_kind = |entries: &[Value]| -> Vec<Value> {
            let is_it = |entry: &&Value| entry["key"].as_str().unwrap().starts_with(kind);
            entries.iter().filter(is_it).cloned().collect()
        };
        assert_eq!(of_kind(&after), of_kind(&entries), "{kind}");
    }
    reaches(one, "a", "b");
    assert_eq!(hosts_of(two).len(), 2);
    for verb in [&["cluster", "token"][..], &["cluster", "revoke", "host-1"]] {
        let refused = two.tapestry(verb).refused(1);
        assert!(
            refused.contains("no manager") && refused.contains("host-1"),
            "{refused}"
        );
    }
    drop(secret);

    one.tapestry(&["cluster", "revoke", "host-2"]).ok();
    eventually(STEP, "nobody answers it any more", || {
        let mut door = Door::open(&two.netns, Some(shown(two)));
        door.ask(&json!("store"))["refused"]
            .is_string()
            .then_some(())
    });
}
