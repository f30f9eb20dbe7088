//! Networks of a cluster as records: who gets what of several that want the same, what a host does not take in, and what becomes of a
//! network that is gone from here, or from the store.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use agent_api::NetworkSummary;
use serde_json::{Value, json};

use super::etcd::{Etcd, is_in_step, pair_beside_etcd};
use super::traffic::{Teller, who_is};
use super::{LEASE, STEP, Underlay, cluster, cluster_of, create_shared, join, reaches};
use crate::harness::{Host, Output, eventually, run};

const CREATE: [&str; 4] = ["network", "create", "-d", "overlay"];

/// What each host says when all are told something at one moment.
fn at_once(told: Vec<(&Host, Vec<String>)>) -> Vec<Output> {
    let mut commands: Vec<Command> = told
        .into_iter()
        .map(|(host, words)| {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            host.command(&words)
        })
        .collect();
    std::thread::scope(|scope| {
        let asked: Vec<_> = commands
            .iter_mut()
            .map(|command| scope.spawn(|| run(command)))
            .collect();
        asked.into_iter().map(|it| it.join().unwrap()).collect()
    })
}

fn overlays(host: &Host) -> Vec<NetworkSummary> {
    let mut networks = host.networks();
    networks.retain(|network| network.driver == agent_api::Driver::Overlay);
    networks
}

fn why_not_here(host: &Host, network: &str) -> Option<String> {
    let networks = host.networks().into_iter();
    let mut called = networks.filter(|it| it.name == network);
    called.find_map(|network| network.not_here)
}

fn vni(host: &Host, network: &str) -> u32 {
    host.network(network).overlay.unwrap().vni
}

fn words(words: &[&str]) -> Vec<String> {
    [&CREATE[..], words]
        .concat()
        .iter()
        .map(|word| (*word).to_owned())
        .collect()
}

#[test]
fn of_hosts_that_make_networks_of_one_subnet_at_one_moment_one_does() {
    let lab = cluster(3);
    for round in 0..3 {
        let told = lab.hosts.iter().enumerate().map(|(n, host)| {
            // None is equal to another, and each overlaps the others.
            let subnet = format!("10.9.0.0/{}", 22 + n);
            let (vni, name) = (format!("vni={}", 5000 + 10 * round + n), format!("n{n}"));
            let words = words(&["--subnet", &subnet, "-o", &vni, &name]);
            (host, words)
        });
        let said = at_once(told.collect());
        let (made, refused): (Vec<_>, Vec<_>) = said.into_iter().partition(|it| it.status == 0);
        assert_eq!(made.len(), 1, "{made:?} {refused:?}");
        for refused in refused {
            let why = refused.refused(1);
            assert!(
                why.contains("overlaps") && why.contains("10.9.0.0/"),
                "{why}"
            );
        }
        let mut names = BTreeSet::new();
        for host in &lab.hosts {
            let network = eventually(STEP, "every host knows the one", || {
                let mut networks = overlays(host);
                networks.retain(|network| network.not_here.is_none());
                (networks.len() == 1).then(|| networks.remove(0))
            });
            names.insert(network.name);
        }
        assert_eq!(names.len(), 1, "{names:?}");
        let name = names.first().unwrap();
        lab.hosts[0].tapestry(&["network", "rm", name]).ok();
        for host in &lab.hosts {
            eventually(STEP, "it is gone everywhere", || {
                overlays(host).is_empty().then_some(())
            });
        }
    }
}

