//! Two networks of a host that a patch makes one segment.

use std::io::{self, Read as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use switch_core::Mac;

use crate::cluster::Underlay;
use crate::harness::{Endpoint, Host, eventually, fastest};
use crate::packets::{PLAIN, arp, ethernet};

/// A host with a network for each list of options, named by its first word.
fn with_networks(networks: &[&[&str]]) -> Host {
    let host = Host::start();
    for network in networks {
        let (name, options) = network.split_first().unwrap();
        host.tapestry(&[&["network", "create"], options, &[name]].concat())
            .ok();
    }
    host
}

fn address(endpoint: &Endpoint<'_>, address: &str) {
    let link = &endpoint.detail.link;
    endpoint
        .netns
        .sh(&format!("ip addr add {address} dev {link}"));
}

/// What was counted at the network's end of its patch: frames out and in, and drops for `reason`.
fn counted(host: &Host, network: &str, reason: &str) -> (u64, u64, u64) {
    let ports = host.ports(network);
    let patch = ports.iter().find(|port| port.kind == "patch");
    let port = patch.unwrap_or_else(|| panic!("no patch in {ports:#?}"));
    let drops = port.drops.get(reason).copied().unwrap_or(0);
    (port.tx_frames, port.rx_frames, drops)
}

fn patches(host: &Host, network: &str) -> Vec<String> {
    host.network(network).patches
}

const WIRES: [&[&str]; 2] = [&["a", "--subnet", "none"], &["b", "--subnet", "none"]];

/// The shortest of several round trips, in milliseconds.
fn round_trip(from: &Endpoint<'_>, to: &str) -> f64 {
    let said = from.netns.sh(&format!("ping -n -q -c3 -i0.2 -W2 {to}"));
    let fastest = fastest(&said);
    *fastest.first().unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn a_patch_misbehaves_as_it_is_told_and_after_a_restart_too() {
    let host = with_networks(&WIRES);
    let (one, other) = (host.endpoint("a", "one"), host.endpoint("b", "other"));
    address(&one, "10.9.0.1/24");
    address(&other, "10.9.0.2/24");
    host.tapestry(&["network", "patch", "a", "b"]).ok();
    assert!(round_trip(&one, "10.9.0.2") < 20.0);
    let told = host
        .tapestry(&["link", "set", "b", "--patch", "c", "--delay", "40ms"])
        .refused(1);
    assert!(told.contains('c') && told.lines().count() == 1, "{told}");

    // Seen from either side, and each direction by itself.
    host.tapestry(&[
        "link",
        "set",
        "b",
        "--patch",
        "a",
        "--direction",
        "to",
        "--delay",
        "40ms",
    ])
    .ok();
    let shown = host.tapestry(&["link", "show", "a", "--patch", "b"]).ok();
    let rows: Vec<_> = shown.lines().skip(1).collect();
    assert_eq!(rows.len(), 1, "{shown}");
    assert!(
        rows[0].contains(" from ") && rows[0].contains("delay 40ms"),
        "{shown}"
    );
    let took = round_trip(&one, "10.9.0.2");
    assert!((40.0..75.0).contains(&took), "{took}");
    host.stop_agent(Signal::KILL);
    host.launch();
    let took = round_trip(&one, "10.9.0.2");
    assert!((40.0..75.0).contains(&took), "{took}");
    host.tapestry(&[
        "link",
        "set",
        "a",
        "--patch",
        "b",
        "--direction",
        "both",
        "--modify",
        "--loss",
        "100%",
    ])
    .ok();
    assert!(!one.netns.pings("10.9.0.2"));
    let link: serde_json::Value = host.api("GET", "/v1/networks/a/patches/b/link", None).ok();
    assert!(link["to"]["lost"].as_u64() > Some(0), "{link}");
    assert_eq!(link["settings"]["from"]["delay"], "40ms", "{link}");

    host.tapestry(&["link", "reset", "a", "--patch", "b"]).ok();
    assert!(round_trip(&one, "10.9.0.2") < 20.0);
    // A network that is joined anew begins without.
    host.tapestry(&["link", "set", "a", "--patch", "b", "--loss", "100%"])
        .ok();
    for verb in ["unpatch", "patch"] {
        host.tapestry(&["network", verb, "a", "b"]).ok();
    }
    assert!(one.netns.pings("10.9.0.2"));
    let told = host
        .tapestry(&["link", "down", "a", "--patch", "b"])
        .refused(2);
    assert!(told.contains("unpatch"), "{told}");
}

#[test]
fn a_patch_makes_two_networks_one_segment_until_it_is_taken_away() {
    let host = with_networks(&WIRES);
    let (one, other) = (host.endpoint("a", "one"), host.endpoint("b", "other"));
    address(&one, "10.9.0.1/24");
    address(&other, "10.9.0.2/24");
    assert!(!one.netns.pings("10.9.0.2"));

    host.tapestry(&["network", "patch", "a", "b"]).ok();
    assert!(one.netns.pings("10.9.0.2"));
    assert_eq!(patches(&host, "a"), ["b"]);
    assert_eq!(patches(&host, "b"), ["a"]);
    let shown = host.tapestry(&["port", "ls", "a"]).ok();
    let row = shown.lines().find(|line| line.contains("patch"));
    assert!(row.is_some_and(|row| row.contains(" b ")), "{shown}");
    let learned = host.tapestry(&["fdb", "ls", "b"]).ok();
    let mac = one.mac().to_string();
    let row = learned.lines().find(|line| line.contains(&mac));
    assert!(row.is_some_and(|row| row.contains("learned")), "{learned}");

    let restart = || {
        host.stop_agent(Signal::TERM);
        host.launch();
    };
    restart();
    assert!(one.netns.pings("10.9.0.2"));

    host.tapestry(&["network", "unpatch", "b", "a"]).ok();
    assert!(!one.netns.pings("10.9.0.2"));
    assert!(patches(&host, "a").is_empty() && patches(&host, "b").is_empty());
    restart();
    assert!(!one.netns.pings("10.9.0.2"));
}

#[test]
fn superframes_cross_a_patch_whole() {
    let host = with_networks(&WIRES);
    let (one, other) = (host.endpoint("a", "one"), host.endpoint("b", "other"));
    address(&one, "10.9.0.1/24");
    address(&other, "10.9.0.2/24");
    host.tapestry(&["network", "patch", "a", "b"]).ok();
    let sent = 20_000_000_u64;
    let bind = || TcpListener::bind("10.9.0.2:5001");
    let listener = other.netns.enter(bind).unwrap();
    let received = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(STEP)).unwrap();
            io::copy(&mut stream, &mut io::sink()).unwrap()
        });
        let connect = || TcpStream::connect("10.9.0.2:5001");
        let mut stream = one.netns.enter(connect).unwrap();
        stream.set_write_timeout(Some(STEP)).unwrap();
        io::copy(&mut io::repeat(0).take(sent), &mut stream).unwrap();
        drop(stream);
        reader.join().unwrap()
    });
    assert_eq!(received, sent);
    let (frames, _, _) = counted(&host, "a", "");
    assert!(frames < sent / 1448 / 2, "{frames} frames");
}

