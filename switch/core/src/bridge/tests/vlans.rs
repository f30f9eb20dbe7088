//! VLANs: the kernel's own tests of its bridge, retold where both have the same, and what a gateway adds.

use std::time::Duration;

use super::*;
use crate::vlan::{PortVlans, Shape, Tag, TagProtocol, Vid, VidSet, VlanConfig};
use crate::{FdbKind, Station};

const TRUNK: PortId = PortId(5);
const TUNNEL: PortId = PortId(6);
/// Of a VLAN and a priority.
const NONE: Option<u16> = None;

fn vid(number: u16) -> Vid {
    Vid::new(number).unwrap()
}

fn access(number: u16) -> PortConfig {
    in_vlans(PortVlans::access(vid(number)))
}

fn trunk(native: Option<u16>, tagged: &str) -> PortConfig {
    in_vlans(PortVlans::trunk(
        native.and_then(Vid::new),
        tagged.parse().unwrap(),
    ))
}

fn in_vlans(vlans: PortVlans) -> PortConfig {
    PortConfig {
        vlans: Some(vlans),
        ..tap()
    }
}

fn aware() -> Bridge {
    let bridge = Bridge::new(BridgeConfig {
        vlans: Some(VlanConfig::default()),
        ..BridgeConfig::default()
    });
    bridge.set_gateway(GATEWAY, &[GATEWAY_V4.into(), GATEWAY_V6.into()]);
    bridge.add_port(HOST, PortConfig::new(PortKind::Host, 1500));
    bridge.add_port(EDGE, PortConfig::new(PortKind::Edge, 1500));
    bridge
}

/// The kernel's topology: two hosts at a bridge.
fn two(one: PortConfig, other: PortConfig) -> Bridge {
    let bridge = Bridge::new(BridgeConfig {
        vlans: Some(VlanConfig::default()),
        ..BridgeConfig::default()
    });
    bridge.add_port(WEB, one);
    bridge.add_port(CLIENT, other);
    bridge
}

fn tagged(bytes: &[u8], kind: u16, tci: impl Into<Option<u16>>) -> Vec<u8> {
    let Some(tci) = tci.into() else {
        return bytes.to_vec();
    };
    let (addresses, rest) = bytes.split_at(12);
    [addresses, &kind.to_be_bytes(), &tci.to_be_bytes(), rest].concat()
}

fn in_vlan(bytes: &[u8], tci: impl Into<Option<u16>>) -> Vec<u8> {
    tagged(bytes, ethertype::VLAN, tci)
}

/// Where a frame goes, and in which form to each.
fn reached(
    bridge: &Bridge,
    ingress: PortId,
    bytes: &[u8],
) -> Result<Vec<(PortId, Shape)>, DropReason> {
    let passed = bridge.pass(at(1000), ingress, &Frame::parse(bytes).unwrap());
    let tag = || passed.tag.unwrap();
    let list = bridge.flood_list(ingress);
    let egresses: Vec<PortId> = match passed.verdict {
        Verdict::Unicast(egress) => vec![egress],
        Verdict::Flood => list.to_vec(),
        Verdict::Reply => return Ok(vec![(ingress, bridge.shape(ingress, tag()).unwrap())]),
        Verdict::Probe | Verdict::Taken | Verdict::Group(_) => Vec::new(),
        Verdict::Drop(reason) => return Err(reason),
    };
    let others = egresses.into_iter().filter(|egress| *egress != ingress);
    Ok(others
        .filter_map(|egress| Some((egress, bridge.shape(egress, tag())?)))
        .collect())
}

fn port_of(bridge: &Bridge, number: u16, who: Mac) -> Option<PortId> {
    bridge.fdb().lookup(Station::new(Vid::new(number), who))
}

