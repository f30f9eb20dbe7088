//! Datagrams arrive as they were sent, and what is lost is counted.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::harness::{Host, Netns, eventually};

const ROUNDS: usize = 50;
const BURST: usize = 40;
const LEN: usize = 100;
const UDP_PORT: u16 = 7009;

#[test]
fn datagrams_reach_containers_and_the_host_as_they_were_sent() {
    let host = Host::start();
    host.tapestry(&["network", "create", "n"]).ok();
    let (a, b) = (host.endpoint("n", "a"), host.endpoint("n", "b"));
    let gateway = host.network("n").gateways[0];
    for (what, from, to, address) in [
        (
            "container to container",
            &a.netns,
            &b.netns,
            b.ipv4().into(),
        ),
        ("container to host", &a.netns, &host.netns, gateway),
        ("host to container", &host.netns, &b.netns, b.ipv4().into()),
    ] {
        assert_eq!(strangers(from, to, address), 0, "{what}");
    }
}

#[test]
fn a_network_that_was_asked_to_joins_datagrams_on_the_way() {
    let host = Host::start();
    host.tapestry(&["network", "create", "-o", "join=udp", "n"])
        .ok();
    let (a, b) = (host.endpoint("n", "a"), host.endpoint("n", "b"));
    assert!(strangers(&a.netns, &b.netns, b.ipv4().into()) > 0);
    let refused = host.tapestry(&["network", "create", "-o", "join=all", "m"]);
    assert!(refused.stderr.contains("tcp or udp"), "{}", refused.stderr);
}

/// Sends bursts from one namespace to the other, each of which has to arrive whole and in order. How many datagrams of
/// another length than was sent the receiver's packet filter saw.
fn strangers(from: &Netns, to: &Netns, address: IpAddr) -> usize {
    let udp_length = LEN + 8;
    to.sh(&format!(
        "nft 'add table ip watch; add chain ip watch i {{ type filter hook input priority -10; }};
         add rule ip watch i udp dport {UDP_PORT} udp length != {udp_length} counter'"
    ));
    let address = SocketAddr::new(address, UDP_PORT);
    let receiver = to.enter(|| UdpSocket::bind(address).unwrap());
    receiver
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let sender = from.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    sender.connect(address).unwrap();
    // While a neighbour is still asked for, the sender's own kernel lets later datagrams pass those that wait.
    assert!(from.pings(address.ip()));
    for round in 0..ROUNDS {
        for n in 0..BURST {
            sender.send(&[datagram_byte(round, n); LEN]).unwrap();
        }
        for n in 0..BURST {
            let mut datagram = [0; 2 * LEN];
            assert_eq!(receiver.recv(&mut datagram).unwrap(), LEN);
            assert_eq!(datagram[0], datagram_byte(round, n), "round {round}");
        }
    }
    let rules = to.sh("nft list table ip watch");
    to.sh("nft delete table ip watch");
    let counted = rules.split("counter packets ").nth(1).unwrap();
    counted.split(' ').next().unwrap().parse().unwrap()
}

fn datagram_byte(round: usize, n: usize) -> u8 {
    u8::try_from((round * BURST + n) % 251).unwrap()
}

#[test]
fn what_a_containers_queue_loses_is_counted_at_its_port_and_stays_counted() {
    const SENT: u64 = 5000;
    let host = Host::start();
    host.tapestry(&["network", "create", "n"]).ok();
    let (a, b) = (host.endpoint("n", "a"), host.endpoint("n", "b"));
    let socket = a.netns.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.connect((b.ipv4(), UDP_PORT)).unwrap();
    // Else some sends would only fetch the news that nobody listens.
    let _receiver = b
        .netns
        .enter(|| UdpSocket::bind(("0.0.0.0", UDP_PORT)).unwrap());
    assert!(a.netns.pings(b.ipv4()));
    let port = || {
        let ports = host.ports("n");
        let of_a = |port: &agent_api::PortView| Some(port.port) == a.detail.port;
        ports.into_iter().find(of_a).unwrap()
    };
    let before = port().rx_frames;
    // Nobody reads the queue meanwhile.
    kill_process(host.agent_pid(), Signal::STOP).unwrap();
    for _ in 0..SENT {
        socket.send(&[0; LEN]).unwrap();
    }
    kill_process(host.agent_pid(), Signal::CONT).unwrap();
    let lost = eventually(Duration::from_secs(10), "every frame is counted", || {
        let port = port();
        let lost = port.drops.get("tap_full").copied().unwrap_or(0);
        (port.rx_frames - before + lost >= SENT).then_some(lost)
    });
    assert!(lost > 1000, "{lost}");
    let shown = host.tapestry(&["port", "ls", "n"]).ok();
    assert!(shown.contains(&format!("tap_full={lost}")), "{shown}");
    drop(a);
    let detail = host.network("n");
    let gone = detail.gone.unwrap();
    assert_eq!(gone.drops.get("tap_full"), Some(&lost));
    assert!(gone.rx_frames >= SENT - lost);
    assert_eq!(detail.drops.get("tap_full"), Some(&lost));
}
