//! A container against its neighbours on the network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use switch_core::Mac;

use crate::harness::{Endpoint, Host, eventually};
use crate::packets::{
    PLAIN, Segment, Transport, arp, contains, ethernet, icmpv6, ip_frame, receive, receive_within,
};

const QUIET: Duration = Duration::from_millis(500);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = Mac::new([0x33, 0x33, 0, 0, 0, 1]);
const MARK: &[u8] = b"not from whom it says";

#[test]
fn a_container_cannot_bear_an_address_of_its_neighbour() {
    let host = with_network(&[]);
    let [liar, victim, third] = ["liar", "victim", "third"].map(|name| host.endpoint("lab", name));
    let (v4, v6) = (victim.ipv4(), victim.ipv6());
    for other in [&third.netns, &host.netns] {
        assert!(other.pings(v4) && other.pings(v6));
    }
    let claims = claims(&liar, &third, (v4, v6));
    let wire = third.wire();
    for claim in &claims {
        liar.wire().send(&PLAIN, claim).unwrap();
    }
    let is_lie = |frame: &[u8]| {
        frame[6..12] == liar.mac().octets() && claims.iter().any(|claim| claim == frame)
    };
    assert!(receive_within(&wire, QUIET, is_lie).is_none());
    assert_eq!(
        liar.drops("neighbor_ip"),
        u64::try_from(claims.len()).unwrap()
    );
    for other in [&third.netns, &host.netns] {
        let known = other.sh(&format!("ip neigh show {v4}; ip neigh show {v6}"));
        assert!(!known.contains(&liar.mac().to_string()), "{known}");
        assert!(other.pings(v4) && other.pings(v6));
    }
}

#[test]
fn a_container_cannot_bear_an_address_of_the_gateway() {
    let host = with_network(&[]);
    let [liar, victim] = ["liar", "victim"].map(|name| host.endpoint("lab", name));
    let claims = claims(
        &liar,
        &victim,
        (Ipv4Addr::new(10, 63, 0, 1), "fd63::1".parse().unwrap()),
    );
    let wire = victim.wire();
    for claim in &claims {
        liar.wire().send(&PLAIN, claim).unwrap();
    }
    let is_lie = |frame: &[u8]| claims.iter().any(|claim| claim == frame);
    assert!(receive_within(&wire, QUIET, is_lie).is_none());
    assert_eq!(
        liar.drops("gateway_ip"),
        u64::try_from(claims.len()).unwrap()
    );
    assert!(victim.netns.pings("10.63.0.1"));
}

#[test]
fn a_container_cannot_redirect_its_neighbours() {
    let host = with_network(&[]);
    let [liar, victim] = ["liar", "victim"].map(|name| host.endpoint("lab", name));
    let wire = victim.wire();
    for redirect in redirects(&liar, &victim) {
        liar.wire().send(&PLAIN, &redirect).unwrap();
    }
    assert!(receive_within(&wire, QUIET, |frame| contains(frame, MARK)).is_none());
    assert_eq!(liar.drops("rogue_redirect"), 2);
}

#[test]
fn where_routers_are_allowed_they_redirect() {
    let host = with_network(&["-o", "ra=allow"]);
    let [router, other] = ["router", "other"].map(|name| host.endpoint("lab", name));
    let wire = other.wire();
    for redirect in redirects(&router, &other) {
        router.wire().send(&PLAIN, &redirect).unwrap();
        assert!(receive(&wire, |frame| *frame == redirect).is_some());
    }
}

#[test]
fn a_first_fragment_without_all_its_headers_is_dropped_and_long_chains_pass() {
    let host = with_network(&[]);
    let [liar, victim] = ["liar", "victim"].map(|name| host.endpoint("lab", name));
    let frame = |next: u8, payload: &[u8]| {
        let (source, destination) = (liar.ipv6().into(), victim.ipv6().into());
        let (to, from) = (victim.mac(), liar.mac());
        let mut frame = ip_frame(to, from, source, destination, next, payload.len());
        frame.extend(payload);
        frame
    };
    let wire = victim.wire();
    // Destination options of 24 bytes, cut after the mark.
    let cut = frame(44, &[&[60, 0, 0, 1, 0, 0, 0, 7, 17, 3][..], MARK].concat());
    liar.wire().send(&PLAIN, &cut).unwrap();
    assert!(receive_within(&wire, QUIET, |frame| contains(frame, MARK)).is_none());
    assert_eq!(liar.drops("header_chain"), 1);
    // As many options as fit, and a datagram behind them.
    let options = [60, 0, 1, 4, 0, 0, 0, 0].repeat(100);
    let last = [17, 0, 1, 4, 0, 0, 0, 0];
    let datagram = [&[0, 9, 0, 9, 0, 29, 0, 0][..], MARK].concat();
    let long = frame(60, &[&options[..], &last, &datagram].concat());
    liar.wire().send(&PLAIN, &long).unwrap();
    assert!(receive(&wire, |frame| contains(frame, MARK)).is_some());
}

