//! What others do behind the agent's back to links, addresses, settings and rules: what is the agent's own is put right within a
//! moment, what a container's owner set himself is left and told.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use agent_api::{EndpointCreate, EndpointDetail};
use serde_json::to_value;

use crate::harness::{Host, Netns, OUTSIDE_IP, enter, eventually, run};

/// A second, and what a busy machine adds.
const SOON: Duration = Duration::from_secs(8);

#[test]
fn what_is_the_agents_own_on_the_host_is_put_right() {
    let host = Host::start();
    let elsewhere = Netns::new("elsewhere");
    host.tapestry(&["network", "create", "--ipv6", "both"]).ok();
    host.idle("web", "both", &["-p", "8080:80"]);
    let link = host.network("both").host_link.unwrap();
    let deeds = [
        "ip link del LINK",
        "ip link set LINK name other0 || { ip link set LINK down; ip link set LINK name other0; }",
        "ip link set LINK down",
        "ip addr flush dev LINK",
        "ip -4 addr flush dev LINK",
        "ip link set LINK mtu 1280",
        "ip link set LINK address 02:00:00:00:00:77",
        "ip link set LINK netns ELSEWHERE",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
        "nft flush ruleset",
    ];
    let before = shown(&host, &link);
    for deed in deeds {
        let script = deed.replace("LINK", &link);
        host.netns
            .sh(&script.replace("ELSEWHERE", elsewhere.name()));
        let deadline = Instant::now() + SOON;
        while shown(&host, &link) != before && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(shown(&host, &link), before, "{deed}");
        host.exec("web", &format!("ping -n -c1 -W5 {OUTSIDE_IP}"))
            .ok();
    }
    let log = host.log();
    for told in [
        "host link was deleted, and is made again",
        "host link is called other0 instead of",
        "host link is down: it is put right",
        "host link has MTU 1280 instead of 1500",
        "host link has MAC 02:00:00:00:00:77 instead of",
        "host link was moved to another namespace",
        "forwarding was turned off",
    ] {
        assert!(log.contains(told), "{told}: {log}");
    }
}

#[test]
fn a_link_that_is_deleted_in_a_sandbox_is_made_again() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--ipv6", "both"]).ok();
    host.idle("web", "both", &[]);
    let peer = host.endpoint("both", "peer");
    for sandbox in [host.sandbox("web"), peer.netns.path()] {
        // Its number is the one thing that is new.
        let look = || {
            sh(
                &sandbox,
                "{ ip -o addr show dev eth0; ip -o link show eth0; } | sed 's/^[0-9]*: //'; ip route",
            )
        };
        let before = look();
        sh(&sandbox, "ip link del eth0");
        eventually(SOON, "the link is back", || {
            let is_there = sh(&sandbox, "ip -o link").contains("eth0");
            (is_there && look() == before).then_some(())
        });
    }
    host.exec("web", "ping -n -c1 -W5 peer").ok();
    assert!(host.log().contains("link was deleted in its sandbox"));
}

#[test]
fn what_a_sandboxs_owner_sets_is_left_and_shown() {
    let host = Host::start();
    host.idle("web", "bridge", &[]);
    let peer = host.endpoint("bridge", "peer");
    let deeds = [
        (
            "ip link set eth0 mtu 1400",
            "ip link set eth0 mtu 1500",
            "has MTU 1400 instead of 1500",
        ),
        ("ip link set eth0 down", "ip link set eth0 up", "is down"),
        (
            "ip link set eth0 address 02:00:00:00:00:77",
            "ip link set eth0 address @mac",
            "has MAC 02:00:00:00:00:77 instead of @mac",
        ),
        (
            "ip addr flush dev eth0",
            "ip addr add @address dev eth0",
            "has lost @address",
        ),
        (
            "ip link set eth0 down; ip link set eth0 name wan; ip link set wan up",
            "ip link set wan down; ip link set wan name eth0; ip link set eth0 up",
            "is called wan instead of eth0",
        ),
    ];
    for (name, sandbox) in [("web", host.sandbox("web")), ("peer", peer.netns.path())] {
        let given = endpoint(&host, name);
        let fill = |text: &str| {
            let text = text.replace("@mac", &given.mac);
            text.replace("@address", &given.addresses[0].to_string())
        };
        for (deed, undo, told) in deeds {
            let told = fill(told);
            sh(&sandbox, &fill(deed));
            eventually(SOON, &told, || {
                (endpoint(&host, name).changed == [told.clone()]).then_some(())
            });
            sh(&sandbox, &fill(undo));
            eventually(SOON, "as it was", || {
                endpoint(&host, name).changed.is_empty().then_some(())
            });
            assert!(host.log().contains(&told));
        }
    }
}

#[test]
fn a_sandbox_that_goes_is_noticed_at_once() {
    let host = Host::start();
    let sandbox = Netns::new("gone");
    let create = EndpointCreate {
        network: "bridge".into(),
        name: "gone".into(),
        sandbox: Some(sandbox.path()),
        ..EndpointCreate::default()
    };
    host.api("POST", "/v1/endpoints", Some(&to_value(create).unwrap()))
        .ok::<EndpointDetail>();
    drop(sandbox);
    // Without a word from the kernel it takes up to five seconds.
    eventually(Duration::from_secs(3), "its endpoint is gone", || {
        host.network("bridge").endpoints.is_empty().then_some(())
    });
}

/// The host's side of a network: its link, addresses and routes, what the host forwards, and the rules but their counters.
fn shown(host: &Host, link: &str) -> String {
    host.netns.sh(&format!(
        "{{ ip -o addr show dev {link} | sort -k 4; ip -o link show {link}; }} 2>/dev/null | sed 's/^[0-9]*: //'
         ip route show dev {link} 2>/dev/null || true
         sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding
         nft -s list table inet tapestry 2>/dev/null | sed 's/counter packets .* bytes [0-9]*/counter/' || true"
    ))
}

fn endpoint(host: &Host, name: &str) -> EndpointDetail {
    let endpoints = host.network("bridge").endpoints.into_iter();
    let mut named = endpoints.filter(|endpoint| endpoint.name == name);
    named.next().unwrap()
}

fn sh(sandbox: &Path, script: &str) -> String {
    enter(sandbox, || run(Command::new("sh").args(["-ec", script]))).ok()
}
