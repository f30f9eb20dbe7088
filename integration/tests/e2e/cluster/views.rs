//! What people see of a cluster from one of its hosts: in `doctor`, `cluster ls`, `network inspect` and the log.

use std::time::Duration;

use agent_api::NetworkSummary;
use rustix::process::Signal;
use serde_json::Value;

use super::{STEP, cluster, cluster_of, create_shared, hosts_of, pair, reaches};
use crate::harness::{Host, eventually, run};

fn doctor(host: &Host) -> String {
    host.tapestry(&["doctor"]).stdout
}

/// Waits for a line of `doctor` that begins so.
#[track_caller]
fn told(host: &Host, beginning: &str) -> String {
    eventually(STEP, beginning, || {
        let said = doctor(host);
        let mut lines = said.lines();
        lines
            .find(|line| line.starts_with(beginning))
            .map(str::to_owned)
    })
}

/// The row of `cluster ls` about a host, by its columns.
fn row(host: &Host, name: &str) -> Vec<String> {
    let listed = host.tapestry(&["cluster", "ls"]).ok();
    let row = listed.lines().find(|row| row.contains(name)).unwrap();
    row.split("   ")
        .filter(|column| !column.trim().is_empty())
        .map(|column| column.trim().to_owned())
        .collect()
}

/// The facts of the one check of `doctor --json` that is called so.
fn facts(host: &Host, what: &str) -> Option<Value> {
    let said = host.tapestry(&["doctor", "--json"]).stdout;
    let checks: Vec<Value> = serde_json::from_str(&said).unwrap();
    let check = checks.into_iter().find(|check| check["what"] == what)?;
    Some(check["facts"].clone())
}

fn seen(host: &Host, name: &str) -> Value {
    let mut hosts = hosts_of(host);
    hosts.retain(|host| host["name"] == name);
    hosts.remove(0)
}

/// How often the log says `part` of the host `name`.
fn lines(host: &Host, part: &str, name: &str) -> usize {
    let log = host.log();
    let lines = log.lines();
    lines
        .filter(|line| line.contains(part) && line.contains(name))
        .count()
}

