//! Networks keep to themselves, and no container passes for the gateway.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::time::Duration;

use switch_core::Mac;

use crate::harness::{Endpoint, Host, OUTSIDE_IP, enter, eventually};
use crate::packets::{
    ETHERNET, PLAIN, Segment, Transport, arp, contains, ethernet, icmpv6, ip_frame, receive,
    receive_within,
};

const QUIET: Duration = Duration::from_millis(500);

#[test]
fn containers_of_different_networks_cannot_connect() {
    let host = Host::start();
    for network in ["red", "blue"] {
        host.tapestry(&["network", "create", network]).ok();
        host.idle(&format!("on-{network}"), network, &[]);
    }
    let (blue, red) = (host.ipv4("on-blue"), host.ipv4("on-red"));
    let _listener = enter(&host.sandbox("on-blue"), || TcpListener::bind((blue, 80))).unwrap();
    let reached = enter(&host.sandbox("on-red"), || {
        TcpStream::connect_timeout(&(blue, 80).into(), Duration::from_secs(2))
    });
    assert!(reached.is_err(), "{red} reached {blue}");
    assert_ne!(
        host.exec("on-red", &format!("ping -n -c1 -W1 {blue}"))
            .status,
        0
    );
}

#[test]
fn internal_networks_have_no_way_out_and_no_forwarding_of_names() {
    let host = Host::start();
    host.tapestry(&["network", "create", "--internal", "inner"])
        .ok();
    host.idle("one", "inner", &[]);
    host.idle("two", "inner", &[]);
    host.exec("one", "ping -c1 -W2 two").ok();
    assert_ne!(
        host.exec("one", &format!("ping -n -c1 -W1 {OUTSIDE_IP}"))
            .status,
        0
    );
    let lookup = host.exec("one", "busybox nslookup -type=A www.example.com");
    assert!(!lookup.stdout.contains("203.0.113.80"), "{lookup:?}");
    assert!(host.network("inner").host_link.is_none());
}

#[test]
fn frames_do_not_cross_between_networks() {
    let host = Host::start();
    for network in ["red", "blue"] {
        host.tapestry(&["network", "create", network]).ok();
    }
    let [sender, same] = ["s1", "s2"].map(|name| host.endpoint("red", name));
    let other = host.endpoint("blue", "s3");
    let (same_wire, other_wire) = (same.wire(), other.wire());
    for destination in [Mac::BROADCAST, other.mac()] {
        let frame = ethernet(destination, sender.mac(), 0x88b5, b"red only");
        sender.wire().send(&PLAIN, &frame).unwrap();
        assert!(
            receive_within(&other_wire, QUIET, |frame| contains(frame, b"red only")).is_none(),
            "{destination}"
        );
    }
    assert!(receive(&same_wire, |frame| contains(frame, b"red only")).is_some());
}

#[test]
fn the_gateways_mac_cannot_be_claimed() {
    let (host, network) = with_network();
    let [liar, victim] = ["liar", "victim"].map(|name| host.endpoint(network, name));
    let wire = victim.wire();
    let gateway: Mac = host.network(network).gateway_mac.unwrap().parse().unwrap();
    let frame = ethernet(Mac::BROADCAST, gateway, 0x88b5, b"not the gateway");
    liar.wire().send(&PLAIN, &frame).unwrap();
    assert!(receive_within(&wire, QUIET, |frame| contains(frame, b"not the gateway")).is_none());
    assert_eq!(liar.drops("gateway_mac"), 1);
    assert!(victim.netns.pings(gateway_ip(&host, network)));
}

#[test]
fn the_gateways_address_cannot_be_claimed_by_arp() {
    let (host, network) = with_network();
    let [liar, victim] = ["liar", "victim"].map(|name| host.endpoint(network, name));
    let wire = victim.wire();
    let IpAddr::V4(gateway) = gateway_ip(&host, network) else {
        panic!("IPv4 comes first")
    };
    for operation in [1, 2] {
        let claim = arp(operation, liar.mac(), gateway, victim.mac(), gateway);
        for destination in [Mac::BROADCAST, victim.mac()] {
            liar.wire()
                .send(&PLAIN, &ethernet(destination, liar.mac(), 0x0806, &claim))
                .unwrap();
        }
    }
    let lie = |frame: &[u8]| {
        frame[12..14] == [8, 6]
            && frame[22..28] == liar.mac().octets()
            && frame[28..32] == gateway.octets()
    };
    assert!(receive_within(&wire, QUIET, lie).is_none());
    assert_eq!(liar.drops("gateway_ip"), 4);
}

