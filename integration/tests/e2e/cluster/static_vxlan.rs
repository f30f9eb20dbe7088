//! VXLAN to fixed remotes, without a cluster.

use std::time::Duration;

use rustix::process::Signal;

use super::{Underlay, plug};
use crate::harness::{Host, Netns, eventually};

/// `network create` of a static VXLAN to `remotes`.
fn create_static(host: &Host, name: &str, options: &[&str], remotes: &str) {
    let remote = format!("remote={remotes}");
    let head = ["network", "create", "--driver", "overlay"];
    let tail = ["-o", "encap=vxlan", "-o", &remote, name];
    host.tapestry(&[&head[..], options, &tail].concat()).ok();
}

/// Network `far` of two hosts, each at its address in the underlay.
pub(crate) fn share_static([one, two]: [(&Host, &str); 2]) {
    for (host, remote, range) in [
        (one.0, two.1, "10.9.0.64/26"),
        (two.0, one.1, "10.9.0.128/26"),
    ] {
        let options = [
            "-o",
            "vni=7",
            "--subnet",
            "10.9.0.0/24",
            "--ip-range",
            range,
        ];
        create_static(host, "far", &options, remote);
    }
}

#[test]
fn two_hosts_share_a_network_over_static_vxlan() {
    let lab = Underlay::new(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    share_static([(one, "192.0.2.1"), (two, "192.0.2.2")]);
    let detail = one.network("far");
    assert_eq!(detail.mtu, 1450);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &["--ip", "10.9.0.200"]);
    assert!(one.ipv4("a").to_string().starts_with("10.9.0.6"));
    one.exec("a", "ping -n -c3 -W2 10.9.0.200").ok();
    let a = one.ipv4("a");
    // The largest packet goes through, a larger one does not leave.
    two.exec("b", &format!("ping -n -c2 -W2 -M do -s 1422 {a}"))
        .ok();
    assert_ne!(
        two.exec("b", &format!("ping -n -c1 -W1 -M do -s 1423 {a}"))
            .status,
        0
    );
    let tunnels: Vec<_> = one
        .ports("far")
        .into_iter()
        .filter(|port| port.kind == "tunnel")
        .collect();
    assert_eq!(tunnels.len(), 1, "{tunnels:#?}");
    assert_eq!(tunnels[0].owner, "192.0.2.2");
    assert!(
        tunnels[0].tx_frames > 0 && tunnels[0].rx_frames > 0,
        "{tunnels:#?}"
    );
    let listed = one.tapestry(&["network", "ls"]).ok();
    assert!(
        listed
            .lines()
            .any(|line| line.contains("far") && line.contains("global")),
        "{listed}"
    );
}

