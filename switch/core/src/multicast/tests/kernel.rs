//! The cases of the kernel's tests, of both families.

use std::time::Duration;

use super::super::address::{Address, Family};
use super::network::{FAR, Network, ONE, ROUTER, SENDER, TWO, group, source, sources};
use super::wire;
use crate::{DropReason, FilterMode, PortConfig, PortId, PortKind, Verdict};
use FilterMode::{Exclude, Include};

const IS_IN: u8 = 1;
const IS_EX: u8 = 2;
const TO_IN: u8 = 3;
const TO_EX: u8 = 4;
const ALLOW: u8 = 5;
const BLOCK: u8 = 6;
/// Two last member query intervals.
const LAST: Duration = Duration::from_secs(2);

/// Port one includes 1, 2 and 3.
fn included(family: Family) -> Network {
    let network = Network::new();
    report(&network, family, IS_IN, &[1, 2, 3]);
    assert_eq!(
        network.filter(group(family), ONE),
        Some((Include, vec![1, 2, 3], vec![]))
    );
    network
}

/// Then it excludes 20 and 21, and 1 and 2 in a while.
fn excluded(family: Family) -> Network {
    let network = included(family);
    report(&network, family, IS_EX, &[1, 2, 20, 21]);
    assert_eq!(
        network.filter(group(family), ONE),
        Some((Exclude, vec![1, 2], vec![20, 21]))
    );
    network
}

fn report(network: &Network, family: Family, kind: u8, numbers: &[u8]) {
    network.report(ONE, kind, group(family), &sources(family, numbers));
}

fn reached(network: &Network, family: Family, number: u8) -> Vec<PortId> {
    network.reached(group(family), source(family, number))
}

/// That port one gets frames of these sources and of no other that the tests speak of.
fn passes(network: &Network, family: Family, wanted: &[u8]) {
    for number in [1, 2, 3, 10, 11, 12, 20, 21, 30, 100] {
        let expected = if wanted.contains(&number) {
            vec![ONE]
        } else {
            vec![]
        };
        assert_eq!(
            reached(network, family, number),
            expected,
            "{family:?} {number}"
        );
    }
}

fn each(test: impl Fn(Family)) {
    Family::ALL.into_iter().for_each(test);
}

fn old_join(family: Family) -> Vec<u8> {
    match family {
        Family::V4 => wire::igmp(0x16, 0, group(family)),
        Family::V6 => wire::mld(131, group(family)),
    }
}

fn old_leave(family: Family) -> Vec<u8> {
    match family {
        Family::V4 => wire::igmp(0x17, 0, group(family)),
        Family::V6 => wire::mld(132, group(family)),
    }
}

#[test]
fn v2_report_and_leave() {
    each(|family| {
        let mut network = Network::new();
        network.send(ONE, &old_join(family));
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Exclude, vec![], vec![]))
        );
        assert_eq!(reached(&network, family, 1), [ONE]);
        network.send(ONE, &old_leave(family));
        assert_eq!(reached(&network, family, 1), [ONE], "it has time to say no");
        network.pass(LAST);
        assert_eq!(network.filter(group(family), ONE), None);
        // Whom nobody asked for: nobody gets what is wider than the link, and everybody what is not.
        let everybody = if family == Family::V4 {
            vec![]
        } else {
            vec![ONE, TWO]
        };
        assert_eq!(reached(&network, family, 1), everybody);
    });
}

#[test]
fn v3_include() {
    each(|family| passes(&included(family), family, &[1, 2, 3]));
}

#[test]
fn v3_include_allow() {
    each(|family| {
        let network = included(family);
        report(&network, family, ALLOW, &[10, 11, 12]);
        passes(&network, family, &[1, 2, 3, 10, 11, 12]);
    });
}

#[test]
fn v3_include_is_include() {
    each(|family| {
        let network = included(family);
        report(&network, family, IS_IN, &[10, 11, 12]);
        passes(&network, family, &[1, 2, 3, 10, 11, 12]);
    });
}

#[test]
fn v3_include_is_exclude() {
    each(|family| {
        passes(&excluded(family), family, &[1, 2, 3, 10, 11, 12, 30, 100]);
    });
}