/// Networks of `10.63.0.0/24` and `fd63::/64`, called `lab`.
fn with_network(options: &[&str]) -> Host {
    let host = Host::start();
    let head = ["network", "create", "--subnet", "10.63.0.0/24"];
    let tail = ["--subnet", "fd63::/64", "lab"];
    host.tapestry(&[&head[..], options, &tail].concat()).ok();
    host
}

/// Every way in which `liar` can tell `victim` that it has the addresses.
fn claims(
    liar: &Endpoint<'_>,
    victim: &Endpoint<'_>,
    (v4, v6): (Ipv4Addr, Ipv6Addr),
) -> Vec<Vec<u8>> {
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xbad);
    let [solicitation, advertisement] = [135, 136].map(|kind| {
        let flags = if kind == 136 { 0x20 } else { 0 };
        let head = [kind, 0, 0, 0, flags, 0, 0, 0];
        [&head[..], &v6.octets(), &[2, 1], &liar.mac().octets()].concat()
    });
    let to_all = (ALL_NODES_MAC, liar.mac());
    let mut claims = vec![
        icmpv6(to_all, (v6, ALL_NODES), &solicitation),
        icmpv6(to_all, (v6, ALL_NODES), &advertisement),
        icmpv6(to_all, (own, ALL_NODES), &advertisement),
    ];
    for operation in [1, 2] {
        let claim = arp(operation, liar.mac(), v4, victim.mac(), victim.ipv4());
        for to in [Mac::BROADCAST, victim.mac()] {
            claims.push(ethernet(to, liar.mac(), 0x0806, &claim));
        }
    }
    let datagram = |source: IpAddr, destination: IpAddr| Segment {
        source_mac: liar.mac(),
        destination_mac: victim.mac(),
        source,
        destination,
        transport: Transport::Udp,
        port: 9,
        payload: MARK.to_vec(),
    };
    claims.push(datagram(v4.into(), victim.ipv4().into()).frame());
    claims.push(datagram(v6.into(), victim.ipv6().into()).frame());
    claims
}

/// "Take me instead", of both families, with the mark in them.
fn redirects(liar: &Endpoint<'_>, victim: &Endpoint<'_>) -> [Vec<u8>; 2] {
    let (to, from) = (victim.mac(), liar.mac());
    let message = [&[5, 1, 0, 0][..], &liar.ipv4().octets(), MARK].concat();
    let (source, destination) = (liar.ipv4().into(), victim.ipv4().into());
    let mut v4 = ip_frame(to, from, source, destination, 1, message.len());
    v4.extend(message);
    let (own, target) = (liar.ipv6(), liar.ipv6().octets());
    let message = [&[137, 0, 0, 0, 0, 0, 0, 0][..], &target, &target, MARK].concat();
    [v4, icmpv6((to, from), (own, victim.ipv6()), &message)]
}

#[test]
fn an_owner_keeps_its_address_whatever_others_say_while_it_is_asked_for() {
    let host = with_network(&[]);
    let [liar, victim, third] = ["liar", "victim", "third"].map(|name| host.endpoint("lab", name));
    let claims = claims(&liar, &third, (victim.ipv4(), victim.ipv6()));
    let wire = liar.wire();
    // Nobody has asked yet: the lies come first.
    for claim in &claims {
        wire.send(&PLAIN, claim).unwrap();
    }
    eventually(Duration::from_secs(2), "the lies are counted", || {
        (liar.drops("neighbor_ip") == u64::try_from(claims.len()).unwrap()).then_some(())
    });
    let known = third.netns.sh(&format!(
        "ping -n -c1 -W1 {0} >/dev/null; ip neigh show {0}",
        victim.ipv4()
    ));
    assert!(known.contains(&victim.mac().to_string()), "{known}");
}
