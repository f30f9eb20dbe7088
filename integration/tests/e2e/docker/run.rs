//! `docker run` and `docker network connect`, with what people say at them.

use std::fmt::Write as _;
use std::time::Duration;

use agent_api::LinkDetail;

use super::engine::{Docker, IMAGE};
use crate::harness::{OUTSIDE_IP, OUTSIDE_IP6, eventually};

#[test]
fn containers_reach_each_other_by_address_and_by_name() {
    let docker = Docker::start();
    docker.network("web", &[]);
    docker.idle("one", "web", &[]);
    docker.idle("two", "web", &["--network-alias", "second"]);
    let address = docker.address("two", "web");
    for target in [&*address, "two", "second", &OUTSIDE_IP.to_string()] {
        assert!(docker.pings("one", target), "{target}");
    }
    let links = docker.exec("one", "ip link").ok();
    assert!(!links.contains("eth1"), "docker_gwbridge is there: {links}");
    let told = docker.docker(&["network", "rm", "web"]).refused(1);
    assert!(told.contains("active endpoints"), "{told}");
    docker.docker(&["rm", "-f", "one", "two"]).ok();
    docker.docker(&["network", "rm", "web"]).ok();
    assert!(
        docker
            .host
            .networks()
            .iter()
            .all(|network| network.name != "web")
    );
}

#[test]
fn labels_of_docker_tc_impair_what_a_container_gets() {
    let docker = Docker::start();
    docker.network("web", &[]);
    let labels = [
        "--label",
        "com.docker-tc.enabled=1",
        "--label",
        "com.docker-tc.limit=1mbps",
        "--label",
        "com.docker-tc.delay=30ms",
    ];
    docker.idle("one", "web", &labels);
    let links = || -> Vec<LinkDetail> { docker.host.api("GET", "/v1/links", None).ok() };
    let impaired = eventually(Duration::from_secs(10), "the labels are heard of", || {
        let mut links = links().into_iter();
        links.find(|link| link.name == "one")
    });
    let set = impaired.settings;
    assert_eq!(set.to.to_string(), "delay 30ms rate 8mbit burst 5kb");
    assert!(set.from.to_string().is_empty());
    docker.exec("one", &format!("ping -c3 {OUTSIDE_IP}")).ok();
    let heard = links().into_iter().find(|link| link.name == "one");
    assert!(heard.unwrap().to.delayed >= 3);
}

#[test]
fn wishes_are_granted() {
    let docker = Docker::start();
    let subnets = [
        "--subnet",
        "10.70.0.0/24",
        "--ipv6",
        "--subnet",
        "fd70::/64",
    ];
    let options = [
        "-o",
        "com.docker.network.driver.mtu=1400",
        "-o",
        "com.docker.network.container_iface_prefix=net",
    ];
    docker.network("web", &[&subnets[..], &options].concat());
    let wishes = [
        "--ip",
        "10.70.0.77",
        "--ip6",
        "fd70::77",
        "--mac-address",
        "02:00:00:00:00:77",
    ];
    docker.idle("one", "web", &wishes);
    let shown = docker.exec("one", "ip addr show net0").ok();
    for part in [
        "10.70.0.77/24",
        "fd70::77/64",
        "02:00:00:00:00:77",
        "mtu 1400",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    docker.idle("two", "web", &[]);
    for target in ["10.70.0.77", "fd70::77", &OUTSIDE_IP6.to_string()] {
        assert!(docker.pings("two", target), "{target}");
    }
    let taken = [
        "run",
        "--rm",
        "--network",
        "web",
        "--ip",
        "10.70.0.77",
        IMAGE,
        "true",
    ];
    docker.docker(&taken).refused(125);
}

#[test]
fn an_internal_network_leads_nowhere() {
    let docker = Docker::start();
    docker.network("inside", &["--internal"]);
    docker.idle("one", "inside", &[]);
    docker.idle("two", "inside", &[]);
    assert!(docker.pings("one", "two"));
    let shown = docker.exec("one", "ip link; ip route").ok();
    assert!(
        !shown.contains("eth1") && !shown.contains("default"),
        "{shown}"
    );
    let out = docker.exec("one", &format!("ping -c1 -W1 {OUTSIDE_IP}"));
    assert_ne!(out.status, 0, "{out:?}");
}

#[test]
fn a_running_container_comes_and_goes() {
    let docker = Docker::start();
    for name in ["red", "blue"] {
        docker.network(name, &[]);
        docker.idle(&format!("on-{name}"), name, &[]);
    }
    docker.idle("both", "red", &[]);
    for _ in 0..2 {
        docker
            .docker(&["network", "connect", "--alias", "b", "blue", "both"])
            .ok();
        for peer in ["on-red", "on-blue"] {
            assert!(docker.pings("both", peer), "{peer}");
        }
        assert!(docker.pings("on-blue", "b"));
        docker
            .docker(&["network", "disconnect", "blue", "both"])
            .ok();
        assert!(!docker.exec("both", "ip link").ok().contains("eth1"));
        assert!(docker.pings("both", "on-red"));
    }
    assert_eq!(docker.host.network("blue").endpoints.len(), 1);
    // Another address and another link, and the same name.
    docker.docker(&["restart", "-t", "1", "both"]).ok();
    assert!(docker.pings("on-red", "both"));
}

#[test]
fn fifty_start_at_once() {
    let docker = Docker::start();
    docker.network("web", &["--ipam-driver", "tapestry"]);
    let children: Vec<_> = (0..50)
        .map(|number| {
            let name = format!("c{number}");
            let run = [
                "run",
                "-d",
                "--init",
                "--name",
                &name,
                "--network",
                "web",
                IMAGE,
                "sleep",
                "1000",
            ];
            docker
                .command(&run)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let names = (0..50).fold(String::new(), |mut script, number| {
        write!(
            script,
            "ping -c1 -W2 c{number} >/dev/null || echo c{number};"
        )
        .unwrap();
        script
    });
    assert_eq!(docker.exec("c0", &names).ok(), "");
    let endpoints = docker.host.network("web").endpoints;
    let addresses: std::collections::BTreeSet<_> =
        endpoints.iter().map(|one| one.addresses.clone()).collect();
    assert_eq!(addresses.len(), 50);
}
