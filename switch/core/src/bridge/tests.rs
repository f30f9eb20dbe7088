mod answers;
mod guard;
mod guards;
mod guards_in_vlans;
mod identity;
mod listeners;
mod loops;
mod rehearsals;
mod storms;
mod vlans;

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::testing::{self, Header, Transport};
use crate::{BumLimit, PortKind, SplitHorizonGroup, ethertype};

const GATEWAY: Mac = Mac::new([2, 0x42, 172, 17, 0, 1]);
const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
const HOST: PortId = PortId(1);
const EDGE: PortId = PortId(2);
const WEB: PortId = PortId(3);
const CLIENT: PortId = PortId(4);

fn mac(n: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, n])
}

fn at(ms: u64) -> Time {
    Time::from_millis(ms)
}

fn tap() -> PortConfig {
    PortConfig::new(PortKind::Tap, 1500)
}

/// A network with gateway, host port, edge and two sandboxes.
fn network() -> Bridge {
    let bridge = Bridge::new(BridgeConfig::default());
    bridge.set_gateway(GATEWAY, &[GATEWAY_V4.into(), GATEWAY_V6.into()]);
    bridge.add_port(HOST, PortConfig::new(PortKind::Host, 1500));
    bridge.add_port(EDGE, PortConfig::new(PortKind::Edge, 1500));
    bridge.add_port(WEB, tap());
    bridge.add_port(CLIENT, tap());
    bridge
}

fn ethernet(dst: Mac, src: Mac, ethertype: u16, packet: &[u8]) -> Vec<u8> {
    [
        &dst.octets()[..],
        &src.octets(),
        &ethertype.to_be_bytes(),
        packet,
    ]
    .concat()
}

fn plain(dst: Mac, src: Mac) -> Vec<u8> {
    ethernet(dst, src, 0x88b5, &[0; 46])
}

fn forward(bridge: &Bridge, ingress: PortId, bytes: &[u8]) -> Verdict {
    bridge.forward(at(1000), ingress, &Frame::parse(bytes).unwrap())
}

fn arp(src: Mac, operation: u8, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let packet = [
        &[0, 1, 8, 0, 6, 4, 0, operation][..],
        &src.octets(),
        &sender.octets(),
        &[0; 6],
        &target.octets(),
    ]
    .concat();
    ethernet(Mac::BROADCAST, src, ethertype::ARP, &packet)
}

fn udp(dst: Mac, destination: Ipv4Addr, udp_port: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    etherparse::PacketBuilder::ethernet2(mac(4).octets(), dst.octets())
        .ipv4([172, 17, 0, 4], destination.octets(), 64)
        .udp(4000, udp_port)
        .write(&mut bytes, b"payload")
        .unwrap();
    bytes[..6].copy_from_slice(&dst.octets());
    bytes[6..12].copy_from_slice(&mac(4).octets());
    bytes
}

fn icmpv6(dst: Mac, src: Mac, source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).unwrap();
    let packet = [
        &[0x60, 0, 0, 0][..],
        &len.to_be_bytes(),
        &[58, 255],
        &source.octets(),
        &destination.octets(),
        message,
    ]
    .concat();
    ethernet(dst, src, ethertype::IPV6, &packet)
}

fn solicitation(src: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let octets = target.octets();
    let dst = Mac::new([0x33, 0x33, 0xff, octets[13], octets[14], octets[15]]);
    let message = [
        &[135, 0, 0, 0, 0, 0, 0, 0][..],
        &octets,
        &[1, 1],
        &src.octets(),
    ]
    .concat();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0);
    icmpv6(dst, src, source, group, &message)
}

#[test]
fn unknown_unicast_floods_until_its_station_is_heard() {
    let bridge = network();
    assert_eq!(
        forward(&bridge, WEB, &plain(mac(4), mac(3))),
        Verdict::Flood
    );
    assert_eq!(
        forward(&bridge, CLIENT, &plain(mac(3), mac(4))),
        Verdict::Unicast(WEB)
    );
    assert_eq!(
        forward(&bridge, WEB, &plain(mac(4), mac(3))),
        Verdict::Unicast(CLIENT)
    );
    bridge.age(at(400_000));
    assert_eq!(
        forward(&bridge, WEB, &plain(mac(4), mac(3))),
        Verdict::Flood
    );
}

