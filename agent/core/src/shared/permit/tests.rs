use std::time::Instant;

use serde_json::json;

use super::*;
use crate::shared::{Entry, Event, Moment, networks};

const OWN: &str = "a0aa";
const OTHER: &str = "a0bb";
const NET: &str = "0000000000000000000000000000000000000000000000000000000000000001";
const E1: &str = "00000000000000000000000000000000000000000000000000000000000000e1";
const E2: &str = "00000000000000000000000000000000000000000000000000000000000000e2";
const REST: Rest = Rest {
    now_s: 1_000_000,
    length: std::time::Duration::from_secs(600),
};

fn world() -> World {
    let mut world = World::default();
    let host = |name: &str, address: &str| json!({"name": name, "address": address, "joined_s": 1});
    let alive = |address: &str| json!({"address": address, "quic_udp_port": 4790, "run": "r"});
    for (revision, (key, value)) in (10..).zip([
        (format!("host/{OWN}"), host("own", "192.0.2.1")),
        (format!("host/{OTHER}"), host("other", "192.0.2.2")),
        (format!("alive/{OWN}"), alive("192.0.2.1")),
        (format!("alive/{OTHER}"), alive("192.0.2.2")),
        (format!("network/{NET}"), network(NET, "lan", 4096)),
        ("name/lan".to_owned(), json!(NET)),
        ("vni/4096".to_owned(), json!(NET)),
        (
            format!("block/{NET}/10.5.0.0"),
            json!({"10.5.0.0/30": OTHER, "10.5.0.4/30": OWN, "10.5.0.128/25": OWN}),
        ),
        (format!("endpoint/{NET}/{E2}"), endpoint(OTHER, 13, 3)),
    ]) {
        put(&mut world, &key, value, revision);
    }
    world
}

fn put(world: &mut World, key: &str, value: Value, revision: u64) {
    let entry = Entry {
        key: key.to_owned(),
        value,
        revision,
    };
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    world.apply(Event::Put(entry), &Moment::alone(Instant::now()));
}

fn delete(world: &mut World, key: String, revision: u64) {
    let deleted = Event::Deleted { key, revision };
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    world.apply(deleted, &Moment::alone(Instant::now()));
}

fn network(id: &str, name: &str, vni: u32) -> Value {
    json!({
        "id": id, "name": name, "driver": "overlay",
        "subnets": [{"net": "10.5.0.0/24", "gateway": "10.5.0.1"}],
        "ip_range": null, "internal": false, "mtu": 1420, "dns": [], "options": {}, "labels": {},
        "overlay": {"vni": vni, "encap": "quic", "remotes": []},
    })
}

/// An endpoint with 10.5.0.`n` and a MAC that ends in `n`.
fn endpoint(host: &str, epoch: u64, n: u8) -> Value {
    json!({
        "host": host, "epoch": epoch, "sequence": 0, "mac": [2, 0, 0, 0, 0, n], "ipv4": format!("10.5.0.{n}"),
        "ipv6": null, "name": "web", "aliases": [], "hostname": null, "short_id": null,
    })
}

/// Judges what `OWN` writes; what is put is under its lease.
fn judge(world: &World, writes: &[(&str, Option<Value>)]) -> Result<(), Denied> {
    let writes: Vec<_> = writes
        .iter()
        .map(|(key, value)| Write {
            key,
            value: value.as_ref(),
            is_leased: true,
        })
        .collect();
    permit(world, OWN, &writes, REST)
}

fn changed(mut value: Value, field: &str, to: Value) -> Option<Value> {
    value[field] = to;
    Some(value)
}

fn an_endpoint(value: Option<Value>) -> Vec<(String, Option<Value>)> {
    vec![(format!("endpoint/{NET}/{E1}"), value)]
}

fn judge_owned(world: &World, writes: &[(String, Option<Value>)]) -> Result<(), Denied> {
    let writes: Vec<_> = writes
        .iter()
        .map(|(key, value)| (&**key, value.clone()))
        .collect();
    judge(world, &writes)
}

#[test]
fn a_host_writes_of_itself() {
    let world = world();
    let address = json!("192.0.2.9");
    let alive = json!({"address": "192.0.2.9", "quic_udp_port": 4790, "run": "x"});
    judge(&world, &[("alive/a0aa", Some(alive))]).unwrap();
    let host = json!({"name": "own", "address": "192.0.2.1", "joined_s": 1});
    judge(&world, &[("host/a0aa", changed(host, "address", address))]).unwrap();
    judge_owned(&world, &an_endpoint(Some(endpoint(OWN, 12, 7)))).unwrap();
    judge(&world, &[("host/a0aa", None), ("alive/a0aa", None)]).unwrap();
}

