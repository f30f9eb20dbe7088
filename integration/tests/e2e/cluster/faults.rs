//! Hosts that die, are cut off, or have less room on the wire.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::traffic::Stream;
use super::{LEASE, STEP, Underlay, cluster, create_shared, hosts_of, reaches, tunnels};
use crate::harness::{Host, enter, eventually, run};

/// Whether `host` has a connection to the host at `address`.
pub(super) fn is_connected(host: &Host, address: &str) -> bool {
    hosts_of(host)
        .iter()
        .any(|other| other["address"] == address && other["tunnel"]["up"] == true)
}

/// How long until `is_connected` says `wanted`, of both of two hosts.
#[track_caller]
fn time_until(wanted: bool, hosts: [(&Host, &str); 2]) -> Duration {
    let start = Instant::now();
    eventually(STEP, &format!("connected: {wanted}"), || {
        let all = hosts
            .iter()
            .all(|(host, other)| is_connected(host, other) == wanted);
        all.then_some(())
    });
    start.elapsed()
}

/// Two hosts with a network over QUIC and a container each, `a` and `b`, that are connected.
fn pair(options: &[&str]) -> Underlay {
    let lab = cluster(2);
    create_shared(
        &lab,
        "far",
        &[&["--subnet", "10.9.0.0/24"], options].concat(),
    );
    lab.hosts[0].idle("a", "far", &[]);
    lab.hosts[1].idle("b", "far", &["--ip", "10.9.0.50"]);
    reaches(&lab.hosts[0], "a", "10.9.0.50");
    lab
}

/// Each of `drops` is a chain of the second host, and what it drops.
fn a_partition_is_known_and_healed_within_a_second_each(drops: &[&str]) {
    let lab = pair(&[]);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let both = [(one, "192.0.2.2"), (two, "192.0.2.1")];
    time_until(true, both);
    // The death of a host that frames go to is known within a second; one that nobody speaks to is asked less often.
    let a = one.ipv4("a").to_string();
    let speakers = [(one, "a", "10.9.0.50"), (two, "b", a.as_str())];
    let speakers = speakers.map(|(host, name, to)| {
        let ping = ["ping", "-n", "-q", "-i0.05", "-w4", to];
        host.spawn(&[&["exec", name, "--"], &ping[..]].concat())
    });
    reaches(one, "a", "10.9.0.50");
    let rules: String = drops
        .iter()
        .map(|rule| format!("add rule inet fault {rule} drop\n"))
        .collect();
    two.netns.sh(&format!(
        "nft -f - <<'EOF'
add table inet fault
add chain inet fault in {{ type filter hook prerouting priority -300; }}
add chain inet fault out {{ type filter hook output priority -300; }}
{rules}EOF"
    ));
    let dead = time_until(false, both);
    assert!(dead < SECOND, "known dead after {dead:?}");
    std::thread::sleep(Duration::from_secs(3));
    assert!(!is_connected(one, "192.0.2.2") && !is_connected(two, "192.0.2.1"));
    for speaker in speakers {
        speaker.wait_with_output().unwrap();
    }
    two.netns.sh("nft delete table inet fault");
    let healed = time_until(true, both);
    assert!(healed < SECOND, "healed after {healed:?}");
    one.exec("a", "ping -n -c1 -W1 10.9.0.50").ok();
}

#[test]
fn a_two_way_partition_is_known_and_healed_within_a_second_each() {
    a_partition_is_known_and_healed_within_a_second_each(&[
        "in udp dport 4790",
        "out udp dport 4790",
    ]);
}

#[test]
fn a_one_way_partition_is_known_and_healed_within_a_second_each() {
    a_partition_is_known_and_healed_within_a_second_each(&["in udp dport 4790"]);
}

#[test]
fn a_one_way_partition_the_other_way_is_known_and_healed_within_a_second_each() {
    a_partition_is_known_and_healed_within_a_second_each(&["out udp dport 4790"]);
}

#[test]
fn a_killed_host_is_dead_within_a_second_gone_with_its_lease_and_back_within_a_second() {
    let lab = pair(&[]);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let struck = Instant::now();
    two.stop_agent(Signal::KILL);
    let killed = Instant::now();
    eventually(STEP, "the connection is down", || {
        (!is_connected(one, "192.0.2.2")).then_some(())
    });
    assert!(killed.elapsed() < SECOND, "{:?}", killed.elapsed());
    eventually(LEASE * 3, "its records go", || {
        tunnels(one, "far").is_empty().then_some(())
    });
    assert!(struck.elapsed() > LEASE - SECOND, "{:?}", struck.elapsed());
    assert_eq!(
        one.exec("a", "nslookup b >/dev/null").status,
        1,
        "its names are there still"
    );
    two.launch();
    let back = Instant::now();
    let a = one.sandbox("a");
    eventually(STEP, "a reaches b", || {
        let mut ping = Command::new("ping");
        ping.args(["-n", "-c1", "-W0.2", "10.9.0.50"]);
        (enter(&a, || run(&mut ping)).status == 0).then_some(())
    });
    assert!(back.elapsed() < SECOND, "{:?}", back.elapsed());
    reaches(two, "b", "a");
}

fn an_underlay_that_shrinks_stalls_a_stream_for_two_seconds_at_most(options: &[&str]) {
    let lab = pair(options);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let b = two.ipv4("b");
    let stream = Stream::start(&one.sandbox("a"), &two.sandbox("b"), b);
    stream.flows();
    for host in [one, two] {
        host.netns.sh("ip link set under0 mtu 1280");
    }
    lab.netns
        .sh("ip link set port1 mtu 1280; ip link set port2 mtu 1280");
    let stall = stream.stall(Duration::from_secs(4));
    assert!(stall < 2 * SECOND, "{stall:?}");
    stream.flows();
    // And a new connection has never heard of more.
    let back = Stream::start(&two.sandbox("b"), &one.sandbox("a"), one.ipv4("a"));
    back.flows();
}

#[test]
fn an_underlay_that_shrinks_stalls_a_stream_over_quic_for_two_seconds_at_most() {
    an_underlay_that_shrinks_stalls_a_stream_for_two_seconds_at_most(&[]);
}

#[test]
fn an_underlay_that_shrinks_stalls_a_stream_over_vxlan_for_two_seconds_at_most() {
    an_underlay_that_shrinks_stalls_a_stream_for_two_seconds_at_most(&["-o", "encap=vxlan"]);
}

const SECOND: Duration = Duration::from_secs(1);
