//! The data plane through a running agent: what crosses, what floods, what is dropped and counted.

use std::process::Command;
use std::time::Duration;

use switch_core::Mac;

use crate::ends::{End, FAMILIES, Family, Path, TRANSPORTS};
use crate::harness::{Endpoint, Host, eventually};
use crate::packets::{
    ETHERNET, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, PLAIN, Segment, Transport, checksums_hold,
    contains, ethernet, finished, receive, receive_within, vnet,
};

const QUIET: Duration = Duration::from_millis(300);
/// IEEE 802 "local experimental 1".
const EXPERIMENTAL: u16 = 0x88b5;

#[test]
fn jumbo_frames_cross_at_mtu_9000() {
    for driver in ["tap=offload", "tap=basic"] {
        let host = Host::start();
        host.tapestry(&["network", "create", "--mtu", "9000", "-o", driver, "jumbo"])
            .ok();
        let [one, two] = ["one", "two"].map(|name| host.endpoint("jumbo", name));
        assert!(
            one.netns
                .sh("ip -o link show dev eth0")
                .contains("mtu 9000")
        );
        let (from, to) = (one.wire(), two.wire());
        let frame = ethernet(two.mac(), one.mac(), EXPERIMENTAL, &[0x77; 9000]);
        from.send(&PLAIN, &frame).unwrap();
        assert_eq!(
            receive(&to, |frame| contains(frame, &[0x77; 64]))
                .unwrap()
                .frame
                .len(),
            ETHERNET + 9000,
            "{driver}"
        );
        let whole = [
            "-n",
            "-c2",
            "-W2",
            "-M",
            "do",
            "-s",
            "8972",
            &two.ipv4().to_string(),
        ];
        one.netns.run(Command::new("ping").args(whole)).ok();
    }
}

#[test]
fn tagged_frames_pass_untouched() {
    for driver in ["tap=offload", "tap=basic"] {
        let host = Host::start();
        host.tapestry(&["network", "create", "-o", driver, "tagged"])
            .ok();
        let [one, two] = ["one", "two"].map(|name| host.endpoint("tagged", name));
        let (from, to) = (one.wire(), two.wire());
        let single = [&[0x60, 0x07, 0x88, 0xb5][..], b"one tag", &[0; 60]].concat();
        let double = [
            &[0x00, 0x64, 0x81, 0x00, 0x00, 0x07, 0x88, 0xb5][..],
            b"two tags",
            &[0; 60],
        ]
        .concat();
        let full = [&[0x00, 0x07, 0x88, 0xb5][..], b"a full one", &[0; 1490]].concat();
        for (ethertype, payload, marker) in [
            (0x8100, single, &b"one tag"[..]),
            (0x88a8, double, b"two tags"),
            (0x8100, full, b"a full one"),
        ] {
            for destination in [two.mac(), Mac::BROADCAST] {
                let frame = ethernet(destination, one.mac(), ethertype, &payload);
                from.send(&PLAIN, &frame).unwrap();
                let received = receive(&to, |frame| contains(frame, marker))
                    .unwrap_or_else(|| panic!("{driver}: {marker:?} lost"));
                assert_eq!(received.frame, frame, "{driver}");
            }
        }
    }
}

#[test]
fn group_and_unknown_destinations_flood_to_every_other_port() {
    let host = Host::start();
    let endpoints = ["one", "two", "three"].map(|name| host.endpoint("bridge", name));
    let wires = [0, 1, 2].map(|which| endpoints[which].wire());
    let destinations = [
        Mac::BROADCAST,
        Mac::new([0x01, 0x00, 0x5e, 1, 2, 3]),
        Mac::new([0x33, 0x33, 0, 0, 0x12, 0x34]),
        Mac::new([2, 9, 9, 9, 9, 9]),
    ];
    for destination in destinations {
        let marker = format!("for {destination}");
        let frame = ethernet(
            destination,
            endpoints[0].mac(),
            EXPERIMENTAL,
            &[marker.as_bytes(), &[0; 40]].concat(),
        );
        wires[0].send(&PLAIN, &frame).unwrap();
        for wire in &wires[1..] {
            assert_eq!(
                receive(wire, |frame| contains(frame, marker.as_bytes()))
                    .expect(&marker)
                    .frame,
                frame
            );
        }
        assert!(
            receive_within(&wires[0], QUIET, |frame| contains(frame, marker.as_bytes())).is_none(),
            "back to its sender"
        );
    }
}

