//! What `make` and its scripts do in places and at moments that nobody thought of.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::harness::{binary, eventually, run};

#[test]
fn recipes_follow_cargo_to_its_target_directory() {
    let asked = |prepare: &dyn Fn(&mut Command)| {
        let mut script = Command::new(repository().join("scripts/target-dir"));
        script.env_remove("CARGO_TARGET_DIR");
        prepare(&mut script);
        run(&mut script).ok().trim().to_owned()
    };
    let home = tempfile::tempdir().unwrap();
    fs::write(
        home.path().join("config.toml"),
        "[build]\ntarget-dir = \"/of/the/config\"\n",
    )
    .unwrap();
    assert_eq!(
        asked(&|script| {
            script.env("CARGO_TARGET_DIR", "/of/the/variable");
        }),
        "/of/the/variable"
    );
    assert_eq!(
        asked(&|script| {
            script.env("CARGO_HOME", home.path());
        }),
        "/of/the/config"
    );
    let mut make = Command::new("make");
    make.args(["-n", "install", "docker-plugin", "bench-quick", "PREFIX=/p"])
        .current_dir(repository())
        .env("CARGO_TARGET_DIR", "/t");
    let planned = run(&mut make).ok();
    for line in [
        "PREFIX=\"/p\" DESTDIR=\"\" scripts/install install /t/release/tapestry",
        "scripts/docker-plugin /t/release/tapestry /t/docker-plugin",
        "/t/release/tapestry-bench --quick --json /t/bench.json --html /t/bench.html",
    ] {
        assert!(planned.lines().any(|planned| planned == line), "{planned}");
    }
}

#[test]
fn ctrl_c_ends_the_demo_at_once_and_leaves_nothing() {
    let dir = tempfile::TempDir::with_prefix("d").unwrap();
    let log = dir.path().join("log");
    let output = File::create(&log).unwrap();
    // Its namespaces have names, and another demo may run on this machine.
    let alone = "mount -t tmpfs none /run/netns && ip link set lo up && exec scripts/demo";
    let demo = Command::new("unshare")
        .args(["--mount", "--net", "--propagation", "private"])
        // Whatever it started ends with it, also when this test fails.
        .args(["--pid", "--mount-proc", "--fork", "--kill-child"])
        .args(["sh", "-ec", alone])
        .current_dir(repository())
        .env("TAPESTRY", binary())
        .env("TMPDIR", dir.path())
        .env_remove("TAPESTRY_SOCKET")
        .process_group(0)
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let mut demo = Demo(demo);
    let said = || fs::read_to_string(&log).unwrap();
    eventually(Duration::from_secs(60), "the demo measures", || {
        assert_eq!(demo.0.try_wait().unwrap(), None, "{}", said());
        said().contains("round 1 of").then_some(())
    });
    assert!(!about(dir.path()).is_empty(), "an agent and its shims");
    let (begin, group) = (Instant::now(), Pid::from_child(&demo.0));
    kill_process_group(group, Signal::INT).unwrap();
    let status = eventually(Duration::from_secs(60), "the demo ends", || {
        demo.0.try_wait().unwrap()
    });
    let took = begin.elapsed();
    assert_eq!(status.code(), Some(130), "{}", said());
    assert!(said().contains("nothing left behind"), "{}", said());
    assert_eq!(about(dir.path()), Vec::<String>::new());
    assert!(took < Duration::from_secs(8), "{took:?}");
}

struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Command lines that name something in `dir`.
fn about(dir: &Path) -> Vec<String> {
    let lines = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        });
    lines
        .filter(|line| line.contains(dir.to_str().unwrap()))
        .collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
