//! A rehearsal says what would be, and changes nothing.

use super::*;
use crate::fdb::FdbConfig;
use crate::trace::{Source, Step, Summary, Trace};
use crate::vlan::{PortVlans, Vid, VlanConfig};
use crate::{Block, FdbKind, Learned};

const GROUP: Mac = Mac::new([1, 0, 0x5e, 1, 2, 3]);
const CONTROL: Mac = Mac::new([1, 0x80, 0xc2, 0, 0, 0xe]);

fn trace(bridge: &Bridge, ingress: PortId, bytes: &[u8]) -> Trace {
    bridge.rehearse().trace(at(1000), ingress, bytes)
}

/// Narrow tables and budgets, so that their bounds are met.
fn crowded(transparent: bool, is_aware: bool) -> Bridge {
    let fdb = FdbConfig {
        learned_max: 4,
        ..FdbConfig::default()
    };
    let bridge = Bridge::new(BridgeConfig {
        fdb,
        transparent,
        probe_secret: 7,
        snooping: None,
        vlans: is_aware.then(VlanConfig::default),
    });
    bridge.set_gateway(GATEWAY, &[GATEWAY_V4.into(), GATEWAY_V6.into()]);
    bridge
}

fn any_port() -> impl Strategy<Value = PortConfig> {
    let kinds = [
        PortKind::Tap,
        PortKind::Tap,
        PortKind::Host,
        PortKind::Edge,
        PortKind::Tunnel,
        PortKind::Uplink,
        PortKind::Patch,
    ];
    let kind = proptest::sample::select(kinds.to_vec());
    let switches = proptest::collection::vec(any::<bool>(), 6);
    (kind, 0..3_u8, switches, 0..4_u32, 0..3_usize).prop_map(
        |(kind, group, switches, limit, mtu)| PortConfig {
            group: SplitHorizonGroup::new(group).unwrap(),
            learning: switches[0] || kind != PortKind::Edge,
            learn_limit: limit,
            bum_limit: (limit > 0).then_some(BumLimit {
                frames_s: limit,
                burst_frames: limit,
            }),
            allow_dhcp_server: switches[1],
            allow_dhcp_client: switches[2],
            allow_router: switches[3],
            allow_neighbor_addresses: switches[4],
            intercept_names: switches[5],
            vlans: Some(PortVlans::trunk(
                Vid::new(group.into()),
                ["1", "1-7", "3,5"][mtu].parse().unwrap(),
            )),
            ..PortConfig::new(kind, [40, 60, 1500][mtu])
        },
    )
}

fn station(n: u8) -> Mac {
    match n {
        0 => GATEWAY,
        9 => Mac::BROADCAST,
        10 => GROUP,
        11 => CONTROL,
        _ => mac(n),
    }
}

fn v4(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 17, 0, n % 6)
}

fn v6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, u16::from(n % 6))
}

/// Whatever a station or a forger may send.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let ends = (0..12_u8, 0..9_u8, 0..8_u8, 0..8_u8);
    let udp_ports = proptest::sample::select(vec![53_u16, 67, 68, 80, 546, 547]);
    (ends, 0..14_u8, udp_ports, 0..80_usize).prop_map(|((dst, src, from, to), kind, port, cut)| {
        let (dst, src) = (station(dst), station(src));
        let with_ends = |mut bytes: Vec<u8>| {
            bytes[..6].copy_from_slice(&dst.octets());
            bytes[6..12].copy_from_slice(&src.octets());
            bytes
        };
        let message = |kind: u8| [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &v6(to).octets()].concat();
        match kind {
            0 | 1 => arp(src, kind + 1, v4(from), v4(to)),
            2 => with_ends(arp(src, 1, v4(from), v4(to))),
            3 => solicitation(src, v6(from), v6(to)),
            4 => icmpv6(dst, src, v6(from), v6(to), &message(136)),
            5 => icmpv6(dst, src, v6(from), v6(to), &message(134)),
            6 => with_ends(udp(dst, GATEWAY_V4, port)),
            7 => with_ends(udp(dst, v4(to), port)),
            8 | 9 => {
                let mut report = with_ends(udp(GROUP, Ipv4Addr::new(239, 1, 2, 3), 0));
                report[23] = 2;
                report[34..42].copy_from_slice(&[8 + kind * 7 % 16, 0, 0, 0, 239, 1, 2, 3]);
                report[34] = if kind == 8 { 0x16 } else { 0x17 };
                report
            }
            10 => {
                let mut tagged = plain(dst, src);
                tagged.splice(12..12, [0x81, 0, 0, from]);
                tagged
            }
            11 => ethernet(dst, src, 0x88b5, &[0; 1600]),
            12 => {
                let bytes = udp(dst, v4(to), port);
                bytes[..cut.min(bytes.len())].to_vec()
            }
            _ => plain(dst, src),
        }
    })
}

#[derive(Clone, Debug)]
enum Act {
    Frame { ingress: u32, bytes: Vec<u8> },
    Attach { id: u32, config: PortConfig },
    Detach(u32),
    Register { id: u32, n: u8 },
    Block(u32),
}

fn any_act() -> impl Strategy<Value = Act> {
    let frame = (1..7_u32, any_frame());
    prop_oneof![
        20 => frame.prop_map(|(ingress, bytes)| Act::Frame { ingress, bytes }),
        4 => (1..7_u32, any_port()).prop_map(|(id, config)| Act::Attach { id, config }),
        1 => (1..7_u32).prop_map(Act::Detach),
        2 => (1..7_u32, 1..6_u8).prop_map(|(id, n)| Act::Register { id, n }),
        1 => (1..7_u32).prop_map(Act::Block),
    ]
}