// bridge_vlan_aware.sh: ping, learning, flooding.
#[test]
fn hosts_in_one_vlan_find_each_other_and_learn_within_it() {
    let bridge = two(access(1), access(1));
    let there = plain(mac(4), mac(3));
    assert_eq!(
        reached(&bridge, WEB, &there),
        Ok(vec![(CLIENT, Shape::Untagged)])
    );
    assert_eq!(port_of(&bridge, 1, mac(3)), Some(WEB));
    assert_eq!(port_of(&bridge, 2, mac(3)), None);
    assert_eq!(
        bridge.fdb().lookup(mac(3)),
        None,
        "stations are of VLANs here"
    );
    let back = plain(mac(3), mac(4));
    assert_eq!(forward(&bridge, CLIENT, &back), Verdict::Unicast(WEB));
    // Of the VLAN that is native, a tag says nothing new.
    let tag = in_vlan(&back, 1);
    assert_eq!(
        reached(&bridge, CLIENT, &tag),
        Ok(vec![(WEB, Shape::Untagged)])
    );
    let [web, client] = [mac(3), mac(4)].map(|who| Station::new(Some(Vid::ONE), who));
    let listed = bridge.fdb().snapshot(at(1000));
    let listed: Vec<_> = listed
        .iter()
        .map(|entry| Station::new(entry.vlan, entry.mac))
        .collect();
    assert_eq!(listed, [web, client]);
}

// bridge_vlan_aware.sh: vlan_deletion, and where the port is put back.
#[test]
fn a_port_that_leaves_a_vlan_hears_and_says_nothing_there() {
    let bridge = two(access(1), access(1));
    let (there, back) = (plain(mac(4), mac(3)), plain(mac(3), mac(4)));
    reached(&bridge, WEB, &there).unwrap();
    bridge.add_port(WEB, trunk(None, "2"));
    assert_eq!(reached(&bridge, WEB, &there), Err(DropReason::VlanUntagged));
    assert_eq!(reached(&bridge, CLIENT, &back), Err(DropReason::VlanEgress));
    assert_eq!(reached(&bridge, CLIENT, &plain(mac(9), mac(4))), Ok(vec![]));
    bridge.add_port(WEB, access(1));
    assert_eq!(
        reached(&bridge, WEB, &there),
        Ok(vec![(CLIENT, Shape::Untagged)])
    );
}

// bridge_vlan_aware.sh: other_tpid.
#[test]
fn a_tag_of_the_other_protocol_is_payload_in_the_native_vlan() {
    let bridge = two(access(1), access(1));
    let frame = tagged(
        &in_vlan(&plain(mac(4), mac(3)), 5),
        ethertype::SERVICE_VLAN,
        3,
    );
    assert_eq!(
        reached(&bridge, WEB, &frame),
        Ok(vec![(CLIENT, Shape::Untagged)])
    );
    let vids = [1, 3, 5].map(|number| port_of(&bridge, number, mac(3)));
    assert_eq!(vids, [Some(WEB), None, None]);
}

// bridge_vlan_aware.sh: 8021p, pvid_change, drop_untagged and 8021p_drop.
#[test]
fn priority_tags_go_where_untagged_frames_go() {
    let bridge = two(access(1), trunk(Some(1), "2"));
    let frame = in_vlan(&plain(mac(9), mac(3)), 0xe000);
    assert_eq!(
        reached(&bridge, WEB, &frame),
        Ok(vec![(CLIENT, Shape::Untagged)])
    );
    assert_eq!(port_of(&bridge, 1, mac(3)), Some(WEB));
    bridge.add_port(WEB, access(2));
    assert_eq!(
        reached(&bridge, WEB, &frame),
        Ok(vec![(CLIENT, Shape::Tagged)])
    );
    assert_eq!(port_of(&bridge, 2, mac(3)), Some(WEB));
    bridge.add_port(WEB, trunk(None, "1"));
    for dropped in [plain(mac(9), mac(3)), frame] {
        assert_eq!(
            reached(&bridge, WEB, &dropped),
            Err(DropReason::VlanUntagged)
        );
    }
    let of_one = in_vlan(&plain(mac(9), mac(3)), 1);
    assert_eq!(
        reached(&bridge, WEB, &of_one),
        Ok(vec![(CLIENT, Shape::Untagged)])
    );
}

