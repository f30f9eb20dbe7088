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
        forward(&bridge, WEB, &hidden(9)),
        Verdict::Drop(DropReason::HeaderChain)
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
