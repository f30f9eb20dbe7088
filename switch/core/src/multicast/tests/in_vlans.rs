//! Groups in VLANs: what the kernel's own test says of them (`bridge_vlan_mcast.sh`), and what is ours beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::address::{Address, Family};
use super::super::in_vlans::SEATS_MAX;
use super::super::query::{Asker, Question};
use super::super::room::RECORDS_OF_SANDBOX_MAX;
use super::super::{MulticastView, SnoopingConfig};
use super::network::{GATEWAY, group, source, sources};
use super::wire::{self, address};
use crate::vlan::{PortVlans, TagProtocol, Vid, VlanConfig};
use crate::{
    Bridge, BridgeConfig, DropReason, Frame, Mac, Passed, PortConfig, PortId, PortKind, Time,
    Verdict,
};

const IS_IN: u8 = 1;
const IS_EX: u8 = 2;
const TO_IN: u8 = 3;
const TO_EX: u8 = 4;
const ALLOW: u8 = 5;
const BLOCK: u8 = 6;

const EDGE: PortId = PortId(1);
const RED: PortId = PortId(2);
const ROSE: PortId = PortId(3);
const BLUE: PortId = PortId(4);
const TRUNK: PortId = PortId(5);
const FAR: PortId = PortId(8);
const HOME: u16 = 1;

fn vid(number: u16) -> Vid {
    Vid::new(number).unwrap()
}

fn access(number: u16) -> PortVlans {
    PortVlans::access(vid(number))
}

fn trunk(native: Option<u16>, tagged: &str) -> PortVlans {
    PortVlans::trunk(native.and_then(Vid::new), tagged.parse().unwrap())
}

/// A bridge that is aware of VLANs, and its clock.
struct Campus {
    bridge: Bridge,
    now: Time,
    protocol: TagProtocol,
}

impl Campus {
    /// Two stations of VLAN 10, one of 20, and one that has both with their tags.
    fn new() -> Self {
        Self::with(SnoopingConfig::default(), TagProtocol::Customer)
    }

    fn with(snooping: SnoopingConfig, protocol: TagProtocol) -> Self {
        let mut campus = Self::empty(snooping, protocol);
        for (port, vlans) in [
            (RED, access(10)),
            (ROSE, access(10)),
            (BLUE, access(20)),
            (TRUNK, trunk(None, "10,20,30")),
        ] {
            campus.plug(port, vlans);
        }
        campus.pass(Duration::from_secs(20));
        campus
    }

    fn empty(snooping: SnoopingConfig, protocol: TagProtocol) -> Self {
        let bridge = Bridge::new(BridgeConfig {
            snooping: Some(snooping),
            vlans: Some(VlanConfig {
                protocol,
                default: vid(HOME),
            }),
            ..BridgeConfig::default()
        });
        bridge.set_gateway(GATEWAY, &["10.0.0.1".parse().unwrap()]);
        Self {
            bridge,
            now: Time::from_millis(100_000),
            protocol,
        }
    }

    fn plug(&self, port: PortId, vlans: PortVlans) {
        let config = PortConfig {
            vlans: Some(vlans),
            ..PortConfig::new(PortKind::Tap, 1500)
        };
        self.bridge.add_port(port, config);
    }