#[test]
fn networks_that_four_hosts_make_at_once_all_come_and_lie_apart() {
    let lab = cluster(4);
    let told = (0..NETWORKS).map(|n| {
        let host = &lab.hosts[n % lab.hosts.len()];
        (host, words(&[&format!("n{n}")]))
    });
    for said in at_once(told.collect()) {
        said.ok();
    }
    for host in &lab.hosts {
        eventually(STEP * 3, "every host has all of them", || {
            let networks = overlays(host);
            let here = networks.iter().filter(|it| it.not_here.is_none());
            (here.count() == NETWORKS).then_some(())
        });
    }
    let mut seen = BTreeSet::new();
    for n in 0..NETWORKS {
        let detail = lab.hosts[0].network(&format!("n{n}"));
        let new = seen.insert(detail.subnets[0].to_string());
        assert!(new && seen.insert(detail.overlay.unwrap().vni.to_string()));
    }
    // One transaction makes a network, and none of the hosts refuses a word of another.
    for host in &lab.hosts {
        assert_eq!(cluster_of(host)["records_refused"], 0, "{}", host.log());
    }
}

#[test]
fn a_network_that_something_here_is_in_the_way_of_is_kept_out_until_that_goes() {
    let lab = cluster(2);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    two.netns
        .sh("ip link add extra type bridge; ip link set extra up
         ip addr add 10.9.0.2/24 dev extra; ip route add 10.7.0.0/16 dev extra");
    two.tapestry(&["network", "create", "--subnet", "10.8.0.0/24", "home"])
        .ok();
    two.idle("local", "home", &["--ip", "10.8.0.2"]);
    let _local = Teller::start(&two.sandbox("local"), "local");
    let mut tellers = Vec::new();
    for (name, subnet) in [
        ("far", "10.9.0.0/24"),
        ("routed", "10.7.4.0/24"),
        ("near", "10.8.0.0/24"),
        ("home", "10.6.0.0/24"),
    ] {
        one.tapestry(&[&CREATE[..], &["--subnet", subnet, name]].concat())
            .ok();
        let address = subnet.replace("0/24", "2");
        one.idle(&format!("in-{name}"), name, &["--ip", &address]);
        tellers.push(Teller::start(&one.sandbox(&format!("in-{name}")), name));
    }
    for (name, part) in [
        ("far", "10.9.0.0/24 dev extra"),
        ("routed", "10.7.0.0/16 dev extra"),
        ("near", "network \"home\""),
        ("home", "of that name"),
    ] {
        let why = eventually(STEP, "it is kept out", || why_not_here(two, name));
        assert!(why.contains(part), "{name}: {why}");
        if name == "home" {
            continue;
        }
        let run = ["run", "--rm", "--network", name, "--", "true"];
        let refused = two.tapestry(&run).refused(125);
        assert!(refused.contains(part), "{refused}");
        assert_eq!(two.network(name).summary.not_here.as_ref(), Some(&why));
        let doctor = two.tapestry(&["doctor"]).stdout;
        let line = format!("warn  network {name}: is not on this host: {why}");
        assert!(doctor.contains(&line), "{doctor}");
    }
    let listed = run(&mut two.command(&["network", "ls"]));
    assert!(
        listed.stderr.contains("10.9.0.0/24 dev extra"),
        "{listed:?}"
    );
    // What is asked on that host is answered by what is there, or not at all.
    let ask = |address: [u8; 4]| who_is(&two.netns.path(), address.into(), SOON);
    assert_eq!(ask([10, 8, 0, 2]).as_deref(), Some("local"));
    assert_eq!(ask([10, 9, 0, 2]), None);
    assert_eq!(ask([10, 7, 4, 2]), None);

    let here = |name: &str| {
        eventually(STEP, &format!("{name} is here"), || {
            let networks = overlays(two);
            let mut called = networks.iter().filter(|network| network.name == name);
            called
                .any(|network| network.not_here.is_none())
                .then_some(())
        });
        let container = format!("two-{name}");
        two.idle(&container, name, &[]);
        let address = one.ipv4(&format!("in-{name}"));
        let told = eventually(STEP, "the right one answers", || {
            who_is(&two.sandbox(&container), address, SOON)
        });
        assert_eq!(told, name);
    };
    two.netns.sh("ip route del 10.7.0.0/16 dev extra");
    here("routed");
    two.netns.sh("ip addr del 10.9.0.2/24 dev extra");
    here("far");
    two.tapestry(&["rm", "-f", "local"]).ok();
    two.tapestry(&["network", "rm", "home"]).ok();
    here("near");
    here("home");
    let listed = run(&mut two.command(&["network", "ls"]));
    assert!(listed.stderr.is_empty(), "{listed:?}");
}

/// Two hosts beside an etcd, where VNIs of removed networks rest for so long.
fn beside_etcd(lab: &Underlay, rest_s: u64) -> Etcd<'_> {
    for host in &lab.hosts {
        let config = host.dir().join("agent.toml");
        let mut config = fs::File::options().append(true).open(config).unwrap();
        // The table of the cluster is the last one.
        writeln!(config, "vni_rest_s = {rest_s}").unwrap();
        host.launch();
    }
    pair_beside_etcd(lab)
}

