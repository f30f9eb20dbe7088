//! Who reaches whom on a LAN, and on one VLAN of a NIC.

use std::net::Ipv4Addr;
use std::time::Duration;

use switch_core::{Mac, ethertype};
use switch_io::packet::PacketSocket;

use super::{create, mac};
use crate::harness::{HOST_IP, Host, OUTSIDE_IP};
use crate::packets::{arp, ethernet, receive};

#[test]
fn private_containers_reach_the_lan_alone_and_passthru_has_the_nics_mac_once() {
    let host = Host::start();
    create(
        &host,
        "macvlan",
        &["-o", "parent=up0", "-o", "macvlan_mode=private"],
        "private",
    );
    host.idle("a", "private", &[]);
    host.idle("b", "private", &[]);
    let (a, b) = (host.ipv4("a"), host.ipv4("b"));
    assert!(host.outside.pings(a) && host.outside.pings(b) && host.netns.pings(a));
    host.exec("a", &format!("ping -n -c2 -i0.2 -W1 {b}"))
        .refused(1);
    host.tapestry(&["rm", "-f", "a", "b"]).ok();
    host.tapestry(&["network", "rm", "private"]).ok();

    create(
        &host,
        "macvlan",
        &["-o", "parent=up0", "-o", "macvlan_mode=passthru"],
        "through",
    );
    host.idle("only", "through", &[]);
    let own = host.exec("only", "cat /sys/class/net/eth0/address").ok();
    assert_eq!(own.trim(), mac(&host.netns, "up0").to_string());
    let only = host.ipv4("only");
    assert!(host.outside.pings(only) && host.netns.pings(only));
    let ping = format!("ping -n -c3 -i0.2 -W1 {OUTSIDE_IP}");
    host.exec("only", &ping).ok();
    let second = ["run", "-d", "--network", "through", "--", "sleep", "100"];
    let told = host.tapestry(&second).refused(125);
    assert!(
        told.contains("for one container, and \"only\" is on it"),
        "{told}"
    );
    let bad = |options: &[&str]| {
        let head = ["network", "create", "--driver", "macvlan"];
        host.tapestry(&[&head[..], options, &["n"]].concat())
            .refused(1)
    };
    let told = bad(&["-o", "parent=eth7"]);
    assert!(
        told.contains("there is no link eth7 on this host"),
        "{told}"
    );
    let told = bad(&["-o", "macvlan_mode=loud"]);
    assert!(told.contains("bridge, private, vepa or passthru"), "{told}");
    let told = bad(&["-o", "ipvlan_mode=l2"]);
    assert!(told.contains("is of ipvlan networks"), "{told}");
}

#[test]
fn one_vlan_of_a_nic_is_a_lan_of_its_own_without_a_link_for_it() {
    let host = Host::start();
    let head = [
        "network",
        "create",
        "--driver",
        "macvlan",
        "-o",
        "parent=up0.10",
    ];
    let rest = ["--subnet", "192.0.2.0/24", "--gateway", "192.0.2.1", "ten"];
    host.tapestry(&[&head[..], &rest].concat()).ok();
    host.idle("a", "ten", &[]);
    let wire = host.outside.enter(|| PacketSocket::open("up0")).unwrap();
    let (router, container) = (Mac::new([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(192, 0, 2, 2));
    let ask = |vid: Option<u8>| {
        let question = arp(1, router, Ipv4Addr::new(192, 0, 2, 1), Mac::ZERO, container);
        let mut frame = ethernet(Mac::BROADCAST, router, ethertype::ARP, &question);
        if let Some(vid) = vid {
            frame.splice(12..12, [0x81, 0, 0, vid]);
        }
        wire.send(&[0; 10], &frame).unwrap();
    };
    let answers = |frame: &[u8]| {
        frame[..6] == router.octets()
            && frame[12..18] == [0x81, 0, 0, 10, 8, 6]
            && frame[32..36] == container.octets()
    };
    ask(Some(10));
    assert!(receive(&wire, answers).is_some(), "tagged, and answered so");
    for other in [None, Some(11)] {
        ask(other);
    }
    let stray = wire.receive(Duration::from_millis(300)).unwrap();
    assert!(
        !stray.is_some_and(|stray| answers(&stray.frame)),
        "another VLAN's"
    );
}

#[test]
fn a_routed_network_keeps_its_addresses_and_hears_no_broadcast() {
    let host = Host::start();
    let head = [
        "network",
        "create",
        "--driver",
        "ipvlan",
        "-o",
        "parent=up0",
    ];
    let rest = ["-o", "ipvlan_mode=l3", "--subnet", "10.9.0.0/24", "far"];
    host.tapestry(&[&head[..], &rest].concat()).ok();
    host.idle("a", "far", &[]);
    host.outside
        .sh(&format!("ip route add 10.9.0.0/24 via {HOST_IP}"));
    let a = host.ipv4("a");
    assert!(host.outside.pings(a) && host.netns.pings(a));
    let wire = host.outside.enter(|| PacketSocket::open("up0")).unwrap();
    let ping = format!("ping -n -c1 -W2 {OUTSIDE_IP}");
    host.exec("a", &ping).ok();
    let untranslated = |frame: &[u8]| frame[12..14] == [8, 0] && frame[26..30] == [10, 9, 0, 2];
    assert!(receive(&wire, untranslated).is_some());
}
