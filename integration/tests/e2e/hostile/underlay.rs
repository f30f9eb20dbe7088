//! A container that tries to pass for its host among other hosts.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use switch_core::Mac;

use super::filter::filtered;
use crate::cluster::{Underlay, cluster, share_static};
use crate::harness::{HOST_IP, HOST_IP6, Host, OUTSIDE_IP, OUTSIDE_IP6, enter, eventually};
use crate::packets::{contains, ethernet, receive_within};

const QUIET: Duration = Duration::from_millis(500);

#[test]
fn nothing_from_a_container_reaches_the_port_of_a_tunnel() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--ipv6", "both"]).ok();
    let endpoint = host.endpoint("both", "liar");
    let receivers = [
        (&host.outside, IpAddr::from(OUTSIDE_IP)),
        (&host.outside, OUTSIDE_IP6.into()),
        (&host.netns, HOST_IP.into()),
        (&host.netns, HOST_IP6.into()),
    ];
    let mut sent = 0;
    for (netns, address) in receivers {
        for (port, is_tunnel) in [(4789, true), (8472, true), (4788, false)] {
            let to = SocketAddr::new(address, port);
            let receiver = netns.enter(|| UdpSocket::bind(to)).unwrap();
            receiver.set_read_timeout(Some(QUIET)).unwrap();
            // The second one goes in fragments.
            for size in [10, 4000] {
                endpoint.netns.enter(|| {
                    let any: IpAddr = match address {
                        IpAddr::V4(_) => [0, 0, 0, 0].into(),
                        IpAddr::V6(_) => [0_u16; 8].into(),
                    };
                    let sender = UdpSocket::bind((any, 0)).unwrap();
                    sender.send_to(&vec![8; size], to).unwrap();
                });
                let arrived = receiver.recv(&mut [0; 4096]);
                assert_eq!(
                    arrived.is_ok(),
                    !is_tunnel,
                    "{to}, {size} bytes: {arrived:?}"
                );
                sent += u64::from(is_tunnel);
            }
        }
    }
    assert_eq!(filtered(&host, "both", "filter_underlay"), sent);
}

#[test]
fn a_container_cannot_put_frames_into_another_hosts_vxlan() {
    let lab = Underlay::new(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    share_static([(one, "192.0.2.1"), (two, "192.0.2.2")]);
    let victim = one.endpoint("far", "victim");
    let wire = victim.wire();
    let liar = two.endpoint("bridge", "liar");
    let inner = ethernet(
        Mac::BROADCAST,
        Mac::new([2, 0, 0, 0, 0, 9]),
        0x88b5,
        b"from a container",
    );
    let datagram = [&[8, 0, 0, 0, 0, 0, 7, 0], &inner[..]].concat();
    liar.netns.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(&datagram, "192.0.2.1:4789").unwrap();
    });
    let arrived = receive_within(&wire, QUIET, |frame| contains(frame, b"from a container"));
    assert!(arrived.is_none());
}

#[test]
fn a_container_does_not_reach_where_hosts_of_a_cluster_listen() {
    let lab = cluster(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    for host in [one, two] {
        host.idle("liar", "bridge", &[]);
        for port in [4790, 4791, 4792] {
            let reached = connects(host, SocketAddr::from(([192, 0, 2, 1], port)));
            assert!(!reached, "port {port}");
        }
        // The same port of a stranger is nobody's business.
        let stranger = SocketAddr::from((OUTSIDE_IP, 4790));
        let _listener = host.outside.enter(|| TcpListener::bind(stranger)).unwrap();
        assert!(connects(host, stranger));
        let before = filtered(host, "bridge", "filter_underlay");
        assert!(before >= 3, "{before}");
        enter(&host.sandbox("liar"), || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"no handshake", "192.0.2.1:4790").unwrap();
        });
        eventually(
            Duration::from_secs(10),
            "the datagram is dropped there",
            || (filtered(host, "bridge", "filter_underlay") == before + 1).then_some(()),
        );
    }
    let rules = two.netns.sh("nft list table inet tapestry");
    assert!(rules.contains("192.0.2.1 . udp . 4790"), "{rules}");
}

fn connects(host: &Host, to: SocketAddr) -> bool {
    enter(&host.sandbox("liar"), || {
        TcpStream::connect_timeout(&to, QUIET).is_ok()
    })
}
