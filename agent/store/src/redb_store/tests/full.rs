//! Disks that run full, and fail.

use std::os::unix::process::CommandExt;

use serde_json::json;

use super::*;

/// Runs one of these tests again, with a disk of one megabyte at `TAPESTRY_TEST_DISK`: a tmpfs in a mount namespace of its own.
fn on_a_small_disk(test: &str) {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1m none \"$TAPESTRY_TEST_DISK\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", script, "sh"]);
    command.arg(std::env::current_exe().unwrap());
    command.args([test, "--ignored", "--nocapture"]);
    command.env(DISK, dir.path()).process_group(0);
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    print!("{said}");
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[test]
fn a_disk_that_was_full_costs_nothing_that_was_acknowledged_and_no_restart() {
    on_a_small_disk("fills_its_disk_again_and_again");
}

/// The body of the test above.
#[test]
#[ignore = "run by a_disk_that_was_full_costs_nothing_that_was_acknowledged_and_no_restart"]
fn fills_its_disk_again_and_again() {
    let disk = PathBuf::from(std::env::var(DISK).unwrap());
    let state = disk.join("state");
    let mut store = RedbStore::open(&state).unwrap();
    let ballast = disk.join("ballast");
    let (mut kept, mut read) = (0, 0);
    for round in 0..20 {
        fill(&ballast);
        let refused = loop {
            let key = format!("k/{kept}");
            let value = json!({"round": round, "text": "x".repeat(700)});
            match store.put_if(&key, value, Expected::Absent) {
                Ok(_) => kept += 1,
                Err(error) => break error.to_string(),
            }
        };
        assert!(refused.contains("state.redb cannot be used"), "{refused}");
        assert!(
            refused.contains("there is no room on its disk"),
            "{refused}"
        );
        // What still fits is taken; what does not is refused for the same reason, not for what went before.
        let again = json!("x".repeat(2000));
        if let Err(error) = store.put_if("again", again, Expected::Anything) {
            let error = error.to_string();
            assert!(error.contains("there is no room on its disk"), "{error}");
        }
        // A store that is opened now can be read at least.
        drop(store);
        store = RedbStore::open(&state).unwrap();
        read += usize::from(matches!(*store.state.read().unwrap(), State::Read(_)));
        assert_eq!(store.list("k/").unwrap().len(), kept, "full, round {round}");
        fs::remove_file(&ballast).unwrap();
        // The next act works by itself.
        store
            .put_if("room", json!(round), Expected::Anything)
            .unwrap();
        assert_eq!(store.list("k/").unwrap().len(), kept, "round {round}");
        if round % 2 == 1 {
            for n in 0..kept {
                let key = format!("k/{n}");
                store.delete(&key, Expected::Anything).unwrap();
            }
            kept = 0;
        }
    }
    println!("{read} of 20 could only be read");
    drop(store);
    let store = RedbStore::open(&state).unwrap();
    assert_eq!(store.list("k/").unwrap().len(), kept);
    assert_eq!(store.get("room").unwrap().unwrap().value, json!(19));
    assert!(store.damage().is_empty());
}

fn fill(ballast: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
}

#[test]
fn of_a_disk_that_takes_nothing_the_state_can_be_read() {
    on_a_small_disk("makes_its_disk_read_only");
}

/// The body of the test above.
#[test]
#[ignore = "run by of_a_disk_that_takes_nothing_the_state_can_be_read"]
fn makes_its_disk_read_only() {
    let disk = PathBuf::from(std::env::var(DISK).unwrap());
    let remount = |how: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(&disk);
        assert!(mount.status().unwrap().success());
    };
    let state = disk.join("state");
    let store = RedbStore::open(&state).unwrap();
    for n in 0..30 {
        let value = json!({"n": n, "text": "x".repeat(300)});
        store
            .put_if(&format!("k/{n}"), value, Expected::Absent)
            .unwrap();
    }
    let before = store.list("k/").unwrap();
    drop(store);
    remount("ro");
    let store = RedbStore::open(&state).unwrap();
    assert!(matches!(*store.state.read().unwrap(), State::Read(_)));
    assert_eq!(store.list("k/").unwrap(), before);
    assert_eq!(
        store.get("k/3").unwrap().as_ref(),
        before.iter().find(|e| e.key == "k/3")
    );
    assert!(store.get("k").unwrap().is_none());
    let refused = store
        .delete("k/3", Expected::Anything)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("Read-only file system"), "{refused}");
    assert_eq!(store.list("k/").unwrap(), before);
    remount("rw");
    store.delete("k/3", Expected::Anything).unwrap();
    assert_eq!(store.list("k/").unwrap().len(), 29);
}

/// The churn of a day: every minute a container comes and another one goes, each in five changes.
#[test]
fn a_day_of_churn_does_not_make_the_file_grow() {
    let (_dir, store) = store();
    let length = || fs::metadata(store.path()).unwrap().len();
    let mut after_the_first_hours = 0;
    let minutes = super::random::rounds(MINUTES);
    for minute in 0..minutes {
        let changes: Vec<_> = (0..5)
            .map(|part| {
                let text = "x".repeat(200 + usize::try_from(minute * 7 + part).unwrap() % 900);
                let key = format!("container/{minute}-{part}");
                Change::put(key, json!({ "text": text }), Expected::Anything)
            })
            .collect();
        store.transact(&changes).unwrap();
        if let Some(old) = minute.checked_sub(LIVE) {
            let gone = (0..5).map(|part| format!("container/{old}-{part}"));
            let gone: Vec<_> = gone
                .map(|key| Change::delete(key, Expected::Anything))
                .collect();
            store.transact(&gone).unwrap();
        }
        if minute == minutes / 4 {
            after_the_first_hours = length();
        }
    }
    assert!(length() <= after_the_first_hours * 5 / 4);
    let figure = format!(
        "{after_the_first_hours} bytes after a quarter, {} at the end",
        length()
    );
    figures::row(18, "churn of a day: the state file", "no growth", &figure);
    let live = store.list("").unwrap().len();
    assert_eq!(live, usize::try_from(LIVE * 5).unwrap());
}

const DISK: &str = "TAPESTRY_TEST_DISK";
/// Unless `ROUNDS` says otherwise; a day has 1,440.
const MINUTES: u64 = 480;
/// How long a container lives, in minutes.
const LIVE: u64 = 30;