#[test]
fn known_unicast_goes_to_its_port_alone() {
    let host = Host::start();
    let [one, two, three] = ["one", "two", "three"].map(|name| host.endpoint("bridge", name));
    let (to, other) = (two.wire(), three.wire());
    one.wire()
        .send(
            &PLAIN,
            &ethernet(two.mac(), one.mac(), EXPERIMENTAL, b"for two alone"),
        )
        .unwrap();
    assert!(receive(&to, |frame| contains(frame, b"for two alone")).is_some());
    assert!(receive_within(&other, QUIET, |frame| contains(frame, b"for two alone")).is_none());
}

#[test]
fn link_local_control_frames_pass_only_in_transparent_networks() {
    let host = Host::start();
    host.tapestry(&["network", "create", "-o", "transparent=true", "lab"])
        .ok();
    for (network, passes) in [("bridge", false), ("lab", true)] {
        let [one, two] =
            ["one", "two"].map(|name| host.endpoint(network, &format!("{network}-{name}")));
        let (from, to) = (one.wire(), two.wire());
        for last in [0x00, 0x02, 0x0e] {
            let marker = format!("group {last:#x}");
            let group = Mac::new([0x01, 0x80, 0xc2, 0, 0, last]);
            from.send(
                &PLAIN,
                &ethernet(group, one.mac(), EXPERIMENTAL, marker.as_bytes()),
            )
            .unwrap();
            let arrived = receive_within(&to, if passes { QUIET * 4 } else { QUIET }, |frame| {
                contains(frame, marker.as_bytes())
            });
            assert_eq!(arrived.is_some(), passes, "{network}: {marker}");
        }
        assert_eq!(one.drops("link_local_control"), if passes { 0 } else { 3 });
    }
}

#[test]
fn group_and_zero_sources_are_dropped_and_counted() {
    let host = Host::start();
    let [one, two] = ["one", "two"].map(|name| host.endpoint("bridge", name));
    let cases = [
        ("multicast_source", Mac::new([0x01, 0, 0x5e, 0, 0, 1])),
        ("multicast_source", Mac::BROADCAST),
        ("zero_source", Mac::ZERO),
    ];
    for (reason, source) in cases {
        dropped(
            &one,
            &two,
            reason,
            &ethernet(two.mac(), source, EXPERIMENTAL, b"from nobody"),
        );
    }
}

#[test]
fn truncated_vlan_tags_are_dropped_and_counted() {
    let host = Host::start();
    let [one, two] = ["one", "two"].map(|name| host.endpoint("bridge", name));
    for rest in [
        &[][..],
        &[0],
        &[0, 7],
        &[0, 7, 0x88],
        &[0, 7, 0x81, 0],
        &[0, 7, 0x81, 0, 0],
    ] {
        dropped(
            &one,
            &two,
            "truncated_vlan",
            &ethernet(two.mac(), one.mac(), 0x8100, rest),
        );
    }
}

#[test]
fn oversized_frames_are_dropped_and_counted() {
    for driver in ["tap=offload", "tap=basic"] {
        let host = Host::start();
        host.tapestry(&["network", "create", "-o", driver, "mynet"])
            .ok();
        let [one, two] = ["one", "two"].map(|name| host.endpoint("mynet", name));
        one.netns.sh("ip link set eth0 mtu 9000");
        for length in [1505, 3000, 8999] {
            dropped(
                &one,
                &two,
                "oversize",
                &ethernet(two.mac(), one.mac(), EXPERIMENTAL, &vec![0x33; length]),
            );
        }
    }
}

