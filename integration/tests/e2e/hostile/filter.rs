//! A container against the packet filter.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::process::Signal;
use switch_core::Mac;
use switch_io::packet::PacketSocket;

use super::segment::{Seen, end_of_nothing};
use crate::harness::{HOST_IP, HOST_IP6, Host, OUTSIDE_IP, enter, eventually};
use crate::packets::{PLAIN, contains, receive_within};

const STEP: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(500);

#[test]
fn rules_stay_while_a_container_outlives_the_agent() {
    let host = Host::start();
    host.idle("one", "bridge", &[]);
    let rules = || host.netns.sh("nft -s list table inet tapestry");
    let unpublished = rules();
    host.idle("two", "bridge", &["-p", "8080:80"]);
    let before = rules();
    for (signal, left) in [(Signal::TERM, &unpublished), (Signal::KILL, &before)] {
        host.stop_agent(signal);
        // Published ports are closed by an agent that ends in order.
        assert_eq!(rules(), *left, "{signal:?}");
        host.launch();
        assert_eq!(rules(), before, "after {signal:?}");
    }
}

#[test]
fn what_is_for_a_container_does_not_leave_by_the_default_route_while_the_agent_is_away() {
    let host = Host::without_agent();
    // Where the agent turned forwarding on, nothing else is forwarded anyhow.
    host.netns.sh("sysctl -qw net.ipv4.ip_forward=1");
    host.launch();
    host.idle("one", "bridge", &["-p", "8080:80"]);
    let outside = host
        .outside
        .enter(|| UdpSocket::bind((OUTSIDE_IP, 80)))
        .unwrap();
    enter(&host.sandbox("one"), || {
        let asking = UdpSocket::bind("0.0.0.0:80").unwrap();
        asking.send_to(b"question", (OUTSIDE_IP, 80)).unwrap();
    });
    let (_, asker) = outside.recv_from(&mut [0; 16]).unwrap();
    // In order, it would have closed what is published.
    host.stop_agent(Signal::KILL);
    // As if the host had lost the link as well: then nothing else has a route to the container.
    host.netns
        .sh("ip -o link show | sed -n 's/.*: \\(tsy[^:]*\\):.*/\\1/p' | xargs -n1 ip link del");
    let wire = host.outside.enter(|| PacketSocket::open("up0")).unwrap();
    let reached = host.outside.enter(|| {
        let to = SocketAddr::from((HOST_IP, 8080));
        TcpStream::connect_timeout(&to, Duration::from_millis(300))
    });
    assert!(reached.is_err());
    let reached = host.netns.enter(|| {
        let to = SocketAddr::from((HOST_IP, 8080));
        TcpStream::connect_timeout(&to, Duration::from_millis(300))
    });
    assert!(reached.is_err());
    outside.send_to(b"a late answer", asker).unwrap();
    let strayed = receive_within(&wire, QUIET, |frame| {
        let is_published = Seen::read(frame).is_some_and(|seen| seen.ports.1 == 80);
        is_published || contains(frame, b"a late answer")
    });
    assert!(strayed.is_none(), "{strayed:?}");
    host.launch();
}

#[test]
fn a_segment_out_of_its_window_is_acknowledged_by_the_peer_and_resets_nothing() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--ipv6", "both"]).ok();
    host.idle("web", "both", &["-p", "8080:80"]);
    let sandbox = host.sandbox("web");
    let outside = || host.outside.enter(|| PacketSocket::open("up0")).unwrap();
    let inside = || enter(&sandbox, || PacketSocket::open("eth0")).unwrap();
    let listener = enter(&sandbox, || TcpListener::bind("[::]:80")).unwrap();
    for address in [IpAddr::from(HOST_IP), HOST_IP6.into()] {
        let to = SocketAddr::new(address, 8080);
        let client = host.outside.enter(|| TcpStream::connect(to)).unwrap();
        let (server, _) = listener.accept().unwrap();
        let client_port = client.local_addr().unwrap().port();
        assert_acknowledges(&outside(), &server, client_port);
        assert_acknowledges(&inside(), &client, client_port);
        // Nothing was reset.
        (&client).write_all(b"still here").unwrap();
        assert!(server.peer_addr().is_ok() && client.take_error().unwrap().is_none());
    }
}

/// Whoever is behind `wire` in the connection of `client_port` sends far ahead, and `peer` repeats what it expects.
fn assert_acknowledges(wire: &PacketSocket, mut peer: &TcpStream, client_port: u16) {
    let of_connection = |frame: &[u8]| {
        let seen = Seen::read(frame)?;
        let (source, destination) = seen.ports;
        (source == client_port || destination == client_port).then_some(seen)
    };
    peer.write_all(b"x").unwrap();
    let carries_data = |frame: &[u8]| of_connection(frame).is_some_and(|seen| seen.bytes == 1);
    let data = receive_within(wire, STEP, carries_data).unwrap();
    let data = Seen::read(&data.frame).unwrap();
    wire.send(&PLAIN, &data.answer(1_500_000_000)).unwrap();
    let answer = receive_within(wire, STEP, |frame| of_connection(frame).is_some());
    let answer = Seen::read(&answer.expect("an answer").frame).unwrap();
    assert!(!answer.is_reset(), "{answer:?}");
    assert_eq!(answer.acknowledged, data.acknowledged, "{answer:?}");
    assert_eq!(answer.sequence, data.sequence + 1, "{answer:?}");
}

