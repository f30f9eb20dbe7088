//! Whose address a frame may bear.

use super::*;

const WEB_V4: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 3);
const WEB_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 3);
const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 4);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 4);
const NOBODY_V4: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 99);
const NOBODY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 99);
const TUNNEL: PortId = PortId(10);

/// As [`network`], with both sandboxes registered and a tunnel.
fn registered() -> Bridge {
    let bridge = network();
    bridge.register_endpoint(WEB, mac(3), &[WEB_V4.into(), WEB_V6.into()]);
    bridge.register_endpoint(CLIENT, mac(4), &[CLIENT_V4.into(), CLIENT_V6.into()]);
    bridge.add_port(TUNNEL, PortConfig::new(PortKind::Tunnel, 1500));
    bridge
}

fn advertisement(src: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let message = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &target.octets()].concat();
    icmpv6(
        Mac::new([0x33, 0x33, 0, 0, 0, 1]),
        src,
        source,
        all,
        &message,
    )
}

/// A datagram to the other sandbox.
fn datagram(src: Mac, dst: Mac, source: IpAddr) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2(src.octets(), dst.octets());
    let builder = match source {
        IpAddr::V4(source) => builder.ipv4(source.octets(), WEB_V4.octets(), 64),
        IpAddr::V6(source) => builder.ipv6(source.octets(), WEB_V6.octets(), 64),
    };
    let mut bytes = Vec::new();
    builder.udp(4000, 4001).write(&mut bytes, b"x").unwrap();
    bytes
}

/// Every way to bear the addresses, sent by `src`.
fn claims(src: Mac, v4: Ipv4Addr, v6: Ipv6Addr) -> Vec<Vec<u8>> {
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
    vec![
        arp(src, 1, v4, v4),
        arp(src, 1, v4, NOBODY_V4),
        arp(src, 2, v4, CLIENT_V4),
        solicitation(src, v6, NOBODY_V6),
        advertisement(src, v6, NOBODY_V6),
        advertisement(src, own, v6),
        datagram(src, mac(9), v4.into()),
        datagram(src, mac(9), v6.into()),
        datagram(src, Mac::BROADCAST, v4.into()),
    ]
}

#[test]
fn an_address_of_a_neighbor_is_not_borne() {
    let bridge = registered();
    for (n, claim) in claims(mac(4), WEB_V4, WEB_V6).iter().enumerate() {
        for port in [CLIENT, TUNNEL] {
            // From a tunnel by a station of its own, else the MAC is what is refused first.
            let mut claim = claim.clone();
            if port == TUNNEL {
                claim[6..12].copy_from_slice(&mac(44).octets());
            }
            let verdict = forward(&bridge, port, &claim);
            assert_eq!(verdict, Verdict::Drop(DropReason::NeighborIp), "{n}");
        }
        assert_ne!(
            forward(&bridge, HOST, claim),
            Verdict::Drop(DropReason::NeighborIp)
        );
    }
    for (n, claim) in claims(mac(4), GATEWAY_V4, GATEWAY_V6).iter().enumerate() {
        let verdict = forward(&bridge, CLIENT, claim);
        assert_eq!(verdict, Verdict::Drop(DropReason::GatewayIp), "{n}");
    }
}

#[test]
fn link_local_addresses_have_owners_too() {
    let bridge = registered();
    let of_web = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x00ff, 0xfe00, 3);
    let of_gateway = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x42, 0xacff, 0xfe11, 1);
    for (address, reason) in [
        (of_web, DropReason::NeighborIp),
        (of_gateway, DropReason::GatewayIp),
    ] {
        for claim in [
            advertisement(mac(4), CLIENT_V6, address),
            solicitation(mac(4), address, CLIENT_V6),
        ] {
            assert_eq!(forward(&bridge, CLIENT, &claim), Verdict::Drop(reason));
        }
        let question = solicitation(mac(4), CLIENT_V6, address);
        assert_eq!(forward(&bridge, CLIENT, &question), Verdict::Reply);
    }
    bridge.unregister_endpoint(mac(3));
    let claim = advertisement(mac(4), CLIENT_V6, of_web);
    assert_eq!(forward(&bridge, CLIENT, &claim), Verdict::Flood);
}