#[test]
fn patched_networks_keep_their_gateways_and_guard_their_addresses() {
    let host = with_networks(&[
        &["a", "--subnet", "10.1.0.0/24", "--ip-range", "10.1.0.0/25"],
        &["b", "--subnet", "10.2.0.0/24", "--ip-range", "10.2.0.0/25"],
    ]);
    let (one, other) = (host.endpoint("a", "one"), host.endpoint("b", "other"));
    host.tapestry(&["network", "patch", "a", "b"]).ok();
    address(&one, "10.2.0.200/24");
    assert!(one.netns.pings(other.ipv4()));
    assert!(one.netns.pings("10.1.0.1") && one.netns.pings("10.2.0.1"));
    let neighbours = one.netns.sh("ip neigh");
    for (gateway, network) in [("10.1.0.1", "a"), ("10.2.0.1", "b")] {
        let mac = host.network(network).gateway_mac.unwrap();
        let row = neighbours.lines().find(|line| line.starts_with(gateway));
        assert!(row.is_some_and(|row| row.contains(&mac)), "{neighbours}");
    }

    // The guard of `a` knows nothing of the addresses in `b`; that of `b` does.
    let claims = [
        ("10.2.0.1".parse().unwrap(), "gateway_ip"),
        (other.ipv4(), "neighbor_ip"),
    ];
    for (claimed, reason) in claims {
        let before = counted(&host, "b", reason).2;
        let claim = arp(2, one.mac(), claimed, Mac::BROADCAST, claimed);
        let claim = ethernet(Mac::BROADCAST, one.mac(), 0x0806, &claim);
        one.wire().send(&PLAIN, &claim).unwrap();
        eventually(STEP, "the claim is dropped at the patch", || {
            (counted(&host, "b", reason).2 > before).then_some(())
        });
    }
}