/// What no_forwarding.sh sends: to nobody known, to a group and to everybody, of no IP, and IPv4 and IPv6 to one and to many.
fn seven_kinds() -> [Vec<u8>; 7] {
    let group = Mac::new([1, 0, 0x5e, 1, 2, 3]);
    let group6 = Mac::new([0x33, 0x33, 0, 1, 2, 3]);
    let source: Ipv6Addr = "2001:db8::3".parse().unwrap();
    let v6 = |dst, to: &str| {
        icmpv6(
            dst,
            mac(4),
            source,
            to.parse().unwrap(),
            &[128, 0, 0, 0, 0, 0, 0, 0],
        )
    };
    [
        plain(mac(5), mac(4)),
        plain(Mac::new([1, 0x80, 0xc2, 0, 1, 0]), mac(4)),
        plain(Mac::BROADCAST, mac(4)),
        udp(mac(5), Ipv4Addr::new(192, 0, 2, 2), 9),
        udp(group, Ipv4Addr::new(225, 1, 2, 3), 9),
        v6(mac(5), "2001:db8::5"),
        v6(group6, "ff0e::1:2:3"),
    ]
}

/// Without a tag, with one for priority alone, those of both ports, their neighbors, and the ends of the range.
const FIFTEEN_VIDS: [Option<u16>; 15] = [
    NONE,
    Some(0),
    Some(1),
    Some(2),
    Some(3),
    Some(9),
    Some(10),
    Some(11),
    Some(12),
    Some(100),
    Some(1000),
    Some(2048),
    Some(4093),
    Some(4094),
    Some(4095),
];

// no_forwarding.sh: one_bridge_two_pvids, and two ports whose VLANs have nothing in common.
#[test]
fn nothing_passes_between_ports_without_a_vlan_in_common() {
    let pairs = [
        (access(1), access(2)),
        (access(10), access(11)),
        (trunk(Some(1), "10-12"), trunk(Some(2), "100,1000-2048")),
        (trunk(None, "1-2047"), trunk(None, "2048-4094")),
    ];
    for (one, other) in pairs {
        let bridge = two(one, other);
        // Who is asked for is known, in every VLAN that it can be.
        for tci in FIFTEEN_VIDS {
            let _ = reached(&bridge, CLIENT, &in_vlan(&plain(mac(9), mac(5)), tci));
        }
        for frame in seven_kinds() {
            for tci in FIFTEEN_VIDS {
                let passed = reached(&bridge, WEB, &in_vlan(&frame, tci));
                assert!(
                    matches!(
                        passed,
                        Err(DropReason::VlanForeign | DropReason::VlanUntagged)
                    ) || passed == Ok(vec![]),
                    "{tci:?}: {passed:?}"
                );
            }
        }
    }
}

// The same frames where both ports belong to all VLANs, so that it is the VLANs that kept them apart.
#[test]
fn everything_passes_between_two_trunks_of_all_vlans() {
    let bridge = two(trunk(Some(1), "all"), trunk(Some(2), "all"));
    for frame in seven_kinds() {
        for tci in FIFTEEN_VIDS {
            let passed = reached(&bridge, WEB, &in_vlan(&frame, tci));
            let expected = match tci {
                Some(4095) => Err(DropReason::VlanForeign),
                Some(2) => Ok(vec![(CLIENT, Shape::Untagged)]),
                _ => Ok(vec![(CLIENT, Shape::Tagged)]),
            };
            assert_eq!(passed, expected, "{tci:?}");
        }
    }
}

// bridge_vlan_unaware.sh: the same bridge with filtering off forwards whatever tag there is, and knows one station by its MAC.
#[test]
fn a_bridge_that_is_not_aware_takes_tags_as_payload() {
    let bridge = Bridge::new(BridgeConfig::default());
    bridge.add_port(WEB, access(1));
    bridge.add_port(CLIENT, access(2));
    for frame in seven_kinds() {
        for tci in FIFTEEN_VIDS {
            let frame = in_vlan(&frame, tci);
            let passed = bridge.pass(at(1000), WEB, &Frame::parse(&frame).unwrap());
            assert_eq!(
                (passed.verdict, passed.tag),
                (Verdict::Flood, None),
                "{tci:?}"
            );
        }
    }
    assert_eq!(bridge.fdb().lookup(mac(4)), Some(WEB));
    let back = in_vlan(&plain(mac(4), mac(3)), 77);
    assert_eq!(forward(&bridge, CLIENT, &back), Verdict::Unicast(WEB));
}