#[test]
fn v3_include_to_exclude() {
    each(|family| {
        let mut network = included(family);
        report(&network, family, TO_EX, &[1, 20, 30]);
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Exclude, vec![1], vec![20, 30]))
        );
        passes(&network, family, &[1, 2, 3, 10, 11, 12, 21, 100]);
        network.pass(LAST);
        passes(&network, family, &[2, 3, 10, 11, 12, 21, 100]);
    });
}

#[test]
fn v3_exclude_allow() {
    each(|family| {
        let network = excluded(family);
        report(&network, family, ALLOW, &[20, 30]);
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Exclude, vec![1, 2, 20, 30], vec![21]))
        );
        passes(&network, family, &[1, 2, 3, 10, 11, 12, 20, 30, 100]);
    });
}

#[test]
fn v3_exclude_is_include() {
    each(|family| {
        let network = excluded(family);
        report(&network, family, IS_IN, &[20, 30]);
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Exclude, vec![1, 2, 20, 30], vec![21]))
        );
    });
}

#[test]
fn v3_exclude_is_exclude() {
    each(|family| {
        let network = excluded(family);
        report(&network, family, IS_EX, &[20, 30]);
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Exclude, vec![30], vec![20]))
        );
        passes(&network, family, &[1, 2, 3, 10, 11, 12, 21, 30, 100]);
    });
}

#[test]
fn v3_exclude_to_exclude() {
    each(|family| {
        let mut network = excluded(family);
        report(&network, family, TO_EX, &[1, 20, 30]);
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Exclude, vec![1, 30], vec![20]))
        );
        network.pass(LAST);
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Exclude, vec![], vec![1, 20, 30]))
        );
        passes(&network, family, &[2, 3, 10, 11, 12, 21, 100]);
    });
}

#[test]
fn v3_include_block() {
    each(|family| {
        let mut network = included(family);
        report(&network, family, BLOCK, &[1, 20, 30]);
        passes(&network, family, &[1, 2, 3]);
        network.pass(LAST);
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Include, vec![2, 3], vec![]))
        );
        passes(&network, family, &[2, 3]);
    });
}

#[test]
fn v3_exclude_block() {
    each(|family| {
        let mut network = excluded(family);
        report(&network, family, BLOCK, &[1, 20, 30]);
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Exclude, vec![1, 2, 30], vec![20, 21]))
        );
        network.pass(LAST);
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Exclude, vec![2], vec![1, 20, 21, 30]))
        );
    });
}

#[test]
fn v3_exclude_timeout() {
    each(|family| {
        let mut network = excluded(family);
        network.pass(Duration::from_secs(200));
        report(&network, family, IS_IN, &[1, 2]);
        network.pass(Duration::from_secs(61));
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Include, vec![1, 2], vec![]))
        );
        passes(&network, family, &[1, 2]);
        network.pass(Duration::from_secs(200));
        assert_eq!(network.filter(group(family), ONE), None);
    });
}

#[test]
fn v3_an_excluding_port_gets_what_another_includes() {
    each(|family| {
        let network = excluded(family);
        network.report(TWO, IS_IN, group(family), &sources(family, &[3, 20]));
        assert_eq!(reached(&network, family, 3), [ONE, TWO]);
        assert_eq!(reached(&network, family, 20), [TWO]);
        assert_eq!(reached(&network, family, 100), [ONE]);
    });
}

#[test]
fn v3_include_to_include_asks_for_the_rest() {
    each(|family| {
        let mut network = included(family);
        report(&network, family, TO_IN, &[3, 10]);
        network.pass(LAST);
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Include, vec![3, 10], vec![]))
        );
        report(&network, family, TO_IN, &[]);
        network.pass(LAST);
        assert_eq!(network.filter(group(family), ONE), None);
    });
}

#[test]
fn v3_exclude_to_include_asks_for_the_group() {
    each(|family| {
        let mut network = excluded(family);
        report(&network, family, TO_IN, &[1, 20]);
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Exclude, vec![1, 2, 20], vec![21]))
        );
        network.pass(LAST);
        assert_eq!(
            network.filter(group(family), ONE),
            Some((Include, vec![1, 20], vec![]))
        );
    });
}

