//! Two hosts, each with its bridge; what one sends by its tunnel, the other gets.

use std::time::Duration;

use super::super::SnoopingConfig;
use super::super::address::{Address, Family};
use super::network::{FAR, Network, ONE, OTHER_FAR, SENDER, TWO, group, source, sources};
use super::wire;
use crate::{PortConfig, PortId, PortKind};

const TO_IN: u8 = 3;
const TO_EX: u8 = 4;
const IS_IN: u8 = 1;
const BLOCK: u8 = 6;

struct Hosts {
    here: Network,
    there: Network,
    /// What stations listen to on the other host, with which sources, and where; they answer whatever they are asked.
    listening: Vec<(PortId, Address, Vec<Address>)>,
}

impl Hosts {
    fn new() -> Self {
        let host = || Network::with(SnoopingConfig::default(), &[FAR]);
        Self {
            here: host(),
            there: host(),
            listening: Vec::new(),
        }
    }

    /// A station of the other host says something.
    fn say(&self, port: PortId, kind: u8, group: Address, sources: &[Address]) {
        let bytes = wire::report(group.family(), &[(kind, group, sources.to_vec())]);
        if self.there.egresses(port, &bytes).contains(&FAR) {
            self.here.send(FAR, &bytes);
        }
    }

    fn pass(&mut self, time: Duration) {
        let steps = u32::try_from(time.as_millis() / 100).unwrap();
        for _ in 0..steps {
            let ours = self.here.pass(Duration::from_millis(100));
            assert!(
                ours.iter().all(|(_, port, _)| *port != FAR),
                "a tunnel was asked"
            );
            for (_, port, _) in self.there.pass(Duration::from_millis(100)) {
                for (listener, group, sources) in &self.listening {
                    if *listener == port {
                        let kind = if sources.is_empty() { 2 } else { IS_IN };
                        self.say(port, kind, *group, sources);
                    }
                }
            }
        }
    }
}

#[test]
fn a_host_with_a_listener_gets_the_group_and_no_other() {
    for family in Family::ALL {
        let mut here = Network::with(SnoopingConfig::default(), &[FAR, OTHER_FAR]);
        let group = group(family);
        let report = wire::report(family, &[(TO_EX, group, Vec::new())]);
        here.send(FAR, &report);
        assert_eq!(here.reached(group, source(family, 1)), [FAR]);
        here.report(ONE, TO_EX, group, &[]);
        assert_eq!(here.reached(group, source(family, 1)), [ONE, FAR]);
        let data = wire::data(group, source(family, 1));
        assert_eq!(
            here.egresses(FAR, &data),
            [ONE],
            "never from tunnel to tunnel"
        );
        here.bridge.remove_port(FAR);
        assert_eq!(here.reached(group, source(family, 1)), [ONE]);
        here.pass(Duration::from_secs(1));
    }
}

#[test]
fn who_still_listens_on_another_host_is_not_forgotten_when_somebody_there_leaves() {
    for family in Family::ALL {
        let group = group(family);
        let mut hosts = Hosts::new();
        hosts.listening = vec![(ONE, group, vec![]), (TWO, group, vec![])];
        hosts.say(ONE, TO_EX, group, &[]);
        hosts.say(TWO, TO_EX, group, &[]);
        hosts.listening.remove(0);
        hosts.say(ONE, TO_IN, group, &[]);
        hosts.pass(Duration::from_secs(10));
        assert_eq!(hosts.here.reached(group, source(family, 1)), [FAR]);
        assert_eq!(hosts.there.reached(group, source(family, 1)), [TWO]);
        hosts.listening.clear();
        hosts.say(TWO, TO_IN, group, &[]);
        hosts.pass(Duration::from_secs(3));
        assert_eq!(hosts.here.record(group, FAR), None);
    }
}

#[test]
fn the_same_with_sources() {
    for family in Family::ALL {
        let group = group(family);
        let of = |numbers: &[u8]| sources(family, numbers);
        let mut hosts = Hosts::new();
        hosts.say(ONE, IS_IN, group, &of(&[1, 2]));
        hosts.say(TWO, IS_IN, group, &of(&[2, 3]));
        hosts.listening = vec![(ONE, group, of(&[3, 4])), (TWO, group, of(&[2, 3]))];
        hosts.say(ONE, BLOCK, group, &of(&[1, 2]));
        hosts.say(ONE, TO_IN, group, &of(&[3, 4]));
        hosts.pass(Duration::from_secs(10));
        assert_eq!(hosts.here.filter(group, FAR).unwrap().1, [2, 3, 4]);
    }
}

#[test]
fn listeners_on_another_host_are_refreshed_by_that_hosts_rounds() {
    for family in Family::ALL {
        let group = group(family);
        let mut hosts = Hosts::new();
        hosts.listening = vec![(TWO, group, vec![])];
        hosts.say(TWO, TO_EX, group, &[]);
        hosts.pass(Duration::from_secs(600));
        assert_eq!(hosts.here.reached(group, source(family, 1)), [FAR]);
    }
}

#[test]
fn a_tunnel_that_is_new_is_asked_in_nobodys_name_and_elects_nobody() {
    let mut here = Network::with(SnoopingConfig::default(), &[]);
    let mut there = Network::with(SnoopingConfig::default(), &[FAR]);
    here.bridge
        .add_port(FAR, PortConfig::new(PortKind::Tunnel, 1500));
    let asked = here.pass(Duration::from_secs(1));
    let asked: Vec<_> = asked
        .into_iter()
        .filter(|(_, port, _)| *port == FAR)
        .collect();
    assert_eq!(asked.len(), 2);
    for (_, _, bytes) in &asked {
        assert_eq!(there.egresses(FAR, bytes), [SENDER, ONE, TWO]);
    }
    let view = there.view();
    assert!(view.queriers.iter().all(|querier| querier.port.is_none()));
    assert!(view.routers.is_empty(), "{:?}", view.routers);
    let stations = there.bridge.fdb().snapshot(there.now);
    assert!(stations.is_empty(), "{stations:?}");
    there.pass(Duration::from_secs(1));
}

#[test]
fn a_bridge_without_an_address_gives_way_to_whoever_has_one() {
    let network = Network::new();
    network.bridge.set_gateway(super::network::GATEWAY, &[]);
    let question = super::super::query::Question {
        family: Family::V4,
        group: None,
        sources: Vec::new(),
        response: Duration::from_secs(10),
    };
    let asker = super::super::query::Asker {
        mac: wire::HOST,
        v4: [10, 0, 0, 77],
    };
    network.send(ONE, &question.write(&asker));
    let view = network.view();
    assert_eq!(view.queriers[0].port, Some(ONE));
}
