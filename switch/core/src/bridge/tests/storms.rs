//! What a flood costs the port that it comes from.

use super::*;

const LIMIT: BumLimit = BumLimit {
    frames_s: 80,
    burst_frames: 80,
};

/// Nothing but so many sandboxes, the first of which are [`WEB`] and [`CLIENT`].
fn sandboxes(count: u32) -> Bridge {
    let bridge = Bridge::new(BridgeConfig::default());
    for port in 0..count {
        let config = PortConfig {
            bum_limit: Some(LIMIT),
            ..tap()
        };
        bridge.add_port(PortId(WEB.0 + port), config);
    }
    bridge
}

/// The port comes anew, with a full budget.
fn refill(bridge: &Bridge) {
    bridge.remove_port(WEB);
    let config = PortConfig {
        bum_limit: Some(LIMIT),
        ..tap()
    };
    bridge.add_port(WEB, config);
}

/// Of many frames at once, how many are not dropped for the rate.
fn passed(bridge: &Bridge, ms: u64, bytes: &[u8]) -> usize {
    let frame = Frame::parse(bytes).unwrap();
    (0..200)
        .filter(|_| bridge.forward(at(ms), WEB, &frame) != Verdict::Drop(DropReason::BumRate))
        .count()
}

#[test]
fn the_limit_is_one_of_frames_where_a_flood_reaches_few() {
    for ports in [2, 3, 5] {
        let bridge = sandboxes(ports);
        assert_eq!(passed(&bridge, 1000, &plain(Mac::BROADCAST, mac(3))), 80);
    }
}

#[test]
fn the_limit_is_one_of_copies_where_a_flood_reaches_many() {
    for (ports, frames) in [(17, 20), (65, 5), (641, 1)] {
        let bridge = sandboxes(ports);
        for dst in [Mac::BROADCAST, mac(99), Mac::new([1, 0, 0x5e, 1, 2, 3])] {
            refill(&bridge);
            assert_eq!(
                passed(&bridge, 1000, &plain(dst, mac(3))),
                frames,
                "{ports}"
            );
        }
    }
}

#[test]
fn a_port_pays_no_copies_for_those_it_is_isolated_from() {
    let bridge = Bridge::new(BridgeConfig::default());
    for port in 0..100 {
        let config = PortConfig {
            bum_limit: Some(LIMIT),
            group: match port {
                1 => SplitHorizonGroup::NONE,
                _ => SplitHorizonGroup::ISOLATED,
            },
            ..tap()
        };
        bridge.add_port(PortId(WEB.0 + port), config);
    }
    assert_eq!(passed(&bridge, 1000, &plain(Mac::BROADCAST, mac(3))), 80);
}

#[test]
fn what_is_answered_here_costs_a_frame_however_many_there_are() {
    let bridge = sandboxes(65);
    let peer = Ipv4Addr::new(172, 17, 0, 4);
    bridge.register_endpoint(CLIENT, mac(4), &[peer.into()]);
    let question = arp(mac(3), 1, Ipv4Addr::new(172, 17, 0, 3), peer);
    assert_eq!(passed(&bridge, 1000, &question), 80);
}

#[test]
fn each_listener_pays_for_four_copies() {
    let group = Mac::new([1, 0, 0x5e, 1, 2, 3]);
    let bridge = sandboxes(65);
    for (listeners, frames) in [(0, 5), (1, 5), (8, 10), (12, 20), (16, 200), (17, 200)] {
        for port in 1..=listeners {
            bridge.listeners.join(at(1000), group, PortId(WEB.0 + port));
        }
        refill(&bridge);
        assert_eq!(
            passed(&bridge, 1000, &plain(group, mac(3))),
            frames,
            "{listeners}"
        );
    }
}
