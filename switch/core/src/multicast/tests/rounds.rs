//! When which question is asked, and by whom.

use std::time::Duration;

use super::super::SnoopingConfig;
use super::super::address::{Address, Family};
use super::super::message::{Message, Query, Read, read};
use super::super::query::{Asker, Question};
use super::network::{GATEWAY, Network, ONE, SENDER, TWO, group, source, sources};
use super::wire::address;
use crate::packet::Packet;
use crate::{Frame, Mac, PortId, Time};

const TO_IN: u8 = 3;
const TO_EX: u8 = 4;
const IS_IN: u8 = 1;
const BLOCK: u8 = 6;

/// Who asks, about which group and sources.
fn asked(bytes: &[u8]) -> (Address, Option<Address>, Vec<Address>) {
    let frame = Frame::parse(bytes).unwrap();
    let packet = Packet::parse(&frame).unwrap();
    match read(&frame, &packet) {
        Read::Message(
            _,
            Message::Query(Query {
                from,
                group,
                sources,
                ..
            }),
        ) => (from, group, sources.iter().collect()),
        other => panic!("{other:?}"),
    }
}

fn general(from: &str, mac: Mac, response: Duration) -> Vec<u8> {
    let v4 = match address(from).ip() {
        std::net::IpAddr::V4(address) => address.octets(),
        std::net::IpAddr::V6(_) => [0; 4],
    };
    let question = Question {
        family: Family::V4,
        group: None,
        sources: Vec::new(),
        response,
    };
    question.write(&Asker { mac, v4 })
}

const ROUTER: Mac = Mac::new([2, 0, 0, 0, 0, 9]);

#[test]
fn a_port_that_is_new_gets_everything_until_it_has_answered() {
    let mut network = Network::unasked(SnoopingConfig::default(), &[]);
    let group = address("239.1.1.1");
    let everybody = [ONE, TWO];
    assert_eq!(network.reached(group, source(Family::V4, 1)), everybody);
    let asked: Vec<_> = network.pass(Duration::from_millis(1600));
    for port in [SENDER, ONE, TWO] {
        let times = asked.iter().filter(|(_, to, _)| *to == port);
        assert_eq!(times.count(), 4, "twice in each family");
    }
    assert_eq!(network.reached(group, source(Family::V4, 1)), everybody);
    network.report(TWO, TO_EX, group, &[]);
    network.pass(Duration::from_secs(3));
    assert_eq!(network.reached(group, source(Family::V4, 1)), [TWO]);
}

#[test]
fn everybody_is_asked_from_time_to_time_by_the_gateway() {
    let mut network = Network::new();
    let asked_at = |family: Family, queries: &[(Time, PortId, Vec<u8>)]| {
        let of_one = queries.iter().filter(|(_, port, _)| *port == ONE);
        let of_family = of_one.filter(|(_, _, bytes)| asked(bytes).0.family() == family);
        of_family
            .map(|(at, _, bytes)| (*at, asked(bytes).0))
            .collect::<Vec<_>>()
    };
    let queries = network.pass(Duration::from_secs(300));
    for (family, own) in [
        (Family::V4, "10.0.0.1"),
        (Family::V6, "fe80::42:aff:fe00:1"),
    ] {
        let times = asked_at(family, &queries);
        assert_eq!(times.len(), 3, "{times:?}");
        assert!(
            times.iter().all(|(_, from)| *from == address(own)),
            "{times:?}"
        );
        assert_eq!(times[2].0.since(times[1].0), Duration::from_secs(125));
    }
    assert!(
        queries
            .iter()
            .all(|(_, _, bytes)| bytes[6..12] == GATEWAY.octets())
    );
}