#[test]
fn one_mac_may_live_in_several_vlans() {
    let bridge = two(access(10), access(20));
    bridge.add_port(TRUNK, trunk(None, "10,20"));
    forward(&bridge, WEB, &plain(mac(9), mac(3)));
    forward(&bridge, CLIENT, &plain(mac(9), mac(3)));
    assert_eq!(port_of(&bridge, 10, mac(3)), Some(WEB));
    assert_eq!(port_of(&bridge, 20, mac(3)), Some(CLIENT));
    assert_eq!(bridge.take_suspicion(), None, "it did not move");
    let to = |tci| reached(&bridge, TRUNK, &in_vlan(&plain(mac(3), mac(7)), tci));
    assert_eq!(to(10), Ok(vec![(WEB, Shape::Untagged)]));
    assert_eq!(to(20), Ok(vec![(CLIENT, Shape::Untagged)]));
    assert_eq!(to(30), Err(DropReason::VlanForeign));
}

#[test]
fn an_endpoints_mac_is_its_own_in_all_of_its_vlans_and_nowhere_else() {
    let bridge = aware();
    bridge.add_port(TRUNK, trunk(Some(10), "20,30"));
    bridge.add_port(WEB, access(20));
    bridge.add_port(CLIENT, access(40));
    bridge.register_endpoint(TRUNK, mac(5), &[Ipv4Addr::new(172, 17, 0, 5).into()]);
    let stolen = plain(mac(9), mac(5));
    assert_eq!(reached(&bridge, WEB, &stolen), Err(DropReason::StickyMac));
    assert_eq!(
        reached(&bridge, CLIENT, &stolen),
        Ok(vec![]),
        "another VLAN"
    );
    // Its VLANs change while it is there.
    bridge.add_port(TRUNK, trunk(Some(10), "30"));
    assert_eq!(reached(&bridge, WEB, &stolen), Ok(vec![]));
    let kinds = [10, 30].map(|number| bridge.fdb().find(Station::new(Vid::new(number), mac(5))));
    assert_eq!(kinds, [Some((TRUNK, FdbKind::Sticky)); 2]);
    bridge.unregister_endpoint(mac(5));
    assert_eq!(
        [10, 20, 30].map(|number| port_of(&bridge, number, mac(5))),
        [None, Some(WEB), None]
    );
    // So do those of one on another host.
    bridge.add_port(TUNNEL, PortConfig::new(PortKind::Tunnel, 1500));
    let there = PortVlans::access(vid(20));
    bridge.register_remote(TUNNEL, mac(6), &[], Some(there));
    assert_eq!(port_of(&bridge, 20, mac(6)), Some(TUNNEL));
    bridge.register_remote(TUNNEL, mac(6), &[], None);
    assert_eq!(
        [1, 20].map(|number| port_of(&bridge, number, mac(6))),
        [Some(TUNNEL), None]
    );
}

#[test]
fn the_gateway_is_protected_and_answers_in_its_own_vlan() {
    let bridge = aware();
    bridge.add_port(WEB, trunk(None, "1,10"));
    bridge.add_port(CLIENT, access(10));
    // In VLAN 1, behind a tag: its MAC, its addresses, and who has it.
    assert_eq!(
        reached(&bridge, WEB, &in_vlan(&plain(mac(9), GATEWAY), 1)),
        Err(DropReason::GatewayMac)
    );
    let forged = arp(mac(3), 1, GATEWAY_V4, Ipv4Addr::new(172, 17, 0, 9));
    assert_eq!(
        reached(&bridge, WEB, &in_vlan(&forged, 1)),
        Err(DropReason::GatewayIp)
    );
    let asked = arp(mac(3), 1, Ipv4Addr::new(172, 17, 0, 3), GATEWAY_V4);
    assert_eq!(
        reached(&bridge, WEB, &in_vlan(&asked, 0x6001)),
        Ok(vec![(WEB, Shape::Tagged)])
    );
    let for_host = in_vlan(&udp(GATEWAY, Ipv4Addr::new(1, 1, 1, 1), 9), 1);
    assert_eq!(
        reached(&bridge, WEB, &for_host),
        Ok(vec![(HOST, Shape::Untagged)])
    );
    // In VLAN 10 it is nobody, whose name anybody may bear.
    for frame in [plain(mac(9), GATEWAY), forged, asked] {
        assert_eq!(
            reached(&bridge, WEB, &in_vlan(&frame, 10)),
            Ok(vec![(CLIENT, Shape::Untagged)])
        );
    }
    let dhcp = udp(Mac::BROADCAST, Ipv4Addr::BROADCAST, 67);
    assert_eq!(
        reached(&bridge, WEB, &in_vlan(&dhcp, 10)),
        Ok(vec![(CLIENT, Shape::Untagged)])
    );
    assert_eq!(
        reached(&bridge, WEB, &in_vlan(&dhcp, 1)),
        Ok(vec![(EDGE, Shape::Untagged)])
    );
    assert!(
        !bridge
            .fdb()
            .is_sticky(Station::new(Some(Vid::ONE), GATEWAY))
    );
    assert_eq!(port_of(&bridge, 1, GATEWAY), None);
}

