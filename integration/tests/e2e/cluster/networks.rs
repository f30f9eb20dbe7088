//! Networks that all hosts of a cluster share.

use std::time::{Duration, Instant};

use switch_io::packet::{PacketSocket, VNET_LENGTH};

use super::traffic::{Teller, who_is};
use super::{STEP, Underlay, cluster, create_shared, reaches, tunnels};
use crate::dns::dig;
use crate::harness::{Host, enter, eventually};

#[test]
fn three_hosts_share_a_network_and_its_names_over_quic() {
    let lab = cluster(3);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24"]);
    share_a_network(&lab, 1500);
}

#[test]
fn three_hosts_share_a_network_and_its_names_over_vxlan() {
    let lab = cluster(3);
    let options = ["--subnet", "10.9.0.0/24", "-o", "encap=vxlan"];
    create_shared(&lab, "far", &options);
    share_a_network(&lab, 1450);
}

fn share_a_network(lab: &Underlay, mtu: u16) {
    for (number, host) in lab.hosts.iter().enumerate() {
        host.idle(&format!("c{number}"), "far", &["-p", "8080:80"]);
    }
    let addresses: Vec<_> = (0..3)
        .map(|number| lab.hosts[number].ipv4(&format!("c{number}")).to_string())
        .collect();
    let mut distinct = addresses.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 3, "{addresses:?}");
    for (from, host) in lab.hosts.iter().enumerate() {
        for (to, address) in addresses.iter().enumerate() {
            reaches(host, &format!("c{from}"), address);
            reaches(host, &format!("c{from}"), &format!("c{to}"));
        }
        let listed = host.tapestry(&["network", "ls"]).ok();
        assert!(
            listed
                .lines()
                .any(|line| line.contains("far") && line.contains("global"))
        );
        assert_eq!(tunnels(host, "far").len(), 2);
        assert_eq!(host.network("far").mtu, mtu);
        let whole = mtu - 28;
        host.exec(
            &format!("c{from}"),
            &format!(
                "ping -n -c2 -W2 -M do -s {whole} {}",
                addresses[(from + 1) % 3]
            ),
        )
        .ok();
    }
    // What is published on one host is found on all.
    let gateway = lab.hosts[0].network("far").gateways[0];
    for name in ["_http._tcp.c1", "_8080._tcp.c2.far"] {
        let shown = dig(&lab.hosts[0], "c0", gateway, &format!("{name} SRV")).ok();
        assert!(shown.contains("0 1 80 c"), "{shown}");
    }
    // A host that has no endpoint left is not flooded to.
    lab.hosts[2].tapestry(&["rm", "-f", "c2"]).ok();
    eventually(STEP, "the tunnel to the third host goes", || {
        (tunnels(&lab.hosts[0], "far") == ["192.0.2.2"]).then_some(())
    });
    let used = lab.hosts[2].tapestry(&["network", "rm", "far"]).refused(1);
    assert!(
        used.contains("c0") && used.contains("other hosts"),
        "{used}"
    );
}

/// The link of a container, past its own stack.
fn wire(host: &Host, container: &str) -> PacketSocket {
    enter(&host.sandbox(container), || PacketSocket::open("eth0")).unwrap()
}

/// Every frame that arrives within `span`.
fn frames(wire: &PacketSocket, span: Duration) -> Vec<Vec<u8>> {
    let end = Instant::now() + span;
    let mut frames = Vec::new();
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        frames.extend(wire.receive(left).unwrap().map(|got| got.frame));
    }
    frames
}

fn count_with(frames: &[Vec<u8>], part: &[u8]) -> usize {
    let has = |frame: &&Vec<u8>| frame.windows(part.len()).any(|at| at == part);
    frames.iter().filter(has).count()
}

#[test]
fn two_networks_of_three_hosts_with_one_subnet_do_not_mix() {
    let lab = cluster(3);
    let mut tellers = Vec::new();
    for name in ["red", "blue"] {
        create_shared(&lab, name, &["--subnet", "10.9.0.0/24", "--internal"]);
        for (n, host) in lab.hosts.iter().enumerate() {
            let (container, address) = (format!("{name}-{n}"), format!("10.9.0.1{n}"));
            host.idle(&container, name, &["--ip", &address]);
            tellers.push(Teller::start(&host.sandbox(&container), &container));
        }
    }
    // Everybody reaches everybody of the same network by address and name, and talks to the right one.
    for name in ["red", "blue"] {
        for (n, host) in lab.hosts.iter().enumerate() {
            let from = format!("{name}-{n}");
            for (m, other) in lab.hosts.iter().enumerate() {
                let to = format!("{name}-{m}");
                reaches(host, &from, &to);
                let (sandbox, address) = (host.sandbox(&from), other.ipv4(&to));
                let told = who_is(&sandbox, address, STEP);
                assert_eq!(told.as_deref(), Some(&*to), "{from} to {address}");
            }
        }
    }
    let foreign = lab.hosts[0].exec("red-0", "nslookup blue-1 >/dev/null");
    assert_ne!(foreign.status, 0, "a name of another network resolves");
    no_frame_crosses(&lab);
    drop(tellers);
    // The other network's container of that address does not answer for one that is gone.
    lab.hosts[0].tapestry(&["rm", "-f", "red-0"]).ok();
    let watcher = lab.hosts[1].sandbox("red-1");
    eventually(STEP, "10.9.0.10 is silent", || {
        let told = who_is(&watcher, [10, 9, 0, 10].into(), Duration::from_millis(200));
        told.is_none().then_some(())
    });
}