#[test]
fn what_is_another_hosts_or_a_managers_is_denied() {
    let world = world();
    let alive = json!({"address": "192.0.2.2", "quic_udp_port": 4790, "run": "x"});
    let host = json!({"name": "other", "address": "192.0.2.9", "joined_s": 1});
    let renamed = json!({"name": "other", "address": "192.0.2.1", "joined_s": 1});
    for (key, value) in [
        // Its own key with another's address, another's keys, and the managers' own.
        ("alive/a0aa", Some(alive.clone())),
        ("alive/a0bb", Some(alive)),
        ("alive/a0bb", None),
        ("host/a0bb", Some(host.clone())),
        ("host/a0bb", None),
        ("host/a0cc", Some(host)),
        ("host/a0aa", Some(renamed)),
        (
            "token/0011",
            Some(json!({"secret_hash": "", "expires_s": 1})),
        ),
        ("issued/a0aa/01", None),
        ("revoked/a0aa", None),
        (
            "revoked/a0bb",
            Some(json!({"name": "other", "revoked_s": 1})),
        ),
        ("manager/a0aa", Some(json!({"address": "192.0.2.1:4790"}))),
        ("lease/1", Some(json!(OWN))),
        ("cluster", None),
        ("anything", Some(json!(1))),
    ] {
        assert!(
            judge(&world, &[(key, value.clone())]).is_err(),
            "{key}: {value:?}"
        );
    }
}

#[test]
fn an_endpoint_is_the_hosts_own_with_a_mac_and_addresses_that_are_free() {
    let world = world();
    let own = || endpoint(OWN, 12, 7);
    for (what, value) in [
        ("another host", changed(own(), "host", json!(OTHER))),
        ("an epoch to come", changed(own(), "epoch", json!(99))),
        (
            "the last sequence",
            changed(own(), "sequence", json!(u32::MAX)),
        ),
        (
            "another's MAC",
            changed(own(), "mac", json!([2, 0, 0, 0, 0, 3])),
        ),
        (
            "a multicast MAC",
            changed(own(), "mac", json!([1, 0, 0, 0, 0, 7])),
        ),
        (
            "another's address",
            changed(own(), "ipv4", json!("10.5.0.3")),
        ),
        ("the gateway's", changed(own(), "ipv4", json!("10.5.0.1"))),
        ("one outside", changed(own(), "ipv4", json!("10.6.0.7"))),
        (
            "one that is not claimed",
            changed(own(), "ipv4", json!("10.5.0.8")),
        ),
        ("rubbish", Some(json!("rubbish"))),
    ] {
        assert!(judge_owned(&world, &an_endpoint(value)).is_err(), "{what}");
    }
    let other = format!("endpoint/{NET}/{E2}");
    let elsewhere = &*format!("endpoint/00/{E1}");
    for (key, value) in [
        (&*other, Some(own())),
        (&other, None),
        (elsewhere, Some(own())),
    ] {
        assert!(judge(&world, &[(key, value)]).is_err(), "{key}");
    }
    let value = own();
    let unleased = Write {
        key: &format!("endpoint/{NET}/{E1}"),
        value: Some(&value),
        is_leased: false,
    };
    assert!(permit(&world, OWN, &[unleased], REST).is_err());
}

#[test]
fn blocks_are_taken_where_nobody_has_them_and_given_by_their_owner() {
    let world = world();
    let key = format!("block/{NET}/10.5.0.0");
    let page = |owners: Value| judge(&world, &[(&key, Some(owners))]);
    // More for itself, less for itself, and some of its own for another.
    page(json!({"10.5.0.0/30": OTHER, "10.5.0.4/30": OWN, "10.5.0.8/29": OWN})).unwrap();
    page(json!({"10.5.0.0/30": OTHER})).unwrap();
    page(json!({"10.5.0.0/30": OTHER, "10.5.0.4/30": OTHER})).unwrap();
    page(json!({"10.5.0.0/30": OWN})).unwrap_err();
    page(json!({"10.5.0.4/30": OWN})).unwrap_err();
    page(json!({"10.5.0.0/30": OTHER, "10.5.0.8/29": "a0cc"})).unwrap_err();
    for (key, value) in [
        (key.clone(), None),
        (format!("block/{NET}/10.5.0.4"), Some(json!({}))),
        (format!("block/{NET}/10.6.0.0"), Some(json!({}))),
        ("block/00/10.5.0.0".to_owned(), Some(json!({}))),
        (
            format!("address/{NET}/10.5.0.7"),
            Some(json!({"host": OWN, "endpoint": E1, "reserve": false})),
        ),
    ] {
        assert!(judge(&world, &[(&key, value)]).is_err(), "{key}");
    }
}