    /// Does what is due in that time, and gives what was asked where.
    fn pass(&mut self, time: Duration) -> Vec<(PortId, Vec<u8>)> {
        let end = self.now + time;
        let mut asked = Vec::new();
        while let Some(due) = self.bridge.queries_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            asked.extend(self.bridge.take_queries(self.now));
        }
        self.now = end;
        asked
    }

    fn tagged(&self, bytes: &[u8], number: impl Into<Option<u16>>) -> Vec<u8> {
        let Some(number) = number.into() else {
            return bytes.to_vec();
        };
        let (addresses, rest) = bytes.split_at(12);
        [addresses, &self.protocol.tag(number), rest].concat()
    }

    fn send(&self, port: PortId, number: impl Into<Option<u16>>, bytes: &[u8]) -> Passed {
        let bytes = self.tagged(bytes, number);
        let frame = Frame::parse(&bytes).unwrap();
        self.bridge.pass(self.now, port, &frame)
    }

    fn report(
        &self,
        (port, number): (PortId, impl Into<Option<u16>>),
        kind: u8,
        group: Address,
        sources: &[Address],
    ) {
        let record = (kind, group, sources.to_vec());
        self.send(port, number, &wire::report(group.family(), &[record]));
    }

    /// Who gets these bytes.
    fn egresses(
        &self,
        ingress: PortId,
        number: impl Into<Option<u16>>,
        bytes: &[u8],
    ) -> Vec<PortId> {
        let passed = self.send(ingress, number, bytes);
        let list = self.bridge.flood_list(ingress);
        let egresses: Vec<_> = match passed.verdict {
            Verdict::Group(group) => {
                let frame = Frame::parse(bytes).unwrap();
                let asked = self.bridge.group_list(ingress, (group, passed.tag), &frame);
                asked.egresses().collect()
            }
            Verdict::Flood => list.to_vec(),
            _ => Vec::new(),
        };
        let takes = |egress: &PortId| *egress != ingress && list.takes(*egress, passed.tag);
        egresses.into_iter().filter(takes).collect()
    }

    /// Who gets a datagram for the group in that VLAN, from a station that is there to send.
    fn reached(&self, number: u16, group: Address) -> Vec<PortId> {
        let data = wire::data(group, source(group.family(), 1));
        let mut reached = self.egresses(TRUNK, number, &data);
        reached.sort_unstable();
        reached
    }

    fn view(&self, number: u16) -> Option<MulticastView> {
        let views = self.bridge.multicast(self.now).unwrap().into_iter();
        let mut views = views.filter(|view| view.vlan == Vid::new(number));
        views.next()
    }

    /// Who is in the table of that VLAN.
    fn listeners(&self, number: u16) -> Vec<(String, PortId)> {
        let records = self.view(number).map(|view| view.records);
        let records = records.unwrap_or_default().into_iter();
        records
            .map(|record| (record.group.to_string(), record.port))
            .collect()
    }
}

fn general(from: [u8; 4], mac: Mac) -> Vec<u8> {
    let question = Question {
        family: Family::V4,
        group: None,
        sources: Vec::new(),
        response: Duration::from_secs(10),
    };
    question.write(&Asker { mac, v4: from })
}

// vlmc_v2join_test.
#[test]
fn a_join_in_one_vlan_says_nothing_of_another() {
    for family in Family::ALL {
        let campus = Campus::new();
        let group = group(family);
        let join = match family {
            Family::V4 => wire::igmp(0x16, 0, group),
            Family::V6 => wire::mld(131, group),
        };
        campus.send(TRUNK, 10, &join);
        assert_eq!(campus.listeners(10), [(group.ip().to_string(), TRUNK)]);
        assert_eq!(campus.listeners(20), []);
        let data = wire::data(group, source(family, 1));
        assert_eq!(campus.egresses(RED, None, &data), [TRUNK]);
        if family == Family::V4 {
            let passed = campus.send(BLUE, None, &data);
            assert_eq!(passed.verdict, Verdict::Drop(DropReason::NoListener));
        }
        campus.report((ROSE, None), TO_EX, group, &[]);
        assert_eq!(campus.egresses(RED, None, &data), [ROSE, TRUNK]);
        assert_eq!(campus.egresses(TRUNK, 10, &data), [ROSE]);
    }
}

