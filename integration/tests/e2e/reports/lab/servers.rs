//! DHCP servers and advertising routers in containers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use super::{Running, with_network};
use crate::harness::{Endpoint, Host, eventually};

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
fn a_dhcp_server_in_a_container_serves_a_patched_network_that_lets_it() {
    let host = with_network(&["-o", "dhcp=container"]);
    let server = host.endpoint("lab", "server");
    let running = dnsmasq(&host, &server, &["--dhcp-range=10.63.0.200,10.63.0.210,1h"]);
    for (network, options, is_served) in [
        ("open", &["-o", "dhcp=container"][..], true),
        ("shut", &[], false),
    ] {
        let head = ["network", "create", "--subnet", "none"];
        host.tapestry(&[&head[..], options, &[network]].concat())
            .ok();
        host.tapestry(&["network", "patch", "lab", network]).ok();
        let client = host.endpoint(network, network);
        let lease = udhcpc(&host, &client, if is_served { 10 } else { 2 });
        assert_eq!(lease.contains("ip=10.63.0.2"), is_served, "{lease}");
    }
    drop(running);
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