#[test]
fn the_host_is_asked_in_nobodys_name() {
    let mut network = Network::new();
    let host = PortId(7);
    network
        .bridge
        .add_port(host, crate::PortConfig::new(crate::PortKind::Host, 1500));
    let group = address("239.1.1.1");
    network.report(host, TO_EX, group, &[]);
    let mut queries = network.pass(Duration::from_secs(200));
    network.report(host, TO_IN, group, &[]);
    queries.extend(network.pass(Duration::from_secs(3)));
    let of_host = queries.iter().filter(|(_, port, _)| *port == host);
    let of_host: Vec<_> = of_host.collect();
    assert!(of_host.len() > 6, "{}", of_host.len());
    for (_, _, bytes) in of_host {
        assert_eq!(bytes[6..12], Asker::NOBODY.mac.octets());
    }
}

#[test]
fn who_does_not_answer_for_long_is_forgotten() {
    for family in Family::ALL {
        let mut network = Network::new();
        let (group, from) = (group(family), source(family, 1));
        network.report(ONE, TO_EX, group, &[]);
        network.report(TWO, TO_EX, group, &[]);
        for _ in 0..4 {
            network.pass(Duration::from_secs(125));
            network.report(TWO, 2, group, &[]);
        }
        assert_eq!(network.reached(group, from), [TWO]);
    }
}

#[test]
fn after_a_leave_the_group_is_asked_twice_and_an_answer_keeps_it() {
    for family in Family::ALL {
        let mut network = Network::new();
        let (group, from) = (group(family), source(family, 1));
        network.report(ONE, TO_EX, group, &[]);
        network.report(ONE, TO_IN, group, &[]);
        let queries = network.pass(Duration::from_millis(1500));
        assert_eq!(queries.len(), 2);
        for (_, port, bytes) in &queries {
            assert_eq!(*port, ONE);
            assert_eq!((asked(bytes).1, asked(bytes).2), (Some(group), vec![]));
        }
        network.report(ONE, 2, group, &[]);
        assert_eq!(network.pass(Duration::from_secs(5)), []);
        assert_eq!(network.reached(group, from), [ONE]);
    }
}

#[test]
fn after_a_block_the_sources_are_asked_for() {
    for family in Family::ALL {
        let mut network = Network::new();
        let group = group(family);
        network.report(ONE, IS_IN, group, &sources(family, &[1, 2, 3]));
        network.report(ONE, BLOCK, group, &sources(family, &[1, 2]));
        let queries = network.pass(Duration::from_millis(100));
        assert_eq!(asked(&queries[0].2).2, sources(family, &[1, 2]));
        network.report(ONE, IS_IN, group, &sources(family, &[2]));
        let queries = network.pass(Duration::from_millis(1000));
        assert_eq!(asked(&queries[0].2).2, sources(family, &[1]));
        network.pass(Duration::from_secs(2));
        assert_eq!(network.filter(group, ONE).unwrap().1, [2, 3]);
    }
}

#[test]
fn who_leaves_fast_is_not_asked() {
    let config = SnoopingConfig { fast_leave: true };
    for family in Family::ALL {
        let mut network = Network::with(config, &[]);
        let (group, from) = (group(family), source(family, 1));
        network.report(ONE, TO_EX, group, &[]);
        network.report(TWO, TO_EX, group, &[]);
        network.report(ONE, TO_IN, group, &[]);
        assert_eq!(network.reached(group, from), [TWO]);
        assert_eq!(network.pass(Duration::from_millis(500)), []);
    }
}

