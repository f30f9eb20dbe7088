//! Hosts behind address translators: one that is reached at another's address, one that is not reached at all.

use rustix::process::Signal;

use super::{
    STEP, Underlay, cluster_of, configure, create_shared, create_shared_on, hosts_of, plug,
    reaches, token,
};
use crate::harness::{Host, Netns, eventually};

/// A host on the wire, which made the cluster, and two that have a router of their own each.
struct Lab {
    lab: Underlay,
    /// The routers outlive the hosts.
    #[expect(dead_code, reason = "held for its namespaces")]
    routers: [Netns; 2],
}

/// Whatever comes to the router is for the host.
const ONE_TO_ONE: &str = "add chain ip nat in { type nat hook prerouting priority dstnat; }
add rule ip nat in iifname under0 dnat to";

impl Lab {
    /// The second host is known by its router's address, the third by none.
    fn new() -> Self {
        let mut lab = Underlay::new(1);
        let routers = [2, 3].map(|number| {
            let host = Host::without_agent();
            let router = route(&lab.netns, &host, number);
            host.launch();
            lab.hosts.push(host);
            router
        });
        routers[0].sh(&format!("nft -f - <<'EOF'\n{ONE_TO_ONE} 10.77.2.2\nEOF"));
        let [one, two, three] = lab.hosts.as_slice() else {
            unreachable!()
        };
        one.tapestry(&["cluster", "init", "--advertise", "192.0.2.1"])
            .ok();
        for (host, options) in [(two, &["--advertise", "192.0.2.2"][..]), (three, &[])] {
            let join = ["cluster", "join"];
            let ends = [&token(one), "192.0.2.1"];
            host.tapestry(&[&join[..], options, &ends].concat()).ok();
        }
        Self { lab, routers }
    }
}

/// A router with address 192.0.2.`number`, and `host` behind it.
fn route(wire: &Netns, host: &Host, number: usize) -> Netns {
    let router = Netns::new("router");
    plug(wire, &router, number);
    configure(host, number);
    let inside = host.netns.name();
    router.sh(&format!(
        "echo 1 >/proc/sys/net/ipv4/ip_forward
         ip link add inside type veth peer name under0 netns {inside}
         ip addr add 10.77.{number}.1/24 dev inside
         ip link set inside up
         nft -f - <<'EOF'
add table ip nat
add chain ip nat out {{ type nat hook postrouting priority srcnat; }}
add rule ip nat out oifname under0 masquerade
EOF"
    ));
    host.netns.sh(&format!(
        "ip addr add 10.77.{number}.2/24 dev under0
         ip link set under0 up
         ip route replace default via 10.77.{number}.1"
    ));
    router
}

#[test]
fn containers_behind_translators_reach_each_other_both_ways_whoever_starts_anew() {
    let Lab { lab, .. } = &Lab::new();
    let [one, two, three] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let of = |name: &str| {
        let hosts = hosts_of(one).into_iter();
        let mut hosts = hosts.filter(|host| host["name"] == name);
        hosts.next().unwrap()["address"].clone()
    };
    assert_eq!(
        (of("host-2"), of("host-3")),
        ("192.0.2.2".into(), "10.77.3.2".into())
    );
    create_shared(lab, "far", &["--subnet", "10.9.0.0/24"]);
    let all = [(one, "a"), (two, "b"), (three, "c")];
    for (host, name) in all {
        host.idle(name, "far", &[]);
    }
    let all_reach_all = || {
        for (host, from) in all {
            for (_, to) in all.into_iter().filter(|(_, to)| *to != from) {
                reaches(host, from, to);
            }
        }
    };
    all_reach_all();
    for host in [two, three] {
        host.kill_agent_proper();
        all_reach_all();
        host.stop_agent(Signal::KILL);
        host.launch();
        all_reach_all();
        assert_eq!(cluster_of(host)["in_step"], true);
    }
    let hosts = hosts_of(three);
    let two_of_three = hosts.iter().find(|host| host["name"] == "host-2").unwrap();
    assert_eq!(two_of_three["tunnel"]["address"], "192.0.2.2:4790");
}

/// By VXLAN too, where the translation is one to one.
#[test]
fn a_host_reached_at_its_translators_address_has_networks_over_vxlan_too() {
    let Lab { lab, .. } = &Lab::new();
    let [one, two, _] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let options = ["--subnet", "10.9.0.0/24", "-o", "encap=vxlan"];
    create_shared(lab, "far", &options);
    one.idle("a", "far", &[]);
    two.idle("b", "far", &[]);
    reaches(one, "a", "b");
    reaches(two, "b", "a");
}

