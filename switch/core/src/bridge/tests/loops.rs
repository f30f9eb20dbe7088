//! Blocked ports, suspicions and probes.

use super::*;
use crate::{Block, Probe};

const SECRET: u128 = 77;
const OTHER: PortId = PortId(5);

fn watchful() -> Bridge {
    let bridge = Bridge::new(BridgeConfig {
        probe_secret: SECRET,
        ..BridgeConfig::default()
    });
    for port in [WEB, CLIENT, OTHER] {
        bridge.add_port(port, tap());
    }
    bridge
}

#[test]
fn nothing_passes_a_blocked_port() {
    let bridge = watchful();
    forward(&bridge, WEB, &plain(mac(9), mac(3)));
    forward(&bridge, CLIENT, &plain(mac(9), mac(4)));
    assert!(bridge.block(CLIENT, Block::Loop));
    assert!(!bridge.block(CLIENT, Block::Loop), "that is no news");
    let blocked = Verdict::Drop(DropReason::PortBlocked);
    assert_eq!(forward(&bridge, CLIENT, &plain(mac(3), mac(4))), blocked);
    assert_eq!(
        forward(&bridge, WEB, &plain(mac(4), mac(3))),
        Verdict::Flood,
        "what was learned there is forgotten"
    );
    assert_eq!(*bridge.flood_list(WEB), [WEB, OTHER]);
    bridge.register_endpoint(CLIENT, mac(4), &[]);
    assert_eq!(forward(&bridge, WEB, &plain(mac(4), mac(3))), blocked);
    bridge.add_port(CLIENT, tap());
    assert_eq!(
        bridge.blocked(CLIENT),
        Some(Block::Loop),
        "its configuration changed"
    );
    assert!(!bridge.unblock(CLIENT, Block::Fault), "that is not why");
    assert!(bridge.unblock(CLIENT, Block::Loop));
    assert_eq!(
        forward(&bridge, CLIENT, &plain(mac(3), mac(4))),
        Verdict::Unicast(WEB)
    );
    assert_eq!(*bridge.flood_list(WEB), [WEB, OTHER, CLIENT]);
}

#[test]
fn a_station_that_moves_or_speaks_elsewhere_is_suspicious_once_asked() {
    let bridge = watchful();
    bridge.register_endpoint(WEB, mac(3), &[]);
    forward(&bridge, WEB, &plain(mac(9), mac(3)));
    forward(&bridge, WEB, &plain(mac(9), mac(8)));
    assert!(!bridge.take_suspicion(), "nothing happened");
    forward(&bridge, CLIENT, &plain(mac(9), mac(8)));
    assert!(bridge.take_suspicion(), "it moved");
    assert!(!bridge.take_suspicion(), "that was said");
    forward(&bridge, CLIENT, &plain(mac(9), mac(3)));
    assert!(bridge.take_suspicion(), "that is the other's");
}

#[test]
fn a_transparent_network_suspects_nothing() {
    let bridge = Bridge::new(BridgeConfig {
        transparent: true,
        probe_secret: SECRET,
        ..BridgeConfig::default()
    });
    for port in [WEB, CLIENT] {
        bridge.add_port(port, tap());
        forward(&bridge, port, &plain(mac(9), mac(8)));
    }
    assert!(!bridge.take_suspicion());
}

#[test]
fn a_probe_of_its_own_ends_here_and_anothers_is_passed_on_unlearned() {
    let bridge = watchful();
    let probe = Probe {
        port: WEB,
        round: 3,
    };
    let own = bridge.write_probe(probe);
    assert_eq!(forward(&bridge, CLIENT, &own), Verdict::Probe);
    assert_eq!(bridge.probe(&Frame::parse(&own).unwrap()), Some(probe));
    bridge.block(CLIENT, Block::Loop);
    assert_eq!(
        forward(&bridge, CLIENT, &own),
        Verdict::Probe,
        "so that it shows when the loop is gone"
    );
    let anothers = probe.write(SECRET + 1);
    for port in [WEB, OTHER, WEB] {
        assert_eq!(forward(&bridge, port, &anothers), Verdict::Flood);
    }
    assert!(bridge.fdb().snapshot(at(1000)).is_empty());
    assert!(!bridge.take_suspicion());
}