#[test]
fn an_endpoints_mac_cannot_be_stolen() {
    let (host, network) = with_network();
    let [thief, victim, third] =
        ["thief", "victim", "third"].map(|name| host.endpoint(network, name));
    let wire = victim.wire();
    let theft = ethernet(Mac::BROADCAST, victim.mac(), 0x88b5, b"I am the victim");
    thief.wire().send(&PLAIN, &theft).unwrap();
    assert_eq!(eventually_counted(&thief, "sticky_mac"), 1);
    let letter = ethernet(victim.mac(), third.mac(), 0x88b5, b"for the victim");
    third.wire().send(&PLAIN, &letter).unwrap();
    assert!(receive(&wire, |frame| contains(frame, b"for the victim")).is_some());
}

#[test]
fn dhcp_replies_of_containers_are_dropped() {
    let (host, network) = with_network();
    let [rogue, victim] = ["rogue", "victim"].map(|name| host.endpoint(network, name));
    let wire = victim.wire();
    let source = IpAddr::from(rogue.ipv4());
    let offer = [&[2, 1, 6, 0][..], b"rogue offer", &[0; 240]].concat();
    let mut frame = ip_frame(
        Mac::BROADCAST,
        rogue.mac(),
        source,
        Ipv4Addr::BROADCAST.into(),
        17,
        8 + offer.len(),
    );
    frame.extend([0, 67, 0, 68]);
    frame.extend(u16::try_from(8 + offer.len()).unwrap().to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(offer);
    rogue.wire().send(&PLAIN, &frame).unwrap();
    assert!(receive_within(&wire, QUIET, |frame| contains(frame, b"rogue offer")).is_none());
    assert_eq!(rogue.drops("rogue_dhcp"), 1);
}

#[test]
fn router_advertisements_of_containers_are_dropped() {
    let (host, network) = with_network();
    let [rogue, victim] = ["rogue", "victim"].map(|name| host.endpoint(network, name));
    let wire = victim.wire();
    let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xbad);
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let advertisement = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let group = Mac::new([0x33, 0x33, 0, 0, 0, 1]);
    let frame = icmpv6((group, rogue.mac()), (source, all_nodes), &advertisement);
    rogue.wire().send(&PLAIN, &frame).unwrap();
    let is_advertisement =
        |frame: &[u8]| frame.len() > 54 && frame[12..14] == [0x86, 0xdd] && frame[54] == 134;
    assert!(receive_within(&wire, QUIET, is_advertisement).is_none());
    assert_eq!(rogue.drops("rogue_ra"), 1);
}

#[test]
fn a_storm_of_broadcasts_is_limited_and_unicast_goes_on() {
    let (host, network) = with_network();
    let [noisy, victim, third] =
        ["noisy", "victim", "third"].map(|name| host.endpoint(network, name));
    let storm = noisy.wire();
    let frame = ethernet(Mac::BROADCAST, noisy.mac(), 0x88b5, &[0; 46]);
    eventually(Duration::from_secs(20), "drops for the rate", || {
        for _ in 0..50_000 {
            // A full queue is the sender's loss.
            let _ = storm.send(&PLAIN, &frame);
        }
        (noisy.drops("bum_rate") > 0).then_some(())
    });
    assert!(victim.netns.pings(third.ipv4()));
}

#[test]
fn unregistered_sources_still_reach_their_peers() {
    let (host, network) = with_network();
    let [one, two] = ["one", "two"].map(|name| host.endpoint(network, name));
    let nested = Mac::new([2, 0xaa, 0, 0, 0, 1]);
    let (wire, peer) = (one.wire(), two.wire());
    let hello = ethernet(Mac::BROADCAST, nested, 0x88b5, b"a nested station");
    wire.send(&PLAIN, &hello).unwrap();
    // Once its peer has it, the network knows the way back.
    receive(&peer, |frame| contains(frame, b"a nested station")).unwrap();
    let back = Segment {
        source_mac: two.mac(),
        destination_mac: nested,
        source: two.ipv4().into(),
        destination: one.ipv4().into(),
        transport: Transport::Udp,
        port: 9,
        payload: b"back to the nested station".to_vec(),
    };
    peer.send(&PLAIN, &back.frame()).unwrap();
    assert!(
        receive(&wire, |frame| contains(
            &frame[ETHERNET..],
            b"back to the nested station"
        ))
        .is_some()
    );
}

fn with_network() -> (Host, &'static str) {
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "10.63.0.0/24", "mynet"])
        .ok();
    (host, "mynet")
}

fn gateway_ip(host: &Host, network: &str) -> IpAddr {
    host.network(network).gateways[0]
}

fn eventually_counted(endpoint: &Endpoint<'_>, reason: &str) -> u64 {
    eventually(Duration::from_secs(2), reason, || {
        Some(endpoint.drops(reason)).filter(|&count| count > 0)
    })
}
