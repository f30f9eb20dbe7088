//! Blocked ports, suspicions and probes.

use super::*;
use crate::vlan::{PortVlans, Vid, VlanConfig};
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
    assert!(bridge.block(CLIENT, Block::Loop(None)));
    assert!(!bridge.block(CLIENT, Block::Loop(None)), "that is no news");
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
        Some(Block::Loop(None)),
        "its configuration changed"
    );
    assert!(!bridge.unblock(CLIENT, Block::Fault), "that is not why");
    assert!(bridge.unblock(CLIENT, Block::Loop(None)));
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
    assert_eq!(bridge.take_suspicion(), None, "nothing happened");
    forward(&bridge, CLIENT, &plain(mac(9), mac(8)));
    assert_eq!(bridge.take_suspicion(), Some(None), "it moved");
    assert_eq!(bridge.take_suspicion(), None, "that was said");
    forward(&bridge, CLIENT, &plain(mac(9), mac(3)));
    assert_eq!(bridge.take_suspicion(), Some(None), "that is the other's");
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
    assert_eq!(bridge.take_suspicion(), None);
}

#[test]
fn a_probe_of_its_own_ends_here_and_anothers_is_passed_on_unlearned() {
    let bridge = watchful();
    let probe = Probe {
        port: WEB,
        round: 3,
        vlan: None,
    };
    let own = bridge.write_probe(probe).unwrap();
    assert_eq!(forward(&bridge, CLIENT, &own), Verdict::Probe);
    assert_eq!(bridge.probe(&Frame::parse(&own).unwrap()), Some(probe));
    bridge.block(CLIENT, Block::Loop(None));
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
    assert_eq!(bridge.take_suspicion(), None);
}

fn in_vlans() -> Bridge {
    let bridge = Bridge::new(BridgeConfig {
        probe_secret: SECRET,
        vlans: Some(VlanConfig::default()),
        ..BridgeConfig::default()
    });
    let trunk = |native: u16, tagged: &str| PortConfig {
        vlans: Some(PortVlans::trunk(Vid::new(native), tagged.parse().unwrap())),
        ..tap()
    };
    bridge.add_port(WEB, trunk(10, "20"));
    bridge.add_port(CLIENT, trunk(20, "30"));
    bridge.add_port(OTHER, trunk(0, "10,30"));
    bridge
}

fn tagged(bytes: &[u8], tci: u16) -> Vec<u8> {
    let (addresses, rest) = bytes.split_at(12);
    [addresses, &[0x81, 0], &tci.to_be_bytes(), rest].concat()
}

#[test]
fn a_suspicion_names_the_vlan_in_which_it_arose() {
    let bridge = in_vlans();
    let said = plain(mac(9), mac(8));
    forward(&bridge, WEB, &tagged(&said, 20));
    forward(&bridge, WEB, &said);
    forward(&bridge, OTHER, &tagged(&said, 30));
    assert_eq!(bridge.take_suspicion(), None, "it is another's elsewhere");
    forward(&bridge, CLIENT, &said);
    assert_eq!(bridge.take_suspicion(), Some(Vid::new(20)));
    forward(&bridge, OTHER, &tagged(&said, 10));
    assert_eq!(bridge.take_suspicion(), Some(Vid::new(10)));
    assert_eq!(bridge.take_suspicion(), None);
}

#[test]
fn a_probe_leaves_in_the_form_of_its_port_and_counts_where_frames_are_admitted() {
    let bridge = in_vlans();
    let probe = |port, number| Probe {
        port,
        round: 1,
        vlan: Vid::new(number),
    };
    let bare = probe(CLIENT, 20).write(SECRET);
    assert_eq!(
        bridge.write_probe(probe(CLIENT, 20)),
        Some(bare.to_vec()),
        "its native one"
    );
    let written = bridge.write_probe(probe(WEB, 20)).unwrap();
    assert_eq!(written, tagged(&probe(WEB, 20).write(SECRET), 0xe014));
    assert_eq!(bridge.write_probe(probe(OTHER, 20)), None);
    let comes = |port, bytes: &[u8]| forward(&bridge, port, bytes);
    assert_eq!(comes(WEB, &written), Verdict::Probe);
    let frame = Frame::parse(&written).unwrap();
    assert_eq!(bridge.probe(&frame), Some(probe(WEB, 20)));
    assert_eq!(comes(CLIENT, &bare), Verdict::Probe, "in its native VLAN");
    for (port, bytes, reason) in [
        (OTHER, &written[..], DropReason::VlanForeign),
        (OTHER, &bare, DropReason::VlanUntagged),
        (WEB, &tagged(&bare, 30), DropReason::VlanForeign),
    ] {
        assert_eq!(comes(port, bytes), Verdict::Drop(reason));
    }
}
