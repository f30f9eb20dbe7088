//! The kernel bridge's own tests of its guards, retold (`tools/testing/selftests/net/forwarding`): the same verdicts.

use super::*;
use crate::{ByFlood, FdbKind, PortGuards};

const H1: PortId = WEB;
const H2: PortId = CLIENT;
const H3: PortId = PortId(5);

/// Three ports, the first of which are as given.
fn bridge(configs: &[PortConfig]) -> Bridge {
    let bridge = Bridge::new(BridgeConfig::default());
    for (at, id) in [H1, H2, H3].into_iter().enumerate() {
        bridge.add_port(id, configs.get(at).cloned().unwrap_or_else(tap));
    }
    bridge
}

fn guarded(guards: PortGuards) -> PortConfig {
    PortConfig { guards, ..tap() }
}

fn isolated() -> PortConfig {
    PortConfig {
        group: SplitHorizonGroup::ISOLATED,
        ..tap()
    }
}

/// The ports that get a frame which is flooded from `ingress`.
fn flooded(bridge: &Bridge, ingress: PortId, dst: Mac) -> Vec<u32> {
    let bytes = plain(dst, mac(1));
    let frame = Frame::parse(&bytes).unwrap();
    assert_eq!(bridge.forward(at(1000), ingress, &frame), Verdict::Flood);
    let list = bridge.flood_list(ingress);
    let mut ports: Vec<_> = list
        .iter()
        .filter(|egress| **egress != ingress && list.judge(**egress, &frame).is_ok())
        .map(|egress| egress.0)
        .collect();
    ports.sort_unstable();
    ports
}

// bridge_port_isolation.sh: ping_ipv4, ping_ipv6, flooding.
#[test]
fn isolated_ports_reach_the_others_and_not_each_other() {
    let bridge = bridge(&[isolated(), isolated()]);
    for (port, n) in [(H1, 1), (H2, 2), (H3, 3)] {
        forward(&bridge, port, &plain(Mac::BROADCAST, mac(n)));
    }
    let sent = |from: PortId, src: u8, dst: u8| forward(&bridge, from, &plain(mac(dst), mac(src)));
    assert_eq!(sent(H1, 1, 3), Verdict::Unicast(H3));
    assert_eq!(sent(H3, 3, 1), Verdict::Unicast(H1));
    let apart = Verdict::Drop(DropReason::SplitHorizon);
    assert_eq!((sent(H1, 1, 2), sent(H2, 2, 1)), (apart, apart));
    for dst in [mac(99), Mac::BROADCAST, Mac::new([1, 0, 0x5e, 0, 0, 1])] {
        assert_eq!(flooded(&bridge, H1, dst), [5]);
        assert_eq!(flooded(&bridge, H3, dst), [3, 4]);
    }
}

// bridge_locked_port.sh: locked_port_ipv4 and _ipv6, and the first steps of locked_port_mab.
#[test]
fn from_a_locked_port_only_configured_stations_send() {
    let locked = guarded(PortGuards {
        locked: true,
        ..PortGuards::NONE
    });
    let bridge = bridge(&[]);
    let sent = || forward(&bridge, H1, &plain(Mac::BROADCAST, mac(1)));
    assert_eq!(sent(), Verdict::Flood, "before locking");
    bridge.add_port(H1, locked);
    let refused = Verdict::Drop(DropReason::LockedPort);
    assert_eq!(sent(), refused, "what was learned before does not count");
    assert!(bridge.enter_station(mac(1), H1, FdbKind::Static));
    assert_eq!(sent(), Verdict::Flood, "with an entry");
    // Nothing is learned at a locked port.
    assert_eq!(
        forward(&bridge, H1, &plain(Mac::BROADCAST, mac(7))),
        refused
    );
    assert_eq!(bridge.fdb().lookup(mac(7)), None);
    // locked_port_mab_roam: an entry roams to an unlocked port, and not back.
    forward(&bridge, H2, &plain(Mac::BROADCAST, mac(1)));
    assert_eq!(bridge.fdb().lookup(mac(1)), Some(H2));
    assert_eq!(sent(), refused);
    assert_eq!(bridge.fdb().lookup(mac(1)), Some(H2));
    bridge.add_port(H1, tap());
    assert!(bridge.forget_station(mac(1)));
    assert_eq!(sent(), Verdict::Flood, "unlocked, without the entry");
}