#[test]
fn who_asks_for_an_address_is_who_it_says_and_who_is_asked_answers() {
    let mut world = world();
    let (own, other) = (
        format!("ask/{OWN}/{NET}/ipv4"),
        format!("ask/{OTHER}/{NET}/ipv4"),
    );
    let of = |host: &str| Some(json!({"host": host}));
    judge(&world, &[(&own, of(OTHER))]).unwrap();
    assert!(judge(&world, &[(&other, of(OWN))]).is_err());
    put(&mut world, &other, json!({"host": OWN}), 50);
    judge(&world, &[(&other, None)]).unwrap();
    put(&mut world, &other, json!({"host": OTHER}), 51);
    assert!(judge(&world, &[(&other, None)]).is_err());
    // In a network that is gone nobody answers it.
    let of_gone = format!("ask/{OTHER}/{GONE}/ipv4");
    put(&mut world, &of_gone, json!({"host": OTHER}), 52);
    judge(&world, &[(&of_gone, None)]).unwrap();
}

const GONE: &str = "0000000000000000000000000000000000000000000000000000000000000009";

type Writes = Vec<(String, Option<Value>)>;

/// What makes a network, as [`crate::shared::networks::create`] writes it.
fn creation(world: &World, made: Value) -> Writes {
    let record = serde_json::from_value(made).unwrap();
    let (_, writes) = networks::create(world, record, None, REST).unwrap();
    let writes = writes.into_iter();
    writes.map(|write| (write.key, write.value)).collect()
}

fn removal(world: &World) -> Writes {
    let key = format!("network/{NET}");
    let (record, _) = world.find::<NetworkRecord>(&key).unwrap();
    let writes = networks::remove(world, &record, REST.now_s).unwrap();
    let writes = writes.into_iter();
    writes.map(|write| (write.key, write.value)).collect()
}

#[test]
fn a_network_comes_as_a_whole_or_not_at_all() {
    let world = world();
    let mut two = network(
        "0000000000000000000000000000000000000000000000000000000000000002",
        "two",
        0,
    );
    two["subnets"] = json!([{"net": "10.6.0.0/24", "gateway": "10.6.0.1"}]);
    let writes = creation(&world, two.clone());
    judge_owned(&world, &writes).unwrap();
    for missing in 0..writes.len() {
        let mut part = writes.clone();
        part.remove(missing);
        assert!(
            judge_owned(&world, &part).is_err(),
            "without {:?}",
            writes[missing]
        );
    }
    let spoilt = |key: &str, field: &str, to: Value| {
        let mut writes = writes.clone();
        let write = writes
            .iter_mut()
            .find(|(name, _)| name.starts_with(key))
            .unwrap();
        write.1.as_mut().unwrap()[field] = to;
        writes
    };
    for (what, writes) in [
        (
            "a subnet of another",
            spoilt(
                "network/",
                "subnets",
                json!([{"net": "10.5.0.0/25", "gateway": "10.5.0.1"}]),
            ),
        ),
        (
            "a host's address",
            spoilt(
                "network/",
                "subnets",
                json!([{"net": "192.0.2.0/24", "gateway": "192.0.2.9"}]),
            ),
        ),
        ("another id", spoilt("network/", "id", json!(NET))),
        (
            "another's VNI",
            spoilt(
                "network/",
                "overlay",
                json!({"vni": 4096, "encap": "quic", "remotes": []}),
            ),
        ),
        ("a VNI of somebody", spoilt("vni/", "network", json!(NET))),
    ] {
        assert!(judge_owned(&world, &writes).is_err(), "{what}");
    }
    let mut renumbered = writes.clone();
    renumbered.last_mut().unwrap().1 = Some(json!("77"));
    assert!(judge_owned(&world, &renumbered).is_err());
}

#[test]
fn a_network_goes_as_a_whole_and_leaves_a_tombstone() {
    let world = world();
    let mut writes = removal(&world);
    for missing in 0..writes.len() {
        let mut part = writes.clone();
        part.remove(missing);
        assert!(
            judge_owned(&world, &part).is_err(),
            "without {:?}",
            writes[missing]
        );
    }
    writes.push((format!("block/{NET}/10.5.0.0"), None));
    judge_owned(&world, &writes).unwrap();
    // One that has rested already.
    let vni = writes
        .iter_mut()
        .find(|(key, _)| key.starts_with("vni/"))
        .unwrap();
    vni.1.as_mut().unwrap()["removed_s"] = json!(1);
    assert!(judge_owned(&world, &writes).is_err());
    for (key, value) in [
        ("vni/4096", None),
        ("vni/4097", Some(json!({"network": NET}))),
        ("networks", None),
        ("networks", Some(json!(77))),
    ] {
        assert!(judge(&world, &[(key, value)]).is_err(), "{key}");
    }
}