#[test]
fn a_host_that_no_frame_gets_to_is_told_from_one_that_is_away() {
    let lab = cluster(3);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    for (host, name) in lab.hosts.iter().zip(["a", "b", "c"]) {
        host.idle(name, "far", &[]);
    }
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    for target in ["a", "c"] {
        reaches(two, "b", target);
    }
    told(
        two,
        "ok    cluster: in step with the store, by manager host-1 at 192.0.2.1:4790",
    );
    told(two, "ok    manager host-1: answers at 192.0.2.1:4790 in ");
    told(two, "ok    clocks: agree");
    told(two, "ok    tunnels: 2 are up, round trips ");
    told(one, "ok    cluster: in step with the store, as a manager");
    assert!(!doctor(two).contains("fail  cluster"), "{}", doctor(two));
    let up = row(two, "host-3");
    assert!(up[3].starts_with("up ") && up[3].ends_with(" ms"), "{up:?}");
    assert_eq!(row(two, "host-1").last().unwrap(), "manager");
    assert!(row(two, "host-2")[0].ends_with(" *"));
    let managers = &cluster_of(two)["managers"];
    assert_eq!(
        (&managers[0]["name"], &managers[0]["asked"]),
        (&"host-1".into(), &true.into())
    );

    // Nobody gets a datagram of the third host, so that nobody can pass one on either.
    let (ups, downs) = (
        lines(two, "tunnel up", "host-3"),
        lines(two, "tunnel down", "host-3"),
    );
    assert_eq!((ups, downs), (1, 0), "{}", two.log());
    three.netns.sh("nft add table inet fault
         nft add chain inet fault in '{ type filter hook input priority -300; }'
         nft add chain inet fault out '{ type filter hook output priority -300; }'
         nft add rule inet fault in udp dport 4790 drop
         nft add rule inet fault out udp dport 4790 drop");
    let warned = told(two, "warn  tunnel to host-3: down for ");
    assert!(warned.contains("UDP 192.0.2.3:4790 from here"), "{warned}");
    assert_eq!(row(two, "host-3")[3], "down");
    let other = seen(two, "host-3");
    assert_eq!(
        (&other["state"], &other["reach"]),
        (&"up".into(), &"down".into())
    );
    let down = facts(two, "tunnel to host-3").unwrap();
    assert!(down["down_s"].is_u64(), "{down}");
    assert_eq!(down["address"], "192.0.2.3:4790");
    assert_eq!(lines(two, "tunnel down", "host-3"), 1, "{}", two.log());
    three.netns.sh("nft delete table inet fault");
    told(two, "ok    tunnels: 2 are up, round trips ");
    eventually(STEP, "the log says so too", || {
        (lines(two, "tunnel up", "host-3") == 2).then_some(())
    });

    three.stop_agent(Signal::TERM);
    let away = told(two, "warn  host host-3: away for ");
    assert!(away.ends_with("tapestry cluster rm host-3"), "{away}");
    assert_eq!(row(two, "host-3")[3], "away");
    let other = seen(two, "host-3");
    assert!(other["away_s"].is_u64(), "{other}");
    assert_eq!(other["reach"], "away");

    one.stop_agent(Signal::KILL);
    let out = told(two, "warn  cluster: out of step with the store for ");
    assert!(out.contains("TCP port"), "{out}");
    let silent = told(two, "warn  manager host-1: does not answer at ");
    assert!(silent.contains("TCP port 4790"), "{silent}");
    let step = facts(two, "cluster").unwrap();
    assert_eq!(
        (&step["in_step"], step["out_of_step_s"].is_u64()),
        (&false.into(), true)
    );
    assert_eq!(row(two, "host-3")[3], "unknown");
    one.launch();
    told(
        two,
        "ok    cluster: in step with the store, by manager host-1",
    );
    three.launch();
    told(two, "ok    tunnels: 2 are up, round trips ");
}

#[test]
fn inspect_shows_the_endpoints_of_other_hosts_beside_its_own() {
    let lab = pair();
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let there = &two.container("b").endpoints[0];
    let detail = one.network("far");
    assert_eq!(detail.endpoints.len(), 1);
    let [remote] = detail.remote_endpoints.as_slice() else {
        panic!("{:?}", detail.remote_endpoints)
    };
    assert_eq!((&*remote.name, &*remote.host_name), ("b", "host-2"));
    assert_eq!(Some(&*remote.host), cluster_of(two)["host"].as_str());
    assert_eq!(remote.mac, there.mac);
    assert_eq!(remote.addresses, [two.ipv4("b")]);
    let shown = one.tapestry(&["network", "inspect", "far"]).ok();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["remote_endpoints"][0]["name"], "b");
    // Who asks for no counters gets a short answer.
    let short: Value = one.api("GET", "/v1/networks/far?counters=false", None).ok();
    assert_eq!(short["remote_endpoints"], Value::Array(Vec::new()));
    two.tapestry(&["rm", "-f", "b"]).ok();
    eventually(STEP, "it is gone there too", || {
        one.network("far").remote_endpoints.is_empty().then_some(())
    });
}

fn overlaps(host: &Host, name: &str) -> Option<String> {
    let networks = host.networks().into_iter();
    let mut called = networks.filter(|network: &NetworkSummary| network.name == name);
    called.find_map(|network| network.overlaps)
}

#[test]
fn a_route_that_comes_to_overlap_a_network_is_told_and_the_network_stays() {
    let lab = pair();
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    two.netns
        .sh("ip link add extra type bridge; ip link set extra up
         ip addr add 10.9.0.254/25 dev extra");
    let why = eventually(SOON, "the overlap is told", || overlaps(two, "far"));
    assert!(why.contains("10.9.0.128/25 dev extra"), "{why}");
    assert!(why.contains("take that away"), "{why}");
    told(
        two,
        "warn  network far: is not reached from this host as a whole: its subnet 10.9.0.0/24 overlaps",
    );
    let listed = run(&mut two.command(&["network", "ls"]));
    assert!(listed.stderr.contains("dev extra"), "{listed:?}");
    assert_eq!(two.network("far").summary.overlaps.as_ref(), Some(&why));
    let warned = || lines(two, "overlaps a network of the cluster", "far");
    assert_eq!(warned(), 1, "{}", two.log());
    assert_eq!(overlaps(one, "far"), None);
    // Between containers nothing is different.
    two.idle("d", "far", &[]);
    reaches(one, "a", "d");
    reaches(two, "b", "a");
    // An agent that starts finds it too.
    two.kill_agent_proper();
    eventually(STEP, "it is told again", || overlaps(two, "far"));
    two.netns.sh("ip link del extra");
    eventually(SOON, "it is over", || {
        overlaps(two, "far").is_none().then_some(())
    });
    let listed = run(&mut two.command(&["network", "ls"]));
    assert!(listed.stderr.is_empty(), "{listed:?}");
}

/// The kernel tells of routes at once.
const SOON: Duration = Duration::from_secs(3);