#[test]
fn own_addresses_and_those_of_nobody_are_free() {
    let bridge = registered();
    let (nested, virtual_router) = (mac(77), Mac::new([0, 0, 0x5e, 0, 1, 51]));
    let own = claims(mac(4), CLIENT_V4, CLIENT_V6);
    let nobody = claims(nested, NOBODY_V4, NOBODY_V6);
    let virtual_address = claims(virtual_router, NOBODY_V4, NOBODY_V6);
    for claim in own.iter().chain(&nobody).chain(&virtual_address) {
        assert!(!matches!(forward(&bridge, CLIENT, claim), Verdict::Drop(_)));
    }
    let unregistered = claims(mac(5), WEB_V4, WEB_V6);
    bridge.unregister_endpoint(mac(3));
    for claim in &unregistered {
        assert!(!matches!(forward(&bridge, CLIENT, claim), Verdict::Drop(_)));
    }
}

#[test]
fn a_loose_port_bears_its_neighbors_addresses_but_not_the_gateways() {
    let bridge = registered();
    let loose = PortConfig {
        allow_neighbor_addresses: true,
        ..tap()
    };
    bridge.add_port(CLIENT, loose);
    for claim in claims(mac(4), WEB_V4, WEB_V6) {
        assert!(!matches!(
            forward(&bridge, CLIENT, &claim),
            Verdict::Drop(_)
        ));
    }
    for claim in claims(mac(4), GATEWAY_V4, GATEWAY_V6) {
        let verdict = forward(&bridge, CLIENT, &claim);
        assert_eq!(verdict, Verdict::Drop(DropReason::GatewayIp));
    }
    let known = bridge.neighbors().lookup(WEB_V4.into()).unwrap();
    assert_eq!((known.mac, known.port), (mac(3), Some(WEB)));
}

#[test]
fn another_host_is_no_gateway_no_router_and_no_dhcp_server() {
    let bridge = registered();
    let from_gateway = datagram(GATEWAY, mac(3), NOBODY_V4.into());
    for (reason, bytes) in [
        (DropReason::GatewayMac, plain(Mac::BROADCAST, GATEWAY)),
        (DropReason::GatewayMac, from_gateway),
        (DropReason::GatewayMac, arp(GATEWAY, 1, WEB_V4, WEB_V4)),
        (DropReason::GatewayMac, arp(GATEWAY, 1, GATEWAY_V4, WEB_V4)),
        (
            DropReason::GatewayMac,
            advertisement(GATEWAY, NOBODY_V6, NOBODY_V6),
        ),
        (DropReason::GatewayIp, arp(mac(44), 2, GATEWAY_V4, WEB_V4)),
        (
            DropReason::GatewayIp,
            datagram(mac(44), mac(3), GATEWAY_V4.into()),
        ),
        (DropReason::StickyMac, plain(Mac::BROADCAST, mac(3))),
    ] {
        let verdict = forward(&bridge, TUNNEL, &bytes);
        assert_eq!(verdict, Verdict::Drop(reason));
    }
    let mut offer = datagram(mac(44), Mac::BROADCAST, NOBODY_V4.into());
    offer[36..38].copy_from_slice(&68_u16.to_be_bytes());
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
    let mut router = advertisement(mac(44), own, own);
    router[54] = 134;
    for (reason, bytes) in [
        (DropReason::RogueDhcp, &offer),
        (DropReason::RogueRa, &router),
    ] {
        let verdict = forward(&bridge, TUNNEL, bytes);
        assert_eq!(verdict, Verdict::Drop(reason));
    }
    let lab = PortConfig {
        allow_dhcp_server: true,
        allow_router: true,
        ..PortConfig::new(PortKind::Tunnel, 1500)
    };
    bridge.add_port(TUNNEL, lab);
    for bytes in [&offer, &router] {
        assert_eq!(forward(&bridge, TUNNEL, bytes), Verdict::Flood);
    }
}