#[test]
fn broadcast_and_multicast_flood_to_everybody() {
    let bridge = network();
    assert_eq!(
        forward(&bridge, WEB, &plain(Mac::BROADCAST, mac(3))),
        Verdict::Flood
    );
    assert_eq!(
        forward(
            &bridge,
            WEB,
            &plain(Mac::new([1, 0, 0x5e, 0, 0, 9]), mac(3))
        ),
        Verdict::Flood
    );
    assert_eq!(*bridge.flood_list(WEB), [HOST, EDGE, WEB, CLIENT]);
}

#[test]
fn a_frame_for_its_own_port_is_dropped() {
    let bridge = network();
    forward(&bridge, WEB, &plain(mac(9), mac(3)));
    let verdict = forward(&bridge, WEB, &plain(mac(3), mac(5)));
    assert_eq!(verdict, Verdict::Drop(DropReason::Hairpin));
}

#[test]
fn a_port_of_another_network_is_unknown() {
    let verdict = forward(&network(), PortId(99), &plain(mac(3), mac(5)));
    assert_eq!(verdict, Verdict::Drop(DropReason::UnknownIngress));
    assert!(network().flood_list(PortId(99)).is_empty());
}

#[test]
fn tunnels_never_reach_tunnels() {
    let bridge = network();
    let (one, two) = (PortId(10), PortId(11));
    bridge.add_port(one, PortConfig::new(PortKind::Tunnel, 1500));
    bridge.add_port(two, PortConfig::new(PortKind::Tunnel, 1500));
    forward(&bridge, two, &plain(Mac::BROADCAST, mac(8)));
    let verdict = forward(&bridge, one, &plain(mac(8), mac(7)));
    assert_eq!(verdict, Verdict::Drop(DropReason::SplitHorizon));
    assert_eq!(*bridge.flood_list(one), [HOST, EDGE, WEB, CLIENT]);
    assert_eq!(
        forward(&bridge, WEB, &plain(mac(8), mac(3))),
        Verdict::Unicast(two)
    );
}

#[test]
fn isolated_sandboxes_reach_the_gateway_only() {
    let bridge = network();
    for port in [WEB, CLIENT] {
        bridge.add_port(
            port,
            PortConfig {
                group: SplitHorizonGroup::ISOLATED,
                ..tap()
            },
        );
    }
    assert_eq!(*bridge.flood_list(WEB), [HOST, EDGE]);
    assert_eq!(
        forward(&bridge, WEB, &plain(GATEWAY, mac(3))),
        Verdict::Unicast(HOST)
    );
    let verdict = forward(&bridge, CLIENT, &plain(mac(3), mac(4)));
    assert_eq!(verdict, Verdict::Drop(DropReason::SplitHorizon));
}

#[test]
fn link_local_control_passes_only_transparent_networks() {
    let bytes = plain(Mac::new([1, 0x80, 0xc2, 0, 0, 2]), mac(3));
    assert_eq!(
        forward(&network(), WEB, &bytes),
        Verdict::Drop(DropReason::LinkLocalControl)
    );
    let bridge = Bridge::new(BridgeConfig {
        transparent: true,
        ..BridgeConfig::default()
    });
    bridge.add_port(WEB, tap());
    assert_eq!(forward(&bridge, WEB, &bytes), Verdict::Flood);
}

#[test]
fn frames_over_the_mtu_are_dropped_and_superframes_are_judged_by_their_segments() {
    let bridge = network();
    let bytes = ethernet(mac(4), mac(3), 0x88b5, &[0; 1501]);
    assert_eq!(
        forward(&bridge, WEB, &bytes),
        Verdict::Drop(DropReason::Oversize)
    );
    for (size, expected) in [
        (1460, Verdict::Flood),
        (1461, Verdict::Drop(DropReason::Oversize)),
    ] {
        let header = Header {
            vlans: 2,
            ..Header::default()
        };
        let (bytes, vnet) = header.superframe(&[0; 60_000], size);
        let frame = Frame::parse(&bytes).unwrap().with_vnet(&vnet);
        assert_eq!(bridge.forward(at(0), WEB, &frame), expected);
    }
}

#[test]
fn a_narrower_egress_refuses_what_it_cannot_carry() {
    let bridge = network();
    bridge.add_port(WEB, PortConfig::new(PortKind::Tap, 9000));
    forward(&bridge, CLIENT, &plain(Mac::BROADCAST, mac(4)));
    let bytes = ethernet(mac(4), mac(3), 0x88b5, &[0; 5000]);
    assert_eq!(
        forward(&bridge, WEB, &bytes),
        Verdict::Drop(DropReason::Oversize)
    );
}

