//! What every name server of containers does: aliases, addresses of both families and back, TCP, fail-over.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use super::name_server::{NAME_SERVER, NameServer};
use super::{Lab, dig, has};
use crate::harness::Host;

#[test]
fn containers_know_each_others_names_and_aliases_in_both_families() {
    let host = Host::start();
    let lab = Lab::new(&host, &["--ipv6"]);
    host.idle(
        "web",
        "lab",
        &["--network-alias", "a1", "--network-alias", "1a"],
    );
    let (v4, v6) = (host.ipv4("web"), host.ipv6("web"));
    let servers = host.network("lab").gateways;
    assert_eq!(servers.len(), 2, "{servers:?}");
    for server in servers {
        for name in ["web", "a1", "1a", "web.lab", "1a.lab"] {
            let ask = |kind| dig(&host, "client", server, &format!("{name} {kind}")).ok();
            has(&ask("A"), &format!("NOERROR|ANSWER: 1|{v4}"));
            has(&ask("AAAA"), &format!("NOERROR|ANSWER: 1|{v6}"));
        }
        for address in [v4, v6] {
            let shown = dig(&host, "client", server, &format!("-x {address}")).ok();
            has(&shown, "NOERROR|ANSWER: 1|PTR|web.lab.");
        }
    }
    has(&dig(&host, "web", lab.gateway, "client").ok(), "ANSWER: 1");
}

#[test]
fn one_tcp_connection_carries_many_questions() {
    let host = Host::start();
    let lab = Lab::new(&host, &[]);
    host.idle("web", "lab", &["--network-alias", "www"]);
    let address = host.ipv4("web").to_string();
    let shown = lab.dig(
        &host,
        "+tcp +keepopen +short web www web.lab plain.example.com",
    );
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines, [&address, &address, &address, "203.0.113.81"]);
}

#[test]
fn an_internal_network_with_ipv6_has_names_and_no_world() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    let options = ["--internal", "--ipv6", "--dns", &NAME_SERVER.to_string()];
    let _lab = Lab::new(&host, &options);
    host.idle("web", "lab", &[]);
    for server in host.network("lab").gateways {
        let ask = |question| dig(&host, "client", server, question).ok();
        has(&ask("web A"), "NOERROR|ANSWER: 1");
        has(&ask("web AAAA"), "NOERROR|ANSWER: 1");
        has(&ask("www.test NS"), "NXDOMAIN");
        has(&ask("www.test AAAA"), "NXDOMAIN");
    }
    let asked = NameServer::queries(&host);
    assert!(!asked.contains("www.test. NS"), "{asked}");
}

#[test]
fn the_longest_name_of_a_network_is_a_name_of_dns() {
    let host = Host::start();
    let name = "n".repeat(63);
    host.tapestry(&["network", "create", &name]).ok();
    host.idle("web", &name, &[]);
    let gateway = host.network(&name).gateways[0];
    for question in ["web A", &format!("web.{name} A")] {
        has(
            &dig(&host, "web", gateway, question).ok(),
            "NOERROR|ANSWER: 1",
        );
    }
    let longer = host.tapestry(&["network", "create", &format!("{name}n")]);
    has(&longer.refused(1), "at most 63");
}

#[test]
fn the_next_server_answers_for_a_silent_one_over_udp_and_tcp() {
    let host = Host::start();
    let _server = NameServer::start(&host);
    // It takes the questions and says nothing.
    host.netns.sh(&format!("ip addr add {SILENT}/32 dev lo"));
    let _silent = host.netns.enter(|| {
        let udp = UdpSocket::bind((SILENT, 53)).unwrap();
        (udp, TcpListener::bind((SILENT, 53)).unwrap())
    });
    let (silent, good) = (SILENT.to_string(), NAME_SERVER.to_string());
    for (network, transport) in [("over-udp", ""), ("over-tcp", " +tcp")] {
        host.tapestry(&[
            "network", "create", "--dns", &silent, "--dns", &good, network,
        ])
        .ok();
        host.idle(&format!("on-{network}"), network, &[]);
        let gateway = host.network(network).gateways[0];
        let ask = |name: &str| {
            let start = Instant::now();
            let question = format!("{name} A{transport}");
            let shown = dig(&host, &format!("on-{network}"), gateway, &question).ok();
            has(&shown, "203.0.113");
            start.elapsed()
        };
        let (first, second) = (ask("www.test"), ask("www.corp.test"));
        assert!(first < Duration::from_secs(2), "{first:?}");
        assert!(second < Duration::from_millis(800), "{second:?}");
    }
}

/// Nothing of ours is bound on the host, so nobody is in the way and we are in nobody's.
#[test]
fn a_name_server_on_the_host_is_no_obstacle() {
    let host = Host::without_agent();
    let _theirs = host.netns.enter(|| {
        let udp = UdpSocket::bind("0.0.0.0:53").unwrap();
        (udp, TcpListener::bind("0.0.0.0:53").unwrap())
    });
    host.launch();
    let lab = Lab::new(&host, &[]);
    has(&lab.dig(&host, "client A"), "NOERROR|ANSWER: 1");
    has(&lab.dig(&host, "client A +tcp"), "NOERROR|ANSWER: 1");
}

const SILENT: Ipv4Addr = Ipv4Addr::new(198, 51, 102, 66);