#[test]
fn what_belongs_to_no_connection_does_not_leave_with_a_private_address() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--ipv6", "both"]).ok();
    let endpoint = host.endpoint("both", "liar");
    let gateway: Mac = host.network("both").gateway_mac.unwrap().parse().unwrap();
    let wire = host.outside.enter(|| PacketSocket::open("up0")).unwrap();
    let pairs = [
        (IpAddr::from(endpoint.ipv4()), IpAddr::from(OUTSIDE_IP)),
        (endpoint.ipv6().into(), crate::harness::OUTSIDE_IP6.into()),
    ];
    for (source, destination) in pairs {
        let frame = end_of_nothing(gateway, endpoint.mac(), source, destination);
        endpoint.wire().send(&PLAIN, &frame).unwrap();
    }
    let leaked = receive_within(&wire, QUIET, |frame| Seen::read(frame).is_some());
    assert!(leaked.is_none());
    eventually(STEP, "both are counted", || {
        (filtered(&host, "both", "filter_invalid") == 2).then_some(())
    });
}

#[test]
fn what_a_container_routes_for_others_is_counted_where_it_is_dropped() {
    let host = Host::start();
    let router = host.endpoint("bridge", "router");
    router.netns.sh(
        "ip addr add 10.77.0.1/32 dev lo; ping -n -c3 -i 0.2 -W1 -I 10.77.0.1 198.51.100.2 || true",
    );
    assert_eq!(filtered(&host, "bridge", "filter_source"), 3);
    let shown = host.network("bridge").drops;
    assert_eq!(shown.get("filter_source"), Some(&3), "{shown:?}");
    // Replacing the rules forgets nothing.
    host.tapestry(&["network", "create", "another"]).ok();
    assert_eq!(filtered(&host, "bridge", "filter_source"), 3);
    assert_eq!(filtered(&host, "another", "filter_source"), 0);
}

#[test]
fn a_network_without_ipv6_has_none_at_the_host() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--ipv6", "both"]).ok();
    for (network, count) in [("bridge", 0), ("both", 1)] {
        let link = host.network(network).host_link.unwrap();
        let own = host
            .netns
            .sh(&format!("ip -6 -o addr show dev {link} scope link"));
        assert_eq!(own.lines().count(), count, "{network}: {own}");
    }
}

#[test]
fn without_rules_there_is_no_host_port_and_the_network_works_inside() {
    let host = Host::without_agent();
    let nft = host.dir().join("nft");
    let broken = "#!/bin/sh\necho 'Error: Operation not supported' >&2\nexit 1\n";
    host.netns.sh(&format!(
        "cat >{0} <<'END'\n{broken}END\nchmod +x {0}",
        nft.display()
    ));
    host.launch_with(|command| {
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", host.dir().display()));
    });
    for name in ["one", "two"] {
        host.idle(name, "bridge", &[]);
    }
    host.exec("one", "ping -n -c1 -W2 two").ok();
    assert_eq!(host.network("bridge").host_link, None);
    assert_eq!(host.netns.sh("ip -o link show").matches("tsy").count(), 0);
    let why =
        "network \"bridge\" has no way out: nft refused the rules: Error: Operation not supported";
    let listed = host.tapestry(&["network", "ls"]);
    assert!(listed.stderr.contains(why), "{listed:?}");
    let inspected = host.tapestry(&["network", "inspect", "bridge"]).ok();
    assert!(inspected.contains("nft refused the rules"), "{inspected}");
    let report = host.tapestry(&["doctor"]);
    assert!(report.stdout.contains(why), "{report:?}");

    host.netns
        .sh(&format!("ln -sf $(command -v nft) {}", nft.display()));
    eventually(STEP, "the network has a way out", || {
        host.network("bridge").host_link
    });
    host.exec("one", &format!("ping -n -c1 -W2 {OUTSIDE_IP}"))
        .ok();
    let listed = host.tapestry(&["network", "ls"]);
    assert_eq!(listed.stderr, "");
}

#[test]
fn a_table_that_cannot_be_put_back_takes_the_host_ports_with_it() {
    let host = Host::without_agent();
    let nft = host.launch_with_own_nft();
    assert!(host.network("bridge").host_link.is_some());
    host.netns.sh(&format!(
        "ln -sf /bin/false {}; nft flush ruleset",
        nft.display()
    ));
    eventually(STEP, "the host port is gone", || {
        host.network("bridge").host_link.is_none().then_some(())
    });
    host.netns
        .sh(&format!("ln -sf $(command -v nft) {}", nft.display()));
    eventually(STEP, "the host port is back", || {
        host.network("bridge").host_link
    });
}

#[test]
fn rules_of_what_has_gone_go_as_soon_as_they_can() {
    let host = Host::without_agent();
    let nft = host.launch_with_own_nft();
    let rules = || host.netns.sh("nft -s list table inet tapestry");
    let before = rules();
    host.tapestry(&["network", "create", "--subnet", "10.66.0.0/24", "lab"])
        .ok();
    assert!(rules().contains("10.66.0.0/24"));
    host.netns
        .sh(&format!("ln -sf /bin/false {}", nft.display()));
    let removed = host.tapestry(&["network", "rm", "lab"]);
    assert!(removed.stderr.contains("keeps its rules"), "{removed:?}");
    assert!(rules().contains("10.66.0.0/24"));
    host.netns
        .sh(&format!("ln -sf $(command -v nft) {}", nft.display()));
    eventually(STEP, "the rules are as they were before", || {
        (rules() == before).then_some(())
    });
}

/// Packets dropped at the network's host port for `reason`.
pub(super) fn filtered(host: &Host, network: &str, reason: &str) -> u64 {
    let ports = host.ports(network);
    let port = ports.iter().find(|port| port.kind == "host");
    let drops = &port.unwrap_or_else(|| panic!("{ports:#?}")).drops;
    drops.get(reason).copied().unwrap_or(0)
}