#[test]
fn a_static_vxlan_is_there_again_after_a_restart_of_the_agent() {
    let lab = Underlay::new(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    share_static([(one, "2001:db8:5::1"), (two, "2001:db8:5::2")]);
    assert_eq!(one.network("far").mtu, 1430);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    let b = two.ipv4("b");
    one.exec("a", &format!("ping -n -c2 -W2 {b}")).ok();
    one.stop_agent(Signal::TERM);
    one.launch();
    one.exec("a", &format!("ping -n -c2 -W2 {b}")).ok();
}

#[test]
fn a_static_vxlan_exchanges_frames_with_the_kernels_device() {
    let lab = Underlay::new(1);
    let host = &lab.hosts[0];
    let kernel = Netns::new("kern");
    plug(&lab.netns, &kernel, 9);
    let options = ["-o", "vni=42", "--subnet", "10.9.0.0/24"];
    create_static(host, "far", &options, "192.0.2.9");
    host.idle("a", "far", &[]);
    kernel.sh(
        "ip link add vx type vxlan id 42 remote 192.0.2.1 local 192.0.2.9 dstport 4789 dev under0
         ip addr add 10.9.0.9/24 dev vx; ip link set vx up",
    );
    let a = host.ipv4("a");
    eventually(
        Duration::from_secs(5),
        "the kernel reaches the container",
        || kernel.pings(a).then_some(()),
    );
    host.exec("a", "ping -n -c2 -W2 10.9.0.9").ok();
}

#[test]
fn a_static_vxlan_speaks_linux_old_port_from_an_address_of_its_choice() {
    let lab = Underlay::new(1);
    let host = &lab.hosts[0];
    host.netns.sh("ip addr add 192.0.2.71/24 dev under0");
    let kernel = Netns::new("kern");
    plug(&lab.netns, &kernel, 9);
    let options = [
        "-o",
        "vni=42",
        "--subnet",
        "10.9.0.0/24",
        "-o",
        "dstport=8472",
        "-o",
        "local=192.0.2.71",
        "-o",
        "tos=inherit",
        "-o",
        "ttl=5",
    ];
    create_static(host, "far", &options, "192.0.2.9");
    host.idle("a", "far", &[]);
    kernel.sh(
        "ip link add vx type vxlan id 42 remote 192.0.2.71 local 192.0.2.9 dstport 8472 dev under0
         ip addr add 10.9.0.9/24 dev vx; ip link set vx up
         nft 'table inet seen { counter asked { }; chain in { type filter hook prerouting priority 0
              udp dport 8472 ip saddr 192.0.2.71 ip ttl 5 ip dscp ef counter name asked; }; }'",
    );
    let pings = || host.exec("a", "ping -n -c1 -W2 -Q 0xb8 10.9.0.9").status == 0;
    eventually(Duration::from_secs(5), "the kernel answers", || {
        pings().then_some(())
    });
    let counter = kernel.sh("nft list counter inet seen asked");
    assert!(
        counter.contains("packets") && !counter.contains("packets 0"),
        "{counter}"
    );
    // The same after a restart of the agent.
    host.stop_agent(Signal::TERM);
    host.launch();
    eventually(Duration::from_secs(5), "the kernel answers again", || {
        pings().then_some(())
    });
}

#[test]
fn a_packet_ring_leaves_no_rule_when_its_agent_is_killed() {
    let lab = Underlay::new(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    for host in [one, two] {
        host.netns
            .sh("ethtool -K under0 tso off gso off gro off tx off");
    }
    share_static([(one, "192.0.2.1"), (two, "192.0.2.2")]);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    let a = one.ipv4("a");
    one.exec("a", "iperf3 -s -D").ok();
    two.exec("b", &format!("iperf3 -c {a} -t 60 >/dev/null 2>&1 &"))
        .ok();
    let has_rule = || {
        let rules = one.netns.sh("nft list ruleset netdev");
        rules.contains("udp dport 4789")
    };
    let step = Duration::from_secs(10);
    eventually(step, "the ring is used", || has_rule().then_some(()));
    one.stop_agent(Signal::KILL);
    eventually(step, "the rule is gone", || (!has_rule()).then_some(()));
    one.launch();
    one.exec("a", &format!("ping -n -c2 -W2 {}", two.ipv4("b")))
        .ok();
}

#[test]
fn what_a_static_vxlan_lacks_is_said() {
    let lab = Underlay::new(1);
    let host = &lab.hosts[0];
    let refused = |options: &[&str]| {
        let head = ["network", "create", "--driver", "overlay"];
        host.tapestry(&[&head[..], options, &["far"]].concat())
            .refused(1)
    };
    let subnet = ["--subnet", "10.9.0.0/24"];
    for (options, part) in [
        (&[][..], "cluster"),
        (&["-o", "remote=192.0.2.2", "-o", "vni=7"], "--subnet"),
        (&[subnet[0], subnet[1], "-o", "remote=192.0.2.2"], "vni"),
        (
            &[
                subnet[0],
                subnet[1],
                "-o",
                "remote=192.0.2.2",
                "-o",
                "vni=7",
                "--mtu",
                "1500",
            ],
            "1450",
        ),
        (
            &[
                subnet[0],
                subnet[1],
                "-o",
                "remote=192.0.2.2",
                "-o",
                "vni=7",
                "-o",
                "encap=quic",
            ],
            "cluster",
        ),
        (&["-o", "dstport=8472"], "encap=vxlan"),
        (
            &["-o", "encap=vxlan", "-o", "local=192.0.2.1"],
            "-o remote=",
        ),
    ] {
        let said = refused(options);
        assert!(
            said.contains(part) && said.lines().count() == 1,
            "{options:?}: {said}"
        );
    }
    assert!(host.networks().iter().all(|network| network.name != "far"));
}