#[test]
fn an_endpoint_sends_from_its_locked_port() {
    let bridge = bridge(&[guarded(PortGuards {
        locked: true,
        ..PortGuards::NONE
    })]);
    bridge.register_endpoint(H1, mac(1), &[]);
    assert_eq!(
        forward(&bridge, H1, &plain(Mac::BROADCAST, mac(1))),
        Verdict::Flood
    );
}

// bridge_sticky_fdb.sh. The kernel lets the frame pass; here whoever bears another's MAC is not heard.
#[test]
fn a_sticky_entry_stays_where_it_is() {
    let bridge = bridge(&[]);
    assert!(bridge.enter_station(mac(9), H1, FdbKind::Sticky));
    assert_eq!(
        forward(&bridge, H2, &plain(Mac::BROADCAST, mac(9))),
        Verdict::Drop(DropReason::StickyMac)
    );
    assert_eq!(bridge.fdb().find(mac(9)), Some((H1, FdbKind::Sticky)));
    assert!(bridge.enter_station(mac(8), H1, FdbKind::Static));
    forward(&bridge, H2, &plain(Mac::BROADCAST, mac(8)));
    let roamed = bridge.fdb().find(mac(8));
    assert_eq!(roamed, Some((H2, FdbKind::Static)), "one that is not");
}

// bridge_fdb_learning_limit.sh: check_accounting and check_limit, at a port and not at the bridge.
#[test]
fn a_port_learns_up_to_its_limit_and_configured_stations_do_not_count() {
    let limited = PortConfig {
        learn_limit: 8,
        ..tap()
    };
    let bridge = bridge(&[limited]);
    let fill = |bridge: &Bridge| {
        for n in 1..=16 {
            let verdict = forward(bridge, H1, &plain(Mac::BROADCAST, mac(n)));
            assert_eq!(verdict, Verdict::Flood, "it is sent all the same");
        }
    };
    fill(&bridge);
    assert_eq!(bridge.fdb().learned_count(H1), 8);
    assert_eq!(bridge.fdb().lookup(mac(16)), None);
    for kind in [FdbKind::Static, FdbKind::Sticky] {
        assert!(bridge.enter_station(mac(100), H1, kind), "at the limit");
        assert_eq!(bridge.fdb().find(mac(100)), Some((H1, kind)));
        assert_eq!(bridge.fdb().learned_count(H1), 8);
        assert!(bridge.forget_station(mac(100)));
        // In place of a learned one.
        assert!(bridge.enter_station(mac(1), H1, kind));
        assert_eq!(bridge.fdb().learned_count(H1), 7);
        assert!(bridge.forget_station(mac(1)));
        bridge.fdb().flush_learned(H1);
        assert_eq!(bridge.fdb().learned_count(H1), 0);
        fill(&bridge);
        assert_eq!(bridge.fdb().learned_count(H1), 8);
    }
}

// net/bridge/br_fdb.c, br_fdb_update: "some users want to always flood".
#[test]
fn an_ageing_time_of_zero_learns_nothing() {
    let bridge = Bridge::new(BridgeConfig {
        fdb: FdbConfig {
            age_limit: std::time::Duration::ZERO,
            ..FdbConfig::default()
        },
        ..BridgeConfig::default()
    });
    bridge.add_port(H1, tap());
    bridge.add_port(H2, tap());
    forward(&bridge, H1, &plain(Mac::BROADCAST, mac(1)));
    assert_eq!(bridge.fdb().lookup(mac(1)), None);
    assert!(bridge.enter_station(mac(9), H1, FdbKind::Sticky));
    assert_eq!(
        forward(&bridge, H2, &plain(mac(9), mac(2))),
        Verdict::Unicast(H1)
    );
    assert_eq!(
        forward(&bridge, H2, &plain(mac(1), mac(9))),
        Verdict::Drop(DropReason::StickyMac)
    );
}