/// A cluster that is made where nobody has the address that others join at.
#[test]
fn a_cluster_is_made_and_joined_at_an_address_that_its_manager_has_not() {
    let mut lab = Underlay::new(1);
    let host = Host::without_agent();
    let router = route(&lab.netns, &host, 2);
    router.sh(&format!("nft -f - <<'EOF'\n{ONE_TO_ONE} 10.77.2.2\nEOF"));
    host.launch();
    lab.hosts.insert(0, host);
    let lab = Lab {
        lab,
        routers: [router, Netns::new("none")],
    };
    let [manager, member] = lab.lab.hosts.as_slice() else {
        unreachable!()
    };
    manager
        .tapestry(&["cluster", "init", "--advertise", "192.0.2.2"])
        .ok();
    let command = manager.tapestry(&["cluster", "token"]).ok();
    let words: Vec<_> = command.split_whitespace().skip(1).collect();
    assert_eq!(words.last(), Some(&"192.0.2.2:4790"));
    member.tapestry(&words).ok();
    create_shared(&lab.lab, "far", &["--subnet", "10.9.0.0/24"]);
    manager.idle("a", "far", &[]);
    member.idle("b", "far", &[]);
    reaches(manager, "a", "b");
    reaches(member, "b", "a");
    for host in [member, manager] {
        host.stop_agent(Signal::TERM);
        host.launch();
        eventually(STEP, "it is in step again", || {
            (cluster_of(host)["in_step"] == true).then_some(())
        });
    }
    reaches(member, "b", "a");
}

/// The copy is behind a router of its own, and says the same of itself.
#[test]
fn a_copy_of_a_host_that_is_known_by_its_translators_address_stays_out() {
    let Lab { lab, .. } = &Lab::new();
    let [one, two, copy] = lab.hosts.as_slice() else {
        unreachable!()
    };
    copy.tapestry(&["cluster", "leave"]).ok();
    copy.stop_agent(Signal::TERM);
    super::copy_identity(two, copy);
    copy.launch();
    eventually(STEP, "the copy is told", || {
        (cluster_of(copy)["double"] == "10.77.2.2").then_some(())
    });
    assert_eq!(cluster_of(copy)["in_step"], false);
    assert_eq!(cluster_of(two)["in_step"], true);
    copy.tapestry(&["cluster", "leave"]).ok();
    let mut hosts = hosts_of(one).into_iter();
    assert!(hosts.any(|host| host["name"] == "host-2" && host["state"] == "up"));
    // Its own restart is none.
    two.stop_agent(Signal::KILL);
    two.launch();
    eventually(STEP, "it is in step again", || {
        (cluster_of(two)["in_step"] == true).then_some(())
    });
}

/// Of four hosts three have a router of their own each: two are known by its address, and one by its own, where nobody gets to it.
#[test]
fn managers_are_known_by_their_translators_addresses_and_a_host_that_nobody_reaches_is_none() {
    let mut lab = Underlay::new(1);
    let routers = [2, 3, 4].map(|number| {
        let host = Host::without_agent();
        let router = route(&lab.netns, &host, number);
        host.launch();
        lab.hosts.push(host);
        router
    });
    for (router, number) in routers.iter().zip([2, 3]) {
        router.sh(&format!(
            "nft -f - <<'EOF'\n{ONE_TO_ONE} 10.77.{number}.2\nEOF"
        ));
    }
    // One way by another address than the other way.
    routers[1].sh("ip addr add 192.0.2.13/24 dev under0
         nft flush chain ip nat out
         nft add rule ip nat out oifname under0 snat to 192.0.2.13");
    let [one, two, three, four] = lab.hosts.as_slice() else {
        unreachable!()
    };
    one.tapestry(&["cluster", "init", "--advertise", "192.0.2.1"])
        .ok();
    for (host, options) in [
        (two, &["--advertise", "192.0.2.2"][..]),
        (three, &["--advertise", "192.0.2.3"]),
        (four, &[]),
    ] {
        let ends = [&*token(one), "192.0.2.1"];
        host.tapestry(&[&["cluster", "join"], options, &ends].concat())
            .ok();
    }
    for host in ["host-2", "host-3"] {
        one.tapestry(&["cluster", "promote", host]).ok();
    }
    let refused = one.tapestry(&["cluster", "promote", "host-4"]);
    let why = refused.stderr.trim();
    assert!(
        refused.status != 0
            && why.lines().count() == 1
            && why.len() < 400
            && why.contains("TCP 10.77.4.2:4790")
            && why.contains("--advertise"),
        "{why}"
    );
    // Two of three are most of them, and each is behind a router.
    one.stop_agent(Signal::TERM);
    eventually(STEP * 2, "a manager behind a router has the store", || {
        let token = two.tapestry(&["cluster", "token", "-q"]);
        (token.status == 0).then_some(())
    });
    create_shared_on(&[four, two, three], "far", &["--subnet", "10.9.0.0/24"]);
    for (host, name) in [(two, "b"), (three, "c"), (four, "d")] {
        host.idle(name, "far", &[]);
    }
    reaches(four, "d", "b");
    reaches(two, "b", "c");
    one.launch();
    eventually(STEP, "the first one is in step again", || {
        (cluster_of(one)["in_step"] == true).then_some(())
    });
}