// vlmc_querier_test, vlmc_query_intvl_test.
#[test]
fn each_vlan_that_has_ports_is_asked_in_the_form_of_each() {
    for protocol in [TagProtocol::Customer, TagProtocol::Service] {
        let mut campus = Campus::with(SnoopingConfig::default(), protocol);
        campus.plug(EDGE, access(HOME));
        campus.pass(Duration::from_secs(20));
        let asked = campus.pass(Duration::from_secs(130));
        let mut forms = BTreeMap::new();
        for (port, bytes) in asked {
            let frame = Frame::parse(&bytes).unwrap();
            let tci = (frame.tag_type() == Some(protocol.ethertype()))
                .then(|| u16::from_be_bytes([bytes[14], bytes[15]]));
            *forms.entry((port, tci, frame.src())).or_insert(0) += 1;
        }
        let nobody = Asker::NOBODY.mac;
        // Each of both families; of internetwork control.
        let expected = [
            ((EDGE, None, GATEWAY), 2),
            ((RED, None, nobody), 2),
            ((ROSE, None, nobody), 2),
            ((BLUE, None, nobody), 2),
            ((TRUNK, Some(0xc000 | 10), nobody), 2),
            ((TRUNK, Some(0xc000 | 20), nobody), 2),
            ((TRUNK, Some(0xc000 | 30), nobody), 2),
        ];
        assert_eq!(forms, expected.into());
    }
}

#[test]
fn a_querier_asks_for_its_vlan_alone() {
    let mut campus = Campus::new();
    campus.send(TRUNK, 10, &general([10, 0, 0, 9], wire::HOST));
    let querier = |campus: &Campus, number| campus.view(number).unwrap().queriers[0].port;
    assert_eq!(querier(&campus, 10), Some(TRUNK));
    assert_eq!(querier(&campus, 20), None);
    let asked = campus.pass(Duration::from_secs(130));
    let of_v4 = |port| {
        let of_port = asked.iter().filter(|(to, _)| *to == port);
        let igmp = |bytes: &[u8]| bytes.windows(2).any(|two| two == [0x08, 0x00]);
        of_port.filter(|(_, bytes)| igmp(&bytes[12..18])).count()
    };
    assert_eq!((of_v4(RED), of_v4(BLUE)), (0, 1));
}

// vlmc_router_port_test.
#[test]
fn a_router_gets_the_groups_of_the_vlan_in_which_it_was_heard() {
    let campus = Campus::new();
    let group = address("239.1.1.1");
    campus.send(RED, None, &general([10, 0, 0, 9], wire::HOST));
    assert_eq!(campus.reached(10, group), [RED]);
    assert_eq!(campus.reached(20, group), []);
    // What is said to be a router's is one's in all of its VLANs.
    let config = PortConfig {
        multicast_router: true,
        ..campus.bridge.port_config(TRUNK).unwrap()
    };
    campus.bridge.add_port(TRUNK, config);
    let data = wire::data(group, source(Family::V4, 1));
    assert_eq!(campus.egresses(RED, None, &data), [TRUNK]);
    assert_eq!(campus.egresses(BLUE, None, &data), [TRUNK]);
}

// vlmc_last_member_test.
#[test]
fn who_leaves_in_one_vlan_stays_in_another() {
    for fast_leave in [false, true] {
        let mut campus = Campus::with(SnoopingConfig { fast_leave }, TagProtocol::Customer);
        let group = address("239.1.1.1");
        for number in [10, 20] {
            campus.report((TRUNK, number), TO_EX, group, &[]);
        }
        campus.report((TRUNK, 10), TO_IN, group, &[]);
        let asked = campus.pass(Duration::from_millis(100));
        let expected = if fast_leave { 0 } else { 1 };
        assert_eq!(asked.len(), expected, "it is asked about VLAN 10 alone");
        for (port, bytes) in asked {
            assert_eq!((port, &bytes[14..16]), (TRUNK, &[0xc0, 10][..]));
        }
        campus.pass(Duration::from_secs(3));
        assert_eq!(campus.listeners(10), []);
        assert_eq!(campus.listeners(20), [("239.1.1.1".to_owned(), TRUNK)]);
        let counts = |number| campus.view(number).unwrap().counts.reports;
        assert_eq!(counts(10).iter().sum::<u64>(), 2);
        assert_eq!(counts(20).iter().sum::<u64>(), 1);
        let all = campus.bridge.multicast_counts().unwrap().reports;
        assert_eq!(all.iter().sum::<u64>(), 3);
    }
}

