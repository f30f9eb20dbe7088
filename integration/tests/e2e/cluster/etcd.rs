//! A cluster and its etcd, which goes and comes back.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{STEP, Underlay, cluster_of, create_shared, join, reaches, token};
use crate::harness::{Netns, eventually};

/// An etcd of the test's own, beside the hosts.
struct Etcd<'l> {
    lab: &'l Underlay,
    dir: tempfile::TempDir,
    child: Child,
}

impl<'l> Etcd<'l> {
    const URL: &'static str = "http://192.0.2.100:2379";

    fn start(lab: &'l Underlay) -> Self {
        lab.netns.sh("ip addr add 192.0.2.100/24 dev wire");
        let dir = tempfile::TempDir::with_prefix("e").unwrap();
        let child = spawn_etcd(&lab.netns, &dir);
        Self { lab, dir, child }
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn start_again(&mut self) {
        self.child = spawn_etcd(&self.lab.netns, &self.dir);
    }
}

impl Drop for Etcd<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn_etcd(netns: &Netns, dir: &tempfile::TempDir) -> Child {
    let mut command = Command::new("etcd");
    command
        .arg("--data-dir")
        .arg(dir.path())
        .args([
            "--listen-client-urls",
            Etcd::URL,
            "--advertise-client-urls",
            Etcd::URL,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    netns.enter(|| command.spawn()).unwrap()
}

#[test]
fn the_host_with_etcd_may_be_killed_and_comes_back_over_ipv6() {
    let lab = Underlay::new(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.tapestry(&["cluster", "init", "--advertise", "[2001:db8:5::1]:5790"])
        .ok();
    let token = token(one);
    two.tapestry(&["cluster", "join", &token, "[2001:db8:5::1]:5790"])
        .ok();
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24", "--ipv6"]);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", &two.ipv6("b").to_string());
    one.stop_agent(Signal::KILL);
    one.launch();
    eventually(STEP, "both are in step again", || {
        let both = [one, two]
            .iter()
            .all(|host| cluster_of(host)["in_step"] == true);
        both.then_some(())
    });
    reaches(two, "b", "a");
    let left = one.tapestry(&["cluster", "leave"]).refused(1);
    assert!(left.contains('a'), "{left}");
    two.tapestry(&["rm", "-f", "b"]).ok();
    two.tapestry(&["cluster", "leave"]).ok();
    one.tapestry(&["rm", "-f", "a"]).ok();
    one.tapestry(&["cluster", "leave"]).ok();
    assert!(!one.state_dir().join("cluster").exists());
}

#[test]
fn without_etcd_traffic_goes_on_and_containers_start() {
    let lab = Underlay::new(2);
    let mut etcd = Etcd::start(&lab);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let init = [
        "cluster",
        "init",
        "--advertise",
        "192.0.2.1",
        "--etcd",
        Etcd::URL,
    ];
    one.tapestry(&init).ok();
    join(one, two).ok();
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");

    etcd.stop();
    for host in [one, two] {
        eventually(Duration::from_secs(15), "etcd is missed", || {
            (cluster_of(host)["in_step"] == false).then_some(())
        });
    }
    one.exec("a", "ping -n -c2 -W1 b").ok();
    let started = Instant::now();
    one.idle("late", "far", &[]);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    reaches(one, "late", "a");
    let refused = one
        .tapestry(&[
            "network",
            "create",
            "-d",
            "overlay",
            "-o",
            "encap=vxlan",
            "other",
        ])
        .refused(1);
    assert!(refused.contains("etcd"), "{refused}");
    one.exec("a", "ping -n -c1 -W1 b").ok();

    etcd.start_again();
    eventually(
        Duration::from_secs(15),
        "the hosts are in step again",
        || {
            let both = [one, two]
                .iter()
                .all(|host| cluster_of(host)["in_step"] == true);
            both.then_some(())
        },
    );
    reaches(two, "b", "late");
    reaches(one, "late", "b");
}