fn carry_out(bridge: &Bridge, act: &Act) {
    match act {
        Act::Frame { .. } => {}
        Act::Attach { id, config } => bridge.add_port(PortId(*id), config.clone()),
        Act::Detach(id) => bridge.remove_port(PortId(*id)),
        Act::Register { id, n } => {
            let addresses = [v4(*n).into(), v6(*n).into()];
            bridge.register_endpoint(PortId(*id), mac(*n), &addresses);
        }
        Act::Block(id) => {
            bridge.block(PortId(*id), Block::Loop(None));
        }
    }
}

proptest! {
    #[test]
    fn a_rehearsal_foretells_the_verdict_and_changes_nothing(
        transparent: bool,
        is_aware: bool,
        acts in proptest::collection::vec(any_act(), 1..80),
    ) {
        let bridge = crowded(transparent, is_aware);
        for (id, kind) in [(1, PortKind::Host), (2, PortKind::Edge), (3, PortKind::Tap), (4, PortKind::Tap)] {
            bridge.add_port(PortId(id), PortConfig::new(kind, 1500));
        }
        for (now, act) in acts.iter().enumerate() {
            carry_out(&bridge, act);
            let Act::Frame { ingress, bytes } = act else {
                continue;
            };
            let (now, ingress) = (at(1000 + 300 * u64::try_from(now).unwrap()), PortId(*ingress));
            let before = format!("{bridge:?}");
            let rehearsal = bridge.rehearse();
            let trace = rehearsal.trace(now, ingress, bytes);
            prop_assert_eq!(&format!("{bridge:?}"), &before);

            let verdict = match Frame::parse(bytes) {
                Ok(frame) => bridge.forward(now, ingress, &frame),
                Err(reason) => Verdict::Drop(reason),
            };
            prop_assert_eq!(trace.verdict, verdict, "{:?}", trace.steps);
            if let Verdict::Drop(reason) = verdict {
                prop_assert_eq!(trace.dropped(), Some(reason), "{:?}", trace.steps);
            }
            let (_, others) = trace.steps.split_last().unwrap();
            prop_assert!(others.iter().all(|step| step.drop_reason().is_none()), "{:?}", trace.steps);
            prop_assert_eq!(rehearsal.bridge().fdb().snapshot(now), bridge.fdb().snapshot(now));
        }
    }
}

#[test]
fn each_step_says_what_it_found() {
    let bridge = network();
    bridge.register_endpoint(WEB, mac(3), &[[172, 17, 0, 3].into()]);
    bridge.register_endpoint(CLIENT, mac(4), &[[172, 17, 0, 4].into()]);
    let bytes = udp(mac(3), Ipv4Addr::new(172, 17, 0, 3), 80);
    let trace = trace(&bridge, CLIENT, &bytes);
    let own = crate::Claim {
        address: [172, 17, 0, 4].into(),
        owner: Some(Neighbor {
            mac: mac(4),
            port: Some(CLIENT),
        }),
    };
    assert_eq!(
        trace.steps,
        [
            Step::Guard {
                refused: None,
                claims: vec![own],
            },
            Step::Source {
                mac: mac(4),
                found: Source::Noted {
                    learned: Learned::Known,
                    kind: FdbKind::Sticky,
                },
            },
            Step::Destination {
                mac: mac(3),
                entry: Some((WEB, FdbKind::Sticky)),
                attached: true,
            },
        ]
    );
    assert_eq!(
        (trace.egresses.as_slice(), trace.dropped()),
        (&[WEB][..], None)
    );
    let summary = Summary::of(&Frame::parse(&bytes).unwrap());
    assert_eq!(summary.ports, Some((4000, 80)));
}

#[test]
fn a_second_frame_finds_what_the_first_one_left() {
    let bridge = network();
    let rehearsal = bridge.rehearse();
    let unknown = rehearsal.trace(at(1000), WEB, &plain(mac(4), mac(3)));
    assert_eq!(unknown.egresses, [HOST, EDGE, CLIENT]);
    rehearsal.trace(at(1000), CLIENT, &plain(mac(3), mac(4)));
    let known = rehearsal.trace(at(1000), WEB, &plain(mac(4), mac(3)));
    assert_eq!(known.verdict, Verdict::Unicast(CLIENT));
    assert!(bridge.fdb().snapshot(at(0)).is_empty());
}

#[test]
fn a_flood_that_nobody_takes_is_dropped() {
    let bridge = Bridge::new(BridgeConfig::default());
    bridge.add_port(WEB, tap());
    let alone = trace(&bridge, WEB, &plain(Mac::BROADCAST, mac(3)));
    assert_eq!(alone.dropped(), Some(DropReason::NoEgress));
    bridge.add_port(CLIENT, PortConfig::new(PortKind::Tap, 40));
    let too_long = trace(&bridge, WEB, &plain(Mac::BROADCAST, mac(3)));
    assert_eq!(too_long.verdict, Verdict::Flood);
    assert_eq!(too_long.dropped(), Some(DropReason::Oversize));
}

#[test]
fn nobody_listens_to_the_data_plane() {
    assert_eq!(size_of::<Silent>(), 0);
    const { assert!(!<Silent as Tracer>::LISTENS) };
}
