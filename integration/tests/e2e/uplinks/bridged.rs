//! A LAN as one part of a network.

use std::time::Duration;

use agent_api::PortView;

use crate::cluster::{cluster, create_shared_on};
use crate::harness::{Host, Netns, eventually};

#[test]
fn a_nic_of_a_bridge_makes_its_lan_a_part_of_the_network() {
    let host = Host::start();
    let lan = Netns::new("lan");
    wire(&host, "up1", &lan, "up1");
    lan.sh("ip addr add 10.70.0.200/24 dev up1; ip link set up1 up");
    let create = [
        "network",
        "create",
        "--subnet",
        "10.70.0.0/24",
        "-o",
        "uplink=up1",
        "both",
    ];
    host.tapestry(&create).ok();
    host.idle("a", "both", &[]);
    let a = host.ipv4("a");
    assert!(lan.pings(a), "the LAN to the container");
    assert!(lan.pings("10.70.0.1"), "the LAN to the network's gateway");
    assert!(host.netns.pings("10.70.0.200"), "the host to the LAN");
    host.exec("a", "ping -n -c1 -W2 10.70.0.200").ok();
    let promiscuous = || {
        host.netns
            .sh("ip -d link show up1")
            .contains("promiscuity 1")
    };
    assert!(promiscuous());
    let ports = host.ports("both");
    let uplink = ports.iter().find(|port| port.kind == "uplink").unwrap();
    assert_eq!(
        (uplink.owner.as_str(), uplink.link.as_deref()),
        ("up1", Some("up1"))
    );
    assert!(uplink.rx_frames > 0 && uplink.tx_frames > 0);
    host.kill_agent_proper();
    eventually(Duration::from_secs(5), "it is taken up again", || {
        (lan.pings(a) && promiscuous()).then_some(())
    });
    host.tapestry(&["rm", "-f", "a"]).ok();
    host.tapestry(&["network", "rm", "both"]).ok();
    assert!(!promiscuous(), "as it was");
}

/// A NIC for the host, whose other end is in the LAN.
fn wire(host: &Host, link: &str, lan: &Netns, there: &str) {
    let far = lan.name();
    host.netns.sh(&format!(
        "ip link add {link} type veth peer name {there} netns {far}; ip link set {link} up"
    ));
}

/// A switch of the kernel with a station at `address`, and NICs of hosts at it.
fn switched_lan(address: &str, nics: [(&Host, &str); 2]) -> Netns {
    let lan = Netns::new("lan");
    lan.sh(&format!(
        "ip link add br0 type bridge; ip addr add {address}/24 dev br0; ip link set br0 up"
    ));
    for ((host, link), port) in nics.into_iter().zip(["one", "two"]) {
        wire(host, link, &lan, port);
        lan.sh(&format!("ip link set {port} master br0 up"));
    }
    lan
}

/// Frames that have come to these ports.
fn heard(ports: &[PortView]) -> u64 {
    ports.iter().map(|port| port.rx_frames).sum()
}

fn assert_no_storm(ports: impl Fn() -> Vec<PortView>) {
    let before = heard(&ports());
    std::thread::sleep(Duration::from_secs(1));
    let more = heard(&ports()) - before;
    assert!(more < 1000, "{more} frames go round");
}

#[test]
fn two_uplinks_to_one_lan_that_are_patched_make_no_storm() {
    let host = Host::start();
    let lan = switched_lan("10.70.0.200", [(&host, "up1"), (&host, "up2")]);
    for (name, link) in [("one", "up1"), ("two", "up2")] {
        let uplink = format!("uplink={link}");
        let wire = ["network", "create", "--subnet", "none", "-o", &uplink, name];
        host.tapestry(&wire).ok();
    }
    let (a, b) = (host.endpoint("one", "a"), host.endpoint("two", "b"));
    for (endpoint, address) in [(&a, "10.70.0.33"), (&b, "10.70.0.66")] {
        let link = &endpoint.detail.link;
        endpoint
            .netns
            .sh(&format!("ip addr add {address}/24 dev {link}"));
        assert!(lan.pings(address));
    }
    host.tapestry(&["network", "patch", "one", "two"]).ok();
    let ports = || [host.ports("one"), host.ports("two")].concat();
    eventually(Duration::from_secs(20), "the loop is cut", || {
        // A question to everybody comes from two sides, which is the sign that starts the search.
        lan.sh("ping -n -c1 -W0.2 10.70.0.99 || true");
        let mut patches = ports().into_iter().filter(|port| port.kind == "patch");
        patches
            .any(|port| port.state.contains("loop"))
            .then_some(())
    });
    assert_no_storm(ports);
    assert!(lan.pings("10.70.0.33") && lan.pings("10.70.0.66"));
    assert!(a.netns.pings("10.70.0.66"), "through the LAN");
}

