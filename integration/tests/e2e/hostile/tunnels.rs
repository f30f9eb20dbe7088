//! Frames that a stranger puts into a tunnel. A VXLAN device of the kernel plays him.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use switch_core::Mac;
use switch_io::packet::PacketSocket;

use crate::cluster::{Underlay, plug};
use crate::harness::{Endpoint, Host, Netns, eventually};
use crate::packets::{
    PLAIN, Segment, Transport, arp, contains, ethernet, icmpv6, receive, receive_within,
};

const QUIET: Duration = Duration::from_millis(500);
const STRANGER: Mac = Mac::new([2, 0xee, 0, 0, 0, 9]);
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 99);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const MARK: &[u8] = b"forged";

#[test]
fn a_tunnel_brings_no_gateway_no_neighbour_no_router_and_no_dhcp_server() {
    let (lab, kernel, wire) = joined(&[]);
    let host = &lab.hosts[0];
    let victim = host.endpoint("far", "victim");
    assert!(kernel.pings(victim.ipv4()), "what is honest crosses");
    let gateway: Mac = host.network("far").gateway_mac.unwrap().parse().unwrap();
    let datagram = |source_mac, source: Ipv4Addr| datagram(source_mac, source, &victim, 9).frame();
    let claim = |mac, address| {
        let claim = arp(2, mac, address, victim.mac(), victim.ipv4());
        ethernet(victim.mac(), mac, 0x0806, &[&claim[..], MARK].concat())
    };
    let forged = [
        ("gateway_mac", datagram(gateway, NOBODY)),
        (
            "gateway_mac",
            ethernet(Mac::BROADCAST, gateway, 0x88b5, MARK),
        ),
        ("gateway_ip", datagram(STRANGER, GATEWAY)),
        ("gateway_ip", claim(STRANGER, GATEWAY)),
        ("gateway_mac", claim(gateway, GATEWAY)),
        ("neighbor_ip", datagram(STRANGER, victim.ipv4())),
        ("neighbor_ip", claim(STRANGER, victim.ipv4())),
        (
            "sticky_mac",
            ethernet(Mac::BROADCAST, victim.mac(), 0x88b5, MARK),
        ),
        ("rogue_dhcp", offer(&victim)),
        ("rogue_ra", advertisement()),
    ];
    let heard = victim.wire();
    let mut expected = BTreeMap::new();
    for (reason, frame) in &forged {
        wire.send(&PLAIN, frame).unwrap();
        *expected.entry(*reason).or_insert(0) += 1;
    }
    assert!(receive_within(&heard, QUIET, |frame| contains(frame, MARK)).is_none());
    for (reason, count) in expected {
        assert_eq!(tunnel_drops(host, reason), count, "{reason}");
    }
    assert!(kernel.pings(victim.ipv4()));
}

#[test]
fn a_tunnel_brings_servers_and_routers_where_the_network_lets_them() {
    let (lab, kernel, wire) = joined(&["-o", "dhcp=container", "-o", "ra=allow"]);
    let host = &lab.hosts[0];
    let client = host.endpoint("far", "client");
    assert!(kernel.pings(client.ipv4()));
    let heard = client.wire();
    for frame in [offer(&client), advertisement()] {
        wire.send(&PLAIN, &frame).unwrap();
        assert!(receive(&heard, |heard| contains(heard, MARK)).is_some());
    }
    // The server behind the kernel's device answers a real client.
    let leases = host.dir().join("leases");
    let mut dnsmasq = Command::new("dnsmasq");
    dnsmasq
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--pid-file=",
        ])
        .args(["--user=root", "--no-ping", "--interface=vx"])
        .arg("--dhcp-range=10.9.0.200,10.9.0.210,1h")
        .arg(format!("--dhcp-leasefile={}", leases.display()));
    let mut server = kernel.enter(|| dnsmasq.spawn()).unwrap();
    let lease = eventually(Duration::from_secs(15), "a lease", || {
        let ask = format!(
            "busybox udhcpc -i {} -f -q -n -t 3 -T 1 -s /bin/true 2>&1 || true",
            client.detail.link
        );
        Some(client.netns.sh(&ask)).filter(|said| said.contains("obtained"))
    });
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(lease.contains("lease of 10.9.0.2"), "{lease}");
}

/// A host whose network `far` reaches a VXLAN device of the kernel, that device's namespace, and a socket on it.
fn joined(options: &[&str]) -> (Underlay, Netns, PacketSocket) {
    let lab = Underlay::new(1);
    let kernel = Netns::new("kern");
    plug(&lab.netns, &kernel, 9);
    let head = ["network", "create", "--driver", "overlay", "-o", "vni=42"];
    let way = ["-o", "encap=vxlan", "-o", "remote=192.0.2.9"];
    let tail = ["--subnet", "10.9.0.0/24", "far"];
    let create = [&head[..], &way, options, &tail].concat();
    lab.hosts[0].tapestry(&create).ok();
    kernel.sh(
        "ip link add vx type vxlan id 42 remote 192.0.2.1 local 192.0.2.9 dstport 4789 dev under0
         ip addr add 10.9.0.9/24 dev vx; ip link set vx up",
    );
    let wire = kernel.enter(|| PacketSocket::open("vx")).unwrap();
    (lab, kernel, wire)
}

fn datagram(source_mac: Mac, source: Ipv4Addr, to: &Endpoint<'_>, port: u16) -> Segment {
    Segment {
        source_mac,
        destination_mac: to.mac(),
        source: source.into(),
        destination: IpAddr::from(to.ipv4()),
        transport: Transport::Udp,
        port,
        payload: MARK.to_vec(),
    }
}

/// For a DHCP client's port.
fn offer(client: &Endpoint<'_>) -> Vec<u8> {
    datagram(STRANGER, NOBODY, client, 68).frame()
}

fn advertisement() -> Vec<u8> {
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xbad);
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let to = Mac::new([0x33, 0x33, 0, 0, 0, 1]);
    // The mark is an option of an unknown type, of eight bytes.
    let head = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1];
    icmpv6((to, STRANGER), (source, all), &[&head[..], MARK].concat())
}

fn tunnel_drops(host: &Host, reason: &str) -> u64 {
    let ports = host.ports("far");
    let tunnel = ports.iter().find(|port| port.kind == "tunnel").unwrap();
    tunnel.drops.get(reason).copied().unwrap_or(0)
}
