//! Ctrl-C during a run. Needs root and iperf3, and fails without them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

#[test]
fn finished_rows_are_reported_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("bench.json");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_tapestry-bench"))
        .args(["--quick", "--rounds", "1", "--contender", "bridge"])
        .args(["--row", "tcp-x1-1500", "--row", "broadcast-15", "--json"])
        .arg(&json)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&bench);
    // The second row has sixteen stations, so the first is over.
    let end = Instant::now() + Duration::from_secs(60);
    while namespaces(pid) < 10 {
        assert!(Instant::now() < end, "the second row does not begin");
        assert_eq!(bench.try_wait().unwrap(), None, "it has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert_eq!(namespaces(pid), 0);

    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["interrupted"], true);
    let rows = report["families"][0]["rows"].as_array().unwrap();
    let reading = |row: &str| {
        let row = rows.iter().find(|one| one["name"] == row)?;
        row["figures"][0]["readings"]["bridge"][0].as_f64()
    };
    assert!(reading("tcp-x1-1500").unwrap() > 0.0);
    assert_eq!(reading("broadcast-15"), None);
}

/// How many the run has made and not removed.
fn namespaces(run: Pid) -> usize {
    let its = format!("tsybench-{}-", run.as_raw_nonzero());
    let names = fs::read_dir("/run/netns").into_iter().flatten();
    names
        .filter(|name| {
            let name = name.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with(&its)
        })
        .count()
}
