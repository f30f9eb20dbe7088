//! What labs do on a network: servers, routers and multicast of their own.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent_api::EndpointDetail;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use switch_core::Mac;

use crate::harness::{Endpoint, Host, Netns, eventually};
use crate::packets::{PLAIN, ethernet};

const STEP: Duration = Duration::from_secs(10);

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
        let claim = crate::packets::arp(
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

#[test]
fn a_dhcp_server_in_a_container_serves_where_the_network_lets_it() {
    let lab = [
        "--internal",
        "-o",
        "transparent=true",
        "-o",
        "dhcp=container",
    ];
    for options in [&["-o", "dhcp=container"][..], &lab] {
        let host = with_network(options);
        let [server, client] = ["server", "client"].map(|name| host.endpoint("lab", name));
        let running = dnsmasq(&host, &server, &["--dhcp-range=10.63.0.200,10.63.0.210,1h"]);
        let lease = udhcpc(&host, &client, 10);
        assert!(lease.contains("ip=10.63.0.2"), "{lease}");
        let from_server = format!("server={}", server.ipv4());
        assert!(lease.contains(&from_server), "{lease}");
        drop(running);
    }
}

#[test]
fn the_builtin_dhcp_server_is_the_only_one_unless_told_otherwise() {
    let host = with_network(&[]);
    let [server, client] = ["server", "client"].map(|name| host.endpoint("lab", name));
    let running = dnsmasq(&host, &server, &["--dhcp-range=10.63.0.200,10.63.0.210,1h"]);
    let lease = udhcpc(&host, &client, 5);
    let own = format!("ip={}", client.ipv4());
    assert!(
        lease.contains(&own) && lease.contains("server=10.63.0.1"),
        "{lease}"
    );
    drop(running);
}

#[test]
fn a_network_without_dhcp_drops_what_clients_ask() {
    let host = with_network(&["-o", "dhcp=off"]);
    let [server, client] = ["server", "client"].map(|name| host.endpoint("lab", name));
    let running = dnsmasq(&host, &server, &["--dhcp-range=10.63.0.200,10.63.0.210,1h"]);
    let lease = udhcpc(&host, &client, 2);
    assert!(!lease.contains("ip="), "{lease}");
    assert!(client.drops("dhcp_off") > 0);
    drop(running);
}

#[test]
fn a_router_in_a_container_advertises_where_the_network_lets_it() {
    for (options, is_heard) in [(&["-o", "ra=allow"][..], true), (&[], false)] {
        let host = Host::start();
        let create = ["network", "create", "--subnet", "10.63.0.0/24"];
        host.tapestry(&[&create[..], options, &["lab"]].concat())
            .ok();
        let [router, client] = ["router", "client"].map(|name| host.endpoint("lab", name));
        if !is_heard {
            // Where routers are not allowed, an IPv4 network has no link-local addresses either.
            for end in [&router, &client] {
                let link = &end.detail.link;
                let path = format!("/proc/sys/net/ipv6/conf/{link}/addr_gen_mode");
                end.netns.sh(&format!(
                    "echo 0 >{path}; ip link set {link} down; ip link set {link} up"
                ));
            }
        }
        let link = &router.detail.link;
        router
            .netns
            .sh(&format!("ip addr add fd77::1/64 dev {link} nodad"));
        let ra = ["--enable-ra", "--dhcp-range=fd77::,ra-only,64"];
        let running = dnsmasq(&host, &router, &ra);
        if is_heard {
            eventually(
                Duration::from_secs(20),
                "an address of its own making",
                || {
                    client
                        .netns
                        .sh("ip -6 addr show")
                        .contains("fd77::")
                        .then_some(())
                },
            );
            assert!(
                client
                    .netns
                    .sh("ip -6 route")
                    .contains("default via fe80::")
            );
            assert!(client.netns.pings("fd77::1"));
        } else {
            eventually(
                Duration::from_secs(20),
                "advertisements are dropped",
                || (router.drops("rogue_ra") > 0).then_some(()),
            );
            assert!(!client.netns.sh("ip -6 addr show").contains("fd77::"));
        }
        drop(running);
    }
}

#[test]
fn the_budget_for_broadcasts_is_the_networks_choice() {
    for (options, is_limited) in [(&["-o", "bum=100"][..], true), (&["-o", "bum=off"], false)] {
        let host = with_network(options);
        let [sender, _other] = ["sender", "other"].map(|name| host.endpoint("lab", name));
        let dropped = storm(&sender, Mac::BROADCAST, 1000);
        assert_eq!(dropped > 0, is_limited, "{options:?}: {dropped}");
    }
    let host = Host::start();
    let refused = host.tapestry(&["network", "create", "-o", "bum=lots", "lab"]);
    let said = refused.refused(1);
    assert!(said.contains("frames a second, or off"), "{said}");
}

#[test]
fn multicast_that_somebody_listens_to_is_no_storm() {
    let host = with_network(&["-o", "bum=100"]);
    let [sender, listener] = ["sender", "listener"].map(|name| host.endpoint("lab", name));
    let v4 = Mac::new([1, 0, 0x5e, 1, 2, 3]);
    let v6 = Mac::new([0x33, 0x33, 0, 1, 2, 3]);
    for group in [v4, v6] {
        assert!(storm(&sender, group, 1000) > 0, "nobody listens to {group}");
    }
    let index = format!("ip -o link show dev {} | cut -d: -f1", listener.detail.link);
    let index = listener.netns.sh(&index);
    let index: u32 = index.trim().parse().unwrap();
    let sockets = listener.netns.enter(|| {
        let v4 = UdpSocket::bind("0.0.0.0:0").unwrap();
        v4.join_multicast_v4(&Ipv4Addr::new(239, 1, 2, 3), &listener.ipv4())
            .unwrap();
        let v6 = UdpSocket::bind("[::]:0").unwrap();
        v6.join_multicast_v6(&"ff05::1:203".parse().unwrap(), index)
            .unwrap();
        (v4, v6)
    });
    for group in [v4, v6] {
        eventually(STEP, "its frames are not counted as a storm", || {
            (storm(&sender, group, 1000) == 0).then_some(())
        });
    }
    assert!(storm(&sender, Mac::BROADCAST, 1000) > 0, "broadcasts are");
    drop(sockets);
    for group in [v4, v6] {
        eventually(STEP, "nobody listens any more", || {
            (storm(&sender, group, 1000) > 0).then_some(())
        });
    }
}

/// A network `lab` of `10.63.0.0/24` and `fd63::/64`; containers get addresses from the lower half.
fn with_network(options: &[&str]) -> Host {
    let host = Host::start();
    let head = ["network", "create", "--subnet", "10.63.0.0/24"];
    let tail = ["--ip-range", "10.63.0.0/25", "--subnet", "fd63::/64", "lab"];
    host.tapestry(&[&head[..], options, &tail].concat()).ok();
    host
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

/// Sends `count` frames to `group`; how many of them were dropped as a storm.
fn storm(sender: &Endpoint<'_>, group: Mac, count: u64) -> u64 {
    let (before, wire) = (sender.drops("bum_rate"), sender.wire());
    let frame = ethernet(group, sender.mac(), 0x88b5, &[0; 46]);
    for _ in 0..count {
        // A full queue is the sender's loss.
        let _ = wire.send(&PLAIN, &frame);
    }
    // What is sent after them is counted after them.
    let marks = sender.drops("link_local_control");
    let mark = ethernet(
        Mac::new([1, 0x80, 0xc2, 0, 0, 2]),
        sender.mac(),
        0x88b5,
        &[0; 46],
    );
    eventually(STEP, "they are through", || {
        let _ = wire.send(&PLAIN, &mark);
        (sender.drops("link_local_control") > marks).then_some(())
    });
    sender.drops("bum_rate") - before
}

/// A program that runs in a sandbox until dropped.
struct Running(Child);

impl Running {
    fn start(endpoint: &Endpoint<'_>, command: &mut Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(endpoint.netns.enter(|| command.spawn()).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
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

fn dnsmasq(host: &Host, endpoint: &Endpoint<'_>, options: &[&str]) -> Running {
    let leases = host.dir().join(format!("{}.leases", endpoint.detail.name));
    let mut command = Command::new("dnsmasq");
    command
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"])
        .args([
            "--pid-file=",
            "--user=root",
            "--no-ping",
            "--dhcp-authoritative",
        ])
        .arg(format!("--dhcp-leasefile={}", leases.display()))
        .args(options);
    Running::start(endpoint, &mut command)
}

/// Asks for an address so many times; what was leased, and who leased it.
fn udhcpc(host: &Host, endpoint: &Endpoint<'_>, times: u32) -> String {
    let script = host.dir().join("leased");
    fs::write(
        &script,
        "#!/bin/sh\n[ \"$1\" != bound ] || echo ip=$ip server=$serverid\n",
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    endpoint.netns.sh(&format!(
        "busybox udhcpc -i {} -f -q -n -t {times} -T 1 -s {} 2>&1 || true",
        endpoint.detail.link,
        script.display()
    ))
}
