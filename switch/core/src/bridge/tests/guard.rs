//! What no sandbox may send.

use super::*;

#[test]
fn a_sandbox_is_not_the_gateway() {
    let bridge = network();
    let verdict = forward(&bridge, WEB, &plain(Mac::BROADCAST, GATEWAY));
    assert_eq!(verdict, Verdict::Drop(DropReason::GatewayMac));
    let target = Ipv4Addr::new(172, 17, 0, 4);
    for operation in [1, 2] {
        let verdict = forward(&bridge, WEB, &arp(mac(3), operation, GATEWAY_V4, target));
        assert_eq!(verdict, Verdict::Drop(DropReason::GatewayIp));
    }
    assert_eq!(
        forward(&bridge, HOST, &arp(GATEWAY, 1, GATEWAY_V4, target)),
        Verdict::Flood
    );
    assert_eq!(bridge.fdb().lookup(GATEWAY), None);
}

#[test]
fn a_sandbox_advertises_no_router_and_no_gateway() {
    let bridge = network();
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3);
    let group = Mac::new([0x33, 0x33, 0, 0, 0, 1]);
    let advertisement = icmpv6(
        group,
        mac(3),
        own,
        all,
        &[134, 0, 0, 0, 64, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    assert_eq!(
        forward(&bridge, WEB, &advertisement),
        Verdict::Drop(DropReason::RogueRa)
    );
    assert_eq!(forward(&bridge, HOST, &advertisement), Verdict::Flood);
    let claim = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &GATEWAY_V6.octets()].concat();
    let claim = icmpv6(group, mac(3), own, all, &claim);
    assert_eq!(
        forward(&bridge, WEB, &claim),
        Verdict::Drop(DropReason::GatewayIp)
    );
    let solicit = solicitation(mac(3), GATEWAY_V6, own);
    assert_eq!(
        forward(&bridge, WEB, &solicit),
        Verdict::Drop(DropReason::GatewayIp)
    );
    bridge.add_port(
        WEB,
        PortConfig {
            allow_router: true,
            ..tap()
        },
    );
    assert_eq!(forward(&bridge, WEB, &advertisement), Verdict::Flood);
}

#[test]
fn a_disguise_does_not_help() {
    let bridge = network();
    let claim = arp(mac(3), 2, GATEWAY_V4, Ipv4Addr::new(172, 17, 0, 4));
    let tagged = |tags: &[u8], bytes: &[u8]| [&bytes[..12], tags, &bytes[12..]].concat();
    let priority = tagged(&[0x81, 0, 0x20, 0], &claim);
    assert_eq!(
        forward(&bridge, WEB, &priority),
        Verdict::Drop(DropReason::GatewayIp)
    );
    let stacked = tagged(&[0x81, 0, 0, 0, 0x88, 0xa8, 0, 0, 0x81, 0, 0, 0], &claim);
    assert_eq!(
        forward(&bridge, WEB, &stacked),
        Verdict::Drop(DropReason::StackedPriorityTags)
    );
    let other_network = tagged(&[0x81, 0, 0, 5], &claim);
    assert_eq!(forward(&bridge, WEB, &other_network), Verdict::Flood);

    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3);
    let hidden = |extensions: usize| {
        let mut message = [0, 0, 1, 4, 0, 0, 0, 0].repeat(extensions);
        message[(extensions - 1) * 8] = 58;
        message.extend([134, 0, 0, 0, 64, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut bytes = icmpv6(
            Mac::new([0x33, 0x33, 0, 0, 0, 1]),
            mac(3),
            own,
            all,
            &message,
        );
        bytes[20] = 0;
        bytes
    };
    assert_eq!(
        forward(&bridge, WEB, &hidden(1)),
        Verdict::Drop(DropReason::RogueRa)
    );
    assert_eq!(
        forward(&bridge, WEB, &hidden(8)),
        Verdict::Drop(DropReason::RogueRa)
    );
    assert_eq!(
        forward(&bridge, WEB, &hidden(180)),
        Verdict::Drop(DropReason::RogueRa)
    );
    let mut without_length = hidden(1);
    without_length[18..20].fill(0);
    assert_eq!(
        forward(&bridge, WEB, &without_length),
        Verdict::Drop(DropReason::RogueRa)
    );
}

#[test]
fn a_sandbox_serves_no_dhcp_unless_allowed() {
    let bridge = network();
    let reply = udp(Mac::BROADCAST, Ipv4Addr::BROADCAST, 68);
    assert_eq!(
        forward(&bridge, CLIENT, &reply),
        Verdict::Drop(DropReason::RogueDhcp)
    );
    bridge.add_port(
        CLIENT,
        PortConfig {
            allow_dhcp_server: true,
            ..tap()
        },
    );
    assert_eq!(forward(&bridge, CLIENT, &reply), Verdict::Flood);
}

#[test]
fn a_network_without_dhcp_drops_what_clients_ask() {
    let bridge = network();
    bridge.add_port(
        CLIENT,
        PortConfig {
            allow_dhcp_client: false,
            ..tap()
        },
    );
    for (dst, destination) in [(Mac::BROADCAST, Ipv4Addr::BROADCAST), (GATEWAY, GATEWAY_V4)] {
        assert_eq!(
            forward(&bridge, CLIENT, &udp(dst, destination, 67)),
            Verdict::Drop(DropReason::DhcpOff)
        );
    }
    let mut v6 = solicitation(mac(4), LINK_LOCAL, LINK_LOCAL);
    v6[20] = 17;
    v6[56..58].copy_from_slice(&547_u16.to_be_bytes());
    assert_eq!(
        forward(&bridge, CLIENT, &v6),
        Verdict::Drop(DropReason::DhcpOff)
    );
}

#[test]
fn only_routers_redirect() {
    let bridge = network();
    let mut v4 = udp(mac(3), Ipv4Addr::new(172, 17, 0, 3), 0);
    v4[23] = 1;
    v4[34] = 5;
    let target = LINK_LOCAL.octets();
    let v6 = [&[137, 0, 0, 0, 0, 0, 0, 0][..], &target, &target].concat();
    let v6 = icmpv6(mac(3), mac(4), LINK_LOCAL, LINK_LOCAL, &v6);
    for redirect in [&v4, &v6] {
        assert_eq!(
            forward(&bridge, CLIENT, redirect),
            Verdict::Drop(DropReason::RogueRedirect)
        );
    }
    let mut unreachable = v4.clone();
    unreachable[34] = 3;
    assert_eq!(forward(&bridge, CLIENT, &unreachable), Verdict::Flood);
    bridge.add_port(
        CLIENT,
        PortConfig {
            allow_router: true,
            ..tap()
        },
    );
    for redirect in [&v4, &v6] {
        assert_eq!(forward(&bridge, CLIENT, redirect), Verdict::Flood);
    }
}

#[test]
fn a_first_fragment_without_its_headers_is_dropped() {
    let bridge = network();
    let mut cut = icmpv6(
        Mac::new([0x33, 0x33, 0, 0, 0, 1]),
        mac(4),
        LINK_LOCAL,
        LINK_LOCAL,
        &[60, 0, 0, 1, 0, 0, 0, 7],
    );
    cut[20] = 44;
    assert_eq!(
        forward(&bridge, CLIENT, &cut),
        Verdict::Drop(DropReason::HeaderChain)
    );
    assert_eq!(forward(&bridge, HOST, &cut), Verdict::Flood);
}

const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 4);