#[test]
fn a_port_that_leaves_a_vlan_is_forgotten_there() {
    let mut campus = Campus::new();
    let group = address("239.1.1.1");
    for (port, number) in [(RED, None), (TRUNK, Some(10)), (TRUNK, Some(20))] {
        campus.report((port, number), TO_EX, group, &[]);
    }
    campus.plug(TRUNK, trunk(None, "20,40"));
    assert_eq!(campus.listeners(10), [("239.1.1.1".to_owned(), RED)]);
    assert_eq!(campus.listeners(20), [("239.1.1.1".to_owned(), TRUNK)]);
    // From a station's VLAN to another: there it gets everything until it has answered.
    campus.plug(RED, access(20));
    assert_eq!(campus.listeners(10), []);
    assert_eq!(campus.reached(20, group), [RED]);
    let asked = campus.pass(Duration::from_secs(5));
    assert_eq!(asked.iter().filter(|(port, _)| *port == RED).count(), 4);
    assert_eq!(campus.reached(20, group), []);
    // Nobody is left in 10 when this one goes; what was counted there stays.
    let counted = campus.bridge.multicast_counts().unwrap();
    campus.bridge.remove_port(ROSE);
    assert_eq!(campus.view(10), None);
    assert_eq!(campus.bridge.multicast_counts(), Some(counted));
    campus.bridge.remove_port(TRUNK);
    assert_eq!(campus.listeners(20), []);
}

#[test]
fn vlans_that_nobody_speaks_in_cost_nothing() {
    let mut campus = Campus::empty(SnoopingConfig::default(), TagProtocol::Customer);
    campus.plug(TRUNK, trunk(None, "all"));
    campus.plug(RED, trunk(None, "all"));
    campus
        .bridge
        .add_port(FAR, PortConfig::new(PortKind::Tunnel, 1500));
    assert_eq!(campus.bridge.queries_due(), None);
    assert_eq!(campus.bridge.multicast(campus.now), Some(Vec::new()));
    // The first frame reaches everybody, and everybody is asked.
    let data = wire::data(address("239.1.1.1"), source(Family::V4, 1));
    assert_eq!(campus.egresses(RED, 7, &data), [TRUNK, FAR]);
    assert!(campus.bridge.take_call());
    let asked = campus.pass(Duration::from_secs(5));
    for port in [RED, TRUNK, FAR] {
        assert_eq!(asked.iter().filter(|(to, _)| *to == port).count(), 4);
    }
    let passed = campus.send(RED, 7, &data);
    assert_eq!(passed.verdict, Verdict::Drop(DropReason::NoListener));
    // So does one by a tunnel, and a broadcast of no IP.
    assert_eq!(campus.egresses(FAR, 8, &data), [RED, TRUNK]);
    let who_has = [&[0xff; 6][..], &wire::HOST.octets(), &[8, 6], &[0; 46]].concat();
    campus.send(TRUNK, 9, &who_has);
    let vlans = campus.bridge.multicast(campus.now).unwrap();
    let vlans: Vec<_> = vlans.iter().map(|view| view.vlan).collect();
    assert_eq!(vlans, [7, 8, 9].map(Vid::new));
    // But not where only tunnels belong.
    for port in [RED, TRUNK] {
        campus.plug(port, trunk(None, "1-99,101-4094"));
    }
    campus.send(FAR, 100, &data);
    assert_eq!(campus.view(100), None);
}

#[test]
fn what_a_port_may_want_holds_for_all_of_its_vlans_together() {
    let campus = Campus::new();
    let most = u8::try_from(RECORDS_OF_SANDBOX_MAX / 2).unwrap();
    let join = |number: u16, last: u8| {
        let group = address(&format!("239.1.{number}.{last}"));
        campus.report((TRUNK, number), TO_EX, group, &[]);
    };
    for last in 0..most {
        join(10, last);
        join(20, last);
    }
    assert_eq!(campus.bridge.multicast_counts().unwrap().full, 0);
    join(10, 255);
    assert_eq!(campus.bridge.multicast_counts().unwrap().full, 1);
    let nobodys = wire::data(address("239.9.9.9"), source(Family::V4, 1));
    assert_eq!(campus.egresses(RED, None, &nobodys), [TRUNK], "it gets all");
    assert_eq!(campus.egresses(BLUE, None, &nobodys), [], "but only there");
    // One that is given up in a VLAN is room in another.
    campus.report((TRUNK, 20), TO_IN, address("239.1.20.1"), &[]);
    let mut campus = campus;
    campus.pass(Duration::from_secs(3));
    campus.report((TRUNK, 10), TO_EX, address("239.1.10.255"), &[]);
    assert_eq!(campus.bridge.multicast_counts().unwrap().full, 1);
    campus.plug(TRUNK, trunk(None, "20"));
    campus.report((TRUNK, 20), TO_EX, address("239.1.20.255"), &[]);
    assert_eq!(campus.bridge.multicast_counts().unwrap().full, 1);
}