#[test]
fn an_answer_bears_the_tag_of_the_question() {
    let bridge = aware();
    bridge.add_port(WEB, trunk(Some(10), "1"));
    let asked = arp(mac(3), 1, Ipv4Addr::new(172, 17, 0, 3), GATEWAY_V4);
    let answer = |frame: &[u8]| {
        let mut room = [0; Bridge::REPLY_LEN_MAX];
        let len = bridge.reply(WEB, &Frame::parse(frame).unwrap(), &mut room);
        room[..len].to_vec()
    };
    let told = answer(&in_vlan(&asked, 0x6001));
    let told = Frame::parse(&told).unwrap();
    assert_eq!((told.vids(), told.ethertype()), (&[1][..], ethertype::ARP));
    assert_eq!(told.bytes()[14..16], [0x60, 1], "and its priority");
    assert_eq!((told.src(), told.dst()), (GATEWAY, mac(3)));
    assert_eq!(told.packet()[14..18], GATEWAY_V4.octets());
    assert!(answer(&asked).is_empty(), "the gateway is not in VLAN 10");
    bridge.add_port(WEB, access(1));
    let told = answer(&in_vlan(&asked, 0x6000));
    assert!(Frame::parse(&told).unwrap().vids().is_empty());
}

#[test]
fn an_address_lives_in_the_vlan_of_its_endpoint() {
    let bridge = aware();
    let address = Ipv4Addr::new(172, 17, 0, 5);
    bridge.add_port(TRUNK, trunk(Some(10), "20"));
    bridge.register_endpoint(TRUNK, mac(5), &[address.into()]);
    bridge.add_port(WEB, trunk(Some(10), "20"));
    let borne = arp(mac(3), 1, address, Ipv4Addr::new(172, 17, 0, 9));
    assert_eq!(reached(&bridge, WEB, &borne), Err(DropReason::NeighborIp));
    assert_eq!(
        reached(&bridge, WEB, &in_vlan(&borne, 20)),
        Ok(vec![(TRUNK, Shape::Tagged)])
    );
    let asked = arp(mac(3), 1, Ipv4Addr::new(172, 17, 0, 3), address);
    assert_eq!(forward(&bridge, WEB, &asked), Verdict::Reply);
    assert_eq!(forward(&bridge, WEB, &in_vlan(&asked, 20)), Verdict::Flood);
    // One that reads tags alone has it nowhere.
    bridge.add_port(TRUNK, trunk(None, "10,20"));
    assert_eq!(forward(&bridge, WEB, &asked), Verdict::Flood);
    assert_eq!(forward(&bridge, WEB, &borne), Verdict::Flood);
}

#[test]
fn tunnels_carry_all_vlans_and_the_default_one_without_tags() {
    let bridge = aware();
    bridge.add_port(TUNNEL, PortConfig::new(PortKind::Tunnel, 1500));
    bridge.add_port(WEB, access(10));
    bridge.add_port(CLIENT, access(1));
    let frame = plain(mac(9), mac(3));
    assert_eq!(
        reached(&bridge, WEB, &frame),
        Ok(vec![(TUNNEL, Shape::Tagged)])
    );
    let at_home = [HOST, EDGE, TUNNEL].map(|port| (port, Shape::Untagged));
    assert_eq!(
        reached(&bridge, CLIENT, &plain(mac(9), mac(4))),
        Ok(at_home.to_vec())
    );
    // A tag beneath that of the native VLAN would be taken for the frame's own beyond the tunnel.
    let hidden = in_vlan(&in_vlan(&plain(mac(9), mac(4)), 10), 1);
    let passed = reached(&bridge, CLIENT, &hidden).unwrap();
    assert!(passed.contains(&(TUNNEL, Shape::Tagged)), "{passed:?}");
    assert!(passed.contains(&(HOST, Shape::Untagged)), "{passed:?}");
}