#[test]
fn a_patch_that_would_harm_is_refused_by_name() {
    let host = with_networks(&[
        &["a", "--subnet", "none"],
        &["b", "--subnet", "none"],
        &["c", "--subnet", "none"],
        &[
            "v",
            "--subnet",
            "fd00:0:1::/48",
            "--gateway",
            "fd00:0:1::1:1",
        ],
        &[
            "w",
            "--subnet",
            "fd00:0:2::/48",
            "--gateway",
            "fd00:0:2::2:1",
        ],
    ]);
    for pair in [["a", "b"], ["b", "c"]] {
        host.tapestry(&["network", "patch", pair[0], pair[1]]).ok();
    }
    for (one, other, why) in [
        ("a", "c", "a - b - c are joined already"),
        ("b", "a", "b - a are joined already"),
        ("c", "c", "cannot be patched to itself"),
        ("a", "host", "\"host\" has no ports"),
        ("a", "nowhere", "no network \"nowhere\""),
        ("v", "w", "same gateway MAC address 02:42:fd:00:00:01"),
    ] {
        let said = host.tapestry(&["network", "patch", one, other]).refused(1);
        assert!(said.contains(why) && said.lines().count() == 1, "{said}");
    }
    let said = host.tapestry(&["network", "unpatch", "a", "c"]).refused(1);
    assert!(said.contains("are not patched"), "{said}");
    let body = json!({ "network": "c" });
    let refused = host.api("POST", "/v1/networks/a/patches", Some(&body));
    assert_eq!(refused.status, 409, "{refused:?}");

    let said = host.tapestry(&["network", "rm", "b"]).refused(1);
    assert!(said.contains("\"b\" is patched to "), "{said}");
    host.tapestry(&["network", "prune", "--force"]).ok();
    let left: Vec<_> = host.networks().into_iter().map(|left| left.name).collect();
    assert_eq!(left, ["a", "b", "bridge", "c", "host", "none"]);
    for other in ["a", "c"] {
        host.tapestry(&["network", "unpatch", "b", other]).ok();
    }
    host.tapestry(&["network", "rm", "b"]).ok();
}

#[test]
fn networks_of_several_hosts_are_not_patched() {
    let lab = Underlay::new(1);
    let host = &lab.hosts[0];
    host.tapestry(&["network", "create", "--subnet", "none", "a"])
        .ok();
    let head = ["network", "create", "--driver", "overlay", "-o", "vni=42"];
    let tail = ["-o", "remote=192.0.2.9", "--subnet", "10.9.0.0/24", "far"];
    host.tapestry(&[&head[..], &["-o", "encap=vxlan"], &tail].concat())
        .ok();
    for pair in [["a", "far"], ["far", "a"]] {
        let said = host
            .tapestry(&["network", "patch", pair[0], pair[1]])
            .refused(1);
        assert!(said.contains("\"far\" spans hosts"), "{said}");
    }
}

const STEP: Duration = Duration::from_secs(10);
