//! What somebody else removes: whose it is, and what those hear who wait for it.

use std::process::Child;
use std::time::Duration;

use crate::harness::{Host, eventually};

#[test]
fn a_run_in_the_foreground_says_that_its_container_was_removed() {
    let host = Host::start();
    for more in [&["--name", "fore"][..], &["--name", "fore", "--rm"]] {
        let run = begin(&host, more);
        host.tapestry(&["rm", "-f", "fore"]).ok();
        let told = run.wait_with_output().unwrap();
        assert_eq!(told.status.code(), Some(137), "{told:?}");
        assert_eq!(
            String::from_utf8_lossy(&told.stderr),
            "tapestry: the container was removed by another command\n"
        );
    }
    // One that is stopped is still there, and says nothing but its exit code.
    let run = begin(&host, &["--name", "fore"]);
    host.tapestry(&["stop", "-t", "0", "fore"]).ok();
    let told = run.wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(137), "{told:?}");
    assert!(told.stderr.is_empty(), "{told:?}");
}

#[test]
fn a_name_is_free_as_soon_as_its_run_ends() {
    let host = Host::start();
    for _ in 0..30 {
        host.tapestry(&["run", "--rm", "--name", "again", "--", "true"])
            .ok();
    }
}

/// A command in the foreground, which runs.
fn begin(host: &Host, more: &[&str]) -> Child {
    let command = ["--", "sh", "-c", "echo on; exec sleep 60"];
    let run = host.spawn(&[&["run"], more, &command].concat());
    eventually(Duration::from_secs(10), "it runs", || {
        let said = host.tapestry(&["logs", "fore"]).stdout;
        said.contains("on").then_some(())
    });
    run
}

#[test]
fn a_short_name_that_is_not_there_is_not_another_containers_id() {
    let host = Host::start();
    let id = host.tapestry(&["run", "-d", "--", "sleep", "60"]).ok();
    let id = id.trim();
    for digits in 1..4 {
        for act in [&["rm", "-f"][..], &["stop", "-t", "0"], &["start"]] {
            let told = host.tapestry(&[act, &[&id[..digits]]].concat());
            assert_ne!(told.status, 0, "{told:?}");
            assert!(told.stderr.contains("no container"), "{told:?}");
        }
    }
    host.tapestry(&["rm", "-f", &id[..4]]).ok();
    assert!(host.containers().is_empty());
}