/// The shortest that a link lets out: nothing behind the Ethernet header.
#[test]
fn the_shortest_frames_cross() {
    let host = Host::start();
    let [one, two] = ["one", "two"].map(|name| host.endpoint("bridge", name));
    let to = two.wire();
    let frame = ethernet(two.mac(), one.mac(), EXPERIMENTAL, &[]);
    one.wire().send(&PLAIN, &frame).unwrap();
    assert!(receive(&to, |received| received == frame).is_some());
}

/// The kernel refuses some of these itself; what it lets through must not get further than the switch.
#[test]
fn lying_vnet_headers_harm_nobody() {
    let host = Host::start();
    host.tapestry(&[
        "network",
        "create",
        "--ipv6",
        "--subnet",
        "10.65.0.0/24",
        "--subnet",
        "fd00:65::/64",
        "mynet",
    ])
    .ok();
    let endpoints = ["one", "two"].map(|name| host.endpoint("mynet", name));
    let [one, two] = [0, 1].map(|which| End::of_endpoint(&endpoints[which]));
    let honest = |transport, length| one.segment(&two, Family::V4, transport, vec![0x11; length]);
    let (tcp, _) = honest(Transport::Tcp, 4000).partial();
    let (udp, _) = honest(Transport::Udp, 4000).partial();
    let lies = [
        (&udp, vnet(GSO_TCPV4, 54, 1000, 34, 16)),
        (&tcp, vnet(GSO_TCPV6, 54, 1000, 34, 16)),
        (&tcp, vnet(GSO_TCPV4, 54, 0, 34, 16)),
        (&tcp, vnet(GSO_TCPV4, 54, 1, 34, 16)),
        (&tcp, vnet(GSO_TCPV4, 54, u16::MAX, 34, 16)),
        (&tcp, vnet(GSO_TCPV4, 0, 1000, 34, 16)),
        (&tcp, vnet(GSO_TCPV4, u16::MAX, 1000, 34, 16)),
        (&tcp, vnet(GSO_TCPV4, 54, 1000, 60_000, 16)),
        (&tcp, vnet(GSO_TCPV4, 54, 1000, 34, 60_000)),
        (&tcp, vnet(GSO_TCPV4, 54, 1000, 0, 0)),
        (&tcp, vnet(3, 54, 1000, 34, 16)),
        (&tcp, vnet(0x7f, 54, 1000, 34, 16)),
        (&tcp, vnet(0, 0, 0, 4053, 1)),
        (&udp, vnet(5, 42, 1000, 34, 16)),
    ];
    for (number, (frame, header)) in lies.into_iter().enumerate() {
        let _ = one.wire.send(&header, frame);
        let marker = format!("honest after lie {number}");
        let after = one.segment(
            &two,
            Family::V4,
            Transport::Udp,
            marker.clone().into_bytes(),
        );
        one.wire.send(&PLAIN, &after.frame()).unwrap();
        assert!(
            receive(&two.wire, |frame| contains(frame, marker.as_bytes())).is_some(),
            "lie {number} stopped the switch"
        );
    }
    host.tapestry(&["network", "ls"]).ok();
}

#[test]
fn superframes_cross_whole_between_offload_taps() {
    Path::OffloadToOffload.with(|from, to| {
        for family in FAMILIES {
            for transport in TRANSPORTS {
                let segment = long(from, to, family, transport);
                let (frame, header) = segment.superframe(SIZE);
                from.wire.send(&header, &frame).unwrap();
                let is_it = |received: &[u8]| received.len() > 60_000;
                let received = receive(&to.wire, is_it)
                    .unwrap_or_else(|| panic!("{family:?} {transport:?} did not cross whole"));
                assert_eq!(received.frame, frame);
                assert_eq!(
                    (received.vnet[0] & NEEDS_CSUM, received.vnet[1]),
                    (NEEDS_CSUM, header[1])
                );
                assert_eq!(received.vnet[4..6], SIZE.to_ne_bytes());
                assert!(checksums_hold(&finished(&received), ETHERNET));
            }
        }
    });
}

#[test]
fn superframes_reach_a_basic_tap_as_correct_segments() {
    Path::OffloadToBasic.with(|from, to| {
        for family in FAMILIES {
            for transport in TRANSPORTS {
                let segment = long(from, to, family, transport);
                let (frame, header) = segment.superframe(SIZE);
                from.wire.send(&header, &frame).unwrap();
                assert_eq!(
                    reassembled(to, &segment),
                    segment.payload,
                    "{family:?} {transport:?}"
                );
            }
        }
    });
}