#[test]
fn what_nobody_asked_for_goes_to_routers_alone() {
    for (family, group) in [(Family::V4, "239.1.1.1"), (Family::V6, "ff05::1")] {
        let group = wire::address(group);
        let mut network = Network::new();
        let from = source(family, 1);
        let frame = wire::data(group, from);
        assert_eq!(
            network.send(SENDER, &frame),
            Verdict::Drop(DropReason::NoListener)
        );
        network.send(TWO, &wire::pim_hello(family));
        assert_eq!(network.reached(group, from), [TWO]);
        let config = PortConfig {
            multicast_router: true,
            ..PortConfig::new(PortKind::Host, 1500)
        };
        network.bridge.add_port(ROUTER, config);
        network.pass(Duration::from_secs(4));
        assert_eq!(network.reached(group, from), [TWO, ROUTER]);
        network.report(ONE, TO_EX, group, &[]);
        assert_eq!(network.reached(group, from), [ONE, TWO, ROUTER]);
        network.pass(Duration::from_secs(255));
        assert_eq!(
            network.reached(group, from),
            [ONE, ROUTER],
            "it was not heard again"
        );
    }
}

#[test]
fn groups_of_the_link_reach_everybody() {
    for (group, from) in [
        ("224.0.0.251", "10.0.0.2"),
        ("ff02::1", "fe80::2"),
        ("ff02::1:ff00:7", "fe80::2"),
        ("ff02::fb", "fe80::2"),
    ] {
        let (group, from) = (wire::address(group), wire::address(from));
        let network = Network::new();
        assert_eq!(network.reached(group, from), [ONE, TWO]);
        network.report(ONE, TO_EX, group, &[]);
        let others = if group == wire::address("ff02::fb") {
            vec![ONE]
        } else {
            vec![ONE, TWO]
        };
        assert_eq!(network.reached(group, from), others);
    }
}

#[test]
fn reports_reach_routers_and_no_listener() {
    each(|family| {
        let network = Network::new();
        network.report(TWO, TO_EX, group(family), &[]);
        let join = old_join(family);
        assert_eq!(network.send(ONE, &join), Verdict::Taken);
        network.send(TWO, &wire::pim_hello(family));
        assert_eq!(network.egresses(ONE, &join), [TWO]);
        let config = PortConfig::new(PortKind::Tunnel, 1500);
        network.bridge.add_port(FAR, config);
        assert_eq!(network.egresses(ONE, &join), [TWO, FAR]);
        assert_eq!(network.egresses(FAR, &join), [TWO]);
    });
}

#[test]
fn a_message_that_hosts_ignore_changes_nothing() {
    each(|family| {
        let network = Network::new();
        let mut join = old_join(family);
        let last = join.len() - 1;
        join[last] ^= 1;
        network.send(ONE, &join);
        assert!(network.view().records.is_empty());
        assert_eq!(network.bridge.multicast_counts().unwrap().invalid, 1);
    });
}

#[test]
fn a_port_that_wants_too_much_gets_everything() {
    let mut network = Network::new();
    let group = |n: u32| -> Address {
        std::net::IpAddr::from((0xef00_0000_u32 | (n << 8) | 1).to_be_bytes()).into()
    };
    for n in 1..=300 {
        // Within the budget of its port.
        network.pass(Duration::from_millis(20));
        network.report(ONE, TO_EX, group(n), &[]);
    }
    assert_eq!(network.bridge.multicast_counts().unwrap().full, 44);
    assert_eq!(network.reached(group(1), source(Family::V4, 1)), [ONE]);
    assert_eq!(network.reached(group(300), source(Family::V4, 1)), [ONE]);
    assert_eq!(network.reached(group(5000), source(Family::V4, 1)), [ONE]);
    network.report(TWO, TO_EX, group(300), &[]);
    assert_eq!(
        network.reached(group(300), source(Family::V4, 1)),
        [ONE, TWO],
        "others have theirs"
    );
}

#[test]
fn too_many_sources_are_all_sources() {
    let network = Network::new();
    let many: Vec<u8> = (1..=40).collect();
    report(&network, Family::V4, IS_IN, &many);
    assert_eq!(
        network.filter(group(Family::V4), ONE),
        Some((Exclude, vec![], vec![]))
    );
    assert_eq!(reached(&network, Family::V4, 200), [ONE]);
}
