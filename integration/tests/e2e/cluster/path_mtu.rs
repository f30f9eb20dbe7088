//! VXLAN over paths that carry less than the links at their ends.

use std::time::Duration;

use serde_json::{Value, json};

use super::static_vxlan::share_static;
use super::traffic::Stream;
use crate::harness::{Host, Netns, eventually};

/// The ends of a path, and the routers next to them.
const ENDS: [&str; 2] = ["192.0.2.1", "203.0.113.1"];
const GATEWAYS: [&str; 2] = ["192.0.2.9", "203.0.113.9"];

/// Two routers between two namespaces, with a link of 1400 bytes, of which they say nothing.
fn narrow(ends: [&Netns; 2]) -> [Netns; 2] {
    let routers = [Netns::new("router"), Netns::new("router")];
    let peer = routers[1].name();
    routers[0].sh(&format!(
        "ip link add mid type veth peer name mid netns {peer}"
    ));
    for (n, (end, router)) in ends.iter().zip(&routers).enumerate() {
        let (address, gateway, far) = (ENDS[n], GATEWAYS[n], ENDS[1 - n]);
        let (own, next) = (n + 1, 2 - n);
        let inside = end.name();
        router.sh(&format!(
            "echo 1 >/proc/sys/net/ipv4/ip_forward
             ip link add edge type veth peer name under0 netns {inside}
             ip addr add {gateway}/24 dev edge; ip link set edge up
             ip addr add 10.0.0.{own}/24 dev mid; ip link set mid mtu 1400 up
             ip route add {far} via 10.0.0.{next} onlink dev mid
             nft 'table inet hush {{ chain out {{ type filter hook output priority 0;
                  icmp type destination-unreachable drop; }}; }}'"
        ));
        end.sh(&format!(
            "ip addr add {address}/24 dev under0; ip link set under0 up
             ip route replace default via {gateway}"
        ));
    }
    routers
}

/// What is shown of the path from the network's one tunnel.
fn path_mtu(host: &Host) -> Value {
    let detail: Value = host.api("GET", "/v1/networks/far", None).ok();
    detail["overlay"]["tunnels"][0]["path_mtu"].clone()
}

fn finds(host: &Host, found: &Value) {
    eventually(
        Duration::from_secs(30),
        &format!("the path is {found}"),
        || (path_mtu(host) == *found).then_some(()),
    );
}

#[test]
fn a_stream_over_vxlan_gets_through_a_black_hole_which_is_shown() {
    let [one, two] = [Host::without_agent(), Host::without_agent()];
    let _routers = narrow([&one.netns, &two.netns]);
    for host in [&one, &two] {
        host.launch();
    }
    share_static([(&one, ENDS[0]), (&two, ENDS[1])]);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    let stream = Stream::start(&one.sandbox("a"), &two.sandbox("b"), two.ipv4("b"));
    eventually(Duration::from_secs(20), "the stream gets through", || {
        let stall = stream.stall(Duration::from_secs(1));
        (stall < Duration::from_millis(800)).then_some(())
    });
    let measured = json!({ "found": "measured", "bytes": 1400 });
    finds(&one, &measured);
    let checks = one.tapestry(&["doctor"]).stdout;
    assert!(checks.contains("carries 1400 bytes (measured)"), "{checks}");
    // Who connects now hears of it at once.
    let back = Stream::start(&two.sandbox("b"), &one.sandbox("a"), one.ipv4("a"));
    back.flows();
    finds(&two, &measured);
}

#[test]
fn a_path_to_a_kernels_device_is_unfindable_until_its_routers_speak() {
    let host = Host::without_agent();
    let kernel = Netns::new("kern");
    let routers = narrow([&host.netns, &kernel]);
    host.launch();
    let remote = format!("remote={}", ENDS[1]);
    let head = ["network", "create", "--driver", "overlay"];
    let options = ["-o", "vni=42", "--subnet", "10.9.0.0/24", "-o", &remote];
    host.tapestry(&[&head[..], &options, &["far"]].concat())
        .ok();
    host.idle("a", "far", &[]);
    let [near, far] = ENDS;
    kernel.sh(&format!(
        "ip link add vx type vxlan id 42 remote {near} local {far} dstport 4789 dev under0
         ip addr add 10.9.0.9/24 dev vx; ip link set vx up"
    ));
    assert_eq!(path_mtu(&host), Value::Null);
    host.exec("a", "ping -n -c2 -W2 10.9.0.9").ok();
    finds(&host, &json!({ "found": "unfindable", "bytes": null }));
    let checks = host.tapestry(&["doctor"]).stdout;
    assert!(checks.contains("unfindable"), "{checks}");
    for router in &routers {
        router.sh("nft delete table inet hush");
    }
    let told = json!({ "found": "told", "bytes": 1400 });
    eventually(Duration::from_secs(30), "the router is heard", || {
        let _ = host.exec("a", "ping -n -c1 -W0.2 -s 1400 10.9.0.9");
        (path_mtu(&host) == told).then_some(())
    });
    host.exec("a", "ping -n -c1 -W2 -M do -s 1322 10.9.0.9")
        .ok();
    let longer = host.exec("a", "ping -n -c1 -W1 -M do -s 1323 10.9.0.9");
    assert!(longer.stdout.contains("1350"), "{}", longer.stdout);
}
