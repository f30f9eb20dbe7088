//! What is kept, on this host and between hosts: records as JSON, and the world that is made of them.
//!
//! An input is a kind of record, then the JSON; or the events of a world, with the key in front of each value.

use std::time::{Duration, Instant};

use agent_core::record::{
    ContainerRecord, EndpointRecord, MirrorRecord, NetworkRecord, PatchRecord, SettingsRecord,
};
use agent_core::shared::blocks::check_page;
use agent_core::shared::{
    ALIVE, AliveRecord, ClusterRecord, Difference, ENDPOINTS, EndpointShared, Entry, Event, HOSTS,
    Holder, HostRecord, Moment, PageRecord, RevokedRecord, TokenRecord, World,
};
use agent_core::trace::TraceLetter;
use ipnet::IpNet;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Target;
use crate::input::{kind, parts};

pub(crate) const TARGET: Target = Target {
    name: "record",
    run,
    length_max: 2048,
    words: &[
        b"\"id\":",
        b"\"subnets\":[]",
        b"\"net\":\"10.0.0.0/8\"",
        b"\"publish\":",
        b"\"ports\":0",
        b"\"host\":\"h1\"",
        b"alive/h1",
        b"endpoint/n/e",
        b"null",
        b"\\u0000",
        b"18446744073709551615",
        b"-1",
    ],
};

fn run(input: &[u8]) {
    let Some((kind, text)) = kind(input) else {
        return;
    };
    match kind {
        b'n' => {
            if let Some(record) = read_again::<NetworkRecord>(text) {
                use_network(&record);
            }
        }
        b'e' => {
            if let Some(record) = read_again::<EndpointRecord>(text) {
                assert!(record.addresses().len() <= 2);
                record.names();
                record.short_id();
            }
        }
        b'c' => {
            if let Some(record) = read_again::<ContainerRecord>(text) {
                record.ports();
            }
        }
        b'm' => drop(read_again::<MirrorRecord>(text).map(|record| record.key())),
        b'p' => drop(read_again::<PatchRecord>(text).map(|record| record.key())),
        b's' => drop(read_again::<SettingsRecord>(text)),
        b'1' => drop(read_again::<ClusterRecord>(text)),
        b'2' => drop(read_again::<TokenRecord>(text)),
        b'3' => drop(read_again::<HostRecord>(text)),
        b'4' => drop(read_again::<AliveRecord>(text)),
        b'5' => drop(read_again::<RevokedRecord>(text)),
        b'6' => drop(read_again::<EndpointShared>(text).map(|shared| shared.addresses())),
        b'7' => drop(read_again::<Holder>(text)),
        b'8' => {
            if let Some(page) = read_again::<PageRecord>(text) {
                check_blocks(&page);
            }
        }
        b'l' => drop(TraceLetter::parse(text).and_then(|letter| letter.to_bytes(usize::MAX))),
        b'w' => follow(text),
        _ => {}
    }
}

/// What is read is written so that it is read as the same.
fn read_again<T: Serialize + DeserializeOwned>(text: &[u8]) -> Option<T> {
    let record: T = serde_json::from_slice(text).ok()?;
    let written = serde_json::to_vec(&record).expect("a record can be written");
    let again: T = serde_json::from_slice(&written).expect("what is written can be read");
    assert_eq!(serde_json::to_vec(&again).unwrap(), written);
    Some(record)
}

/// A page that may be written says once whose an address is.
fn check_blocks(page: &PageRecord) {
    let nothing = PageRecord::default();
    let net: IpNet = "10.0.0.0/24".parse().unwrap();
    if check_page(net, (&nothing, page), "h0", |_| true).is_err() {
        return;
    }
    let blocks: Vec<_> = page.owners.keys().collect();
    let owners = net.hosts().map(|address| {
        let around = blocks.iter().filter(|block| block.contains(&address));
        around.count()
    });
    assert!(owners.max() <= Some(1));
}

fn use_network(record: &NetworkRecord) {
    assert!(record.host_link().len() <= LINK_NAME_MAX || !record.id.is_ascii());
    record.zone_config();
    record.edge_config(1);
    record.gateway_addresses();
    record.gateway_mac();
    record.fdb_ageing();
    agent_core::ipam::Pools::of(record).ok();
}

/// Events in any order leave a world in which every key is what was said of it last.
fn follow(input: &[u8]) {
    let now = Instant::now();
    let up = Moment {
        now,
        reaches: &|_| true,
    };
    let mut world = World::default();
    let mut said = 0;
    let mut parts = parts(input);
    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
        said += 1;
        let Ok(key) = std::str::from_utf8(key) else {
            continue;
        };
        let key = key.to_owned();
        // The revision is in front of the value.
        let (revision, value) = value.split_first().unwrap_or((&0, &[]));
        let revision = u64::from(*revision);
        let event = match serde_json::from_slice(value) {
            Ok(value) => Event::Put(Entry {
                key: key.clone(),
                value,
                revision,
            }),
            Err(_) => Event::Deleted {
                key: key.clone(),
                revision,
            },
        };
        match world.apply(event, &up) {
            Some(Difference::Put(_)) => assert!(world.contains(&key)),
            Some(Difference::Deleted(_)) => assert!(!world.contains(&key)),
            None => {}
        }
    }
    assert!(
        world.entries().count() <= said,
        "nothing comes from nowhere"
    );
    let listed: Vec<Entry> = world.entries().cloned().collect();
    let until = now + Duration::from_secs(10);
    assert!(world.replace(listed.clone(), &up).is_empty());
    // A list of nothing: what is held for hosts that may come back goes in time.
    world.catch_up(Vec::new(), "h0", (&Moment::alone(now), until));
    world.handle_timeout(&Moment::alone(until));
    world.handle_timeout(&Moment::alone(until + Duration::from_secs(60)));
    assert_eq!(world.entries().count(), 0);
    assert!(world.timeout().is_none());
    world.under::<EndpointShared>(ENDPOINTS).for_each(drop);
    world.under::<HostRecord>(HOSTS).for_each(drop);
    world.under::<AliveRecord>(ALIVE).for_each(drop);
}

/// IFNAMSIZ without its zero.
const LINK_NAME_MAX: usize = 15;
