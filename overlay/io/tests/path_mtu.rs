//! Paths that carry less than the links they begin at, with routers that say so and routers that do not. These tests need root and
//! fail without it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use overlay_core::{Df, OuterPolicy, PathFinding};
use overlay_io::{Gateway, VxlanConfig, VxlanTunnel};
use overlay_lab::{Network, Station, Underlay, ip, kernel_container, transfer, vni};
use switch_core::{Mac, PortConfig, PortId, PortKind};
use switch_io::{Capabilities, ChannelEnd, EngineChoice, channel};

const V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];
const INSIDE: [&str; 2] = ["10.9.0.1", "10.9.0.2"];

/// A host of ours with a network, a gateway and a container.
struct Ours {
    container: Station,
    tunnel: VxlanTunnel,
    network: Network,
    port: PortId,
    remote: &'static str,
    _edge: ChannelEnd,
}

impl Ours {
    fn new(underlay: &Underlay, n: usize, outside: [&'static str; 2], policy: OuterPolicy) -> Self {
        let host = &underlay.hosts[n];
        let mtu = if outside == V4 { 1450 } else { 1430 };
        let mut network = Network::new(EngineChoice::Auto, mtu);
        let (edge, end) = channel(16, Capabilities::NONE).unwrap();
        let config = PortConfig::new(PortKind::Edge, mtu);
        let edge = network
            .switch
            .add_port(&network.bridge, Box::new(edge), config);
        let gateway = Gateway {
            port: edge.unwrap(),
            mac: Mac::new([2, 0, 0, 0, 0, 0xfe]),
            addresses: vec![ip("10.9.0.254")],
        };
        let (config, remote) = (VxlanConfig::new(ip(outside[n])), outside[1 - n]);
        let (tunnel, trunk, port) = host.run(move || {
            let (tunnel, trunk) = VxlanTunnel::bind(&config).unwrap();
            let port = tunnel.port(vni(42), ip(remote), mtu).unwrap();
            let port = port.with_gateway(gateway).with_outer(policy).unwrap();
            (tunnel, trunk, port)
        });
        network.trunk(trunk);
        let port = network.tunnel(port);
        let (_, container) = network.container(host, &[&format!("{}/24", INSIDE[n])]);
        Self {
            container,
            tunnel,
            network,
            port,
            remote,
            _edge: end,
        }
    }

    fn path(&self) -> Option<PathFinding> {
        self.tunnel.path(ip(self.remote))
    }

    fn finds(&self, found: PathFinding) {
        within_20_s(&format!("the path is {found:?}"), || {
            self.path() == Some(found)
        });
    }

    fn pings(&self) -> bool {
        self.container.pings(INSIDE[1])
    }
}

/// Searches where nobody answers take their time.
fn within_20_s(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed().as_secs() < 20, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pair(underlay: &Underlay, outside: [&'static str; 2]) -> [Ours; 2] {
    [0, 1].map(|n| Ours::new(underlay, n, outside, OuterPolicy::default()))
}

fn kernel(underlay: &Underlay) -> Station {
    let options = "id 42 local 192.0.2.2 remote 192.0.2.1";
    let inside = format!("{}/24", INSIDE[1]);
    kernel_container(&underlay.hosts[1], options, 1450, &[&inside])
}

#[test]
fn tcp_crosses_a_black_hole_within_seconds() {
    for outside in [V4, V6] {
        let underlay = Underlay::routed(1400);
        underlay.hush(true);
        let [a, b] = pair(&underlay, outside);
        let start = Instant::now();
        transfer(&a.container, &b.container, INSIDE[1], 1 << 20);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(15), "{took:?}");
        a.finds(PathFinding::Measured(1400));
        // Whoever asks next has never heard of more.
        transfer(&a.container, &b.container, INSIDE[1], 1 << 20);
        transfer(&b.container, &a.container, INSIDE[0], 1 << 20);
        b.finds(PathFinding::Measured(1400));
        assert!(a.tunnel.counts().too_big > 0);
    }
}

#[test]
fn a_path_that_becomes_narrow_in_silence_is_noticed() {
    let underlay = Underlay::routed(1500);
    underlay.hush(true);
    let [a, b] = pair(&underlay, V4);
    assert!(a.pings());
    a.finds(PathFinding::Measured(1500));
    underlay.between(1300);
    let start = Instant::now();
    transfer(&a.container, &b.container, INSIDE[1], 1 << 20);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    a.finds(PathFinding::Measured(1300));
}

#[test]
fn where_a_kernels_device_is_the_path_is_what_routers_say_or_unfindable() {
    let underlay = Underlay::routed(1400);
    underlay.hush(true);
    let ours = Ours::new(&underlay, 0, V4, OuterPolicy::default());
    let theirs = kernel(&underlay);
    assert!(ours.pings());
    ours.finds(PathFinding::Unfindable);
    // It hands no probe on, and nobody complains.
    let seen = underlay.hosts[1].sh("ip -s link show dev vx; bridge fdb show dev vx");
    assert!(!seen.contains("02:00:00:00:00:00"), "{seen}");
    underlay.hush(false);
    // A frame that is too long has a router speak up.
    within_20_s("the path is told", || {
        let _ = ours.container.output("ping -c 1 -W 0.2 -s 1400 10.9.0.2");
        ours.path() == Some(PathFinding::Told(1400))
    });
    transfer(&ours.container, &theirs, INSIDE[1], 1 << 20);
    let counts = ours.network.switch.counters(ours.port).unwrap();
    assert!(counts.tx_frames > 0);
}

#[test]
fn what_may_be_fragmented_is_not_measured() {
    let underlay = Underlay::routed(1400);
    underlay.hush(true);
    let policy = OuterPolicy {
        df: Df::Unset,
        ..OuterPolicy::default()
    };
    let ours = Ours::new(&underlay, 0, V4, policy);
    let theirs = kernel(&underlay);
    transfer(&ours.container, &theirs, INSIDE[1], 1 << 20);
    assert_eq!(ours.path(), None);
    assert_eq!(ours.tunnel.counts().too_big, 0);
}

#[test]
fn without_frames_nothing_is_sent() {
    let underlay = Underlay::new();
    let [a, b] = pair(&underlay, V4);
    assert!(a.pings() && b.container.pings(INSIDE[0]));
    a.finds(PathFinding::Measured(1500));
    let sent = |host: &Station| host.sh("cat /sys/class/net/eth0/statistics/tx_packets");
    // Neighbours' questions have ended.
    within_20_s("nothing is sent for four seconds", || {
        let before = sent(&underlay.hosts[0]);
        std::thread::sleep(Duration::from_secs(4));
        sent(&underlay.hosts[0]) == before
    });
}
