//! What a cluster of 500 hosts is to one of them, and to a manager: unit figures of docs/clusters.md, of records as hosts write them.
//!
//! They print what they measure (`--no-capture`); what they assert holds whatever the machine does.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use agent_core::shared::{
    ALIVE, AliveRecord, CertificateShared, ENDPOINTS, EndpointShared, Entry, FOLLOWED, HOSTS,
    HostRecord, Moment, World,
};
use agent_store::wire::{Asked, Call, Said, receive, send};
use agent_store::{Change, Expected, RedbStore, Store, WatchEvent, serve};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::DuplexStream;

fn host_id(number: u32) -> String {
    format!("a0{number:014x}")
}

fn endpoint(host: u32, number: u32) -> (String, EndpointShared) {
    let (network, id) = (host / HOSTS_OF_NETWORK, host * ENDPOINTS_EACH + number);
    let [.., high, low] = id.to_be_bytes();
    let shared = EndpointShared {
        host: host_id(host),
        epoch: 1000 + u64::from(host),
        sequence: 1,
        mac: [2, 66, 10, 80, high, low],
        ipv4: Some(Ipv4Addr::new(10, 80, high, low)),
        ipv6: None,
        name: format!("web-{id}"),
        aliases: vec![format!("web-{id}.shop")],
        hostname: Some(format!("{id:012x}")),
        short_id: Some(format!("{id:012x}")),
        services: Vec::new(),
        vlan: None,
        trunk: None,
    };
    (format!("{ENDPOINTS}{network:064x}/{id:064x}"), shared)
}

/// What members see of hosts and endpoints, as the store lists it.
fn everything() -> Vec<Entry> {
    let mut records = Vec::new();
    for host in 0..HOSTS_ALL {
        let (id, address) = (host_id(host), IpAddr::V4((0xc612_0000 + host).into()));
        let record = HostRecord {
            name: format!("node-{host}"),
            address,
            joined_s: 1_800_000_000,
        };
        let alive = AliveRecord {
            address,
            inside: None,
            quic_udp_port: Some(4790),
            run: format!("{host:032x}"),
            certificate: Some(CertificateShared {
                until_s: 1_802_592_000,
                ca: format!("{host:016x}"),
            }),
        };
        records.push((format!("{HOSTS}{id}"), value(&record)));
        records.push((format!("{ALIVE}{id}"), value(&alive)));
        records.push((format!("{FOLLOWED}{id}"), json!({"revision": 77})));
        for number in 0..ENDPOINTS_EACH {
            let (key, shared) = endpoint(host, number);
            records.push((key, value(&shared)));
        }
    }
    records.sort_by(|(one, _), (other, _)| one.cmp(other));
    let entries = (1..).zip(records).map(|(revision, (key, value))| Entry {
        key,
        value,
        revision,
    });
    entries.collect()
}

fn value(record: &impl Serialize) -> Value {
    serde_json::to_value(record).unwrap()
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

#[test]
fn a_host_has_little_to_keep_of_five_hundred() {
    let listed = everything();
    let count = listed.len();
    let told = listed
        .iter()
        .map(|entry| json!({"key": entry.key, "value": entry.value, "revision": entry.revision}));
    let length = serde_json::to_vec(&told.collect::<Vec<_>>()).unwrap().len();
    let (before, begun) = (resident(), Instant::now());
    let mut world = World::default();
    let differences = world.replace(listed.clone(), &Moment::alone(begun));
    let took = begun.elapsed();
    assert_eq!(differences.len(), count);
    drop(differences);
    let kept = resident().saturating_sub(before);
    println!(
        "{HOSTS_ALL} hosts with {ENDPOINTS_EACH} endpoints: {count} records, {} KiB as JSON, at most {} KiB in memory, taken in within {took:?}",
        length >> 10,
        kept >> 10,
    );
    // What malloc keeps of what was there for a moment is in it.
    assert!(kept < count * 16384, "{kept} bytes for {count} records");
    assert_eq!(world.entries().count(), count);
}

/// Asks a store at the far end of `stream` for everything that happens.
async fn watch(stream: &mut DuplexStream) {
    let call = Call::Watch(String::new());
    send(stream, &Asked { number: 1, call }).await.unwrap();
    receive::<Said>(stream, MESSAGE_LEN_MAX).await.unwrap();
}

/// The revisions of so many changes, as they come.
async fn hear(mut stream: DuplexStream) -> Vec<u64> {
    let mut heard = Vec::new();
    while heard.len() < CHANGES {
        match receive::<Said>(&mut stream, MESSAGE_LEN_MAX).await.unwrap() {
            Said::Event {
                event: WatchEvent::Put(entry),
                ..
            } => heard.push(entry.revision),
            other => panic!("{other:?}"),
        }
    }
    heard
}

#[test]
fn every_member_of_a_manager_hears_every_change_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(RedbStore::open(dir.path()).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut streams = Vec::new();
    for _ in 0..MEMBERS {
        let (mut near, far) = tokio::io::duplex(64 << 10);
        runtime.spawn(serve(far, Arc::clone(&store) as Arc<dyn Store>));
        runtime.block_on(watch(&mut near));
        streams.push(near);
    }
    let changes: Vec<_> = (0..HOSTS_ALL)
        .map(|host| {
            let (key, shared) = endpoint(host, 0);
            Change::encode(key, &shared, Expected::Anything).unwrap()
        })
        .collect();
    let length = serde_json::to_vec(&changes).unwrap().len() / CHANGES;
    let begun = Instant::now();
    let writing = std::thread::spawn(move || {
        for some in changes.chunks(25) {
            store.transact(some).unwrap();
        }
    });
    let heard = runtime.block_on(async {
        let hearing: Vec<_> = streams
            .into_iter()
            .map(|stream| tokio::spawn(hear(stream)))
            .collect();
        let mut heard = Vec::new();
        for one in hearing {
            heard.push(one.await.unwrap());
        }
        heard
    });
    let told = u32::try_from(CHANGES * MEMBERS).unwrap();
    println!(
        "{CHANGES} changes of {length} bytes to {MEMBERS} members: {:?} for each change and member, its reading with it",
        begun.elapsed() / told,
    );
    writing.join().unwrap();
    assert!(heard.iter().all(|one| one.is_sorted() && *one == heard[0]));
}

const HOSTS_ALL: u32 = 500;
const HOSTS_OF_NETWORK: u32 = 50;
/// Of each host, on one network.
const ENDPOINTS_EACH: u32 = 10;
/// Of three managers, each has a third of the others.
const MEMBERS: usize = 167;
/// One of each host; fewer than a member may be behind.
const CHANGES: usize = HOSTS_ALL as usize;
const MESSAGE_LEN_MAX: usize = 1 << 20;