#[test]
fn of_a_vepa_the_switch_outside_decides_who_reaches_whom() {
    let host = Host::start();
    let lan = switched_lan("10.70.0.200", [(&host, "up1"), (&host, "up2")]);
    let create = [
        "network",
        "create",
        "--driver",
        "macvlan",
        "--subnet",
        "10.70.0.0/24",
        "--ip-range",
        "10.70.0.32/27",
    ];
    let vepa = ["-o", "parent=up1", "-o", "macvlan_mode=vepa", "v"];
    host.tapestry(&[&create[..], &vepa].concat()).ok();
    host.idle("a", "v", &[]);
    host.idle("b", "v", &[]);
    let (a, b) = (host.ipv4("a"), host.ipv4("b"));
    assert!(lan.pings(a) && lan.pings(b));
    let ping = format!("ping -n -c2 -i0.2 -W1 {b}");
    host.exec("a", &ping).refused(1);
    // IEEE 802.1Qbg's reflective relay.
    lan.sh("ip link set one type bridge_slave hairpin on");
    host.exec("a", &ping).ok();
}

#[test]
fn a_nic_of_an_overlay_makes_its_lan_a_part_of_the_network_of_all_hosts() {
    let lab = cluster(2);
    let hosts: Vec<_> = lab.hosts.iter().collect();
    let lan = Netns::new("lan");
    wire(hosts[0], "up1", &lan, "up1");
    lan.sh("ip addr add 10.9.0.200/24 dev up1; ip link set up1 up");
    let options = ["--subnet", "10.9.0.0/24", "-o", "uplink=up1"];
    create_shared_on(&hosts, "wide", &options);
    hosts[0].idle("a", "wide", &[]);
    hosts[1].idle("b", "wide", &[]);
    let (a, b) = (hosts[0].ipv4("a"), hosts[1].ipv4("b"));
    eventually(Duration::from_secs(20), "the tunnel is there", || {
        lan.pings(b).then_some(())
    });
    assert!(lan.pings(a), "the container beside it");
    hosts[1].exec("b", "ping -n -c2 -i0.2 -W2 10.9.0.200").ok();
    hosts[1]
        .exec("b", &format!("ping -n -c2 -i0.2 -W2 {a}"))
        .ok();
    // What the LAN says to everybody crosses once.
    let before = heard(&hosts[1].ports("wide"));
    lan.sh("ping -n -c3 -i0.2 -W0.2 10.9.0.99 || true");
    let more = heard(&hosts[1].ports("wide")) - before;
    assert!((1..50).contains(&more), "{more}");
}

#[test]
fn of_two_hosts_with_a_nic_at_one_lan_one_is_blocked() {
    let lab = cluster(2);
    let hosts: Vec<_> = lab.hosts.iter().collect();
    let lan = switched_lan("10.9.0.200", [(hosts[0], "up1"), (hosts[1], "up1")]);
    let options = ["--subnet", "10.9.0.0/24", "-o", "uplink=up1"];
    create_shared_on(&hosts, "wide", &options);
    for (host, name) in hosts.iter().zip(["a", "b"]) {
        host.idle(name, "wide", &[]);
    }
    let blocked = || {
        let is_blocked = |host: &&&Host| {
            let ports = host.ports("wide");
            let uplink = ports.iter().find(|port| port.kind == "uplink").unwrap();
            uplink.state.contains("loop")
        };
        hosts.iter().filter(is_blocked).count()
    };
    eventually(Duration::from_secs(40), "one of them is blocked", || {
        // A question to everybody comes from two sides, which is the sign that starts the search.
        lan.sh("ping -n -c1 -W0.2 10.9.0.99 || true");
        (blocked() == 1).then_some(())
    });
    assert_no_storm(|| hosts.iter().flat_map(|host| host.ports("wide")).collect());
    let (a, b) = (hosts[0].ipv4("a"), hosts[1].ipv4("b"));
    assert!(lan.pings(a) && lan.pings(b));
    hosts[0]
        .exec("a", &format!("ping -n -c2 -i0.2 -W2 {b}"))
        .ok();
    assert_eq!(blocked(), 1);
}
