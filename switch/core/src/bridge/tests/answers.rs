//! Questions that the bridge answers itself.

use super::*;

#[test]
fn who_has_the_gateway_is_answered_with_an_arp_reply() {
    let bridge = network();
    let asker = Ipv4Addr::new(172, 17, 0, 4);
    let request = arp(mac(4), 1, asker, GATEWAY_V4);
    assert_eq!(forward(&bridge, CLIENT, &request), Verdict::Reply);
    let mut out = [0; Bridge::REPLY_LEN_MAX];
    let len = bridge.reply(CLIENT, &Frame::parse(&request).unwrap(), &mut out);
    let expected = [
        &mac(4).octets()[..],
        &GATEWAY.octets(),
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
        &GATEWAY.octets(),
        &GATEWAY_V4.octets(),
        &mac(4).octets(),
        &asker.octets(),
    ]
    .concat();
    assert_eq!(out[..len], expected);
    assert_eq!(
        bridge.reply(CLIENT, &Frame::parse(&request).unwrap(), &mut [0; 41]),
        0
    );
}

#[test]
fn a_solicitation_is_answered_with_an_advertisement() {
    let bridge = network();
    let (asker, target) = (
        Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 4),
        Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 3),
    );
    bridge.register_endpoint(WEB, mac(3), &[target.into()]);
    for (target, target_mac, flags) in [(target, mac(3), 0x60), (GATEWAY_V6, GATEWAY, 0xe0)] {
        let request = solicitation(mac(4), asker, target);
        assert_eq!(forward(&bridge, CLIENT, &request), Verdict::Reply);
        let mut out = [0xaa; Bridge::REPLY_LEN_MAX];
        let len = bridge.reply(CLIENT, &Frame::parse(&request).unwrap(), &mut out);
        let message = [
            &[136, 0, 0, 0, flags, 0, 0, 0][..],
            &target.octets(),
            &[2, 1],
            &target_mac.octets(),
        ]
        .concat();
        let mut expected = icmpv6(mac(4), target_mac, target, asker, &message);
        let checksum = etherparse::Icmpv6Slice::from_slice(&out[54..len]).unwrap();
        assert!(checksum.is_checksum_valid(target.octets(), asker.octets()));
        expected[56..58].copy_from_slice(&out[56..58]);
        assert_eq!(out[..len], expected);
    }
}

#[test]
fn a_probe_for_the_gateway_meets_its_defender() {
    let bridge = network();
    let probe = arp(mac(4), 1, Ipv4Addr::UNSPECIFIED, GATEWAY_V4);
    assert_eq!(forward(&bridge, CLIENT, &probe), Verdict::Reply);
    let probe = solicitation(mac(4), Ipv6Addr::UNSPECIFIED, GATEWAY_V6);
    assert_eq!(forward(&bridge, CLIENT, &probe), Verdict::Reply);
    let mut out = [0; Bridge::REPLY_LEN_MAX];
    bridge.reply(CLIENT, &Frame::parse(&probe).unwrap(), &mut out);
    assert_eq!(out[..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(
        out[38..54],
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets()
    );
    assert_eq!(out[58], 0xa0);
}

#[test]
fn nobody_is_answered_about_himself_or_the_unknown() {
    let bridge = network();
    let own = Ipv4Addr::new(172, 17, 0, 3);
    let other = Ipv4Addr::new(172, 17, 0, 4);
    bridge.register_endpoint(WEB, mac(3), &[own.into()]);
    let cases = [
        ("a gratuitous request", WEB, arp(mac(3), 1, own, own)),
        (
            "a probe by the owner",
            WEB,
            arp(mac(3), 1, Ipv4Addr::UNSPECIFIED, own),
        ),
        (
            "a probe by another",
            CLIENT,
            arp(mac(4), 1, Ipv4Addr::UNSPECIFIED, own),
        ),
        (
            "a neighbor inside the owner's sandbox",
            WEB,
            arp(mac(33), 1, other, own),
        ),
        (
            "an unknown address",
            CLIENT,
            arp(mac(4), 1, other, Ipv4Addr::new(172, 17, 0, 9)),
        ),
        ("a reply", CLIENT, arp(mac(4), 2, other, own)),
        (
            "the host about the gateway",
            HOST,
            arp(GATEWAY, 1, own, GATEWAY_V4),
        ),
    ];
    for (case, port, bytes) in cases {
        assert_eq!(forward(&bridge, port, &bytes), Verdict::Flood, "{case}");
    }
    let mut from_afar = solicitation(
        mac(4),
        Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 4),
        GATEWAY_V6,
    );
    from_afar[21] = 254;
    assert_eq!(forward(&bridge, CLIENT, &from_afar), Verdict::Flood);
    let request = arp(mac(4), 1, other, own);
    assert_eq!(forward(&bridge, CLIENT, &request), Verdict::Reply);
    let mut to_one = request;
    to_one[..6].copy_from_slice(&mac(3).octets());
    assert_eq!(forward(&bridge, CLIENT, &to_one), Verdict::Unicast(WEB));
}

#[test]
fn a_unicast_request_to_the_gateway_is_answered() {
    let bridge = network();
    let mut request = arp(mac(4), 1, Ipv4Addr::new(172, 17, 0, 4), GATEWAY_V4);
    request[..6].copy_from_slice(&GATEWAY.octets());
    assert_eq!(forward(&bridge, CLIENT, &request), Verdict::Reply);
    let mut answer_to_host = arp(mac(4), 2, Ipv4Addr::new(172, 17, 0, 4), GATEWAY_V4);
    answer_to_host[..6].copy_from_slice(&GATEWAY.octets());
    assert_eq!(
        forward(&bridge, CLIENT, &answer_to_host),
        Verdict::Unicast(HOST)
    );
}
