//! Frames that are followed on all hosts of a network.

use std::collections::BTreeSet;
use std::io::Read as _;

use serde_json::Value;

use super::{STEP, cluster, create_shared, reaches};
use crate::harness::{Host, eventually};
use crate::trace::Followed;

fn ping(host: &Host, from: &str, to: &Host, target: &str) {
    let address = to.ipv4(target);
    host.exec(from, &format!("ping -n -c1 -W1 {address}")).ok();
}

/// As `host: kind -> kind`, by its ports.
fn way(line: &Value) -> String {
    let host = line["host"].as_str().unwrap_or("here");
    let [from, to] = [&line["from"], &line["verdict"]["ports"][0]];
    let [from, to] = [from, to].map(|port| match port["kind"].as_str() {
        Some("tunnel") => "tunnel",
        _ => port["owner"].as_str().unwrap_or("?"),
    });
    format!("{host}: {from} -> {to}")
}

fn frames_are_followed_on_all_hosts(options: &[&str]) {
    let lab = cluster(3);
    create_shared(
        &lab,
        "far",
        &[&["--subnet", "10.9.0.0/24"], options].concat(),
    );
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    for (host, name) in [(one, "a"), (two, "b"), (three, "c")] {
        host.idle(name, "far", &[]);
    }
    reaches(two, "b", "c");
    reaches(one, "a", "b");
    // What goes past this host, and what it sends itself.
    for ((host, name, to, target), ways) in [
        (
            (two, "b", three, "c"),
            ["host-2: b -> tunnel", "host-3: tunnel -> c"],
        ),
        (
            (one, "a", two, "b"),
            ["here: a -> tunnel", "host-2: tunnel -> b"],
        ),
    ] {
        let sender = host.ipv4(name).to_string();
        let followed = Followed::new(one, "far", &["-c", "12", "icmp", "and", "host", &sender]);
        let lines = followed.lines(STEP * 2, || ping(host, name, to, target));
        let request = |line: &&Value| {
            let packet = line["packet"].as_str().unwrap_or_default();
            packet.starts_with(&sender) && packet.ends_with("echo request")
        };
        let seen: BTreeSet<_> = lines.iter().filter(request).map(way).collect();
        assert_eq!(seen, ways.map(str::to_owned).into(), "{lines:#?}");
    }
    // Only here: what two others say to each other is not seen.
    let here = Followed::new(one, "far", &["--here", "-c", "4", "icmp"]);
    let lines = here.lines(STEP * 2, || {
        ping(two, "b", three, "c");
        ping(one, "a", two, "b");
    });
    let a = one.ipv4("a").to_string();
    for line in &lines {
        let is_own = line["packet"].as_str().unwrap_or_default().contains(&a);
        assert!(line["host"].is_null() && is_own, "{line}");
    }
}

#[test]
fn frames_are_followed_on_all_hosts_of_a_network_over_quic() {
    frames_are_followed_on_all_hosts(&[]);
}

/// Nothing connects these hosts but the wish to follow.
#[test]
fn frames_are_followed_on_all_hosts_of_a_network_over_vxlan() {
    frames_are_followed_on_all_hosts(&["-o", "encap=vxlan"]);
}

/// Whoever has no part in a network is told that it is shown nothing, and is shown what passes its own switch.
#[test]
fn a_host_without_endpoints_is_shown_no_frames_of_others() {
    let lab = cluster(2);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.idle("a", "far", &[]);
    let port = two.tapestry(&["run", "--rm", "--network", "far", "--", "true"]);
    port.ok();
    let mut follower = two.spawn(&["trace", "far", "--live", "-c", "1", "icmp"]);
    let refused = eventually(STEP * 2, "it is told", || {
        let mut byte = [0];
        let mut line = Vec::new();
        let errors = follower.stderr.as_mut().unwrap();
        while errors.read(&mut byte).unwrap() == 1 && byte != [b'\n'] {
            line.push(byte[0]);
        }
        String::from_utf8(line).ok()
    });
    assert_eq!(
        refused,
        "the frames of host host-1 are not shown: it shows them to hosts that have endpoints on the network"
    );
    two.idle("b", "far", &[]);
    eventually(STEP * 2, "it sees frames then", || {
        ping(two, "b", one, "a");
        follower.try_wait().unwrap()
    });
}
