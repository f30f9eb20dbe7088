//! Managers come and go, and any one of three may be lost.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::etcd::{Etcd, is_in_step};
use super::traffic::Stream;
use super::{STEP, Underlay, cluster_of, create_shared_on, gather, hosts_of, reaches, token};
use crate::harness::{Host, enter, eventually};

/// Hosts with running agents, whose certificates last so long. The first `members` are a cluster.
fn hosts(count: usize, members: usize, certificate_s: u64) -> Underlay {
    let lab = Underlay::without_agents(count);
    for host in &lab.hosts {
        let config = host.dir().join("agent.toml");
        let mut config = fs::File::options().append(true).open(config).unwrap();
        writeln!(config, "certificate_s = {certificate_s}").unwrap();
        host.launch();
    }
    gather(&lab.hosts.iter().take(members).collect::<Vec<_>>());
    lab
}

/// Makes `names` managers, on `manager`.
fn promote(manager: &Host, names: &[&str]) {
    for name in names {
        let said = manager.tapestry(&["cluster", "promote", name]).ok();
        assert!(said.contains("is a manager"), "{said}");
    }
}

/// The names of the managers, as `host` knows them.
fn managers(host: &Host) -> Vec<String> {
    let hosts = hosts_of(host).into_iter();
    let mut names: Vec<String> = hosts
        .filter(|host| host["manager"] == true)
        .map(|host| host["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    names
}

fn join_at(manager: &Host, address: &str, host: &Host) {
    host.tapestry(&["cluster", "join", &token(manager), address])
        .ok();
}

/// The host is gone, with all that it ran for the others.
fn die(host: &Host) {
    let etcd = fs::read_to_string(host.state_dir().join("cluster/etcd.pid")).ok();
    host.stop_agent(Signal::KILL);
    let etcd = etcd.and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
    if let Some(etcd) = etcd {
        // This test's own, by the file that its agent wrote.
        let _ = kill_process(etcd, Signal::KILL);
    }
}

/// Where the others reach a host.
fn address_of(host: &Host) -> String {
    let hosts = hosts_of(host);
    let own = hosts.iter().find(|host| host["own"] == true).unwrap();
    own["address"].as_str().unwrap().to_owned()
}

/// The members of a manager's etcd, as that tells its peers.
fn etcd_members(host: &Host) -> Vec<Value> {
    let dir = host.state_dir().join("cluster");
    let (dir, address) = (dir.display(), address_of(host));
    let listed = host.netns.sh(&format!(
        "cd {dir} && curl -sSkf --http1.1 --max-time 5 --cert service.pem --key service.key https://{address}:4792/members"
    ));
    serde_json::from_str(&listed).unwrap()
}

/// Pings ten times a second, until it is asked how many were lost.
struct Pings(Child);

impl Pings {
    fn start(sandbox: &Path, target: &str) -> Self {
        let mut ping = Command::new("ping");
        ping.args(["-nqi0.1", target]).stdout(Stdio::piped());
        Self(enter(sandbox, || ping.spawn()).unwrap())
    }

    #[track_caller]
    fn are_all_answered(self) {
        let (sent, answered) = self.count();
        assert_eq!(sent, answered);
    }

    /// How many were sent, and how many answered.
    fn count(self) -> (usize, usize) {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
        let said = self.0.wait_with_output().unwrap().stdout;
        let said = String::from_utf8_lossy(&said);
        let line = said
            .lines()
            .find(|line| line.contains("packets transmitted"));
        let mut words = line.unwrap().split_whitespace();
        let mut next = |skip| words.nth(skip).unwrap().parse().unwrap();
        (next(0), next(2))
    }
}

/// Takes everything down while there are managers for it.
fn take_down(hosts: &[&Host], network: &str) {
    for host in hosts {
        for container in host.containers() {
            host.tapestry(&["rm", "-f", &container.name]).ok();
        }
    }
    hosts[0].tapestry(&["network", "rm", network]).ok();
    for host in hosts {
        eventually(STEP, "the network is gone everywhere", || {
            let networks = host.networks();
            networks
                .iter()
                .all(|other| other.name != network)
                .then_some(())
        });
    }
}

fn one_of_three_managers_may_be_lost(lost: usize) {
    const LIFE_S: u64 = 20;
    let lab = hosts(5, 4, LIFE_S);
    let (late, members) = (&lab.hosts[4], &lab.hosts[..4]);
    promote(&members[0], &["host-2", "host-3"]);
    for host in members {
        eventually(STEP, "everybody knows the managers", || {
            (managers(host) == ["host-1", "host-2", "host-3"]).then_some(())
        });
    }
    let all: Vec<_> = members.iter().collect();
    create_shared_on(&all, "far", &["--subnet", "10.9.0.0/24"]);
    let left: Vec<_> = (0..3).filter(|n| *n != lost).map(|n| &members[n]).collect();
    let (manager, member) = (left[0], &members[3]);
    let address = address_of(manager);
    left[1].idle("a", "far", &[]);
    member.idle("b", "far", &[]);
    reaches(member, "b", "a");
    let pings = Pings::start(&left[1].sandbox("a"), &member.ipv4("b").to_string());

    die(&members[lost]);
    let until_s = |host: &Host| cluster_of(host)["certificate_until_s"].as_u64().unwrap();
    let before_s = until_s(member);
    // On a manager, and on a member that may have lost its own just now.
    for (host, network) in [(manager, "at-manager"), (member, "at-member")] {
        eventually(STEP, "a network is made", || {
            let made = host.tapestry(&["network", "create", "-d", "overlay", network]);
            (made.status == 0 || made.stderr.contains("already")).then_some(())
        });
        host.idle(&format!("on-{network}"), network, &[]);
    }
    join_at(manager, &address, late);
    late.idle("c", "far", &[]);
    reaches(late, "c", "a");
    reaches(left[1], "a", "c");
    eventually(
        Duration::from_secs(LIFE_S * 2),
        "a certificate is renewed",
        || (until_s(member) > before_s).then_some(()),
    );
    left[1].tapestry(&["cluster", "revoke", "host-5"]).ok();
    eventually(STEP, "the revoked host is out", || {
        (cluster_of(late)["in_step"] == false).then_some(())
    });
    pings.are_all_answered();

    members[lost].launch();
    eventually(STEP, "it is back, a manager as before", || {
        (is_in_step(&members[lost]) && managers(&members[lost]).len() == 3).then_some(())
    });
    late.tapestry(&["rm", "-f", "c"]).ok();
    late.tapestry(&["cluster", "leave"]).ok();
    for (host, network) in [(manager, "at-manager"), (member, "at-member")] {
        host.tapestry(&["rm", "-f", &format!("on-{network}")]).ok();
        host.tapestry(&["network", "rm", network]).ok();
    }
    take_down(&all, "far");
}

#[test]
fn the_founder_may_be_lost_of_three_managers() {
    one_of_three_managers_may_be_lost(0);
}

#[test]
fn a_promoted_host_may_be_lost_of_three_managers() {
    one_of_three_managers_may_be_lost(1);
}

#[test]
fn two_of_three_managers_that_are_lost_for_good_are_recovered_from_by_the_third() {
    let lab = hosts(5, 4, 3600);
    let [one, two, three, member, late] = lab.hosts.as_slice() else {
        unreachable!()
    };
    promote(one, &["host-2", "host-3"]);
    create_shared_on(&[three, member], "far", &["--subnet", "10.9.0.0/24"]);
    three.idle("a", "far", &[]);
    member.idle("b", "far", &[]);
    reaches(member, "b", "a");
    let address = address_of(three);
    let pings = Pings::start(&three.sandbox("a"), &member.ipv4("b").to_string());
    let recover = |host: &Host| host.tapestry(&["cluster", "recover"]);
    assert!(recover(three).ok().contains("nothing to recover"));
    assert!(recover(member).refused(1).contains("no manager"));

    die(one);
    die(two);
    let begun = Instant::now();
    eventually(STEP, "nothing can be changed", || {
        let made = three.tapestry(&["network", "create", "-d", "overlay", "early"]);
        (made.status != 0).then_some(())
    });
    let said = recover(three).ok();
    assert!(said.contains("removed: host-1, host-2"), "{said}");
    for host in [three, member] {
        eventually(
            STEP * 2,
            "all are in step with the one that is left",
            || (is_in_step(host) && managers(host) == ["host-3"]).then_some(()),
        );
    }
    println!("recovered after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(etcd_members(three).len(), 1);
    create_shared_on(&[three, member], "later", &["--subnet", "10.8.0.0/24"]);
    join_at(three, &address, late);
    late.idle("c", "far", &[]);
    reaches(late, "c", "b");
    promote(three, &["host-5"]);
    assert!(recover(three).ok().contains("nothing to recover"));
    pings.are_all_answered();

    // Who was lost and comes back is a stranger, and changes nothing.
    one.launch();
    eventually(STEP, "it is out of step", || {
        (cluster_of(one)["in_step"] == false).then_some(())
    });
    assert_eq!(managers(three), ["host-3", "host-5"]);
    two.launch();
    eventually(STEP, "it is out of step, too", || {
        (cluster_of(two)["in_step"] == false).then_some(())
    });
    late.tapestry(&["rm", "-f", "c"]).ok();
    three.tapestry(&["cluster", "demote", "host-5"]).ok();
    take_down(&[three, member], "far");
    take_down(&[three, member], "later");
}

/// Two that are left: neither goes on by itself while the other answers. Most of the five come back where they do not reach
/// the one that went on, and are a cluster of their own until they do.
#[test]
fn three_of_five_managers_that_are_lost_for_good_are_recovered_from_by_one_of_the_others() {
    let lab = hosts(5, 5, 3600);
    let [one, two, three, four, five] = lab.hosts.as_slice() else {
        unreachable!()
    };
    promote(one, &["host-2", "host-3", "host-4", "host-5"]);
    for lost in [one, two, three] {
        die(lost);
    }
    let recover = |host: &Host| host.tapestry(&["cluster", "recover"]);
    let refused = recover(four).refused(1);
    assert!(refused.contains("host-5 answers"), "{refused}");
    let doctor = five.tapestry(&["doctor"]).stdout;
    assert!(doctor.contains("ok    manager host-4: answers"), "{doctor}");
    five.stop_agent(Signal::TERM);
    let said = recover(four).ok();
    assert!(
        said.contains("removed: host-1, host-2, host-3, host-5"),
        "{said}"
    );
    eventually(STEP * 2, "it goes on alone", || {
        (is_in_step(four) && managers(four) == ["host-4"]).then_some(())
    });

    lab.netns.sh("ip link set port4 down");
    for host in [one, two, three] {
        host.launch();
    }
    eventually(STEP * 2, "the three are in step with each other", || {
        let hosts = [one, two, three];
        hosts.iter().all(|host| is_in_step(host)).then_some(())
    });
    lab.netns.sh("ip link set port4 up");
    five.launch();
    for host in [one, two, three, five] {
        stands_down(host);
    }
    assert!(is_in_step(four) && managers(four) == ["host-4"]);
    five.tapestry(&["cluster", "leave"]).ok();
    join_at(four, "192.0.2.4", five);
    eventually(STEP, "it is a member again", || {
        (is_in_step(five) && hosts_of(four).len() == 2).then_some(())
    });
}

#[test]
fn a_manager_that_was_demoted_and_removed_while_it_was_dead_stands_down_when_it_is_back() {
    let lab = hosts(3, 3, 3600);
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    promote(one, &["host-2", "host-3"]);
    die(two);
    eventually(STEP, "it is known to be down", || {
        let hosts = hosts_of(one);
        let is_down = |host: &Value| host["name"] == "host-2" && host["state"] == "down";
        hosts.iter().any(is_down).then_some(())
    });
    one.tapestry(&["cluster", "demote", "host-2"]).ok();
    one.tapestry(&["cluster", "rm", "host-2"]).ok();
    two.launch();
    stands_down(two);
    for host in [one, three] {
        assert!(is_in_step(host) && managers(host) == ["host-1", "host-3"]);
    }
}

/// Waits until the host has nothing of a manager, and is no member either.
fn stands_down(host: &Host) {
    eventually(STEP * 2, "it is no manager, and a stranger", || {
        let is_out = !host.state_dir().join("cluster/ca.key").exists();
        (is_out && !is_in_step(host)).then_some(())
    });
}

#[test]
fn the_founder_is_back_after_two_lives_of_its_certificates() {
    const LIFE_S: u64 = 6;
    let lab = hosts(4, 4, LIFE_S);
    let [one, two, three, four] = lab.hosts.as_slice() else {
        unreachable!()
    };
    promote(one, &["host-2", "host-3"]);
    create_shared_on(
        &[one, two, three, four],
        "far",
        &["--subnet", "10.9.0.0/24"],
    );
    two.idle("a", "far", &[]);
    four.idle("b", "far", &[]);
    reaches(four, "b", "a");
    let pings = Pings::start(&four.sandbox("b"), &two.ipv4("a").to_string());
    one.stop_agent(Signal::TERM);
    let off = Instant::now();
    while off.elapsed() < Duration::from_secs(2 * LIFE_S + 1) {
        std::thread::sleep(Duration::from_millis(500));
        // Certificates are renewed meanwhile, by whoever is left.
        assert!(
            is_in_step(two) || is_in_step(three),
            "no manager is in step"
        );
    }
    one.launch();
    for host in &lab.hosts {
        eventually(Duration::from_secs(5), "all are in step", || {
            is_in_step(host).then_some(())
        });
    }
    // A connection ends with the certificate that it began with, which may cost a ping each time.
    let (sent, answered) = pings.count();
    assert!(answered * 100 >= sent * 95, "{answered} of {sent}");
    assert_eq!(managers(one), ["host-1", "host-2", "host-3"]);
    take_down(&[one, two, three, four], "far");
}

#[test]
fn a_manager_is_demoted_alive_or_dead_and_never_the_last() {
    let lab = hosts(4, 4, 3600);
    let [one, two, three, four] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let refused = one.tapestry(&["cluster", "demote", "host-1"]).refused(1);
    assert!(refused.contains("last manager"), "{refused}");
    let refused = two.tapestry(&["cluster", "promote", "host-2"]).refused(1);
    assert!(refused.contains("no manager"), "{refused}");
    let said = one.tapestry(&["cluster", "promote", "host-2"]).ok();
    assert!(said.contains("promote a third"), "{said}");
    // Again changes nothing, here or there.
    promote(two, &["host-2"]);
    promote(two, &["host-3"]);
    assert_eq!(etcd_members(three).len(), 3);
    create_shared_on(
        &[one, two, three, four],
        "far",
        &["--subnet", "10.9.0.0/24"],
    );
    one.idle("a", "far", &[]);
    three.idle("c", "far", &[]);
    reaches(one, "a", "c");
    let pings = Pings::start(&one.sandbox("a"), &three.ipv4("c").to_string());

    let refused = one.tapestry(&["cluster", "revoke", "host-3"]).refused(1);
    assert!(refused.contains("demote host-3"), "{refused}");
    one.tapestry(&["cluster", "demote", "host-3"]).ok();
    assert_eq!(managers(one), ["host-1", "host-2"]);
    assert_eq!(etcd_members(one).len(), 2);
    eventually(STEP, "nothing of a manager is left there", || {
        let dir = three.state_dir().join("cluster");
        let left = ["ca.key", "etcd", "etcd.pid", "service.key"];
        left.iter()
            .all(|name| !dir.join(name).exists())
            .then_some(())
    });
    let refused = three.tapestry(&["cluster", "token"]).refused(1);
    assert!(refused.contains("no manager"), "{refused}");
    eventually(STEP, "it is a member in step", || {
        is_in_step(three).then_some(())
    });
    promote(one, &["host-3"]);

    // One of three is dead, so that no other may go.
    die(two);
    eventually(STEP, "it is known to be down", || {
        let hosts = hosts_of(one);
        let is_down = |host: &Value| host["name"] == "host-2" && host["state"] == "down";
        hosts.iter().any(is_down).then_some(())
    });
    let refused = one.tapestry(&["cluster", "demote", "host-3"]).refused(1);
    assert!(refused.contains("is needed"), "{refused}");
    three.tapestry(&["cluster", "demote", "host-2"]).ok();
    assert_eq!(managers(three), ["host-1", "host-3"]);
    assert_eq!(etcd_members(three).len(), 2);
    // The founder goes too, at its own word.
    one.tapestry(&["cluster", "demote", "host-1"]).ok();
    pings.are_all_answered();
    eventually(STEP, "one manager is left", || {
        [one, three, four]
            .iter()
            .all(|host| managers(host) == ["host-3"] && is_in_step(host))
            .then_some(())
    });
    // When the dead one comes back, nobody is a manager that it knows as one.
    promote(three, &["host-4"]);
    three.tapestry(&["cluster", "demote", "host-3"]).ok();
    two.launch();
    eventually(STEP, "it finds itself a member", || {
        let is_out = !two.state_dir().join("cluster/ca.key").exists();
        (is_out && is_in_step(two) && managers(two) == ["host-4"]).then_some(())
    });
    two.idle("b", "far", &[]);
    reaches(two, "b", "c");
    take_down(&[four, one, two, three], "far");
    // Whoever is a manager goes last.
    promote(four, &["host-1"]);
    four.tapestry(&["cluster", "demote", "host-4"]).ok();
    eventually(STEP, "the last one is first again", || {
        (managers(one) == ["host-1"] && is_in_step(four)).then_some(())
    });
}

#[test]
fn a_promotion_that_fails_is_taken_back_and_may_be_tried_again() {
    let lab = hosts(2, 2, 3600);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    two.stop_agent(Signal::TERM);
    eventually(STEP, "it is known to be down", || {
        hosts_of(one)
            .iter()
            .any(|host| host["state"] == "down")
            .then_some(())
    });
    let refused = one.tapestry(&["cluster", "promote", "host-2"]).refused(1);
    assert!(refused.contains("host-2 is down"), "{refused}");
    let few = two.dir().join("few");
    let few = few.to_str().unwrap();
    two.netns
        .sh(&format!("mkdir {few}; ln -s $(command -v nft) {few}/nft"));
    two.launch_with(|command| {
        command.env("PATH", few);
    });
    eventually(STEP, "it is back", || is_in_step(two).then_some(()));
    let refused = one.tapestry(&["cluster", "promote", "host-2"]).refused(1);
    assert!(refused.contains("there is no etcd here"), "{refused}");
    assert_eq!(etcd_members(one).len(), 1);
    assert_eq!(managers(one), ["host-1"]);
    eventually(STEP, "it is a member as before", || {
        let is_out = !two.state_dir().join("cluster/ca.key").exists();
        (is_out && is_in_step(two)).then_some(())
    });
    two.stop_agent(Signal::TERM);
    two.launch();
    eventually(STEP, "it is back", || is_in_step(two).then_some(()));
    // Killed in the midst of it, the agent goes on or begins again.
    let promoting = one.spawn(&["cluster", "promote", "host-2"]);
    eventually(STEP, "it is under way", || {
        two.state_dir()
            .join("cluster/ca.key")
            .exists()
            .then_some(())
    });
    two.kill_agent_proper();
    let said = promoting.wait_with_output().unwrap();
    promote(one, &["host-2"]);
    eventually(STEP, &format!("it is a manager: {said:?}"), || {
        (managers(two) == ["host-1", "host-2"] && is_in_step(two)).then_some(())
    });
    assert_eq!(etcd_members(two).len(), 2);
    assert!(token(two).starts_with("TPSTRY"));
    one.tapestry(&["cluster", "demote", "host-2"]).ok();
}

#[test]
fn a_new_ca_signs_on_every_manager() {
    let lab = hosts(4, 3, 3600);
    let [one, two, three, late] = lab.hosts.as_slice() else {
        unreachable!()
    };
    promote(one, &["host-2"]);
    let ca = |host: &Host| fs::read_to_string(host.state_dir().join("cluster/ca.pem")).unwrap();
    let key = |host: &Host| fs::read_to_string(host.state_dir().join("cluster/ca.key")).unwrap();
    let (old, old_key) = (ca(one), key(one));
    assert_eq!(key(two), old_key);
    two.tapestry(&["cluster", "ca", "rotate"]).ok();
    eventually(STEP * 2, "the new one alone is trusted", || {
        let all = [one, two, three].map(ca);
        let is_new = all[0] != old && all[0].matches("BEGIN").count() == 1;
        (is_new && all[1] == all[0] && all[2] == all[0]).then_some(())
    });
    assert!(key(one) == key(two) && key(one) != old_key);
    for host in [one, two, three] {
        eventually(STEP, "all are in step", || is_in_step(host).then_some(()));
    }
    join_at(one, "192.0.2.1", late);
    late.tapestry(&["cluster", "leave"]).ok();
    join_at(two, "192.0.2.2", late);
    one.tapestry(&["cluster", "demote", "host-2"]).ok();
}

#[test]
fn the_etcd_of_an_older_agent_is_told_where_others_reach_it() {
    let lab = Underlay::new(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    // Before there were other managers, etcd had its peers on loopback.
    let etcd = one.dir().join("etcd");
    let script = r#"#!/bin/sh
set -- $(printf '%s\n' "$@" | sed 's#https://192.0.2.1:4792#https://127.0.0.1:4792#')
exec /usr/bin/etcd "$@"
"#;
    fs::write(&etcd, script).unwrap();
    one.netns.sh(&format!("chmod +x {}", etcd.display()));
    one.stop_agent(Signal::TERM);
    one.launch_with(|command| {
        command.env("PATH", one.own_path());
    });
    gather(&[one, two]);
    one.stop_agent(Signal::KILL);
    one.launch();
    eventually(STEP, "both are in step", || {
        (is_in_step(one) && is_in_step(two)).then_some(())
    });
    let url = "https://192.0.2.1:4792";
    assert_eq!(etcd_members(one)[0]["peerURLs"][0], url);
    promote(one, &["host-2"]);
    one.tapestry(&["cluster", "demote", "host-2"]).ok();
}

#[test]
fn a_promotion_beside_an_etcd_that_was_given_brings_the_key_alone() {
    let lab = Underlay::new(3);
    let _etcd = Etcd::start(&lab);
    let [one, two, three] = lab.hosts.as_slice() else {
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
    join_at(one, "192.0.2.1", two);
    promote(one, &["host-2"]);
    let dir = two.state_dir().join("cluster");
    assert!(dir.join("ca.key").exists() && !dir.join("etcd").exists());
    die(one);
    join_at(two, "192.0.2.2", three);
    create_shared_on(&[two, three], "far", &["--subnet", "10.9.0.0/24"]);
    // A dead one is demoted by the other, and comes back as a member.
    two.tapestry(&["cluster", "demote", "host-1"]).ok();
    let refused = two.tapestry(&["cluster", "demote", "host-2"]).refused(1);
    assert!(refused.contains("last manager"), "{refused}");
    one.launch();
    eventually(STEP, "it finds itself a member", || {
        let is_out = !one.state_dir().join("cluster/ca.key").exists();
        (is_out && is_in_step(one) && managers(one) == ["host-2"]).then_some(())
    });
    take_down(&[two, one, three], "far");
}

#[test]
fn five_hosts_are_revoked_in_a_row_under_load() {
    let lab = hosts(7, 7, 3600);
    let [one, two, revoked @ ..] = lab.hosts.as_slice() else {
        unreachable!()
    };
    promote(one, &["host-2"]);
    create_shared_on(
        &lab.hosts.iter().collect::<Vec<_>>(),
        "far",
        &["--subnet", "10.9.0.0/24"],
    );
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");
    let stream = Stream::start(&one.sandbox("a"), &two.sandbox("b"), two.ipv4("b"));
    stream.flows();
    std::thread::scope(|scope| {
        let stall = scope.spawn(|| stream.stall(Duration::from_secs(6)));
        for (host, name) in revoked
            .iter()
            .zip(["host-3", "host-4", "host-5", "host-6", "host-7"])
        {
            let begun = Instant::now();
            one.tapestry(&["cluster", "revoke", name]).ok();
            // By either manager: a host keeps its connection to the one that it had.
            eventually(STEP, "it is shut out", || (!is_in_step(host)).then_some(()));
            println!("{name} was shut out after {:?}", begun.elapsed());
        }
        let stall = stall.join().unwrap();
        assert!(stall < Duration::from_millis(800), "{stall:?}");
    });
    assert!(is_in_step(one) && is_in_step(two));
    for host in revoked {
        host.tapestry(&["cluster", "leave"]).ok();
    }
    drop(stream);
    take_down(&[one, two], "far");
    one.tapestry(&["cluster", "demote", "host-2"]).ok();
}