#[test]
fn beyond_the_last_seat_vlans_flood() {
    let mut campus = Campus::empty(SnoopingConfig::default(), TagProtocol::Customer);
    let ports: Vec<_> = (1..=32).map(PortId).collect();
    for port in &ports {
        campus.plug(*port, trunk(None, "all"));
    }
    let join = wire::report(Family::V4, &[(TO_EX, address("239.1.1.1"), Vec::new())]);
    let awake = SEATS_MAX / ports.len();
    for number in 1..=4094 {
        // What a report costs is there again.
        campus.now = campus.now + Duration::from_millis(20);
        campus.send(PortId(1), number, &join);
    }
    let vlans = campus.bridge.multicast(campus.now).unwrap();
    assert_eq!(vlans.len(), awake);
    assert_eq!(campus.bridge.multicast_counts().unwrap().full, 1 + 1792);
    let data = wire::data(address("239.1.1.1"), source(Family::V4, 1));
    assert_eq!(campus.egresses(PortId(2), 4094, &data).len(), 31);
    // A VLAN that a port has without tags is served all the same.
    campus.plug(PortId(40), access(4094));
    assert!(campus.view(4094).is_some());
}

#[test]
fn a_host_gets_the_groups_that_it_has_listeners_of_in_each_vlan() {
    for family in Family::ALL {
        let mut campus = Campus::new();
        campus
            .bridge
            .add_port(FAR, PortConfig::new(PortKind::Tunnel, 1500));
        let asked = campus.pass(Duration::from_secs(5));
        let of_far = asked.iter().filter(|(port, _)| *port == FAR);
        let mut forms: Vec<_> = of_far.map(|(_, bytes)| bytes[12..16].to_vec()).collect();
        forms.sort();
        forms.dedup();
        assert_eq!(forms, [10, 20, 30].map(|vid| [0x81, 0, 0xc0, vid]));
        let group = group(family);
        let report = wire::report(family, &[(TO_EX, group, Vec::new())]);
        assert_eq!(campus.egresses(FAR, 10, &report), []);
        let data = wire::data(group, source(family, 1));
        assert_eq!(campus.egresses(RED, None, &data), [FAR]);
        // In 20 nobody asked: what is wider than the link goes nowhere, and what is not to everybody.
        let others = match family {
            Family::V4 => vec![],
            Family::V6 => vec![TRUNK, FAR],
        };
        assert_eq!(campus.egresses(BLUE, None, &data), others);
        assert_eq!(campus.egresses(BLUE, None, &report), [FAR], "a report");
    }
}

#[test]
fn a_rehearsal_changes_nothing() {
    let campus = Campus::new();
    let group = address("239.1.1.1");
    campus.report((TRUNK, 10), TO_EX, group, &[]);
    let before = campus.bridge.multicast(campus.now);
    let rehearsal = campus.bridge.rehearse();
    assert_eq!(rehearsal.bridge().multicast(campus.now), before);
    let data = wire::data(group, source(Family::V4, 1));
    let trace = rehearsal.trace(campus.now, RED, &data);
    assert_eq!(trace.egresses, [TRUNK]);
    let join = wire::report(Family::V4, &[(TO_EX, address("239.1.1.2"), Vec::new())]);
    rehearsal.trace(campus.now, BLUE, &join);
    assert_ne!(rehearsal.bridge().multicast(campus.now), before);
    assert_eq!(campus.bridge.multicast(campus.now), before);
}

