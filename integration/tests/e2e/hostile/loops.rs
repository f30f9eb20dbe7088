//! A container that makes a loop of its links.

use std::time::{Duration, Instant};

use agent_api::{EndpointCreate, EndpointDetail, EndpointSettings};
use serde_json::to_value;
use switch_core::Mac;

use crate::harness::{Endpoint, Host, eventually};
use crate::packets::{PLAIN, contains, ethernet, receive_within};

/// Stations behind the victim, whom nobody registered, are what goes round.
const NESTED: Mac = Mac::new([2, 0xaa, 0, 0, 0, 1]);

/// One more link in the namespace of an endpoint.
fn second_link(host: &Host, endpoint: &Endpoint<'_>, network: &str, name: &str) -> EndpointDetail {
    let plain = EndpointSettings::default();
    second_link_with(host, endpoint, (network, name), plain)
}

fn second_link_with(
    host: &Host,
    endpoint: &Endpoint<'_>,
    (network, name): (&str, &str),
    settings: EndpointSettings,
) -> EndpointDetail {
    let create = EndpointCreate {
        network: network.to_owned(),
        name: name.to_owned(),
        sandbox: Some(endpoint.netns.path()),
        settings,
        ..EndpointCreate::default()
    };
    host.api("POST", "/v1/endpoints", Some(&to_value(create).unwrap()))
        .ok()
}

/// The namespace bridges both links, as a container may.
fn bridge(endpoint: &Endpoint<'_>, other: &EndpointDetail) {
    let links = [&endpoint.detail.link, &other.link];
    let netns = &endpoint.netns;
    netns.sh("ip link add br0 type bridge");
    for link in links {
        netns.sh(&format!("ip link set {link} master br0"));
    }
    netns.sh("ip link set br0 up");
}

/// Sends broadcasts of a nested station until a port is blocked; gives its number and what it took.
fn blocked(host: &Host, networks: &[&str], victim: &Endpoint<'_>) -> (u32, Duration) {
    blocked_as(host, networks, victim, "blocked (loop)")
}

fn blocked_as(
    host: &Host,
    networks: &[&str],
    victim: &Endpoint<'_>,
    state: &str,
) -> (u32, Duration) {
    let wire = victim.wire();
    let frame = ethernet(Mac::BROADCAST, NESTED, 0x88b5, b"what goes round");
    let start = Instant::now();
    let port = eventually(Duration::from_secs(20), "a blocked port", || {
        wire.send(&PLAIN, &frame).unwrap();
        let mut ports = networks.iter().flat_map(|network| host.ports(network));
        let blocked = ports.find(|port| port.state == state);
        blocked.map(|port| port.port)
    });
    (port, start.elapsed())
}

/// How often a station hears of one broadcast.
fn times_heard(victim: &Endpoint<'_>, third: &Endpoint<'_>) -> usize {
    let (wire, ear) = (victim.wire(), third.wire());
    let frame = ethernet(Mac::BROADCAST, NESTED, 0x88b5, b"heard once");
    wire.send(&PLAIN, &frame).unwrap();
    let mut times = 0;
    while receive_within(&ear, Duration::from_millis(400), |frame| {
        contains(frame, b"heard once")
    })
    .is_some()
    {
        times += 1;
    }
    times
}

#[test]
fn a_container_that_bridges_its_links_loses_the_later_one() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    let [victim, third, looper] =
        ["victim", "third", "looper"].map(|name| host.endpoint("lab", name));
    let second = second_link(&host, &looper, "lab", "looper2");
    bridge(&looper, &second);
    let (port, took) = blocked(&host, &["lab"], &victim);
    println!("blocked after {took:?}");
    assert_eq!(Some(port), second.port, "{:?}", looper.detail);
    assert_eq!(times_heard(&victim, &third), 1);
    assert!(victim.netns.pings(third.ipv4()));
    let shown = host.tapestry(&["port", "ls", "lab"]).ok();
    assert!(shown.contains("blocked (loop)"), "{shown}");
    assert!(host.log().contains("port is blocked"), "{}", host.log());
    host.api("DELETE", &format!("/v1/endpoints/{}", second.id), None);
}

