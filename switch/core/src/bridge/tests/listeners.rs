//! What a group's listeners change for its senders.

use super::*;

const GROUP: Mac = Mac::new([1, 0, 0x5e, 1, 2, 3]);

fn narrow() -> Bridge {
    let bridge = network();
    let limit = BumLimit {
        frames_s: 10,
        burst_frames: 5,
    };
    for port in [WEB, CLIENT] {
        let config = PortConfig {
            bum_limit: Some(limit),
            ..tap()
        };
        bridge.add_port(port, config);
    }
    bridge
}

/// An IGMPv2 message about 239.1.2.3.
fn igmp(src: Mac, kind: u8) -> Vec<u8> {
    let mut bytes = udp(GROUP, Ipv4Addr::new(239, 1, 2, 3), 0);
    bytes[6..12].copy_from_slice(&src.octets());
    bytes[23] = 2;
    bytes[34..42].copy_from_slice(&[kind, 0, 0, 0, 239, 1, 2, 3]);
    let sum = crate::checksum::finish(crate::checksum::sum(0, &bytes[34..]));
    crate::bytes::put_be16(&mut bytes, 36, sum);
    bytes
}

fn passed(bridge: &Bridge, now: u64, bytes: &[u8]) -> usize {
    let frame = Frame::parse(bytes).unwrap();
    (0..50)
        .filter(|_| bridge.forward(at(now), WEB, &frame) == Verdict::Flood)
        .count()
}

#[test]
fn a_group_that_somebody_listens_to_is_no_storm() {
    let bridge = narrow();
    let stream = plain(GROUP, mac(3));
    assert_eq!(passed(&bridge, 1000, &stream), 5);
    forward(&bridge, CLIENT, &igmp(mac(4), 0x16));
    assert_eq!(passed(&bridge, 10_000, &stream), 50);
    let other = plain(Mac::new([1, 0, 0x5e, 1, 2, 4]), mac(3));
    assert_eq!(
        passed(&bridge, 10_000, &other),
        5,
        "its budget was not touched"
    );
    bridge.age(at(270_000));
    assert_eq!(passed(&bridge, 270_000, &stream), 50, "it is in use");
    forward(&bridge, CLIENT, &igmp(mac(4), 0x17));
    assert_eq!(passed(&bridge, 280_000, &stream), 5);
    forward(&bridge, CLIENT, &igmp(mac(4), 0x16));
    bridge.remove_port(CLIENT);
    assert_eq!(passed(&bridge, 290_000, &stream), 5);
}

#[test]
fn nobody_frees_his_own_storm() {
    let bridge = narrow();
    forward(&bridge, WEB, &igmp(mac(3), 0x16));
    assert_eq!(passed(&bridge, 10_000, &plain(GROUP, mac(3))), 5);
}