/// Something that happens in one of two VLANs.
#[derive(Clone, Debug)]
enum Event {
    Report {
        is_first: bool,
        station: usize,
        kind: u8,
        group: u8,
        sources: Vec<u8>,
    },
    Pass(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    let kind = prop::sample::select(vec![IS_IN, IS_EX, TO_IN, TO_EX, ALLOW, BLOCK]);
    let report = (any::<bool>(), 0..3_usize, kind, 0..3_u8);
    let report = (report, prop::collection::vec(0..4_u8, 0..3)).prop_map(
        |((is_first, station, kind, group), sources)| Event::Report {
            is_first,
            station,
            kind,
            group,
            sources,
        },
    );
    prop_oneof![4 => report, 1 => (0..200_000_u64).prop_map(Event::Pass)]
}

/// The stations of a VLAN: two that have it without tags, and the trunk.
fn stations(is_first: bool) -> [PortId; 3] {
    match is_first {
        true => [RED, ROSE, TRUNK],
        false => [BLUE, PortId(6), TRUNK],
    }
}

/// A bridge with the stations of one VLAN, that knows none.
fn alone(is_first: bool) -> Bridge {
    let bridge = Bridge::new(BridgeConfig {
        snooping: Some(SnoopingConfig::default()),
        ..BridgeConfig::default()
    });
    for port in stations(is_first) {
        bridge.add_port(port, PortConfig::new(PortKind::Tap, 1500));
    }
    bridge
}

proptest! {
    #[test]
    fn two_vlans_are_as_two_networks(events in prop::collection::vec(any_event(), 0..40)) {
        let mut campus = Campus::new();
        campus.plug(PortId(6), access(20));
        campus.pass(Duration::from_secs(20));
        let models = [true, false].map(alone);
        let settle = |bridge: &Bridge, until: Time| {
            while bridge.queries_due().is_some_and(|due| due <= until) {
                bridge.take_queries(bridge.queries_due().unwrap_or(until));
            }
        };
        // They were asked when the campus was.
        for model in &models {
            model.take_queries(Time::from_millis(100_000));
            settle(model, campus.now);
        }
        let number = |is_first| if is_first { 10 } else { 20 };
        let tag = |port, is_first| (port == TRUNK).then_some(number(is_first));
        let model_of = |is_first: bool| &models[usize::from(!is_first)];
        for event in events {
            match event {
                Event::Report { is_first, station, kind, group, sources: numbers } => {
                    let port = stations(is_first)[station];
                    let group = address(&format!("239.1.1.{group}"));
                    let sources = sources(Family::V4, &numbers);
                    campus.report((port, tag(port, is_first)), kind, group, &sources);
                    let bytes = wire::report(Family::V4, &[(kind, group, sources)]);
                    let frame = Frame::parse(&bytes).unwrap();
                    model_of(is_first).forward(campus.now, port, &frame);
                }
                Event::Pass(ms) => {
                    campus.pass(Duration::from_millis(ms));
                    models.iter().for_each(|model| settle(model, campus.now));
                }
            }
            for is_first in [true, false] {
                let model = model_of(is_first);
                let own = campus.view(number(is_first)).unwrap();
                let views = model.multicast(campus.now).unwrap();
                prop_assert_eq!(&own.records, &views[0].records);
                for (group, from) in [(0, 0), (0, 3), (1, 1), (2, 2)] {
                    let bytes = wire::data(
                        address(&format!("239.1.1.{group}")),
                        source(Family::V4, from),
                    );
                    let frame = Frame::parse(&bytes).unwrap();
                    let ingress = stations(is_first)[0];
                    let expected = match model.forward(campus.now, ingress, &frame) {
                        Verdict::Group(list) => model
                            .group_list(ingress, (list, None), &frame)
                            .egresses()
                            .collect(),
                        _ => Vec::new(),
                    };
                    prop_assert_eq!(campus.egresses(ingress, None, &bytes), expected);
                }
            }
        }
    }
}
