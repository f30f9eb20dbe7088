//! A host that forwards for its containers, and what else it might forward.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{HOST_IP, HOST_IP6, Host, Netns, OUTSIDE_IP, OUTSIDE_IP6, eventually};

#[test]
fn a_host_that_was_no_router_forwards_for_its_containers_only() {
    let (host, neighbour) = between();
    forward(&host, 0);
    host.launch();
    host.tapestry(&["network", "create", "--ipv6", "both"]).ok();
    host.idle("one", "both", &[]);
    assert_passes(&host, &neighbour, false);
    for outside in [OUTSIDE_IP.to_string(), OUTSIDE_IP6.to_string()] {
        host.exec("one", &format!("ping -n -c1 -W2 {outside}")).ok();
    }
    // What it was is known after a crash too.
    host.stop_agent(Signal::KILL);
    host.launch();
    assert_passes(&host, &neighbour, false);
    host.tapestry(&["rm", "-f", "one"]).ok();
    host.tapestry(&["network", "rm", "both"]).ok();
    assert_eq!(forwards(&host), ["1", "0"]);
    host.stop_agent(Signal::TERM);
    assert_eq!(forwards(&host), ["0", "0"]);
    assert_eq!(setting(&host, "netfilter/nf_conntrack_tcp_be_liberal"), "0");
    assert_eq!(setting(&host, "ipv6/conf/up0/accept_ra"), "1");
}

#[test]
fn a_host_that_was_a_router_stays_one() {
    let (host, neighbour) = between();
    forward(&host, 1);
    host.launch();
    host.tapestry(&["network", "create", "--ipv6", "both"]).ok();
    host.idle("one", "both", &[]);
    assert_passes(&host, &neighbour, true);
    host.tapestry(&["rm", "-f", "one"]).ok();
    host.stop_agent(Signal::TERM);
    assert_eq!(forwards(&host), ["1", "1"]);
    assert_passes(&host, &neighbour, true);
}

#[test]
fn stations_of_a_kernel_bridge_reach_each_other_through_it() {
    let host = Host::without_agent();
    forward(&host, 0);
    host.launch();
    host.netns
        .sh("ip link add br0 type bridge; ip link set br0 up");
    let stations = [1, 2].map(|number| {
        let station = Netns::new("st");
        host.netns.sh(&format!(
            "ip link add st{number} type veth peer name st0 netns {}
             ip link set st{number} master br0 up",
            station.name()
        ));
        station.sh(&format!(
            "ip addr add 10.88.0.{number}/24 dev st0; ip link set st0 up"
        ));
        station
    });
    assert!(stations[0].pings("10.88.0.2"));
    assert_eq!(forwards(&host)[0], "1");
}

#[test]
fn settings_stay_while_a_container_outlives_the_agent() {
    let (host, neighbour) = between();
    forward(&host, 0);
    host.launch();
    host.idle("one", "bridge", &[]);
    host.stop_agent(Signal::TERM);
    assert_eq!(forwards(&host)[0], "1");
    assert!(!neighbour.pings(OUTSIDE_IP));
    host.launch();
    host.exec("one", &format!("ping -n -c1 -W2 {OUTSIDE_IP}"))
        .ok();
}

#[test]
fn docker_that_starts_later_forwards_for_its_own() {
    let (host, neighbour) = between();
    forward(&host, 0);
    host.launch();
    host.netns.sh(
        "ip link set lan0 down; ip link set lan0 name docker0; ip link set docker0 up
         ip -6 addr add 2001:db8:88::1/64 dev docker0 nodad",
    );
    assert!(!neighbour.pings(OUTSIDE_IP));
    host.netns
        .sh("iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER");
    eventually(
        Duration::from_secs(5),
        "Docker's bridge is forwarded",
        || neighbour.pings(OUTSIDE_IP).then_some(()),
    );
    host.stop_agent(Signal::TERM);
    assert_eq!(forwards(&host)[0], "1");
    assert!(neighbour.pings(OUTSIDE_IP));
}

/// A host between the outside and a neighbour on another link, each knowing the way to the other.
fn between() -> (Host, Netns) {
    let host = Host::without_agent();
    let neighbour = Netns::new("near");
    host.netns.sh(&format!(
        "ip link add lan0 type veth peer name lan0 netns {}
         ip addr add 10.88.0.1/24 dev lan0; ip addr add 2001:db8:88::1/64 dev lan0 nodad; ip link set lan0 up",
        neighbour.name()
    ));
    neighbour.sh(
        "ip addr add 10.88.0.2/24 dev lan0; ip addr add 2001:db8:88::2/64 dev lan0 nodad; ip link set lan0 up
         ip route add default via 10.88.0.1; ip route add default via 2001:db8:88::1",
    );
    host.outside.sh(&format!(
        "ip route add 10.88.0.0/24 via {HOST_IP}; ip route add 2001:db8:88::/64 via {HOST_IP6}"
    ));
    (host, neighbour)
}

fn assert_passes(host: &Host, neighbour: &Netns, passes: bool) {
    assert_eq!(neighbour.pings(OUTSIDE_IP), passes);
    assert_eq!(neighbour.pings(OUTSIDE_IP6), passes);
    assert_eq!(host.outside.pings("10.88.0.2"), passes);
}

fn forward(host: &Host, value: u8) {
    host.netns.sh(&format!(
        "sysctl -qw net.ipv4.ip_forward={value} net.ipv6.conf.all.forwarding={value}"
    ));
}

fn forwards(host: &Host) -> [String; 2] {
    ["ipv4/ip_forward", "ipv6/conf/all/forwarding"].map(|name| setting(host, name))
}

fn setting(host: &Host, name: &str) -> String {
    let text = host.netns.sh(&format!("cat /proc/sys/net/{name}"));
    text.trim().to_owned()
}
