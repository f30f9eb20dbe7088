//! What a cluster costs, and how soon a host knows what another one changed: the figures of `tapestry-bench --family cluster`, of a
//! few hosts and with room for a busy machine.

use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::json;

use super::faults::is_connected;
use super::traffic::Stream;
use super::{LEASE, STEP, cluster, create_shared, reaches};
use crate::harness::{Endpoint, Host, eventually};

/// Whether the name server of an endpoint's network has an address for a name (RFC 1035).
fn finds(asker: &Endpoint<'_>, name: &str) -> bool {
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.push(u8::try_from(name.len()).unwrap());
    question.extend(name.as_bytes());
    question.extend([0, 0, 1, 0, 1]);
    let server: IpAddr = asker.detail.gateways[0];
    let socket = asker.netns.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut reply = [0; 512];
    socket.send_to(&question, (server, 53)).unwrap();
    matches!(socket.recv(&mut reply), Ok(13..)) && reply[3] & 0x0f == 0 && reply[7] > 0
}

fn rename(host: &Host, endpoint: &Endpoint<'_>, alias: &str) {
    let path = format!("/v1/endpoints/{}", endpoint.detail.id);
    let update = json!({"aliases": [alias]});
    host.api("PATCH", &path, Some(&update))
        .ok::<serde_json::Value>();
}

#[test]
fn hosts_know_what_others_change_at_once_also_when_that_is_much() {
    let lab = cluster(3);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    let hosts = lab.hosts.iter().enumerate();
    let endpoints: Vec<_> = hosts
        .map(|(at, host)| host.endpoint("far", &format!("e{at}")))
        .collect();
    let known = |changed: usize, alias: &str| {
        let start = Instant::now();
        eventually(STEP, &format!("all others find {alias}"), || {
            let mut others = endpoints
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != changed);
            others.all(|(_, other)| finds(other, alias)).then_some(())
        });
        start.elapsed()
    };
    for round in 0..6 {
        let (changed, alias) = (round % 3, format!("a{round}"));
        rename(&lab.hosts[changed], &endpoints[changed], &alias);
        let took = known(changed, &alias);
        // The next look after anything that was missed comes later.
        assert!(took < LEASE / 4, "{took:?}");
        assert!(!finds(
            &endpoints[(changed + 1) % 3],
            &format!("a{}", round.wrapping_sub(3))
        ));
    }
    std::thread::scope(|scope| {
        for changed in [1, 2] {
            let (host, endpoint) = (&lab.hosts[changed], &endpoints[changed]);
            scope.spawn(move || {
                (0..CHANGES).for_each(|n| rename(host, endpoint, &format!("m{changed}-{n}")));
            });
        }
    });
    for changed in [1, 2] {
        let took = known(changed, &format!("m{changed}-{}", CHANGES - 1));
        assert!(took < Duration::from_secs(1), "{took:?} behind");
    }
}

/// Packets that a host has sent over the underlay so far: the tenth count of its link (proc_pid_net(5)).
fn packets(host: &Host) -> u64 {
    let links = host
        .netns
        .enter(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    let mut links = links.lines().filter_map(|line| line.split_once(':'));
    let (_, counts) = links.find(|(link, _)| link.trim() == "under0").unwrap();
    counts.split_whitespace().nth(9).unwrap().parse().unwrap()
}

/// The share that a process has of the memory in use, in KiB.
fn share(pid: Pid) -> u64 {
    let pid = pid.as_raw_nonzero();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse().unwrap()
}

fn memory(host: &Host) -> u64 {
    share(host.guardian_pid()) + share(host.agent_pid())
}

#[test]
fn hosts_at_rest_send_little_and_networks_take_little_memory() {
    let lab = cluster(3);
    // Connections find their path's MTU first.
    std::thread::sleep(Duration::from_secs(2));
    let before: Vec<_> = lab.hosts.iter().map(packets).collect();
    std::thread::sleep(IDLE);
    let after = lab.hosts.iter().map(packets);
    let sent: u64 = after
        .zip(&before)
        .map(|(after, before)| after - before)
        .sum();
    let a_peer = sent / (3 * 2 * IDLE.as_secs());
    println!("{a_peer} packets a second to each of two peers");
    assert!(
        a_peer <= PACKETS_MAX,
        "{a_peer} packets a second to each peer"
    );

    let two = &lab.hosts[1];
    let before = memory(two);
    for number in 0..NETWORKS {
        let subnet = format!("10.9.{number}.0/24");
        create_shared(&lab, &format!("net{number}"), &["--subnet", &subnet]);
    }
    let after = memory(two);
    println!("{before} KiB without a network, {after} KiB with {NETWORKS}");
    let took = after.saturating_sub(before);
    assert!(took < NETWORKS * 1024, "{took} KiB for {NETWORKS} networks");
}

#[test]
fn hosts_that_are_revoked_in_a_row_are_gone_at_once_and_nobody_else_notices() {
    let lab = cluster(4);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    for (number, host) in (1..).zip(&lab.hosts) {
        host.idle(&format!("c{number}"), "far", &[]);
    }
    let [one, two, rest @ ..] = lab.hosts.as_slice() else {
        unreachable!()
    };
    for (number, host) in (3..).zip(rest) {
        reaches(host, &format!("c{number}"), "c1");
        reaches(host, &format!("c{number}"), "c2");
    }
    let stream = Stream::start(&one.sandbox("c1"), &two.sandbox("c2"), two.ipv4("c2"));
    stream.flows();
    std::thread::scope(|scope| {
        let stall = scope.spawn(|| stream.stall(Duration::from_secs(2)));
        for number in [3, 4] {
            let address = format!("192.0.2.{number}");
            one.tapestry(&["cluster", "revoke", &format!("host-{number}")])
                .ok();
            let start = Instant::now();
            eventually(STEP, "no host has a tunnel to it", || {
                (!is_connected(one, &address) && !is_connected(two, &address)).then_some(())
            });
            let took = start.elapsed();
            println!("host-{number} has no tunnel any more {took:?} after it was revoked");
            assert!(took < Duration::from_millis(800), "{took:?}");
        }
        let stall = stall.join().unwrap();
        println!("another stream stood still for {stall:?} at most");
        assert!(stall < Duration::from_millis(800), "{stall:?}");
    });
}

const NETWORKS: u64 = 6;
/// Of each of two hosts, one after the other as fast as they are taken.
const CHANGES: usize = 60;
const IDLE: Duration = Duration::from_secs(3);
/// A second, to each peer.
const PACKETS_MAX: u64 = 30;
