//! A LAN as one part of a network.

use std::time::Duration;

use crate::harness::{Host, Netns, eventually};

#[test]
fn a_nic_of_a_bridge_makes_its_lan_a_part_of_the_network() {
    let host = Host::start();
    let lan = Netns::new("lan");
    let far = lan.name();
    host.netns.sh(&format!(
        "ip link add up1 type veth peer name up1 netns {far}; ip link set up1 up"
    ));
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