#[test]
fn a_port_gets_the_floods_that_it_wants() {
    let group = Mac::new([1, 0, 0x5e, 0, 0, 1]);
    for (off, dst) in [(0, Mac::BROADCAST), (1, group), (2, mac(99))] {
        let bridge = bridge(&[
            tap(),
            guarded(PortGuards {
                flood: ByFlood {
                    broadcast: off != 0,
                    multicast: off != 1,
                    unknown: off != 2,
                },
                ..PortGuards::NONE
            }),
        ]);
        for other in [Mac::BROADCAST, group, mac(99)] {
            let expected = if other == dst { vec![5] } else { vec![4, 5] };
            assert_eq!(flooded(&bridge, H1, other), expected);
        }
        let bytes = plain(dst, mac(1));
        let trace = bridge.rehearse().trace(at(1000), H1, &bytes);
        assert_eq!(trace.egresses, [H3]);
        assert!(
            trace
                .steps
                .iter()
                .any(|step| matches!(step, Step::FloodOff { ports, .. } if ports == &[H2]))
        );
        // What is known is sent.
        forward(&bridge, H2, &plain(Mac::BROADCAST, mac(2)));
        assert_eq!(
            forward(&bridge, H1, &plain(mac(2), mac(1))),
            Verdict::Unicast(H2)
        );
    }
}

#[test]
fn a_bpdu_is_dropped_where_the_port_is_guarded() {
    let recovery = Some(std::time::Duration::from_secs(30));
    let bridge = Bridge::new(BridgeConfig {
        transparent: true,
        ..BridgeConfig::default()
    });
    let guard = guarded(PortGuards {
        bpdu: recovery,
        ..PortGuards::NONE
    });
    bridge.add_port(H1, guard);
    bridge.add_port(H2, tap());
    let bpdu = crate::bpdu::tests::bpdu();
    assert_eq!(
        forward(&bridge, H1, &bpdu),
        Verdict::Drop(DropReason::BpduGuard)
    );
    assert_eq!(forward(&bridge, H2, &bpdu), Verdict::Flood);
    let trace = bridge.rehearse().trace(at(1000), H1, &bpdu);
    assert_eq!(trace.dropped(), Some(DropReason::BpduGuard));
    assert!(bridge.block(H1, Block::Bpdu));
    assert_eq!(
        forward(&bridge, H1, &plain(mac(2), mac(1))),
        Verdict::Drop(DropReason::PortBlocked)
    );
}

#[test]
fn a_budget_of_one_kind_holds_back_that_kind() {
    let limit = BumLimit {
        frames_s: 4,
        burst_frames: 4,
    };
    let storm = ByFlood {
        broadcast: Some(limit),
        ..ByFlood::default()
    };
    for bum_limit in [None, Some(BumLimit::SANDBOX)] {
        let config = PortConfig {
            bum_limit,
            guards: PortGuards {
                storm,
                ..PortGuards::NONE
            },
            ..tap()
        };
        let bridge = bridge(&[config]);
        let passed = |dst: Mac| {
            (0..10)
                .filter(|_| forward(&bridge, H1, &plain(dst, mac(1))) == Verdict::Flood)
                .count()
        };
        assert_eq!(passed(Mac::BROADCAST), 4);
        assert_eq!(passed(mac(99)), 10);
        let over = forward(&bridge, H1, &plain(Mac::BROADCAST, mac(1)));
        assert_eq!(over, Verdict::Drop(DropReason::StormBroadcast));
        let trace = bridge
            .rehearse()
            .trace(at(1000), H1, &plain(Mac::BROADCAST, mac(1)));
        assert_eq!(trace.dropped(), Some(DropReason::StormBroadcast));
    }
}