#[test]
fn who_has_not_heard_that_a_network_was_removed_is_late_and_does_no_wrong() {
    let mut world = world();
    let writes = removal(&world);
    for (revision, (key, value)) in (60..).zip(writes) {
        match value {
            Some(value) => put(&mut world, &key, value, revision),
            None => delete(&mut world, key, revision),
        }
    }
    let page = (
        format!("block/{NET}/10.5.0.0"),
        Some(json!({"10.5.0.8/29": OWN})),
    );
    for (key, value) in [page, an_endpoint(Some(endpoint(OWN, 12, 7))).remove(0)] {
        assert!(judge(&world, &[(&key, value.clone())]).unwrap_err().is_late);
        let made_up = key.replace(NET, &"9".repeat(64));
        assert!(!judge(&world, &[(&made_up, value)]).unwrap_err().is_late);
    }
    // The VNI has rested by the clock of the host alone.
    let (again, rested) = (network(&"9".repeat(64), "lan", 4096), REST.now_s + 601);
    let record = serde_json::from_value(again).unwrap();
    put(
        &mut world,
        &format!("followed/{OWN}"),
        json!({"revision": 99}),
        98,
    );
    put(
        &mut world,
        &format!("followed/{OTHER}"),
        json!({"revision": 99}),
        99,
    );
    let later = Rest {
        now_s: rested,
        ..REST
    };
    let (_, writes) = networks::create(&world, record, Some(4096), later).unwrap();
    let writes: Writes = writes
        .into_iter()
        .map(|write| (write.key, write.value))
        .collect();
    assert!(judge_owned(&world, &writes).unwrap_err().is_late);
}

#[test]
fn a_host_that_was_shut_out_writes_nothing() {
    let mut world = world();
    put(
        &mut world,
        "revoked/a0aa",
        json!({"name": "own", "revoked_s": 1}),
        50,
    );
    let alive = json!({"address": "192.0.2.1", "quic_udp_port": 4790, "run": "x"});
    assert!(judge(&world, &[("alive/a0aa", Some(alive))]).is_err());
}

#[test]
fn a_host_that_the_store_has_lost_puts_itself_back_and_nothing_else() {
    let mut world = world();
    let deleted = Event::Deleted {
        key: "host/a0aa".to_owned(),
        revision: 60,
    };
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    world.apply(deleted, &Moment::alone(Instant::now()));
    let record = || Some(json!({"name": "own", "address": "192.0.2.1", "joined_s": 1}));
    let alive = json!({"address": "192.0.2.1", "quic_udp_port": 4790, "run": "r"});
    assert!(judge(&world, &[("alive/a0aa", Some(alive))]).is_err());
    judge(&world, &[("host/a0aa", record())]).unwrap();
    put(
        &mut world,
        "revoked/a0aa",
        json!({"name": "own", "revoked_s": 1}),
        61,
    );
    assert!(judge(&world, &[("host/a0aa", record())]).is_err());
}

#[test]
fn tokens_and_certificates_are_not_shown() {
    for (key, is_shown) in [
        ("token/1", false),
        ("issued/a/1", false),
        ("lease/1", false),
        ("host/a", true),
    ] {
        assert_eq!(may_see(key), is_shown, "{key}");
    }
}

#[test]
fn orders_are_answered_and_taken_away_by_the_host_they_name() {
    let mut world = world();
    let order = json!({"by": OTHER, "ordered_s": 5});
    let (own, others) = (format!("promote/{OWN}"), format!("promote/{OTHER}"));
    let given = [(&*own, Some(order.clone()))];
    assert!(judge(&world, &given).is_err(), "an order of its own");
    for key in [&own, &others] {
        put(&mut world, key, order.clone(), 40);
    }
    let failed = changed(order.clone(), "failed", json!("no etcd"));
    judge(&world, &[(&own, failed.clone())]).unwrap();
    for (key, value) in [
        (&own, Some(order.clone())),
        (&own, None),
        (&others, failed.clone()),
        (&own, changed(failed.unwrap(), "by", json!(OWN))),
    ] {
        assert!(judge(&world, &[(key, value)]).is_err());
    }
    let (own, others) = (format!("demote/{OWN}"), format!("demote/{OTHER}"));
    judge(&world, &[(&own, None)]).unwrap();
    for (key, value) in [
        (&own, Some(order.clone())),
        (&others, Some(order)),
        (&others, None),
    ] {
        assert!(judge(&world, &[(key, value)]).is_err());
    }
    let manager = json!({"address": "192.0.2.1:4790"});
    assert!(judge(&world, &[("manager/a0aa", Some(manager))]).is_err());
}
