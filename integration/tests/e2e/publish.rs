//! `-p`: from outside, from the host itself, from other containers, in both families.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use crate::harness::{HOST_IP, HOST_IP6, Host, OUTSIDE_IP, enter, eventually};

const ANY6: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

#[test]
fn tcp_is_reached_from_outside_and_sees_the_outsides_address() {
    let host = published(&["-p", "8080:80"]);
    let server = tcp_server(&host.sandbox("web"), (ANY6, 80));
    assert_eq!(
        ask_tcp(&host.outside.path(), (HOST_IP, 8080)),
        Some("hello".into())
    );
    let peer = server.join().unwrap();
    assert_eq!(
        peer.ip().to_canonical(),
        IpAddr::from(OUTSIDE_IP),
        "the client's own address"
    );
}

#[test]
fn tcp_over_ipv6_is_reached_from_outside() {
    let host = published(&["-p", "8080:80"]);
    let server = tcp_server(&host.sandbox("web"), (ANY6, 80));
    assert_eq!(
        ask_tcp(&host.outside.path(), (HOST_IP6, 8080)),
        Some("hello".into())
    );
    server.join().unwrap();
}

#[test]
fn udp_is_reached_from_outside_in_both_families() {
    let host = published(&["-p", "5353:53/udp"]);
    let _server = udp_server(&host.sandbox("web"), 53);
    for address in [IpAddr::from(HOST_IP), HOST_IP6.into()] {
        assert_eq!(
            ask_udp(&host.outside.path(), (address, 5353)),
            Some("hello".into()),
            "{address}"
        );
    }
}

#[test]
fn the_hosts_own_loopback_reaches_it() {
    let host = published(&["-p", "8080:80", "-p", "5353:53/udp"]);
    let _udp = udp_server(&host.sandbox("web"), 53);
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), HOST_IP.into()] {
        let server = tcp_server(&host.sandbox("web"), (ANY6, 80));
        assert_eq!(
            ask_tcp(&host.netns.path(), (address, 8080)),
            Some("hello".into()),
            "{address}"
        );
        server.join().unwrap();
        assert_eq!(
            ask_udp(&host.netns.path(), (address, 5353)),
            Some("hello".into()),
            "{address}"
        );
    }
}

#[test]
fn the_hosts_own_ipv6_loopback_reaches_it() {
    let host = published(&["-p", "8080:80"]);
    let server = tcp_server(&host.sandbox("web"), (ANY6, 80));
    assert_eq!(
        ask_tcp(&host.netns.path(), (Ipv6Addr::LOCALHOST, 8080)),
        Some("hello".into())
    );
    server.join().unwrap();
}

#[test]
fn containers_reach_it_through_the_hosts_address_even_their_own() {
    let host = published(&["-p", "8080:80"]);
    host.idle("client", "mynet", &[]);
    host.idle("stranger", "bridge", &[]);
    for from in ["web", "client", "stranger"] {
        let server = tcp_server(&host.sandbox("web"), (ANY6, 80));
        assert_eq!(
            ask_tcp(&host.sandbox(from), (HOST_IP, 8080)),
            Some("hello".into()),
            "from {from}"
        );
        server.join().unwrap();
    }
}

#[test]
fn a_mapping_on_one_address_is_not_on_another() {
    let host = published(&["-p", "127.0.0.1:8080:80"]);
    let server = tcp_server(&host.sandbox("web"), (ANY6, 80));
    assert_eq!(ask_tcp(&host.outside.path(), (HOST_IP, 8080)), None);
    assert_eq!(
        ask_tcp(&host.netns.path(), (Ipv4Addr::LOCALHOST, 8080)),
        Some("hello".into())
    );
    server.join().unwrap();
}

#[test]
fn what_is_not_published_is_not_reached_from_outside() {
    let host = published(&["-p", "8080:80"]);
    let web = host.ipv4("web");
    let _server = tcp_server(&host.sandbox("web"), (ANY6, 81));
    assert_eq!(ask_tcp(&host.outside.path(), (HOST_IP, 81)), None);
    host.outside
        .sh(&format!("ip route add {web}/32 via {HOST_IP}"));
    assert_eq!(
        ask_tcp(&host.outside.path(), (web, 81)),
        None,
        "nor by a route to it"
    );
}

#[test]
fn a_mapping_goes_with_its_container() {
    let host = published(&["-p", "8080:80"]);
    host.tapestry(&["rm", "-f", "web"]).ok();
    assert_eq!(ask_tcp(&host.outside.path(), (HOST_IP, 8080)), None);
    let rules = host.netns.sh("nft list ruleset");
    assert!(!rules.contains("8080"), "{rules}");
}

#[test]
fn a_mapping_survives_the_agents_restart() {
    let host = published(&["-p", "8080:80"]);
    host.stop_agent(rustix::process::Signal::KILL);
    host.launch();
    let server = tcp_server(&host.sandbox("web"), (ANY6, 80));
    let reached = eventually(Duration::from_secs(5), "web is reached again", || {
        ask_tcp(&host.outside.path(), (HOST_IP, 8080))
    });
    assert_eq!(reached, "hello");
    server.join().unwrap();
}

#[test]
fn a_port_that_a_program_of_the_host_uses_is_refused() {
    let host = Host::start();
    let _taken = host
        .netns
        .enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)))
        .unwrap();
    let refusal = host
        .tapestry(&["run", "--rm", "-p", "8080:80", "--", "true"])
        .refused(125);
    assert!(
        refusal.contains("8080") && refusal.lines().count() == 1,
        "{refusal}"
    );
    assert!(host.containers().is_empty());
}

/// A host with `web` on `mynet`, which has both families.
fn published(options: &[&str]) -> Host {
    let host = Host::start();
    host.tapestry(&[
        "network",
        "create",
        "--ipv6",
        "--subnet",
        "10.62.0.0/24",
        "--subnet",
        "fd00:62::/64",
        "mynet",
    ])
    .ok();
    host.idle("web", "mynet", options);
    host
}

/// Serves one connection from inside `sandbox`; ends with the client's address.
pub(crate) fn tcp_server(sandbox: &Path, address: impl Into<SocketAddr>) -> JoinHandle<SocketAddr> {
    let address = address.into();
    let listener = enter(sandbox, || TcpListener::bind(address)).unwrap();
    spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
        peer
    })
}

/// Answers every datagram; ends with the test.
pub(crate) fn udp_server(sandbox: &Path, udp_port: u16) -> JoinHandle<()> {
    let socket = enter(sandbox, || UdpSocket::bind((ANY6, udp_port))).unwrap();
    spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            socket.send_to(b"hello", peer).unwrap();
        }
    })
}

pub(crate) fn ask_tcp(from: &Path, to: impl Into<SocketAddr>) -> Option<String> {
    let to = to.into();
    let mut stream = enter(from, || {
        TcpStream::connect_timeout(&to, Duration::from_secs(2))
    })
    .ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

pub(crate) fn ask_udp(from: &Path, to: impl Into<SocketAddr>) -> Option<String> {
    let to: SocketAddr = to.into();
    let any: IpAddr = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        ANY6.into()
    };
    let socket = enter(from, || UdpSocket::bind((any, 0))).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    socket.connect(to).unwrap();
    socket.send(b"?").ok()?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
