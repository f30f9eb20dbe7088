//! What a frame's way reads, and what it costs.

use std::time::Duration;

use super::super::{Family, SnoopingConfig};
use super::network::{Network, ONE, SENDER, TWO, group, source};
use super::wire;
use crate::{Block, BumLimit, DropReason, Frame, PortConfig, PortKind, SplitHorizonGroup, Verdict};

const TO_EX: u8 = 4;
const TO_IN: u8 = 3;

#[test]
fn a_verdict_holds_when_the_lists_are_replaced_meanwhile() {
    for family in Family::ALL {
        let network = Network::new();
        let group = group(family);
        network.report(ONE, TO_EX, group, &[]);
        let bytes = wire::data(group, source(family, 1));
        let Verdict::Group(list) = network.send(SENDER, &bytes) else {
            panic!("it has a listener")
        };
        network.report(TWO, TO_EX, group, &[]);
        let frame = Frame::parse(&bytes).unwrap();
        let egresses = network.bridge.group_list(SENDER, (list, None), &frame);
        assert!(egresses.egresses().eq([ONE, TWO]), "the new listener too");
    }
}

#[test]
fn frames_of_one_group_have_one_verdict_and_those_of_others_another() {
    let network = Network::new();
    let [one, other] = ["239.1.1.1", "239.1.1.2"].map(wire::address);
    for group in [one, other] {
        network.report(ONE, TO_EX, group, &[]);
    }
    let verdict = |group| network.send(SENDER, &wire::data(group, source(Family::V4, 1)));
    assert_eq!(verdict(one), verdict(one));
    assert_ne!(verdict(one), verdict(other));
}

#[test]
fn a_listener_that_is_blocked_or_kept_apart_gets_nothing() {
    let network = Network::new();
    let group = group(Family::V4);
    for port in [ONE, TWO] {
        network.report(port, TO_EX, group, &[]);
    }
    network.bridge.block(ONE, Block::Loop(None));
    assert_eq!(network.reached(group, source(Family::V4, 1)), [TWO]);
    network.bridge.unblock(ONE, Block::Loop(None));
    for port in [SENDER, TWO] {
        let config = PortConfig {
            group: SplitHorizonGroup::ISOLATED,
            ..PortConfig::new(PortKind::Tap, 1500)
        };
        network.bridge.add_port(port, config);
    }
    assert_eq!(network.reached(group, source(Family::V4, 1)), [ONE]);
}

#[test]
fn listeners_pay_for_their_copies_and_reports_cost_their_sender() {
    let mut network = Network::with(SnoopingConfig::default(), &[]);
    let limited = PortConfig {
        bum_limit: Some(BumLimit {
            frames_s: 10,
            burst_frames: 20,
        }),
        ..PortConfig::new(PortKind::Tap, 1500)
    };
    network.bridge.add_port(SENDER, limited);
    let (group, from) = (group(Family::V4), source(Family::V4, 1));
    network.report(ONE, TO_EX, group, &[]);
    for _ in 0..1000 {
        assert_eq!(network.reached(group, from), [ONE]);
    }
    let join = wire::report(Family::V4, &[(TO_EX, group, Vec::new())]);
    let taken = |network: &Network| {
        let verdicts = (0..10).map(|_| network.send(SENDER, &join));
        verdicts
            .filter(|verdict| *verdict == Verdict::Taken)
            .count()
    };
    assert_eq!(taken(&network), 2, "ten frames' worth each");
    assert_eq!(
        network.send(SENDER, &join),
        Verdict::Drop(DropReason::BumRate)
    );
    network.pass(Duration::from_secs(1));
    assert_eq!(taken(&network), 1);
}

#[test]
fn a_rehearsal_changes_nothing_and_says_why() {
    let network = Network::new();
    let group = group(Family::V4);
    network.report(ONE, TO_EX, group, &[]);
    let before = network.bridge.multicast(network.now);
    let rehearsal = network.bridge.rehearse();
    let leave = wire::report(Family::V4, &[(TO_IN, group, Vec::new())]);
    rehearsal.trace(network.now, ONE, &leave);
    let join = wire::report(Family::V4, &[(TO_EX, group, Vec::new())]);
    rehearsal.trace(network.now, TWO, &join);
    let traced = rehearsal.trace(
        network.now,
        SENDER,
        &wire::data(group, source(Family::V4, 1)),
    );
    assert_eq!(traced.egresses, [ONE, TWO]);
    let other = wire::data(wire::address("239.9.9.9"), source(Family::V4, 1));
    let traced = rehearsal.trace(network.now, SENDER, &other);
    assert_eq!(traced.dropped(), Some(DropReason::NoListener));
    assert_eq!(network.bridge.multicast(network.now), before);
}