#[test]
fn a_stalled_reader_slows_no_other_port() {
    let host = Host::start();
    let [one, two, stalled] = ["one", "two", "stalled"].map(|name| host.endpoint("bridge", name));
    // A link that is down takes nothing: every frame for it has to be dropped, not waited for.
    stalled.netns.sh("ip link set eth0 down");
    let (from, to) = (one.wire(), two.wire());
    for _ in 0..5000 {
        let _ = from.send(
            &PLAIN,
            &ethernet(stalled.mac(), one.mac(), EXPERIMENTAL, &[0; 1400]),
        );
    }
    // The sender's own queue may still be full of the burst, and then drops this one: it is sent again.
    eventually(Duration::from_secs(2), "a frame for another port", || {
        let probe = ethernet(two.mac(), one.mac(), EXPERIMENTAL, b"past the stalled one");
        from.send(&PLAIN, &probe).ok()?;
        receive_within(&to, Duration::from_millis(100), |frame| {
            contains(frame, b"past the stalled one")
        })
    });
}

#[test]
fn both_engines_carry_frames() {
    for engine in ["epoll", "uring"] {
        let host = Host::without_agent();
        let config = host.dir().join("agent.toml");
        let rest = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, format!("engine = \"{engine}\"\n{rest}")).unwrap();
        host.launch();
        let info: agent_api::Info = host.api("GET", "/v1/info", None).ok();
        assert!(info.engine.ends_with(engine), "{info:?}");
        let [one, two] = ["one", "two"].map(|name| host.endpoint("bridge", name));
        assert!(one.netns.pings(two.ipv4()), "{engine}");
    }
}

/// Sends `frame` and expects that it moves the counter `reason` of its port by one and goes nowhere.
#[track_caller]
fn dropped(from: &Endpoint<'_>, to: &Endpoint<'_>, reason: &str, frame: &[u8]) {
    let before = from.drops(reason);
    let wire = to.wire();
    from.wire().send(&PLAIN, frame).unwrap();
    eventually(Duration::from_secs(2), reason, || {
        (from.drops(reason) == before + 1).then_some(())
    });
    assert!(
        receive_within(&wire, QUIET, |received| received == frame).is_none(),
        "it crossed: {reason}"
    );
}

/// Most of 64 KiB, in bytes that tell where they belong.
fn long(from: &End, to: &End, family: Family, transport: Transport) -> Segment {
    let payload = (0..u32::from(SIZE) * 44)
        .map(|position| u8::try_from(position / 256 % 251).unwrap())
        .collect();
    from.segment(to, family, transport, payload)
}

/// The payloads of correct segments in their order, until nothing more comes.
fn reassembled(to: &End, whole: &Segment) -> Vec<u8> {
    let header = whole.transport_start()
        + if whole.transport == Transport::Tcp {
            20
        } else {
            8
        };
    let port = whole.port.to_be_bytes();
    let at = whole.transport_start() + 2;
    let ours = |frame: &[u8]| {
        frame.len() >= header && frame[..6] == to.mac.octets() && frame[at..at + 2] == port
    };
    let mut payload = Vec::new();
    while payload.len() < whole.payload.len() {
        let Some(received) = receive(&to.wire, ours) else {
            break;
        };
        assert!(
            received.frame.len() <= header + usize::from(SIZE),
            "{} bytes",
            received.frame.len()
        );
        assert_eq!(received.vnet[0] & NEEDS_CSUM, 0);
        assert!(checksums_hold(&received.frame, ETHERNET));
        if whole.transport == Transport::Tcp {
            let sequence = u32::from_be_bytes(received.frame[at + 2..at + 6].try_into().unwrap());
            assert_eq!(sequence as usize, payload.len() + 1, "in order");
        }
        payload.extend(&received.frame[header..]);
    }
    payload
}

/// Bytes of payload in each segment of a superframe.
const SIZE: u16 = 1400;