#[test]
fn the_gateway_is_edge_for_its_services_and_host_for_the_rest() {
    let bridge = network();
    let elsewhere = Ipv4Addr::new(8, 8, 8, 8);
    for (destination, udp_port, port) in [
        (GATEWAY_V4, 53, EDGE),
        (elsewhere, 53, HOST),
        (GATEWAY_V4, 67, EDGE),
        (GATEWAY_V4, 80, HOST),
        (elsewhere, 443, HOST),
    ] {
        let verdict = forward(&bridge, CLIENT, &udp(GATEWAY, destination, udp_port));
        assert_eq!(verdict, Verdict::Unicast(port), "{destination}:{udp_port}");
    }
}

#[test]
fn questions_to_others_are_intercepted_where_the_port_says_so() {
    let bridge = network();
    let elsewhere = Ipv4Addr::new(8, 8, 8, 8);
    let config = PortConfig {
        intercept_names: true,
        ..tap()
    };
    bridge.add_port(CLIENT, config);
    for (destination, udp_port, port) in [
        (elsewhere, 53, EDGE),
        (GATEWAY_V4, 53, EDGE),
        (elsewhere, 443, HOST),
    ] {
        let verdict = forward(&bridge, CLIENT, &udp(GATEWAY, destination, udp_port));
        assert_eq!(verdict, Verdict::Unicast(port), "{destination}:{udp_port}");
    }
}

#[test]
fn an_internal_network_has_only_its_edge() {
    let bridge = network();
    bridge.remove_port(HOST);
    assert_eq!(
        forward(&bridge, CLIENT, &udp(GATEWAY, GATEWAY_V4, 80)),
        Verdict::Unicast(EDGE)
    );
    bridge.remove_port(EDGE);
    let verdict = forward(&bridge, CLIENT, &udp(GATEWAY, GATEWAY_V4, 80));
    assert_eq!(verdict, Verdict::Drop(DropReason::NoGateway));
}

#[test]
fn dhcp_requests_go_to_the_edge_unless_a_sandbox_may_serve() {
    let bridge = network();
    let bytes = udp(Mac::BROADCAST, Ipv4Addr::BROADCAST, 67);
    assert_eq!(forward(&bridge, CLIENT, &bytes), Verdict::Unicast(EDGE));
    bridge.add_port(
        WEB,
        PortConfig {
            allow_dhcp_server: true,
            ..tap()
        },
    );
    assert_eq!(forward(&bridge, CLIENT, &bytes), Verdict::Flood);
    let to_gateway = udp(GATEWAY, GATEWAY_V4, 67);
    assert_eq!(
        forward(&bridge, CLIENT, &to_gateway),
        Verdict::Unicast(HOST)
    );
}

#[test]
fn endpoints_keep_their_macs() {
    let bridge = network();
    bridge.register_endpoint(WEB, mac(3), &[]);
    let stolen = forward(&bridge, CLIENT, &plain(Mac::BROADCAST, mac(3)));
    assert_eq!(stolen, Verdict::Drop(DropReason::StickyMac));
    bridge.add_port(
        CLIENT,
        PortConfig {
            learning: false,
            ..tap()
        },
    );
    let stolen = forward(&bridge, CLIENT, &plain(Mac::BROADCAST, mac(3)));
    assert_eq!(stolen, Verdict::Drop(DropReason::StickyMac));
    bridge.unregister_endpoint(mac(3));
    assert_eq!(
        forward(&bridge, CLIENT, &plain(Mac::BROADCAST, mac(3))),
        Verdict::Flood
    );
}

#[test]
fn a_port_that_goes_takes_its_stations_and_addresses_along() {
    let bridge = network();
    let address = IpAddr::from([172, 17, 0, 3]);
    bridge.register_endpoint(WEB, mac(3), &[address]);
    forward(&bridge, WEB, &plain(Mac::BROADCAST, mac(30)));
    bridge.remove_port(WEB);
    bridge.remove_port(WEB);
    assert!(bridge.fdb().snapshot(at(0)).is_empty());
    assert_eq!(bridge.neighbors().lookup(address), None);
    assert_eq!(bridge.ports(), [HOST, EDGE, CLIENT]);
}

#[test]
fn a_station_behind_a_port_that_has_gone_is_unknown() {
    let bridge = network();
    bridge.fdb().learn(at(0), mac(9), PortId(77), 10);
    assert_eq!(
        forward(&bridge, WEB, &plain(mac(9), mac(3))),
        Verdict::Flood
    );
}