/// Whether a host hears nobody, and nobody hears it.
fn set_cut_off(lab: &Underlay, number: usize, is_cut_off: bool) {
    let way = if is_cut_off { "down" } else { "up" };
    lab.netns.sh(&format!("ip link set port{number} {way}"));
}

#[test]
fn a_network_that_was_removed_while_a_host_was_cut_off_is_no_part_of_the_next_one() {
    let lab = Underlay::without_agents(2);
    let etcd = beside_etcd(&lab, 600);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let (old_vni, old_address) = (vni(one, "far"), two.ipv4("b"));
    let _old = Teller::start(&two.sandbox("b"), "old");
    set_cut_off(&lab, 2, true);
    one.tapestry(&["rm", "-f", "a"]).ok();
    eventually(LEASE * 4, "the network can be removed", || {
        one.tapestry(&["network", "rm", "far"]).succeeded()
    });
    // The very same, but another one.
    one.tapestry(&[&CREATE[..], &["--subnet", "10.9.0.0/24", "far"]].concat())
        .ok();
    assert_ne!(vni(one, "far"), old_vni);
    let wish = format!("vni={old_vni}");
    let refused = one
        .tapestry(&[&CREATE[..], &["-o", &wish, "wish"]].concat())
        .refused(1);
    assert!(
        refused.contains("rests") && refused.contains("host-2"),
        "{refused}"
    );
    one.idle("c", "far", &["--ip", &old_address.to_string()]);
    let _new = Teller::start(&one.sandbox("c"), "new");
    assert!(etcd.under("followed/").len() < 2);

    set_cut_off(&lab, 2, false);
    let shown = eventually(STEP, "the old one's container is cut off", || {
        let listed = two.tapestry(&["ps"]).ok();
        let line = listed
            .lines()
            .find(|line| line.ends_with("far"))?
            .to_owned();
        line.contains("Cut off ").then_some(line)
    });
    assert!(!shown.contains("Up "), "{shown}");
    let endpoint = &two.container("b").endpoints[0];
    assert!(
        endpoint
            .cut_off
            .as_ref()
            .unwrap()
            .contains("removed from the cluster")
    );
    let carrier = two.exec("b", "cat /sys/class/net/eth0/carrier").ok();
    assert_eq!(carrier.trim(), "0");
    let health: Value = two.api("GET", "/v1/cluster/health", None).ok();
    let cut_off = &health["cut_off"][0];
    assert_eq!(
        (&cut_off["endpoint"], &cut_off["network"]),
        (&"b".into(), &"far".into()),
        "{health}"
    );

    eventually(STEP, "the new network is here too", || {
        let networks = overlays(two);
        networks
            .iter()
            .any(|it| it.not_here.is_none())
            .then_some(())
    });
    two.idle("d", "far", &[]);
    reaches(two, "d", "c");
    for from in [two.sandbox("d"), one.sandbox("c"), one.netns.path()] {
        let told = eventually(STEP, "the right one answers", || {
            who_is(&from, old_address, SOON)
        });
        assert_eq!(told, "new");
    }
    // A host reaches its own containers only.
    let told = who_is(&two.netns.path(), old_address, SOON);
    assert_ne!(told.as_deref(), Some("old"));
    let d = two.ipv4("d");
    let hears = || two.exec("b", &format!("ping -n -c2 -i0.2 -W1 {d}")).status == 0;
    assert!(!hears(), "it reaches the next network");
    // Over a restart it is no different.
    two.stop_agent(rustix::process::Signal::KILL);
    two.launch();
    reaches(two, "d", "c");
    assert!(two.tapestry(&["ps"]).ok().contains("Cut off "));
    assert!(!hears(), "it reaches the next network");
    // Everybody has heard of it, and what is left goes with its last container.
    eventually(STEP, "both hosts have followed", || {
        (etcd.under("followed/").len() == 2).then_some(())
    });
    two.tapestry(&["rm", "-f", "b"]).ok();
    let left = overlays(two);
    assert!(left.len() == 1 && left[0].not_here.is_none(), "{left:?}");
}

