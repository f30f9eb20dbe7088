//! The packet filter is never open and never away: a container that tries another network without pause, while the agent is
//! killed, stopped, started and replaced, and while somebody flushes the rules.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::filter::filtered;
use crate::harness::{HOST_IP, Host, Netns, enter, eventually};

const STEP: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(500);

#[test]
fn no_connection_reaches_another_network_while_the_agent_is_killed_stopped_started_and_replaced() {
    let host = two_networks(Host::start());
    let (blue, red) = (host.sandbox("on-blue"), host.sandbox("on-red"));
    let target = SocketAddr::new(host.ipv4("on-blue"), 80);
    host.outside
        .sh(&format!("ip route add {} via {HOST_IP}", target.ip()));
    let listener = enter(&blue, || TcpListener::bind(target)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let datagrams = enter(&blue, || UdpSocket::bind(target)).unwrap();
    datagrams.set_nonblocking(true).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| enter(&red, || keep_trying(target, &over)));
        }
        scope.spawn(|| host.outside.enter(|| keep_trying(target, &over)));
        for signal in [Signal::KILL, Signal::TERM, Signal::KILL, Signal::TERM] {
            host.stop_agent(signal);
            host.launch();
            host.kill_agent_proper();
            host.tapestry(&["agent", "--replace"]).ok();
            // As long as a first packet that was sent again may take.
            std::thread::sleep(Duration::from_millis(1200));
        }
        over.store(true, Ordering::Relaxed);
    });
    let reached = listener.accept();
    assert!(reached.is_err(), "{reached:?}");
    let reached = datagrams.recv_from(&mut [0; 16]);
    assert!(reached.is_err(), "{reached:?}");
    // It did try, up to the rule that stops it.
    assert!(filtered(&host, "blue", "filter_isolation") > 0);
}

#[test]
fn no_host_port_comes_back_before_the_rules_that_somebody_emptied_meanwhile() {
    let host = two_networks(Host::start());
    let (blue, red) = (host.sandbox("on-blue"), host.sandbox("on-red"));
    let target = SocketAddr::new(host.ipv4("on-blue"), 80);
    let listener = enter(&blue, || TcpListener::bind(target)).unwrap();
    listener.set_nonblocking(true).unwrap();
    for harm in ["nft flush table inet tapestry", "nft flush ruleset"] {
        // So that it does not see what happens, and puts nothing back.
        kill_process(host.agent_pid(), Signal::STOP).unwrap();
        host.netns.sh(harm);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| enter(&red, || keep_trying(target, &over)));
            }
            host.kill_agent_proper();
            over.store(true, Ordering::Relaxed);
        });
        let reached = listener.accept();
        assert!(reached.is_err(), "{harm}: {reached:?}");
    }
}

#[test]
fn what_began_while_the_rules_were_flushed_ends_with_their_return() {
    let host = Host::without_agent();
    let nft = host.launch_with_own_nft();
    let host = two_networks(host);
    let (blue, red) = (host.sandbox("on-blue"), host.sandbox("on-red"));
    let target = SocketAddr::new(host.ipv4("on-blue"), 80);
    host.outside
        .sh(&format!("ip route add {} via {HOST_IP}", target.ip()));
    let listener = enter(&blue, || TcpListener::bind(target)).unwrap();
    // So long that both get in meanwhile.
    host.netns.sh(&format!(
        "real=$(readlink -f {0}); rm {0}; printf '#!/bin/sh\nsleep 0.5\nexec %s \"$@\"\n' $real >{0}; chmod +x {0}
         nft flush ruleset",
        nft.display()
    ));
    let connect = || TcpStream::connect_timeout(&target, STEP).unwrap();
    let got_in = [enter(&red, connect), host.outside.enter(connect)];
    let accepted = [(); 2].map(|()| listener.accept().unwrap().0);
    eventually(STEP, "the rules are back", || {
        let rules = host
            .netns
            .sh("nft list table inet tapestry 2>/dev/null || true");
        rules.contains("chain forward").then_some(())
    });
    for (mut client, mut server) in got_in.into_iter().zip(accepted) {
        for end in [&mut client, &mut server] {
            end.set_read_timeout(Some(QUIET)).unwrap();
            // The other end of the one that answers out of the network may have been reset by it.
            let _ = end.write_all(b"after");
        }
        for end in [&mut client, &mut server] {
            assert_eq!(end.read(&mut [0; 16]).unwrap_or(0), 0);
        }
    }
}

#[test]
fn what_flows_to_a_published_port_goes_on_over_a_kill_and_a_stop() {
    let host = Host::start();
    host.idle("web", "bridge", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let sandbox = host.sandbox("web");
    let listener = enter(&sandbox, || TcpListener::bind("0.0.0.0:80")).unwrap();
    let server = enter(&sandbox, || UdpSocket::bind("0.0.0.0:80")).unwrap();
    let ways: [(&Netns, Ipv4Addr); 3] = [
        (&host.netns, Ipv4Addr::LOCALHOST),
        (&host.netns, HOST_IP),
        (&host.outside, HOST_IP),
    ];
    let streams = ways.map(|(from, address)| {
        let client = from.enter(|| TcpStream::connect((address, 8080))).unwrap();
        (client, listener.accept().unwrap().0)
    });
    let clients = ways.map(|(from, address)| {
        let any = (Ipv4Addr::UNSPECIFIED, 0);
        let client = from.enter(|| UdpSocket::bind(any)).unwrap();
        client.connect((address, 8080)).unwrap();
        client.set_read_timeout(Some(STEP)).unwrap();
        client
    });
    let mut peers = Vec::new();
    for client in &clients {
        peers.push(asks(client, &server));
    }
    for signal in [Signal::KILL, Signal::TERM] {
        host.stop_agent(signal);
        host.launch();
        for (client, container) in &streams {
            say(client, container);
            say(container, client);
        }
        for (client, peer) in clients.iter().zip(&peers) {
            // The server first: its way back is what is remembered.
            server.send_to(b"news", peer).unwrap();
            let heard = client.recv(&mut [0; 16]);
            assert!(heard.is_ok(), "{signal:?}: {heard:?}");
            assert_eq!(asks(client, &server), *peer, "{signal:?}");
        }
    }
}

fn two_networks(host: Host) -> Host {
    for network in ["red", "blue"] {
        host.tapestry(&["network", "create", network]).ok();
        host.idle(&format!("on-{network}"), network, &[]);
    }
    host
}

fn keep_trying(to: SocketAddr, over: &AtomicBool) {
    let datagram = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    while !over.load(Ordering::Relaxed) {
        // Whether it failed, the other end knows.
        let _ = datagram.send_to(b"in", to);
        let _ = TcpStream::connect_timeout(&to, Duration::from_millis(100));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One byte, as late as TCP sends it again.
fn say(mut from: &TcpStream, mut to: &TcpStream) {
    to.set_read_timeout(Some(4 * STEP)).unwrap();
    from.write_all(b"x").unwrap();
    to.read_exact(&mut [0; 1]).unwrap();
}

/// Asks until there is an answer. Whom the server saw.
fn asks(client: &UdpSocket, server: &UdpSocket) -> SocketAddr {
    server.set_read_timeout(Some(QUIET)).unwrap();
    let from = eventually(STEP, "a datagram arrives", || {
        // Refused while nobody is there.
        let _ = client.send(b"question");
        server.recv_from(&mut [0; 16]).ok().map(|(_, from)| from)
    });
    server.send_to(b"answer", from).unwrap();
    client.recv(&mut [0; 16]).unwrap();
    from
}