#[test]
fn an_address_registered_anew_is_not_taken_along_by_its_former_owner() {
    let bridge = network();
    let address = IpAddr::from([172, 17, 0, 3]);
    bridge.register_endpoint(WEB, mac(3), &[address]);
    bridge.register_endpoint(CLIENT, mac(4), &[address]);
    bridge.unregister_endpoint(mac(3));
    assert_eq!(
        bridge.neighbors().lookup(address),
        Some(Neighbor {
            mac: mac(4),
            port: Some(CLIENT)
        })
    );
    bridge.register_endpoint(CLIENT, mac(4), &[GATEWAY_V4.into()]);
    assert_eq!(bridge.neighbors().lookup(address), None);
    assert_eq!(
        bridge.neighbors().lookup(GATEWAY_V4.into()),
        Some(Neighbor {
            mac: GATEWAY,
            port: None
        })
    );
}

#[test]
fn a_port_over_its_rate_is_cut_off_from_everybody_but_not_from_one() {
    let bridge = network();
    let limit = BumLimit {
        frames_s: 10,
        burst_frames: 5,
    };
    bridge.add_port(
        WEB,
        PortConfig {
            bum_limit: Some(limit),
            ..tap()
        },
    );
    forward(&bridge, CLIENT, &plain(Mac::BROADCAST, mac(4)));
    let broadcast = plain(Mac::BROADCAST, mac(3));
    let passed = (0..20)
        .filter(|_| forward(&bridge, WEB, &broadcast) == Verdict::Flood)
        .count();
    assert_eq!(passed, 5);
    assert_eq!(
        forward(&bridge, WEB, &plain(mac(9), mac(3))),
        Verdict::Drop(DropReason::BumRate)
    );
    assert_eq!(
        forward(&bridge, WEB, &plain(mac(4), mac(3))),
        Verdict::Unicast(CLIENT)
    );
    let later = bridge.forward(at(2000), WEB, &Frame::parse(&broadcast).unwrap());
    assert_eq!(later, Verdict::Flood);
}

#[test]
fn tagged_frames_pass_and_learn() {
    let bridge = network();
    let header = Header {
        vlans: 2,
        transport: Transport::Udp,
        ..Header::default()
    };
    let bytes = testing::frame(&header, b"tagged");
    assert_eq!(forward(&bridge, WEB, &bytes), Verdict::Flood);
    assert_eq!(bridge.fdb().learned_count(WEB), 1);
}

#[test]
fn thousands_of_ports_attach_and_flood() {
    let bridge = Bridge::new(BridgeConfig::default());
    for n in 0..2000 {
        bridge.add_port(PortId(n), tap());
    }
    assert_eq!(bridge.flood_list(PortId(1999)).len(), 2000);
}

proptest! {
    #[test]
    fn no_frame_returns_crosses_a_split_or_reaches_a_port_that_has_gone(
        steps in proptest::collection::vec((1..10_u32, 0..12_u8, 0..12_u8, 0..20_u8), 1..200),
    ) {
        let bridge = network();
        let group = |id: u32| if id > 6 { SplitHorizonGroup::TUNNEL } else { SplitHorizonGroup::NONE };
        for id in 5..10 {
            bridge.add_port(PortId(id), PortConfig { group: group(id), ..tap() });
        }
        for (id, src, dst, action) in steps {
            let ingress = PortId(id);
            match action {
                0 => bridge.remove_port(ingress),
                1 => bridge.add_port(ingress, PortConfig { group: group(id), ..tap() }),
                2 => bridge.register_endpoint(ingress, mac(src), &[]),
                3 => bridge.unregister_endpoint(mac(src)),
                _ => match forward(&bridge, ingress, &plain(mac(dst), mac(src))) {
                    Verdict::Unicast(egress) => {
                        prop_assert_ne!(egress, ingress);
                        prop_assert!(!group(id).separates(group(egress.0)));
                        prop_assert!(bridge.ports().contains(&egress));
                    }
                    Verdict::Flood => {
                        for egress in bridge.flood_list(ingress).iter() {
                            prop_assert!(!group(id).separates(group(egress.0)));
                            prop_assert!(bridge.ports().contains(egress));
                        }
                    }
                    Verdict::Drop(reason) => prop_assert_eq!(
                        reason == DropReason::UnknownIngress,
                        bridge.port_config(ingress).is_none()
                    ),
                    other => prop_assert!(false, "{other:?}: nothing was asked"),
                },
            }
        }
    }
}