#[test]
fn a_store_that_is_set_back_loses_no_network_and_mixes_none() {
    let lab = Underlay::without_agents(2);
    let mut etcd = beside_etcd(&lab, 0);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    create_shared(&lab, "early", &["--subnet", "10.7.0.0/24"]);
    let early_vni = vni(one, "early");
    etcd.stop();
    let copy = etcd.copy();
    etcd.start_again();
    for host in [one, two] {
        eventually(STEP, "in step again", || is_in_step(host).then_some(()));
    }
    one.tapestry(&["network", "rm", "early"]).ok();
    // Another network has its VNI by now, as soon as both hosts have none of the first any more.
    let wish = format!("vni={early_vni}");
    let late = [
        &CREATE[..],
        &["--subnet", "10.6.0.0/24", "-o", &wish, "late"],
    ]
    .concat();
    eventually(STEP, "the VNI is free again", || {
        one.tapestry(&late).succeeded()
    });
    for (host, name) in [(one, "la"), (two, "lb")] {
        eventually(STEP, "late is here", || {
            host.tapestry(&["network", "inspect", "late"]).succeeded()
        });
        host.idle(name, "late", &[]);
    }
    reaches(one, "la", "lb");

    etcd.stop();
    etcd.set_back(copy);
    etcd.start_again();
    for host in [one, two] {
        eventually(STEP, "in step again", || is_in_step(host).then_some(()));
        for name in ["far", "early", "late"] {
            eventually(STEP, &format!("{name} is on every host"), || {
                let networks = overlays(host);
                let mut called = networks.iter().filter(|it| it.name == name);
                called.any(|it| it.not_here.is_none()).then_some(())
            });
        }
    }
    eventually(STEP, "each network has a VNI of its own", || {
        let vnis = etcd.under("vni/");
        let networks = etcd.under("network/");
        let is_so = networks.iter().all(|(id, record)| {
            let vni = record["overlay"]["vni"].to_string();
            vnis.get(&vni)
                .is_some_and(|owner| owner == id || owner["network"] == **id)
        });
        (is_so && networks.len() == 3 && vnis.len() == 3).then_some(())
    });
    let numbers = |host: &Host| ["far", "early", "late"].map(|name| vni(host, name));
    eventually(STEP, "both hosts say so", || {
        let distinct: BTreeSet<_> = numbers(one).into_iter().collect();
        (distinct.len() == 3 && numbers(one) == numbers(two)).then_some(())
    });
    for (host, name) in [(one, "ea"), (two, "eb")] {
        host.idle(name, "early", &[]);
    }
    reaches(one, "ea", "eb");
    reaches(two, "lb", "la");
    reaches(one, "a", "b");
    one.idle("lc", "late", &[]);
    reaches(two, "lb", "lc");
}

