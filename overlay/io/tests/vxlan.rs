//! VXLAN between namespaces, with ourselves and with the kernel. These tests need root and fail without it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, SocketAddr, UdpSocket};

use overlay_core::{Df, OuterPolicy, Tos, Ttl};
use overlay_io::{Gateway, VxlanConfig, VxlanTunnel};
use overlay_lab::{
    Network, Station, TRANSFER, Underlay, datagrams_stay_as_they_were_sent, eventually,
    everything_crosses, ip, kernel_container, transfer, vni,
};
use switch_core::{Mac, PortConfig, PortId, PortKind};
use switch_io::{Capabilities, EngineChoice, channel};

const MTU: u32 = 1430;
const INSIDE: [[&str; 2]; 2] = [["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"]];
const V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];

/// A host of ours with one network and one container.
struct Ours {
    container: Station,
    tunnel: VxlanTunnel,
    network: Network,
    port: PortId,
}

impl Ours {
    fn new(
        underlay: &Underlay,
        n: usize,
        outside: [&'static str; 2],
        engine: EngineChoice,
    ) -> Self {
        Self::with_mtu(underlay, n, outside, engine, MTU)
    }

    /// A network whose containers know of another MTU than the tunnel has.
    fn with_mtu(
        underlay: &Underlay,
        n: usize,
        outside: [&'static str; 2],
        engine: EngineChoice,
        mtu: u32,
    ) -> Self {
        let config = VxlanConfig::new(ip(outside[n]));
        let remote = ip(outside[1 - n]);
        Self::with_config(
            underlay,
            n,
            (config, remote),
            engine,
            mtu,
            OuterPolicy::default(),
        )
    }

    /// A tunnel of its own kind to `remote`.
    fn with_config(
        underlay: &Underlay,
        n: usize,
        (config, remote): (VxlanConfig, IpAddr),
        engine: EngineChoice,
        mtu: u32,
        policy: OuterPolicy,
    ) -> Self {
        let host = &underlay.hosts[n];
        let mut network = Network::new(engine, mtu);
        let (tunnel, trunk, port) = host.run(move || {
            let (tunnel, trunk) = VxlanTunnel::bind(&config).unwrap();
            let port = tunnel.port(vni(42), remote, MTU).unwrap();
            let port = port.with_outer(policy).unwrap();
            (tunnel, trunk, port)
        });
        network.trunk(trunk);
        let port = network.tunnel(port);
        let (_, container) = network.container(host, &INSIDE[n]);
        Self {
            container,
            tunnel,
            network,
            port,
        }
    }
}

fn kernel(underlay: &Underlay, n: usize, outside: [&str; 2]) -> Station {
    let options = format!("id 42 local {} remote {}", outside[n], outside[1 - n]);
    kernel_container(&underlay.hosts[n], &options, MTU, &INSIDE[n])
}

fn between_ourselves(engine: EngineChoice, outside: [&'static str; 2], segmented: bool) {
    let underlay = Underlay::new();
    if segmented {
        underlay.segment();
    }
    let [a, b] = [0, 1].map(|n| Ours::new(&underlay, n, outside, engine));
    everything_crosses(&a.container, &b.container);
    datagrams_stay_as_they_were_sent(&a.container, &b.container, "10.9.0.2");
    let counts = a.network.switch.counters(a.port).unwrap();
    assert!(counts.rx_bytes > u64::try_from(TRANSFER).unwrap());
    // Superframes stayed whole: far fewer frames than segments.
    assert!(
        counts.rx_bytes / counts.rx_frames > 2 * u64::from(MTU),
        "{counts:?}"
    );
    assert_eq!(a.tunnel.counts(), overlay_io::VxlanCounts::default());
}

#[test]
fn ipv4_underlay() {
    between_ourselves(EngineChoice::Uring, V4, false);
}

#[test]
fn ipv6_underlay() {
    between_ourselves(EngineChoice::Epoll, V6, false);
}

#[test]
fn segmented_underlay() {
    between_ourselves(EngineChoice::Uring, V4, true);
}

#[test]
fn segmented_underlay_on_epoll() {
    between_ourselves(EngineChoice::Epoll, V6, true);
}

/// A container behind the kernel's device has a tunnel of its own to ours: what it leaves unfinished lies two headers deep.
#[test]
fn a_tunnel_inside_the_network_arrives_finished() {
    let underlay = Underlay::new();
    let ours = Ours::new(&underlay, 0, V4, EngineChoice::Auto);
    let theirs = kernel(&underlay, 1, V4);
    for (station, local, remote, address) in [
        (&ours.container, "10.9.0.1", "10.9.0.2", "10.8.0.1/24"),
        (&theirs, "10.9.0.2", "10.9.0.1", "10.8.0.2/24"),
    ] {
        station.ip(&format!(
            "link add vx1 type vxlan id 7 dstport 7777 local {local} remote {remote}"
        ));
        station.ip(&format!("addr add {address} dev vx1"));
        station.ip("link set vx1 up");
    }
    assert!(theirs.pings("10.8.0.1"));
    datagrams_stay_as_they_were_sent(&theirs, &ours.container, "10.8.0.1");
    // Without superframes, which no kernel cuts two headers deep.
    theirs.sh("ethtool -K vx1 tso off gso off");
    transfer(&theirs, &ours.container, "10.8.0.1", 1_000_000);
}

fn with_the_kernel(outside: [&'static str; 2], segmented: bool) {
    let underlay = Underlay::new();
    if segmented {
        underlay.segment();
    }
    let ours = Ours::new(&underlay, 0, outside, EngineChoice::Auto);
    let theirs = kernel(&underlay, 1, outside);
    everything_crosses(&ours.container, &theirs);
    datagrams_stay_as_they_were_sent(&theirs, &ours.container, "10.9.0.1");
    assert_eq!(ours.tunnel.counts(), overlay_io::VxlanCounts::default());
}

#[test]
fn the_kernels_device_understands_us_and_we_it() {
    with_the_kernel(V4, false);
}

#[test]
fn the_kernels_device_over_ipv6() {
    with_the_kernel(V6, false);
}

#[test]
fn the_kernels_device_over_a_wire() {
    with_the_kernel(V4, true);
}

#[test]
fn strangers_and_unknown_networks_are_dropped_and_counted() {
    let underlay = Underlay::new();
    let ours = Ours::new(&underlay, 0, V4, EngineChoice::Auto);
    // The same address, another network.
    let other = kernel_container(
        &underlay.hosts[1],
        "id 43 local 192.0.2.2 remote 192.0.2.1",
        MTU,
        &INSIDE[1],
    );
    assert!(!other.pings("10.9.0.1"));
    let counts = ours.tunnel.counts();
    assert!(counts.unknown_vni > 0);
    assert_eq!(counts.unknown_remote, 0);

    // The network, from another address.
    underlay.hosts[1].ip("addr add 192.0.2.66/24 dev eth0");
    underlay.hosts[1].ip("link del vx");
    underlay.hosts[1]
        .ip("link add vx type vxlan dstport 4789 id 42 local 192.0.2.66 remote 192.0.2.1");
    underlay.hosts[1].ip("link set vx master br0 up");
    assert!(!other.pings("10.9.0.1"));
    assert!(ours.tunnel.counts().unknown_remote > 0);
    assert_eq!(
        ours.network.switch.counters(ours.port).unwrap().rx_frames,
        0
    );

    underlay.hosts[1].sh("echo -n tiny > /dev/udp/192.0.2.1/4789 2>/dev/null || bash -c 'echo -n tiny > /dev/udp/192.0.2.1/4789'");
    eventually("garbage is counted", || ours.tunnel.counts().malformed == 1);
}

#[test]
fn a_removed_port_makes_room_for_its_successor() {
    let underlay = Underlay::new();
    let ours = Ours::new(&underlay, 0, V4, EngineChoice::Auto);
    let theirs = kernel(&underlay, 1, V4);
    assert!(theirs.pings("10.9.0.1"));
    ours.network.switch.remove_port(ours.port);
    assert!(!theirs.pings("10.9.0.1"));
    let port = ours.tunnel.port(vni(42), ip(V4[1]), MTU).unwrap();
    ours.network.tunnel(port);
    assert!(theirs.pings("10.9.0.1"));
}

#[test]
fn the_underlays_mtu_is_respected() {
    let underlay = Underlay::new();
    let ours = Ours::new(&underlay, 0, V4, EngineChoice::Auto);
    let theirs = kernel(&underlay, 1, V4);
    underlay.mtu(1400);
    let lost = ours.container.output("ping -c 1 -W 1 -s 1380 10.9.0.2");
    assert!(!lost.status.success(), "a fragment crossed");
    assert!(ours.container.pings("10.9.0.2"));
    drop(theirs);
}

#[test]
fn packets_longer_than_the_tunnel_are_answered_and_tcp_never_makes_them() {
    let underlay = Underlay::new();
    // The network's MTU is 1500, the tunnel carries less, and the other side is as ignorant.
    let ours = Ours::with_mtu(&underlay, 0, V4, EngineChoice::Auto, 1500);
    ours.network.switch.remove_port(ours.port);
    let (edge, _end) = channel(16, Capabilities::NONE).unwrap();
    let config = PortConfig::new(PortKind::Edge, 1500);
    let edge = ours
        .network
        .switch
        .add_port(&ours.network.bridge, Box::new(edge), config)
        .unwrap();
    let gateway = Gateway {
        port: edge,
        mac: Mac::new([2, 0, 0, 0, 0, 0xfe]),
        addresses: vec![ip("10.9.0.254"), ip("fd09::fe")],
    };
    let port = ours.tunnel.port(vni(42), ip(V4[1]), MTU).unwrap();
    let config = PortConfig::new(PortKind::Tunnel, 1500);
    let port = port.with_gateway(gateway);
    ours.network
        .switch
        .add_port(&ours.network.bridge, Box::new(port), config)
        .unwrap();
    let theirs = kernel(&underlay, 1, V4);
    theirs.ip("link set eth0 mtu 1500");
    transfer(&ours.container, &theirs, "10.9.0.2", TRANSFER);
    transfer(&theirs, &ours.container, "10.9.0.1", TRANSFER);
    assert_eq!(ours.tunnel.counts().too_big, 0, "the MSS was not lowered");

    for source in ["10.9.0.254", "fd09::fe"] {
        let to = if source.contains(':') {
            "fd09::2"
        } else {
            "10.9.0.2"
        };
        let output = ours
            .container
            .output(&format!("ping -M do -c 1 -W 1 -s 1452 {to}"));
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.contains("mtu = 1430") || output.contains("mtu=1430"),
            "{output}"
        );
        assert!(output.to_lowercase().contains(source), "{output}");
    }
    assert!(ours.container.pings("10.9.0.2"));
    assert_eq!(ours.tunnel.counts().too_big, 2);

    // The underlay shrinks, and whoever sees it says so.
    underlay.mtu(1400);
    ours.tunnel.set_mtu(vni(42), ip(V4[1]), 1350);
    transfer(&ours.container, &theirs, "10.9.0.2", TRANSFER);
}

/// What a set or a counter of `table inet seen` in `host` holds.
fn seen(host: &Station, what: &str) -> String {
    let listed = host.output(&format!("nft list {what}"));
    String::from_utf8_lossy(&listed.stdout).into_owned()
}

#[test]
fn flows_leave_by_many_source_ports_to_a_kernel_at_8472() {
    let underlay = Underlay::new();
    let config = VxlanConfig::at(SocketAddr::new(ip(V4[0]), 8472));
    let policy = OuterPolicy::default();
    let ours = Ours::with_config(
        &underlay,
        0,
        (config, ip(V4[1])),
        EngineChoice::Auto,
        MTU,
        policy,
    );
    let options = format!("id 42 local {} remote {} dstport 8472", V4[1], V4[0]);
    let theirs = kernel_container(&underlay.hosts[1], &options, MTU, &INSIDE[1]);
    underlay.hosts[1].sh(
        "nft 'table inet seen { set sources { type inet_service; flags dynamic; size 65535; }
         chain in { type filter hook prerouting priority 0; udp dport 8472 add @sources { udp sport }; }; }'",
    );
    assert!(theirs.pings("10.9.0.1") && ours.container.pings("10.9.0.2"));
    ours.container.run(|| {
        for _ in 0..1000 {
            let flow = UdpSocket::bind("10.9.0.1:0").unwrap();
            flow.send_to(b"x", "10.9.0.2:9").unwrap();
        }
    });
    eventually("a thousand flows have 200 source ports", || {
        let sources = seen(&underlay.hosts[1], "set inet seen sources");
        let numbers = sources.split(|c: char| !c.is_ascii_digit());
        let ports = numbers.filter_map(|number| number.parse::<u32>().ok());
        ports.filter(|port| (49_152..65_535).contains(port)).count() >= 200
    });
}

#[test]
fn the_outer_header_says_what_was_asked_for() {
    let underlay = Underlay::new();
    let policy = OuterPolicy {
        tos: Tos::Inherit,
        ttl: Ttl::Fixed(7),
        df: Df::Unset,
    };
    for outside in [V4, V6] {
        let config = VxlanConfig::new(ip(outside[0]));
        let ours = Ours::with_config(
            &underlay,
            0,
            (config, ip(outside[1])),
            EngineChoice::Auto,
            1500,
            policy,
        );
        let theirs = kernel(&underlay, 1, outside);
        let fields = match outside == V4 {
            true => "ip dscp ef ip ttl 7 ip frag-off & 0x4000 == 0",
            false => "ip6 dscp ef ip6 hoplimit 7",
        };
        // Before fragments are put together.
        underlay.hosts[1].sh(&format!(
            "nft 'table inet seen {{ counter as_asked {{ }}
             chain in {{ type filter hook prerouting priority -500; {fields} counter name as_asked; }}; }}'"
        ));
        assert!(ours.container.pings("10.9.0.2"));
        // Longer than the underlay carries: it is fragmented here. The kernel's device does the same over IPv4 only.
        theirs.ip("link set eth0 mtu 1500");
        underlay.hosts[1].sh("for link in vx veth0 br0; do ip link set $link mtu 1500; done");
        let ping = ours
            .container
            .output("ping -c 2 -W 2 -Q 0xb8 -s 1472 10.9.0.2");
        assert!(ping.status.success() || outside == V6, "{ping:?}");
        let created = underlay.hosts[0].sh(match outside == V4 {
            true => "awk '/^Ip: [0-9]/ { print $20 }' /proc/net/snmp",
            false => "awk '/^Ip6FragCreates/ { print $2 }' /proc/net/snmp6",
        });
        let created: u64 = created.trim().parse().unwrap();
        assert!(created >= 4, "{created} fragments");
        transfer(&ours.container, &theirs, "10.9.0.2", TRANSFER);
        let counter = seen(&underlay.hosts[1], "counter inet seen as_asked");
        assert!(
            counter.contains("packets") && !counter.contains("packets 0"),
            "{counter}"
        );
        underlay.hosts[1].sh("nft delete table inet seen; ip link del vx; ip link del br0");
    }
}