#[test]
fn the_lowest_address_asks() {
    let mut network = Network::new();
    let response = Duration::from_secs(10);
    let querier = |network: &Network| {
        let view = network.view();
        (view.queriers[0].address.to_string(), view.queriers[0].port)
    };
    for (from, port, expected) in [
        ("10.0.0.9", ONE, ("10.0.0.1", None)),
        ("0.0.0.0", ONE, ("10.0.0.1", None)),
        ("9.0.0.5", ONE, ("9.0.0.5", Some(ONE))),
        ("9.0.0.7", TWO, ("9.0.0.5", Some(ONE))),
        ("9.0.0.3", TWO, ("9.0.0.3", Some(TWO))),
    ] {
        network.send(port, &general(from, ROUTER, response));
        assert_eq!(
            querier(&network),
            (expected.0.to_owned(), expected.1),
            "{from}"
        );
    }
    let v4 = |queries: Vec<(Time, PortId, Vec<u8>)>| {
        let queries = queries.into_iter();
        queries
            .filter(|(_, _, bytes)| asked(bytes).0.family() == Family::V4)
            .count()
    };
    assert_eq!(
        v4(network.pass(Duration::from_secs(250))),
        0,
        "the other one asks"
    );
    assert!(
        v4(network.pass(Duration::from_secs(10))) > 0,
        "it was not heard again"
    );
    assert_eq!(querier(&network).0, "10.0.0.1");
    network.send(ONE, &general("9.0.0.5", ROUTER, response));
    network.bridge.remove_port(ONE);
    assert_eq!(querier(&network).0, "10.0.0.1", "its port is gone");
}

#[test]
fn who_gives_hosts_too_long_does_not_silence_the_others() {
    let network = Network::new();
    network.send(
        ONE,
        &general("9.0.0.5", ROUTER, Duration::from_millis(12_700)),
    );
    let with_code = |code: u8| {
        let mut bytes = general("9.0.0.4", ROUTER, Duration::from_secs(1));
        bytes[14 + 25] = code;
        bytes[14 + 26..14 + 28].fill(0);
        let sum = crate::checksum::finish(crate::checksum::sum(0, &bytes[14 + 24..]));
        crate::bytes::put_be16(&mut bytes, 14 + 26, sum);
        bytes
    };
    network.send(ONE, &with_code(0xff));
    let view = network.view();
    assert_eq!(view.queriers[0].address.to_string(), "9.0.0.5");
}

#[test]
fn a_queriers_own_questions_count_where_another_asks() {
    let mut network = Network::new();
    let group = address("239.1.1.1");
    network.report(TWO, TO_EX, group, &[]);
    let specific = |from: [u8; 4]| {
        let question = Question {
            family: Family::V4,
            group: Some(group),
            sources: Vec::new(),
            response: Duration::from_secs(1),
        };
        question.write(&Asker {
            mac: ROUTER,
            v4: from,
        })
    };
    network.send(ONE, &specific([9, 0, 0, 5]));
    network.pass(Duration::from_secs(5));
    assert!(network.record(group, TWO).is_some(), "it is no querier");
    network.send(ONE, &general("9.0.0.5", ROUTER, Duration::from_secs(10)));
    network.report(TWO, TO_IN, group, &[]);
    network.pass(Duration::from_secs(5));
    assert!(network.record(group, TWO).is_some(), "it has not asked");
    network.send(ONE, &specific([9, 0, 0, 5]));
    network.pass(Duration::from_secs(3));
    assert!(network.record(group, TWO).is_none());
}

#[test]
fn a_bridge_that_does_not_snoop_asks_nobody() {
    let bridge = crate::Bridge::new(crate::BridgeConfig::default());
    bridge.add_port(ONE, crate::PortConfig::new(crate::PortKind::Tap, 1500));
    assert_eq!(bridge.queries_due(), None);
    assert!(!bridge.take_call());
    assert!(bridge.multicast(Time::from_millis(1)).is_none());
}

#[test]
fn whoever_asks_is_called_when_something_is_due_earlier() {
    let mut network = Network::new();
    let group = address("239.1.1.1");
    network.bridge.take_call();
    network.report(ONE, TO_EX, group, &[]);
    assert!(
        !network.bridge.take_call(),
        "something is due before it ends"
    );
    network.report(ONE, TO_IN, group, &[]);
    assert!(network.bridge.take_call());
    assert!(!network.bridge.take_call());
    network.pass(Duration::from_secs(1));
    assert!(!network.bridge.take_call());
}