/// Frames to everybody stay in their network.
fn no_frame_crosses(lab: &Underlay) {
    let wires = |name: &str| -> Vec<_> {
        let hosts = lab.hosts.iter().enumerate();
        hosts
            .map(|(n, host)| wire(host, &format!("{name}-{n}")))
            .collect()
    };
    let (red, blue) = (wires("red"), wires("blue"));
    for (wires, canary) in [(&red, CANARIES[0]), (&blue, CANARIES[1])] {
        for (n, wire) in (0_u8..).zip(wires) {
            let mut frame = vec![0xff; 6];
            frame.extend([2, 0x42, 10, 9, 0, 10 + n, 0x88, 0xb5]);
            frame.extend(canary);
            frame.resize(60, 0);
            wire.send(&[0; VNET_LENGTH], &frame).unwrap();
        }
    }
    for (wires, own, foreign) in [
        (&red, CANARIES[0], CANARIES[1]),
        (&blue, CANARIES[1], CANARIES[0]),
    ] {
        for wire in wires {
            let arrived = frames(wire, Duration::from_millis(300));
            let (ours, theirs) = (count_with(&arrived, own), count_with(&arrived, foreign));
            assert_eq!((ours, theirs), (2, 0));
        }
    }
}

#[test]
fn arp_for_a_container_elsewhere_is_answered_on_the_host() {
    let lab = cluster(2);
    create_shared(&lab, "far", &["--subnet", "10.9.0.0/24", "--ipv6"]);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.idle("a", "far", &["--cap-add", "NET_ADMIN"]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");
    let b = wire(two, "b");
    let (v4, v6) = (two.ipv4("b"), two.ipv6("b"));
    one.exec("a", "ip neigh flush all").ok();
    one.exec(
        "a",
        &format!("ping -n -c1 -W1 {v4} && ping -n -c1 -W1 {v6}"),
    )
    .ok();
    let mac = one.container("a").endpoints[0].mac.clone();
    let mac: switch_core::Mac = mac.parse().unwrap();
    let arrived = frames(&b, Duration::from_millis(300));
    assert!(!arrived.is_empty(), "nothing was captured");
    let asks = |frame: &&Vec<u8>| {
        // Who announces itself asks nobody.
        let is_arp = frame[12..14] == [8, 6] && frame[28..32] != frame[38..42];
        let is_solicitation = frame[12..14] == [0x86, 0xdd] && frame[20] == 58 && frame[54] == 135;
        let to_all = frame[0] & 1 == 1 && frame[6..12] == mac.octets();
        to_all && (is_arp || is_solicitation)
    };
    assert_eq!(arrived.iter().filter(asks).count(), 0);
}

#[test]
fn a_mac_that_nobody_registered_is_learnt_across_hosts() {
    for encap in ["quic", "vxlan"] {
        let lab = cluster(2);
        let encap = format!("encap={encap}");
        create_shared(&lab, "far", &["--subnet", "10.9.0.0/24", "-o", &encap]);
        let [one, two] = lab.hosts.as_slice() else {
            unreachable!()
        };
        one.idle("a", "far", &[]);
        two.idle("b", "far", &[]);
        reaches(one, "a", "b");
        // A second link on a's, with a MAC and an address that nobody was told of.
        let script =
            "ip link add inner address 02:00:00:00:00:99 link eth0 type macvlan mode bridge
             ip addr add 10.9.0.99/32 dev inner; ip link set inner up
             ip rule add from 10.9.0.99 table 9; ip route add 10.9.0.0/24 dev inner table 9";
        enter(&one.sandbox("a"), || {
            let mut shell = std::process::Command::new("sh");
            crate::harness::run(shell.args(["-ec", script])).ok();
        });
        reaches(two, "b", "10.9.0.99");
        let learnt = |host: &Host| {
            let rows: Vec<serde_json::Value> = host.api("GET", "/v1/networks/far/fdb", None).ok();
            rows.into_iter()
                .find(|row| row["mac"] == "02:00:00:00:00:99")
                .map(|row| (row["kind"].clone(), row["owner"].clone()))
        };
        assert_eq!(learnt(two), Some(("learned".into(), "192.0.2.1".into())));
        assert_eq!(learnt(one), Some(("learned".into(), "a".into())));
    }
}

const CANARIES: [&[u8]; 2] = [b"canary-of-red", b"canary-of-blue"];