#[test]
fn a_router_among_its_neighbors_is_not_their_addresses_owner() {
    let bridge = registered();
    bridge.register_endpoint(TUNNEL, mac(8), &[NOBODY_V4.into(), NOBODY_V6.into()]);
    bridge.register_endpoint(TUNNEL, mac(9), &[]);
    forward(&bridge, TUNNEL, &datagram(mac(9), mac(3), NOBODY_V4.into()));
    let known = bridge.neighbors().lookup(NOBODY_V4.into()).unwrap();
    assert_eq!(known.mac, mac(8));
}

#[test]
fn an_owner_that_speaks_from_another_mac_is_found_there() {
    let new = mac(33);
    for (case, word) in [
        ("ARP", arp(new, 1, WEB_V4, NOBODY_V4)),
        ("a packet", {
            let mut bytes = datagram(new, mac(4), WEB_V4.into());
            bytes[30..34].copy_from_slice(&CLIENT_V4.octets());
            bytes
        }),
    ] {
        let bridge = registered();
        assert_ne!(forward(&bridge, WEB, &word), Verdict::Reply, "{case}");
        let known = bridge.neighbors().lookup(WEB_V4.into()).unwrap();
        assert_eq!((known.mac, known.port), (new, Some(WEB)), "{case}");
        let question = arp(mac(4), 1, CLIENT_V4, WEB_V4);
        assert_eq!(forward(&bridge, CLIENT, &question), Verdict::Reply);
        let mut out = [0; Bridge::REPLY_LEN_MAX];
        bridge.reply(CLIENT, &Frame::parse(&question).unwrap(), &mut out);
        assert_eq!(out[6..12], new.octets());
        for station in [mac(3), new] {
            let letter = plain(station, mac(4));
            assert_eq!(forward(&bridge, CLIENT, &letter), Verdict::Unicast(WEB));
        }
        let theft = plain(Mac::BROADCAST, mac(3));
        let verdict = forward(&bridge, CLIENT, &theft);
        assert_eq!(verdict, Verdict::Drop(DropReason::StickyMac), "{case}");
    }
    let bridge = registered();
    for word in [
        advertisement(new, WEB_V6, WEB_V6),
        solicitation(new, WEB_V6, NOBODY_V6),
    ] {
        assert_eq!(forward(&bridge, WEB, &word), Verdict::Flood);
        assert_eq!(bridge.neighbors().lookup(WEB_V6.into()).unwrap().mac, new);
    }
}

#[test]
fn the_questions_of_an_owner_with_another_mac_are_heard_by_all() {
    let bridge = registered();
    let ask = |from, target| arp(from, 1, WEB_V4, target);
    assert_eq!(
        forward(&bridge, WEB, &ask(mac(3), CLIENT_V4)),
        Verdict::Reply
    );
    for target in [CLIENT_V4, GATEWAY_V4, CLIENT_V4] {
        assert_eq!(forward(&bridge, WEB, &ask(mac(33), target)), Verdict::Flood);
    }
    // It is itself again, which they must hear too.
    for expected in [Verdict::Flood, Verdict::Reply] {
        assert_eq!(forward(&bridge, WEB, &ask(mac(3), CLIENT_V4)), expected);
    }
    bridge.remove_port(HOST);
    assert_eq!(
        forward(&bridge, WEB, &ask(mac(33), GATEWAY_V4)),
        Verdict::Reply,
        "nobody else answers for the gateway"
    );
}

#[test]
fn no_word_of_another_moves_an_owner() {
    let bridge = registered();
    let others = [
        // A virtual router's MAC, shared with whoever takes over.
        (
            WEB,
            datagram(
                Mac::new([0, 0, 0x5e, 0, 1, 51]),
                Mac::new([1, 0, 0x5e, 0, 0, 18]),
                WEB_V4.into(),
            ),
        ),
        (WEB, arp(mac(4), 1, WEB_V4, NOBODY_V4)),
        (CLIENT, arp(mac(44), 1, WEB_V4, NOBODY_V4)),
        (HOST, arp(mac(44), 1, WEB_V4, NOBODY_V4)),
    ];
    for (port, word) in others {
        forward(&bridge, port, &word);
        let known = bridge.neighbors().lookup(WEB_V4.into()).unwrap();
        assert_eq!((known.mac, known.port), (mac(3), Some(WEB)));
    }
}
