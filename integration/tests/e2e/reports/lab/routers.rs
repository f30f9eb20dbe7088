//! Routers, virtual addresses, and a link that changes its MAC.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use agent_api::EndpointDetail;
use serde_json::json;
use switch_core::Mac;

use super::{Running, STEP, with_network};
use crate::harness::{Endpoint, Host, Netns, eventually};
use crate::packets::{PLAIN, arp, ethernet};

#[test]
fn a_virtual_address_moves_to_the_router_that_lives() {
    for option in ["", "use_vmac"] {
        let host = with_network(&[]);
        let [one, two, client] = ["one", "two", "client"].map(|name| host.endpoint("lab", name));
        let first = keepalived(&host, &one, 100, option);
        let virtual_address = "10.63.0.200";
        eventually(STEP, "the first router has it", || {
            client.netns.pings(virtual_address).then_some(())
        });
        let second = keepalived(&host, &two, 50, option);
        assert!(host.netns.pings(virtual_address));
        drop(first);
        let moved = Instant::now();
        eventually(STEP, "the second router has it", || {
            let has = two.netns.sh("ip -4 addr show").contains(virtual_address);
            (has && client.netns.pings(virtual_address)).then_some(())
        });
        assert!(
            moved.elapsed() < Duration::from_secs(4),
            "{:?}",
            moved.elapsed()
        );
        assert!(host.netns.pings(virtual_address));
        for router in [&one, &two] {
            assert_eq!(router.drops("neighbor_ip"), 0, "{option}");
            assert!(client.netns.pings(router.ipv4()), "{option}");
        }
        drop(second);
    }
}

#[test]
fn a_container_on_two_networks_routes_between_them() {
    let host = Host::start();
    for (network, v4, v6) in [
        ("red", "10.63.0.0/24", "fd63::/64"),
        ("blue", "10.64.0.0/24", "fd64::/64"),
    ] {
        let create = ["network", "create", "--subnet", v4, "--subnet", v6, network];
        host.tapestry(&create).ok();
    }
    let (red, blue) = (host.endpoint("red", "r"), host.endpoint("blue", "b"));
    let router = host.endpoint("red", "router");
    let other = also_on(&host, &router, "blue");
    forward(&router.netns);
    let on_blue = |v4: bool| {
        let mut addresses = other.addresses.iter().map(|net| net.addr());
        addresses.find(|address| address.is_ipv4() == v4).unwrap()
    };
    let (r4, r6) = (router.ipv4(), router.ipv6());
    red.netns.sh(&format!(
        "ip route add 10.64.0.0/24 via {r4}; ip route add fd64::/64 via {r6}"
    ));
    blue.netns.sh(&format!(
        "ip route add 10.63.0.0/24 via {}; ip route add fd63::/64 via {}",
        on_blue(true),
        on_blue(false)
    ));
    let said = red.netns.sh(&format!("ping -n -c1 -W2 {}", blue.ipv4()));
    assert!(said.contains("ttl=63"), "through the router: {said}");
    red.netns.sh(&format!("ping -n -c2 -W2 {}", blue.ipv6()));
    blue.netns.sh(&format!("ping -n -c2 -W2 {}", red.ipv4()));
    assert_eq!(router.drops("neighbor_ip"), 0);
    host.api("DELETE", &format!("/v1/endpoints/{}", other.id), None);
}

#[test]
fn a_router_with_one_arm_needs_a_loose_guard() {
    for (options, passes) in [(&[][..], false), (&["-o", "guard=loose"], true)] {
        let host = with_network(options);
        let [one, two, router] = ["one", "two", "router"].map(|name| host.endpoint("lab", name));
        forward(&router.netns);
        router.netns.sh(
            "for conf in all default; do echo 0 >/proc/sys/net/ipv4/conf/$conf/send_redirects; done
             echo 0 >/proc/sys/net/ipv4/conf/eth0/send_redirects",
        );
        for (from, to) in [(&one, &two), (&two, &one)] {
            let route = format!("ip route add {} via {}", to.ipv4(), router.ipv4());
            from.netns.sh(&route);
        }
        let ping = format!("ping -n -c2 -W1 {} || true", two.ipv4());
        let said = one.netns.sh(&ping);
        assert_eq!(said.contains("ttl=63"), passes, "{said}");
        assert_eq!(router.drops("neighbor_ip") == 0, passes);
        // The gateway stays the gateway's.
        let claim = arp(
            2,
            router.mac(),
            Ipv4Addr::new(10, 63, 0, 1),
            one.mac(),
            one.ipv4(),
        );
        let claim = ethernet(one.mac(), router.mac(), 0x0806, &claim);
        router.wire().send(&PLAIN, &claim).unwrap();
        eventually(STEP, "it is dropped", || {
            (router.drops("gateway_ip") == 1).then_some(())
        });
    }
}

#[test]
fn a_container_that_changes_its_mac_is_reached_at_once() {
    let host = with_network(&[]);
    let [mover, friend, stranger] =
        ["mover", "friend", "stranger"].map(|name| host.endpoint("lab", name));
    let (v4, v6) = (mover.ipv4(), mover.ipv6());
    for other in [&friend.netns, &host.netns] {
        assert!(other.pings(v4) && other.pings(v6));
    }
    let new = "02:aa:00:00:00:01";
    mover
        .netns
        .sh(&format!("ip link set {} address {new}", mover.detail.link));
    let once = |from: &Netns, to: &dyn ToString| {
        from.sh(&format!("ping -n -c1 -W1 {}", to.to_string()));
    };
    // Its own first word comes from the new one.
    once(&mover.netns, &friend.ipv4());
    once(&mover.netns, &friend.ipv6());
    once(&mover.netns, &"10.63.0.1");
    once(&mover.netns, &"fd63::1");
    for other in [&friend.netns, &stranger.netns, &host.netns] {
        once(other, &v4);
        once(other, &v6);
    }
    let known = stranger.netns.sh("ip neigh show");
    assert_eq!(known.matches(new).count(), 2, "{known}");
    // The one it was given is nobody else's.
    let theft = ethernet(Mac::BROADCAST, mover.mac(), 0x88b5, &[0; 46]);
    friend.wire().send(&PLAIN, &theft).unwrap();
    eventually(STEP, "it is protected", || {
        (friend.drops("sticky_mac") == 1).then_some(())
    });
}

/// Attaches the sandbox of `endpoint` to one more network.
fn also_on(host: &Host, endpoint: &Endpoint<'_>, network: &str) -> EndpointDetail {
    let request = json!({
        "network": network,
        "name": "also",
        "sandbox": endpoint.netns.path(),
    });
    host.api("POST", "/v1/endpoints", Some(&request)).ok()
}

fn forward(netns: &Netns) {
    netns.sh(
        "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
    );
}

fn keepalived(host: &Host, endpoint: &Endpoint<'_>, priority: u8, option: &str) -> Running {
    let file = |kind: &str| host.dir().join(format!("{}.{kind}", endpoint.detail.name));
    let config = format!(
        "vrrp_instance lab {{
            state BACKUP
            interface {}
            {option}
            virtual_router_id 51
            priority {priority}
            advert_int 0.2
            virtual_ipaddress {{
                10.63.0.200/24
            }}
        }}
        ",
        endpoint.detail.link
    );
    fs::write(file("conf"), config).unwrap();
    let mut command = Command::new("keepalived");
    command.args(["-n", "-l", "--vrrp", "-f"]).arg(file("conf"));
    command
        .arg("-p")
        .arg(file("pid"))
        .arg("-r")
        .arg(file("vrrp.pid"));
    Running::start(endpoint, &mut command)
}
