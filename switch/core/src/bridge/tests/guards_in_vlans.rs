//! What guards ports and frames, in a network that is aware of VLANs.

use std::time::Duration;

use super::*;
use crate::policy::{Action, JudgedBy, Members, Membership, Policy, Rule, RuleSet};
use crate::vlan::{PortVlans, Tag, Vid, VidSet, VlanConfig};
use crate::{FdbKind, PortGuards, Station, bpdu};

/// A trunk of all VLANs, and a port of one.
fn bridge(guards: PortGuards) -> Bridge {
    let bridge = Bridge::new(BridgeConfig {
        vlans: Some(VlanConfig::default()),
        ..BridgeConfig::default()
    });
    let port = |vlans| PortConfig {
        vlans: Some(vlans),
        guards,
        ..tap()
    };
    bridge.add_port(WEB, port(PortVlans::trunk(None, VidSet::all())));
    bridge.add_port(CLIENT, port(PortVlans::access(ten())));
    bridge
}

fn ten() -> Vid {
    Vid::new(10).unwrap()
}

fn in_ten(bytes: &[u8]) -> Vec<u8> {
    let (addresses, rest) = bytes.split_at(12);
    [addresses, &[0x81, 0, 0, 10], rest].concat()
}

#[test]
fn an_access_list_looks_beneath_the_tag() {
    let bridge = bridge(PortGuards::NONE);
    let mut rule = Rule::new(1, Action::Deny);
    rule.protocol = Some(17);
    let all = RuleSet::of(1, |_| true);
    let member = Membership {
        from: all.clone(),
        to: all,
    };
    let members = Members {
        ports: vec![(WEB, member.clone()), (CLIENT, member)],
        ..Members::default()
    };
    let policy = Policy::new(&[rule], Action::Allow, &members);
    bridge.set_policy(Some(Arc::new(policy)));
    let (denied, allowed) = (
        in_ten(&udp(mac(9), Ipv4Addr::new(172, 17, 0, 9), 7000)),
        in_ten(&plain(mac(9), mac(3))),
    );
    for (bytes, passes) in [(&denied, false), (&allowed, true)] {
        let frame = Frame::parse(bytes).unwrap();
        let passed = bridge.pass(at(1000), WEB, &frame);
        assert_eq!(passed.verdict, Verdict::Flood);
        let inner = passed.tag.map(|tag: Tag| tag.beneath(frame)).unwrap();
        let list = bridge.flood_list(WEB);
        assert_eq!(list.judge(CLIENT, &inner).is_ok(), passes);
        let told = bridge.rehearse().trace(at(1000), WEB, bytes);
        assert_eq!(told.egresses.contains(&CLIENT), passes);
    }
    // And of a frame whose egress is known.
    forward(&bridge, CLIENT, &plain(Mac::BROADCAST, mac(9)));
    assert_eq!(
        forward(&bridge, WEB, &denied),
        Verdict::Drop(DropReason::Acl)
    );
    assert_eq!(forward(&bridge, WEB, &allowed), Verdict::Unicast(CLIENT));
    let denial = |bytes: &[u8]| bridge.denial(WEB, &Frame::parse(bytes).unwrap());
    let before = bridge.policy().unwrap().hits();
    let (egress, judged) = denial(&denied).unwrap();
    assert_eq!((egress, judged.by), (CLIENT, JudgedBy::Rule(1)));
    assert_eq!(denial(&allowed), None);
    assert_eq!(bridge.policy().unwrap().hits(), before, "not counted again");
}

#[test]
fn a_configured_station_lives_in_the_native_vlan_of_its_port() {
    let bridge = bridge(PortGuards {
        locked: true,
        ..PortGuards::NONE
    });
    let said = || forward(&bridge, CLIENT, &plain(Mac::BROADCAST, mac(4)));
    assert_eq!(said(), Verdict::Drop(DropReason::LockedPort));
    assert!(bridge.enter_station(mac(4), CLIENT, FdbKind::Static));
    let station = Station::new(Some(ten()), mac(4));
    assert_eq!(bridge.station_at(CLIENT, mac(4)), station);
    assert_eq!(bridge.fdb().lookup(station), Some(CLIENT));
    assert_eq!(said(), Verdict::Flood);
    assert!(bridge.forget_station(mac(4)));
    assert!(!bridge.forget_station(mac(4)));
    assert_eq!(said(), Verdict::Drop(DropReason::LockedPort));
}

#[test]
fn a_bpdu_is_seen_before_its_vlan() {
    let bridge = bridge(PortGuards {
        bpdu: Some(Duration::ZERO),
        ..PortGuards::NONE
    });
    // Without a tag, where the trunk has no native VLAN.
    assert_eq!(
        forward(&bridge, WEB, &bpdu::tests::bpdu()),
        Verdict::Drop(DropReason::BpduGuard)
    );
}