#[test]
fn a_container_that_bridges_patched_networks_loses_a_link_and_the_patch_stays() {
    let host = Host::start();
    for network in ["one", "other"] {
        host.tapestry(&["network", "create", "--subnet", "none", network])
            .ok();
    }
    host.tapestry(&["network", "patch", "one", "other"]).ok();
    let (victim, third) = (
        host.endpoint("one", "victim"),
        host.endpoint("other", "third"),
    );
    let looper = host.endpoint("one", "looper");
    let second = second_link(&host, &looper, "other", "looper2");
    bridge(&looper, &second);
    let (port, took) = blocked(&host, &["one", "other"], &victim);
    println!("blocked after {took:?}");
    assert!(
        [looper.detail.port, second.port].contains(&Some(port)),
        "{port}"
    );
    assert_eq!(times_heard(&victim, &third), 1);
    host.api("DELETE", &format!("/v1/endpoints/{}", second.id), None);
}

fn in_vlans(vlan: Option<u16>, trunk: &str) -> EndpointSettings {
    EndpointSettings {
        vlan,
        trunk: (!trunk.is_empty()).then(|| trunk.to_owned()),
        ..EndpointSettings::default()
    }
}

/// Both links have VLANs 10 and 20 with tags, and a native one of their own. What bridges them passes VLAN 20 alone.
#[test]
fn a_loop_in_one_tagged_vlan_is_found_there() {
    let host = Host::start();
    host.tapestry(&["network", "create", "-o", "vlan=aware", "lab"])
        .ok();
    let victim = host.endpoint_with("lab", "victim", in_vlans(Some(20), ""));
    let third = host.endpoint_with("lab", "third", in_vlans(Some(20), ""));
    let stranger = host.endpoint_with("lab", "stranger", in_vlans(Some(10), ""));
    let looper = host.endpoint_with("lab", "looper", in_vlans(Some(30), "10,20"));
    let second = second_link_with(
        &host,
        &looper,
        ("lab", "looper2"),
        in_vlans(Some(40), "10,20"),
    );
    for line in [
        "add table bridge only",
        "add chain bridge only forward { type filter hook forward priority 0; policy drop; }",
        "add rule bridge only forward vlan id 20 accept",
    ] {
        looper.netns.sh(&format!("nft '{line}'"));
    }
    bridge(&looper, &second);
    // Nothing goes round in VLAN 10.
    let wire = stranger.wire();
    let elsewhere = ethernet(Mac::BROADCAST, NESTED, 0x88b5, b"in another VLAN");
    for _ in 0..20 {
        wire.send(&PLAIN, &elsewhere).unwrap();
    }
    let state = "blocked (loop in VLAN 20)";
    let (port, took) = blocked_as(&host, &["lab"], &victim, state);
    println!("blocked after {took:?}");
    assert_eq!(Some(port), second.port, "{:?}", looper.detail);
    assert_eq!(times_heard(&victim, &third), 1);
    assert!(victim.netns.pings(third.ipv4()));
    let told = host.tapestry(&[
        "events",
        "--since",
        "1m",
        "--until",
        "0s",
        "--filter",
        "event=loop",
        "--json",
    ]);
    assert!(told.ok().contains(r#""vlan":"20""#), "the event names it");
    host.api("DELETE", &format!("/v1/endpoints/{}", second.id), None);
}

/// A bond moves a MAC between links, a virtual router between containers.
#[test]
fn stations_that_move_between_containers_block_nobody() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    let [one, other, third] = ["one", "other", "third"].map(|name| host.endpoint("lab", name));
    let wires = [one.wire(), other.wire()];
    let ear = third.wire();
    let frame = ethernet(Mac::BROADCAST, NESTED, 0x88b5, b"it is here now");
    for turn in 0..200 {
        wires[turn % 2].send(&PLAIN, &frame).unwrap();
        receive_within(&ear, Duration::from_secs(2), |frame| {
            contains(frame, b"it is here now")
        })
        .expect("it is heard");
    }
    let ports = host.ports("lab");
    assert!(ports.iter().all(|port| port.state == "up"), "{ports:#?}");
}