#[test]
fn a_record_that_is_made_up_changes_nothing_and_is_told_once() {
    let lab = Underlay::new(2);
    let etcd = pair_beside_etcd(&lab);
    let [one, two] = lab.hosts.as_slice() else {
        unreachable!()
    };
    let endpoints = etcd.under("endpoint/");
    let (key, good) = endpoints
        .iter()
        .find(|(_, record)| record["name"] == "a")
        .unwrap();
    let network = key.split('/').next().unwrap();
    let id = |digit: &str| format!("endpoint/{network}/{}", digit.repeat(64));
    let with = |changes: &[(&str, Value)]| {
        let mut record = good.clone();
        record["name"] = "made-up".into();
        for (field, value) in changes {
            record[*field] = value.clone();
        }
        record
    };
    let (b, b_mac) = (two.ipv4("b"), two.container("b").endpoints[0].mac.clone());
    let b_mac: switch_core::Mac = b_mac.parse().unwrap();
    for (key, record) in [
        // Of a host that has no such address.
        (
            id("1"),
            with(&[("ipv4", b.to_string().into()), ("sequence", 1000.into())]),
        ),
        (
            id("2"),
            with(&[
                ("mac", json!(b_mac.octets())),
                ("sequence", u32::MAX.into()),
            ]),
        ),
        (id("3"), with(&[("ipv4", "10.9.0.1".into())])),
        (id("4"), with(&[("mac", json!([1, 0, 0, 0, 0, 1]))])),
        (format!("network/{}", "5".repeat(64)), json!({"id": "x"})),
        (format!("network/{}", "6".repeat(64)), {
            let mut record = etcd.under("network/")[network].clone();
            record["name"] = "made-up".into();
            record["id"] = "6".repeat(64).into();
            record
        }),
    ] {
        etcd.put(&key, &record);
    }
    let refused = eventually(STEP, "they are refused", || {
        let refused = cluster_of(two)["records_refused"].as_u64().unwrap();
        let why = why_not_here(two, "made-up");
        (refused >= 4).then_some((refused, why?))
    });
    assert!(refused.1.contains("far"), "{refused:?}");
    for (part, times) in [("1111", 1), ("2222", 1), ("3333", 1), ("4444", 1)] {
        let log = two.log();
        let told = log
            .lines()
            .filter(|line| line.contains("is refused") && line.contains(part));
        assert_eq!(told.count(), times, "{log}");
    }
    reaches(one, "a", "b");
    let _teller = Teller::start(&two.sandbox("b"), "b");
    assert_eq!(who_is(&one.sandbox("a"), b, STEP).as_deref(), Some("b"));
    let lookup = two.exec("b", "nslookup -timeout=1 made-up >/dev/null");
    assert_ne!(lookup.status, 0);
}

#[test]
fn a_network_takes_a_handful_of_transactions() {
    let lab = Underlay::new(3);
    let etcd = Etcd::start(&lab);
    let init = [
        "cluster",
        "init",
        "--advertise",
        "192.0.2.1",
        "--etcd",
        Etcd::URL,
    ];
    lab.hosts[0].tapestry(&init).ok();
    for host in &lab.hosts[1..] {
        join(&lab.hosts[0], host).ok();
    }
    create_shared(&lab, "first", &[]);
    let quiet = || {
        eventually(STEP, "nobody writes", || {
            let before = etcd.revision();
            // Hosts look after their blocks of addresses four times a lease.
            std::thread::sleep(LEASE / 2);
            let after = etcd.revision();
            (before == after).then_some(after)
        })
    };
    let before = quiet();
    create_shared(&lab, "second", &[]);
    let made = quiet() - before;
    let before = quiet();
    lab.hosts[1].tapestry(&["network", "rm", "second"]).ok();
    let removed = quiet() - before;
    println!("3 hosts: {made} transactions to create a network, {removed} to remove it");
    let hosts = u64::try_from(lab.hosts.len()).unwrap();
    // It comes with a block for each host; of its end each host says that it has heard.
    assert!(made <= 2, "{made}");
    assert!(removed <= 3 + 2 * hosts, "{removed}");
}

const NETWORKS: usize = 32;
const SOON: Duration = Duration::from_millis(300);
