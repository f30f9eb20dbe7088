//! Control groups: each container has its own, with the limits that were asked for, and they go with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_api::ContainerState;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Host, Mounts, eventually};

#[test]
fn a_container_out_of_memory_dies_alone() {
    let host = Host::start();
    host.idle("other", "bridge", &["-m", "64m"]);
    let agent = host.agent_pid();
    let mut hog = vec!["run", "--name", "hog", "--memory", "32m", "--"];
    hog.extend(["sh", "-c", "tail /dev/zero & wait $!; exit $?"]);
    let status = host.tapestry(&hog).status;
    assert_eq!(status, 137, "its hungry child is killed:\n{}", host.log());
    assert_eq!(host.agent_pid(), agent);
    host.exec("other", "true").ok();

    let mut whole = vec!["run", "--rm", "--memory", "32m", "--"];
    whole.extend(["tail", "/dev/zero"]);
    assert_eq!(host.tapestry(&whole).status, 137);
    host.exec("other", "true").ok();
}

#[test]
fn processes_and_processors_are_limited() {
    let host = Host::start();
    host.idle("few", "bridge", &["--pids-limit", "8", "--cpus", "0.5"]);
    let tried = host.exec("few", "for n in 1 2 3 4 5 6 7 8 9; do sleep 5 & done");
    assert!(tried.stderr.contains("fork"), "{tried:?}");
    host.idle("many", "bridge", &[]);
    host.exec("many", "for n in 1 2 3 4 5 6 7 8 9; do sleep 5 & done")
        .ok();

    let limit = |group: &Path| {
        let one = fs::read_to_string(group.join("cpu.cfs_quota_us")).ok();
        let two = || fs::read_to_string(group.join("cpu.max")).ok();
        one.or_else(two)
    };
    let limits: Vec<_> = groups(&host, "few")
        .iter()
        .filter_map(|g| limit(g))
        .collect();
    assert!(
        limits.len() == 1 && limits[0].starts_with("50000"),
        "{limits:?}"
    );
    let shown = host.container("few");
    assert_eq!((shown.pids, shown.nano_cpus), (Some(8), Some(500_000_000)));
}

#[test]
fn groups_hold_all_of_a_container_and_nothing_of_the_agent_and_go_with_it() {
    let host = Host::start();
    host.idle("one", "bridge", &[]);
    let own = groups(&host, "one");
    let holding = |pid: Pid| {
        own.iter()
            .filter(|group| members(group).contains(&pid))
            .count()
    };
    assert!(!own.is_empty());
    assert_eq!(holding(host.pid("one")), own.len());
    assert_eq!(holding(host.agent_pid()), 0);
    let id = host.container("one").summary.id;
    let seen = host.exec("one", "cat /proc/self/cgroup").ok();
    assert_eq!(
        seen.matches(&format!("tapestry/{id}")).count(),
        own.len(),
        "{seen}"
    );

    host.stop_agent(Signal::KILL);
    host.launch();
    assert_eq!(
        holding(host.pid("one")),
        own.len(),
        "they outlive the agent"
    );
    let seen = host.exec("one", "cat /proc/self/cgroup").ok();
    assert_eq!(
        seen.matches(&format!("tapestry/{id}")).count(),
        own.len(),
        "{seen}"
    );
    host.tapestry(&["rm", "-f", "one"]).ok();
    assert!(are_gone(&own));

    host.idle("two", "bridge", &["--restart", "always"]);
    let (own, before) = (groups(&host, "two"), host.pid("two"));
    kill_process(before, Signal::KILL).unwrap();
    eventually(Duration::from_secs(20), "it runs again", || {
        let state = host.container("two").summary.state;
        let runs = |pid| pid != before.as_raw_nonzero().get();
        matches!(state, ContainerState::Running { pid } if runs(pid)).then_some(())
    });
    assert_eq!(groups(&host, "two"), own);
    assert!(
        own.iter()
            .all(|group| members(group).contains(&host.pid("two")))
    );

    host.idle("three", "bridge", &[]);
    let (own, pid) = (groups(&host, "three"), host.pid("three"));
    host.stop_agent(Signal::KILL);
    kill_process(pid, Signal::KILL).unwrap();
    host.launch();
    eventually(Duration::from_secs(5), "they go at the next start", || {
        are_gone(&own).then_some(())
    });
}

#[test]
fn a_limit_that_the_host_cannot_keep_is_refused() {
    let host = Host::without_agent();
    let mounts = Mounts::new(&host.netns);
    mounts.sh("umount $(findmnt -rnt cgroup -o TARGET | grep pids)");
    host.launch_in(&mounts);
    let refused = ["run", "--name", "few", "--pids-limit", "9", "--", "true"];
    let said = host.tapestry(&refused).refused(125);
    assert!(
        said.contains("processes") && said.lines().count() == 1,
        "{said}"
    );
    assert!(!host.is_known("few"));
    host.tapestry(&["run", "--rm", "-m", "64m", "--", "true"])
        .ok();
    let doctor = host.tapestry(&["doctor"]).stdout;
    assert!(
        doctor.contains("cannot be limited in processes"),
        "{doctor}"
    );
}

/// With version 2 alone, which on a machine that gives its controllers to version 1 has none.
#[test]
fn version_2_by_itself_gives_groups() {
    let host = Host::without_agent();
    let mounts = Mounts::new(&host.netns);
    mounts.sh("umount $(findmnt -rnt cgroup -o TARGET); mkdir -p /run/cgroup2; mount -t tmpfs t /run/cgroup2
        findmnt -nt cgroup2 >/dev/null || mount -t cgroup2 none /run/cgroup2");
    host.launch_in(&mounts);
    host.idle("one", "bridge", &[]);
    let own = groups(&host, "one");
    let inside = mounts.sh(&format!("cat {}/cgroup.procs", own[0].display()));
    assert!(own.len() == 1 && inside.contains(&host.pid("one").as_raw_nonzero().to_string()));
    host.tapestry(&["rm", "-f", "one"]).ok();
    mounts.sh(&format!("! test -e {}", own[0].display()));
}

/// The directories of a container's groups.
#[track_caller]
fn groups(host: &Host, container: &str) -> Vec<PathBuf> {
    let id = host.container(container).summary.id;
    let kept = host.state_dir().join("containers").join(id).join("cgroups");
    let kept = fs::read_to_string(kept).unwrap();
    kept.lines().map(PathBuf::from).collect()
}

fn members(group: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let pids = text.lines().filter_map(|line| line.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

fn are_gone(groups: &[PathBuf]) -> bool {
    groups.iter().all(|group| !group.exists())
}