#[test]
fn a_flood_costs_the_copies_of_its_vlan() {
    let bridge = aware();
    let limited = |config: PortConfig| PortConfig {
        bum_limit: Some(BumLimit {
            frames_s: 10,
            burst_frames: 10,
        }),
        ..config
    };
    bridge.add_port(WEB, limited(access(10)));
    bridge.add_port(CLIENT, limited(access(20)));
    for port in 100..300 {
        bridge.add_port(PortId(port), access(20));
    }
    let passed = |port| {
        let frame = plain(Mac::BROADCAST, mac(3));
        (0..20)
            .filter(|_| forward(&bridge, port, &frame) == Verdict::Flood)
            .count()
    };
    let (alone, crowd) = (passed(WEB), passed(CLIENT));
    assert_eq!(alone, 10, "nobody else is in VLAN 10");
    assert!(crowd < alone, "{crowd}");
}

#[test]
fn what_was_learned_in_vlans_is_recalled_in_them() {
    let bridge = two(access(10), access(20));
    let learned = [10, 20].map(|number| (Station::new(Vid::new(number), mac(7)), Duration::ZERO));
    bridge.recall(at(1000), WEB, &learned);
    assert_eq!(
        [10, 20].map(|number| port_of(&bridge, number, mac(7))),
        [Some(WEB); 2]
    );
}

#[test]
fn a_trace_names_the_vlan() {
    let bridge = aware();
    bridge.add_port(WEB, access(10));
    bridge.add_port(CLIENT, access(10));
    bridge.add_port(TRUNK, access(20));
    let trace = |ingress, bytes: &[u8]| bridge.rehearse().trace(at(1000), ingress, bytes);
    let passed = trace(WEB, &plain(mac(9), mac(3)));
    assert_eq!(passed.egresses, [CLIENT]);
    let named = passed.steps.iter().find_map(|step| match step {
        Step::Vlan { admitted, .. } => admitted.ok().map(Tag::vid),
        _ => None,
    });
    assert_eq!(named, Vid::new(10));
    let refused = trace(WEB, &in_vlan(&plain(mac(9), mac(3)), 20));
    assert_eq!(refused.dropped(), Some(DropReason::VlanForeign));
    bridge.register_remote(TRUNK, mac(8), &[], Some(PortVlans::access(vid(10))));
    let outside = trace(WEB, &plain(mac(8), mac(3)));
    assert_eq!(outside.dropped(), Some(DropReason::VlanEgress));
}

#[test]
fn customers_tags_pass_beneath_an_outer_one() {
    let bridge = Bridge::new(BridgeConfig {
        vlans: Some(VlanConfig {
            protocol: TagProtocol::Service,
            default: vid(1),
        }),
        ..BridgeConfig::default()
    });
    bridge.add_port(WEB, access(100));
    bridge.add_port(TRUNK, in_vlans(PortVlans::trunk(None, VidSet::all())));
    let inner = in_vlan(&plain(mac(9), mac(3)), 7);
    assert_eq!(
        reached(&bridge, WEB, &inner),
        Ok(vec![(TRUNK, Shape::Tagged)])
    );
    assert_eq!(port_of(&bridge, 100, mac(3)), Some(WEB));
    let back = tagged(
        &in_vlan(&plain(mac(3), mac(9)), 7),
        ethertype::SERVICE_VLAN,
        100,
    );
    assert_eq!(
        reached(&bridge, TRUNK, &back),
        Ok(vec![(WEB, Shape::Untagged)])
    );
    assert_eq!(
        reached(&bridge, TRUNK, &inner),
        Err(DropReason::VlanUntagged)
    );
}
