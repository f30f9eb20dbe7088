//! The store on a real file.

mod damage;
mod disk;
mod figures;
mod full;
mod power;
mod random;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;

use super::tables::{COUNTERS, SCHEMA};
use super::*;
use crate::WatchEvent;
use crate::contract;

fn store() -> (tempfile::TempDir, RedbStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    (dir, store)
}

/// Taken out of the store, which is of no use then.
fn database_of(store: &RedbStore) -> Database {
    match std::mem::replace(&mut *store.state.write().unwrap(), State::Closed) {
        State::Open(database) => database,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_put_is_found_again_after_reopening() {
    let (dir, store) = store();
    let revision = store
        .put_if("a/1", json!({"x": 1}), Expected::Absent)
        .unwrap();
    drop(store);
    let store = RedbStore::open(dir.path()).unwrap();
    let entry = store.get("a/1").unwrap().unwrap();
    assert_eq!((entry.revision, entry.value), (revision, json!({"x": 1})));
    assert!(store.get("a").unwrap().is_none());
}

#[test]
fn the_contract_holds() {
    let (_dir, store) = store();
    contract::hold(&store);
}

#[test]
fn leased_keys_do_not_outlive_the_process() {
    let (dir, store) = store();
    let lease = store.grant(Duration::from_secs(60)).unwrap();
    store
        .transact(&[Change::put("a", json!(1), Expected::Anything).under(lease)])
        .unwrap();
    store.put_if("b", json!(1), Expected::Anything).unwrap();
    drop(store);
    let store = RedbStore::open(dir.path()).unwrap();
    assert!(store.get("a").unwrap().is_none());
    assert!(store.get("b").unwrap().is_some());
}

#[test]
fn a_directory_of_ours_is_shut_to_others_and_a_strangers_is_left() {
    use std::os::unix::fs::PermissionsExt;
    let open_to = |dir: &Path, mode| {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
        drop(RedbStore::open(dir).unwrap());
        fs::metadata(dir).unwrap().permissions().mode() & 0o7777
    };
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open_to(dir.path(), 0o755), 0o700, "empty");
    assert_eq!(open_to(dir.path(), 0o755), 0o700, "with our file");
    assert_eq!(open_to(dir.path(), 0o750), 0o750, "a group was let in");
    let strangers = tempfile::tempdir().unwrap();
    fs::write(strangers.path().join("file"), "").unwrap();
    assert_eq!(open_to(strangers.path(), 0o1777), 0o1777);
}

#[test]
fn a_watcher_that_falls_behind_is_told_so() {
    let (_dir, store) = store();
    let mut watch = store.watch("");
    let changes: Vec<Change> = (0..=WATCH_BOUND)
        .map(|n| Change::put(format!("k/{n}"), json!(n), Expected::Anything))
        .collect();
    store.transact(&changes).unwrap();
    assert_eq!(watch.try_next(), Some(WatchEvent::Lagged));
    assert!(matches!(watch.try_next(), Some(WatchEvent::Put(_))));
}

#[test]
fn a_second_agent_is_refused() {
    let (dir, _store) = store();
    let refused = RedbStore::open(dir.path()).unwrap_err();
    assert!(matches!(refused, OpenStore::InUse { .. }));
    assert!(
        refused
            .to_string()
            .contains("another agent uses the state directory")
    );
    let own = i32::try_from(std::process::id()).unwrap();
    assert!(matches!(refused, OpenStore::InUse { process: Some(pid), .. } if pid == own));
}

#[test]
fn the_state_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, store) = store();
    let mode = fs::metadata(store.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let nested = dir.path().join("new/state");
    RedbStore::open(&nested).unwrap();
    assert_eq!(
        fs::metadata(nested).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_damaged_file_is_named_with_what_to_do() {
    let (dir, store) = store();
    let path = store.path().to_owned();
    drop(store);
    fs::write(
        &path,
        b"not a database, but long enough to be taken for one",
    )
    .unwrap();
    let error = RedbStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenStore::Corrupt { .. }), "{error:?}");
    let said = error.to_string();
    assert!(
        said.contains("state.redb") && said.contains("move it away"),
        "{said}"
    );
}

#[test]
fn no_flipped_byte_makes_opening_panic() {
    let (dir, store) = store();
    for n in 0..20 {
        store
            .put_if(&format!("k/{n}"), json!("v"), Expected::Absent)
            .unwrap();
    }
    let path = store.path().to_owned();
    drop(store);
    let whole = fs::read(&path).unwrap();
    for at in (0..512).chain((512..whole.len()).step_by(4099)) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        fs::write(&path, damaged).unwrap();
        let _ = RedbStore::open(dir.path());
    }
}

#[test]
fn a_newer_schema_is_refused() {
    let (dir, store) = store();
    let database = database_of(&store);
    let write = database.begin_write().unwrap();
    write
        .open_table(COUNTERS)
        .unwrap()
        .insert(SCHEMA, 99)
        .unwrap();
    write.commit().unwrap();
    drop((database, store));
    let error = RedbStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenStore::Schema { found: 99, .. }));
}

/// The body of the process that the next test kills.
#[test]
#[ignore = "run by a_killed_agent_loses_nothing_acknowledged"]
fn writer_to_be_killed() {
    let store = RedbStore::open(Path::new(&std::env::var(WRITER_DIR).unwrap())).unwrap();
    for n in 0_u32.. {
        store
            .put_if(&format!("k/{n}"), json!(n), Expected::Absent)
            .unwrap();
        println!("\nacknowledged {n}");
    }
}

#[test]
fn a_killed_agent_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["writer_to_be_killed", "--ignored", "--nocapture"])
        .env(WRITER_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = lines.map_while(|line| {
        let line = line.unwrap();
        let number = line.strip_prefix("acknowledged ");
        Some(number.map(|number| number.parse::<u32>().unwrap()))
    });
    acknowledged.by_ref().flatten().nth(30).unwrap();
    child.kill().unwrap();
    let last = acknowledged.flatten().last().unwrap_or(30);
    child.wait().unwrap();
    let store = RedbStore::open(dir.path()).unwrap();
    for n in 0..=last {
        assert!(
            store.get(&format!("k/{n}")).unwrap().is_some(),
            "{n} of {last}"
        );
    }
}

/// Prints the latency of a commit; the bound is only there to notice a slip of an order of magnitude.
#[test]
fn a_commit_takes_a_few_milliseconds() {
    let (_dir, store) = store();
    let mut latencies: Vec<_> = (0..50)
        .map(|n| {
            let start = Instant::now();
            store
                .put_if(&format!("k/{n}"), json!(n), Expected::Absent)
                .unwrap();
            start.elapsed()
        })
        .collect();
    latencies.sort();
    println!(
        "commit: median {:?}, worst {:?}",
        latencies[25], latencies[49]
    );
    assert!(latencies[25].as_millis() < 200);
}

const WRITER_DIR: &str = "TAPESTRY_TEST_WRITER_DIR";
